"""docs/c-cpp.md, word for word: each build system's lines, in a project of its own, cold and then warm elsewhere."""

import re
import subprocess
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from tests.world import REPOSITORY, Kache, World

PAGE = (REPOSITORY / "docs" / "c-cpp.md").read_text("utf-8")

FILES: Dict[str, str] = {
    "hello.c": '#include "hello.h"\n#include <stdio.h>\nint main(void) { return printf("%d", HELLO) < 0; }\n',
    "hello.h": "#define HELLO 3\n",
    "more.cc": "int more() { return 4; }\n",
}
SYSTEMS: Dict[str, Dict[str, str]] = {
    "make": {"Makefile": "hello: hello.o more.o\n\t$(CXX) -o $@ $^\nhello.o: hello.c hello.h\nmore.o: more.cc\n"},
    "CMake": {
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.13)\nproject(hello C CXX)\n"
        "add_executable(hello hello.c more.cc)\n"
    },
    "Meson": {"meson.build": "project('hello', 'c', 'cpp')\nexecutable('hello', 'hello.c', 'more.cc')\n"},
    "autotools": {
        "configure.ac": "AC_INIT([hello],[1])\nAC_PROG_CC\nAC_PROG_CXX\nAC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n",
        "Makefile.in": "CC = @CC@\nCXX = @CXX@\nhello: hello.o more.o\n\t$(CXX) -o $@ hello.o more.o\n"
        "hello.o: hello.c hello.h\n\t$(CC) -O2 -c hello.c\nmore.o: more.cc\n\t$(CXX) -O2 -c more.cc\n",
    },
}
TOOLS = {"make": ["make"], "CMake": ["cmake"], "Meson": ["meson", "ninja"], "autotools": ["autoconf", "make"]}


def lines(heading: str) -> str:
    """The first block of commands below a heading."""
    match = re.search(rf"^#+ {re.escape(heading)}\n.*?```sh\n(.*?)```", PAGE, re.M | re.S)
    assert match, heading
    return match[1]


@pytest.fixture
def on_path(world: World, kache_file: Kache) -> World:
    """A world in which ``kache`` is on PATH, as the page takes for granted."""
    bin_ = world.root / "bin"
    bin_.mkdir()
    (bin_ / "kache").symlink_to(kache_file.path)
    world.env["PATH"] = f"{bin_}:{world.env['PATH']}"
    return world


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_a_build_system_as_the_page_sets_it_up(
    system: str, on_path: World, require_tool: Callable[[str], str]
) -> None:
    for tool in (*TOOLS[system], "gcc", "g++"):
        require_tool(tool)
    results: List[List[str]] = []
    for name in ("one", "another/place"):
        place = on_path.workspace({**FILES, **SYSTEMS[system]}, name)
        (place / ".git").mkdir()
        if system == "autotools":
            subprocess.run(["autoconf"], cwd=place, check=True)
        run = on_path.run(["sh", "-e", "-c", lines(system)], cwd=place).ok()
        found = [event for event in run.events if event.get("crate_name") in ("cc-hello", "cc-more")]
        results.append(sorted(str(event["result"]) for event in found))
        programs = [path for path in place.rglob("hello") if path.is_file()]
        assert subprocess.run([str(programs[0])], capture_output=True, text=True, check=True).stdout == "3"
    assert results == [["miss", "miss"], ["local_hit", "local_hit"]], results


def test_the_first_lines(on_path: World, require_tool: Callable[[str], str]) -> None:
    require_tool("gcc")
    place = on_path.workspace(FILES)
    run = on_path.run(["sh", "-e", "-c", lines("C and C++")], cwd=place).ok()
    assert [event["result"] for event in run.events] == ["miss", "local_hit"]
    assert "hit rate" in run.stdout


def test_links_on_path(on_path: World, require_tool: Callable[[str], str]) -> None:
    require_tool("gcc")
    place = on_path.workspace(FILES)
    commands = lines("Everything else").replace("kache init", "kache init -y")
    run = on_path.run(["sh", "-e", "-c", commands + "for i in 1 2; do gcc -c hello.c; done"], cwd=place).ok()
    assert [event["result"] for event in run.events] == ["miss", "local_hit"]


def test_seeing_why_something_passed_through(on_path: World, require_tool: Callable[[str], str]) -> None:
    require_tool("gcc")
    place = on_path.workspace(FILES)
    on_path.run(["kache", "gcc", "-fprofile-arcs", "-c", "hello.c"], cwd=place).ok()
    run = on_path.run(["sh", "-c", lines("Which flags are known")], cwd=place)
    assert "coverage" in run.stdout + run.stderr


def test_every_reason_that_the_page_names_is_one(on_path: World) -> None:
    for path in re.findall(r"\]\(([\w./-]+\.md)\)", PAGE):
        assert (Path(REPOSITORY) / "docs" / path).exists()

"""What a C compile says: warnings replayed with the paths of this place, in the colours of this terminal."""

import os
import pty
import subprocess
from typing import Callable, Sequence

import pytest

from tests.cc.project import COMPILE, NAMES, Project, settle


def test_warnings_are_replayed_with_the_paths_of_this_place(project: Project) -> None:
    text = '#include "value.h"\nint value(void) { int unused; return VALUE; }\n'
    project.write({"src/main.c": text})
    other = Project.make(project.world, project.kache, "elsewhere/deeper/checkout")
    other.write({"src/main.c": text, "inc/value.h": "#define VALUE 3\n"})
    settle()
    for index, place in enumerate((project, other, other)):
        words = ["gcc", "-Wall", "-g", f"-I{place.base}/inc", "-c", f"{place.base}/src/main.c", "-o", "main.o"]
        expected = place.fresh(words, NAMES)
        found, _ = place.cached(words, NAMES)
        assert found.result == ("local_hit" if index else "miss"), found.reason
        assert found.said == expected.said and str(place.base) in found.said
        assert found.outputs == expected.outputs


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("dependencies", [["-MMD"], ["-MD"], []])
@pytest.mark.parametrize("flag", ["-Wctor-dtor-privacy", "-Wliteral-suffix", "-Wl,-z,now", "-fcall-saved-x10", "-DSAY"])
def test_what_the_preprocessor_says_keeps_nothing_from_the_cache(
    compiler: str, dependencies: Sequence[str], flag: str, project: Project, require_tool: Callable[[str], str]
) -> None:
    """As of an option of another language, or of the linker."""
    require_tool(compiler)
    project.write({"src/main.c": "#ifdef SAY\n#warning said\n#endif\nint value;\n"})
    words = [compiler, *dependencies, flag, *COMPILE]
    settle()
    expected = project.fresh(words, NAMES)
    if expected.status:
        return
    for index in range(2):
        found, _ = project.cached(words, NAMES)
        assert found.result == ("local_hit" if index else "miss"), found.reason
        assert (found.said, found.outputs) == (expected.said, expected.outputs)


def test_what_clang_says_of_an_option_that_it_passes_over(project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool("clang")
    settle()
    for both in (["-MMD"], ["-MMD", "-MD"], ["-MD", "-MMD"], ["-MD"]) * 2:
        words = ["clang", *both, *COMPILE]
        found, _ = project.cached(words, NAMES)
        assert found.said == project.fresh(words, NAMES).said, both
    assert found.result == "local_hit"


def on_a_terminal(command: Sequence[str], project: Project) -> bytes:
    """What a command prints where standard error is a terminal."""
    leader, follower = pty.openpty()
    env = {**project.world.env, "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=project.build, env=env, stderr=follower, stdout=follower)
    os.close(follower)
    said = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        if not data:
            break
        said += data
    os.close(leader)
    assert process.wait() == 0
    return said


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_colours_are_as_the_terminal_wants(compiler: str, project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool(compiler)
    project.write({"src/main.c": "int value(void) { int unused; return 3; }\n"})
    words = [compiler, "-Wall", *COMPILE]
    settle()
    plain = project.fresh(words, NAMES).said
    coloured = on_a_terminal([str(project.kache.path), *words], project)
    assert b"\x1b[" in coloured
    assert on_a_terminal([str(project.kache.path), *words], project) == coloured, "a hit"
    assert project.world.events()[-1]["result"] == "local_hit"
    found, _ = project.cached(words, NAMES)
    assert (found.result, found.said) == ("local_hit", plain), "the colours are taken out"


def test_what_people_see_of_an_unknown_flag(project: Project) -> None:
    project.env = {"KACHE_LOG": "kache=trace"}
    log = project.world.root / "log"
    words = ["gcc", "-fno-frobnicate", *COMPILE]
    project.env["KACHE_LOG_FILE"] = "kache=trace"
    found, _ = project.cached(words, NAMES)
    assert found.reason == "unsupported_flag: -fno-frobnicate"
    text = read_log(project)
    assert "unsupported flag(s): -fno-frobnicate — passthrough" in text, log
    project.env["KACHE_CC_EXTRA_ALLOWLIST_FLAGS"] = "-fipa-modref -fno-frobnicate"
    found, _ = project.cached(words, NAMES)
    assert found.status != 0, "gcc does not know it either"
    project.env["KACHE_CC_EXTRA_ALLOWLIST_FLAGS"] = "-Xpreprocessor -DVALUE2"
    settle()
    words = ["gcc", "-Xpreprocessor", "-DVALUE2", *COMPILE]
    assert [project.cached(words, NAMES)[0].result for _ in range(2)] == ["miss", "local_hit"]
    text = read_log(project)
    for expected in ("2 user-allowed", "-DVALUE2 user-allowed (config)", "cc_extra_flag=-DVALUE2"):
        assert expected in text


def read_log(project: Project) -> str:
    return "".join(path.read_text() for path in sorted(project.world.home.rglob("kache.log")))

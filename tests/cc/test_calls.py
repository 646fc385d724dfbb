"""How kache is called for C: compilers by name, by link and by path, and what it does not keep from them."""

import os
import shutil
import subprocess
import sys
import time
from typing import Callable, List

import pytest

from tests.cc.project import COMPILE, NAMES, Project, settle, twice
from tests.world import Kache

# Call forms


NAMES_OF_COMPILERS = ("cc", "gcc", "gcc-12", "/usr/bin/gcc", "clang", "clang-14", "arm-linux-gnueabihf-gcc")


@pytest.mark.parametrize("name", NAMES_OF_COMPILERS)
def test_compilers_by_name(name: str, project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool(name)
    assert twice(project, name, *COMPILE) in (["miss", "local_hit"], ["dup", "local_hit"])


@pytest.mark.parametrize("name", ["c++", "g++", "clang++"])
def test_cxx_compilers_by_name(name: str, project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool(name)
    project.write({"src/main.cc": '#include "value.h"\nint value() { return VALUE; }\n'})
    assert twice(project, name, "-Iinc", "-c", "src/main.cc", "-o", "main.o") == ["miss", "local_hit"]


def test_a_cxx_driver_takes_c_for_cxx(project: Project) -> None:
    settle()
    one, _ = project.cached(["gcc", *COMPILE], NAMES)
    two, _ = project.cached(["g++", *COMPILE], NAMES)
    assert one.result == two.result == "miss"
    assert one.outputs != two.outputs, "a mangled name"


def test_an_unknown_name_is_asked_once(project: Project) -> None:
    """Behind a path any program may be a compiler."""
    compiler = project.world.root / "bin" / "my-own"
    compiler.parent.mkdir()
    shutil.copy2(os.path.realpath(shutil.which("clang") or "clang"), compiler)
    # no memo is kept of a program that was just written
    time.sleep(0.1)
    found, run = project.cached([str(compiler), *COMPILE], NAMES)
    assert (found.result, found.status) == ("miss", 0), found
    assert run.events[-1]["probe_runs"] > 0
    again, run = project.cached([str(compiler), *COMPILE], NAMES)
    assert (again.result, run.events[-1]["probe_runs"]) == ("local_hit", 0)


def test_what_is_no_compiler_runs_as_it_is(project: Project) -> None:
    tool = project.world.root / "tool"
    tool.write_text("#!/bin/sh\necho ran $*\nexit 3\n")
    tool.chmod(0o755)
    found, run = project.cached([str(tool), "-c", "src/main.c"], NAMES)
    assert (found.status, found.said) == (3, "ran -c src/main.c\n")
    assert run.events[-1]["reason"] == f"compiler: {tool}"


@pytest.mark.parametrize("words", [["-E", "src/main.c", "-Iinc"], ["--version"], ["src/main.c", "-Iinc", "-M"]])
def test_questions_are_the_compilers(words: List[str], project: Project) -> None:
    plain = subprocess.run(["gcc", *words], cwd=project.build, capture_output=True, text=True, check=True)
    run = project.kache.run("gcc", *words, cwd=project.build)
    assert (run.returncode, run.stdout) == (0, plain.stdout)
    assert run.events == []


def test_the_cc_crates_probe_has_no_name(project: Project) -> None:
    (project.build / "probe.c").write_text("#ifdef __GNUC__\ngcc\n#endif\n")
    run = project.kache.run("-E", "probe.c", cwd=project.build).ok()
    assert "gcc" in run.stdout.split()


def test_links_are_the_compilers(project: Project) -> None:
    project.write({"src/prog.c": "int main(void) { return 0; }\n"})
    run = project.kache.run("gcc", "src/prog.c", "-o", "prog", cwd=project.build).ok()
    assert (project.build / "prog").exists() and run.events == []


@pytest.mark.parametrize("behind", ["ccache", "kache-9.9"])
def test_shims_find_the_compiler_behind_every_other_shim(project: Project, behind: str) -> None:
    """kache's own directory of links first on PATH, and another program's behind it; another kache's, too."""
    shims, others = project.world.root / "shims", project.world.root / "others"
    for directory in (shims, others):
        directory.mkdir()
    other = project.world.root / behind
    other.write_text("#!/bin/sh\necho should not run >&2\nexit 9\n")
    other.chmod(0o755)
    for name in ("cc", "gcc", "c++"):
        (shims / name).symlink_to(project.kache.path)
        (others / name).symlink_to(other)
    env = {"PATH": f"{shims}:{others}:{project.world.env['PATH']}"}
    settle()
    for expected in ("miss", "local_hit"):
        run = project.world.run([shims / "gcc", *COMPILE], cwd=project.build, env=env).ok()
        assert run.events[-1]["result"] == expected, run.events
        (project.build / "main.o").unlink()
    run = project.world.run(["make", "-s", "-f", "-", "main.o"], cwd=project.build, env=env, stdin=MAKEFILE).ok()
    assert run.events[-1]["result"] == "local_hit"


MAKEFILE = "main.o: src/main.c\n\tgcc " + " ".join(COMPILE) + "\n"


def test_init_makes_shims(project: Project, kache_file: Kache) -> None:
    directory = project.world.root / "made"
    run = kache_file.run("init", "-y", "--shims", directory, cwd=project.build).ok()
    assert {"cc", "gcc", "c++", "g++"} <= {path.name for path in directory.iterdir()}, run.stdout
    assert all(path.is_symlink() and os.path.realpath(path) == str(kache_file.path) for path in directory.iterdir())
    settle()
    env = {"PATH": f"{directory}:{project.world.env['PATH']}"}
    run = project.world.run(["cc", *COMPILE], cwd=project.build, env=env).ok()
    assert run.events[-1]["result"] == "miss"


def test_another_compiler_behind_the_same_name(project: Project) -> None:
    """The memo of a compiler holds as long as its programs are unchanged."""
    binary = project.world.root / "bin" / "cc"
    binary.parent.mkdir()
    binary.symlink_to("/usr/bin/gcc")
    project.env = {"PATH": f"{binary.parent}:{project.world.env['PATH']}"}
    settle()
    assert project.cached(["cc", *COMPILE], NAMES)[0].result == "miss"
    assert project.cached(["cc", *COMPILE], NAMES)[0].result == "local_hit"
    binary.unlink()
    binary.symlink_to("/usr/bin/clang")
    settle()
    assert project.cached(["cc", *COMPILE], NAMES)[0].result != "local_hit"


def test_content_identity_tells_two_programs_apart(project: Project) -> None:
    binary = project.world.root / "bin" / "clang"
    binary.parent.mkdir()
    shutil.copy2(os.path.realpath("/usr/bin/clang"), binary)
    for identity, expected in (("banner", "local_hit"), ("content", "miss")):
        project.env = {"PATH": f"{binary.parent}:{project.world.env['PATH']}", "KACHE_CC_IDENTITY": identity}
        settle()
        project.cached(["clang", "-g", *COMPILE], NAMES)
        with binary.open("ab") as file:
            file.write(b"\n")
        settle()
        found, _ = project.cached(["clang", "-g", *COMPILE], NAMES)
        assert found.result in (expected, "dup" if expected == "miss" else expected), (identity, found.reason)


def test_kache_disabled_is_the_compiler(project: Project) -> None:
    project.env = {"KACHE_DISABLED": "1"}
    found, run = project.cached(["gcc", *COMPILE], NAMES)
    assert found.status == 0 and found.outputs["main.o"] and not run.events


def test_without_python_the_compiler_runs(project: Project) -> None:
    project.env = {"KACHE_PYTHON": "/nowhere/python3"}
    found, _ = project.cached(["gcc", *COMPILE], NAMES)
    assert found.status == 0 and found.outputs["main.o"]
    shim = project.world.root / "gcc"
    shim.symlink_to(project.kache.path)
    run = project.world.run([shim, *COMPILE], cwd=project.build, env={**project.env})
    assert run.returncode == 0 and (project.build / "main.o").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="strace")
def test_a_hit_starts_nothing(project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool("strace")
    settle()
    project.cached(["gcc", *COMPILE], NAMES)
    _, run = project.cached(["gcc", *COMPILE], NAMES, trace=True)
    names = [os.path.basename(argv[0]) for argv in run.started]
    assert not set(names) & {"gcc", "cc1", "as", "cpp", "ld"}, names

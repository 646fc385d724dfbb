"""How kache is called for C, and what it does with odd outputs, odd sources and odd places."""

import os
import pty
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import pytest

from tests.cc.conftest import MAIN
from tests.cc.project import Project, settle
from tests.world import Kache, World

COMPILE = ["-O1", "-Iinc", "-c", "src/main.c", "-o", "main.o"]
NAMES = ["main.o"]


def twice(project: Project, *words: str) -> List[str]:
    """The results of two compiles; the objects have to be the same."""
    settle()
    first, _ = project.cached(words, NAMES)
    second, run = project.cached(words, NAMES, trace=True)
    assert first.outputs == second.outputs and first.status == second.status == 0, (first, second)
    compilers = [argv for argv in run.started if Path(argv[0]).name.startswith(("cc1", "clang", "gcc", "as"))]
    assert second.result != "local_hit" or not compilers
    return [first.result, second.result]


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


def test_shims_find_the_compiler_behind_every_other_shim(project: Project) -> None:
    """kache's own directory of links first on PATH, and another program's behind it."""
    shims, others = project.world.root / "shims", project.world.root / "others"
    for directory in (shims, others):
        directory.mkdir()
    other = project.world.root / "ccache"
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


# Outputs


def output_of(kind: str, project: Project) -> Path:
    target = project.build / "main.o"
    elsewhere = project.build / "elsewhere.o"
    if kind == "symlink":
        elsewhere.write_bytes(b"")
        target.symlink_to(elsewhere)
    elif kind == "hard link":
        elsewhere.write_bytes(b"old")
        os.link(elsewhere, target)
    elif kind == "read-only":
        target.write_bytes(b"old")
        target.chmod(0o444)
    elif kind == "fifo":
        os.mkfifo(target)
    return target


@pytest.mark.parametrize("kind", ["symlink", "hard link", "read-only"])
def test_an_odd_output_is_left_to_the_compiler(kind: str, project: Project) -> None:
    assert twice(project, "gcc", *COMPILE) == ["miss", "local_hit"]
    plain = project.build / "plain"
    plain.mkdir()
    target = output_of(kind, project)
    run = project.kache.run("gcc", *COMPILE, cwd=project.build)
    if kind != "read-only" or os.getuid() != 0:
        assert run.events[-1]["reason"].startswith("output_file"), run.events
    assert run.returncode == 0
    assert target.is_symlink() == (kind == "symlink")
    settle()
    assert subprocess.run(["nm", str(target)], capture_output=True, text=True, check=True).stdout.split()[-1] == "value"


def test_dev_null_stays_what_it_is(project: Project) -> None:
    words = ["gcc", "-Iinc", "-c", "src/main.c", "-o", "/dev/null"]
    settle()
    for _ in range(2):
        found, run = project.cached(words, NAMES)
        assert (found.status, found.reason) == (0, "output_file: /dev/null"), run
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_the_standard_output_and_input_pass_through(project: Project) -> None:
    run = project.kache.run("gcc", "-c", "-x", "c", "-", "-o", "main.o", cwd=project.build, stdin="int x;\n").ok()
    assert run.events[-1]["reason"] == "stdin"
    run = project.kache.run("gcc", *COMPILE[:-1], "-", cwd=project.build)
    assert run.events[-1]["reason"] == "output_file: -"


def test_a_directory_that_is_not_there_is_the_compilers_error(project: Project) -> None:
    words = ["gcc", *COMPILE[:-1], "gone/main.o"]
    settle()
    for _ in range(2):
        found, _ = project.cached(words, NAMES)
        assert found.status != 0 and "gone/main.o" in found.said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["@args"], "argument_file: @args"),
        (["-c", "src/main.c", "src/other.c"], "several_sources: src/main.c src/other.c"),
        (["-c", "src/main.m"], "language: main.m"),
        (["-S", "-c", "src/main.c", "-Iinc"], "no_object: -S"),
        (["-c", "src/main.c", "-Iinc", "-fprofile-arcs"], "coverage: -fprofile-arcs"),
        (["-c", "src/main.c", "-Iinc", "-gsplit-dwarf"], "split_dwarf: -gsplit-dwarf"),
        (["-c", "src/main.c", "-Iinc", "-save-temps"], "extra_output: -save-temps"),
        (["-c", "inc/value.h"], "language: value.h"),
    ],
)
def test_what_is_not_modelled_passes_through(words: List[str], reason: str, project: Project) -> None:
    project.write({"args": "-c src/main.c -Iinc -o main.o\n", "src/other.c": "int other;\n", "src/main.m": "int m;\n"})
    found, _ = project.cached(["gcc", *(["-c"] if "@args" in words else []), *words], NAMES)
    assert (found.result, found.reason) == ("passthrough", reason)


def test_a_failing_compile_is_the_compilers(project: Project) -> None:
    project.write({"src/main.c": "int broken(\n"})
    settle()
    for _ in range(2):
        expected = project.fresh(["gcc", *COMPILE], NAMES)
        found, _ = project.cached(["gcc", *COMPILE], NAMES)
        assert (found.status, found.said, found.result) == (expected.status, expected.said, "passthrough")


# What no depfile tells


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('const char *when(void) { return __TIME__; }\n', "__DATE__ or __TIME__"),
        ("const char *when = __TIMESTAMP__;\n", "__TIMESTAMP__"),
        ('__asm__(".incbin \\"inc/value.h\\"");\n', ".incbin"),
        ("#define NAME <stdio.h>\n#if __has_include(NAME)\nint x;\n#endif\nint y;\n", "__has_include of a macro"),
    ],
)
def test_what_reads_more_than_it_says_is_not_stored(text: str, why: str, project: Project) -> None:
    project.write({"src/main.c": text})
    settle()
    for _ in range(2):
        found, _ = project.cached(["gcc", *COMPILE], NAMES)
        assert found.result in ("miss", "dup") and f"not stored: {why}" in found.reason, found


def test_a_precompiled_header_that_appears_is_used(project: Project) -> None:
    """gcc takes value.h.gch for value.h wherever it is valid, whatever value.h says by then."""
    assert twice(project, "gcc", *COMPILE) == ["miss", "local_hit"]
    subprocess.run(["gcc", "-O1", "-x", "c-header", "inc/value.h"], cwd=project.build, check=True)
    settle()
    found, _ = project.cached(["gcc", *COMPILE], NAMES)
    assert found.result != "local_hit"
    assert found.outputs == project.fresh(["gcc", *COMPILE], NAMES).outputs


def test_the_environment_that_moves_an_object_is_in_the_key(project: Project) -> None:
    settle()
    for name, value in (("CPATH", "inc2"), ("C_INCLUDE_PATH", "inc2"), ("SOURCE_DATE_EPOCH", "1"), ("SDKROOT", "/x")):
        project.env = {}
        project.cached(["gcc", "-g", *COMPILE], NAMES)
        project.env = {name: value}
        found, _ = project.cached(["gcc", "-g", *COMPILE], NAMES)
        assert found.result in ("miss", "dup"), name
    project.env = {"DEPENDENCIES_OUTPUT": "deps"}
    found, _ = project.cached(["gcc", *COMPILE], NAMES)
    assert found.reason == "dependency_variable: DEPENDENCIES_OUTPUT"


# Words


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


# Places


def test_without_mapping_an_object_is_bound_to_its_place(project: Project) -> None:
    other = Project.make(project.world, project.kache, "second")
    other.write({"src/main.c": "int x;\n", "inc/value.h": "\n"})
    project.write({"src/main.c": "int x;\n"})
    for place in (project, other):
        place.env = {"KACHE_CC_PATH_NORMALIZE": "0"}
    words = ["gcc", "-g", *COMPILE]
    settle()
    expected = project.fresh(words, NAMES, maps=False)
    assert [project.cached(words, NAMES)[0].result for _ in range(2)] == ["miss", "local_hit"]
    found, _ = project.cached(words, NAMES)
    assert found.outputs == expected.outputs, "the bare compiler's"
    assert other.cached(words, NAMES)[0].result == "miss"


def test_a_directory_that_begins_like_a_mapped_one(world: World, kache_file: Kache) -> None:
    """-ffile-prefix-map compares bytes: /w/ws maps /w/ws-more as well."""
    near = Project.make(world, kache_file, "w/ws")
    outside = world.root / "w/ws-more"
    outside.mkdir(parents=True)
    (outside / "far.h").write_text("static inline const char *far(void) { return __FILE__; }\n")
    near.write({"src/main.c": f'#include "{outside}/far.h"\nconst char *value(void) {{ return far(); }}\n'})
    settle()
    for _ in range(2):
        found, _ = near.cached(["gcc", *COMPILE], NAMES)
        assert "begins like a directory that is mapped" in found.reason


def test_base_directories_are_mapped_as_well(project: Project) -> None:
    objects: List[Dict[str, object]] = []
    for number, name in enumerate(("sdk-one", "opt/sdk-two")):
        sdk = project.world.root / name
        sdk.mkdir(parents=True)
        (sdk / "sdk.h").write_text("static inline const char *sdk(void) { return __FILE__; }\n")
        project.write({"src/main.c": "#include <sdk.h>\nconst char *value(void) { return sdk(); }\n"})
        project.env = {"KACHE_BASE_DIR": str(sdk)}
        settle()
        found, _ = project.cached(["gcc", f"-I{sdk}", *COMPILE], NAMES)
        assert found.result == ("local_hit" if number else "miss"), found.reason
        objects.append(dict(found.outputs))
    assert objects[0] == objects[1]


def test_two_copies_in_one_repository(project: Project) -> None:
    """They are two places of it; a base directory makes them one."""
    for name in ("copies/one", "copies/two"):
        project.write({f"{name}/src/main.c": MAIN, f"{name}/inc/value.h": "#define VALUE 3\n"})
    settle()
    for based in (False, True):
        results = []
        for name in ("copies/one", "copies/two"):
            project.build = project.base / name
            project.env = {"KACHE_BASE_DIR": str(project.build)} if based else {}
            results.append(project.cached(["gcc", "-g", *COMPILE], NAMES)[0].result)
        assert results[1] == ("local_hit" if based else "miss"), results


def test_a_working_directory_by_a_link_is_the_same_place(project: Project) -> None:
    """Debug information takes the directory from PWD, which may name a link."""
    link = project.world.root / "link"
    link.symlink_to(project.base)
    settle()
    first, _ = project.cached(["gcc", "-g", *COMPILE], NAMES)
    project.env = {"PWD": str(link)}
    second, _ = project.cached(["gcc", "-g", *COMPILE], NAMES)
    assert (first.result, second.result) == ("miss", "local_hit")


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


# Odd names


ODD = (
    *("sp ace", "d$llar", "h#sh", "ü", "\udcff", "new\nline", "qu'ote", 'dquo"te', "back\\slash", "<source>", "@at"),
    *("co:lon", "x" * 200),
)


@pytest.mark.parametrize("name", ODD, ids=ascii)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_odd_names(name: str, compiler: str, project: Project, require_tool: Callable[[str], str]) -> None:
    """Whatever is cached of it or not: object, depfile and words are the compiler's."""
    require_tool(compiler)
    source, header = project.base / f"src/{name}.c", project.base / f"inc/{name}.h"
    header.write_text("#define VALUE 4\n")
    usable = "\n" not in name and '"' not in name
    line = f'#include "{name}.h"\n' if usable else '#include "value.h"\n'
    source.write_bytes(os.fsencode(line) + b"int value(void) { int unused; return VALUE + __LINE__; }\n")
    words = [compiler, "-Wall", "-g", "-Iinc", "-MD", "-c", f"src/{name}.c", "-o", f"{name}.o"]
    names = [f"{name}.o", f"{name}.d"]
    settle()
    expected = project.fresh(words, names)
    for _ in range(3):
        found, _ = project.cached(words, names)
        assert (found.status, found.said) == (expected.status, expected.said), found.reason
        assert found.outputs == expected.outputs, found.reason


def test_a_very_long_command_line(project: Project) -> None:
    """GCC hands its options on in one variable: where that is nearly full, ours are not added."""
    for count, results in ((3000, ["miss", "local_hit"]), (5500, ["passthrough", "passthrough"])):
        words = ["gcc", *[f"-DNAME{number}=1" for number in range(count)], *COMPILE]
        settle()
        found = [project.cached(words, NAMES)[0] for _ in range(2)]
        assert [each.result for each in found] == results and not any(each.status for each in found)

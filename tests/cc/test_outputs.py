"""What becomes of a C compile's outputs, its odd names, and what it reads without saying so."""

import os
import stat
import subprocess
from pathlib import Path
from typing import Callable, List

import pytest

from tests.cc.project import COMPILE, NAMES, Project, settle, twice

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


@pytest.mark.parametrize(
    "variable",
    [
        *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "INCLUDE", "EXTERNAL_INCLUDE"),
        *("SOURCE_DATE_EPOCH", "COMPILER_PATH", "SDKROOT", "MACOSX_DEPLOYMENT_TARGET", "IPHONEOS_DEPLOYMENT_TARGET"),
        *("VCToolsInstallDir", "VCINSTALLDIR", "WindowsSdkDir", "UniversalCRTSdkDir", "NCC_C_INCLUDE_PATH"),
        *("SCE_ORBIS_SDK_DIR", "SCE_PROSPERO_SDK_DIR", "OBJECT_MODE", "GCC_COLORS", "GCC_URLS", "TERM_URLS"),
    ],
)
def test_the_environment_that_moves_an_object_is_in_the_key(variable: str, project: Project) -> None:
    settle()
    project.cached(["gcc", "-g", *COMPILE], NAMES)
    for value in ("32", "64"):
        project.env = {variable: value}
        results = [project.cached(["gcc", "-g", *COMPILE], NAMES)[0].result for _ in range(2)]
        assert results[0] in ("miss", "dup") and results[1] == "local_hit", results


@pytest.mark.parametrize(
    "variable",
    [
        *("DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "CC_PRINT_HEADERS", "CC_PRINT_OPTIONS", "CC_PRINT_PROC_STAT"),
        "CC_LOG_DIAGNOSTICS",
    ],
)
def test_a_variable_that_has_another_file_written_is_refused(variable: str, project: Project) -> None:
    project.env = {variable: "deps"}
    found, _ = project.cached(["gcc", *COMPILE], NAMES)
    assert found.reason == f"dependency_variable: {variable}"


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

"""What moves an object and stands in no depfile: after each such change, a compile is what it is without kache."""

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Callable, Optional

import pytest

from kachelib import cc_action
from tests.cc.project import Project, check, settle
from tests.world import Kache, World


@pytest.fixture(params=["gcc", "clang"])
def cc(request: pytest.FixtureRequest, require_tool: Callable[[str], Optional[str]]) -> str:
    require_tool(request.param)
    return str(request.param)


@pytest.mark.parametrize("option", ["-DSTAMP=__TIME__", "-Wp,-DSTAMP=__TIME__"])
def test_the_time_in_a_definition(project: Project, cc: str, option: str) -> None:
    project.write({"main.c": "const char *stamp = STAMP;\n"})
    settle()
    first, _ = project.cached([cc, option, "-c", "main.c", "-o", "main.o"], ["main.o"])
    time.sleep(1.1)
    second, _ = project.cached([cc, option, "-c", "main.c", "-o", "main.o"], ["main.o"])
    assert "__TIME__" in first.reason + second.reason
    assert first.outputs != second.outputs


def test_the_times_of_a_file_in_a_definition(project: Project, cc: str) -> None:
    project.write({"main.c": "const char *stamp = STAMP;\n"})
    source = project.build / "main.c"
    check(
        project, lambda: os.utime(source, (1e9, 1e9)), cc, "-DSTAMP=__TIMESTAMP__", "-c", "main.c", "-o", "main.o"
    )


TESTS = {
    "a definition": ("#if THERE\nint there;\n#endif\n", ['-DTHERE=__has_include("x.h")']),
    "another name": ('#define HI __has_include\n#if HI("x.h")\nint there;\n#endif\n', []),
    "a name for that": ('#define HI __has_include\n#define HO HI\n#if HO("x.h")\nint there;\n#endif\n', []),
    "a comment": ('#if __has_include /* c */ ("x.h")\nint there;\n#endif\n', []),
    "in a header": ('#include "h.h"\n#if HI("x.h")\nint there;\n#endif\n', []),
}


@pytest.mark.parametrize("name", TESTS)
def test_a_header_that_is_asked_for_appears(project: Project, cc: str, name: str) -> None:
    text, options = TESTS[name]
    project.write({"main.c": text, "h.h": "#define HI __has_include\n"})
    check(
        project, lambda: (project.build / "x.h").write_text(""), cc, *options, "-c", "main.c", "-o", "main.o"
    )


ASSEMBLY = {
    "behind another word": ("main.S", "nop; .include \"i.s\"\n"),
    "in capitals": ("main.S", " .INCLUDE \"i.s\"\n"),
    "as bytes": ("main.s", " .INCBIN \"i.s\"\n"),
    "by a macro": ("main.c", '#define STR(x) #x\n#define S(x) STR(x)\n__asm__(S(.include "i.s"));\n'),
}


@pytest.mark.parametrize("name", ASSEMBLY)
def test_what_the_assembler_includes(project: Project, cc: str, name: str) -> None:
    source, text = ASSEMBLY[name]
    project.write({source: text, "i.s": " .byte 1\n"})
    check(
        project, lambda: (project.build / "i.s").write_text(" .byte 2\n"), cc, "-c", source, "-o", "main.o"
    )


def test_preprocessed_text_that_includes(project: Project, require_tool: Callable[[str], str]) -> None:
    """Clang follows it; GCC says that it does not understand."""
    require_tool("clang")
    project.write({"main.i": '#include "h.h"\nint x = X;\n', "h.h": "#define X 1\n"})
    change = lambda: (project.build / "h.h").write_text("#define X 2\n")  # noqa: E731
    check(project, change, "clang", "-c", "main.i", "-o", "main.o")


def test_the_assembler_on_the_path_of_a_compiler_with_a_path(
    project: Project, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    gcc = require_tool("gcc")
    project.write({"main.c": "int x;\n"})
    tools = tmp_path / "tools"
    tools.mkdir()

    def other_assembler() -> None:
        text = '#!/bin/sh\n[ "$1" = --version ] && { echo "another as 9"; exit; }\n'
        text += f'for last; do :; done\necho ".byte 7" >>"$last"; exec {shutil.which("as")} "$@"\n'
        (tools / "as").write_text(text)
        (tools / "as").chmod(0o755)

    project.env["PATH"] = f"{tools}:{os.environ['PATH']}"
    check(project, other_assembler, gcc, "-c", "main.c", "-o", "main.o")


@pytest.mark.parametrize("variable", ["PATH", "COMPILER_PATH"])
def test_an_assembler_that_says_what_the_real_one_says(
    project: Project, require_tool: Callable[[str], str], tmp_path: Path, variable: str
) -> None:
    """A script that adds an option, and is taken away again."""
    gcc = require_tool("gcc")
    project.write({"main.c": "int x;\n"})
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "as"
    project.env[variable] = f"{tools}:{os.environ['PATH']}" if variable == "PATH" else str(tools)

    def put_there() -> None:
        script.write_text(f'#!/bin/sh\nexec {shutil.which("as")} --defsym odd=1 "$@"\n')
        script.chmod(0o755)

    check(project, put_there, gcc, "-c", "main.c", "-o", "main.o")
    check(project, script.unlink, gcc, "-O1", "-c", "main.c", "-o", "main.o")


def test_a_configuration_file_of_clang_appears_and_changes(
    project: Project, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    clang = Path(require_tool("clang")).resolve()
    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy(clang, tools / "x86_64-clang")
    project.write({"main.c": "#ifdef FOO\nint foo = FOO;\n#endif\n"})
    command = [str(tools / "x86_64-clang"), "-c", "main.c", "-o", "main.o"]
    resources = next((clang.parent.parent / "lib/clang").iterdir())
    (tmp_path / "lib/clang").mkdir(parents=True)
    (tmp_path / "lib/clang" / resources.name).symlink_to(resources)
    file = tools / "x86_64-clang.cfg"
    check(project, lambda: file.write_text("-DFOO=2\n"), *command)
    check(project, lambda: file.write_text("-DFOO=3\n"), *command)


def test_a_warning_that_ends_the_compile_hangs_on_macros(
    project: Project, require_tool: Callable[[str], str]
) -> None:
    """The text is the same, and Clang looks at what it came from."""
    require_tool("clang")
    before = "#define X x\nint same(int x) { return X == X; }\n"
    project.write({"main.c": before})
    after = before.replace("X == X", "x == x")
    change = lambda: (project.build / "main.c").write_text(after)  # noqa: E731
    check(project, change, "clang", "-Wall", "-Werror", "-c", "main.c", "-o", "main.o")


def test_a_warning_hangs_on_a_comment(project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool("clang")
    before = "/** @param x this */\nint one(int x);\n"
    project.write({"main.c": before})
    change = lambda: (project.build / "main.c").write_text(before.replace("param x", "param y"))  # noqa: E731
    check(project, change, "clang", "-Wdocumentation", "-c", "main.c", "-o", "main.o")


def test_quotes_of_another_charset(project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool("gcc")
    project.write({"main.c": "int f(void) { int unused; return 0; }\n"})
    project.env["LC_ALL"] = "C.UTF-8"
    check(
        project, lambda: project.env.update(LC_ALL="C"), "gcc", "-Wall", "-c", "main.c", "-o", "main.o"
    )


def test_a_file_of_headers_that_clang_is_asked_for(project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool("clang")
    project.write({"main.c": "int x;\n"})
    listed = project.build / "headers"
    project.env.update(CC_PRINT_HEADERS="1", CC_PRINT_HEADERS_FILE=str(listed))
    command = ["clang", "-c", "main.c", "-o", "main.o"]
    for _ in range(2):
        listed.unlink(missing_ok=True)
        project.cached(command, ["main.o"])
        assert listed.exists()


def header_map(path: Path, name: str, prefix: str, suffix: str) -> None:
    """A map of one header (Clang, Lex/HeaderMapTypes.h): magic, version, strings, entries, buckets, longest value."""
    strings = b"\0"
    offsets = []
    for text in (name, prefix, suffix):
        offsets.append(len(strings))
        strings += text.encode() + b"\0"
    head = struct.pack("<IHHIIII", 0x686D6170, 1, 0, 24 + 12 * 2, 1, 2, len(prefix + suffix))
    buckets = struct.pack("<III", *offsets) * 2
    path.write_bytes(head + buckets + strings)


def test_a_map_of_headers(project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool("clang")
    project.write({"main.c": '#include "h.h"\n', "one/h.h": "int one;\n", "two/h.h": "int two;\n"})
    file = project.build / "m.hmap"
    header_map(file, "h.h", f"{project.build}/one/", "h.h")
    change = lambda: header_map(file, "h.h", f"{project.build}/two/", "h.h")  # noqa: E731
    check(project, change, "clang", "-I", "m.hmap", "-c", "main.c", "-o", "main.o")


@pytest.mark.parametrize(
    ("name", "value"), [("GCC_COLORS", "warning=01;32"), ("GCC_EXTRA_DIAGNOSTIC_OUTPUT", "fixits-v1")]
)
def test_variables_of_diagnostics(project: Project, require_tool: Callable[[str], str], name: str, value: str) -> None:
    require_tool("gcc")
    project.write({"main.c": "#include <stdio.h>\nvoid f(void) { int unused; printf(\"%s\", 1); }\n"})
    words = ["gcc", "-Wall", "-fdiagnostics-color=always", "-c", "main.c", "-o", "main.o"]
    check(project, lambda: project.env.update({name: value}), *words)


@pytest.mark.parametrize("option", ["-fdiagnostics-parseable-fixits", "-fdiagnostics-format=json"])
def test_a_fix_it_names_this_checkout(
    world: World, kache_file: Kache, require_tool: Callable[[str], str], option: str
) -> None:
    """Tools edit the file that it names."""
    require_tool("gcc")
    for name in ("one", "two"):
        project = Project.make(world, kache_file, name)
        project.write({"main.c": "#include <stdio.h>\nvoid f(void) { int unused; printf(\"%s\", 1); }\n"})
        settle()
        words = ["gcc", "-Wall", option, "-c", f"{project.build}/main.c", "-o", "main.o"]
        for _ in range(2):
            found, _ = project.cached(words, ["main.o"])
            assert str(project.build) in found.said
            assert name == "one" or str(world.root / "one") not in found.said
        assert found.result == "local_hit"


def test_the_language_that_gettext_prefers() -> None:
    """It counts where the locale is one, and not in that of programs."""

    def layout(**environ: str) -> str:
        action = cc_action.Action.__new__(cc_action.Action)
        action.environ, action.coloured = environ, False
        return action.layout()

    assert layout(LANG="de_DE.UTF-8", LANGUAGE="fr") != layout(LANG="de_DE.UTF-8")
    assert layout(LANG="C", LANGUAGE="fr") == layout(LANG="C")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_precompiled_header_stands_for_none(
    project: Project, require_tool: Callable[[str], str], kind: str
) -> None:
    require_tool("gcc")
    project.write({"main.c": "#include <h.h>\n", "a/x": "", "c/h.h": "int c;\n", "made/h.h": "int made;\n"})
    place = project.build / "a/h.h.gch"

    def precompile() -> None:
        if kind == "directory":
            place.mkdir()
        target = place if kind == "file" else place / "one"
        words = ["gcc", "-Ia", "-Ic", "-x", "c-header", "made/h.h", "-o", str(target)]
        subprocess.run(words, cwd=project.build, env=project.world.env, check=True)

    check(project, precompile, "gcc", "-Ia", "-Ic", "-c", "main.c", "-o", "main.o")


def test_a_warning_names_the_option_for_a_depfile(project: Project, require_tool: Callable[[str], str]) -> None:
    """Clang says that what is preprocessed already needs none."""
    require_tool("clang")
    project.write({"main.i": "int one;\n"})
    words = ["clang", "-c", "main.i", "-o", "main.o"]
    for option in ("-MD", "-Wp,-MD,main.d", "-MD"):
        settle()
        found, _ = project.cached([*words, option], ["main.o"])
        fresh = project.fresh([*words, option], ["main.o"])
        assert (found.status, found.outputs, found.said) == (fresh.status, fresh.outputs, fresh.said)

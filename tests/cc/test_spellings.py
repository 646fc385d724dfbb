"""Directives as few write them: behind comments, with odd blanks, in pieces, by a macro's parameter.

Each is compiled twice, then what they lead to changes, and what kache makes is compared with a fresh compile.
"""

from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import pytest

from tests.cc.project import Project, check

BOTH = ("gcc", "clang")
# a header that is found in one directory, and then in another one before it
FOUND = {"i1/x": "", "i2/q.h": "#define Q 1\n"}
SEARCH = ("-Ii1", "-Ii2")
USE = "int f = Q;\n"
ASKED = "int f;\n#endif\n"
NOISE = "int g(void) { int unused; return 1; }\n"

INCLUDES = (
    '/* see #include "x.h" */ #include "q.h"\n',
    '#inc\\\f\nlude "q.h"\n',
    '#inc\\\v\nlude "q.h"\n',
    '#include/**/"q.h"\n',
    '/* #include <stddef.h> */#/* " */include "q.h" // "\n',
    "%:include /* > */ <q.h>\n",
    "#\0include <q.h>\n",
)
OF_CLANG = ('#include <stddef.h>\r#include "q.h"\r', '#inc\\\rlude "q.h"\n')
TESTS = (
    "#define/**/HI __has_include\n#if HI(<q.h>)\n",
    "#/**/define HI __has_include\n#if HI(<q.h>)\n",
    "#define\vHI __has_include\n#if HI(<q.h>)\n",
    "#define HI /*\n*/ __has_include\n#if HI(<q.h>)\n",
    "#define $ __has_include\n#if $(<q.h>)\n",
    "#define HI(x) __has_include(x)\n#define/**/HJ HI\n#if HJ(<q.h>)\n",
    "#/**/if __has_include\f/**/(<q.h>)\n",
    "#define H(x) __has_##x\n#if H(include)(<q.h>)\n",
    "#define H(w, x) __has_##w(x)\n#if H(include, <q.h>)\n",
    "#define H(w, x) w##include(x)\n#if H(__has_, <q.h>)\n",
)
DEFINED: Tuple[Tuple[str, str], ...] = (
    ("#define HAS(x) __has_include(x)\n#if X\n", "-DX=HAS(<q.h>)"),
    ("#define HAS __has_include\n#if X\n", "-DX=HAS(<q.h>)"),
)
ASSEMBLY: Tuple[Tuple[str, str, List[str]], ...] = (
    ("main.c", '__asm__("\\x2einclude \\"data.s\\"");\n', []),
    ("main.c", '__asm__(".\\x69nclude \\"data.s\\"");\n', []),
    ("main.c", '__asm__(".incl\\165de \\"data.s\\"");\n', []),
    ("main.c", '__asm__("." "include \\"data.s\\"");\n', []),
    ("main.c", '#define S(x) #x\n__asm__(S(.include) " \\"data.s\\"");\n', []),
    ("main.S", 'INC "data.s"\n', ["-DINC=.include"]),
    ("main.S", '#define C(a, b) a##b\n#define D(a, b) C(a, b)\nD(I, J) "data.s"\n', ["-DI=.inc", "-DJ=lude"]),
    ("main.S", '.macro m a b\n.\\a\\b "data.bin"\n.endm\nm inc bin\n', []),
    ("main.S", '.macro m a b\n\\a\\b "data.bin"\n.endm\nm .inc bin\n', []),
    ("main.S", '.macro m a\n\\a "data.s"\n.endm\nm .include\n', []),
    ("main.S", '#define C(a,b) a##b\n.C(inc,lude) "data.s"\n', []),
)
LINES: Tuple[Tuple[str, List[str]], ...] = (
    ('#define F "g.y"\n#line 1 F\n', []),
    ("#line 1 F\n", ['-DF="g.y"']),
    ('/* c */ #line 1 "g.y"\n', []),
    ('# /* c */ line 1 "g.y"\n', []),
    ('# /*\n*/ line 1 "g.y"\n', []),
    ('#line 1 /*\n*/ "g.y"\n', []),
)


class Way(NamedTuple):
    """files: before; words: the options; changed: what becomes of some."""

    files: Dict[str, str]
    words: Sequence[str]
    changed: Dict[str, str]


def put(project: Project, files: Dict[str, str]) -> None:
    for name, text in files.items():
        path = project.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def try_out(project: Project, require_tool: Callable[[str], str], cc: str, way: Way, source: str = "main.c") -> None:
    require_tool(cc)
    put(project, way.files)
    if project.fresh([cc, *way.words, "-c", source, "-o", "main.o"], ["main.o"]).status:
        pytest.skip(f"{cc} does not take it")
    check(project, lambda: put(project, way.changed), cc, *way.words, "-MD", "-c", source, "-o", "main.o")


@pytest.mark.parametrize(
    ("cc", "text"), [*((cc, text) for cc in BOTH for text in INCLUDES), *(("clang", text) for text in OF_CLANG)]
)
def test_a_header_that_another_one_shadows(
    project: Project, require_tool: Callable[[str], str], cc: str, text: str
) -> None:
    way = Way({"main.c": text + USE, **FOUND}, SEARCH, {"i1/q.h": "#define Q 2\n"})
    try_out(project, require_tool, cc, way)


@pytest.mark.parametrize("cc", BOTH)
@pytest.mark.parametrize(("text", "word"), [*((text, "-DY") for text in TESTS), *DEFINED])
def test_a_header_that_is_asked_for(
    project: Project, require_tool: Callable[[str], str], cc: str, text: str, word: str
) -> None:
    try_out(project, require_tool, cc, Way({"main.c": text + ASKED}, ["-I.", word], {"q.h": ""}))


@pytest.mark.parametrize("cc", BOTH)
@pytest.mark.parametrize("call", ASSEMBLY)
def test_what_an_assembler_reads(
    project: Project, require_tool: Callable[[str], str], cc: str, call: Tuple[str, str, List[str]]
) -> None:
    source, text, words = call
    files = {source: text, "data.bin": "abc", "data.s": ".long 1\n"}
    way = Way(files, words, {"data.bin": "xyz", "data.s": ".long 2\n"})
    try_out(project, require_tool, cc, way, source)


@pytest.mark.parametrize("cc", BOTH)
@pytest.mark.parametrize(("text", "words"), LINES)
def test_a_line_of_another_file_that_a_warning_shows(
    project: Project, require_tool: Callable[[str], str], cc: str, text: str, words: List[str]
) -> None:
    files = {"main.c": text + NOISE, "g.y": "one line\n"}
    try_out(project, require_tool, cc, Way(files, ["-Wall", *words], {"g.y": "other line\n"}))


@pytest.mark.parametrize(
    "text",
    [
        "#define T(a) __TI##a\nconst char *t = T(ME__);\n",
        "#define T(a) a##ME__\nconst char *t = T(__TI);\n",
        "#define T(a, b) a %:%: b\nconst char *t = T(__TI, ME__);\n",
        "#define T __TI/**/##/**/ME__\nconst char *t = T;\n",
        "#define T(a, b) a##b\nconst char *t = T(__TI/**/,ME__);\n",
        "const char *t = __TI\\\f\nME__;\n",
    ],
)
@pytest.mark.parametrize("cc", BOTH)
def test_a_time_is_not_kept(project: Project, require_tool: Callable[[str], str], cc: str, text: str) -> None:
    require_tool(cc)
    put(project, {"main.c": text})
    found, _ = project.cached([cc, "-c", "main.c", "-o", "main.o"], ["main.o"])
    assert found.status == 0 and "not stored" in found.reason, found

"""What a source's text says of other files, whatever way it is written."""

import time
from typing import List, Set, Tuple

import pytest

from kachelib import include_scan, search_path
from kachelib.include_scan import (
    ANGLED,
    ASM_INCLUDE,
    COMPUTED,
    COMPUTED_NEXT,
    EMBED,
    HAS_ANGLED,
    HAS_QUOTED,
    IMPORT,
    INCBIN,
    LINE,
    NEXT_ANGLED,
    NEXT_QUOTED,
    ONCE,
    PASTED,
    PRAGMA,
    QUOTED,
    TIME,
    TIMESTAMP,
    TRIGRAPH,
    UNCLEAR_TEST,
    WRAPPER,
)


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        (b'#include "a.h"\n', [(QUOTED, "a.h")]),
        (b"#include <a/b.h>\n", [(ANGLED, "a/b.h")]),
        (b'  #  include\t"a.h" // c\n', [(QUOTED, "a.h")]),
        (b'/* c */ # /* d */ include /* e */ "a.h"\n', [(QUOTED, "a.h")]),
        (b'%:include "a.h"\n', [(QUOTED, "a.h")]),
        (b'??=include "a.h"\n', [(QUOTED, "a.h")]),
        (b'#inc\\\nlude "a.h"\n', [(QUOTED, "a.h")]),
        (b'#include \\\r\n "a.h"\n', [(QUOTED, "a.h")]),
        (b"#include_next <a.h>\n", [(NEXT_ANGLED, "a.h")]),
        (b'#include_next "a.h"\n', [(NEXT_QUOTED, "a.h")]),
        (b'#import "a.h"\n', [(QUOTED, "a.h")]),
        (b'#include"a.h"\n#include<b.h>\n', [(QUOTED, "a.h"), (ANGLED, "b.h")]),
        (b"#if __has_include(<a.h>) && __has_include( \"b.h\" )\n", [(HAS_ANGLED, "a.h"), (HAS_QUOTED, "b.h")]),
        (b'#if __has_include__("a.h")\n', [(HAS_QUOTED, "a.h")]),
        (b"#ifdef __has_include\n#endif\n#if defined(__has_include)\n#endif\n", []),
        (b'#include "a.h"\n#include "a.h"\n', [(QUOTED, "a.h")]),
    ],
)
def test_headers_are_found(text: bytes, headers: List[Tuple[str, str]]) -> None:
    assert list(include_scan.read(text).headers) == headers


@pytest.mark.parametrize(
    ("text", "traits"),
    [
        (b"#define X \"a.h\"\n#include X\n", {COMPUTED}),
        (b"#include CONCAT(a, b)\n", {COMPUTED}),
        (b"#include_next CONCAT(a, b)\n", {COMPUTED, COMPUTED_NEXT}),
        (b"#import CONCAT(a, b)\n", {COMPUTED, IMPORT}),
        (b"??/\n", {TRIGRAPH}),
        (b"#if __has_include(X)\n", {UNCLEAR_TEST}),
        (b'#if __has_include /* c */ ("x.h")\n', {UNCLEAR_TEST}),
        (b'#define HI(x) __has_include x\n#if HI(("x.h"))\n', {UNCLEAR_TEST}),
        (b"#define HI __has_include\n", set()),
        (b"#if defined ( __has_include ) && !defined __has_include_next\n", set()),
        (b"#ifdef __has_include\n#endif /* __has_include */\n", set()),
        (b"#pragma once\n", {ONCE}),
        (b'_Pragma("once")\n', {ONCE}),
        (b'#import "a.h"\n', {IMPORT}),
        (b'nop; .include "i.s"\n', {ASM_INCLUDE}),
        (b'.INCLUDE "i.s"\n', {ASM_INCLUDE}),
        (b'asm(STR(.include "i.s"));\n', {ASM_INCLUDE}),
        (b'asm(STR(.include/**/"i.s"));\n', {ASM_INCLUDE}),
        (b"struct x y = { .include = 1 }; y.include = z.included;\n", set()),
        (b'.INCBIN "f"\n', {INCBIN}),
        (b" .mri 1\n include part.s\n", {INCBIN}),
        (b"#define HAVE_INCBIN 1\n", set()),
        (b"char *t = __TIME__;\n", {TIME}),
        (b"char *t = __DATE__;\n", {TIME}),
        (b"char *t = my__TIME__x;\n", set()),
        (b"__TIMESTAMP__", {TIMESTAMP}),
        (b'asm(".incbin \\"x\\"");', {INCBIN}),
        (b"#embed <x>\n", {EMBED}),
        (b"#if __has_embed(<x>)\n", {EMBED}),
        (b"int embedded; // # embed\n", {EMBED}),
        (b"\t.include \"x.s\"\n", {ASM_INCLUDE}),
        (b'asm("\\t.include \\"x\\"");', {ASM_INCLUDE}),
        (b'x.include = 1;\n', set()),
        (b'#pragma GCC dependency "x"\n', {PRAGMA}),
        (b"int plain;\n", set()),
        (b"P(__TI, ME__)\n", {PASTED}),
        (b"__DA ## TE__\n", {PASTED}),
        (b"#define __TIME_T long\nenum { TIME, DATE };\n", set()),
        (b"#define U(x) __##x\nU(DATE)\n", {PASTED}),
        (b'#line 4 "x.y"\n', {LINE}),
        (b'#define LINE 4 "x.y"\nchar *x = "# line 1";\n', set()),
        (b'asm(".inc" "bin");\n', {INCBIN}),
        (b'#include "x.inc"\n#define NAME "x.inc"\nchar *a = "done.\\033[0m", *b = "...\\n";\nasm("nop");\n', set()),
        (b"struct s x = { .inc = 1, .bin = x.inc };\nasm(\"nop\");\n", set()),
        (b"#pragma include_alias(<a>, <b>)\n", {PRAGMA}),
    ],
)
def test_what_no_depfile_tells_is_found(text: bytes, traits: Set[str]) -> None:
    assert include_scan.read(text).traits == traits


WRAPPED = b"#ifdef __has_include\n# define HAS(x) __has_include(x)\n#else\n# define HAS(x) 0\n#endif\n"


def test_a_macro_around_has_include_is_known_by_its_uses() -> None:
    found = include_scan.read(WRAPPED)
    assert list(found.headers) == [(WRAPPER, "HAS")] and not found.traits
    assert include_scan.uses(WRAPPED, {"HAS"}) == []
    text = WRAPPED + b'#if HAS(<a.h>) || HAS( "b.h" )\n#ifdef HAS\n#undef HAS\n#endif\n#define C HAS(<c.h>)\n'
    assert include_scan.uses(text, {"HAS"}) == [(HAS_ANGLED, "a.h"), (HAS_QUOTED, "b.h"), (HAS_ANGLED, "c.h")]


@pytest.mark.parametrize("text", [b"#if HAS(NAME)\n", b"#define MORE(y) HAS(y)\n", b"#if HAS(<a.h> NAME)\n"])
def test_a_use_that_names_no_header_is_unclear(text: bytes) -> None:
    assert include_scan.uses(text, {"HAS"}) is None


@pytest.mark.parametrize("text", [b"#define HAS __has_include(NAME)\n", b"#define HAS(x) __has_include(y)\n"])
def test_any_other_macro_in_has_include_is_unclear(text: bytes) -> None:
    assert UNCLEAR_TEST in include_scan.read(text).traits


def test_the_search_path_is_read_from_what_the_compiler_says() -> None:
    text = (
        'ignoring nonexistent directory "gone"\n#include "..." search starts here:\n q one\n'
        "#include <...> search starts here:\n a\n /usr/include\nEnd of search list.\n after\n"
    )
    found = search_path.parse(text)
    assert (found.quote, found.angle, found.gone) == (["q one"], ["a", "/usr/include"], ["gone"])


@pytest.mark.parametrize("piece", [b"#", b'"#1",', b"o , ", b"/*", b'".', b"once ", b"\\", b"%:1"])
def test_a_line_of_megabytes_is_read_in_seconds(piece: bytes) -> None:
    """As generators of tables write them. What looks at the rest of a line again from each place takes hours."""
    began = time.process_time()
    include_scan.read(b"const char table[] = " + piece * (2_000_000 // len(piece)))
    assert time.process_time() - began < 20

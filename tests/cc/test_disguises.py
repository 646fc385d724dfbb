"""What moves an object in disguise: in pieces, in escapes, by other names, by what the compiler decides for itself.

Each is compiled twice, then files change, and what kache makes is compared with a fresh compile.
"""

import os
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import pytest

from tests.cc.project import Project, check, settle

BOTH = ("gcc", "clang")
SYMBOLIC, HARD = "\0symbolic ", "\0hard "


class Case(NamedTuple):
    """files: before; changed: what becomes of some, None for removed; a text may be a link to what is named."""

    files: Mapping[str, str]
    words: Sequence[str]
    changed: Mapping[str, Optional[str]]
    compilers: Tuple[str, ...] = BOTH


ASKS = "#if __has_include(<q.h>)\n#include <q.h>\n#else\n#define Q 7\n#endif\nint f = Q;\n"
USES = '#include "q.h"\nint f = Q;\n'
COUNTS = "enum {\n#ifdef Z\nb\n#else\na\n#endif\n= __COUNTER__ };\n#define Z\n"
TWICE = '#include "a.h"\n#include "b.h"\nint f = __COUNTER__;\n'
MICROSOFT = ["--driver-mode=cl", "--target=x86_64-pc-windows-msvc", "/Brepro"]

CASES: Dict[str, Case] = {
    "a file where a directory is searched": Case(
        {"main.c": USES, "d": "", "inc/q.h": "#define Q 1\n"},
        ["-Id", "-Iinc"],
        {"d": None, "d/q.h": "#define Q 2\n"},
    ),
    "__has_include_next, and the next vanishes": Case(
        {
            "main.c": '#include "a.h"\nint f = Q;\n',
            "i1/a.h": '#if __has_include_next("a.h")\n#define Q 1\n#else\n#define Q 2\n#endif\n',
            "i2/a.h": "",
        },
        ["-Ii1", "-Ii2"],
        {"i2/a.h": None},
    ),
    "#include_next among directories for quotes": Case(
        {"main.c": '#include_next "c.h"\n', "q1/x": "", "i1/c.h": "int c;\n", "i2/x": ""},
        ["-iquote", "q1", "-Ii1"],
        {"q1/c.h": "int d;\n"},
    ),
    "#include_next in a source": Case(
        {"main.c": '#include_next "c.h"\n', "i1/c.h": "int c;\n"}, ["-Ii1"], {"c.h": "int d;\n"}
    ),
    "#include_next in what lies beside a source": Case(
        {"main.c": '#include "b.h"\n', "b.h": '#include_next "c.h"\n', "i1/c.h": "int c;\n"},
        ["-Ii1"],
        {"c.h": "int d;\n"},
    ),
    "__has_include_next in a macro of another directory": Case(
        {
            "main.c": '#include "s/a.h"\n#if HB\nint f = 1;\n#else\nint f = 2;\n#endif\n',
            "s/a.h": '#define HB __has_include_next("b.h")\n',
        },
        [],
        {"b.h": ""},
    ),
    "#include_next of a macro": Case(
        {
            "main.c": "#include <c.h>\n",
            "i1/c.h": "#define NEXT <c.h>\n#include_next NEXT\n",
            "i2/x": "",
            "i3/c.h": "int c;\n",
        },
        ["-Ii1", "-Ii2", "-Ii3"],
        {"i2/c.h": "int d;\n"},
    ),
    "equal headers become one file": Case(
        {
            "main.c": '#include "d1/a.h"\n#include "d2/a.h"\n',
            **{f"d{number}/a.h": '#include "c.h"\n' for number in (1, 2)},
            **{f"d{number}/c.h": f"int c{number};\n" for number in (1, 2)},
        },
        [],
        {"d2/a.h": SYMBOLIC + "../d1/a.h"},
    ),
    "one file of two names becomes two": Case(
        {
            "main.c": '#include "d1/a.h"\n#include "d2/a.h"\n',
            "d1/a.h": '#include "c.h"\n',
            "d2/a.h": HARD + "d1/a.h",
            **{f"d{number}/c.h": f"int c{number};\n" for number in (1, 2)},
        },
        [],
        {"d2/a.h": '#include "c.h"\n'},
    ),
    "a dangling link in a directory of which Clang takes what is there": Case(
        {
            "main.c": "#if __has_include(<q.h>)\nint f = 1;\n#else\nint f = 2;\n#endif\n",
            "sr/usr/include/q.h": SYMBOLIC + "../../../late/q.h",
        },
        ["--sysroot=sr"],
        {"late/q.h": ""},
    ),
    "beside whatever includes it, for a target": Case(
        {
            "main.c": '#include "a/x.h"\nint f = Q;\n',
            "a/x.h": '#include "b/x.h"\n',
            "a/b/x.h": '#include "q.h"\n',
            "q.h": "#define Q 1\n",
        },
        ["--target=x86_64-pc-win32", "-Wno-everything", "-mno-incremental-linker-compatible"],
        {"a/q.h": "#define Q 2\n"},
        ("clang",),
    ),
    "a macro asks from where it stands": Case(
        {
            "main.c": '#define HB __has_include("b.h")\n#include "s/a.h"\nint f = Q;\n',
            "s/a.h": "#if HB\n#define Q 1\n#else\n#define Q 2\n#endif\n",
        },
        [],
        {"s/b.h": ""},
    ),
    "a macro asks from where it was not defined": Case(
        {
            "main.c": '#include "s/a.h"\n#if HB\nint f = 1;\n#else\nint f = 2;\n#endif\n',
            "s/a.h": '#define HB __has_include("b.h")\n',
        },
        [],
        {"b.h": ""},
    ),
    "a link that leads to nothing yet": Case(
        {"main.c": USES, "d/q.h": SYMBOLIC + "../late/q.h", "inc/q.h": "#define Q 1\n"},
        ["-Id", "-Iinc"],
        {"late/q.h": "#define Q 2\n"},
    ),
    "__has_include in two pieces": Case(
        {"main.c": '#define P(a, b) a##b\n#if P(__has_, include)("y.h")\nint f = 1;\n#endif\n'}, [], {"y.h": ""}
    ),
    "__has_include with a trigraph": Case(
        {"main.c": '#if __has_??/\ninclude("q.h")\nint f;\n#endif\n', "d/x": ""},
        ["-trigraphs", "-Id"],
        {"d/q.h": ""},
        ("gcc",),
    ),
    "__has_include in UTF-7": Case(
        {"main.c": '#if +AF8AXw-has+AF8-include("q.h")\nint f;\n#endif\n'},
        ["-finput-charset=UTF-7"],
        {"q.h": ""},
        ("gcc",),
    ),
    "copies that are included once become one": Case(
        {"main.c": TWICE, "a.h": "#pragma /**/ once\n" + COUNTS, "b.h": "#pragma /**/ once\n" + COUNTS},
        [],
        {"b.h": HARD + "a.h"},
    ),
    "copies that a macro includes once": Case(
        {
            "main.c": "#define DP(x) _Pragma(#x)\n" + TWICE,
            "a.h": "DP(once)\n" + COUNTS,
            "b.h": "DP(once)\n" + COUNTS,
        },
        [],
        {"b.h": HARD + "a.h"},
    ),
    "copies of which debug information names one": Case(
        {"main.c": '#include "a.h"\n#include "b.h"\n', "a.h": "int q_" "(void);\n", "b.h": "int q_" "(void);\n"},
        ["-g"],
        {"b.h": HARD + "a.h"},
    ),
    "#line shows another file": Case(
        {"main.c": '#line 1 "g.y"\nint f(void) { int unused; return 1; }\n', "g.y": "one line\n"},
        ["-Wall"],
        {"g.y": "other line\n"},
    ),
    "a precompiled header appears for -include": Case(
        {"main.c": "int f = Q;\n", "i/s/p.h": "#define Q 1\n", "s/x": ""},
        ["-include", "s/p.h", "-Ii"],
        {"s/p.h.pch": "no such thing\n"},
        ("clang",),
    ),
    "an old file that a pragma names": Case(
        {"main.c": '_Pragma("GCC dependency \\"g.y\\"")\nint f;\n', "g.y": ""}, [], {"g.y": "\n"}, ("gcc",)
    ),
    "#pragma include_alias": Case(
        {
            "main.c": "#pragma include_alias(<q.h>, <z.h>)\n#include <q.h>\nint f = Q;\n",
            "i1/x": "",
            "i2/z.h": "#define Q 1\n",
        },
        ["-fms-extensions", "-Ii1", "-Ii2"],
        {"i1/z.h": "#define Q 2\n"},
        ("clang",),
    ),
    "a slash written as Microsoft does": Case(
        {"main.c": "#include <s\\y.h>\nint f = Q;\n", "i1/x": "", "i2/s/y.h": "#define Q 1\n"},
        ["-fms-compatibility", "-Ii1", "-Ii2"],
        {"i1/s/y.h": "#define Q 2\n"},
        ("clang",),
    ),
    "beside whatever includes it": Case(
        {
            "main.c": '#include "a/x.h"\nint f = Q;\n',
            "a/x.h": '#include "b/x.h"\n',
            "a/b/x.h": '#include "y.h"\n',
            "i2/y.h": "#define Q 1\n",
        },
        ["-fms-compatibility", "-Ii2"],
        {"a/y.h": "#define Q 2\n"},
        ("clang",),
    ),
    "a newer toolchain appears": Case(
        {
            "main.cc": "#include <q.h>\nint f = X;\n",
            "gt/lib/gcc/x86_64-linux-gnu/9/crtbegin.o": "",
            "gt/include/c++/9/q.h": "#define X 1\n",
        },
        ["--gcc-toolchain=gt"],
        {"gt/lib/gcc/x86_64-linux-gnu/10/crtbegin.o": "", "gt/include/c++/10/q.h": "#define X 2\n"},
        ("clang++",),
    ),
    "a newer toolchain appears in a system's root": Case(
        {
            "main.cc": "#include <q.h>\nint f = X;\n",
            "sr/usr/lib/gcc/x86_64-linux-gnu/9/crtbegin.o": "",
            "sr/usr/include/c++/9/q.h": "#define X 1\n",
        },
        ["--sysroot=sr"],
        {"sr/usr/lib/gcc/x86_64-linux-gnu/10/crtbegin.o": "", "sr/usr/include/c++/10/q.h": "#define X 2\n"},
        ("clang++",),
    ),
    "the headers of an architecture appear": Case(
        {"main.c": ASKS, "sr/usr/include/q.h": "#define Q 1\n"},
        ["--sysroot=sr"],
        {"sr/usr/include/x86_64-linux-gnu/q.h": "#define Q 2\n"},
        ("clang",),
    ),
    "a newer libc++ appears": Case(
        {"main.cc": ASKS, "sr/usr/include/c++/v1/q.h": "#define Q 1\n"},
        ["--sysroot=sr", "-stdlib=libc++"],
        {"sr/usr/include/c++/v2/q.h": "#define Q 2\n"},
        ("clang++",),
    ),
    "the compiler's own headers appear": Case(
        {"main.c": ASKS}, ["-resource-dir=rd"], {"rd/include/q.h": "#define Q 2\n"}, ("clang",)
    ),
    "what a sanitizer leaves alone": Case(
        {"main.c": "int f(int *p, int a) { return *p / a; }\n"},
        ["-fsanitize=address", "-resource-dir=rd"],
        {"rd/share/asan_ignorelist.txt": "src:*\n"},
        ("clang",),
    ),
    "what a system's root says of it": Case(
        {"main.c": "int f;\n", "sr/SDKSettings.json": '{"Version":"11.0","MaximumDeploymentTarget":"11.0.99"}'},
        ["--target=x86_64-apple-darwin", "-isysroot", "sr"],
        {"sr/SDKSettings.json": '{"Version":"12.0","MaximumDeploymentTarget":"12.0.99"}'},
        ("clang",),
    ),
    "a framework appears": Case(
        {
            "main.c": "#if __has_include(<A/A.h>)\nint f = 1;\n#else\nint f = 2;\n#endif\n",
            "sr/System/Library/Frameworks/B.framework/Headers/x": "",
        },
        ["--target=x86_64-apple-darwin", "-isysroot", "sr"],
        {"sr/System/Library/Frameworks/A.framework/Headers/A.h": ""},
        ("clang",),
    ),
}


@pytest.mark.parametrize(("name", "cc"), [(name, cc) for name, case in CASES.items() for cc in case.compilers])
def test_a_disguise(project: Project, require_tool: Callable[[str], str], name: str, cc: str) -> None:
    require_tool(cc)
    case = CASES[name]
    put(project, case.files)
    change = lambda: put(project, case.changed)  # noqa: E731
    source = "main.cc" if "main.cc" in case.files else "main.c"
    check(project, change, cc, *case.words, "-MD", "-c", source, "-o", "main.o")


def put(project: Project, files: Mapping[str, Optional[str]]) -> None:
    """Write, link or remove files of the checkout."""
    for name, text in files.items():
        path = project.base / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        if text is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith(SYMBOLIC):
                path.symlink_to(text[len(SYMBOLIC) :])
            elif text.startswith(HARD):
                os.link(project.base / text[len(HARD) :], path)
            else:
                path.write_text(text)


# Assembly that reads data.bin, or data.s, and does not say so in one word.
ASSEMBLY = (
    '__asm__(".inc" "bin \\"data.bin\\"");\n',
    '__asm__(".inc" /* c */ "lude \\"data.s\\"");\n',
    '__asm__(".\\x69ncbin \\"data.bin\\"");\n',
    '__asm__(".\\151ncbin \\"data.bin\\"");\n',
    '__asm__(".inc\\x62in \\"data.bin\\"");\n',
    '__asm__(".inc/**/bin \\"data.bin\\"");\n',
    '#define S(x) #x\n__asm__("." S(incbin) " \\"data.bin\\"");\n',
    '#define S(x) #x\n#define T(a, b) S(.a##b) " \\"data.bin\\""\n__asm__(T(inc, bin));\n',
    '#define Q ".inc"\n__asm__(Q "bin \\"data.bin\\"");\n',
    '#define E(x) x\n__asm__(E(".incb") E("in \\"data.bin\\""));\n',
    '__asm__(".irp z,bin\\n.inc\\\\z \\"data.bin\\"\\n.endr");\n',
    '__asm__(".macro q a,b\\n.\\\\a\\\\b \\"data.bin\\"\\n.endm\\nq inc,bin");\n',
)
LOW_ASSEMBLY = (
    ("main.s", '.macro m a\n.inc\\a "data.bin"\n.endm\nm bin\n'),
    ("main.S", '#define C(a,b) a##b\nC(.inc,bin) "data.bin"\n'),
    ("main.S", '.irp z,bin\n.inc\\z "data.bin"\n.endr\n'),
)


@pytest.mark.parametrize("cc", BOTH)
@pytest.mark.parametrize(
    ("source", "text"), [*[("main.c", text) for text in ASSEMBLY], *LOW_ASSEMBLY], ids=lambda text: repr(text)[:40]
)
def test_what_an_assembler_reads(
    project: Project, require_tool: Callable[[str], str], cc: str, source: str, text: str
) -> None:
    require_tool(cc)
    put(project, {source: text, "data.bin": "abc", "data.s": ".long 1\n"})
    if project.fresh([cc, "-c", source, "-o", "main.o"], ["main.o"]).status:
        pytest.skip(f"{cc} does not take it")
    change = lambda: put(project, {"data.bin": "xyz", "data.s": ".long 2\n"})  # noqa: E731
    check(project, change, cc, "-c", source, "-o", "main.o")


TIMES: Tuple[Tuple[str, List[str]], ...] = (
    ("#define C(a, b) a##b\nconst char *t = C(__TI, ME__);\n", []),
    ("#define C(a, b) a##b\nconst char *t = C(__DATE, __);\n", []),
    ("#define C(a, b) a##b\nconst char *t = C(__TIME, STAMP__);\n", []),
    ("#define C(a) __##a##__\nconst char *t = C(TIME);\n", []),
    ("#define C(a, b) a##b\nconst char *t = Q;\n", ["-DQ=C(__TI,ME__)"]),
    ("const char *t = __TI??/\nME__;\n", ["-trigraphs"]),
)


@pytest.mark.parametrize("cc", BOTH)
@pytest.mark.parametrize(("text", "words"), TIMES)
def test_a_time_in_pieces_is_not_kept(
    project: Project, require_tool: Callable[[str], str], cc: str, text: str, words: List[str]
) -> None:
    require_tool(cc)
    put(project, {"main.c": text})
    settle()
    found, _ = project.cached([cc, *words, "-c", "main.c", "-o", "main.o"], ["main.o"])
    assert found.status == 0, found.said
    assert "not stored" in found.reason


def test_clang_does_not_heed_a_fixed_time(project: Project, require_tool: Callable[[str], str]) -> None:
    require_tool("clang")
    put(project, {"main.c": "const char *t = __TIME__;\n"})
    project.env["SOURCE_DATE_EPOCH"] = "1000"
    settle()
    found, _ = project.cached(["clang", "-c", "main.c", "-o", "main.o"], ["main.o"])
    assert "not stored: __DATE__ or __TIME__" in found.reason


@pytest.mark.parametrize("fate", ["changes", "vanishes"])
def test_a_precompiled_header_is_used(project: Project, require_tool: Callable[[str], str], fate: str) -> None:
    """No depfile names it, nor the header."""
    gcc = require_tool("gcc")
    put(project, {"main.c": USES, "q.h": '#include "r.h"\n', "r.h": "#define Q 1\n"})

    def precompile() -> None:
        words = [gcc, "-x", "c-header", "q.h", "-o", "q.h.gch"]
        assert project.fresh(words, []).status == 0

    def change() -> None:
        if fate == "vanishes":
            put(project, {"q.h.gch": None, "r.h": "#define Q 2\n"})
        else:
            put(project, {"r.h": "#define Q 2\n"})
            precompile()

    precompile()
    check(project, change, "gcc", "-MD", "-c", "main.c", "-o", "main.o")


@pytest.mark.parametrize("cc", BOTH)
@pytest.mark.parametrize("between", ["/./", "//"])
@pytest.mark.parametrize("what", ["source", "directory", "forced"])
def test_a_path_is_as_it_is_spelled(
    project: Project, require_tool: Callable[[str], str], cc: str, between: str, what: str
) -> None:
    """__FILE__, debug information, depfiles and warnings have it so."""
    require_tool(cc)
    put(project, {"main.c": 'int f(void) { int unused; return 1; }\nconst char *n = __FILE__;\n'})
    user = '#include "h.h"\nconst char *g(void) { return h; }\n'
    put(project, {"i/h.h": "static const char *h = __FILE__;\n", "user.c": user})
    settle()
    for slash in ("/", between, "/"):
        place = f"{project.build}{slash}"
        words = {
            "source": [cc, "-Wall", "-MD", "-c", place + "main.c", "-o", "main.o"],
            "directory": [cc, "-MD", f"-I{place}i", "-c", "user.c", "-o", "main.o"],
            "forced": [cc, "-MD", "-include", place + "i/h.h", "-c", "main.c", "-o", "main.o"],
        }[what]
        found, _ = project.cached(words, ["main.o", "main.d"])
        fresh = project.fresh(words, ["main.o", "main.d"])
        assert (found.status, found.said, found.outputs) == (0, fresh.said, fresh.outputs)


@pytest.mark.parametrize("cc", BOTH)
@pytest.mark.parametrize(
    "words", [["-MD", "-MMD"], ["-MMD", "-MD"], ["-Wp,-MD,w.d", "-MD"], ["-MD", "-MT"], ["-o", "other.o"]]
)
def test_options_that_stand_twice_or_half(
    project: Project, require_tool: Callable[[str], str], cc: str, words: List[str]
) -> None:
    require_tool(cc)
    put(project, {"main.c": '#include <stddef.h>\n#include "h.h"\nint f;\n', "h.h": ""})
    command = [cc, "-c", "main.c", "-o", "main.o", *words]
    names = ["main.o", "main.d", "w.d", "other.o", "other.d"]
    for text in ("", "", "// c\n", ""):
        put(project, {"h.h": text})
        settle()
        found, _ = project.cached(command, names)
        fresh = project.fresh(command, names, maps=found.result != "passthrough")
        assert (found.status, found.said, found.outputs) == (fresh.status, fresh.said, fresh.outputs), found


@pytest.mark.parametrize("target", [["--target=x86_64-pc-windows-msvc"], ["-target", "x86_64-pc-win32"]])
def test_debug_information_for_windows_has_the_command_line(
    project: Project, require_tool: Callable[[str], str], target: List[str]
) -> None:
    require_tool("clang")
    put(project, {"main.c": "int f;\n"})
    refused, kept = f"command_line_recorded: {target[-1]}", "no earlier compile of this action"
    for option, reason in (("-g", refused), ("-O1", kept)):
        found, _ = project.cached(["clang", *target, option, "-c", "main.c", "-o", "main.o"], ["main.o"])
        assert found.status == 0 and found.reason == reason

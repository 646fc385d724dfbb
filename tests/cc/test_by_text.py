"""Hits by the preprocessed text: where it says all that the object and the compiler's words hang on, and where not."""

from typing import Callable, Dict, List, NamedTuple

import pytest

from tests.cc.project import Project, settle

NAMES = ["main.o", "main.d"]
FALLS = "int f(int x) {{ switch (x) {{ case 1: x++; {} case 2: x += 2; }} return x; }}\n"


class Case(NamedTuple):
    """files: what is compiled first; words: the options; changed: what a header or the source says then."""

    files: Dict[str, str]
    words: List[str]
    changed: Dict[str, str]


CASES = {
    "a directive behind a comment": Case(
        {"main.c": '/* a\n b */ #include "a.h"\nint f(void) { return A; }\n', "a.h": "#define A 1\n"},
        ["-Wextra"],
        {"a.h": "#define A 2\n"},
    ),
    "a branch behind a comment": Case(
        {"main.c": '#if 0\n/* c */ #else\n#include "a.h"\n#endif\nint f = A + 1;\n', "a.h": "enum { A };\n"},
        ["-Wextra"],
        {"a.h": "enum { B, A };\n"},
    ),
    "a macro's parenthesis behind a comment": Case(
        {"main.c": '#include "a.h"\nint f(void) { return A /* c */ (1); }\n', "a.h": "#define A(x) x\n"},
        ["-Wextra"],
        {"a.h": "#define A(x) (x + 1)\n"},
    ),
    "a comment that keeps a warning away": Case(
        {"main.c": FALLS.format("/* fall through */")}, ["-Wextra"], {"main.c": FALLS.format("/* and then */")}
    ),
    "a macro in a pragma": Case(
        {
            "main.c": '#include "a.h"\n#pragma pack(A)\nstruct s { char a; int b; };\nint f = sizeof(struct s);\n',
            "a.h": "#define A 1\n",
        },
        [],
        {"a.h": "#define A 4\n"},
    ),
    "a macro in _Pragma": Case(
        {
            "main.c": '#include "a.h"\nvoid a(void); void b(void);\n_Pragma("weak A")\nvoid f(void) { a(); b(); }\n',
            "a.h": "#define A a\n",
        },
        [],
        {"a.h": "#define A b\n"},
    ),
    "a pragma that GCC obeys when it compiles": Case(
        {
            "main.c": '#include "a.h"\n#pragma GCC target("avx2")\n#ifdef __AVX2__\nint f = A;\n#endif\nint g;\n',
            "a.h": "#define A 1\n",
        },
        [],
        {"a.h": "#define A 2\n"},
    ),
    "a comment that a warning is of, and the source asks for that": Case(
        {"main.c": '#pragma clang diagnostic warning "-Wdocumentation"\n/** @param x it */\nint f(int x);\n'},
        [],
        {"main.c": '#pragma clang diagnostic warning "-Wdocumentation"\n/** @param y it */\nint f(int x);\n'},
    ),
}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", CASES)
def test_what_the_text_does_not_tell(
    name: str, compiler: str, project: Project, require_tool: Callable[[str], str]
) -> None:
    require_tool(compiler)
    case = CASES[name]
    words = [compiler, *case.words, "-MD", "-c", "main.c", "-o", "main.o"]
    project.write(case.files)
    settle()
    assert project.cached(words, NAMES)[0].result == "miss"
    project.write(case.changed)
    settle()
    found, _ = project.cached(words, NAMES)
    fresh = project.fresh(words, NAMES)
    assert (found.status, found.said, found.outputs) == (fresh.status, fresh.said, fresh.outputs), found.reason


def test_a_place_in_the_name_of_a_function(project: Project, require_tool: Callable[[str], str]) -> None:
    """Clang names a lambda by its line."""
    require_tool("clang++")
    text = "template <class T> const char *n(T) { return __PRETTY_FUNCTION__; }\nconst char *f() { return n([]{}); }\n"
    words = ["clang++", "-MD", "-c", "main.cc", "-o", "main.o"]
    for source in (text, "// c\n" + text):
        project.write({"main.cc": source})
        settle()
        assert project.cached(words, NAMES)[0].outputs == project.fresh(words, NAMES).outputs


def test_headers_that_the_preprocessor_alone_passes_over(project: Project, require_tool: Callable[[str], str]) -> None:
    """With -MMD another process says which headers there were."""
    require_tool("gcc")
    words = ["gcc", "-g", "-MMD", "-c", "main.c", "-o", "main.o"]
    text = '#pragma GCC target("avx2")\n#ifdef __AVX2__\n#include "a.h"\n#endif\nint g;\n'
    for number in (1, 1, 2):
        project.write({"main.c": text, "a.h": f"int f = {number};\n"})
        settle()
        assert project.cached(words, NAMES)[0].outputs == project.fresh(words, NAMES).outputs


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_header_that_says_the_same(compiler: str, project: Project, require_tool: Callable[[str], str]) -> None:
    """Otherwise the cases above would show nothing."""
    require_tool(compiler)
    words = [compiler, "-Wall", "-MD", "-c", "main.c", "-o", "main.o"]
    project.write({"main.c": '/* a\n b */ #include "a.h"\nint f(void) { return A /* c */ (1); }\n'})
    results = []
    for text in ("#define A(x) x\n", "// c\n#define A(x) /* c */ x\n#define B 1\n"):
        project.write({"a.h": text})
        settle()
        found, run = project.cached(words, NAMES)
        assert found.outputs == project.fresh(words, NAMES).outputs
        results.append((found.result, run.events[-1].get("route")))
    assert results == [("miss", None), ("local_hit", "preprocessed")]


@pytest.mark.parametrize("option", ["-traditional-cpp", "-fpreprocessed"])
def test_a_preprocessor_of_another_kind(option: str, project: Project) -> None:
    """It pastes words with comments, and looks into strings: what a source asks for cannot be searched for."""
    project.write({"main.c": "int f;\n"})
    found, _ = project.cached(["gcc", option, "-c", "main.c", "-o", "main.o"], NAMES)
    assert found.reason == f"language: {option}"

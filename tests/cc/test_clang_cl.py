"""clang-cl: what is cached, what passes through and why, and that a hit is what the compiler would have made."""

import re
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from kachelib import cc, clang_cl, outcome
from kachelib.cc import Plan
from kachelib.outcome import NotACompile, Refusal
from tests.cc.project import Project, settle

TARGET = "--target=x86_64-pc-windows-msvc"
# without /Brepro the object holds the time at which it was made
MODE = ["clang", "--driver-mode=cl", TARGET, "/c", "/Brepro"]

SOURCES: Dict[str, str] = {
    "src/plain.c": "int plain(int x) { return x + 1; }\n",
    "src/header.c": '#include "value.h"\nint value(void) { return VALUE; }\n',
    "src/place.c": "const char *place(void) { return __FILE__; }\n",
    "src/warns.c": "int warns(void) { int unused; return 0; }\n",
    "src/shape.cpp": "struct Shape { virtual ~Shape(); }; Shape::~Shape() {}\nint area() { return sizeof(Shape); }\n",
    "inc/value.h": "#define VALUE 3\n",
}

FLAGS: Tuple[List[str], ...] = (
    [], ["/O2"], ["/Od"], ["/O2", "/Gy", "/Gw"], ["/MD"], ["/MTd"], ["/EHsc"], ["/GR-"], ["/GS-"], ["/W4"], ["-Wall"],
    ["/std:c++17"], ["/guard:cf"], ["/utf-8"], ["/DX=1"], ["/D", "Y"], ["-fms-compatibility-version=19.20"],
    ["/Zc:sizedDealloc-"], ["/arch:AVX2"], ["/nologo"], ["/clang:-fno-strict-aliasing"], ["-Xclang", "-fno-common"],
    ["/external:W0"], ["/permissive-"],
)  # fmt: skip


@pytest.fixture
def windows(project: Project, require_tool: Callable[[str], str]) -> Project:
    require_tool("clang")
    project.write(SOURCES)
    return project


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_a_set_of_sources_hits_and_is_what_the_compiler_makes(flags: List[str], windows: Project) -> None:
    settle()
    for source in sorted(name for name in SOURCES if name.startswith("src/")):
        words = [*MODE, *flags, "/Iinc", source, "/Foout.obj"]
        maps = ["/clang:" + flag for flag in windows.maps(source)]
        plain = [*words[:3], *maps, *words[3:]]
        fresh = subprocess.run(plain, cwd=windows.build, capture_output=True, check=True)
        expected = windows.outputs(["out.obj"])
        first, _ = windows.cached(words, ["out.obj"])
        second, run = windows.cached(words, ["out.obj"], trace=True)
        assert (first.result, second.result) == ("miss", "local_hit") or first.result == "dup", (source, first.reason)
        assert second.outputs == first.outputs == expected
        assert second.said == first.said == fresh.stderr.decode()
        assert not [argv for argv in run.started if "clang" in Path(argv[0]).name and "kache" not in argv[0]]


def test_the_same_in_another_checkout(windows: Project) -> None:
    other = Project.make(windows.world, windows.kache, "elsewhere/checkout")
    other.write(SOURCES)
    settle()
    words = [*MODE, "/O2", "/Iinc", "src/place.c", "/Fo" + "out.obj"]
    first, _ = windows.cached(words, ["out.obj"])
    second, _ = other.cached(words, ["out.obj"])
    assert (first.result, second.result) == ("miss", "local_hit"), second.reason
    assert first.outputs == second.outputs


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("/Z7", "debug_format"),
        ("-Z7", "debug_format"),
        ("/Zi", "debug_format"),
        ("-g", "debug_format"),
        ("-bigobj", "big_object"),
        ("/showIncludes", "shown_includes"),
        ("/Yuvalue.h", "precompiled_header"),
        ("/Fpx.pch", "precompiled_header"),
        ("/FAs", "extra_output"),
        ("/winsysroot:x", "search_path"),
        ("/clang:-fprofile-arcs", "coverage"),
        ("/clang:-MD", "unsupported_flag"),
        ("/nonsense", "unsupported_flag"),
    ],
)
def test_what_is_refused_passes_through_with_its_name(flag: str, reason: str, windows: Project) -> None:
    found, _ = windows.cached([*MODE, flag, "/Iinc", "src/plain.c", "/Foout.obj"], ["out.obj"])
    assert found.result == "passthrough"
    assert found.reason == f"{reason}: {flag}"


def test_a_header_beside_the_one_that_includes_shadows(windows: Project) -> None:
    """This dialect looks beside every file on the way, not only beside the one that names the header."""
    windows.write(
        {
            "src/top.c": '#include "../deep/middle.h"\nint top(void) { return LOW; }\n',
            "deep/middle.h": '#include "low.h"\n',
            "inc/low.h": "#define LOW 1\n",
        }
    )
    words = [*MODE, "/Iinc", "src/top.c", "/Foout.obj"]
    settle()
    assert windows.cached(words, ["out.obj"])[0].result == "miss"
    assert windows.cached(words, ["out.obj"])[0].result == "local_hit"
    windows.write({"src/low.h": "#define LOW 2\n"})
    settle()
    found, _ = windows.cached(words, ["out.obj"])
    assert found.result != "local_hit"
    maps = ["/clang:" + flag for flag in windows.maps("src/top.c")]
    subprocess.run([*words[:3], *maps, *words[3:]], cwd=windows.build, check=True)
    assert found.outputs == windows.outputs(["out.obj"])


def test_every_option_of_clang_cl_is_a_named_row(require_tool: Callable[[str], str]) -> None:
    require_tool("clang")
    text = subprocess.run(["clang", "--driver-mode=cl", "-help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"^  ([-/]\S+(?: <[^>]+>)?)", text, re.M)) - {"/clang:<arg>"}
    assert len(options) > 250
    unknown = sorted(option for option in options if not is_named(option))
    assert not unknown


def is_named(option: str) -> bool:
    name, blank, _ = option.partition(" <")
    if name in cc.PAIRS:
        return True
    joined = re.split(r"[<\[]", name)[0]
    words = [joined + "1"] if joined != name else [joined, "1"] if blank else [joined]
    found = clang_cl.parse([*words, "/c", "a.c"])
    if isinstance(found, (NotACompile, Plan)):
        return True
    assert found.reason in outcome.REFUSALS
    if found.reason == "several_sources":
        return is_named(option.partition(" <")[0])
    return found.reason != "unsupported_flag"


def test_the_driver_is_known_by_its_name_or_its_mode() -> None:
    for name, words in (("clang-cl", []), ("/x/clang-cl-15", []), ("clang", ["--driver-mode=cl"])):
        assert clang_cl.is_asked_for(name, words)
    assert not clang_cl.is_asked_for("clang", ["-c", "a.c"])


def test_paths_that_begin_like_options_are_paths_behind_two_dashes() -> None:
    found = clang_cl.parse(["/c", "/O2", "--", "/opt/a.c"])
    assert isinstance(found, Plan) and (found.source, found.output) == ("/opt/a.c", "a.obj")
    found = clang_cl.parse(["/c", "/tmp/a.cpp", "/Foout/"])
    assert isinstance(found, Plan)
    assert (found.source, found.output, found.language) == ("/tmp/a.cpp", "out/a.obj", "c++")
    assert isinstance(clang_cl.parse(["/c", "a.c", "b.c"]), Refusal)

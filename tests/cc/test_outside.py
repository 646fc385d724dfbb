"""Headers that lie in no checkout: their state is remembered for all checkouts, and whatever changes there is found."""

import os
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from kachelib import cc_probe
from tests.actions import grow_old
from tests.cc.project import NAMES, Project, settle
from tests.world import Kache, World

MAIN = "#include <stdio.h>\n#include <value.h>\nint f(void) { return VALUE; }\n"


def words(project: Project) -> List[str]:
    root = project.world.root
    return ["gcc", "-O1", f"-I{root}/first", f"-I{root}/second", "-c", "main.c", "-o", "main.o"]


@pytest.fixture
def checkouts(world: World, kache_file: Kache) -> Callable[[int], Project]:
    """Checkouts by number, of a source that reads a header beside all of them."""
    for name in ("first", "second"):
        (world.root / name).mkdir()
    (world.root / "second/value.h").write_text("#define VALUE 1\n")

    def make(number: int) -> Project:
        project = Project.make(world, kache_file, f"checkouts/{number}")
        project.write({"main.c": MAIN})
        return project

    return make


def memos(project: Project) -> Dict[Path, bytes]:
    return {path: path.read_bytes() for path in (project.world.root / "cache").glob("**/memo/inputs/*/*")}


def rewritten(root: Path) -> None:
    """As large as before, and as old, as far as one may say that."""
    path = root / "second/value.h"
    before = path.stat()
    path.write_text("#define VALUE 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(root: Path) -> None:
    (root / "second").rename(root / "other")
    (root / "second").mkdir()
    (root / "second/value.h").write_text("#define VALUE 2\n")


def shadowed(root: Path) -> None:
    (root / "first/value.h").write_text("#define VALUE 2\n")


CHANGES: Dict[str, Callable[[Path], None]] = {"rewritten": rewritten, "replaced": replaced, "shadowed": shadowed}


@pytest.mark.parametrize("hits", [0, 1])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_is_found_in_every_checkout(
    change: str, hits: int, checkouts: Callable[[int], Project], world: World
) -> None:
    grow_old()
    first = checkouts(0)
    settle()
    assert first.cached(words(first), NAMES)[0].result == "miss"
    assert memos(first), "the state of what is outside is known from the compile"
    for number in range(hits):
        other = checkouts(1 + number)
        assert other.cached(words(other), NAMES)[0].result == "local_hit"
    CHANGES[change](world.root)
    for number in (2, 3):
        other = checkouts(number)
        settle()
        found, _ = other.cached(words(other), NAMES)
        assert found.outputs == other.fresh(words(other), NAMES).outputs, found.result
        assert found.result == ("miss" if number == 2 else "local_hit"), found.reason


def test_what_is_outside_is_not_read_for_another_checkout(checkouts: Callable[[int], Project]) -> None:
    """What was read of the system for one checkout holds for the next: only a memo of its own files is added."""
    grow_old()
    first, second = checkouts(0), checkouts(1)
    grow_old()
    assert first.cached(words(first), NAMES)[0].result == "miss"
    before = memos(first)
    assert second.cached(words(second), NAMES)[0].result == "local_hit"
    after = memos(first)
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


def test_what_was_changed_just_now_is_not_remembered(checkouts: Callable[[int], Project], world: World) -> None:
    project = checkouts(0)
    settle()
    (world.root / "second/value.h").write_text("#define VALUE 1\n")
    settle()
    assert project.cached(words(project), NAMES)[0].result == "miss"
    grow_old()
    rewritten(world.root)
    settle()
    found, _ = project.cached(words(project), NAMES)
    assert found.outputs == project.fresh(words(project), NAMES).outputs


def test_a_library_that_is_installed_as_well(checkouts: Callable[[int], Project], world: World) -> None:
    """Its own headers are equal to those of the system; comments that say "once" make no difference."""
    project = checkouts(0)
    text = '/* "wb1R" is read once, but "pragma once" is not said */\n#define VALUE 1\n'
    for place in (world.root / "second", project.base):
        (place / "value.h").write_text(text)
    project.write({"main.c": '#include "value.h"\n#if 0\n#include <value.h>\n#endif\nint f(void) { return VALUE; }\n'})
    grow_old()
    results = [project.cached(words(project), NAMES)[0].result for _ in range(2)]
    assert results == ["miss", "local_hit"]


@pytest.mark.parametrize("options", [["-MMD", "-g"], ["-MMD"], ["-MD", "-mavx2"]])
def test_intrinsics_of_the_compiler(options: List[str], checkouts: Callable[[int], Project]) -> None:
    """GCC's own headers are full of pragmas that a preprocessor alone does not obey."""
    results = []
    for number in range(2):
        project = checkouts(number)
        project.write({"main.c": "#include <immintrin.h>\nint f(void) { return _mm_popcnt_u32(3); }\n"})
        settle()
        call = ["gcc", "-O1", "-mpopcnt", *options, "-c", "main.c", "-o", "main.o"]
        found, _ = project.cached(call, [*NAMES, "main.d"])
        assert found.outputs == project.fresh(call, [*NAMES, "main.d"]).outputs, found.reason
        results.append(found.result)
    assert results == ["miss", "local_hit"]


def test_gcc_calls_a_system_header_by_the_shorter_name(world: World, kache_file: Kache) -> None:
    """Of two checkouts it is the relative one in the first, and the absolute one in the second."""
    depth = len(str(world.root)) // 3 + 5
    for name in ("a-checkout-with-a-long-name/and-more/and-more", "b"):
        project = Project.make(world, kache_file, name, below="/".join(["d"] * depth))
        project.write({"s/q.h": "const char *f = __FILE__;\n"})
        (project.build / "main.c").write_text("#include <q.h>\n")
        settle()
        call = ["gcc", "-MD", "-isystem", "../" * depth + "s", "-c", "main.c", "-o", "main.o"]
        outputs = [*NAMES, "main.d"]
        found, _ = project.cached(call, outputs)
        assert found.outputs == project.fresh(call, outputs).outputs
        assert (b"../s/q.h" in (found.outputs["main.d"] or b"")) == (name != "b")


def test_where_clang_finds_a_newer_toolchain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All directories whose state changes where one is installed."""
    for name in ("gcc/x86_64-linux-gnu/12", "cross/arm-linux-gnueabi/11"):
        (tmp_path / name).mkdir(parents=True)
    tops = [str(tmp_path / name) for name in ("gcc", "cross", "none")]
    monkeypatch.setattr(cc_probe, "TOOLCHAINS", tops)
    present, absent = cc_probe.toolchains()
    expected = ("gcc", "gcc/x86_64-linux-gnu", "gcc/x86_64-linux-gnu/12")
    assert {str(tmp_path / name) for name in expected} <= set(present)
    assert absent == [tops[2]]

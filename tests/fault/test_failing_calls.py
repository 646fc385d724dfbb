"""Every system call of the wrapper fails once: the compile passes all the same, and what is kept is right.

The calls are those of a run that was watched; each then gets its own run in which it, and only it, fails.
"""

from pathlib import Path
from typing import Callable, List

import pytest

from tests.fault.crate import Crate, remove
from tests.fault.tracing import FALLIBLE, Point, Tracer
from tests.world import World


def errors_for(point: Point, all_of_them: bool) -> List[str]:
    """What this call may fail with."""
    if point.name in ("vfork", "clone", "clone3"):
        return ["EAGAIN"]
    found = {
        "openat": "EMFILE",
        "write": "ENOSPC",
        "mkdir": "ENOSPC",
        "link": "EMLINK",
        "fsync": "EIO",
        "fcntl": "ENOLCK",
    }
    first = [found.get(point.name, "EIO")]
    if not all_of_them:
        return first
    return [*first, *(error for error in ("EIO", "ENOSPC", "EACCES", "EDQUOT", "ESTALE") if error not in first)]


def says_something(line: str) -> bool:
    """Whether the call is the saying itself: to its own streams, or hearing from a pipe what the compiler says."""
    return line.startswith(("write(1,", "write(2,")) or (line.startswith("read(") and ", 65536)" in line)


def reads_back(line: str) -> bool:
    """Whether the call may be the reading of what the compiler printed: where that is lost, the compiler runs again."""
    return line.startswith("lseek(") or (line.startswith("read(") and ", 131072)" in line)


def fail_each(tracer: Tracer, points: List[Point], prepare: Callable[[], None], all_of_them: bool) -> None:
    crate = tracer.crate
    struck = 0
    for point in points:
        if says_something(point.line):
            continue
        for error in errors_for(point, all_of_them):
            prepare()
            try:
                found = tracer.inject(point, f"error={error}")
                hit = tracer.struck()
                struck += bool(hit)
                # The compiler's words come in more pieces or fewer, so the count may end at another call.
                if not says_something(hit):
                    crate.check(found, retold=reads_back(hit))
                crate.check(crate.compile(keep=True))
            except AssertionError as failure:
                raise AssertionError(f"{error} of {point}\nhit {tracer.struck()}\n{failure}") from None
    assert struck > len(points) // 2, f"{struck} of {len(points)} points were reached"
    crate.check_next()


def forget(world: World, *parts: str) -> Callable[[], None]:
    """Removes these parts of the store."""

    def prepare() -> None:
        for part in parts:
            remove(world.cache_dir / part)

    return prepare


def own(points: List[Point]) -> List[Point]:
    """Without the loading of Python's own modules, of which there are many and all alike."""
    return [p for p in points if "/lib/" not in p.line and "python" not in p.line and "TCGETS" not in p.line]


@pytest.mark.parametrize("half", [0, 1])
def test_each_call_of_a_hit(crate: Crate, world: World, require_tool: Callable[[str], str], half: int) -> None:
    tracer = Tracer(require_tool("strace"), crate)
    crate.check_next()
    points = own(tracer.points(FALLIBLE))
    fail_each(tracer, points[half::2], lambda: None, False)


@pytest.mark.parametrize("half", [0, 1])
def test_each_call_of_a_miss(crate: Crate, world: World, require_tool: Callable[[str], str], half: int) -> None:
    tracer = Tracer(require_tool("strace"), crate)
    crate.check(crate.compile())
    prepare = forget(world, "entries", "store")
    prepare()
    points = own(tracer.points(FALLIBLE))
    fail_each(tracer, points[half::2], prepare, False)


@pytest.mark.soak
@pytest.mark.parametrize("what", ["a hit", "a miss", "the first"])
def test_each_call_in_each_way(crate: Crate, world: World, require_tool: Callable[[str], str], what: str) -> None:
    """All calls, Python's own loading as well, and all errors."""
    tracer = Tracer(require_tool("strace"), crate)
    crate.check_next()
    prepare = {"a hit": forget(world), "a miss": forget(world, "entries", "store"), "the first": forget(world, "")}[
        what
    ]
    prepare()
    fail_each(tracer, tracer.points(FALLIBLE), prepare, True)


def test_the_native_module_cannot_be_unpacked(crate: Crate, world: World, require_tool: Callable[[str], str]) -> None:
    """The first call on a machine, and each call of it fails once."""
    tracer = Tracer(require_tool("strace"), crate)
    crate.check(crate.compile())
    prepare = forget(world, "entries", "store")

    def all_new() -> None:
        prepare()
        for path in world.root.rglob("kache-runtime"):
            remove(path)

    all_new()
    points = [p for p in own(tracer.points(FALLIBLE)) if "kache-runtime" in p.line or "ELF" in p.line]
    assert len(points) > 5
    fail_each(tracer, points, all_new, False)


def test_the_file_itself_cannot_be_read(crate: Crate, world: World, require_tool: Callable[[str], str]) -> None:
    """kache's own code is not to be had: the compiler runs."""
    tracer = Tracer(require_tool("strace"), crate)
    crate.check(crate.compile())
    points = [
        p
        for p in tracer.points(["openat", "pread64", "fstat", "newfstatat"])
        if str(Path(crate.kache).name) in p.line or p.name == "pread64"
    ]
    fail_each(tracer, points, forget(world, "entries"), False)

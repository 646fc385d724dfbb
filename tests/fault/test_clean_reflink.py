"""Where files share blocks, what is freed is what the file system has more of afterwards. xfs, from an image."""

import os
import subprocess
import time
from pathlib import Path

from kachelib import extents
from tests.targets import look, make, remove, write
from tests.world import Cargo

APP = {
    "Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "pub fn two() -> u32 { 2 }\n",
    "src/main.rs": 'fn main() { println!("{}", app::two()); }\n',
}
MIB = 1024 * 1024


def free(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bfree * status.f_frsize


def became_free(place: Path, before: int, expected: int) -> bool:
    """Whether that much more is free, give or take the file system's own records. It frees blocks a moment later."""
    deadline = time.monotonic() + 20
    while abs(free(place) - before - expected) > MIB // 2 and time.monotonic() < deadline:
        os.sync()
        time.sleep(0.1)
    return abs(free(place) - before - expected) <= MIB // 2


def test_shared_blocks_are_not_given_back_before_the_last_file_goes(xfs: Path) -> None:
    first, second = make(xfs / "a/target"), make(xfs / "b/target")
    (first / "debug/deps/big").write_bytes(os.urandom(20 * MIB))
    (first / "debug/deps/own").write_bytes(os.urandom(5 * MIB))
    subprocess.run(["cp", "--reflink=always", first / "debug/deps/big", second / "debug/deps/big"], check=True)
    os.sync()
    with (first / "debug/deps/big").open("rb") as file:
        assert sum(extent.length for extent in extents.shared(file.fileno())) == 20 * MIB
    with (first / "debug/deps/own").open("rb") as file:
        assert extents.shared(file.fileno()) == []
    view = look(xfs)
    one, two = sorted(view.targets, key=lambda target: target.path)
    assert 25 * MIB < view.sum(one, False).size < 26 * MIB and 5 * MIB < view.sum(one, False).freed < 6 * MIB
    assert 20 * MIB < view.sum(two, False).size < 21 * MIB and view.sum(two, False).freed < MIB
    # who else has them is not known, but they are counted once
    total = view.total([one, two], False)
    assert 25 * MIB < total.size < 26 * MIB and 5 * MIB < total.freed < 6 * MIB
    for target in (one, two):
        before = free(xfs)
        outcome = remove(view, target)
        # the first gives back its own file, the second the one that both had
        wanted = 5 if target is one else 20
        assert outcome.gone and wanted * MIB < outcome.freed < (wanted + 1) * MIB
        assert became_free(xfs, before, outcome.freed)


def test_what_the_store_gave_by_reflink_is_the_store_s(xfs: Path, cargo: Cargo) -> None:
    env = {"KACHE_CACHE_DIR": str(xfs / "cache"), "KACHE_CACHE_EXECUTABLES": "1"}
    first, second = write(xfs / "first", APP), write(xfs / "second", APP)
    for ws in (first, second):
        cargo("build", cwd=ws, env=env).ok()
    os.sync()
    view = look(xfs / "second", cache_dir=str(xfs / "cache"))
    [found] = view.targets
    size, freed, stored = view.sum(found, False)
    program = (second / "target/debug/app").stat().st_blocks * 512
    assert program <= stored <= size and freed <= size - stored
    before = free(xfs)
    outcome = remove(view, found)
    assert outcome.gone and became_free(xfs, before, outcome.freed)

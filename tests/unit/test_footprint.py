"""Target directories are found where Cargo puts them, and measured once per inode; what is the store's is known."""

import os
from pathlib import Path
from typing import Dict, List

import pytest

from kachelib import footprint
from kachelib.store import Store
from tests.stock import blob_paths, put
from tests.world import World

TAG = "Signature: 8a477f597d28d172789f06886806bc55\n"


def target_of(place: Path) -> Path:
    (place / "debug" / "deps").mkdir(parents=True)
    (place / "CACHEDIR.TAG").write_text(TAG)
    return place


def package(place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "0.1.0"\n')
    return place


def found(world: World, *roots: Path, known: str = "") -> Dict[str, List[str]]:
    projects = {str(root): [known] if known else [] for root in roots}
    return footprint.targets(projects, {"HOME": str(world.home), "CARGO_HOME": str(world.home / ".cargo")})


def test_the_target_is_where_cargo_is_told_to_put_it(world: World) -> None:
    plain, moved, warmed = (package(world.root / name) for name in ("plain", "moved", "warmed"))
    (moved / ".cargo").mkdir()
    (moved / ".cargo" / "config.toml").write_text('[build]\ntarget-dir = "elsewhere"\n')
    for place in (plain / "target", moved / "elsewhere", world.root / "by-option"):
        target_of(place)
    assert found(world, plain, moved) == {str(plain / "target"): [str(plain)], str(moved / "elsewhere"): [str(moved)]}
    # a warming says where the target was, whatever Cargo was told
    assert found(world, warmed, known=str(world.root / "by-option")) == {str(world.root / "by-option"): [str(warmed)]}


def test_one_target_of_two_projects_is_one(world: World) -> None:
    a, b = package(world.root / "a"), package(world.root / "b")
    shared = str(target_of(world.root / "shared"))
    assert found(world, a, b, known=shared) == {shared: [str(a), str(b)]}


@pytest.mark.parametrize("root", ["", "relative", "/nowhere", "/with\0nul"])
def test_a_root_that_is_none_has_no_target(root: str) -> None:
    assert footprint.targets({root: []}, {}) == {}


def test_a_directory_that_is_only_called_target_is_none(world: World) -> None:
    root = package(world.root / "app")
    (root / "target").mkdir()
    (root / "target" / "practice.txt").write_text("no build was here")
    assert found(world, root) == {}


def test_sizes_count_an_inode_once_and_say_what_is_the_stores(world: World) -> None:
    store = Store(str(world.cache_dir))
    put(store, "alpha", size=300_000)
    put(store, "beta", size=100_000)
    target = target_of(world.root / "app" / "target")
    [alpha] = [path for path in blob_paths(world.cache_dir) if path.stat().st_size == 300_000]
    os.link(alpha, target / "debug" / "deps" / "libalpha.rlib")
    own = target / "debug" / "deps" / "app"
    own.write_bytes(os.urandom(50_000))
    os.link(own, target / "debug" / "app")
    (target / "debug" / "link").symlink_to(world.cache_dir)
    measured = footprint.measure(str(target), ["/r"], footprint.store_inodes(str(world.cache_dir)))
    blocks = {path.lstat().st_ino: path.lstat().st_blocks * 512 for path in target.rglob("*")}
    assert measured.size == sum(blocks.values())
    assert measured.shared == alpha.stat().st_blocks * 512
    assert measured.roots == ("/r",)


def test_what_cannot_be_read_counts_for_nothing(world: World) -> None:
    assert footprint.measure(str(world.root / "gone"), (), frozenset()).size == 0
    assert footprint.store_inodes(str(world.root / "gone")) == frozenset()

"""The inventory sees what is there, counts an inode once, and follows no link."""

import os
from pathlib import Path

import pytest

from kachelib import inventory
from kachelib.store import Store
from tests.stock import put
from tests.world import World


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def test_blobs_and_entries_are_found_by_name(world: World, store: Store) -> None:
    candidate = put(store, "alpha", size=5000)
    [(name, file)] = inventory.blobs(store.root).files.items()
    assert (name, file.size, file.links) == (candidate.outputs[0].digest, 5000, 1)
    assert file.disk == os.stat(file.path).st_blocks * 512
    assert len(inventory.entries(store.root).files) == 1


def test_what_is_unfinished_or_strange_is_told_apart(world: World, store: Store) -> None:
    put(store, "alpha")
    shard = next(Path(store.root, "store").iterdir())
    (shard / ".tmp-1-2-3").write_text("half")
    (shard / "notes").write_text("x")
    (shard / ("f" * 64)).write_text("in the wrong shard")
    (shard / shard.name.ljust(64, "0")).mkdir()
    (Path(store.root) / "store" / "README").write_text("x")
    shelf = inventory.blobs(store.root)
    assert len(shelf.files) == 1
    assert [file.name for file in shelf.temporaries] == [".tmp-1-2-3"]
    assert len(shelf.strangers) == 4 - (shard.name == "ff")


def test_an_inode_counts_once(world: World, store: Store) -> None:
    put(store, "alpha", size=50_000)
    [file] = inventory.blobs(store.root).files.values()
    assert inventory.disk_bytes([file, file]) == file.disk


def test_links_are_strangers(world: World, store: Store) -> None:
    put(store, "alpha")
    [file] = inventory.blobs(store.root).files.values()
    moved = world.root / "moved"
    os.rename(file.path, moved)
    os.symlink(moved, file.path)
    shelf = inventory.blobs(store.root)
    assert (shelf.files, shelf.strangers) == ({}, [file.path])
    shard = os.path.dirname(file.path)
    os.rename(shard, world.root / "shard")
    os.symlink(world.root / "shard", shard)
    assert inventory.blobs(store.root).strangers == [shard]


def test_no_directory_is_an_empty_shelf(world: World) -> None:
    assert inventory.blobs(str(world.root / "nowhere")) == inventory.Shelf({}, [], [])


@pytest.mark.parametrize(
    ("name", "result"), [("a" * 64, True), ("A" * 64, False), ("a" * 63, False), ("g" * 64, False), ("", False)]
)
def test_a_key_is_64_lower_case_hex_digits(name: str, result: bool) -> None:
    assert inventory.is_key(name) is result

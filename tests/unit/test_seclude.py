"""The store carries the marks that keep backups and search out."""

import os

import pytest

from kachelib import evict
from kachelib.seclude import SPOTLIGHT_MARK, seclude
from kachelib.store import Store
from tests.stock import put, settings_for
from tests.world import World


@pytest.fixture
def store(world: World) -> Store:
    world.cache_dir.mkdir()
    return Store(str(world.cache_dir))


def test_every_store_is_tagged_as_a_cache(store: Store) -> None:
    seclude(store.root, "linux")
    assert sorted(os.listdir(store.root)) == ["CACHEDIR.TAG"]
    with open(store.root + "/CACHEDIR.TAG", "rb") as file:
        assert file.read(43) == b"Signature: 8a477f597d28d172789f06886806bc55"


def test_spotlight_is_told_on_a_mac(store: Store) -> None:
    """Time Machine is told by a program that only a Mac has; where it is missing that is no error."""
    seclude(store.root, "darwin")
    assert SPOTLIGHT_MARK in os.listdir(store.root)


def test_what_people_wrote_there_stays(store: Store, world: World) -> None:
    (world.cache_dir / "CACHEDIR.TAG").write_text("mine")
    seclude(store.root)
    assert (world.cache_dir / "CACHEDIR.TAG").read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_no_error(world: World) -> None:
    seclude(str(world.root / "nowhere"))


def test_the_first_store_does_it(store: Store, world: World) -> None:
    put(store, "alpha")
    evict.maybe_start(settings_for(world.cache_dir), 1)
    assert (world.cache_dir / "CACHEDIR.TAG").exists()

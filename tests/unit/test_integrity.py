"""--verify finds what is broken, --repair drops that and nothing else."""

import os
import sqlite3
from pathlib import Path
from typing import Callable, Set

import pytest

from kachelib import index, integrity
from kachelib.store import Store
from tests.stock import action_of, log, put
from tests.world import World


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def names(store: Store) -> Set[str]:
    with index.opened(store.root) as view:
        return {item.crate_name for item in view.items()}


def test_a_sound_store_has_no_problems(store: Store) -> None:
    put(store, "alpha", stderr=b"a warning")
    put(store, "beta", change="edit")
    names(store)
    verdict = integrity.verify(store.root, checksums=True, repair=True)
    assert verdict.problems() == 0
    assert (verdict.entries, verdict.blobs, verdict.repaired) == (2, 3, False)
    assert verdict.hashed_bytes > 40_000


def test_no_store_is_sound(world: World) -> None:
    assert integrity.verify(str(world.cache_dir), True, True).problems() == 0
    assert not world.cache_dir.exists()


def flip_entry(store: Store) -> None:
    path = Path(store.entry_path(action_of("alpha")))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def cut_entry(store: Store) -> None:
    path = Path(store.entry_path(action_of("alpha")))
    path.write_bytes(path.read_bytes()[:-7])


def foreign_entry(store: Store) -> None:
    """The entry of another action under this name."""
    path = Path(store.entry_path(action_of("alpha")))
    path.write_bytes(Path(store.entry_path(action_of("beta"))).read_bytes())


def blob_of(store: Store, crate: str) -> Path:
    entry = store.read_entry(action_of(crate))
    assert entry is not None
    return Path(store.blob_path(next(entry.candidates()).outputs[0].digest))


def drop_blob(store: Store) -> None:
    blob_of(store, "alpha").unlink()


def cut_blob(store: Store) -> None:
    path = blob_of(store, "alpha")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "damage", [flip_entry, cut_entry, foreign_entry, drop_blob, cut_blob], ids=lambda function: function.__name__
)
def test_damage_is_found_without_reading_blobs_and_dropped(store: Store, damage: Callable[[Store], None]) -> None:
    put(store, "alpha")
    put(store, "beta")
    names(store)
    damage(store)
    verdict = integrity.verify(store.root, checksums=False, repair=False)
    assert verdict.problems() == 1
    assert integrity.verify(store.root, checksums=False, repair=True).repaired
    after = integrity.verify(store.root, checksums=True, repair=False)
    assert after.problems() == 0
    assert names(store) == {"beta"}
    # the next build stores it anew
    put(store, "alpha")
    assert integrity.verify(store.root, checksums=True, repair=False).problems() == 0
    assert names(store) == {"alpha", "beta"}


def test_one_flipped_bit_in_a_blob_is_found_by_checksums(store: Store) -> None:
    put(store, "alpha")
    put(store, "beta")
    path = blob_of(store, "alpha")
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[17] ^= 1
    path.write_bytes(bytes(data))
    assert integrity.verify(store.root, checksums=False, repair=False).problems() == 0
    verdict = integrity.verify(store.root, checksums=True, repair=True)
    assert verdict.damaged_blobs == [path.name]
    assert len(verdict.incomplete) == 1
    assert not path.exists()
    assert names(store) == {"beta"}


def test_a_candidate_goes_without_its_neighbours(store: Store) -> None:
    old = put(store, "alpha", change="first")
    new = put(store, "alpha", change="second")
    Path(store.blob_path(old.outputs[0].digest)).unlink()
    assert integrity.verify(store.root, checksums=False, repair=True).incomplete == [old.cache_key]
    entry = store.read_entry(action_of("alpha"))
    assert entry is not None
    assert [candidate.cache_key for candidate in entry.candidates()] == [new.cache_key]


def test_a_damaged_index_is_a_problem_until_it_is_repaired(world: World, store: Store) -> None:
    put(store, "alpha")
    names(store)
    path = world.cache_dir / index.FILE_NAME
    path.write_bytes(b"\xff" * 5000)
    assert len(integrity.verify(store.root, checksums=False, repair=False).index_problems) == 1
    integrity.verify(store.root, checksums=False, repair=True)
    assert integrity.verify(store.root, checksums=False, repair=False).problems() == 0


def test_an_index_that_says_something_else_is_a_problem(world: World, store: Store) -> None:
    put(store, "alpha")
    names(store)
    db = sqlite3.connect(world.cache_dir / index.FILE_NAME)
    db.execute("UPDATE candidates SET size = 1")
    db.commit()
    db.close()
    assert len(integrity.verify(store.root, checksums=False, repair=True).index_problems) == 1
    assert integrity.verify(store.root, checksums=False, repair=False).problems() == 0


def test_an_index_that_knows_more_hits_than_the_log_is_no_problem(world: World, store: Store) -> None:
    key = put(store, "alpha").cache_key
    log(world.cache_dir, {"result": "local_hit", "cache_key": key})
    names(store)
    (world.cache_dir / "events.jsonl").unlink()
    assert integrity.verify(store.root, checksums=False, repair=False).problems() == 0


def test_an_index_that_lags_behind_is_no_problem(store: Store) -> None:
    put(store, "alpha")
    names(store)
    put(store, "beta")
    assert integrity.verify(store.root, checksums=False, repair=False).problems() == 0


def test_files_that_kache_did_not_make_are_told_and_kept(world: World, store: Store) -> None:
    put(store, "alpha")
    stranger = world.cache_dir / "store" / "notes.txt"
    stranger.write_text("mine")
    verdict = integrity.verify(store.root, checksums=True, repair=True)
    assert verdict.strangers == [str(stranger)]
    assert verdict.problems() == 0
    assert stranger.exists()


def test_what_a_gc_takes_meanwhile_was_never_broken(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "alpha")
    blob = blob_of(store, "alpha")
    check = integrity._damaged

    def gc_strikes(*arguments: object) -> Set[str]:
        os.unlink(store.entry_path(action_of("alpha")))
        blob.unlink()
        return check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(integrity, "_damaged", gc_strikes)
    assert integrity.verify(store.root, checksums=True, repair=False).problems() == 0

"""The index is a view: whatever happens to index.db, it says what the entries say."""

import os
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Callable, List

import pytest

from kachelib import index
from kachelib.store import Store
from tests.stock import action_of, log, put, used
from tests.world import World


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def crates(cache_dir: Path) -> List[str]:
    with index.opened(str(cache_dir)) as view:
        return [item.crate_name for item in view.items()]


def test_no_store_is_an_empty_index_and_creates_nothing(world: World) -> None:
    assert crates(world.cache_dir) == []
    assert not world.cache_dir.exists()


def test_items_say_what_the_candidate_says(world: World, store: Store) -> None:
    candidate = put(store, "alpha", size=1234, stderr=b"warning", age=500)
    with index.opened(store.root) as view:
        [item] = view.items()
        references = view.references()
    assert (item.crate_name, item.crate_types, item.size, item.compile_ms) == ("alpha", "lib", 1234, 1500)
    assert (item.cache_key, item.action_key, item.position) == (candidate.cache_key, action_of("alpha"), 0)
    assert item.last_use() == pytest.approx(os.stat(store.entry_path(item.action_key)).st_mtime)
    assert {(r.digest, r.size) for r in references} == {
        (candidate.outputs[0].digest, 1234),
        (candidate.stderr.digest, -1),
    }


def test_a_crate_is_found_by_either_spelling(store: Store) -> None:
    put(store, "serde_json")
    put(store, "serde")
    with index.opened(store.root) as view:
        assert [item.crate_name for item in view.items("serde-json")] == ["serde_json"]
        assert view.items("not-utf8-\udcff") == []


def test_refresh_sees_new_changed_used_and_removed_entries(world: World, store: Store) -> None:
    put(store, "alpha")
    put(store, "beta")
    assert crates(world.cache_dir) == ["alpha", "beta"]
    put(store, "alpha", change="edit", age=60)
    os.unlink(store.entry_path(action_of("beta")))
    put(store, "gamma")
    assert crates(world.cache_dir) == ["alpha", "alpha", "gamma"]
    used(store, action_of("gamma"), 5000)
    with index.opened(store.root) as view:
        [item] = view.items("gamma")
        assert item.entry_use == pytest.approx(os.stat(store.entry_path(item.action_key)).st_mtime)


def test_an_entry_replaced_with_the_times_of_the_old_one_is_read_again(world: World, store: Store) -> None:
    """gc rewrites entries and keeps their last use."""
    put(store, "alpha", age=900)
    path = Path(store.entry_path(action_of("alpha")))
    before = path.stat()
    crates(world.cache_dir)
    put(store, "alpha", change="edit", age=900)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert crates(world.cache_dir) == ["alpha", "alpha"]


def damage_nothing(path: Path) -> None:
    path.unlink()


def damage_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0:200] = b"\xff" * 200
    path.write_bytes(bytes(data))


def damage_table(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE candidates")
    db.commit()
    db.close()


def damage_version(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999")
    db.commit()
    db.close()


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_creation(path: Path) -> None:
    """Tables, and a version that says there are none."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 0")
    db.commit()
    db.close()


@pytest.mark.parametrize(
    "damage",
    [damage_creation, damage_nothing, damage_bytes, damage_table, damage_version, damage_empty],
    ids=lambda f: f.__name__,
)
def test_a_damaged_index_is_made_again_from_the_entries(
    world: World, store: Store, damage: Callable[[Path], None]
) -> None:
    put(store, "alpha")
    put(store, "beta")
    crates(world.cache_dir)
    damage(world.cache_dir / index.FILE_NAME)
    assert crates(world.cache_dir) == ["alpha", "beta"]
    with index.opened(store.root) as view:
        assert view.reason == "", "it lives in its file again"
    db = sqlite3.connect(world.cache_dir / index.FILE_NAME)
    assert db.execute("PRAGMA user_version").fetchone() == (index.VERSION,)
    db.close()


def test_an_index_truncated_anywhere_is_made_again(world: World, store: Store) -> None:
    put(store, "alpha")
    crates(world.cache_dir)
    path = world.cache_dir / index.FILE_NAME
    whole = path.read_bytes()
    for length in range(1, len(whole), 997):
        for suffix in ("-wal", "-shm"):
            (world.cache_dir / (index.FILE_NAME + suffix)).unlink(missing_ok=True)
        path.write_bytes(whole[:length])
        assert crates(world.cache_dir) == ["alpha"], length


def test_a_locked_index_is_answered_from_the_entries(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "alpha")
    crates(world.cache_dir)
    put(store, "beta")
    monkeypatch.setattr(index, "PATIENCE", 0.1)
    holder = sqlite3.connect(world.cache_dir / index.FILE_NAME, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with index.opened(store.root) as view:
        assert [item.crate_name for item in view.items()] == ["alpha", "beta"]
        assert "locked" in view.reason
    holder.execute("ROLLBACK")
    holder.close()
    with index.opened(store.root) as view:
        assert [item.crate_name for item in view.items()] == ["alpha", "beta"]
        assert view.reason == ""


def test_where_no_lock_can_be_had_the_index_lives_in_memory(world: World, store: Store) -> None:
    """A store that cannot be written, say."""
    put(store, "alpha")
    (world.cache_dir / "claims").write_text("in the way")
    with index.opened(store.root) as view:
        assert [item.crate_name for item in view.items()] == ["alpha"]
        assert view.reason
    assert not (world.cache_dir / index.FILE_NAME).exists()


def test_an_entry_that_fails_its_checksum_is_reported_and_not_listed(world: World, store: Store) -> None:
    put(store, "alpha")
    put(store, "beta")
    path = Path(store.entry_path(action_of("alpha")))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with index.opened(store.root) as view:
        assert [item.crate_name for item in view.items()] == ["beta"]
        assert view.broken == [str(path)]
    assert path.exists(), "looking removes nothing"


def hits_of(store: Store, crate: str) -> int:
    with index.opened(store.root) as view:
        return sum(item.hits for item in view.items(crate))


def test_hits_are_counted_once_through_appends_and_rotation(world: World, store: Store) -> None:
    key = put(store, "alpha").cache_key
    hit = {"result": "local_hit", "cache_key": key}
    log(world.cache_dir, hit, {"result": "miss", "cache_key": key})
    assert hits_of(store, "alpha") == 1
    log(world.cache_dir, hit)
    assert hits_of(store, "alpha") == 2
    # written after the last look, then rotated away
    log(world.cache_dir, hit)
    (world.cache_dir / "events.jsonl").rename(world.cache_dir / "events.jsonl.1")
    log(world.cache_dir, hit)
    assert hits_of(store, "alpha") == 4
    assert hits_of(store, "alpha") == 4


def test_a_hole_in_the_log_is_passed_over(world: World, store: Store) -> None:
    """As a file system leaves it after a crash; however long, it is not all in memory."""
    key = put(store, "alpha").cache_key
    hit = {"result": "local_hit", "cache_key": key}
    log(world.cache_dir, hit)
    with (world.cache_dir / "events.jsonl").open("r+b") as file:
        file.truncate(256 << 20)
        file.seek(0, 2)
        file.write(b"\n")
    log(world.cache_dir, hit)
    tracemalloc.start()
    assert hits_of(store, "alpha") == 2
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    log(world.cache_dir, hit)
    assert hits_of(store, "alpha") == 3


def test_a_line_that_is_being_written_is_counted_when_it_is_whole(world: World, store: Store) -> None:
    key = put(store, "alpha").cache_key
    log(world.cache_dir, {"result": "local_hit", "cache_key": key})
    path = world.cache_dir / "events.jsonl"
    line = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"broken\n' + line[:20])
    assert hits_of(store, "alpha") == 1
    with path.open("ab") as file:
        file.write(line[20:])
    assert hits_of(store, "alpha") == 2


def test_a_new_index_counts_what_both_logs_hold(world: World, store: Store) -> None:
    key = put(store, "alpha").cache_key
    log(world.cache_dir, {"result": "local_hit", "cache_key": key})
    (world.cache_dir / "events.jsonl").rename(world.cache_dir / "events.jsonl.1")
    log(world.cache_dir, {"result": "remote_hit", "cache_key": key})
    assert hits_of(store, "alpha") == 2


def test_the_last_use_of_an_older_run_is_its_own(world: World, store: Store) -> None:
    """An action's file has one time; it must not keep every old edit of a crate alive."""
    old = put(store, "alpha", change="first", age=9000)
    put(store, "alpha", change="second", age=10)
    with index.opened(store.root) as view:
        ages = {item.cache_key: item.last_use() for item in view.items()}
    assert ages[old.cache_key] == pytest.approx(old.created)

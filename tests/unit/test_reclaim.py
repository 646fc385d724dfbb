"""gc keeps the store within its limit, takes the least recently used first, and says why where it took nothing."""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Set

import pytest

from kachelib import cli, history, reclaim
from kachelib.outcome import StoreError
from kachelib.reclaim import Outcome
from kachelib.store import Store
from tests.stock import action_of, blob_paths, du, log, put, settings_for
from tests.world import World

SIZE = 64 * 1024


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def gc(
    world: World, limit: int = 1 << 40, *, max_size: Optional[int] = None, max_age: Optional[float] = None
) -> Outcome:
    settings = settings_for(world.cache_dir, local_max_size=limit)
    return reclaim.reclaim(settings, reclaim.limits(settings, max_size, max_age))


def crates(store: Store, *names: str) -> Set[str]:
    """Those of ``names`` that can still be restored."""
    found = set()
    for name in names:
        entry = store.read_entry(action_of(name))
        for candidate in entry.candidates() if entry else ():
            if all(store.has_blob(output.digest, output.size) for output in candidate.outputs):
                found.add(name)
    return found


def test_the_least_recently_used_go_first_down_to_ninety_percent(world: World, store: Store) -> None:
    names = [f"crate{i}" for i in range(10)]
    for i, name in enumerate(names):
        put(store, name, size=SIZE, age=1000 * (i + 1))
    limit = du(store) - 4096
    outcome = gc(world, limit)
    left = crates(store, *names)
    assert left == set(names[: len(left)]), "the oldest went"
    assert du(store) == outcome.store_bytes
    assert 0.9 * limit - SIZE - 8192 < outcome.store_bytes <= 0.9 * limit
    assert outcome.entries_evicted == outcome.blobs_removed == 10 - len(left)
    assert len(blob_paths(world.cache_dir)) == len(left)


def test_below_the_limit_nothing_goes_and_gc_says_so(world: World, store: Store) -> None:
    put(store, "alpha", age=10**7)
    outcome = gc(world)
    assert (outcome.entries_evicted, outcome.blobs_removed) == (0, 0)
    assert outcome.reasons == ["the store is within its limit"]


def test_what_was_used_in_the_last_two_minutes_stays_and_gc_says_so(world: World, store: Store) -> None:
    put(store, "recent", size=SIZE, age=30)
    put(store, "old", size=SIZE, age=3000)
    outcome = gc(world, 1)
    assert crates(store, "recent", "old") == {"recent"}
    assert any("last two minutes" in reason for reason in outcome.reasons)


def test_an_entry_from_the_future_counts_as_recent(world: World, store: Store) -> None:
    """The clock was set back: its order says nothing, and a build may be using it."""
    put(store, "alpha", age=-10_000)
    assert gc(world, 1).entries_evicted == 0


def test_max_size_spares_nothing_and_is_kept(world: World, store: Store) -> None:
    for i in range(6):
        put(store, f"crate{i}", size=SIZE, age=i)
    outcome = gc(world, max_size=3 * SIZE)
    assert 0 < outcome.store_bytes <= 3 * SIZE
    assert du(store) == outcome.store_bytes
    assert crates(store, "crate0", "crate5") == {"crate0"}


def test_max_size_zero_empties_the_store(world: World, store: Store) -> None:
    put(store, "alpha", age=0, stderr=b"a warning")
    assert gc(world, max_size=0).store_bytes == 0
    assert blob_paths(world.cache_dir) == []


def test_max_age_takes_what_was_not_used_for_that_long(world: World, store: Store) -> None:
    put(store, "old", age=8 * 86400)
    put(store, "young", age=6 * 86400)
    outcome = gc(world, max_age=7 * 86400)
    assert crates(store, "old", "young") == {"young"}
    assert outcome.entries_evicted == 1
    assert gc(world, max_age=7 * 86400).reasons == ["nothing is that old"]


def test_a_blob_that_another_entry_names_stays(world: World, store: Store) -> None:
    put(store, "old", content=b"the same bytes" * 100, age=9000)
    put(store, "young", content=b"the same bytes" * 100, age=900)
    gc(world, max_age=5000)
    assert crates(store, "old", "young") == {"young"}


def test_a_shared_blob_counts_once_and_frees_nothing_while_it_is_named(world: World, store: Store) -> None:
    big = b"the same bytes" * 20_000
    for i in range(4):
        put(store, f"sharing{i}", content=big, age=9000 + i)
        put(store, f"alone{i}", size=SIZE, age=5000 + i)
    limit = du(store) - 4096
    outcome = gc(world, limit)
    assert outcome.store_bytes == du(store) <= 0.9 * limit
    assert outcome.bytes_freed >= len(big), "all that share it had to go"


def test_a_blob_that_was_stored_again_meanwhile_stays(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new inode is somebody's who is about to name it."""
    content = b"again" * 1000
    path = Path(store.blob_path(put(store, "alpha", content=content, age=9000).outputs[0].digest))
    evict = reclaim._evict

    def evict_and_store(*arguments: Any) -> Any:
        gone = evict(*arguments)
        path.rename(world.root / "kept so that the inode is not given out again")
        store.put_bytes(content)
        return gone

    monkeypatch.setattr(reclaim, "_evict", evict_and_store)
    assert gc(world, 1).entries_evicted == 1
    assert path.exists()


def test_old_runs_of_an_action_go_without_the_new_one(world: World, store: Store) -> None:
    put(store, "alpha", change="first", age=9000)
    new = put(store, "alpha", change="second", age=300)
    path = Path(store.entry_path(action_of("alpha")))
    before = path.stat().st_mtime_ns
    assert gc(world, max_age=5000).entries_evicted == 1
    entry = store.read_entry(action_of("alpha"))
    assert entry is not None
    assert [candidate.cache_key for candidate in entry.candidates()] == [new.cache_key]
    assert path.stat().st_mtime_ns == before, "its last use is not touched"


def test_a_run_that_was_hit_lately_outlives_newer_ones(world: World, store: Store) -> None:
    old = put(store, "alpha", change="first", age=9000)
    put(store, "alpha", change="second", age=8000)
    put(store, "alpha", change="third", age=300)
    log(world.cache_dir, {"result": "local_hit", "cache_key": old.cache_key, "end_time": time.time() - 400})
    gc(world, max_age=5000)
    entry = store.read_entry(action_of("alpha"))
    assert entry is not None
    assert [len(c.inputs) for c in entry.candidates()] == [2, 2]
    assert old.cache_key in [c.cache_key for c in entry.candidates()]


def test_an_entry_that_is_being_compiled_is_left_alone(world: World, store: Store) -> None:
    put(store, "alpha", age=9000)
    with held(store, action_of("alpha")):
        outcome = gc(world, 1)
        assert outcome.entries_evicted == 0
        assert crates(store, "alpha") == {"alpha"}
        assert any("in use right now" in reason for reason in outcome.reasons)
    assert gc(world, 1).entries_evicted == 1


@contextmanager
def held(store: Store, name: str) -> Iterator[None]:
    """Hold a lock in another process: one's own is always granted."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write_end, b"x" if store.claim(name, 0) is not None else b"-")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(read_end, 1) == b"x"
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(read_end)
        os.close(write_end)


def test_only_one_gc_at_a_time(world: World, store: Store) -> None:
    put(store, "alpha")
    with held(store, reclaim.LOCK_NAME), pytest.raises(StoreError, match="another gc"):
        gc(world)
    gc(world)


def test_a_blob_that_nobody_names_stays_for_an_hour(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that runs right now has written its blobs and not yet its entry."""
    put(store, "alpha")
    orphan = store.blob_path(store.put_bytes(b"orphan" * 1000))
    assert gc(world, max_size=0).blobs_removed == 1
    assert os.path.exists(orphan)
    monkeypatch.setattr(reclaim, "ORPHAN_AGE", -1.0)
    assert gc(world).blobs_removed == 1
    assert not os.path.exists(orphan)


def test_bytes_shared_with_a_target_are_counted_and_told_apart(world: World, store: Store) -> None:
    candidate = put(store, "alpha", size=SIZE, age=9000)
    target = world.root / "target.rlib"
    os.link(store.blob_path(candidate.outputs[0].digest), target)
    outcome = gc(world, 1)
    assert outcome.shared_bytes_retained == target.stat().st_blocks * 512
    assert outcome.bytes_freed == outcome.shared_bytes_retained + outcome.disk_bytes_reclaimed
    assert target.read_bytes()


def test_without_a_store_there_is_nothing_to_do(world: World) -> None:
    assert gc(world).reasons == ["there is no store yet; the first build with kache makes it"]
    assert not world.cache_dir.exists()


def test_command_speaks_json(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, "alpha", age=9000)
    assert cli.main(["gc", "--max-age", "1h", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["entries_evicted"] == 1
    assert history.gc_runs(str(world.cache_dir))[0]["entries_evicted"] == 1


@pytest.mark.parametrize("arguments", [["--max-age", "soon"], ["--max-size", "lots"], ["--what"], ["stray"]])
def test_wrong_use_is_one_line_and_exit_code_two(arguments: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gc", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kache: gc: ") and error.count("\n") == 1

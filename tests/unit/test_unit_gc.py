"""gc and units: a plan's use is the use of its entries, and a snapshot lives as long as the blobs of its entry."""

import os
from pathlib import Path
from typing import List

import pytest

from kachelib import purge, reclaim, units
from kachelib.store import Store
from kachelib.units import COPY, LINK, RAW, File, Plan, Snapshot
from tests.stock import action_of, backdate, put, settings_for
from tests.world import World

SIZE = 64 * 1024
DAY = 86400.0


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def compiled(store: Store, crate: str, age: float) -> Snapshot:
    """An entry, and the snapshot of a unit on top of it."""
    candidate = put(store, crate, size=SIZE, age=age)
    s = Snapshot()
    s.directory, s.name, s.action_key = crate + "-1", "lib-" + crate, action_of(crate)
    output = candidate.outputs[0]
    s.files = [File(LINK, "deps/" + output.name, 0o644, digest=output.digest, size=output.size)]
    return s


def run_of(store: Store, crate: str, data: bytes) -> Snapshot:
    """The run of a build script, with a file of its own in the store."""
    s = Snapshot()
    s.directory, s.name = crate + "-2", "run-build-script-build-script-build"
    s.files = [File(COPY, "build/x/out/big", 0o644, digest=store.put_bytes(data), size=len(data))]
    s.files.append(File(RAW, "x", 0o644, b"x"))
    return s


def plan_of(store: Store, snapshots: List[Snapshot], age: float, lock: str = "b" * 64) -> Path:
    plan = Plan()
    for s in snapshots:
        plan.add(s.key(), units.write_unit(store, s))
    path = Path(units.plan_path(store.root, "a" * 64, lock))
    units.publish(str(path), plan.encode())
    backdate(path, age)
    return path


def gc(world: World, **options: object) -> reclaim.Outcome:
    settings = settings_for(world.cache_dir)
    return reclaim.reclaim(settings, reclaim.limits(settings, **options))  # type: ignore[arg-type]


def test_what_a_plan_was_used_for_stays(world: World, store: Store) -> None:
    """Warmed units are not called any more; the entries behind them would look unused for ever."""
    planned = compiled(store, "planned", 40 * DAY)
    put(store, "other", size=SIZE, age=20 * DAY)
    path = plan_of(store, [planned, run_of(store, "planned", os.urandom(SIZE))], 2 * DAY)
    gc(world, age=10 * DAY)
    assert store.read_entry(action_of("planned")) is not None
    assert store.read_entry(action_of("other")) is None
    assert path.exists()
    for digest in planned.blobs():
        assert store.has_blob(digest, SIZE)


def test_the_blobs_of_a_run_stay_with_its_plan(world: World, store: Store) -> None:
    run = run_of(store, "one", os.urandom(SIZE))
    path = plan_of(store, [compiled(store, "one", DAY), run], DAY)
    (blob,) = run.blobs()
    backdate(Path(store.blob_path(blob)), 30 * DAY)
    gc(world, age=10 * DAY)
    assert store.has_blob(blob, SIZE)
    assert units.decode_plan(path.read_bytes()) is not None


def test_a_plan_that_is_too_old_goes_with_all_it_names(world: World, store: Store) -> None:
    planned = compiled(store, "planned", 40 * DAY)
    path = plan_of(store, [planned], 30 * DAY)
    outcome = gc(world, age=10 * DAY)
    assert outcome.entries_evicted == 1
    assert not path.exists()


def test_a_snapshot_goes_with_its_entry(world: World, store: Store) -> None:
    gone, kept = compiled(store, "gone", 40 * DAY), compiled(store, "kept", DAY)
    path = plan_of(store, [gone, kept], 50 * DAY)
    backdate(path, DAY)
    os.unlink(store.entry_path(action_of("gone")))
    before = path.stat().st_mtime
    gc(world)
    plan = units.decode_plan(path.read_bytes())
    assert plan is not None
    assert list(plan.units) == [kept.key()]
    assert path.stat().st_mtime == pytest.approx(before, abs=1e-3)


def test_a_size_that_is_asked_for_is_kept_to(world: World, store: Store) -> None:
    plan_of(store, [compiled(store, "a", DAY), run_of(store, "a", os.urandom(4 * SIZE))], DAY)
    gc(world, size=1)
    gc(world, size=1)
    assert not list(Path(store.root, "entries").glob("??/*"))
    assert not list(Path(store.root, "plans").glob("??/*"))


def test_a_fresh_record_that_no_plan_names_yet_stays(world: World, store: Store) -> None:
    digest = units.write_unit(store, compiled(store, "new", 10))
    gc(world)
    assert units.read_unit(store, digest) is not None


def test_purge_removes_all_of_it(world: World, store: Store) -> None:
    plan_of(store, [compiled(store, "a", DAY)], DAY)
    purge.purge(store.root)
    for name in ("units", "plans", "entries", "store"):
        assert not [path for path in Path(store.root, name).rglob("*") if path.is_file()]

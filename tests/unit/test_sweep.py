"""Sweeping takes what is nobody's any more, and leaves alone whatever is unclear."""

import os
from pathlib import Path
from typing import Callable

import pytest

from kachelib import reclaim
from kachelib.reclaim import Outcome
from kachelib.store import Store
from tests.stock import backdate, log, put, settings_for
from tests.world import World


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def gc(world: World) -> Outcome:
    settings = settings_for(world.cache_dir)
    return reclaim.reclaim(settings, reclaim.limits(settings))


def test_unfinished_files_go_after_an_hour(world: World, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "alpha")
    shard = next(Path(store.root, "store").iterdir())
    unfinished = shard / ".tmp-1-2-3"
    unfinished.write_bytes(b"half")
    assert gc(world).temporaries_removed == 0
    monkeypatch.setattr("kachelib.sweep.TEMPORARY_AGE", -1.0)
    assert gc(world).temporaries_removed == 1
    assert not unfinished.exists()


@pytest.mark.parametrize("kind", ["arguments", "depfile", "rule", "stdout"])
def test_scratch_files_have_a_name_each_and_go(world: World, store: Store, kind: str) -> None:
    """Two containers that share a store may have a process of one number."""
    path, other = Path(store.scratch(kind)), Path(store.scratch(kind))
    assert path != other
    path.parent.mkdir(parents=True, exist_ok=True)
    for each in (path, other):
        each.write_text("x")
    backdate(path, 2 * 86400)
    gc(world)
    assert not path.exists() and other.exists()


def test_idle_locks_and_old_memos_go(world: World, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "alpha")
    lock = store.claim("ab" * 32, 0)
    assert lock is not None
    os.close(lock)
    memos = world.cache_dir / "memo"
    memos.mkdir(exist_ok=True)
    (memos / "old").write_text("x")
    (memos / "new").write_text("x")
    backdate(memos / "old", 40 * 86400)
    assert gc(world).memos_removed == 1
    assert (memos / "new").exists()
    monkeypatch.setattr("kachelib.sweep.CLAIM_AGE", -1.0)
    assert gc(world).claims_removed == 1
    left = {path.name for path in (world.cache_dir / "claims").iterdir()}
    assert left == {"gc.lock", "index.lock"}


def target_of(root: Path, profile: str = "debug") -> Path:
    incremental = root / "target" / profile / "incremental"
    incremental.mkdir(parents=True)
    (root / "target" / profile / "deps").mkdir()
    (root / "target" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (incremental / "state").write_bytes(b"x" * 5000)
    for path in (incremental / "state", incremental):
        backdate(path, 600)
    return incremental


def test_incremental_directories_of_recorded_targets_go(world: World, store: Store) -> None:
    put(store, "alpha")
    plain, triple = target_of(world.root / "a"), target_of(world.root / "b", "x86_64-unknown-linux-gnu/release")
    unknown = target_of(world.root / "c")
    log(world.cache_dir, *({"result": "miss", "root": str(world.root / name)} for name in "ab"))
    outcome = gc(world)
    assert (outcome.incremental_dirs_removed, plain.exists(), triple.exists(), unknown.exists()) == (
        2,
        False,
        False,
        True,
    )
    assert outcome.incremental_bytes >= 10_000
    assert (world.root / "a/target/debug/deps").exists()


def no_tag(incremental: Path) -> None:
    (incremental.parent.parent / "CACHEDIR.TAG").unlink()


def other_tag(incremental: Path) -> None:
    (incremental.parent.parent / "CACHEDIR.TAG").write_text("mine")


def in_use(incremental: Path) -> None:
    (incremental / "state").write_text("a compiler is at work")


def no_profile(incremental: Path) -> None:
    (incremental.parent / "deps").rmdir()


def linked(incremental: Path) -> None:
    elsewhere = incremental.parent.parent.parent / "elsewhere"
    incremental.rename(elsewhere)
    incremental.symlink_to(elsewhere)


def linked_target(incremental: Path) -> None:
    target = incremental.parent.parent
    target.rename(target.with_name("elsewhere"))
    target.symlink_to(target.with_name("elsewhere"))


@pytest.mark.parametrize(
    "spoil", [no_tag, other_tag, in_use, no_profile, linked, linked_target], ids=lambda f: f.__name__
)
def test_an_incremental_directory_stays_where_anything_is_unclear(
    world: World, store: Store, spoil: Callable[[Path], None]
) -> None:
    put(store, "alpha")
    incremental = target_of(world.root / "a")
    log(world.cache_dir, {"result": "miss", "root": str(world.root / "a")})
    spoil(incremental)
    assert gc(world).incremental_dirs_removed == 0
    assert (incremental / "state").exists()


def test_incremental_directories_stay_where_the_setting_says_so(world: World, store: Store) -> None:
    put(store, "alpha")
    incremental = target_of(world.root / "a")
    log(world.cache_dir, {"result": "miss", "root": str(world.root / "a")})
    settings = settings_for(world.cache_dir, clean_incremental=False)
    reclaim.reclaim(settings, reclaim.limits(settings))
    assert incremental.exists()

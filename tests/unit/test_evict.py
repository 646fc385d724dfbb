"""A gc starts by itself when the store passes its limit: detached, throttled, and never for nothing."""

import os
import time
from typing import Callable, List

import pytest

from kachelib import evict, history, reclaim
from kachelib.store import Store
from tests.stock import du, put, settings_for
from tests.world import World

SIZE = 64 * 1024


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_small_store_starts_no_gc(world: World, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    started: List[int] = []
    monkeypatch.setattr(evict, "_detach", lambda settings: started.append(1))
    put(store, "alpha", size=SIZE)
    settings = settings_for(world.cache_dir, local_max_size=10 * SIZE)
    for _ in range(8):
        evict.maybe_start(settings, SIZE)
    assert started == []
    for _ in range(8):
        evict.maybe_start(settings, SIZE)
    assert started == [1], "over the limit, and once within the pause"


def test_a_growth_file_that_makes_no_sense_leads_to_a_count(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: List[int] = []
    monkeypatch.setattr(evict, "_detach", lambda settings: started.append(1))
    put(store, "alpha")
    (world.cache_dir / "memo").mkdir(exist_ok=True)
    (world.cache_dir / "memo/growth").write_text("rubbish\n")
    evict.maybe_start(settings_for(world.cache_dir), 1)
    assert started == [1]


def test_a_store_that_cannot_be_written_is_no_error(world: World) -> None:
    world.cache_dir.write_text("not a directory")
    evict.maybe_start(settings_for(world.cache_dir), 1)


def test_the_detached_gc_brings_the_store_below_its_limit(world: World, store: Store) -> None:
    for i in range(10):
        put(store, f"crate{i}", size=SIZE, age=1000 * (i + 1))
    limit = du(store) // 2
    settings = settings_for(world.cache_dir, local_max_size=limit)
    evict.maybe_start(settings, SIZE)
    wait_for(lambda: bool(history.gc_runs(store.root)))
    assert 0 < du(store) <= 0.9 * limit
    growth = (world.cache_dir / "memo/growth").read_text()
    assert growth == f"={du(store)}\n"


def test_the_detached_gc_is_nobodys_child(world: World, store: Store) -> None:
    """A wrapper may become the compiler, which would find a child that it never started."""
    put(store, "alpha", size=SIZE, age=9000)
    pid = os.fork()  # this process may have children of its own: a test's server
    if pid == 0:
        evict.maybe_start(settings_for(world.cache_dir, local_max_size=1), SIZE)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    wait_for(lambda: bool(history.gc_runs(store.root)))


def test_the_detached_gc_holds_nothing_of_its_parent(world: World, store: Store) -> None:
    """Cargo waits until the wrapper's pipes are closed; a gc must not keep them."""
    put(store, "alpha", size=SIZE, age=9000)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        # as the wrapper's own output, and as one of Cargo's other descriptors
        for number in (0, 1, 2, 9):
            os.dup2(write_end, number)
        monkey = settings_for(world.cache_dir, local_max_size=1)
        reclaim.reclaim = lambda *args, **kwargs: time.sleep(12)  # type: ignore[assignment]
        evict.maybe_start(monkey, SIZE)
        os._exit(0)
    os.close(write_end)
    os.waitpid(pid, 0)
    started = time.monotonic()
    assert os.read(read_end, 1) == b"", "the pipe is closed"
    assert time.monotonic() - started < 10
    os.close(read_end)

"""Each look finds what is there, in a thread of its own; one that fails or hangs holds nobody up."""

import os
import threading
import time
from typing import Any, Callable, List

import pytest

from kachelib import demand, evict, history, index
from kachelib.footprint import Target
from kachelib.lookout import Look, Lookout
from kachelib.store import Store
from kachelib.tally import Tally
from tests.stock import du, log, put, settings_for
from tests.world import World

PATIENCE = 30.0


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end
        time.sleep(0.01)


def event(result: str, **fields: Any) -> "dict[str, Any]":
    return {"result": result, "end_time": time.time(), **fields}


@pytest.fixture
def lookout(world: World) -> Lookout:
    return Lookout(settings_for(world.cache_dir))


def test_the_store_is_counted_as_gc_does(world: World) -> None:
    store = Store(str(world.cache_dir))
    put(store, "alpha", size=100_000)
    put(store, "beta", content=b"the same")
    put(store, "gamma", content=b"the same")
    lookout = Lookout(settings_for(world.cache_dir))
    lookout.tick(Tally(), 0.0, targets_shown=False)
    stock = until(lambda: lookout.store.found)
    assert sorted(item.crate_name for item in stock.items) == ["alpha", "beta", "gamma"]
    assert (stock.unique_bytes, stock.saved_bytes()) == (100_008, 8)
    assert stock.disk_bytes == du(store)


def test_what_was_noted_is_there_before_the_first_look(world: World) -> None:
    put(Store(str(world.cache_dir)), "alpha")
    assert Lookout(settings_for(world.cache_dir)).noted == (None, None)
    with index.opened(str(world.cache_dir)):
        pass
    evict.reset_growth(str(world.cache_dir), 12345)
    assert Lookout(settings_for(world.cache_dir)).noted == (1, 12345)
    (world.cache_dir / "index.db").write_bytes(b"no database" * 1000)
    assert Lookout(settings_for(world.cache_dir)).noted.entries is None


def test_nothing_is_made_where_nothing_is(world: World, lookout: Lookout) -> None:
    lookout.tick(Tally(), 0.0, targets_shown=True)
    assert until(lambda: lookout.store.found).items == []
    assert until(lambda: lookout.traffic.found).waiting == 0
    until(lambda: lookout.targets.done)
    assert lookout.targets.found == ()
    assert not world.cache_dir.exists()


def test_the_store_is_looked_at_again_only_where_it_may_have_changed(world: World, lookout: Lookout) -> None:
    tally = Tally()
    put(Store(str(world.cache_dir)), "alpha")
    lookout.tick(tally, 0.0, targets_shown=False)
    until(lambda: lookout.store.done)
    for result in ("passthrough", "error"):
        tally.add(event(result))
    lookout.store.hurry()
    lookout.tick(tally, 0.0, targets_shown=False)
    time.sleep(0.2)
    assert lookout.store.done == 1
    put(Store(str(world.cache_dir)), "beta")
    tally.add(event("miss"))
    lookout.tick(tally, 0.0, targets_shown=False)
    until(lambda: lookout.store.done == 2)
    assert lookout.store.found is not None and len(lookout.store.found.items) == 2
    # gc says so in a log of its own
    history.record_gc(str(world.cache_dir), {"entries_evicted": 1})
    lookout.store.hurry()
    lookout.tick(tally, 0.0, targets_shown=False)
    until(lambda: lookout.store.done == 3)


def test_targets_are_walked_only_while_somebody_looks(world: World, lookout: Lookout) -> None:
    target = world.root / "app" / "target"
    target.mkdir(parents=True)
    (target / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    tally = Tally()
    tally.add(event("miss", root=str(world.root / "app")))
    lookout.tick(tally, 0.0, targets_shown=False)
    until(lambda: lookout.wrapper.done and lookout.store.done)
    assert lookout.targets.done == 0
    lookout.tick(tally, 0.0, targets_shown=True)
    until(lambda: lookout.targets.done)
    [found] = lookout.targets.found or ()
    assert found == Target(str(target), (str(world.root / "app"),), found.size, 0)
    assert found.size > 0


def test_whether_cargo_calls_kache_is_seen(world: World, monkeypatch: pytest.MonkeyPatch, lookout: Lookout) -> None:
    lookout.tick(Tally(), 0.0, targets_shown=False)
    assert until(lambda: lookout.wrapper.found).status == "problem"
    program = world.root / "kache"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("RUSTC_WRAPPER", str(program))
    lookout.refresh()
    lookout.tick(Tally(), 0.0, targets_shown=False)
    until(lambda: lookout.wrapper.found and lookout.wrapper.found.status == "ok")


def test_transfers_and_the_queue_are_read_when_they_change(world: World, lookout: Lookout) -> None:
    (world.cache_dir / "queue").mkdir(parents=True)
    (world.cache_dir / "queue" / "entry-a-b-c").touch()
    history.record_transfer(str(world.cache_dir), {"by": "sync", "pushed": 2, "pushed_bytes": 100})
    lookout.tick(Tally(), 0.0, targets_shown=False)
    traffic = until(lambda: lookout.traffic.found)
    assert (traffic.waiting, traffic.uploader, len(traffic.runs)) == (1, None, 1)
    until(lambda: lookout.traffic.done == 1)
    lookout.traffic.hurry()
    lookout.tick(Tally(), 0.0, targets_shown=False)
    time.sleep(0.1)
    assert lookout.traffic.done == 1
    history.record_transfer(str(world.cache_dir), {"by": "sync", "pulled": 1})
    lookout.tick(Tally(), 0.0, targets_shown=False)
    until(lambda: lookout.traffic.done == 2)
    assert len((lookout.traffic.found or traffic).runs) == 2
    # of a span, what ended before is left out
    lookout.traffic.hurry()
    lookout.tick(Tally(), time.time() + 60, targets_shown=False)
    until(lambda: lookout.traffic.done == 3)
    assert (lookout.traffic.found or traffic).runs == []


def test_something_else_on_the_uploaders_socket_is_told_and_harmless(world: World, lookout: Lookout) -> None:
    import socket

    world.cache_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(world.cache_dir) + demand.SOCKET)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"hello\n")

        threading.Thread(target=answer, daemon=True).start()
        lookout.tick(Tally(), 0.0, targets_shown=False)
        until(lambda: lookout.traffic.done)
    assert "no uploader of this kache" in lookout.traffic.trouble


def test_a_look_that_fails_says_why_and_keeps_what_was_found() -> None:
    found = [1]

    def look(tell: Callable[[int], None]) -> None:
        tell(found.pop())

    looking: Look[int] = Look(look, 0.0)
    looking.start_if_due()
    until(lambda: looking.done == 1)
    assert (looking.found, looking.trouble) == (1, "")
    until(looking.start_if_due)
    until(lambda: looking.done == 2)
    assert (looking.found, looking.trouble) == (1, "pop from empty list")


def test_nothing_is_drawn_again_for_a_look_that_found_the_same() -> None:
    found = [3, 2, 2]
    looking: Look[int] = Look(lambda tell: tell(found.pop()), 0.0)
    versions: List[int] = []
    for _ in range(4):
        until(looking.start_if_due)
        until(lambda: looking.done == len(versions) + 1)
        versions.append(looking.version)
    # the last one had nothing to take, which is news, too
    assert versions == [1, 1, 2, 3]


def test_a_look_that_hangs_is_not_begun_again_and_holds_nobody_up() -> None:
    stop = threading.Event()
    began = []

    def look(tell: Callable[[int], None]) -> None:
        began.append(1)
        stop.wait(PATIENCE)

    looking: Look[int] = Look(look, 0.0)
    assert looking.start_if_due()
    until(lambda: began)
    looking.hurry()
    assert not looking.start_if_due()
    stop.set()
    until(looking.start_if_due)


def test_a_look_that_takes_long_is_taken_less_often() -> None:
    def look(tell: Callable[[int], None]) -> None:
        time.sleep(0.1)

    looking: Look[int] = Look(look, 0.0)
    looking.start_if_due()
    until(lambda: looking.done)
    ended = time.monotonic()
    until(looking.start_if_due)
    assert time.monotonic() - ended > 0.5


def test_an_uploader_is_asked_while_there_is_something_to_hear(world: World, lookout: Lookout) -> None:
    """Who is asked does not leave: one that nobody needs is to be left alone."""
    world.cache_dir.mkdir()
    log(world.cache_dir, event("miss"))
    tally = Tally()
    tally.add(event("miss", end_time=time.time() - 3600))
    (world.cache_dir / "daemon.sock").touch()
    lookout.tick(tally, 0.0, targets_shown=False)
    until(lambda: lookout.traffic.done)
    assert lookout.traffic.found is not None
    for uploader in (None, {"pid": "1", "pushing": "0", "pulling": "0"}):
        lookout.traffic.found = lookout.traffic.found._replace(uploader=uploader)
        lookout.traffic.hurry()
        lookout.tick(tally, 0.0, targets_shown=False)
        time.sleep(0.2)
        assert lookout.traffic.done == 1
    lookout.traffic.found = lookout.traffic.found._replace(uploader={"pid": "1", "pushing": "2", "pulling": "0"})
    lookout.tick(tally, 0.0, targets_shown=False)
    until(lambda: lookout.traffic.done == 2)
    os.unlink(world.cache_dir / "daemon.sock")

"""A build is what the log shows without a long pause, and nothing compiled twice."""

import time
from typing import Any, Dict, Iterator, List

import pytest

from kachelib import builds, history, index
from kachelib.past import Past
from kachelib.store import Store
from tests.stock import action_of, log, put
from tests.world import World

NOW = time.time()


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may have been collected half an hour ago."""
    monkeypatch.setitem(globals(), "NOW", time.time())


@pytest.fixture
def past(world: World) -> Iterator[Past]:
    store = Store(str(world.cache_dir))
    put(store, "known", fields=[("emit", "link"), ("-C metadata", "1"), ("extern", "a  " + "1" * 64)])
    put(store, "known", fields=[("emit", "link"), ("-C metadata", "1"), ("extern", "a  " + "2" * 64)])
    put(store, "known", fields=[("emit", "link"), ("-C metadata", "2"), ("extern", "a  " + "1" * 64)])
    put(store, "known", fields=[("emit", "metadata"), ("-C metadata", "1"), ("extern", "a  " + "1" * 64)])
    with index.opened(store.root) as view:
        yield Past(view, store)


def known(emit: str, metadata: str, extern: str) -> str:
    return action_of("known", [("emit", emit), ("-C metadata", metadata), ("extern", "a  " + extern * 64)])


def event(name: str, ago: float, took: float = 1.0, **more: Any) -> Dict[str, Any]:
    """One that ended ``ago`` seconds before now."""
    end = NOW - ago
    return {"result": "miss", "crate_name": name, "start_time": end - took, "end_time": end, "root": "/ws", **more}


def found(world: World, past: Past, *events: Dict[str, Any]) -> List[List[str]]:
    log(world.cache_dir, *events)
    told = history.read(str(world.cache_dir)).events
    return [[str(each["crate_name"]) for each in build.events] for build in builds.newest_first(told, past)]


def test_a_pause_of_a_minute_ends_a_build(world: World, past: Past) -> None:
    events = [event("a", 500), event("b", 300), event("c", 250), event("d", 200)]
    assert found(world, past, *events) == [["b", "c", "d"], ["a"]]


def test_a_long_compile_is_no_pause(world: World, past: Past) -> None:
    assert found(world, past, event("quick", 900), event("slow", 1, took=898), event("next", 0)) == [
        ["quick", "slow", "next"]
    ]


def test_what_is_compiled_again_is_of_another_build(world: World, past: Past) -> None:
    first, again = known("link", "1", "1"), known("link", "1", "2")
    events = [event("x", 9), event("known", 8, action_key=first), event("y", 7), event("known", 6, action_key=again)]
    assert found(world, past, *events) == [["y", "known"], ["x", "known"]]


@pytest.mark.parametrize("other", [("link", "2", "1"), ("metadata", "1", "1")])
def test_two_units_of_one_crate_are_of_one_build(world: World, past: Past, other: "tuple[str, str, str]") -> None:
    """A crate for macros and for the program, one that is checked and built: Cargo names them otherwise."""
    events = [event("known", 8, action_key=known("link", "1", "1")), event("known", 7, action_key=known(*other))]
    assert found(world, past, *events) == [["known", "known"]]


def test_named_otherwise_behind_a_pause_is_another_build(world: World, past: Past) -> None:
    """After ``cargo update`` all is."""
    first, again = known("link", "1", "1"), known("link", "2", "1")
    events = [event("known", 8, action_key=first), event("known", 1, action_key=again)]
    assert found(world, past, *events) == [["known"], ["known"]]


def test_a_hit_counts_as_well(world: World, past: Past) -> None:
    again: Dict[str, Any] = {"result": "local_hit", "action_key": known("link", "1", "1")}
    assert len(found(world, past, event("known", 8, **again), event("known", 7, **again))) == 2


def test_a_configure_script_is_one_build(world: World, past: Past) -> None:
    tries = [event("cc-conftest", 20 - number, action_key="f" * 64) for number in range(5)]
    assert len(found(world, past, *tries)) == 1
    assert len(found(world, past, event("cc-conftest", 1, action_key="f" * 64))) == 2, "after a pause it is another"


def test_warmed_units_and_words_that_mean_nothing_are_passed_over(world: World, past: Past) -> None:
    events = [event("a", 3), event("", 2, result="warmed"), {"result": "miss", "start_time": NOW, "end_time": NOW}]
    assert found(world, past, *events) == [["a", "alpha"]]


def test_no_events_are_no_build(world: World, past: Past) -> None:
    assert found(world, past) == []

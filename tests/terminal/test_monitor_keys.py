"""The monitor's keys, in a real terminal, over a store and a log with known content."""

import re
import time
from typing import Any, Callable, List

import pytest

from kachelib.store import Store
from tests.stock import log, put
from tests.terminal.tmux import Tmux
from tests.world import Kache, World

NAMES = ("Build", "Projects", "Store", "Transfer", "Passthrough")
# what stands above the rows of this tab alone
TOP = dict(zip(NAMES, ("WHAT WAS DONE", "TARGET DIRECTORY", "COMPILED IN", "DIRECTION", "LAST CRATE")))


@pytest.fixture
def shown(world: World, tmux: Callable[..., Tmux], kache_source: Kache) -> Tmux:
    store = Store(str(world.cache_dir))
    for number in range(40):
        put(store, f"kept{number:02}", size=1000 * (number + 1), age=60.0 * (number + 1))
    now = time.time()
    log(world.cache_dir, *(call(number, now - 100 + number) for number in range(60)))
    started = tmux([kache_source.path, "monitor"], environ={"RUSTC_WRAPPER": "/nowhere/kache"})
    started.wait("59 of 60 units")
    started.wait("40 entries")
    started.gone("counting")
    return started


def call(number: int, ended: float) -> "dict[str, Any]":
    result = "miss" if number == 7 else "local_hit"
    fields = {"result": result, "crate_name": f"crate-{number:02}", "end_time": ended, "hardlinked_bytes": 1024}
    return {**fields, "compile_time_ms": 1000 + number, "elapsed_ms": 500.0 - number, "size": number}


def crates(lines: List[str]) -> List[str]:
    found = [re.search(r"(?:crate-|kept)\d\d", line) for line in lines[8:22]]
    return [match.group() for match in found if match]


def test_tabs_are_reached_by_number_and_one_after_the_other(shown: Tmux) -> None:
    for number, name in reversed(list(enumerate(NAMES, 1))):
        shown.keys(str(number))
        shown.wait(TOP[name])
    for name in (*NAMES[1:], NAMES[0]):
        shown.keys("Tab")
        shown.wait(TOP[name])
    for name in (*reversed(NAMES[1:]), NAMES[0]):
        shown.keys("BTab")
        shown.wait(TOP[name])
    shown.keys("Right")
    shown.wait(TOP["Projects"])
    shown.keys("Left")
    shown.wait(TOP["Build"])


def test_rows_are_walked_through(shown: Tmux) -> None:
    page = len(crates(shown.wait("crate-59 ")))
    assert page == 24 - 7 - 1 - 1 - 1 - 2
    shown.keys("Down")
    shown.wait("crate-58: hard link")
    shown.keys("NPage")
    shown.wait(f"crate-{58 - page}: hard link")
    shown.keys("PPage", "Up")
    shown.wait("crate-59: hard link")
    shown.keys("G")
    lines = shown.wait("crate-00: hard link")
    assert crates(lines)[-1] == "crate-00" and crates(lines)[0] == f"crate-{page - 1:02}"
    shown.keys("g")
    lines = shown.wait("crate-59: hard link")
    assert crates(lines)[0] == "crate-59"
    shown.keys("End")
    shown.wait("crate-00: hard link")


def test_rows_that_come_leave_the_selected_one_alone(shown: Tmux, world: World) -> None:
    shown.keys("Down", "Down")
    before = crates(shown.wait("crate-57: hard link"))
    log(world.cache_dir, *(call(number, time.time()) for number in range(60, 65)))
    lines = shown.wait("64 of 65 units")
    assert crates(lines) == before
    shown.wait("crate-57: hard link")
    shown.keys("g")
    assert crates(shown.wait("crate-64: hard link"))[0] == "crate-64"


def test_a_filter_narrows_the_rows_and_goes_again(shown: Tmux, world: World) -> None:
    shown.keys("f")
    shown.wait("filter:")
    shown.type("MISS")
    shown.keys("Enter")
    lines = shown.wait("1 of 60 with 'MISS'; f changes that, Escape takes it off")
    assert crates(lines)[0] == "crate-07"
    log(world.cache_dir, {**call(70, time.time()), "result": "miss"})
    assert crates(shown.wait("2 of 61 with 'MISS'"))[:2] == ["crate-70", "crate-07"]
    shown.keys("f", "BSpace", "BSpace", "BSpace", "BSpace")
    shown.type("crate_0")
    shown.keys("Enter")
    assert crates(shown.wait("10 of 61 with"))[0] == "crate-09"
    shown.keys("f")
    shown.type("zzz")
    shown.keys("Escape")
    shown.wait("10 of 61 with 'crate_0'")
    shown.keys("Escape")
    shown.wait("61, by newest")
    shown.keys("f")
    shown.type("nothing at all")
    shown.keys("Enter")
    shown.wait("Nothing has that in it.")


def test_orders_come_one_after_the_other(shown: Tmux) -> None:
    firsts = []
    for order in ("slowest", "compile", "size", "crate", "newest"):
        shown.keys("s")
        firsts.append(crates(shown.wait(f"60, by {order}"))[0])
    assert firsts == ["crate-00", "crate-59", "crate-59", "crate-00", "crate-59"]
    shown.keys("3")
    assert crates(shown.wait("40, by last use"))[0] == "kept00"
    shown.keys("s")
    assert crates(shown.wait("40, by size"))[0] == "kept39"


def test_clear_counts_from_now_and_refresh_brings_all_back(shown: Tmux, world: World) -> None:
    before = (world.cache_dir / "events.jsonl").read_bytes()
    shown.keys("c")
    shown.wait("No compiler was called in the last")
    shown.wait("r goes back to what was asked for")
    time.sleep(0.1)
    log(world.cache_dir, call(99, time.time()))
    assert crates(shown.wait("1 of 1 unit came from the cache")) == ["crate-99"]
    shown.keys("r")
    shown.wait("60 of 61 units")
    assert (world.cache_dir / "events.jsonl").read_bytes().startswith(before)


def test_help_explains_the_words_and_the_keys(shown: Tmux) -> None:
    shown.keys("?")
    lines = shown.wait("any key goes back")
    assert len(lines) <= 24 and not any(line.endswith(("…", "~")) for line in lines)
    for key in ("Shift-Tab", "PgUp", "f  filter", "s  another order", "c  count", "r  read", "q  ", "g  G"):
        assert any(key in line for line in lines), key
    # this one closes the help and does nothing else
    shown.keys("q")
    shown.wait("STATUS")
    shown.keys("q")
    assert shown.ended() == 0
    assert shown.restored()


@pytest.mark.parametrize("number", range(1, 6))
def test_unknown_keys_do_nothing(shown: Tmux, number: int) -> None:
    shown.keys(str(number))
    before = shown.wait(TOP[NAMES[number - 1]])
    shown.keys("x", "Enter", "F5", "DC", "0", "6", "ä", "BSpace")
    time.sleep(0.5)
    assert shown.wait(TOP[NAMES[number - 1]])[7] == before[7]

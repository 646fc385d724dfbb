"""The header says what the cache does for its user, and to a newcomer what to do."""

import time
from typing import Any, List, Optional, Tuple

import pytest

from kachelib import bundle, overview, screen
from kachelib.checks import Finding
from kachelib.lookout import Lookout, Stock, Traffic
from kachelib.sight import Sight, percent, spark
from kachelib.stream import Stream
from kachelib.tally import Tally
from tests.stock import settings_for
from tests.world import World

NOW = time.time()


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may have been collected half an hour ago."""
    monkeypatch.setitem(globals(), "NOW", time.time())


WIRED = Finding("wrapper", "ok", "/bin/kache (/home/me/.cargo/config.toml)")
NOT_WIRED = Finding("wrapper", "problem", "Cargo does not call kache here", "kache init")


def sight(
    world: World,
    *events: Any,
    wrapper: Optional[Finding] = WIRED,
    disabled: bool = False,
    ago: float = 0.0,
    **more: Any,
) -> Sight:
    """ago: since how many seconds it counts, 0 for all."""
    settings = settings_for(world.cache_dir, disabled=disabled, local_max_size=2048)
    lookout, tally = Lookout(settings), Tally()
    lookout.wrapper.found = wrapper
    for event in events:
        tally.add({"end_time": NOW - 60, "elapsed_ms": 10.0, **event})
    fields = {"since": NOW - ago if ago else 0.0, "now": NOW, "unicode": True, "home": "/home/me", **more}
    return Sight(settings, tally, Stream(), lookout, **fields)


def said(shown: Sight) -> List[str]:
    return ["".join(piece.text for piece in line) for line in overview.lines(shown)]


HIT = {"result": "local_hit", "compile_time_ms": 3010, "hardlinked_bytes": 2048, "reflinked_bytes": 10}
MISS = {"result": "miss", "compile_time_ms": 1000}


def test_it_has_as_many_lines_as_are_left_for_it(world: World) -> None:
    assert len(said(sight(world))) == overview.HEIGHT


IN_SHORT: Tuple[Any, ...] = (
    ({"wrapper": NOT_WIRED}, [], "kache keeps what compilers make. Cargo does not call it yet: kache init"),
    ({}, [], "Nothing was built with kache yet: run cargo build, and watch it here."),
    ({"ago": 300.0}, [], "No compiler was called in the last 5m."),
    ({"wrapper": None}, [], ""),
    ({"disabled": True}, [HIT], "kache is switched off: KACHE_DISABLED is set."),
    ({}, [MISS, MISS], "2 units compiled and kept: next time they come from here."),
    ({}, [HIT, MISS], "1 of 2 units came from the cache: 3.0 s of compiling saved."),
    ({"wrapper": NOT_WIRED}, [HIT], "1 of 1 unit came from the cache: 3.0 s of compiling saved."),
    ({}, [{"result": "warmed", "warmed": 97}], "97 of 97 units came from the cache, 97 of them before Cargo asked."),
    ({}, [{"result": "passthrough"}], "Nothing that was called could be cached; tab 5 says why."),
)


@pytest.mark.parametrize(("state", "events", "words"), IN_SHORT)
def test_one_sentence_says_what_it_comes_to(world: World, state: Any, events: Any, words: str) -> None:
    line = said(sight(world, *events, **state))[1]
    assert line == "In short " + words
    assert screen.columns(line) <= screen.WIDTH


def test_rates_are_told_three_ways(world: World) -> None:
    lines = said(sight(world, HIT, MISS, {**MISS, "elapsed_ms": 1980.0}))
    assert "Hits     33.3 % of units, 60.1 % by compile time; misses took 99.5 % of the time" in lines
    assert any("by hard link 2.0 KiB, reflink 10 B, copy 0 B" in line for line in lines)
    assert lines[0].endswith("; 3 calls in 1m, last " + time.strftime("%H:%M:%S", time.localtime(NOW - 60)))


def test_warmed_units_have_no_compile_time(world: World) -> None:
    assert "100.0 % of units, - by compile time" in said(sight(world, {"result": "warmed", "warmed": 9}))[3]


def test_the_store_is_drawn_as_a_share_of_its_limit(world: World) -> None:
    shown = sight(world)
    assert said(shown)[2] == "Store    counting..."
    shown.lookout.store.found = Stock([], 900, 700, 1024)
    assert said(shown)[2] == f"Store    {'█' * 10}{'░' * 10} 1.0 KiB of 2.0 KiB (50.0 %), 0 entries"
    assert said(shown._replace(unicode=False))[2].startswith("Store    ##########..........")
    assert said(shown)[4].startswith("Saved    dedup 200 B;")


def test_the_wrapper_is_wired_or_what_to_do_is_said(world: World) -> None:
    assert said(sight(world))[6] == "Wrapper  wired: Cargo calls /bin/kache (~/.cargo/config.toml)"
    assert said(sight(world, wrapper=NOT_WIRED))[6].endswith("Cargo does not call kache here -> kache init")


def test_what_moves_is_told_where_there_is_a_remote(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = sight(world)
    assert said(shown)[5] == "Remote   none: what is cached stays on this machine"
    facts = {"pid": "1", "remote": "r", "pushing": "2", "pulling": "1", "trouble": ""}
    shown.lookout.traffic.found = Traffic(facts, 12, None, None, [])
    assert said(shown)[5] == "Remote   2 uploads and 1 download in flight, 12 waiting"
    shown.lookout.traffic.found = Traffic({**facts, "trouble": "denied"}, 12, None, None, [])
    assert said(shown)[5].endswith("; denied")
    monkeypatch.setattr(bundle, "build", lambda: "this")
    for build, told in (("this", "waiting"), ("that", "waiting; of another build")):
        shown.lookout.traffic.found = Traffic({**facts, "build": build}, 12, None, None, [])
        assert said(shown)[5].endswith(told)
    shown.lookout.traffic.found = Traffic(None, 3, None, None, [])
    assert said(shown)[5].endswith("3 waiting; no uploader runs")


def test_what_is_wrong_with_the_log_is_told_above_all(world: World) -> None:
    assert said(sight(world, trouble="Permission denied: /x"))[0].endswith("; the event log: Permission denied: /x")
    assert said(sight(world, MISS, broken=3))[0].endswith("; 3 broken lines")
    assert said(sight(world, MISS, reading=0.401))[0].endswith("; reading the event log: 40 %")


def test_no_share_is_rounded_to_all_or_nothing() -> None:
    told = [percent(part) for part in (0.0, 0.00001, 0.5, 0.9999, 1.0)]
    assert told == ["0.0 %", "<0.1 %", "50.0 %", "99.9 %", "100.0 %"]


def test_a_curve_goes_from_low_to_high() -> None:
    assert spark([0.0, 0.5, 1.0, 1.7, -1.0], True) == "▁▅██▁"
    assert spark([0.0, 0.5, 1.0], False) == "_=#"


def test_moments_of_other_days_say_how_long_ago(world: World) -> None:
    shown = sight(world)
    assert shown.moment(NOW - 3 * 86400 - 5) == "3d ago"
    assert (shown.moment(0.0), shown.ago(0.0)) == ("", "")
    assert shown.homely("/home/me/app (/home/me/x)") == "~/app (~/x)"
    assert shown.homely("/home/mean") == "/home/mean"

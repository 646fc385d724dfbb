"""The tally that is kept while events come says what the report says of all of them."""

from collections import Counter
from typing import Any, Dict, List

from hypothesis import given
from hypothesis import strategies as st

from kachelib import report, tally
from kachelib.history import History
from kachelib.outcome import RESULTS
from kachelib.tally import Served, Tally, curve

EVENTS = st.lists(
    st.fixed_dictionaries(
        {"result": st.sampled_from(RESULTS), "end_time": st.floats(1, 1e9)},
        optional={
            "warmed": st.integers(0, 200),
            "compile_time_ms": st.one_of(st.integers(0, 10**6), st.just("much")),
            "elapsed_ms": st.one_of(st.floats(0, 1e6), st.none()),
            "reflinked_bytes": st.integers(0, 1 << 40),
            "hardlinked_bytes": st.one_of(st.integers(0, 1 << 40), st.just(float("nan")), st.just(10**400)),
            "copied_bytes": st.integers(0, 1 << 40),
            "root": st.sampled_from(["/a", "/b"]),
            "reason": st.sampled_from(["executable", "native_library: foo", "unsupported_flag: -fa -fb", "new"]),
        },
    ),
    max_size=40,
)


def tallied(events: List[Dict[str, Any]]) -> Tally:
    found = Tally()
    for event in events:
        found.add(event)
    return found


def event(result: str, **fields: Any) -> Dict[str, Any]:
    return {"result": result, "end_time": 100.0, **fields}


@given(EVENTS)
def test_the_sums_are_those_of_the_report(events: List[Dict[str, Any]]) -> None:
    found = tallied(events)
    summary = report.summary(events)
    assert round(100 * found.hit_rate(), 1) == summary["hit_rate_pct"]
    assert found.compiled() == summary["misses"] + summary["dups"]
    assert found.warmed == summary["warmed"]
    assert int(found.saved_ms) == summary["time_saved_ms"]
    told = report.aggregate(History(events, 0))
    sums = (found.reflinked_bytes, found.hardlinked_bytes, found.copied_bytes)
    assert sums == tuple(told["storage"].values())
    passed = {row.name: row.count for row in found.reasons.values() if not row.failed}
    assert passed == {row["reason"]: row["count"] for row in told["bypass"]["reasons"]}
    assert sum(row.count for row in found.reasons.values() if row.failed) == summary["errors"]
    assert sum(each.hits for each in found.recent) == found.hits()
    assert sum(each.of for each in found.recent) == found.hits() + found.compiled()
    assert 0 <= found.weighted_rate() <= 1 and 0 <= found.miss_share() <= 1


def test_a_rate_by_compile_time_counts_long_compiles_more() -> None:
    found = tallied(
        [
            event("local_hit", compile_time_ms=9000, elapsed_ms=10),
            event("miss", compile_time_ms=500, elapsed_ms=600),
            event("dup", compile_time_ms=500, elapsed_ms=390),
            event("passthrough", compile_time_ms=10**6, elapsed_ms=10**6),
        ]
    )
    assert round(found.hit_rate(), 3) == 0.333
    assert found.weighted_rate() == 0.9
    assert found.miss_share() == 0.99
    assert found.saved_ms == 8990


def test_projects_have_their_own_sums_and_what_was_warmed() -> None:
    found = tallied(
        [
            event("local_hit", root="/a", reflinked_bytes=5),
            event("miss", root="/a", end_time=300.0),
            event("miss", root="/b"),
            event("warmed", root="/b", warmed=9, target_dir="/elsewhere", end_time=50.0),
            event("miss"),
        ]
    )
    a, b = found.projects["/a"], found.projects["/b"]
    assert (a.hits, a.compiled, a.last, a.reflinked_bytes, a.targets) == (1, 1, 300.0, 5, set())
    assert (b.hits, b.compiled, b.last, b.targets) == (9, 1, 100.0, {"/elsewhere"})


def test_a_reason_knows_what_it_was_about_and_when() -> None:
    found = tallied(
        [
            event("passthrough", reason="unsupported_flag: -fa -fb", crate_name="one", end_time=200.0),
            event("passthrough", reason="unsupported_flag: -fb", crate_name="two"),
            event("error", reason="no space left: /x"),
        ]
    )
    flags, failed = found.reasons.values()
    assert (flags.count, flags.last, flags.last_crate, flags.most_frequent(5)) == (2, 200.0, "one", ["-fb", "-fa"])
    assert flags.text.startswith("a flag that is not known")
    assert (failed.text, failed.failed) == ("no space left: /x", True)


def test_details_without_end_are_not_kept() -> None:
    found = tallied([event("passthrough", reason=f"native_library: {n}") for n in range(1000)])
    [reason] = found.reasons.values()
    assert (reason.count, len(reason.details)) == (1000, tally.MOST_DETAILS)


@given(st.lists(st.integers(0, 1), max_size=300), st.integers(0, 80))
def test_the_curve_covers_all_calls_in_equal_pieces(hits: List[int], points: int) -> None:
    found = curve([Served(hit, 1) for hit in hits], points)
    assert len(found) <= points
    if hits and points:
        assert found
        length = -(-len(hits) // points)
        assert len(found) == -(-len(hits) // length)
        newest = hits[-length:]
        assert found[-1] == sum(newest) / len(newest)
        if len(hits) <= points:
            assert Counter(found) == Counter(map(float, hits))


def test_a_warming_weighs_what_it_warmed() -> None:
    assert curve([Served(97, 97), Served(0, 1), Served(0, 1), Served(0, 1)], 1) == [0.97]

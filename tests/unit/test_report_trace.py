"""The trace for ui.perfetto.dev: a process a build, as few lanes as jobs ran at once, and times as they were logged."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

from hypothesis import HealthCheck, given, settings

from kachelib import history, report_trace
from tests import calls, trace
from tests.calls import MOMENT, Event


def event(start: float, length: float, result: str = "miss", **fields: Any) -> Dict[str, Any]:
    times = {"start_time": MOMENT + start, "end_time": MOMENT + start + length, "elapsed_ms": length * 1000}
    return {"result": result, "root": "/src/ws", "crate_name": "alpha", "crate_types": "lib", **times, **fields}


def test_a_build_is_a_process_and_a_job_a_lane() -> None:
    found = trace.read(
        report_trace.text([event(0, 3), event(1, 1, crate_name="beta"), event(3, 1), event(60, 1), event(61, 0.5)])
    )
    assert [(call["pid"], call["tid"], call["ts"]) for call in found.calls] == [
        (1, 1, 0),
        (1, 2, 1_000_000),
        (1, 1, 3_000_000),
        (2, 1, 60_000_000),
        (2, 1, 61_000_000),
    ]
    assert [name for name, _ in Counter(found.names.values()).items()][1:3] == ["job 1", "job 2"]
    assert found.names[1, 0].startswith("ws, 20")
    assert float(found.document["otherData"]["start"]) == MOMENT


def test_a_call_says_what_it_was() -> None:
    [call] = trace.read(
        report_trace.text([event(0, 2, compile_time_ms=1900, size=77, reason="src/lib.rs differs", cache_key="ab")])
    ).calls
    assert (call["name"], call["cat"], call["dur"]) == ("alpha (lib)", "miss", 2_000_000)
    said = {"result": "miss", "reason": "src/lib.rs differs", "compile_time_ms": 1900, "size": 77, "cache_key": "ab"}
    assert {name: call["args"][name] for name in said} == said


def test_warmed_units_and_what_was_handed_over_are_there() -> None:
    log = [event(0, 0.1, "warmed", warmed=9, left_out="1 no snapshot"), event(1, 0.001, "passthrough", reason="lto: x")]
    warmed, passed = trace.read(report_trace.text(log)).calls
    assert (warmed["name"], warmed["args"]["warmed"]) == ("warmed 9 units", 9)
    assert passed["args"]["meaning"].startswith("link-time optimisation")
    assert "not timed" in passed["args"]["note"]


def test_nothing_logged_is_an_empty_trace() -> None:
    assert trace.read(report_trace.text([])).calls == []


@given(calls.tidy())
def test_as_few_lanes_as_ran_at_once_and_times_as_they_were(log: List[Event]) -> None:
    found = trace.read(report_trace.text(log))
    assert sorted(call["dur"] for call in found.calls) == sorted(round(each["elapsed_ms"] * 1000) for each in log)
    first = min((each["start_time"] for each in log), default=0)
    begun = sorted(round((each["start_time"] - first) * 1e6) for each in log)
    assert sorted(call["ts"] for call in found.calls) == begun
    if all(each["elapsed_ms"] for each in log):
        for pid in {call["pid"] for call in found.calls}:
            own = [call for call in found.calls if call["pid"] == pid]
            assert max(call["tid"] for call in own) == trace.most_at_once(own)


@given(calls.events())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_log_makes_a_trace(tmp_path: Path, events: List[Event]) -> None:
    known = calls.written(tmp_path / "cache", events)
    found = trace.read(report_trace.text(known))
    assert len(found.calls) == len(known)
    wanted = sorted(round(history.number(each, "elapsed_ms") * 1000) for each in known)
    assert sorted(call["dur"] for call in found.calls) == wanted

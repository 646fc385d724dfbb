"""Which calls are one build, whose they are, and that lanes neither overlap nor are more than ran at once."""

from typing import Any, Dict, List

from hypothesis import given

from kachelib import lanes
from kachelib.lanes import Build, Call
from tests import calls
from tests.calls import MOMENT, Event


def event(start: float, length: float = 1.0, root: str = "/ws", **fields: Any) -> Dict[str, Any]:
    """A call from ``start`` on (seconds), ``length`` seconds long."""
    times = {"start_time": MOMENT + start, "end_time": MOMENT + start + length, "elapsed_ms": length * 1000}
    return {"result": "miss", **({"root": root} if root else {}), **times, **fields}


def spans(found: List[Build]) -> List[object]:
    return [(build.workspace, [round(call.start / 1e6 - MOMENT, 3) for call in build.calls]) for build in found]


def test_calls_are_one_build_until_nothing_happens_for_a_while() -> None:
    assert spans(lanes.found([event(0), event(0.5), event(10.5), event(21.5), event(30)])) == [
        ("/ws", [0, 0.5, 10.5]),
        ("/ws", [21.5, 30]),
    ]


def test_a_long_call_holds_its_build_together() -> None:
    assert spans(lanes.found([event(0, 100), event(1), event(105)])) == [("/ws", [0, 1, 105])]


def test_each_workspace_has_builds_of_its_own() -> None:
    found = lanes.found([event(0), event(1, root="/other"), event(2)])
    assert spans(found) == [("/ws", [0, 2]), ("/other", [1])]


def test_a_dependency_belongs_to_the_workspace_of_its_target_directory() -> None:
    elsewhere = event(3, root="/scratch/t")
    warming = event(0, result="warmed", target_dir="/scratch/t")
    found = lanes.found([warming, event(1, root="/ws/target"), elsewhere])
    assert spans(found) == [("/ws", [0, 1, 3])]
    assert [build.workspace for build in lanes.found([elsewhere])] == ["/scratch/t"], "nothing tells whose it is"


def test_a_target_directory_that_several_share_tells_nothing() -> None:
    mine = event(0, result="warmed", target_dir="/shared")
    others = event(300, root="/other", result="warmed", target_dir="/shared")
    found = lanes.found([mine, event(1, root="/shared"), others, event(301, root="/shared")])
    assert spans(found) == [("/ws", [0, 1]), ("/other", [300, 301])]


def test_a_call_without_a_root_belongs_to_the_build_that_ran_alone() -> None:
    before, inside, after, late = (event(at, 0.1, root="") for at in (-5, 0.5, 6, 14))
    registry = event(0.6, root="/home/.cargo/registry/src/index/zlib-1.0")
    [build] = lanes.found([before, event(0), inside, registry, after, late])
    assert (build.workspace, len(build.calls)) == ("/ws", 6)


def test_a_call_without_a_root_belongs_to_nobody_where_two_were_built() -> None:
    found = lanes.found([event(0), event(0.5, root="/other"), event(1, root=""), event(300, root="")])
    assert spans(found) == [("/ws", [0]), ("/other", [0.5]), ("", [1]), ("", [300])]


def test_a_long_stray_does_not_bring_a_far_build_near() -> None:
    """The builds near a call were once those near any call before it."""
    long, short = event(0, 300, root=""), event(1, 0.1, root="")
    found = lanes.found([event(0), long, short, event(305, root="/other")])
    assert ("/ws", [0, 1]) in spans(found)


def test_only_what_belongs_to_a_workspace_is_kept() -> None:
    log = [
        event(0, crate_name="member"),
        event(1, root="/ws/target", crate_name="dependency"),
        event(2, root="", result="passthrough", crate_name="program"),
        event(100, root="/ws/inner", crate_name="inner"),
        event(200, root="/wsx", crate_name="neighbour"),
        event(300, root="", crate_name="nobody's"),
    ]
    names = [each["crate_name"] for each in lanes.of_workspaces(log, ["/ws"])]
    assert names == ["member", "dependency", "program", "inner"]
    assert [each["crate_name"] for each in lanes.of_workspaces(log, ["/ws/inner", "/wsx/"])] == ["inner", "neighbour"]
    assert lanes.of_workspaces(log, ["/"]) == log[:-1]
    assert lanes.of_workspaces(log, ["/nowhere"]) == []


def at_once(own: List[Call]) -> int:
    """The most calls that run at one moment, found the slow way; an empty one runs at its own moment."""
    most = 0
    for moment in {call.start for call in own}:
        running = sum(call.start <= moment < call.end for call in own)
        inside = sum(call.start < moment < call.end for call in own)
        empty = any(call.start == moment == call.end for call in own)
        most = max(most, running, inside + empty)
    return most


def check_lanes(found: List[Build]) -> None:
    for build in found:
        reached: Dict[int, int] = {}
        for call in build.calls:
            assert call.start >= reached.get(call.lane, call.start), "two calls in one lane overlap"
            reached[call.lane] = call.end
        assert sorted(reached) == list(range(build.lanes))
        assert build.lanes == at_once(build.calls)
        assert build.start == min(call.start for call in build.calls)
        assert build.end == max(call.end for call in build.calls)


def check_builds(log: List[Event], found: List[Build]) -> None:
    """Every event is in one build; within a build no gap, between two of one workspace one."""
    assert sorted(id(call.event) for build in found for call in build.calls) == sorted(map(id, log))
    last: Dict[str, Build] = {}
    for build in found:
        reached = build.start
        for call in build.calls:
            assert call.start - reached < lanes.GAP
            reached = max(reached, call.end)
        if build.workspace in last:
            assert build.start - last[build.workspace].end >= lanes.GAP
        last[build.workspace] = build


@given(calls.tidy())
def test_lanes_of_real_calls_do_not_overlap_and_are_as_few_as_can_be(log: List[Event]) -> None:
    check_lanes(lanes.found(log))
    check_builds(log, lanes.found(log))


@given(calls.events())
def test_any_event_has_its_place(log: List[Event]) -> None:
    check_lanes(lanes.found(log))
    check_builds(log, lanes.found(log))

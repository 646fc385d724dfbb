"""What bench shows of three builds. That it builds them is tested end to end."""

from typing import Any, Dict

import pytest

from kachelib import bench_command, history, report
from kachelib.outcome import KacheError
from tests.world import World


def document(world: World, *events: Dict[str, Any]) -> Dict[str, Any]:
    found = report.aggregate(history.History([{"end_time": 1.0, **event} for event in events], 0))
    runs = [
        {"name": "uncached", "seconds": 20.0},
        {"name": "cold", "seconds": 21.0, "report": found},
        {"name": "warm", "seconds": 1.0, "report": found},
    ]
    return {"project": "/ws", "cargo_arguments": [], "runs": runs}


def test_a_fourth_time_is_shown_where_it_was_taken(world: World) -> None:
    found = document(world, {"result": "local_hit"})
    found["runs"].append({"name": "warm_executables", "seconds": 0.2, "report": found["runs"][2]["report"]})
    rows = [" ".join(line.split()) for line in bench_command.lines(found)]
    assert rows[5] == "the same with KACHE_CACHE_EXECUTABLES=1 200 ms 1 %"


def test_times_are_shown_with_their_share_of_the_uncached_build(world: World) -> None:
    lines = bench_command.lines(document(world, {"result": "local_hit"}))
    rows = [" ".join(line.split()) for line in lines]
    assert rows[2:5] == ["without cache 20.0 s 100 %", "cold, storing 21.0 s 105 %", "warm, new target 1.0 s 5 %"]
    assert "hit rate 100.0 %" in rows


def test_what_was_not_cached_is_told_with_a_way_out(world: World) -> None:
    text = "\n".join(bench_command.lines(document(world, {"result": "passthrough", "reason": "executable"})))
    assert "KACHE_CACHE_EXECUTABLES=1" in text


def test_a_place_without_a_project_is_an_error(world: World) -> None:
    with pytest.raises(KacheError, match=r"Cargo\.toml: there is no such file"):
        bench_command.find_project(str(world.root))

"""report and stats add up what the event log says, under the names that users of kache parse."""

import json
import time
from typing import Any, Dict, List

import pytest

from kachelib import cli, history, report
from kachelib.outcome import RESULTS
from kachelib.store import Store
from tests.stock import log, put
from tests.world import World

SUMMARY = (
    *("local_hits", "prefetch_hits", "remote_hits", "dups", "misses", "errors", "passthroughs", "probes", "skipped"),
    *("warmed", "hit_rate_pct", "time_saved_ms"),
)


def event(result: str, **fields: Any) -> Dict[str, Any]:
    return {"result": result, **fields}


def built(world: World, *events: Dict[str, Any]) -> Dict[str, Any]:
    log(world.cache_dir, *events)
    return report.build(str(world.cache_dir))


def test_field_names_are_those_of_the_contract(world: World) -> None:
    document = built(world, *(event(result) for result in RESULTS))
    assert tuple(document["summary"]) == SUMMARY
    assert list(document["storage"]) == ["reflinked_bytes", "hardlinked_bytes", "copied_bytes"]
    assert {"timing", "network", "gc"} <= set(document)


def test_every_result_is_counted_under_its_name(world: World) -> None:
    events = [event(result) for i, result in enumerate(RESULTS) for _ in range(i + 1)]
    counts = built(world, *events)["summary"]
    names = ["local_hits", "prefetch_hits", "remote_hits", "dups", "misses", "passthroughs", "errors", "skipped"]
    assert [counts[name] for name in names] == list(range(1, 9))


def test_the_hit_rate_is_of_what_could_have_been_hit(world: World) -> None:
    hits = [event("local_hit")] * 5 + [event("remote_hit")] * 2
    others = [event("miss")] * 2 + [event("dup")] + [event("passthrough")] * 50 + [event("error")] * 9
    assert built(world, *hits, *others)["summary"]["hit_rate_pct"] == 70.0


def test_warmed_units_count_as_hits(world: World) -> None:
    summary = built(world, event("skipped", warmed=9), event("miss"))["summary"]
    assert (summary["warmed"], summary["hit_rate_pct"]) == (9, 90.0)


def test_nothing_cacheable_is_a_rate_of_zero(world: World) -> None:
    assert built(world)["summary"]["hit_rate_pct"] == 0.0


def test_time_saved_is_the_compile_less_the_hit(world: World) -> None:
    summary = built(
        world,
        event("local_hit", compile_time_ms=1000, elapsed_ms=10.0),
        event("local_hit", compile_time_ms=5, elapsed_ms=10.0),
        event("miss", compile_time_ms=7000, elapsed_ms=7001.0),
    )["summary"]
    assert summary["time_saved_ms"] == 990


def test_bytes_and_times_are_summed(world: World) -> None:
    document = built(
        world,
        event("local_hit", hardlinked_bytes=100, copied_bytes=7, elapsed_ms=10.0),
        event("local_hit", hardlinked_bytes=50, reflinked_bytes=3, elapsed_ms=20.0),
        event("miss", compile_time_ms=900, elapsed_ms=1000.0, overhead_ms=100.0),
    )
    assert document["storage"] == {"reflinked_bytes": 3, "hardlinked_bytes": 150, "copied_bytes": 7}
    timing = document["timing"]
    assert (timing["avg_hit_ms"], timing["hit_time_ms"]) == (15.0, 30)
    assert (timing["miss_compile_time_ms"], timing["avg_miss_overhead_ms"]) == (900, 100.0)


def test_the_most_expensive_misses_come_first_with_their_newest_reason(world: World) -> None:
    now = time.time()
    document = built(
        world,
        event("miss", crate_name="cheap", compile_time_ms=10, reason="first"),
        event("miss", crate_name="dear", compile_time_ms=500, reason="old", end_time=now - 60),
        event("dup", crate_name="dear", compile_time_ms=700, reason="new", end_time=now),
        event("local_hit", crate_name="hit", compile_time_ms=9999),
    )
    first, second = document["top_misses"]
    assert (first["crate_name"], first["count"], first["compile_time_ms"], first["reason"]) == ("dear", 2, 1200, "new")
    assert second["crate_name"] == "cheap"


def test_what_was_not_cached_is_counted_by_reason(world: World) -> None:
    document = built(
        world,
        event("passthrough", reason="executable"),
        event("passthrough", reason="executable"),
        event("passthrough", reason="native_library: foo"),
        event("passthrough", reason="something new"),
    )
    rows = {row["reason"]: (row["count"], row["text"]) for row in document["bypass"]["reasons"]}
    assert rows["executable"] == (2, "linked outputs are not cached unless cache_executables is on")
    assert rows["native_library"][0] == 1
    assert rows["something new"] == (1, "something new")


def test_since_leaves_older_events_out(world: World) -> None:
    now = time.time()
    log(world.cache_dir, event("miss", end_time=now - 7200), event("miss", end_time=now - 60))
    assert report.build(str(world.cache_dir), 3600)["summary"]["misses"] == 1


def test_the_rotated_log_counts_too(world: World) -> None:
    log(world.cache_dir, event("miss"))
    (world.cache_dir / "events.jsonl").rename(world.cache_dir / "events.jsonl.1")
    assert built(world, event("miss"))["summary"]["misses"] == 2


def test_numbers_that_are_none_count_as_zero(world: World) -> None:
    document = built(world, event("local_hit", compile_time_ms="much", elapsed_ms=None, copied_bytes=True))
    assert document["storage"]["copied_bytes"] == 0
    assert document["summary"]["time_saved_ms"] == 0


def test_numbers_that_nobody_can_reckon_with_count_as_zero(world: World) -> None:
    world.cache_dir.mkdir()
    line = '{"result":"local_hit","end_time":5,"copied_bytes":1e999,"elapsed_ms":NaN,"warmed":1' + "0" * 400 + "}\n"
    (world.cache_dir / "events.jsonl").write_text(line)
    document = report.build(str(world.cache_dir))
    assert (document["storage"]["copied_bytes"], document["summary"]["warmed"]) == (0, 0)
    assert document["timing"]["hit_time_ms"] == 0


def test_gc_runs_are_summed_up(world: World) -> None:
    world.cache_dir.mkdir()
    history.record_gc(str(world.cache_dir), {"entries_evicted": 3, "bytes_freed": 100})
    history.record_gc(str(world.cache_dir), {"entries_evicted": 4, "bytes_freed": 50})
    gc = report.build(str(world.cache_dir))["gc"]
    assert (gc["runs"], gc["entries_evicted"], gc["bytes_freed"]) == (2, 7, 150)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(list(arguments)) == 0
    return capsys.readouterr().out


def test_report_as_json_is_one_document(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    log(world.cache_dir, event("local_hit"))
    for arguments in (["report", "--format", "json"], ["report", "--json"]):
        document = json.loads(run(capsys, *arguments))
        assert document["schema_version"] == 1
        assert document["summary"]["local_hits"] == 1


def test_report_as_text_says_what_matters(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    log(
        world.cache_dir,
        event("local_hit", compile_time_ms=61_000),
        event("miss", crate_name="dear", compile_time_ms=2000, reason="src/lib.rs differs"),
        event("passthrough", reason="executable"),
        event("error", crate_name="bad", reason="no space left"),
    )
    out = run(capsys, "report")
    words: List[str] = ["hit rate", "50.0 %", "1m", "dear", "src/lib.rs differs", "linked outputs", "no space left"]
    assert [word for word in words if word not in out] == []


def test_stats_shows_store_and_rate(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    put(Store(str(world.cache_dir)), "alpha", size=100_000)
    log(world.cache_dir, event("local_hit"), event("miss"))
    out = run(capsys, "stats")
    assert "1 entry of 1 crate, 1 blob" in out
    assert "50.0 %" in out
    store = json.loads(run(capsys, "stats", "--json"))["store"]
    assert (store["entries"], store["blobs"], store["shared_bytes"]) == (1, 1, 0)
    assert store["bytes"] >= 100_000


def test_stats_of_nothing_is_no_error(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 entries of 0 crates" in run(capsys, "stats")
    assert "0 invocations" in run(capsys, "report")
    assert not world.cache_dir.exists()


def test_without_home_and_cache_dir_the_command_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KACHE_CACHE_DIR")
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cli.main(["stats"]) == 1
    assert "KACHE_CACHE_DIR" in capsys.readouterr().err

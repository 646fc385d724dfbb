"""The event log is read through rotation and cut lines; the log of gc runs stays small."""

import time
from typing import Any, Dict

import pytest

from kachelib import history, report
from tests.stock import log
from tests.world import World


def event(result: str, **fields: Any) -> Dict[str, Any]:
    return {"result": result, **fields}


def test_events_come_in_the_order_in_which_they_ended(world: World) -> None:
    now = time.time()
    log(world.cache_dir, event("miss", end_time=now), event("dup", end_time=now - 5))
    (world.cache_dir / "events.jsonl").rename(world.cache_dir / "events.jsonl.1")
    log(world.cache_dir, event("error", end_time=now - 2))
    assert [e["result"] for e in history.read(str(world.cache_dir)).events] == ["dup", "error", "miss"]
    assert [e["result"] for e in history.read(str(world.cache_dir), now - 3).events] == ["error", "miss"]


def test_roots_are_those_of_all_events(world: World) -> None:
    log(world.cache_dir, event("miss", root="/a"), event("local_hit", root="/b"), event("miss"))
    assert history.roots(str(world.cache_dir)) == {"/a", "/b"}


BROKEN = (
    *(b'{"cut', b"[]", b'"text"', b"{}", b'{"result":"miss"}', b'{"result":"odd","end_time":1}', b"\xff\xfe", b"null"),
    *(b'{"result":"miss","end_time":NaN}', b'{"result":"miss","end_time":1e300}', b"[" * 100_000),
    *(b'{"result":"miss","end_time":"yesterday"}', b'{"result":["miss"],"end_time":1}'),
    *(b'{"result":"miss","end_time":NaN}', b'{"result":"miss","end_time":1' + b"0" * 400 + b"}"),
)


@pytest.mark.parametrize("line", BROKEN, ids=lambda line: repr(line[:40]))
def test_a_broken_line_is_skipped_and_counted(world: World, line: bytes) -> None:
    log(world.cache_dir, event("miss"))
    with (world.cache_dir / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    log(world.cache_dir, event("dup"))
    found = history.read(str(world.cache_dir))
    assert ([e["result"] for e in found.events], found.broken) == (["miss", "dup"], 1)
    assert report.build(str(world.cache_dir))["meta"]["broken_lines"] == 1


def test_the_log_of_gc_runs_stays_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.cache_dir.mkdir()
    monkeypatch.setattr(history, "MOST_BYTES", 2000)
    for number in range(200):
        history.record_gc(str(world.cache_dir), {"entries_evicted": number})
    assert (world.cache_dir / "gc.jsonl").stat().st_size < 3000
    assert history.gc_runs(str(world.cache_dir))[-1]["entries_evicted"] == 199

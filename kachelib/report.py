"""The report: what the event log adds up to, as the fields of one document.

Owns the fields and how they are computed. The names are those that users of
kache 2 parse; what a field means stands in docs/commands.md, and its shape in
docs/report.schema.json. Knows nothing of how a report looks.
"""

import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from kachelib import VERSION, history, index, inventory, lanes
from kachelib.config import Settings
from kachelib.history import Event, History, number
from kachelib.outcome import (
    DUP,
    ERROR,
    HITS,
    LOCAL_HIT,
    MISS,
    PASSTHROUGH,
    PREFETCH_HIT,
    REFUSALS,
    REMOTE_HIT,
    SKIPPED,
)

Fields = Dict[str, Any]

# How many of the most expensive misses are told.
TOP = 10

# Of one reason, as many of the things that it was about are named.
MOST_DETAILS = 3

COMPILED = (MISS, DUP)


class Scope(NamedTuple):
    """What a report is asked for.

    since: seconds back, None for all there is. roots: workspaces, absolute, none for all. top: rows of a list at most,
    None for as many as it has by itself.
    """

    since: Optional[float] = None
    roots: Tuple[str, ...] = ()
    top: Optional[int] = None


class Report(NamedTuple):
    """document: the fields. events: what they were counted from, oldest first."""

    document: Fields
    events: List[Event]


def build(cache_dir: str, since: Optional[float] = None) -> Fields:
    """The document of all workspaces: ``since`` seconds back, None: all there is."""
    return collect(cache_dir, Scope(since)).document


def collect(cache_dir: str, scope: Scope) -> Report:
    """The whole report."""
    now = time.time()
    start = 0.0 if scope.since is None else now - scope.since
    logged = history.read(cache_dir, start)
    if scope.roots:
        logged = logged._replace(events=lanes.of_workspaces(logged.events, scope.roots))
    meta: Fields = {
        "kache_version": VERSION,
        "generated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "since_secs": scope.since,
        "event_count": len(logged.events),
        "broken_lines": logged.broken,
    }
    if scope.roots:
        meta["roots"] = list(scope.roots)
    document = {
        "meta": meta,
        **aggregate(logged, scope.top),
        # Transfers and gc runs are the cache directory's, and no workspace's.
        "network": None if scope.roots else _network_fields(history.transfers(cache_dir, start)),
        "gc": None if scope.roots else _gc_fields(history.gc_runs(cache_dir, start)),
    }
    return Report(document, logged.events)


def aggregate(logged: History, top: Optional[int] = None) -> Fields:
    """Summary, storage, timing, misses and what passed through, of any list of events. top: as in Scope."""
    events = logged.events
    return {
        "summary": summary(events),
        "storage": {name: _sum(events, name) for name in ("reflinked_bytes", "hardlinked_bytes", "copied_bytes")},
        "timing": _timing(events),
        "top_misses": _top_misses(events)[: TOP if top is None else top],
        "bypass": {"passthroughs": _count(events, PASSTHROUGH), "reasons": _bypass_reasons(events)[:top]},
        "errors_detail": _errors(events)[:top],
    }


def summary(events: List[Event]) -> Fields:
    """The counts, one a result, and what they come to."""
    hits = [event for event in events if event["result"] in HITS]
    warmed = _sum(events, "warmed")
    served = len(hits) + warmed
    cacheable = served + _count(events, MISS) + _count(events, DUP)
    saved = sum(max(0.0, number(event, "compile_time_ms") - number(event, "elapsed_ms")) for event in hits)
    return {
        "local_hits": _count(events, LOCAL_HIT),
        "prefetch_hits": _count(events, PREFETCH_HIT),
        "remote_hits": _count(events, REMOTE_HIT),
        "dups": _count(events, DUP),
        "misses": _count(events, MISS),
        "errors": _count(events, ERROR),
        "passthroughs": _count(events, PASSTHROUGH),
        "probes": _sum(events, "probe_runs"),
        "skipped": _count(events, SKIPPED),
        "warmed": warmed,
        "hit_rate_pct": round(100 * served / cacheable, 1) if cacheable else 0.0,
        "time_saved_ms": int(saved),
    }


def store_fields(settings: Settings) -> Fields:
    """What the store holds and takes; bytes are those that gc counts."""
    blobs = inventory.blobs(settings.cache_dir).files
    entries = inventory.entries(settings.cache_dir).files
    with index.opened(settings.cache_dir) as view:
        items = view.items()
    records = inventory.units(settings.cache_dir).files
    taken = inventory.disk_bytes([*blobs.values(), *entries.values(), *records.values()])
    return {
        "path": settings.cache_dir,
        "entries": len(items),
        "crates": len({item.crate_name for item in items}),
        "blobs": len(blobs),
        "bytes": taken,
        "shared_bytes": inventory.disk_bytes(file for file in blobs.values() if file.links > 1),
        "limit_bytes": settings.local_max_size,
    }


def _timing(events: List[Event]) -> Fields:
    hits = [event for event in events if event["result"] in HITS]
    compiled = [event for event in events if event["result"] in COMPILED]
    return {
        "hit_time_ms": _sum(hits, "elapsed_ms"),
        "miss_time_ms": _sum(compiled, "elapsed_ms"),
        "avg_hit_ms": _average(hits, "elapsed_ms"),
        "avg_miss_ms": _average(compiled, "elapsed_ms"),
        "avg_miss_overhead_ms": _average(compiled, "overhead_ms"),
        "miss_compile_time_ms": _sum(compiled, "compile_time_ms"),
    }


def _top_misses(events: List[Event]) -> List[Fields]:
    """The crates whose compiles cost most, each with its newest reason."""
    found: Dict[str, Fields] = {}
    for event in events:
        if event["result"] not in COMPILED:
            continue
        name, types = str(event.get("crate_name", "")), str(event.get("crate_types", ""))
        row = found.setdefault(
            name + "\0" + types, {"crate_name": name, "crate_types": types, "count": 0, "compile_time_ms": 0}
        )
        row["count"] += 1
        row["compile_time_ms"] += int(number(event, "compile_time_ms"))
        row["reason"] = str(event.get("reason", ""))
        row["root"] = str(event.get("root", ""))
    return sorted(found.values(), key=lambda row: -row["compile_time_ms"])


def _bypass_reasons(events: List[Event]) -> List[Fields]:
    found: Dict[str, Fields] = {}
    for event in events:
        if event["result"] != PASSTHROUGH:
            continue
        reason = str(event.get("reason", ""))
        # A reason is a name of REFUSALS, perhaps with ": " and what it was about.
        name = reason.partition(":")[0]
        row = found.setdefault(
            name, {"reason": name, "text": REFUSALS.get(name, reason), "count": 0, "max_elapsed_ms": 0, "details": {}}
        )
        row["count"] += 1
        row["max_elapsed_ms"] = max(row["max_elapsed_ms"], int(number(event, "elapsed_ms")))
        detail = reason.partition(": ")[2]
        # Several flags may be unknown at once, and people want to know of each.
        for word in detail.split() if name == "unsupported_flag" else [detail]:
            row["details"][word] = row["details"].get(word, 0) + 1
    for row in found.values():
        counted = sorted(row["details"].items(), key=lambda pair: (-pair[1], pair[0]))
        row["details"] = [{"detail": detail, "count": count} for detail, count in counted[:MOST_DETAILS] if detail]
    return sorted(found.values(), key=lambda row: -row["count"])


def _errors(events: List[Event]) -> List[Fields]:
    found: Dict[str, Fields] = {}
    for event in events:
        if event["result"] == ERROR:
            name, reason = str(event.get("crate_name", "")), str(event.get("reason", ""))
            row = found.setdefault(name + "\0" + reason, {"crate_name": name, "reason": reason, "count": 0})
            row["count"] += 1
    return sorted(found.values(), key=lambda row: -row["count"])


def _network_fields(runs: List[Fields]) -> Optional[Fields]:
    if not runs:
        return None
    names = ("pulled", "pulled_bytes", "pushed", "pushed_bytes", "failed", "elapsed_ms")
    return {"runs": len(runs), **{name: _sum(runs, name) for name in names}}


def _gc_fields(runs: List[Fields]) -> Optional[Fields]:
    if not runs:
        return None
    names = ("entries_evicted", "blobs_removed", "bytes_freed", "disk_bytes_reclaimed", "shared_bytes_retained")
    last = float(runs[-1]["end_time"])
    return {
        "runs": len(runs),
        "last_run": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(last)),
        "last_run_time": last,
        **{name: _sum(runs, name) for name in names},
    }


def _count(events: List[Event], result: str) -> int:
    return sum(event["result"] == result for event in events)


def _sum(events: List[Event], field: str) -> int:
    return int(sum(number(event, field) for event in events))


def _average(events: List[Event], field: str) -> float:
    return round(sum(number(event, field) for event in events) / len(events), 3) if events else 0.0

"""``kache report`` and ``kache stats``: what the event log adds up to.

Owns the summary's fields and how they are computed, and the look of both
commands. The field names are those that users of kache 2 parse; what a field
means stands in docs/commands.md.
"""

import argparse
import time
from typing import Any, Dict, List, Optional, Tuple

from kachelib import VERSION, console, history, index, inventory
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
Row = Tuple[str, str, str]

FORMATS = ("text", "json", "markdown", "github")

# The exit code of --min-hit-rate.
BELOW = 3

# How many of the most expensive misses are told.
TOP = 10

# Of one reason, as many of the things that it was about are named.
MOST_DETAILS = 3

COMPILED = (MISS, DUP)


def run_report(argv: List[str]) -> int:
    """``kache report``; returns the exit code."""
    parser = console.Parser(
        "report",
        "What happened to every compile: hits, misses with their reasons, and what was not cached.",
        "Exit codes: 0 done; 1 failed; 2 wrong use; 3 the hit rate is below --min-hit-rate.",
    )
    told = "default: text; github: Markdown with what is long folded away, for a job's summary"
    parser.add_argument("--format", choices=FORMATS, default="text", help=told)
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    gate = "exit with 3 where less than this came from the cache, or no compile was seen"
    parser.add_argument("--min-hit-rate", metavar="PCT", type=_percentage, help=gate)
    span = "only what ended within the last DUR (7d, 24h, 30m); default: all that is logged"
    parser.add_argument("--since", metavar="DUR", type=console.duration_argument, help=span)
    options = parser.parse_args(argv)
    cache_dir = console.store_directory(console.load_settings())
    document = build(cache_dir, options.since)
    if options.format == "json":
        console.print_json(document)
    elif options.format == "text":
        print("\n".join(text_lines(document)))
    else:
        from kachelib import report_markdown, why

        events = history.read(cache_dir).events
        units = [(miss["crate_name"], miss["crate_types"]) for miss in document["top_misses"]]
        reasons = [why.in_short(cache_dir, events, *unit) for unit in units]
        print("\n".join(report_markdown.lines(document, reasons, options.format == "github")))
    return 0 if options.min_hit_rate is None else _judge(document, options.min_hit_rate)


def _judge(document: Fields, least: float) -> int:
    """The exit code of the gate, and one line on what it found."""
    s = document["summary"]
    if not (s["warmed"] or document["timing"]["hit_time_ms"] or document["timing"]["miss_time_ms"]):
        console.note("no compile was seen: does Cargo call kache (RUSTC_WRAPPER), and is this its cache directory?")
        return BELOW
    if s["hit_rate_pct"] < least:
        console.note(f"{s['hit_rate_pct']:.1f} % came from the cache, which is less than {least:g} %")
        return BELOW
    return 0


def _percentage(text: str) -> float:
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("give a number from 0 to 100")
    return value


def run_stats(argv: List[str]) -> int:
    """``kache stats``; returns the exit code."""
    parser = console.Parser(
        "stats", "The store and the hit rate on one screen.", "Exit codes: 0 done; 1 failed; 2 wrong use."
    )
    span = "count only the invocations of the last DUR (7d, 24h, 30m); default: all that are logged"
    parser.add_argument("--since", metavar="DUR", type=console.duration_argument, help=span)
    parser.add_json()
    options = parser.parse_args(argv)
    settings = console.load_settings()
    cache_dir = console.store_directory(settings)
    document = build(cache_dir, options.since)
    store = store_fields(settings)
    if options.json:
        parts = ("meta", "summary", "storage", "network", "gc")
        console.print_json({"store": store, **{name: document[name] for name in parts}})
        return 0
    print("\n".join([*_store_lines(store), "", *_summary_lines(document)]))
    return 0


def build(cache_dir: str, since: Optional[float] = None) -> Fields:
    """The whole report: ``since`` seconds back, None: all there is."""
    now = time.time()
    start = 0.0 if since is None else now - since
    logged = history.read(cache_dir, start)
    return {
        "meta": {
            "kache_version": VERSION,
            "generated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            "since_secs": since,
            "event_count": len(logged.events),
            "broken_lines": logged.broken,
        },
        **aggregate(logged),
        "network": _network_fields(history.transfers(cache_dir, start)),
        "gc": _gc_fields(history.gc_runs(cache_dir, start)),
    }


def aggregate(logged: History) -> Fields:
    """Summary, storage, timing, misses and what passed through, of any list of events."""
    events = logged.events
    return {
        "summary": summary(events),
        "storage": {name: _sum(events, name) for name in ("reflinked_bytes", "hardlinked_bytes", "copied_bytes")},
        "timing": _timing(events),
        "top_misses": _top_misses(events),
        "bypass": {"passthroughs": _count(events, PASSTHROUGH), "reasons": _bypass_reasons(events)},
        "errors_detail": _errors(events),
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


def text_lines(document: Fields) -> List[str]:
    """The report for people."""
    lines = _summary_lines(document)
    if document["top_misses"]:
        rows = [
            (
                miss["crate_name"],
                miss["crate_types"],
                console.duration(miss["compile_time_ms"] / 1000),
                str(miss["count"]),
                miss["reason"],
            )
            for miss in document["top_misses"]
        ]
        lines += ["", console.paint("Most expensive misses", "bold")]
        lines += console.table(("CRATE", "TYPES", ">COMPILED", ">TIMES", "~WHY"), rows)
        lines.append("'kache why-miss CRATE' tells which input changed")
    if document["bypass"]["reasons"]:
        found = [(str(row["count"]), _bypass_text(row)) for row in document["bypass"]["reasons"]]
        lines += ["", console.paint("Not cached", "bold"), *console.table((">COUNT", "~WHY"), found)]
    if document["errors_detail"]:
        failed = [(row["crate_name"], str(row["count"]), row["reason"]) for row in document["errors_detail"]]
        lines += ["", console.paint("Errors", "bold"), *console.table(("CRATE", ">COUNT", "~WHY"), failed)]
    return lines


def hit_table(document: Fields) -> List[str]:
    """The counts as a table: what ``kache bench`` shows as well."""
    return _table(_counts(document))


def _counts(document: Fields) -> List[Row]:
    s = document["summary"]
    hits = s["local_hits"] + s["prefetch_hits"] + s["remote_hits"]
    parts = [f"{name} {s[field]:,}" for name, field in _HIT_KINDS if s[field]]
    rows = [("hits", f"{hits:,}", ", ".join(parts) if len(parts) > 1 else "")]
    rows += [(name, f"{s[field]:,}", note) for name, field, note in _OTHERS if s[field] or field == "misses"]
    return [*rows, ("hit rate", f"{s['hit_rate_pct']:.1f} %", "")]


_HIT_KINDS = (("local", "local_hits"), ("prefetched", "prefetch_hits"), ("remote", "remote_hits"))

_OTHERS = (
    ("warmed", "warmed", "units put back before Cargo looked"),
    ("misses", "misses", ""),
    ("dups", "dups", "compiled, and the bytes were known"),
    ("not cached", "passthroughs", ""),
    ("skipped", "skipped", ""),
    ("errors", "errors", ""),
)


def _table(rows: List[Row]) -> List[str]:
    return ["  " + line for line in console.table(("", ">", "~"), rows, max(0, console.width() - 2))]


def _summary_lines(document: Fields) -> List[str]:
    meta, s, storage = document["meta"], document["summary"], document["storage"]
    span = f"in the last {console.duration(meta['since_secs'])}" if meta["since_secs"] else "that are logged"
    lines = [console.paint(f"{console.plural(meta['event_count'], 'invocation')} {span}", "bold")]
    if meta["broken_lines"]:
        lines.append(f"  {console.plural(meta['broken_lines'], 'line')} of the event log could not be read")
    rows = _counts(document)
    rows.append(("time saved", console.duration(s["time_saved_ms"] / 1000), "of compiling, summed over all cores"))
    if document.get("timing") and document["timing"]["avg_hit_ms"]:
        rows.append(("one hit", f"{document['timing']['avg_hit_ms']:.1f} ms", "on average"))
    rows += [("restored", console.size(storage[field]), way) for way, field in _WAYS if storage[field]]
    network = document.get("network")
    if network:
        for way, verb in (("pulled", "from the remote"), ("pushed", "to the remote")):
            if network[way]:
                size = console.size(network[way + "_bytes"])
                rows.append((way, console.plural(network[way], "object"), f"{size} {verb}"))
    gc = document["gc"]
    if gc:
        ago = console.age(time.time() - gc["last_run_time"])
        freed = f"{console.plural(gc['entries_evicted'], 'entry')} removed, {console.size(gc['bytes_freed'])}"
        rows.append(("gc", console.plural(gc["runs"], "run"), f"the last {ago} ago; {freed}"))
    return lines + _table(rows)


_WAYS = (("by reflink", "reflinked_bytes"), ("by hard link", "hardlinked_bytes"), ("by copy", "copied_bytes"))


def _store_lines(store: Fields) -> List[str]:
    share = 100 * store["bytes"] / store["limit_bytes"] if store["limit_bytes"] else 0.0
    held = f"{console.plural(store['entries'], 'entry')} of {console.plural(store['crates'], 'crate')}"
    lines = [
        console.paint(f"Store {store['path']}", "bold"),
        f"  {held}, {console.plural(store['blobs'], 'blob')}",
        f"  {console.size(store['bytes'])} of {console.size(store['limit_bytes'])} ({share:.1f} %)",
    ]
    if store["shared_bytes"]:
        lines.append(f"  {console.size(store['shared_bytes'])} of it are shared with target directories")
    return lines


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
    return sorted(found.values(), key=lambda row: -row["compile_time_ms"])[:TOP]


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


def _bypass_text(row: Fields) -> str:
    """A reason for people, with what it was about most often."""
    told = ", ".join(each["detail"] for each in row["details"])
    return f"{row['text']}: {told}" if told else str(row["text"])


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

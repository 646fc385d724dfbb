"""The report as text: what ``kache report`` and ``kache stats`` show on a terminal.

Owns the look. What is counted, report.py says.
"""

import time
from typing import Any, Dict, List, Tuple

from kachelib import console

Fields = Dict[str, Any]
Row = Tuple[str, str, str]


def lines(document: Fields) -> List[str]:
    """The report for people."""
    found = summary_lines(document)
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
        found += ["", console.paint("Most expensive misses", "bold")]
        found += console.table(("CRATE", "TYPES", ">COMPILED", ">TIMES", "~WHY"), rows)
        found.append("'kache why-miss CRATE' tells which input changed")
    if document["bypass"]["reasons"]:
        counted = [(str(row["count"]), _bypass_text(row)) for row in document["bypass"]["reasons"]]
        found += ["", console.paint("Not cached", "bold"), *console.table((">COUNT", "~WHY"), counted)]
    if document["errors_detail"]:
        failed = [(row["crate_name"], str(row["count"]), row["reason"]) for row in document["errors_detail"]]
        found += ["", console.paint("Errors", "bold"), *console.table(("CRATE", ">COUNT", "~WHY"), failed)]
    return found


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


def summary_lines(document: Fields) -> List[str]:
    """How many calls there were, and what they came to."""
    meta, s, storage = document["meta"], document["summary"], document["storage"]
    span = f"in the last {console.duration(meta['since_secs'])}" if meta["since_secs"] else "that are logged"
    found = [console.paint(f"{console.plural(meta['event_count'], 'invocation')} {span}", "bold")]
    if meta["broken_lines"]:
        found.append(f"  {console.plural(meta['broken_lines'], 'line')} of the event log could not be read")
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
    return found + _table(rows)


_WAYS = (("by reflink", "reflinked_bytes"), ("by hard link", "hardlinked_bytes"), ("by copy", "copied_bytes"))


def store_lines(store: Fields) -> List[str]:
    """What the store holds and takes."""
    share = 100 * store["bytes"] / store["limit_bytes"] if store["limit_bytes"] else 0.0
    held = f"{console.plural(store['entries'], 'entry')} of {console.plural(store['crates'], 'crate')}"
    found = [
        console.paint(f"Store {store['path']}", "bold"),
        f"  {held}, {console.plural(store['blobs'], 'blob')}",
        f"  {console.size(store['bytes'])} of {console.size(store['limit_bytes'])} ({share:.1f} %)",
    ]
    if store["shared_bytes"]:
        found.append(f"  {console.size(store['shared_bytes'])} of it are shared with target directories")
    return found


def _bypass_text(row: Fields) -> str:
    """A reason for people, with what it was about most often."""
    told = ", ".join(each["detail"] for each in row["details"])
    return f"{row['text']}: {told}" if told else str(row["text"])

"""The report as a page: one file that a browser shows without asking anybody for anything.

Owns which parts the page has and in which words. What is counted, report.py says; timelines are report_timeline.py's,
frame and look report_page.py's.
"""

import os
from typing import Any, Dict, List, Optional, Sequence

from kachelib import console, lanes, report_markdown, report_timeline
from kachelib.history import Event, number
from kachelib.lanes import SECOND, Build
from kachelib.outcome import HITS, WARMED
from kachelib.report import COMPILED, Report
from kachelib.report_page import escape, framed, table

Fields = Dict[str, Any]

# So many builds and warmings have a line: the newest.
MOST_LINES = 50


def page(found: Report, reasons: Sequence[str]) -> str:
    """The whole page. reasons: why each of ``top_misses`` missed."""
    document = found.document
    all_builds = lanes.found(found.events)
    title = escape("kache: " + report_markdown.headline(document).partition(",")[0])
    parts = [
        f'<header><h1>{title}</h1><p class="quiet">{_scope(document["meta"])}</p></header><main>',
        *_summary(document, found.events, all_builds),
        '<div id="tools" class="script" role="search" hidden>',
        '<label for="filter">Filter by crate, result or reason</label>',
        '<input id="filter" type="search" autocomplete="off" spellcheck="false">',
        '<span id="told" class="quiet" role="status"></span></div>',
        *report_timeline.timelines(all_builds),
        *_hit_rates(all_builds),
        *_warmings(found.events),
        *_misses(document, reasons),
        *_not_cached(document),
        "</main>",
    ]
    return framed(title, "\n".join(parts))


def _scope(meta: Fields) -> str:
    """What the page is about, in one line."""
    since = meta["since_secs"]
    span = f"in the last {console.duration(since)}" if since else "that are logged"
    parts = [f"{console.plural(meta['event_count'], 'call')} {span}"]
    if meta.get("roots"):
        parts.append("in " + ", ".join(dict.fromkeys(os.path.basename(root) or root for root in meta["roots"])))
    if meta["broken_lines"]:
        parts.append(f"{console.plural(meta['broken_lines'], 'line')} of the event log could not be read")
    return escape("; ".join([*parts, f"made {meta['generated_at']} by kache {meta['kache_version']}"]))


def _summary(document: Fields, events: Sequence[Event], found: Sequence[Build]) -> List[str]:
    s, timing, storage = document["summary"], document["timing"], document["storage"]
    counts = report_timeline.counted(call for build in found for call in build.calls)
    compiled = s["misses"] + s["dups"]
    restored = sum(storage.values())
    figures = [
        ("from the cache", f"{s['hit_rate_pct']:.1f} %"),
        ("hits, by compile time", _by_compile_time(events)),
        ("units warmed", f"{s['warmed']:,}"),
        ("hits", f"{s['local_hits'] + s['prefetch_hits'] + s['remote_hits']:,}"),
        ("compiled", f"{compiled:,}"),
        ("not cached", f"{s['passthroughs'] + s['skipped']:,}"),
        ("compiling saved", console.duration(s["time_saved_ms"] / 1000)),
        ("spent in misses", console.duration(timing["miss_time_ms"] / 1000)),
        ("one hit, on average", f"{timing['avg_hit_ms']:.1f} ms" if timing["avg_hit_ms"] else "none"),
        ("restored", console.size(restored)),
    ]
    network = document["network"]
    for way in ("pulled", "pushed"):
        if network and network[way]:
            figures.append((f"{way}, {console.plural(network[way], 'object')}", console.size(network[way + "_bytes"])))
    return [
        '<section aria-labelledby="h-sum"><h2 id="h-sum">Summary</h2>',
        *(f"<p>{escape(sentence)}</p>" for sentence in sentences(document)),
        "<dl>",
        *(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures),
        "</dl>",
        *report_timeline.shares(counts),
        *report_timeline.legend(counts),
        "</section>",
    ]


def sentences(document: Fields) -> List[str]:
    """The summary in words."""
    s, timing = document["summary"], document["timing"]
    hits = s["local_hits"] + s["prefetch_hits"] + s["remote_hits"]
    compiled = s["misses"] + s["dups"]
    served = hits + s["warmed"]
    if not served + compiled:
        told = ["No compile was seen that could have come from the cache."]
    else:
        told = [
            f"{served:,} of {console.plural(served + compiled, 'unit')} came from the cache: {s['warmed']:,} were put "
            f"back before Cargo looked, {hits:,} were answered when the compiler was called."
        ]
    if compiled:
        took = console.duration(timing["miss_compile_time_ms"] / 1000)
        told.append(f"{compiled:,} were compiled, which took the compilers {took}, summed over all cores.")
    if s["passthroughs"]:
        told.append(f"{console.plural(s['passthroughs'], 'call')} went to the compiler as they were.")
    if s["errors"]:
        told.append(f"{console.plural(s['errors'], 'call')} met an error of kache's own and went to the compiler.")
    return told


def _by_compile_time(events: Sequence[Event]) -> str:
    """The share of hits, of these and compiles, each weighed by what its compile takes."""
    hit = sum(number(event, "compile_time_ms") for event in events if event["result"] in HITS)
    missed = sum(number(event, "compile_time_ms") for event in events if event["result"] in COMPILED)
    return f"{100 * hit / (hit + missed):.1f} %" if hit + missed > 0 else "none"


def _hit_rates(found: Sequence[Build]) -> List[str]:
    rows = []
    for build in list(reversed(found))[:MOST_LINES]:
        counts = report_timeline.counted(build.calls)
        hits = sum(counts.get(result, 0) for result in HITS)
        compiled = sum(counts.get(result, 0) for result in COMPILED)
        served = hits + counts.get(WARMED, 0)
        rate = 100 * served / (served + compiled) if served + compiled else 0.0
        rows.append(
            [
                escape(os.path.basename(build.workspace) or "unknown workspace"),
                escape(lanes.moment(build.start, "%Y-%m-%d %H:%M:%S")),
                escape(console.duration((build.end - build.start) / SECOND)),
                f"{counts.get(WARMED, 0):,}",
                f"{hits:,}",
                f"{compiled:,}",
                f"{rate:.1f} %" if served + compiled else "none",
            ]
        )
    heads = ("`Workspace", ".Start", ">Took", ">Warmed", ">Hits", ">Compiled", ">From the cache")
    return _section("rates", "Hit rate of each build", heads, rows, len(found))


def _warmings(events: Sequence[Event]) -> List[str]:
    warmed = [event for event in events if event["result"] == WARMED]
    rows = [
        [
            escape(os.path.basename(str(event.get("root", ""))) or "unknown workspace"),
            escape(lanes.moment(round(number(event, "end_time") * SECOND), "%Y-%m-%d %H:%M:%S")),
            escape(event.get("profile", "")),
            f"{int(number(event, 'warmed')):,}",
            f"{int(number(event, 'files')):,}",
            escape(console.duration(number(event, "elapsed_ms") / 1000)),
            escape(event.get("left_out", "")),
        ]
        for event in warmed[::-1][:MOST_LINES]
    ]
    heads = ("`Workspace", ".When", ".Profile", ">Units", ">Files", ">Took", "Left out")
    return _section("warmed", "Units warmed", heads, rows, len(warmed))


def _misses(document: Fields, reasons: Sequence[str]) -> List[str]:
    rows = [
        [
            escape(miss["crate_name"]),
            escape(miss["crate_types"]),
            escape(console.duration(miss["compile_time_ms"] / 1000)),
            f"{miss['count']:,}",
            escape(why),
            escape(miss["reason"]),
        ]
        for miss, why in zip(document["top_misses"], reasons)
    ]
    heads = ("`Crate", ".Types", ">Compiled in", ">Times", "Why", "What the wrapper said")
    return _section("misses", "Most expensive misses", heads, rows)


def _not_cached(document: Fields) -> List[str]:
    rows = [
        [f"{row['count']:,}", escape(row["text"]), escape(", ".join(each["detail"] for each in row["details"]))]
        for row in document["bypass"]["reasons"]
    ]
    failed = [
        [f"{row['count']:,}", escape(row["crate_name"]), escape(row["reason"])] for row in document["errors_detail"]
    ]
    return [
        *_section("bypass", "Not cached", (">Count", "Why", "Most often"), rows),
        *(_section("errors", "Errors", (">Count", "`Crate", "Why"), failed) if failed else []),
    ]


def _section(
    name: str, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], total: Optional[int] = None
) -> List[str]:
    """A heading and its table. total: how many rows there would be, where not all are shown."""
    cut = f"The newest {len(rows)} of {total:,}." if total is not None and total > len(rows) else ""
    return [
        f'<section aria-labelledby="h-{name}"><h2 id="h-{name}">{title}</h2>',
        *(table(cut, heads, rows) if rows else ["<p>None.</p>"]),
        "</section>",
    ]

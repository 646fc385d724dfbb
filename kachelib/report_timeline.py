"""Timelines: a build as a drawing of bars, a lane for each job that ran beside others, and the same as a table.

Owns the drawing, what its colours say, and how much is drawn. Which calls were a build and in which lanes, lanes.py
says; colours and script are report_page.py's.
"""

import heapq
import os
from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

from kachelib import console, lanes
from kachelib.history import number
from kachelib.lanes import SECOND, Build, Call
from kachelib.outcome import DUP, ERROR, HITS, MISS, PASSTHROUGH, REFUSALS, SKIPPED, WARMED
from kachelib.report_page import escape, table

# A page with so many bars opens at once, and stays below three megabytes.
MOST_BARS = 4000

# So many builds have a timeline: the newest.
MOST_TIMELINES = 12

# Units of the drawing: its width, and the height of a lane.
WIDTH = 100_000
LANE = 10

# The same in pixels: a lane's height, and what all lanes take together at least and at most.
LANE_PIXELS = 18
LEAST_PIXELS = 36
MOST_PIXELS = 420

HOW = (
    "Point at a bar to read what it was. Keys in a timeline: the arrows go from bar to bar, + and - zoom, 0 shows all. "
    "Ctrl and the wheel zoom as well; dragging moves."
)


class Kind(NamedTuple):
    """What a colour says. height: of the bar, in units, so that colour is not all that tells bars apart."""

    mark: str
    height: int
    text: str
    results: Tuple[str, ...]


KINDS = (
    Kind("w", 6, "warmed", (WARMED,)),
    Kind("h", 6, "hits", HITS),
    Kind("m", 9, "misses", (MISS,)),
    Kind("d", 9, "dups", (DUP,)),
    Kind("p", 3, "not cached", (PASSTHROUGH, SKIPPED)),
    Kind("e", 9, "errors", (ERROR,)),
)
KIND_OF: Dict[str, Kind] = {result: kind for kind in KINDS for result in kind.results}


def timelines(found: Sequence[Build]) -> List[str]:
    """The newest of the builds, the newest first and open."""
    lines = ['<section aria-labelledby="h-time"><h2 id="h-time">Timeline</h2>']
    if not found:
        return [*lines, "<p>No call was logged.</p></section>"]
    lines.append(f'<p class="quiet script" hidden>{HOW}</p>')
    shown = list(reversed(found[-MOST_TIMELINES:]))
    room = MOST_BARS
    drawn = 0
    for position, build in enumerate(shown):
        calls = _longest(build.calls, room)
        room -= len(calls)
        drawn += len(calls)
        lines.append(f'<details class="build"{"" if position else " open"}><summary>{_caption(build)}</summary>')
        lines += [*_figure(build, calls), "</details>"]
    said = []
    if len(found) > len(shown):
        said.append(f"The newest {len(shown)} of {len(found):,} builds are drawn.")
    of = sum(len(build.calls) for build in shown)
    if drawn < of:
        said.append(f"The page is kept small: {drawn:,} of their {of:,} calls have a bar, in each build the longest.")
    lines += [f'<p class="quiet" id="left-out">{" ".join(said)}</p>'] if said else []
    return [*lines, "</section>"]


def legend(counts: Dict[str, int]) -> List[str]:
    """What the colours say, each with its count by result."""
    parts = []
    for kind in KINDS:
        count = sum(counts.get(result, 0) for result in kind.results)
        parts.append(f'<li><span class="key {kind.mark}"></span>{kind.text} {count:,}</li>')
    return ['<ul class="legend">', *parts, "</ul>"]


def shares(counts: Dict[str, int]) -> List[str]:
    """One bar for all counts by result, cut into their shares."""
    total = sum(counts.values())
    parts = []
    at = 0.0
    for kind in KINDS:
        count = sum(counts.get(result, 0) for result in kind.results)
        if count:
            part = WIDTH * count / total
            title = f"<title>{kind.text} {count:,}</title>"
            parts.append(f'<rect class="{kind.mark}" x="{at:.0f}" width="{part:.0f}" height="10">{title}</rect>')
            at += part
    head = f'<svg class="share" viewBox="0 0 {WIDTH} 10" preserveAspectRatio="none" aria-hidden="true">'
    return [head, *parts, "</svg>"] if parts else []


def _longest(calls: Sequence[Call], room: int) -> List[Call]:
    """The longest of the calls, as many as there is room for, by their start."""
    if len(calls) <= room:
        return list(calls)
    kept = heapq.nlargest(room, range(len(calls)), key=lambda index: (calls[index].length, -index))
    return [calls[index] for index in sorted(kept)]


def _figure(build: Build, calls: Sequence[Call]) -> List[str]:
    length = max(1, build.end - build.start)
    height = build.lanes * LANE
    pixels = min(max(build.lanes * LANE_PIXELS, LEAST_PIXELS), MOST_PIXELS)
    what = f"Timeline of {console.plural(len(calls), 'call')}; the table below has the same"
    labels = (console.duration(length * part / 5 / SECOND) for part in range(5))
    return [
        "<figure>",
        f'<svg class="time" role="group" tabindex="0" aria-label="{what}" height="{pixels}" '
        f'data-ms="{length / 1000:.3f}" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none">',
        *(_bar(build, call, length) for call in calls),
        "</svg>",
        f'<div class="axis">{"".join(f"<span>{escape(label)}</span>" for label in labels)}</div>',
        '<div class="row"><output aria-live="polite"></output><span class="buttons script" hidden>',
        '<button type="button" data-key="-" aria-label="Zoom out">&minus;</button>',
        '<button type="button" data-key="+" aria-label="Zoom in">+</button>',
        '<button type="button" data-key="0">All</button></span></div>',
        f"<details><summary>These {console.plural(len(calls), 'call')} as a table</summary>",
        *_call_table(build, calls),
        "</details></figure>",
    ]


def _caption(build: Build) -> str:
    place = escape(os.path.basename(build.workspace) or "unknown workspace")
    counts = counted(build.calls)
    kinds = [(sum(counts.get(result, 0) for result in kind.results), kind.text) for kind in KINDS]
    told = ", ".join(f"{count:,} {text}" for count, text in kinds if count)
    when = escape(lanes.moment(build.start, "%Y-%m-%d %H:%M:%S"))
    took = escape(console.duration((build.end - build.start) / SECOND))
    jobs = console.plural(build.lanes, "job")
    return f'<b title="{escape(build.workspace)}">{place}</b>, {when}: {took}, {jobs} at once; {told}'


def counted(calls: Iterable[Call]) -> Dict[str, int]:
    """Calls by result; of a warming its units."""
    counts: Dict[str, int] = {}
    for call in calls:
        result = str(call.event["result"])
        counts[result] = counts.get(result, 0) + (int(number(call.event, "warmed")) if result == WARMED else 1)
    return counts


def _bar(build: Build, call: Call, length: int) -> str:
    kind = KIND_OF[str(call.event["result"])]
    x = WIDTH * (call.start - build.start) / length
    width = WIDTH * call.length / length
    y = call.lane * LANE + (LANE - kind.height) / 2
    title = ", ".join(part for part in (call.title, *_told(build, call)) if part)
    return (
        f'<rect class="{kind.mark}" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{kind.height}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _told(build: Build, call: Call) -> List[str]:
    """What a bar says beside its name."""
    took = console.duration(call.length / 1_000_000)
    compiled = number(call.event, "compile_time_ms")
    return [
        str(call.event["result"]),
        f"at {console.duration((call.start - build.start) / SECOND)}",
        f"handed over after {took}" if call.untimed else f"took {took}",
        f"compile time {console.duration(compiled / 1000)}" if compiled else "",
        reason(call),
    ]


def reason(call: Call) -> str:
    """Why a call was no hit, for people."""
    text = str(call.event.get("reason", "") or call.event.get("left_out", ""))
    name, colon, detail = text.partition(":")
    return REFUSALS[name] + colon + detail if name in REFUSALS else text


def _call_table(build: Build, calls: Sequence[Call]) -> List[str]:
    rows = []
    for call in calls:
        compiled = number(call.event, "compile_time_ms")
        size = number(call.event, "size")
        rows.append(
            [
                escape(call.title),
                escape(call.event["result"]),
                escape(console.duration((call.start - build.start) / SECOND)),
                escape(console.duration(call.length / SECOND)),
                escape(console.duration(compiled / 1000)) if compiled else "",
                escape(console.size(size)) if size else "",
                escape(reason(call)),
            ]
        )
    return table("", ("`Call", ".Result", ">Start", ">Took", ">Compile time", ">Size", "Why no hit"), rows)

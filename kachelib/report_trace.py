"""The report as a trace: Chrome's trace events, which ui.perfetto.dev opens.

Owns the format. Which calls are a build and which lane a call has, lanes.py says.

Grammar (Chrome's "Trace Event Format", JSON object form): a build is a process, a lane a thread of it, a call a
complete event (``"ph": "X"``). ``ts`` and ``dur`` are microseconds; ``ts`` counts from the first call, whose time
stands in ``otherData.start``, seconds since the epoch. Lanes are counted from 1.
"""

import json
import os
from typing import Any, Dict, Iterator, Sequence

from kachelib import VERSION, lanes
from kachelib.history import Event, number
from kachelib.lanes import SECOND, Build, Call
from kachelib.outcome import DUP, ERROR, HITS, MISS, PASSTHROUGH, REFUSALS, SKIPPED, WARMED

Fields = Dict[str, Any]

# The names that the viewers' palette has; Perfetto colours by the event's name and lets these be.
COLOURS = {
    **dict.fromkeys(HITS, "good"),
    WARMED: "vsync_highlight_color",
    MISS: "bad",
    DUP: "terrible",
    ERROR: "black",
    PASSTHROUGH: "grey",
    SKIPPED: "white",
}

# What a call's line in the event log says beside its name and times.
SHOWN = (
    *("result", "reason", "crate_types", "route", "root", "cache_key", "action_key"),
    *("compile_time_ms", "overhead_ms", "size", "reflinked_bytes", "hardlinked_bytes", "copied_bytes"),
    *("compiler_runs", "preprocessor_runs", "probe_runs", "warmed", "files", "left_out", "profile", "target_dir"),
)


def text(events: Sequence[Event]) -> str:
    """The whole trace of ``events``, a line an event."""
    found = lanes.found(events)
    start = min((build.start for build in found), default=0)
    lines = [json.dumps(event) for pid, build in enumerate(found, 1) for event in _process(build, pid, start)]
    head = {
        "displayTimeUnit": "ms",
        "otherData": {"producer": "kache " + VERSION, "start": f"{start / SECOND:.6f}"},
    }
    return json.dumps(head)[:-1] + ', "traceEvents": [\n' + ",\n".join(lines) + "\n]}"


def _process(build: Build, pid: int, start: int) -> Iterator[Fields]:
    """The events of one build, what names it first."""
    when = lanes.moment(build.start, "%Y-%m-%d %H:%M:%S")
    title = f"{os.path.basename(build.workspace) or 'unknown workspace'}, {when}"
    yield _naming("process_name", pid, 0, {"name": _clean(title)})
    yield _naming("process_labels", pid, 0, {"labels": _clean(build.workspace) or "unknown workspace"})
    yield _naming("process_sort_index", pid, 0, {"sort_index": pid})
    for lane in range(1, build.lanes + 1):
        yield _naming("thread_name", pid, lane, {"name": f"job {lane}"})
        yield _naming("thread_sort_index", pid, lane, {"sort_index": lane})
    for call in build.calls:
        yield _complete(call, pid, start)


def _naming(kind: str, pid: int, tid: int, arguments: Fields) -> Fields:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": arguments}


def _complete(call: Call, pid: int, start: int) -> Fields:
    result = str(call.event["result"])
    return {
        "ph": "X",
        "name": _clean(call.title),
        "cat": result,
        "cname": COLOURS[result],
        "pid": pid,
        "tid": call.lane + 1,
        "ts": call.start - start,
        "dur": call.length,
        "args": _arguments(call),
    }


def _arguments(call: Call) -> Fields:
    event = call.event
    found: Fields = {field: _clean(event[field]) for field in SHOWN if isinstance(event.get(field), str)}
    found.update((field, number(event, field)) for field in SHOWN if number(event, field))
    reason = str(event.get("reason", "")).partition(":")[0]
    if event["result"] == PASSTHROUGH and reason in REFUSALS:
        found["meaning"] = REFUSALS[reason]
    if call.untimed:
        found["note"] = "the compiler ran after this and was not timed"
    return found


def _clean(text: str) -> str:
    """Text for readers that take no lone surrogate: a byte that was not UTF-8 is spelt."""
    return text.encode("utf-8", "backslashreplace").decode()

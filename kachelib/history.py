"""The history: what the event log and the logs of gc runs and transfers tell.

Owns reading events.jsonl with the file that was rotated away, and gc.jsonl and
transfers.jsonl, reading and writing. Knows the fields' names and nothing of
what a report makes of them.

Grammar of both (version 1): a line is one JSON object with "schema_version",
"end_time" (seconds since the epoch) and the fields of a gc's outcome, or of
transfers: by ("sync"), pulled, pulled_bytes, pushed, pushed_bytes,
failed, elapsed_ms.
"""

import json
import os
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set

from kachelib import events
from kachelib.outcome import RESULTS

GC_FILE = "gc.jsonl"
TRANSFERS_FILE = "transfers.jsonl"
RUN_VERSION = 1

# About a thousand runs; then the older half goes.
MOST_BYTES = 256 * 1024

Event = Dict[str, Any]


# No field counts this far: it is a petabyte, or thirty thousand years in milliseconds.
MOST = 1e15
# A calendar goes to the year 9999.
_LAST_MOMENT = 253402300800

# Of a line, bytes.
LONGEST = 1 << 20

# What reading a line meets that is none of ours; the last one where it is nested too deep.
_NO_RECORD = (ValueError, KeyError, TypeError, RecursionError)


class History(NamedTuple):
    """events: oldest first. broken: lines that were cut by a crash, or say nothing that is known."""

    events: List[Event]
    broken: int


def read(cache_dir: str, since: float = 0.0) -> History:
    """All events that ended at ``since`` (seconds since the epoch) or later."""
    found: List[Event] = []
    broken = 0
    for name in (events.OLD_NAME, events.FILE_NAME):
        for line in _lines(cache_dir + "/" + name):
            event = event_of(line)
            if event is None:
                broken += 1
            elif event["end_time"] >= since:
                found.append(event)
    found.sort(key=lambda event: float(event["end_time"]))
    return History(found, broken)


def roots(cache_dir: str) -> Set[str]:
    """The directories of workspaces and packages that were built."""
    return {str(event["root"]) for event in read(cache_dir).events if event.get("root")}


def record_gc(cache_dir: str, fields: Dict[str, Any]) -> None:
    """Note a gc run. A store that cannot be written loses the line."""
    _record(cache_dir + "/" + GC_FILE, fields)


def record_transfer(cache_dir: str, fields: Dict[str, Any]) -> None:
    """Note what was moved to and from the remote in one go. A store that cannot be written loses the line."""
    _record(cache_dir + "/" + TRANSFERS_FILE, fields)


def _record(path: str, fields: Dict[str, Any]) -> None:
    line = json.dumps({"schema_version": RUN_VERSION, "end_time": time.time(), **fields}) + "\n"
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line)
            size = file.tell()
        if size > MOST_BYTES:
            with open(path, encoding="utf-8", errors="replace") as file:
                kept = file.readlines()
            temporary = path + ".tmp"
            with open(temporary, "w", encoding="utf-8") as file:
                file.writelines(kept[len(kept) // 2 :])
            os.replace(temporary, path)
    except OSError:
        pass


def gc_runs(cache_dir: str, since: float = 0.0) -> List[Dict[str, Any]]:
    """The gc runs that ended at ``since`` or later, oldest first."""
    return _runs(cache_dir + "/" + GC_FILE, since)


def transfers(cache_dir: str, since: float = 0.0) -> List[Dict[str, Any]]:
    """The transfers that ended at ``since`` or later, oldest first."""
    return _runs(cache_dir + "/" + TRANSFERS_FILE, since)


def _runs(path: str, since: float) -> List[Dict[str, Any]]:
    found = []
    for line in _lines(path):
        try:
            run = json.loads(line)
            if run["schema_version"] == RUN_VERSION and _is_time(run["end_time"]) and run["end_time"] >= since:
                found.append(run)
        except _NO_RECORD:
            continue
    return found


def number(event: Event, field: str) -> float:
    """A numeric field of an event; 0 where it is missing, no number, or one that nothing kache counts can be."""
    value = event.get(field, 0)
    return value if _is_number(value) else 0


def _is_number(value: Any) -> bool:
    # JSON readers take NaN, Infinity and integers that no float holds
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < MOST


def _is_time(value: Any) -> bool:
    return _is_number(value) and value < _LAST_MOMENT


def event_of(line: bytes) -> Optional[Event]:
    """The event that a line of the log is; None where it was cut, or says nothing that is known."""
    if line[:1] != b"{":
        # What a file system leaves after a crash may be long; a decoder would make copies of it.
        return None
    try:
        event: Event = json.loads(line)
        if event["result"] in RESULTS and _is_time(event["end_time"]):
            return event
    except _NO_RECORD:
        pass
    return None


def _lines(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            # No line of ours is longer, and what a file system leaves after a crash may be a gigabyte.
            for line in iter(lambda: file.readline(LONGEST), b""):
                if line.strip(b"\0 \t\r\n"):
                    yield line
    except OSError:
        return

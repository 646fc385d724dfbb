"""The stream: calls of the compiler as people watch them go by, the newest kept.

Owns how one event reads in a line: its state, what was done. Knows nothing of where events come from.
"""

from collections import deque
from typing import Deque, List

from kachelib import console
from kachelib.history import Event, number
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
    WARMED,
)

# More than anybody scrolls through.
MOST = 10_000

# A word for each result, eight letters at most, and how it is drawn.
STATES = {
    LOCAL_HIT: ("hit", "green"),
    PREFETCH_HIT: ("prefetch", "green"),
    REMOTE_HIT: ("remote", "green"),
    WARMED: ("warmed", "bold green"),
    DUP: ("dup", "yellow"),
    MISS: ("miss", "yellow"),
    PASSTHROUGH: ("passed", "dim"),
    SKIPPED: ("skipped", "dim"),
    ERROR: ("error", "red"),
}

_WAYS = (("hardlinked_bytes", "hard link"), ("reflinked_bytes", "reflink"), ("copied_bytes", "copy"))
_FETCHED = {PREFETCH_HIT: "fetched ahead; ", REMOTE_HIT: "fetched; "}


class Call:
    """One event in words. Times in milliseconds, but for ``ended``: seconds since the epoch; size in bytes."""

    __slots__ = ("compile_ms", "crate", "done", "elapsed_ms", "ended", "result", "root", "size", "types")

    def __init__(self, event: Event) -> None:
        self.result = str(event["result"])
        self.ended = float(event["end_time"])
        self.crate = str(event.get("crate_name", ""))
        self.types = str(event.get("crate_types", ""))
        self.root = str(event.get("root", ""))
        self.compile_ms = number(event, "compile_time_ms")
        self.elapsed_ms = number(event, "elapsed_ms")
        self.size = int(number(event, "size"))
        self.done = _done(event, self.result)

    def state(self) -> str:
        return STATES[self.result][0]

    def style(self) -> str:
        return STATES[self.result][1]

    def name(self) -> str:
        """What it was about: a crate, or the directory that was warmed."""
        return self.crate or self.root.rpartition("/")[2]

    def text(self) -> str:
        """All that a filter looks at."""
        return f"{self.state()} {self.name()} {self.types} {self.done}"


def _done(event: Event, result: str) -> str:
    reason = str(event.get("reason", ""))
    if result in HITS:
        return _FETCHED.get(result, "") + (_restored(event) or "its words alone")
    if result == MISS:
        return "compiled: " + (reason or "no entry")
    if result == DUP:
        return "compiled; the same bytes were known"
    if result == WARMED:
        left = str(event.get("left_out", ""))
        warmed = "warmed " + console.plural(int(number(event, "warmed")), "unit")
        return f"{warmed}; left out: {left}" if left else warmed
    if result == ERROR:
        return reason
    name, _, detail = reason.partition(": ")
    told = REFUSALS.get(name, name)
    return f"{told}: {detail}" if detail else told


def _restored(event: Event) -> str:
    sizes = [(words, number(event, field)) for field, words in _WAYS]
    return ", ".join(f"{words} {console.size(size)}" for words, size in sizes if size > 0)


class Stream:
    """The newest calls. added: how many there ever were."""

    def __init__(self) -> None:
        # What nobody asked for yet is not put into words: of a long log most of it falls out again.
        self._waiting: Deque[Event] = deque(maxlen=MOST)
        self._calls: Deque[Call] = deque(maxlen=MOST)
        self.added = 0

    def add(self, event: Event) -> None:
        self._waiting.append(event)
        self.added += 1

    def newest_first(self) -> List[Call]:
        self._calls.extend(Call(event) for event in self._waiting)
        self._waiting.clear()
        return list(reversed(self._calls))

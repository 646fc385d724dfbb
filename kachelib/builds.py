"""Builds: which events of the log belong together.

Owns where a build begins. kache sees compilers called and no build tool, so
this is a reading of the log: a build has no long pause, and compiles nothing
twice. Two that run at the same time are one.
"""

from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

from kachelib import history
from kachelib.history import Event
from kachelib.outcome import DUP, HITS, MISS, WARMED
from kachelib.past import Past

COMPILED = (MISS, DUP)

# How the crate's name of a C compile begins.
C_CRATE = "cc-"

# Build scripts and linkers run without kache; longer than this in one build, seconds, they rarely do.
LONGEST_PAUSE = 60.0

# What may come twice in one build without a pause, seconds: a configure script's conftest.c, and a crate that macros
# use as well as the program, which differ in nothing but Cargo's names for them.
SHORT_PAUSE = 2.0

# What tells two units of one crate in one build apart: Cargo's own name for it, and what else is asked for.
_UNIT_TAGS = ("-C metadata", "emit", "driver")

# What follows from the dependencies.
_FOLLOWING_TAGS = ("extern", "-C metadata", "-C extra-filename")


class Build(NamedTuple):
    """The events of one build, oldest first; never empty."""

    events: List[Event]

    def compiled(self) -> List[Event]:
        """Those that ran a compiler though they could have been served."""
        return [event for event in self.events if event["result"] in COMPILED]

    def hits(self) -> List[Event]:
        """Those that were served."""
        return [event for event in self.events if event["result"] in HITS]

    def start(self) -> float:
        """When its first call began, seconds since the epoch."""
        return min(began(event) for event in self.events)

    def end(self) -> float:
        """When its last call ended."""
        return max(float(event["end_time"]) for event in self.events)


def began(event: Event) -> float:
    """When an event's call began; its end where that is not known."""
    return history.number(event, "start_time") or float(event["end_time"])


def newest_first(events: Sequence[Event], past: Past) -> Iterator[Build]:
    """The builds that a log tells of. events: oldest first."""
    found: List[Event] = []
    seen: Dict[Tuple[str, str, str], List[Event]] = {}
    earliest = 0.0
    for event in reversed(events):
        if event["result"] == WARMED:
            continue
        pause = earliest - float(event["end_time"])
        name = (str(event.get("root")), str(event.get("crate_name")), str(event.get("crate_types")))
        waited = pause >= SHORT_PAUSE
        comes_again = any(_is_same_unit(event, other, past, waited) for other in seen.get(name, ()))
        if found and (pause > LONGEST_PAUSE or comes_again):
            yield Build(found[::-1])
            found, seen, earliest = [], {}, 0.0
        seen.setdefault(name, []).append(event)
        found.append(event)
        earliest = min(earliest or began(event), began(event))
    if found:
        yield Build(found[::-1])


def _is_same_unit(event: Event, other: Event, past: Past, waited: bool) -> bool:
    """Whether two events are of one unit, compiled or served twice: then of two builds. waited: there was a pause."""
    one, two = str(event.get("action_key", "")), str(other.get("action_key", ""))
    if not one or not two:
        return False
    of_c = str(event.get("crate_name", "")).startswith(C_CRATE)
    if one == two:
        return waited or not of_c
    entries = [past.entry(key) for key in (one, two)]
    commands = [entry.transcript() for entry in entries if entry]
    fields = [dict(command) for command in commands]
    if len(fields) < len(entries):
        return False
    if of_c:
        return waited and all(fields[0].get(tag) == fields[1].get(tag) for tag in ("source", "cwd"))
    if fields[0].get(_UNIT_TAGS[0]) and all(fields[0].get(tag) == fields[1].get(tag) for tag in _UNIT_TAGS):
        return True
    plain = [[field for field in command if field[0] not in _FOLLOWING_TAGS] for command in commands]
    return waited and plain[0] == plain[1]

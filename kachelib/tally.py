"""The tally: what events add up to, kept while they come.

Owns the sums of a live view: hit rates, time, bytes, what each project and each reason for passing through came to.
The words mean what they mean in report.py, which counts a complete list; here each event costs the same, however many
there were. Knows nothing of files and nothing of screens.
"""

from collections import deque
from typing import Deque, Dict, Iterable, List, NamedTuple, Set

from kachelib.history import Event, number
from kachelib.outcome import DUP, ERROR, HITS, MISS, PASSTHROUGH, REFUSALS, WARMED

# What the newest events came to, one by one: the curve of the hit rate is drawn of these.
MOST_RECENT = 2000

# Of one reason, as many different things that it was about are remembered.
MOST_DETAILS = 50

COMPILED = (MISS, DUP)
# Results that are told with their reason, because the cache had no part in them.
OUTSIDE = (PASSTHROUGH, ERROR)


class Served(NamedTuple):
    """Of ``of`` units, ``hits`` came from the cache."""

    hits: int
    of: int


class Project:
    """A workspace or package. last: when its newest event ended; targets: target directories that were warmed."""

    __slots__ = ("compiled", "hits", "last", "reflinked_bytes", "root", "targets")

    def __init__(self, root: str) -> None:
        self.root = root
        self.hits = 0
        self.compiled = 0
        self.last = 0.0
        self.reflinked_bytes = 0
        self.targets: Set[str] = set()


class Reason:
    """Why calls were handed to the compiler, or failed inside kache. details: what each was about -> how often."""

    __slots__ = ("count", "details", "failed", "last", "last_crate", "name", "text")

    def __init__(self, name: str, text: str, failed: bool) -> None:
        self.name = name
        self.text = text
        self.failed = failed
        self.count = 0
        self.last = 0.0
        self.last_crate = ""
        self.details: Dict[str, int] = {}

    def most_frequent(self, most: int) -> List[str]:
        """What it was about, the most frequent first."""
        return sorted(self.details, key=lambda detail: (-self.details[detail], detail))[:most]


class Tally:
    """All sums. Times are milliseconds, but for ``first`` and ``last``: seconds since the epoch; sizes bytes."""

    def __init__(self) -> None:
        self.events = 0
        self.first = 0.0
        self.last = 0.0
        self.counts: Dict[str, int] = {}
        self.warmed = 0
        self.hit_compile_ms = 0.0
        self.miss_compile_ms = 0.0
        self.hit_elapsed_ms = 0.0
        self.miss_elapsed_ms = 0.0
        self.saved_ms = 0.0
        self.reflinked_bytes = 0.0
        self.hardlinked_bytes = 0.0
        self.copied_bytes = 0.0
        # calls that may have changed what the store holds
        self.stored = 0
        self.projects: Dict[str, Project] = {}
        self.reasons: Dict[str, Reason] = {}
        self.recent: Deque[Served] = deque(maxlen=MOST_RECENT)

    def add(self, event: Event) -> None:
        """Count one event."""
        result = str(event["result"])
        ended = float(event["end_time"])
        warmed = int(number(event, "warmed"))
        compiled_ms, elapsed_ms = number(event, "compile_time_ms"), number(event, "elapsed_ms")
        self.events += 1
        self.first = min(self.first, ended) if self.first else ended
        self.last = max(self.last, ended)
        self.counts[result] = self.counts.get(result, 0) + 1
        self.warmed += warmed
        self.reflinked_bytes += number(event, "reflinked_bytes")
        self.hardlinked_bytes += number(event, "hardlinked_bytes")
        self.copied_bytes += number(event, "copied_bytes")
        if result in HITS:
            self.hit_compile_ms += compiled_ms
            self.hit_elapsed_ms += elapsed_ms
            self.saved_ms += max(0.0, compiled_ms - elapsed_ms)
        elif result in COMPILED:
            self.miss_compile_ms += compiled_ms
            self.miss_elapsed_ms += elapsed_ms
        self.stored += result not in OUTSIDE
        served = Served((result in HITS) + warmed, (result in HITS or result in COMPILED) + warmed)
        if served.of:
            self.recent.append(served)
        if event.get("root"):
            self._add_project(event, served, ended)
        if result in OUTSIDE:
            self._add_reason(event, result, ended)

    def _add_project(self, event: Event, served: Served, ended: float) -> None:
        root = str(event["root"])
        project = self.projects.get(root)
        if project is None:
            project = self.projects[root] = Project(root)
        project.hits += served.hits
        project.compiled += served.of - served.hits
        project.last = max(project.last, ended)
        project.reflinked_bytes += int(number(event, "reflinked_bytes"))
        if event["result"] == WARMED and event.get("target_dir"):
            project.targets.add(str(event["target_dir"]))

    def _add_reason(self, event: Event, result: str, ended: float) -> None:
        told = str(event.get("reason", ""))
        # A reason is a name of REFUSALS, perhaps with ": " and what it was about; an error's is in words.
        failed = result == ERROR
        name, _, detail = (told, "", "") if failed else told.partition(": ")
        key = result + "\0" + name
        reason = self.reasons.get(key)
        if reason is None:
            reason = self.reasons[key] = Reason(name, told if failed else REFUSALS.get(name, name), failed)
        reason.count += 1
        if ended >= reason.last:
            reason.last = ended
            reason.last_crate = str(event.get("crate_name", ""))
        for word in detail.split() if name == "unsupported_flag" else [detail] if detail else []:
            if word in reason.details or len(reason.details) < MOST_DETAILS:
                reason.details[word] = reason.details.get(word, 0) + 1

    def hits(self) -> int:
        """Units that came from the cache, warmed ones among them."""
        return sum(self.counts.get(result, 0) for result in HITS) + self.warmed

    def compiled(self) -> int:
        """Units that were compiled, though they could have come from a cache."""
        return sum(self.counts.get(result, 0) for result in COMPILED)

    def hit_rate(self) -> float:
        """The share of units that came from the cache, from 0 to 1; nothing at all is 0."""
        return share(self.hits(), self.compiled())

    def weighted_rate(self) -> float:
        """The same, each call with the time that its compile takes. Of a warmed unit that is not known."""
        return share(self.hit_compile_ms, self.miss_compile_ms)

    def miss_share(self) -> float:
        """Of the time that calls took, hits and misses together, what misses took."""
        return share(self.miss_elapsed_ms, self.hit_elapsed_ms)


def share(part: float, rest: float) -> float:
    """``part`` of ``part`` and ``rest`` together, from 0 to 1; of nothing 0."""
    return part / (part + rest) if part + rest > 0 else 0.0


def curve(recent: Iterable[Served], points: int) -> List[float]:
    """The hit rate over time in at most ``points`` pieces of as many calls each, the oldest first."""
    found = list(recent)
    if not found or points <= 0:
        return []
    length = -(-len(found) // points)
    # the newest pieces are the whole ones
    first = len(found) % length
    pieces = ([found[:first]] if first else []) + [found[at : at + length] for at in range(first, len(found), length)]
    return [share(hits, of - hits) for hits, of in (_summed(piece) for piece in pieces)]


def _summed(piece: List[Served]) -> Served:
    return Served(sum(each.hits for each in piece), sum(each.of for each in piece))

"""Root causes: a miss followed through what it was compiled against, to the input that changed first.

Owns the graph: a step says why one compile is another than an earlier one, by
inputs of its own and by files that other compiles wrote. What the store no
longer holds ends a way with what is known, and nothing is guessed. Prints
nothing.
"""

import re
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from kachelib import difference, inventory
from kachelib.builds import COMPILED, Build, began
from kachelib.difference import Change
from kachelib.history import Event
from kachelib.outcome import PASSTHROUGH, REFUSALS
from kachelib.past import Past, Run

# (cache key of the earlier compile, of the new one); ("", "crate NAME") where that is not known.
Key = Tuple[str, str]

NOTHING_EARLIER = "no earlier compile is known"
LOST = "the same was compiled before, but the store had lost it"
CIRCLE = "its dependencies lead back to itself"

# What the wrapper says where an entry names a file that is gone (wrapper.look_up).
_BLOB_MISSING = "a blob is missing"

# What only the linker is given: a dependency's dependency.
LINKED = "linked "

# Cargo's names for a unit follow from all else that it knows.
DERIVED = ("-C metadata", "-C extra-filename")

# What lies in deps/: libNAME-HASH.rlib
_ARTIFACT = re.compile(r"/(?:lib)?(\w+)-[0-9a-f]{16}\.(?:rlib|rmeta|so|dylib)$")


class Step(NamedTuple):
    """Why one compile is another than an earlier one.

    crate, package: whose; package is Cargo's, or a name that one C source has
    alone. new: the compile, None where it is not known. own: inputs of its
    own that differ. through: (dependency as the changed input is named, its
    step). lack: why there is nothing to tell, "" where there is.
    """

    crate: str
    package: str
    new: Optional[Run]
    own: Tuple[Change, ...]
    through: Tuple[Tuple[str, Key], ...]
    lack: str = ""


class Root(NamedTuple):
    """What a way ends at.

    packages: of which it is an input of their own, sorted. changes: what
    differs. steps: where. lack: what is not known, "" where all is.
    """

    packages: Tuple[str, ...]
    changes: Tuple[Change, ...]
    steps: Tuple[Key, ...]
    lack: str


class Miss(NamedTuple):
    """One compile of a build, and all roots that it missed for, those that the most missed for first."""

    event: Event
    step: Key
    roots: Tuple[Root, ...]


class Graph:
    """The steps of one build."""

    def __init__(self, past: Past, events: Sequence[Event], build: Build) -> None:
        self.steps: Dict[Key, Step] = {}
        # the newest event that tells of a cache key, and of a crate
        self.by_key: Dict[str, Event] = {str(event.get("cache_key")): event for event in build.events}
        # of a library and a test of one name, what depends on either depends on the library
        ordered = sorted(events, key=lambda event: event.get("crate_types") not in ("bin", "test"))
        self._by_crate = {_plain(str(event.get("crate_name"))): event for event in ordered}
        before = build.start()
        self._known = {str(event.get("cache_key")) for event in events if float(event["end_time"]) < before}
        self._past = past
        self._fresh = {str(event.get("cache_key")) for event in build.compiled()}
        self._waiting: List[Tuple[Key, Run, Run]] = []
        self._starts = [(event, self._start(event)) for event in build.compiled()]
        while self._waiting:
            key, old, new = self._waiting.pop()
            self.steps[key] = self._compare(old, new)

    def misses(self) -> List[Miss]:
        """All compiles of the build, in its order, with their roots."""
        roots = _roots(self.steps)
        at: Dict[Key, List[int]] = {}
        for number, root in enumerate(roots):
            for key in root.steps:
                at.setdefault(key, []).append(number)
        found = []
        for event, start in self._starts:
            numbers = {number for key in _reachable(self.steps, start) for number in at.get(key, ())}
            circle = Root((), (), (start,), CIRCLE)
            found.append(Miss(event, start, tuple(roots[number] for number in sorted(numbers)) or (circle,)))
        return found

    def way(self, start: Key, root: Root) -> List[Key]:
        """The shortest way from a step to one where that root is an input of its own; by what Cargo's packages name,
        where it can be."""
        return self._way(start, root, False) or self._way(start, root, True) or [start]

    def _way(self, start: Key, root: Root, linked: bool) -> List[Key]:
        before: Dict[Key, Key] = {start: start}
        waiting = [start]
        for key in waiting:
            if key in root.steps:
                way = [key]
                while before[way[0]] != way[0]:
                    way.insert(0, before[way[0]])
                return way
            for name, following in self.steps[key].through:
                if following not in before and (linked or not name.startswith(LINKED)):
                    before[following] = key
                    waiting.append(following)
        return []

    def _start(self, event: Event) -> Key:
        crate = str(event.get("crate_name", ""))
        new = self._past.run(str(event.get("action_key", "")), str(event.get("cache_key", "")))
        if new is None:
            return self._unknown(crate, event)
        return self._against_past(new, began(event))

    def _against_past(self, new: Run, moment: float) -> Key:
        event = self.by_key.get(new.candidate.cache_key, {})
        compiled = event.get("result") in COMPILED
        gone = compiled and (event["cache_key"] in self._known or str(event.get("reason")).startswith(_BLOB_MISSING))
        old = None if gone else self._past.before(new, moment, self._fresh)
        if old is not None:
            return self._between(old, new)
        key = ("", new.candidate.cache_key)
        lack = LOST if gone else NOTHING_EARLIER
        self.steps[key] = Step(new.candidate.crate_name, _package(new), new, (), (), lack)
        return key

    def _between(self, old: Run, new: Run) -> Key:
        key = (old.candidate.cache_key, new.candidate.cache_key)
        if key not in self.steps:
            # A place is kept, so that a circle ends.
            self.steps[key] = Step(new.candidate.crate_name, _package(new), new, (), ())
            self._waiting.append((key, old, new))
        return key

    def _compare(self, old: Run, new: Run) -> Step:
        own: List[Change] = []
        through: Dict[Key, str] = {}
        for change in _inputs(old, new):
            following = self._follow(change, new)
            if following is None:
                own.append(change)
            else:
                through.setdefault(following, change.name)
        if through or any(change.name not in DERIVED for change in own):
            own = [change for change in own if change.name not in DERIVED]
        steps = tuple((name, key) for key, name in through.items())
        return Step(new.candidate.crate_name, _package(new), new, tuple(own), steps)

    def _follow(self, change: Change, consumer: Run) -> Optional[Key]:
        """The step of what wrote a changed input; None where no compile did, but somebody else."""
        if not change.old or not change.new:
            return None
        olds, news = self._past.writers(_digest(change.old)), self._past.writers(_digest(change.new))
        if not olds and not news and not _is_artifact(change):
            return None
        new = next((run for run in news if run.candidate.cache_key in self.by_key), news[0] if news else None)
        if new is None:
            return self._unknown(dependency(change.name))
        # A change that left the output as it was has several writers: the one that explains least is enough.
        others = [run for run in olds if run.candidate.cache_key != new.candidate.cache_key]
        if olds and not others:
            return None
        if others:
            return self._between(min(others, key=lambda run: len(_inputs(run, new))), new)
        event = self.by_key.get(new.candidate.cache_key)
        return self._against_past(new, began(event) if event else float(new.candidate.created))

    def _unknown(self, crate: str, event: Optional[Event] = None) -> Key:
        """A step of which only the event log can tell, if anything does."""
        key = ("", "crate " + _plain(crate))
        if key not in self.steps:
            lack = _not_kept(event or self._by_crate.get(_plain(crate)))
            self.steps[key] = Step(crate, crate, None, (), (), lack)
        return key


def _not_kept(event: Optional[Event]) -> str:
    """Why the store does not hold what a crate's newest call wrote."""
    if event is None:
        return "the store does not hold what wrote it"
    reason = str(event.get("reason", ""))
    if event["result"] == PASSTHROUGH:
        name, _, detail = reason.partition(": ")
        return "it is not cached: " + REFUSALS.get(name, name) + (f": {detail}" if detail else "")
    if "not stored: " in reason:
        return "its compile could not be stored: " + reason.rpartition("not stored: ")[2]
    return "the store no longer holds its compile"


def _inputs(old: Run, new: Run) -> List[Change]:
    """All that differs; files that compiles wrote by what they are, not by the hash in their names."""
    changes = difference.of_commands(old.command, new.command)
    linked: Dict[str, List[Change]] = {}
    for change in difference.of_files(old.candidate, new.candidate):
        name = _artifact(change.name)
        if not (inventory.is_key(change.old) or inventory.is_key(change.new)):
            # Where a file was looked for in vain follows from the files that were found.
            continue
        if name:
            linked.setdefault(name, []).append(change)
        else:
            changes.append(change)
    for name, each in linked.items():
        gone = [change.old for change in each if change.old]
        came = [change.new for change in each if change.new]
        # One that the linker got more or less is an input of some dependency's first.
        changes += [Change(LINKED + name, *pair) for pair in zip(gone, came)]
    return changes + difference.of_surroundings(old.candidate, new.candidate)


def _artifact(path: str) -> str:
    """The crate of a file in deps/; "" of any other."""
    match = _ARTIFACT.search(path)
    return match.group(1) if match else ""


def _is_artifact(change: Change) -> bool:
    return change.name.startswith((difference.DEPENDENCY, LINKED)) and inventory.is_key(_digest(change.new))


def dependency(name: str) -> str:
    """The crate or the file that an input of ``Step.through`` is."""
    for prefix in (difference.DEPENDENCY, LINKED):
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name.rpartition("/")[2]


def _digest(value: str) -> str:
    """The digest at the end of a recorded value: of an extern it stands behind its options."""
    word = value.rpartition(" ")[2]
    return word if inventory.is_key(word) else ""


def _package(run: Run) -> str:
    """Whose inputs a compile's own are."""
    if run.field("language"):
        return f"{run.candidate.crate_name} {run.field('cwd')} {run.field('source')}"
    return run.field("env CARGO_PKG_NAME") or run.candidate.crate_name


def _plain(crate: str) -> str:
    return crate.replace("-", "_")


def _roots(steps: Dict[Key, Step]) -> List[Root]:
    """The roots of all steps: what changed in the same packages is one, say two files of one package or two flags of
    all; those of the most packages first."""
    owners: Dict[Tuple[str, str], Set[str]] = {}
    for step in steps.values():
        for change in step.own:
            owners.setdefault((change.name, change.new), set()).add(step.package)
    changes: Dict[FrozenSet[str], Dict[Tuple[str, str], Change]] = {}
    places: Dict[FrozenSet[str], Dict[Key, None]] = {}
    lacks: Dict[str, Dict[Key, None]] = {}
    for key, step in steps.items():
        for change in step.own:
            cause = (change.name, change.new)
            packages = frozenset(owners[cause])
            changes.setdefault(packages, {}).setdefault(cause, change)
            places.setdefault(packages, {})[key] = None
        if step.lack:
            # What was never compiled before is one root, what cannot be told one for each crate.
            what = step.lack if step.lack in (NOTHING_EARLIER, LOST) else f"{step.crate}: {step.lack}"
            lacks.setdefault(what, {})[key] = None
    found = [
        Root(tuple(sorted(packages)), tuple(mine.values()), tuple(places[packages]), "")
        for packages, mine in changes.items()
    ]
    found.sort(key=lambda root: (-len(root.packages), root.packages))
    return found + [Root((), (), tuple(where), what) for what, where in lacks.items()]


def _reachable(steps: Dict[Key, Step], start: Key) -> List[Key]:
    found = {start: None}
    waiting = [start]
    for key in waiting:
        for _, following in steps[key].through:
            if following not in found:
                found[following] = None
                waiting.append(following)
    return list(found)

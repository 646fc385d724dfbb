"""The past: what the store still holds of earlier compiles, and which of them a compile is best compared with.

Owns the choice of that one, and the way from a file's digest to the compile
that wrote it. What the store lost, nobody can tell: then the answer is None.
"""

from typing import Collection, Dict, List, NamedTuple, Optional

from kachelib import difference
from kachelib.difference import Fields
from kachelib.entry import Candidate, Entry
from kachelib.index import Index, Item
from kachelib.store import Store

# More actions of one crate than this are an edit history; the newest tell enough.
MOST_COMPARED = 200

# Of two compiles that differ in one of these, neither is an earlier one of the other: not of a crate of Cargo's, for
# many packages have a crate "build_script_build", and not of a C source, for many directories have a main.c, and its
# preprocessed text has entries of a schema of its own.
RUST_IDENTITY = ("env CARGO_PKG_NAME",)
C_IDENTITY = ("schema", "source", "cwd", "language")


class Run(NamedTuple):
    """One compile that is kept. command: the fields of its action key."""

    action_key: str
    command: Fields
    candidate: Candidate

    def field(self, tag: str) -> str:
        """The value of the command's first field with that tag; "" where it has none."""
        return next((value for name, value in self.command if name == tag), "")


class Past:
    """What an open index and its store know. Each entry is read once."""

    def __init__(self, view: Index, store: Store) -> None:
        self._view = view
        self._store = store
        self._entries: Dict[str, Optional[Entry]] = {}
        self._by_crate: Dict[str, List[Item]] = {}
        self._by_key: Dict[str, Item] = {}
        self._writers: Dict[str, List[str]] = {}

    def entry(self, action_key: str) -> Optional[Entry]:
        """The entry of that action; None where it is gone, or was never there."""
        if action_key not in self._entries:
            self._entries[action_key] = self._store.read_entry(action_key)
        return self._entries[action_key]

    def run(self, action_key: str, cache_key: str) -> Optional[Run]:
        """The compile that events call by these two; None where the store does not hold it."""
        entry = self.entry(action_key) if action_key and cache_key else None
        for candidate in entry.candidates() if entry else ():
            if entry and candidate.cache_key == cache_key:
                return Run(action_key, entry.transcript(), candidate)
        return None

    def writers(self, digest: str) -> List[Run]:
        """The compiles that wrote a file of that content, the newest first."""
        if not self._by_key:
            self._by_key = {item.cache_key: item for item in self._view.items()}
            for reference in self._view.references():
                self._writers.setdefault(reference.digest, []).append(reference.cache_key)
        known = [self._by_key[key] for key in self._writers.get(digest, ()) if key in self._by_key]
        runs = [self.run(item.action_key, item.cache_key) for item in known]
        return sorted((run for run in runs if run), key=lambda run: -run.candidate.created)

    def before(self, run: Run, moment: float, without: Collection[str] = ()) -> Optional[Run]:
        """The compile made until ``moment`` that ``run`` is most like: of the same action, else of the nearest other.

        without: cache keys of what is of the same build, and so no earlier state of anything.
        """
        entry = self.entry(run.action_key)
        mine = run.candidate
        others = [
            candidate
            for candidate in (entry.candidates() if entry else ())
            if candidate.cache_key not in (mine.cache_key, *without) and candidate.created <= moment
        ]
        if others and mine.cache_key:
            return Run(run.action_key, run.command, _nearest(others, mine))
        return self._of_another_action(run, moment, without)

    def _of_another_action(self, run: Run, moment: float, without: Collection[str]) -> Optional[Run]:
        crate = run.candidate.crate_name
        if crate not in self._by_crate:
            self._by_crate[crate] = self._view.items(crate)
        items = [item for item in self._by_crate[crate] if item.created <= moment and item.cache_key not in without]
        keys = list(dict.fromkeys(item.action_key for item in items if item.action_key != run.action_key))
        usable = {item.cache_key for item in items}
        best: Optional[Run] = None
        least = 0
        for key in keys[:MOST_COMPARED]:
            entry = self.entry(key)
            candidates = [c for c in entry.candidates() if c.cache_key in usable] if entry else []
            if not entry or not candidates:
                continue
            other = Run(key, entry.transcript(), candidates[0])
            weight = difference.weight(difference.of_commands(other.command, run.command))
            if not _is_same_unit(other, run) or weight >= difference.KIND_WEIGHT:
                continue
            # Items come the newest first, so on equal weight the newer one stays.
            if best is None or weight < least:
                best, least = Run(key, other.command, _nearest(candidates, run.candidate)), weight
        return best


def _nearest(candidates: List[Candidate], mine: Candidate) -> Candidate:
    return min(candidates, key=lambda other: (len(difference.of_runs(other, mine)), -other.created))


def _is_same_unit(one: Run, other: Run) -> bool:
    tags = C_IDENTITY if one.field("language") else RUST_IDENTITY
    return all(one.field(tag) == other.field(tag) for tag in tags)

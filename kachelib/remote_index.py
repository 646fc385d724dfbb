"""The remote index: what a remote has for an action, found out with few requests and remembered.

Owns what the uploader knows of catalogues and listings, and how old that may be. Knows nothing of who asks.

A catalogue of the Cargo.lock that is built names most of it in one request. What it does not name is looked for by
crate: not at all where the remote has no such crate, else with one listing and a look at the newest objects' heads.
"""

import concurrent.futures
import contextlib
import os
import threading
import time
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from kachelib import cargo_call, catalogue, sync, transfer
from kachelib import entry as entry_format
from kachelib.catalogue import Catalogue, Row
from kachelib.entry import Candidate
from kachelib.pack import PackError
from kachelib.remote import Listed, Missing
from kachelib.store import read_file, replace_file
from kachelib.transfer import Refused, Transfer

# seconds that a listing is believed
FRESH = 60.0
# heads that are read of one crate, the newest objects' first
MOST_HEADS = 64
HEADS_AT_ONCE = 8
MOST_CANDIDATES = 64

# Without a catalogue: crates that are looked at ahead, objects of each that are fetched, and bytes that one may have.
MOST_CRATES = 500
MOST_NEWEST = 2
LARGEST_NEWEST = 64 << 20

# The last Cargo.lock of each workspace: when it changed, what the last build needed is a good guess.
LAST_LOCKS = "/memo/locks"


class RemoteIndex:
    """What is known of one remote. All may be called from several threads. Methods raise RemoteError."""

    def __init__(self, mover: Transfer, refused: Callable[[str, str], None]) -> None:
        self._mover = mover
        # called with an object's key and why it is not believed
        self._refused = refused
        self._lock = threading.Lock()
        self._rows: Dict[str, Dict[str, Row]] = {}
        self._crates: Set[str] = set()
        self._crates_at = -FRESH
        self._listed_at: Dict[str, float] = {}
        self._heads: Set[str] = set()
        self._busy: Dict[str, threading.Lock] = {}

    def search(self, crate_name: str, action_key: str) -> List[Row]:
        """What the remote has of an action, the newest first."""
        if crate_name in self._all_crates():
            self._look_into(crate_name)
        return self.known(action_key)

    def lacks(self, crate_name: str) -> bool:
        """Whether it is known that the remote has no such crate. Asks nobody."""
        return time.monotonic() - self._crates_at <= FRESH and crate_name not in self._crates

    def known(self, action_key: str) -> List[Row]:
        """What is known already that the remote has of an action, the newest first. Asks nobody."""
        with self._lock:
            return list(self._rows.get(action_key, {}).values())[::-1][:MOST_CANDIDATES]

    def _add(self, row: Row) -> None:
        with self._lock:
            self._rows.setdefault(row.action_key, {})[row.cache_key] = row
            self._heads.add(row.cache_key)

    def _all_crates(self) -> Set[str]:
        with self._alone(""):
            if time.monotonic() - self._crates_at > FRESH:
                self._crates = set(self._mover.remote.names())
                self._crates_at = time.monotonic()
            return self._crates

    def _look_into(self, crate_name: str) -> None:
        """Read the heads of a crate's newest objects that are not known yet."""
        with self._alone(crate_name):
            if time.monotonic() - self._listed_at.get(crate_name, -FRESH) < FRESH:
                return
            listed = sorted(self._mover.remote.list(crate_name + "/"), key=lambda each: -each.modified)
            with concurrent.futures.ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
                heads = pool.map(self._read_head, listed[:MOST_HEADS])
            for row in reversed(list(heads)):
                if row is not None:
                    self._add(row)
            self._listed_at[crate_name] = time.monotonic()

    def _read_head(self, listed: Listed) -> Optional[Row]:
        found = sync.entry_of_key(listed.key)
        if found is None or found[1] in self._heads:
            return None
        try:
            action_key, _, candidate = transfer.read_entry(self._mover.head(listed.key))
            if (candidate.crate_name, candidate.cache_key) != found:
                raise PackError("it is another entry than its name says")
        except (PackError, Refused) as error:
            self._heads.add(found[1])
            self._refused(listed.key, str(error))
            return None
        except Missing:
            return None
        return row_of(action_key, candidate)

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """One thread asks, the others wait for what it finds."""
        with self._lock:
            lock = self._busy.setdefault(name, threading.Lock())
        with lock:
            yield

    def learn(self, workspace: str) -> Catalogue:
        """What the catalogues of a workspace's Cargo.lock name, or else those of the one that was built there last."""
        lock = sync.lock_digest(workspace + "/Cargo.lock")
        memo = self._mover.store.root + LAST_LOCKS
        last = _last_lock(memo, workspace)
        for each in dict.fromkeys((lock, last)):
            found = catalogue.fetch_all(self._mover, each, self._refused) if each else Catalogue()
            if not found.rows:
                continue
            for row in found.rows.values():
                with contextlib.suppress(PackError):
                    row.read()
                    self._add(row)
            if each != last:
                _remember_lock(memo, workspace, each)
            return found
        return Catalogue()

    def newest(self, workspace: str) -> Iterator[sync.Job]:
        """Pulls of the newest objects of the crates that a workspace's Cargo.lock names: where no catalogue is."""
        text = (read_file(workspace + "/Cargo.lock") or b"").decode("utf-8", "surrogateescape")
        named = dict.fromkeys(name.replace("-", "_") for name, _, _ in cargo_call.locked_packages(text))
        there = self._all_crates()
        for crate_name in [name for name in named if name in there][:MOST_CRATES]:
            listed = sorted(self._mover.remote.list(crate_name + "/"), key=lambda each: -each.modified)
            for each in listed[:MOST_NEWEST]:
                found = sync.entry_of_key(each.key)
                if found is not None and each.size <= LARGEST_NEWEST:
                    yield sync.Job(each.key, transfer.wants_entry(found[1], found[0]))


def row_of(action_key: str, candidate: Candidate) -> Row:
    """A candidate as a catalogue has it."""
    alone = entry_format.empty().with_candidate(candidate, ())
    return Row(candidate.crate_name, candidate.cache_key, action_key, (), alone.encode(action_key))


def workspace_of(directories: Sequence[str]) -> str:
    """The nearest directory with a Cargo.lock at or above the first of these that has one; "" where none has."""
    for directory in directories:
        here = directory
        while here.startswith("/") and here != "/":
            if os.path.isfile(here + "/Cargo.lock"):
                return here
            here = os.path.dirname(here)
    return ""


def _last_lock(path: str, workspace: str) -> str:
    return dict(_locks(path)).get(workspace, "")


def _locks(path: str) -> List[Tuple[str, str]]:
    """(workspace, digest) of a file with one line each: digest SP workspace."""
    found = []
    for line in (read_file(path) or b"").decode("utf-8", "surrogateescape").splitlines():
        digest, _, workspace = line.partition(" ")
        if len(digest) == 64 and workspace:
            found.append((workspace, digest))
    return found


def _remember_lock(path: str, workspace: str, digest: str) -> None:
    kept = [each for each in _locks(path) if each[0] != workspace][-255:]
    text = "".join("%s %s\n" % (each[1], each[0]) for each in [*kept, (workspace, digest)])
    with contextlib.suppress(OSError):
        replace_file(path, text.encode("utf-8", "surrogateescape"))


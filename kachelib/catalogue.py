"""The catalogue: what one Cargo.lock needs, as a remote keeps it.

Owns its bytes and how those of two machines become one. It is a plan (units.py) and the metadata of the entries that
its snapshots need, so that one request says what to ask for, and candidates can be judged without one each.

The payload of its pack (pack.py; name: digest of the Cargo.lock, "-", selection):

    payload = "kache-catalogue 1" LF length of plan { SP length of row } LF plan { row }
    plan    = the plan's file
    row     = crate_name SP cache_key SP action_key { SP digest of a snapshot } LF candidate
    candidate = the entry's file with this one candidate and an empty transcript (entry.py)
"""

import io
import random
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from kachelib import entry as entry_format
from kachelib import pack, units
from kachelib.entry import Candidate
from kachelib.pack import Head, PackError
from kachelib.remote import ABSENT, Interrupted, Missing, RemoteError
from kachelib.store import Store
from kachelib.transfer import ENDING, PLANS, Refused, Transfer, catalogue_key, entry_key, retried, unit_key
from kachelib.units import Plan, Snapshot

MAGIC = b"kache-catalogue 1\n"
LARGEST = 64 << 20
# Each time that one machine is too late, another one was not.
ATTEMPTS = 30
MOST_PAUSE = 1.0  # seconds
# Of one Cargo.lock: other profiles and other places, whose entries may suit though their units do not.
MOST_CATALOGUES = 8


class Row(NamedTuple):
    """An entry that snapshots need. snapshots: their digests."""

    crate_name: str
    cache_key: str
    action_key: str
    snapshots: Tuple[str, ...]
    candidate: bytes

    def read(self) -> Candidate:
        """The candidate. Raises PackError."""
        try:
            found = entry_format.decode(self.candidate, self.action_key)
            candidates = list(found.candidates()) if found is not None else []
        except (ValueError, IndexError, TypeError):
            candidates = []
        if len(candidates) != 1 or candidates[0].cache_key != self.cache_key:
            raise PackError("a candidate in the catalogue is not as it should be")
        return candidates[0]


# a catalogue where one is believed, and the tag of what is there
Fetched = Tuple[Optional["Catalogue"], str]


class Member(NamedTuple):
    """A snapshot of a plan, and the candidate that has its blobs, where one has."""

    digest: str
    snapshot: Snapshot
    candidate: Optional[Candidate]


class Catalogue:
    """A plan, and by cache key what its snapshots need."""

    def __init__(self, plan: Optional[Plan] = None, rows: Optional[Dict[str, Row]] = None) -> None:
        self.plan = plan or Plan()
        self.rows = rows or {}

    def wanted(self) -> Set[str]:
        """The digests of all its snapshots."""
        return {digest for digests in self.plan.units.values() for digest in digests}

    def keys(self) -> Set[str]:
        """The keys of all objects that it names."""
        entries = {entry_key(row.crate_name, row.cache_key) for row in self.rows.values()}
        return entries | {unit_key(digest) for digest in self.wanted()}

    def merge(self, other: "Catalogue") -> None:
        """Take in what another says; its snapshots count as the newer ones."""
        for key, digests in other.plan.units.items():
            if self.plan.units.get(key, [])[: len(digests)] != digests:
                for digest in reversed(digests):
                    self.plan.add(key, digest)
        for cache_key, row in other.rows.items():
            known = self.rows.get(cache_key)
            snapshots = tuple(dict.fromkeys((*row.snapshots, *(known.snapshots if known else ()))))
            self.rows[cache_key] = row._replace(snapshots=snapshots)
        wanted = self.wanted()
        self.rows = {key: row for key, row in self.rows.items() if wanted.intersection(row.snapshots)}

    def drop(self, keys: Set[str]) -> None:
        """Forget what is not in the remote. keys: of objects there."""
        self.rows = {key: row for key, row in self.rows.items() if entry_key(row.crate_name, key) not in keys}
        for key, digests in list(self.plan.units.items()):
            self.plan.units[key] = [digest for digest in digests if unit_key(digest) not in keys]
            if not self.plan.units[key]:
                del self.plan.units[key]

    def encode(self) -> bytes:
        """The payload."""
        wanted = self.wanted()
        parts = [self.plan.encode()]
        for row in sorted(self.rows.values(), key=lambda each: (each.crate_name, each.cache_key)):
            digests = sorted(wanted.intersection(row.snapshots))
            words = " ".join((row.crate_name, row.cache_key, row.action_key, *digests))
            parts.append(words.encode("utf-8", "surrogateescape") + b"\n" + row.candidate)
        return MAGIC + b" ".join(b"%d" % len(part) for part in parts) + b"\n" + b"".join(parts)


def decode(payload: bytes) -> Catalogue:
    """The catalogue of a payload. Raises PackError for what ``encode`` would not have written."""
    lengths, found, rest = payload[len(MAGIC) :].partition(b"\n")
    if not payload.startswith(MAGIC) or not found:
        raise PackError("a catalogue of another version")
    try:
        parts = []
        at = 0
        for length in map(int, lengths.split(b" ")):
            parts.append(rest[at : at + length])
            at += length
        plan = units.decode_plan(parts[0])
        rows = [_row(part) for part in parts[1:]]
    except (ValueError, TypeError, IndexError):
        plan = None
    if plan is None or at != len(rest) or not all(map(pack.is_digest, Catalogue(plan).wanted())):
        raise PackError("the catalogue is not as it should be")
    return Catalogue(plan, {row.cache_key: row for row in rows})


def _row(data: bytes) -> Row:
    first, _, candidate = data.partition(b"\n")
    crate_name, cache_key, action_key, *snapshots = first.decode("utf-8", "surrogateescape").split(" ")
    if not all(map(pack.is_digest, (cache_key, action_key, *snapshots))):
        raise ValueError(cache_key)
    return Row(crate_name, cache_key, action_key, tuple(snapshots), candidate)


def entry_of(store: Store, snapshot: Snapshot) -> Optional[Candidate]:
    """The candidate that a unit's compile made; None where there is none, and of a run. The unit may have blobs
    besides: a large file that Cargo wrote about it."""
    found = store.read_entry(snapshot.action_key) if snapshot.action_key else None
    there = set(snapshot.blobs())
    for candidate in found.candidates() if found is not None else ():
        if all(output.digest in there for output in candidate.outputs if output.emit != "dep-info"):
            return candidate
    return None


def of_plan(store: Store, plan: Plan) -> Tuple[Catalogue, List[Member]]:
    """The catalogue of a local plan with each unit's newest snapshot, and these."""
    found = Catalogue()
    members = []
    for key, digests in plan.units.items():
        for digest in digests:
            snapshot = units.read_unit(store, digest)
            if snapshot is None:
                continue
            candidate = entry_of(store, snapshot)
            found.plan.add(key, digest)
            members.append(Member(digest, snapshot, candidate))
            if candidate is not None:
                _add_row(found, digest, snapshot, candidate)
            break
    return found, members


def _add_row(found: Catalogue, digest: str, snapshot: Snapshot, candidate: Candidate) -> None:
    alone = entry_format.empty().with_candidate(candidate, ())
    row = Row(
        candidate.crate_name, candidate.cache_key, snapshot.action_key, (digest,), alone.encode(snapshot.action_key)
    )
    known = found.rows.get(row.cache_key)
    if known is not None:
        row = row._replace(snapshots=(*known.snapshots, digest))
    found.rows[row.cache_key] = row


def fetch(transfer: Transfer, lock: str, selection: str) -> Fetched:
    """A remote's catalogue and its tag; (None, tag) where there is none that is believed. Raises RemoteError."""
    tag = ""
    # Twice: what changed on its way shall not be taken for damage, which ``publish`` would replace.
    for _ in range(2):
        try:
            data, tag = retried(lambda: transfer.remote.get_tagged(catalogue_key(lock, selection)), Interrupted)
        except Missing:
            return None, ""
        try:
            return read(transfer, data, lock, selection), tag
        except (PackError, Refused):
            continue
    return None, tag


def fetch_all(transfer: Transfer, lock: str, refused: Callable[[str, str], None] = lambda key, why: None) -> Catalogue:
    """All that the newest catalogues for a Cargo.lock say, put together, whatever place they were made at. refused: is
    called with the key of one that is not believed, and why. Raises RemoteError."""
    found = Catalogue()
    listed = list(transfer.remote.list(PLANS + lock + "/"))
    for each in sorted(listed, key=lambda each: -each.modified)[:MOST_CATALOGUES]:
        other, _ = fetch(transfer, lock, each.key.rpartition("/")[2][: -len(ENDING)])
        if other is not None:
            found.merge(other)
        else:
            refused(each.key, "it is not believed")
    return found


def read(transfer: Transfer, data: bytes, lock: str, selection: str) -> Catalogue:
    """A catalogue from its object. Raises PackError, Refused."""
    head = transfer.prove(io.BytesIO(data), _wants(lock + "-" + selection))
    return decode(head.payload)


def _wants(name: str) -> Callable[[Head], None]:
    def judge(head: Head) -> None:
        if head.kind != pack.CATALOGUE or head.name != name:
            raise PackError("it is another catalogue than its name says")

    return judge


def publish(
    transfer: Transfer, found: Catalogue, lock: str, selection: str, fetched: Optional[Fetched] = None
) -> bool:
    """Merge a catalogue into the remote's; returns whether that changed. fetched: what ``fetch`` returned just now.
    Raises RemoteError.

    Of two machines at once the one whose condition fails reads again and merges anew.
    """
    for attempt in range(ATTEMPTS):
        there, tag = fetched if fetched is not None and not attempt else fetch(transfer, lock, selection)
        merged = there or Catalogue()
        before = merged.encode()
        merged.merge(found)
        if there is not None and merged.encode() == before:
            return False
        metadata = pack.metadata_of(pack.CATALOGUE, lock + "-" + selection, (), merged.encode())
        if transfer.put(catalogue_key(lock, selection), metadata, tag or ABSENT):
            return True
        time.sleep(random.uniform(0, min(MOST_PAUSE, 0.02 * 2**attempt)))
    raise RemoteError("%s: others kept changing it; run it again" % catalogue_key(lock, selection))

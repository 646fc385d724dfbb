"""Sync: which objects a store and a remote lack of each other, and moving them.

Owns the choice (by catalogue, by crate, or all), the order, the threads, and what became of each object. How one object
moves is transfer.py's.
"""

import concurrent.futures
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from kachelib import catalogue, pack, transfer, units
from kachelib.catalogue import Catalogue, Member
from kachelib.entry import Candidate, Entry
from kachelib.key import digest_bytes
from kachelib.pack import Head, PackError
from kachelib.remote import SAFE, Denied, Listed, Missing, RemoteError, Unreachable
from kachelib.roots import exists
from kachelib.store import Store, entry_files, read_file
from kachelib.transfer import Arrived, Refused, Transfer, entry_key, unit_key
from kachelib.units import Plan, Snapshot

# Objects that arrive are put into the store together: one wait for the disk.
BATCH = 64
BATCH_SECONDS = 0.5

# What one request lists at most.
PAGE = 1000


class Job(NamedTuple):
    """One object to move. key: in the remote; listed: the remote said itself that it has it."""

    key: str
    wanted: Optional[Callable[[Head], None]] = None  # of a pull
    outgoing: Optional[Callable[[], transfer.Outgoing]] = None  # of a push
    listed: bool = False


class Tally:
    """What came of a sync. Bytes are those of objects in the remote."""

    def __init__(self) -> None:
        self.pulled = 0
        self.pushed = 0
        self.pulled_bytes = 0
        self.pushed_bytes = 0
        self.stored_bytes = 0
        # key -> why
        self.failed: Dict[str, str] = {}
        self.seconds = 0.0


def pulls(jobs: Sequence[Job], mover: Transfer, tally: Tally, threads: int, told: Callable[[int], None]) -> None:
    """Fetch objects and publish them in batches. told: is called with the bytes of each that is done. Raises
    Unreachable, Denied: the rest would fail alike. What has come by then is in the store."""
    waiting: List[Arrived] = []
    since = time.monotonic()

    def settle() -> None:
        nonlocal since
        if waiting:
            tally.stored_bytes += transfer.publish(mover.store, waiting)
            tally.pulled += len(waiting)
            waiting.clear()
        since = time.monotonic()

    try:
        for job, result in _all_of(jobs, lambda job: _pull(mover, job), threads):
            if isinstance(result, Arrived):
                waiting.append(result)
                tally.pulled_bytes += result.size
            elif not isinstance(result, Missing):
                _note(job, result, tally)
            told(result.size if isinstance(result, Arrived) else 0)
            if len(waiting) >= BATCH or time.monotonic() - since > BATCH_SECONDS:
                settle()
    except (Unreachable, Denied):
        settle()
        raise
    except BaseException:
        mover.stop()
        for each in waiting:
            transfer.discard(each.blobs)
        raise
    settle()


def _pull(mover: Transfer, job: Job) -> Arrived:
    assert job.wanted is not None
    try:
        return mover.pull(job.key, job.wanted)
    except Missing:
        if not job.listed or not still_there(mover, {job.key}, 1):
            raise
    try:
        return mover.pull(job.key, job.wanted)
    except Missing as error:
        # A server that has just begun may know names before it finds what they name.
        raise RemoteError(f"{error}, though it lists it") from None


def pushes(jobs: Sequence[Job], mover: Transfer, tally: Tally, threads: int, told: Callable[[int], None]) -> None:
    """Put objects. Raises Unreachable, Denied: the rest would fail alike."""
    for job, result in _all_of(jobs, lambda job: _push(mover, job), threads):
        if isinstance(result, int):
            tally.pushed += result > 0
            tally.pushed_bytes += result
        else:
            _note(job, result, tally)
        told(result if isinstance(result, int) else 0)


def _push(mover: Transfer, job: Job) -> int:
    assert job.outgoing is not None
    return mover.push(job.outgoing())


def _note(job: Job, error: Exception, tally: Tally) -> None:
    tally.failed[job.key] = str(error)
    if isinstance(error, (Unreachable, Denied)):
        raise error


def _all_of(jobs: Sequence[Job], work: Callable[[Job], object], threads: int) -> Iterator[Tuple[Job, Any]]:
    """Work on jobs, several at once; each with its result or its error. Others than ours go on up."""
    if not jobs:
        return
    pool = concurrent.futures.ThreadPoolExecutor(min(threads, len(jobs)), "kache")
    done = False
    try:
        running = {pool.submit(work, job): job for job in jobs}
        for future in concurrent.futures.as_completed(running):
            error = future.exception()
            if error is not None and not isinstance(error, (RemoteError, PackError, Refused, OSError)):
                raise error
            yield running[future], error if error is not None else future.result()
            del running[future]
        done = True
    finally:
        # Whoever is stopped does not wait for what is under way, and keeps nothing of it.
        pool.shutdown(wait=done, cancel_futures=True)
        for future in running:
            future.add_done_callback(_discard)


def _discard(future: "concurrent.futures.Future[object]") -> None:
    if not future.cancelled() and future.exception() is None:
        result = future.result()
        if isinstance(result, Arrived):
            transfer.discard(result.blobs)


# What to pull


def local_entries(store: Store) -> Iterator[Tuple[str, Entry, Candidate]]:
    """(action key, entry, candidate) of all that a store holds whole."""
    for action_key, _ in entry_files(store.root):
        found = store.read_entry(action_key)
        for candidate in found.candidates() if found is not None else ():
            if found is not None and _is_whole(store, candidate):
                yield action_key, found, candidate


def _is_whole(store: Store, candidate: Candidate) -> bool:
    sizes = {output.digest: output.size for output in candidate.outputs}
    if not all(store.has_blob(digest, size) for digest, size in sizes.items()):
        return False
    return all(exists(store.blob_path(digest)) for digest in candidate.blobs())


def _has_entry(store: Store, action_key: str, cache_key: str) -> bool:
    found = store.read_entry(action_key)
    candidates = found.candidates() if found is not None else ()
    return any(each.cache_key == cache_key and _is_whole(store, each) for each in candidates)


def _has_unit(store: Store, digest: str) -> bool:
    found = units.read_unit(store, digest)
    if found is None:
        return False
    return bool(found.action_key) or all(store.has_blob(file.digest, file.size) for file in found.files if file.digest)


def of_catalogue(store: Store, found: Catalogue, with_units: bool = True) -> List[Job]:
    """What a catalogue names and a store has not."""
    jobs = []
    for row in found.rows.values():
        if not _has_entry(store, row.action_key, row.cache_key):
            jobs.append(_entry_job(row.crate_name, row.cache_key))
    for digests in found.plan.units.values() if with_units else ():
        if not _has_unit(store, digests[0]):
            jobs.append(Job(unit_key(digests[0]), transfer.wants_unit(digests[0])))
    return jobs


def of_listing(mover: Transfer, crates: Optional[Set[str]], threads: int) -> List[Listed]:
    """The entries that a remote has of some crates, or of all (None): one listing of everything where that takes fewer
    requests than one a crate. Without names that have no content: some servers leave one where an upload was cut, and
    a push is to replace it. Raises RemoteError."""
    listed: List[Listed] = []
    for count, each in enumerate(mover.remote.list("")):
        if crates is not None and count >= PAGE * len(crates):
            break
        named = each.size and not each.key.startswith(transfer.UNITS)
        if named and (crates is None or each.key.partition("/")[0] in crates):
            listed.append(each)
    else:
        return listed
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda crate: list(mover.remote.list(crate + "/")), sorted(crates or ()))
        return [each for some in found for each in some if each.size]


def still_there(mover: Transfer, keys: Set[str], threads: int) -> Set[str]:
    """Those of the keys that a remote has with content, for a catalogue may name what a lifecycle rule removed: one
    listing of everything where that takes fewer requests than one a key. Raises RemoteError."""
    found: Set[str] = set()
    for count, each in enumerate(mover.remote.list("") if keys else ()):
        if count >= PAGE * len(keys):
            break
        if each.size and each.key in keys:
            found.add(each.key)
    else:
        return found
    return _those(keys, lambda key: any(each.size and each.key == key for each in mover.remote.list(key)), threads)


def disbelieved(mover: Transfer, keys: Set[str], threads: int) -> Set[str]:
    """Those of the keys whose objects say of themselves what those who pull would refuse: signatures, names."""

    def is_refused(key: str) -> bool:
        try:
            transfer.read_entry(mover.head(key))
        except (PackError, Refused, Missing):
            return True
        return False

    return _those(keys, is_refused, threads)


def _those(keys: Set[str], test: Callable[[str], bool], threads: int) -> Set[str]:
    """Those of the keys that pass a test which asks the remote, several at once."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return {key for key, passes in zip(sorted(keys), pool.map(test, sorted(keys))) if passes}


def entry_of_key(key: str) -> Optional[Tuple[str, str]]:
    """Crate name and cache key of an entry's key; None for any other."""
    crate_name, _, name = key.partition("/")
    cache_key = name[: -len(transfer.ENDING)]
    sound = name.endswith(transfer.ENDING) and pack.is_digest(cache_key) and not crate_name.startswith(".")
    return (crate_name, cache_key) if sound else None


def of_entries(listed: Iterable[Listed], known: Set[str]) -> List[Job]:
    """Pulls of listed entries that are not known here."""
    jobs = []
    for each in listed:
        found = entry_of_key(each.key)
        if found is not None and found[1] not in known:
            jobs.append(_entry_job(*found)._replace(listed=True))
    return jobs


def of_packages(mover: Transfer, jobs: Sequence[Job], places: Sequence[str], threads: int) -> List[Job]:
    """Those of the pulls whose source lies in one of the places ("/serde-1.0.0/"), or in a workspace: build scripts all
    have one crate name, and the head of an object says whose it is."""

    def fits(job: Job) -> bool:
        try:
            head = mover.head(job.key)
            fields = dict(transfer.read_entry(head)[1].transcript())
        except (RemoteError, PackError, Refused):
            return False
        source = fields.get("source", "")
        return source.startswith("<workspace>") or any(place in source for place in places)

    if not jobs:
        return []
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return [job for job, fit in zip(jobs, pool.map(fits, jobs)) if fit]


def of_rows(store: Store, found: Catalogue, there: Set[str]) -> List[Job]:
    """Pushes of the entries that a catalogue names and a remote has not. there: keys."""
    jobs = []
    for row in found.rows.values():
        known = entry_key(row.crate_name, row.cache_key) in there
        entry = store.read_entry(row.action_key) if not known else None
        for candidate in entry.candidates() if entry is not None else ():
            if entry is not None and candidate.cache_key == row.cache_key and SAFE.issuperset(row.crate_name):
                jobs.append(_push_job(store, row.action_key, entry, candidate))
    return jobs


def _entry_job(crate_name: str, cache_key: str) -> Job:
    return Job(entry_key(crate_name, cache_key), transfer.wants_entry(cache_key, crate_name))


def keep_plan(store: Store, found: Catalogue, lock: str, selection: str) -> None:
    """Make a pulled plan one's own, as far as its snapshots came. Raises OSError."""
    plan = units.read_plan(store, selection, lock) or Plan()
    before = plan.encode()
    for key, digests in found.plan.units.items():
        if digests[0] not in plan.units.get(key, ()) and exists(units.unit_path(store.root, digests[0])):
            plan.add(key, digests[0])
    if plan.encode() != before:
        units.publish(units.plan_path(store.root, selection, lock), plan.encode())


# What to push


def of_store(store: Store) -> List[Job]:
    """Pushes of all entries. Names that no remote can have are left out."""
    jobs = []
    for action_key, found, candidate in local_entries(store):
        key = entry_key(candidate.crate_name, candidate.cache_key)
        if SAFE.issuperset(key):
            jobs.append(_push_job(store, action_key, found, candidate))
    return jobs


def _push_job(store: Store, action_key: str, found: Entry, candidate: Candidate) -> Job:
    key = entry_key(candidate.crate_name, candidate.cache_key)

    def make() -> transfer.Outgoing:
        return transfer.outgoing_entry(store, action_key, found, candidate)

    return Job(key, None, make)


def of_members(store: Store, members: Sequence[Member], there: Set[str]) -> List[Job]:
    """Pushes of snapshots that are not there. there: keys."""
    jobs = []
    for digest, snapshot, candidate in members:
        if unit_key(digest) in there:
            continue

        def make(digest: str = digest, snapshot: Snapshot = snapshot, entry: Optional[Candidate] = candidate) -> Any:
            return transfer.outgoing_unit(store, digest, snapshot, set(entry.blobs()) if entry else set())

        jobs.append(Job(unit_key(digest), None, make))
    return jobs


def push_plan(
    mover: Transfer,
    lock: str,
    selection: str,
    push: Callable[[List[Job]], Set[str]],
    *,
    threads: int,
    manifest: str = "",
) -> bool:
    """Publish a local plan of a Cargo.lock with its snapshots and entries; whether that changed the remote's.

    push: moves objects and returns the keys of those that failed. threads: requests at once of a look for what is
    there. manifest: a name (``manifest_name``) to publish it under, instead of the lock file's digest. Raises
    RemoteError.
    """
    plan = units.read_plan(mover.store, selection, lock)
    if plan is None:
        return False
    found, members = catalogue.of_plan(mover.store, plan)
    name = manifest or lock
    fetched = catalogue.fetch(mover, name, selection)
    there = still_there(mover, found.keys() & fetched[0].keys(), threads) if fetched[0] is not None else set()
    jobs = [*of_rows(mover.store, found, there), *of_members(mover.store, members, there)]
    found.drop(push(jobs))
    # Pushing takes its time, and a server that knows no conditions would let what others said meanwhile be lost.
    return catalogue.publish(mover, found, name, selection, None if jobs else fetched)


def manifest_name(key: str, namespace: str) -> str:
    """What stands for a Cargo.lock's digest where people name a manifest themselves; "" where they name none."""
    text = "manifest\0%s\0%s" % (namespace, key)
    return digest_bytes(text.encode("utf-8", "surrogateescape")) if key or namespace else ""


def lock_digest(path: str) -> str:
    """The digest of a Cargo.lock; "" where it cannot be read."""
    data = read_file(path)
    return digest_bytes(data) if data is not None else ""

"""Integrity: whether entries, blobs and index fit each other, and making them fit.

Owns ``doctor --verify``, ``--checksums`` and ``--repair``. What is broken costs
hits, never a wrong artifact: sizes are checked on every hit. A store in use
changes under the check, so what looks wrong is looked at twice.
"""

import os
import sqlite3
from typing import Any, Dict, List, Set

from blake3 import blake3

from kachelib import index, inventory
from kachelib.index import Reference
from kachelib.inventory import File
from kachelib.store import CHUNK, Store

# Problems of one kind beyond this are counted, not listed.
MOST_LISTED = 20


class Verdict:
    """What was found, as keys and paths; after a repair, what was dropped.

    broken_entries: paths of files that are no entries. incomplete: cache keys
    that name a blob that is missing or of another size. damaged_blobs: names
    whose content is another. index_problems: one line each.
    """

    def __init__(self) -> None:
        self.entries = 0
        self.blobs = 0
        self.hashed_bytes = 0
        self.broken_entries: List[str] = []
        self.incomplete: List[str] = []
        self.damaged_blobs: List[str] = []
        self.index_problems: List[str] = []
        self.strangers: List[str] = []
        self.repaired = False

    def problems(self) -> int:
        """How many there are; strangers are none."""
        found = (self.broken_entries, self.incomplete, self.damaged_blobs, self.index_problems)
        return sum(len(each) for each in found)

    def fields(self) -> Dict[str, Any]:
        """All of it, for JSON."""
        return {**vars(self), "problems": self.problems()}


def verify(cache_dir: str, checksums: bool, repair: bool) -> Verdict:
    """Check the store, and with ``repair`` drop what is broken and make the index anew. Raises StoreError."""
    verdict = Verdict()
    if not os.path.isdir(cache_dir):
        return verdict
    _check_index(cache_dir, verdict)
    shelf = inventory.blobs(cache_dir)
    verdict.blobs = len(shelf.files)
    verdict.strangers = [*shelf.strangers, *inventory.entries(cache_dir).strangers]
    truth = index.in_memory(cache_dir, "verify")
    try:
        verdict.entries = len(truth.items())
        verdict.broken_entries = [path for path in truth.broken if _is_broken(path)]
        references = truth.references()
    finally:
        truth.close()
    if checksums:
        verdict.damaged_blobs = sorted(_damaged(shelf.files, verdict))
    verdict.incomplete = _incomplete(cache_dir, references, set(verdict.damaged_blobs))
    if repair and verdict.problems():
        _repair(cache_dir, verdict)
    return verdict


def _check_index(cache_dir: str, verdict: Verdict) -> None:
    """Compare index.db, brought up to date, with one made from the entries alone."""
    path = cache_dir + "/" + index.FILE_NAME
    if not os.path.exists(path):
        return
    try:
        db = sqlite3.connect(path, timeout=index.PATIENCE)
        try:
            damage = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        finally:
            db.close()
        if damage != "ok":
            verdict.index_problems.append(f"index.db is damaged: {damage}")
            return
    except sqlite3.OperationalError as error:
        verdict.index_problems.append(f"index.db: {error}")
        return
    except sqlite3.DatabaseError as error:
        verdict.index_problems.append(f"index.db is damaged: {error}")
        return
    if _index_differs(cache_dir) and _index_differs(cache_dir):
        verdict.index_problems.append("index.db does not say what the entries say")


def _index_differs(cache_dir: str) -> bool:
    with index.opened(cache_dir) as view:
        truth = index.in_memory(cache_dir, "verify")
        try:
            return [_comparable(item) for item in view.items()] != [
                _comparable(item) for item in truth.items()
            ] or sorted(view.references()) != sorted(truth.references())
        finally:
            truth.close()


def _comparable(item: index.Item) -> List[Any]:
    # Hits are counted from the event log; an index that is older knows more of them.
    return [item.action_key, item.position, item.cache_key, item.crate_name, item.crate_types, item.created, item.size]


def _is_broken(path: str) -> bool:
    """Look again: it may have been replaced or removed since."""
    try:
        with open(path, "rb") as file:
            return index.decode_candidates(file.read(), os.path.basename(path)) is None
    except OSError:
        return False


def _damaged(files: Dict[str, File], verdict: Verdict) -> Set[str]:
    """The blobs whose content is not what their names say."""
    found = set()
    for name, file in files.items():
        digest = blake3()
        try:
            with open(file.path, "rb") as stream:
                data = stream.read(CHUNK)
                while data:
                    digest.update(data)
                    verdict.hashed_bytes += len(data)
                    data = stream.read(CHUNK)
        except FileNotFoundError:
            continue
        except OSError:
            # A disk that cannot give the bytes back has lost them.
            found.add(name)
            continue
        if digest.hexdigest() != name:
            found.add(name)
    return found


def _incomplete(cache_dir: str, references: List[Reference], damaged: Set[str]) -> List[str]:
    """The cache keys that cannot be restored."""
    store = Store(cache_dir, writable=False)
    found = set()
    for reference in references:
        path = store.blob_path(reference.digest)
        try:
            size = os.stat(path).st_size
        except OSError:
            found.add(reference.cache_key)
            continue
        if reference.digest in damaged or (reference.size >= 0 and size != reference.size):
            found.add(reference.cache_key)
    if not found:
        return []
    # What a gc took meanwhile, entry and all, was never broken.
    now = index.in_memory(cache_dir, "verify")
    try:
        return sorted(found & {item.cache_key for item in now.items()})
    finally:
        now.close()


def _repair(cache_dir: str, verdict: Verdict) -> None:
    """Drop what is broken: the next build misses there, and stores it anew."""
    store = Store(cache_dir)
    for path in verdict.broken_entries:
        _unlink(path)
    incomplete = set(verdict.incomplete)
    truth = index.in_memory(cache_dir, "repair")
    try:
        actions = {item.action_key for item in truth.items() if item.cache_key in incomplete}
        sizes = {reference.digest: reference.size for reference in truth.references() if reference.size >= 0}
    finally:
        truth.close()
    for action_key in actions:
        lock = store.claim(action_key, 1.0)
        found = store.read_entry(action_key)
        if found is not None:
            store.write_entry(action_key, found.keeping(lambda candidate: candidate.cache_key not in incomplete))
        if lock is not None:
            store.release(action_key, lock)
    for digest in verdict.damaged_blobs:
        _unlink(store.blob_path(digest))
    for digest, size in sizes.items():
        # Of another size than an entry says: the entry would be stored with it again.
        if not store.has_blob(digest, size):
            _unlink(store.blob_path(digest))
    index.rebuild(cache_dir)
    verdict.repaired = True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

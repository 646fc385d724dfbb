"""Sweeping: what is nobody's any more, beside the entries and blobs that age decides on.

Owns the rules for unfinished files, idle locks, old memos and incremental
directories. Each function takes what it may and counts it; what cannot be
removed is left for the next time. Knows nothing of sizes to be reached.
"""

import os
import shutil
import time
from typing import Iterable, List, NamedTuple, Tuple

from kachelib import inventory
from kachelib.inventory import File
from kachelib.store import Store

# A writer touches its file all the time; an hour without a change means that it died.
TEMPORARY_AGE = 3600.0
CLAIM_AGE = 3600.0
# A memo of a file that is still around costs one reading to make again.
MEMO_AGE = 30 * 86400.0
# A compiler that is at work writes into its incremental directory.
INCREMENTAL_AGE = 120.0

# What says that a target directory is one: https://bford.info/cachedir/
TAG_NAME = "CACHEDIR.TAG"
TAG_START = b"Signature: 8a477f597d28d172789f06886806bc55"


class Swept(NamedTuple):
    """How many were removed, and their bytes on disk."""

    removed: int
    disk: int


def temporaries(found: Iterable[File]) -> Swept:
    """Remove unfinished files whose writer is gone."""
    limit = time.time() - TEMPORARY_AGE
    return _remove([file for file in found if max(file.changed, file.modified) < limit])


def claims(cache_dir: str) -> Swept:
    """Remove lock files that nobody used for a while and nobody holds."""
    limit = time.time() - CLAIM_AGE
    store = Store(cache_dir)
    count = 0
    for file in inventory.files(cache_dir + "/claims"):
        # The locks of gc and index may be this process's own, and would be given up by looking.
        if file.changed < limit and inventory.is_key(file.name) and drop_claim(store, file.name):
            count += 1
    return Swept(count, 0)


def drop_claim(store: Store, name: str) -> bool:
    """Remove the lock file ``name`` unless somebody holds it. Who waits for it sees that the file is another."""
    lock = store.claim(name, 0)
    if lock is None:
        return False
    store.release(name, lock)
    return True


def memos(cache_dir: str, age: float = MEMO_AGE) -> Swept:
    """Remove memos that were written more than ``age`` seconds ago, and what a wrapper that was killed left there."""
    now = time.time()
    files = inventory.files(cache_dir + "/memo")
    return _remove([file for file in files if file.modified < now - min(age, _memo_age(file.name))])


def _memo_age(name: str) -> float:
    unfinished = name.startswith(("arguments-", "depfile-", "rule-", "stdout-")) or name.endswith(".tmp")
    return TEMPORARY_AGE if unfinished else MEMO_AGE


def incremental(roots: Iterable[str]) -> Swept:
    """Remove the incremental directories of the default target directories of ``roots``.

    kache takes incremental compilation away, so they are left from before.
    Only a directory called ``incremental``, in a profile's directory, in a
    ``target`` that carries Cargo's tag, none of them a link, idle for two
    minutes.
    """
    count = 0
    total = 0
    limit = time.time() - INCREMENTAL_AGE
    for root in roots:
        for directory in _incremental_directories(root):
            disk, newest = inventory.tree_bytes(directory)
            if newest < limit:
                shutil.rmtree(directory, ignore_errors=True)
                if not os.path.lexists(directory):
                    count += 1
                    total += disk
    return Swept(count, total)


def _incremental_directories(root: str) -> List[str]:
    target = root + "/target"
    if not root.startswith("/") or not _is_directory(target) or not _is_tagged(target):
        return []
    found = []
    for name, path in _directories(target):
        if name == "incremental":
            continue
        # target/<profile>/incremental, and target/<triple>/<profile>/incremental
        inner = _directories(path)
        profiles = [path] + ([] if _is_profile(path) else [below for _, below in inner])
        found += [p + "/incremental" for p in profiles if _is_profile(p) and _is_directory(p + "/incremental")]
    return found


def _is_profile(path: str) -> bool:
    return _is_directory(path + "/deps") or _is_directory(path + "/.fingerprint")


def _directories(path: str) -> List[Tuple[str, str]]:
    try:
        with os.scandir(path) as found:
            return [(item.name, item.path) for item in found if item.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _is_tagged(target: str) -> bool:
    path = target + "/" + TAG_NAME
    if os.path.islink(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(TAG_START)) == TAG_START
    except OSError:
        return False


def _remove(found: Iterable[File]) -> Swept:
    count = 0
    disk = 0
    for file in found:
        try:
            os.unlink(file.path)
        except OSError:
            continue
        count += 1
        if file.links == 1:
            disk += file.disk
    return Swept(count, disk)

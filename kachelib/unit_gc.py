"""What gc knows of units: which blobs snapshots name, when a plan was used, what nobody needs any more.

Owns the lifetime of units/ and plans/. A plan's use is the use of the entries that its snapshots came from; a snapshot
lives as long as the blobs of its entry, and a run of a build script as long as a plan that names it.
"""

import os
import time
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from kachelib import inventory, units
from kachelib.inventory import File
from kachelib.store import Store, read_file
from kachelib.units import Plan, Snapshot

# A plan is written after its snapshots; what no plan names after an hour was left by a crash.
ORPHAN_AGE = 3600.0


class Known(NamedTuple):
    """All plans with their files, and all snapshots that they name."""

    plans: List[Tuple[File, Plan]]
    snapshots: Dict[str, Snapshot]


def read(store: Store) -> Known:
    """Everything below units/ and plans/; a record that is damaged is passed over."""
    known = Known([], {})
    for file in plan_files(store.root):
        data = read_file(file.path)
        plan = None if data is None else units.decode_plan(data)
        if plan is None:
            continue
        known.plans.append((file, plan))
        for digests in plan.units.values():
            for digest in digests:
                snapshot = known.snapshots.get(digest) or units.read_unit(store, digest)
                if snapshot is not None:
                    known.snapshots[digest] = snapshot
    return known


def plan_files(cache_dir: str) -> List[File]:
    """The files of all plans, unfinished ones apart."""
    found: List[File] = []
    base = cache_dir + "/plans"
    for shard in os.listdir(base) if os.path.isdir(base) and not os.path.islink(base) else ():
        found += [f for f in inventory.files(base + "/" + shard) if not f.name.startswith(inventory.TEMPORARY_PREFIX)]
    return found


def note_uses(store: Store, known: Known) -> None:
    """Give the entries behind a plan the time of its last use, where theirs is older."""
    newest: Dict[str, float] = {}
    for file, plan in known.plans:
        for digests in plan.units.values():
            snapshot = known.snapshots.get(digests[0]) if digests else None
            if snapshot is not None and snapshot.action_key:
                newest[snapshot.action_key] = max(newest.get(snapshot.action_key, 0.0), file.modified)
    for action_key, used in newest.items():
        path = store.entry_path(action_key)
        try:
            if os.stat(path).st_mtime < used:
                os.utime(path, (used, used))
        except OSError:
            continue


def prune(store: Store, known: Known, named: Set[str], age: Optional[float]) -> Set[str]:
    """Drop snapshots whose entry's blobs are gone, plans without any, and records that nobody names.

    named: the blobs that entries name. age: seconds unused that are too many for a plan. Returns the blobs that the
    remaining snapshots name.
    """
    now = time.time()
    alive: Set[str] = set()
    for file, plan in known.plans:
        left = Plan()
        if age is None or file.modified > now - age:
            for key, digests in plan.units.items():
                kept = [each for each in digests if _lives(known.snapshots.get(each), named)]
                if kept:
                    left.units[key] = kept
        compiled = any(known.snapshots[each].action_key for digests in left.units.values() for each in digests)
        if not compiled:
            _remove(file.path)
            continue
        alive.update(each for digests in left.units.values() for each in digests)
        if left.units != plan.units and _unchanged(file):
            units.publish(file.path, left.encode())
            os.utime(file.path, (file.modified, file.modified))
    shelf = inventory.units(store.root)
    for digest, record in shelf.files.items():
        if digest not in alive and record.changed < now - ORPHAN_AGE:
            _remove(record.path)
    return {blob for digest in alive for blob in known.snapshots[digest].blobs()}


def _lives(snapshot: Optional[Snapshot], named: Set[str]) -> bool:
    return snapshot is not None and (not snapshot.action_key or named.issuperset(snapshot.blobs()))


def _unchanged(file: File) -> bool:
    """Whether nobody has written the plan anew since it was read."""
    try:
        return os.stat(file.path).st_ino == file.inode
    except OSError:
        return False


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass

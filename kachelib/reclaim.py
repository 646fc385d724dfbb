"""Reclaiming: one gc of the local store.

Owns the order in which entries go, when a blob may go, and what is told about
it. Entries go first, then the blobs that no entry names any more; a store that
is used meanwhile sees a miss at worst.

What the limit counts is what ``du`` says of store/, entries/ and units/: blocks on
disk, an inode once. A blob whose inode a target directory shares counts in
full: with the target gone, it is the store alone that keeps it. Removing it
gives the blocks back only then; so what was removed and what that gave back
are told apart.
"""

import os
import time
from typing import Dict, List, NamedTuple, Optional, Set

from kachelib import evict, history, index, inventory, log, sweep, unit_gc
from kachelib.config import Settings
from kachelib.index import Index, Item
from kachelib.inventory import File
from kachelib.outcome import StoreError
from kachelib.store import Store

LOCK_NAME = "gc.lock"

# What is in use by a build right now is used again a second later.
RECENT = 120.0

# A store writes its blobs first and names them in an entry then; what nobody
# names after an hour was left by a crash.
ORPHAN_AGE = 3600.0

# Below the limit by this much, so that not every store starts a gc.
HYSTERESIS = 0.9


class Limits(NamedTuple):
    """What to reach. size, goal: bytes; above the one, go down to the other. age: seconds unused that are too many.

    spare_recent: whether what was used in the last two minutes stays.
    """

    size: int
    goal: int
    age: Optional[float]
    spare_recent: bool


class Outcome:
    """What one gc did. Sizes are bytes on disk; reasons: why not more went, one line each."""

    def __init__(self) -> None:
        self.entries_evicted = 0
        self.blobs_removed = 0
        self.bytes_freed = 0
        self.disk_bytes_reclaimed = 0
        self.shared_bytes_retained = 0
        self.temporaries_removed = 0
        self.claims_removed = 0
        self.memos_removed = 0
        self.incremental_dirs_removed = 0
        self.incremental_bytes = 0
        self.store_bytes = 0
        self.limit_bytes = 0
        self.duration_ms = 0
        self.reasons: List[str] = []

    def fields(self) -> Dict[str, object]:
        """All of it, for JSON."""
        return dict(vars(self))


def limits(settings: Settings, size: Optional[int] = None, age: Optional[float] = None) -> Limits:
    """What a gc with these options has to reach. A size that was asked for is kept to the byte, whatever is in use."""
    if size is not None:
        return Limits(size, size, age, False)
    return Limits(settings.local_max_size, int(settings.local_max_size * HYSTERESIS), age, True)


def reclaim(settings: Settings, wanted: Limits, patience: float = 0.0) -> Outcome:
    """Run one gc. Raises StoreError where another is at work for longer than ``patience`` seconds."""
    store = Store(settings.cache_dir)
    if not os.path.isdir(store.root):
        outcome = Outcome()
        outcome.limit_bytes = wanted.size
        outcome.reasons.append("there is no store yet; the first build with kache makes it")
        return outcome
    lock = store.claim(LOCK_NAME, patience)
    if lock is None:
        raise StoreError(f"{store.root}: another gc is at work, or the store cannot be written; try again later")
    try:
        started = time.monotonic()
        outcome = Outcome()
        _tidy(store, wanted, outcome)
        _sweep(store, settings, outcome)
        evict.reset_growth(store.root, outcome.store_bytes)
        outcome.duration_ms = int((time.monotonic() - started) * 1000)
        history.record_gc(store.root, outcome.fields())
        went = f"{outcome.entries_evicted} entries, {outcome.blobs_removed} blobs, {outcome.bytes_freed} bytes removed"
        taken = f"{outcome.store_bytes} of {outcome.limit_bytes} taken"
        log.for_command(settings).info("; ".join(["gc: " + went, taken, *outcome.reasons]))
        return outcome
    finally:
        os.close(lock)


def _tidy(store: Store, wanted: Limits, outcome: Outcome) -> None:
    shelf = inventory.blobs(store.root)
    records = inventory.units(store.root)
    known = unit_gc.read(store)
    unit_gc.note_uses(store, known)
    entries = inventory.entries(store.root)
    total = inventory.disk_bytes([*shelf.files.values(), *entries.files.values(), *records.files.values()])
    outcome.limit_bytes = wanted.size
    with index.opened(store.root) as view:
        plan = _Plan(view, shelf.files, entries.files, total)
        plan.choose(wanted)
        evicted = _evict(store, plan.chosen, entries.files, wanted, outcome)
        view.refresh()
        named = {reference.digest for reference in view.references()}
    named |= unit_gc.prune(store, known, named, wanted.age)
    doomed = {digest for item in evicted for digest in plan.blobs_of[item.cache_key]}
    _remove_blobs(shelf.files, named, doomed, outcome)
    unfinished = [*shelf.temporaries, *entries.temporaries, *records.temporaries]
    outcome.temporaries_removed = sweep.temporaries(unfinished).removed
    outcome.store_bytes = max(0, total - outcome.bytes_freed)
    outcome.reasons = _reasons(plan, wanted, outcome)


class _Plan:
    """Which candidates have to go. ``total``: bytes on disk that will be left, kept up while choosing."""

    def __init__(self, view: Index, blobs: Dict[str, File], entries: Dict[str, File], total: int) -> None:
        self.items = view.items()
        self.blobs = blobs
        self.entries = entries
        self.total = total
        self.chosen: List[Item] = []
        self.spared = 0
        self.blobs_of: Dict[str, List[str]] = {item.cache_key: [] for item in self.items}
        self._holders: Dict[str, int] = {}
        for reference in view.references():
            self.blobs_of[reference.cache_key].append(reference.digest)
            self._holders[reference.digest] = self._holders.get(reference.digest, 0) + 1
        self._left: Dict[str, int] = {}
        for item in self.items:
            self._left[item.action_key] = self._left.get(item.action_key, 0) + 1

    def choose(self, wanted: Limits) -> None:
        """Take the least recently used until ``wanted`` is reached, and all that are too old."""
        now = time.time()
        over = self.total > wanted.size
        # On equal times the older run of an action goes before the newer one.
        for item in sorted(self.items, key=lambda item: (item.last_use(), -item.position)):
            too_old = wanted.age is not None and item.last_use() < now - wanted.age
            if not too_old and not (over and self.total > wanted.goal):
                continue
            # A time ahead of the clock is recent, too: the clock was set back.
            if wanted.spare_recent and item.entry_use > now - RECENT:
                self.spared += 1
                continue
            self._take(item)

    def _take(self, item: Item) -> None:
        self.chosen.append(item)
        for digest in self.blobs_of[item.cache_key]:
            self._holders[digest] -= 1
            if self._holders[digest] == 0 and digest in self.blobs:
                self.total -= self.blobs[digest].disk
        self._left[item.action_key] -= 1
        if self._left[item.action_key] == 0 and item.action_key in self.entries:
            self.total -= self.entries[item.action_key].disk


def _evict(store: Store, chosen: List[Item], files: Dict[str, File], wanted: Limits, outcome: Outcome) -> List[Item]:
    """Take the chosen candidates out of their entries; returns those that went."""
    by_action: Dict[str, List[Item]] = {}
    for item in chosen:
        by_action.setdefault(item.action_key, []).append(item)
    gone: List[Item] = []
    for action_key, items in by_action.items():
        seen = files.get(action_key)
        if seen is not None and _rewrite(store, action_key, {item.cache_key for item in items}, wanted, outcome):
            gone += items
    outcome.entries_evicted = len(gone)
    return gone


def _rewrite(store: Store, action_key: str, keys: Set[str], wanted: Limits, outcome: Outcome) -> bool:
    """Take the candidates ``keys`` out of one entry, unless it is being compiled, or was used since it was judged."""
    path = store.entry_path(action_key)
    lock = store.claim(action_key, 0)
    if lock is None:
        return False
    try:
        before = os.stat(path)
        if wanted.spare_recent and before.st_mtime > time.time() - RECENT:
            return False
        found = store.read_entry(action_key)
        if found is None:
            return False
        store.write_entry(action_key, found.keeping(lambda candidate: candidate.cache_key not in keys))
        freed = before.st_blocks * 512
        if os.path.exists(path):
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            freed -= os.stat(path).st_blocks * 512
        outcome.bytes_freed += freed
        outcome.disk_bytes_reclaimed += freed
        return True
    except OSError:
        return not os.path.exists(path)
    finally:
        store.release(action_key, lock)


def _remove_blobs(files: Dict[str, File], named: Set[str], doomed: Set[str], outcome: Outcome) -> None:
    """Remove the blobs that no entry names: those of evicted entries, and those that a crash left behind."""
    limit = time.time() - ORPHAN_AGE
    for digest, file in files.items():
        if digest in named or (digest not in doomed and file.changed > limit):
            continue
        try:
            # Stored again since it was seen: a new inode, and somebody who counts on it.
            status = os.lstat(file.path)
            if status.st_ino != file.inode:
                continue
            os.unlink(file.path)
        except OSError:
            continue
        outcome.blobs_removed += 1
        outcome.bytes_freed += file.disk
        if status.st_nlink == 1:
            outcome.disk_bytes_reclaimed += file.disk
        else:
            outcome.shared_bytes_retained += file.disk


def _sweep(store: Store, settings: Settings, outcome: Outcome) -> None:
    outcome.claims_removed = sweep.claims(store.root).removed
    outcome.memos_removed = sweep.memos(store.root).removed
    if settings.clean_incremental:
        swept = sweep.incremental(sorted(history.roots(store.root)))
        outcome.incremental_dirs_removed = swept.removed
        outcome.incremental_bytes = swept.disk


def _reasons(plan: _Plan, wanted: Limits, outcome: Outcome) -> List[str]:
    found = []
    left = len(plan.chosen) - outcome.entries_evicted
    above = outcome.store_bytes > wanted.size
    if not plan.items:
        found.append("the store has no entries")
    elif not plan.chosen and not plan.spared:
        found.append("the store is within its limit" if wanted.age is None else "nothing is that old")
    if plan.spared:
        found.append(f"{plan.spared} candidates were used in the last two minutes; --max-size SIZE spares none")
    if left:
        found.append(f"{left} candidates are in use right now, or could not be removed")
    if above and not plan.spared and not left:
        found.append("above its limit: unfinished and unnamed files may be in the making, and stay for an hour")
    return found

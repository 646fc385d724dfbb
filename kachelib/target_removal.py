"""Removing a target directory, or the incremental directories in it.

Owns looking again before anything goes, the order in which it goes, and what is told of it. Goes by descriptors alone:
no link is followed, no other file system entered, and nothing outside the directory that was found can be reached.

Whatever ends this process in the middle leaves a target directory: fingerprints go before what they are of, so that
Cargo builds anew; Cargo's locks go near the end, and the tag last, by which the next ``kache clean`` knows the rest.
"""

import errno
import os
import stat
import time
from typing import Callable, Dict, List

from kachelib import extents, mounts, target_lock, target_tree
from kachelib.descent import Descent, Moved, identity, pass_to
from kachelib.sweep import TAG_NAME
from kachelib.target_lock import Locks
from kachelib.target_size import Target
from kachelib.target_tree import INFO_NAME, LOCKS, Fences

# rustc and Cargo take the rest for nothing once these are gone.
FIRST = frozenset({".fingerprint", "fingerprint", "dep-graph.bin"})
MARKS = (INFO_NAME, TAG_NAME)

# Errors of one target directory that are told one by one.
MOST_ERRORS = 5
# On NFS Cargo takes no locks; what was used so short a time ago (in seconds) may be in use.
NFS_REST = 600.0

_BLOCK = 512


class Outcome:
    """What came of one target directory, or of what is ``incremental`` in it.

    gone: all that was asked for; freed: bytes of blocks that nobody else has; passed: why it was left alone; note: what
    else is to be told; errors: one line each; more_errors: how many more.
    """

    def __init__(self, path: str, incremental: bool = False) -> None:
        self.path = path
        self.incremental = incremental
        self.gone = False
        self.freed = 0
        self.files = 0
        self.passed = ""
        self.note = ""
        self.errors: List[str] = []
        self.more_errors = 0


def _nothing(_: Outcome) -> None:
    """Nobody watches."""


def remove(
    target: Target, fences: Fences, incremental: bool = False, tick: Callable[[Outcome], None] = _nothing
) -> Outcome:
    """Remove a target directory; ``incremental``: only the directories of that name. tick: called again and again."""
    outcome = Outcome(target.path, incremental)
    fences.mounts = mounts.table()
    outcome.passed = target.refusal or fences.inside(target.path) or _in_use(target, fences)
    if outcome.passed:
        return outcome
    try:
        parent = pass_to(os.path.dirname(target.path))
    except OSError as error:
        outcome.passed = _changed(error)
        return outcome
    try:
        with Descent(target.path) as walk, Locks() as locks:
            outcome.passed = _look_again(target, walk) or locks.take_all(walk) or _take_deep(target, locks)
            if not outcome.passed:
                eraser = _Eraser(walk, locks, fences, outcome, tick)
                if incremental:
                    eraser.remove_incremental(target.incremental)
                else:
                    eraser.remove_all(parent, os.path.basename(target.path))
    except Moved as moved:
        outcome.errors.append(str(moved))
    except OSError as error:
        if outcome.files:
            outcome.errors.append(f"{target.path}: {error.strerror}")
        else:
            outcome.passed = _changed(error)
    finally:
        os.close(parent)
    outcome.gone = not (outcome.passed or outcome.errors)
    return outcome


def _changed(error: OSError) -> str:
    return f"it is not what it was when it was found: {error.strerror}"


def _in_use(target: Target, fences: Fences) -> str:
    if mounts.kind(fences.mounts, target.path).startswith("nfs") and time.time() - target.last_use < NFS_REST:
        return "Cargo takes no locks on NFS, and it was used in the last ten minutes"
    return target_lock.running(target.path)


def _look_again(target: Target, walk: Descent) -> str:
    """Why what lies there is not the target directory that was found, or ""."""
    if identity(walk.status) != target.found.identity:
        return "another directory lies there than the one that was found"
    verdict = target_tree.judge(walk.fd, target_tree.names_of(walk.fd))
    return "it is no target directory any more" if verdict is None else verdict


def _take_deep(target: Target, locks: Locks) -> str:
    """Hold the locks that lie deeper than Cargo's own are looked for, where a test or a build script calls Cargo."""
    for path in target.locks:
        directory, _, name = path.rpartition("/")
        if directory.count("/") >= target_lock.LEVELS:
            try:
                with Descent(target.path + "/" + directory) as walk:
                    trouble = locks.take_here(walk, {name: False})
            except OSError:
                continue
            if trouble:
                return trouble
    return ""


class _Eraser:
    """One who removes, at a place in a target directory."""

    def __init__(
        self, walk: Descent, locks: Locks, fences: Fences, outcome: Outcome, tick: Callable[[Outcome], None]
    ) -> None:
        self._walk = walk
        self._locks = locks
        self._fences = fences
        self._outcome = outcome
        self._tick = tick
        self._device = walk.status.st_dev
        self._asks_extents = mounts.kind(fences.mounts, walk.top) in extents.SHARING
        # Now only locks and empty directories are left, or somebody else is at work.
        self._closing = False

    def remove_all(self, parent: int, name: str) -> None:
        """Remove everything; the directory itself is called ``name`` in the open directory ``parent``."""
        walk, outcome = self._walk, self._outcome
        self._empty()
        if outcome.errors:
            return
        if self._locks.awaited():
            # Cargo made the directory's tag when it came, and would not make it again.
            outcome.note = "Cargo came meanwhile; the empty directory stays for it"
            return
        self._closing = True
        self._empty()
        left = set(walk.list_names()) - set(MARKS)
        if left:
            self._fail(walk.path(min(left)), "it was made while the rest was removed, and stays")
        if outcome.errors:
            return
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=parent):
            self._fail(os.path.dirname(walk.top), "cannot be written; the directory in it is empty, but stays")
            return
        for entry in sorted(walk.list(), key=lambda entry: entry.name == TAG_NAME):
            if entry.name in MARKS:
                self._unlink(entry)
        try:
            if identity(os.stat(name, dir_fd=parent, follow_symlinks=False)) != identity(walk.status):
                raise Moved(f"{walk.top}: it was moved while it was emptied")
            os.rmdir(name, dir_fd=parent)
            outcome.freed += walk.status.st_blocks * _BLOCK
        except OSError as error:
            self._fail(walk.top, f"is empty, but stays: {error.strerror}")

    def remove_incremental(self, directories: List[str]) -> None:
        """Remove these, by their ways from the target directory. What is gone by itself is no trouble."""
        walk = self._walk
        for path in directories:
            went = 0
            try:
                for name in path.split("/")[:-1]:
                    walk.enter(name)
                    went += 1
                if target_tree.is_profile(target_tree.names_of(walk.fd)) and self._enter("incremental"):
                    self._empty()
                    walk.leave()
                    self._rmdir("incremental")
            except FileNotFoundError:
                pass
            except OSError as error:
                self._fail(walk.top + "/" + path, error.strerror or "")
            finally:
                for _ in range(went):
                    walk.leave()

    def _empty(self) -> None:
        """Remove what lies in the directory at hand, in the order that keeps Cargo right."""
        walk = self._walk
        waiting = [self._clear()]
        while True:
            if waiting[-1]:
                name = waiting[-1].pop()
                if self._enter(name):
                    waiting.append(self._clear())
                continue
            waiting.pop()
            if not waiting:
                return
            self._rmdir(walk.leave())
            self._tick(self._outcome)

    def _enter(self, name: str) -> bool:
        """Go into a directory from which everything may go."""
        walk = self._walk
        try:
            status = walk.enter(name, own=True)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._fail(walk.path(name), error.strerror or "")
            return False
        what = self._fences.closed.get(identity(status), "")
        if status.st_dev != self._device:
            what = "another file system"
        if what:
            self._fail(walk.path(), f"it is {what}, and stays")
            walk.leave()
            return False
        return True

    def _clear(self) -> List[str]:
        """Remove the files in the directory at hand; its directories, the first one last."""
        walk = self._walk
        try:
            entries = walk.list()
        except OSError as error:
            self._fail(walk.path(), error.strerror or "")
            return []
        names: Dict[str, bool] = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        trouble = "" if self._closing else self._locks.take_here(walk, names)
        if not trouble and target_tree.is_store(names):
            trouble = "a store of kache's, which stays"
        if trouble:
            self._fail(walk.path(), trouble)
            return []
        for entry in sorted(entries, key=lambda entry: entry.name not in FIRST):
            if not names[entry.name] and not self._is_kept(entry):
                self._unlink(entry)
        return sorted((name for name, is_dir in names.items() if is_dir), key=lambda name: name in FIRST)

    def _is_kept(self, entry: "os.DirEntry[str]") -> bool:
        """Whether a file is one of those that go at the end; or, when these go, one that is not ours to remove."""
        if not self._walk.names and entry.name in MARKS:
            return True
        is_lock = entry.name in LOCKS and entry.is_file(follow_symlinks=False)
        if not self._closing:
            return is_lock
        try:
            if is_lock and self._locks.holds(entry.stat(follow_symlinks=False)):
                return False
        except OSError:
            pass
        self._fail(self._walk.path(entry.name), "it was made while the rest was removed, and stays")
        return True

    def _unlink(self, entry: "os.DirEntry[str]") -> None:
        walk, outcome = self._walk, self._outcome
        try:
            status = entry.stat(follow_symlinks=False)
            disk = status.st_blocks * _BLOCK if status.st_nlink == 1 else 0
            if disk and self._asks_extents and status.st_size >= extents.LEAST and stat.S_ISREG(status.st_mode):
                disk -= sum(extent.length for extent in extents.shared_at(walk.fd, entry.name))
            os.unlink(entry.name, dir_fd=walk.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            self._fail(walk.path(entry.name), error.strerror or "")
            return
        outcome.files += 1
        outcome.freed += max(0, disk)

    def _rmdir(self, name: str) -> None:
        walk = self._walk
        try:
            disk = os.stat(name, dir_fd=walk.fd, follow_symlinks=False).st_blocks * _BLOCK
            os.rmdir(name, dir_fd=walk.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            # What keeps it is told already, or is a lock that goes at the end.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                self._fail(walk.path(name), error.strerror or "")
            return
        self._outcome.freed += disk

    def _fail(self, path: str, reason: str) -> None:
        if len(self._outcome.errors) < MOST_ERRORS:
            self._outcome.errors.append(f"{path}: {reason}")
        else:
            self._outcome.more_errors += 1

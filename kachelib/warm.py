"""Warming: whole Cargo units put back into a new target directory, before Cargo looks.

Owns the choice of a closed set of snapshots and the order, inodes and times with which they are put back. Knows
snapshots and conditions; nothing of how a snapshot was taken.

Why this cannot be wrong stands in docs/architecture.md. In short: Cargo compares its own fingerprints; what these do
not say is compared here; and a unit goes back only with exactly the generation of everything it was built against,
because files that all have one time tell Cargo nothing of generations.
"""

import posix
import time

from kachelib import cargo_call, fingerprint, memo, units
from kachelib.key import digest_bytes
from kachelib.roots import exists
from kachelib.store import (
    BLOB_TIME,
    CLONED,
    LINKED,
    Store,
    make_directories,
    read_file,
    remove,
    write_file,
)
from kachelib.units import COPY, DIRECTORY, LINK, NAME, RAW, TEXT, WATCHED, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    from kachelib.conditions import Here
    from kachelib.units import File, Snapshot

    Key = Tuple[str, str]
    # a unit; whether what Cargo wrote about it carries the stamp; whether its outputs do
    Row = Tuple["Snapshot", bool, bool]

BLOB_TIME_NS = BLOB_TIME * 1_000_000_000

# The clock that stamps files moves in ticks: what is written in the tick in which the stamp was taken must look newer.
TICK_NS = 10_000_000
WHOLE_SECOND_NS = 1_000_000_000

# From so many units on, two threads put them back.
MANY = 16

NO_PLAN = "no plan: nothing was taken for this profile, compiler and environment"

# Of a unit that Cargo has to build because it shall not wait longer.
LATE = "the deadline passed"

# For a Cargo.lock that was never seen, so many others are looked into.
MOST_PLANS = 8

# https://bford.info/cachedir/; the text is the one that Cargo's users find.
CACHEDIR_TAG = b"""Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by cargo.
# For information about cache directory tags see https://bford.info/cachedir/
"""

FORMS = (LINK, COPY, NAME, TEXT, RAW, WATCHED, DIRECTORY)


class Outcome:
    """What a warming came to. reason: why nothing at all was looked at, "" otherwise; back: the units put back;
    left: unit -> why it was left out. Bytes are those of blobs."""

    def __init__(self) -> None:
        self.reason = ""
        self.back: "List[Key]" = []
        self.left: "Dict[Key, str]" = {}
        self.packages: "Dict[Key, str]" = {}
        self.complete = False
        self.files = 0
        self.hardlinked_bytes = 0
        self.reflinked_bytes = 0
        self.copied_bytes = 0


class _Choice:
    """Which snapshot of each unit suits this place: what it was built against suits, and is the one it was built
    against."""

    def __init__(self, here: "Here", plan: Plan, outcome: Outcome, deadline: float) -> None:
        self.here = here
        self.plan = plan
        self.deadline = deadline
        self.chosen: "Dict[Key, Snapshot]" = {}
        self.order: "List[Snapshot]" = []
        self.left = outcome.left
        self.packages = outcome.packages
        self._read: "Dict[Key, List[Snapshot]]" = {}

    def choose(self) -> None:
        """Judge every unit of the plan, what it depends on first."""
        for start in self.plan.units:
            stack = [start]
            # Those of the stack that wait for others on it.
            waiting: "set[Key]" = set()
            while stack:
                key = stack[-1]
                if key in self.chosen or key in self.left:
                    stack.pop()
                    continue
                missing = {
                    dep[:2]
                    for snapshot in self._snapshots(key)
                    for dep in snapshot.dependencies
                    if dep[:2] not in self.chosen and dep[:2] not in self.left
                }
                if missing & waiting or key in missing:
                    self.left[key] = "it depends on itself"
                elif missing:
                    waiting.add(key)
                    stack += missing
                else:
                    self._judge(key)

    def _snapshots(self, key: "Key") -> "List[Snapshot]":
        if key not in self._read:
            found = [units.read_unit(self.here.shelf, digest) for digest in self.plan.units.get(key, ())]
            sound = [each for each in found if each is not None and each.key() == key and is_sound(each)]
            self._read[key] = sound
        return self._read[key]

    def _judge(self, key: "Key") -> None:
        if time.monotonic() > self.deadline:
            self.left[key] = LATE
            return
        why = ""
        for snapshot in self._snapshots(key):
            self.packages[key] = snapshot.package
            found = self._difference(snapshot)
            if not found:
                self.chosen[key] = snapshot
                self.order.append(snapshot)
                return
            why = why or found
        self.left[key] = why or "no snapshot"

    def _difference(self, snapshot: "Snapshot") -> str:
        for triple, unit, generation in snapshot.dependencies:
            other = self.chosen.get((triple, unit))
            if other is None:
                return "%s is left out" % unit.partition("/")[0]
            if other.generation != generation:
                return "%s is another one than it was built against" % unit.partition("/")[0]
        for file in snapshot.files:
            if file.digest and not self.here.shelf.has_blob(file.digest, file.size):
                return "a blob is missing"
        return self.here.difference(snapshot)


def is_sound(snapshot: "Snapshot") -> bool:
    """Whether every path of a record stays in the profile's directory, and every form is known."""
    names = [file.path for file in snapshot.files]
    names += [snapshot.directory + "/" + snapshot.name]
    return all(map(_stays_below, names)) and all(
        file.form in FORMS and not file.mode & ~0o777 for file in snapshot.files
    )


def _stays_below(path: str) -> bool:
    """Whether a relative path names nothing above where it starts, and each thing in one way."""
    if path[:1] in ("", "/", ".") or path[-1] == "/" or "//" in path or "/." in path:
        # Rarely so: only now is each part worth a look.
        return bool(path) and not any(part in ("", ".", "..") for part in path.split("/"))
    return True


def find_plan(here: "Here") -> "Optional[Plan]":
    """The plan of this Cargo.lock; for one that was never seen, what other locks' plans have of its packages."""
    lock = read_file(here.call.lock_file())
    if lock is None:
        return None
    selection = here.selection()
    digest = digest_bytes(lock)
    plan = units.read_plan(here.shelf, selection, digest)
    if plan is not None:
        try:
            posix.utime(units.plan_path(here.shelf.root, selection, digest))
        except OSError:
            pass
        return plan
    others = units.plans_of(here.shelf, selection, MOST_PLANS)
    if not others:
        return None
    text = lock.decode("utf-8", "surrogateescape")
    wanted = {"%s-%s" % (name, version) for name, version, _ in cargo_call.locked_packages(text)}
    merged = Plan()
    for other in reversed(others):
        for key, digests in other.units.items():
            for each in reversed(digests):
                merged.add(key, each)
    return _only(merged, wanted, here)


def _only(plan: Plan, wanted: "set[str]", here: "Here") -> Plan:
    """The plan without units of registry packages that a lock file does not name."""
    found = Plan()
    for key, digests in plan.units.items():
        snapshot = units.read_unit(here.shelf, digests[0])
        if snapshot is not None and (not snapshot.package or snapshot.package in wanted):
            found.units[key] = digests
    return found


def warm(here: "Here", deadline: float, explain: bool = False) -> Outcome:
    """Put back what suits this place. explain: only say what would be. deadline: of time.monotonic(). Never raises
    OSError for a unit: that unit is left out."""
    outcome = Outcome()
    call = here.call
    if any(in_use(directory) for _, directory in call.directories()):
        outcome.reason = "the target directory is in use: %s" % call.build_dir
        if not explain:
            return outcome
    stamp = _stamp()
    if not exists(call.lock_file()):
        outcome.reason = "there is no %s" % call.lock_file()
        return outcome
    plan = find_plan(here)
    if plan is None and here.settings.readonly_store:
        here.shelf = Store(here.settings.readonly_store, writable=False)
        plan = find_plan(here)
    if plan is None or not plan.units:
        outcome.reason = NO_PLAN
        return outcome
    choice = _Choice(here, plan, outcome, deadline)
    choice.choose()
    outcome.complete = not outcome.left
    if explain:
        outcome.back = [snapshot.key() for snapshot in choice.order]
    elif choice.order:
        outcome.complete = False
        _put_back(here, stamp, outcome, choice.order, deadline)
    return outcome


def in_use(directory: str) -> bool:
    """Whether Cargo, or we, have put units into a profile's directory already."""
    return any(exists(directory + each) for each in ("/.fingerprint", "/build", "/deps"))


def _stamp() -> int:
    """The time for units whose freshness hangs on files: before the first of these is read."""
    now = memo.file_clock()
    return now - (WHOLE_SECOND_NS if now % WHOLE_SECOND_NS == 0 else TICK_NS)


def _put_back(here: "Here", stamp: int, outcome: Outcome, order: "List[Snapshot]", deadline: float) -> None:
    """Put chosen units into the target directory, under Cargo's locks.

    A unit that cannot be put back, or not in time, is one that Cargo builds: what was built against it and is back is
    then older, and is built as well.
    """
    directories = dict(here.call.directories())
    locks = _Locks()
    try:
        for triple in directories:
            place = here.call.build_dir + ("/" + triple if triple else "")
            _make_target(place)
            # CARGO_TARGET_TMPDIR: Cargo makes it only where it compiles what may use it.
            make_directories(place + "/tmp")
        for directory in directories.values():
            make_directories(directory)
            if not locks.take(directory, here.cargo) or in_use(directory):
                outcome.reason = "another Cargo is at work in %s" % directory
                return
        # Units -> whether their outputs carry the stamp.
        new: "Dict[Key, bool]" = {}
        rows = []
        for snapshot in order:
            above = any(new[dep[:2]] for dep in snapshot.dependencies)
            new[snapshot.key()] = above or (snapshot.stamped and _has_watched_output(snapshot))
            rows.append((snapshot, snapshot.stamped or above, new[snapshot.key()]))
        hands = [_Hand(here, stamp, directories, deadline) for _ in range(2 if len(rows) >= MANY else 1)]
        _work(hands, rows)
        for hand in hands:
            hand.tell(outcome)
        outcome.complete = not outcome.left
    finally:
        locks.release()


def _work(hands: "List[_Hand]", rows: "List[Row]") -> None:
    """Share the units out. Most of the time goes into the kernel, which lets two at it."""
    if len(hands) == 1:
        hands[0].work(rows)
        return
    import _thread

    done = _thread.allocate_lock()
    done.acquire()

    def second() -> None:
        try:
            hands[1].work(rows[1::2])
        finally:
            done.release()

    _thread.start_new_thread(second, ())
    hands[0].work(rows[::2])
    done.acquire()


class _Hand:
    """One who puts units back, and what came of it."""

    def __init__(self, here: "Here", stamp: int, directories: "Dict[str, str]", deadline: float) -> None:
        self.here = here
        self.stamp = stamp
        self.directories = directories
        self.deadline = deadline
        self.outcome = Outcome()
        self._made: "set[str]" = set()

    def work(self, rows: "List[Row]") -> None:
        """Put units back one after the other, until the deadline. Never raises."""
        outcome = self.outcome
        for snapshot, stamped, new in rows:
            key = snapshot.key()
            if time.monotonic() > self.deadline:
                outcome.left[key] = LATE
                continue
            try:
                self._unit(snapshot, stamped, new)
                outcome.back.append(key)
            except Exception as error:
                outcome.left[key] = "it could not be put back: %s" % error

    def tell(self, whole: Outcome) -> None:
        """Add what came of it to what came of all."""
        own = self.outcome
        whole.back += own.back
        whole.left.update(own.left)
        whole.files += own.files
        whole.hardlinked_bytes += own.hardlinked_bytes
        whole.reflinked_bytes += own.reflinked_bytes
        whole.copied_bytes += own.copied_bytes

    def _unit(self, snapshot: "Snapshot", stamped: bool, new: bool) -> None:
        """Put one unit back, its fingerprint last: before that Cargo takes it for unfinished. Raises OSError.

        stamped: what Cargo wrote about it carries the stamp, for Cargo compares that with the times of sources. new:
        its outputs do as well, for Cargo compares these with the outputs of what it depends on. All else keeps the one
        time of blobs.
        """
        noted = self.stamp if stamped else BLOB_TIME_NS
        moment = self.stamp if new else BLOB_TIME_NS
        base = self.directories[snapshot.triple]
        # Cargo compares the newest output: the shared .rlib may keep its time beside a private .rmeta.
        private = any(file.form == LINK and not file.path.endswith(".rlib") for file in snapshot.files)
        before = ""
        for file in snapshot.files:
            path = base + "/" + file.path
            if file.form == DIRECTORY:
                self._directory(path)
                continue
            self._directory(path.rpartition("/")[0])
            if file.form in (LINK, COPY):
                share = file.form == LINK and (not new or (private and file.path.endswith(".rlib")))
                self._blob(file, path, share, moment)
            elif file.form == NAME:
                remove(path)
                posix.link(before, path)
            else:
                self._inline(file, path, noted)
            self.outcome.files += 1
            before = path

    def _directory(self, path: str) -> None:
        """Make each directory once."""
        if path not in self._made:
            make_directories(path)
            self._made.add(path)

    def _blob(self, file: "File", path: str, share: bool, moment: int) -> None:
        how = self.here.shelf.restore(file.digest, file.size, path, share, bool(file.mode & 0o100))
        if not how:
            raise FileNotFoundError("a blob is missing")
        if how == LINKED and (not path.endswith(".rmeta") or _make_replaceable(path)):
            self.outcome.hardlinked_bytes += file.size
            return
        if how == LINKED:
            how = self.here.shelf.restore(file.digest, file.size, path, False, False)
        posix.utime(path, ns=(moment, moment))
        if how == CLONED:
            self.outcome.reflinked_bytes += file.size
        else:
            self.outcome.copied_bytes += file.size

    def _inline(self, file: "File", path: str, moment: int) -> None:
        data = file.content
        if file.form == TEXT:
            data = units.without_placeholders(data, self.here.roots.by_name)
        elif file.form == WATCHED:
            data = fingerprint.decode_dep(data).with_paths(self._local).encode()
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
        try:
            fd = posix.open(path, flags, file.mode)
        except FileExistsError:
            remove(path)
            fd = posix.open(path, flags, file.mode)
        try:
            if posix.write(fd, data) != len(data):
                raise OSError("the disk is full")
            posix.utime(fd, ns=(moment, moment))
        finally:
            posix.close(fd)

    def _local(self, name: bytes) -> bytes:
        text = self.here.roots.localise(name.decode("utf-8", "surrogateescape"))
        return text.encode("utf-8", "surrogateescape")


def _make_replaceable(path: str) -> bool:
    """Let rustc replace a shared .rmeta where nobody calls kache any more: it renames a new file into place, but
    refuses to where the old one may not be written. False where the inode is not ours to change."""
    try:
        posix.chmod(path, 0o644)
    except OSError:
        return False
    return True


def _has_watched_output(snapshot: "Snapshot") -> bool:
    """Whether Cargo compares an output of this unit itself with files: a run's words with what it declared. And what
    people get should not look older than its sources."""
    handed_out = any(file.form == COPY for file in snapshot.files)
    return handed_out or snapshot.name.startswith(fingerprint.RUN_PREFIX)


class _Locks:
    """Cargo's own locks on a profile's directory: another Cargo waits while we hold them, and we never wait."""

    def __init__(self) -> None:
        self._held: "List[int]" = []

    def take(self, directory: str, cargo: str) -> bool:
        """Try to lock; False where somebody else holds it."""
        import fcntl

        names = [".cargo-lock"]
        if cargo_call.minor(cargo) >= 96:
            names.append(".cargo-build-lock")
        for name in names:
            fd = posix.open(directory + "/" + name, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o644)
            self._held.append(fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True

    def release(self) -> None:
        """Give all of them back."""
        for fd in self._held:
            posix.close(fd)
        self._held = []


def _make_target(directory: str) -> None:
    """The target directory, marked as one: Cargo marks only what it makes itself."""
    if exists(directory):
        return
    make_directories(directory)
    try:
        write_file(directory + "/CACHEDIR.TAG", CACHEDIR_TAG, 0o644)
    except OSError:
        pass

"""Cargo's own locks on a target directory, tried and held while something in it goes.

Owns how Cargo's lock files are held, and who else is at work there. Waits for nobody. Up to Cargo 1.95 the lock is
exclusive; from 1.96 on ``.cargo-lock`` is shared between Cargos, so that an exclusive one keeps all of them out.
"""

import errno
import fcntl
import os
import stat
from typing import Dict

from kachelib.descent import Descent, Identity, identity
from kachelib.target_tree import LOCKS, is_profile, names_of

# <target>/<triple>/<profile>, and one more for a target directory in a target directory.
LEVELS = 3
# What lies in a profile's directory and has no profile in it that is worth looking for.
_PARTS = frozenset({"incremental", "build", "deps", ".fingerprint", "examples"})

FIRST_LOCK = ".cargo-lock"
BUSY = "Cargo is at work in it"


class Locks:
    """Locks that are held. ``with`` gives them back."""

    def __init__(self) -> None:
        self._held: Dict[Identity, int] = {}

    def __enter__(self) -> "Locks":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._held.values():
            os.close(fd)
        self._held = {}

    def holds(self, status: os.stat_result) -> bool:
        """Whether ``status`` is of a lock that is held."""
        return identity(status) in self._held

    def awaited(self) -> bool:
        """Whether somebody is seen to wait for one of them, as Cargo does."""
        try:
            with open("/proc/locks", encoding="ascii", errors="replace") as file:
                lines = [line.split() for line in file if "-> FLOCK" in line]
        except OSError:
            return False
        # "1: -> FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF"; device numbers in hexadecimal
        places = {f"{os.major(each.device):02x}:{os.minor(each.device):02x}:{each.inode}" for each in self._held}
        return any(places.intersection(words) for words in lines)

    def take_all(self, walk: Descent) -> str:
        """Hold all locks of a target directory, as far down as Cargo has them; why that cannot be, or ""."""
        names = names_of(walk.fd)
        trouble = self.take_here(walk, names, is_profile(names))
        if trouble or len(walk.names) == LEVELS:
            return trouble
        for name, is_directory in names.items():
            if is_directory and not (name in _PARTS and is_profile(names)):
                try:
                    walk.enter(name)
                except PermissionError:
                    # Where this user may not look, he runs no Cargo either.
                    continue
                trouble = self.take_all(walk)
                walk.leave()
                if trouble:
                    return trouble
        return ""

    def take_here(self, walk: Descent, names: "Dict[str, bool]", create: bool = False) -> str:
        """Hold the locks in the directory at hand; why that cannot be, or "".

        create: make Cargo's lock where a profile has none, so that a Cargo that comes waits.
        """
        found = [name for name in LOCKS if names.get(name) is False]
        for name in found or ([FIRST_LOCK] if create else []):
            trouble = self._take(walk, name, create and not found)
            if trouble:
                return trouble
        return ""

    def _take(self, walk: Descent, name: str, create: bool) -> str:
        flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if create else 0)
        try:
            try:
                fd = os.open(name, os.O_RDWR | flags, 0o644, dir_fd=walk.fd)
            except PermissionError:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=walk.fd)
        except FileNotFoundError:
            return ""
        except OSError as error:
            # A link is no lock of Cargo's; where none can be made, none is held by others.
            return "" if create or error.errno == errno.ELOOP else f"{walk.path(name)}: {error.strerror}"
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or self.holds(status):
            os.close(fd)
            return ""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return BUSY
            return f"{walk.path(name)} cannot be locked: {error.strerror}"
        self._held[identity(status)] = fd
        return ""


def running(target: str) -> str:
    """Which program of the target directory, at a real path, runs right now; "" where none is seen."""
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return ""
    for number in numbers:
        try:
            program = os.readlink(f"/proc/{number}/exe")
        except OSError:
            continue
        if program.startswith(target + "/"):
            return f"{program[len(target) + 1 :]} runs, process {number}"
    return ""

"""Target directories in a tree: how one is told from whatever else lies there, and how they are found.

Owns the marks that Cargo leaves, what counts as proof, and where a search does not go. Reads, and changes nothing.
What may be deleted hangs on this module: a directory that is not proven is not found.

Proof is that Cargo made the directory: it writes CACHEDIR.TAG, in its own words, only into one that it makes itself;
and that it worked there: ``.rustc_info.json``, or a profile's directory with its lock or fingerprints (a build-dir has
these; a target directory beside one has the lock). The tag alone proves nothing: CARGO_HOME/registry has the same.
"""

import os
import stat
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set

from kachelib import mounts
from kachelib.descent import Descent, Identity, Moved, identity, identity_of, open_at
from kachelib.sweep import TAG_NAME, TAG_START

INFO_NAME = ".rustc_info.json"
INFO_START = b'{"rustc_fingerprint":'
# core/compiler/../paths.rs: exclude_from_backups_and_indexing; the lines below it changed over the years
CARGO_TAG = TAG_START + b"\n# This file is a cache directory tag created by cargo."

# A file in a profile's directory that Cargo holds while it works there; the latter two from 1.96 on.
LOCKS = frozenset({".cargo-lock", ".cargo-build-lock", ".cargo-artifact-lock"})
FINGERPRINTS = ".fingerprint"

# Nobody's build output, and nothing to look for others in.
REPOSITORIES = frozenset({".git", ".hg", ".svn", ".jj", ".bzr"})
# Whoever keeps one of these in the directory itself keeps more there than Cargo does.
PRECIOUS = REPOSITORIES | {"Cargo.toml", "Cargo.lock"}

# Beside Cargo's tag and marks; else it is no target.
IS_TARGET = ""
UNTAGGED = "it was there before Cargo used it: there is no CACHEDIR.TAG of Cargo's"


class Found(NamedTuple):
    """A target directory. path: real and absolute; identity: what it must be when it is looked at again."""

    path: str
    identity: Identity


class PassedOver(NamedTuple):
    """What was left alone, and why, in words that follow the path."""

    path: str
    reason: str


class Fences:
    """Where nobody goes. closed: directories by what they are, and what that is in words; mounts: other file systems.

    crossing: whether a search goes on into other file systems. Nothing is ever deleted across one.
    """

    def __init__(self, closed: Mapping[str, str], crossing: bool = False) -> None:
        self.crossing = crossing
        self.mounts = mounts.table()
        self.closed: Dict[Identity, str] = {}
        self.paths: Dict[str, str] = {}
        for path, what in closed.items():
            known = identity_of(path) if path else None
            if known is not None:
                self.closed.setdefault(known, what)
                self.paths.setdefault(os.path.realpath(path), what)

    def inside(self, target: str) -> str:
        """Why a target directory at this real path must stay whatever is in it; "" where nothing is known."""
        for path, what in self.paths.items():
            if (path + "/").startswith(target.rstrip("/") + "/"):
                return f"{what} is in it: {path}"
        found = mounts.below(self.mounts, target)
        if found:
            return f"another file system is mounted in it: {found[0]}"
        return "it is a mount point" if target in self.mounts else ""


def names_of(fd: int) -> "Dict[str, bool]":
    """The names in an open directory, and whether each is a directory; a link is none. Raises OSError."""
    with os.scandir(fd) as found:
        return {item.name: item.is_dir(follow_symlinks=False) for item in found}


def is_profile(names: Mapping[str, bool]) -> bool:
    """Whether these are the names in a profile's directory: Cargo's lock, or fingerprints and what they are of."""
    if any(names.get(name) is False for name in LOCKS):
        return True
    return bool(names.get(FINGERPRINTS)) and bool(names.get("deps") or names.get("build"))


def is_store(names: Mapping[str, bool]) -> bool:
    """Whether these are the names in a directory of kache's own."""
    return all(names.get(name) for name in ("store", "entries", "claims"))


def judge(fd: int, names: Mapping[str, bool]) -> Optional[str]:
    """What an open directory with these names is: IS_TARGET, None for no target directory, else why it stays though it
    looks like one."""
    tagged = names.get(TAG_NAME) is False and _begins(fd, TAG_NAME, CARGO_TAG)
    informed = names.get(INFO_NAME) is False and _begins(fd, INFO_NAME, INFO_START)
    if not (tagged or informed):
        return None
    built = _has_profile(fd, names)
    if not tagged:
        return UNTAGGED if built else None
    if not (informed or built):
        return None
    for name in sorted(PRECIOUS.intersection(names)):
        return f"more than a target directory: there is {name} in it"
    if is_store(names):
        return "more than a target directory: a store of kache's is in it"
    if not stat.S_IMODE(os.fstat(fd).st_mode) & 0o222:
        return "it is write-protected"
    return IS_TARGET


def _begins(fd: int, name: str, start: bytes) -> bool:
    """Whether ``name`` in an open directory is a regular file, and no link, that begins like this."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        try:
            # Its time of access tells when Cargo last read it.
            file = os.open(name, flags | getattr(os, "O_NOATIME", 0), dir_fd=fd)
        except PermissionError:
            file = os.open(name, flags, dir_fd=fd)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(file).st_mode) and os.read(file, len(start)) == start
    except OSError:
        return False
    finally:
        os.close(file)


def _has_profile(fd: int, names: Mapping[str, bool]) -> bool:
    """Whether ``<profile>`` or ``<triple>/<profile>`` lies in the open directory."""
    return any(_profiles_below(fd, name, 2) for name, is_directory in names.items() if is_directory)


def _profiles_below(fd: int, name: str, levels: int) -> bool:
    try:
        below = open_at(fd, name)
    except OSError:
        return False
    try:
        names = names_of(below)
        if is_profile(names):
            return True
        inner = [each for each, is_directory in names.items() if is_directory] if levels > 1 else []
        return any(_profiles_below(below, each, levels - 1) for each in inner)
    except OSError:
        return False
    finally:
        os.close(below)


class Search:
    """A search below directories. found, passed: what came of it so far; directories: how many were looked into."""

    def __init__(self, starts: Sequence[str], fences: Fences) -> None:
        """starts: real paths of directories."""
        self.found: List[Found] = []
        self.passed: List[PassedOver] = []
        self.directories = 0
        self._starts = sorted(set(starts), key=lambda path: (path.count("/"), path))
        self._fences = fences
        self._seen: Set[Identity] = set()

    def run(self) -> Iterator[None]:
        """Search; gives way after each directory. The outer one of two starts goes first, and what lies in it is not
        looked at twice."""
        for start in self._starts:
            what = self._fences.closed.get(identity_of(start) or Identity(0, 0), "")
            if any((start + "/").startswith(found.path.rstrip("/") + "/") for found in self.found):
                continue
            if what and what != HOME:
                self._pass(start, f"it is {what}")
                continue
            try:
                walk = Descent(start)
            except OSError as error:
                self._pass(start, f"cannot be read: {error.strerror}")
                continue
            try:
                with walk:
                    yield from self._below(walk)
            except Moved as moved:
                self._pass(start, f"not searched to its end: {moved}")

    def _below(self, walk: Descent) -> Iterator[None]:
        waiting = [self._look(walk)]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                if waiting:
                    walk.leave()
                continue
            name = waiting[-1].pop()
            if self._enter(walk, name):
                waiting.append(self._look(walk))
                yield

    def _enter(self, walk: Descent, name: str) -> bool:
        path = walk.path(name)
        kind = self._fences.mounts.get(path)
        if kind is not None and (not self._fences.crossing or kind in mounts.VIRTUAL):
            if kind not in mounts.VIRTUAL:
                self._pass(path, "another file system")
            return False
        device = walk.status.st_dev
        try:
            status = walk.enter(name)
        except OSError as error:
            # What is gone by now is nobody's loss.
            if not isinstance(error, FileNotFoundError):
                self._pass(path, f"cannot be read: {error.strerror}")
            return False
        if self._fences.closed.get(identity(status), HOME) == HOME:
            if status.st_dev == device or self._fences.crossing:
                return True
            self._pass(path, "another file system")
        walk.leave()
        return False

    def _look(self, walk: Descent) -> List[str]:
        """Judge the directory at hand; the names of those to be looked into next."""
        known = identity(walk.status)
        if known in self._seen:
            return []
        self._seen.add(known)
        self.directories += 1
        try:
            names = names_of(walk.fd)
        except OSError as error:
            self._pass(walk.path(), f"cannot be read: {error.strerror}")
            return []
        verdict = judge(walk.fd, names)
        if verdict == IS_TARGET:
            self.found.append(Found(walk.path(), known))
            return []
        if verdict is not None:
            self._pass(walk.path(), verdict)
            if verdict != UNTAGGED:
                return []
            # This may be anything, even somebody's home: others may lie below.
        if names.get("target") is False:
            self._look_at_link(walk)
        below = [name for name, is_directory in names.items() if is_directory and name not in REPOSITORIES]
        return sorted(below, reverse=True)

    def _look_at_link(self, walk: Descent) -> None:
        try:
            linked = os.readlink("target", dir_fd=walk.fd)
            os.stat("target/" + TAG_NAME, dir_fd=walk.fd)
        except OSError:
            return
        self._pass(walk.path("target"), f"a symbolic link to {linked}; give that directory to look there")

    def _pass(self, path: str, reason: str) -> None:
        self.passed.append(PassedOver(path, reason))


# What is closed as a part of a target directory, but not to a search.
HOME = "a home directory"


def closed_places(environ: Mapping[str, str], cache_dir: str, home: str) -> Dict[str, str]:
    """The directories that hold more than can be built again: path -> what it is."""
    cargo = environ.get("CARGO_HOME") or (home + "/.cargo" if home else "")
    rustup = environ.get("RUSTUP_HOME") or (home + "/.rustup" if home else "")
    places = {cache_dir: "the store of kache", home: HOME}
    if cargo:
        places.update({cargo: HOME, cargo + "/registry": "Cargo's registry", cargo + "/git": "Cargo's checkouts"})
    if rustup:
        places[rustup] = "the toolchains of rustup"
    return {path: what for path, what in places.items() if path}

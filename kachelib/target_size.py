"""The size of a target directory: what takes its room, what the store has of it, and what deleting gives back.

Owns which part of a target directory a file belongs to, and the counting: an inode once, blocks that files share once.
Reads, and changes nothing; takes one lstat a file.

Three kinds of bytes are told apart, for deletion gives them back under different conditions: those of files with one
name (always), of inodes with several names (when all of these go), of extents that other files have as well (nobody
knows who has them: counted as not given back).
"""

import os
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Set, Tuple

from kachelib import extents, inventory, mounts, target_tree
from kachelib.descent import Descent, Identity, Moved, identity
from kachelib.target_tree import Fences, Found

INCREMENTAL = "incremental"
BUILD = "build"
DEPS = "deps"
FINGERPRINT = "fingerprint"
BINARIES = "binaries"
OTHER = "other"
# As they are shown.
PARTS = (INCREMENTAL, BUILD, DEPS, FINGERPRINT, BINARIES, OTHER)
# What has names in two parts is counted in the first of these: a program is known by the name that people call.
_CLAIMS = (BINARIES, DEPS, BUILD, INCREMENTAL, FINGERPRINT, OTHER)

# A profile's directory itself: files in it are final outputs, its directories are parts. Its build directory, and two
# levels below that: from Cargo 1.100 on all of a unit lies in build/<package>/<hash>/{fingerprint,out,run}.
_PROFILE = "profile"
_BUILD_TOP = "build/"
_BUILD_PACKAGE = "build/package"
_BUILD_UNIT = "build/package/hash"
_PART_OF = {"incremental": INCREMENTAL, "deps": DEPS, ".fingerprint": FINGERPRINT, "examples": BINARIES}
_PART_OF["build"] = _BUILD_TOP
_COUNTED = {_PROFILE: BINARIES, _BUILD_TOP: BUILD, _BUILD_PACKAGE: BUILD, _BUILD_UNIT: BUILD}

_BLOCK = 512


class Link:
    """An inode with several names. seen: how many of its ``names`` lie here; disk: bytes; stored: the store has one."""

    __slots__ = ("disk", "names", "seen", "stored")

    def __init__(self, disk: int, names: int, stored: bool) -> None:
        self.disk = disk
        self.names = names
        self.seen = 0
        self.stored = stored


class Part:
    """What was counted of one part. alone: bytes of files with one name and of directories; links: by inode;
    shared: extents by device and place -> bytes."""

    __slots__ = ("alone", "files", "links", "shared")

    def __init__(self) -> None:
        self.files = 0
        self.alone = 0
        self.links: Dict[Identity, Link] = {}
        self.shared: Dict[Tuple[int, int], int] = {}


class Sum(NamedTuple):
    """Bytes on disk. size: all; freed: what deleting gives back at least; stored: what the store has as well."""

    size: int
    freed: int
    stored: int


class Held:
    """What the store holds: its inodes, and extents where its file system shares these."""

    def __init__(self, cache_dir: str, points: Mapping[str, str]) -> None:
        self.inodes: Set[Identity] = set()
        self._blobs: List[str] = []
        self._extents: "Set[Tuple[int, int]] | None" = None
        try:
            self.device = os.stat(cache_dir + "/store").st_dev if cache_dir else 0
        except OSError:
            self.device = 0
            return
        for file in inventory.blobs(cache_dir).files.values():
            if file.links > 1:
                self.inodes.add(Identity(self.device, file.inode))
            if file.size >= extents.LEAST:
                self._blobs.append(file.path)
        if mounts.kind(dict(points), os.path.realpath(cache_dir)) not in extents.SHARING:
            self._blobs = []

    def extents(self) -> "Set[Tuple[int, int]]":
        """Device and place of the blobs' shared extents. Looked for once, when first asked."""
        if self._extents is None:
            self._extents = set()
            for path in self._blobs:
                directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    found = extents.shared_at(directory, os.path.basename(path))
                finally:
                    os.close(directory)
                self._extents.update((self.device, extent.physical) for extent in found)
        return self._extents


class Target:
    """A target directory that was measured.

    parts: by PARTS; last_use: seconds since the epoch; locks: Cargo's lock files, incremental: the directories of that
    name, both relative to it; refusal: why it must stay; incomplete: what could not be looked into.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.path = found.path
        self.parts: Dict[str, Part] = {name: Part() for name in PARTS}
        self.last_use = 0.0
        self.locks: List[str] = []
        self.incremental: List[str] = []
        self.refusal = ""
        self.incomplete = 0

    def sum(self, held: Held) -> Sum:
        """All of it."""
        return total(self.parts.values(), held)

    def breakdown(self) -> Dict[str, int]:
        """Part -> bytes; together they are the size."""
        known: Dict[str, int] = {}
        before = 0
        for count in range(1, len(_CLAIMS) + 1):
            size = _size([self.parts[name] for name in _CLAIMS[:count]])
            known[_CLAIMS[count - 1]] = size - before
            before = size
        return {name: known[name] for name in PARTS}

    def files(self) -> int:
        """How many names of files it has."""
        return sum(part.files for part in self.parts.values())


def total(parts: Iterable[Part], held: Held) -> Sum:
    """What parts, of one target directory or of many, take together, and what deleting them all gives back."""
    chosen = list(parts)
    freed = sum(part.alone for part in chosen)
    seen: Dict[Identity, int] = {}
    links: Dict[Identity, Link] = {}
    shared: Dict[Tuple[int, int], int] = {}
    for part in chosen:
        shared.update(part.shared)
        for inode, link in part.links.items():
            links[inode] = link
            seen[inode] = seen.get(inode, 0) + link.seen
    size = freed + sum(link.disk for link in links.values()) + sum(shared.values())
    freed += sum(link.disk for inode, link in links.items() if seen[inode] >= link.names)
    stored = sum(link.disk for link in links.values() if link.stored)
    if shared:
        stored += sum(length for place, length in shared.items() if place in held.extents())
    return Sum(size, freed, stored)


def _size(parts: Sequence[Part]) -> int:
    links: Dict[Identity, int] = {}
    shared: Dict[Tuple[int, int], int] = {}
    for part in parts:
        links.update((inode, link.disk) for inode, link in part.links.items())
        shared.update(part.shared)
    return sum(part.alone for part in parts) + sum(links.values()) + sum(shared.values())


class Measure:
    """The measuring of one target directory. target: what is known so far."""

    def __init__(self, found: Found, fences: Fences, held: Held) -> None:
        self.target = Target(found)
        self._fences = fences
        self._held = held
        self._asks_extents = mounts.kind(fences.mounts, found.path) in extents.SHARING

    def run(self) -> Iterator[None]:
        """Measure; gives way after each directory."""
        target = self.target
        target.refusal = self._fences.inside(target.path)
        try:
            walk = Descent(target.path)
        except OSError as error:
            target.refusal = f"cannot be read: {error.strerror}"
            return
        with walk:
            if identity(walk.status) != target.found.identity:
                target.refusal = "it is not what it was a moment ago"
                return
            try:
                yield from self._all(walk)
            except Moved as moved:
                target.refusal = str(moved)

    def _all(self, walk: Descent) -> Iterator[None]:
        waiting = [self._look(walk, OTHER)]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                if waiting:
                    walk.leave()
                continue
            name, part = waiting[-1].pop()
            try:
                status = walk.enter(name)
            except OSError as error:
                self.target.incomplete += not isinstance(error, FileNotFoundError)
                continue
            self._check(walk, status)
            if status.st_dev == self.target.found.identity.device:
                waiting.append(self._look(walk, part))
                yield
            else:
                walk.leave()

    def _check(self, walk: Descent, status: os.stat_result) -> None:
        if status.st_dev != self.target.found.identity.device:
            self._refuse(f"another file system is mounted in it: {walk.path()}")
        what = self._fences.closed.get(identity(status))
        if what is not None:
            self._refuse(f"{what} is in it: {walk.path()}")

    def _refuse(self, reason: str) -> None:
        self.target.refusal = self.target.refusal or reason

    def _look(self, walk: Descent, part: str) -> List[Tuple[str, str]]:
        """Count the directory at hand and its files; its directories, and the part that each belongs to."""
        target = self.target
        try:
            found = walk.list()
        except OSError:
            target.incomplete += 1
            return []
        names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in found}
        if part == OTHER and target_tree.is_profile(names):
            part = _PROFILE
        if target_tree.is_store(names):
            self._refuse(f"a store of kache's is in it: {walk.path()}")
        target.last_use = max(target.last_use, walk.status.st_mtime)
        kept = target.parts[_COUNTED.get(part, part)]
        kept.alone += walk.status.st_blocks * _BLOCK
        for entry in found:
            if not names[entry.name]:
                if entry.name in target_tree.LOCKS:
                    target.locks.append("/".join([*walk.names, entry.name]))
                self._count(walk, entry, kept)
        below = [(name, _part_below(part, names, name)) for name, is_dir in names.items() if is_dir]
        if part == _PROFILE and names.get("incremental"):
            target.incremental.append("/".join([*walk.names, "incremental"]))
        return below

    def _count(self, walk: Descent, entry: "os.DirEntry[str]", part: Part) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return
        part.files += 1
        target = self.target
        target.last_use = max(target.last_use, status.st_mtime)
        if entry.name == target_tree.INFO_NAME or part is target.parts[BINARIES]:
            # Cargo reads the one whenever it is called; the other are run.
            target.last_use = max(target.last_use, status.st_atime)
        disk = status.st_blocks * _BLOCK
        if self._asks_extents and status.st_size >= extents.LEAST and entry.is_file(follow_symlinks=False):
            for extent in extents.shared_at(walk.fd, entry.name):
                part.shared[status.st_dev, extent.physical] = extent.length
                disk = max(0, disk - extent.length)
        if status.st_nlink == 1:
            part.alone += disk
            return
        known = identity(status)
        link = part.links.get(known)
        if link is None:
            link = part.links[known] = Link(disk, status.st_nlink, known in self._held.inodes)
        link.seen += 1


def _part_below(part: str, names: Mapping[str, bool], name: str) -> str:
    """The part that the directory ``name`` belongs to, from that of the directory with these names."""
    if part == _PROFILE:
        return _PART_OF.get(name, BINARIES if name.endswith(".dSYM") else OTHER)
    if part == _BUILD_TOP:
        return _BUILD_PACKAGE
    if part == _BUILD_PACKAGE:
        return _BUILD_UNIT
    if part == _BUILD_UNIT:
        if not names.get("fingerprint"):
            return BUILD
        return FINGERPRINT if name == "fingerprint" else BUILD if names.get("run") else DEPS
    return part

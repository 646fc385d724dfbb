"""The inventory: which files lie below the cache directory, and what they take.

Owns looking at the disk for gc, purge and doctor. Judges nothing, removes
nothing, and follows no symbolic link below the cache directory.
"""

import os
from typing import Dict, Iterable, List, NamedTuple, Set, Tuple

TEMPORARY_PREFIX = ".tmp-"

_HEX = frozenset("0123456789abcdef")
_BLOCK = 512


class File(NamedTuple):
    """A file as it was seen. name: its own; disk: bytes on disk; links: names of its inode; times in seconds."""

    name: str
    path: str
    size: int
    disk: int
    links: int
    modified: float
    changed: float
    inode: int


class Shelf(NamedTuple):
    """What lies in one of these: files by the key they are named for; unfinished files; what is neither."""

    files: Dict[str, File]
    temporaries: List[File]
    strangers: List[str]


def blobs(cache_dir: str) -> Shelf:
    """All of store/."""
    return _shelf(cache_dir + "/store")


def entries(cache_dir: str) -> Shelf:
    """All of entries/."""
    return _shelf(cache_dir + "/entries")


def units(cache_dir: str) -> Shelf:
    """All of units/."""
    return _shelf(cache_dir + "/units")


def files(directory: str) -> List[File]:
    """The regular files that lie directly in ``directory``."""
    return [_file(item) for item in _scan(directory) if item.is_file(follow_symlinks=False)]


def disk_bytes(found: Iterable[File]) -> int:
    """Bytes on disk, an inode counted once."""
    seen: Set[int] = set()
    total = 0
    for file in found:
        if file.inode not in seen:
            seen.add(file.inode)
            total += file.disk
    return total


def tree_bytes(directory: str) -> Tuple[int, float]:
    """Bytes on disk below ``directory``, and the newest modification time there."""
    total = 0
    newest = 0.0
    for base, _, names in os.walk(directory):
        for name in [*names, "."]:
            try:
                status = os.lstat(os.path.join(base, name))
            except OSError:
                continue
            total += status.st_blocks * _BLOCK
            newest = max(newest, status.st_mtime)
    return total, newest


def is_key(name: str) -> bool:
    """Whether ``name`` is 64 lower-case hex digits."""
    return len(name) == 64 and _HEX.issuperset(name)


def _shelf(directory: str) -> Shelf:
    shelf = Shelf({}, [], [])
    for shard in _scan(directory):
        if not (len(shard.name) == 2 and _HEX.issuperset(shard.name) and shard.is_dir(follow_symlinks=False)):
            shelf.strangers.append(shard.path)
            continue
        for item in _scan(shard.path):
            if not item.is_file(follow_symlinks=False):
                shelf.strangers.append(item.path)
                continue
            try:
                file = _file(item)
            except OSError:
                continue
            if item.name.startswith(TEMPORARY_PREFIX):
                shelf.temporaries.append(file)
            elif is_key(item.name) and item.name.startswith(shard.name):
                shelf.files[item.name] = file
            else:
                shelf.strangers.append(item.path)
    return shelf


def _file(item: "os.DirEntry[str]") -> File:
    s = item.stat(follow_symlinks=False)
    disk = s.st_blocks * _BLOCK
    return File(item.name, item.path, s.st_size, disk, s.st_nlink, s.st_mtime, s.st_ctime, s.st_ino)


def _scan(directory: str) -> "List[os.DirEntry[str]]":
    try:
        if os.path.islink(directory):
            return []
        with os.scandir(directory) as found:
            return list(found)
    except OSError:
        return []

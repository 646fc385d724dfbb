"""The footprint: which target directories belong to projects, and what they take on disk.

Owns finding them and walking them. Follows no symbolic link, changes nothing. What of a directory is the store's is
known by inodes that both have; blocks that a reflink shares look like any others.
"""

import os
import stat
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Set, Tuple

from kachelib import cargo_call, inventory
from kachelib.cargo_call import Unclear
from kachelib.sweep import TAG_NAME

_BLOCK = 512

Inode = Tuple[int, int]


class Target(NamedTuple):
    """A target directory. roots: of the projects that build there; size, shared: bytes on disk, an inode counted once,
    and of these what the store has as well."""

    path: str
    roots: Tuple[str, ...]
    size: int
    shared: int


def store_inodes(cache_dir: str) -> FrozenSet[Inode]:
    """The blobs that have a name outside the store."""
    try:
        device = os.stat(cache_dir + "/store").st_dev
    except OSError:
        return frozenset()
    return frozenset((device, file.inode) for file in inventory.blobs(cache_dir).files.values() if file.links > 1)


def targets(projects: Mapping[str, Iterable[str]], environ: Dict[str, str]) -> Dict[str, List[str]]:
    """Target directories that are there -> the roots that build there. projects: root -> directories known to be its
    target. Where Cargo's configuration moves one, that is followed; what Cargo's command line said is not known."""
    found: Dict[str, List[str]] = {}
    for root, known in projects.items():
        for path in dict.fromkeys([*known, *_of_root(root, environ)]):
            if os.path.isdir(path) and (os.path.exists(f"{path}/{TAG_NAME}") or _has_profile(path)):
                roots = found.setdefault(os.path.realpath(path), [])
                if root not in roots:
                    roots.append(root)
    return found


def _of_root(root: str, environ: Dict[str, str]) -> Iterator[str]:
    if not root.startswith("/") or "\0" in root:
        return
    # A package from a registry has no workspace; its root is the target directory itself.
    if os.path.exists(root + "/.rustc_info.json"):
        yield root
    try:
        call = cargo_call.parse(["build"], root, environ)
    except Unclear:
        yield root + "/target"
        return
    yield call.target_dir
    yield call.build_dir


def _has_profile(path: str) -> bool:
    return any(os.path.isdir(f"{path}/{profile}/.fingerprint") for profile in ("debug", "release"))


def measure(path: str, roots: Iterable[str], of_store: FrozenSet[Inode]) -> Target:
    """Walk one target directory. What cannot be read counts for nothing."""
    seen: Set[Inode] = set()
    size = shared = 0
    waiting = [path]
    while waiting:
        for item in _scan(waiting.pop()):
            try:
                status = item.stat(follow_symlinks=False)
            except OSError:
                continue
            inode = (status.st_dev, status.st_ino)
            if inode not in seen:
                seen.add(inode)
                size += status.st_blocks * _BLOCK
                shared += status.st_blocks * _BLOCK if inode in of_store else 0
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(item.path)
    return Target(path, tuple(roots), size, shared)


def _scan(directory: str) -> "List[os.DirEntry[str]]":
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError:
        return []

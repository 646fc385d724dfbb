"""The files that a glob names on disk.

Owns the walk; the pattern language is globs.py's. Follows symbolic links, for
a compile reads through them as well.
"""

import errno
import posix

from kachelib.globs import Name, alternatives, below, reaches_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import FrozenSet, Iterator, List, Optional, Set, Tuple

# A walk that meets more than this is an accident; listing it costs a second on every compile.
MOST_VISITED = 200_000

_FILE_TYPE = 0o170000
_DIRECTORY = 0o040000
_REGULAR = 0o100000
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.EPERM)


class TooMany(Exception):
    """A walk met more than MOST_VISITED files and directories."""


class Walk:
    """The files that a pattern names, and the directories in which another may appear.

    files: absolute, as reached (symbolic links are followed and not resolved).
    directories: absolute and existing; one of their times moves when a file that is named appears (unless a whole
    directory is renamed into place).
    visited: how many names were looked at. whole_disk: the pattern begins at the root of the file system.
    """

    __slots__ = ("directories", "files", "visited", "whole_disk")

    def __init__(self) -> None:
        self.files: "Set[str]" = set()
        self.directories: "Set[str]" = set()
        self.visited = 0
        self.whole_disk = False


def walk(pattern: str, base: str) -> Walk:
    """Look ``pattern`` up on disk, below ``base`` when it is relative.

    Raises ValueError for a malformed pattern, TooMany, and OSError for a
    directory that cannot be listed for another reason than being gone or
    forbidden.
    """
    found = Walk()
    for wanted in alternatives(below(base, pattern)):
        _walk_one(wanted, found)
    return found


def _walk_one(wanted: "List[Name]", found: Walk) -> None:
    """Descend as far as names are literal, then list."""
    path = ""
    depth = 0
    while depth < len(wanted) and wanted[depth].text is not None:
        parent, path = path, f"{path}/{wanted[depth].text}"
        depth += 1
        mode = _mode(path)
        if mode & _FILE_TYPE == _REGULAR and reaches_end(wanted, depth):
            found.files.add(path)
            found.visited += 1
            return
        if mode & _FILE_TYPE != _DIRECTORY:
            found.directories.add(parent or "/")
            return
    if depth == 0:
        found.whole_disk = True
    _list(path, wanted, depth, found)


def _list(top: str, wanted: "List[Name]", depth: int, found: Walk) -> None:
    """Add what ``wanted`` from position ``depth`` on names below the directory ``top``.

    Each directory is listed with the positions in ``wanted`` that have been
    reached when it is entered. A directory that is its own ancestor by way of
    a symbolic link is not entered again; a deeper maze ends in TooMany.
    """
    pending = [_Visit(top, _positions(wanted, {depth}), frozenset())]
    while pending:
        visit = pending.pop()
        identity = _identity(visit.directory)
        if identity is None or identity in visit.ancestors:
            continue
        found.directories.add(visit.directory or "/")
        ancestors = visit.ancestors | {identity}
        for entry in _entries(visit.directory):
            found.visited += 1
            if found.visited > MOST_VISITED:
                raise TooMany
            reached = _step(wanted, visit.reached, entry.name)
            if not reached:
                continue
            path = f"{visit.directory}/{entry.name}"
            try:
                if entry.is_dir():
                    pending.append(_Visit(path, reached, ancestors))
                elif len(wanted) in reached and entry.is_file():
                    found.files.add(path)
            except OSError:
                continue  # a link that leads nowhere, or in a circle


class _Visit:
    """A directory ("" for the root) to be listed, the positions reached there, and what it lies in."""

    __slots__ = ("ancestors", "directory", "reached")

    def __init__(self, directory: str, reached: "FrozenSet[int]", ancestors: "FrozenSet[Tuple[int, int]]") -> None:
        self.directory = directory
        self.reached = reached
        self.ancestors = ancestors


def _step(wanted: "List[Name]", reached: "FrozenSet[int]", name: str) -> "FrozenSet[int]":
    """The positions in ``wanted`` after ``name``; len(wanted) is a match."""
    after = set()
    for position in reached:
        if position == len(wanted):
            continue
        if wanted[position].any_depth:
            after.add(position)
        elif wanted[position].matches(name):
            after.add(position + 1)
    return _positions(wanted, after)


def _positions(wanted: "List[Name]", reached: "Set[int]") -> "FrozenSet[int]":
    """``reached`` and what lies behind any ``**`` there, for it may stand for nothing."""
    for start in tuple(reached):
        position = start
        while position < len(wanted) and wanted[position].any_depth:
            position += 1
            reached.add(position)
    return frozenset(reached)


def _entries(directory: str) -> "Iterator[posix.DirEntry[str]]":
    try:
        with posix.scandir(directory or "/") as listing:
            yield from listing
    except OSError as error:
        if error.errno not in _GONE:
            raise


def _identity(directory: str) -> "Optional[Tuple[int, int]]":
    try:
        status = posix.stat(directory or "/")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _mode(path: str) -> int:
    try:
        return posix.stat(path).st_mode
    except (OSError, ValueError):
        return 0

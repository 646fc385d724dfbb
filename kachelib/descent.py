"""A descent: a place in a directory tree that is held open, so that nobody can move it from under one's feet.

Owns going down and up by descriptors: never through a symbolic link, and up only to the very directory that it came
from. One descriptor is open at a time, however deep it goes. Knows nothing of what lies there.
"""

import errno
import os
import stat
from typing import List, NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# To pass through a directory one need not be able to read it.
_PASSING = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Identity(NamedTuple):
    """What a directory is, whatever it is called."""

    device: int
    inode: int


class Moved(Exception):
    """A directory does not lie where it lay a moment ago."""


def identity(status: os.stat_result) -> Identity:
    """The identity of what ``status`` is of."""
    return Identity(status.st_dev, status.st_ino)


def identity_of(path: str) -> "Identity | None":
    """The identity of what lies at ``path``, links followed; None where nothing does."""
    try:
        return identity(os.stat(path))
    except (OSError, ValueError):
        return None


def pass_to(path: str) -> int:
    """A descriptor of the directory at an absolute path without symbolic links, good for going on from there.

    Raises OSError, ENOTDIR among others where a part of the path is a link by now.
    """
    fd = os.open("/", _PASSING)
    for name in path.split("/"):
        if name:
            try:
                below = os.open(name, _PASSING, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
    return fd


def open_at(parent: int, name: str) -> int:
    """Open the directory ``name`` of an open directory; a link is refused. Raises OSError."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


def open_own(parent: int, name: str) -> int:
    """As ``open_at``; where this user lacks a right to his own directory, he is given it. Raises OSError."""
    try:
        fd = open_at(parent, name)
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(fd, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)
        return fd
    except PermissionError:
        if not hasattr(os, "O_PATH"):
            raise
        # chmod by name could be led astray by a link; by a descriptor it cannot.
        held = os.open(name, _PASSING, dir_fd=parent)
        try:
            status = os.fstat(held)
            if status.st_uid != os.geteuid():
                raise
            os.chmod(f"/proc/self/fd/{held}", stat.S_IMODE(status.st_mode) | stat.S_IRWXU)
        finally:
            os.close(held)
        return open_at(parent, name)


class Descent:
    """A way down from a directory. fd: the directory at hand; names: the way to it; ``with`` closes it."""

    def __init__(self, path: str) -> None:
        """Begin at an absolute path without links. Raises OSError."""
        parent = pass_to(os.path.dirname(path))
        try:
            self.fd = open_at(parent, os.path.basename(path) or ".")
        finally:
            os.close(parent)
        self.top = path
        self.names: List[str] = []
        self.status = os.fstat(self.fd)
        self._above: List[Identity] = []

    def __enter__(self) -> "Descent":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def path(self, name: str = "") -> str:
        """The path of the directory at hand, or of ``name`` in it: for people, and for nothing else."""
        return "/".join([self.top.rstrip("/"), *self.names, *([name] if name else [])]) or "/"

    def list(self) -> "List[os.DirEntry[str]]":
        """What lies in the directory at hand. An entry's stat is good only while it is at hand. Raises OSError."""
        with os.scandir(self.fd) as found:
            return list(found)

    def list_names(self) -> List[str]:
        """The names in the directory at hand. Raises OSError."""
        return os.listdir(self.fd)

    def enter(self, name: str, own: bool = False) -> os.stat_result:
        """Go down into ``name``; ``own`` as in ``open_own``. Raises OSError, and is then where it was."""
        below = open_own(self.fd, name) if own else open_at(self.fd, name)
        if not os.access(".", os.X_OK, dir_fd=below):
            # There would be no way back.
            os.close(below)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        self._above.append(identity(self.status))
        os.close(self.fd)
        self.fd = below
        self.names.append(name)
        self.status = os.fstat(below)
        return self.status

    def leave(self) -> str:
        """Go up again; returns the name of what was left. Raises Moved where that is not where it came from."""
        try:
            above = os.open("..", _DIRECTORY, dir_fd=self.fd)
        except OSError as error:
            raise Moved(f"{self.path()}: there is no way back: {os.strerror(error.errno or errno.EIO)}") from None
        status = os.fstat(above)
        if identity(status) != self._above[-1]:
            os.close(above)
            raise Moved(f"{self.path()}: it was moved meanwhile")
        os.close(self.fd)
        self.fd, self.status = above, status
        self._above.pop()
        return self.names.pop()

"""The configuration file that is to be changed: which it is, its text, and putting another in its place.

Owns the choice of the file, and that nothing is lost on the way: the file is
whole at any moment, keeps its mode, stays the link that it was, and what
somebody else wrote meanwhile is not overwritten; and what it then counts for.
Knows nothing of TOML.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import Iterator, List, Mapping, NamedTuple, Optional, Sequence

from kachelib import config, config_file
from kachelib.outcome import ConfigError, KacheError
from kachelib.settings import Setting, Settings

PROJECT_FILE = ".kache.toml"

# How often another kache that writes is waited for, and how long each time, in seconds.
_TURNS, _TURN = 100, 0.02

_MARK = b"\xef\xbb\xbf"

# What link(2) says where the file system has no hard links.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class Changed(KacheError):
    """The file is not what was read any more."""


class Target(NamedTuple):
    """A file as it was read. path: as people name it; place: the same without links; data: None where missing."""

    path: str
    place: str
    data: Optional[bytes]

    @property
    def text(self) -> str:
        """What it says. Raises ConfigError where it is not UTF-8."""
        try:
            return config_file.decode(self.data or b"", self.path)
        except config_file.Unreadable as error:
            raise ConfigError(str(error)) from None


def user(environ: Mapping[str, str]) -> str:
    """The user's own file, which may not exist. Raises ConfigError where it has no place."""
    path = config.user_file(environ)
    if not path:
        raise ConfigError("there is no place for a user's configuration: HOME is not set; name one with KACHE_CONFIG")
    return path


def project(here: str) -> str:
    """The project's file: the nearest upwards, else one in ``here`` that may not exist."""
    return config.select_file({}, (here,)) or here.rstrip("/") + "/" + PROJECT_FILE


def in_force(environ: Mapping[str, str], here: str) -> str:
    """The file that is read in ``here``, which may not exist where KACHE_CONFIG names it; "" for none."""
    return config.select_file(environ, (here,))


def read(path: str) -> Target:
    """The file at ``path``, which may not exist. Raises ConfigError where it cannot be read, or is no file."""
    place = os.path.realpath(path)
    if not os.path.lexists(place):
        return Target(path, place, None)
    if os.path.exists(place) and not os.path.isfile(place):
        # A device may be read as settings; nobody wants it replaced.
        raise ConfigError(f"{path} is not a regular file")
    try:
        return Target(path, place, config_file.contents(path))
    except config_file.Unreadable as error:
        raise ConfigError(str(error)) from None


def write(target: Target, text: str, private: bool = False) -> None:
    """Put ``text`` in place of what was read. private: a new file is for the user's eyes only.

    Raises Changed where somebody else wrote it, KacheError where it cannot be written; then it is as it was.
    """
    data = text.encode("utf-8")
    if target.data is not None and target.data.startswith(_MARK):
        data = _MARK + data
    temporary = f"{target.place}.kache-{os.urandom(6).hex()}"
    try:
        os.makedirs(os.path.dirname(target.place), exist_ok=True)
        with _held(target):
            try:
                _write_new(temporary, data, target, private)
                _put(temporary, target)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
    except OSError as error:
        where = f" ({error.filename})" if error.filename not in (None, temporary) else ""
        raise KacheError(f"{target.path} cannot be written: {error.strerror}{where}; nothing was changed") from None


@contextlib.contextmanager
def _held(target: Target) -> Iterator[None]:
    """Keep other kaches from writing the file. Raises Changed where one was there first."""
    if target.data is None:
        # A new file appears by link, which fails where there is one.
        yield
        return
    try:
        fd = os.open(target.place, os.O_RDONLY)
    except FileNotFoundError:
        raise _changed(target) from None
    try:
        _lock(fd)
        try:
            same = os.path.samestat(os.fstat(fd), os.stat(target.place))
        except FileNotFoundError:
            same = False
        if not same or _rest(fd) != target.data:
            raise _changed(target)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    """Wait for our turn, but not for ever: without it, and where there are no locks, comparing has to do."""
    for _ in range(_TURNS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_TURN)
        except OSError:
            return


def _write_new(temporary: str, data: bytes, target: Target, private: bool) -> None:
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    with open(fd, "wb") as file:
        if target.data is not None:
            status = os.stat(target.place)
            # Where another user's file is changed, by root say, it stays his.
            with contextlib.suppress(OSError):
                os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
        file.write(data)
        file.flush()
        os.fsync(fd)


def _put(temporary: str, target: Target) -> None:
    if target.data is None:
        try:
            os.link(temporary, target.place)
        except FileExistsError:
            raise _changed(target) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(target.place):
                raise _changed(target) from None
            os.rename(temporary, target.place)
    else:
        os.rename(temporary, target.place)
    # The file is there by now, whatever the directory says to this.
    with contextlib.suppress(OSError):
        directory = os.open(os.path.dirname(target.place), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _rest(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def _changed(target: Target) -> Changed:
    return Changed(f"{target.path} was changed by another program meanwhile; nothing was written")


def effects(rows: Sequence[Setting], path: str, before: str, settings: Settings) -> List[str]:
    """What people should know after ``rows`` were written into ``path``. before: the file that was in force then."""
    found = []
    for row in rows:
        origin = config.origin(settings, row.name)
        if origin.startswith("env "):
            found.append(f"{origin[4:]} is set in the environment and wins over the file")
    if settings.file != path:
        if settings.file:
            found.append(f"{path} is not read here: {settings.file} is, and files are never merged")
        else:
            found.append(f"{path} is not read here")
    elif before and before != path:
        found.append(f"{path} is read here from now on, {before} no more: files are never merged")
    mine = [problem for problem in settings.problems if settings.file and problem.startswith(settings.file)]
    if mine:
        found.append(f"something else is wrong: {mine[0]}")
    return found

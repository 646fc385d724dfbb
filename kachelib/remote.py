"""The remote: objects by key, wherever they are kept.

Owns what a remote can be asked and what may go wrong there, in one line of words; the kind that is a directory on a
shared disk; and which kind the settings name. s3.py is the other kind. Knows nothing of what the objects mean.

Keys are relative to the remote's prefix, and made of the characters that every kind can have in a name.
"""

import contextlib
import errno
import os
import tempfile
import threading
from typing import BinaryIO, Callable, ContextManager, Iterator, NamedTuple, Optional, Tuple

from kachelib.config import Settings
from kachelib.key import digest_bytes
from kachelib.outcome import KacheError

# A condition on what stands at a key before something is put there: nothing.
ABSENT = "absent"

SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+/")


class RemoteError(KacheError):
    """A remote did not do what it was asked; the text is one line and holds no secret."""


class Missing(RemoteError):
    """There is no such object."""


class Denied(RemoteError):
    """The credentials are wrong, expired, or do not allow this."""


class Forbidden(Denied):
    """The credentials are good, and do not allow this one operation."""


class Unreachable(RemoteError):
    """Nobody answers at the endpoint, or not in time."""


class Interrupted(Unreachable):
    """An object's content came in part only: whoever wants it asks for it again."""


class Limits(NamedTuple):
    """How long one request may take: seconds to connect, seconds without a byte, and how often it is tried."""

    connect: float = 5.0
    read: float = 30.0
    attempts: int = 3


class Listed(NamedTuple):
    """An object in a listing. size: bytes; modified: seconds since the epoch."""

    key: str
    size: int
    modified: float


class Remote:
    """Objects by key. Methods raise RemoteError; all may be called from several threads."""

    def describe(self) -> str:
        """Where it is, for people."""
        raise NotImplementedError

    def credentials(self) -> str:
        """Where the credentials come from, for people; "" where none are needed."""
        return ""

    def get(self, key: str, most: int = 0) -> "ContextManager[BinaryIO]":
        """An object as a stream; most: only so many bytes from its start, 0 for all. Raises Missing."""
        raise NotImplementedError

    def get_tagged(self, key: str) -> Tuple[bytes, str]:
        """A small object, and a tag that changes with its content. Raises Missing."""
        raise NotImplementedError

    def put(self, key: str, body: BinaryIO, size: int, condition: str = "") -> bool:
        """Put ``size`` bytes at a key, whole or not at all. condition: ABSENT, or the tag that must be there; False
        where that does not hold. A remote that knows no conditions puts always."""
        raise NotImplementedError

    def list(self, prefix: str) -> Iterator[Listed]:
        """The objects whose keys begin with ``prefix``, in any order."""
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """The first parts of all keys that have several: crates."""
        raise NotImplementedError

    def delete(self, key: str) -> None:
        """Remove an object; it may be gone already."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Set up what the first request would: it takes a while. Raises RemoteError."""

    def close(self) -> None:
        """Give connections back."""


def is_configured(settings: Settings) -> bool:
    """Whether the settings name a remote."""
    return bool(settings.remote_path if settings.remote_type == "filesystem" else settings.remote_bucket)


def open_remote(settings: Settings, limits: Optional[Limits] = None) -> Remote:
    """The remote that the settings name. Raises RemoteError, also where they name none."""
    if not is_configured(settings):
        raise RemoteError("no remote is configured: set KACHE_S3_BUCKET, or [cache.remote] in config.toml")
    if settings.remote_type == "filesystem":
        return SharedDisk(settings.remote_path, settings.remote_prefix)
    from kachelib import s3

    return s3.S3(settings, limits or Limits())


def check_key(key: str) -> str:
    """The key, where it is one. Raises RemoteError."""
    parts = key.split("/")
    if not SAFE.issuperset(key) or any(part in ("", ".", "..") for part in parts):
        raise RemoteError("not a key: %s" % ascii(key)[:100])
    return key


# Locks of files are a process's; among its threads this one holds.
_comparing = threading.Lock()


class SharedDisk(Remote):
    """A directory that several machines see. It has to be there; the prefix below it is made."""

    def __init__(self, base: str, prefix: str) -> None:
        self._base = base
        self.root = os.path.join(base, prefix.strip("/"))

    def describe(self) -> str:
        return self.root

    def get(self, key: str, most: int = 0) -> "ContextManager[BinaryIO]":
        return self._open(check_key(key), most)

    @contextlib.contextmanager
    def _open(self, key: str, most: int) -> Iterator[BinaryIO]:
        self._require_root()
        with self._errors(key):
            file = open(self._path(key), "rb")  # noqa: SIM115
        with file:
            yield Body(file, lambda: self._errors(key), most)  # type: ignore[misc]

    def get_tagged(self, key: str) -> Tuple[bytes, str]:
        with self.get(key) as file:
            data = file.read()
        return data, digest_bytes(data)

    def put(self, key: str, body: BinaryIO, size: int, condition: str = "") -> bool:
        path = self._path(check_key(key))
        self._require_root()
        with self._errors(key):
            if condition == ABSENT and os.path.exists(path):
                return False
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with self._lock(path, condition):
                if condition not in ("", ABSENT) and self._tag(key) != condition:
                    return False
                return self._write(path, body, size, condition == ABSENT)

    def _write(self, path: str, body: BinaryIO, size: int, only_new: bool) -> bool:
        fd, temporary = tempfile.mkstemp(prefix=".tmp-", dir=os.path.dirname(path))
        try:
            with os.fdopen(fd, "wb") as file:
                left = size
                while left:
                    data = body.read(min(left, 1 << 17))
                    if not data:
                        raise RemoteError("what was to be kept there is shorter than it was")
                    file.write(data)
                    left -= len(data)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
            if only_new:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                        raise
                    os.rename(temporary, path)
            else:
                os.rename(temporary, path)
            return True
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    @contextlib.contextmanager
    def _lock(self, path: str, condition: str) -> Iterator[None]:
        """Nobody else compares and replaces meanwhile, as far as the file system has locks between machines."""
        if condition in ("", ABSENT):
            yield
            return
        import fcntl

        with _comparing:
            fd = os.open(os.path.dirname(path) + "/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                with contextlib.suppress(OSError):
                    fcntl.lockf(fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)

    def _tag(self, key: str) -> str:
        try:
            return self.get_tagged(key)[1]
        except Missing:
            return ""

    def list(self, prefix: str) -> Iterator[Listed]:
        self._require_root()
        below = prefix.rpartition("/")[0]
        base = os.path.join(self.root, below) if below else self.root
        for directory, _, names in os.walk(base, onerror=lambda error: self._hidden(prefix, error)):
            for name in names:
                path = os.path.join(directory, name)
                key = os.path.relpath(path, self.root)
                if name.startswith((".tmp-", ".lock")) or not key.startswith(prefix):
                    continue
                with contextlib.suppress(OSError):
                    found = os.stat(path)
                    yield Listed(key, found.st_size, found.st_mtime)

    def names(self) -> Iterator[str]:
        self._require_root()
        with self._errors(""), contextlib.suppress(FileNotFoundError), os.scandir(self.root) as found:
            for each in found:
                if each.is_dir():
                    yield each.name

    def _hidden(self, prefix: str, error: OSError) -> None:
        """A directory that is gone has nothing; one that cannot be read may have all that was asked for."""
        with self._errors(prefix), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            raise error

    def delete(self, key: str) -> None:
        with self._errors(key), contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(check_key(key)))

    def _require_root(self) -> None:
        if not os.path.isdir(self._base):
            raise Unreachable("%s is no directory here: is it mounted?" % self._base)

    def _path(self, key: str) -> str:
        return os.path.join(self.root, key)

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise Missing("%s has no %s" % (self.root, key)) from None
        except OSError as error:
            kind = Forbidden if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else RemoteError
            raise kind("%s: %s" % (error.filename or self.root, error.strerror or error)) from None


class Body:
    """An object's content as a stream.

    errors: makes a context that turns what reading raises into RemoteError; most: so many bytes and no more, 0 for all.
    """

    def __init__(self, source: BinaryIO, errors: "Callable[[], ContextManager[None]]", most: int = 0) -> None:
        self._source = source
        self._errors = errors
        self._left = most or -1

    def read(self, size: int = -1) -> bytes:
        """The next bytes, b"" at the end. Raises Interrupted where the rest does not come."""
        if self._left >= 0:
            size = self._left if size < 0 else min(size, self._left)
        try:
            with self._errors():
                # to a connection that is kept, -1 says: until it closes
                data = self._source.read(size) if size >= 0 else self._source.read()
        except Unreachable as error:
            raise Interrupted(str(error)) from None
        if self._left >= 0:
            self._left -= len(data)
        return data

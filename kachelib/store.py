"""The store: blobs and entries on disk, and how they come and go.

Owns the layout below the cache directory, publication (write, rename; fsync
before it where no checksum would show what a crash cut), restoring (reflink,
hard link, copy) and claims. Knows the entry format, not what a candidate means
or when one may be used.

    store/ab/<blake3>       a blob: never changes, mode 0444 or 0555, mtime BLOB_TIME
    entries/ab/<action key> the candidates of one action; mtime is its last use
    claims/<action key>     a lock file; a lock's holder compiles, others wait
    memo/                   what may be deleted at any time
"""

import errno
import posix
import sys
import time

from blake3 import blake3

from kachelib import entry as entry_format
from kachelib.entry import Entry
from kachelib.key import digest_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

# 2020-01-01T00:00:00Z. One time for all blobs, so that no order between two
# shared inodes can mean anything to Cargo.
BLOB_TIME = 1577836800

# Linux' FICLONE; other systems fall through to links.
FICLONE = 0x40049409
CHUNK = 1 << 17

LINKED = "hardlinked"
CLONED = "reflinked"
COPIED = "copied"

# What link() says where a file cannot have another name here: another file
# system, too many links, not allowed, not known.
NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS)


class Store:
    """One store. ``root`` is the cache directory; nothing is created before it is needed."""

    __slots__ = ("_counter", "_reflink", "root", "writable")

    def __init__(self, root: str, writable: bool = True) -> None:
        self.root = root
        self.writable = writable
        self._reflink: "Optional[bool]" = None
        self._counter = 0

    def blob_path(self, digest: str) -> str:
        """Where the blob of that name lies, whether or not it is there."""
        return self.root + "/store/" + digest[:2] + "/" + digest

    def entry_path(self, action_key: str) -> str:
        """Where the entry of that action lies, whether or not it is there."""
        return self.root + "/entries/" + action_key[:2] + "/" + action_key

    def memo_dir(self) -> str:
        """The directory of memos; may not exist."""
        return self.root + "/memo"

    def read_entry(self, action_key: str) -> "Optional[Entry]":
        """The entry, or None. One that fails its checksum is dropped."""
        path = self.entry_path(action_key)
        data = read_file(path)
        if data is None:
            return None
        found = entry_format.decode(data, action_key)
        if found is None and self.writable:
            remove(path)
        return found

    def has_entry(self, action_key: str) -> bool:
        """Whether there is an entry, sound or not."""
        try:
            posix.stat(self.entry_path(action_key))
        except OSError:
            return False
        return True

    def write_entry(self, action_key: str, entry: Entry) -> None:
        """Publish ``entry``; an empty one removes the file. Raises OSError.

        Does not wait for the disk: what a crash cuts fails its checksum.
        """
        path = self.entry_path(action_key)
        if len(entry) == 0:
            remove(path)
        else:
            self._publish(path, entry.encode(action_key), 0o644)

    def touch_entry(self, action_key: str) -> None:
        """Note that the entry was used now."""
        if self.writable:
            try:
                posix.utime(self.entry_path(action_key))
            except OSError:
                pass

    def note_prefetched(self, cache_key: str) -> None:
        """Note that a candidate is brought before anybody asked for it. Raises OSError."""
        path = "%s/memo/prefetched/%s" % (self.root, cache_key)
        make_directories(path.rpartition("/")[0])
        write_file(path, b"", 0o644)

    def was_prefetched(self, cache_key: str) -> bool:
        """Whether that was noted; once, for the first use is what people want to know of."""
        try:
            posix.unlink("%s/memo/prefetched/%s" % (self.root, cache_key))
        except OSError:
            return False
        return True

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether the blob is there and has that size in bytes."""
        try:
            found = posix.stat(self.blob_path(digest))
        except OSError:
            return False
        return found.st_size == size

    def read_blob(self, digest: str) -> "Optional[bytes]":
        """The content of a small blob; None when it is not there, or not what its name says."""
        data = read_file(self.blob_path(digest))
        return data if data is not None and digest_bytes(data) == digest else None

    def put_bytes(self, data: bytes) -> str:
        """Keep ``data`` for ``read_blob``; returns its digest. Raises OSError.

        Does not wait for the disk: ``read_blob`` compares the whole content.
        """
        digest = digest_bytes(data)
        if self.read_blob(digest) is None:
            self._publish(self.blob_path(digest), data, 0o444, BLOB_TIME)
        return digest

    def put_file(self, path: str, digest: str, size: int, share: bool, executable: bool) -> bool:
        """Keep the file at ``path``, whose content is ``digest``; returns False when it was there already.

        share: the store may take the file's own inode (an .rlib: nobody writes
        to it again); its mode and time become a blob's. Raises OSError.
        """
        target = self.blob_path(digest)
        # It was compiled though it was known: look whether what is there is sound.
        if self.has_blob(digest, size) and digest_file(target) == digest:
            # Perhaps as bytes, for which nobody waited.
            sync(target)
            return False
        temporary = self.temporary(target)
        mode = 0o555 if executable else 0o444
        try:
            if not self._clone(path, temporary, mode) and not (share and _link(path, temporary)):
                copy_file(path, temporary, mode)
            sync(temporary)
            posix.chmod(temporary, mode)
            posix.utime(temporary, (BLOB_TIME, BLOB_TIME))
            posix.rename(temporary, target)
        except OSError:
            remove(temporary)
            raise
        return True

    def restore(self, digest: str, size: int, path: str, share: bool, executable: bool) -> str:
        """Put the blob at ``path``; returns LINKED, CLONED, COPIED, or "" when there is no such blob of that size.

        share: ``path`` may be the blob's own inode, whose metadata is then
        never touched. Otherwise it is a new inode stamped with the current
        time. What stood at ``path`` is unlinked, never written into.
        Raises OSError when ``path`` cannot be made.
        """
        blob = self.blob_path(digest)
        try:
            if posix.stat(blob).st_size != size:
                return ""
        except OSError:
            return ""
        mode = 0o777 if executable else 0o666
        try:
            if self._can_clone():
                remove(path)
                if self._clone(blob, path, mode):
                    return CLONED
            if share and _link(blob, path):
                return LINKED
            remove(path)
            return COPIED if copy_file(blob, path, mode) == size else ""
        except FileNotFoundError:
            # Evicted since the look above: a miss like any other.
            return ""

    def claim(self, action_key: str, patience: float, purpose: str = "") -> "Optional[int]":
        """Lock the action, waiting up to ``patience`` seconds for another holder.

        purpose: 64 hex digits; nobody waits for a holder with another one. "" waits for any.
        Returns a descriptor for ``release``, or None where no lock can be had
        or none is worth waiting for. POSIX record locks: the kernel frees them
        with their process, they hold across PID namespaces, and a spawned
        compiler does not inherit them.
        """
        path = self.root + "/claims/" + action_key
        deadline = time.monotonic() + patience
        pause = 0.002
        fd = self._open_claim(path)
        while fd is not None:
            try:
                posix.lockf(fd, posix.F_TLOCK, 0)
            except OSError as error:
                held = error.errno in (errno.EACCES, errno.EAGAIN)
                other = posix.pread(fd, 64, 0).decode("ascii", "replace")
                if not held or (purpose and other and other != purpose) or time.monotonic() > deadline:
                    posix.close(fd)
                    return None
                time.sleep(pause)
                pause = min(pause * 1.5, 0.05)
                continue
            # gc, or the holder before us, may have removed the file while we waited for its lock.
            if _same_file(fd, path):
                posix.pwrite(fd, purpose.encode(), 0)
                return fd
            posix.close(fd)
            fd = self._open_claim(path)
        return None

    def release(self, action_key: str, claim: int) -> None:
        """Give a claim back. Its file goes first: who waits on it opens a new one."""
        remove(self.root + "/claims/" + action_key)
        posix.close(claim)

    def _open_claim(self, path: str) -> "Optional[int]":
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC
        try:
            return posix.open(path, flags, 0o666)
        except FileNotFoundError:
            pass
        except OSError:
            return None
        try:
            make_directories(path.rpartition("/")[0])
            return posix.open(path, flags, 0o666)
        except OSError:
            return None

    def temporary(self, target: str) -> str:
        """A name beside ``target`` that nobody else takes; gc removes what a crash leaves there. Raises OSError."""
        directory = target.rpartition("/")[0]
        self._counter += 1
        path = "%s/.tmp-%d-%d-%d" % (directory, posix.getpid(), time.monotonic_ns(), self._counter)
        make_directories(directory)
        return path

    def scratch(self, kind: str) -> str:
        """A path for what a compile passes on by a file. Not by the process alone: another container, with numbers of
        its own, may share this store. What is left there, sweep.py knows by SCRATCH."""
        return "%s/memo/%s-%d-%s" % (self.root, kind, posix.getpid(), posix.urandom(8).hex())

    def _publish(self, path: str, data: bytes, mode: int, mtime: "Optional[int]" = None) -> None:
        temporary = self.temporary(path)
        try:
            write_file(temporary, data, mode)
            if mtime is not None:
                posix.utime(temporary, (mtime, mtime))
            posix.rename(temporary, path)
        except OSError:
            remove(temporary)
            raise

    def _can_clone(self) -> bool:
        """Whether reflinks were seen to work here, or were not tried yet. One failed stat where they do not."""
        if self._reflink is None:
            try:
                posix.stat(self.memo_dir() + "/no-reflink")
                self._reflink = False
            except OSError:
                self._reflink = sys.platform == "linux"
        return self._reflink

    def _clone(self, source: str, path: str, mode: int) -> bool:
        """Make ``path`` a reflink of ``source``; False where the file system has none."""
        if not self._can_clone():
            return False
        import fcntl

        src = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            dst = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, mode)
            try:
                fcntl.ioctl(dst, FICLONE, src)
                return True
            except OSError as error:
                remove(path)
                if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
                    self._remember_no_reflink()
                return False
            finally:
                posix.close(dst)
        finally:
            posix.close(src)

    def _remember_no_reflink(self) -> None:
        self._reflink = False
        if self.writable:
            try:
                make_directories(self.memo_dir())
                write_file(self.memo_dir() + "/no-reflink", b"", 0o644)
            except OSError:
                pass


def read_file(path: str) -> "Optional[bytes]":
    """The whole content of a regular file, or None when it cannot be read. A FIFO in its place blocks nobody."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        found = posix.fstat(fd)
        if found.st_mode & 0o170000 != 0o100000:
            return None
        size = found.st_size
        data = posix.read(fd, size + 1)
        if len(data) == size:
            return data
        # It grew, or it is one of /proc's, which have no size.
        parts = [data]
        while parts[-1]:
            parts.append(posix.read(fd, CHUNK))
        return b"".join(parts)
    except OSError:
        return None
    finally:
        posix.close(fd)


def digest_file(path: str) -> str:
    """The digest of a file's content, read in pieces. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        hasher = blake3()
        data = posix.read(fd, CHUNK)
        while data:
            hasher.update(data)
            data = posix.read(fd, CHUNK)
        return hasher.hexdigest()  # type: ignore[no-any-return,unused-ignore]
    finally:
        posix.close(fd)


def write_file(path: str, data: bytes, mode: int) -> None:
    """Write a new file; whatever stood at ``path`` is overwritten in place. Raises OSError."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, mode)
    try:
        _write_all(fd, data)
    finally:
        posix.close(fd)


def sync(path: str) -> None:
    """Wait until a file's content, or a directory's names, are on the disk. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def replace_file(path: str, data: bytes, mode: int = 0o666) -> None:
    """Put ``data`` at ``path`` as a new inode: other names of what stood there keep their content. Raises OSError."""
    remove(path)
    write_file(path, data, mode)


def copy_file(source: str, path: str, mode: int) -> int:
    """Copy to a new inode at ``path``; returns the bytes copied. Raises OSError."""
    src = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        dst = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, mode)
        try:
            total = 0
            while True:
                data = posix.read(src, CHUNK)
                if not data:
                    return total
                _write_all(dst, data)
                total += len(data)
        finally:
            posix.close(dst)
    finally:
        posix.close(src)


def make_directories(path: str) -> None:
    """Create ``path`` and what is missing above it. Raises OSError."""
    try:
        posix.mkdir(path)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_directories(path.rpartition("/")[0])
        try:
            posix.mkdir(path)
        except FileExistsError:
            pass


def _write_all(fd: int, data: bytes) -> None:
    written = posix.write(fd, data)
    while written < len(data):
        written += posix.write(fd, memoryview(data)[written:])


def _link(source: str, path: str) -> bool:
    """Give ``source`` another name; False where no link can be had here. Raises OSError for anything else."""
    for _ in range(2):
        try:
            posix.link(source, path)
            return True
        except FileExistsError:
            remove(path)
        except OSError as error:
            if error.errno in NO_LINK:
                return False
            raise
    return False


def remove(path: str) -> None:
    """Unlink ``path`` if that is possible."""
    try:
        posix.unlink(path)
    except OSError:
        pass


def _same_file(fd: int, path: str) -> bool:
    try:
        there = posix.stat(path)
    except OSError:
        return False
    here = posix.fstat(fd)
    return here.st_ino == there.st_ino and here.st_dev == there.st_dev


def entry_files(root: str) -> "List[Tuple[str, str]]":
    """(action key, path) of every entry below the cache directory ``root``, in no order."""
    found = []
    for shard in names_in(root + "/entries"):
        directory = root + "/entries/" + shard
        found += [(name, directory + "/" + name) for name in names_in(directory) if not name.startswith(".")]
    return found


def names_in(directory: str) -> "List[str]":
    """The names in a directory, in no order; none where it cannot be read."""
    try:
        return posix.listdir(directory)
    except OSError:
        return []

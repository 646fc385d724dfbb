"""Memos: what was found out about files, kept until the files change.

Owns the memo's bytes, the identity of a file and the rule for files that were
written too recently. A memo may be deleted at any time, and one that is
damaged is none. Knows nothing of what a memo is about.

Grammar (version 1):

    file     = "kache-memo 1" LF checksum LF body
    checksum = blake3 of body, 64 hex digits

A file's identity is its size, mtime, ctime and inode. It lies where a file was
changed again within the clock tick in which it was read ("racy git"), so no
memo is kept of a file that changed less than RACY_NS before.
"""

import posix
import sys
import time

from kachelib.key import digest_bytes
from kachelib.store import BLOB_TIME, Store, digest_file, make_directories, read_file, remove, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Sequence

MAGIC = b"kache-memo 1\n"
HEADER = len(MAGIC) + 65

BLOB_TIME_NS = BLOB_TIME * 1_000_000_000

RACY_NS = 50_000_000
# Where the file system keeps whole seconds, a tick is that long.
RACY_WHOLE_SECONDS_NS = 2_000_000_000

# Linux stamps files with this clock: a tick may be 10 ms behind the precise one.
CLOCK_REALTIME_COARSE = 5

# Below this, reading and hashing a file costs no more than looking up a memo.
SMALL = 16 * 1024


def read(path: str) -> "Optional[bytes]":
    """A memo's body; None when there is none, or it is damaged."""
    data = read_file(path)
    if data is None or not data.startswith(MAGIC):
        return None
    body = data[HEADER:]
    if data[len(MAGIC) : HEADER] != digest_bytes(body).encode() + b"\n":
        return None
    return body


def write(path: str, body: bytes) -> None:
    """Keep a memo; where that is not possible there is none."""
    data = MAGIC + digest_bytes(body).encode() + b"\n" + body
    temporary = "%s.%d" % (path, posix.getpid())
    for _ in range(2):
        try:
            write_file(temporary, data, 0o644)
            posix.rename(temporary, path)
            return
        except FileNotFoundError:
            try:
                make_directories(path.rpartition("/")[0])
            except OSError:
                return
        except OSError:
            remove(temporary)
            return


def path_of(memo_dir: str, kind: str, subject: str) -> str:
    """Where the memo of that kind about ``subject`` (any text) lies."""
    name = digest_bytes(subject.encode("utf-8", "surrogateescape"))
    return memo_dir + "/" + kind + "/" + name[:2] + "/" + name[2:34]


def file_clock() -> int:
    """The time in nanoseconds that a file written now would get, or a little less."""
    if sys.platform == "linux":
        return time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
    return time.time_ns()


def identity(found: posix.stat_result) -> bytes:
    """What tells one state of a file from the next, as far as its metadata can."""
    return b"%d %d %d %d" % (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def is_racy(found: "Sequence[posix.stat_result]", now_ns: int) -> bool:
    """Whether any of the files changed so shortly before ``now_ns`` that its identity may lie."""
    if not found:
        return False
    newest = max(max(s.st_mtime_ns, s.st_ctime_ns) for s in found)
    margin = RACY_WHOLE_SECONDS_NS if newest % 1_000_000_000 == 0 else RACY_NS
    # A time ahead of the clock says nothing about what is to come.
    return newest > now_ns - margin


def file_digest(path: str, store: Store) -> str:
    """The digest of a file's content, from a memo where one holds. Raises OSError.

    path: absolute. A file that is a blob's own inode has the blob's content,
    whatever its ctime says: each new link moves that.
    """
    found = posix.stat(path)
    if found.st_mode & 0o170000 != 0o100000:
        # A device may have no end, a FIFO nobody who writes: what names one as an input came from elsewhere.
        raise OSError("%s is no regular file" % path)
    if found.st_size <= SMALL:
        return digest_file(path)
    memo_path = path_of(store.memo_dir(), "digest", path)
    body = read(memo_path)
    if body is not None:
        known, _, digest = body.decode().partition("\n")
        if known.encode() == identity(found) or is_blob(found, digest, store):
            return digest
    now = time.time_ns()
    digest = digest_file(path)
    if is_blob(found, digest, store) or not is_racy((found,), now):
        write(memo_path, identity(found) + b"\n" + digest.encode())
    return digest


def is_blob(found: posix.stat_result, digest: str, store: Store) -> bool:
    """Whether a file with the metadata ``found`` is the inode of that blob."""
    if found.st_nlink < 2 or found.st_mtime_ns != BLOB_TIME_NS:
        return False
    try:
        blob = posix.stat(store.blob_path(digest))
    except OSError:
        return False
    return blob.st_ino == found.st_ino and blob.st_dev == found.st_dev

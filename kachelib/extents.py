"""Extents: which of a file's blocks another file has as well, where the file system can say it.

Owns the FIEMAP call of Linux and which file systems share blocks between files. Knows nothing of the store or of
target directories.

    struct fiemap        u64 start  u64 length  u32 flags  u32 mapped  u32 count  u32 reserved    (linux/fiemap.h)
    struct fiemap_extent u64 logical  u64 physical  u64 length  u64 reserved[2]  u32 flags  u32 reserved[3]
"""

import fcntl
import os
import struct
import sys
from typing import List, NamedTuple

# File systems where FICLONE works and FIEMAP says what is shared.
SHARING = frozenset({"btrfs", "xfs", "bcachefs", "ocfs2"})

# A smaller file is not asked about: that costs more than it tells.
LEAST = 16 * 1024

_FS_IOC_FIEMAP = 0xC020660B
_HEAD = struct.Struct("=QQLLLL")
_EXTENT = struct.Struct("=QQQQQLLLL")
_AT_ONCE = 64

_LAST = 0x0001
_SHARED = 0x2000


class Extent(NamedTuple):
    """Blocks that more than one file has. physical: where they lie, in bytes; length: in bytes."""

    physical: int
    length: int


def shared(fd: int) -> List[Extent]:
    """The extents of an open file that other files have as well; none where the file system does not say."""
    if sys.platform != "linux":
        return []
    found: List[Extent] = []
    start = 0
    buffer = bytearray(_HEAD.size + _AT_ONCE * _EXTENT.size)
    while True:
        _HEAD.pack_into(buffer, 0, start, (1 << 64) - 1 - start, 0, 0, _AT_ONCE, 0)
        try:
            fcntl.ioctl(fd, _FS_IOC_FIEMAP, buffer)
        except OSError:
            return found
        mapped = _HEAD.unpack_from(buffer, 0)[3]
        flags = _LAST
        for index in range(mapped):
            logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(buffer, _HEAD.size + index * _EXTENT.size)
            if flags & _SHARED:
                found.append(Extent(physical, length))
            start = logical + length
        if flags & _LAST:
            return found


def shared_at(directory: int, name: str) -> List[Extent]:
    """The same of the file ``name`` in an open directory; none where it cannot be read."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return []
    try:
        return shared(fd)
    finally:
        os.close(fd)

"""The follower: the event log as it grows, read once and cheaply.

Owns where in events.jsonl, and in the file that was rotated away, reading goes on. What a line means is history.py's.
The file before the current one is held open, so that a rotation loses nothing, nor what a slow writer still adds to the
old one. Where nothing happens, a look costs a few stats.

However large the log is, no more than MOST_BYTES of its end are read. The beginning of a span is found by bisecting,
for lines stand in the order in which they ended, but for milliseconds.
"""

import os
import stat
from typing import List, Optional, Sequence, Tuple

from kachelib import events, history
from kachelib.history import Event, History

# The file and the one that was rotated away, with some room: a file is rotated when it has become too large.
MOST_BYTES = 2 * events.ROTATE_BYTES + (1 << 20)

# What one call of read() takes. No line of ours is longer.
SLICE = 1 << 18

# What a line takes, about.
LINE = 512

# A probe of the bisection reads so much, and that near it ends.
NEAR = 1 << 16

# Of files that were rotated away while nobody looked.
MOST_FILES = 4


class Follower:
    """The event log of one cache directory from ``since`` (seconds since the epoch) on.

    broken: lines that were passed over. at_end: whether the last read() found nothing more. trouble: why the log cannot
    be read, "" where it can.
    """

    def __init__(self, cache_dir: str, since: float = 0.0, most: int = MOST_BYTES) -> None:
        self._path = cache_dir + "/" + events.FILE_NAME
        self._old_path = cache_dir + "/" + events.OLD_NAME
        self._since = since
        self.broken = 0
        self.at_end = False
        self.trouble = ""
        # oldest first; the last is the one that has the name, or had it at the last look
        self._files: List[_File] = []
        # The current one first: after a rotation in between it is opened twice, and the next look finds the new one.
        for path in (self._path, self._old_path):
            file = self._open(path)
            if file is not None and self._is_new(file):
                size = file.size()
                file.seek(since, max(0, size - most))
                most -= size - file.offset
                self._files.insert(0, file)

    def left(self) -> int:
        """Bytes that are still to be read."""
        return sum(max(0, file.size() - file.offset) for file in self._files)

    def newest(self, count: int) -> List[Event]:
        """About the last ``count`` events, without moving on: a first picture while the rest is read."""
        found: List[Event] = []
        for file in reversed(self._files):
            wanted = (count - len(found)) * LINE
            if wanted > 0:
                start = max(0, file.size() - wanted)
                lines = file.peek(start, wanted).split(b"\n")
                found = self._events(lines[1:] if start else lines).events + found
        return found[-count:]

    def read(self) -> List[Event]:
        """What came next, oldest first: a slice at most."""
        self._look()
        for file in self._files:
            lines = file.lines()
            if lines:
                found = self._events(lines)
                self.broken += found.broken
                self.at_end = False
                return found.events
        while len(self._files) > 2:
            self._files.pop(0).close()
        self.at_end = True
        return []

    def close(self) -> None:
        """Give the files back."""
        while self._files:
            self._files.pop().close()

    def _events(self, lines: Sequence[bytes]) -> History:
        found = [history.event_of(line) for line in lines if line.strip()]
        parsed = [event for event in found if event is not None]
        return History([event for event in parsed if event["end_time"] >= self._since], len(found) - len(parsed))

    def _look(self) -> None:
        """Notice a rotation, or a log that has just begun."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            self.trouble = "" if isinstance(error, FileNotFoundError) else f"{error.strerror}: {self._path}"
            return
        if self._files and (found.st_dev, found.st_ino) == self._files[-1].identity:
            return
        current = self._open(self._path)
        if current is None:
            return
        # Where it was rotated more than once since the last look, the old one was never seen either.
        old = self._open(self._old_path)
        for file in (old, current):
            if file is not None and self._is_new(file):
                self._files.append(file)
        while len(self._files) > MOST_FILES:
            self._files.pop(0).close()

    def _is_new(self, file: "_File") -> bool:
        """Whether it is another file than those that are open; else it is closed."""
        if all(file.identity != known.identity for known in self._files):
            return True
        file.close()
        return False

    def _open(self, path: str) -> "Optional[_File]":
        try:
            # what is no file must not make the open wait
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.trouble = f"{error.strerror}: {path}"
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            self.trouble = f"it is no file: {path}"
            return None
        self.trouble = ""
        return _File(fd)


class _File:
    """An open log. identity: device and inode, which no other file can have meanwhile. offset: of what comes next."""

    def __init__(self, fd: int) -> None:
        status = os.fstat(fd)
        self._fd = fd
        self.identity: Tuple[int, int] = (status.st_dev, status.st_ino)
        self.offset = 0

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)

    def peek(self, offset: int, size: int) -> bytes:
        """So many bytes at a place; fewer at the end, none where the disk fails."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError:
            return b""

    def lines(self) -> List[bytes]:
        """The whole lines that come next, of a slice at most."""
        size = self.size()
        if size < self.offset:
            # emptied in place
            self.offset = 0
        if size == self.offset:
            return []
        data = self.peek(self.offset, SLICE)
        end = data.rfind(b"\n") + 1
        if len(data) == SLICE:
            # What is longer than a slice is no line of ours, and is passed over piece by piece.
            end = end or SLICE
        self.offset += end
        return data[:end].split(b"\n") if end else []

    def seek(self, since: float, floor: int) -> None:
        """Go to the first line at or behind ``floor`` that may have ended at ``since`` or later."""
        low, high = floor, self.size()
        while since and high - low > NEAR:
            middle = (low + high) // 2
            ended = self._ended(middle)
            # Where nothing can be read, rather too much than too little.
            if ended is not None and ended < since:
                low = middle
            else:
                high = middle
        # Whatever stands before the first newline is the rest of a line.
        self.offset = low + max(0, self.peek(low - 1, NEAR).find(b"\n")) if low else 0

    def _ended(self, offset: int) -> Optional[float]:
        """When the first event behind ``offset`` ended; None where there is none near."""
        for line in self.peek(offset, NEAR).split(b"\n")[1:]:
            event = history.event_of(line)
            if event is not None:
                return float(event["end_time"])
        return None

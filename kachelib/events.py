"""Events: one line of JSON for every invocation, appended with one write.

Owns the event's fields, their order and the rotation of events.jsonl. Readers
(report, stats, why-miss, monitor) import the field names from here. May not
know how an outcome came about.

Grammar (schema_version 1): a line is one JSON object with the fields of
Event.__slots__ that are set; times are seconds since the epoch with
microseconds, durations are milliseconds. A line that does not parse was cut
by a crash: readers skip it, and an empty one as well.
"""

import posix
import time

from kachelib.outcome import HITS
from kachelib.store import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple, Union

SCHEMA_VERSION = 1
FILE_NAME = "events.jsonl"
OLD_NAME = "events.jsonl.1"

# One rotated file is kept, so that reports always reach back a few ten
# thousand invocations.
ROTATE_BYTES = 16 * 1024 * 1024


class Event:
    """What is known of one invocation. Unset fields are left out of the line.

    crate_name; crate_types (comma-separated); root: the workspace's or
    package's directory; result: one of outcome.RESULTS; reason: a name of
    outcome.REFUSALS, or why there was no hit, in words; cache_key,
    action_key: 64 hex digits; compile_time_ms: the compiler's time, now or
    (on a hit) when the entry was made; size, reflinked_bytes,
    hardlinked_bytes, copied_bytes: bytes; compiler_runs, preprocessor_runs, probe_runs: counts
    of processes that kache started.
    """

    __slots__ = (
        "action_key",
        "cache_key",
        "compile_time_ms",
        "compiler_runs",
        "copied_bytes",
        "crate_name",
        "crate_types",
        "elapsed_ms",
        "end_time",
        "hardlinked_bytes",
        "overhead_ms",
        "preprocessor_runs",
        "probe_runs",
        "reason",
        "reflinked_bytes",
        "result",
        "root",
        "route",
        "size",
        "start_time",
    )

    # In the order of the line; an event of another kind adds its own.
    FIELDS: "Tuple[str, ...]" = __slots__

    def __init__(self) -> None:
        self.start_time = time.time()
        self.end_time = 0.0
        self.crate_name = ""
        self.crate_types = ""
        self.root = ""
        self.result = ""
        self.reason = ""
        self.route = ""
        self.cache_key = ""
        self.action_key = ""
        self.elapsed_ms = 0.0
        self.compile_time_ms = 0
        self.overhead_ms = 0.0
        self.size = 0
        self.compiler_runs = 0
        self.preprocessor_runs = 0
        self.probe_runs = 0
        self.reflinked_bytes = 0
        self.hardlinked_bytes = 0
        self.copied_bytes = 0

    def finish(self) -> None:
        """Take the end time. What was not the compiler's is kache's overhead."""
        self.end_time = time.time()
        self.elapsed_ms = max(0.0, (self.end_time - self.start_time) * 1000)
        compiler = 0 if self.result in HITS else self.compile_time_ms
        self.overhead_ms = max(0.0, self.elapsed_ms - compiler)

    def line(self) -> bytes:
        """The event's line, with its newline."""
        parts = ['{"schema_version":%d' % SCHEMA_VERSION]
        for name in self.FIELDS:
            value: "Union[str, int, float]" = getattr(self, name)
            if value == "":
                continue
            if isinstance(value, str):
                text = json_string(value)
            elif isinstance(value, float):
                text = "%.6f" % value if name.endswith("_time") else "%.3f" % value
            else:
                text = "%d" % value
            parts.append('"%s":%s' % (name, text))
        return (",".join(parts) + "}\n").encode("ascii")


def append(cache_dir: str, event: Event) -> None:
    """Append ``event``; a store that cannot be written loses the line, not the build."""
    path = cache_dir + "/" + FILE_NAME
    flags = posix.O_RDWR | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC
    try:
        try:
            fd = posix.open(path, flags, 0o644)
        except FileNotFoundError:
            make_directories(cache_dir)
            fd = posix.open(path, flags, 0o644)
    except OSError:
        return
    try:
        line = event.line()
        size = posix.fstat(fd).st_size
        # A full disk may have cut the line before: it must not swallow this one. One that somebody is writing right
        # now looks the same for a moment; a line too many then says nothing, and readers pass over it.
        cut = _is_cut(fd, size) and _is_cut(fd, posix.fstat(fd).st_size)
        posix.write(fd, b"\n" + line if cut else line)
        # Only the file that is still there under its name: another call may have put it aside.
        if size > ROTATE_BYTES and posix.stat(path).st_ino == posix.fstat(fd).st_ino:
            posix.rename(path, cache_dir + "/" + OLD_NAME)
    except OSError:
        pass
    finally:
        posix.close(fd)


def _is_cut(fd: int, size: int) -> bool:
    return size > 0 and posix.pread(fd, 1, size - 1) != b"\n"


def json_string(text: str) -> str:
    """``text`` as a JSON string in ASCII; a byte that was not UTF-8 becomes its lone surrogate's escape."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return '"' + text + '"'
    out = []
    for char in text:
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif 32 <= code < 127:
            out.append(char)
        elif code < 0x10000:
            out.append("\\u%04x" % code)
        else:
            code -= 0x10000
            out.append("\\u%04x\\u%04x" % (0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF)))
    return '"' + "".join(out) + '"'

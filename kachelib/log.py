"""Logging: what is said, to whom, and how much of it.

Owns the filter syntax (tracing's), the way to Cargo's own standard error, the
file log and progress lines. Knows nothing of what is said. Failing to say
something is silent, and what is not wanted opens nothing.

The wrapper's own standard error belongs to the compiler: Cargo keeps what it
reads there and replays it for ever. So the wrapper speaks on Cargo's.
"""

import posix
import sys
import time

from kachelib.key import digest_bytes
from kachelib.store import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from kachelib.settings import Settings

OFF, ERROR, WARN, INFO, DEBUG, TRACE = range(6)
NAMES = ("off", "error", "warn", "info", "debug", "trace")

TARGET = "kache"

# Below the cache directory.
DAEMON_LOG = "/daemon.log"

# A file log is put aside when it has become larger than this.
LIMIT = 5_000_000

# Bytes that are written at once of what a compiler said.
_CHUNK = 1 << 17

# What a pipe takes in one piece (PIPE_BUF), so that lines of several processes do not mix.
_LONGEST_LINE = 4096

_FILE_TYPE = 0o170000
_TERMINAL = 0o020000
_REGULAR = 0o100000


class Filter:
    """A parsed filter: which level each target may speak at.

    Directives, separated by commas, are ``level``, ``target`` (everything) or
    ``target=level``; the longest target that fits decides, as in tracing. The
    targets of other programs and what is no directive are passed over; where
    nothing is left, ``default`` holds.
    """

    __slots__ = ("_levels",)

    def __init__(self, text: str, default: str) -> None:
        self._levels = _directives(text) or _directives(default)

    def level(self, target: str) -> int:
        """The most talkative level that ``target`` ("kache", "kache::store") may use; OFF for none."""
        best = ""
        found = self._levels.get("", OFF)
        for name, level in self._levels.items():
            if len(name) > len(best) and (target == name or target.startswith(name + "::")):
                best, found = name, level
        return found


def _directives(text: str) -> "dict[str, int]":
    levels = {}
    # A span, "target[span{field=1}]", narrows what kache does not have.
    head, *rest = text.split("[")
    plain = head + "".join(part.partition("]")[2] for part in rest)
    for part in plain.split(","):
        if not part.strip():
            continue
        target, equals, level = part.partition("=")
        target = target.strip()
        level = level.strip().lower()
        if not equals and _level(target.lower()) is not None:
            target, level = "", target.lower()
        elif not equals:
            level = "trace"
        number = _level(level)
        if number is not None and (not target or target.split("::")[0] == TARGET):
            levels[target] = number
    return levels


def _level(word: str) -> "Optional[int]":
    if word in NAMES:
        return NAMES.index(word)
    if word == "warning":
        return WARN
    return int(word) if len(word) == 1 and word in "012345" else None


class Log:
    """Says things at a level: on standard error (a command) or on Cargo's (the wrapper), and in the file log.

    ``target`` names the part that speaks: "kache", or below it "kache::store".
    """

    __slots__ = ("_file", "_path", "_stderr", "_write")

    def __init__(self, settings: "Settings", write: "Callable[[bytes], None]") -> None:
        self._stderr = Filter(settings.log, "kache=warn")
        self._file = Filter(settings.log_file, "kache=info") if settings.log_path else Filter("off", "off")
        self._path = settings.log_path
        self._write = write

    def wants(self, level: int, target: str = TARGET) -> bool:
        """Whether anybody listens; for what is dear to put into words."""
        return level <= self._stderr.level(target) or level <= self._file.level(target)

    def error(self, text: str, target: str = TARGET) -> None:
        self.say(ERROR, text, target)

    def warn(self, text: str, target: str = TARGET) -> None:
        self.say(WARN, text, target)

    def info(self, text: str, target: str = TARGET) -> None:
        self.say(INFO, text, target)

    def debug(self, text: str, target: str = TARGET) -> None:
        self.say(DEBUG, text, target)

    def trace(self, text: str, target: str = TARGET) -> None:
        self.say(TRACE, text, target)

    def say(self, level: int, text: str, target: str = TARGET) -> None:
        """One line at ``level``. Line breaks and control characters in ``text`` are escaped."""
        if level <= self._stderr.level(target):
            self._write(_line(f"{target}: {NAMES[level]}: {text}"))
        if level <= self._file.level(target):
            stamp = f"{_now()} {NAMES[level].upper():>5} [{posix.getpid()}]"
            append(self._path, _line(f"{stamp} {target}: {text}"))

    def warn_once(self, text: str, memo_dir: str, target: str = TARGET) -> None:
        """The same as ``warn``, but once for each run of Cargo: every compile would say it."""
        if self.wants(WARN, target) and _first_time(text, memo_dir):
            self.say(WARN, text, target)


def for_command(settings: "Settings") -> Log:
    """The log of a command."""
    return Log(settings, _to_own_stderr)


def for_wrapper(settings: "Settings") -> Log:
    """The log of a compile; nothing of it reaches the wrapper's own standard error."""
    return Log(settings, _to_cargo)


def for_any_caller(settings: "Settings") -> Log:
    """The log of a compile that anything may have started. A configure script takes a word on our standard error for a
    warning of the compiler's, so that only who sets KACHE_LOG gets any there."""
    return Log(settings, _to_own_stderr if "log" in settings.origins else _to_cargo)


def for_daemon(settings: "Settings", foreground: bool) -> Log:
    """The log of the uploader: a file of its own in the cache directory, and standard error in the foreground."""
    found = Log(settings, _to_own_stderr)
    found._path = settings.cache_dir + DAEMON_LOG
    found._file = Filter(settings.log_file, "kache=info")
    if not foreground:
        found._stderr = Filter("off", "off")
    return found


def progress(settings: "Settings", text: str) -> None:
    """One progress line on Cargo's own standard error, as KACHE_PROGRESS wants it.

    auto: where that is not a terminal, on which Cargo draws its own progress.
    """
    if settings.progress == "always":
        _to_cargo(_line(text))
    elif settings.progress == "auto":
        _to_cargo(_line(text), terminal=False)


def _to_own_stderr(line: bytes) -> None:
    try:
        posix.write(2, line)
    except OSError:
        pass


def _to_cargo(line: bytes, terminal: bool = True) -> None:
    fd = cargo_stderr(terminal)
    if fd < 0:
        return
    try:
        posix.write(fd, line)
    except OSError:
        pass  # its reader is slow or gone
    finally:
        posix.close(fd)


def cargo_stderr(terminal: bool = True) -> int:
    """A descriptor of Cargo's own standard error, to be closed; -1 where there is no way to it.

    There is none but on Linux; where the parent is not Cargo, or its standard
    error is ours; and where that is a file that Cargo does not append to: it
    would write over our lines. terminal: whether a terminal will do. Never
    blocks: a line is lost rather than a build held up.
    """
    if sys.platform != "linux":
        return -1
    parent = posix.getppid()
    path = f"/proc/{parent}/fd/2"
    try:
        theirs = posix.stat(path)
        kind = theirs.st_mode & _FILE_TYPE
        if kind == _TERMINAL and not terminal:
            return -1
        # On a terminal nobody stands between: it may be ours as well.
        if kind != _TERMINAL and _is_own_stderr(theirs):
            return -1
        if not _read(f"/proc/{parent}/comm").startswith(b"cargo"):
            return -1
        if kind == _REGULAR and not _appends(parent):
            return -1
        # A description of its own, so that what is set here is not set for Cargo.
        flags = posix.O_WRONLY | posix.O_APPEND | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
        return posix.open(path, flags)
    except OSError:
        return -1


def _is_own_stderr(theirs: posix.stat_result) -> bool:
    try:
        ours = posix.fstat(2)
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def _appends(process: int) -> bool:
    """Whether a process writes its standard error with O_APPEND (proc(5), fdinfo: flags are octal)."""
    for line in _read(f"/proc/{process}/fdinfo/2").splitlines():
        if line.startswith(b"flags:"):
            return bool(int(line[6:], 8) & posix.O_APPEND)
    return False


def _first_time(text: str, memo_dir: str) -> bool:
    """Whether this run of Cargo has not heard ``text`` yet; where that cannot be kept, it has not."""
    if not memo_dir:
        return True
    parent = posix.getppid()
    try:
        # After the name, which may hold spaces, the start time is the 20th field (proc(5), stat).
        started = _read(f"/proc/{parent}/stat").rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        started = b""
    # Process numbers begin anew in each container; the start time does not.
    run = b"%d %b " % (parent, started)
    directory = memo_dir + "/said"
    try:
        make_directories(directory)
        name = digest_bytes(run + text.encode("utf-8", "surrogateescape"))[:32]
        posix.close(posix.open(f"{directory}/{name}", posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, 0o600))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def append(path: str, line: bytes) -> None:
    """Append one line to the file log and put the log aside when it is full. Never raises."""
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_NONBLOCK | posix.O_CLOEXEC
    try:
        try:
            fd = posix.open(path, flags, 0o600)
        except FileNotFoundError:
            make_directories(path.rpartition("/")[0])
            fd = posix.open(path, flags, 0o600)
        try:
            posix.write(fd, line)
            if posix.fstat(fd).st_size > LIMIT:
                _put_aside(fd, path)
        finally:
            posix.close(fd)
    except OSError:
        pass


def _put_aside(fd: int, path: str) -> None:
    """Rename a full log to ``.1``. Others who have it open go on writing there, and nothing is lost."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # another process is at it
    # It may have been at it before: then the log of that name is new, and not full.
    named = posix.stat(path)
    if (named.st_dev, named.st_ino) == (posix.fstat(fd).st_dev, posix.fstat(fd).st_ino):
        posix.rename(path, path + ".1")


def _line(text: str) -> bytes:
    if not text.isprintable():
        text = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    line = text.encode("utf-8", "backslashreplace")
    if len(line) >= _LONGEST_LINE:
        # Cut between characters.
        line = line[: _LONGEST_LINE - 4].decode("utf-8", "ignore").encode() + b"..."
    return line + b"\n"


def _now() -> str:
    nanoseconds = time.time_ns()
    moment = time.gmtime(nanoseconds // 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + f".{nanoseconds // 1_000_000 % 1000:03d}Z"


def _read(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 8192)
    finally:
        posix.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``; what nobody can read any more is dropped."""
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(fd, view[:_CHUNK]) :]
        except BlockingIOError:
            # Somebody made the pipe non-blocking, and its reader is slow.
            time.sleep(0.001)
        except OSError:
            return

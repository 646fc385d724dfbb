"""Demand: what a compile asks of the uploader, and how it finds one.

Owns the socket's address and language, and the start. Whatever is wrong with the uploader, the answer is "nothing
there", in time. Imports nothing heavy: a compile that missed waits for it.

Several requests on one connection, each answered before the next. An argument holds neither NUL nor LF:

    request = verb { NUL argument } LF
    answer  = word { NUL argument } LF { bytes }

    "ask" remote build file crate_name action_key { directory }
                                                           ->  "rows" { length } LF { record }   what is known
                                                           |   "none"    nothing, nor would a look find anything
    "search" crate_name action_key                         ->  "rows" as above, after a look into the remote
    "fetch" crate_name cache_key                           ->  "there" | "none"
    "work" remote build file { directory }                 ->  "ok"      something lies in the queue, or a build begins
    "status"                                               ->  "status" { name "=" value }
    "stop"                                                 ->  "ok"      and it ends
    "ask", "work"                                          ->  "bye"     it makes room for one with these settings, or
                                                                         of this newer build

remote is a digest of what the settings say of the remote. A record is an entry's file with one candidate (entry.py). A
directory lies at or below the workspace that is built.
"""

import _socket
import posix
import time

from kachelib import bundle, config, push_queue
from kachelib import entry as entry_format
from kachelib.key import digest_bytes
from kachelib.roots import exists
from kachelib.settings import SETTINGS
from kachelib.store import make_directories, remove, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, List, Optional, Sequence, Tuple

    from kachelib.entry import Candidate
    from kachelib.settings import Settings

SOCKET = "/daemon.sock"
LOCK = "/daemon.lock"
STARTED = "/memo/uploader-started"
NO_USE = "/memo/uploader-no-use"

# seconds
PATIENCE = 3.0  # that a compile has in all
TELLING = 0.5  # until the uploader has heard that there is work
START_PAUSE = 2.0  # before another is started where one should be coming up
NO_USE_PAUSE = 60.0  # that one which never came up is left alone

# What reaches boto3 past the settings.
OUTSIDE = ("AWS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

# Of a socket's address, with its end (unix(7): 108, and 104 elsewhere).
LONGEST_ADDRESS = 100

MODULES = ("uploader", "s3", "reclaim", "sweep", "index", "unit_gc", "config_file")

# What an uploader says that makes room for another.
LEAVES = "bye"


class NoAnswer(Exception):
    """The uploader is not there, does not answer in time, or makes no sense."""


class Address:
    """The socket's address: its path, or by way of a descriptor where that is too long. Raises OSError."""

    def __init__(self, cache_dir: str) -> None:
        self._fd = -1
        self.path = cache_dir + SOCKET
        if len(self.path.encode("utf-8", "surrogateescape")) > LONGEST_ADDRESS:
            self._fd = posix.open(cache_dir, posix.O_RDONLY | posix.O_CLOEXEC)
            self.path = "/proc/self/fd/%d%s" % (self._fd, SOCKET)

    def __enter__(self) -> str:
        return self.path

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            posix.close(self._fd)


class Line:
    """A connection to the uploader. deadline: of the monotonic clock; methods raise NoAnswer."""

    def __init__(self, cache_dir: str, deadline: float) -> None:
        self._deadline = deadline
        self._data = b""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._allow()
            with Address(cache_dir) as path:
                self._socket.connect(path)
        except OSError as error:
            self.close()
            raise NoAnswer(error.strerror or str(error)) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _allow(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NoAnswer("it takes too long")
        self._socket.settimeout(left)

    def say(self, *words: str) -> None:
        """Send a request."""
        line = "\0".join(words).replace("\n", " ") + "\n"
        try:
            self._allow()
            self._socket.sendall(line.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise NoAnswer(error.strerror or str(error)) from None

    def ask(self, *words: str) -> "List[str]":
        """Send a request; returns the words of the answer."""
        self.say(*words)
        try:
            while b"\n" not in self._data:
                self._receive()
        except OSError as error:
            raise NoAnswer(error.strerror or str(error)) from None
        answer, _, self._data = self._data.partition(b"\n")
        return answer.decode("utf-8", "surrogateescape").split("\0")

    def read(self, size: int) -> bytes:
        """So many bytes of the answer."""
        try:
            while len(self._data) < size:
                self._receive()
        except OSError as error:
            raise NoAnswer(error.strerror or str(error)) from None
        data, self._data = self._data[:size], self._data[size:]
        return data

    def _receive(self) -> None:
        self._allow()
        data = self._socket.recv(1 << 16)
        if not data:
            raise NoAnswer("it went away")
        self._data += data


def line(settings: "Settings", deadline: float) -> "Optional[Line]":
    """A connection, to an uploader that is started where none is there; None where that does not come about."""
    began = time.monotonic()
    if _is_recent(settings.cache_dir + NO_USE, NO_USE_PAUSE):
        return None
    while True:
        try:
            return Line(settings.cache_dir, deadline)
        except NoAnswer:
            pass
        if time.monotonic() >= min(deadline, began + PATIENCE):
            _mark(settings.cache_dir + NO_USE)
            return None
        if not _is_recent(settings.cache_dir + STARTED, START_PAUSE) and not _start_if_possible(settings):
            return None
        time.sleep(0.01)


def _start_if_possible(settings: "Settings") -> bool:
    try:
        start(settings)
    except OSError:
        return False
    return True


def start(settings: "Settings") -> None:
    """Start an uploader; where there is one already, the new one sees that and ends. Raises OSError."""
    from kachelib import background

    make_directories(settings.cache_dir + "/memo")
    _mark(settings.cache_dir + STARTED)
    remove(settings.cache_dir + NO_USE)

    def work() -> None:
        from kachelib import uploader

        uploader.serve(settings)

    background.start(work, MODULES, niceness=2)


def bring(
    settings: "Settings",
    crate_name: str,
    action_key: str,
    directories: "Sequence[str]",
    suits: "Callable[[Candidate], bool]",
) -> str:
    """The cache key of an entry that suits and that the remote had: it is in the store now. "" where there is none, or
    not in time. directories: at or below the workspace that is built."""
    connection = line(settings, time.monotonic() + PATIENCE)
    if connection is None:
        return ""
    try:
        for candidate in candidates(connection, identity(settings), crate_name, action_key, directories):
            if suits(candidate) and fetch(connection, candidate):
                return candidate.cache_key
    except NoAnswer as why:
        if str(why) == LEAVES:
            # one for these settings comes up while the compiler runs
            _start_if_possible(settings)
    finally:
        connection.close()
    return ""


def leave_plan(settings: "Settings", selection: str, lock: str, directory: str) -> None:
    """Leave a plan to be published with all it names. Raises OSError."""
    push_queue.add(settings, push_queue.PLAN, selection, lock)
    tell(settings, (directory,))


def leave(settings: "Settings", action_key: str, cache_key: str) -> None:
    """Leave an entry of the store to be pushed. Raises OSError."""
    push_queue.add(settings, push_queue.ENTRY, action_key, cache_key)
    tell(settings, ())


def identity(settings: "Settings") -> "Tuple[str, str, str]":
    """What a caller says of itself: a digest of what it knows of the remote, with the secrets; its build; its file."""
    parts = [str(getattr(settings, row.name)) for row in SETTINGS if row.name.startswith(("remote_", "s3_"))]
    environ = config.environment()
    parts += ["%s=%s" % (name, environ[name]) for name in sorted(environ) if name.startswith(OUTSIDE)]
    return digest_bytes("\0".join(parts).encode("utf-8", "surrogateescape")), bundle.build(), bundle.location()


def forget_failures(cache_dir: str) -> None:
    """Somebody wants an uploader by all means: one that did not come up is tried again."""
    remove(cache_dir + NO_USE)


def candidates(
    line: Line, who: "Sequence[str]", crate_name: str, action_key: str, directories: "Sequence[str]"
) -> "Iterator[Candidate]":
    """The candidates that the remote has of an action, those first that are named without a look there. Raises
    NoAnswer."""
    seen = set()
    searched = False
    words = line.ask("ask", *who, crate_name, action_key, *directories)
    while words[0] != "none":
        found: "List[Candidate]" = []
        for data in _records(line, words):
            entry = entry_format.decode(data, action_key)
            found.extend(entry.candidates() if entry is not None else ())
        for candidate in found:
            if candidate.cache_key not in seen:
                seen.add(candidate.cache_key)
                yield candidate
        if searched:
            return
        searched = True
        words = line.ask("search", crate_name, action_key)


def _records(line: Line, words: "List[str]") -> "List[bytes]":
    if words[0] != "rows":
        raise NoAnswer(words[0])
    return [line.read(int(length)) for length in words[1:]]


def fetch(line: Line, candidate: "Candidate") -> bool:
    """Have a candidate put into the store; whether it is there now. Raises NoAnswer."""
    return line.ask("fetch", candidate.crate_name, candidate.cache_key)[0] == "there"


def tell(settings: "Settings", directories: "Sequence[str]") -> None:
    """Say that there is work. Where nobody listens, an uploader is started and finds out by itself; nobody waits."""
    try:
        line = Line(settings.cache_dir, time.monotonic() + TELLING)
    except NoAnswer:
        memo = settings.cache_dir + NO_USE
        if not _is_recent(memo, NO_USE_PAUSE) and not _is_recent(settings.cache_dir + STARTED, START_PAUSE):
            start(settings)
        return
    try:
        line.say("work", *identity(settings), *directories)
    except NoAnswer:
        pass
    finally:
        line.close()


def _mark(path: str) -> None:
    try:
        write_file(path, b"", 0o644)
        posix.utime(path)
    except OSError:
        pass


def _is_recent(path: str, seconds: float) -> bool:
    try:
        return exists(path) and -seconds < time.time() - posix.stat(path).st_mtime < seconds
    except OSError:
        return False

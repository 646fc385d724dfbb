"""The uploader: one process a cache directory that talks to the remote while builds go on.

Owns its life (lock, socket, threads, when it leaves) and its answers. The language is demand.py's, the work
courier.py's. Nothing needs it: without it all is a miss that the store has not.
"""

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import threading
import time
from typing import Dict, Iterator, List, Optional, Tuple

from kachelib import demand, log
from kachelib.config import Settings
from kachelib.courier import Courier
from kachelib.outcome import KacheError
from kachelib.store import remove

# seconds
TICK = 0.2
LOCK_PATIENCE = 15.0  # for one that is leaving
SILENCE = 30.0  # of one who is connected
LEAVING = 5.0  # for those who still wait for an answer

LONGEST_REQUEST = 64 * 1024
MOST_CONNECTIONS = 256


def serve(settings: Settings, foreground: bool = False) -> bool:
    """Be the uploader until nobody needs one; False where there is one already. Raises OSError, KacheError."""
    lock = _lock(settings.cache_dir)
    if lock is None:
        return False
    voice = log.for_daemon(settings, foreground)
    try:
        uploader = Uploader(settings, voice)
        uploader.run()
    except (KacheError, OSError) as error:
        voice.error(str(error))
        raise
    except Exception as error:
        voice.error("internal error: %s: %s" % (type(error).__name__, error))
        raise
    finally:
        os.close(lock)
    return True


def _lock(cache_dir: str) -> Optional[int]:
    """The lock of the one uploader, waited for where its holder is leaving; None where somebody answers."""
    os.makedirs(cache_dir, exist_ok=True)
    fd = os.open(cache_dir + demand.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(fd, 0)
            os.write(fd, b"%d\n" % os.getpid())
            return fd
        except BlockingIOError:
            pass
        with contextlib.suppress(demand.NoAnswer):
            demand.Line(cache_dir, time.monotonic() + 1).close()
            os.close(fd)
            return None
        if time.monotonic() > deadline:
            os.close(fd)
            return None
        time.sleep(0.02)


class Uploader:
    """The process. settings: of the build that started it."""

    def __init__(self, settings: Settings, voice: log.Log) -> None:
        self.settings = settings
        self._voice = voice
        self._courier = Courier(settings, voice)
        self._remote, self._build, file = demand.identity(settings)
        self._born = _modified(file)
        self._leaving = threading.Event()
        self._connections: Dict[socket.socket, threading.Thread] = {}
        self._inode = 0
        self._last_used = time.monotonic()

    def run(self) -> None:
        """Listen, push, and leave in the end."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._leaving.set())
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        with _listening(self.settings.cache_dir) as (listener, self._inode):
            self._voice.info("listening; remote %s" % self._courier.where())
            demand.forget_failures(self.settings.cache_dir)
            self._courier.start()
            with selectors.DefaultSelector() as selector:
                selector.register(listener, selectors.EVENT_READ)
                while not self._leaving.is_set():
                    for _ in selector.select(TICK):
                        self._accept(listener)
                    self._look_after()
        self._courier.stop()
        deadline = time.monotonic() + LEAVING
        for connection, thread in list(self._connections.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            thread.join(max(0.0, deadline - time.monotonic()))
        self._courier.close()
        self._voice.info("left; %s" % self._courier.summary())

    def _look_after(self) -> None:
        if self._courier.is_busy() or self._connections:
            self._last_used = time.monotonic()
        idle = self.settings.daemon_idle_timeout_secs
        if idle and time.monotonic() - self._last_used > idle:
            self._voice.info("nobody needed it for %d s" % idle)
            self._leaving.set()
        elif _inode(self.settings.cache_dir + demand.SOCKET) != self._inode:
            self._voice.info("its socket is gone")
            self._leaving.set()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            connection.close()
            return
        self._last_used = time.monotonic()
        connection.settimeout(SILENCE)
        thread = threading.Thread(target=self._converse, args=(connection,), daemon=True)
        self._connections[connection] = thread
        thread.start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                while True:
                    line = lines.readline(LONGEST_REQUEST)
                    if not line.endswith(b"\n"):
                        return
                    words = line[:-1].decode("utf-8", "surrogateescape").split("\0")
                    connection.sendall(self._answer(words))
        except (OSError, ValueError):
            pass  # it went away, or makes no sense
        except Exception as error:
            self._voice.error("internal error: %s: %s" % (type(error).__name__, error))
        finally:
            self._connections.pop(connection, None)

    def _answer(self, words: List[str]) -> bytes:
        verb, arguments = words[0], words[1:]
        fetcher = self._courier.fetcher
        if verb in ("ask", "work"):
            why = self._outdated(*arguments[:3])
            if why:
                self._voice.info("makes room: " + why)
                self._make_room()
                return demand.LEAVES.encode() + b"\n"
            fetcher.look(arguments[5:] if verb == "ask" else arguments[3:])
        if verb == "ask":
            found = fetcher.known(arguments[4])
            return _rows(found) if found or fetcher.may_find(arguments[3]) else b"none\n"
        if verb == "search":
            return _rows(fetcher.search(arguments[0], arguments[1]))
        if verb == "fetch":
            return b"there\n" if fetcher.fetch(arguments[0], arguments[1]) else b"none\n"
        if verb == "work":
            self._courier.pusher.wake()
            return b"ok\n"
        if verb == "status":
            facts = {"pid": os.getpid(), "build": self._build, **self._courier.facts()}
            text = "\0".join("%s=%s" % (name, str(value).replace("\n", " ")) for name, value in facts.items())
            return b"status\0" + text.encode("utf-8", "surrogateescape") + b"\n"
        if verb == "stop":
            self._leaving.set()
            return b"ok\n"
        return b"what\n"

    def _make_room(self) -> None:
        """Leave, and be found by nobody any more: who comes next starts another one."""
        self._leaving.set()
        if _inode(self.settings.cache_dir + demand.SOCKET) == self._inode:
            remove(self.settings.cache_dir + demand.SOCKET)
        remove(self.settings.cache_dir + demand.STARTED)

    def _outdated(self, remote: str, build: str, file: str) -> str:
        """Why a caller needs another uploader: its settings are others, or it runs another build, whose file is younger
        than ours was. "" where this one will do."""
        if remote != self._remote:
            return "the remote's settings are others now"
        if build and self._build and build != self._build and _modified(file) > self._born:
            return "there is a newer build of the file"
        return ""


def _rows(records: List[bytes]) -> bytes:
    lengths = b"".join(b"\0%d" % len(record) for record in records)
    return b"rows" + lengths + b"\n" + b"".join(records)


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime if path else 0.0
    except OSError:
        return 0.0


@contextlib.contextmanager
def _listening(cache_dir: str) -> Iterator[Tuple[socket.socket, int]]:
    """The socket, for its owner alone, and its inode. It goes first when the uploader leaves: who comes then starts
    another."""
    path = cache_dir + demand.SOCKET
    remove(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with demand.Address(cache_dir) as address:
            mask = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(mask)
        inode = _inode(path)
        listener.listen(128)
        listener.setblocking(False)
        yield listener, inode
    finally:
        if _inode(path) == inode:
            remove(path)
        listener.close()


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0

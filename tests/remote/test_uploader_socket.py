"""The uploader's socket and the places it needs: stale, foreign, hostile, too long, not writable."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from tests.remote.uploaders import Fleet, Uploader, entries, never, unprivileged, until


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    return client


def send(client: socket.socket, data: bytes) -> None:
    """Send all that is taken; whoever hangs up or takes no more may do so."""
    client.settimeout(2)
    with contextlib.suppress(OSError):
        client.sendall(data)


RUBBISH = {
    "text": b"GET / HTTP/1.1\r\nHost: daemon\r\n\r\n",
    "bytes": bytes(range(256)) * 16,
    "json of another shape": b'{"command": ["stop"], "x": ' + b"[" * 5000 + b"]" * 5000 + b"}\n",
    "a number": b"17\n",
    "null": b'null\n[]\n{}\n""\n',
    "a large length": b"\xff" * 64,
    "zeros": bytes(4096),
    "not UTF-8": b'{"op": "\xff\xfe", "key": "\xed\xa0\x80"}\n',
}


def test_rubbish_is_heard_and_the_next_one_served(fleet: Fleet) -> None:
    """Rubbish, 10 MB of it, half a request, nothing at all, and a hundred that hold the line."""
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    libraries.compile("first")
    uploader = Uploader(a)
    pid = uploader.pid()
    uploader.drain().ok()
    with contextlib.ExitStack() as held:
        for data in RUBBISH.values():
            with connected(uploader.socket) as client:
                send(client, data)
        with connected(uploader.socket) as client:
            send(client, b"x" * 10_000_000)
        for data in (b"", b"{", b'{"op":', b"\0\0\0", b"\x10"):
            send(held.enter_context(connected(uploader.socket)), data)
        # one that asks and does not read
        silent = held.enter_context(connected(uploader.socket))
        send(silent, b'{"op": "status"}\n' * 20_000)
        for _ in range(100):
            held.enter_context(connected(uploader.socket))
        assert uploader.runs()
        assert libraries.compile_all(["second", "third"]) == ["miss", "miss"]
        uploader.drain().ok()
        assert uploader.pids() == [pid]
    assert entries(a) == fleet.bucket.names()
    assert uploader.runs()
    memory = Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]
    assert int(memory) < 300_000, "it kept what it was sent"


@contextlib.contextmanager
def stranger(path: Path, answer: Callable[[socket.socket], None]) -> Iterator[List[int]]:
    """Somebody else listens at the socket, and does ``answer`` with each who comes; the list grows by one each time."""
    listener = socket.socket(socket.AF_UNIX)
    path.parent.mkdir(parents=True, exist_ok=True)
    listener.bind(str(path))
    listener.listen(64)
    came: List[int] = []
    over = threading.Event()
    held: List[socket.socket] = []

    def one(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            answer(client)

    def serve() -> None:
        while not over.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            came.append(1)
            held.append(client)
            threading.Thread(target=one, args=(client,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield came
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for client in held:
            client.close()
        thread.join()


def says_nothing(client: socket.socket) -> None:
    client.recv(1)


def hangs_up(client: socket.socket) -> None:
    client.close()


def hangs_up_in_the_middle(client: socket.socket) -> None:
    client.recv(65536)
    client.sendall(b'{"ok": true, "result": "hi')
    client.shutdown(socket.SHUT_RDWR)


def answers_rubbish(client: socket.socket) -> None:
    client.recv(65536)
    client.sendall(bytes(range(256)) * 16 + b"\n")
    client.shutdown(socket.SHUT_RDWR)


def answers_yes_to_all(client: socket.socket) -> None:
    """What it promises is not there."""
    while client.recv(65536):
        client.sendall(b'{"ok": true, "hit": true, "result": "hit", "found": true, "status": "hit"}\n')


def never_ends(client: socket.socket) -> None:
    while True:
        client.sendall(b"y" * 65536)


def drips(client: socket.socket) -> None:
    """A byte a second: no single wait is long."""
    while True:
        client.sendall(b" ")
        time.sleep(1)


STRANGERS = [
    says_nothing,
    hangs_up,
    hangs_up_in_the_middle,
    answers_rubbish,
    answers_yes_to_all,
    never_ends,
    pytest.param(drips, marks=pytest.mark.soak),
]


@pytest.mark.parametrize("answer", STRANGERS)
def test_a_stranger_at_the_socket(fleet: Fleet, answer: Callable[[socket.socket], None]) -> None:
    """Builds pass, silently and in bounded time; what is to be pushed is, once the stranger has gone."""
    a = fleet.machine("a", fleet.bucket.env)
    uploader = Uploader(a)
    with stranger(uploader.socket, answer):
        started = time.monotonic()
        assert fleet.libraries(a).compile("first") == "miss"
        assert time.monotonic() - started < 30
        told = uploader.command("status", timeout=60)
        assert told.returncode in (0, 1), told
    uploader.drain().ok()
    assert entries(a) == fleet.bucket.names()


@pytest.mark.parametrize("what", ["socket", "file", "dangling link", "pipe"])
def test_what_lies_where_the_socket_shall_be(fleet: Fleet, what: str) -> None:
    """Of a crash, a backup, a copy: the uploader takes its place."""
    a = fleet.machine("a", fleet.bucket.env)
    uploader = Uploader(a)
    uploader.socket.parent.mkdir(parents=True)
    if what == "socket":
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(uploader.socket))
    elif what == "file":
        uploader.socket.write_text("a backup's idea of a socket")
    elif what == "dangling link":
        uploader.socket.symlink_to(fleet.world.root / "nowhere" / "at-all")
    else:
        os.mkfifo(uploader.socket)
    assert not uploader.runs()
    assert fleet.libraries(a).compile("first") == "miss"
    assert uploader.drain().returncode == 0
    assert entries(a) == fleet.bucket.names()
    assert not (fleet.world.root / "nowhere").exists()
    uploader.command("stop").ok()
    uploader.gone()


PARTS = [
    ("queue", "file"),
    ("queue", "dangling link"),
    ("daemon.log", "directory"),
    pytest.param("queue", "directory", marks=pytest.mark.soak),
    pytest.param("daemon.log", "file", marks=pytest.mark.soak),
    pytest.param("daemon.log", "dangling link", marks=pytest.mark.soak),
]


def test_a_directory_where_the_socket_shall_be(fleet: Fleet) -> None:
    """None can start: builds pass, the queue is kept, and no attempts pile up."""
    a = fleet.machine("a", fleet.bucket.env)
    uploader = Uploader(a)
    (uploader.socket / "mine").mkdir(parents=True)
    assert fleet.libraries(a).compile_all(["first", "second", "third"]) == ["miss"] * 3
    uploader.gone()
    assert (uploader.socket / "mine").is_dir()
    (uploader.socket / "mine").rmdir()
    uploader.socket.rmdir()
    uploader.drain().ok()
    assert entries(a) == fleet.bucket.names()


@pytest.mark.parametrize("part, as_what", PARTS)
def test_a_part_of_it_is_something_else(fleet: Fleet, part: str, as_what: str) -> None:
    a = fleet.machine("a", fleet.bucket.env)
    path = a.cache_dir / part
    path.parent.mkdir(parents=True)
    if as_what == "file":
        path.write_text("")
    elif as_what == "directory":
        path.mkdir()
    else:
        path.symlink_to(fleet.world.root / "nowhere" / "at-all")
    libraries = fleet.libraries(a)
    assert libraries.compile_all(["first", "second"]) == ["miss", "miss"]
    assert Uploader(a).drain("20s").returncode in (0, 1)
    Uploader(a).kill()
    if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
        path.rmdir()
    elif path.is_file() or path.is_symlink():
        path.unlink()
    assert libraries.compile("third") == "miss"
    Uploader(a).drain().ok()
    assert entries(a, "third") <= fleet.bucket.names()


def test_a_path_too_long_for_a_socket(fleet: Fleet) -> None:
    """sun_path holds 108 bytes: it works nevertheless, or nobody hears of it."""
    a = fleet.machine("long" * 40, fleet.bucket.env)
    uploader = Uploader(a)
    assert len(os.fsencode(uploader.socket)) > 108
    assert fleet.libraries(a).compile_all(["first", "second"]) == ["miss", "miss"]
    uploader.drain().ok()
    assert uploader.queue() == []
    assert entries(a) == fleet.bucket.names()
    b = fleet.machine("other" * 30, fleet.bucket.env)
    assert fleet.libraries(b).compile_all(["first", "second"]) in (["remote_hit"] * 2, ["miss"] * 2)
    assert len(uploader.pids()) <= 1
    uploader.command("stop").ok()
    uploader.gone()


def test_a_cache_directory_that_is_not_utf8(fleet: Fleet) -> None:
    a = fleet.machine("a", fleet.bucket.env)
    # rustc itself wants all others to be UTF-8
    a.name = os.fsdecode(b"caf\xe9 %s $HOME")
    a.env["KACHE_CACHE_DIR"] = str(a.cache_dir)
    uploader = Uploader(a)
    assert fleet.libraries(a).compile("first") == "miss"
    uploader.drain().ok()
    assert {key.partition("/")[0] for key in fleet.bucket.names()} == {"first"}
    uploader.command("stop").ok()
    uploader.gone()


@pytest.mark.parametrize("filled", [False, True])
def test_a_cache_directory_that_cannot_be_written(
    fleet: Fleet, require_tool: Callable[[str], str], filled: bool
) -> None:
    """Compiles pass, hits are hits, and nothing is left running."""
    prefix = unprivileged(require_tool("setpriv"))
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    if filled:
        assert libraries.compile("first") == "miss"
        Uploader(a).drain().ok()
        Uploader(a).command("stop").ok()
        Uploader(a).gone()
    a.cache_dir.mkdir(exist_ok=True)
    directories = [a.cache_dir, *(path for path in a.cache_dir.rglob("*") if path.is_dir())]
    for path in directories:
        path.chmod(0o555)
    try:
        for name in ("first", "second"):
            command = [*prefix, *libraries.command(name)]
            libraries.output(name).unlink(missing_ok=True)
            run = a.view().run(command, timeout=60, **libraries.options(name)).ok()
            assert libraries.output(name).exists()
            assert not [line for line in run.stderr.splitlines() if not line.startswith("{")], run.stderr
        told = a.view().run([*prefix, fleet.kache.path, "daemon", "status"], timeout=60)
        assert told.returncode == 1, told
        assert "Traceback" not in told.stderr
        drained = a.view().run([*prefix, fleet.kache.path, "daemon", "drain", "--timeout", "5s"], timeout=60)
        assert drained.returncode in (0, 1)
        assert "Traceback" not in drained.stderr
        never(Uploader(a).pids, "an uploader that cannot write", 1)
    finally:
        for path in directories:
            path.chmod(0o755)


def test_a_stale_lock_holds_up_nobody(fleet: Fleet) -> None:
    """All that a crash leaves: locks by file that nobody holds, the dead one's number, a half-written queue file."""
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    libraries.compile("first")
    uploader = Uploader(a)
    uploader.pid()
    uploader.drain().ok()
    uploader.kill()
    # whatever number is written down there belongs to somebody else by now
    for path in a.cache_dir.glob("daemon*"):
        if path.suffix not in (".log", ".sock") and path.is_file():
            path.write_text(f"{os.getppid()}\n")
    (a.cache_dir / "queue").mkdir(exist_ok=True)
    for name, data in (("0-half", b'{"half'), ("1-empty", b""), ("2-bytes", bytes(range(256))), (".tmp-1", b"x")):
        (a.cache_dir / "queue" / name).write_bytes(data)
    assert libraries.compile("second") == "miss"
    pid = uploader.pid()
    until(lambda: entries(a) == fleet.bucket.names(), "the push of what is whole")
    run = uploader.drain("20s")
    assert run.returncode == 0, f"what cannot be read is not waited for\n{run}\n{uploader.queue()}"
    assert uploader.pids() == [pid]


def test_hostile_names_in_the_queue_reach_nothing(fleet: Fleet) -> None:
    """A cache directory that somebody else could write: names that lead out of the store push nothing of outside."""
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    secret = a.view().root / "a" / "home" / "id_rsa"
    secret.write_text("very private")
    libraries.compile("first")
    uploader = Uploader(a)
    uploader.drain().ok()
    uploader.kill()
    queue = a.cache_dir / "queue"
    queue.mkdir(exist_ok=True)
    (queue / "link").symlink_to(secret)
    (queue / ("..%2f..%2fhome%2fid_rsa")).write_text(str(secret))
    (queue / "loop").symlink_to("loop")
    (queue / "directory").mkdir()
    os.mkfifo(queue / "pipe")
    assert libraries.compile("second") == "miss"
    until(lambda: entries(a) == fleet.bucket.names(), "the push of the second")
    uploader.drain("10s")
    assert fleet.bucket.names() == entries(a)
    assert secret.read_text() == "very private"
    assert uploader.runs()


def test_many_wrappers_and_a_killed_one(fleet: Fleet) -> None:
    """A wrapper that dies while it waits for an answer does no harm."""
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    libraries.compile("first")
    uploader = Uploader(a)
    pid = uploader.pid()
    for number in range(6):
        name = f"killed{number}"
        command, place = libraries.command(name), libraries.options(name)
        process = subprocess.Popen(
            command,
            cwd=place["cwd"],
            env={**a.view().env, **place["env"]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.02 * number)
        process.kill()
        process.wait()
    assert libraries.compile("last") == "miss"
    uploader.drain().ok()
    assert uploader.pids() == [pid]
    assert entries(a) <= fleet.bucket.names()

"""index.db is a view: deleted, damaged, locked, or of another version, the commands still know what is cached."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

import pytest

from tests.fault.crate import Crate, flipped, remove
from tests.world import Kache, Run, World

COMMANDS = (
    ["list"],
    ["list", "x"],
    ["stats"],
    ["report"],
    ["gc"],
    ["doctor"],
    ["doctor", "--verify"],
    ["why-miss", "x"],
)
SUFFIXES = ("", "-wal", "-shm", "-journal")


@pytest.fixture
def index(crate: Crate, world: World, kache_file: Kache) -> Path:
    """The index of a store with one entry that was used once."""
    crate.check_next()
    kache_file.run("list").ok()
    path = world.cache_dir / "index.db"
    assert path.exists()
    return path


def listed(kache: Kache, prefix: Sequence[str] = ()) -> List[Any]:
    """What ``kache list`` knows; it has to end well, say nothing else, and know the entry."""
    run = kache.world.run([*prefix, kache.path, "list", "--json"]).ok()
    assert run.stderr == "", run
    entries = [
        tuple(entry[name] for name in ("crate_name", "cache_key", "size", "hits"))
        for entry in json.loads(run.stdout)["entries"]
    ]
    assert any(entry[0] == "x" for entry in entries), run
    return entries


def all_commands(kache: Kache, prefix: Sequence[str] = ()) -> None:
    """Every command that looks at the store ends, and none with a traceback."""
    for words in COMMANDS:
        run = kache.world.run([*prefix, kache.path, *words])
        assert "Traceback" not in run.stderr, run
        if words[0] not in ("doctor", "why-miss"):
            assert run.returncode == 0, run
        else:
            assert run.returncode in (0, 1), run
    listed(kache, prefix)


def damages(data: bytes) -> Dict[str, bytes]:
    """Ways in which a database may be broken."""
    size = len(data)
    return {
        "empty": b"",
        "cut in the header": data[:50],
        "cut in the middle": data[: size // 2],
        "cut by a byte": data[:-1],
        "zeros": b"\0" * size,
        "rubbish": os.urandom(size),
        "text": b"this is not a database\n" * 100,
        "header of another kind": b"SQLite format 2\0" + data[16:],
        "first page gone": b"\0" * 4096 + data[4096:],
        "last page gone": data[:-4096] + b"\xff" * 4096,
        "schema damaged": data.replace(b"CREATE TABLE", b"CREATE TABEL"),
        "a bit of a page header": flipped(data, 8 * 4096 + 3),
    }


def test_deleted(kache_file: Kache, index: Path) -> None:
    before = listed(kache_file)
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(str(index) + suffix)
    assert listed(kache_file) == before
    all_commands(kache_file)


@pytest.mark.parametrize("how", list(damages(bytes(8192))))
def test_damaged(kache_file: Kache, index: Path, how: str) -> None:
    before = listed(kache_file)
    for suffix in SUFFIXES[1:]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(str(index) + suffix)
    index.write_bytes(damages(index.read_bytes())[how])
    assert listed(kache_file) == before
    all_commands(kache_file)


def test_bits_turned_over_anywhere(kache_file: Kache, index: Path) -> None:
    """Some of it SQLite cannot notice; then a number may be wrong, and nothing worse."""
    data = index.read_bytes()
    for place in range(0, len(data), len(data) // 12):
        remove_side_files(index)
        index.write_bytes(flipped(data, 8 * place + 5))
        run = kache_file.run("list")
        assert run.returncode == 0, run
        assert "Traceback" not in run.stderr
        assert kache_file.run("gc").returncode == 0


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_side_files_that_are_rubbish(kache_file: Kache, index: Path, suffix: str) -> None:
    Path(str(index) + suffix).write_bytes(os.urandom(5000))
    all_commands(kache_file)


@pytest.mark.parametrize("what", ["directory", "dangling link", "link", "fifo", "unreadable"])
def test_something_else_of_that_name(
    kache_file: Kache, index: Path, world: World, what: str, unprivileged: List[str]
) -> None:
    remove_side_files(index)
    index.unlink()
    if what == "directory":
        index.mkdir()
    elif what == "dangling link":
        index.symlink_to("nowhere")
    elif what == "link":
        (world.root / "other").write_text("mine")
        index.symlink_to(world.root / "other")
    elif what == "fifo":
        os.mkfifo(index)
    else:
        index.write_bytes(b"")
        index.chmod(0)
    all_commands(kache_file, unprivileged)
    if what == "link":
        assert (world.root / "other").read_text() == "mine", "a file of somebody else was written"


@contextlib.contextmanager
def locked(index: Path) -> Iterator[None]:
    """Hold the database as a program does that writes and hangs."""
    connection = sqlite3.connect(index, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


def test_locked(kache_file: Kache, index: Path) -> None:
    """Within seconds they say what the entries say."""
    before = listed(kache_file)
    with locked(index):
        started = time.monotonic()
        assert listed(kache_file) == before
        assert time.monotonic() - started < 30
        assert kache_file.run("gc").returncode == 0
        assert kache_file.run("stats").returncode == 0
    assert listed(kache_file) == before


def test_compiles_need_no_index(crate: Crate, index: Path) -> None:
    with locked(index):
        crate.check_hit()
        crate.write("pub fn answer() -> u32 { 50 }\n")
        crate.check_next()


def test_of_a_later_version(kache_file: Kache, index: Path) -> None:
    with contextlib.closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    all_commands(kache_file)


def test_with_a_table_missing(kache_file: Kache, index: Path) -> None:
    with contextlib.closing(sqlite3.connect(index)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert tables
    for table in tables:
        with contextlib.closing(sqlite3.connect(index)) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.commit()
        listed(kache_file)


def test_in_a_read_only_store(kache_file: Kache, index: Path, world: World, unprivileged: List[str]) -> None:
    paths = [world.cache_dir, *world.cache_dir.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        listed(kache_file, unprivileged)
        for words in (["stats"], ["report"], ["doctor"], ["gc"], ["purge"]):
            run = world.run([*unprivileged, kache_file.path, *words])
            assert run.returncode in (0, 1), run
            assert "Traceback" not in run.stderr, run
            assert run.stderr.count("\n") <= 1, run
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    listed(kache_file)


def test_on_a_full_file_system(
    crate: Crate, kache_file: Kache, world: World, tmpfs: Callable[[Path, str], Path]
) -> None:
    mounted = tmpfs(world.cache_dir, "256k")
    crate.check(crate.compile())
    with (mounted / "stuffing").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    all_commands(kache_file)


def test_entries_that_cannot_be_read(crate: Crate, kache_file: Kache, index: Path, world: World) -> None:
    """Rubbish between the entries is passed over, and does not hide the others."""
    shelf = world.cache_dir / "entries"
    (shelf / "zz").mkdir()
    (shelf / "zz" / ("z" * 64)).write_text("rubbish")
    (shelf / "ab").mkdir(exist_ok=True)
    (shelf / "ab" / ("ab" * 32)).write_text("rubbish")
    (shelf / "ac").write_text("a file")
    (shelf / "ad").symlink_to("nowhere")
    os.mkfifo(shelf / "ab" / ("a" * 64))
    (shelf / "ab" / ("ac" * 32)).mkdir()
    (world.cache_dir / "store" / "nonsense").write_text("")
    all_commands(kache_file)
    crate.check_hit()


def test_an_event_log_full_of_rubbish(crate: Crate, kache_file: Kache, index: Path, world: World) -> None:
    log = world.cache_dir / "events.jsonl"
    whole = log.read_bytes()
    for content in (
        b"",
        b"\n",
        b"rubbish\n",
        os.urandom(5000),
        whole[:-5],
        whole + b'{"result": ',
        b"\0" * 3000 + b"\n" + whole,
        b'[]\n1\nnull\n"x"\n' + whole,
        whole.replace(b'"end_time":', b'"end_time":"soon",'),
        whole.replace(b"local_hit", b"no_such_result"),
        whole.replace(b'"elapsed_ms":', b'"elapsed_ms":-'),
        whole.replace(b'"size":', b'"size":1e400,"x":'),
        b"{}\n" + whole,
        b'{"result":"local_hit"}\n',
        b"\xff\xfe\n" + whole,
        whole * 3,
    ):
        log.write_bytes(content)
        for words in (
            ["report"],
            ["report", "--format", "json"],
            ["stats"],
            ["list"],
            ["why-miss", "x"],
            ["report", "--since", "1h"],
        ):
            run = world_run(world, kache_file, words)
            assert run.returncode in (0, 1), (content[:80], run)
            assert "Traceback" not in run.stderr, (content[:80], run)
    log.unlink()
    log.mkdir()
    for words in (["report"], ["stats"], ["list"]):
        assert "Traceback" not in world_run(world, kache_file, words).stderr
    crate.check(crate.compile())
    shutil.rmtree(log)
    crate.check_hit()


def world_run(world: World, kache: Kache, words: List[str]) -> Run:
    """Run a command without looking at the event log, which ``World.run`` wants to be whole."""
    done = subprocess.run(
        [str(kache.path), *words],
        env=world.env,
        cwd=world.root,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    return Run(words, done.returncode, done.stdout, done.stderr)


def remove_side_files(index: Path) -> None:
    """Take the database's other files away."""
    for suffix in SUFFIXES[1:]:
        remove(Path(str(index) + suffix))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(str(index) + suffix)

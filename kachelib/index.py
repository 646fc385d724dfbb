"""The index: what the store holds, as tables that can be asked.

Owns index.db (SQLite, write-ahead log). It is a view: the entries are the
truth, and an index that is missing, corrupt, of another version, locked or on
a read-only file system is made again, in memory if need be. Nothing is lost
with it but the count of hits that the event log no longer holds.

Tables (user_version VERSION):

    entries     one row a file below entries/: its identity and its last use
    candidates  one row an entry as people see it: a cache key
    blobs       what a candidate names; size -1 where the entry does not say it (streams)
    hits        cache key -> hits that were seen in the event log
    progress    how far the event log was read
"""

import contextlib
import json
import os
import sqlite3
from typing import BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from kachelib import entry as entry_format
from kachelib import events
from kachelib.entry import Candidate
from kachelib.outcome import HITS, StoreError
from kachelib.store import Store, entry_files, read_file

FILE_NAME = "index.db"
LOCK_NAME = "index.lock"

# Version 1: the tables above.
VERSION = 1

# Of the log, what is read at once.
SLICE = 1 << 20

# How long a command waits for another that works on the index, seconds.
PATIENCE = 2.0

_SCHEMA = """
CREATE TABLE entries (
    action_key TEXT PRIMARY KEY, inode INTEGER, mtime_ns INTEGER, file_size INTEGER, checksum TEXT
) WITHOUT ROWID;
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY, action_key TEXT, position INTEGER, cache_key TEXT, crate_name TEXT, crate_types TEXT,
    created INTEGER, compile_ms INTEGER, size INTEGER
);
CREATE INDEX candidates_action ON candidates (action_key);
CREATE TABLE blobs (candidate INTEGER, digest TEXT, size INTEGER);
CREATE INDEX blobs_candidate ON blobs (candidate);
CREATE TABLE hits (cache_key TEXT PRIMARY KEY, count INTEGER, last REAL) WITHOUT ROWID;
CREATE TABLE progress (name TEXT PRIMARY KEY, inode INTEGER, offset INTEGER) WITHOUT ROWID;
"""

_TABLES = {"entries", "candidates", "blobs", "hits", "progress"}

_ITEMS = """
SELECT c.action_key, c.cache_key, c.crate_name, c.crate_types, c.position, c.created, c.compile_ms, c.size,
       e.mtime_ns / 1e9, COALESCE(h.count, 0), COALESCE(h.last, 0)
FROM candidates c JOIN entries e USING (action_key) LEFT JOIN hits h USING (cache_key)
"""


class Item(NamedTuple):
    """One candidate as the index knows it. Times are seconds since the epoch, sizes bytes.

    position: 0 for the newest of its action. entry_use: when any candidate of
    the action was used last.
    """

    action_key: str
    cache_key: str
    crate_name: str
    crate_types: str
    position: int
    created: int
    compile_ms: int
    size: int
    entry_use: float
    hits: int
    last_hit: float

    def last_use(self) -> float:
        """When it was used last. An entry's time belongs to its newest candidate; of the others the event log tells."""
        known = max(float(self.created), self.last_hit)
        return max(known, self.entry_use) if self.position == 0 else known


class Reference(NamedTuple):
    """A blob that a candidate names; size -1: not known."""

    cache_key: str
    digest: str
    size: int


class Index:
    """The tables, as fresh as when it was opened. ``reason``: why it lives in memory, "" where it does not."""

    def __init__(self, connection: sqlite3.Connection, cache_dir: str, reason: str = "") -> None:
        self._db = connection
        self._cache_dir = cache_dir
        self.reason = reason
        # entries that could not be decoded, as paths
        self.broken: List[str] = []

    def items(self, crate: str = "") -> List[Item]:
        """All candidates, or those of one crate, by name and the newest first. ``-`` and ``_`` are the same."""
        if crate:
            name = crate.replace("-", "_").encode("utf-8", "replace").decode()
            wanted = "WHERE replace(c.crate_name, '-', '_') = ? ORDER BY c.crate_name, c.created DESC"
            rows = self._db.execute(_ITEMS + wanted, (name,))
        else:
            rows = self._db.execute(_ITEMS + "ORDER BY c.crate_name, c.created DESC")
        return [Item(*row) for row in rows]

    def crates(self) -> List[str]:
        """The names of all crates, sorted."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT crate_name FROM candidates ORDER BY crate_name")]

    def references(self) -> List[Reference]:
        """Every blob that every candidate names."""
        query = "SELECT c.cache_key, b.digest, b.size FROM blobs b JOIN candidates c ON c.id = b.candidate"
        return [Reference(*row) for row in self._db.execute(query)]

    def named_bytes(self) -> Tuple[int, int]:
        """What candidates name, in bytes: as if each had its blobs for itself, and as it is, each blob once. Streams,
        whose size no entry says, are left out."""
        query = "SELECT COALESCE(SUM(size * n), 0), COALESCE(SUM(size), 0) FROM (%s)"
        blobs = "SELECT MAX(size) AS size, COUNT(*) AS n FROM blobs WHERE size >= 0 GROUP BY digest"
        found = self._db.execute(query % blobs).fetchone()
        return int(found[0]), int(found[1])

    def fingerprint(self) -> Set[Tuple[str, str]]:
        """(action key, checksum) of every entry it knows; two indexes that agree on it say the same."""
        return set(self._db.execute("SELECT action_key, checksum FROM entries"))

    def refresh(self) -> None:
        """Take in what changed in entries/ and in the event log. Raises sqlite3.Error."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._read_entries()
            self._read_events()
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def check(self) -> None:
        """Raise sqlite3.DatabaseError where a table is missing or SQLite finds the file damaged."""
        tables = {row[0] for row in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables != _TABLES:
            raise sqlite3.DatabaseError("a table is missing")
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found[0] != "ok":
            raise sqlite3.DatabaseError(str(found[0]))

    def close(self) -> None:
        self._db.close()

    def _read_entries(self) -> None:
        self.broken = []
        rows = self._db.execute("SELECT action_key, inode, mtime_ns, file_size, checksum FROM entries")
        known: Dict[str, Tuple[int, int, int, str]] = {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}
        for action_key, path in entry_files(self._cache_dir):
            try:
                status = os.stat(path)
            except OSError:
                continue
            before = known.pop(action_key, None)
            if before is None or before[:3] != (status.st_ino, status.st_mtime_ns, status.st_size):
                self._read_entry(action_key, path, status, before[3] if before else "")
        for action_key in known:
            self._forget(action_key)

    def _read_entry(self, action_key: str, path: str, status: os.stat_result, checksum_before: str) -> None:
        data = read_file(path)
        if data is None:
            self._forget(action_key)
            return
        checksum = data[len(entry_format.MAGIC) : entry_format.HEADER - 1].decode("ascii", "replace")
        # Mostly it was only used: the same content, a new time. But damage may look the same.
        if checksum != checksum_before or entry_format.decode(data, action_key) is None:
            self._forget(action_key)
            candidates = decode_candidates(data, action_key)
            if candidates is None:
                self.broken.append(path)
                return
            self._insert(action_key, candidates)
        row = (action_key, status.st_ino, status.st_mtime_ns, status.st_size, checksum)
        self._db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)

    def _insert(self, action_key: str, candidates: List[Candidate]) -> None:
        for position, c in enumerate(candidates):
            row = (action_key, position, c.cache_key, _text(c.crate_name), _text(c.crate_types))
            added = self._db.execute(
                "INSERT INTO candidates VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, c.created, c.compile_ms, c.size()),
            )
            blobs = [(added.lastrowid, output.digest, output.size) for output in c.outputs]
            blobs += [(added.lastrowid, stream.digest, -1) for stream in (c.stdout, c.stderr) if stream.digest]
            self._db.executemany("INSERT INTO blobs VALUES (?, ?, ?)", blobs)

    def _forget(self, action_key: str) -> None:
        mine = "(SELECT id FROM candidates WHERE action_key = ?)"
        self._db.execute("DELETE FROM blobs WHERE candidate IN " + mine, (action_key,))
        self._db.execute("DELETE FROM candidates WHERE action_key = ?", (action_key,))
        self._db.execute("DELETE FROM entries WHERE action_key = ?", (action_key,))

    def _read_events(self) -> None:
        """Count the hits that came since the last look; the log may have been rotated meanwhile."""
        row = self._db.execute("SELECT inode, offset FROM progress WHERE name = 'events'").fetchone()
        inode, offset = row if row else (0, 0)
        current = self._cache_dir + "/" + events.FILE_NAME
        rotated = self._cache_dir + "/" + events.OLD_NAME
        if _inode(current) != inode:
            # What is left of the file that was read last, if it is still there.
            self._count_hits(rotated, offset if inode and _inode(rotated) == inode else 0)
            inode, offset = _inode(current), 0
        offset = self._count_hits(current, offset)
        self._db.execute("INSERT OR REPLACE INTO progress VALUES ('events', ?, ?)", (inode, offset))

    def _count_hits(self, path: str, offset: int) -> int:
        """Count the hits from ``offset`` on; returns where the last whole line ends."""
        counts: Dict[str, Tuple[int, float]] = {}
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                for lines, size in _whole_lines(file):
                    offset += size
                    _count(lines, counts)
        except OSError:
            pass  # what was read is counted
        self._db.executemany(
            "INSERT INTO hits VALUES (?, ?, ?) ON CONFLICT (cache_key)"
            " DO UPDATE SET count = count + excluded.count, last = MAX(last, excluded.last)",
            [(_text(key), count, last) for key, (count, last) in counts.items()],
        )
        return offset


def _whole_lines(file: BinaryIO) -> Iterator[Tuple[List[bytes], int]]:
    """The whole lines of a log, a slice at a time, and what they take. What is longer than a slice is no line of ours,
    and is passed over piece by piece: a file system may leave a gigabyte of nothing after a crash."""
    pending = b""
    while True:
        data = file.read(SLICE)
        if not data:
            return
        data = pending + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) > SLICE:
            end = len(data)
        pending = data[end:]
        yield data[:end].splitlines(), end


def _count(lines: List[bytes], counts: Dict[str, Tuple[int, float]]) -> None:
    """Add the hits among these lines of the log to ``counts``: how often an entry was one, and when last."""
    for line in lines:
        if b"_hit" not in line:
            continue
        try:
            event = json.loads(line)
            if event["result"] in HITS:
                count, last = counts.get(event["cache_key"], (0, 0.0))
                counts[event["cache_key"]] = (count + 1, max(last, float(event["end_time"])))
        except (ValueError, KeyError, TypeError):
            continue


def decode_candidates(data: bytes, action_key: str) -> Optional[List[Candidate]]:
    """All candidates of an entry's file; None where any of it is not what an entry is."""
    try:
        found = entry_format.decode(data, action_key)
        return None if found is None else list(found.candidates())
    except (ValueError, IndexError, TypeError):
        return None


@contextlib.contextmanager
def opened(cache_dir: str) -> Iterator[Index]:
    """The index of ``cache_dir``, refreshed. Whatever state index.db is in, this works."""
    index = _open(cache_dir)
    try:
        yield index
    finally:
        index.close()


def last_count(cache_dir: str) -> Optional[int]:
    """How many candidates there were at the last refresh, at once; None where nobody knows."""
    path = cache_dir + "/" + FILE_NAME
    # SQLite would make it
    if not os.path.isfile(path):
        return None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                return int(db.execute("SELECT COUNT(*) FROM candidates").fetchone()[0])
    except sqlite3.Error:
        pass
    return None


def rebuild(cache_dir: str) -> None:
    """Throw index.db away and make it from the entries."""
    lock = Store(cache_dir).claim(LOCK_NAME, PATIENCE)
    try:
        _remove(cache_dir)
        _open_file(cache_dir).close()
    finally:
        if lock is not None:
            os.close(lock)


def in_memory(cache_dir: str, reason: str) -> Index:
    """An index that touches no file: what the entries say now."""
    index = Index(_connect(":memory:"), cache_dir, reason)
    _create(index)
    index.refresh()
    return index


def remove(cache_dir: str) -> None:
    """Remove index.db and what belongs to it."""
    lock = Store(cache_dir).claim(LOCK_NAME, PATIENCE)
    try:
        _remove(cache_dir)
    finally:
        if lock is not None:
            os.close(lock)


def _open(cache_dir: str) -> Index:
    if not os.path.isdir(cache_dir):
        return in_memory(cache_dir, "there is no store yet")
    # One at a time: whoever finds the file damaged removes it.
    lock = Store(cache_dir).claim(LOCK_NAME, PATIENCE)
    if lock is None:
        return in_memory(cache_dir, "index.db is in use or cannot be written")
    try:
        try:
            return _open_file(cache_dir)
        except sqlite3.OperationalError as error:
            if not _is_damage(error):
                return in_memory(cache_dir, f"index.db: {error}")
        except sqlite3.DatabaseError:
            pass
        _remove(cache_dir)
        try:
            return _open_file(cache_dir)
        except sqlite3.Error as error:
            return in_memory(cache_dir, f"index.db: {error}")
    finally:
        os.close(lock)


def _open_file(cache_dir: str) -> Index:
    """index.db, made where it is missing, refreshed. Raises sqlite3.Error."""
    index = Index(_connect(cache_dir + "/" + FILE_NAME), cache_dir)
    try:
        index._db.execute("PRAGMA journal_mode = WAL")
        # Losing the last refresh in a crash costs nothing.
        index._db.execute("PRAGMA synchronous = NORMAL")
        version = index._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            _create(index)
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        index.check()
        index.refresh()
    except BaseException:
        index.close()
        raise
    return index


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)


def _create(index: Index) -> None:
    index._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")


def _remove(cache_dir: str) -> None:
    # The log first: one that outlived its database would be played into the next.
    for suffix in ("-wal", "-shm", "-journal", ""):
        try:
            os.unlink(cache_dir + "/" + FILE_NAME + suffix)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreError(f"{cache_dir}/{FILE_NAME}{suffix}: {error.strerror}; remove it by hand") from None


def _is_damage(error: sqlite3.OperationalError) -> bool:
    """Whether making the file again would help: not where it is locked or cannot be written."""
    text = str(error)
    return "no such" in text or "already exists" in text or "malformed" in text


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _text(value: str) -> str:
    """``value`` as SQLite can hold it: without lone surrogates."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()

"""Transfer: one object on its way between a store and a remote.

Owns the names of objects, what an entry or a unit is packed with, and the proof that what arrived is what was asked
for; nothing is in the store before. Which objects are to go, sync.py decides.

    {crate_name}/{cache_key}.tar.zst       an entry
    .units/{digest}.tar.zst                a snapshot and the blobs that no entry has
    .units/plans/{lock}/{selection}.tar.zst  a catalogue
"""

import concurrent.futures
import ctypes
import io
import os
import posix
import sys
import tempfile
import time
from typing import BinaryIO, Callable, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple, Type, TypeVar

from kachelib import entry as entry_format
from kachelib import pack, units
from kachelib.config import Settings
from kachelib.entry import FILE, SOURCE, Candidate, Entry
from kachelib.key import Transcript, digest_bytes
from kachelib.pack import Blob, Head, PackError
from kachelib.remote import ABSENT as NOTHING_THERE
from kachelib.remote import Denied, Interrupted, Missing, Remote, RemoteError
from kachelib.signing import Keyring
from kachelib.store import BLOB_TIME, Store, make_directories, remove, sync
from kachelib.units import Snapshot
from kachelib.warm import is_sound

ENDING = ".tar.zst"
UNITS = ".units/"
PLANS = UNITS + "plans/"

# Larger packs are built on disk.
IN_MEMORY = 8 << 20
# Metadata of an entry is rarely more; a reader asks for more when it is.
HEAD_BYTES = 8 << 10

ATTEMPTS = 3

T = TypeVar("T")


class Refused(Exception):
    """An object was there and is not believed; the text says why, for people."""


def entry_key(crate_name: str, cache_key: str) -> str:
    """Where the entry lies in a remote."""
    return "%s/%s%s" % (crate_name, cache_key, ENDING)


def unit_key(digest: str) -> str:
    """Where the snapshot of that digest lies in a remote."""
    return UNITS + digest + ENDING


def catalogue_key(lock: str, selection: str) -> str:
    """Where the catalogue of a Cargo.lock lies in a remote."""
    return "%s%s/%s%s" % (PLANS, lock, selection, ENDING)


class Outgoing(NamedTuple):
    """An object to be put: its key, metadata and blobs with the paths of their files. wanted: the judge of those who
    pull it."""

    key: str
    metadata: bytes
    blobs: Tuple[Tuple[Blob, str], ...]
    wanted: Callable[[Head], None]


def outgoing_entry(store: Store, action_key: str, entry: Entry, candidate: Candidate) -> Outgoing:
    """An entry as it travels. Raises PackError where a blob is missing."""
    executables = {output.digest for output in candidate.outputs if output.executable}
    blobs = _blobs(store, candidate.blobs(), executables)
    alone = entry.keeping(lambda each: each.cache_key == candidate.cache_key)
    payload = action_key.encode() + b"\n" + alone.encode(action_key)
    name = candidate.cache_key
    metadata = pack.metadata_of(pack.ENTRY, name, [blob for blob, _ in blobs], payload)
    return Outgoing(entry_key(candidate.crate_name, name), metadata, blobs, wants_entry(name, candidate.crate_name))


def outgoing_unit(store: Store, digest: str, snapshot: Snapshot, elsewhere: Set[str]) -> Outgoing:
    """A snapshot as it travels. elsewhere: digests of blobs that go with an entry. Raises PackError."""
    executables = {file.digest for file in snapshot.files if file.mode & 0o100}
    blobs = _blobs(store, [each for each in snapshot.blobs() if each not in elsewhere], executables)
    metadata = pack.metadata_of(pack.UNIT, digest, [blob for blob, _ in blobs], snapshot.encode())
    return Outgoing(unit_key(digest), metadata, blobs, wants_unit(digest))


def _blobs(store: Store, digests: Iterable[str], executables: Set[str]) -> Tuple[Tuple[Blob, str], ...]:
    found = []
    for digest in dict.fromkeys(digests):
        path = store.blob_path(digest)
        try:
            size = posix.stat(path).st_size
        except OSError:
            raise PackError("a blob is missing: %s" % digest) from None
        found.append((Blob(digest, size, digest in executables), path))
    return tuple(found)


class Arrived(NamedTuple):
    """An object that was proven, its blobs still under temporary names."""

    head: Head
    blobs: Tuple[Tuple[str, str], ...]  # (temporary path, final path)
    size: int


class Transfer:
    """Moves objects between one store and one remote. All methods may be called from several threads."""

    def __init__(self, store: Store, remote: Remote, settings: Settings, keyring: Keyring) -> None:
        self.store = store
        self.remote = remote
        self.keyring = keyring
        self._level = settings.compression_level
        self._most_bytes = settings.local_max_size
        self._arriving: Set[_Temporaries] = set()
        self._stopped = False

    def stop(self) -> None:
        """Remove what is on its way, for threads that nobody waits for: nothing can be pulled after this."""
        self._stopped = True
        for receiver in tuple(self._arriving):
            discard(tuple(receiver.files))

    def push(self, what: Outgoing) -> int:
        """Put an object; returns its bytes in the remote, 0 where the same was there. Raises RemoteError, PackError."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=self._spool()) as body:
            signatures = self.keyring.sign(what.metadata)
            pack.write(what.metadata, signatures, what.blobs, self._level, body)  # type: ignore[arg-type]
            size = body.tell()
            body.seek(0)
            if self.remote.put(what.key, body, size, NOTHING_THERE):  # type: ignore[arg-type]
                return size
            if not self._is_unsound(what):
                return 0
            body.seek(0)
            self.remote.put(what.key, body, size)  # type: ignore[arg-type]
            return size

    def put(self, key: str, metadata: bytes, condition: str) -> bool:
        """Put an object without blobs; False where the condition does not hold. Raises RemoteError."""
        body = io.BytesIO()
        pack.write(metadata, self.keyring.sign(metadata), (), self._level, body)
        size = body.tell()
        body.seek(0)
        return self.remote.put(key, body, size, condition)

    def prove(self, source: BinaryIO, wanted: Callable[[Head], None]) -> Head:
        """The head of an object that is here already. Raises PackError, Refused."""
        receiver = _Nowhere(wanted)
        receiver.believe = self._believe
        return pack.read(source, receiver, self._most_bytes)

    def _is_unsound(self, what: Outgoing) -> bool:
        """Whether what is there now would be refused by those who pull it."""
        try:
            retried(lambda: self._read(what.key, _Nowhere(what.wanted)), Interrupted)
        except (PackError, Refused, Missing):
            return True
        return False

    def _spool(self) -> str:
        directory = self.store.root + "/spool"
        make_directories(directory)
        return directory

    def head(self, key: str) -> Head:
        """What an object says of itself, proven as far as a signature does. Raises RemoteError, Refused, PackError."""
        most = HEAD_BYTES
        while True:
            with self.remote.get(key, most) as body:
                data = _all(body)
            found = pack.read_head(data)
            if found is not None:
                self._believe(found)
                return found
            if len(data) < most:
                raise PackError("it ends too early")
            most *= 16

    def pull(self, key: str, wanted: Callable[[Head], None]) -> Arrived:
        """Fetch an object and prove it. wanted: raises PackError for a head that is not what was asked for.

        Raises RemoteError; Refused or PackError where it is not believed. A stream that is cut is asked for again.
        """

        def once() -> Arrived:
            receiver = _Temporaries(self.store, wanted, lambda: self._stopped)
            self._arriving.add(receiver)
            try:
                head = self._read(key, receiver)
            except BaseException:
                receiver.discard()
                raise
            finally:
                self._arriving.discard(receiver)
            receiver.close()
            return Arrived(head, tuple(receiver.files), receiver.size)

        return retried(once, RemoteError)

    def _read(self, key: str, receiver: "_Nowhere") -> Head:
        receiver.believe = self._believe
        with self.remote.get(key) as body:
            return pack.read(_Counted(body, receiver), receiver, self._most_bytes)  # type: ignore[arg-type]

    def _believe(self, head: Head) -> None:
        why = self.keyring.objection(head)
        if why:
            raise Refused(why)


def retried(read: Callable[[], T], again: Type[RemoteError]) -> T:
    """What ``read`` returns. again: the error after which it is tried anew, ATTEMPTS times in all. Raises what it
    raises, PackError the second time only: what changed on its way is right then, what is wrong there is wrong twice.
    """
    doubted = False
    for attempt in range(ATTEMPTS):
        try:
            return read()
        except PackError:
            if doubted or attempt == ATTEMPTS - 1:
                raise
            doubted = True
        except (Missing, Denied):
            raise
        except again:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.1 * 4**attempt)
    raise AssertionError


class _Nowhere:
    """A receiver that keeps nothing: a pack is only proven."""

    def __init__(self, wanted: Callable[[Head], None] = lambda head: None) -> None:
        self._wanted = wanted
        self.believe: Callable[[Head], None] = lambda head: None
        # bytes that came
        self.size = 0

    def wants(self, head: Head) -> None:
        self.believe(head)
        self._wanted(head)

    def open(self, blob: Blob) -> Optional[Callable[[bytes], object]]:
        return None


class _Temporaries(_Nowhere):
    """A receiver that keeps blobs beside the place where they will be, under names that mean nothing."""

    def __init__(self, store: Store, wanted: Callable[[Head], None], is_stopped: Callable[[], bool]) -> None:
        super().__init__(wanted)
        self.files: List[Tuple[str, str]] = []
        self._store = store
        self._is_stopped = is_stopped
        self._fd = -1

    def open(self, blob: Blob) -> Optional[Callable[[bytes], object]]:
        self.close()
        if self._store.has_blob(blob.digest, blob.size):
            return None
        final = self._store.blob_path(blob.digest)
        temporary = self._store.temporary(final)
        # First its name, which whoever stops this removes; a file that is made after that is seen here.
        self.files.append((temporary, final))
        self._fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
        if self._is_stopped():
            raise concurrent.futures.CancelledError
        posix.fchmod(self._fd, 0o555 if blob.executable else 0o444)
        return self._write

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[posix.write(self._fd, view) :]

    def close(self) -> None:
        if self._fd >= 0:
            posix.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        self.close()
        discard(self.files)


class _Counted:
    """A stream that counts."""

    def __init__(self, source: BinaryIO, receiver: _Nowhere) -> None:
        self._source = source
        self._receiver = receiver

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._receiver.size += len(data)
        return data


def discard(files: Iterable[Tuple[str, str]]) -> None:
    """Remove what is not going to be published."""
    for temporary, _ in files:
        remove(temporary)


def publish(store: Store, arrived: Sequence[Arrived]) -> int:
    """Put proven objects into the store: all blobs to disk at once, then names, then the records that name them.

    Returns the bytes of new blobs. Raises OSError; then no record is there that names a blob which is not.
    """
    files = [pair for each in arrived for pair in each.blobs]
    total = 0
    try:
        if files:
            _sync(store.root, files)
        for temporary, final in files:
            posix.utime(temporary, (BLOB_TIME, BLOB_TIME))
            total += posix.stat(temporary).st_size
            posix.rename(temporary, final)
        for each in arrived:
            _publish_record(store, each.head)
    except OSError:
        discard(files)
        raise
    return total


def _publish_record(store: Store, head: Head) -> None:
    if head.kind == pack.UNIT:
        path = units.unit_path(store.root, head.name)
        if not os.path.exists(path):
            units.publish(path, head.payload)
    elif head.kind == pack.ENTRY:
        action_key, pulled, candidate = read_entry(head)
        known = store.read_entry(action_key)
        if known is not None and any(each.cache_key == candidate.cache_key for each in known.candidates()):
            return
        store.write_entry(action_key, (known or pulled).with_candidate(candidate, pulled.transcript()))


def _sync(directory: str, files: Sequence[Tuple[str, str]]) -> None:
    """Bring what was written to disk: the file system as a whole where that can be asked for (syncfs(2))."""
    if sys.platform == "linux" and len(files) > 1:
        fd = posix.open(directory, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0:
                return
        except (OSError, AttributeError):
            pass
        finally:
            posix.close(fd)
    for temporary, _ in files:
        sync(temporary)


def read_entry(head: Head) -> Tuple[str, Entry, Candidate]:
    """Action key, entry and its one candidate of an entry's head. Raises PackError for what no kache would write."""
    if head.kind != pack.ENTRY:
        raise PackError("not an entry but a %s" % head.kind)
    action, _, data = head.payload.partition(b"\n")
    try:
        action_key = action.decode("ascii")
        found = entry_format.decode(data, action_key) if pack.is_digest(action_key) else None
        candidates = list(found.candidates()) if found is not None else []
        sound = found is not None and len(candidates) == 1 and found.encode(action_key) == data
        if sound and found is not None:
            candidate = candidates[0]
            again = entry_format.empty().with_candidate(candidate, found.transcript())
            sound = again.encode(action_key) == data
    except (ValueError, IndexError, TypeError, KeyError):
        sound = False
    if not sound or found is None:
        raise PackError("its entry is not as it should be")
    _check_candidate(action_key, found, candidate, head)
    return action_key, found, candidate


def _check_candidate(action_key: str, found: Entry, candidate: Candidate, head: Head) -> None:
    """What a store believes of an entry, because it wrote it itself. Raises PackError."""
    if candidate.cache_key != head.name or candidate.compute_cache_key(action_key) != head.name:
        raise PackError("its key is not the one of what it holds")
    key = Transcript()
    for tag, value in found.transcript():
        key.add(tag, value)
    if key.digest() != action_key:
        raise PackError("its action key is not the one of its transcript")
    names = [output.name for output in candidate.outputs]
    if not names or len(set(names)) != len(names) or any(not is_file_name(name) for name in names):
        raise PackError("an output has an impossible name")
    if any(not pack.is_digest(item.digest) for item in candidate.inputs if item.kind in (FILE, SOURCE)):
        raise PackError("an input has no digest")
    carried = {blob.digest: blob for blob in head.blobs}
    if set(carried) != set(candidate.blobs()):
        raise PackError("its blobs are not those of the entry")
    for output in candidate.outputs:
        if carried[output.digest].size != output.size:
            raise PackError("an output has another size")


def is_file_name(name: str) -> bool:
    """Whether a name stays in the directory it is put into."""
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


def wants_entry(cache_key: str, crate_name: str) -> Callable[[Head], None]:
    """A judge for ``Transfer.pull``: the entry of that key, and no other."""

    def judge(head: Head) -> None:
        candidate = read_entry(head)[2]
        if head.name != cache_key or candidate.crate_name != crate_name:
            raise PackError("it is another entry than its name says")

    return judge


def wants_unit(digest: str) -> Callable[[Head], None]:
    """A judge for ``Transfer.pull``: the snapshot of that digest, and no other."""

    def judge(head: Head) -> None:
        if head.name != digest:
            raise PackError("it is another unit than its name says")
        read_unit(head)

    return judge


def read_unit(head: Head) -> Snapshot:
    """The snapshot of a unit's head. Raises PackError for what no kache would write."""
    if head.kind != pack.UNIT or digest_bytes(head.payload) != head.name:
        raise PackError("not the unit of that name")
    try:
        found = units.decode(head.payload)
        sound = found is not None and found.encode() == head.payload and is_sound(found)
    except (ValueError, IndexError, TypeError, KeyError):
        sound = False
    if not sound or found is None:
        raise PackError("its snapshot is not as it should be")
    sizes = {file.digest: file.size for file in found.files if file.digest}
    if any(sizes.get(blob.digest) != blob.size for blob in head.blobs):
        raise PackError("it carries a blob that it does not need")
    if not all(map(pack.is_digest, sizes)):
        raise PackError("a blob has no digest")
    return found


def _all(body: BinaryIO) -> bytes:
    parts: List[bytes] = []
    while True:
        data = body.read(1 << 16)
        if not data:
            return b"".join(parts)
        parts.append(data)

"""The pack: how an object travels, and how one that comes from elsewhere is proven.

Owns the bytes of objects in a remote. Knows nothing of remotes or of where in a store a blob goes: it reads blobs from
files and hands them to a receiver.

A pack is a tar.zst that any tar unpacks. Its first zstd frame holds the head alone, so the first few kilobytes of an
object say what it is. Grammar (version 1; numbers are ASCII decimal, digests 64 hex digits):

    pack      = frame(head) frame(body)
    head      = member("kache-pack", metadata) member("kache-signatures", { name ":" base64 LF })
    body      = { member("blobs/" digest, content) } 1024 NUL
    metadata  = "kache-pack 1" LF kind SP name SP version-of-kache LF count { SP digest SP size SP mode } LF payload
    kind      = "entry" | "unit" | "catalogue"
    mode      = "x" | "-"
    member    = tar header, content, NUL up to a multiple of 512

    payload of an entry      action key LF the file of that entry with this one candidate (entry.py)
    payload of a unit        the snapshot's file (units.py)
    payload of a catalogue   see catalogue.py

A signature is one of Ed25519 over what ``signed_text`` returns; the metadata names every blob by its digest, so it
speaks for all. The first frame ends with zstd's own checksum of its content: no digest speaks for a catalogue that
nobody signed, and a bit that flips on the way shall not be merged into everybody's.

What is read is hostile until proven. No tar header is believed: the reader makes the one that must stand there, from
the metadata, and compares. So no path, link, device or second member of a name can come in. Sizes are bounded before
anything is written, contents are compared with the digests they are named by, and the receiver gets its blobs one by
one and must count none before all were right.
"""

import io
from typing import BinaryIO, Callable, NamedTuple, Optional, Protocol, Sequence, Tuple

import zstandard
from blake3 import blake3

from kachelib import VERSION
from kachelib.key import digest_bytes

ENTRY = "entry"
UNIT = "unit"
CATALOGUE = "catalogue"
KINDS = (ENTRY, UNIT, CATALOGUE)

MAGIC = b"kache-pack 1\n"
HEAD_NAME = "kache-pack"
SIGNATURES_NAME = "kache-signatures"

BLOCK = 512
END = bytes(2 * BLOCK)
CHUNK = 1 << 17

# A reader keeps so much of what it has unpacked in memory, whatever the level.
WINDOW_LOG = 23
MOST_METADATA = 16 << 20
MOST_SIGNATURES = 64 << 10
MOST_BLOBS = 20_000

# Of a tar header: mode, user and group; time; and behind the checksum: a file, no link, the magic, and no more.
_MODE_AND_OWNER = b"0000644\0" + b"0000000\0" * 2
_TIME = b"0" * 11 + b"\0"
_REST_OF_HEADER = b"0" + bytes(100) + b"ustar  \0" + bytes(247)
# the checksum counts its own eight bytes as spaces
_SUM_OF_REST = sum(_REST_OF_HEADER) + 8 * ord(" ")

_HEX = frozenset("0123456789abcdef")


class PackError(Exception):
    """An object is not what it should be; the text says what is wrong with it, for people."""


class Blob(NamedTuple):
    """A blob that a pack carries. size: bytes; executable: whether its file may be run."""

    digest: str
    size: int
    executable: bool


class Head(NamedTuple):
    """What stands first in a pack. name: the cache key or digest it goes by; signatures: lines, unproven."""

    kind: str
    name: str
    blobs: Tuple[Blob, ...]
    payload: bytes
    metadata: bytes
    signatures: Tuple[str, ...]


class Receiver(Protocol):
    """Where blobs go while a pack is read."""

    def wants(self, head: Head) -> None:
        """Judge the head before any blob is read. Raises PackError where it is not what was asked for."""

    def open(self, blob: Blob) -> "Optional[Callable[[bytes], object]]":
        """A function that takes the blob's content in pieces; None where it is known already."""


def metadata_of(kind: str, name: str, blobs: Sequence[Blob], payload: bytes) -> bytes:
    """The metadata of a pack."""
    words = [str(len(blobs))]
    for blob in blobs:
        words += (blob.digest, str(blob.size), "x" if blob.executable else "-")
    first = "%s %s %s\n%s\n" % (kind, name, VERSION, " ".join(words))
    return MAGIC + first.encode() + payload


def signed_text(metadata: bytes) -> bytes:
    """What a signature is made over."""
    return b"kache-pack 1 " + digest_bytes(metadata).encode()


def write(
    metadata: bytes, signatures: Sequence[str], blobs: Sequence[Tuple[Blob, str]], level: int, out: BinaryIO
) -> None:
    """Write a pack to ``out``, a function of the arguments' content alone. blobs: with the paths of their files; level:
    zstd's, 1 to 22. Raises OSError; PackError where a blob is damaged."""
    lines = "".join(line + "\n" for line in signatures).encode()
    head = _member(HEAD_NAME, metadata) + _member(SIGNATURES_NAME, lines)
    out.write(_compressor(level, checksum=True).compress(head))
    with _compressor(level).stream_writer(out, closefd=False) as body:
        for blob, path in blobs:
            body.write(_header("blobs/" + blob.digest, blob.size))
            _copy(path, blob, body)
            body.write(bytes(-blob.size % BLOCK))
        body.write(END)


def read_head(data: bytes) -> Optional[Head]:
    """The head of a pack from its first bytes; None where these are too few. Raises PackError."""
    unpacker = _decompressor().decompressobj()
    try:
        text = unpacker.decompress(data)
    except zstandard.ZstdError as error:
        raise PackError("not a pack: %s" % error) from None
    if not unpacker.eof:
        return None
    stream = _Members(io.BytesIO(text))
    head = _read_head(stream)
    if stream.rest():
        raise PackError("something stands behind its head")
    return head


def read(source: BinaryIO, receiver: Receiver, most_bytes: int) -> Head:
    """Read a pack from ``source`` and prove it. most_bytes: what its blobs may come to.

    Raises PackError, and whatever ``source`` raises. Memory does not depend on the size of the blobs.
    """
    try:
        with _decompressor().stream_reader(source, read_size=CHUNK, read_across_frames=True, closefd=False) as reader:
            stream = _Members(reader)
            head = _read_head(stream)
            if sum(blob.size for blob in head.blobs) > most_bytes:
                raise PackError("its blobs come to more than %d bytes" % most_bytes)
            receiver.wants(head)
            for blob in head.blobs:
                _read_blob(stream, blob, receiver.open(blob))
            if stream.exactly(len(END)) != END or stream.rest():
                raise PackError("something stands behind its last blob")
            return head
    except zstandard.ZstdError as error:
        raise PackError("damaged: %s" % error) from None


class _Members:
    """The members of a tar archive, one after the other."""

    def __init__(self, source: "BinaryIO | io.BytesIO") -> None:
        self._source = source

    def exactly(self, size: int) -> bytes:
        """The next bytes. Raises PackError where there are fewer."""
        data = self._source.read(size)
        if len(data) == size:
            return data
        parts = [data]
        missing = size - len(data)
        while missing:
            data = self._source.read(missing)
            if not data:
                raise PackError("it ends too early")
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def header(self, most: int) -> Tuple[bytes, int]:
        """The next tar header, and the size it claims. Raises PackError where that is more than ``most``."""
        data = self.exactly(BLOCK)
        field = data[124:136].rstrip(b"\0 ")
        if not field.isdigit() or len(field) > 11:
            raise PackError("not a pack: no size")
        size = int(field, 8) if field.strip(b"01234567") == b"" else -1
        if not 0 <= size <= most:
            raise PackError("its head is too large")
        return data, size

    def content(self, size: int) -> bytes:
        """The content of a member and its padding."""
        data = self.exactly(size)
        if self.exactly(-size % BLOCK).strip(b"\0"):
            raise PackError("its padding is not empty")
        return data

    def rest(self) -> bool:
        """Whether anything follows."""
        return bool(self._source.read(1))


def _read_head(stream: _Members) -> Head:
    metadata = _read_member(stream, HEAD_NAME, MOST_METADATA)
    text = _read_member(stream, SIGNATURES_NAME, MOST_SIGNATURES)
    kind, name, blobs, payload = _parse(metadata)
    if not text.isascii():
        raise PackError("its signatures are no text")
    return Head(kind, name, blobs, payload, metadata, tuple(text.decode().splitlines()))


def _read_member(stream: _Members, name: str, most: int) -> bytes:
    header, size = stream.header(most)
    if header != _header(name, size):
        raise PackError("not a pack: %s is not where it belongs" % name)
    return stream.content(size)


def _parse(metadata: bytes) -> Tuple[str, str, Tuple[Blob, ...], bytes]:
    """Kind, name, blobs and payload. Raises PackError for what ``metadata_of`` would not have written."""
    if not metadata.startswith(MAGIC):
        raise PackError("a pack of another version")
    first, _, rest = metadata[len(MAGIC) :].partition(b"\n")
    table, found, payload = rest.partition(b"\n")
    try:
        kind, name, _ = first.decode("ascii").split(" ")
        count, *words = table.decode("ascii").split(" ")
        blobs = tuple(_blob(*words[at : at + 3]) for at in range(0, len(words), 3))
        sound = found and kind in KINDS and str(len(blobs)) == count and len(blobs) <= MOST_BLOBS
    except (ValueError, TypeError):
        sound = False
    if not sound or len({blob.digest for blob in blobs}) != len(blobs):
        raise PackError("its metadata is not as it should be")
    return kind, name, blobs, payload


def _blob(digest: str, size: str, mode: str) -> Blob:
    number = int(size) if size.isdigit() and len(size) <= 15 else -1
    if not is_digest(digest) or mode not in ("x", "-") or str(number) != size:
        raise ValueError(digest)
    return Blob(digest, number, mode == "x")


def is_digest(text: str) -> bool:
    """Whether a text is 64 lower-case hex digits."""
    return len(text) == 64 and _HEX.issuperset(text)


def _read_blob(stream: _Members, blob: Blob, take: Optional[Callable[[bytes], object]]) -> None:
    if stream.exactly(BLOCK) != _header("blobs/" + blob.digest, blob.size):
        raise PackError("its members are not those that its metadata names")
    hasher = blake3()
    left = blob.size
    while left:
        data = stream.exactly(min(CHUNK, left))
        hasher.update(data)
        if take is not None:
            take(data)
        left -= len(data)
    if hasher.hexdigest() != blob.digest:
        raise PackError("a blob is not what its name says: %s" % blob.digest)
    if stream.exactly(-blob.size % BLOCK).strip(b"\0"):
        raise PackError("its padding is not empty")


def _header(name: str, size: int) -> bytes:
    """A member's header, as GNU tar has it for a file of mode 0644 (tar(5)). tarfile's differ between Pythons."""
    digits = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    start = name.encode().ljust(100, b"\0") + _MODE_AND_OWNER + digits + _TIME
    return start + b"%06o\0 " % (sum(start) + _SUM_OF_REST) + _REST_OF_HEADER


def _member(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def _copy(path: str, blob: Blob, out: BinaryIO) -> None:
    """Copy a blob. Raises PackError where the file is not what its name says: that would be refused by all."""
    hasher = blake3()
    total = 0
    with open(path, "rb") as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                break
            out.write(data)
            hasher.update(data)
            total += len(data)
    if total != blob.size or hasher.hexdigest() != blob.digest:
        raise PackError("a blob in the store is damaged: %s" % blob.digest)


def _compressor(level: int, checksum: bool = False) -> zstandard.ZstdCompressor:
    found = zstandard.ZstdCompressionParameters.from_level(level)
    window_log = min(found.window_log, WINDOW_LOG)
    found = zstandard.ZstdCompressionParameters.from_level(level, window_log=window_log, write_checksum=checksum)
    return zstandard.ZstdCompressor(compression_params=found)


def _decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)

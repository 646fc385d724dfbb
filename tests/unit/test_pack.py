"""The pack: what is written comes back, and nothing else is believed."""

import hashlib
import io
import os
import random
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import pytest
import zstandard

from kachelib import pack
from kachelib.key import digest_bytes
from kachelib.pack import Blob, Head, PackError
from tests.world import REPOSITORY

NAME = "ab" * 32
MOST = 1 << 30


class Box:
    """A receiver that keeps all."""

    def __init__(self, known: Sequence[str] = (), objection: str = "") -> None:
        self.known = known
        self.objection = objection
        self.contents: Dict[str, List[bytes]] = {}

    def wants(self, head: Head) -> None:
        if self.objection:
            raise PackError(self.objection)

    def open(self, blob: Blob) -> Optional[Callable[[bytes], object]]:
        return None if blob.digest in self.known else self.contents.setdefault(blob.digest, []).append

    def content(self, digest: str) -> bytes:
        return b"".join(self.contents[digest])


def blob_of(directory: Path, data: bytes, executable: bool = False) -> Tuple[Blob, str]:
    digest = digest_bytes(data)
    (directory / digest).write_bytes(data)
    return Blob(digest, len(data), executable), str(directory / digest)


def packed(
    blobs: Sequence[Tuple[Blob, str]], payload: bytes = b"payload", level: int = 3, lines: Sequence[str] = ()
) -> bytes:
    out = io.BytesIO()
    metadata = pack.metadata_of(pack.ENTRY, NAME, [blob for blob, _ in blobs], payload)
    pack.write(metadata, lines, blobs, level, out)
    return out.getvalue()


CONTENTS = (b"", b"x", b"y" * 511, b"z" * 512, os.urandom(200_000))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    blobs = [blob_of(tmp_path, data, number == 1) for number, data in enumerate(CONTENTS)]
    box = Box()
    head = pack.read(io.BytesIO(packed(blobs, b"pay\nload\0", lines=["ci:abc"])), box, MOST)
    assert (head.kind, head.name, head.payload, head.signatures) == (pack.ENTRY, NAME, b"pay\nload\0", ("ci:abc",))
    assert head.blobs == tuple(blob for blob, _ in blobs)
    assert [box.content(blob.digest) for blob, _ in blobs] == list(CONTENTS)


@pytest.mark.parametrize("level", [1, 3, 19, 22])
def test_the_same_bytes_every_time(tmp_path: Path, level: int) -> None:
    blobs = [blob_of(tmp_path, data) for data in CONTENTS]
    first = packed(blobs, level=level)
    for _, path in blobs:
        os.utime(path, (5, 5))
    assert packed(blobs, level=level) == first
    pack.read(io.BytesIO(first), Box(), MOST)


@pytest.mark.parametrize(
    ("size", "digest"),
    [(20_000, "b2da8b2b5f482562"), ((1 << 33) - 1, "40d2903c7ec9bf62"), (1 << 33, "a39996da9ae9a962")],
)
def test_a_header_is_the_same_under_every_python(size: int, digest: str) -> None:
    """tarfile before 3.9.11 and 3.10.3 wrote device numbers for files, too (CPython issue 90021)."""
    assert hashlib.sha256(pack._header("blobs/" + "a" * 64, size)).hexdigest()[:16] == digest


def test_tar_unpacks_it(tmp_path: Path) -> None:
    blobs = [blob_of(tmp_path, data) for data in CONTENTS]
    (tmp_path / "p.tar.zst").write_bytes(packed(blobs))
    plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed(blobs)), read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        names = archive.getnames()
        assert names == ["kache-pack", "kache-signatures", *("blobs/" + blob.digest for blob, _ in blobs)]
        for blob, _ in blobs:
            member = archive.extractfile("blobs/" + blob.digest)
            assert member is not None
            assert digest_bytes(member.read()) == blob.digest


def test_the_first_kilobytes_are_the_head(tmp_path: Path) -> None:
    data = packed([blob_of(tmp_path, os.urandom(1_000_000))], b"p" * 3000)
    assert pack.read_head(data[:40]) is None
    head = pack.read_head(data[:8192])
    assert head is not None
    assert head.payload == b"p" * 3000


def test_a_known_blob_is_compared_all_the_same(tmp_path: Path) -> None:
    blob, path = blob_of(tmp_path, b"content")
    box = Box([blob.digest])
    pack.read(io.BytesIO(packed([(blob, path)])), box, MOST)
    assert box.contents == {}


def test_the_receiver_is_asked_before_any_blob(tmp_path: Path) -> None:
    box = Box(objection="not this one")
    with pytest.raises(PackError, match="not this one"):
        pack.read(io.BytesIO(packed([blob_of(tmp_path, b"content")])), box, MOST)
    assert box.contents == {}


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_a_blob_that_is_not_what_the_store_says_is_not_sent(tmp_path: Path, change: str) -> None:
    blob, path = blob_of(tmp_path, b"content")
    Path(path).write_bytes({"longer": b"contents", "shorter": b"conten", "other": b"Content"}[change])
    with pytest.raises(PackError):
        packed([(blob, path)])


# What somebody else may send


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member.tobuf(tarfile.GNU_FORMAT)


def member(name: str, data: bytes, size: Optional[int] = None) -> bytes:
    return header(name, len(data) if size is None else size) + data + bytes(-len(data) % 512)


def frames(*parts: bytes) -> bytes:
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in parts)


DATA = b"content of a blob"
BLOB = Blob(digest_bytes(DATA), len(DATA), False)
GOOD_METADATA = pack.metadata_of(pack.ENTRY, NAME, [BLOB], b"payload")
GOOD_HEAD = member("kache-pack", GOOD_METADATA) + member("kache-signatures", b"")
GOOD_BLOB = member("blobs/" + BLOB.digest, DATA)
END = bytes(1024)


def with_metadata(metadata: bytes, body: bytes = GOOD_BLOB + END) -> bytes:
    return frames(member("kache-pack", metadata) + member("kache-signatures", b""), body)


def with_body(*parts: bytes) -> bytes:
    return frames(GOOD_HEAD, b"".join(parts))


def changed(old: str, new: str) -> bytes:
    assert old.encode() in GOOD_METADATA
    return with_metadata(GOOD_METADATA.replace(old.encode(), new.encode(), 1))


BLOB_NAME = "blobs/" + BLOB.digest
HUGE = 1 << 40

HOSTILE: Dict[str, bytes] = {
    "nothing": b"",
    "no zstd": b"PK\x03\x04" + bytes(100),
    "an empty frame": frames(b""),
    "no members": frames(END),
    "head alone": frames(GOOD_HEAD),
    "another version": changed("kache-pack 1", "kache-pack 2"),
    "an unknown kind": changed("entry", "enter"),
    "a path out": with_body(member("../../escaped", DATA), END),
    "an absolute path": with_body(member("/escaped", DATA), END),
    "a path in the metadata": changed(BLOB.digest, "../" + BLOB.digest[3:]),
    "a symlink": with_body(header(BLOB_NAME, 0, tarfile.SYMTYPE, "/etc/passwd"), END),
    "a hard link": with_body(header(BLOB_NAME, 0, tarfile.LNKTYPE, "kache-pack"), END),
    "a device": with_body(header(BLOB_NAME, 0, tarfile.CHRTYPE), END),
    "a fifo": with_body(header(BLOB_NAME, 0, tarfile.FIFOTYPE), END),
    "a directory": with_body(header(BLOB_NAME, 0, tarfile.DIRTYPE), END),
    "a member twice": with_body(GOOD_BLOB, GOOD_BLOB, END),
    "a blob twice in the metadata": with_metadata(
        pack.metadata_of(pack.ENTRY, NAME, [BLOB, BLOB], b"payload"), GOOD_BLOB + GOOD_BLOB + END
    ),
    "a member too many": with_body(GOOD_BLOB, member("blobs/" + NAME, b"x"), END),
    "a member too few": with_body(END),
    "no end": with_body(GOOD_BLOB),
    "something behind the end": with_body(GOOD_BLOB, END, b"x"),
    "another frame behind the end": with_body(GOOD_BLOB, END) + frames(b"more"),
    "another content": with_body(member(BLOB_NAME, DATA[::-1]), END),
    "a shorter content": with_body(member(BLOB_NAME, DATA[:-1]), END),
    "a longer content": with_body(member(BLOB_NAME, DATA + b"x"), END),
    "filled padding": with_body(header(BLOB_NAME, len(DATA)) + DATA + b"\1" * (512 - len(DATA)), END),
    "a size that is none": changed(f"{BLOB.digest} {BLOB.size}", f"{BLOB.digest} -1"),
    "a size with a zero before it": changed(f"{BLOB.digest} {BLOB.size}", f"{BLOB.digest} 0{BLOB.size}"),
    "a size beyond all": changed(f"{BLOB.digest} {BLOB.size}", f"{BLOB.digest} {'9' * 40}"),
    "a bomb that says so": changed(f"{BLOB.digest} {BLOB.size}", f"{BLOB.digest} {HUGE}"),
    "a count that is another": changed("1 " + BLOB.digest, "2 " + BLOB.digest),
    "a mode that is none": changed(f"{BLOB.size} -", f"{BLOB.size} s"),
    "metadata of a size beyond all": frames(header("kache-pack", HUGE), b""),
    "metadata that is longer than it says": frames(member("kache-pack", GOOD_METADATA + b"x", len(GOOD_METADATA))),
    "signatures that are no text": frames(
        member("kache-pack", GOOD_METADATA) + member("kache-signatures", b"\xff"), GOOD_BLOB + END
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pack_is_refused(name: str) -> None:
    with pytest.raises(PackError):
        pack.read(io.BytesIO(HOSTILE[name]), Box(), MOST)


def test_the_hostile_ones_differ_from_a_good_one() -> None:
    """Put together by hand in the same way, a good pack is read."""
    box = Box()
    pack.read(io.BytesIO(with_body(GOOD_BLOB, END)), box, MOST)
    assert box.content(BLOB.digest) == DATA


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A terabyte of zeros in a few kilobytes: refused by what it says, before a byte of it is read."""
    blob = Blob(NAME, HUGE, False)
    metadata = pack.metadata_of(pack.ENTRY, NAME, [blob], b"payload")
    zeros = zstandard.ZstdCompressor().compress(header("blobs/" + NAME, 0) + bytes(64 << 20))
    data = frames(member("kache-pack", metadata) + member("kache-signatures", b"")) + zeros
    started = time.process_time()
    with pytest.raises(PackError, match="more than"):
        pack.read(io.BytesIO(data), Box(), MOST)
    assert time.process_time() - started < 0.5


def test_a_window_beyond_measure_is_refused() -> None:
    """What a frame asks a reader to keep in memory is the sender's choice; ours is the limit."""
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, write_content_size=False)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    big = writer.compress(GOOD_BLOB + END) + writer.flush()
    with pytest.raises(PackError):
        pack.read(io.BytesIO(frames(GOOD_HEAD) + big), Box(), MOST)


def fuzz(tmp_path: Path, rounds: int, seed: int) -> int:
    """However the bytes are changed: refused, or the very contents come back. Returns how often they did."""
    rng = random.Random(seed)
    blobs = [blob_of(tmp_path, data) for data in CONTENTS[1:4]]
    good = packed(blobs, b"payload" * 50, lines=["ci:abc"])
    plain = [
        zstandard.ZstdDecompressor().stream_reader(io.BytesIO(part)).read() for part in (good, good[frame_end(good) :])
    ]
    accepted = 0
    for number in range(rounds):
        if number % 2:
            data = mutated(good, rng)
        else:
            index = rng.randrange(2)
            data = frames(*(mutated(part, rng) if at == index else part for at, part in enumerate(plain)))
        box = Box()
        try:
            head = pack.read(io.BytesIO(data), box, MOST)
        except PackError:
            continue
        accepted += 1
        for blob in head.blobs:
            assert digest_bytes(box.content(blob.digest)) == blob.digest
            assert len(box.content(blob.digest)) == blob.size
    assert accepted < rounds / 2
    return accepted


def frame_end(data: bytes) -> int:
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    unpacker.decompress(data)
    return len(data) - len(unpacker.unused_data)


def mutated(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(found) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at : at + rng.choice((1, 8, 512))]
        elif kind == 2:
            found[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 8, 512))))
        else:
            other = rng.randrange(len(found) + 1)
            found[at : at + 40] = found[other : other + 40]
        if not found:
            return b""
    return bytes(found)


def test_changed_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    fuzz(tmp_path, 3_000, 1)


@pytest.mark.soak
def test_changed_bytes_are_refused_or_harmless_for_long(tmp_path: Path) -> None:
    """Ten minutes of processor time."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rounds = accepted = 0
    until = time.process_time() + 600
    while time.process_time() < until:
        accepted += fuzz(tmp_path, 5_000, seed + rounds)
        rounds += 1
    print(f"{rounds * 5_000} mutations, {accepted} of them harmless")


MEMORY = """
import os, sys
from kachelib import pack
from kachelib.key import digest_bytes
from kachelib.pack import Blob
from kachelib.store import digest_file
path, out = sys.argv[1:]
size = os.stat(path).st_size
blob = Blob(digest_file(path), size, False)
class Sink:
    def wants(self, head): pass
    def open(self, blob): return len
with open(out, "wb") as file:
    pack.write(pack.metadata_of("entry", "ab" * 32, [blob], b""), (), [(blob, path)], 3, file)
with open(out, "rb") as file:
    pack.read(file, Sink(), 1 << 40)
# ru_maxrss is that of the process that forked, too
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_memory_does_not_grow_with_the_blob(tmp_path: Path) -> None:
    """Half a gigabyte, most of it holes, goes through in a fraction of that."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.write(hashlib.sha256(b"").digest() * 1000)
        file.truncate(512 << 20)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path), str(tmp_path / "out")],
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 100_000  # kilobytes

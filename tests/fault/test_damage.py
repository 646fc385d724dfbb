"""Damage inside the store: entries, blobs and memos that were cut, or in which a bit turned over.

An entry and a memo carry checksums, so damage anywhere in them is noticed. Of a blob a hit looks at the size only;
``kache doctor --checksums`` reads it.
"""

import os
import time
from pathlib import Path
from typing import List

import pytest

from kachelib import entry as entry_format
from kachelib import memo
from kachelib.store import Store
from tests.fault.crate import Crate, flipped, overwrite
from tests.world import Kache, Run, World

MANY_WARNINGS = "".join(f"fn unused_function_with_a_long_name_{n}() {{}}\n" for n in range(120))


def entry_of(world: World) -> Path:
    (path,) = (path for path in (world.cache_dir / "entries").rglob("*") if path.is_file())
    return path


def samples(length: int, count: int) -> List[int]:
    """Some places of ``length``: both ends, and evenly between."""
    return sorted({0, 1, length - 1, *(length * n // count for n in range(count))} & set(range(length)))


def test_an_entry_cut_at_any_length_is_none(crate: Crate, world: World) -> None:
    crate.check(crate.compile())
    path = entry_of(world)
    data = path.read_bytes()
    assert entry_format.decode(data, path.name) is not None
    for length in range(len(data)):
        assert entry_format.decode(data[:length], path.name) is None, length
    assert entry_format.decode(data + b"\0", path.name) is None
    assert entry_format.decode(data + data, path.name) is None


def test_an_entry_with_any_bit_turned_over_is_none(crate: Crate, world: World) -> None:
    crate.check(crate.compile())
    path = entry_of(world)
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        assert entry_format.decode(flipped(data, bit), path.name) is None, bit


def test_a_damaged_entry_is_dropped_and_compiled_anew(crate: Crate, world: World) -> None:
    crate.check(crate.compile())
    path = entry_of(world)
    data = path.read_bytes()
    damaged = [data[:length] for length in samples(len(data), 5)]
    damaged += [flipped(data, bit) for bit in samples(8 * len(data), 8)]
    damaged += [b"", b"\0" * len(data), data + b"more", b"kache-entry 2\n" + data[14:]]
    for content in damaged:
        path.write_bytes(content)
        assert crate.check(crate.compile()).result in ("miss", "dup")
        crate.check_hit()


def test_an_entry_under_another_key_is_not_believed(crate: Crate, world: World) -> None:
    """Two entries whose names were swapped (a careless copy): each names its own action inside, so neither is used."""
    crate.check(crate.compile())
    first = entry_of(world)
    content = first.read_bytes()
    crate.more = ["--cfg", "other"]
    crate.write("pub fn answer() -> u32 { if cfg!(other) { 1 } else { 2 } }\n")
    crate.check(crate.compile())
    (second,) = {path for path in (world.cache_dir / "entries").rglob("*") if path.is_file()} - {first}
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    crate.check(crate.compile())
    crate.more = []
    crate.check(crate.compile())


@pytest.mark.parametrize("kind", ["link", "metadata", "dep-info", "stderr"])
def test_a_blob_of_another_size_is_a_miss(crate: Crate, world: World, kind: str) -> None:
    crate.write(MANY_WARNINGS)
    crate.check(crate.compile())
    path = blob_of(world, kind)
    data = path.read_bytes()
    for content in [data[:length] for length in samples(len(data), 3)] + [data + b"\0"]:
        overwrite(path, content)
        found = crate.check(crate.compile())
        assert found.compiled, f"{len(content)} of {len(data)} bytes were served"
        crate.check_hit()


@pytest.mark.parametrize("kind", ["link", "metadata", "dep-info", "stderr"])
def test_a_missing_blob_is_a_miss(crate: Crate, world: World, kind: str) -> None:
    crate.write(MANY_WARNINGS)
    crate.check(crate.compile())
    for replacement in ("nothing", "directory", "dangling link", "unreadable"):
        path = blob_of(world, kind)
        path.unlink()
        if replacement == "directory":
            path.mkdir()
        elif replacement == "dangling link":
            path.symlink_to("nowhere")
        assert crate.check(crate.compile()).compiled
        if path.is_dir():
            path.rmdir()
        crate.check_next()


@pytest.mark.parametrize("kind", ["link", "metadata", "dep-info", "stderr"])
def test_the_doctor_finds_a_bit_that_turned_over(crate: Crate, world: World, kache_file: Kache, kind: str) -> None:
    crate.write(MANY_WARNINGS)
    crate.check(crate.compile())
    assert doctor(kache_file, "--checksums").returncode == 0
    for bit in samples(8 * blob_of(world, kind).stat().st_size, 4):
        path = blob_of(world, kind)
        overwrite(path, flipped(path.read_bytes(), bit))
        told = doctor(kache_file, "--checksums")
        assert told.returncode == 1, told
        assert path.name[:12] in told.stdout + told.stderr
        mended = doctor(kache_file, "--checksums", "--repair")
        assert "Traceback" not in mended.stderr
        assert not path.exists()
        assert doctor(kache_file, "--checksums").returncode == 0
        crate.check_next()


@pytest.mark.parametrize("kind", ["dep-info", "stderr"])
def test_a_bit_that_turned_over_in_text_is_noticed_and_mended(crate: Crate, world: World, kind: str) -> None:
    """What is read into memory on a hit can be checked there: a wrong ``.d`` would make Cargo miss edits."""
    crate.write(MANY_WARNINGS)
    crate.check(crate.compile())
    path = blob_of(world, kind)
    for bit in samples(8 * path.stat().st_size, 4):
        overwrite(path, flipped(path.read_bytes(), bit))
        assert crate.check(crate.compile()).compiled
        crate.check_hit()


def test_the_doctor_finds_a_damaged_entry(crate: Crate, world: World, kache_file: Kache) -> None:
    crate.check(crate.compile())
    path = entry_of(world)
    overwrite(path, flipped(path.read_bytes(), 8 * 500))
    told = doctor(kache_file, "--verify")
    assert told.returncode == 1, told
    assert path.name[:12] in told.stdout + told.stderr
    doctor(kache_file, "--verify", "--repair")
    assert not path.exists()
    crate.check_next()


def test_the_doctor_finds_a_missing_and_a_cut_blob(crate: Crate, world: World, kache_file: Kache) -> None:
    crate.check(crate.compile())
    for content in (None, b"cut"):
        path = blob_of(world, "link")
        if content is None:
            path.unlink()
        else:
            overwrite(path, content)
        told = doctor(kache_file, "--verify")
        assert told.returncode == 1, told
        doctor(kache_file, "--verify", "--repair")
        crate.check_next()
        assert doctor(kache_file, "--checksums").returncode == 0


def test_any_damaged_memo_is_none(crate: Crate, world: World) -> None:
    """Every memo, cut at every length and with a bit turned over in every byte."""
    make_memos(crate)
    paths = [path for path in crate.store_files("memo") if path.read_bytes().startswith(memo.MAGIC)]
    assert {path.parent.parent.name for path in paths} >= {"toolchain", "inputs", "config", "extra-inputs"}
    scratch = world.root / "memo"
    for path in paths:
        data = path.read_bytes()
        assert memo.read(str(path)) is not None, path
        damaged = [data[:length] for length in range(len(data))]
        damaged += [flipped(data, 8 * byte + byte % 8) for byte in range(len(data))]
        for content in damaged:
            scratch.write_bytes(content)
            assert memo.read(str(scratch)) is None, (path, content)


def test_damaged_memos_change_nothing(crate: Crate) -> None:
    make_memos(crate)
    for path in crate.store_files("memo"):
        data = path.read_bytes()
        damaged = [b"", b"\0" * len(data), data[: len(data) // 2], data + b"\n", data[:78], data[:79], os.urandom(200)]
        damaged += [flipped(data, bit) for bit in samples(8 * len(data), 5)]
        for content in damaged:
            path.write_bytes(content)
            crate.check_hit()
        path.unlink(missing_ok=True)
        path.mkdir()
        crate.check_hit()
        path.rmdir()
        crate.check_hit()


def test_memos_under_other_names_change_nothing(crate: Crate, world: World) -> None:
    """A memo is sound in itself, and lies where another belongs."""
    other = Crate(world, Kache(world, crate.kache, "file"), crate.compiler, "other")
    other.write("pub fn answer() -> u32 { 7 }\n")
    for each in (crate, other):
        each.check(each.compile())
        age(each.source)
        each.check(each.compile())
    contents = {path: path.read_bytes() for path in crate.store_files("memo") if path.stat().st_size}
    assert len(contents) > 2
    for path, own in contents.items():
        for data in contents.values():
            path.write_bytes(data)
            crate.check(crate.compile())
            other.check(other.compile())
        path.write_bytes(own)


def test_a_consumer_that_wrote_into_a_shared_rlib(crate: Crate) -> None:
    """It has the blob's inode, so the blob is damaged: the next call sees that it has another size."""
    crate.check(crate.compile())
    crate.check_hit()
    rlib = crate.out / "libx-1.rlib"
    assert rlib.stat().st_nlink > 1
    overwrite(rlib, rlib.read_bytes()[:-1])
    assert crate.check(crate.compile()).compiled
    crate.check_hit()


def test_store_drops_what_it_cannot_read(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    path = Path(store.entry_path("ab" * 32))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"rubbish")
    assert Store(str(tmp_path), writable=False).read_entry("ab" * 32) is None
    assert path.exists(), "a store that is only read from is not written"
    assert store.read_entry("ab" * 32) is None
    assert not path.exists()


def doctor(kache: Kache, *options: str) -> Run:
    """``kache doctor``, where kache is set up: what else it may find is the damage."""
    return kache.run("doctor", *options, env={"RUSTC_WRAPPER": str(kache.path)})


def blob_of(world: World, kind: str) -> Path:
    """The blob of the only candidate's output of that kind, or of its standard error."""
    path = entry_of(world)
    found = entry_format.decode(path.read_bytes(), path.name)
    assert found is not None
    candidate = next(found.candidates())
    digests = {output.emit: output.digest for output in candidate.outputs}
    digests["stderr"] = candidate.stderr.digest
    assert digests[kind], f"{kind} is not kept as a blob"
    return world.cache_dir / "store" / digests[kind][:2] / digests[kind]


def make_memos(crate: Crate) -> None:
    """Compile so that memos of every kind are kept."""
    (crate.directory / ".kache.toml").write_text("[cache]\nlocal_max_size = '1GiB'\n")
    (crate.directory / "kache.toml").write_text("extra_inputs = ['data/*']\n")
    (crate.directory / "data").mkdir()
    (crate.directory / "data" / "big").write_bytes(b"-" * 100_000)
    age(crate.directory / "data" / "big")
    crate.check(crate.compile())
    crate.check_hit()


def age(path: Path) -> None:
    """Wait until a file and its directory are old enough for memos, which trust no file of the last clock tick."""
    time.sleep(max(0.0, 0.08 - (time.time() - path.stat().st_ctime)))

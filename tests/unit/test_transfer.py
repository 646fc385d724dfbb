"""A transfer: what arrives is what was asked for, or nothing is in the store."""

import io
import os
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import pytest

from kachelib import catalogue, config, entry, pack, transfer, units
from kachelib.catalogue import Catalogue, Row
from kachelib.entry import FILE, Candidate, Input, Output
from kachelib.key import Transcript, digest_bytes
from kachelib.pack import Blob, PackError
from kachelib.remote import ABSENT, Missing, SharedDisk, Unreachable
from kachelib.signing import Keyring
from kachelib.store import Store
from kachelib.transfer import Transfer
from kachelib.units import LINK, RAW, File, Snapshot

FIELDS = (("schema", "test"), ("crate", "thing"))
OUTPUTS = {"thing.d": b"thing: src/lib.rs\n", "libthing.rlib": b"library" * 100, "libthing.rmeta": b"meta"}


def action_key() -> str:
    key = Transcript()
    for field in FIELDS:
        key.add(*field)
    return key.digest()


def candidate_of(store: Store, change: Callable[[Candidate], None] = lambda found: None) -> Candidate:
    found = Candidate()
    found.crate_name, found.crate_types, found.created, found.compile_ms = "thing", "lib", 1_700_000_000, 12
    for name, data in OUTPUTS.items():
        found.outputs.append(Output(name, "link", store.put_bytes(data), len(data), False))
    found.inputs.append(Input(FILE, "<workspace>/src/lib.rs", digest_bytes(b"source")))
    change(found)
    found.cache_key = found.cache_key or found.compute_cache_key(action_key())
    return found


class Place:
    """Two stores and a directory between them."""

    def __init__(self, root: Path) -> None:
        (root / "shared").mkdir()
        self.remote = SharedDisk(str(root / "shared"), "artifacts")
        settings = config.load({"HOME": str(root)}, ())
        self.here, self.there = Store(str(root / "here")), Store(str(root / "there"))
        self.mine = Transfer(self.here, self.remote, settings, Keyring(settings))
        self.theirs = Transfer(self.there, self.remote, settings, Keyring(settings))

    def publish(self, change: Callable[[Candidate], None] = lambda found: None) -> Candidate:
        """Keep a candidate there, and push it."""
        found = candidate_of(self.there, change)
        self.there.write_entry(action_key(), entry.empty().with_candidate(found, FIELDS))
        whole = self.there.read_entry(action_key())
        assert whole is not None
        self.theirs.push(transfer.outgoing_entry(self.there, action_key(), whole, found))
        return found

    def pull(self, found: Candidate) -> None:
        key = transfer.entry_key("thing", found.cache_key)
        transfer.publish(self.here, [self.mine.pull(key, transfer.wants_entry(found.cache_key, "thing"))])

    def files(self) -> List[str]:
        return [str(path) for path in Path(self.here.root).rglob("*") if path.is_file()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_an_entry_arrives_whole(place: Place) -> None:
    found = place.publish()
    place.pull(found)
    arrived = place.here.read_entry(action_key())
    assert arrived is not None
    (candidate,) = arrived.candidates()
    assert candidate.cache_key == found.cache_key
    assert arrived.transcript() == list(FIELDS)
    for output in candidate.outputs:
        assert place.here.read_blob(output.digest) == OUTPUTS[output.name]
        state = os.stat(place.here.blob_path(output.digest))
        assert (state.st_mode & 0o777, state.st_mtime) == (0o444, 1577836800)


def test_what_is_there_is_not_put_again(place: Place) -> None:
    found = place.publish()
    whole = place.there.read_entry(action_key())
    assert whole is not None
    what = transfer.outgoing_entry(place.there, action_key(), whole, found)
    assert place.theirs.push(what) == 0
    path = Path(place.remote.root) / what.key
    path.write_bytes(path.read_bytes()[:-1])
    assert place.theirs.push(what) > 0, "what is damaged there is replaced"
    place.pull(found)


def pushed(place: Place, what: transfer.Outgoing) -> bytes:
    """Push an object; what lies in the remote then."""
    place.theirs.push(what)
    return (Path(place.remote.root) / what.key).read_bytes()


def other_inputs(found: Candidate) -> None:
    found.inputs.append(Input(FILE, "<workspace>/src/other.rs", digest_bytes(b"other")))


@pytest.mark.parametrize("kind", ["entry", "unit"])
@pytest.mark.parametrize("stray", ["of its kind", "of the other kind"])
def test_a_sound_object_under_a_key_that_is_not_its_own_gives_way(place: Place, kind: str, stray: str) -> None:
    """Misfiled, it was believed by those who push and refused by all who pull: nobody ever had the right one."""

    def entry_of(found: Candidate) -> transfer.Outgoing:
        whole = entry.empty().with_candidate(found, FIELDS)
        return transfer.outgoing_entry(place.there, action_key(), whole, found)

    def unit_of(path: str) -> transfer.Outgoing:
        snapshot = snapshot_of(place.there, path)
        return transfer.outgoing_unit(place.there, units.write_unit(place.there, snapshot), snapshot, set())

    of_entries = [entry_of(candidate_of(place.there)), entry_of(candidate_of(place.there, other_inputs))]
    of_units = [unit_of("deps/libthing.rlib"), unit_of("deps/libother.rlib")]
    mine, others = (of_entries, of_units) if kind == "entry" else (of_units, of_entries)
    what, misfiled = mine[0], (mine if stray == "of its kind" else others)[1]
    data, wrong = pushed(place, what), pushed(place, misfiled)
    path = Path(place.remote.root) / what.key
    path.write_bytes(wrong)
    with pytest.raises(PackError):
        place.mine.pull(what.key, what.wanted)
    assert place.theirs.push(what) == len(data)
    assert path.read_bytes() == data
    assert place.theirs.push(what) == 0
    transfer.publish(place.here, [place.mine.pull(what.key, what.wanted)])


def wrong_key(found: Candidate) -> None:
    found.cache_key = "ab" * 32


def name_of(name: str) -> Callable[[Candidate], None]:
    def change(found: Candidate) -> None:
        found.outputs[1].name = name

    return change


def other_size(found: Candidate) -> None:
    found.outputs[1].size += 1


def other_crate(found: Candidate) -> None:
    found.crate_name = "another"


HOSTILE: Dict[str, Callable[[Candidate], None]] = {
    "a key that is not its own": wrong_key,
    "an output above": name_of("../escaped"),
    "an absolute output": name_of("/escaped"),
    "an output that is the directory": name_of("."),
    "two outputs of one name": name_of("thing.d"),
    "an output of another size": other_size,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_entry_is_refused(place: Place, name: str) -> None:
    found = place.publish(HOSTILE[name])
    with pytest.raises(PackError):
        place.pull(found)
    assert place.files() == []


def test_another_crates_entry_is_refused(place: Place) -> None:
    found = place.publish(other_crate)
    (Path(place.remote.root) / "thing").mkdir()
    name = found.cache_key + ".tar.zst"
    (Path(place.remote.root) / "another" / name).rename(Path(place.remote.root) / "thing" / name)
    with pytest.raises(PackError):
        place.pull(found)
    assert place.files() == []


def test_another_entry_under_its_key_is_refused(place: Place) -> None:
    found = place.publish()
    other = "cd" * 32
    directory = Path(place.remote.root) / "thing"
    (directory / (found.cache_key + ".tar.zst")).rename(directory / (other + ".tar.zst"))
    with pytest.raises(PackError, match="another"):
        place.mine.pull(transfer.entry_key("thing", other), transfer.wants_entry(other, "thing"))
    assert place.files() == []


def test_a_transcript_of_another_action_is_refused(place: Place) -> None:
    found = candidate_of(place.there)
    whole = entry.empty().with_candidate(found, [("schema", "other")])
    place.theirs.push(transfer.outgoing_entry(place.there, action_key(), whole, found))
    with pytest.raises(PackError, match="transcript"):
        place.pull(found)


def test_a_missing_blob_is_not_pushed(place: Place) -> None:
    found = candidate_of(place.there)
    os.unlink(place.there.blob_path(found.outputs[1].digest))
    whole = entry.empty().with_candidate(found, FIELDS)
    with pytest.raises(PackError, match="missing"):
        transfer.outgoing_entry(place.there, action_key(), whole, found)


def snapshot_of(store: Store, path: str = "deps/libthing.rlib") -> Snapshot:
    found = Snapshot()
    found.directory, found.name, found.hash, found.generation = "thing-0123456789abcdef", "lib-thing", "aa", "ab" * 32
    data = OUTPUTS["libthing.rlib"]
    found.files = [File(LINK, path, 0o666, digest=store.put_bytes(data), size=len(data))]
    found.files.append(File(RAW, ".fingerprint/thing-0123456789abcdef/lib-thing", 0o666, b"aa"))
    return found


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_unit_arrives(place: Place, elsewhere: bool) -> None:
    found = snapshot_of(place.there)
    digest = units.write_unit(place.there, found)
    carried = set(found.blobs()) if elsewhere else set()
    place.theirs.push(transfer.outgoing_unit(place.there, digest, found, carried))
    transfer.publish(place.here, [place.mine.pull(transfer.unit_key(digest), transfer.wants_unit(digest))])
    arrived = units.read_unit(place.here, digest)
    assert arrived is not None
    assert arrived.encode() == found.encode()
    assert place.here.has_blob(found.files[0].digest, found.files[0].size) is not elsewhere


def test_a_unit_with_a_blob_of_its_own_belongs_to_its_entry_all_the_same(place: Place) -> None:
    def with_dep_info(found: Candidate) -> None:
        del found.outputs[2]
        found.outputs[0].emit = "dep-info"

    found = place.publish(with_dep_info)
    snapshot = snapshot_of(place.there)
    snapshot.action_key = action_key()
    warnings = place.there.put_bytes(b"a long list of warnings")
    snapshot.files.append(File(LINK, "deps/thing.warnings", 0o666, digest=warnings, size=23))
    entry_there = catalogue.entry_of(place.there, snapshot)
    assert entry_there is not None
    assert entry_there.cache_key == found.cache_key
    snapshot.files[0].digest = digest_bytes(b"another library")
    assert catalogue.entry_of(place.there, snapshot) is None


@pytest.mark.parametrize("path", ["../../escaped", "/escaped", "deps/../../escaped", "deps//x"])
def test_a_unit_that_leaves_the_target_is_refused(place: Place, path: str) -> None:
    found = snapshot_of(place.there, path)
    digest = units.write_unit(place.there, found)
    place.theirs.push(transfer.outgoing_unit(place.there, digest, found, set()))
    with pytest.raises(PackError):
        place.mine.pull(transfer.unit_key(digest), transfer.wants_unit(digest))
    assert place.files() == []


LOCK, SELECTION = "12" * 32, "34" * 32


def catalogue_with(number: int) -> Catalogue:
    found = Catalogue()
    digest = f"{number:064x}"
    found.plan.add(("", f"p{number}-0/lib-p"), digest)
    candidate = Candidate()
    candidate.cache_key = digest_bytes(digest.encode())
    alone = entry.empty().with_candidate(candidate, ()).encode(action_key())
    found.rows[candidate.cache_key] = Row("thing", candidate.cache_key, action_key(), (digest,), alone)
    return found


def test_two_machines_catalogues_become_one(place: Place) -> None:
    assert catalogue.publish(place.mine, catalogue_with(1), LOCK, SELECTION)
    assert catalogue.publish(place.theirs, catalogue_with(2), LOCK, SELECTION)
    assert not catalogue.publish(place.mine, catalogue_with(1), LOCK, SELECTION)
    found, _ = catalogue.fetch(place.mine, LOCK, SELECTION)
    assert found is not None
    assert set(found.plan.units) == {("", "p1-0/lib-p"), ("", "p2-0/lib-p")}
    assert len(found.rows) == 2
    assert all(row.read().cache_key == key for key, row in found.rows.items())


def test_a_damaged_catalogue_gives_way(place: Place) -> None:
    catalogue.publish(place.mine, catalogue_with(1), LOCK, SELECTION)
    path = Path(place.remote.root) / transfer.catalogue_key(LOCK, SELECTION)
    path.write_bytes(b"rubbish")
    assert catalogue.fetch(place.mine, LOCK, SELECTION)[0] is None
    assert catalogue.publish(place.theirs, catalogue_with(2), LOCK, SELECTION)
    found, _ = catalogue.fetch(place.mine, LOCK, SELECTION)
    assert found is not None
    assert len(found.rows) == 1


def test_a_bit_that_flips_anywhere_in_a_catalogue_is_seen(place: Place) -> None:
    """Where nobody signs, no digest speaks for it; what was believed once was merged into everybody's."""
    catalogue.publish(place.mine, catalogue_with(1), LOCK, SELECTION)
    data, _ = place.remote.get_tagged(transfer.catalogue_key(LOCK, SELECTION))
    good = catalogue.read(place.mine, data, LOCK, SELECTION).encode()
    refused = 0
    for at in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        try:
            assert catalogue.read(place.mine, bytes(flipped), LOCK, SELECTION).encode() == good
        except PackError:
            refused += 1
    assert refused > len(data) * 7


PAYLOADS: Dict[str, bytes] = {
    "another version": b"kache-catalogue 9\n0\n",
    "no plan": b"kache-catalogue 1\n4\nabcd",
    "lengths that are none": b"kache-catalogue 1\nx y\n",
    "negative lengths": b"kache-catalogue 1\n-4 4\nabcd",
    "too short": catalogue_with(1).encode()[:-1],
    "too long": catalogue_with(1).encode() + b"x",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_hostile_catalogue_is_refused(name: str) -> None:
    with pytest.raises(PackError):
        catalogue.decode(PAYLOADS[name])


def test_a_shared_disk_that_is_not_mounted_is_said(tmp_path: Path) -> None:
    remote = SharedDisk(str(tmp_path / "nowhere"), "artifacts")
    with pytest.raises(Unreachable, match="mounted"), remote.get("a/b"):
        pass
    with pytest.raises(Unreachable, match="mounted"):
        remote.put("a/b", io.BytesIO(b"x"), 1)


def test_conditions_on_a_shared_disk(place: Place) -> None:
    put = place.remote.put
    assert put("a/b", io.BytesIO(b"one"), 3, ABSENT)
    assert not put("a/b", io.BytesIO(b"two"), 3, ABSENT)
    data, tag = place.remote.get_tagged("a/b")
    assert data == b"one"
    assert put("a/b", io.BytesIO(b"two"), 3, tag)
    assert not put("a/b", io.BytesIO(b"six"), 3, tag)
    assert [each.key for each in place.remote.list("a/")] == ["a/b"]
    place.remote.delete("a/b")
    with pytest.raises(Missing):
        place.remote.get_tagged("a/b")


def keys() -> Iterator[Tuple[str, str]]:
    yield "a key with ..", "a/../b"
    yield "an absolute key", "/a"
    yield "an empty part", "a//b"
    yield "another character", "a/b c"


@pytest.mark.parametrize(("name", "key"), keys())
def test_what_is_no_key_is_refused(place: Place, name: str, key: str) -> None:
    from kachelib.remote import RemoteError

    with pytest.raises(RemoteError, match="not a key"):
        place.remote.put(key, io.BytesIO(b""), 0)


def test_a_blob_that_is_too_large_for_the_store_is_refused(place: Place) -> None:
    found = place.publish()
    place.mine._most_bytes = 100
    with pytest.raises(PackError, match="more than"):
        place.pull(found)
    assert place.files() == []


def test_blob_names_differ_from_their_content(place: Place) -> None:
    """Put together by one who can write there: the digest says what it is not."""
    found = candidate_of(place.there)
    liar = digest_bytes(b"what it says")
    found.outputs[1].digest, found.outputs[1].size = liar, 9
    blobs = [Blob(output.digest, output.size, False) for output in found.outputs]
    whole = entry.empty().with_candidate(found, FIELDS)
    payload = action_key().encode() + b"\n" + whole.encode(action_key())
    metadata = pack.metadata_of(pack.ENTRY, found.cache_key, blobs, payload)
    contents = [OUTPUTS["thing.d"], b"the other", OUTPUTS["libthing.rmeta"]]
    out = io.BytesIO()
    from tests.unit.test_pack import END, frames, member

    head = member("kache-pack", metadata) + member("kache-signatures", b"")
    body = b"".join(member("blobs/" + blob.digest, data) for blob, data in zip(blobs, contents))
    out.write(frames(head, body + END))
    place.remote.put(transfer.entry_key("thing", found.cache_key), io.BytesIO(out.getvalue()), len(out.getvalue()))
    with pytest.raises(PackError, match="not what its name says"):
        place.pull(found)
    assert place.files() == []

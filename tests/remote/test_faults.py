"""What networks and overloaded servers do: detected, and retried or missed, and never stored."""

import io
import json
import random
import struct
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple, Optional

import pytest

from kachelib import catalogue, pack, remote, sync, sync_command, transfer, units
from kachelib.catalogue import Catalogue
from kachelib.pack import PackError
from kachelib.remote import Interrupted, Limits, Missing, RemoteError
from kachelib.transfer import Refused, Transfer
from kachelib.units import Plan
from tests.remote.site import Site, Told, check, files_of, keys_of
from tests.servers import proxy as faults
from tests.servers.proxy import Action, Proxy
from tests.servers.seaweed import SeaweedFS
from tests.unit.test_pack import END, member
from tests.unit.test_transfer import LOCK, SELECTION, catalogue_with, snapshot_of
from tests.world import World


@pytest.fixture
def site(world: World, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> Iterator[Site]:
    found = Site(world.root, seaweed, prefix, proxy)
    yield found
    proxy.clear()
    found.close()


# One object


def raw_frame(data: bytes) -> bytes:
    """A zstd frame with ``data`` as it is in one block (RFC 8878, 3.1.1): so every byte of a pack can be hit."""
    assert len(data) < 1 << 17
    return struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data)) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


FRAME_HEAD = len(raw_frame(b""))
TAR_HEADER = (0, 30, 100, 124, 135, 148, 156, 257, 511)


class Open:
    """An entry that lies in the remote as a pack which is not compressed. parts: offsets, by what stands there;
    version: that of the kache that wrote it, the one thing in a pack that says nothing."""

    def __init__(self, site: Site) -> None:
        site.fill(1, size=1300)
        (push,) = sync.of_store(site.a)
        assert push.outgoing is not None
        self.what = push.outgoing()
        ((blob, path),) = self.what.blobs
        content, metadata = Path(path).read_bytes(), self.what.metadata
        head = member("kache-pack", metadata)
        body = member("blobs/" + blob.digest, content)
        first = raw_frame(head + member("kache-signatures", b""))
        self.data = first + raw_frame(body + END)
        line, table = len(pack.MAGIC), metadata.index(b"\n", len(pack.MAGIC)) + 1
        payload = metadata.index(b"\n", table) + 1
        text, signatures, last = FRAME_HEAD + 512, FRAME_HEAD + len(head), len(first) + FRAME_HEAD
        self.version = text + table - 2
        self.parts = {
            "frame": [0, 4, 5, 9],
            "head's tar header": [FRAME_HEAD + each for each in TAR_HEADER],
            "version of packs": [text, text + line - 2],
            "kind and name": [text + line + each for each in (0, 4, 6, 69)],
            "table of blobs": [text + each for each in (table, table + 2, table + 65, payload - 4, payload - 2)],
            "payload": [text + each for each in range(payload, len(metadata), 17)],
            "head's padding": [text + len(metadata), signatures - 1],
            "tar header of signatures": [signatures + each for each in TAR_HEADER],
            "second frame": [len(first) + each for each in (0, 4, 5, 9)],
            "blob's tar header": [last + each for each in TAR_HEADER],
            "blob": [last + 512 + each for each in (0, len(content) // 2, len(content) - 1)],
            "blob's padding": [last + 512 + len(content), last + len(body) - 1],
            "end": [last + len(body), len(self.data) - 1],
        }
        assert len(metadata) % 512 != 0
        assert len(content) % 512 != 0
        site.mover(site.a).remote.put(self.what.key, io.BytesIO(self.data), len(self.data))

    def pull(self, mover: Transfer) -> None:
        transfer.publish(mover.store, [mover.pull(self.what.key, self.what.wanted)])


def test_a_bit_that_flips_on_the_way_is_seen_wherever_it_is(site: Site) -> None:
    there, mover = Open(site), site.mover(site.b, by_proxy=True)
    for part, offsets in there.parts.items():
        for offset in offsets:
            site.proxy.rule(action=faults.flip_bit(offset))
            with pytest.raises(PackError):
                there.pull(mover)
            # what is wrong is asked for once more, and no oftener
            assert len(site.proxy.requests) == 2, (part, offset)
            assert files_of(site.b) == {}, (part, offset)
            site.proxy.clear()
    there.pull(mover)
    assert keys_of(site.b) == {there.what.key}
    check(site.b)


def test_a_bit_that_flips_once_costs_a_request(site: Site) -> None:
    there, mover = Open(site), site.mover(site.b, by_proxy=True)
    for offset in (offsets[-1] for offsets in there.parts.values()):
        site.proxy.rule(action=faults.flip_bit(offset), times=1)
        arrived = mover.pull(there.what.key, there.what.wanted)
        assert len(site.proxy.requests) == 2
        transfer.discard(arrived.blobs)
        site.proxy.clear()
    there.pull(mover)
    assert files_of(site.b).keys() == files_of(site.a).keys()
    check(site.b)


def test_a_bit_in_what_is_not_kept_changes_nothing(site: Site) -> None:
    there, mover = Open(site), site.mover(site.b, by_proxy=True)
    site.proxy.rule(action=faults.flip_bit(there.version))
    there.pull(mover)
    assert keys_of(site.b) == {there.what.key}
    assert {name for name in files_of(site.b) if name.startswith("store")} == {
        name for name in files_of(site.a) if name.startswith("store")
    }
    check(site.b)


def cuts(size: int) -> List[int]:
    return [0, 1, FRAME_HEAD, size // 3, size // 2, size - 600, size - 1]


def test_a_body_that_is_cut_is_asked_for_again(site: Site) -> None:
    there, mover = Open(site), site.mover(site.b, by_proxy=True)
    for size in cuts(len(there.data)):
        site.proxy.rule(action=faults.cut_body(size), times=transfer.ATTEMPTS - 1)
        arrived = mover.pull(there.what.key, there.what.wanted)
        assert len(site.proxy.requests) == transfer.ATTEMPTS
        transfer.discard(arrived.blobs)
        site.proxy.clear()
    assert files_of(site.b) == {}


def test_a_body_that_is_always_cut_is_given_up(site: Site) -> None:
    there, mover = Open(site), site.mover(site.b, by_proxy=True)
    for size in cuts(len(there.data)):
        site.proxy.rule(action=faults.cut_body(size))
        with pytest.raises(Interrupted):
            there.pull(mover)
        assert len(site.proxy.requests) == transfer.ATTEMPTS
        assert files_of(site.b) == {}
        site.proxy.clear()
    there.pull(mover)
    check(site.b)


def test_a_unit_is_proven_as_well(site: Site) -> None:
    digest = units.write_unit(site.a, snapshot_of(site.a))
    snapshot = units.read_unit(site.a, digest)
    assert snapshot is not None
    site.mover(site.a).push(transfer.outgoing_unit(site.a, digest, snapshot, set()))
    key, mover = transfer.unit_key(digest), site.mover(site.b, by_proxy=True)
    with site.mover(site.a).remote.get(key) as body:
        size = len(body.read())
    for action in (*map(faults.flip_bit, range(size // 2, size // 2 + 20, 5)), faults.cut_body(size // 2)):
        site.proxy.rule(action=action)
        with pytest.raises((PackError, Interrupted)):
            mover.pull(key, transfer.wants_unit(digest))
        assert files_of(site.b) == {}
        site.proxy.clear()
        site.proxy.rule(action=action, times=1)
        transfer.discard(mover.pull(key, transfer.wants_unit(digest)).blobs)
        site.proxy.clear()


@pytest.mark.parametrize("error", [Missing, Refused])
def test_what_a_second_request_cannot_mend_is_asked_for_once(site: Site, error: type) -> None:
    there, mover = Open(site), site.mover(site.b, by_proxy=True)

    def refuse(head: pack.Head) -> None:
        raise Refused("not this one")

    with pytest.raises(error):
        mover.pull("none/none" if error is Missing else there.what.key, refuse)
    assert len(site.proxy.requests) == 1


# What a push finds there


def test_what_is_there_is_not_replaced_for_a_bit_that_flipped(site: Site) -> None:
    there, mover = Open(site), site.mover(site.a, by_proxy=True)
    for action in (faults.flip_bit(there.parts["blob"][0]), faults.cut_body(len(there.data) // 2)):
        site.proxy.rule(action=action, method="GET", times=1)
        assert mover.push(there.what) == 0
        assert [each.method for each in site.proxy.requests] == ["PUT", "GET", "GET"]
        site.proxy.clear()


def test_a_push_whose_reply_is_lost_verifies_what_is_there(site: Site) -> None:
    site.fill(1)
    (job,) = sync.of_store(site.a)
    assert job.outgoing is not None
    site.proxy.rule(action=faults.drop_reply(), method="PUT", times=1)
    assert site.mover(site.a, by_proxy=True).push(job.outgoing()) == 0
    assert [(each.method, each.status) for each in site.proxy.requests] == [("PUT", 0), ("PUT", 412), ("GET", 200)]


# The catalogue


def steps(data: bytes) -> range:
    return range(0, len(data), max(1, len(data) // 24))


def published(site: Site, *numbers: int) -> bytes:
    """Put these catalogues together into the remote; its bytes."""
    mover = site.mover(site.a)
    for number in numbers:
        catalogue.publish(mover, catalogue_with(number), LOCK, SELECTION)
    return mover.remote.get_tagged(transfer.catalogue_key(LOCK, SELECTION))[0]


def named(found: "Catalogue | None") -> List[str]:
    assert found is not None
    return sorted(name for _, name in found.plan.units)


def test_a_catalogue_is_believed_the_second_time(site: Site) -> None:
    data, mover = published(site, 1, 2), site.mover(site.b, by_proxy=True)
    for action in (*map(faults.flip_bit, steps(data)), *map(faults.cut_body, steps(data))):
        site.proxy.rule(action=action, times=1)
        found, _ = catalogue.fetch(mover, LOCK, SELECTION)
        assert named(found) == ["p1-0/lib-p", "p2-0/lib-p"]
        site.proxy.clear()


def test_a_catalogue_that_is_never_right_is_none(site: Site) -> None:
    data, mover = published(site, 1), site.mover(site.b, by_proxy=True)
    good, _ = catalogue.fetch(mover, LOCK, SELECTION)
    seen = 0
    for offset in steps(data):
        site.proxy.rule(action=faults.flip_bit(offset))
        found, tag = catalogue.fetch(mover, LOCK, SELECTION)
        assert tag
        # a bit in what says nothing (the version of kache) or in what zstd does not use is none the less the same
        assert found is None or (good is not None and found.encode() == good.encode())
        seen += found is None
        site.proxy.clear()
    assert seen > 18


def test_a_bit_or_a_cut_on_the_way_costs_no_machine_its_catalogue(site: Site) -> None:
    """Damage there is replaced; what only looked damaged was another machine's."""
    data, mover = published(site, 1), site.mover(site.b, by_proxy=True)
    rng = random.Random(1)
    for number, at in enumerate(rng.sample(range(len(data) - 1), 20), 2):
        action = (faults.flip_bit, faults.cut_body)[number % 2](at)
        site.proxy.rule(action=action, method="GET", times=1)
        assert catalogue.publish(mover, catalogue_with(number), LOCK, SELECTION)
        site.proxy.clear()
    found, _ = catalogue.fetch(mover, LOCK, SELECTION)
    assert len(named(found)) == 21


def test_a_catalogue_that_is_always_cut_is_not_replaced(site: Site) -> None:
    data, mover = published(site, 1), site.mover(site.b, by_proxy=True)
    site.proxy.rule(action=faults.cut_body(len(data) // 2), method="GET")
    with pytest.raises(Interrupted):
        catalogue.publish(mover, catalogue_with(2), LOCK, SELECTION)
    assert {each.method for each in site.proxy.requests} == {"GET"}


def test_a_catalogue_whose_reply_is_lost_is_there(site: Site) -> None:
    mover = site.mover(site.b, by_proxy=True)
    for number in (1, 2):
        site.proxy.rule(action=faults.drop_reply(), method="PUT", times=1)
        catalogue.publish(mover, catalogue_with(number), LOCK, SELECTION)
        site.proxy.clear()
    assert named(catalogue.fetch(mover, LOCK, SELECTION)[0]) == ["p1-0/lib-p", "p2-0/lib-p"]


def test_a_merge_that_others_always_overtake_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MOST_PAUSE", 0.01)
    site.proxy.rule(action=faults.status(412), method="PUT")
    with pytest.raises(RemoteError, match="run it again"):
        catalogue.publish(site.mover(site.b, by_proxy=True), catalogue_with(1), LOCK, SELECTION)
    assert sum(each.method == "PUT" for each in site.proxy.requests) == catalogue.ATTEMPTS


def test_a_merge_from_what_was_fetched_before_loses_nothing(site: Site) -> None:
    published(site, 1)
    mover = site.mover(site.b, by_proxy=True)
    before = catalogue.fetch(mover, LOCK, SELECTION)
    published(site, 2)
    assert catalogue.publish(mover, catalogue_with(3), LOCK, SELECTION, before)
    assert named(catalogue.fetch(mover, LOCK, SELECTION)[0]) == ["p1-0/lib-p", "p2-0/lib-p", "p3-0/lib-p"]


def test_a_plan_that_brings_nothing_new_costs_two_requests(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = units.write_unit(site.a, snapshot_of(site.a))
    plan = Plan()
    plan.add(("", "thing-0/lib-thing"), digest)
    units.publish(units.plan_path(site.a.root, SELECTION, LOCK), plan.encode())

    def push() -> List[str]:
        from kachelib import console

        for name, value in {**site.by_proxy, "KACHE_CACHE_DIR": site.a.root}.items():
            monkeypatch.setenv(name, value)
        before = len(site.proxy.requests)
        exchange = sync_command.Exchange(console.load_settings())
        sync_command.push_plans(exchange, LOCK, [SELECTION])
        exchange.close()
        return [each.method for each in site.proxy.requests[before:]]

    assert push() == ["GET", "PUT", "GET", "PUT"]
    # the plan, and a look whether all that it names is there
    assert push() == ["GET", "GET"]


# The command

ENTRIES = 6


class Trouble(NamedTuple):
    """What befalls requests. times: how often it is borne; for ever: what is then said, "" where it does no harm."""

    action: Action
    times: int
    said: str


PULLS = {
    "a bit flipped": Trouble(faults.flip_bit(100), 1, "not be moved"),
    "cut at once": Trouble(faults.cut_body(0), 2, "http://"),
    "cut in the middle": Trouble(faults.cut_body(1500), 2, "http://"),
    "reply dropped": Trouble(faults.drop_reply(), 2, "http://"),
    "slow down": Trouble(faults.status(503), 2, "SlowDown"),
    "reset": Trouble(faults.reset(), 2, "http://"),
    "hangs after headers": Trouble(faults.hang_after_headers(), 1, "http://"),
    "late": Trouble(faults.delay(0.3), 99, ""),
    "a slow line": Trouble(faults.limit_rate(30_000), 99, ""),
}
PUSHES = {
    "upload cut": Trouble(faults.cut_upload(100), 2, "http://"),
    "reply dropped": Trouble(faults.drop_reply(), 2, "http://"),
    "slow down": Trouble(faults.status(503), 2, "SlowDown"),
    "reset": Trouble(faults.reset(), 2, "http://"),
    "hangs": Trouble(faults.hang(), 1, "http://"),
    "late": Trouble(faults.delay(0.3), 99, ""),
    "a slow line": Trouble(faults.limit_rate(30_000), 99, ""),
}

Sync = Callable[..., Told]


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sync:
    """``run("pull", patience=2)``: kache sync into ``b``, or out of ``a``, by the proxy; patience: seconds without a
    byte after which a reply is given up, which no setting says."""

    def sync_once(way: str, patience: float = Limits().read) -> Told:
        monkeypatch.setattr(remote, "Limits", lambda: Limits(read=patience))
        store, words = (site.b, ("--pull", "--all")) if way == "pull" else (site.a, ("--push",))
        return site.sync(store, *words, monkeypatch=monkeypatch, capsys=capsys)

    return sync_once


def pulls_all(site: Site, run: Sync) -> bool:
    """Whether ``b``, after a pull without trouble, has what ``a`` has."""
    site.proxy.clear()
    told = run("pull")
    check(site.b)
    return told.code == 0 and files_of(site.b).keys() == files_of(site.a).keys()


@pytest.mark.parametrize("name", PULLS)
def test_a_pull_bears_trouble_that_passes(site: Site, run: Sync, name: str) -> None:
    site.fill(ENTRIES)
    keys = site.push()
    site.proxy.rule(action=PULLS[name].action, method="GET", path_contains=".tar.zst", times=PULLS[name].times)
    told = run("pull", patience=4)
    assert (told.code, told.stderr) == (0, "")
    assert (told.document["pulled"], told.document["failed"]) == (ENTRIES, [])
    assert sorted(keys_of(site.b)) == keys
    check(site.b)
    assert run("pull").document["pulled"] == 0


@pytest.mark.parametrize("name", [name for name in PULLS if PULLS[name].said])
def test_a_pull_ends_with_trouble_that_does_not_pass(site: Site, run: Sync, name: str) -> None:
    site.fill(ENTRIES)
    site.push()
    method = None if name in ("slow down", "reset") else "GET"
    where = ".tar.zst" if method else ""
    site.proxy.rule(action=PULLS[name].action, method=method, path_contains=where)
    told = run("pull", patience=1)
    assert told.code == 1
    assert PULLS[name].said in told.stderr
    assert "Traceback" not in told.stderr
    assert files_of(site.b) == {}
    assert pulls_all(site, run)


@pytest.mark.parametrize("name", [name for name in PUSHES if PUSHES[name].said])
def test_a_push_ends_with_trouble_that_does_not_pass(site: Site, run: Sync, name: str) -> None:
    site.fill(ENTRIES)
    site.proxy.rule(action=PUSHES[name].action, method="PUT")
    told = run("push", patience=1)
    assert told.code == 1
    assert PUSHES[name].said in told.stderr
    assert "Traceback" not in told.stderr
    site.proxy.clear()
    again = run("push")
    assert (again.code, again.document["failed"], again.stderr) == (0, [], "")
    assert pulls_all(site, run)


@pytest.mark.parametrize("name", PUSHES)
def test_a_push_bears_trouble_that_passes(site: Site, run: Sync, name: str) -> None:
    site.fill(ENTRIES)
    site.proxy.rule(action=PUSHES[name].action, method="PUT", times=PUSHES[name].times)
    told = run("push", patience=4)
    assert (told.code, told.document["failed"], told.stderr) == (0, [], "")
    # what was written though the reply was lost is found there, and verified
    found_there = PUSHES[name].times if name == "reply dropped" else 0
    assert told.document["pushed"] == ENTRIES - found_there
    assert run("push").document["to_push"] == []
    assert pulls_all(site, run)


def test_one_object_that_is_not_believed_stops_no_other(site: Site, run: Sync) -> None:
    site.fill(ENTRIES)
    bad, *good = site.push()
    site.proxy.rule(action=faults.flip_bit(100), path_contains=bad)
    told = run("pull")
    assert told.code == 1
    assert told.document["pulled"] == ENTRIES - 1
    assert [each["object"] for each in told.document["failed"]] == [bad]
    assert sorted(keys_of(site.b)) == good
    check(site.b)
    site.proxy.clear()
    told = run("pull")
    assert (told.code, told.document["pulled"], told.document["failed"]) == (0, 1, [])
    assert len(keys_of(site.b)) == ENTRIES


def test_what_came_before_the_trouble_is_kept_and_told(site: Site, run: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KACHE_S3_CONCURRENCY", "1")
    site.fill(ENTRIES)
    bad = site.push()[3]
    site.proxy.rule(action=faults.cut_body(50), path_contains=bad)
    told = run("pull")
    assert told.code == 1
    assert [each["object"] for each in told.document["failed"]] == [bad]
    assert told.document["pulled"] == len(keys_of(site.b)) == 3
    check(site.b)
    assert pulls_all(site, run)


def test_a_name_that_a_cut_upload_left_gives_way(site: Site, run: Sync) -> None:
    """SeaweedFS keeps an empty object where an uploader was killed between a request's head and its body: taken for
    the entry, it was never pushed again, and no pull ended well."""
    site.fill(ENTRIES)
    keys = site.push()
    for key in keys[:2]:
        site.mover(site.a).remote.put(key, io.BytesIO(b""), 0)
    told = run("pull")
    assert (told.code, told.document["pulled"], told.stderr) == (0, ENTRIES - 2, "")
    assert run("push").document["to_push"] == keys[:2]
    assert run("push").document["to_push"] == []
    assert pulls_all(site, run)


@pytest.mark.parametrize("times", [1, None])
def test_an_object_that_is_listed_and_not_to_be_had_is_no_success(
    site: Site, times: Optional[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that has just begun may know names before it finds what they name."""
    site.fill(2)
    key, _ = site.push()
    crate, _, name = key.partition("/")
    gone = faults.s3_error(404, "NoSuchKey")
    site.proxy.rule(action=gone, method="GET", path_contains=f"{crate}/{name}", times=times)
    told = site.sync(site.b, "--pull", "--all", monkeypatch=monkeypatch, capsys=capsys)
    assert (told.code, len(keys_of(site.b))) == ((0, 2) if times else (1, 1))
    assert ("though it lists it" in json.dumps(told.document) + told.stderr) == (times is None)


def test_an_object_that_went_after_the_listing_is_passed_over(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.fill(2)
    key, _ = site.push()
    taken = site.mover(site.a).remote
    listing = sync.of_listing

    def then_gone(*words: Any) -> List[remote.Listed]:
        found = listing(*words)
        taken.delete(key)
        return found

    monkeypatch.setattr(sync, "of_listing", then_gone)
    told = site.sync(site.b, "--pull", "--all", monkeypatch=monkeypatch, capsys=capsys)
    assert (told.code, len(keys_of(site.b))) == (0, 1)

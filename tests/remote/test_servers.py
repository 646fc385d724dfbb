"""Every kind of remote keeps the promises of remote.Remote: two S3 servers that differ, and a shared directory."""

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
from botocore.exceptions import ClientError

from kachelib import catalogue, config, sync
from kachelib.remote import ABSENT, Missing, Remote, open_remote
from kachelib.signing import Keyring
from kachelib.store import Store
from kachelib.transfer import Transfer
from tests.remote import machines
from tests.servers.proxy import Proxy
from tests.servers.seaweed import SeaweedFS
from tests.world import REPOSITORY, World

LOCK, SELECTION = "12" * 32, "34" * 32


def opened(variables: machines.Remote) -> Remote:
    return open_remote(config.load({"HOME": "/", **variables}, ()))


@pytest.fixture
def there(remote: machines.Remote) -> Iterator[Remote]:
    """The remote itself, empty."""
    found = opened(remote)
    yield found
    found.close()


def put(there: Remote, key: str, data: bytes, condition: str = "") -> bool:
    return there.put(key, io.BytesIO(data), len(data), condition)


def get(there: Remote, key: str, most: int = 0) -> bytes:
    with there.get(key, most) as body:
        return b"".join(iter(lambda: body.read(1 << 16), b""))


SIZES = {"nothing": 0, "one byte": 1, "20 MB": 20_000_000}


@pytest.mark.parametrize("size", SIZES)
def test_what_is_put_comes_back(there: Remote, size: str) -> None:
    data = os.urandom(SIZES[size])
    assert put(there, "crate/object", data)
    assert get(there, "crate/object") == data
    assert there.get_tagged("crate/object")[0] == data
    assert [each[:2] for each in there.list("crate/")] == [("crate/object", len(data))]


def test_the_start_of_an_object_comes_alone(there: Remote) -> None:
    data = os.urandom(100_000)
    put(there, "crate/object", data)
    for most in (1, 8192, len(data) - 1, len(data), len(data) + 1):
        assert get(there, "crate/object", most) == data[:most]


def test_the_start_of_nothing_is_nothing(there: Remote) -> None:
    put(there, "crate/empty", b"")
    assert get(there, "crate/empty", 8192) == b""


def test_what_is_not_there_is_missing(there: Remote) -> None:
    for key in ("crate/object", "crate", ".units/plans/none"):
        with pytest.raises(Missing):
            get(there, key)
        with pytest.raises(Missing):
            get(there, key, 100)
        with pytest.raises(Missing):
            there.get_tagged(key)
    assert list(there.list("crate/")) == []


def test_a_second_put_replaces_the_first(there: Remote) -> None:
    put(there, "crate/object", b"first, and longer")
    put(there, "crate/object", b"second")
    assert get(there, "crate/object") == b"second"


def test_what_is_there_is_not_put_where_nothing_must_be(there: Remote) -> None:
    assert put(there, "crate/object", b"first", ABSENT)
    assert not put(there, "crate/object", b"second", ABSENT)
    assert get(there, "crate/object") == b"first"
    there.delete("crate/object")
    assert put(there, "crate/object", b"third", ABSENT)


def test_a_tag_holds_until_the_object_changes(there: Remote) -> None:
    put(there, "crate/object", b"first")
    _, first = there.get_tagged("crate/object")
    assert there.get_tagged("crate/object")[1] == first
    assert put(there, "crate/object", b"second", first)
    assert not put(there, "crate/object", b"third", first)
    data, second = there.get_tagged("crate/object")
    assert data == b"second"
    assert second != first
    there.delete("crate/object")
    assert not put(there, "crate/object", b"fourth", second)
    with pytest.raises(Missing):
        get(there, "crate/object")


WRITERS = 8


def at_once(work: Callable[[int], Any], count: int) -> List[Any]:
    """What ``work`` returns for each number, all begun at one moment."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Any:
        barrier.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("condition", ["nothing there", "a tag"])
def test_of_eight_writers_one_wins(remote: machines.Remote, condition: str) -> None:
    writers = [opened(remote) for _ in range(WRITERS)]
    for number in range(5):
        key, tag = f"crate/object-{number}", ABSENT
        if condition == "a tag":
            put(writers[0], key, b"before")
            tag = writers[0].get_tagged(key)[1]
        won = at_once(lambda each, key=key, tag=tag: put(writers[each], key, b"writer %d" % each, tag), WRITERS)  # type: ignore[misc]
        assert sorted(won) == [False] * (WRITERS - 1) + [True]
        assert get(writers[0], key) == b"writer %d" % won.index(True)


MERGER = """
import sys, time
from kachelib import catalogue, config
from kachelib.remote import open_remote
from kachelib.signing import Keyring
from kachelib.store import Store
from kachelib.transfer import Transfer
from tests.unit.test_transfer import catalogue_with
root, go, first, lock, selection = sys.argv[1:]
settings = config.load(config.environment(), ())
mover = Transfer(Store(root), open_remote(settings), settings, Keyring(settings))
catalogue.fetch(mover, lock, selection)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(first), int(first) + 5):
    assert catalogue.publish(mover, catalogue_with(number), lock, selection)
"""


def test_four_machines_that_publish_at_once_lose_nothing(remote: machines.Remote, world: World) -> None:
    """Four processes, five catalogues each, into one object."""
    env = {**os.environ, **remote, "PYTHONPATH": str(REPOSITORY)}
    running = []
    for each in range(4):
        words = [sys.executable, "-c", MERGER, str(world.root / f"store-{each}"), "go", str(each * 5), LOCK, SELECTION]
        running.append(
            subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", process.communicate()[1].decode()
        told = at_once(lambda each: running[each].communicate(b"go\n", timeout=120)[1], 4)
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * 4, told
    settings = config.load({"HOME": "/", **remote}, ())
    mover = Transfer(Store(str(world.root / "store")), opened(remote), settings, Keyring(settings))
    found, _ = catalogue.fetch(mover, LOCK, SELECTION)
    assert found is not None
    assert set(found.plan.units) == {("", f"p{number}-0/lib-p") for number in range(20)}
    assert len(found.rows) == 20


def test_a_prefix_that_another_begins_with(there: Remote) -> None:
    for key in ("serde/a", "serde/b/c", "serde_json/a", "serde-x/a", "serd/a"):
        put(there, key, b"x")
    assert {each.key for each in there.list("serde/")} == {"serde/a", "serde/b/c"}
    assert {each.key for each in there.list("serde")} == {"serde/a", "serde/b/c", "serde_json/a", "serde-x/a"}
    assert len(list(there.list(""))) == 5
    assert list(there.list("ser/")) == []


def test_a_remote_sees_nothing_of_one_whose_prefix_begins_with_its_own(remote: machines.Remote, world: World) -> None:
    prefix = remote.get("KACHE_S3_PREFIX", "").strip("/") + "shared"
    mine = opened({**remote, "KACHE_S3_PREFIX": prefix})
    other = opened({**remote, "KACHE_S3_PREFIX": prefix + "-2"})
    put(mine, "crate/a", b"mine")
    put(other, "crate/b", b"other")
    assert [each.key for each in mine.list("")] == ["crate/a"]
    assert [each.key for each in other.list("")] == ["crate/b"]


def test_deleting_what_is_not_there(there: Remote) -> None:
    there.delete("crate/object")
    put(there, "crate/object", b"x")
    there.delete("crate/object")
    there.delete("crate/object")
    assert list(there.list("")) == []


def test_every_character_that_a_key_may_have(there: Remote) -> None:
    keys = ["a+b/c+d", "_/_x_", "x.y/.units", ".units/plans/a.b", "a-b/-c", "A/z09._-+", "a/b/c/d/e.tar.zst"]
    for key in keys:
        assert put(there, key, key.encode(), ABSENT)
    for key in keys:
        assert get(there, key) == key.encode()
        assert [each.key for each in there.list(key)] == [key]
    assert sorted(each.key for each in there.list("")) == sorted(keys)
    for key in keys:
        there.delete(key)
    assert list(there.list("")) == []


# More than one page has; of servers that were asked for a thousand, some give fewer.
MANY, FEW = 2300, 7


def put_many(there: Remote) -> None:
    keys = [f"many/{number:05d}" for number in range(MANY)] + [f"few/{number}" for number in range(FEW)]
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda key: put(there, key, b"x"), keys))


def test_a_listing_has_all_pages(there: Remote) -> None:
    put_many(there)
    assert sorted(each.key for each in there.list("many/")) == [f"many/{number:05d}" for number in range(MANY)]
    assert len(list(there.list("few/"))) == FEW
    found = [each.key for each in there.list("")]
    assert len(found) == len(set(found)) == MANY + FEW


def test_a_bucket_with_much_else_is_asked_for_each_crate(
    seaweed: SeaweedFS, prefix: str, proxy: Proxy, world: World
) -> None:
    """One listing of everything is given up where it takes more requests than one a crate."""
    there = opened(machines.s3_of(seaweed, prefix, proxy.endpoint))
    put_many(there)
    settings = config.load({"HOME": "/"}, ())
    mover = Transfer(Store(str(world.root / "store")), there, settings, Keyring(settings))

    def listings(crates: "set[str] | None") -> Tuple[int, List[str]]:
        """The objects found, and the requests of which each names a crate or nothing."""
        before = len(proxy.requests)
        found = sync.of_listing(mover, crates, 4)
        asked = [each.path for each in proxy.requests[before:]]
        assert all("list-type=2" in path for path in asked)
        named = ["few" if "%2Ffew%2F" in path else "none" if "%2Fnone%2F" in path else "" for path in asked]
        return len(found), named

    count, asked = listings({"few", "none"})
    assert count == FEW
    assert sorted(asked) in (["", "", "", "few", "none"], ["", "", "few", "none"])
    # one listing of everything, three pages, is what four crates cost at most
    count, asked = listings({"few", "none", "none-2", "none-3"})
    assert count == FEW
    assert asked == ["", "", ""]
    count, asked = listings(None)
    assert count == MANY + FEW
    assert asked == ["", "", ""]


CONDITIONS: Dict[str, Dict[str, List[int]]] = {
    "seaweed": {"bare": [200], "quoted": [200], "stale": [412], "missing": [412], "delete": [412]},
    "ceph": {"bare": [200], "quoted": [412], "stale": [412], "missing": [412], "delete": [200, 204]},
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_what_servers_answer_to_conditions(request: pytest.FixtureRequest, prefix: str, name: str) -> None:
    """As the docstrings of tests/servers say: what kache does about conditions hangs on it."""
    server = request.getfixturevalue(name)
    client, key = server.client(), prefix + "object"

    def answer(method: str, **more: Any) -> int:
        try:
            done = getattr(client, method)(Bucket=server.bucket, Key=more.pop("Key", key), **more)
        except ClientError as error:
            done = error.response
        return int(done["ResponseMetadata"]["HTTPStatusCode"])

    def tag() -> str:
        return str(client.head_object(Bucket=server.bucket, Key=key)["ETag"]).strip('"')

    wanted = CONDITIONS[name]
    assert answer("put_object", Body=b"0", IfNoneMatch="*") == 200
    assert answer("put_object", Body=b"0", IfNoneMatch="*") == 412
    stale = tag()
    assert answer("put_object", Body=b"1", IfMatch=stale) in wanted["bare"]
    assert answer("put_object", Body=b"2", IfMatch='"%s"' % tag()) in wanted["quoted"]
    assert answer("put_object", Body=b"3", IfMatch=stale) in wanted["stale"]
    assert answer("put_object", Body=b"4", IfMatch=stale, Key=key + "-none") in wanted["missing"]
    assert answer("head_object", Key=key + "-none") == 404
    assert answer("delete_object", IfMatch=stale) in wanted["delete"]
    assert answer("head_object") == (200 if wanted["delete"] == [412] else 404)


def test_ceph_is_reached_with_its_own_authority_alone(
    request: pytest.FixtureRequest, prefix: str, tmp_path: Path
) -> None:
    """It is TLS that is spoken, and a certificate that nobody vouches for ends it."""
    from kachelib.remote import Unreachable

    variables = machines.s3_of(request.getfixturevalue("ceph"), prefix)
    assert variables["KACHE_S3_ENDPOINT"].startswith("https://")
    del variables["KACHE_S3_CA_BUNDLE"]
    with pytest.raises(Unreachable, match="certificate"):
        put(opened(variables), "crate/object", b"x")

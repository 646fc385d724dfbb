"""The uploader is killed, its server is, or the remote is dead: builds pass, and nothing that was queued is lost."""

import contextlib
import json
import random
import shutil
import subprocess
import threading
import time
import uuid
from typing import Dict, Iterator, List, Set

import pytest

from tests.remote.machines import SAYS, Machine, results
from tests.remote.uploaders import HITS, Bucket, Fleet, Uploader, end, entries, one_line, until
from tests.servers.proxy import Proxy, black_hole, delay, drop_reply, hang, hang_after_headers, refused, status
from tests.servers.seaweed import SeaweedFS

NAMES = [f"crate{number:02}" for number in range(12)]


@contextlib.contextmanager
def down(server: SeaweedFS) -> Iterator[None]:
    """The server is killed, and started again at the end."""
    server.kill()
    try:
        yield
    finally:
        server.restart()


def check_all_is_there(fleet: Fleet, a: Machine) -> None:
    """The queue is empty, every object is in the remote, whole, and the store is in order."""
    assert Uploader(a).queue() == []
    assert entries(a) <= fleet.bucket.names()
    doctor = json.loads(a.run("doctor", "--checksums", "--json", env={"RUSTC_WRAPPER": str(fleet.kache.path)}).stdout)
    assert doctor["verify"]["problems"] == 0, doctor["verify"]
    names = [key.partition("/")[0] for key in entries(a)]
    c = fleet.machine("z", fleet.bucket.env)
    assert set(fleet.libraries(c).compile_all(sorted(names))) <= HITS


def test_killed_while_it_pushes_the_next_one_pushes_the_rest(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    proxy.rule(action=delay(0.4), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "1"})
    assert set(fleet.libraries(a).compile_all(NAMES)) == {"miss"}
    uploader = Uploader(a)
    until(proxied.names, "the first object")
    uploader.kill()
    left = uploader.queue()
    assert 0 < len(left) <= len(NAMES)
    assert len(proxied.names()) < len(NAMES)
    assert not uploader.runs()
    assert uploader.queue() == left
    proxy.clear()
    # the socket and the lock of the killed one lie there still; a compile starts the next one
    assert fleet.libraries(a).compile("another") == "miss"
    uploader.pid()
    uploader.drain().ok()
    check_all_is_there(fleet, a)


def test_drain_alone_pushes_what_a_killed_one_left(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """The last step of a CI job: it is enough whatever has become of the uploader."""
    proxy.rule(action=hang(), method="PUT")
    a = fleet.machine("a", proxied.env)
    fleet.libraries(a).compile_all(NAMES[:3])
    uploader = Uploader(a)
    uploader.pid()
    uploader.kill()
    assert len(uploader.queue()) == 3
    proxy.clear()
    uploader.drain().ok()
    assert uploader.queue() == []
    assert entries(a) == proxied.names()


def test_the_server_is_killed_and_comes_back(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    proxy.rule(action=delay(0.3), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "1"})
    fleet.libraries(a).compile_all(NAMES[:6])
    uploader = Uploader(a)
    until(proxied.names, "the first object")
    with down(fleet.server):
        assert fleet.libraries(a).compile_all(NAMES[6:8]) == ["miss", "miss"]
        assert len(uploader.queue()) >= 2
    proxy.clear()
    uploader.drain("120s").ok()
    check_all_is_there(fleet, a)


def test_a_reply_that_is_lost_is_no_failure(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """The write succeeded, and whoever tries again is told that it is there."""
    proxy.rule(action=drop_reply(), method="PUT", times=3)
    a = fleet.machine("a", proxied.env)
    fleet.libraries(a).compile_all(NAMES[:3])
    Uploader(a).drain().ok()
    check_all_is_there(fleet, a)


DEAD = {"503 for ever": status(503), "accepts and never answers": hang(), "hangs after headers": hang_after_headers()}


@pytest.mark.parametrize(
    "how", ["503 for ever", "accepts and never answers", pytest.param("hangs after headers", marks=pytest.mark.soak)]
)
def test_a_dead_remote_slows_nobody_and_loses_nothing(fleet: Fleet, proxied: Bucket, proxy: Proxy, how: str) -> None:
    """A compile waits 3 s at most; twenty of them would come to a minute if each waited."""
    proxy.rule(action=DEAD[how])
    a = fleet.machine("a", proxied.env)
    names = [f"crate{number:02}" for number in range(20)]
    started = time.monotonic()
    assert set(fleet.libraries(a).compile_all(names)) == {"miss"}
    took = time.monotonic() - started
    assert took < 40, f"twenty small compiles took {took:.0f} s"
    assert proxy.requests, "nobody asked the remote"
    uploader = Uploader(a)
    # the replies to some may have been lost after the write
    assert len(uploader.queue()) >= 20 - len(proxied.names())
    one_line(uploader.drain("2s"))
    proxy.clear()
    uploader.drain("180s").ok()
    check_all_is_there(fleet, a)


def test_a_server_that_is_down_is_waited_for(fleet: Fleet) -> None:
    """Refused: all stays queued, through a change of uploaders, until the server is there."""
    a = fleet.machine("a", fleet.bucket.env)
    uploader = Uploader(a)
    with down(fleet.server):
        run = a.cargo("build", env={"KACHE_WARM_TARGETS": "0"}).ok()
        assert set(results([run])) == {"miss"}
        assert a.program() == SAYS
        assert len(uploader.queue()) >= 5
        told = one_line(uploader.drain("2s"))
        assert fleet.bucket.server.secret_key not in told
        uploader.command("restart").ok()
        assert len(uploader.queue()) >= 5
    uploader.drain("180s").ok()
    assert uploader.queue() == []
    assert entries(a) <= fleet.bucket.names()


@pytest.mark.parametrize("how", ["refused", "black hole"])
def test_an_address_where_nobody_is(fleet: Fleet, how: str) -> None:
    """Refused, or not even that: nothing is lost, whether an uploader runs or not."""
    with refused() if how == "refused" else black_hole() as nowhere:
        a = fleet.machine("a", {**fleet.bucket.env, "KACHE_S3_ENDPOINT": nowhere})
        started = time.monotonic()
        assert set(fleet.libraries(a).compile_all(NAMES)) == {"miss"}
        took = time.monotonic() - started
        assert took < 25, f"twelve small compiles took {took:.0f} s"
        uploader = Uploader(a)
        assert len(uploader.queue()) == len(NAMES)
        one_line(uploader.drain("2s"))
        uploader.command("stop").ok()
        uploader.gone()
        assert len(uploader.queue()) == len(NAMES)


def test_a_slow_answer_is_not_waited_for(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """The remote has it, but not within 3 s: compiled, as without it."""
    a = fleet.machine("a", fleet.bucket.env)
    fleet.libraries(a).compile("first")
    Uploader(a).drain().ok()
    proxy.rule(action=delay(600))
    b = fleet.machine("b", proxied.env, KACHE_REMOTE_READONLY="1")
    started = time.monotonic()
    assert fleet.libraries(b).compile("first") == "miss"
    assert time.monotonic() - started < 30
    proxy.clear()


def test_what_the_remote_lacks_is_asked_once(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """Compiles of a crate that the remote has never seen: the answer is kept, and no compile asks again."""
    a = fleet.machine("a", proxied.env, KACHE_REMOTE_READONLY="1")
    libraries = fleet.libraries(a)
    for number in range(8):
        assert libraries.compile("absent", f"pub fn f() -> u32 {{ {number} }}\n") == "miss"
    asked = [path for _, path, _ in proxy.requests if "absent" in path]
    assert len(asked) <= 2, asked
    assert len(proxy.requests) <= 8, proxy.requests


def test_what_is_asked_of_one_version_says_nothing_of_the_next(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """One version of a crate is missing in the remote, another one is there."""
    a = fleet.machine("a", fleet.bucket.env)
    fleet.libraries(a).compile("present", "pub fn f() -> u32 { 1 }\n")
    Uploader(a).drain().ok()
    b = fleet.machine("b", proxied.env, KACHE_REMOTE_READONLY="1")
    libraries = fleet.libraries(b)
    assert libraries.compile("present", "pub fn f() -> u32 { 2 }\n") == "miss"
    asked = len(proxy.requests)
    b.run("purge").ok()
    assert libraries.compile("present", "pub fn f() -> u32 { 2 }\n") == "miss"
    assert len(proxy.requests) - asked <= 2, proxy.requests[asked:]
    assert libraries.compile("present", "pub fn f() -> u32 { 1 }\n") == "remote_hit"


@pytest.mark.parametrize("how", ["read-only keys", "wrong secret", "no bucket"])
def test_a_remote_that_takes_nothing(fleet: Fleet, how: str) -> None:
    """Builds pass, drain says it in a line, and what was queued is pushed when that has changed."""
    server, bucket = fleet.server, fleet.bucket
    more: Dict[str, str] = {}
    if how == "read-only keys":
        more = {
            "KACHE_S3_ACCESS_KEY": server.read_only_access_key,
            "KACHE_S3_SECRET_KEY": server.read_only_secret_key,
        }
    elif how == "wrong secret":
        more = {"KACHE_S3_SECRET_KEY": "wrong-but-secret"}
    else:
        bucket = Bucket(server, fleet.prefix, name=f"kache-{uuid.uuid4().hex}")
    a = fleet.machine("a", {**bucket.env, **more})
    assert fleet.libraries(a).compile_all(NAMES[:4]) == ["miss"] * 4
    uploader = Uploader(a)
    told = one_line(uploader.drain("3s"))
    assert uploader.log()
    for text in (told, uploader.log(), uploader.command("status").stdout):
        for secret in ("wrong-but-secret", server.read_only_secret_key, server.secret_key):
            assert secret not in text
    assert len(uploader.queue()) == 4
    uploader.command("stop").ok()
    if how == "no bucket":
        server.client().create_bucket(Bucket=bucket.name)
    a.env.update(bucket.env)
    uploader.drain().ok()
    assert entries(a) == bucket.names()


@pytest.mark.parametrize("command", [("purge",), ("gc", "--max-size", "1KiB")])
def test_what_was_evicted_before_it_was_pushed_is_passed_over(
    fleet: Fleet, proxied: Bucket, proxy: Proxy, command: List[str]
) -> None:
    proxy.rule(action=status(503))
    a = fleet.machine("a", proxied.env)
    libraries = fleet.libraries(a)
    libraries.compile_all(NAMES[:3])
    a.run(*command).ok()
    assert entries(a) == set()
    proxy.clear()
    assert libraries.compile("later") == "miss"
    uploader = Uploader(a)
    uploader.drain("180s").ok()
    assert uploader.queue() == []
    assert entries(a, "later") <= proxied.names()
    # what was pushed, was pushed whole
    c = fleet.machine("z", proxied.env)
    assert fleet.libraries(c).compile("later") == "remote_hit"


def test_gc_and_purge_while_it_pushes(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    proxy.rule(action=delay(0.2), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "2"})
    libraries = fleet.libraries(a)
    for round_, command in enumerate((["gc", "--max-size", "1KiB"], ["purge"], ["purge", "--crate-name", "x2"])):
        libraries.compile_all([f"x{round_}", f"y{round_}", f"z{round_}"])
        a.run(*command)
    pid = Uploader(a).pid()
    assert libraries.compile("last") == "miss"
    Uploader(a).drain().ok()
    assert Uploader(a).pids() == [pid]
    assert Uploader(a).queue() == []
    assert entries(a) <= proxied.names()
    doctor = json.loads(a.run("doctor", "--checksums", "--json", env={"RUSTC_WRAPPER": str(fleet.kache.path)}).stdout)
    assert doctor["verify"]["problems"] == 0, doctor["verify"]
    # every object that got there is whole
    c = fleet.machine("z", proxied.env)
    names = sorted({key.partition("/")[0] for key in proxied.names()})
    assert set(fleet.libraries(c).compile_all(names)) <= HITS


def test_the_cache_directory_goes_away(fleet: Fleet) -> None:
    """``rm -rf`` on it: the uploader of what was there does not serve, and does not stay for ever."""
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    libraries.compile("first")
    uploader = Uploader(a)
    old = uploader.pid()
    uploader.drain().ok()
    shutil.rmtree(a.cache_dir)
    assert libraries.compile("second") == "miss"
    until(uploader.answers, "an uploader of the new directory")
    uploader.drain().ok()
    assert entries(a, "second") <= fleet.bucket.names()
    until(lambda: len(uploader.pids()) == 1, f"the end of one of {uploader.pids()}, the old one being {old}")


@pytest.mark.soak
def test_killed_at_random_nothing_is_lost(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """Uploader, ``sync`` and server, 50 rounds: every object arrives, and what the remote has said it has it keeps."""
    chance = random.Random(20261126)
    proxy.rule(action=delay(0.05), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "2"})
    libraries, uploader = fleet.libraries(a), Uploader(a)
    acknowledged: Set[str] = set()
    for number in range(50):
        assert libraries.compile_all([f"r{number}a", f"r{number}b", f"r{number}c"]) == ["miss"] * 3
        time.sleep(chance.random() * 0.5)
        victim = chance.choice(["uploader", "uploader", "sync", "server"])
        if victim == "uploader":
            uploader.kill()
        elif victim == "server":
            fleet.server.kill()
            time.sleep(chance.random())
            fleet.server.restart()
        else:
            killed_sync(a, chance.random())
        keys = proxied.names()
        assert acknowledged <= keys
        acknowledged = keys
    assert libraries.compile("last") == "miss"
    uploader.drain("300s").ok()
    assert len(entries(a)) == 151
    check_all_is_there(fleet, a)


def killed_sync(a: Machine, seconds: float) -> None:
    view = a.view()
    process = subprocess.Popen(
        [str(a.kache.path), "sync", "--push"],
        cwd=a.ws,
        env=view.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    process.kill()
    process.wait()


@pytest.mark.soak
def test_a_remote_that_comes_back_is_used_again(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """Trouble is no "no": what could not be asked is asked again once the circuit has closed."""
    a = fleet.machine("a", fleet.bucket.env)
    fleet.libraries(a).compile("first")
    Uploader(a).drain().ok()
    b = fleet.machine("b", proxied.env, KACHE_REMOTE_READONLY="1")
    libraries = fleet.libraries(b)
    proxy.rule(action=status(503))
    assert libraries.compile("first") == "miss"
    proxy.clear()

    def hit() -> bool:
        b.run("purge").ok()
        time.sleep(2)
        return libraries.compile("first") == "remote_hit"

    until(hit, "a hit of the remote", 300)


@pytest.mark.soak
def test_stopped_and_killed_between_the_steps_of_a_drain(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """A drain whose uploader is killed under it goes on with another one, or says that it could not."""
    proxy.rule(action=delay(0.5), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "1"})
    uploader = Uploader(a)
    for number in range(5):
        fleet.libraries(a).compile_all([f"r{number}n{each}" for each in range(4)])
        killer = threading.Timer(0.7, end, [uploader.pid()])
        killer.start()
        run = uploader.drain("60s")
        killer.join()
        assert run.returncode in (0, 1)
        assert (run.returncode == 0) == (uploader.queue() == [])
    proxy.clear()
    uploader.drain().ok()
    check_all_is_there(fleet, a)

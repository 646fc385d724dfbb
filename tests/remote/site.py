"""Two stores and an S3 server, with a proxy between: what the one pushed, the other one pulls through all troubles."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Set

import pytest

from kachelib import cli, config, evict, index, integrity, sync, transfer
from kachelib.remote import Remote, open_remote
from kachelib.signing import Keyring
from kachelib.store import Store
from kachelib.transfer import Transfer
from tests import stock
from tests.remote.machines import s3_of
from tests.servers.proxy import Proxy
from tests.servers.seaweed import SeaweedFS

PATIENCE = 60.0  # seconds


class Told(NamedTuple):
    """What ``kache sync --json`` said. document: empty where it told none."""

    code: int
    document: Dict[str, Any]
    stderr: str


class Site:
    """Stores ``a`` and ``b``; of each a Transfer that goes straight to the server, and one that goes by the proxy."""

    def __init__(self, root: Path, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> None:
        self.proxy = proxy
        self.straight, self.by_proxy = s3_of(seaweed, prefix), s3_of(seaweed, prefix, proxy.endpoint)
        self.a, self.b = Store(str(root / "a")), Store(str(root / "b"))
        for store in (self.a, self.b):
            # a store of unknown size would have a gc started, in a process of its own
            evict.reset_growth(store.root, 0)
        self.remotes: List[Remote] = []

    def mover(self, store: Store, by_proxy: bool = False) -> Transfer:
        settings = config.load({"HOME": "/", **(self.by_proxy if by_proxy else self.straight)}, ())
        found = open_remote(settings)
        self.remotes.append(found)
        return Transfer(store, found, settings, Keyring(settings))

    def close(self) -> None:
        for each in self.remotes:
            each.close()

    def fill(self, count: int, first: int = 0, size: int = 3000) -> None:
        """Put so many entries into ``a``, each with a library that no other has."""
        for number in range(first, first + count):
            stock.put(self.a, f"crate{number}", content=os.urandom(size))

    def push(self) -> List[str]:
        """Push all of ``a``, straight; returns the keys."""
        mover, jobs = self.mover(self.a), sync.of_store(self.a)
        for job in jobs:
            assert job.outgoing is not None
            mover.push(job.outgoing())
        return sorted(job.key for job in jobs)

    def sync(
        self, store: Store, *words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Told:
        """``kache sync --json`` of a store, by the proxy, in this process. Returns when its threads have ended."""
        for name, value in {**self.by_proxy, "KACHE_CACHE_DIR": store.root}.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = cli.main(["sync", "--json", *words])
        out, err = capsys.readouterr()
        wait_for(lambda: not any(each.name.startswith("kache_") for each in threading.enumerate()))
        return Told(code, json.loads(out) if out else {}, err)


def wait_for(holds: Any) -> None:
    """Wait until it holds; fails when it does not for long."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def keys_of(store: Store) -> Set[str]:
    """The keys of all entries that a store holds whole."""
    found = sync.local_entries(store)
    return {transfer.entry_key(candidate.crate_name, candidate.cache_key) for _, _, candidate in found}


def files_of(store: Store) -> Dict[str, bytes]:
    """All entries, blobs and units of a store, by name."""
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for name in ("entries", "store", "units")
        for path in Path(store.root, name).rglob("*")
        if path.is_file()
    }


def check(store: Store) -> None:
    """Every blob is what its name says, every entry whole, and the index says what the entries say."""
    os.makedirs(store.root, exist_ok=True)
    with index.opened(store.root):
        pass
    verdict = integrity.verify(store.root, checksums=True, repair=False)
    assert verdict.problems() == 0, verdict.fields()

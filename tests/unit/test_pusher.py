"""The pusher: what is given up, and what waits in the queue for better times."""

import errno
import time
from pathlib import Path
from typing import List

import pytest

from kachelib import config, entry, log, push_queue, pusher
from kachelib.ledger import Ledger
from kachelib.remote import SharedDisk
from kachelib.signing import Keyring
from kachelib.store import Store
from kachelib.transfer import Outgoing, Transfer
from kachelib.watched import Watched
from tests.unit.test_transfer import FIELDS, action_key, candidate_of


class Troubled(Transfer):
    """A transfer that fails at first: no disk here can be filled at will."""

    def __init__(self, *words: object, failures: List[int]) -> None:
        super().__init__(*words)  # type: ignore[arg-type]
        self.failures = failures

    def push(self, what: Outgoing) -> int:
        if self.failures:
            raise OSError(self.failures.pop(), "trouble")
        return super().push(what)


class Place:
    """A store with one entry that is to be pushed to a directory, and a pusher."""

    def __init__(self, root: Path, failures: List[int]) -> None:
        (root / "shared").mkdir()
        file = root / "config.toml"
        file.write_text(f'[cache.remote]\ntype = "filesystem"\npath = "{root}/shared"\n')
        self.said: List[bytes] = []
        environ = {"HOME": str(root), "KACHE_CONFIG": str(file), "KACHE_CACHE_DIR": str(root / "cache")}
        self.settings = config.load(environ, ())
        remote = Watched(SharedDisk(str(root / "shared"), "artifacts"), lambda what, why: None)
        store = Store(self.settings.cache_dir)
        self.mover = Troubled(store, remote, self.settings, Keyring(self.settings), failures=failures)
        self.found = candidate_of(store)
        store.write_entry(action_key(), entry.empty().with_candidate(self.found, FIELDS))
        push_queue.add(self.settings, push_queue.ENTRY, action_key(), self.found.cache_key)
        voice = log.Log(self.settings, self.said.append)
        self.pusher = pusher.Pusher(self.settings, voice, self.mover, remote, Ledger(self.settings.cache_dir))
        self.object = root / "shared/artifacts/thing" / (self.found.cache_key + ".tar.zst")

    def wait(self, seconds: float) -> None:
        """Until the queue is empty, or so long."""
        end = time.monotonic() + seconds
        while self.pusher.waiting() and time.monotonic() < end:
            time.sleep(0.02)


def test_a_full_disk_here_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it fails; and people hear of it once."""
    monkeypatch.setattr(pusher, "REST", 0.05)
    monkeypatch.setattr(pusher, "SCAN", 0.05)
    place = Place(tmp_path, [errno.ENOSPC] * 2 * pusher.MOST_ATTEMPTS)
    place.pusher.start()
    place.wait(30)
    place.pusher.stop()
    assert place.mover.failures == []
    assert place.object.exists()
    assert sum(b"nothing can be pushed now" in each for each in place.said) == 1


def test_it_is_left_alone_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "REST", 60.0)
    monkeypatch.setattr(pusher, "SCAN", 0.05)
    place = Place(tmp_path, [errno.EMFILE])
    place.pusher.start()
    place.wait(1)
    place.pusher.stop()
    assert place.pusher.waiting() == 1
    assert not place.object.exists()


def test_an_object_that_cannot_be_read_is_given_up(tmp_path: Path) -> None:
    """It would be in the way of all others for ever."""
    place = Place(tmp_path, [errno.EISDIR] * pusher.MOST_ATTEMPTS)
    place.pusher.start()
    place.wait(30)
    place.pusher.stop()
    assert place.mover.failures == []
    assert not place.object.exists()
    assert any(b"is not going to be pushed" in each for each in place.said)

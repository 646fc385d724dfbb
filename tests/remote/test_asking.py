"""What compiles ask the courier: nobody asks the remote in vain for long."""

import os
import posix
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from kachelib import log, push_queue
from kachelib.courier import Courier
from kachelib.fetcher import LEARNING, PATIENCE
from kachelib.settings import Settings
from tests.remote.uploaders import until
from tests.servers.proxy import Proxy, hang
from tests.stock import settings_for

ACTION = "ab" * 32
CALLS = 20


@pytest.fixture
def silent() -> Iterator[Proxy]:
    # no request gets through to what stands behind it
    found = Proxy("http://127.0.0.1:9")
    found.rule(action=hang())
    yield found
    found.stop()


def courier_of(settings: Settings) -> Courier:
    return Courier(settings, log.for_daemon(settings, False))


def test_a_silent_remote_costs_a_build_one_wait(tmp_path: Path, silent: Proxy) -> None:
    (tmp_path / "Cargo.lock").write_text("version = 4\n")
    courier = courier_of(
        settings_for(
            tmp_path / "cache",
            remote_bucket="bucket",
            remote_endpoint=silent.endpoint,
            s3_access_key="key",
            s3_secret_key="secret",
        )
    )
    try:
        courier.start()
        courier.fetcher.look([str(tmp_path)])
        # what is set up here meanwhile is not the remote's fault
        for _ in range(5):
            assert courier.fetcher.known(ACTION) == courier.fetcher.search("thing", ACTION) == []
            if courier.facts()["trouble"]:
                break
        assert courier.facts()["trouble"]
        began = time.monotonic()
        for _ in range(CALLS):
            assert courier.fetcher.known(ACTION) == courier.fetcher.search("thing", ACTION) == []
            assert not courier.fetcher.may_find("thing")
        # each would have waited as long as the first
        assert time.monotonic() - began < CALLS * LEARNING / 2
        assert len(silent.requests) <= 4
    finally:
        courier.stop()
        silent.stop()
        courier.close()


def test_who_waits_is_woken_when_another_finds_the_remote_silent(tmp_path: Path, silent: Proxy) -> None:
    courier = courier_of(
        settings_for(
            tmp_path / "cache",
            remote_bucket="bucket",
            remote_endpoint=silent.endpoint,
            s3_access_key="key",
            s3_secret_key="secret",
        )
    )
    try:
        threading.Timer(0.3, courier._remote.no_answer).start()
        began = time.monotonic()
        assert courier.fetcher.search("thing", ACTION) == []
        assert time.monotonic() - began < PATIENCE - 0.5
    finally:
        courier.stop()
        silent.stop()
        courier.close()


def test_a_crate_that_the_remote_lacks_is_not_looked_for_again(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    shared = tmp_path / "shared"
    (shared / "there").mkdir()
    (shared / "there" / f"{ACTION}.tar.zst").write_bytes(b"rubbish")
    settings = settings_for(tmp_path / "cache", remote_type="filesystem", remote_path=str(shared), remote_prefix="")
    courier = courier_of(settings)
    try:
        assert courier.fetcher.may_find("thing")
        assert courier.fetcher.search("thing", ACTION) == []
        assert not courier.fetcher.may_find("thing")
        assert courier.fetcher.may_find("there")
    finally:
        courier.stop()
        courier.close()


def test_what_is_to_be_pushed_is_on_disk_once_the_uploader_saw_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compile that noted it does not wait for that."""
    (tmp_path / "shared").mkdir()
    settings = settings_for(tmp_path / "cache", remote_type="filesystem", remote_path=str(tmp_path / "shared"))
    synced = set()
    real = posix.fsync

    def note(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(posix, "fsync", note)
    push_queue.add(settings, push_queue.ENTRY, ACTION, "cd" * 32)
    assert not synced
    queue = (tmp_path / "cache" / "queue").stat().st_ino
    courier = courier_of(settings)
    try:
        courier.start()
        until(lambda: queue in synced, "the queue's names on disk")
    finally:
        courier.stop()
        courier.close()

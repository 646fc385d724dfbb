"""A remote that takes requests and never answers: the first who asks waits for it, and nobody after that."""

import time
from pathlib import Path
from typing import Iterator

import pytest

from kachelib import config, log
from kachelib.courier import LEARNING, Courier
from tests.servers.proxy import Proxy, hang

ACTION = "ab" * 32
CALLS = 20


@pytest.fixture
def silent() -> Iterator[Proxy]:
    # no request gets through to what stands behind it
    found = Proxy("http://127.0.0.1:9")
    found.rule(action=hang())
    yield found
    found.stop()


def test_a_silent_remote_costs_a_build_one_wait(tmp_path: Path, silent: Proxy) -> None:
    (tmp_path / "Cargo.lock").write_text("version = 4\n")
    environ = {
        "KACHE_CACHE_DIR": str(tmp_path / "cache"),
        "KACHE_S3_BUCKET": "bucket",
        "KACHE_S3_ENDPOINT": silent.endpoint,
        "KACHE_S3_ACCESS_KEY": "key",
        "KACHE_S3_SECRET_KEY": "secret",
    }
    settings = config.load(environ, ())
    courier = Courier(settings, log.for_daemon(settings, False))
    try:
        courier.start()
        courier.look([str(tmp_path)])
        # what is set up here meanwhile is not the remote's fault
        for _ in range(5):
            assert courier.known(ACTION) == courier.search("thing", ACTION) == []
            if courier.facts()["trouble"]:
                break
        assert courier.facts()["trouble"]
        began = time.monotonic()
        for _ in range(CALLS):
            assert courier.known(ACTION) == courier.search("thing", ACTION) == []
        # each would have waited as long as the first
        assert time.monotonic() - began < CALLS * LEARNING / 2
        assert len(silent.requests) <= 4
    finally:
        courier.stop()
        silent.stop()
        courier.close()

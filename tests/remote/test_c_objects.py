"""C objects in the remote: as crates are, under ``cc-`` and the source's stem; by commands and by the uploader."""

from pathlib import Path
from typing import Callable, List

import pytest

from tests.cc.project import settle
from tests.remote.machines import Machine
from tests.remote.uploaders import Bucket, Fleet, SharedDisk, Uploader

FILES = {
    "src/one.c": '#include "shared.h"\nint one(void) { return SHARED; }\n',
    "src/two.c": '#include "shared.h"\nconst char *two(void) { return __FILE__; }\n',
    "src/shared.h": "#define SHARED 1\n",
}


@pytest.fixture(params=["s3", "filesystem"])
def remote(request: pytest.FixtureRequest, fleet: Fleet, require_tool: Callable[[str], str]) -> "Bucket | SharedDisk":
    require_tool("gcc")
    if request.param == "s3":
        return fleet.bucket
    return SharedDisk(fleet.world)


def checkout(machine: Machine) -> Path:
    for name, text in FILES.items():
        path = machine.ws / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (machine.ws / ".git").mkdir(exist_ok=True)
    settle()
    return machine.ws


def compiled(machine: Machine) -> List[str]:
    """Compile both sources; the results."""
    found = []
    for name in ("one", "two"):
        run = machine.run("gcc", "-g", "-MD", "-c", f"{machine.ws}/src/{name}.c", "-o", f"{name}.o").ok()
        found.append(str(run.events[-1]["result"]))
    return found


def test_sync_takes_objects_and_another_machine_hits(fleet: Fleet, remote: "Bucket | SharedDisk") -> None:
    a = fleet.machine("a", remote.env, KACHE_UPLOADER="off")
    b = fleet.machine("b", remote.env, KACHE_UPLOADER="off")
    checkout(a), checkout(b)
    assert compiled(a) == ["miss", "miss"]
    a.run("sync", "--push", "--all").ok()
    b.run("sync", "--pull", "--all").ok()
    assert compiled(b) == ["local_hit", "local_hit"]
    for name in ("one.o", "two.o"):
        assert (a.ws / name).read_bytes() == (b.ws / name).read_bytes()
    listed = b.run("list", "cc-one").ok().stdout
    assert "cc-one" in listed
    assert b.run("purge", "--crate-name", "cc-one").ok()
    assert compiled(b) == ["miss", "local_hit"]


def test_the_uploader_brings_them_while_a_build_runs(fleet: Fleet, remote: "Bucket | SharedDisk") -> None:
    a = fleet.machine("a", remote.env)
    checkout(a)
    assert compiled(a) == ["miss", "miss"]
    Uploader(a).drain().ok()
    b = fleet.machine("b", remote.env)
    checkout(b)
    assert set(compiled(b)) <= {"remote_hit", "prefetch_hit"}
    for name in ("one.o", "two.o"):
        assert (a.ws / name).read_bytes() == (b.ws / name).read_bytes()

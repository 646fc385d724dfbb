"""doctor and a remote that is a directory: what it may do there, and what it leaves."""

import json
import os
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from tests.world import Kache, World

Answer = Dict[str, Dict[str, str]]


@pytest.fixture
def disk(world: World) -> Path:
    """The directory; the world's kache is told of it."""
    path = world.root / "shared disk"
    path.mkdir()
    config = world.home / ".config/kache/config.toml"
    config.parent.mkdir()
    config.write_text(f'[cache.remote]\ntype = "filesystem"\npath = "{path}"\n')
    return path


@pytest.fixture
def unprivileged(require_tool: Callable[[str], str]) -> List[str]:
    """A command prefix without root's power over permissions; empty where there is none to give up."""
    if os.geteuid() != 0:
        return []
    return [require_tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]


def doctor(kache: Kache, prefix: "List[str] | None" = None, **env: str) -> Answer:
    environ = {"RUSTC_WRAPPER": str(kache.path), **env}
    run = kache.world.run([*(prefix or []), kache.path, "doctor", "--json"], env=environ)
    document = json.loads(run.stdout)
    problems = [each["check"] for each in document["findings"] if each["status"] == "problem"]
    assert run.returncode == (1 if problems else 0)
    assert [each for each in problems if not each.startswith("remote")] == []
    return {each["check"]: each for each in document["findings"] if each["check"].startswith("remote")}


def files(path: Path) -> List[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


def test_all_is_tried_and_nothing_stays(kache: Kache, disk: Path) -> None:
    found = doctor(kache)
    assert list(found) == ["remote", "remote list", "remote put", "remote get", "remote delete"]
    assert {each["status"] for each in found.values()} == {"ok"}
    assert found["remote"]["message"] == f"{disk}/artifacts"
    assert files(disk) == []


def test_without_a_remote_nothing_is_said_of_one(kache: Kache) -> None:
    assert doctor(kache) == {}


def test_a_disk_that_is_not_mounted_is_said(kache: Kache, disk: Path) -> None:
    disk.rmdir()
    found = doctor(kache)
    assert list(found) == ["remote", "remote list"]
    assert found["remote list"]["message"] == f"{disk} is no directory here: is it mounted?"


def test_a_reader_is_told_what_that_means(kache_file: Kache, disk: Path, unprivileged: List[str]) -> None:
    disk.chmod(0o555)
    found = doctor(kache_file, unprivileged)
    assert found["remote put"]["status"] == "problem"
    assert "Permission denied" in found["remote put"]["message"]
    assert found["remote put"]["hint"].startswith("pulls work, pushes will not: change its owner or mode, or set KACHE")
    assert found["remote get"]["status"] == "ok"
    assert "remote delete" not in found


def test_with_readonly_that_is_no_problem(kache_file: Kache, disk: Path, unprivileged: List[str]) -> None:
    (disk / "artifacts/serde").mkdir(parents=True)
    (disk / "artifacts/serde/x.tar.zst").write_bytes(b"content")
    disk.chmod(0o555)
    found = doctor(kache_file, unprivileged, KACHE_REMOTE_READONLY="1")
    assert {name: each["status"] for name, each in found.items()} == {
        "remote": "ok",
        "remote list": "ok",
        "remote put": "warning",
        "remote get": "ok",
    }
    (disk / "artifacts/serde/x.tar.zst").chmod(0)
    found = doctor(kache_file, unprivileged, KACHE_REMOTE_READONLY="1")
    assert found["remote get"]["status"] == "problem"
    assert "x.tar.zst: Permission denied" in found["remote get"]["message"]


def test_a_directory_that_cannot_be_read_is_not_taken_for_empty(
    kache_file: Kache, disk: Path, unprivileged: List[str]
) -> None:
    """os.walk passes over what it cannot read: a sync then pulled nothing, and said that all was well."""
    (disk / "artifacts").mkdir()
    (disk / "artifacts").chmod(0)
    found = doctor(kache_file, unprivileged)
    assert found["remote list"]["status"] == "problem"
    assert found["remote list"]["message"] == "Permission denied"
    run = kache_file.world.run([*unprivileged, kache_file.path, "sync", "--pull", "--all"])
    assert run.returncode == 1
    assert run.stderr == f"kache: {disk}/artifacts: Permission denied\n"
    (disk / "artifacts").chmod(0o755)

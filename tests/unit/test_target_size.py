"""What a target directory takes: by parts, an inode once, and what deleting gives back."""

import os
import time
from pathlib import Path
from typing import Dict

import pytest

from kachelib import mounts
from kachelib.target_size import PARTS
from tests.targets import FILES, INFO, TAG, disk_bytes, look, make, write
from tests.world import World

KILO = "x" * 4096


def test_the_parts_are_those_of_cargo_and_add_up_to_what_du_says(world: World) -> None:
    target = make(world.root / "target")
    [found] = look(world.root).targets
    parts = found.breakdown()
    assert sum(parts.values()) == disk_bytes(target)
    assert {name: found.parts[name].files for name in PARTS} == {
        "incremental": 2,
        "build": 2,
        "deps": 2,
        "fingerprint": 1,
        # lock and all that lies in the profile's directory itself, and the example
        "binaries": 4,
        "other": 3,
    }
    assert found.files() == len(FILES)
    assert parts["deps"] > parts["binaries"]


def test_the_newer_layout_is_told_apart_by_units(world: World) -> None:
    """Cargo 1.100: build/<package>/<hash>/{fingerprint,out,run}."""
    files = {
        "CACHEDIR.TAG": TAG,
        ".rustc_info.json": INFO,
        "debug/.cargo-build-lock": "",
        "debug/build/app/d3ca9d58cc84afc5/fingerprint/bin-app": "0123",
        "debug/build/app/d3ca9d58cc84afc5/out/app": "program",
        "debug/build/app/206d5d9c69cf9194/fingerprint/run-build-script-build-script-build": "0123",
        "debug/build/app/206d5d9c69cf9194/run/stdout": "",
        "debug/build/app/206d5d9c69cf9194/out/build/x/y/fingerprint/z": "made by a script",
    }
    write(world.root / "target", files)
    [found] = look(world.root).targets
    counted = {name: found.parts[name].files for name in PARTS}
    assert counted == {"incremental": 0, "build": 2, "deps": 1, "fingerprint": 2, "binaries": 1, "other": 2}


def test_profiles_of_triples_and_of_inner_target_directories_count(world: World) -> None:
    target = make(world.root / "target")
    for inner in ("x86_64-unknown-linux-gnu/release", "rust-analyzer/debug", "tests/trybuild/app/debug"):
        write(target / inner, {".cargo-lock": "", "incremental/a/s-1/dep-graph.bin": KILO, "deps/b": KILO})
    [found] = look(world.root).targets
    assert len(found.incremental) == 4 and len(found.locks) == 4
    assert found.parts["incremental"].files == 5 and found.parts["deps"].files == 5
    # what only has the name is none
    write(target / "doc", {"incremental/x": KILO})
    assert len(look(world.root).targets[0].incremental) == 4


def test_an_inode_counts_once_and_is_given_back_with_its_last_name(world: World) -> None:
    first, second = make(world.root / "a" / "target"), make(world.root / "b" / "target")
    big = write(first, {"debug/deps/big": KILO * 100}) / "debug/deps/big"
    size = big.stat().st_blocks * 512
    alone = [look(path).targets[0] for path in (first, second)]
    before = [sum(each.breakdown().values()) for each in alone]
    os.link(big, first / "debug/big")
    os.link(big, second / "debug/big")
    view = look(world.root)
    one, two = sorted(view.targets, key=lambda target: target.path)
    assert sum(one.breakdown().values()) == before[0] == view.sum(one, False).size
    assert view.sum(one, False).freed == before[0] - size
    assert view.sum(two, False) == (before[1] + size, before[1], 0)
    assert view.total([one, two], False)[:2] == (sum(before), sum(before))
    # known by the name that people call
    assert one.breakdown()["binaries"] > size > one.breakdown()["deps"]
    os.link(big, world.root / "kept")
    view = look(world.root)
    assert view.total(view.targets, False)[:2] == (sum(before), sum(before) - size)


def test_what_the_store_has_too_is_told_and_not_given_back(world: World) -> None:
    target = make(world.root / "target")
    name = "ab" * 32
    blob = write(world.cache_dir, {f"store/ab/{name}": KILO * 20}) / f"store/ab/{name}"
    for place in ("debug/deps/liba.rlib", "debug/liba.rlib"):
        os.link(blob, target / place)
    view = look(world.root, cache_dir=str(world.cache_dir), closed={str(world.cache_dir): "the store"})
    [found] = view.targets
    size, freed, stored = view.sum(found, False)
    assert stored == blob.stat().st_blocks * 512 and (size, freed) == (disk_bytes(target), size - stored)


@pytest.mark.parametrize(
    ("name", "access", "age"),
    [
        ("debug/deps/new", False, 100),
        (".rustc_info.json", True, 100),
        ("debug/app", True, 100),
        # read by whoever searches or saves the disk
        ("debug/deps/libdep-4c2bcd1539a98990.rlib", True, 9000),
    ],
)
def test_the_last_use_is_the_last_change_or_when_cargo_or_its_programs_were_read(
    world: World, name: str, access: bool, age: float
) -> None:
    target = make(world.root / "target")
    now = time.time()
    write(target, {"debug/deps/new": ""})
    for base, directories, names in os.walk(target, topdown=False):
        for each in [*names, *directories]:
            os.utime(Path(base) / each, (now - 9000, now - 9000))
    os.utime(target, (now - 9000, now - 9000))
    os.utime(target / name, (now - 100, now - (9000 if access else 100)))
    # twice: looking must not count as use
    for _ in range(2):
        assert abs(now - look(world.root).targets[0].last_use - age) < 2


def test_what_cannot_be_read_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from kachelib import descent

    target = make(world.root / "target")
    real = descent.open_at

    def refuse(parent: int, name: str) -> int:
        if name == "deps":
            raise PermissionError(13, "Permission denied")
        return real(parent, name)

    monkeypatch.setattr(descent, "open_at", refuse)
    [found] = look(target).targets
    assert found.incomplete == 1


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("36 35 98:0 / /mnt/a\\040b rw,noatime shared:1 - ext4 /dev/root rw", {"/mnt/a b": "ext4"}),
        ("36 35 98:0 /sub / rw - btrfs /dev/a-b rw,x", {"/": "btrfs"}),
        ("36 35 98:0 / /- rw shared:1 master:2 - nfs4 a:/b rw", {"/-": "nfs4"}),
        ("36 35 98:0 / /a rw", {}),
        ("", {}),
    ],
)
def test_mounts_are_read_as_the_kernel_writes_them(world: World, line: str, found: Dict[str, str]) -> None:
    (world.root / "mountinfo").write_text(line + "\n")
    assert mounts.table(str(world.root / "mountinfo")) == found


def test_mounts_know_where_a_path_lies() -> None:
    points = {"/": "ext4", "/home": "xfs", "/home/a/target/x": "tmpfs"}
    assert [mounts.kind(points, path) for path in ("/", "/homes/a", "/home", "/home/a")] == [
        "ext4",
        "ext4",
        "xfs",
        "xfs",
    ]
    assert mounts.below(points, "/home/a/target") == ["/home/a/target/x"]
    assert mounts.below(points, "/home/a/tar") == [] and mounts.below(points, "/") == ["/home", "/home/a/target/x"]
    assert mounts.kind({}, "/a") == ""

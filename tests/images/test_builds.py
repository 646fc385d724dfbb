"""Real Cargo with the one file, in a root that holds Rust, what it links with, sh and a Python; and from a baked store.

Read-only, no network, no HOME, a user that nobody knows, /tmp mounted noexec.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Mapping

import pytest

from tests.conftest import missing
from tests.images.crates import CARGO, COMPILES, PACKAGES, build, place_workspace, shell, states
from tests.images.roots import Root, add_python, add_rust, ends, interpreters
from tests.world import World

PYTHONS = interpreters()
EACH = [pytest.param(name, marks=[] if name in ends(PYTHONS) else pytest.mark.soak) for name in PYTHONS]
FRESH = {name: ["Fresh"] for name in PACKAGES}
COMPILED = {name: ["Compiling"] for name in PACKAGES}


def furnish(root: Root, rust: Mapping[str, str], program: str) -> Dict[str, str]:
    """A Python, Rust and the workspace; returns the variables for a build."""
    if not rust:
        missing("rustc")
    python = add_python(root, program)
    add_rust(root, rust["sysroot"])
    place_workspace(root)
    return {**CARGO, "PATH": "/rust/bin:/bin", "KACHE_PYTHON": python}


def listing(directory: Path) -> List[str]:
    found = [(path, path.lstat()) for path in sorted(directory.rglob("*"))]
    return [f"{path} {state.st_size} {state.st_mtime_ns} {state.st_ino} {state.st_mode}" for path, state in found]


@pytest.mark.parametrize("name", EACH)
def test_a_build_cold_and_warm(name: str, root: Root, uid: int, rust: Mapping[str, str]) -> None:
    env = {**furnish(root, rust, PYTHONS[name]), "KACHE_CACHE_DIR": "/job/cache"}
    assert shell(root, "/opt/kache --version", env, uid).stdout.startswith("kache ")
    salt = root.run(["/opt/kache", "salt"], env, uid)
    assert (salt.returncode, salt.stdout, salt.stderr.count("\n")) == (1, "", 1)
    assert states(build(root, env, uid, "one")) == COMPILED
    shell(root, "cd /job/ws && CARGO_TARGET_DIR=/job/one /opt/kache save", env, uid)
    assert states(build(root, env, uid, "two")) == FRESH
    # every call of rustc as well, where no target is warmed
    build(root, {**env, "KACHE_WARM_TARGETS": "0"}, uid, "three")
    report = json.loads(shell(root, "/opt/kache report --json", env, uid).stdout)
    summary = report["summary"]
    assert (summary["misses"], summary["local_hits"], summary["errors"]) == (COMPILES, COMPILES, 0), report
    # a limit that any disk holds
    limited = {**env, "KACHE_MAX_SIZE": "1GiB"}
    assert "all is well" in root.run(["/opt/kache", "doctor", "--probe"], limited, uid).stdout
    assert {path.name for path in root.work.iterdir()} == {"ws", "cache", "cargo", "one", "two", "three"}


@pytest.fixture
def baked(root: Root, rust: Mapping[str, str], world: World) -> Dict[str, str]:
    """The root with a store in it that was filled while the image was made, as root; the variables for a build."""
    env = furnish(root, rust, sys.executable)
    making = {**env, "KACHE_CACHE_DIR": "/opt/store", "CARGO_HOME": "/opt/cargo"}
    line = "cd /job/ws && export CARGO_TARGET_DIR=/job/made && cargo build --locked && /opt/kache save"
    shell(root, line, making, 0, writable=True)
    for name in ("made", "ws"):
        subprocess.run(["rm", "-r", str(root.work / name)], check=True)
    assert os.listdir(root.work) == []
    # the checkout of the job, at another place and with new times
    place_workspace(root, "job/checkout")
    return {**env, "KACHE_READONLY_STORE": "/opt/store", "CARGO_HOME": "/opt/cargo"}


@pytest.mark.parametrize("copied", [False, True], ids=["as it was made", "copied"])
def test_a_store_in_the_image_serves_the_first_build(root: Root, uid: int, baked: Dict[str, str], copied: bool) -> None:
    """Image builders set the times of what they copy."""
    if copied:
        for path in (root.place / "opt" / "store").rglob("*"):
            os.utime(path)
    before = listing(root.place)
    env = {**baked, "KACHE_CACHE_DIR": "/job/cache"}
    assert states(build(root, env, uid, "two", ws="/job/job/checkout")) == FRESH
    # every call of rustc as well, where no target is warmed
    build(root, {**env, "KACHE_WARM_TARGETS": "0"}, uid, "three", ws="/job/job/checkout")
    report = json.loads(shell(root, "/opt/kache report --json", env, uid).stdout)
    assert (report["summary"]["misses"], report["summary"]["local_hits"]) == (0, COMPILES), report
    assert listing(root.place) == before
    assert {path.name for path in root.work.iterdir()} == {"job", "cache", "two", "three"}


@pytest.mark.parametrize("home", [None, "/"])
def test_without_a_place_of_ones_own_a_build_passes(root: Root, uid: int, rust: Mapping[str, str], home: str) -> None:
    """Container engines set HOME=/ for a user that nobody knows."""
    env = furnish(root, rust, sys.executable)
    if home is not None:
        env["HOME"] = home
    said = build(root, env, uid, "one")
    assert states(said) == COMPILED
    assert "kache" not in said.replace("/opt/kache", "")
    assert {path.name for path in root.work.iterdir()} == {"ws", "cargo", "one"}


def test_without_a_place_of_ones_own_the_baked_store_serves(root: Root, uid: int, baked: Dict[str, str]) -> None:
    env = {**baked, "HOME": "/"}
    assert states(build(root, env, uid, "two", ws="/job/job/checkout")) == FRESH
    # a line for each crate needs a standard error that its user may open: here a pipe of his own
    line = (
        "{ cd /job/job/checkout && CARGO_TARGET_DIR=/job/three cargo build --locked || echo failed; } 2>&1"
        ' | while read -r line; do echo "$line"; done'
    )
    said = shell(root, line, {**env, "KACHE_WARM_TARGETS": "0", "KACHE_PROGRESS": "always"}, uid).stdout
    assert said.count("local_hit") == COMPILES, said
    assert "failed" not in said
    assert {path.name for path in root.work.iterdir()} == {"job", "two", "three"}

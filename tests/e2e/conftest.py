"""Fixtures of the end-to-end tests; what they run is in tests/world.py and tests/e2e/rustc.py."""

import subprocess
from pathlib import Path
from typing import Mapping

import pytest

from tests.conftest import missing
from tests.e2e.rustc import LOOKING, Rustc, Spy
from tests.world import Kache, World


@pytest.fixture
def rustc(world: World, kache: Kache, rust: Mapping[str, str]) -> Rustc:
    """rustc through kache, executables cached; see ``Rustc``."""
    if not rust:
        missing("Rust")
    world.env["KACHE_CACHE_EXECUTABLES"] = "1"
    return Rustc(world, kache)


@pytest.fixture
def spy(world: World, rust: Mapping[str, str]) -> Spy:
    """A compiler that tells what it was given and does what a test says; see ``Spy``."""
    if not rust:
        missing("Rust")
    return Spy(world, Path(rust["sysroot"]))


@pytest.fixture(scope="session")
def looking(rust: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled macros of ``LOOKING``, a crate named ``look``."""
    if not rust:
        missing("Rust")
    base = tmp_path_factory.mktemp("look")
    (base / "look.rs").write_text(LOOKING)
    words = "--crate-name=look --edition=2021 --crate-type=proc-macro -Cmetadata=look look.rs"
    subprocess.run([f"{rust['sysroot']}/bin/rustc", *words.split()], cwd=base, check=True)
    return base / "liblook.so"

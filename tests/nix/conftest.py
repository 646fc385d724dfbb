"""Fixtures of the Nix tests: ``nix``, real Nix over a stand-in for nixpkgs (flakes.py)."""

from typing import Mapping

import pytest

from tests.conftest import missing
from tests.nix.flakes import Nix, works
from tests.world import World


@pytest.fixture
def nix(world: World, rust: Mapping[str, str]) -> Nix:
    trouble = works()
    if trouble:
        missing(f"nix (nix-bin), or a store that it may write: {trouble}")
    if not rust:
        missing("rustc")
    world.env["PATH"] = "/usr/bin:/bin"
    # in a shell kache finds its own interpreter
    del world.env["KACHE_PYTHON"]
    return Nix(world, rust)

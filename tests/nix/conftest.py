"""Fixtures of the Nix tests: ``nix``, real Nix over a stand-in for nixpkgs (flakes.py); the system's and a newer."""

from typing import Mapping

import pytest

from tests.conftest import missing
from tests.nix.flakes import PROGRAMS, Nix, works
from tests.world import World


@pytest.fixture(params=PROGRAMS)
def nix(world: World, rust: Mapping[str, str], request: pytest.FixtureRequest) -> Nix:
    program = PROGRAMS[request.param]
    trouble = works(program)
    if trouble:
        missing(f"the {request.param} nix (nix-bin), or a store that it may write: {trouble}")
    if not rust:
        missing("rustc")
    world.env["PATH"] = "/usr/bin:/bin"
    # in a shell kache finds its own interpreter
    del world.env["KACHE_PYTHON"]
    return Nix(world, rust, program)

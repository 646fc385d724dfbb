"""`kache warm --explain`: for each package whether its units come back and, if not, what differs."""

from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

import pytest

from tests.e2e.test_warm import FILES, Builder, edit
from tests.world import Cargo, Kache, World


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """As it ships; the source tree is the same code."""
    return kache_file


@pytest.fixture
def ws(workspace: Callable[..., Path]) -> Path:
    return workspace(FILES)


@pytest.fixture
def builder(world: World, cargo: Cargo) -> Builder:
    return Builder(world, cargo)


def test_explain_names_the_one_thing(builder: Builder, ws: Path) -> None:
    builder.cold(ws)
    edit(ws / "plain/src/lib.rs", "{ 1 }", "{ 2 }")
    found = {package["name"]: package["units"] for package in builder.explain(ws)["packages"]}
    assert [unit["reason"] for unit in found["plain"]] == ["<workspace>/plain/src/lib.rs differs"]
    assert "is left out" in found["app"][0]["reason"]
    assert all(unit["state"] == "back" for unit in found["lib"])
    assert not (ws / "target").exists()


NEAREST: Dict[str, Tuple[Dict[str, Optional[str]], Tuple[str, ...], str]] = {
    "salt": ({"KACHE_KEY_SALT": "pepper"}, (), "the salt (KACHE_KEY_SALT) differs"),
    "flags": ({"RUSTFLAGS": "--cfg other"}, (), "variable RUSTFLAGS differs"),
    "executables": ({"KACHE_CACHE_EXECUTABLES": "0"}, (), "cache_executables was yes and is no"),
    "profile": ({}, ("--release",), "the profile was debug and is release"),
}


@pytest.mark.parametrize("name", NEAREST)
def test_explain_names_what_differs_where_there_is_no_plan(builder: Builder, ws: Path, name: str) -> None:
    builder.cold(ws)
    env, words, reason = NEAREST[name]
    builder.env.update(env)
    found = str(builder.explain(ws, *words)["reason"])
    assert found.endswith(f"; next to it is one where {reason}")
    assert "pepper" not in found


def test_explain_names_another_cargo_home(builder: Builder, ws: Path, world: World) -> None:
    builder.cold(ws)
    before = builder.env.get("CARGO_HOME") or world.env["CARGO_HOME"]
    builder.env["CARGO_HOME"] = str(world.root / "other-home")
    assert f"CARGO_HOME was {before} and is {world.root}/other-home" in str(builder.explain(ws)["reason"])


def test_no_salt_lies_beside_the_plans(builder: Builder, ws: Path, world: World) -> None:
    builder.env["KACHE_KEY_SALT"] = "very-secret-pepper"
    builder.env["RUSTFLAGS"] = "--cfg very_secret_cfg"
    builder.cold(ws)
    for path in (world.cache_dir / "memo/selection").rglob("*"):
        assert path.is_dir() or b"very" not in path.read_bytes()


def test_explain_names_both_linkers(builder: Builder, ws: Path, world: World) -> None:
    builder.cold(ws)
    (world.root / "bin").mkdir()
    compiler = world.root / "bin/cc"
    compiler.write_text('#!/bin/sh\necho "other cc 99"\n')
    compiler.chmod(0o755)
    builder.env["PATH"] = f"{world.root}/bin:{world.env['PATH']}"
    reasons = [unit["reason"] for package in builder.explain(ws)["packages"] for unit in package["units"]]
    told = [why for why in reasons if "is another one: it was '" in why]
    assert told and all(why.endswith("and is 'other cc 99'") for why in told)


def test_explain_looks_at_a_target_in_use(builder: Builder, ws: Path) -> None:
    builder.cold(ws)
    builder.build(ws)
    found = builder.explain(ws)
    assert "is in use" in found["reason"]
    assert all(unit["state"] == "back" for package in found["packages"] for unit in package["units"])
    assert found["units"] > 5

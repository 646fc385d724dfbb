"""Warm targets under Cargos of other ages: a new one finds all Fresh, and for one that is too old nothing is put back.

The old one is Debian 12's ``/usr/bin/cargo`` (0.66, which calls itself 1.65) with rustc 1.63: it compares registry
files by time, and its notes have another form. New ones are rustup's nightly, where there is one, and Debian's
cargo-web, which its browsers are built with.
"""

import os
import shutil
from pathlib import Path
from typing import Callable, Dict, List, Mapping

import pytest

from kachelib import cargo_call
from tests.conftest import missing
from tests.e2e.registry import local_registry, replaced_by
from tests.e2e.test_warm import ALL, FILES, ON, Builder, artifacts, calls, edit, prints, remove_target, warmed
from tests.world import REPOSITORY, Cargo, Kache, Run, World

OLD = Path("/usr/bin")
WEB = REPOSITORY / "build" / "cargo-web" / "usr"
# in the oldest form of a dependency that every Cargo understands
REGISTERED = {
    "Cargo.toml": '[package]\nname = "regi"\nversion = "1.0.0"\nedition = "2018"\n',
    "src/lib.rs": "pub fn two() -> u8 { 2 }\n",
}


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """As it ships; the source tree is the same code."""
    return kache_file


@pytest.fixture
def ws(workspace: Callable[..., Path], world: World) -> Path:
    """The workspace of test_warm.py, and a package of a registry."""
    registry = local_registry(world.root / "registry", "regi", REGISTERED)
    (Path(world.env["CARGO_HOME"]) / "config.toml").write_text(replaced_by("local-registry", registry))
    files: Dict[str, str] = dict(FILES)
    files["plain/Cargo.toml"] += '[dependencies]\nregi = "1"\n'.replace("\n", "\n        ")
    files["plain/src/lib.rs"] = "pub fn one() -> u8 { regi::two() - 1 }\n"
    return workspace(files)


class OldBuilder(Builder):
    """Builds with Debian's Cargo and rustc."""

    def __init__(self, world: World, cargo: Cargo) -> None:
        super().__init__(world, cargo)
        self.env = {**ON, "PATH": f"{OLD}:{world.env['PATH']}", "RUSTUP_TOOLCHAIN": None, "KACHE_TAKE_UNITS": "1"}

    def build(self, ws: Path, *words: str) -> Run:
        env = {**self.env, "RUSTC_WRAPPER": str(self.cargo.kache.path)}
        return self.world.run([OLD / "cargo", *(words or ("build",)), "-v"], cwd=ws, env=env).ok()


@pytest.fixture
def old(world: World, cargo: Cargo) -> OldBuilder:
    """Debian's Cargo, where it is an old one."""
    said = {}
    for name in ("cargo", "rustc"):
        path = OLD / name
        said[name] = world.run([path, "-V"]).stdout if os.access(path, os.X_OK) else ""
    version = said["cargo"].partition(" ")[2]
    if not said["rustc"] or not 0 < cargo_call.minor("cargo " + version) < 70:
        missing("a Cargo before 0.70 in /usr/bin, with its rustc")
    return OldBuilder(world, cargo)


def test_an_old_cargo_is_not_warmed_and_builds_what_it_would_alone(old: OldBuilder, ws: Path, world: World) -> None:
    old.build(ws)
    failed = world.run([old.cargo.kache.path, "save"], cwd=ws, env=old.env)
    assert failed.returncode == 1
    assert "older than 1." in failed.stderr
    remove_target(ws)
    run = old.build(ws)
    assert prints(ws) == "101 1 1007 0.1.0\n"
    assert warmed(run) == 0
    assert run.built() == {*ALL, "regi"}
    assert run.count("local_hit") >= len(ALL)
    assert not old.build(ws).built()
    for name in ("units", "plans"):
        assert not list((world.cache_dir / name).rglob("*-*")), f"{name} were taken"
    found = artifacts(ws)
    remove_target(ws)
    old.env["KACHE_CACHE_DIR"] = str(world.root / "empty")
    old.build(ws)
    expected = artifacts(ws)
    assert [name for name in expected if found.get(name) != expected[name]] == []


def test_an_old_cargo_follows_edits(old: OldBuilder, ws: Path) -> None:
    """Each in a new target directory, there and back."""
    for text, said in (("7", "1007"), ("8", "8"), ("7", "1007")):
        (ws / "native/input.txt").write_text(text + "\n")
        old.build(ws)
        assert prints(ws) == f"101 1 {said} 0.1.0\n"
        remove_target(ws)


def test_explain_says_that_a_cargo_is_too_old(old: OldBuilder, ws: Path, world: World) -> None:
    run = world.run([old.cargo.kache.path, "warm", "--explain"], cwd=ws, env=old.env)
    assert run.returncode == 1
    assert run.stderr.startswith("kache: units are neither kept nor put back here: cargo 1.")
    assert len(run.stderr.splitlines()) == 1


@pytest.fixture
def nightly(world: World, cargo: Cargo) -> Builder:
    """rustup's nightly."""
    toolchains = Path(world.env.get("RUSTUP_HOME", "/nonexistent")) / "toolchains"
    if not list(toolchains.glob("nightly-*/bin/cargo")):
        # no package that CI could install has one that is newer than what builds with it
        pytest.skip("there is no nightly toolchain")
    world.env["RUSTUP_TOOLCHAIN"] = "nightly"
    return Builder(world, cargo)


@pytest.fixture
def web(world: World, cargo: Cargo) -> Builder:
    """Debian's newest, with its own rustc."""
    if not os.access(WEB / "bin" / "cargo", os.X_OK):
        missing("build/cargo-web, where .ci/run unpacks Debian's cargo-web")
    world.env["PATH"] = f"{WEB / 'bin'}:{world.env['PATH']}"
    world.env["LD_LIBRARY_PATH"] = ":".join(str(path) for path in WEB.glob("lib/*-linux-gnu"))
    version = world.run(["cargo", "-V"]).ok().stdout
    assert cargo_call.minor(version) >= 96, version
    return Builder(world, cargo)


@pytest.fixture(params=["nightly", "web"])
def new(request: pytest.FixtureRequest) -> Builder:
    """A Cargo that is newer than the usual one."""
    found: Builder = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("words", [["build"], ["check"], ["test", "--no-run"], ["build", "--release"]], ids=" ".join)
def test_the_newest_cargo_finds_all_fresh(new: Builder, ws: Path, world: World, words: List[str]) -> None:
    kept = new.cold(ws, *words)
    assert kept["refused"] == []
    other = world.root / "elsewhere" / "ws"
    shutil.copytree(ws, other)
    for path in other.rglob("*"):
        os.utime(path)
    run = new.warm(other, *words)
    assert run.fresh() == {*ALL, "regi"}
    assert warmed(run) == kept["kept"] > 6
    assert calls(run) == []


def test_the_newest_cargo_follows_an_edit(new: Builder, ws: Path, world: World) -> None:
    new.cold(ws)
    edit(ws / "native/input.txt", "7", "8")
    run = new.build(ws)
    assert run.built() == {"native", "app"}
    assert prints(ws) == "101 1 8 0.1.0\n"
    found = artifacts(ws)
    remove_target(ws)
    new.env["KACHE_CACHE_DIR"] = str(world.root / "empty")
    new.build(ws)
    expected = artifacts(ws)
    assert [name for name in expected if found.get(name) != expected[name]] == []


def test_what_one_cargo_left_is_not_for_another(
    nightly: Builder, ws: Path, world: World, rust: Mapping[str, str]
) -> None:
    """Nightly's units stay out of a target directory of the other toolchain, and go back into one of nightly's."""
    usual = rust["RUSTUP_TOOLCHAIN"]
    nightly.cold(ws)
    world.env["RUSTUP_TOOLCHAIN"] = usual
    run = nightly.build(ws)
    assert warmed(run) == 0
    assert prints(ws) == "101 1 1007 0.1.0\n"
    remove_target(ws)
    world.env["RUSTUP_TOOLCHAIN"] = "nightly"
    assert not nightly.warm(ws).built()

"""How Cargo was called: judged by Cargo itself where it can be asked (``cargo metadata``), else by its reference."""

import json
import os
from pathlib import Path
from typing import Callable, Dict, List, Optional

import pytest

from kachelib import cargo_call
from kachelib.cargo_call import CargoCall, Unclear
from tests.world import World

PACKAGE = '[package]\nname = "x"\nversion = "0.1.0"\nedition = "2021"\n'


def parse(world: World, line: str, cwd: Optional[Path] = None, **environ: str) -> CargoCall:
    return cargo_call.parse(line.split(), str(cwd or world.root / "ws"), {"HOME": str(world.home), **environ})


@pytest.fixture(autouse=True)
def ws(workspace: Callable[..., Path]) -> Path:
    return workspace({"Cargo.toml": PACKAGE, "src/lib.rs": ""})


@pytest.mark.parametrize(
    ("line", "profile", "command"),
    [
        ("build", "debug", "build"),
        ("b -r", "release", "build"),
        ("--color always check --release", "release", "check"),
        ("build --profile dev", "debug", "build"),
        ("build --profile=release-lto", "release-lto", "build"),
        ("test --no-run", "debug", "test"),
        ("bench", "release", "bench"),
        ("check --profile test", "debug", "check"),
        ("build -qr", "release", "build"),
        ("run --bin release -- --release", "debug", "run"),
        ("build -p regex -F rayon", "debug", "build"),
        ("build -j4 -pregex", "debug", "build"),
        ("rustc --release -- -C target-cpu=native", "release", "rustc"),
    ],
)
def test_profiles_and_commands(world: World, line: str, profile: str, command: str) -> None:
    call = parse(world, line)
    assert (call.profile, call.command) == (profile, command)
    assert call.build_dir == str(world.root / "ws/target")


@pytest.mark.parametrize(
    "line",
    [
        "metadata", "clean", "doc", "install --path .", "tree", "my-alias", "", "-V",
        "build --config build.target-dir='x'", "build --config other.toml", "build -C elsewhere",
        "build --target x.json", "build --manifest-path nowhere/Cargo.toml", "build --config target.x.linker='y'",
    ],
)  # fmt: skip
def test_what_is_unclear(world: World, line: str) -> None:
    with pytest.raises(Unclear):
        parse(world, line)


def test_places(world: World, ws: Path) -> None:
    assert parse(world, "build --target-dir out").build_dir == str(ws / "out")
    assert parse(world, "build", CARGO_TARGET_DIR="/o/").build_dir == "/o"
    assert parse(world, "build --target-dir a", CARGO_TARGET_DIR="/o").build_dir == str(ws / "a")
    (ws / ".cargo").mkdir()
    (ws / ".cargo/config.toml").write_text('[build]\ntarget-dir = "t"\ntarget = ["a-b-c"]\n')
    call = parse(world, "build", ws / "src")
    assert call.build_dir == str(ws / "t")
    assert call.directories() == [("", str(ws / "t/debug")), ("a-b-c", str(ws / "t/a-b-c/debug"))]
    call = parse(world, "build --target x-y --target z", ws / "src", CARGO_BUILD_TARGET="q")
    assert call.triples == ["", "x-y", "z"]
    (ws / ".cargo/config.toml").write_text('[build]\nbuild-dir = "{workspace-root}/b"\n')
    assert parse(world, "build").build_dir == str(ws / "b")
    (ws / ".cargo/config.toml").write_text('[build]\nbuild-dir = "{workspace-path-hash}/b"\n')
    with pytest.raises(Unclear):
        parse(world, "build")


LAYOUTS: Dict[str, Dict[str, str]] = {
    "a member": {"Cargo.toml": '[workspace]\nmembers = ["m"]\n', "m/Cargo.toml": PACKAGE},
    "a root package": {
        "src/lib.rs": "",
        "Cargo.toml": PACKAGE + '[workspace]\nmembers = ["m"]\n',
        "m/Cargo.toml": PACKAGE.replace("x", "m"),
    },
    "odd spacing": {"Cargo.toml": '[ workspace ]\nmembers = ["m"]\n', "m/Cargo.toml": PACKAGE},
    "a dotted key": {"Cargo.toml": 'workspace.members = ["m"]\n', "m/Cargo.toml": PACKAGE},
    "excluded": {"Cargo.toml": '[workspace]\nexclude = ["m"]\n', "m/Cargo.toml": PACKAGE},
    "excluded, yet a member": {
        "Cargo.toml": '[workspace]\nmembers = ["m"]\nexclude = ["m"]\n',
        "m/Cargo.toml": PACKAGE,
    },
    "named": {
        "Cargo.toml": PACKAGE.replace('"x"', '"top"'),
        "src/lib.rs": "",
        "w/Cargo.toml": '[workspace]\nmembers = ["../m"]\n',
        "m/Cargo.toml": PACKAGE.replace("edition", 'workspace = "../w"\nedition'),
    },
    "in a string": {
        "Cargo.toml": PACKAGE.replace('"x"', '"top"') + 'description = """\n[workspace]\n"""\n',
        "src/lib.rs": "",
        "m/Cargo.toml": PACKAGE,
    },
    "inherits": {
        "Cargo.toml": '[workspace]\nmembers = ["m"]\n[workspace.package]\nversion = "1.0.0"\n',
        "m/Cargo.toml": PACKAGE.replace('version = "0.1.0"', "version.workspace = true"),
    },
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_workspace_is_the_one_that_cargo_finds(workspace: Callable[..., Path], world: World, name: str) -> None:
    base = workspace({"m/src/lib.rs": "", **LAYOUTS[name]}, "layout")
    done = world.run(["cargo", "metadata", "--no-deps", "--format-version=1", "--offline"], cwd=base / "m").ok()
    found = json.loads(done.stdout)
    call = parse(world, "build", base / "m")
    assert call.root == found["workspace_root"]
    assert call.build_dir == found["target_directory"]


def test_the_packages_of_a_lock_file() -> None:
    lock = 'version = 4\n\n[[package]]\nname = "a"\nversion = "1.0.0"\nsource = "registry+x"\n'
    lock += 'dependencies = [\n "b",\n]\n\n'
    lock += '[[package]]\nname = "b"\nversion = "2.0.0"\n'
    assert cargo_call.locked_packages(lock) == [("a", "1.0.0", "registry+x"), ("b", "2.0.0", "")]


def test_linkers_of_the_configuration(world: World, ws: Path) -> None:
    (ws / ".cargo").mkdir()
    (ws / ".cargo/config.toml").write_text('[target.x86_64-unknown-linux-gnu]\nlinker = "clang"\n')
    assert parse(world, "build").linkers() == ["clang"]


def test_what_selects_a_plan(world: World) -> None:
    one = parse(world, "build", RUSTFLAGS="-g", OTHER="1", CARGO_TARGET_DIR="/anywhere").selection
    two = parse(world, "build", RUSTFLAGS="-O", CARGO_PROFILE_DEV_DEBUG="0").selection
    assert one == ["RUSTFLAGS=-g"]
    assert two == ["CARGO_PROFILE_DEV_DEBUG=0", "RUSTFLAGS=-O"]


def test_another_program_is_no_cargo(world: World) -> None:
    words: List[str] = list(os.environ)
    assert words
    with pytest.raises(Unclear):
        cargo_call.of_parent({"HOME": str(world.home)})

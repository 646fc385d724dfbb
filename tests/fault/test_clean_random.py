"""Any tree: whatever lies in it, deleting what was found changes nothing outside what was found, and that is right."""

import os
import random
from pathlib import Path
from typing import Callable, List, Set

import pytest

from tests.targets import INFO, OTHER_TAG, TAG, look, make, paths, remove, snapshot, write
from tests.world import World

Decoy = Callable[[random.Random, Path], None]


def sources(rng: random.Random, place: Path) -> None:
    write(place / "target", {"mod.rs": "mod debug;", "debug/mod.rs": "", "deps/mod.rs": "", "build/mod.rs": ""})


def modules(rng: random.Random, place: Path) -> None:
    write(place / "node_modules", {"CACHEDIR.TAG": OTHER_TAG, ".cache/a": "", "target/debug/deps/a.js": ""})


def foreign_tag(rng: random.Random, place: Path) -> None:
    make(place / "target")
    (place / "target/CACHEDIR.TAG").write_text(rng.choice([OTHER_TAG, "", TAG[1:], TAG.replace("cargo", "mine")]))


def untagged(rng: random.Random, place: Path) -> None:
    make(place / "target", "CACHEDIR.TAG")


def bare(rng: random.Random, place: Path) -> None:
    write(place / "target", {"CACHEDIR.TAG": TAG, "debug/deps/a": "", "notes.txt": "mine"})


def package(rng: random.Random, place: Path) -> None:
    write(make(place / "target"), {rng.choice(["Cargo.toml", ".git/HEAD", ".jj/a", "Cargo.lock"]): ""})


def registry(rng: random.Random, place: Path) -> None:
    write(place / "registry", {"CACHEDIR.TAG": TAG, "src/index/app-1.0/src/target/debug/mod.rs": "", "cache/a": ""})


def marks_are_links(rng: random.Random, place: Path) -> None:
    write(place, {"tag": TAG, "info": INFO})
    target = make(place / "target")
    for name, real in (("CACHEDIR.TAG", "tag"), (".rustc_info.json", "info")):
        (target / name).unlink()
        (target / name).symlink_to(place / real)


def in_repository(rng: random.Random, place: Path) -> None:
    make(place / ".git" / "target")


def store(rng: random.Random, place: Path) -> None:
    write(place / "kache", {"CACHEDIR.TAG": TAG, "store/ab/c": "", "entries/ab/c": "", "claims/gc.lock": ""})


DECOYS: List[Decoy] = [
    sources,
    modules,
    foreign_tag,
    untagged,
    bare,
    package,
    registry,
    marks_are_links,
    in_repository,
    store,
]
NAMES = ["target", "src", "a", "debug", "deps", "build", "h\udcffome", "node_modules", "incremental", ".hidden", "x y"]


def grow(rng: random.Random, place: Path, depth: int, real: Set[Path], every: List[Path]) -> None:
    """Files, decoys, target directories and links below ``place``. real: gets the target directories."""
    place.mkdir(parents=True, exist_ok=True)
    every.append(place)
    write(place, {rng.choice(["main.rs", "Cargo.toml", "a.txt"]): str(rng.random())})
    for name in rng.sample(NAMES, rng.randint(1, 4)):
        below = place / name
        chance = rng.random()
        if below.is_symlink() or below.exists():
            continue
        if chance < 0.3 and depth:
            grow(rng, below, depth - 1, real, every)
        elif chance < 0.5:
            real.add(make(below, rng.choice(["", "debug", "doc", ".rustc_info.json", "debug/.cargo-lock"])))
            every.append(below)
        elif chance < 0.85:
            below.mkdir()
            rng.choice(DECOYS)(rng, below)
        else:
            below.symlink_to(rng.choice(every))
    for _ in range(2):
        knot(rng, real, every)


def knot(rng: random.Random, real: Set[Path], every: List[Path]) -> None:
    """A link out of a target directory, or a hard link between what stays and what goes."""
    if not real:
        return
    target = rng.choice(sorted(real))
    name = f"knot{rng.random()}"
    if rng.random() < 0.5:
        (target / name).symlink_to(rng.choice(every))
        return
    files = [path for path in rng.choice(every).iterdir() if path.is_file() and not path.is_symlink()]
    if files:
        os.link(rng.choice(files), target / name)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_outside_what_was_found_ever_changes(world: World, seed: int) -> None:
    rng = random.Random(seed)
    base = world.root / "tree"
    real: Set[Path] = set()
    grow(rng, base, 4, real, [])
    grow(rng, base / "more", 4, real, [base])
    outside = snapshot(world.root, tuple(real))
    view = look(base)
    assert paths(view) == sorted(str(path) for path in real)
    rng.shuffle(view.targets)
    for target in view.targets:
        outcome = remove(view, target, incremental=rng.random() < 0.3)
        assert outcome.gone, (outcome.passed, outcome.errors)
    assert snapshot(world.root, tuple(real)) == outside
    for target in look(base).targets:
        assert not (Path(target.path) / "debug/incremental").exists()
        assert remove(view, target).gone
    assert not any(path.exists() for path in real)
    assert snapshot(world.root) == outside

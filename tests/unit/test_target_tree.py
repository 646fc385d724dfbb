"""What is a target directory, and what only looks like one: whatever is not proven is not found."""

import os
from pathlib import Path
from typing import Callable, Dict

import pytest

from kachelib import target_tree, warm
from kachelib.seclude import seclude
from tests.targets import FILES, INFO, OTHER_TAG, TAG, look, make, paths, write
from tests.world import World


@pytest.mark.parametrize(
    "without",
    ["", "debug", "doc", ".rustc_info.json", "debug/.cargo-lock", "debug/.fingerprint", "debug/build", "debug/deps"],
)
def test_a_target_directory_is_found_by_its_tag_and_what_cargo_did_there(world: World, without: str) -> None:
    target = make(world.root / "ws" / "target", without)
    assert paths(look(world.root)) == [str(target)]


@pytest.mark.parametrize(
    "profile",
    [
        # a target directory whose build-dir lies elsewhere, and that build-dir, of Cargo 1.95 and of 1.97
        {"debug/.cargo-lock": "", "debug/app": "program"},
        {"debug/.cargo-lock": "", "debug/.cargo-artifact-lock": "", "debug/app": "program"},
        {"debug/.cargo-build-lock": "", "debug/build/app/d3ca9d58cc84afc5/out/app": "program"},
        {"x86_64-unknown-linux-gnu/release/.cargo-lock": ""},
        {"debug/.fingerprint/a": "", "debug/deps/b": ""},
        {"debug/.fingerprint/a": "", "debug/build/b": ""},
    ],
    ids=str,
)
def test_a_profile_s_directory_is_proof_beside_cargo_s_own_tag(world: World, profile: Dict[str, str]) -> None:
    target = write(world.root / "out", {"CACHEDIR.TAG": TAG, **profile})
    assert paths(look(world.root)) == [str(target)]


def test_what_warming_makes_is_one(world: World) -> None:
    """kache marks a target directory that it makes itself as Cargo would."""
    assert warm.CACHEDIR_TAG.decode() == TAG
    target = write(world.root / "out", {"CACHEDIR.TAG": TAG, "debug/.fingerprint/a": "", "debug/deps/b": ""})
    assert paths(look(world.root)) == [str(target)]


def bare_tag(place: Path) -> None:
    write(place, {"CACHEDIR.TAG": TAG, "src/main.rs": "fn main() {}"})


def registry(place: Path) -> None:
    write(place, {"CACHEDIR.TAG": TAG, "index/a/.cargo-index-lock": "", "src/x/app/Cargo.toml": "", "cache/x/a": ""})


def other_tag(place: Path) -> None:
    make(place)
    (place / "CACHEDIR.TAG").write_text(OTHER_TAG)


def tag_of_something(place: Path) -> None:
    make(place)
    (place / "CACHEDIR.TAG").write_text("# This file is a cache directory tag created by cargo.\n")


def tag_with_text_before(place: Path) -> None:
    make(place)
    (place / "CACHEDIR.TAG").write_text("\n" + TAG)


def tag_that_is_a_link(place: Path) -> None:
    make(place)
    (place / "CACHEDIR.TAG").rename(place.with_name("tag"))
    (place / "CACHEDIR.TAG").symlink_to(place.with_name("tag"))


def tag_that_is_a_directory(place: Path) -> None:
    make(place, "CACHEDIR.TAG")
    (place / "CACHEDIR.TAG").mkdir()


def tag_that_is_a_pipe(place: Path) -> None:
    make(place, "CACHEDIR.TAG")
    os.mkfifo(place / "CACHEDIR.TAG")


def no_tag(place: Path) -> None:
    make(place, "CACHEDIR.TAG")


def nothing_of_cargo_s(place: Path) -> None:
    write(place, {"CACHEDIR.TAG": TAG, ".rustc_info.json": "{}", "debug/app": "", "debug/deps/a": ""})


def info_that_is_a_link(place: Path) -> None:
    write(place, {"CACHEDIR.TAG": TAG})
    write(place.parent, {"info": INFO})
    (place / ".rustc_info.json").symlink_to(place.parent / "info")


def profile_that_is_a_link(place: Path) -> None:
    write(place, {"CACHEDIR.TAG": TAG})
    make(place.parent / "elsewhere", "CACHEDIR.TAG")
    (place / "debug").symlink_to(place.parent / "elsewhere" / "debug")


def with_repository(place: Path) -> None:
    write(make(place), {".git/HEAD": "ref: refs/heads/main"})


def with_package(place: Path) -> None:
    write(make(place), {"Cargo.toml": "[package]", "src/main.rs": ""})


def with_store(place: Path) -> None:
    write(make(place), {"store/ab/c": "", "entries/ab/c": "", "claims/gc.lock": ""})


def with_store_below(place: Path) -> None:
    write(make(place), {"kache/store/ab/c": "", "kache/entries/ab/c": "", "kache/claims/gc.lock": ""})


def write_protected(place: Path) -> None:
    make(place).chmod(0o555)


SPOILERS = [
    bare_tag,
    registry,
    other_tag,
    tag_of_something,
    tag_with_text_before,
    tag_that_is_a_link,
    tag_that_is_a_directory,
    tag_that_is_a_pipe,
    no_tag,
    nothing_of_cargo_s,
    info_that_is_a_link,
    profile_that_is_a_link,
    with_repository,
    with_package,
    with_store,
    with_store_below,
    write_protected,
]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda function: function.__name__)
def test_what_is_not_proven_is_not_found(world: World, spoil: Callable[[Path], None]) -> None:
    spoil(world.root / "ws" / "target")
    assert paths(look(world.root)) == []


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (no_tag, "no CACHEDIR.TAG of Cargo's"),
        (with_repository, ".git"),
        (with_package, "Cargo.toml"),
        (write_protected, "write-protected"),
        (with_store, "store"),
        (with_store_below, "store"),
    ],
)
def test_what_looks_like_one_and_stays_is_told(world: World, spoil: Callable[[Path], None], word: str) -> None:
    target = world.root / "ws" / "target"
    spoil(target)
    [passed] = look(world.root).passed()
    assert passed.path == str(target) and word in passed.reason


def test_nothing_in_what_stays_is_found_but_below_an_untagged_one(world: World) -> None:
    """An untagged one may be somebody's home, where Cargo was told to build: its other directories are looked into."""
    with_package(world.root / "a")
    make(world.root / "a" / "inner")
    no_tag(world.root / "b")
    inner = make(world.root / "b" / "inner")
    assert paths(look(world.root)) == [str(inner)]


def test_the_store_is_none_and_is_not_entered(world: World) -> None:
    world.cache_dir.mkdir()
    seclude(str(world.cache_dir), "linux")
    write(world.cache_dir, {"store/ab/c": "", "entries/ab/c": "", "claims/gc.lock": ""})
    assert paths(look(world.root)) == []
    make(world.cache_dir / "target")
    assert paths(look(world.root, closed={str(world.cache_dir): "the store"})) == []
    view = look(world.cache_dir, closed={str(world.cache_dir): "the store"})
    assert (paths(view), [each.reason for each in view.passed()]) == ([], ["it is the store"])


@pytest.mark.parametrize("what", ["CARGO_HOME", "RUSTUP_HOME", "HOME", "KACHE_CACHE_DIR"])
def test_a_target_directory_with_something_of_worth_in_it_stays(world: World, what: str) -> None:
    target = make(world.root / "ws" / "target")
    inside = target / "deep" / "place"
    inside.mkdir(parents=True)
    environ = {**world.env, what: str(inside)}
    closed = target_tree.closed_places(environ, environ["KACHE_CACHE_DIR"], environ["HOME"])
    view = look(world.root, closed=closed)
    assert paths(view) == [] and "is in it" in view.passed()[0].reason


def test_registries_repositories_and_toolchains_are_not_entered(world: World) -> None:
    cargo = world.home / ".cargo"
    for place in (
        cargo / "registry/src/a",
        cargo / "git/checkouts/b",
        world.home / ".rustup/c",
        world.root / "ws/.git",
    ):
        make(place / "target")
    found = make(cargo / "build" / "cc")
    closed = target_tree.closed_places({}, str(world.cache_dir), str(world.home))
    assert paths(look(world.root, closed=closed)) == [str(found)]


def test_one_inside_another_is_found_once(world: World) -> None:
    outer = make(world.root / "ws" / "target")
    inner = make(outer / "rust-analyzer")
    deep = make(outer / "debug" / "build" / "app-1" / "out" / "target")
    assert paths(look(world.root)) == [str(outer)]
    assert paths(look(world.root, world.root / "ws", outer, inner, deep)) == [str(outer)]
    assert paths(look(inner, outer)) == [str(outer)]
    # asked for by name, it is one
    assert paths(look(inner)) == [str(inner)]


def test_links_are_not_followed_and_the_usual_one_is_told(world: World) -> None:
    elsewhere = make(world.root / "fast" / "out")
    project = write(world.root / "ws", {"Cargo.toml": ""})
    (project / "target").symlink_to(elsewhere)
    (project / "other").symlink_to(elsewhere)
    view = look(project)
    assert paths(view) == []
    [passed] = view.passed()
    assert passed.path == str(project / "target") and str(elsewhere) in passed.reason
    assert paths(look(project / "target")) == [str(elsewhere)]


def test_a_source_directory_called_target_is_none(world: World) -> None:
    write(world.root / "src" / "target", {"mod.rs": "", "debug/mod.rs": "", "deps/mod.rs": ""})
    assert paths(look(world.root)) == []
    assert set(FILES) & {"CACHEDIR.TAG", ".rustc_info.json"}

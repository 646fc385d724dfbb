"""Configuration in real builds: files hold where they should; what is wrong fails no build and is told once.

A ``dup`` is a miss, compiled, whose bytes were known.
"""

import sys
import time
from pathlib import Path
from typing import Callable, Dict, Mapping

import pytest

from tests.world import Cargo, Kache, Run, World

Workspace = Callable[..., Path]

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="Cargo's standard error is found by way of /proc")


@pytest.fixture
def build(world: World, kache_source: Kache, require_tool: Callable[[str], str]) -> Callable[..., Run]:
    """``build(ws)``: a build in a target directory of its own, unless ``target`` names one; it has to pass."""
    require_tool("cargo")
    cargo = Cargo(world, kache_source)
    targets = (str(world.root / f"target-{number}") for number in range(100))

    def call(ws: Path, target: str = "", env: "Dict[str, str] | None" = None) -> Run:
        directory = str(world.root / target) if target else next(targets)
        return cargo(
            "build", cwd=ws, env={"KACHE_PROGRESS": "never", "CARGO_TARGET_DIR": directory, **(env or {})}
        ).ok()

    return call


def manifest(name: str, more: str = "") -> str:
    return f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{more}\n'


FILES: Mapping[str, str] = {
    "Cargo.toml": '[workspace]\nmembers = ["a", "b"]\nresolver = "2"\n',
    "a/Cargo.toml": manifest("a"),
    "a/src/lib.rs": "pub fn a() -> u32 { 1 }\n",
    "b/Cargo.toml": manifest("b", '[dependencies]\na = { path = "../a" }'),
    "b/src/lib.rs": "pub fn b() -> u32 { a::a() }\nfn unused() {}\n",
}


def hits(run: Run) -> Dict[str, str]:
    return {name: results[-1] for name, results in run.results().items()}


def test_the_projects_file_holds_for_crates_that_are_compiled_elsewhere(
    workspace: Workspace, build: Callable[..., Run]
) -> None:
    # Cargo runs the compiler of a path dependency outside the workspace in that package's own directory.
    workspace({"Cargo.toml": manifest("dep"), "src/lib.rs": "pub fn d() {}\n"}, name="dep")
    ws = workspace(
        {
            "Cargo.toml": manifest("top", '[dependencies]\ndep = { path = "../dep" }'),
            "src/lib.rs": "pub fn t() { dep::d() }\n",
            ".kache.toml": '[cache]\nexclude = ["/**/dep/src/**"]\n',
        }
    )
    run = build(ws)
    assert hits(run) == {"dep": "skipped", "top": "miss"}


@needs_proc
def test_an_unknown_key_is_told_once_and_hurts_nothing(workspace: Workspace, build: Callable[..., Run]) -> None:
    ws = workspace({**FILES, ".kache.toml": "[cache]\nexlude = []\n"})
    first, second = build(ws), build(ws)
    for run, result in ((first, "miss"), (second, "local_hit")):
        assert hits(run) == {"a": result, "b": result}
        assert run.stderr.count("cache.exlude is not a setting; did you mean cache.exclude?") == 1
    (ws / ".kache.toml").unlink()
    again = build(ws, target="target-1")
    assert "exlude" not in again.stderr and "`unused` is never used" in again.stderr, "Cargo kept none of it"


@needs_proc
@pytest.mark.parametrize("text", ["[cache\n", "[cache]\ncompression_level = 'high'\n", "[cache]\nexclude = 'a'\n"])
def test_a_broken_file_means_no_cache_and_no_failure(
    text: str, workspace: Workspace, build: Callable[..., Run], world: World
) -> None:
    ws = workspace(FILES)
    build(ws)
    (ws / ".kache.toml").write_text(text)
    run = build(ws)
    assert run.stderr.count(f"{ws}/.kache.toml") == 1
    assert {event["result"] for event in run.events} <= {"passthrough"}
    (ws / ".kache.toml").unlink()
    assert hits(build(ws)) == {"a": "local_hit", "b": "local_hit"}


def test_a_wrong_variable_hurts_nothing(workspace: Workspace, build: Callable[..., Run]) -> None:
    ws = workspace(FILES)
    build(ws)
    assert hits(build(ws, env={"KACHE_MAX_SIZE": "plenty"})) == {"a": "local_hit", "b": "local_hit"}


def test_the_salt_changes_every_key_and_an_empty_one_none(workspace: Workspace, build: Callable[..., Run]) -> None:
    ws = workspace(FILES)
    build(ws)
    assert hits(build(ws, env={"KACHE_KEY_SALT": ""})) == {"a": "local_hit", "b": "local_hit"}
    assert hits(build(ws, env={"KACHE_KEY_SALT": "x"})) == {"a": "dup", "b": "dup"}
    (ws / ".kache.toml").write_text('[cache]\nkey_salt = "x"\n')
    assert hits(build(ws)) == {"a": "local_hit", "b": "local_hit"}


def test_declared_inputs_make_cargo_call_and_kache_miss(workspace: Workspace, build: Callable[..., Run]) -> None:
    ws = workspace({**FILES, "a/kache.toml": 'extra_inputs = ["queries/**/*.json"]\n', "a/queries/1.json": "{}"})

    def rebuild() -> Dict[str, str]:
        # Cargo compares times; an edit in the same instant as the build is not the case at hand
        time.sleep(0.02)
        return hits(build(ws, target="target"))

    assert rebuild() == {"a": "miss", "b": "miss"}
    assert rebuild() == {}
    (ws / "a/queries/1.json").write_text("[]")
    assert rebuild()["a"] == "dup"
    assert rebuild() == {}
    (ws / "a/queries/2.json").write_text("")
    assert rebuild()["a"] == "dup"
    (ws / "a/kache.toml").write_text('extra_inputs = ["queries/**/*.json", "none"]\n')
    assert rebuild()["a"] == "dup"
    (ws / "a/queries/1.json").write_text("{}")
    (ws / "a/queries/2.json").unlink()
    (ws / "a/kache.toml").write_text('extra_inputs = ["queries/**/*.json"]\n')
    assert rebuild()["a"] == "local_hit", "back to what is known"


def test_declared_inputs_go_by_content_and_place_in_the_crate(workspace: Workspace, build: Callable[..., Run]) -> None:
    files = {**FILES, "a/kache.toml": 'extra_inputs = ["m"]\n', "a/m/1": "one", "a/m/2": "two"}
    build(workspace(files))
    assert hits(build(workspace(files, name="elsewhere"))) == {"a": "local_hit", "b": "local_hit"}
    assert hits(build(workspace({**files, "a/m/1": "two", "a/m/2": "one"}, name="swapped")))["a"] == "dup"


@needs_proc
def test_a_wrong_kache_toml_uncaches_its_crate_alone_and_is_told(
    workspace: Workspace, build: Callable[..., Run]
) -> None:
    ws = workspace({**FILES, "a/kache.toml": "[cache]\nkey_salt = 'x'\n"})
    said = f"{ws}/a/kache.toml: cache is not known here; the only key is extra_inputs; settings belong in .kache.toml"
    for result in ("miss", "local_hit"):
        run = build(ws)
        assert hits(run)["b"] == result
        assert [event["reason"] for event in run.events if event["result"] == "passthrough"] == [
            f"extra_inputs: {said}"
        ]
        assert run.stderr.count(said) == 1


@needs_proc
def test_a_pattern_that_leaves_the_crate_is_warned_of(workspace: Workspace, build: Callable[..., Run]) -> None:
    ws = workspace({**FILES, "a/kache.toml": 'extra_inputs = ["../shared/*"]\n', "shared/x": ""})
    run = build(ws)
    assert run.stderr.count("reaches outside the crate") == 1
    assert hits(run) == {"a": "miss", "b": "miss"}


def test_the_log_of_a_build(workspace: Workspace, build: Callable[..., Run], world: World) -> None:
    ws = workspace(FILES)
    build(ws)
    place = "Library/Logs/kache" if sys.platform == "darwin" else ".cache/kache"
    log = world.home / place / "kache.log"
    assert "miss a " in log.read_text()
    before = log.read_text()
    quiet = build(ws)
    assert log.read_text() == before, "a hit is not worth a line"
    assert "kache" not in quiet.stderr.replace(str(world.root), "")
    loud = build(ws, env={"KACHE_LOG": "kache=debug"})
    if sys.platform == "linux":
        assert "kache: debug: local_hit a " in loud.stderr

"""The commands on what real builds left: each says what is so, and a build after each still passes."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from tests.world import Cargo, Kache, World

FILES = {
    "Cargo.toml": """
        [workspace]
        members = ["app", "base", "mid"]
        resolver = "2"
        """,
    "base/Cargo.toml": '[package]\nname = "base"\nversion = "0.1.0"\nedition = "2021"\n',
    "base/src/lib.rs": 'pub mod text;\npub fn base() -> &\'static str { option_env!("GREETING").unwrap_or("hello") }\n',
    "base/src/text.rs": "pub fn text() -> u32 { 1 }\n",
    "mid/Cargo.toml": """
        [package]
        name = "mid"
        version = "0.1.0"
        edition = "2021"
        [dependencies]
        base = { path = "../base" }
        """,
    "mid/src/lib.rs": 'pub fn mid() -> String { format!("{} {}", base::base(), base::text::text()) }\n',
    "app/Cargo.toml": """
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2021"
        [dependencies]
        mid = { path = "../mid" }
        """,
    "app/src/main.rs": 'fn main() { println!("{}", mid::mid()); }\n',
}


@pytest.fixture
def built(workspace: Callable[..., Path], cargo: Cargo) -> Path:
    """A workspace, built twice: the second time in a new target directory."""
    ws = workspace(FILES)
    cargo("build", cwd=ws).ok()
    shutil.rmtree(ws / "target")
    cargo("build", cwd=ws).ok()
    return ws


def document(kache: Kache, *arguments: str) -> Dict[str, Any]:
    found = json.loads(kache.run(*arguments, "--json").ok().stdout)
    assert isinstance(found, dict)
    return found


def test_list_stats_and_report_say_what_the_builds_did(built: Path, kache: Kache) -> None:
    entries = {entry["crate_name"]: entry for entry in document(kache, "list")["entries"]}
    assert sorted(entries) == ["base", "mid"]
    assert [entry["hits"] for entry in entries.values()] == [1, 1]
    [details] = document(kache, "list", "base")["entries"]
    assert sorted(item["path"].rpartition("/")[2] for item in details["inputs"]) == ["lib.rs", "text.rs"]
    assert [dep["name"] for dep in details["env_deps"]] == ["GREETING"]

    summary = document(kache, "report")["summary"]
    assert (summary["local_hits"], summary["misses"], summary["passthroughs"]) == (2, 2, 2)
    assert summary["hit_rate_pct"] == 50.0
    store = document(kache, "stats")["store"]
    assert store["entries"] == 2
    assert store["bytes"] >= store["shared_bytes"]
    for command in ("list", "stats", "report"):
        assert kache.run(command).ok().stderr == ""


def test_why_miss_names_the_source_that_changed(built: Path, cargo: Cargo, kache: Kache) -> None:
    (built / "base/src/text.rs").write_text("pub fn text() -> u32 { 22 }\n")
    cargo("build", cwd=built).ok()
    [miss] = document(kache, "why-miss", "base")["misses"]
    assert miss["compared_with"] == "inputs"
    assert [change["name"].rpartition("/")[2] for change in miss["changes"]] == ["text.rs"]
    [after] = document(kache, "why-miss", "mid")["misses"]
    assert [change["name"] for change in after["changes"]] == ["dependency base"]
    told = kache.run("why-miss", "mid").ok().stdout
    assert "mid missed because base changed; base missed because src/text.rs changed" in told


def test_why_miss_names_the_variable_and_the_option(built: Path, cargo: Cargo, kache: Kache) -> None:
    cargo("build", cwd=built, env={"GREETING": "bye"}).ok()
    [miss] = document(kache, "why-miss", "base")["misses"]
    assert [(c["name"], c["old"], c["new"]) for c in miss["changes"]] == [("variable GREETING", "(not set)", "bye")]
    cargo("build", "--release", cwd=built).ok()
    # both builds are one to a log that knows no Cargo: the newest comes first
    miss = document(kache, "why-miss", "base")["misses"][0]
    assert miss["compared_with"] == "action"
    names = {change["name"]: (change["old"], change["new"]) for change in miss["changes"]}
    assert names["-C opt-level"] == ("", "3")
    assert "linked outputs are not cached" in kache.run("why-miss", "app").stderr


def test_a_build_after_gc_and_purge_compiles_again_and_nothing_is_lost(built: Path, cargo: Cargo, kache: Kache) -> None:
    assert document(kache, "gc")["reasons"] != []
    assert document(kache, "list")["entries"] != []
    emptied = document(kache, "gc", "--max-size", "0")
    assert emptied["store_bytes"] == 0
    assert emptied["shared_bytes_retained"] > 0, "the target directory still holds the libraries"
    shutil.rmtree(built / "target")
    assert cargo("build", cwd=built).ok().count("miss") == 2
    shutil.rmtree(built / "target")
    assert cargo("build", cwd=built).ok().count("local_hit") == 2
    kache.run("purge", "--crate-name", "mid").ok()
    shutil.rmtree(built / "target")
    assert cargo("build", cwd=built).ok().results()["mid"] == ["miss"]
    kache.run("purge").ok()
    shutil.rmtree(built / "target")
    assert cargo("build", cwd=built).ok().count("miss") == 2


def test_gc_starts_by_itself_when_the_store_passes_its_size(
    workspace: Callable[..., Path], cargo: Cargo, kache: Kache, world: World
) -> None:
    ws = workspace(FILES)
    cargo("build", cwd=ws, env={"KACHE_MAX_SIZE": "1KiB"}).ok()
    log = world.cache_dir / "gc.jsonl"
    deadline = time.monotonic() + 30
    while not log.exists():
        assert time.monotonic() < deadline, "no gc was started"
        time.sleep(0.05)
    run = json.loads(log.read_text().splitlines()[0])
    assert any("last two minutes" in reason for reason in run["reasons"]), "the build was using all of it"


def test_a_gc_beside_builds_costs_nothing_but_misses(built: Path, cargo: Cargo, kache: Kache, world: World) -> None:
    for turn in range(4):
        (built / "base/src/text.rs").write_text(f"pub fn text() -> u32 {{ {turn} }}\n")
        cleaner = [str(kache.path), "gc", "--max-size", "0"]
        pid = os.posix_spawn(cleaner[0], cleaner, world.env, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)])
        shutil.rmtree(built / "target", ignore_errors=True)
        cargo("build", cwd=built).ok()
        os.waitpid(pid, 0)
        assert world.run([built / "target/debug/app"]).ok().stdout == f"hello {turn}\n"
    shutil.rmtree(built / "target")
    cargo("build", cwd=built).ok()
    assert kache.run("doctor", "--checksums", env={"RUSTC_WRAPPER": str(kache.path)}).ok()


def test_doctor_finds_damage_and_repair_drops_it(built: Path, cargo: Cargo, kache: Kache, world: World) -> None:
    env = {"RUSTC_WRAPPER": str(kache.path)}
    kache.run("doctor", "--checksums", "--probe", env=env).ok()
    blob = max((world.cache_dir / "store").glob("??/*"), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[100] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(bytes(content))
    found = kache.run("doctor", "--checksums", env=env)
    assert found.returncode == 1
    assert blob.name in found.stdout
    kache.run("doctor", "--checksums", "--repair", env=env).ok()
    shutil.rmtree(built / "target")
    cargo("build", cwd=built).ok()
    assert world.run([built / "target/debug/app"]).ok().stdout == "hello 1\n"
    kache.run("doctor", "--checksums", env=env).ok()


def test_init_makes_cargo_call_kache_and_undo_stops_it(
    workspace: Callable[..., Path], cargo: Cargo, kache: Kache, world: World
) -> None:
    if kache.kind == "source":
        assert kache.run("init", "-y").returncode == 1, "kache.py is no program that Cargo can start"
        return
    ws = workspace(FILES)
    assert kache.run("init", "--check").returncode == 1
    kache.run("init", "-y").ok()
    kache.run("init", "--check").ok()
    assert cargo("build", cwd=ws, wrapper=False).ok().count("miss") == 2
    kache.run("init", "--undo").ok()
    shutil.rmtree(ws / "target")
    assert cargo("build", cwd=ws, wrapper=False).ok().events == []
    assert not (world.home / ".cargo/config.toml").exists()


def test_bench_compares_builds_and_leaves_no_trace(
    workspace: Callable[..., Path], cargo: Cargo, kache: Kache, world: World
) -> None:
    ws = workspace(FILES)
    found = json.loads(kache.run("bench", ws, "--json", "--", "--release").ok().stdout)
    assert [run["name"] for run in found["runs"]] == ["uncached", "cold", "warm", "warm_executables"]
    assert found["cargo_arguments"] == ["--release"]
    cold, warm, all_warm = (run["report"]["summary"] for run in found["runs"][1:])
    assert (cold["misses"], cold["local_hits"]) == (2, 0)
    assert (warm["misses"], warm["local_hits"]) == (0, 2)
    assert (all_warm["misses"], all_warm["passthroughs"]) == (0, 0)
    # where targets are warmed, Cargo calls for nothing
    on = {"KACHE_WARM_TARGETS": "1", "KACHE_CACHE_EXECUTABLES": "1"}
    runs = json.loads(kache.run("bench", ws, "--json", env=on).ok().stdout)["runs"]
    assert [run["name"] for run in runs] == ["uncached", "cold", "warm"]
    assert runs[2]["report"]["summary"]["warmed"] > 0
    assert runs[2]["report"]["summary"]["local_hits"] == 0
    assert sorted(path.name for path in ws.iterdir()) == ["Cargo.lock", "Cargo.toml", "app", "base", "mid"]
    assert not world.cache_dir.exists()
    table = kache.run("bench", ws).ok().stdout
    assert "warm, new target" in table and "hit rate" in table


def test_bench_of_what_does_not_build_says_so(workspace: Callable[..., Path], kache: Kache) -> None:
    ws = workspace({**FILES, "mid/src/lib.rs": "syntax error"})
    done = kache.run("bench", ws)
    assert done.returncode == 1
    assert "failed with status" in done.stderr
    assert not (ws / "target").exists()
    assert "Cargo.toml" in kache.run("bench", ws / "nowhere").stderr

"""kache clean on what real Cargo left: found, measured, shown, deleted; and nothing else is."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.e2e.family import FAMILY, PRINTS
from tests.targets import disk_bytes, make, snapshot, write
from tests.world import Cargo, Kache, World

APP = {
    "Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n',
    "build.rs": 'fn main() { println!("cargo:rerun-if-changed=build.rs"); }\n',
    "src/lib.rs": "pub fn two() -> u32 { 2 }\n",
    "src/main.rs": 'fn main() { println!("{}", app::two()); }\n',
    "examples/show.rs": "fn main() {}\n",
}

# A build script that waits for a file.
WAITING = """
    fn main() {
        std::fs::write("began", "").unwrap();
        while std::fs::metadata("go").is_err() { std::thread::sleep(std::time::Duration::from_millis(20)); }
    }
    """


def document(kache: Kache, *arguments: str, cwd: Path) -> Dict[str, Any]:
    found = json.loads(kache.run("clean", "--json", *arguments, cwd=cwd).ok().stdout)
    assert found["schema_version"] == 1
    return dict(found)


def paths(found: Dict[str, Any]) -> List[str]:
    return sorted(target["path"] for target in found["targets"])


def test_what_cargo_built_is_found_shown_and_deleted_and_can_be_built_again(
    world: World, kache: Kache, cargo: Cargo
) -> None:
    ws = world.workspace(APP)
    cargo("build", "--examples", "--lib", "--bins", cwd=ws, wrapper=False).ok()
    cargo("check", "--target-dir", "other/checked", cwd=ws, wrapper=False).ok()
    cargo("doc", cwd=ws, env={"CARGO_TARGET_DIR": str(world.root / "docs")}, wrapper=False).ok()
    triple = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True, env=world.env).stdout
    triple = next(line[6:] for line in triple.splitlines() if line.startswith("host: "))
    cargo("build", "--release", "--target", triple, "--target-dir", "other/triple", cwd=ws, wrapper=False).ok()
    targets = [ws / "target", ws / "other/checked", ws / "other/triple", world.root / "docs"]
    os.sync()
    before = snapshot(world.root, (*targets, world.home / ".cache"))
    found = document(kache, "-n", cwd=world.root)
    assert paths(found) == sorted(str(target) for target in targets)
    for target in found["targets"]:
        assert target["size"] == sum(target["parts"].values()) == disk_bytes(Path(target["path"]))
        assert target["freed"] == target["size"] and target["in_store"] == 0
        assert abs(target["last_use"] - time.time()) < 300
    parts = next(target["parts"] for target in found["targets"] if target["path"] == str(ws / "target"))
    assert all(parts[name] > 0 for name in ("incremental", "build", "deps", "fingerprint", "binaries", "other"))
    table = kache.run("clean", "--dry-run", cwd=world.root).ok().stdout
    assert all(str(target) in table for target in targets) and "4 target directories" in table
    assert all(target.exists() for target in targets)
    run = kache.run("clean", "-y", cwd=world.root).ok()
    assert run.stderr == "" and not any(target.exists() for target in targets)
    assert snapshot(world.root, (world.home / ".cache",)) == before
    assert "there is no target directory below" in kache.run("clean", "-y", cwd=world.root).ok().stdout
    cargo("build", cwd=ws, wrapper=False).ok()


def test_what_is_freed_is_what_the_disk_gets_back_and_the_store_loses_nothing(
    world: World, kache: Kache, cargo: Cargo
) -> None:
    """Outputs that are hard links to the store, or to another target directory."""
    env = {"KACHE_CACHE_EXECUTABLES": "1"}
    first, second = world.workspace(FAMILY, "first"), world.workspace(FAMILY, "second")
    for ws in (first, second):
        cargo("build", cwd=ws, env=env).ok()
    os.sync()
    library = next((first / "target/debug/deps").glob("liblow-*.rlib"))
    assert library.stat().st_nlink >= 3, "the library is shared by the store and both target directories"
    found = document(kache, cwd=world.root)
    assert all(target["in_store"] > 0 for target in found["targets"])
    [one] = [target for target in found["targets"] if target["path"] == str(first / "target")]
    assert one["freed"] <= one["size"] - one["in_store"]
    before = disk_bytes(world.root)
    done = json.loads(kache.run("clean", "-y", "--json", "first", cwd=world.root).ok().stdout)
    assert [each["path"] for each in done["deleted"]] == [one["path"]] and done["not_deleted"] == []
    assert before - disk_bytes(world.root) == done["freed"] == one["freed"]
    done = json.loads(kache.run("clean", "-y", "--json", cwd=world.root).ok().stdout)
    assert before - disk_bytes(world.root) == done["freed"] + one["freed"]
    run = cargo("run", "-q", cwd=first, env=env).ok()
    assert run.stdout == PRINTS and run.count("local_hit") == len(run.events) > 3, run.results()


def test_targets_that_share_are_given_back_together(world: World, kache: Kache) -> None:
    first, second = make(world.root / "a/target"), make(world.root / "b/target")
    write(first, {"debug/deps/big": "x" * 100_000})
    os.link(first / "debug/deps/big", second / "debug/deps/big")
    shared = (first / "debug/deps/big").stat().st_blocks * 512
    found = document(kache, cwd=world.root)
    assert found["total"]["freed"] == found["total"]["size"] == disk_bytes(first) + disk_bytes(second) - shared
    assert sum(target["freed"] for target in found["targets"]) == found["total"]["freed"] - shared
    done = json.loads(kache.run("clean", "-y", "--json", cwd=world.root).ok().stdout)
    assert done["freed"] == found["total"]["freed"]


def test_only_the_incremental_directories_go_and_cargo_stays_fresh(world: World, kache: Kache, cargo: Cargo) -> None:
    ws = world.workspace(APP)
    for profile in ("dev", "bench"):
        cargo("build", "--profile", profile, cwd=ws, wrapper=False, env={"CARGO_INCREMENTAL": "1"}).ok()
    os.sync()
    other = make(world.root / "other/target", "debug/incremental")
    before = snapshot(world.root)
    found = document(kache, "--incremental", cwd=world.root)
    assert paths(found) == [str(ws / "target")]
    room = sum(disk_bytes(ws / "target" / profile / "incremental") for profile in ("debug", "release"))
    # rustc links objects from there into deps
    assert found["targets"][0]["size"] == room >= found["total"]["freed"]
    taken = disk_bytes(ws)
    run = kache.run("clean", "-y", "--incremental", "--json", cwd=world.root).ok()
    assert json.loads(run.stdout)["freed"] == found["total"]["freed"] == taken - disk_bytes(ws) > 0
    after = snapshot(world.root, (world.home / ".cache",))
    assert all(before[name] == after[name] for name in after)
    gone = before.keys() - after.keys()
    assert gone and all("/incremental/" in name or name.endswith("/incremental") for name in gone)
    assert not any("/incremental" in name for name in after if name.startswith("ws/target"))
    assert other.exists()
    again = cargo("build", "-v", cwd=ws, wrapper=False, env={"CARGO_INCREMENTAL": "1"}).ok()
    assert again.fresh() == {"app"} and not again.built()
    (ws / "src/lib.rs").write_text("pub fn two() -> u32 { 3 }\n")
    assert cargo("run", "-q", cwd=ws, wrapper=False).ok().stdout == "3\n"


def test_build_directories_are_found_beside_their_target_directories(world: World, kache: Kache, cargo: Cargo) -> None:
    ws = world.workspace(APP)
    env = {"CARGO_BUILD_BUILD_DIR": str(world.root / "between")}
    cargo("build", cwd=ws, env=env, wrapper=False).ok()
    if not (world.root / "between").exists():
        pytest.skip("this Cargo knows no build-dir")
    assert paths(document(kache, cwd=world.root)) == [str(world.root / "between"), str(ws / "target")]
    kache.run("clean", "-y", cwd=world.root).ok()
    assert not (world.root / "between").exists() and not (ws / "target").exists()
    cargo("build", cwd=ws, env=env, wrapper=False).ok()


def test_only_what_is_old_or_big_enough(world: World, kache: Kache) -> None:
    old, new = make(world.root / "old/target"), make(world.root / "new/target")
    write(new, {"debug/deps/big": "x" * 3_000_000})
    past = time.time() - 40 * 86400
    for base, directories, names in os.walk(old, topdown=False):
        for name in [*names, *directories, "."]:
            os.utime(Path(base) / name, (past, past))
    assert paths(document(kache, "--older-than", "30d", cwd=world.root)) == [str(old)]
    assert paths(document(kache, "--older-than", "50d", cwd=world.root)) == []
    assert paths(document(kache, "--larger-than", "2MiB", cwd=world.root)) == [str(new)]
    kache.run("clean", "-y", "--older-than", "30d", "--larger-than", "2MiB", cwd=world.root).ok()
    assert old.exists() and new.exists()
    # read by Cargo a minute ago
    os.utime(old / ".rustc_info.json", (time.time() - 60, past))
    assert paths(document(kache, "--older-than", "30d", cwd=world.root)) == []
    kache.run("clean", "-y", "--older-than", "10s", cwd=world.root).ok()
    assert not old.exists() and new.exists()


def test_without_a_word_nothing_is_deleted(world: World, kache: Kache) -> None:
    target = make(world.root / "ws/target")
    before = snapshot(world.root / "ws")
    run = kache.run("clean", cwd=world.root)
    assert run.returncode == 2 and str(target) in run.stdout
    assert run.stderr.startswith("kache: nothing was deleted") and "-y" in run.stderr
    for arguments in (["-n"], ["--json"], ["-n", "--json"]):
        assert kache.run("clean", *arguments, cwd=world.root).returncode == 0
    for arguments in (["-n", "-y"], ["-y", "nowhere"], ["-y", "ws/target/CACHEDIR.TAG"], ["-y", "--older-than", "x"]):
        run = kache.run("clean", *arguments, cwd=world.root)
        assert run.returncode == 2 and run.stderr.startswith("kache: clean: ") and run.stderr.count("\n") == 1
    assert snapshot(world.root / "ws") == before
    assert "there is no target directory" in kache.run("clean", cwd=world.home).ok().stdout


def test_one_in_another_and_one_asked_for_twice_are_counted_once(world: World, kache: Kache) -> None:
    outer = make(world.root / "ws/target")
    inner = make(outer / "rust-analyzer")
    (world.root / "link").symlink_to("ws")
    found = document(kache, "ws", ".", "link", str(outer), str(inner), cwd=world.root)
    assert paths(found) == [str(outer)]
    assert found["total"]["size"] == disk_bytes(outer)
    kache.run("clean", "-y", "ws", str(outer), "link", cwd=world.root).ok()
    assert not outer.exists() and (world.root / "ws").exists() and (world.root / "link").is_symlink()


def test_the_store_is_never_taken_for_one(world: World, kache: Kache, cargo: Cargo) -> None:
    """It carries a CACHEDIR.TAG, too."""
    ws = world.workspace(APP)
    cargo("build", cwd=ws).ok()
    deadline = time.monotonic() + 30
    while not (world.cache_dir / "CACHEDIR.TAG").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (world.cache_dir / "CACHEDIR.TAG").exists()
    before = snapshot(world.cache_dir)
    for place in (world.root, world.cache_dir):
        run = kache.run("clean", "-y", cwd=place).ok()
    assert "passed over" in run.stderr
    after = snapshot(world.cache_dir)
    assert {
        name: after[name] for name in before if not name.startswith(("events", "kache.log"))
    }.items() <= before.items()
    assert not (ws / "target").exists()


def test_a_target_directory_in_use_is_passed_over(world: World, kache: Kache, cargo: Cargo) -> None:
    """A real build that is at work: its build script waits for a file."""
    ws = world.workspace({**APP, "build.rs": WAITING})
    idle = make(world.root / "idle/target")
    build = subprocess.Popen(["cargo", "build", "-q"], cwd=ws, env=world.env)
    try:
        deadline = time.monotonic() + 60
        while not (ws / "began").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        for arguments in (["-y"], ["-y", "--incremental"]):
            before = snapshot(ws)
            run = kache.run("clean", *arguments, cwd=ws).ok()
            assert snapshot(ws) == before
            # the script that runs is one of its programs
            assert f"{ws}/target: " in run.stderr and run.stderr.endswith("; passed over\n"), run.stderr
        kache.run("clean", "-y", cwd=world.root).ok()
        assert not idle.exists()
    finally:
        (ws / "go").touch()
        build.wait()
    assert build.returncode == 0
    (ws / "go").unlink()
    kache.run("clean", "-y", cwd=world.root).ok()
    assert not (ws / "target").exists()


def test_a_target_directory_whose_program_runs_is_passed_over(world: World, kache: Kache, cargo: Cargo) -> None:
    main = "fn main() { let mut line = String::new(); std::io::stdin().read_line(&mut line).unwrap(); }\n"
    ws = world.workspace({**APP, "src/main.rs": main})
    cargo("build", cwd=ws, wrapper=False).ok()
    program = subprocess.Popen([ws / "target/debug/app"], stdin=subprocess.PIPE)
    try:
        run = kache.run("clean", "-y", cwd=ws).ok()
        assert f"debug/app runs, process {program.pid}" in run.stderr and (ws / "target/debug/app").exists()
    finally:
        program.communicate(b"\n")
    kache.run("clean", "-y", cwd=ws).ok()
    assert not (ws / "target").exists()

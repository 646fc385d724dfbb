"""kache clean where links, mounts, rights, other processes and signals stand in the way. What is outside stays."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from kachelib.target_size import Target
from tests.targets import INFO, TAG, look, make, paths, remove, snapshot, write
from tests.world import Cargo, Kache, Run, World

APP = {
    "Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n',
    "build.rs": 'fn main() { println!("cargo:rerun-if-changed=build.rs"); }\n',
    "src/lib.rs": "pub fn two() -> u32 { 2 }\n",
    "src/main.rs": 'fn main() { println!("{}", app::two()); }\n',
}


@pytest.fixture
def treasure(world: World) -> Path:
    """What must never be touched; it has everything that a target directory has, too."""
    return write(make(world.root / "treasure"), {"deep/er/file": "dear"})


def found_one(world: World) -> Target:
    [target] = look(world.root / "home" / "ws").targets
    return target


@pytest.fixture
def target(world: World) -> Path:
    return make(world.root / "home" / "ws" / "target")


def test_links_out_of_it_are_removed_and_not_followed(world: World, target: Path, treasure: Path) -> None:
    before = snapshot(treasure)
    for place in ("link", "debug/link", "debug/deps/link", "debug/incremental/link", "debug/build/a"):
        (target / place).symlink_to(treasure)
    (target / "debug/deps/file").symlink_to(treasure / "deep/er/file")
    os.link(treasure / "deep/er/file", target / "debug/deps/hard")
    assert remove(look(target), found_one(world)).gone
    assert not target.exists() and snapshot(treasure) == before


def swap_target(target: Path, treasure: Path) -> None:
    target.rename(target.with_name("away"))
    target.symlink_to(treasure)


def swap_parent(target: Path, treasure: Path) -> None:
    (treasure / "target").mkdir()
    target.parent.rename(target.parent.with_name("away"))
    target.parent.symlink_to(treasure)


def swap_parent_for_another(target: Path, treasure: Path) -> None:
    """The same place now holds another target directory, which was never shown."""
    target.parent.rename(target.parent.with_name("away"))
    make(target)


def swap_above(target: Path, treasure: Path) -> None:
    above = target.parent.parent
    above.rename(above.with_name("away"))
    above.symlink_to(above.with_name("away"))


def lose_tag(target: Path, treasure: Path) -> None:
    (target / "CACHEDIR.TAG").write_text("mine now")


def become_a_package(target: Path, treasure: Path) -> None:
    (target / "Cargo.toml").touch()


def protect(target: Path, treasure: Path) -> None:
    target.chmod(0o555)


SWAPS = [swap_target, swap_parent, swap_parent_for_another, swap_above, lose_tag, become_a_package, protect]


@pytest.mark.parametrize("swap", SWAPS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("incremental", [False, True], ids=["all", "incremental"])
def test_what_became_another_since_it_was_found_stays(
    world: World, target: Path, treasure: Path, swap: Callable[[Path, Path], None], incremental: bool
) -> None:
    view = look(world.root / "home")
    [found] = view.targets
    swap(target, treasure)
    before = snapshot(world.root)
    outcome = remove(view, found, incremental)
    assert snapshot(world.root) == before
    assert outcome.passed and not outcome.gone and not outcome.errors and outcome.files == 0


@pytest.mark.parametrize("what", ["target", "target/debug", "target/debug/deps"])
def test_a_link_that_comes_and_goes_while_it_is_deleted_leads_nowhere(world: World, treasure: Path, what: str) -> None:
    """A race, run many times: someone swaps a directory for a link and back as fast as he can."""
    before = snapshot(treasure)
    for round_number in range(25):
        base = world.root / f"race{round_number}"
        make(base / "target")
        write(base / "target/debug/deps", {f"d{n}/f": "" for n in range(40)})
        view = look(base)
        victim, aside = base / what, base / "aside"
        stop = threading.Event()

        def swap(victim: Path = victim, aside: Path = aside, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                try:
                    victim.rename(aside)
                    victim.symlink_to(treasure)
                    victim.unlink()
                    aside.rename(victim)
                except OSError:
                    if not victim.parent.exists():
                        return

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            for found in view.targets:
                remove(view, found)
        finally:
            stop.set()
            thread.join()
    assert snapshot(treasure) == before


@pytest.mark.parametrize("mode", [0o555, 0o000, 0o311, 0o444])
def test_read_only_directories_of_one_s_own_are_no_obstacle(
    world: World, kache_source: Kache, unprivileged: List[str], target: Path, mode: int
) -> None:
    for place in ("debug/deps", "debug/build/app-fbad94938ee920e0/out", "debug/build/app-fbad94938ee920e0"):
        (target / place).chmod(mode)
    run = world.run([*unprivileged, kache_source.path, "clean", "-y"], cwd=target.parent).ok()
    assert not target.exists() and "deleted 1 target directory" in run.stdout


def test_what_cannot_be_deleted_is_one_line_each_and_the_rest_goes(
    world: World, kache_source: Kache, unprivileged: List[str], target: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    other = make(world.root / "home" / "other" / "target")
    for number in range(8):
        write(target / "debug/deps", {f"foreign{number}/file": ""})
        os.chown(target / f"debug/deps/foreign{number}", 12345, 12345)
    run = world.run([*unprivileged, kache_source.path, "clean", "-y"], cwd=world.home)
    lines = run.stderr.splitlines()
    assert run.returncode == 1 and all(line.startswith("kache: ") for line in lines)
    assert sum(f"{target}/debug/deps/foreign" in line for line in lines) == 5 and "3 more" in lines[-1]
    assert not other.exists() and f"deleted {other}" in run.stdout and f"deleted {target}" not in run.stdout
    # what is left is one, and Cargo's locks are the last to go
    assert (target / "debug/.cargo-lock").exists() and not (target / "debug/.fingerprint").exists()
    assert paths(look(world.home)) == [str(target)]


def test_one_in_a_directory_that_may_not_be_written_is_emptied(
    world: World, kache_source: Kache, unprivileged: List[str], target: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(target.parent, 12345, 12345)
    run = world.run([*unprivileged, kache_source.path, "clean", "-y"], cwd=target.parent)
    assert run.returncode == 1 and f"{target.parent}: cannot be written" in run.stderr
    assert sorted(path.name for path in target.iterdir()) == [".rustc_info.json", "CACHEDIR.TAG"]


def test_unreadable_directories_are_passed_over_with_a_word(
    world: World, kache_source: Kache, unprivileged: List[str], target: Path
) -> None:
    closed = world.home / "closed"
    make(closed / "target")
    closed.chmod(0o000)
    run = world.run([*unprivileged, kache_source.path, "clean", "-y"], cwd=world.home).ok()
    assert f"kache: {closed}: cannot be read: Permission denied; passed over\n" in run.stderr
    closed.chmod(0o755)
    assert not target.exists() and (closed / "target").exists()


def mount(place: Path, *options: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")


@pytest.fixture
def mounts() -> Iterator[List[Path]]:
    """What is appended to it is unmounted at the end."""
    points: List[Path] = []
    yield points
    for point in points:
        subprocess.run(["umount", "-l", str(point)], check=False)


@pytest.mark.parametrize("case", ["bind", "tmpfs", "bind late", "tmpfs late"])
def test_what_is_mounted_in_it_keeps_it(
    world: World, target: Path, treasure: Path, mounts: List[Path], case: str
) -> None:
    """A bind mount of the same disk has no device number of its own."""
    kind, _, late = case.partition(" ")
    place = target / "debug" / "build" / "data"
    options = ["--bind", str(treasure)] if kind == "bind" else ["-t", "tmpfs", "none"]
    view = look(world.root / "home")
    mount(place, *options)
    mounts.append(place)
    if kind == "tmpfs":
        (place / "file").write_text("dear")
    if not late:
        view = look(world.root / "home")
        assert paths(view) == [] and "mounted in it" in view.passed()[0].reason
        return
    [found] = view.targets
    before = snapshot(world.root)
    assert "mounted in it" in remove(view, found).passed
    assert snapshot(world.root) == before


def test_other_file_systems_are_looked_into_only_when_asked(world: World, mounts: List[Path], treasure: Path) -> None:
    base = world.root / "home"
    for name, options in (("tmp", ["-t", "tmpfs", "none"]), ("bound", ["--bind", str(treasure)])):
        mount(base / name, *options)
        mounts.append(base / name)
    inner = make(base / "tmp" / "ws" / "target")
    bound = make(treasure / "ws" / "target")
    (treasure / "CACHEDIR.TAG").unlink()
    view = look(base)
    assert paths(view) == []
    assert {(each.path, each.reason) for each in view.passed()} == {
        (str(base / name), "another file system") for name in ("tmp", "bound")
    }
    view = look(base, crossing=True)
    assert paths(view) == sorted([str(base / "bound/ws/target"), str(inner)])
    assert all(remove(view, found).gone for found in view.targets)
    assert not inner.exists() and not bound.exists() and (treasure / "deep/er/file").exists()


def kill_at(count: int, name: str, kache: Kache, cwd: Path, tool: str) -> Run:
    """kache clean -y, ended by a signal at its ``count``-th removal of a name."""
    inject = f"inject=unlinkat,rmdir,unlink:signal={name}:when={count}"
    command = [tool, "-f", "-qq", "-o", "/dev/null", "-e", "trace=unlinkat,rmdir,unlink", "-e", inject]
    return kache.world.run([*command, kache.path, "clean", "-y"], cwd=cwd)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 21, 34, 47, 60])
def test_killed_in_the_middle_what_is_left_is_known_and_cargo_copes(
    world: World, kache_source: Kache, cargo_source: Cargo, require_tool: Callable[[str], str], count: int
) -> None:
    ws = world.workspace(APP)
    cargo_source("build", cwd=ws, wrapper=False).ok()
    run = kill_at(count, "KILL", kache_source, ws, require_tool("strace"))
    assert run.returncode == -signal.SIGKILL and (ws / "target").exists(), "it was killed while something was left"
    assert paths(look(ws)) == [str(ws / "target")]
    # as it is left, with nothing said to Cargo
    assert cargo_source("run", "-q", cwd=ws, wrapper=False).ok().stdout == "2\n"
    (ws / "src/lib.rs").write_text("pub fn two() -> u32 { 3 }\n")
    assert cargo_source("run", "-q", cwd=ws, wrapper=False).ok().stdout == "3\n"
    assert kache_source.run("clean", "-y", cwd=ws).ok() and not (ws / "target").exists()


def test_ctrl_c_says_what_is_gone(world: World, kache: Kache, require_tool: Callable[[str], str], target: Path) -> None:
    other = make(world.home / "a-first" / "target")
    write(other, {"debug/deps/big": "x" * 1_000_000})
    before = len(list(target.rglob("*")))
    run = kill_at(40, "INT", kache, world.home, require_tool("strace"))
    assert run.returncode == 130 and "Traceback" not in run.stderr
    assert run.stderr.endswith("'kache clean' finds it again\n")
    assert f"deleted {other}" in run.stdout and not other.exists()
    assert paths(look(world.home)) == [str(target)]
    assert 0 < len(list(target.rglob("*"))) < before


@pytest.fixture
def cargo_source(world: World, kache_source: Kache) -> Cargo:
    return Cargo(world, kache_source)


def test_a_cargo_that_waits_for_the_lock_finds_an_empty_directory(
    world: World, kache_source: Kache, cargo_source: Cargo, require_tool: Callable[[str], str]
) -> None:
    """It would not mark the directory as a target directory again, had it been removed."""
    ws = world.workspace(APP)
    cargo_source("build", cwd=ws, wrapper=False).ok()
    tag = (ws / "target/CACHEDIR.TAG").stat().st_ino
    slow = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=unlinkat", "-e", "inject=unlinkat:delay_enter=30000"]
    command = [require_tool("strace"), *slow, str(kache_source.path), "clean", "-y"]
    with subprocess.Popen(command, cwd=ws, env=world.env, stderr=subprocess.PIPE, text=True) as cleaning:
        while (ws / "target/debug/.fingerprint").exists():
            assert cleaning.poll() is None
            time.sleep(0.01)
        assert cargo_source("run", "-q", cwd=ws, wrapper=False).ok().stdout == "2\n"
        assert "Cargo came meanwhile; the empty directory stays for it" in cleaning.communicate()[1]
    assert cleaning.returncode == 0 and (ws / "target/CACHEDIR.TAG").stat().st_ino == tag
    kache_source.run("clean", "-y", cwd=ws).ok()
    assert not (ws / "target").exists()


def test_a_cargo_that_comes_while_it_is_deleted_builds(world: World, kache_source: Kache, cargo_source: Cargo) -> None:
    """It waits for the lock, or begins anew; over and over, each begun at another moment."""
    ws = world.workspace(APP)
    for number in range(6):
        cargo_source("build", cwd=ws, wrapper=False).ok()
        write(ws / "target/debug/deps", {f"more{n}/{m}": "" for n in range(10) for m in range(40)})
        cleaning = subprocess.Popen([kache_source.path, "clean", "-y"], cwd=ws, env=world.env)
        time.sleep(0.05 * number)
        run = cargo_source("run", "-q", cwd=ws, wrapper=False)
        assert run.returncode == 0 and run.stdout == "2\n", run.stderr
        assert cleaning.wait() in (0, 1)


def test_a_lock_that_is_held_anywhere_in_it_keeps_all_of_it(world: World, target: Path) -> None:
    """Exclusive as up to Cargo 1.95, or shared as from 1.96 on; of a triple, of another tool, of a test far below."""
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, int(sys.argv[2])); print(flush=True); input()"
    for place in ("debug", "x86_64-unknown-linux-gnu/release", "rust-analyzer/x86/debug", "a/b/c/d/e/f/debug"):
        for name, how in (
            (".cargo-lock", 2),
            (".cargo-lock", 1),
            (".cargo-build-lock", 2),
            (".cargo-artifact-lock", 2),
        ):
            write(target / place, {name: "", "deps/a": ""})
            view = look(world.root / "home")
            [found] = view.targets
            command = [sys.executable, "-c", hold, str(target / place / name), str(how)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
                assert holder.stdout and holder.stdout.readline()
                before = snapshot(target)
                for incremental in (False, True):
                    outcome = remove(view, found, incremental)
                    assert (outcome.passed, outcome.files) == ("Cargo is at work in it", 0)
                assert snapshot(target) == before
                holder.communicate(b"\n")
            (target / place / name).unlink()
            (target / "debug/.cargo-lock").touch()
    assert remove(look(target), found_one(world)).gone


def test_names_of_any_bytes_and_any_depth(world: World, kache: Kache) -> None:
    base = os.fsencode(world.root) + b"/h\xff\nome"
    target = make(Path(os.fsdecode(base + b"/target")))
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b" ", b"*", b"\x1b[31m"):
        write(target / "debug/deps", {os.fsdecode(name + b"/" + name): ""})
    depth = 1100
    fd = os.open(target / "debug/deps", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 10, dir_fd=fd)
        below = os.open("d" * 10, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    table = kache.run("clean", "-n", cwd=world.root).ok().stdout
    assert "h\\udcff\\nome/target" in table and "1 target directory" in table
    run = kache.run("clean", "-y", cwd=world.root).ok()
    assert not target.exists() and "\x1b" not in run.stdout + run.stderr
    assert target.parent.exists()


def test_two_hundred_thousand_files_are_a_matter_of_seconds(
    world: World, kache_source: Kache, tmpfs: Callable[[Path, str], Path]
) -> None:
    ws = tmpfs(world.root / "ws", "1g")
    target = write(ws / "target", {"CACHEDIR.TAG": TAG, ".rustc_info.json": INFO, "debug/.cargo-lock": ""})
    for number in range(200):
        directory = target / f"debug/{('deps', 'incremental')[number % 2]}/d{number}"
        directory.mkdir(parents=True)
        fd = os.open(directory, os.O_RDONLY)
        for each in range(1000):
            os.close(os.open(str(each), os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
    began = time.monotonic()
    view = look(ws)
    seconds = time.monotonic() - began
    assert view.targets[0].files() == 200_003
    print(f"200,003 files were measured in {seconds:.2f} s")
    assert seconds < 15
    run = kache_source.run("clean", "-y", cwd=ws).ok()
    assert not target.exists() and "deleted 1 target directory" in run.stdout


def test_a_place_of_worth_is_known_by_what_it_is_not_by_its_path(
    world: World, target: Path, mounts: List[Path]
) -> None:
    """The store, named by another way to it: where a container has its directories bound to other places."""
    store = write(target / "deep" / "cache", {"blob": "dear"})
    other = world.root / "bound"
    mount(other, "--bind", str(target.parent))
    mounts.append(other)
    closed = {str(other / "target/deep/cache"): "the store"}
    view = look(world.root / "home", closed=closed)
    assert paths(view) == [] and "the store is in it" in view.passed()[0].reason
    # and when it becomes one between the look and the deletion
    view = look(world.root / "home")
    view.fences.closed.update(look(world.root / "home", closed=closed).fences.closed)
    [found] = view.targets
    outcome = remove(view, found)
    assert not outcome.gone and outcome.errors == [f"{store}: it is the store, and stays"]
    assert (store / "blob").exists() and paths(look(world.root / "home")) == [str(target)]

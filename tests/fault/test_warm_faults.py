"""Faults of warming and taking: the build passes, nothing is lost, nothing outside the target directory is touched."""

import contextlib
import errno
import fcntl
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

import pytest

from kachelib import console, units, warm, warm_command
from kachelib.key import digest_bytes
from kachelib.store import Store
from kachelib.units import LINK, RAW, File, Plan, Snapshot
from tests.world import Cargo, Kache, Run, World

# without progress lines, which may stand in the middle of one of Cargo's
ON: Dict[str, Optional[str]] = {
    "KACHE_CACHE_EXECUTABLES": "1",
    "KACHE_WARM_TARGETS": "1",
    "KACHE_PROGRESS": "never",
}

PACKAGE = '[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n'

FILES = {
    "Cargo.toml": '[workspace]\nmembers = ["app", "one", "two"]\nresolver = "2"\n',
    "app/Cargo.toml": PACKAGE.format(name="app") + 'one = { path = "../one" }\ntwo = { path = "../two" }\n',
    "app/src/main.rs": 'fn main() { println!("{} {}", one::one(), two::two()); }\n',
    "one/Cargo.toml": PACKAGE.format(name="one"),
    "one/src/lib.rs": "pub fn one() -> u8 { 1 }\n",
    "two/Cargo.toml": PACKAGE.format(name="two"),
    "two/build.rs": 'fn main() { println!("cargo:rerun-if-changed=build.rs"); '
    'std::fs::write(std::env::var("OUT_DIR").unwrap() + "/t", "2").unwrap(); }\n',
    "two/src/lib.rs": 'pub fn two() -> &\'static str { include_str!(concat!(env!("OUT_DIR"), "/t")) }\n',
}
UNITS = 5


class Site:
    """A workspace whose units are kept, and its builds."""

    def __init__(self, world: World, cargo: Cargo, ws: Path) -> None:
        self.world = world
        self.cargo = cargo
        self.ws = ws
        self.target = ws / "target"
        self.env = dict(ON)
        self.build()
        self.save()
        self.remove()

    def build(self, *words: str) -> Run:
        return self.cargo(*(words or ("build",)), "-v", cwd=self.ws, env=self.env).ok()

    def save(self) -> Run:
        return self.world.run([self.cargo.kache.path, "save"], cwd=self.ws, env=self.env).ok()

    def remove(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)

    def check(self) -> Run:
        """Build; the program is right, and a second build has nothing to do."""
        run = self.build()
        self.check_program()
        assert not self.build().built()
        return run

    def check_program(self) -> None:
        done = subprocess.run([self.target / "debug/app"], capture_output=True, check=True)
        assert done.stdout == b"1 2\n"

    def check_lost_nothing(self) -> None:
        """In the next new target all is warmed again."""
        self.remove()
        run = self.check()
        assert warmed(run) == UNITS
        assert not run.built()

    def environment(self) -> Dict[str, str]:
        found = {**self.world.env, "RUSTC_WRAPPER": str(self.cargo.kache.path)}
        found.update({name: value for name, value in self.env.items() if value is not None})
        return found

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["cargo", *words], cwd=self.ws, env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def helper(self, cargo: "subprocess.Popen[bytes]") -> int:
        """The process that holds the mark of this Cargo's helper (proc_locks(5))."""
        while cargo.poll() is None:
            marks = {str(path.stat().st_ino) for path in (self.world.cache_dir / "memo").glob(f"helper-{cargo.pid}-*")}
            for line in Path("/proc/locks").read_text().splitlines():
                words = line.split()
                if words[1] == "FLOCK" and words[5].rpartition(":")[2] in marks:
                    return int(words[4])
        raise AssertionError("no helper was seen")

    def records(self) -> List[Path]:
        return [path for path in (self.world.cache_dir / "units").rglob("*") if path.is_file()]

    def plan_file(self) -> Path:
        (path,) = [path for path in (self.world.cache_dir / "plans").rglob("*") if path.is_file()]
        return path


def warmed(run: Run) -> int:
    return sum(int(event["warmed"]) for event in run.events if event["result"] == "warmed")


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """As it ships; the source tree is the same code."""
    return kache_file


@pytest.fixture
def site(world: World, cargo: Cargo, workspace: Callable[..., Path]) -> Site:
    return Site(world, cargo, workspace(FILES))


def kills(count: int) -> Iterator[float]:
    rng = random.Random(7)
    for _ in range(count):
        yield rng.random()


def kill_warming(site: Site, count: int) -> None:
    """``kache warm`` dies anywhere; what it left, Cargo completes."""
    command = [str(site.cargo.kache.path), "warm"]
    site.world.run(command, cwd=site.ws, env=site.env).ok()
    whole = files_in(site.target)
    partly = 0
    for share in kills(count):
        site.remove()
        process = subprocess.Popen(command, cwd=site.ws, env=site.environment(), stdout=subprocess.DEVNULL)
        # by what it has put back and not by time: a busy machine knows no time
        while files_in(site.target) < whole * share and process.poll() is None:
            pass
        process.kill()
        process.wait()
        partly += 0 < files_in(site.target) < whole
        site.check()
    assert partly
    site.check_lost_nothing()


def files_in(directory: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(directory))


def test_killed_while_it_warms(site: Site) -> None:
    kill_warming(site, 12)


@pytest.mark.soak
def test_killed_while_it_warms_often(site: Site) -> None:
    kill_warming(site, 200)


def kill_taking(site: Site, count: int) -> None:
    command = [str(site.cargo.kache.path), "save"]
    for share in kills(count):
        shutil.rmtree(site.world.cache_dir / "units")
        shutil.rmtree(site.world.cache_dir / "plans")
        site.remove()
        site.build()
        process = subprocess.Popen(command, cwd=site.ws, env=site.environment(), stdout=subprocess.DEVNULL)
        time.sleep(0.5 * share)
        process.kill()
        process.wait()
        site.remove()
        site.check()
        site.save()
    site.check_lost_nothing()


def test_killed_while_it_takes(site: Site) -> None:
    kill_taking(site, 6)


@pytest.mark.soak
def test_killed_while_it_takes_often(site: Site) -> None:
    kill_taking(site, 200)


@pytest.mark.parametrize("other", ["build", "check"])
def test_two_at_once(site: Site, other: str) -> None:
    for _ in range(3):
        site.remove()
        both = [site.start("build"), site.start(other)]
        for process in both:
            _, told = process.communicate(timeout=120)
            assert process.returncode == 0, told
        site.check()
    site.check_lost_nothing()


def test_every_record_damaged(site: Site) -> None:
    for path in site.records():
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    run = site.check()
    assert warmed(run) == 0
    site.save()
    site.check_lost_nothing()


def test_a_damaged_plan(site: Site) -> None:
    path = site.plan_file()
    path.write_bytes(path.read_bytes()[:-3])
    assert warmed(site.check()) == 0
    site.save()
    site.check_lost_nothing()


def test_a_missing_blob_costs_its_unit_and_what_hangs_on_it(site: Site, world: World) -> None:
    found = [units.decode(path.read_bytes()) for path in site.records()]
    (one,) = [each for each in found if each is not None and each.name == "lib-one"]
    for digest in one.blobs():
        Path(Store(str(world.cache_dir)).blob_path(digest)).unlink()
    run = site.check()
    assert run.built() == {"one", "app"}
    assert run.fresh() == {"two"}
    site.save()
    site.check_lost_nothing()


@pytest.mark.parametrize("path", ["/escaped", "../../../escaped", "deps/../../../../escaped"])
def test_a_record_that_leaves_the_target(site: Site, world: World, path: str) -> None:
    plan_file = site.plan_file()
    plan = units.decode_plan(plan_file.read_bytes())
    assert plan is not None
    store = Store(str(world.cache_dir))
    for key in plan.units:
        snapshot = units.read_unit(store, plan.units[key][0])
        assert snapshot is not None
        where = str(world.root) + path if path.startswith("/") else path
        snapshot.files.insert(0, File(RAW, where, 0o644, b"x"))
        plan.units[key] = [units.write_unit(store, snapshot)]
    plan_file.write_bytes(plan.encode())
    assert warmed(site.check()) == 0
    assert not list(world.root.rglob("escaped"))


def test_a_record_with_another_units_blob(site: Site, world: World) -> None:
    """A size that is not the blob's is a blob that is not there."""
    plan_file = site.plan_file()
    plan = units.decode_plan(plan_file.read_bytes())
    assert plan is not None
    store = Store(str(world.cache_dir))
    for key in list(plan.units):
        snapshot = units.read_unit(store, plan.units[key][0])
        assert snapshot is not None
        for file in snapshot.files:
            file.size += file.form == LINK
        plan.units[key] = [units.write_unit(store, snapshot)]
    plan_file.write_bytes(plan.encode())
    assert site.check().built() == {"app", "one", "two"}


def test_all_times_in_the_store_changed(site: Site, world: World) -> None:
    for path in world.cache_dir.rglob("*"):
        os.utime(path, (5, 5))
    site.check()
    site.remove()
    for path in world.cache_dir.rglob("*"):
        os.utime(path)
    site.check()


def test_the_store_is_on_another_file_system(world: World, cargo: Cargo, workspace: Callable[..., Path]) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == world.root.stat().st_dev:
        pytest.skip("no other file system")
    place = shm / f"kache-test-{os.getpid()}-{digest_bytes(str(world.root).encode())[:8]}"
    try:
        site = Site(World(world.root, {**world.env, "KACHE_CACHE_DIR": str(place)}), cargo, workspace(FILES))
        site.env["KACHE_CACHE_DIR"] = str(place)
        site.build()
        site.save()
        site.remove()
        run = site.build()
        site.check_program()
        assert not run.built()
        assert not site.build().built()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_the_target_directory_is_a_symlink(site: Site, world: World) -> None:
    (world.root / "real").mkdir()
    site.target.symlink_to(world.root / "real")
    run = site.check()
    assert not run.built()
    assert site.target.is_symlink()


def test_the_target_directory_cannot_be_written(site: Site, require_tool: Callable[[str], str]) -> None:
    """Cargo says so itself, as it would without kache."""
    site.target.mkdir()
    site.target.chmod(0o555)
    command = [str(site.cargo.kache.path), "warm"]
    if os.geteuid() == 0:
        command = [require_tool("setpriv"), "--reuid=65534", "--clear-groups", *command]
    done = subprocess.run(command, cwd=site.ws, env=site.environment(), capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    site.target.chmod(0o755)
    site.check()


def test_a_deadline_stops_between_units(site: Site) -> None:
    site.env["KACHE_WARM_DEADLINE_MS"] = "1"
    run = site.check()
    assert warmed(run) < UNITS
    del site.env["KACHE_WARM_DEADLINE_MS"]
    site.check_lost_nothing()


def test_what_is_late_is_not_even_looked_at(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """To judge units takes reading all their inputs: Cargo waits for that as well."""
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(site.ws)
    here = warm_command.here_for(["build"], console.load_settings())
    assert len(warm.warm(here, time.monotonic() + 60, explain=True).back) == UNITS
    late = warm.warm(here, time.monotonic() - 1, explain=True)
    assert late.back == []
    assert list(late.left.values()) == [warm.LATE] * UNITS


def test_cargo_is_killed_while_the_helper_waits(site: Site) -> None:
    site.env["KACHE_TAKE_UNITS"] = "1"
    (site.ws / "one/src/lib.rs").write_text("pub fn one() -> u8 { 0 + 1 }\n")
    process = site.start("build")
    time.sleep(0.6)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    time.sleep(1.5)
    site.remove()
    site.check()


def test_nobody_waits_for_the_helper(site: Site) -> None:
    """Its pipes are closed, or a CI job would hang: Cargo's output ends with Cargo, though the helper goes on."""
    site.env["KACHE_TAKE_UNITS"] = "1"
    (site.ws / "one/src/lib.rs").write_text("pub fn one() -> u8 { 2 - 1 }\n")
    process = site.start("build")
    helper = site.helper(process)
    os.kill(helper, signal.SIGSTOP)
    try:
        told = process.communicate(timeout=60)[1]
        assert process.returncode == 0, told
    finally:
        os.kill(helper, signal.SIGCONT)
    site.check_program()


def test_saving_ends_when_nobody_writes_any_more(site: Site, world: World) -> None:
    """A CI job archives the cache directory then; a file that vanishes meanwhile would spoil the archive."""
    site.build()
    ended = subprocess.Popen(["true"])
    ended.wait()
    mark = world.cache_dir / "memo" / f"helper-{ended.pid}-1"
    with mark.open("w") as held:
        os.utime(mark, (1e9, 1e9))
        fcntl.flock(held, fcntl.LOCK_EX)
        saving = subprocess.Popen(
            [site.cargo.kache.path, "save"], cwd=site.ws, env=site.environment(), stdout=subprocess.DEVNULL
        )
        with pytest.raises(subprocess.TimeoutExpired):
            saving.wait(timeout=3)
    assert saving.wait(timeout=60) == 0


def test_the_target_is_removed_while_it_is_taken(site: Site) -> None:
    site.env["KACHE_TAKE_UNITS"] = "1"
    for number in range(4):
        (site.ws / "one/src/lib.rs").write_text(f"pub fn one() -> u8 {{ {number} + 1 - {number} }}\n")
        site.build()
        time.sleep(0.1 * number)
        site.remove()
    site.check()


def test_a_snapshot_without_its_dependency(site: Site, world: World) -> None:
    plan_file = site.plan_file()
    plan = units.decode_plan(plan_file.read_bytes())
    assert plan is not None
    left = Plan()
    left.units = {key: digests for key, digests in plan.units.items() if "/lib-one" not in key[1]}
    plan_file.write_bytes(left.encode())
    run = site.check()
    assert run.built() == {"one", "app"}


def test_a_unit_that_hangs_on_itself(site: Site, world: World) -> None:
    store = Store(str(world.cache_dir))
    plan_file = site.plan_file()
    plan = units.decode_plan(plan_file.read_bytes())
    assert plan is not None
    for key in plan.units:
        snapshot = units.read_unit(store, plan.units[key][0])
        assert isinstance(snapshot, Snapshot)
        snapshot.dependencies.append((*key, snapshot.generation))
        plan.units[key] = [units.write_unit(store, snapshot)]
    plan_file.write_bytes(plan.encode())
    assert warmed(site.check()) == 0


def test_the_target_directory_is_on_tmpfs(site: Site, tmpfs: Callable[[Path, str], Path]) -> None:
    tmpfs(site.target, "64m")
    assert not site.build().built()
    site.check_program()
    assert not site.build().built()


def fill_to(directory: Path, free: int) -> None:
    """Leave so many bytes free there."""
    stuffing = directory / "stuffing"
    found = os.statvfs(directory)
    with stuffing.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        file.write(bytes(max(0, found.f_bavail * found.f_frsize - free)))


def test_the_target_directory_fills_up(site: Site, tmpfs: Callable[[Path, str], Path]) -> None:
    """What has no room is left out; with room again, Cargo completes it."""
    mounted = tmpfs(site.target, "64m")
    command = [str(site.cargo.kache.path), "warm"]
    complete = 0
    for free in (0, 8_000, 40_000, 100_000, 400_000, 1_000_000, 60_000_000):
        for path in mounted.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
        fill_to(mounted, free)
        done = site.world.run(command, cwd=site.ws, env=site.env)
        assert "Traceback" not in done.stderr
        (mounted / "stuffing").unlink()
        run = site.build()
        complete += not run.built()
        site.check_program()
        assert not site.build().built()
    assert 0 < complete < 7


def test_the_store_fills_up_while_it_is_taken(
    world: World, cargo: Cargo, workspace: Callable[..., Path], tmpfs: Callable[[Path, str], Path]
) -> None:
    mounted = tmpfs(world.cache_dir, "64m")
    site = Site(world, cargo, workspace(FILES))
    for free in (0, 4_096, 16_384, 65_536):
        shutil.rmtree(mounted / "units", ignore_errors=True)
        shutil.rmtree(mounted / "plans", ignore_errors=True)
        site.remove()
        site.build()
        fill_to(mounted, free)
        command = [str(cargo.kache.path), "save"]
        done = subprocess.run(command, cwd=site.ws, env=site.environment(), capture_output=True, check=False)
        assert b"Traceback" not in done.stderr
        site.remove()
        told = site.start("build").communicate(timeout=120)[1]
        assert b"error" not in told
        site.check_program()
        (mounted / "stuffing").unlink()
        # its last line may be half
        (mounted / "events.jsonl").unlink()
        site.remove()
        site.check()
    site.save()
    site.check_lost_nothing()


def test_a_blob_has_all_the_links_it_can_have(site: Site, world: World) -> None:
    """ext4 gives an inode 65,000 names: what cannot be linked is copied."""
    found = [units.decode(path.read_bytes()) for path in site.records()]
    (one,) = [each for each in found if each is not None and each.name == "build-script-build-script-build"]
    (linked,) = [each for each in one.files if each.form == LINK]
    blob = Path(Store(str(world.cache_dir)).blob_path(linked.digest))
    links = world.root / "links"
    links.mkdir()
    try:
        for number in range(70_000):
            os.link(blob, links / str(number))
    except OSError as error:
        assert error.errno == errno.EMLINK
    else:
        shutil.rmtree(links)
        pytest.skip("an inode can have more names here than anybody makes")
    site.check_lost_nothing()
    shutil.rmtree(links)

"""The five tabs of the monitor, in a real terminal, while real cargo builds beside it."""

import re
import time
from typing import Callable, Dict, List

import pytest

from tests.terminal.scene import MEMBERS, Scene
from tests.terminal.tmux import Tmux
from tests.world import World

SIZES = pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])


def head(lines: List[str], label: str) -> str:
    """The line of the header that begins with ``label``."""
    [line] = [line for line in lines[:7] if line.startswith(label)]
    return line


def rows(lines: List[str], first: str) -> List[List[str]]:
    """The table's rows below the line that begins with ``first``, each as its cells."""
    start = next(number for number, line in enumerate(lines) if line.startswith(first))
    found = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        found.append(re.split(r"  +", line.strip()))
    return found


def picture(shown: Tmux, name: str, title: str) -> None:
    # what stands in the documents is the small one: it has to be readable there
    if shown.width == 80:
        shown.wait(f"{len(MEMBERS)} entries")
        shown.gone("counting")
        shown.picture(f"docs/pictures/monitor-{name}.svg", title)


def wait_for(shown: Tmux, pattern: str) -> List[str]:
    """Wait until a line matches."""
    end = time.monotonic() + 60
    while not any(re.search(pattern, line) for line in shown.text()):
        assert time.monotonic() < end, (pattern, shown.text())
        time.sleep(0.05)
    return shown.text()


@SIZES
def test_build_tells_each_call_as_it_ends(scene: Scene, width: int, height: int) -> None:
    shown = scene.watch("monitor", width=width, height=height)
    shown.wait("Nothing was built with kache yet: run cargo build, and watch it here.")
    shown.wait("kache init      tells Cargo to call kache")
    build = scene.begin()
    lines = wait_for(shown, r"miss +parser .*compiled: no ea")
    assert build.poll() is None
    assert not any(" compiler " in line for line in lines)
    scene.finish(build)
    lines = wait_for(shown, r"passed +compiler")
    table = rows(lines, "STATUS" if width == 80 else "TIME")
    # six libraries and programs of Cargo's, one of which is not cached, and a build script
    assert len(table) == len(MEMBERS) + 2
    assert head(lines, "In short") == "In short 5 units compiled and kept: next time they come from here."
    assert head(lines, "Wrapper") == "Wrapper  wired: Cargo calls kache (RUSTC_WRAPPER)"
    assert wait_for(shown, "5 entries")
    scene.clean()
    build = scene.begin()
    wait_for(shown, r"hit +parser .*hard link|hit +parser .*reflink|hit +parser .*copy")
    assert build.poll() is None
    scene.finish(build)
    lines = wait_for(shown, r"In short 5 of 10 units came from the cache")
    rates = r"Hits     50\.0 % of units, 50\.0 % by compile time; misses took (\d+\.\d) % of the time"
    match = re.fullmatch(rates, head(lines, "Hits"))
    assert match and 50 < float(match.group(1)) < 100
    assert any(line.startswith("Hit rate ▁▁▁▁▁█████ of the last 10 calls") for line in lines)
    picture(shown, "build", "kache monitor: a build that comes from the cache")


@SIZES
def test_build_shows_what_was_warmed(scene: Scene, width: int, height: int) -> None:
    scene.env["KACHE_CACHE_EXECUTABLES"] = "1"
    scene.build(KACHE_TAKE_UNITS="1")
    scene.run("save")
    scene.clean()
    shown = scene.watch("monitor", width=width, height=height)
    # all libraries, the program and the build script's
    shown.wait("In short 7 units compiled and kept")
    scene.build(KACHE_WARM_TARGETS="1")
    # the build script's run is a unit as well
    lines = wait_for(shown, r"warmed +shop +warmed 8 units")
    assert head(lines, "In short") == "In short 8 of 15 units came from the cache, 8 of them before Cargo asked."
    assert head(lines, "Hits").startswith("Hits     53.3 % of units, 0.0 % by compile time; misses took 100.0 %")


@SIZES
def test_projects_measures_target_directories(scene: Scene, width: int, height: int) -> None:
    scene.build()
    scene.clean()
    scene.build()
    shown = scene.watch("monitor", width=width, height=height)
    shown.keys("2")
    lines = wait_for(shown, r"1 target directory, \d.* MiB; .* of that is the store's")
    [row] = rows(lines, "TARGET DIRECTORY")
    assert row[0] == "~/shop/target"
    assert row[1].endswith("MiB") and row[4] == "50.0 %"
    disk = sum(inodes(scene).values())
    assert abs(float(row[1].split()[0]) - disk / (1 << 20)) < 0.1
    picture(shown, "projects", "kache monitor: target directories")
    # another build beside it: what it writes is found, too
    (scene.root / "target" / "big").write_bytes(b"x" * (30 << 20))
    scene.build(RUSTFLAGS="-Cdebuginfo=1")
    shown.keys("r")
    end = time.monotonic() + 60
    while float(rows(shown.text(), "TARGET DIRECTORY")[0][1].split()[0]) < 30:
        assert time.monotonic() < end
        time.sleep(0.1)


def inodes(scene: Scene) -> Dict[int, int]:
    """Inode -> bytes on disk, of all below the target directory."""
    found = {}
    for path in (scene.root / "target").rglob("*"):
        status = path.lstat()
        found[status.st_ino] = status.st_blocks * 512
    return found


@SIZES
def test_store_lists_what_is_kept(scene: Scene, width: int, height: int) -> None:
    shown = scene.watch("monitor", width=width, height=height)
    shown.keys("3")
    shown.wait("The store is empty. The first build with kache fills it.")
    build = scene.begin()
    wait_for(shown, r"^parser +lib +\d")
    assert build.poll() is None
    scene.finish(build)
    scene.clean()
    scene.build()
    lines = wait_for(shown, r"^compiler +lib .* 1 ")
    assert sorted(row[0] for row in rows(lines, "CRATE")) == sorted(MEMBERS)
    shown.wait("5 entries name ")
    shown.keys("s", "s", "s", "s")
    lines = wait_for(shown, "by name")
    assert [row[0] for row in rows(lines, "CRATE")] == sorted(MEMBERS)
    shown.keys("f")
    shown.type("RUN")
    shown.keys("Enter")
    lines = wait_for(shown, "1 of 5 with 'RUN'")
    assert [row[0] for row in rows(lines, "CRATE")] == ["runtime"]
    shown.keys("Escape")
    wait_for(shown, " 5, by name")
    picture(shown, "store", "kache monitor: the store")


@SIZES
def test_transfer_shows_uploads_and_downloads(scene: Scene, width: int, height: int) -> None:
    scene.with_remote()
    shown = scene.watch("monitor", width=width, height=height)
    shown.keys("4")
    shown.wait("Nothing was moved yet.")
    build = scene.begin()
    wait_for(shown, r"Uploader process \d+, ~/shared")
    scene.finish(build)
    scene.run("daemon", "drain")
    wait_for(shown, r"upload +[1-5] .* uploader")
    lines = wait_for(shown, r"up 0.*, 5 done \(.*\); down 0, 0 done \(0 B\); 0 waiting")
    assert head(lines, "Remote") == "Remote   0 uploads and 0 downloads in flight, 0 waiting"
    # another machine's store, as far as the remote can tell
    scene.run("purge")
    scene.run("sync", "--pull")
    lines = wait_for(shown, r"↓ download +5 +\d.*/s +sync")
    assert len([row for row in rows(lines, "TIME") if "download" in row[1]]) == 1
    picture(shown, "transfer", "kache monitor: to and from the remote")


@SIZES
def test_passthrough_says_why_calls_were_not_cached(scene: Scene, width: int, height: int) -> None:
    shown = scene.watch("monitor", width=width, height=height)
    shown.keys("5")
    shown.wait("Nothing was handed to the compiler uncached.")
    build = scene.begin()
    # the build script's program is linked while the build still waits
    lines = wait_for(shown, r"^linked outputs are not cached.* 1 ")
    assert build.poll() is None
    assert "build_script" in "".join(lines)
    scene.finish(build)
    lines = wait_for(shown, r"^linked outputs are not cached.* 2 +\d\d:\d\d:\d\d +compiler")
    shown.wait("linked outputs are not cached unless cache_executables is on")
    picture(shown, "passthrough", "kache monitor: what was not cached")


def test_kache_alone_is_the_monitor_where_there_is_a_terminal(scene: Scene, world: World) -> None:
    shown = scene.watch()
    shown.wait("Nothing was built with kache yet")
    shown.keys("q")
    assert shown.ended() == 0
    assert shown.restored()
    assert not world.cache_dir.exists()
    assert scene.kache.run().ok().stdout.startswith("kache: a compile cache")


def test_a_newcomer_is_told_to_wire_it_and_sees_that_it_is(scene: Scene, tmux: Callable[..., Tmux]) -> None:
    shown = scene.watch("monitor", environ={"RUSTC_WRAPPER": None})
    shown.wait("In short kache keeps what compilers make. Cargo does not call it yet: kache init")
    shown.wait("Wrapper  not wired: Cargo does not call kache here -> kache init")
    shown.wait("0 entries")
    shown.picture("docs/pictures/monitor-new.svg", "kache monitor: the first time")
    # what init writes, for a source tree is no program that Cargo could call
    (scene.world.home / ".cargo" / "config.toml").write_text(f'[build]\nrustc-wrapper = "{scene.kache.path}"\n')
    shown.wait("Wrapper  wired: Cargo calls")
    shown.wait("Nothing was built with kache yet: run cargo build")


def test_since_leaves_out_what_was_before(scene: Scene) -> None:
    scene.build()
    time.sleep(2)
    shown = scene.watch("monitor", "--since", "1s")
    shown.wait("No compiler was called in the last")
    (scene.root / "lexer/src/lib.rs").write_text("pub fn count() -> u32 { 2 }\n")
    scene.build()
    lines = wait_for(shown, r"miss +lexer")
    assert "runtime" not in "".join(lines)
    shown.keys("q")
    assert shown.ended() == 0

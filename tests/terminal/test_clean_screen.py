"""The selector of kache clean: what it shows, what its keys do, and that nothing goes without a yes."""

import os
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from tests.conftest import missing
from tests.targets import make, snapshot, write
from tests.terminal.tmux import Tmux
from tests.world import Kache, World

WAITING = """\
fn main() {
    std::fs::write("began", "").unwrap();
    while std::fs::metadata("go").is_err() { std::thread::sleep(std::time::Duration::from_millis(20)); }
}
"""
BUILDING = {
    "Cargo.toml": '[package]\nname = "building"\nversion = "0.1.0"\nedition = "2021"\n',
    "build.rs": WAITING,
    "src/main.rs": "fn main() {}\n",
}
CHECKBOX = {True: "[x]", False: "[ ]"}


@pytest.fixture
def src(world: World) -> Path:
    """Three target directories: alpha is big, beta is old, gamma has the biggest incremental directory."""
    src = world.home / "src"
    for name, place in (("alpha", "deps/big"), ("beta", "build/some"), ("gamma", "incremental/a/s-1/b.o")):
        size = {"alpha": 40, "beta": 10, "gamma": 20}[name] * 1024 * 1024
        target = make(src / name / "target")
        write(target, {f"debug/{place}": "x" * size})
    past = time.time() - 40 * 86400
    for base, directories, names in os.walk(src / "beta/target", topdown=False):
        for name in [*names, *directories, "."]:
            os.utime(Path(base) / name, (past, past))
    os.sync()
    return src


@pytest.fixture
def screen(world: World, tmux: Callable[..., Tmux], kache: Kache, src: Path) -> Callable[..., Tmux]:
    def start(*arguments: str, **options: object) -> Tmux:
        return tmux([kache.path, "clean", *arguments], cwd=src, **options)

    return start


@pytest.fixture
def building(world: World, src: Path, rust: "dict[str, str]") -> Iterator[Path]:
    """A fourth: that of a real build which is at work, until its package has a file "go"."""
    if not rust:
        missing("Rust")
    package = world.workspace(BUILDING, "home/src/building")
    build = subprocess.Popen(["cargo", "build", "-q"], cwd=package, env=world.env)
    deadline = time.monotonic() + 60
    while not (package / "began").exists():
        assert time.monotonic() < deadline and build.poll() is None
        time.sleep(0.05)
    yield package
    (package / "go").touch()
    assert build.wait() == 0


def rows(lines: List[str]) -> List[str]:
    """The project and whether it is chosen, a row each."""
    return [line[:3] + Path(line.split()[-1]).parent.name for line in lines if line.startswith(("[ ]", "[x]"))]


def test_the_list_the_breakdown_and_the_keys(screen: Callable[..., Tmux], src: Path) -> None:
    before = snapshot(src)
    t = screen()
    lines = t.wait("chosen: 0 of 3, 0 B; deleting frees 0 B")
    assert rows(lines) == ["[ ]alpha", "[ ]gamma", "[ ]beta"]
    assert "3 target directories" in lines[0] and lines[0].endswith(" ~/src")
    assert "SIZE" in lines[1] and "FREED" in lines[1] and "IN STORE" in lines[1]
    assert any(line.split()[:3] == ["deps", "40.0", "MiB"] for line in lines), lines
    assert any("by size" in line for line in lines)
    t.keys("Down")
    t.wait("incremental   20.0 MiB   99 %")
    t.keys("Space")
    assert rows(t.wait("chosen: 1 of 3, 20.1 MiB; deleting frees 20.1 MiB")) == ["[ ]alpha", "[x]gamma", "[ ]beta"]
    t.keys("a")
    t.wait("chosen: 3 of 3, 70.4 MiB")
    t.keys("a")
    t.wait("chosen: 0 of 3")
    t.keys("s", "s")
    assert rows(t.wait("by age"))[0] == "[ ]beta"
    t.keys("s")
    assert rows(t.wait("by path")) == ["[ ]alpha", "[ ]beta", "[ ]gamma"]
    t.keys("i")
    t.wait("incremental only")
    t.keys("s", "a")
    assert rows(t.wait("chosen: 3 of 3, 20.1 MiB"))[0] == "[x]gamma"
    t.keys("i", "o")
    t.wait("only what was not used for")
    t.type("nonsense")
    t.keys("Enter")
    t.wait("nonsense")
    for _ in "nonsense":
        t.keys("BSpace")
    t.type("30d")
    t.keys("Enter")
    assert rows(t.wait("older than 30d")) == ["[x]beta"]
    t.wait("chosen: 1 of 1")
    t.keys("o", "Enter")
    # what was not seen is not chosen any more
    assert sorted(rows(t.wait("3 target directories"))) == ["[ ]alpha", "[ ]gamma", "[x]beta"]
    t.keys("q")
    assert t.ended() == 0 and t.restored()
    assert "nothing was deleted" in "\n".join(t.text())
    assert snapshot(src) == before


@pytest.mark.parametrize("key", ["n", "Enter", "Escape", "Space", "q", "Y"])
def test_only_a_yes_deletes(screen: Callable[..., Tmux], src: Path, key: str) -> None:
    before = snapshot(src)
    t = screen()
    t.wait("3 target directories")
    t.keys("Enter")
    t.keys("a", "Enter")
    t.wait("Delete 3 target directories: 45 files, 70.4 MiB?")
    t.wait("That frees 70.4 MiB. It cannot be undone.")
    t.keys(key)
    t.gone("cannot be undone")
    t.wait("chosen: 3 of 3")
    t.keys("q")
    assert t.ended() == 0 and snapshot(src) == before


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_what_was_chosen_goes_while_cargo_builds_beside_it(
    screen: Callable[..., Tmux], src: Path, building: Path, width: int, height: int
) -> None:
    others = (src / "alpha/target", src / "beta/target", building)
    before = snapshot(src, others)
    t = screen(width=width, height=height)
    t.wait("4 target directories")
    t.keys("a")
    t.wait("chosen: 4 of 4")
    t.keys("Down", "Space")
    lines = t.wait("chosen: 3 of 4")
    assert sorted(rows(lines)) == ["[ ]gamma", "[x]alpha", "[x]beta", "[x]building"]
    t.keys("Up", "Up")
    t.picture(f"docs/pictures/clean-{width}x{height}.svg", "kache clean")
    t.keys("Enter")
    t.wait("Delete 3 target directories")
    t.keys("y")
    assert t.ended() == 0 and t.restored()
    told = "\n".join(t.text())
    assert "deleted 2 target directories" in told and "passed over" in told
    assert not (src / "alpha/target").exists() and not (src / "beta/target").exists()
    assert (building / "target").exists() and snapshot(src, others) == before


def test_incremental_directories_alone(screen: Callable[..., Tmux], src: Path) -> None:
    t = screen("--incremental", "--older-than", "30d")
    t.wait("1 target directory")
    t.keys("a", "Enter")
    t.wait("Delete the incremental directories of 1 target directory")
    t.keys("y")
    assert t.ended() == 0
    left = set(src.rglob("incremental"))
    assert {path.parent.parent.parent.name for path in left} == {"alpha", "gamma"}
    assert (src / "beta/target/debug/deps").exists()


def test_where_there_is_nothing_the_screen_closes_and_says_so(
    world: World, tmux: Callable[..., Tmux], kache: Kache
) -> None:
    t = tmux([kache.path, "clean"], cwd=world.root)
    assert t.ended() == 0 and t.restored()
    assert "there is no target directory below" in "\n".join(t.text())


def test_many_of_them_long_paths_sizes_and_shapes(world: World, tmux: Callable[..., Tmux], kache: Kache) -> None:
    """Scrolls, shows the ends of paths, survives a storm of sizes, says when it is too small."""
    base = world.root / ("long" * 30) / "漢字"
    for number in range(60):
        write(make(base / f"p{number:02}" / "target", "debug/"), {"debug/.cargo-lock": ""})
    t = tmux([kache.path, "clean"], cwd=world.root)
    t.wait("60 target directories")
    t.keys("s", "s", "s")
    assert rows(t.wait("by path"))[0] == "[ ]p00"
    t.keys("G")
    assert rows(t.wait("p59/target"))[-1] == "[ ]p59"
    for width, height in ((200, 50), (81, 25), (100, 30), (60, 10), (120, 40), (80, 24)) * 3:
        t.resize(width, height)
    t.wait("p59/target")
    t.resize(79, 24)
    t.wait("the terminal is 79x24; kache needs 80x24")
    t.resize(80, 24)
    t.wait("p59/target")
    t.keys("q")
    assert t.ended() == 0 and t.restored()


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_while_it_is_shown_gives_the_terminal_back(screen: Callable[..., Tmux], src: Path, name: str) -> None:
    before = snapshot(src)
    t = screen()
    t.wait("3 target directories")
    t.keys("a")
    subprocess.run(["kill", f"-{name}", str(t.pid)], check=True)
    assert t.ended() == {"INT": 130, "TERM": 143, "HUP": 129}[name]
    assert t.restored() and snapshot(src) == before and "stopped" not in "\n".join(t.text())


def test_ctrl_c_while_it_deletes_stops_and_says_what_is_gone(
    tmux: Callable[..., Tmux], kache: Kache, src: Path, require_tool: Callable[[str], str]
) -> None:
    slow = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=unlinkat", "-e", "inject=unlinkat:delay_enter=50000"]
    t = tmux([require_tool("strace"), *slow, kache.path, "clean"], cwd=src)
    t.wait("3 target directories")
    t.keys("a", "Enter", "y")
    t.wait("deleting 2 of 3")
    [traced] = Path(f"/proc/{t.pid}/task/{t.pid}/children").read_text().split()
    subprocess.run(["kill", "-INT", traced], check=True)
    assert t.ended() == 130 and t.restored()
    told = "\n".join(t.text())
    assert "deleted 1 target directory" in told and "'kache clean' finds it again" in told.replace("\n", "")
    assert not (src / "alpha/target").exists() and (src / "beta/target/debug/app").exists()
    assert (src / "gamma/target/CACHEDIR.TAG").exists()


def test_without_utf_8_and_without_colour(screen: Callable[..., Tmux]) -> None:
    t = screen(environ={"LC_ALL": "C", "NO_COLOR": "1"}, term="vt100")
    text = "\n".join(t.wait("3 target directories"))
    assert text.isascii() and "####" in text
    t.keys("q")
    assert t.ended() == 0

"""Whatever happens to the monitor, its terminal and its files: it goes on, or leaves the terminal as it was."""

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from kachelib.store import Store
from tests.stock import log, put
from tests.terminal.tmux import Tmux
from tests.world import REPOSITORY, Kache, World

# Runs the monitor of the source tree with one function that fails when asked to.
FAILING = """
import os, sys
sys.path.insert(0, sys.argv[1])
from kachelib import cli, overview

lines = overview.lines

def failing(sight):
    if os.path.exists(sys.argv[2]):
        raise RuntimeError("thrown on purpose")
    return lines(sight)

overview.lines = failing
sys.exit(cli.main(["monitor"]))
"""

HEAD = "kache "


@pytest.fixture
def watch(world: World, tmux: Callable[..., Tmux], kache: Kache) -> Callable[..., Tmux]:
    """A monitor over one entry and one call."""
    put(Store(str(world.cache_dir)), "alpha")
    log(world.cache_dir, {"result": "miss", "crate_name": "alpha"})

    def start(**options: Any) -> Tmux:
        shown = tmux([kache.path, "monitor"], **options)
        shown.wait("1 unit compiled and kept")
        return shown

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(watch: Callable[..., Tmux], number: signal.Signals) -> None:
    shown = watch()
    os.kill(shown.pid, number)
    assert shown.ended() == 128 + number
    assert shown.restored()
    lines = shown.text()
    assert "Traceback" not in "".join(lines) and not any(line.startswith("Hits") for line in lines)


def test_ctrl_c_in_the_middle_of_a_filter_leaves_the_terminal_as_it_was(watch: Callable[..., Tmux]) -> None:
    shown = watch()
    shown.keys("f")
    shown.wait("filter:")
    # what Ctrl-C is for the program; the shell around it would end as well
    os.kill(shown.pid, signal.SIGINT)
    assert shown.ended() == 130
    assert shown.restored()


def test_an_exception_leaves_the_terminal_as_it_was_and_is_told(world: World, tmux: Callable[..., Tmux]) -> None:
    program, mark = world.root / "failing.py", world.root / "fail now"
    program.write_text(FAILING)
    log(world.cache_dir, {"result": "miss"})
    shown = tmux([sys.executable, program, REPOSITORY, mark])
    shown.wait("1 unit compiled and kept")
    mark.touch()
    log(world.cache_dir, {"result": "miss"})
    assert shown.ended() == 1
    assert shown.restored()
    shown.wait("RuntimeError: thrown on purpose")


def test_a_storm_of_sizes_ends_in_a_whole_picture(watch: Callable[..., Tmux], world: World) -> None:
    shown = watch()
    for width, height in ((200, 50), (81, 24), (60, 20), (120, 40), (1, 1), (80, 100), (300, 24)) * 6:
        shown.resize(width, height)
        log(world.cache_dir, {"result": "local_hit", "crate_name": "beta"})
    shown.resize(100, 30)
    shown.wait("42 of 43 units came from the cache")
    end = time.monotonic() + 10
    while not (len(lines := shown.text()) == 30 and lines[29].startswith("q quit")):
        assert time.monotonic() < end, lines
        time.sleep(0.05)
    for line in ("kache ", "In short", "Store ", "Hits ", "Saved ", "Remote ", "Wrapper ", " 1 Build", "q quit"):
        assert sum(each.startswith(line) for each in lines) == 1, line
    assert lines[29].startswith("q quit") and lines[7].startswith(" 1 Build")
    shown.keys("q")
    assert shown.ended() == 0
    assert shown.restored()


@pytest.mark.parametrize(("width", "height"), [(79, 24), (80, 23), (20, 5), (2, 1)])
def test_a_terminal_that_is_too_small_is_told_so(
    watch: Callable[..., Tmux], width: int, height: int, world: World
) -> None:
    shown = watch()
    shown.resize(width, height)
    shown.gone("In short")
    if width > 40:
        lines = shown.wait(f"the terminal is {width}x{height}; kache needs 80x24")
        assert not any(lines[1:])
    shown.resize(80, 24)
    shown.wait("1 unit compiled and kept")
    shown.keys("q")
    assert shown.ended() == 0


def test_without_colours_none_are_sent(watch: Callable[..., Tmux]) -> None:
    coloured = watch()
    assert re.search(r"\x1b\[[0-9;]*3[1-6]m", sequences(coloured))
    plain = watch(environ={"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*[34][0-7]m", sequences(plain))


def sequences(shown: Tmux) -> str:
    return shown._tmux("capture-pane", "-p", "-e")


@pytest.mark.parametrize("name", ["C", "POSIX"])
def test_without_utf8_only_ascii_is_drawn(watch: Callable[..., Tmux], world: World, name: str) -> None:
    check_ascii(watch(environ={"LC_ALL": name}), world)


def test_lang_alone_says_so_as_well(tmux: Callable[..., Tmux], world: World, kache_file: Kache) -> None:
    """Of the file: any other Python takes C.UTF-8 for C before its first line runs (PEP 538)."""
    put(Store(str(world.cache_dir)), "alpha")
    log(world.cache_dir, {"result": "miss"})
    check_ascii(tmux([kache_file.path, "monitor"], environ={"LC_ALL": None, "LANG": "C"}), world)


def check_ascii(shown: Tmux, world: World) -> None:
    log(world.cache_dir, {"result": "local_hit", "crate_name": "größe", "root": "/home/\udc80/x"})
    shown.wait("1 of 2 units")
    for key in ("1", "2", "3", "4", "5", "?"):
        shown.keys(key)
        time.sleep(0.4)
        lines = shown.text()
        assert all(line.isascii() for line in lines), lines
    shown.keys("q", "1")
    lines = shown.wait("gr??e")
    assert any(re.match(r"Store    [#.]{20} ", line) for line in lines)
    assert any(line.startswith("Hit rate _# of") for line in lines)


def test_names_that_are_no_utf8_and_control_characters_are_shown_safely(
    watch: Callable[..., Tmux], world: World
) -> None:
    shown = watch()
    log(
        world.cache_dir, {"result": "error", "crate_name": "\x1b[31mred\x07\udcff", "reason": "a\nb\tc\x1b]0;title\x07"}
    )
    lines = shown.wait("error ")
    assert any("?[31mred??" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert shown._tmux("display-message", "-p", "#{pane_title}").strip() != "title"


BROKEN = [
    '{"cut',
    "[]",
    "nonsense",
    "\x00\x01\x02",
    '{"result":"miss","end_time":1e999}',
    '{"result":"miss","end_time":NaN}',
    '{"result":"local_hit","end_time":5,"size":1e400,"compile_time_ms":-1e308,"root":{},"crate_name":[1]}',
    '{"result":"warmed","end_time":6,"warmed":"many","target_dir":7,"root":"\\u0000/x"}',
    "[" * 50_000,
    "x" * 2_000_000,
]


def test_broken_lines_are_passed_over_while_it_runs(watch: Callable[..., Tmux], world: World) -> None:
    shown = watch()
    for line in BROKEN:
        with (world.cache_dir / "events.jsonl").open("a") as file:
            file.write(line + "\n")
        log(world.cache_dir, {"result": "local_hit", "crate_name": "good"})
    shown.wait(f"{len(BROKEN) + 1} of {len(BROKEN) + 2} units came")
    shown.wait(" broken lines")
    for key in "12345":
        shown.keys(key)
        shown.wait(f" {key} ")
    time.sleep(1)
    shown.keys("q")
    assert shown.ended() == 0


def test_rotation_and_deletion_do_not_stop_it(watch: Callable[..., Tmux], world: World) -> None:
    shown = watch()
    path = world.cache_dir / "events.jsonl"
    for number in range(2, 6):
        path.rename(world.cache_dir / "events.jsonl.1")
        log(world.cache_dir, {"result": "miss"})
        shown.wait(f"{number} units compiled and kept")
    path.unlink()
    (world.cache_dir / "events.jsonl.1").unlink()
    time.sleep(0.5)
    log(world.cache_dir, {"result": "miss"})
    shown.wait("6 units compiled and kept")
    os.truncate(path, 0)
    time.sleep(0.5)
    log(world.cache_dir, {"result": "miss"})
    shown.wait("7 units compiled and kept")


def test_a_log_that_cannot_be_read_is_told_and_found_again(watch: Callable[..., Tmux], world: World) -> None:
    shown = watch()
    path = world.cache_dir / "events.jsonl"
    path.unlink()
    path.mkdir()
    shown.wait("the event log: it is no file")
    path.rmdir()
    log(world.cache_dir, {"result": "miss"})
    shown.wait("2 units compiled and kept")
    shown.gone("it is no file")


def test_a_store_that_is_damaged_is_shown_as_far_as_it_goes(watch: Callable[..., Tmux], world: World) -> None:
    (world.cache_dir / "index.db").write_bytes(b"no database " * 1000)
    for path in list((world.cache_dir / "entries").glob("??/*")):
        path.write_bytes(b"no entry")
    shown = watch()
    shown.keys("3")
    shown.wait("0 entries")
    shown.wait("The store is empty.")


def test_it_needs_a_terminal_and_says_so(world: World, kache: Kache) -> None:
    run = kache.run("monitor")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "kache: this needs a terminal; 'kache --help' lists what works without one\n"


def test_a_terminal_that_can_do_nothing_gets_the_help(tmux: Callable[..., Tmux], kache: Kache) -> None:
    shown = tmux([kache.path], environ={"TERM": "dumb"}, term="dumb", height=60)
    shown.wait("usage: kache COMMAND")
    assert shown.ended() == 0


def test_a_cache_directory_that_is_no_utf8_is_followed(tmux: Callable[..., Tmux], world: World, kache: Kache) -> None:
    directory = os.fsencode(world.root) + b"/c\xff\xfe"
    os.mkdir(directory)
    log(Path(os.fsdecode(directory)), {"result": "miss"})
    shown = tmux([kache.path, "monitor"], environ={"KACHE_CACHE_DIR": os.fsdecode(directory)})
    shown.wait("1 unit compiled and kept")
    shown.wait("0 entries")

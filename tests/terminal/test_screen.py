"""The screen that all interactive commands share: what it shows, and how it gives the terminal back."""

import os
import re
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import Callable, Dict

import pytest

from kachelib import screen
from tests.terminal.tmux import Tmux
from tests.world import REPOSITORY, World

# Shows each key that comes, edits a line on "a", fails on "x".
PROGRAM = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from kachelib import cli, screen

    def run(argv):
        with screen.opened() as s:
            seen = []
            while True:
                if not screen.too_small(s):
                    s.clear()
                    s.put(0, 0, f"size {s.width}x{s.height} unicode {s.unicode} colour {s.colour}", "bold green")
                    s.put(1, 0, "keys " + " ".join(seen))
                    s.put(2, 70, "cut here, at the edge")
                    s.put(3, 0, "esc\\x1b[31m \\udc80 \\u6f22\\u5b57", "", 12)
                    s.put(s.height - 1, 0, "x" * 500, "reverse")
                    s.put(99, 0, "nowhere")
                    s.show()
                key = s.key(1000)
                seen.append(key)
                if key == "q":
                    return 3
                if key == "x":
                    raise RuntimeError("thrown on purpose")
                if key == "a":
                    seen = [repr(s.ask(10, "name", "abc", lambda text: "" if text else "empty"))]

    cli.COMMANDS["probe"] = cli.Command("probe", "run", "")
    sys.modules["kachelib.probe"] = sys.modules["__main__"]
    sys.exit(cli.main(["probe"]))
"""


@pytest.fixture
def program(world: World, tmux: Callable[..., Tmux]) -> Callable[..., Tmux]:
    path = world.root / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))

    def start(**options: object) -> Tmux:
        return tmux([sys.executable, path, REPOSITORY], **options)

    return start


def test_what_is_put_is_shown_cut_and_made_safe(program: Callable[..., Tmux]) -> None:
    lines = program().wait("size 80x24 unicode True colour True")
    assert lines[2] == " " * 70 + "cut here,…"
    assert lines[3] == "esc?[31m ? …"
    assert lines[23].startswith("xxxx") and len(lines[23]) >= 79


def test_a_terminal_without_utf8_and_colours_gets_neither(program: Callable[..., Tmux]) -> None:
    lines = program(environ={"LC_ALL": "C", "NO_COLOR": "1"}).wait("size 80x24 unicode False colour False")
    assert lines[2].endswith("cut here,~")
    assert all(line.isascii() for line in lines)


def test_keys_have_names(program: Callable[..., Tmux]) -> None:
    shown = program(width=130)
    shown.wait("keys")
    keys = ("Up", "Down", "Left", "Right", "PPage", "NPage", "Home", "End", "Enter", "Tab", "BTab", "BSpace", "DC")
    shown.keys(*keys, "Escape")
    names = "up down left right pageup pagedown home end enter tab backtab backspace delete escape"
    shown.wait("keys " + names)
    shown.type("ä")
    shown.wait(names + " ä")


def test_a_line_is_edited(program: Callable[..., Tmux]) -> None:
    shown = program()
    shown.wait("keys")
    shown.keys("a")
    shown.wait("name abc")
    shown.keys("BSpace", "Left", "Left", "x", "End", "y", "Home", "DC", "Enter")
    shown.wait("keys 'aby'")
    shown.keys("a", "BSpace", "BSpace", "BSpace", "Enter")
    shown.wait("empty")
    shown.keys("z", "Enter")
    shown.wait("keys 'z'")
    shown.keys("a", "Escape")
    shown.wait("keys None")


def test_it_follows_the_size_and_says_when_it_is_too_small(program: Callable[..., Tmux]) -> None:
    shown = program()
    shown.wait("size 80x24")
    shown.resize(200, 50)
    shown.wait("size 200x50")
    shown.resize(60, 20)
    assert shown.wait("the terminal is 60x20; kache needs 80x24")[1:] == [""] * 19
    for width, height in ((80, 24), (90, 30), (81, 25), (200, 60), (100, 24)) * 5:
        shown.resize(width, height)
    lines = shown.wait("size 100x24")
    assert [line for line in lines if line.startswith("size ")] == lines[:1]
    assert lines[23].startswith("xxx") and not any(line.startswith("xxx") for line in lines[:23])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(program: Callable[..., Tmux], number: signal.Signals) -> None:
    shown = program()
    shown.wait("size 80x24")
    os.kill(shown.pid, number)
    # Ctrl-C has an exit status of its own in every command
    assert shown.ended() == 128 + number
    assert shown.restored()
    assert "size" not in "".join(shown.text())


def test_a_failure_gives_the_terminal_back_and_is_told_in_it(program: Callable[..., Tmux]) -> None:
    shown = program()
    shown.wait("size 80x24")
    shown.keys("x")
    assert shown.ended() == 1
    assert shown.restored()
    shown.wait("RuntimeError: thrown on purpose")


def test_it_ends_with_its_own_status(program: Callable[..., Tmux]) -> None:
    shown = program()
    shown.wait("size 80x24")
    shown.keys("q")
    assert shown.ended() == 3
    assert shown.restored()


def test_an_unknown_terminal_is_said_in_one_line(program: Callable[..., Tmux]) -> None:
    shown = program(environ={"TERMINFO": "/nonexistent"}, term="no-such-terminal")
    assert shown.ended() == 2
    shown.wait("kache: the terminal 'no-such-terminal' is not known here; set TERM")


def test_without_a_terminal_it_says_so(world: World) -> None:
    path = world.root / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    run = world.run([sys.executable, path, REPOSITORY])
    assert run.returncode == 2
    assert run.stderr == "kache: this needs a terminal; 'kache --help' lists what works without one\n"


def test_waiting_for_a_key_costs_nothing(program: Callable[..., Tmux]) -> None:
    shown = program()
    shown.wait("size 80x24")
    before = ticks(shown.pid)
    time.sleep(2)
    assert ticks(shown.pid) - before <= 1


def ticks(pid: int) -> int:
    """Hundredths of a second of processor time (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_the_selected_row_is_always_in_the_window() -> None:
    cursor = screen.Cursor()
    state: Dict[int, int] = {}
    for step in range(2000):
        count, page = (7 * step) % 50 + 1, (3 * step) % 20 + 1
        key = ("up", "down", "pageup", "pagedown", "home", "end", "j", "k")[(step * 31) % 8]
        assert cursor.move(key, count, page)
        rows = cursor.window(count, page)
        assert cursor.selected in rows and len(rows) == min(page, count)
        state[cursor.selected] = step
    assert len(state) > 10
    assert not cursor.move("enter", 3, 3)
    assert list(cursor.window(0, 5)) == []


def test_wide_and_combining_characters_are_counted_as_a_terminal_does() -> None:
    assert screen.columns("漢字") == 4
    assert screen.columns("e\u0301") == 1
    assert screen.fit("漢字漢字", 5) == "漢字…"
    assert screen.fit("abcdef", 4, unicode=False) == "abc~"
    assert re.fullmatch("█{5}░{5}", screen.bar(0.5, 10, True))
    assert screen.bar(7.0, 4, False) == "####"

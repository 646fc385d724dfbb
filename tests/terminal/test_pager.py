"""Long output goes through a pager on a terminal, as git does it: which one, when none, and no harm from any."""

import time
from pathlib import Path
from typing import Callable, Optional

import pytest

from kachelib.store import Store
from tests.stock import log, put
from tests.terminal.tmux import Tmux
from tests.world import Kache, World

Start = Callable[..., Tmux]


@pytest.fixture
def filled(world: World) -> None:
    """A store whose list is longer than any screen here."""
    store = Store(str(world.cache_dir))
    for number in range(60):
        put(store, f"crate{number:02}", size=100)


@pytest.fixture
def marker(world: World) -> Path:
    """A pager that says that it was called."""
    path = world.root / "pager"
    path.write_text('#!/bin/sh\necho "$PWD" > "$0.called"\nexec cat\n')
    path.chmod(0o755)
    return path


def called(marker: Path) -> bool:
    return Path(f"{marker}.called").exists()


@pytest.mark.usefixtures("filled")
def test_a_list_that_is_longer_than_the_screen_is_paged_by_less(
    kache: Kache, tmux: Start, require_tool: Callable[[str], str]
) -> None:
    require_tool("less")
    pane = tmux([kache.path, "list"])
    pane.wait("crate10")
    assert not any("crate59" in line for line in pane.text())
    pane.keys("G")
    pane.wait("60 entries")
    pane.keys("q")
    assert pane.ended() == 0
    assert any("60 entries" in line for line in pane.text()), "what was looked at stays on the screen"


@pytest.mark.usefixtures("filled")
def test_ctrl_c_is_the_pagers_own(kache_source: Kache, tmux: Start, require_tool: Callable[[str], str]) -> None:
    require_tool("less")
    # A shell with job control, as people have one: Ctrl-C is for the program that runs and its pager.
    pane = tmux([require_tool("bash"), "-mc", "$0 list; echo status $?", kache_source.path])
    pane.wait("crate10")
    pane.keys("C-c")
    # less forgets what was typed before it noticed.
    end = time.monotonic() + 30
    while not any("60 entries" in line for line in pane.text()):
        assert time.monotonic() < end, pane.text()
        pane.keys("G")
        time.sleep(0.2)
    pane.keys("q")
    pane.wait("status 0")
    assert pane.ended() == 0


def test_what_fits_is_not_paged(world: World, kache_source: Kache, tmux: Start, marker: Path) -> None:
    put(Store(str(world.cache_dir)), "alone")
    pane = tmux([kache_source.path, "list"], environ={"KACHE_PAGER": str(marker)})
    pane.wait("1 entry")
    assert pane.ended() == 0 and not called(marker)


@pytest.mark.usefixtures("filled")
def test_the_last_row_is_not_counted_on(kache_source: Kache, tmux: Start, marker: Path) -> None:
    """62 lines and the prompt: 63 rows hold them, 62 do not."""
    for height, paged in ((63, False), (62, True)):
        pane = tmux([kache_source.path, "list"], environ={"KACHE_PAGER": str(marker)}, height=height)
        assert pane.ended() == 0
        assert called(marker) is paged


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("own", "common", "shown"),
    [("sed s/^/OWN:/", "sed s/^/ALL:/", "OWN:crate59"), (None, "sed s/^/ALL:/", "ALL:crate59")],
)
def test_ours_wins_over_everybodys(
    kache: Kache, tmux: Start, own: Optional[str], common: str, shown: str
) -> None:
    pane = tmux([kache.path, "list"], environ={"KACHE_PAGER": own, "PAGER": common})
    pane.wait(shown)
    assert pane.ended() == 0


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("own", "how"),
    [
        ("", "$0 list"),
        ("cat", "$0 list"),
        (None, "$0 list --no-pager"),
        (None, "TERM=dumb $0 list"),
    ],
)
def test_none_is_none(kache: Kache, tmux: Start, marker: Path, own: Optional[str], how: str) -> None:
    pane = tmux(["sh", "-c", how, kache.path], environ={"KACHE_PAGER": own, "PAGER": str(marker)})
    pane.wait("60 entries")
    assert pane.ended() == 0 and not called(marker)


@pytest.mark.usefixtures("filled")
def test_an_empty_pager_of_everybody_is_none_too(kache_source: Kache, tmux: Start) -> None:
    pane = tmux([kache_source.path, "list"], environ={"PAGER": ""})
    pane.wait("60 entries")
    assert pane.ended() == 0


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", ["/nowhere/pager", "/etc/passwd", "'unbalanced"])
def test_a_pager_that_cannot_be_started_is_no_failure(kache: Kache, tmux: Start, command: str) -> None:
    pane = tmux([kache.path, "list"], environ={"KACHE_PAGER": command})
    pane.wait("60 entries")
    assert pane.ended() == 0


def test_a_reader_who_leaves_early_is_no_failure(world: World, kache: Kache, tmux: Start) -> None:
    store = Store(str(world.cache_dir))
    # More than a pipe holds.
    inputs = [(f"<workspace>/src/{'deep' * 20}/{number}.rs", "x") for number in range(40)]
    for number in range(30):
        put(store, "alpha", inputs=inputs, change=str(number), env=[(f"V{n}", "v" * 100) for n in range(50)])
    pane = tmux([kache.path, "list", "alpha"], environ={"KACHE_PAGER": "head -n 3"})
    pane.wait("cache key")
    assert pane.ended() == 0
    assert not any("Error" in line or "Traceback" in line for line in pane.text())


@pytest.mark.usefixtures("filled")
def test_a_pipe_and_json_get_no_pager(kache: Kache, tmux: Start, marker: Path) -> None:
    pane = tmux(["sh", "-c", f"{kache.path} list | tail -n 1; {kache.path} list --json"], {"KACHE_PAGER": str(marker)})
    assert pane.ended() == 0
    assert not called(marker)


def test_colours_go_through_less(
    world: World, kache_source: Kache, tmux: Start, require_tool: Callable[[str], str]
) -> None:
    require_tool("less")
    store = Store(str(world.cache_dir))
    for number in range(9):
        put(store, "alpha", fields=[("cfg", str(number))])
    pane = tmux([kache_source.path, "list", "alpha"], environ={"PAGER": "less"})
    lines = pane.wait("alpha (lib)")
    assert not any("ESC" in line for line in lines)
    pane.keys("q")
    assert pane.ended() == 0


def test_why_miss_is_paged_as_well(world: World, kache_source: Kache, tmux: Start, marker: Path) -> None:
    log(world.cache_dir, *[{"result": "miss", "crate_name": f"crate{n}", "root": f"/ws{n}"} for n in range(40)])
    pane = tmux([kache_source.path, "why-miss"], environ={"KACHE_PAGER": str(marker)})
    assert pane.ended() == 0 and called(marker)

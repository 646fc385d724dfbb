"""Fixtures for screens: ``tmux`` starts a program in a terminal of its own, ``scene`` has builds to watch in it."""

from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Union

import pytest

from tests.conftest import missing
from tests.terminal.scene import Scene
from tests.terminal.tmux import Tmux, environment
from tests.world import Kache, World


@pytest.fixture
def tmux(world: World, require_tool: Callable[[str], str]) -> Iterator[Callable[..., Tmux]]:
    """``tmux([kache.path, "monitor"], width=80, height=24, environ={...}, cwd=...)``: a program that runs in a pane."""
    tool = require_tool("tmux")
    started: List[Tmux] = []

    def start(
        command: Sequence[Union[str, Path]],
        environ: Optional[Mapping[str, Optional[str]]] = None,
        cwd: Optional[Path] = None,
        **options: Any,
    ) -> Tmux:
        seen = environment(world.env, environ or {})
        started.append(Tmux(tool, command, environ=seen, cwd=cwd or world.root, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def scene(world: World, kache: Kache, tmux: Callable[..., Tmux], rust: Mapping[str, str]) -> Iterator[Scene]:
    """A workspace, builds of it, and monitors that watch them."""
    if not rust:
        missing("Rust")
    found = Scene(world, kache, tmux)
    yield found
    found.close()

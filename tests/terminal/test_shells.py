"""zsh and elvish complete only for somebody who types: here tmux does."""

import re
import time
from typing import Callable, Dict

import pytest

from kachelib import cli
from kachelib.store import Store
from tests.stock import put
from tests.terminal.completing import on_path, options_of
from tests.terminal.tmux import Tmux
from tests.world import Kache, World

Start = Callable[..., Tmux]


class Typed:
    """A shell in a pane of its own, big enough for any list."""

    def __init__(self, pane: Tmux) -> None:
        self.pane = pane

    def offers(self, line: str, *expected: str) -> None:
        """Type ``line`` and Tab on an empty screen; fails where a word that is expected does not come."""
        self.pane.keys("C-c")
        # What is typed before the prompt is there again may go to what still completes.
        self._wait(r"ready>\n*\Z")
        self.pane.type("clear")
        self.pane.keys("Enter")
        self._wait(r"\Aready>\n*\Z")
        self.pane.type(line)
        self.pane.keys("Tab")
        for word in expected:
            self._wait(rf"(?<![\w-]){re.escape(word)}(?![\w-])")

    def _wait(self, pattern: str) -> None:
        end = time.monotonic() + 30
        while not re.search(pattern, "\n".join(self.pane.text())):
            assert time.monotonic() < end, f"no {pattern} in:\n" + "\n".join(self.pane.text())
            time.sleep(0.05)


def start(tmux: Start, world: World, kache: Kache, *command: str) -> Tmux:
    env: Dict[str, str] = {"PATH": on_path(world, kache)["PATH"]}
    return tmux(list(command), environ=env, width=160, height=60)


@pytest.fixture
def zsh(world: World, kache_source: Kache, tmux: Start, require_tool: Callable[[str], str]) -> Typed:
    """zsh with the script in its fpath, as docs/commands.md has it."""
    functions = world.root / "functions"
    functions.mkdir()
    (functions / "_kache").write_text(kache_source.run("completions", "zsh").ok().stdout)
    (world.home / ".zshrc").write_text(
        f"fpath=({functions} $fpath)\nautoload -Uz compinit\ncompinit -D -u\nPS1='ready> '\n"
        "setopt nobeep noautomenu nolistambiguous\nLISTMAX=1000\n"
    )
    pane = start(tmux, world, kache_source, require_tool("zsh"), "-i")
    pane.wait("ready>")
    return Typed(pane)


def test_zsh_offers_commands_options_and_values(world: World, zsh: Typed, kache_source: Kache) -> None:
    for name in ("serde", "serde_json"):
        put(Store(str(world.cache_dir)), name)
    (world.root / "some-directory").mkdir()
    (world.root / "some-other").mkdir()
    zsh.offers("kache ", *cli.COMMANDS)
    for command in cli.COMMANDS:
        zsh.offers(f"kache {command} -", *options_of(kache_source, command))
    zsh.offers("kache list --sort ", "name", "size", "hits", "age")
    zsh.offers("kache list s", "serde", "serde_json")
    zsh.offers("kache purge --crate-name s", "serde", "serde_json")
    zsh.offers("kache init --shims some", "some-directory", "some-other")
    zsh.offers("kache daemon ", "drain", "restart")


def test_zsh_takes_the_script_by_source_too(
    world: World, kache_source: Kache, tmux: Start, require_tool: Callable[[str], str]
) -> None:
    path = world.root / "completions.zsh"
    path.write_text(kache_source.run("completions", "zsh").ok().stdout)
    (world.home / ".zshrc").write_text(f"autoload -Uz compinit\ncompinit -D -u\nsource {path}\nPS1='ready> '\n")
    pane = start(tmux, world, kache_source, require_tool("zsh"), "-i")
    pane.wait("ready>")
    Typed(pane).offers("kache list --sort ", "name", "size", "hits", "age")


@pytest.fixture
def elvish(world: World, kache_source: Kache, tmux: Start, require_tool: Callable[[str], str]) -> Typed:
    """elvish with the script in its start file."""
    tool = require_tool("elvish")
    start_file = world.home / ".config" / "elvish" / "rc.elv"
    start_file.parent.mkdir(parents=True)
    text = kache_source.run("completions", "elvish").ok().stdout
    start_file.write_text(text + "\nset edit:prompt = { put 'ready> ' }\nset edit:rprompt = { }\n")
    pane = start(tmux, world, kache_source, tool)
    pane.wait("ready>")
    return Typed(pane)


def test_elvish_offers_commands_options_and_values(world: World, elvish: Typed, kache_source: Kache) -> None:
    for name in ("serde", "serde_json"):
        put(Store(str(world.cache_dir)), name)
    elvish.offers("kache ", *cli.COMMANDS)
    for command in cli.COMMANDS:
        elvish.offers(f"kache {command} -", *options_of(kache_source, command))
    elvish.offers("kache list --sort ", "name", "size", "hits", "age")
    elvish.offers("kache list ", "serde", "serde_json", "--sort")

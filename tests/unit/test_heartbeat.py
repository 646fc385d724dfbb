"""heartbeat: a compile that takes long gives a sign of life, on Cargo's own standard error."""

import sys
from pathlib import Path
from typing import Callable

import pytest

from tests.unit.test_log import Called, needs_proc
from tests.world import REPOSITORY, Run, World

BEAT = """
import time, posix
from kachelib import heartbeat
heartbeat.EVERY = 0.2
beat = heartbeat.Heartbeat(settings, 'waiting for another compile of foo')
time.sleep(0.3)
beat.doing = 'compiling foo'
# as compile.watch waits: a blocking read, and for the process
reader, writer = posix.pipe()
command = ['sh', '-c', 'sleep 0.5; echo said']
pid = posix.posix_spawn('/bin/sh', command, {}, file_actions=[(posix.POSIX_SPAWN_DUP2, writer, 1)])
posix.close(writer)
assert posix.read(reader, 100) == b'said\\n'
assert posix.waitpid(pid, 0)[1] == 0
beat.stop()
time.sleep(0.5)
"""

MANIFEST = '''
[package]
name = "slow"
version = "0.1.0"
edition = "2021"
'''

WAITING = "kache: still waiting for another compile of foo after 0 s"
COMPILING = "kache: still compiling foo after 0 s"


@needs_proc
def test_a_line_comes_now_and_then_until_it_is_stopped(world: World) -> None:
    cargo = Called(world)
    shown = cargo.run(BEAT).splitlines()
    assert shown[0] == WAITING
    assert set(shown[1:]) == {COMPILING} and 1 <= len(shown[1:]) <= 4
    assert cargo.own.read_text() == ""


@needs_proc
def test_who_wants_no_progress_gets_no_sign_of_life(world: World) -> None:
    assert Called(world).run(BEAT, progress="never") == ""


@pytest.fixture
def slow(world: World, workspace: Callable[..., Path]) -> Callable[[str], Run]:
    """Build a crate whose compile takes a second; ``changes`` to kache are code that runs before it."""
    ws = workspace({"Cargo.toml": MANIFEST, "src/lib.rs": "pub fn f() {}"})
    rustc = world.root / "rustc"
    rustc.write_text('#!/bin/sh\ncase "$*" in *--crate-name\\ slow*) sleep 1 ;; esac\nexec rustc "$@"\n')
    rustc.chmod(0o755)
    wrapper = world.root / "wrapper"

    def build(changes: str = "") -> Run:
        wrapper.write_text(
            f"#!{sys.executable} -B\nimport sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
            f"from kachelib import heartbeat\nheartbeat.EVERY = 0.4\n{changes}\nimport kache\nsys.exit(kache.main())\n"
        )
        wrapper.chmod(0o755)
        env = {"RUSTC_WRAPPER": str(wrapper), "RUSTC": str(rustc)}
        return world.run(["cargo", "build", "-v"], cwd=ws, env=env)

    return build


@needs_proc
def test_a_compile_under_cargo_shows_it_once_and_cargo_does_not_keep_it(slow: Callable[..., Run]) -> None:
    first = slow().ok()
    assert "kache: still compiling slow after" in first.stderr
    assert first.count("miss") == 1
    second = slow().ok()
    assert second.fresh() == {"slow"} and "still compiling" not in second.stderr


@needs_proc
def test_a_compiler_that_kache_becomes_does_not_die_of_the_timer(slow: Callable[..., Run]) -> None:
    # a full disk, say: the claim fails, and the compiler runs in this very process
    fail = "from kachelib import store\ndef claim(*_):\n    raise OSError(28, 'full')\nstore.Store.claim = claim"
    assert not slow(fail).ok().count("miss")

"""The trial passes where a build would be cached, and says what stands in the way where not."""

import os
from typing import Any, Dict

import pytest

from kachelib import trial
from tests.world import World


def test_a_machine_that_can_cache_passes_and_nothing_is_left(world: World, rust: Any) -> None:
    if not rust:
        pytest.skip("there is no Rust")
    found = trial.run(world.env, str(world.cache_dir))
    assert found.passed, found.message
    assert "restored in" in found.message
    assert [name for name in os.listdir(world.root) if "probe" in name] == []
    assert not world.cache_dir.exists()


def test_bytes_that_differ_are_seen(tmp_path: Any) -> None:
    for name, content in (("first", "a"), ("second", "b")):
        (tmp_path / name).mkdir()
        for suffix in ("d", "rlib", "rmeta"):
            (tmp_path / name / f"x.{suffix}").write_text(content if suffix != "rmeta" else "same")
    events = [{"result": "miss", "cache_key": "k"}, {"result": "local_hit"}]
    assert "x.rlib came back with other bytes" in trial._judge(events, str(tmp_path), [1.0, 1.0]).message


@pytest.mark.parametrize(
    ("stored", "restored", "said"),
    [
        ({"result": "miss", "reason": "x; not stored: full", "cache_key": ""}, {"result": "miss"}, "not stored: full"),
        ({"result": "passthrough", "reason": "excluded"}, {"result": "passthrough"}, "passthrough: excluded"),
        ({"result": "miss", "cache_key": "k"}, {"result": "miss", "reason": "src differs"}, "no hit: src differs"),
    ],
)
def test_events_tell_what_went_wrong(stored: Dict[str, Any], restored: Dict[str, Any], said: str) -> None:
    assert said in str(trial._problem([stored, restored]))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"KACHE_DISABLED": "1"}, "recorded nothing"),
        ({"RUSTC": "/nowhere/rustc"}, "no rustc"),
        ({"RUSTC": "false"}, "status 1"),
    ],
)
def test_probe_says_what_stands_in_the_way(world: World, variables: Dict[str, str], said: str, rust: Any) -> None:
    if variables.get("RUSTC") == "false":
        failing = world.root / "rustc"
        failing.write_text("#!/bin/sh\ncase $1 in -vV) exec rustc -vV;; esac\nexit 1\n")
        failing.chmod(0o755)
        variables = {"RUSTC": str(failing)}
    found = trial.run({**world.env, **variables}, str(world.cache_dir))
    assert not found.passed
    assert said in found.message

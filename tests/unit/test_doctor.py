"""doctor's exit code says whether there is a problem; --fix mends and --repair drops what is broken."""

import json
import sys
from pathlib import Path
from typing import Any, Dict

import pytest

from kachelib import cargo_config, cli
from kachelib.store import Store
from tests.stock import action_of, put
from tests.world import World


@pytest.fixture
def program(world: World, monkeypatch: pytest.MonkeyPatch, require_tool: Any) -> str:
    """The running kache, as a program that Cargo can start. Its store's limit fits on any machine's disk."""
    require_tool("cargo")
    monkeypatch.setenv("KACHE_MAX_SIZE", "1GiB")
    path = world.root / "bin" / "kache"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    return str(path)


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> Dict[str, Any]:
    code = cli.main(["doctor", "--json", *arguments])
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    assert document["ok"] == (code == 0)
    return document


def test_a_machine_without_problems_is_zero(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not doctor(capsys)["ok"], "Cargo does not call kache yet"
    cli.main(["init", "-y"])
    capsys.readouterr()
    document = doctor(capsys)
    assert document["ok"], document
    assert cli.main(["doctor"]) == 0
    assert "all is well" in capsys.readouterr().out


def test_problems_are_shown_with_what_to_do(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  wrapper" in out
    assert "-> kache init" in out
    assert "1 problem, 0 warnings" in out


def test_a_store_that_the_disk_cannot_hold_is_a_warning(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(["init", "-y"])
    capsys.readouterr()
    monkeypatch.setenv("KACHE_MAX_SIZE", "1000000GiB")
    document = doctor(capsys)
    [found] = [found for found in document["findings"] if found["check"] == "space"]
    assert found["status"] == "warning"
    assert "the disk is full before the store is" in found["message"]
    assert document["ok"], "a warning is no failure"


def test_fix_migrates_from_sccache(program: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    cargo = world.home / ".cargo/config.toml"
    cargo.write_text('[build]\nrustc-wrapper = "sccache"\n')
    (world.home / ".bashrc").write_text("export RUSTC_WRAPPER=sccache\n")
    cache = world.home / ".cache/sccache/a/b"
    cache.mkdir(parents=True)
    (cache / "x").write_bytes(b"x" * 5000)
    assert not doctor(capsys)["ok"]
    document = doctor(capsys, "--fix")
    assert document["ok"], document
    assert len(document["fixed"]) == 3
    assert cargo_config.wrapper(cargo.read_text(), "") == program
    assert (world.home / ".bashrc").read_text() == f"export RUSTC_WRAPPER={program}\n"
    assert cache.exists(), "deleted only when asked"
    doctor(capsys, "--fix", "--purge-sccache")
    assert not cache.exists()


def test_purge_sccache_needs_fix(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--purge-sccache"]) == 2
    assert "needs --fix" in capsys.readouterr().err


def test_broken_settings_do_not_keep_doctor_from_looking(
    program: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.home / ".config/kache").mkdir(parents=True)
    (world.home / ".config/kache/config.toml").write_text("[cache\n")
    document = doctor(capsys)
    assert any(found["check"] == "configuration" and found["status"] == "problem" for found in document["findings"])


def test_verify_and_repair(program: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["init", "-y"])
    store = Store(str(world.cache_dir))
    put(store, "alpha")
    put(store, "beta")
    path = Path(store.entry_path(action_of("alpha")))
    path.write_bytes(path.read_bytes()[:-1])
    capsys.readouterr()
    document = doctor(capsys, "--verify")
    assert not document["ok"]
    assert document["verify"]["broken_entries"] == [str(path)]
    assert doctor(capsys, "--repair")["ok"]
    assert not path.exists()
    assert doctor(capsys, "--checksums")["verify"]["hashed_bytes"] > 0


def test_probe_says_that_this_machine_can_cache(program: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    document = doctor(capsys, "--probe")
    [found] = [f for f in document["findings"] if f["check"] == "probe"]
    assert found["status"] == "ok", found
    assert "can cache" in found["message"]
    assert not world.cache_dir.exists() or list(world.cache_dir.iterdir()) == [], "the scratch cache is gone"

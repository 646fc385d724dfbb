"""init wires Cargo, once, and undo leaves no trace."""

import os
import sys
from pathlib import Path

import pytest

from kachelib import cargo_config, cli, setup
from tests.world import World


@pytest.fixture
def program(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """The running kache, as a program that Cargo can start."""
    path = world.root / "bin" / "kache"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    return str(path)


@pytest.fixture
def cargo_file(world: World) -> Path:
    return world.home / ".cargo" / "config.toml"


def test_init_wires_cargo_and_check_agrees(program: str, cargo_file: Path, world: World) -> None:
    assert cli.main(["init", "--check"]) == 1
    assert not cargo_file.exists()
    assert cli.main(["init", "-y"]) == 0
    assert cargo_config.wrapper(cargo_file.read_text(), "") == program
    assert (world.home / ".config/kache/python").read_text() == sys.executable + "\n"
    assert cli.main(["init", "--check"]) == 0


def test_init_is_idempotent(program: str, cargo_file: Path) -> None:
    cargo_file.write_text("[net]\noffline = true\n")
    cli.main(["init", "-y"])
    once = cargo_file.read_bytes()
    stamp = cargo_file.stat().st_mtime_ns
    assert cli.main(["init", "-y"]) == 0
    assert cargo_file.read_bytes() == once
    assert cargo_file.stat().st_mtime_ns == stamp


def test_undo_leaves_no_trace(program: str, cargo_file: Path, world: World) -> None:
    cargo_file.write_text('[build]\nrustc-wrapper = "sccache" # fast\r\n')
    before = cargo_file.read_bytes()
    cli.main(["init", "-y"])
    assert cargo_file.read_bytes() != before
    assert cli.main(["init", "--undo"]) == 0
    assert cargo_file.read_bytes() == before
    assert not (world.home / ".config/kache/python").exists()


def test_undo_removes_a_file_that_init_made(program: str, cargo_file: Path) -> None:
    cli.main(["init", "-y"])
    assert cli.main(["init", "--undo"]) == 0
    assert not cargo_file.exists()


def test_undo_without_init_changes_nothing(program: str, cargo_file: Path) -> None:
    assert cli.main(["init", "--undo"]) == 0
    assert not cargo_file.exists()


def test_with_nobody_to_ask_nothing_is_changed(
    program: str, cargo_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init"]) == 2
    assert "init -y" in capsys.readouterr().err
    assert not cargo_file.exists()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 0), ("n\n", 1)])
def test_the_answer_decides(
    program: str, cargo_file: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    controller, terminal = os.openpty()
    monkeypatch.setattr(sys, "stdin", os.fdopen(terminal))
    os.write(controller, answer.encode())
    assert cli.main(["init"]) == code
    assert cargo_file.exists() == (code == 0)
    os.close(controller)


def test_a_wrapper_in_the_environment_is_pointed_out(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSTC_WRAPPER", "sccache")
    cli.main(["init", "-y"])
    assert "RUSTC_WRAPPER" in capsys.readouterr().err


def test_a_program_that_cannot_be_started_is_refused(
    world: World, cargo_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world.root / "kache.py"
    path.write_text("")
    monkeypatch.setattr(sys, "argv", [str(path)])
    assert cli.main(["init", "-y"]) == 1
    assert "chmod +x" in capsys.readouterr().err
    assert not cargo_file.exists()


def test_a_broken_cargo_file_is_left_alone(program: str, cargo_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cargo_file.write_text("[build\n")
    assert cli.main(["init", "-y"]) == 2
    error = capsys.readouterr().err
    assert str(cargo_file) in error and error.count("\n") == 1
    assert cargo_file.read_text() == "[build\n"


def test_a_file_that_cannot_be_written_is_said_so(
    program: str, cargo_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root every file can be written; a directory in the way cannot be replaced."""
    cargo_file.mkdir()
    assert cli.main(["init", "-y"]) == 2
    assert str(cargo_file) in capsys.readouterr().err


def test_the_remembered_python_is_what_the_file_starts_with(world: World) -> None:
    note = setup.remember_python({"HOME": str(world.home)})
    assert note == str(world.home / ".config/kache/python")
    assert os.access(Path(note).read_text().rstrip("\n"), os.X_OK)


def test_init_says_what_is_not_cached_by_default(
    program: str, cargo_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(["init", "-y"])
    assert "KACHE_CACHE_EXECUTABLES=1" in capsys.readouterr().out
    monkeypatch.setenv("KACHE_CACHE_EXECUTABLES", "1")
    cli.main(["init", "-y"])
    assert "KACHE_CACHE_EXECUTABLES=1" not in capsys.readouterr().out

"""The command table, the exit codes, and what happens to errors."""

import importlib
import re
import subprocess
import sys
from typing import List

import pytest

from kachelib import VERSION, cli
from kachelib.outcome import StoreError
from tests.world import REPOSITORY, Kache, World


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.COMMANDS[name]
    assert callable(getattr(importlib.import_module("kachelib." + command.module), command.function))
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: kache {name}")
    assert max(len(line) for line in out.splitlines()) <= 120
    assert cli.main(["help", name]) == 0
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - {"config"}))
def test_every_command_documents_its_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([name, "--help"])
    assert re.search(r"Exit codes: 0 .*; 1 .*; 2 ", " ".join(capsys.readouterr().out.split()))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_stands_in_the_documents(name: str) -> None:
    assert f"## `kache {name}" in (REPOSITORY / "docs" / "commands.md").read_text("utf-8")


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"]])
def test_help_lists_commands_and_exit_codes(arguments: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if f"\n  {name} " not in out] == []
    assert "exit codes:" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"kache {VERSION}\n"


def test_an_unknown_command_is_wrong_use_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reprot"]) == 2
    assert capsys.readouterr().err == (
        "kache: there is no command 'reprot'; did you mean 'report'? 'kache --help' lists all\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (StoreError("/x: broken"), 1, "kache: /x: broken\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
        (KeyboardInterrupt(), 130, ""),
        (ImportError("No module named '_sqlite3'"), 1, "KACHE_PYTHON"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(arguments: List[str]) -> int:
        raise error

    monkeypatch.setattr("kachelib.report_command.run_stats", fail)
    assert cli.main(["stats"]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") <= 1


def test_tracebacks_are_for_those_who_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KACHE_LOG", "kache=debug")
    assert cli.main(["stats", "--wrong"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("kache: stats: ")


def test_a_wrong_setting_is_exit_code_two_with_file_and_key(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.home / ".config/kache/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[cache]\nlocal_max_size = "lots"\n')
    assert cli.main(["list"]) == 2
    err = capsys.readouterr().err
    assert str(file) in err and "local_max_size" in err and err.count("\n") == 1


def test_a_wrong_kache_toml_is_loud(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "kache.toml").write_text('extra_inputs = []\nlocal_max_size = "1GB"\n')
    assert cli.main(["stats"]) == 2
    err = capsys.readouterr().err
    assert str(world.root / "kache.toml") in err and "local_max_size" in err and err.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error(kache: Kache, world: World) -> None:
    command = f"'{kache.path}' report --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=world.env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{0\n", "")


def test_bytes_that_are_not_utf8_are_shown_escaped(kache: Kache) -> None:
    done = kache.run("list", b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert done.returncode == 1
    assert "\\udce9" in done.stderr


def test_commands_are_imported_when_called() -> None:
    code = (
        "import sys; from kachelib import cli; cli.main(['--version']);"
        "print([m for m in sys.modules if m in ('argparse', 'sqlite3', 'json', 'kachelib.report', 'kachelib.store')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

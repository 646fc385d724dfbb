"""kache salt --check: each kind of salt is compared by its own recipe, and what cannot be compared is said to be so."""

import hashlib
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import pytest

from kachelib import checks, cli, config, nix, nix_closure, salt_command
from kachelib.checks import OK, WARNING, Finding, Machine
from kachelib.outcome import KacheError
from tests.world import World


def flakes(*paths: str) -> str:
    """As nix/lib.nix makes it; tests/nix compares that with what Nix says."""
    return "nixe1-" + hashlib.sha256("\n".join(sorted(paths)).encode()).hexdigest()[:32]


class Shell:
    """A shell over a directory that plays the Nix store. rust, gcc: the store paths that are on PATH."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.world = world
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.store = world.root / "store"
        self.below: List[str] = []
        # what a flake has to say, by attribute
        self.flake: Dict[str, str] = {}
        monkeypatch.setattr(nix, "STORE", str(self.store))
        monkeypatch.setattr(nix_closure, "closure", lambda paths, _: sorted({*paths, *self.below}))
        monkeypatch.setattr(salt_command, "evaluate", lambda attribute: self.flake[attribute].encode())
        self.enter("rust", "gcc")

    def enter(self, rust: str, gcc: str) -> None:
        self.rust = self.package(rust, "rustc", "cargo")
        self.gcc = self.package(gcc, "cc", "c++")
        self.monkeypatch.setenv("PATH", f"{self.rust}/bin:{self.gcc}/bin")

    def package(self, name: str, *programs: str) -> Path:
        place = self.store / f"{'0' * 32}-{name}"
        (place / "bin").mkdir(parents=True, exist_ok=True)
        for each in programs:
            (place / "bin" / each).write_text("#!/bin/sh\n")
            (place / "bin" / each).chmod(0o755)
        return place

    def set(self, salt: str, *paths: object) -> str:
        """The salt that is set, and what the shell says of it."""
        self.monkeypatch.setenv("KACHE_KEY_SALT", salt)
        if paths:
            self.monkeypatch.setenv(nix.FLAKE_PATHS, " ".join(str(path) for path in paths))
        return salt

    def set_flakes(self) -> str:
        return self.set(flakes(str(self.gcc), str(self.rust)), self.gcc, self.rust)

    def salt(self, *arguments: str) -> Tuple[int, List[str]]:
        """``kache salt ARGUMENTS``: its exit code and what it printed."""
        self.capsys.readouterr()
        code = cli.main(["salt", *arguments])
        return code, self.capsys.readouterr().out.splitlines()

    def made(self, *arguments: str) -> str:
        code, lines = self.salt(*arguments)
        assert code == 0
        return self.set(lines[0])

    def doctor(self) -> Finding:
        environ = config.environment()
        where = str(self.world.root)
        [found] = checks.check_salt(Machine(environ, "", "", config.load(environ, (where,)), where))
        return found


@pytest.fixture
def shell(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(world, monkeypatch, capsys)


def test_a_flakes_salt_that_is_right(shell: Shell) -> None:
    known = shell.set_flakes()
    assert shell.salt("--check") == (0, [f"{known}: the same"])
    assert shell.doctor() == Finding("nix salt", OK, "the key salt is this toolchain's")


def test_a_flakes_salt_of_another_toolchain(shell: Shell) -> None:
    known = shell.set_flakes()
    shell.enter("rust-2", "gcc")
    code, lines = shell.salt("--check")
    assert code == 1
    said = f"rustc is {shell.rust}, of which the salt was not made"
    assert lines[0].startswith(f"{known} is set (env KACHE_KEY_SALT), but is not of this environment")
    assert lines[1:] == [f"- {said}", f"- {said.replace('rustc', 'cargo')}"]
    found = shell.doctor()
    assert (found.status, said in found.message, "--check" in found.hint) == (WARNING, True, True)


def test_a_flakes_salt_beside_what_another_is_of(shell: Shell) -> None:
    right = shell.set_flakes()
    shell.set("nixe1-" + "0" * 32)
    code, lines = shell.salt("--check")
    assert (code, lines[1:]) == (1, [f"- {nix.FLAKE_PATHS} names what gives {right}"])
    assert shell.doctor().status == WARNING


def test_a_flakes_salt_of_which_nothing_is_known(shell: Shell) -> None:
    shell.set("nixe1-" + "0" * 32)
    code, lines = shell.salt("--check")
    assert (code, "'kache salt --check --flake .#devShells." in lines[1]) == (1, True)
    found = shell.doctor()
    assert (found.status, "not compared" in found.message, "--flake" in found.hint) == (OK, True, True)


@pytest.mark.parametrize("prefix", ["nixr1-", "nixe1-", "nixc1-"])
def test_a_toolchains_salt_where_there_is_none(shell: Shell, prefix: str) -> None:
    shell.set(prefix + "0" * 32)
    shell.monkeypatch.setenv("PATH", str(shell.world.root))
    found = shell.doctor()
    assert (found.status, "no tool here is from the Nix store" in found.message) == (WARNING, True)
    assert cli.main(["salt", "--check"]) == 1


def test_a_flake_says_what_its_shell_has_now(shell: Shell) -> None:
    known = shell.set_flakes()
    shell.flake = {".#x.KACHE_KEY_SALT": known}
    assert shell.salt("--check", "--flake", ".#x") == (0, [f"{known}: the same"])
    now = flakes("/nix/new", str(shell.gcc))
    shell.flake = {".#x.KACHE_KEY_SALT": now, f".#x.{nix.FLAKE_PATHS}": f"/nix/new {shell.gcc}"}
    code, lines = shell.salt("--check", "--flake", ".#x")
    assert (code, lines[1:]) == (1, [f"the flake gives {now}", f"- {shell.rust}", "+ /nix/new"])
    assert "enter it anew" in lines[0]


def test_a_closures_salt(shell: Shell) -> None:
    known = shell.made("--closure")
    assert shell.salt("--check") == (0, [f"{known}: the same"])
    assert shell.doctor() == Finding("nix salt", OK, "the key salt is this toolchain's")
    shell.below = ["/nix/store/libc"]
    code, lines = shell.salt("--check")
    assert (code, lines[1:]) == (1, ["+ closure: /nix/store/libc"])
    found = shell.doctor()
    assert (found.status, "the closure of the tools here gives nixc1-" in found.message) == (WARNING, True)


def test_a_closures_salt_of_named_paths(shell: Shell) -> None:
    known = shell.made("--closure", str(shell.rust))
    code, lines = shell.salt("--check")
    assert (code, "--check --closure PATH" in lines[0]) == (1, True)
    found = shell.doctor()
    assert (found.status, "not compared" in found.message) == (OK, True)
    assert shell.salt("--check", "--closure", str(shell.rust)) == (0, [f"{known}: the same"])
    # made on another machine, nobody knows of what
    shell.set("nixc1-" + "0" * 32)
    code, lines = shell.salt("--check")
    assert (code, "--check --closure PATH" in lines[-1]) == (1, True)


def test_a_closures_salt_where_nix_knows_nothing(shell: Shell) -> None:
    shell.set("nixc1-" + "0" * 32)

    def fails(*_: object) -> List[str]:
        raise KacheError("salt: there is no nix-store")

    shell.monkeypatch.setattr(nix_closure, "closure", fails)
    found = shell.doctor()
    assert (found.status, "not compared: " in found.message) == (OK, True)


@pytest.mark.parametrize(
    ("prefix", "asked"),
    [
        ("nixr1-", ["--flake", ".#x"]),
        ("nixr1-", ["--closure"]),
        ("nixc1-", ["--flake", ".#x"]),
        ("nixe1-", ["--closure"]),
    ],
)
def test_two_recipes_are_not_compared(shell: Shell, prefix: str, asked: Sequence[str]) -> None:
    shell.set(prefix + "0" * 32)
    code, lines = shell.salt("--check", *asked)
    assert (code, "is of another recipe" in lines[0]) == (1, True)


def test_what_resolves_here(shell: Shell) -> None:
    known = shell.made()
    assert shell.salt("--check") == (0, [f"{known}: the same"])
    shell.enter("rust", "gcc-2")
    code, lines = shell.salt("--check")
    assert (code, [line[:10] for line in lines[1:]]) == (1, ["- tool cc:", "- tool c++", "+ tool cc:", "+ tool c++"])


def test_a_salt_of_ones_own_is_nobody_elses_to_judge(shell: Shell) -> None:
    shell.set("2024-01")
    assert shell.salt("--check")[0] == 1
    assert shell.doctor() == Finding("nix salt", OK, "a key salt is set")

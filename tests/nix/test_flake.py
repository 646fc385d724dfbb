"""kache's flake: checked, built, run and entered as its users do; its modules make of settings what they should."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.nix.flakes import CONFIG, Nix

# What a module's configuration comes to, for one user's words; paths become text.
EVALUATE = """
let
  pkgs = (builtins.getFlake "path:@NIXPKGS@").legacyPackages.x86_64-linux;
  module = import @KACHE@/nix/@MODULE@.nix { package = import @KACHE@/nix/package.nix; };
in pkgs.lib.evalModules { inherit pkgs; modules = [ module ]; user = @USER@; }
"""


def evaluate(nix: Nix, module: str, user: str, attribute: str) -> Any:
    text = EVALUATE
    for name, value in {"KACHE": nix.kache, "NIXPKGS": nix.nixpkgs, "MODULE": module, "USER": user}.items():
        text = text.replace(f"@{name}@", str(value))
    return json.loads(nix("eval", "--impure", "--json", "--expr", f"({text}).{attribute}").ok().stdout)


def test_it_is_checked(nix: Nix) -> None:
    nix("flake", "check", *nix.inputs(own=True), f"path:{nix.kache}").ok()


@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-linux", "x86_64-darwin", "aarch64-darwin"])
def test_every_system_evaluates_without_a_build(nix: Nix, system: str) -> None:
    for attribute in (f"packages.{system}.default.drvPath", f"devShells.{system}.default.KACHE_KEY_SALT"):
        found = nix(
            "eval", "--raw", "--option", "allow-import-from-derivation", "false", *nix.inputs(own=True),
            f"path:{nix.kache}#{attribute}",
        ).ok()  # fmt: skip
        assert found.stdout.startswith(("/nix/store/", "nixe1-"))


def test_it_is_built_and_needs_nothing_that_is_not_in_its_closure(nix: Nix) -> None:
    out = nix("build", "--json", "--no-link", *nix.inputs(own=True), f"path:{nix.kache}").ok()
    kache = Path(json.loads(out.stdout)[0]["outputs"]["out"])
    # no python3 on PATH, and no note of another one
    said = nix.world.run([kache / "bin" / "kache", "--version"], env={"PATH": "/nowhere"}).ok().stdout
    assert said.startswith("kache ")
    about = nix.world.run([kache / "bin" / "kache", "doctor", "--json"], env={"PATH": "/nowhere"})
    python = next(item["message"] for item in json.loads(about.stdout)["findings"] if item["check"] == "python")
    assert "python3" in python
    closure = nix.world.run(["nix-store", "-qR", kache]).ok().stdout
    assert "-python3\n" in closure
    assert "-python3-blake3\n" in closure
    assert "-python3-zstandard\n" in closure


def test_two_builds_are_the_same_bytes(nix: Nix) -> None:
    nix("build", "--no-link", *nix.inputs(own=True), f"path:{nix.kache}").ok()
    nix("build", "--rebuild", "--no-link", *nix.inputs(own=True), f"path:{nix.kache}").ok()


def test_it_is_run(nix: Nix) -> None:
    said = nix("run", *nix.inputs(own=True), f"path:{nix.kache}", "--", "--version").ok()
    assert said.stdout.startswith("kache ")


def test_its_own_shell_is_entered(nix: Nix) -> None:
    said = nix("develop", *nix.inputs(own=True), f"path:{nix.kache}", "-c", "env", cwd=nix.kache).ok().stdout
    variables = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    assert variables["KACHE_KEY_SALT"].startswith("nixe1-")
    assert variables["RUSTC_WRAPPER"] == "kache"
    assert "-kache-" in variables["PATH"]


def test_a_build_in_a_users_shell_hits_in_a_second_checkout(nix: Nix) -> None:
    """Though each shell tells the linker to look for libraries below its own checkout."""
    for name, result in (("one", "miss"), ("two", "local_hit")):
        project = nix.project(name)
        done = nix.develop(project, "cargo", "build", env={"KACHE_CACHE_EXECUTABLES": "1"}).ok()
        assert done.results() == {"demo": [result]}
        shown = nix.world.run(["readelf", "-d", project / "target" / "debug" / "demo"]).ok().stdout
        assert str(project) not in shown
        assert nix.world.run([project / "target" / "debug" / "demo"]).ok().stdout == "it runs\n"


def test_what_uses_a_proc_macro_hits_in_a_second_checkout(nix: Nix) -> None:
    """Proc macros are not cached by default: each checkout links its own, and the two must be the same bytes."""
    for name, result in (("one", "miss"), ("two", "local_hit")):
        project = nix.project(name)
        nix.world.workspace(
            {
                "Cargo.toml": '[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n'
                '[lib]\n[dependencies]\nmacros = { path = "macros" }\n',
                "Cargo.lock": 'version = 4\n\n[[package]]\nname = "demo"\nversion = "0.1.0"\n'
                'dependencies = [\n "macros",\n]\n\n[[package]]\nname = "macros"\nversion = "0.1.0"\n',
                "src/lib.rs": "pub fn three() -> u8 { macros::three!() }\n",
                "src/main.rs": "fn main() {}\n",
                "macros/Cargo.toml": '[package]\nname = "macros"\nversion = "0.1.0"\nedition = "2021"\n'
                "[lib]\nproc-macro = true\n",
                "macros/src/lib.rs": "use proc_macro::TokenStream;\n#[proc_macro]\n"
                'pub fn three(_: TokenStream) -> TokenStream { "3".parse().unwrap() }\n',
            },
            name=name,
        )
        done = nix.develop(project, "cargo", "build", "--lib").ok()
        assert done.results() == {"macros": ["passthrough"], "demo": [result]}


def test_a_shell_without_a_flake(nix: Nix) -> None:
    project = nix.project()
    (project / "flake.nix").unlink()
    (project / "shell.nix").write_text(
        f"""
        let
          pkgs = (builtins.getFlake "path:{nix.nixpkgs}").legacyPackages.x86_64-linux;
          kache = import {nix.kache}/nix/lib.nix {{ package = import {nix.kache}/nix/package.nix; }};
        in kache.mkKacheShell pkgs {{ toolchain = [ pkgs.rustc pkgs.cargo ]; }}
        """
    )
    said = nix.world.run(
        ["nix-shell", "--option", "pure-eval", "false", "shell.nix", "--run", 'echo "$KACHE_KEY_SALT"; kache salt'],
        cwd=project,
        env={"NIX_CONFIG": CONFIG},
    ).ok()
    assert [line[:6] for line in said.stdout.splitlines()] == ["nixe1-", "nixr1-"]


USER = '{ programs.kache = { enable = true; settings.cache.local_max_size = "7GiB"; uploader.enable = true; }; }'


def test_the_nixos_module(nix: Nix) -> None:
    found = evaluate(nix, "nixos", USER, "environment")
    assert found["variables"]["KACHE_CONFIG"] == "/etc/kache/config.toml"
    assert found["variables"]["RUSTC_WRAPPER"].endswith("/bin/kache")
    assert len(found["systemPackages"]) == 1
    assert "kache/config.toml" in found["etc"]
    service = evaluate(nix, "nixos", USER, "systemd.user.services.kache")
    assert service["serviceConfig"]["ExecStart"].endswith("/bin/kache daemon run")


def test_the_home_manager_module(nix: Nix) -> None:
    found = evaluate(nix, "home-manager", USER, "home")
    assert found["sessionVariables"]["RUSTC_WRAPPER"].endswith("/bin/kache")
    assert set(evaluate(nix, "home-manager", USER, "xdg.configFile")) == {"kache/config.toml"}
    service = evaluate(nix, "home-manager", USER, "systemd.user.services.kache")
    assert service["Service"]["ExecStart"].endswith("/bin/kache daemon run")


@pytest.mark.parametrize("module", ["nixos", "home-manager"])
def test_a_module_that_is_off_does_nothing(nix: Nix, module: str) -> None:
    assert evaluate(nix, module, "{ }", "programs.kache.enable") is False
    found = evaluate(nix, module, "{ programs.kache.enable = true; programs.kache.wrapper = false; }", "programs.kache")
    assert found["wrapper"] is False
    assert "systemd" not in json.dumps(found)


def test_a_clean_environment() -> None:
    """The tests' own promise: nothing of the caller's Nix gets in."""
    assert not [name for name in os.environ if name.startswith("NIX_")]

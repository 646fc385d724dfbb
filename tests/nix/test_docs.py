"""docs/nix.md, followed word for word."""

import re
from typing import List

from tests.nix.flakes import CONFIG, Nix
from tests.world import REPOSITORY


def blocks(language: str) -> List[str]:
    """The code blocks of that language in docs/nix.md, in order."""
    text = (REPOSITORY / "docs" / "nix.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_the_flake(nix: Nix) -> None:
    project = nix.project()
    (project / "flake.nix").write_text(blocks("nix")[0])
    said = nix.develop(
        project, "sh", "-c", 'echo "$RUSTC_WRAPPER $KACHE_KEY_SALT"; kache --version; command -v pkg-config'
    )
    lines = said.ok().stdout.splitlines()
    assert re.fullmatch(r"kache nixe1-[0-9a-f]{32}", lines[0])
    assert lines[1].startswith("kache ")
    assert lines[2].startswith("/nix/store/")


def test_the_shell_without_a_flake(nix: Nix) -> None:
    """The file is on PATH, as one installed by hand."""
    project = nix.project()
    (project / "shell.nix").write_text(blocks("nix")[1])
    own = nix.world.root / "own"
    own.mkdir()
    (own / "kache").symlink_to(REPOSITORY / "dist" / "kache")
    env = {"NIX_CONFIG": CONFIG, "NIX_PATH": f"nixpkgs={nix.nixpkgs}", "PATH": f"{own}:/usr/bin:/bin"}
    command = 'echo "$KACHE_KEY_SALT"; kache salt --check; cargo build --offline'
    said = nix.world.run(["nix-shell", "--run", command], cwd=project, env=env).ok()
    salt = said.stdout.splitlines()[0]
    assert re.fullmatch(r"nixr1-[0-9a-f]{32}", salt)
    assert said.stdout.splitlines()[1] == f"{salt}: the same"
    assert said.results()["demo"]


def test_is_it_right(nix: Nix) -> None:
    """The three commands of the page's end."""
    project = nix.project()
    for line in blocks("sh")[-1].splitlines():
        command = line.partition("#")[0].strip()
        done = nix.develop(project, "sh", "-c", command)
        assert "nix salt" in done.stdout or "nixr1-" in done.stdout or "nixe1-" in done.stdout, command
    assert done.ok().stdout.endswith(": the same\n")


def test_the_modules_options_are_those_of_the_page() -> None:
    text = (REPOSITORY / "nix" / "options.nix").read_text()
    page = (REPOSITORY / "docs" / "nix.md").read_text()
    table = page[page.index("| option | default | |") :]
    told = re.findall(r"^\| `([\w.]+)` \|", table[: table.index("\n\n")], re.M)
    options = re.findall(r"^    ([\w.]+) = lib\.mk", text, re.M)
    assert sorted(told) == sorted(options)

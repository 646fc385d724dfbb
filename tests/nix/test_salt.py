"""The salt of a shell: it stays where nothing that compiles changed, and moves where anything did."""

from pathlib import Path
from typing import Callable, Dict

import pytest

from tests.nix.flakes import CONFIG, Nix
from tests.world import REPOSITORY


def salts(nix: Nix, project: Path) -> Dict[str, str]:
    """Both salts of a shell: the flake's, and what the file resolves in it."""
    said = nix.develop(project, "sh", "-c", 'echo "flake $KACHE_KEY_SALT"; echo "resolved $(kache salt)"').ok().stdout
    found = dict(line.split() for line in said.splitlines())
    assert found["flake"].startswith("nixe1-")
    assert found["resolved"].startswith("nixr1-")
    return found


def readme(nix: Nix, project: Path) -> None:
    (project / "README.md").write_text("# another text\n")
    (nix.kache / "README.md").write_text("# another text\n")


def source_of_kache(nix: Nix, project: Path) -> None:
    with (nix.kache / "kachelib" / "outcome.py").open("a") as file:
        file.write("# another line\n")


def linter(nix: Nix, project: Path) -> None:
    nix.project(project.name, packages="pkgs.linter")


def shell_hook(nix: Nix, project: Path) -> None:
    nix.project(project.name, shell='shellHook = "export GREETING=hello";')


def code(nix: Nix, project: Path) -> None:
    (project / "src" / "main.rs").write_text("fn main() {}\n")


@pytest.mark.parametrize("edit", [readme, source_of_kache, linter, shell_hook, code])
def test_it_stays(nix: Nix, edit: Callable[[Nix, Path], None]) -> None:
    project = nix.project()
    before = salts(nix, project)
    edit(nix, project)
    assert salts(nix, project) == before


@pytest.mark.parametrize("piece", ["rustc", "cc", "ld", "libc"])
def test_it_moves(nix: Nix, piece: str) -> None:
    project = nix.project()
    before = salts(nix, project)
    nix.bump(piece)
    after = salts(nix, project)
    assert after["flake"] != before["flake"]
    assert after["resolved"] != before["resolved"]


def test_it_is_the_same_in_a_second_checkout(nix: Nix) -> None:
    assert salts(nix, nix.project("one")) == salts(nix, nix.project("deep/below/two"))


def test_an_empty_toolchain_is_refused(nix: Nix) -> None:
    project = nix.project()
    flake = project / "flake.nix"
    flake.write_text(flake.read_text().replace("[ pkgs.rustc pkgs.cargo ]", "[ ]"))
    refused = nix.develop(project, "true")
    assert refused.returncode != 0
    assert "keySalt of no tools" in refused.stderr


def test_the_closure_is_that_of_nix_store(nix: Nix) -> None:
    """The same from the database and from nix-store, and it moves with what lies deep below."""
    project = nix.project()
    script = (
        "kache salt --closure; NIX_STATE_DIR=/nowhere kache salt --closure 2>&1; kache salt --closure --explain;"
        "nix-store -qR $(dirname $(dirname $(command -v cc))) | sort"
    )
    lines = nix.develop(project, "sh", "-c", script).ok().stdout.splitlines()
    assert lines[0].startswith("nixc1-")
    assert lines[2] == lines[0]
    members = [line.split(": ", 1)[1] for line in lines if line.startswith("  closure: ")]
    assert any("-glibc" in member for member in members)
    assert {line for line in lines if line.startswith("/nix/store/")} <= set(members)
    nix.bump("libc")
    assert nix.develop(project, "kache", "salt", "--closure").ok().stdout.strip() != lines[0]


def test_a_flake_by_the_recipe_of_the_documentation(nix: Nix) -> None:
    project = nix.project()
    reference = f"path:{project}#devShells.x86_64-linux.default"
    recipe = f"nix eval {' '.join(nix.inputs())} --raw {reference}.outPath | sha256sum | cut -c1-16"
    kache = REPOSITORY / "dist" / "kache"
    # 'kache salt' calls nix without these options, so the inputs are pinned in a lock file first
    nix("flake", "lock", *nix.inputs()[:-1], f"path:{project}", cwd=project).ok()
    env = {"NIX_CONFIG": CONFIG}
    wanted = nix.world.run(["sh", "-c", recipe], cwd=project, env=env).ok().stdout
    found = nix.world.run([kache, "salt", "--flake", reference], cwd=project, env=env).ok().stdout
    assert found == wanted
    assert len(found) == 17
    checked = nix.world.run(
        [kache, "salt", "--check", "--flake", reference], cwd=project, env={**env, "KACHE_KEY_SALT": found.strip()}
    )
    assert checked.ok().stdout == f"{found.strip()}: the same\n"


@pytest.mark.parametrize("attribute", ["devShells.x86_64-linux.nothing", "empty"])
def test_a_flake_that_gives_nothing_is_an_error(nix: Nix, attribute: str) -> None:
    project = nix.world.workspace({"flake.nix": '{ outputs = { self }: { empty.outPath = ""; }; }'}, name="broken")
    kache = REPOSITORY / "dist" / "kache"
    env = {"NIX_CONFIG": CONFIG}
    refused = nix.world.run([kache, "salt", "--flake", f"path:{project}#{attribute}"], cwd=project, env=env)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[-1].startswith("kache: salt: 'nix eval --raw ")


def test_check_says_what_differs(nix: Nix) -> None:
    project = nix.project()
    salt = nix.develop(project, "kache", "salt").ok().stdout.strip()
    same = nix.develop(project, "sh", "-c", f"KACHE_KEY_SALT={salt} kache salt --check").ok()
    assert same.stdout == f"{salt}: the same\n"
    nix.bump("rustc")
    other = nix.develop(project, "sh", "-c", f"KACHE_KEY_SALT={salt} kache salt --check")
    assert other.returncode == 1
    lines = other.stdout.splitlines()
    assert lines[0].startswith(f"{salt} is set (env KACHE_KEY_SALT), but this environment gives nixr1-")
    assert [line.split(":")[0] for line in lines[1:]] == ["- tool rustc", "+ tool rustc"]


def test_check_knows_the_salt_of_a_flakes_shell(nix: Nix) -> None:
    """By what the shell says of it, and by what the flake says now."""
    project = nix.project()
    salt, *said = nix.develop(project, "sh", "-c", "echo $KACHE_KEY_SALT; kache salt --check").ok().stdout.splitlines()
    assert salt.startswith("nixe1-")
    assert said == [f"{salt}: the same"]
    # the variables of the shell as it was, in a terminal that was left open
    kept = nix.develop(project, "sh", "-c", "echo $KACHE_KEY_SALT_OF").ok().stdout.strip()
    nix.bump("rustc")
    old = f'export KACHE_KEY_SALT={salt} KACHE_KEY_SALT_OF="{kept}"; '
    check = nix.develop(project, "sh", "-c", old + "kache salt --check")
    assert check.returncode == 1
    lines = check.stdout.splitlines()
    assert lines[0] == f"{salt} is set (env KACHE_KEY_SALT), but is not of this environment: enter the shell anew"
    assert [line.partition(" is /nix/store/")[0] for line in lines[1:]] == ["- rustc"]
    doctor = nix.develop(project, "sh", "-c", old + "kache doctor").stdout
    assert "of which the salt was not made" in doctor


def test_check_asks_a_flake_for_its_shells_salt(nix: Nix) -> None:
    """In a shell that was left open: all in it fits together, and the flake has moved on."""
    project = nix.project()
    # 'kache salt' calls nix without these options, so the inputs are pinned in a lock file
    lock = ("flake", "lock", *nix.inputs()[:-1], f"path:{project}")
    check = f"kache salt --check --flake path:{project}#devShells.x86_64-linux.default"
    nix(*lock, cwd=project).ok()
    script = f"echo $KACHE_KEY_SALT; echo $KACHE_KEY_SALT_OF; {check}"
    salt, paths, *said = nix.develop(project, "sh", "-c", script).ok().stdout.splitlines()
    assert said == [f"{salt}: the same"]
    nix.bump("rustc")
    nix(*lock, cwd=project).ok()
    moved = nix.develop(project, "sh", "-c", f'export KACHE_KEY_SALT={salt} KACHE_KEY_SALT_OF="{paths}"; {check}')
    assert moved.returncode == 1
    lines = moved.stdout.splitlines()
    assert lines[0].endswith("devShells.x86_64-linux.default has now: enter it anew")
    assert lines[1].startswith("the flake gives nixe1-")
    assert [(line[:13], line[-6:]) for line in lines[2:]] == [(f"{sign} /nix/store/", "-rustc") for sign in "-+"]
    # a shell with the salt alone
    alone = nix.develop(project, "sh", "-c", f"export KACHE_KEY_SALT={salt}; unset KACHE_KEY_SALT_OF; {check}")
    assert (alone.returncode, alone.stdout.splitlines()[1:]) == (1, [lines[1]])


def test_doctor_judges_the_salt_of_a_closure(nix: Nix) -> None:
    project = nix.project()
    script = "export KACHE_KEY_SALT=${OLD:-$(kache salt --closure)}; echo $KACHE_KEY_SALT; kache doctor"
    salt, *said = nix.develop(project, "sh", "-c", script).stdout.splitlines()
    assert [line.split()[0] for line in said if "nix salt" in line] == ["ok"]
    nix.bump("libc")
    said = nix.develop(project, "sh", "-c", script, env={"OLD": salt}).stdout.splitlines()
    [line] = [line for line in said if "nix salt" in line]
    assert line.split()[0] == "warn"
    assert "the closure of the tools here gives nixc1-" in line


def test_check_says_where_it_cannot_compare(nix: Nix) -> None:
    project = nix.project()
    found = nix.develop(project, "sh", "-c", "unset KACHE_KEY_SALT_OF; kache salt --check")
    assert found.returncode == 1
    assert "--check --flake .#devShells" in found.stdout


def test_doctor_warns_of_a_nix_toolchain_without_a_salt(nix: Nix) -> None:
    project = nix.project()
    script = (
        "unset KACHE_KEY_SALT; kache doctor; KACHE_KEY_SALT=$(kache salt) kache doctor; KACHE_NIX_SALT=1 kache doctor"
    )
    lines = [line for line in nix.develop(project, "sh", "-c", script).stdout.splitlines() if "nix salt" in line]
    assert [line.split()[0] for line in lines] == ["warn", "ok", "ok"]
    assert "no key salt is set" in lines[0]

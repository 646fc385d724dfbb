"""The failure that a salt is for: the toolchain is replaced by one that says the same of itself, and the old one goes.

An executable that comes back then names an ELF interpreter that is gone, and cannot start: no cargo clean mends it.
"""

import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from tests.nix.flakes import Nix
from tests.world import REPOSITORY, Run

CACHED = {"KACHE_CACHE_EXECUTABLES": "1"}

UNSET = "unset KACHE_KEY_SALT NIX_CC NIX_BINTOOLS NIX_LDFLAGS NIX_CFLAGS_COMPILE"


def interpreter(program: Path) -> str:
    said = subprocess.run(["readelf", "-l", str(program)], capture_output=True, text=True, check=True).stdout
    return said.partition("interpreter: ")[2].partition("]")[0]


def collect(nix: Nix, path: str) -> None:
    """Delete one store path and all that hangs on it, as a garbage collection would."""
    referrers = nix.world.run(["nix-store", "--query", "--referrers-closure", path]).ok().stdout.split()
    nix.world.run(["nix-store", "--delete", "--ignore-liveness", *referrers], env={"NIX_CONFIG": ""}).ok()
    assert not Path(path).exists()


def build(nix: Nix, project: Path, file: Path, *settings: str) -> Run:
    """A build in a new target directory, by the file named; salted only where ``settings`` say so.

    As from a profile: what is on PATH, without the variables of a shell, which would tell the toolchains apart.
    """
    command = f"{UNSET}; rm -rf target; {' '.join(settings)} RUSTC_WRAPPER={file} cargo build"
    return nix.develop(project, "sh", "-c", command, env=CACHED)


def results(run: Run) -> List[str]:
    return [str(event["result"]) for event in run.ok().events]


@pytest.fixture
def careless(tmp_path: Path) -> Path:
    """The file without the look at what an executable needs."""
    tree = tmp_path / "careless"
    tree.mkdir()
    subprocess.run(
        [
            "cp",
            "-r",
            *(
                str(REPOSITORY / name)
                for name in ("build_zipapp.py", "kache.py", "kachelib", "launcher", "requirements")
            ),
            str(tree),
        ],
        check=True,
    )
    (tree / "build").mkdir()
    for name in ("venv", "wheels", "packed", "regions"):
        if (REPOSITORY / "build" / name).exists():
            (tree / "build" / name).symlink_to(REPOSITORY / "build" / name)
    link = tree / "kachelib" / "link.py"
    text = link.read_text()
    broken = text.replace("                found[each] = None\n", "                pass\n")
    assert broken != text
    link.write_text(broken)
    subprocess.run([sys.executable, str(tree / "build_zipapp.py"), "--only"], check=True, capture_output=True)
    return tree / "dist" / "kache"


def test_without_the_check_the_program_cannot_start(nix: Nix, careless: Path) -> None:
    project = nix.project()
    assert results(build(nix, project, careless)) == ["miss"]
    program = project / "target" / "debug" / "demo"
    old = interpreter(program)
    nix.bump("libc")
    nix.develop(project, "true").ok()
    collect(nix, str(Path(old).parent.parent))
    assert results(build(nix, project, careless)) == ["local_hit"]
    with pytest.raises(FileNotFoundError):
        subprocess.run([str(program)], check=True)


def test_with_it_the_program_is_rebuilt(nix: Nix) -> None:
    project = nix.project()
    file = REPOSITORY / "dist" / "kache"
    assert results(build(nix, project, file)) == ["miss"]
    program = project / "target" / "debug" / "demo"
    old = interpreter(program)
    nix.bump("libc")
    nix.develop(project, "true").ok()
    # as long as it is there, it is good
    assert results(build(nix, project, file)) == ["local_hit"]
    assert interpreter(program) == old
    assert nix.world.run([program]).ok().stdout == "it runs\n"
    collect(nix, str(Path(old).parent.parent))
    again = build(nix, project, file)
    assert results(again) == ["miss"]
    assert old in str(again.events[0]["reason"])
    assert interpreter(program) != old
    assert nix.world.run([program]).ok().stdout == "it runs\n"


def test_with_a_salt_the_new_toolchain_is_never_given_the_old_program(nix: Nix) -> None:
    project = nix.project()
    file = REPOSITORY / "dist" / "kache"
    for settings in (["KACHE_NIX_SALT=1"], ["KACHE_KEY_SALT=$(kache salt)"]):
        nix.world.run(["rm", "-rf", nix.world.cache_dir]).ok()
        assert results(build(nix, project, file, *settings)) == ["miss"]
        assert results(build(nix, project, file, *settings)) == ["local_hit"]
        old = interpreter(project / "target" / "debug" / "demo")
        nix.bump("libc")
        assert results(build(nix, project, file, *settings)) == ["miss"]
        assert interpreter(project / "target" / "debug" / "demo") != old


def test_a_warm_target_leaves_it_out_as_well(nix: Nix) -> None:
    project = nix.project()
    file = REPOSITORY / "dist" / "kache"
    warm = ["KACHE_WARM_TARGETS=1", "KACHE_TAKE_UNITS=1"]
    build(nix, project, file, *warm).ok()
    nix.develop(project, "sh", "-c", f"unset KACHE_KEY_SALT; RUSTC_WRAPPER={file} {file} save", env=CACHED).ok()
    program = project / "target" / "debug" / "demo"
    old = interpreter(program)
    assert results(build(nix, project, file, *warm))[:1] == ["warmed"]
    nix.bump("libc")
    nix.develop(project, "true").ok()
    collect(nix, str(Path(old).parent.parent))
    again = build(nix, project, file, *warm).ok()
    assert "demo" in again.built()
    assert interpreter(program) != old


def test_a_warm_target_of_another_toolchain_is_another_one_with_a_salt(nix: Nix) -> None:
    """The old one is still there, so nothing but the salt tells the two apart."""
    project = nix.project()
    file = REPOSITORY / "dist" / "kache"
    warm = ["KACHE_WARM_TARGETS=1", "KACHE_NIX_SALT=1"]
    build(nix, project, file, *warm).ok()
    salted = f"KACHE_NIX_SALT=1 RUSTC_WRAPPER={file} {file} save"
    nix.develop(project, "sh", "-c", f"{UNSET}; {salted}", env=CACHED).ok()
    assert results(build(nix, project, file, *warm))[:1] == ["warmed"]
    nix.bump("libc")
    assert results(build(nix, project, file, *warm)) == ["miss"]

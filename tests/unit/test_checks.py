"""Each check says what is wrong where something is wrong, and nothing where nothing is."""

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from kachelib import bundle, checks, config, inputs, nix
from kachelib.checks import OK, PROBLEM, WARNING, Finding, Machine
from kachelib.store import Store
from tests.stock import log, put
from tests.world import World


def machine(world: World, cwd: Optional[Path] = None, **variables: str) -> Machine:
    environ = {**world.env, **variables}
    where = str(cwd or world.root)
    return Machine(environ, f"{world.home}/.cargo/config.toml", str(world.home), config.load(environ, (where,)), where)


def program(world: World, name: str) -> str:
    path = world.root / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def statuses(findings: Any) -> List[str]:
    return [finding.status for finding in findings]


def wrapper(world: World, cwd: Optional[Path] = None, **variables: str) -> Finding:
    [found] = checks.check_wrapper(machine(world, cwd, **variables))
    return found


def test_no_wrapper_is_a_problem_with_a_way_out(world: World) -> None:
    found = wrapper(world)
    assert (found.status, "kache init" in found.hint) == (PROBLEM, True)


def test_the_environment_wins_over_the_file(world: World) -> None:
    kache = program(world, "kache")
    file = world.home / ".cargo/config.toml"
    file.write_text(f'[build]\nrustc-wrapper = "{kache}"\n')
    assert wrapper(world).status == OK
    assert wrapper(world, RUSTC_WRAPPER=kache).message == f"{kache} (RUSTC_WRAPPER)"
    assert wrapper(world, RUSTC_WRAPPER="sccache").hint == "kache doctor --fix"
    assert "is empty" in wrapper(world, CARGO_BUILD_RUSTC_WRAPPER="").message


def test_a_projects_file_wins_over_the_users(world: World) -> None:
    kache = program(world, "kache")
    (world.home / ".cargo/config.toml").write_text(f'[build]\nrustc-wrapper = "{kache}"\n')
    project = world.workspace(
        {".cargo/config.toml": f'[build]\nrustc-wrapper = "{program(world, "other")}"\n', "a/b": ""}
    )
    assert "which is not kache" in wrapper(world, project / "a").message


@pytest.mark.parametrize(("value", "said"), [("/nowhere/kache", "no program here"), ("sccache", "names sccache")])
def test_a_wrapper_that_does_not_work_is_a_problem(world: World, value: str, said: str) -> None:
    (world.home / ".cargo/config.toml").write_text(f'[build]\nrustc-wrapper = "{value}"\n')
    found = wrapper(world)
    assert found.status == PROBLEM
    assert said in found.message


def test_a_link_to_kache_under_another_name_is_kache(world: World) -> None:
    link = world.root / "bin" / "rustc-cache"
    kache = program(world, "kache")
    link.symlink_to(kache)
    assert wrapper(world, RUSTC_WRAPPER=str(link)).status == OK


def test_a_broken_cargo_file_is_a_problem_and_not_an_end(world: World) -> None:
    (world.home / ".cargo/config.toml").write_text("[build\n")
    found = list(checks.check_wrapper(machine(world)))
    assert "not TOML" in found[0].message
    assert statuses(found) == [PROBLEM, PROBLEM]


def test_a_missing_compiler_is_a_problem(world: World) -> None:
    found = list(checks.check_compiler(machine(world, PATH=str(world.root))))
    assert statuses(found) == [PROBLEM, PROBLEM]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"KACHE_DISABLED": "1"}, "switched off"),
        ({"KACHE_KEY_SALT": "e3b0c44298fc1c14"}, "hash of nothing"),
        ({"KACHE_MAX_SIZE": "lots"}, "KACHE_MAX_SIZE"),
    ],
)
def test_settings_that_defeat_the_cache_are_problems(world: World, variables: Dict[str, str], said: str) -> None:
    problems = [f for f in checks.check_configuration(machine(world, None, **variables)) if f.status == PROBLEM]
    assert len(problems) == 1
    assert said in problems[0].message


def store_findings(world: World, **variables: str) -> List[Finding]:
    return list(checks.check_store(machine(world, None, **variables)))


def test_a_good_store_is_fine_and_looking_makes_nothing(world: World) -> None:
    assert PROBLEM not in statuses(store_findings(world))
    assert not world.cache_dir.exists()


def test_a_store_that_cannot_be_written_is_a_problem(world: World) -> None:
    world.cache_dir.write_text("in the way")
    [found] = store_findings(world)
    assert (found.check, found.status) == ("store", PROBLEM)
    assert str(world.cache_dir) in found.message


def test_a_part_of_the_store_that_is_a_link_is_pointed_out(world: World) -> None:
    (world.cache_dir).mkdir()
    (world.root / "elsewhere").mkdir()
    (world.cache_dir / "store").symlink_to(world.root / "elsewhere")
    assert any("is a link" in found.message for found in store_findings(world))


@pytest.mark.parametrize(
    ("kind", "status"), [("nfs4", WARNING), ("fuse.sshfs", WARNING), ("tmpfs", WARNING), ("ext4", OK)]
)
def test_the_kind_of_file_system_is_judged(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, status: str
) -> None:
    monkeypatch.setattr(checks, "file_system", lambda path: kind)
    [found] = [f for f in store_findings(world) if f.check == "file system"]
    assert found.status == status


def space(world: World, **variables: str) -> Finding:
    [found] = [f for f in store_findings(world, **variables) if f.check == "space"]
    return found


def test_a_limit_that_the_disk_cannot_hold_is_pointed_out(world: World) -> None:
    assert "full before the store is" in space(world, KACHE_MAX_SIZE="900PiB").message
    assert space(world, KACHE_MAX_SIZE="1MiB").status == OK


def test_a_store_above_its_limit_is_pointed_out(world: World) -> None:
    put(Store(str(world.cache_dir)), "alpha", size=100_000)
    assert "kache gc" in space(world, KACHE_MAX_SIZE="10KiB").hint


def test_little_space_is_pointed_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LITTLE_SPACE", 1 << 62)
    assert space(world).status == WARNING


def test_a_clock_that_was_never_set_is_a_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert statuses(checks.check_clock(str(world.root))) == [OK]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100)
    [found] = checks.check_clock(str(world.root))
    assert "differs" in found.message
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert statuses(checks.check_clock(str(world.root))) == [PROBLEM]


def test_a_large_package_is_pointed_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project = world.workspace({"Cargo.toml": "", "data/1": "", "data/2": ""})
    assert list(checks.check_package(machine(world, project))) == []
    monkeypatch.setattr(inputs, "MOST_FILES", 2)
    assert statuses(checks.check_package(machine(world, project))) == [WARNING]
    assert list(checks.check_package(machine(world))) == []


def test_every_kache_toml_of_a_workspace_is_judged(world: World) -> None:
    project = world.workspace(
        {
            "Cargo.toml": "",
            "good/kache.toml": 'extra_inputs = ["*.sql"]\n',
            "good/1.sql": "",
            "crates/bad/kache.toml": "extra_input = []\n",
            "target/x/kache.toml": "rubbish",
        }
    )
    found = {f.status: f.message for f in checks.check_extra_inputs(machine(world, project))}
    assert set(found) == {OK, PROBLEM}
    assert "1 pattern, 1 file" in found[OK]
    assert "extra_input" in found[PROBLEM] and "crates/bad" in found[PROBLEM]
    assert list(checks.check_extra_inputs(machine(world))) == []


MOUNTS = """\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
23 22 0:21 / /proc rw shared:2 - proc proc rw
30 22 0:30 / /home rw master:1 - xfs /dev/sdb1 rw
31 30 0:31 / /home/me/my\\040files rw - nfs4 server:/x rw
32 22 0:32 / /home rw - btrfs /dev/sdc1 rw
rubbish
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/proc/1", "proc"),
        ("/homework", "ext4"),
        ("/home/me/my files/a", "nfs4"),
        ("/home/you", "btrfs"),
    ],
)
def test_the_file_system_is_that_of_the_innermost_and_last_mount(path: str, kind: str) -> None:
    assert checks._type_from_mountinfo(path, MOUNTS) == kind


def test_the_file_system_of_a_mac_is_read_from_mount() -> None:
    said = "/dev/disk3s1 on / (apfs, sealed, local)\n//me@nas/x on /Volumes/my nas (smbfs, nodev, nosuid)\n"
    assert checks._type_from_mount("/Volumes/my nas/cache", said) == "smbfs"
    assert checks._type_from_mount("/Users/me", said) == "apfs"


def test_the_file_system_of_this_machine_is_known(world: World) -> None:
    assert checks.file_system(str(world.root)) != ""


def interpreter(world: World, **variables: str) -> List[Finding]:
    environ = {name: value for name, value in world.env.items() if name != checks.PYTHON_VARIABLE}
    base = machine(world)
    return list(checks.check_interpreter(base._replace(environ={**environ, **variables})))


def test_a_python_that_is_a_script_is_pointed_out_until_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = {"start": "precompiled", "native modules": "/x"}
    monkeypatch.setattr(bundle, "describe", lambda: about)
    shims = Path(program(world, "python3")).parent
    found = interpreter(world, PATH=str(shims))
    assert "40 ms" in found[-1].message
    note = Path(bundle.remembered_python_file(world.env))
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(sys.executable + "\n")
    assert statuses(interpreter(world, PATH=str(shims))) == [OK]
    note.write_text("/gone/python3\n")
    assert "is gone" in interpreter(world, PATH=str(shims))[-1].message
    assert statuses(interpreter(world, PATH=str(shims), **{checks.PYTHON_VARIABLE: sys.executable})) == [OK]


def test_outside_the_file_no_launcher_is_judged(world: World) -> None:
    shims = Path(program(world, "python3")).parent
    assert statuses(interpreter(world, PATH=str(shims) + os.pathsep)) == [OK]


def test_leftovers_of_sccache_are_warnings(world: World) -> None:
    (world.home / ".bashrc").write_text("export RUSTC_WRAPPER=sccache\n")
    [found] = checks.check_sccache(machine(world))
    assert (found.status, found.hint) == (WARNING, "kache doctor --fix")


def test_what_the_default_costs_is_said_with_ones_own_numbers(world: World) -> None:
    (finding,) = checks.check_executables(machine(world))
    assert finding.status == OK
    assert "not cached" in finding.message
    log(world.cache_dir, *[{"result": "passthrough", "reason": "executable"}] * 3)
    (finding,) = checks.check_executables(machine(world))
    assert "3 times in what is logged" in finding.message
    (finding,) = checks.check_executables(machine(world, KACHE_CACHE_EXECUTABLES="1"))
    assert finding.message == "cached"


@pytest.fixture
def nix_shell(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with a rustc in it, which is on PATH; its salt."""
    monkeypatch.setattr(nix, "STORE", str(world.root / "store"))
    place = world.root / "store" / "abc-rust" / "bin"
    place.mkdir(parents=True)
    (place / "rustc").write_text("#!/bin/sh\n")
    (place / "rustc").chmod(0o755)
    world.env["PATH"] = f"{place}:/usr/bin"
    return nix.resolve(world.env, str(world.root)).salt()


@pytest.mark.parametrize(
    ("variables", "status", "said"),
    [
        ({}, WARNING, "no key salt is set"),
        ({"KACHE_KEY_SALT": "nixr1-" + "0" * 32}, WARNING, "but this environment gives nixr1-"),
        ({"KACHE_KEY_SALT": "{salt}"}, OK, "this toolchain's"),
        ({"KACHE_KEY_SALT": "2024-01"}, OK, "a key salt is set"),
        ({"KACHE_KEY_SALT": "nixe1-" + "0" * 32}, OK, "not compared: this shell does not say"),
        ({"KACHE_KEY_SALT": "nixe1-" + "0" * 32, "KACHE_KEY_SALT_OF": "{store}"}, WARNING, "names what gives nixe1-"),
        ({"KACHE_KEY_SALT": "{of_store}", "KACHE_KEY_SALT_OF": "{store}"}, OK, "this toolchain's"),
        ({"KACHE_KEY_SALT": "{of_other}", "KACHE_KEY_SALT_OF": "/nix/other"}, WARNING, "rustc is {store}, of which"),
        ({"KACHE_NIX_SALT": "1"}, OK, "folded in by cache.nix_salt"),
    ],
)
def test_the_salt_of_a_nix_toolchain(
    world: World, nix_shell: str, variables: Dict[str, str], status: str, said: str
) -> None:
    store = f"{world.root}/store/abc-rust"
    known = {"salt": nix_shell, "store": store, "of_store": flakes_salt(store), "of_other": flakes_salt("/nix/other")}
    world.env.update((name, value.format(**known)) for name, value in variables.items())
    [found] = checks.check_salt(machine(world))
    assert (found.status, said.format(**known) in found.message) == (status, True), found


def flakes_salt(*paths: str) -> str:
    """As nix/lib.nix makes it; tests/nix compares that with what Nix says."""
    return "nixe1-" + hashlib.sha256("\n".join(paths).encode()).hexdigest()[:32]


def test_outside_of_nix_only_a_salt_of_a_shell_is_worth_a_word(world: World) -> None:
    assert list(checks.check_salt(machine(world, PATH="/usr/bin"))) == []
    assert list(checks.check_salt(machine(world, PATH="/usr/bin", KACHE_KEY_SALT="2024-01"))) == []
    [found] = checks.check_salt(machine(world, PATH="/usr/bin", KACHE_KEY_SALT="nixr1-" + "0" * 32))
    assert found.status == WARNING
    assert "no tool here is from the Nix store" in found.message

"""nix: what an environment resolves to: a value that is the same in every checkout and moves with the toolchain."""

import os
from pathlib import Path
from typing import Dict, List

import pytest

from kachelib import nix

HASHES = "abcdfghijklmnpqrsvwxyz0123456789"


class Shell:
    """A directory that plays the Nix store, and the environment of a development shell over it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / "store"
        self.checkout = root / "checkout"
        self.checkout.mkdir()
        self.env: Dict[str, str] = {"PATH": "", "HOME": str(root / "home")}

    def package(self, name: str, *programs: str, turn: int = 0) -> Path:
        """A store path with programs in it; another ``turn`` gives another hash."""
        place = self.store / f"{HASHES[turn:] + HASHES[:turn]}-{name}"
        (place / "bin").mkdir(parents=True)
        for program in programs:
            (place / "bin" / program).write_text("#!/bin/sh\n")
            (place / "bin" / program).chmod(0o755)
        return place

    def add(self, *places: Path) -> None:
        self.env["PATH"] = ":".join([*(str(place / "bin") for place in places), self.env["PATH"]]).strip(":")

    def salt(self) -> str:
        return nix.resolve(self.env, str(self.checkout)).salt()

    def stores(self, name: str) -> List[str]:
        found = nix.resolve(self.env, str(self.checkout))
        return [Path(path).name for tool in found.tools if tool.name == name for path in tool.stores]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    made = Shell(tmp_path)
    monkeypatch.setattr(nix, "STORE", str(made.store))
    made.add(
        made.package("rust", "rustc", "cargo"), made.package("gcc-wrapper", "cc", "c++"), made.package("binutils", "ld")
    )
    return made


def test_its_form(shell: Shell) -> None:
    salt = shell.salt()
    assert salt.startswith("nixr1-")
    assert len(salt) == len("nixr1-") + 32
    assert int(salt[6:], 16) >= 0


def test_it_is_empty_where_no_tool_comes_from_the_store(shell: Shell) -> None:
    shell.env = {"PATH": "/usr/bin:/bin", "NIX_LDFLAGS": "-L/nix/store/x"}
    assert shell.salt() == ""
    assert nix.resolve({}, str(shell.checkout)).salt() == ""


@pytest.mark.parametrize(
    ("package", "programs"), [("rust", ["rustc", "cargo"]), ("gcc-wrapper", ["cc"]), ("mold", ["mold"])]
)
def test_another_store_path_of_a_tool_moves_it(shell: Shell, package: str, programs: List[str]) -> None:
    before = shell.salt()
    shell.add(shell.package(package, *programs, turn=1))
    assert shell.salt() != before


def test_another_program_in_the_shell_does_not_move_it(shell: Shell) -> None:
    before = shell.salt()
    shell.add(shell.package("shellcheck", "shellcheck"), shell.package("kache", "kache"))
    assert shell.salt() == before


def test_every_store_path_on_the_way_counts(shell: Shell) -> None:
    real = shell.package("rustc-unwrapped", "rustc")
    for turn in (0, 1):
        aggregate = shell.package("aggregate", turn=turn)
        (aggregate / "bin" / "rustc").symlink_to(real / "bin" / "rustc")
        shell.add(aggregate)
        assert shell.stores("rustc") == [aggregate.name, real.name]
    salts = []
    for path in shell.env["PATH"].split(":")[:2]:
        shell.env["PATH"] = ":".join([path, shell.env["PATH"]])
        salts.append(shell.salt())
    assert salts[0] != salts[1]


def test_links_outside_the_store_lead_into_it(shell: Shell) -> None:
    real = shell.package("gcc-13", "cc")
    profile = shell.root / "profile"
    profile.symlink_to(shell.root / "generation-7")
    (shell.root / "generation-7").symlink_to(real)
    shell.env["PATH"] = f"{profile}/bin:" + shell.env["PATH"]
    assert shell.stores("cc") == [real.name]


def test_a_link_may_be_relative_and_climb(shell: Shell) -> None:
    real = shell.package("clang", "clang")
    other = shell.package("clang-wrapper")
    (other / "bin" / "cc").symlink_to(f"../../{real.name}/bin/./clang")
    shell.add(other)
    assert shell.stores("cc") == [other.name, real.name]


def test_links_in_a_circle_end(shell: Shell) -> None:
    loop = shell.root / "loop"
    loop.symlink_to(loop)
    assert nix.store_paths(str(loop / "bin"))[0] == []


def test_kache_itself_is_passed_over(shell: Shell) -> None:
    before = shell.salt()
    for turn in (1, 2):
        place = shell.package("kache", "kache", turn=turn)
        (place / "bin" / "cc").symlink_to("kache")
        shell.add(place)
        shell.env["CC"] = "kache cc"
        shell.env["RUSTC_WRAPPER"] = str(place / "bin" / "kache")
        assert shell.salt() == before


@pytest.mark.parametrize(
    "name", ["CC", "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "config"]
)
def test_the_configured_linker_counts(shell: Shell, name: str) -> None:
    salts = set()
    for turn in range(3):
        linker = shell.package("cross", "cross-ld", turn=turn) / "bin" / "cross-ld"
        if name == "config":
            config = shell.checkout / ".cargo" / "config.toml"
            config.parent.mkdir(exist_ok=True)
            config.write_text(f'[target.x]\n  linker   =  "{linker}" # of the board\n')
        else:
            text = {"RUSTFLAGS": f"-Clinker={linker} -g", "CARGO_ENCODED_RUSTFLAGS": f"-C\x1flinker={linker}\x1f-g"}
            shell.env[name] = text.get(name, str(linker))
        salts.add(shell.salt())
        assert shell.stores(str(linker)) == [linker.parent.parent.name]
    assert len(salts) == 3


def test_a_linker_in_a_comment_does_not(shell: Shell) -> None:
    before = shell.salt()
    (shell.checkout / ".cargo").mkdir()
    linker = shell.package("cross", "cross-ld") / "bin" / "cross-ld"
    (shell.checkout / ".cargo" / "config.toml").write_text(f'# linker = "{linker}"\n')
    assert shell.salt() == before


def test_it_is_the_same_in_another_checkout_and_on_the_next_entry(shell: Shell) -> None:
    store = shell.store
    salts = set()
    for place in ("checkout", "worktrees/second"):
        checkout = shell.root / place
        checkout.mkdir(parents=True, exist_ok=True)
        shell.checkout = checkout
        shell.env.update(
            out=f"{checkout}/outputs/out",
            outputs="out",
            NIX_BUILD_TOP=f"/tmp/nix-shell.{len(place)}",
            TMPDIR=f"/tmp/nix-shell.{len(place)}",
            NIX_BUILD_CORES=str(len(place)),
            NIX_LDFLAGS=f"-rpath {checkout}/outputs/out/lib  -L{store}/x-zlib/lib -L{checkout}/native",
            NIX_CFLAGS_COMPILE=f" -frandom-seed={len(place)} -isystem {store}/x-zlib/include",
        )
        salts.add(shell.salt())
    assert len(salts) == 1


def test_the_name_of_an_old_nix_shell_is_not_in_it(shell: Shell) -> None:
    salts = set()
    for digit in "01":
        out = f"{shell.store}/{digit * 32}-shell"
        shell.env.update(
            out=out, NIX_LDFLAGS=f"-rpath {out}/lib64 -rpath {out}/lib", NIX_CFLAGS_COMPILE="-frandom-seed=" + digit
        )
        salts.add(shell.salt())
    assert len(salts) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NIX_LDFLAGS", "-L{store}/a-zlib/lib"),
        ("NIX_LDFLAGS_FOR_BUILD", "-rpath {store}/a-zlib/lib"),
        ("NIX_CFLAGS_COMPILE_x86_64_unknown_linux_gnu", "-O1"),
        ("NIX_CFLAGS_LINK", "-static-libgcc"),
        ("NIX_HARDENING_ENABLE", "fortify"),
        ("NIX_CC", "{store}/a-gcc-wrapper"),
        ("NIX_BINTOOLS_FOR_TARGET", "{store}/a-binutils"),
        ("NIX_DONT_SET_RPATH", "1"),
    ],
)
def test_what_the_wrappers_read_moves_it(shell: Shell, name: str, value: str) -> None:
    before = shell.salt()
    shell.env[name] = value.format(store=shell.store)
    after = shell.salt()
    assert after != before
    shell.env[name] = shell.env[name].replace("a", "b", 1) + "x"
    assert shell.salt() not in (before, after)


def test_a_search_path_for_what_is_installed_stays_for_the_linker_where_it_is_there(shell: Shell) -> None:
    lib = shell.checkout / "outputs" / "out" / "lib"
    shell.env.update(out=str(lib.parent), NIX_LDFLAGS=f"-rpath {lib} -L/x")
    assert nix.linker_changes(shell.env) == [("NIX_LDFLAGS", "-L/x")]
    assert nix.wrapper_variables(shell.env) == [("NIX_LDFLAGS", "-L/x")]
    lib.mkdir(parents=True)
    assert nix.linker_changes(shell.env) == []
    assert nix.wrapper_variables(shell.env) == [("NIX_LDFLAGS", f"-rpath {lib} -L/x")]


def test_an_environment_without_nix_changes_nothing(shell: Shell) -> None:
    assert nix.linker_changes({"PATH": "/bin", "LDFLAGS": "-rpath /x"}) == []
    assert nix.wrapper_variables({"PATH": "/bin", "NIX_PATH": "x", "NIX_BUILD_TOP": "/tmp"}) == []


def test_the_hash_of_nothing() -> None:
    assert nix.is_hash_of_nothing("e3b0c44298fc1c14")
    assert nix.is_hash_of_nothing(nix.HASH_OF_NOTHING)
    assert not nix.is_hash_of_nothing("")
    assert not nix.is_hash_of_nothing("e3b0c44298fc1c15")


def test_a_path_that_is_no_text_and_a_relative_one_on_path(shell: Shell) -> None:
    shell.env["PATH"] = ":relative:" + os.fsdecode(b"/\xff\xfe") + ":" + shell.env["PATH"]
    assert shell.salt().startswith("nixr1-")

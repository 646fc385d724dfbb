"""What a hit leaves behind: files that Cargo finds Fresh, that belong to their place, and diagnostics as they were."""

import json
import os
import random
import shutil
import stat
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import pytest

from tests.e2e.family import FAMILY, MEMBER, PRINTS
from tests.e2e.rustc import OUT, Rustc, contents, hit, results
from tests.world import Cargo, Kache, Run

LIB = {"src/lib.rs": "pub fn one() -> u32 { 1 }\n"}
STEM = "a-0123456789abcdef"
EPOCH = 1577836800
MODES = (["check"], ["build"], ["test", "--no-run"], ["clippy"])
EXECUTABLES = {"KACHE_CACHE_EXECUTABLES": "1"}


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships."""
    return kache_file


def blobs(kache: Kache) -> List[Path]:
    return sorted((kache.world.cache_dir / "store").glob("*/*"))


# Cargo's freshness


@pytest.mark.parametrize("executables", ["1", "0"])
def test_two_worktrees_on_one_store_stay_fresh_in_turn(
    cargo: Cargo, workspace: Callable[..., Path], executables: str
) -> None:
    """After each was built once, no command in either has anything to do, whatever the other did in between."""
    env = {"KACHE_CACHE_EXECUTABLES": executables}
    trees = [workspace(FAMILY, name=name) for name in ("first/ws", "second/deeper/ws")]
    for tree in trees:
        for mode in MODES:
            cargo(*mode, cwd=tree, env=env).ok()
    for _ in range(2):
        for tree in trees:
            for mode in MODES:
                run = cargo(*mode, "-v", cwd=tree, env=env).ok()
                assert run.built() == set(), f"{mode} in {tree}: {run.stderr}"
                assert run.events == []
    (trees[0] / "low/src/lib.rs").write_text("pub fn say() -> u8 { 1 }\npub fn setting() -> u8 { 2 }\n")
    assert "low" in cargo("build", "-v", cwd=trees[0], env=env).ok().built()
    for mode in MODES:
        assert cargo(*mode, "-v", cwd=trees[1], env=env).ok().built() == set()
    assert cargo("build", "-v", cwd=trees[0], env=env).ok().built() == set()
    assert cargo.world.run([trees[1] / "target/debug/app"]).ok().stdout == PRINTS


def test_a_touched_source_is_a_hit_that_cargo_is_content_with(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """The restored outputs are newer than what made Cargo call, or each build would repeat the hit."""
    ws = workspace(FAMILY)
    cargo("build", cwd=ws, env=EXECUTABLES).ok()
    for name in ("low/src/lib.rs", "mac/src/lib.rs", "gen/number"):
        time.sleep(0.02)
        os.utime(ws / name)
        run = cargo("build", cwd=ws, env=EXECUTABLES).ok()
        assert results(run) == ["local_hit"]
        assert cargo("build", "-v", cwd=ws, env=EXECUTABLES).ok().built() == set()


def test_restored_files_are_as_old_as_the_file_system_says(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Stamped by its clock, which is never ahead of itself, and not by Python's."""
    ws = workspace(LIB)
    rustc(ws, "a").ok()
    shutil.rmtree(ws / "target")
    (ws / "before").touch()
    assert hit(rustc(ws, "a"))
    (ws / "after").touch()
    newest = max(path.stat().st_mtime_ns for path in (ws / OUT).iterdir())
    assert (ws / "before").stat().st_mtime_ns <= newest <= (ws / "after").stat().st_mtime_ns


# files


def test_the_rlib_is_shared_and_its_inode_left_alone(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Everything else has an inode of its own. (Where the file system has reflinks, all have.)"""
    trees = [workspace(LIB, name=name) for name in ("one/ws", "two/ws", "three/ws")]
    for tree in trees:
        rustc(tree, "a").ok()
        if tree != trees[0]:
            os.utime(tree / OUT / f"lib{STEM}.rmeta")
    rlibs = [(tree / OUT / f"lib{STEM}.rlib").stat() for tree in trees]
    store = {path.stat().st_ino: path.stat() for path in blobs(rustc.kache)}
    if os.stat(rustc.world.cache_dir).st_dev == os.stat(trees[1]).st_dev and rlibs[1].st_nlink > 1:
        assert rlibs[1].st_ino == rlibs[2].st_ino
        assert rlibs[1].st_ino in store
        assert rlibs[1].st_mtime == EPOCH
    for tree in trees:
        for name in (f"lib{STEM}.rmeta", f"{STEM}.d"):
            assert (tree / OUT / name).stat().st_nlink == 1
            assert (tree / OUT / name).stat().st_mtime > EPOCH
    assert {found.st_mtime for found in store.values()} == {EPOCH}
    assert all(found.st_mode & 0o222 == 0 for found in store.values())


def test_a_unit_with_nothing_but_an_rlib_gets_one_of_its_own(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Cargo looks at the newest output, and that must be a new one."""
    ws = workspace(LIB)
    rustc(ws, "a", emit="dep-info,link").ok()
    shutil.rmtree(ws / "target")
    before = time.time() - 1
    assert hit(rustc(ws, "a", emit="dep-info,link"))
    found = (ws / OUT / f"lib{STEM}.rlib").stat()
    assert found.st_nlink == 1
    assert found.st_mtime > before
    assert {path.stat().st_mtime for path in blobs(rustc.kache)} == {EPOCH}


@pytest.mark.parametrize("kind", ["lib", "rlib", "dylib", "cdylib", "staticlib", "proc-macro", "bin"])
def test_modes_are_what_the_compiler_would_give(rustc: Rustc, workspace: Callable[..., Path], kind: str) -> None:
    ws = workspace({"src/lib.rs": "fn main() {}\n"})

    def modes(out: str) -> Dict[str, int]:
        return {path.name: stat.S_IMODE(path.stat().st_mode) & 0o111 for path in (ws / out).iterdir()}

    rustc(ws, "a", kind=kind, out="bare", wrapper=False).ok()
    for out in ("one", "two"):
        rustc(ws, "a", kind=kind, out=out).ok()
        assert modes(out) == modes("bare")
    if kind == "bin":
        rustc.world.run([ws / "two" / STEM]).ok()


def test_executables_and_empty_files_come_back_runnable(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Programs, build scripts, macros, tests with and without harness, examples; check's empty .rmeta of programs."""
    ws = workspace(FAMILY)

    def all_of_it() -> List[Run]:
        shutil.rmtree(ws / "target", ignore_errors=True)
        return [
            cargo("check", "--all-targets", cwd=ws, env=EXECUTABLES).ok(),
            cargo("test", "--all-targets", cwd=ws, env=EXECUTABLES).ok(),
            cargo("build", "--examples", cwd=ws, env=EXECUTABLES).ok(),
        ]

    all_of_it()
    for run in all_of_it():
        assert results(run) == ["local_hit"]
    assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == PRINTS
    assert cargo.world.run([ws / "target/debug/examples/show"]).ok().stdout == "quiet"


# dep-info


def test_dep_info_is_the_compilers_own_for_this_place(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Byte for byte, with names that a Makefile escapes, variables, and a place below a blank."""
    files = {
        "src/lib.rs": 'mod x; pub const T: &str = include_str!("a b#c$.txt");\n'
        'pub const E: Option<&str> = option_env!("THE_VALUE");\n'
        'pub const U: Option<&str> = option_env!("NO_VALUE");\n'
        'include!(concat!(env!("OUT_DIR"), "/gen.rs"));\n',
        "src/x.rs": "",
        "src/a b#c$.txt": "text\n",
        "target/debug/build/a-1/out/gen.rs": "",
    }
    for place in ("a/ws", "another/with blank/ws"):
        ws = workspace(files, name=place)
        env = {"OUT_DIR": f"{ws}/target/debug/build/a-1/out", "THE_VALUE": "a\\b\nc"}
        for out in (OUT, "target/other/deps"):
            found = []
            for wrapper in (True, False):
                run = rustc(ws, "a", out=out, env=env, wrapper=wrapper).ok()
                found.append((ws / out / f"{STEM}.d").read_bytes())
                shutil.rmtree(ws / out)
            assert found[0] == found[1]
    assert rustc.kache.events()[-1]["result"] == "local_hit"
    assert run.returncode == 0


@pytest.mark.parametrize("name", ["low/src/lib.rs", "low/text.txt", "app/src/part.rs", "gen/number", "mac/src/lib.rs"])
def test_an_edit_in_a_restored_worktree_is_noticed(cargo: Cargo, workspace: Callable[..., Path], name: str) -> None:
    """Cargo watches this place's files, not those of the place where the unit was compiled."""
    first, second = (workspace(FAMILY, name=place) for place in ("a/ws", "another/ws"))
    cargo("build", cwd=first, env=EXECUTABLES).ok()
    assert results(cargo("build", cwd=second, env=EXECUTABLES).ok()) == ["local_hit"]
    edits = {
        "low/src/lib.rs": ("to_string()", 'to_string() + "!"', "quiet! 7 None a=a\n"),
        "low/text.txt": ("quiet", "still", "still 7 None a=a\n"),
        "app/src/part.rs": ("mac::list!", '"part"; mac::list!', PRINTS),
        "gen/number": ("7", "8", "quiet 8 None a=a\n"),
        "mac/src/lib.rs": ('join(",")', 'join(",") + "."', "quiet 7 None a=a.\n"),
    }
    old, new, expected = edits[name]
    shutil.rmtree(first)
    (second / name).write_text((second / name).read_text().replace(old, new))
    run = cargo("build", "-v", cwd=second, env=EXECUTABLES).ok()
    assert name.partition("/")[0] in run.built()
    assert cargo.world.run([second / "target/debug/app"]).ok().stdout == expected


def test_a_file_that_dep_info_would_name_in_vain_makes_a_miss(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/lib.rs": "mod x;\n", "src/x.rs": "", "src/x/keep": ""})
    rustc(ws, "a").ok()
    (ws / "src/x.rs").unlink()
    assert rustc(ws, "a").returncode != 0
    (ws / "src/x/mod.rs").write_text("")
    run = rustc(ws, "a")
    assert not hit(run)
    assert "src/x/mod.rs" in (ws / OUT / f"{STEM}.d").read_text()


# diagnostics

WARNING = "pub fn one() -> u32 { let unused = 1; 1 }\n"


def test_diagnostics_are_replayed_for_this_place(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """Notifications name the current directory, and a path in a message is this place's: as the compiler writes it."""
    for place in ("a/ws", "another/deeper/ws", "a/ws"):
        ws = workspace({"src/lib.rs": WARNING}, name=place)
        source = str(ws / "src/lib.rs")
        for out in (OUT, "target/other/deps"):
            shutil.rmtree(ws / out, ignore_errors=True)
            bare = rustc(ws, "a", source=source, out=out, wrapper=False)
            shutil.rmtree(ws / out)
            for _ in range(2):
                ours = rustc(ws, "a", source=source, out=out)
                assert (ours.stdout, ours.stderr) == (bare.stdout, bare.stderr)
    assert "unused" in bare.stderr
    assert f'"artifact":"{ws}/target/other/deps/lib{STEM}.rlib"' in bare.stderr
    assert rustc.kache.events()[-1]["result"] == "local_hit"


def test_a_path_that_the_source_spells_out_is_not_taken_for_this_place(
    rustc: Rustc, workspace: Callable[..., Path]
) -> None:
    """The warning quotes the source line, which names the first checkout, or what kache has paths remapped to."""
    first = str(rustc.world.root / "a/ws")
    quoted = f"{first}/src/lib.rs {first}/{OUT} /proc/self/cwd/x /kache/home/x /kache/target/debug/x <out-dir>/x"
    files = {"src/lib.rs": f'pub fn one() {{ let unused = "{quoted} <workspace>/x"; }}\n'}
    for place in ("a/ws", "another/ws"):
        ws = workspace(files, name=place)
        bare = rustc(ws, "a", out="bare", wrapper=False)
        for _ in range(2):
            ours = rustc(ws, "a")
            assert ours.stderr == bare.stderr.replace(f'"artifact":"{ws}/bare', f'"artifact":"{ws}/{OUT}')


@pytest.mark.parametrize("command", ["check", "clippy", "build"])
def test_warnings_come_with_every_restore_and_every_fresh_build(
    cargo: Cargo, workspace: Callable[..., Path], command: str
) -> None:
    """Cargo keeps what the wrapper said and says it again: nothing but the compiler's own words, and always those."""
    files = {
        "Cargo.toml": MEMBER.format("app"),
        "src/lib.rs": "pub fn one() -> u32 { let unused = 1; return 1; }\n",
    }
    said: List[str] = []
    for place in ("a/ws", "another/ws"):
        ws = workspace(files, name=place)
        for turn in range(3):
            if turn == 1:
                shutil.rmtree(ws / "target")
            found = cargo(command, "--message-format=json", cwd=ws).ok()
            messages = [json.loads(line) for line in found.stdout.splitlines()]
            told = [message["message"]["rendered"] for message in messages if message["reason"] == "compiler-message"]
            assert len([text for text in told if "unused variable" in text]) == 1
            assert bool([text for text in told if "needless_return" in text]) == (command == "clippy")
            said.append("".join(told))
    assert len(set(said)) == 1


@pytest.mark.parametrize("state", ["miss", "hit", "passthrough", "failing", "broken config", "broken store"])
def test_the_wrappers_own_standard_error_is_the_compilers(
    rustc: Rustc, workspace: Callable[..., Path], state: str
) -> None:
    """Cargo would keep and repeat every other word. What kache has to say goes to its parent's, if anywhere."""
    ws = workspace({"src/lib.rs": WARNING})
    env: Dict[str, Optional[str]] = {"KACHE_LOG": "trace", "KACHE_LOG_FILE": "trace", "KACHE_PROGRESS": "always"}
    more: Sequence[str] = ["-Dwarnings"] if state == "failing" else []
    if state == "hit":
        rustc(ws, "a", env=env).ok()
    if state == "passthrough":
        env["KACHE_DISABLED"] = "1"
    if state == "broken config":
        (ws / ".kache.toml").write_text("[cache\nno = toml\n")
    if state == "broken store":
        (ws / "no-directory").write_text("")
        env["KACHE_CACHE_DIR"] = str(ws / "no-directory")
    bare = rustc(ws, "a", *more, out="bare", wrapper=False)
    line = ["sh", "-c", 'own=$1; shift; "$@" 2>"$own"', "sh", str(ws.parent / "own"), str(rustc.kache.path), "rustc"]
    line += [str(word) for word in bare.args[1:]]
    line = [word.replace(f"{ws}/bare", f"{ws}/{OUT}") for word in line]
    (ws / OUT).mkdir(parents=True, exist_ok=True)
    run = rustc.world.run(line, cwd=ws, env={**rustc.environment(ws, "a"), **env})
    assert run.returncode == bare.returncode
    own = (ws.parent / "own").read_text()
    assert own == bare.stderr.replace(f'"artifact":"{ws}/bare', f'"artifact":"{ws}/{OUT}')


# what must be there


def test_a_program_whose_interpreter_is_gone_is_compiled(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """On Nix, garbage collection takes the interpreter while the cache keeps the program."""
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    interpreter = rustc.world.root / "ld.so"
    interpreter.symlink_to("/lib64/ld-linux-x86-64.so.2")
    words = [f"-Clink-arg=-Wl,--dynamic-linker={interpreter}"]

    def compiled() -> bool:
        return hit(rustc(ws, "app", *words, source="src/main.rs", kind="bin", emit="dep-info,link"))

    assert not compiled()
    rustc.world.run([ws / OUT / "app-0123456789abcdef"]).ok()
    assert compiled()
    interpreter.unlink()
    assert not compiled()
    interpreter.symlink_to("/lib64/ld-linux-x86-64.so.2")
    assert compiled()


def test_a_program_whose_nix_libraries_are_gone_is_compiled(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    for words, expected in (
        (["-Clink-arg=-Wl,-rpath,/nix/store/00000000000000000000000000000000-gone/lib"], False),
        (["-Clink-arg=-Wl,-rpath,/usr/lib:/nix/store/00000000000000000000000000000000-gone/lib"], False),
        (["-Clink-arg=-Wl,-rpath,/usr/lib/no/such"], True),
    ):
        for state in (False, expected):
            run = rustc(ws, "app", *words, source="src/main.rs", kind="bin", emit="dep-info,link")
            assert hit(run) is state


def test_whatever_blobs_are_gone_the_build_passes_and_is_right(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Evicted at random, or cut short."""
    ws = workspace(FAMILY)
    chance = random.Random(20200101)
    cargo("build", cwd=ws, env=EXECUTABLES).ok()
    for share in (0.1, 0.5, 1.0):
        for path in blobs(cargo.kache):
            if chance.random() < share:
                path.unlink()
            elif chance.random() < share / 2:
                path.chmod(0o644)
                path.write_bytes(path.read_bytes()[:-1])
        shutil.rmtree(ws / "target")
        run = cargo("build", cwd=ws, env=EXECUTABLES).ok()
        assert "warning" not in run.stderr
        assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == PRINTS
        shutil.rmtree(ws / "target")
        assert results(cargo("build", cwd=ws, env=EXECUTABLES).ok()) == ["local_hit"]
        assert contents(ws / "target/debug/deps")

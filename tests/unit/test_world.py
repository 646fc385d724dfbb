"""The sealed world of the tests: what it keeps out, and what it can tell of a run."""

import os
from pathlib import Path

from tests.world import Poison, Run, World, is_compile, programs_started

CRATE = {
    "Cargo.toml": """
        [package]
        name = "leaf"
        version = "0.1.0"
        edition = "2021"
        """,
    "src/lib.rs": "pub fn one() -> u32 { 1 }\n",
}


def test_nothing_of_the_caller_gets_in(world: World) -> None:
    ours = {"KACHE_CACHE_DIR", "KACHE_PYTHON", "KACHE_TAKE_UNITS", "KACHE_WARM_TARGETS"}
    assert {name for name in os.environ if name.startswith("KACHE_")} == ours
    for name in ("HOME", "CARGO_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR", "KACHE_CACHE_DIR"):
        assert Path(os.environ[name]).is_relative_to(world.root)
    assert Path.cwd() == world.root
    assert dict(os.environ).keys() - {"PYTEST_CURRENT_TEST"} == world.env.keys() - {"PYTEST_CURRENT_TEST"}


def test_strace_log_gives_argv_of_what_was_started() -> None:
    log = "\n".join(
        [
            r'10 execve("/usr/bin/cargo", ["cargo", "build, \"x\"", "\303\244\n"], 0x7ffd /* 12 vars */) = 0',
            '11 execve("/no/rustc", ["rustc"], 0x7ffd /* 12 vars */) = -1 ENOENT (No such file or directory)',
            '12 execve("/bin/rustc", ["rustc", "a.rs"], 0x7ffd /* 12 vars */ <unfinished ...>',
            '13 execve("/bin/cc", ["cc"], 0x7ffd /* 12 vars */) = 0',
            "12 <... execve resumed>) = 0",
            "12 +++ exited with 0 +++",
        ]
    )
    assert programs_started(log) == [["cargo", 'build, "x"', "ä\n"], ["cc"], ["rustc", "a.rs"]]


def test_probes_are_no_compiles() -> None:
    assert is_compile(["/toolchain/bin/rustc", "--crate-name", "leaf", "src/lib.rs"])
    assert is_compile(["clippy-driver", "rustc", "--crate-name", "leaf"])
    assert not is_compile(["rustc", "-vV"])
    assert not is_compile(["rustc", "-", "--crate-name", "___", "--print=file-names"])
    assert not is_compile(["cargo", "build"])


def test_cargo_output_tells_fresh_from_built() -> None:
    text = (
        "   Compiling a v0.1.0 (/x)\n       Dirty b v0.1.0 (/x): stale\n    Checking c v1.0.0\n       Fresh d v1.0.0\n"
    )
    run = Run([], 0, "", text)
    assert run.built() == {"a", "b", "c"}
    assert run.fresh() == {"d"}


def test_poisoned_compiler_fails_compiles_and_only_those(world: World, poison_compiler: Poison) -> None:
    package = world.workspace(CRATE)
    world.run(["cargo", "build"], cwd=package).ok()
    compiler = poison_compiler.toolchain / "bin" / "rustc"
    before = compiler.stat()
    poison_compiler.poison()
    after = compiler.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)

    assert world.run(["cargo", "build", "-v"], cwd=package).ok().fresh() == {"leaf"}
    assert poison_compiler.calls() == []
    (package / "src/lib.rs").write_text("pub fn two() -> u32 { 2 }\n")
    assert world.run(["cargo", "build"], cwd=package).returncode != 0
    assert len(poison_compiler.calls()) == 1

    poison_compiler.cure()
    world.run(["cargo", "build"], cwd=package).ok()
    assert len(poison_compiler.calls()) == 1

"""What Cargo asks about a target: always rustc's own answer, and from a memo where rustc itself need not be started."""

import os
import random
import shlex
import shutil
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence

import pytest

from kachelib.target_probe import reads_nothing
from tests.e2e.rustc import Words, script
from tests.world import Cargo, Kache, Run, World

KINDS = ("bin", "rlib", "dylib", "cdylib", "staticlib", "proc-macro")
QUESTION = [
    *("-", "--crate-name", "___", "--print=file-names"),
    *(word for kind in KINDS for word in ("--crate-type", kind)),
    *("--print=sysroot", "--print=split-debuginfo", "--print=crate-name", "--print=cfg", "-Wwarnings"),
]
# each moves the answer, or says that there is none
FLAGS = (
    ["-Ctarget-feature=+avx2"],
    ["-C", "target-cpu=native"],
    ["-Ctarget-cpu=x86-64-v3"],
    ["--cfg", 'colour="red"'],
    ["-Cpanic=abort"],
    ["-Cdebug-assertions=off"],
    ["--target", "aarch64-unknown-none"],
    ["--target=wasm32-unknown-unknown"],
    ["--target", "no-such-target"],
    ["--edition=2021"],
    ["-Zunstable-options"],
    ["--no-such-flag"],
    ["--print=cfg=answer"],
    ["-Clinker=/usr/bin/cc"],
    ["--target", "own.json"],
    ["-Cincremental=kept"],
)
VARIABLES: Sequence[Mapping[str, str]] = (
    {},
    {"RUSTC_BOOTSTRAP": "1"},
    {"RUSTC_BOOTSTRAP": "-1"},
    {"RUST_TARGET_PATH": "/nowhere"},
    {"LANG": "de_DE.UTF-8"},
    {"RUSTC_LOG": "rustc_session=info"},
)


def ask(world: World, words: Sequence[object], env: Mapping[str, Optional[str]] = {}, **options: bool) -> Run:
    """Ask as Cargo does, with nothing on standard input."""
    return world.run(["sh", "-c", 'exec "$@" </dev/null', "sh", *map(str, words)], env=env, **options)  # type: ignore[arg-type]


def programs(run: Run) -> List[str]:
    """The names of compilers that a traced run started."""
    return [
        os.path.basename(argv[0]) for argv in run.started if os.path.basename(argv[0]) in ("rustc", "clippy-driver")
    ]


@pytest.fixture
def compiler(rust: Mapping[str, str]) -> Path:
    return Path(rust["sysroot"]) / "bin" / "rustc"


def test_the_answer_is_known_the_second_time(kache_file: Kache, world: World, compiler: Path) -> None:
    expected = ask(world, [compiler, *QUESTION]).ok().stdout
    seen = [ask(world, [kache_file.path, compiler, *QUESTION], trace=True).ok() for _ in range(3)]
    assert [run.stdout for run in seen] == [expected] * 3
    assert [len(programs(run)) > 0 for run in seen] == [True, True, False]


def test_clippy_s_answer_is_known_as_well(kache_file: Kache, world: World, compiler: Path) -> None:
    """With a driver in between, the compiler's and the driver's files are both looked at."""
    command: List[Words] = [compiler.parent / "clippy-driver", compiler, *QUESTION]
    expected = ask(world, command).ok().stdout
    seen = [ask(world, [kache_file.path, *command], trace=True).ok() for _ in range(3)]
    assert [run.stdout for run in seen] == [expected] * 3
    assert programs(seen[-1]) == []


def test_a_source_on_standard_input_is_read(kache_file: Kache, world: World, compiler: Path) -> None:
    """What a crate says of its own name and kind is in the answer."""
    words: List[Words] = [compiler, "-", "--crate-name", "___", "--print=file-names"]
    for _ in range(2):
        assert ask(world, [kache_file.path, *words]).ok().stdout == "___\n"
    source = '#![crate_type = "lib"]\n'
    assert world.run([kache_file.path, *words], stdin=source).ok().stdout == "lib___.rlib\n"


@pytest.mark.parametrize("seed", range(2))
def test_random_questions(kache_file: Kache, world: World, compiler: Path, seed: int) -> None:
    """Whatever is asked in whatever environment, in any order and again and again: rustc's own answer."""
    rng = random.Random(int(os.environ.get("KACHE_TEST_SEED", "0")) + seed)
    known: Dict[str, object] = {}
    for _ in range(60):
        words = [*QUESTION, *(word for flags in rng.sample(FLAGS, rng.choice((0, 1, 1, 2))) for word in flags)]
        env = rng.choice(VARIABLES)
        name = f"{words} {env}"
        if name not in known:
            plain = ask(world, [compiler, *words], env)
            known[name] = (plain.returncode, plain.stdout, plain.stderr)
        run = ask(world, [kache_file.path, compiler, *words], env)
        if "RUSTC_LOG" in env:
            # with the time of day
            assert (run.returncode, run.stdout) == known[name][:2], name  # type: ignore[index]
        else:
            assert (run.returncode, run.stdout, run.stderr) == known[name], name


def fake(world: World, text: str, commit: str = "0123456789abcdef") -> Path:
    """A compiler that answers with ``text``; a program, for what a script is does not show."""
    where = world.root / "toolchain" / "bin"
    where.mkdir(parents=True, exist_ok=True)
    version = (
        f"rustc 1.90.0\\nbinary: rustc\\ncommit-hash: {commit}\\nhost: x86_64-unknown-linux-gnu\\nrelease: 1.90.0\\n"
    )
    (where / "fake.c").write_text(
        f"""
        #include <stdio.h>
        #include <string.h>
        int main(int argc, char **argv) {{
            const char *word = argv[argc - 1];
            const char *place = "{where.parent}\\n", *text = "{text}\\n", *version = "{version}";
            fputs(!strcmp(word, "-vV") ? version : !strcmp(word, "sysroot") ? place : text, stdout);
            return 0;
        }}
        """
    )
    world.run(["cc", "-o", where / "new", where / "fake.c"]).ok()
    (where / "new").rename(where / "rustc")
    return where / "rustc"


def test_another_compiler_at_the_same_place_is_asked(kache_file: Kache, world: World) -> None:
    for text in ("one", "two", "one"):
        path = fake(world, text)
        for _ in range(3):
            assert ask(world, [kache_file.path, path, *QUESTION]).ok().stdout == text + "\n"


def test_a_toolchain_that_moved_is_asked(kache_file: Kache, world: World, compiler: Path) -> None:
    """The sysroot that it names is another one, though its file is the same."""
    real = world.root / "toolchains" / "first"
    shutil.copytree(compiler.parent.parent / "bin", real / "bin")
    shutil.copytree(compiler.parent.parent / "lib", real / "lib", ignore=shutil.ignore_patterns("rustlib"))
    link = world.root / "stable"
    link.symlink_to(real)
    command: List[Words] = [link / "bin" / "rustc", "-", "--crate-name", "___", "--print=sysroot"]
    for _ in range(3):
        assert ask(world, [kache_file.path, *command]).ok().stdout == f"{real}\n"
    moved = real.rename(real.with_name("second"))
    link.unlink()
    link.symlink_to(moved)
    for _ in range(2):
        assert ask(world, [kache_file.path, *command]).ok().stdout == f"{moved}\n"


def test_a_compiler_that_does_not_say_what_it_is_is_always_asked(kache_file: Kache, world: World) -> None:
    path = fake(world, "one", commit="unknown")
    for _ in range(3):
        assert ask(world, [kache_file.path, path, *QUESTION]).ok().stdout == "one\n"
    assert programs(ask(world, [kache_file.path, path, *QUESTION], trace=True)) != []


def test_a_script_is_always_asked(kache_file: Kache, world: World, compiler: Path) -> None:
    answer = world.root / "answer"
    path = script(
        world.root / "bin" / "rustc",
        f'case $* in *___*) cat {answer} ;; *) exec {shlex.quote(str(compiler))} "$@" ;; esac\n',
    )
    for text in ("one\n", "one\n", "two\n"):
        answer.write_text(text)
        assert ask(world, [kache_file.path, path, *QUESTION]).ok().stdout == text


def test_a_target_described_in_the_sysroot_is_always_asked(kache_file: Kache, world: World) -> None:
    path = fake(world, "one")
    description = path.parent.parent / "lib" / "rustlib" / "own" / "target.json"
    description.parent.mkdir(parents=True)
    description.write_text("{}")
    for words in (["--target", "own"], ["--target=own"]):
        runs = [ask(world, [kache_file.path, path, *QUESTION, *words], trace=True).ok() for _ in range(3)]
        assert programs(runs[-1]) != []


@pytest.mark.parametrize(
    "words",
    [
        ["@more"],
        ["--print=cfg=file"],
        ["--print", "cfg"],
        ["--target", "own.json"],
        ["--sysroot", "elsewhere"],
        ["--sysroot=elsewhere"],
        ["-o", "out"],
        ["--out-dir=out"],
        ["--emit=asm"],
        ["-Zcodegen-backend=own"],
        ["-Cprofile-use=data"],
        ["-C", "incremental=kept"],
        ["-L", "native=."],
        ["--extern", "one"],
        ["other.rs"],
        ["-Clink-arg=/usr/lib/crt1.o"],
        ["--cfg"],
    ],
)
def test_what_may_name_a_file_is_not_known(words: List[str]) -> None:
    assert reads_nothing(QUESTION)
    assert not reads_nothing([*QUESTION, *words])


def test_cargo_that_asks_at_every_start_starts_no_rustc(kache_file: Kache, cargo: Cargo, world: World) -> None:
    ws = world.workspace({"Cargo.toml": '[package]\nname = "one"\nversion = "0.1.0"\n', "src/lib.rs": ""})
    env = {"CARGO_CACHE_RUSTC_INFO": "0", "KACHE_WARM_TARGETS": "1", "RUSTC_WRAPPER": str(kache_file.path)}
    for _ in range(2):
        cargo("build", cwd=ws, env=env).ok()
    run = cargo("build", cwd=ws, env=env, trace=True).ok()
    asked = [argv for argv in run.started if os.path.basename(argv[0]) == "rustc" and "___" in argv]
    assert asked == []

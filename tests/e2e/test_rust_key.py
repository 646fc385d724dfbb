"""What a Rust key must tell apart, and what it must not: the compiler, arguments, emits, the target, probes."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, List, Mapping, Sequence

import pytest

from tests.e2e.rustc import ALL, OUT, Rustc, Spy, Words, contents, hit, result, script
from tests.world import Cargo, Kache, World

LIB = {"src/lib.rs": "pub fn one() -> u32 { 1 }\n"}
# what `cargo check` asks for
CHECK = "dep-info,metadata"


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships: what a key holds does not hang on how kache starts."""
    return kache_file


# the compiler


def test_the_same_compile_is_a_hit_that_starts_no_compiler(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    assert not hit(rustc(ws, "a"))
    again = rustc(ws, "a", trace=True)
    assert hit(again)
    assert not [argv for argv in again.started if "rustc" in argv[0] and argv[0] != str(rustc.kache.path)]
    assert not [argv for argv in again.started if "rustup" in argv[0]]


def test_stable_and_nightly_do_not_share(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    nightly: Mapping[str, str] = {"RUSTUP_TOOLCHAIN": "nightly-x86_64-unknown-linux-gnu"}
    if not Path(rustc.world.env.get("RUSTUP_HOME", ""), "toolchains", nightly["RUSTUP_TOOLCHAIN"]).is_dir():
        pytest.skip("no nightly toolchain")
    assert not hit(rustc(ws, "a"))
    assert not hit(rustc(ws, "a", env=nightly))
    assert hit(rustc(ws, "a"))
    assert hit(rustc(ws, "a", env=nightly))


def test_a_compiler_replaced_at_its_path_is_another(
    rustc: Rustc, workspace: Callable[..., Path], rust: Mapping[str, str]
) -> None:
    """Also where the version number stays: the whole text of -vV counts."""
    ws = workspace(LIB)
    real = f"{rust['sysroot']}/bin/rustc"
    path = rustc.world.root / "own" / "rustc"
    wrapping = 'case "$*" in *-vV*) %s -vV | sed "s/^commit-date.*/commit-date: %s/";; *) exec %s "$@";; esac\n'
    script(path, wrapping % (real, "2001-01-01", real))
    assert not hit(rustc(ws, "a", compiler=[path]))
    assert hit(rustc(ws, "a", compiler=[path]))
    script(path, wrapping % (real, "2002-02-02", real))
    assert not hit(rustc(ws, "a", compiler=[path]))


def test_clippy_is_not_check_and_its_arguments_count(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    ws = workspace(
        {
            "Cargo.toml": '[package]\nname = "a"\nversion = "0.1.0"\nedition = "2021"\n',
            "src/lib.rs": "pub fn f(x: Option<u8>) -> u8 { return x.unwrap(); }\n",
        }
    )

    def anew(*words: str) -> str:
        shutil.rmtree(ws / "target", ignore_errors=True)
        return cargo(*words, cwd=ws).stderr

    assert "needless_return" not in anew("check")
    assert "needless_return" in anew("clippy")
    assert "unwrap_used" not in anew("clippy")
    assert "unwrap_used" in anew("clippy", "--", "-W", "clippy::unwrap_used")
    assert "error: " in anew("clippy", "--", "-D", "clippy::unwrap_used")
    assert "needless_return" not in anew("check")
    shutil.rmtree(ws / "target")
    again = cargo("clippy", "--", "-W", "clippy::unwrap_used", cwd=ws).ok()
    assert "unwrap_used" in again.stderr
    assert again.results()["a"] == ["local_hit"]


@pytest.mark.parametrize("where", ["clippy.toml", ".clippy.toml", "../clippy.toml", "conf/clippy.toml"])
def test_clippys_configuration_counts_where_clippy_finds_it(
    cargo: Cargo, workspace: Callable[..., Path], where: str
) -> None:
    """Also one that was not there when the crate was first looked at, and above the package."""
    ws = workspace(
        {
            "Cargo.toml": '[package]\nname = "a"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n',
            "src/lib.rs": "pub fn f(_a: u8, _b: u8, _c: u8) {}\n",
            "conf/keep": "",
        },
        name="outer/ws",
    )
    env = {"CLIPPY_CONF_DIR": str(ws / "conf")} if where.startswith("conf") else {}

    def warns() -> bool:
        shutil.rmtree(ws / "target", ignore_errors=True)
        return "too_many_arguments" in cargo("clippy", cwd=ws, env=env).ok().stderr

    assert not warns()
    (ws / where).write_text("too-many-arguments-threshold = 2\n")
    assert warns()
    (ws / where).write_text("too-many-arguments-threshold = 3\n")
    assert not warns()
    (ws / where).unlink()
    assert not warns()


def test_an_unknown_workspace_wrapper_is_run_every_time(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    ws = workspace(
        {"Cargo.toml": '[package]\nname = "a"\nversion = "0.1.0"\nedition = "2021"\n', "src/lib.rs": "pub fn f() {}\n"}
    )
    log = cargo.world.root / "wrapped"
    mine = script(cargo.world.root / "mine", f'case "$*" in *src/lib.rs*) echo >> "{log}";; esac\nexec "$@"\n')
    for times in (1, 2):
        shutil.rmtree(ws / "target", ignore_errors=True)
        run = cargo("build", cwd=ws, env={"RUSTC_WORKSPACE_WRAPPER": str(mine)}).ok()
        assert log.read_text() == "\n" * times
        assert "local_hit" not in run.results().get("a", [])


# arguments


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["--cfg", "ab"], ["--cfg", "a", "--cfg", "b"]),
        (["--cfg", "a", "--cfg", "b"], ["--cfg", "a"]),
        (["-Cmetadata=xy"], ["-Cmetadata=x", "-Cmetadata=y"]),
        (["-Cextra-filename=-x"], ["-Cextra-filename=-y"]),
        (["-Copt-level=0", "-Copt-level=2"], ["-Copt-level=2", "-Copt-level=0"]),
        (["-O", "-Copt-level=0"], ["-Copt-level=0", "-O"]),
        (["-g", "-Cdebuginfo=0"], ["-Cdebuginfo=0", "-g"]),
        (["-Ccodegen-units=1"], ["-Ccodegen-units=2"]),
        (["-Awarnings", "-Wunused"], ["-Wunused", "-Awarnings"]),
        (["--cap-lints", "allow"], ["--cap-lints", "warn"]),
        ([], ["--test"]),
        (["-Cpanic=abort"], ["-Cpanic=unwind"]),
        (["-Cdebug-assertions=yes"], ["-Cdebug-assertions=no"]),
        (["-Ctarget-cpu=x86-64"], ["-Ctarget-cpu=x86-64-v2"]),
        (["-Cforce-frame-pointers"], []),
        (["--check-cfg", "cfg(a)"], ["--check-cfg", "cfg(b)"]),
        (["--cfg", 'feature="a"'], ["--cfg", 'feature="b"']),
    ],
)
def test_lists_of_arguments_that_differ_do_not_share(
    rustc: Rustc, workspace: Callable[..., Path], first: Sequence[str], second: Sequence[str]
) -> None:
    """Order, repetition and the cut between arguments count."""
    ws = workspace(LIB)
    assert not hit(rustc(ws, "a", *first, emit=CHECK))
    assert not hit(rustc(ws, "a", *second, emit=CHECK))
    assert hit(rustc(ws, "a", *first, emit=CHECK))
    assert hit(rustc(ws, "a", *second, emit=CHECK))


@pytest.mark.parametrize(
    "more",
    [
        ["-Cincremental=incremental"],
        ["-Clinker=/usr/bin/cc"],
        ["--diagnostic-width=40"],
        ["--color=always"],
        ["-Ldependency=elsewhere"],
    ],
)
def test_what_changes_no_output_changes_no_key(
    rustc: Rustc, workspace: Callable[..., Path], more: Sequence[str]
) -> None:
    ws = workspace(LIB)
    assert not hit(rustc(ws, "a"))
    fresh = contents(ws / OUT)
    shutil.rmtree(ws / "target")
    assert hit(rustc(ws, "a", *more))
    assert contents(ws / OUT) == fresh


def test_another_out_dir_is_a_hit(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    rustc(ws, "a", out="target/debug/deps").ok()
    assert hit(rustc(ws, "a", out="elsewhere/release/deps"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["-Wunused"], ["-Dwarnings"]),
        (["-Wunused"], ["-Dunused", "--cap-lints=warn"]),
        (["--cap-lints=allow"], ["--cap-lints=deny", "-Dunused"]),
        (["-Aunused"], ["-Funused"]),
        (["--check-cfg=cfg(special)"], ["--check-cfg=cfg(other)", "-Dunexpected_cfgs"]),
        (["--diagnostic-width=200"], ["--diagnostic-width=30"]),
        (["--color=never"], ["--color=always"]),
        (["--error-format=json"], ["--error-format=human"]),
        (["--json=artifacts"], ["--json=diagnostic-short"]),
        (["--json=diagnostic-rendered-ansi"], ["--json=diagnostic-short"]),
        (["--json=artifacts"], ["--json=artifacts,future-incompat,diagnostic-rendered-ansi"]),
    ],
)
def test_lints_and_forms_of_diagnostics_answer_as_the_compiler_does(
    rustc: Rustc, workspace: Callable[..., Path], first: Sequence[str], second: Sequence[str]
) -> None:
    """A success is never replayed where -D fails, nor one form of diagnostics where another was asked for."""
    ws = workspace(
        {
            "src/lib.rs": "#[cfg(special)] pub fn special() {}\n"
            + 'pub fn one() -> u32 { let unused_and_with_a_long_name = "'
            + "long " * 20
            + '"; 1 }\n'
        }
    )
    as_json = [] if any("error-format" in word for word in [*first, *second]) else ["--error-format=json"]
    for words in (first, second, first, second):
        bare = rustc(ws, "a", *as_json, *words, messages=(), out="bare", wrapper=False)
        ours = rustc(ws, "a", *as_json, *words, messages=(), out="ours")
        bare.stderr = bare.stderr.replace(f"{ws}/bare", f"{ws}/ours")
        assert (ours.returncode, ours.stdout, ours.stderr) == (bare.returncode, bare.stdout, bare.stderr)


def test_an_unstable_option_counts(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    unstable = {"RUSTC_BOOTSTRAP": "1"}
    assert not hit(rustc(ws, "a", env=unstable))
    assert not hit(rustc(ws, "a", "-Zalways-encode-mir", env=unstable))
    assert not hit(rustc(ws, "a", "-Zshare-generics=no", env=unstable))


def test_rustc_bootstrap_counts(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/lib.rs": "#![feature(never_type)]\npub fn f() -> ! { loop {} }\n"})
    unstable = {"RUSTC_BOOTSTRAP": "1"}
    assert not hit(rustc(ws, "a", env=unstable))
    assert hit(rustc(ws, "a", env=unstable))
    assert rustc(ws, "a").returncode == 1
    assert rustc(ws, "a", env={"RUSTC_BOOTSTRAP": "-1"}).returncode == 1
    assert hit(rustc(ws, "a", env=unstable))


def test_rustflags_in_the_environment_do_not_count(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    assert not hit(rustc(ws, "a"))
    assert hit(rustc(ws, "a", env={"RUSTFLAGS": "-Copt-level=3", "CARGO_ENCODED_RUSTFLAGS": "-g"}))


def test_an_argument_file_stands_for_its_lines(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """One argument a line, blanks and all; what is written in it counts, and not its name."""
    ws = workspace({"src/lib.rs": 'pub fn f() -> bool { cfg!(x = "1 2") }\n'})
    arguments = ws / "arguments"
    arguments.write_text('--cfg\nx="1 2"\n')
    assert not hit(rustc(ws, "a", f"@{arguments}"))
    assert hit(rustc(ws, "a", "--cfg", 'x="1 2"'))
    arguments.write_text('--cfg\nx="1  2"\n')
    assert not hit(rustc(ws, "a", f"@{arguments}"))
    arguments.rename(ws / "renamed")
    assert hit(rustc(ws, "a", f"@{ws / 'renamed'}"))


def test_an_argument_file_may_hold_the_source(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    (ws / OUT).mkdir(parents=True)
    words = ["--crate-name", "a", "src/lib.rs", "--crate-type", "lib", f"--emit={ALL}", "--out-dir", str(ws / OUT)]
    (ws / "arguments").write_text("\n".join(words) + "\n")
    line: List[Words] = [rustc.kache.path, "rustc", "@arguments"]
    for expected in (False, True):
        assert hit(rustc.world.run(line, cwd=ws)) is expected
        assert set(contents(ws / OUT)) == {"a.d", "liba.rlib", "liba.rmeta"}
        shutil.rmtree(ws / OUT)
        (ws / OUT).mkdir()
    (ws / "src/lib.rs").write_text("pub fn two() {}\n")
    assert not hit(rustc.world.run(line, cwd=ws))


def test_an_argument_file_is_not_read_twice_over(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """rustc takes ``@`` inside of it for a file name; whoever expands it compiles something else."""
    ws = workspace(LIB)
    (ws / "inner").write_text("--cfg\nx\n")
    (ws / "outer").write_text("@inner\n")
    bare = rustc(ws, "a", "@outer", wrapper=False)
    ours = rustc(ws, "a", "@outer")
    assert bare.returncode != 0
    assert (ours.returncode, ours.stderr) == (bare.returncode, bare.stderr)


def test_a_shell_argument_file_passes_through(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/lib.rs": 'pub fn f() -> bool { cfg!(x = "1") }\n'})
    (ws / "arguments").write_text("--cfg 'x=\"1\"'\n")
    words = ["-Zshell-argfiles", "@shell:arguments"]
    for _ in range(2):
        run = rustc(ws, "a", *words, env={"RUSTC_BOOTSTRAP": "1"})
        assert result(run.ok()) == "passthrough"


# emits and outputs


@pytest.mark.parametrize(
    "words",
    [
        ["--emit=dep-info,metadata"],
        ["--emit=metadata"],
        ["--emit=link"],
        ["--emit=dep-info"],
        ["--emit=metadata,link"],
        ["--emit=asm"],
        ["--emit=asm,link", "-Ccodegen-units=2"],
        ["--emit=llvm-ir,llvm-bc,obj,mir,dep-info"],
        ["--emit=link={out}/renamed.rlib"],
        ["--emit=dep-info={out}/renamed.d,link"],
        ["--emit=metadata={out}/sub/renamed.rmeta,link"],
        ["--emit=link", "-o", "{out}/renamed.rlib"],
        ["--emit=link", "-Csave-temps"],
        ["--emit=link", "-Csplit-debuginfo=unpacked", "-g", "-Ccodegen-units=2"],
        ["--emit=link", "-Clinker-plugin-lto"],
        ["--emit=link", "-Cembed-bitcode=no"],
        ["--emit=dep-info,link", "--crate-type=bin"],
        ["--emit=metadata", "--crate-type=bin"],
        ["--emit=link", "--crate-type=bin", "-Csplit-debuginfo=unpacked", "-g"],
        ["--emit=link", "--crate-type=bin", "-Csplit-debuginfo=packed", "-g"],
        ["--emit=link", "--crate-type=bin", "-o", "{out}/renamed"],
        ["--emit=link", "--crate-type=rlib,cdylib"],
        ["--emit=link,dep-info", "--crate-type=staticlib", "--crate-type=cdylib", "--crate-type=lib"],
        ["--emit=link,dep-info", "--crate-type=dylib", "-Cprefer-dynamic"],
        ["--emit=link", "--test"],
        ["--emit=link", "--crate-type=bin", "-Cextra-filename="],
        ["--print=native-static-libs", "--emit=link", "--crate-type=staticlib"],
        ["--print=link-args", "--emit=link", "--crate-type=bin"],
    ],
    ids=" ".join,
)
def test_the_same_files_and_words_come_as_from_the_compiler(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    """Whatever is asked for: by name, executable or not, from a compile, a hit or a passthrough."""
    ws = workspace({"src/lib.rs": 'pub fn one() -> u32 { 1 }\npub fn main() { println!("{}", one()) }\n'})

    def files(out: str, wrapper: bool) -> List[str]:
        (ws / out / "sub").mkdir(parents=True)
        line: List[Words] = ["rustc", "--crate-name", "a", "src/lib.rs", "-Cextra-filename=-x", "--out-dir", out]
        line += [word.format(out=out) for word in words]
        if not any(word.startswith("--crate-type") or word == "--test" for word in words):
            line += ["--crate-type=lib"]
        run = rustc.world.run([*([rustc.kache.path] if wrapper else []), *line], cwd=ws).ok()
        if "--print=link-args" not in line:
            said.append((run.stdout, run.stderr))
        found = {name: (ws / out / name).stat().st_mode & 0o100 != 0 for name in contents(ws / out)}
        for name in found:
            if name.endswith(".d"):
                texts.append((ws / out / name).read_text().replace(out, "OUT"))
        return sorted(f"{stable(name)} {'x' if executable else '-'}" for name, executable in found.items())

    def stable(name: str) -> str:
        # rustc names object files after hashes that move with the remapped paths, and directories by chance
        if name.startswith("rm"):
            return "rmeta/" + name.rpartition("/")[2]
        if name.startswith("rustc"):
            return "rustc/" + name.rpartition("/")[2]
        parts = name.split(".")
        return ".".join(parts[:1] + parts[-1:]) if name.endswith((".o", ".dwo", ".bc", ".ll", ".rcgu.o")) else name

    said: List[object] = []
    texts: List[str] = []
    expected = files("bare", wrapper=False)
    assert expected
    for out in ("first", "second"):
        assert files(out, wrapper=True) == expected
    assert said[0:1] * len(said) == said
    assert texts == texts[: len(texts) // 3] * 3


def test_an_emit_more_is_another_compile(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    assert not hit(rustc(ws, "a", emit="dep-info,metadata"))
    assert not hit(rustc(ws, "a", emit="dep-info,metadata,link"))
    assert hit(rustc(ws, "a", emit="dep-info,metadata"))
    assert hit(rustc(ws, "a", emit="link,metadata,dep-info")), "the order of emits is none"


def test_what_was_asked_for_and_is_not_there_is_not_stored(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path]
) -> None:
    """A compiler that leaves one kind of output out while it ends with 0."""
    ws = workspace(LIB)
    spy.does(f'"$REAL" "$@" && rm {ws}/{OUT}/*.rmeta\n')
    assert rustc(ws, "a", compiler=[spy.path]).returncode == 0
    spy.rests()
    assert not hit(rustc(ws, "a", compiler=[spy.path]))
    assert len(list((ws / OUT).glob("*.rmeta"))) == 1
    assert hit(rustc(ws, "a", compiler=[spy.path]))


# target


def test_a_target_counts_by_the_content_of_its_file(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    unstable = {"RUSTC_BOOTSTRAP": "1"}
    ask = ["rustc", "-Zunstable-options", "--print=target-spec-json", "--target=x86_64-unknown-linux-gnu"]
    spec = rustc.world.run(ask, env=unstable).ok().stdout
    ws = workspace(
        {
            "src/lib.rs": "#![feature(no_core)]\n#![no_core]\n",
            "one/own.json": spec,
            "two/own.json": spec.replace('"cpu": "x86-64"', '"cpu": "x86-64-v2"'),
        }
    )
    assert (ws / "one/own.json").read_text() != (ws / "two/own.json").read_text()

    def named(target: str, env: Mapping[str, str] = unstable) -> bool:
        return hit(rustc(ws, "a", "-Zunstable-options", "--target", target, emit=CHECK, env=env))

    assert not named("one/own.json")
    assert named("one/own.json")
    assert not named("two/own.json")
    by_name = [{**unstable, "RUST_TARGET_PATH": str(ws / which)} for which in ("one", "two")]
    assert not named("own", by_name[0])
    assert named("own", by_name[0])
    assert not named("own", by_name[1])
    (ws / "one/own.json").write_text(spec.replace('"max-atomic-width": 64', '"max-atomic-width": 32'))
    assert not named("own", by_name[0])
    assert not named("one/own.json")


# probes


@pytest.mark.parametrize(
    "words",
    [
        ["-vV"],
        ["-V"],
        ["--version", "--verbose"],
        ["--print", "sysroot"],
        ["--print=cfg"],
        ["-", "--crate-name", "___", "--print=file-names", "--crate-type", "lib", "--print=cfg"],
        ["--crate-name", "probe0", "--crate-type=lib", "--out-dir", ".", "--emit=llvm-ir", "-"],
        ["--crate-name", "build_script_probe", "--crate-type=lib", "--emit=metadata", "--out-dir", ".", "-"],
        ["--explain", "E0001"],
        ["--help"],
        [],
    ],
    ids=" ".join,
)
def test_a_probe_answers_as_the_compiler_and_is_never_kept(
    rustc: Rustc, workspace: Callable[..., Path], words: Sequence[str]
) -> None:
    ws = workspace({"keep": ""})
    for stdin in ("pub fn f() {}\n", "#![feature(no_such_feature)]\n"):
        for _ in range(2):
            bare = rustc.world.run(["rustc", *words], cwd=ws, stdin=stdin)
            ours = rustc.world.run([rustc.kache.path, "rustc", *words], cwd=ws, stdin=stdin)
            assert (ours.returncode, ours.stdout, ours.stderr) == (bare.returncode, bare.stdout, bare.stderr)
    assert not list((rustc.world.cache_dir / "entries").glob("*/*"))


def test_a_passthrough_leaves_no_parent_waiting(world: World, kache: Kache, rust: Mapping[str, str]) -> None:
    """A refused compile runs in kache's own process; so does a probe."""
    compiler = script(world.root / "rustc", "echo $$ $PPID\n")
    for words in (["-vV"], ["-", "--crate-name", "___"], ["--crate-name", "a", "src/lib.rs", "-o", "-"]):
        with subprocess.Popen([kache.path, compiler, *words], stdout=subprocess.PIPE, text=True) as process:
            said, _ = process.communicate(timeout=60)
        assert said.split() == [str(process.pid), str(os.getpid())]


def test_a_profile_counts_by_its_content(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """An indexed profile without a function in it: header of version 3, then an empty hash table of one bucket."""
    ws = workspace(LIB)

    def profile(unused: int) -> bytes:
        words = (0xFF6C70726F666981, 3, unused, 0, 40, 1, 0, 0)
        return b"".join(word.to_bytes(8, "little") for word in words)

    used = ["-Cprofile-use=use.profdata"]
    (ws / "use.profdata").write_bytes(profile(0))
    assert not hit(rustc(ws, "a", *used))
    assert hit(rustc(ws, "a", *used))
    (ws / "use.profdata").write_bytes(profile(1))
    assert not hit(rustc(ws, "a", *used))
    (ws / "use.profdata").unlink()
    assert rustc(ws, "a", *used).returncode != 0

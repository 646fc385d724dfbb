"""How the compiler is run: what it is given, what passes on and when, and what a broken run leaves behind."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Callable, Dict, Iterator, List, Mapping, Optional

import pytest

from tests.e2e.rustc import ALL, JSON, OUT, Rustc, Spy, contents, hit, result, script
from tests.world import Cargo, Kache, World

LIB = {"src/lib.rs": "pub fn one() -> u32 { 1 }\n"}
MANIFEST = '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[profile.dev]\ndebug = 0\n'
NAME = "liba-0123456789abcdef"


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """Only as it ships; the tests of what the compiler is given take it in both forms."""
    return kache_file


@pytest.fixture(params=["source", "file"])
def either(request: pytest.FixtureRequest, world: World) -> Rustc:
    """rustc through kache from the source tree, and through dist/kache."""
    world.env["KACHE_CACHE_EXECUTABLES"] = "1"
    return Rustc(world, request.getfixturevalue(f"kache_{request.param}"))


def stored(world: World) -> List[Path]:
    """The entries that are there."""
    return sorted((world.cache_dir / "entries").glob("*/*"))


def check_store(world: World) -> None:
    """Every blob has the content that its name says, and nothing half-written lies about."""
    import blake3

    for path in (world.cache_dir / "store").glob("*/*"):
        assert len(path.name) == 64, f"{path} is no blob"
        assert blake3.blake3(path.read_bytes()).hexdigest() == path.name


# what the compiler is given


def test_the_compiler_is_given_the_environment_that_cargo_gives(
    cargo: Cargo, spy: Spy, workspace: Callable[..., Path]
) -> None:
    """Names that are no identifiers, no LC_CTYPE of Python's, no PWD of the shell's, in a compile and a passthrough."""
    ws = workspace({"Cargo.toml": MANIFEST, "src/main.rs": "fn main() {}\n", **LIB})
    odd: Dict[str, Optional[str]] = {
        "DEP_TAURI:CORE__X": "1",
        "with-dash": "2",
        "with.dot": "3",
        "EMPTY": "",
        "LINES": "a\nb",
        "BYTES": "\udcff\udcfe",
        "LC_ALL": None,
        "LANG": None,
        "PWD": None,
        "OLDPWD": None,
        "SHLVL": None,
        "_": None,
    }

    def given(**options: bool) -> Dict[str, Dict[str, str]]:
        spy.forget()
        shutil.rmtree(ws / "target", ignore_errors=True)
        cargo("build", cwd=ws, env={**odd, "RUSTC": str(spy.path)}, **options).ok()
        found = {}
        for seen in spy.seen():
            seen.env.pop("RUSTC_WRAPPER", None)
            found[" ".join(word for word in seen.args if word in ("lib", "bin"))] = seen.env
        assert sorted(found) == ["bin", "lib"]
        return found

    expected = given(wrapper=False)
    # the library is compiled through kache, and the executable passes through
    for kind, env in given().items():
        assert env == expected[kind]


def test_the_compiler_is_given_the_signals_and_descriptors_that_kache_was_given(
    either: Rustc, spy: Spy, workspace: Callable[..., Path]
) -> None:
    """Python ignores SIGPIPE and SIGXFSZ and closes what it does not know; a compiler must not inherit that."""
    ws = workspace(LIB)
    read, write = os.pipe()
    (ws / OUT).mkdir(parents=True)
    words = ["--crate-name", "a", "src/lib.rs", "--crate-type=lib", f"--emit={ALL}", *JSON, "--out-dir", OUT]
    for more in ([], ["-o", "target/x"]):
        found = []
        for prefix in ([], [str(either.kache.path)]):
            spy.forget()
            line = [*prefix, str(spy.path), *words, *more]
            subprocess.run(line, cwd=ws, pass_fds=[read, write], check=False, capture_output=True)
            seen = spy.seen()[0]
            assert {read, write} <= set(seen.fds)
            # glibc's posix_spawn ignores its own 32 and 33 in every child, Cargo's children as well
            found.append([int(seen.status[name], 16) & ~0x180000000 for name in ("SigIgn", "SigBlk")])
        assert found[0] == found[1]


def test_no_warning_about_the_jobserver_is_said_or_kept(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    (ws / OUT).mkdir(parents=True)
    read, write = os.pipe()
    os.write(write, b"+")
    env = {**rustc.world.env, "CARGO_MAKEFLAGS": f"-j --jobserver-fds={read},{write} --jobserver-auth={read},{write}"}
    words = ["rustc", "--crate-name", "a", "src/lib.rs", "--crate-type=lib", f"--emit={ALL}", "--out-dir", OUT]
    for line in ([], [rustc.kache.path], [rustc.kache.path]):
        done = subprocess.run(
            [*line, *words], cwd=ws, env=env, pass_fds=[read, write], check=True, capture_output=True, text=True
        )
        assert done.stderr == ""
        for path in (ws / OUT).iterdir():
            path.unlink()
    assert rustc.kache.events()[-1]["result"] == "local_hit"


def test_incremental_is_stripped_and_its_directory_removed(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path]
) -> None:
    ws = workspace(LIB)
    incremental = ws / "target/debug/incremental"
    for crate in ("a-1a2b3c", "b-1a2b3c"):
        (incremental / crate / "s-x").mkdir(parents=True)
        (incremental / crate / "s-x/query-cache.bin").write_bytes(b"x")
    words = [f"-Cincremental={incremental}"]
    assert not hit(rustc(ws, "a", *words, compiler=[spy.path]))
    assert not [word for word in spy.seen()[0].args if word.startswith(("incremental=", "-Cincremental"))]
    assert not list(incremental.glob("a-*"))
    assert list(incremental.glob("b-*"))
    shutil.rmtree(ws / OUT)
    (incremental / "a-1a2b3c").mkdir()
    assert hit(rustc(ws, "a", "-C", f"incremental={incremental}", compiler=[spy.path]))
    assert not list(incremental.glob("a-*"))


def test_incremental_directories_are_left_where_that_is_asked(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    incremental = ws / "target/debug/incremental"
    (incremental / "a-1a2b3c").mkdir(parents=True)
    rustc(ws, "a", f"-Cincremental={incremental}", env={"KACHE_CLEAN_INCREMENTAL": "false"}).ok()
    assert list(incremental.glob("a-*"))


def test_cargo_leaves_no_incremental_state_behind(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    ws = workspace({"Cargo.toml": MANIFEST, "src/main.rs": "fn main() {}\n"})
    cargo("build", cwd=ws, wrapper=False).ok()
    assert list((ws / "target/debug/incremental").iterdir())
    (ws / "src/main.rs").write_text("fn main() { println!() }\n")
    cargo("build", cwd=ws, env={"KACHE_CACHE_EXECUTABLES": "1"}).ok()
    left = ws / "target/debug/incremental"
    assert not left.exists() or not list(left.iterdir())


def test_a_users_own_remaps_stay_in_order_and_win(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """rustc takes the last that fits: with kache as without, the program names what the user asked for."""
    ws = workspace({"src/main.rs": 'fn main() { print!("{}", file!()) }\n'})
    for words in (
        [f"--remap-path-prefix={ws}=/mine"],
        ["--remap-path-prefix", f"{ws}=/first", f"--remap-path-prefix={ws}=/second"],
        [f"--remap-path-prefix={ws}/src=/inner", f"--remap-path-prefix={ws}=/outer"],
        [f"--remap-path-prefix={ws}=/outer", f"--remap-path-prefix={ws}/src=/inner"],
    ):
        source = str(ws / "src/main.rs")
        bare = rustc.program(ws, *words, source=source, out="bare", wrapper=False)
        for _ in range(2):
            assert rustc.program(ws, *words, source=source) == bare
    assert bare == "/inner/main.rs"


def test_a_coverage_build_gets_no_remap_and_stays_at_home(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path]
) -> None:
    ws = workspace(LIB, name="a/ws")
    for words in (["-Cinstrument-coverage"], ["-C", "instrument-coverage=all"]):
        spy.forget()
        assert not hit(rustc(ws, "a", *words, compiler=[spy.path]))
        assert not [word for word in spy.seen()[0].args if word.startswith("--remap-path-prefix")]
    elsewhere = workspace(LIB, name="another/ws")
    assert not hit(rustc(elsewhere, "a", "-Cinstrument-coverage", compiler=[spy.path]))


def test_no_remap_where_it_is_turned_off(rustc: Rustc, spy: Spy, workspace: Callable[..., Path]) -> None:
    env = {"KACHE_RUSTC_PATH_NORMALIZE": "0"}
    ws, elsewhere = workspace(LIB, name="a/ws"), workspace(LIB, name="another/ws")
    assert not hit(rustc(ws, "a", compiler=[spy.path], env=env))
    assert not [word for word in spy.seen()[0].args if word.startswith("--remap-path-prefix")]
    assert not hit(rustc(ws, "a", compiler=[spy.path])), "a remapped compile is another"
    assert [word for word in spy.seen()[1].args if word.startswith("--remap-path-prefix")]
    assert not hit(rustc(elsewhere, "a", compiler=[spy.path], env=env))
    assert hit(rustc(ws, "a", compiler=[spy.path], env=env))


# while it runs


def wait_for(stream: IO[bytes], wanted: bytes, seconds: float = 60) -> bytes:
    """Read until ``wanted`` has come; fail after ``seconds``."""
    found = b""
    until = time.monotonic() + seconds
    while wanted not in found:
        ready, _, _ = select.select([stream], [], [], max(0, until - time.monotonic()))
        assert ready, f"{wanted!r} did not come: {found!r}"
        chunk = os.read(stream.fileno(), 65536)
        assert chunk, f"{wanted!r} did not come before the end: {found!r}"
        found += chunk
    return found


def wait_until(path: Path, seconds: float = 60) -> None:
    """Wait until ``path`` exists; fail after ``seconds``."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.01)


@contextlib.contextmanager
def started(rustc: Rustc, spy: Spy, ws: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A compile through kache that runs on beside the test, in a process group of its own."""
    (ws / OUT).mkdir(parents=True, exist_ok=True)
    line = [str(rustc.kache.path), str(spy.path), "--crate-name", "a", "src/lib.rs", "--crate-type=lib"]
    line += [f"--emit={ALL}", *JSON, "-Cextra-filename=-0123456789abcdef", "--out-dir", str(ws / OUT)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(line, cwd=ws, env=rustc.world.env, stdout=pipe, stderr=pipe, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_metadata_is_announced_while_the_compiler_still_runs(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path]
) -> None:
    """Cargo starts what depends on it then."""
    ws = workspace(LIB)
    spy.does(
        f'echo early\n"$REAL" "$@" 2> {ws}/said || exit 1\n'
        f'while read -r line; do printf "%s\\n" "$line" >&2; case $line in *rmeta*) '
        f"until [ -e {ws}/gate ]; do sleep 0.01; done;; esac; done < {ws}/said\n"
    )
    with started(rustc, spy, ws) as process:
        assert process.stdout
        assert process.stderr
        said = wait_for(process.stderr, b'"emit":"metadata"}\n')
        assert b'"emit":"link"' not in said
        assert (ws / OUT / f"{NAME}.rmeta").exists()
        (ws / "gate").touch()
        said += process.stderr.read()
        assert process.stdout.read() == b"early\n"
        assert process.wait(60) == 0
    announced = [json.loads(line)["emit"] for line in said.splitlines()]
    assert announced == ["dep-info", "metadata", "link"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_compile_leaves_nothing_that_counts(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path], number: signal.Signals
) -> None:
    """As Ctrl-C reaches the whole group. The next build neither waits nor finds half of anything."""
    ws = workspace(LIB)
    spy.does(f'"$REAL" "$@"\ntouch {ws}/running\nexec sleep 60\n')
    with started(rustc, spy, ws) as process:
        wait_until(ws / "running")
        os.killpg(process.pid, number)
        process.communicate(timeout=30)
    assert process.returncode in (-number, 128 + number)
    assert stored(rustc.world) == []
    check_store(rustc.world)
    spy.rests()
    before = time.monotonic()
    with started(rustc, spy, ws) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - before < 10
    assert rustc.kache.events()[-1]["result"] == "miss"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_the_compilers_death_by_a_signal_passes_on(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path], number: signal.Signals
) -> None:
    ws = workspace(LIB)
    spy.does(f'echo said\necho told >&2\n"$REAL" "$@"\nulimit -c 0\nkill -{number.value} $$\n')
    for _ in range(2):
        run = rustc(ws, "a", compiler=[spy.path])
        assert run.returncode == -number
        assert "said" in run.stdout
        assert "told" in run.stderr
    assert stored(rustc.world) == []


@pytest.mark.parametrize("status", [1, 2, 101, 255])
def test_a_compile_that_fails_passes_on_as_it_is(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path], status: int
) -> None:
    """Though all of its outputs are there."""
    ws = workspace(LIB)
    spy.does(f'printf "no line end"; printf "nor here" >&2; "$REAL" "$@" 2>/dev/null; exit {status}\n')
    for _ in range(2):
        run = rustc(ws, "a", compiler=[spy.path])
        assert (run.returncode, run.stdout, run.stderr) == (status, "no line end", "nor here")
    assert len(spy.seen()) == 2
    assert stored(rustc.world) == []


def test_an_error_in_the_source_is_told_as_the_compiler_tells_it(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace({"src/lib.rs": "pub fn one() -> u32 { nothing }\n"})
    bare = rustc(ws, "a", wrapper=False)
    for _ in range(2):
        ours = rustc(ws, "a")
        assert (ours.returncode, ours.stdout, ours.stderr) == (bare.returncode, bare.stdout, bare.stderr)
    (ws / "src/lib.rs").write_text("pub fn one() -> u32 { 1 }\n")
    assert result(rustc(ws, "a").ok()) == "miss"


CHANGES: Mapping[str, str] = {
    "after": '"$REAL" "$@" || exit 1\ncp {new} {file}\n',
    "before": 'cp {new} {file}\n"$REAL" "$@" || exit 1\n',
    "and back": 'cp {new} {file}\n"$REAL" "$@" || exit 1\ncp {old} {file}\n',
    "by rename": '"$REAL" "$@" || exit 1\ncp {new} {file}~\nmv {file}~ {file}\n',
    "gone": '"$REAL" "$@" || exit 1\nrm {file}\n',
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_while_it_is_compiled_is_not_stored(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path], change: str
) -> None:
    """An editor saves. Whatever was compiled, the next compile of old and of new gives old and new."""
    ws = workspace({"src/main.rs": 'mod x;\nfn main() { print!("{}", x::N) }\n', "src/x.rs": "pub const N: u8 = 1;\n"})
    file, old, new = ws / "src/x.rs", ws.parent / "old", ws.parent / "new"
    old.write_text("pub const N: u8 = 1;\n")
    new.write_text("pub const N: u8 = 2;\n")
    # the source has lain there for a while
    os.utime(file, (time.time() - 3600, time.time() - 3600))
    spy.does(CHANGES[change].format(file=file, old=old, new=new))
    rustc(ws, "app", compiler=[spy.path], source="src/main.rs", kind="bin", emit="dep-info,link").ok()
    spy.rests()
    for number in (1, 2, 1):
        file.write_text(f"pub const N: u8 = {number};\n")
        assert rustc.program(ws, compiler=[spy.path]) == str(number)


# what the compiler sees, and what is there when it ends: {new} and {old} stand for commands
MOMENTS: Mapping[str, str] = {
    "after": '"$REAL" "$@" || exit 1\n{new}\n',
    "before": '{new}\n"$REAL" "$@" || exit 1\n',
    "and back": '{new}\n"$REAL" "$@" || exit 1\n{old}\n',
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_dependency_that_changes_while_it_is_compiled_against_is_not_stored(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path], moment: str
) -> None:
    """Whatever this compile gave: the next one against either dependency gives that one's."""
    ws = workspace({"src/main.rs": 'fn main() { print!("{}", a::one()) }\n', **LIB})
    for number, out in ((1, "../one"), (2, "../two")):
        (ws / "src/lib.rs").write_text(f"#[inline] pub fn one() -> u32 {{ {number} }}\n")
        rustc(ws, "a", out=out, suffix="", wrapper=False).ok()
    used = ws.parent / "used"
    shutil.copytree(ws.parent / "one", used)
    new, old = (f"cp {ws}/../{which}/* {used}/" for which in ("two", "one"))
    spy.does(MOMENTS[moment].format(new=new, old=old))
    words = ["--extern", f"a={used}/liba.rlib"]
    assert rustc.program(ws, *words, compiler=[spy.path]) == ("1" if moment == "after" else "2")
    spy.rests()
    for which, printed in (("two", "2"), ("one", "1"), ("two", "2")):
        shutil.rmtree(used)
        shutil.copytree(ws.parent / which, used)
        assert rustc.program(ws, *words, compiler=[spy.path]) == printed


@pytest.mark.parametrize("moment", ["after", "before"])
def test_a_directory_that_changes_while_it_is_listed_is_not_stored(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path], looking: Path, moment: str
) -> None:
    ws = workspace(
        {
            "Cargo.toml": MANIFEST,
            "src/main.rs": 'fn main() { print!("{}", look::list!("data")) }\n',
            "data/a": "1\n",
        }
    )
    spy.does(MOMENTS[moment].format(new=f"echo 2 > {ws}/data/b", old=f"rm {ws}/data/b"))
    words = ["--extern", f"look={looking}"]
    assert rustc.program(ws, *words, compiler=[spy.path]) == ("a=1" if moment == "after" else "a=1 b=2")
    spy.rests()
    for there in (True, False, True):
        (ws / "data/b").unlink(missing_ok=True)
        if there:
            (ws / "data/b").write_text("2\n")
        assert rustc.program(ws, *words, compiler=[spy.path]) == ("a=1 b=2" if there else "a=1")


def test_concurrent_compiles_of_one_unit_are_one_compile(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path]
) -> None:
    """The others wait and restore."""
    spy.does('sleep 1\n"$REAL" "$@"\n')
    places = [workspace(LIB, name=f"{name}/ws") for name in "xyz"]
    with contextlib.ExitStack() as stack:
        for process in [stack.enter_context(started(rustc, spy, ws)) for ws in places]:
            process.communicate(timeout=60)
            assert process.returncode == 0
    assert len(spy.seen()) == 1
    assert contents(places[0] / OUT).keys() == contents(places[1] / OUT).keys() == contents(places[2] / OUT).keys()
    assert len({(ws / OUT / f"{NAME}.rlib").read_bytes() for ws in places}) == 1


def test_who_waits_for_a_compile_that_fails_compiles_itself(
    rustc: Rustc, spy: Spy, workspace: Callable[..., Path]
) -> None:
    ws = workspace(LIB)
    spy.does(f'if mkdir {ws}/first 2>/dev/null; then sleep 1; exit 1; fi\n"$REAL" "$@"\n')
    with started(rustc, spy, ws) as first:
        wait_until(ws / "first")
        with started(rustc, spy, ws) as second:
            assert [process.communicate(timeout=60) and process.returncode for process in (first, second)] == [1, 0]


# where it writes


def test_an_out_dir_behind_a_link_stays_one(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    real = workspace({"keep": ""}, name="elsewhere/deps")
    (ws / "target/debug").mkdir(parents=True)
    (ws / OUT).symlink_to(real)
    for expected in (False, True):
        assert hit(rustc(ws, "a")) is expected
        assert (ws / OUT).is_symlink()
        assert set(contents(real)) == {"keep", f"{NAME}.rlib", f"{NAME}.rmeta", "a-0123456789abcdef.d"}
        for name in contents(real):
            (real / name).unlink()
        (real / "keep").touch()


@pytest.mark.parametrize("second", ["compile", "passthrough", "disabled", "restore"])
def test_outputs_of_an_earlier_restore_are_replaced_and_not_written_into(
    rustc: Rustc, workspace: Callable[..., Path], second: str
) -> None:
    """They are read-only and share their inode with the store and with other checkouts."""
    ws = workspace({"src/lib.rs": "pub fn one() -> u32 { 1 }\n"})
    other = ws.parent / "other"
    rustc(ws, "a").ok()
    shutil.rmtree(ws / OUT)
    assert hit(rustc(ws, "a"))
    assert hit(rustc(ws, "a", out=str(other)))
    first = contents(other)
    env: Dict[str, Optional[str]] = {}
    if second == "passthrough":
        env = {"KACHE_CONFIG": str(ws / "exclude.toml")}
        (ws / "exclude.toml").write_text('[cache]\nexclude = ["**"]\n')
    if second == "disabled":
        # as Cargo does before it calls a compiler
        (ws / OUT / f"{NAME}.rlib").unlink()
        env = {"KACHE_DISABLED": "1"}
    if second != "restore":
        (ws / "src/lib.rs").write_text("pub fn one() -> u32 { 2 }\n")
    rustc(ws, "a", env=env).ok()
    if second == "compile":
        rustc(ws, "a", env=env).ok()
    assert contents(other) == first
    check_store(rustc.world)
    assert (contents(ws / OUT)[f"{NAME}.rlib"] == first[f"{NAME}.rlib"]) == (second == "restore")


def test_a_tree_that_kache_filled_can_be_built_on_without_it(cargo: Cargo, workspace: Callable[..., Path]) -> None:
    """Turned off, or gone from RUSTC_WRAPPER: edits build, and the store is not written into."""
    ws = workspace(
        {
            "Cargo.toml": MANIFEST,
            "src/lib.rs": "pub fn one() -> u32 { 1 }\n",
            "src/main.rs": 'fn main() { print!("{}", app::one()) }\n',
        }
    )
    env = {"KACHE_CACHE_EXECUTABLES": "1"}
    cargo("build", cwd=ws, env=env).ok()
    shutil.rmtree(ws / "target")
    cargo("build", cwd=ws, env=env).ok()
    for number, off in enumerate(({"KACHE_DISABLED": "1"}, {}, {"KACHE_DISABLED": "1"}), 2):
        (ws / "src/lib.rs").write_text(f"pub fn one() -> u32 {{ {number} }}\n")
        run = cargo("build", cwd=ws, env={**env, **off}, wrapper=bool(off)).ok()
        assert run.events == []
        assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == str(number)
        check_store(cargo.world)
    (ws / "src/lib.rs").write_text("pub fn one() -> u32 { 1 }\n")
    cargo("build", cwd=ws, env=env).ok()
    assert cargo.world.run([ws / "target/debug/app"]).ok().stdout == "1"


def test_what_users_do_to_their_outputs_does_not_reach_the_store(rustc: Rustc, workspace: Callable[..., Path]) -> None:
    """They strip, sign and edit executables in place; a new inode keeps that to themselves."""
    ws = workspace({"src/main.rs": "fn main() {}\n"})
    path = ws / OUT / "app-0123456789abcdef"
    for _ in range(3):
        rustc.program(ws)
        fresh = path.read_bytes()
        with path.open("r+b") as out:
            out.write(b"no program")
        check_store(rustc.world)
    assert fresh[:4] == b"\x7fELF"


def test_a_compiler_that_is_gone_is_the_error_that_it_is(kache: Kache, workspace: Callable[..., Path]) -> None:
    ws = workspace(LIB)
    for words in (["-vV"], ["--crate-name", "a", "src/lib.rs", "--crate-type=lib", f"--emit={ALL}", "--out-dir", "."]):
        run = kache.run(ws / "no/rustc", *words, cwd=ws)
        assert run.returncode in (126, 127, 1, 2)
        assert "rustc" in run.stderr
        assert "Traceback" not in run.stderr
    not_executable = script(ws / "rustc", "exit 0\n")
    not_executable.chmod(0o644)
    assert kache.run(not_executable, "-vV", cwd=ws).returncode != 0


def test_commands_that_only_ask_leave_what_they_leave_without_kache(
    cargo: Cargo, workspace: Callable[..., Path]
) -> None:
    """No target directory, no store; and a build marks its target as Cargo does."""
    found = []
    for name, wrapper in (("with", True), ("without", False)):
        ws = workspace({"Cargo.toml": MANIFEST, "src/main.rs": "fn main() {}\n"}, name=name)
        for words in (["metadata", "--format-version=1"], ["tree"]):
            cargo(*words, cwd=ws, wrapper=wrapper).ok()
            assert not (ws / "target").exists()
        assert not list(cargo.world.cache_dir.glob("entries/*/*"))
        cargo("build", cwd=ws, wrapper=wrapper).ok()
        left = [*(ws / "target").iterdir(), *(ws / "target/debug").iterdir()]
        found.append(sorted(path.name for path in left if path.name != "incremental"))
    assert found[0] == found[1]
    assert "CACHEDIR.TAG" in found[0]


@pytest.mark.parametrize("compiler", ["cc", "gcc", "/usr/bin/cc"])
def test_a_c_compiler_runs_as_it_is(
    world: World, kache: Kache, require_tool: Callable[[str], str], compiler: str
) -> None:
    """The cc crate calls RUSTC_WRAPPER with one where it knows the wrapper's name."""
    require_tool("gcc")
    (world.root / "x.c").write_text("int x(void) { return 1; }\n")
    kache.run(compiler, "-c", "x.c", "-o", "x.o").ok()
    assert (world.root / "x.o").read_bytes().startswith(b"\x7fELF")
    done = kache.run(compiler, "-c", "missing.c")
    assert done.returncode == 1
    assert "missing.c" in done.stderr and "kache" not in done.stderr

"""Running the compiler: what it is given, what is heard of it and when."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kachelib import compile
from kachelib.compile import Finished
from tests.actions import STEM, Place
from tests.world import REPOSITORY

PACKAGES = [path for path in sys.path if path.endswith("site-packages")]
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# The command line

INCREMENTAL = (
    ["-C", "incremental=/x/y"],
    ["-Cincremental=/x/y"],
    ["--codegen", "incremental=/x/y"],
    ["--codegen=incremental=/x/y"],
    ["-C", "incremental="],
)
OTHERS = (
    ["-C", "opt-level=3"],
    ["-Copt-level=3"],
    ["--cfg", "incremental=x"],
    ["--cfg", 'feature="incremental"'],
    ["--codegen", "debuginfo=2"],
    ["-g"],
    ["-O"],
    ["--extern", "incremental"],
    ["-L", "incremental=x"],
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from(INCREMENTAL + OTHERS), max_size=6))
def test_incremental_is_taken_out_in_every_spelling_and_nothing_else(place: Place, words: List[List[str]]) -> None:
    action = place.unbuilt(place.arguments(*[word for option in words for word in option]))
    kept = [word for option in words if option not in INCREMENTAL for word in option]
    expected = ["/opt/toolchain/bin/rustc", *action.remap, *place.arguments(*kept)]
    assert compile.command_line(action, ["rustc"]) == expected


def test_our_flags_come_before_the_users(place: Place) -> None:
    """rustc takes the last --remap-path-prefix that matches: a user's own wins."""
    own = f"--remap-path-prefix={place.directory}=/mine"
    words = compile.command_line(place.action(own), ["rustc"])
    assert words.index(own) > max(words.index(flag) for flag in place.action().remap)


def test_a_driver_gets_the_compiler_first(place: Place) -> None:
    action = place.action()
    action.toolchain.program = "/opt/clippy-driver"
    words = compile.command_line(action, ["clippy-driver", "rustc"])
    assert words[:2] == ["/opt/clippy-driver", "rustc"]
    assert words[2:] == [*action.remap, *place.arguments()]


def test_nothing_is_injected_where_outputs_are_bound(place: Place) -> None:
    coverage = ("-C", "instrument-coverage")
    words = compile.command_line(place.action(*coverage), ["rustc"])
    assert words == ["/opt/toolchain/bin/rustc", *place.arguments(*coverage)]


# What stands in the way

OUTPUTS = {
    "lib": (f"{STEM}.d", f"lib{STEM}.rmeta", f"lib{STEM}.rlib"),
    "bin": (f"{STEM}.d", f"lib{STEM}.rmeta", STEM),
    "proc-macro": (f"{STEM}.d", f"lib{STEM}.rmeta", f"lib{STEM}.so"),
    "cdylib": (f"{STEM}.d", f"lib{STEM}.rmeta", f"lib{STEM}.so"),
    "staticlib": (f"{STEM}.d", f"lib{STEM}.rmeta", f"lib{STEM}.a"),
}
ALL = sorted({name for names in OUTPUTS.values() for name in names})


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("how", ["read-only", "symlink", "dangling", "directory", "ordinary"])
def test_outputs_that_rustc_could_not_write_are_cleared_and_no_others(
    kind: str, how: str, place: Place, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    for name in ALL:
        path = place.out / name
        if how == "read-only":
            path.write_text("")
            path.chmod(0o444)
        elif how == "symlink":
            path.symlink_to(target)
        elif how == "dangling":
            path.symlink_to("nowhere")
        elif how == "directory":
            path.mkdir()
        else:
            path.write_text("")
    compile.clear_outputs(place.action(kind=kind).plan, str(place.directory))
    left = {path.name for path in place.out.iterdir()}
    cleared = set(OUTPUTS[kind]) if how in ("read-only", "symlink", "dangling") else set()
    assert left == set(ALL) - cleared
    assert target.read_text() == "precious"


def test_a_check_clears_no_library(place: Place) -> None:
    for name in ALL:
        (place.out / name).symlink_to("nowhere")
    compile.clear_outputs(place.action(emit="dep-info,metadata").plan, str(place.directory))
    assert {path.name for path in place.out.iterdir()} == set(ALL) - {f"{STEM}.d", f"lib{STEM}.rmeta"}


def test_a_plan_without_a_directory_clears_nothing(place: Place) -> None:
    """Its outputs' place is not known; what is called so in the working directory is the user's."""
    plan = place.unbuilt(place.arguments()).plan
    plan.out_dir = ""
    for name in ALL:
        (place.directory / name).symlink_to("nowhere")
    compile.clear_outputs(plan, str(place.directory))
    assert {path.name for path in place.directory.iterdir()} >= set(ALL)


# Running


def rustc(place: Place, text: str) -> str:
    """A compiler that is a shell script."""
    path = place.write("../rustc", "#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def run(place: Place, text: str, *words: str, options: Tuple[str, ...] = (), kind: str = "lib") -> Finished:
    """Run that script as the compiler. words: of its command line; options: of the action."""
    return compile.run([rustc(place, text), *words], place.store, place.action(*options, kind=kind))


def test_all_that_a_compiler_says_is_passed_on_and_kept(
    place: Place, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    finished = run(place, "echo out; echo err >&2; printf 'no \\377 newline' >&2; printf 'at the end'\n")
    assert capfdbinary.readouterr() == (b"out\nat the end", b"err\nno \xff newline")
    assert (finished.stdout, finished.stderr) == (b"out\nat the end", b"err\nno \xff newline")
    assert finished.status == 0 and finished.whole and finished.steady and not finished.link_arguments


@pytest.mark.parametrize(
    ("text", "status"), [("exit 0", 0), ("exit 101", 101), ("kill -9 $$", -9), ("kill -11 $$", -11)]
)
def test_how_it_ended_is_told(text: str, status: int, place: Place) -> None:
    assert os.waitstatus_to_exitcode(run(place, text + "\n").status) == status


def test_a_failed_compile_says_all_it_said(place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    finished = run(place, "echo out; echo err >&2; exit 1\n")
    assert capfdbinary.readouterr() == (b"out\n", b"err\n")
    assert finished.stderr == b"err\n"


def test_the_clock_that_files_go_by_is_read_before(place: Place) -> None:
    # a file's time may be finer than the clock of ticks
    time.sleep(0.02)
    finished = run(place, f"echo > {place.out}/written; sleep 0.05\n")
    assert (place.out / "written").stat().st_mtime_ns >= finished.started_ns
    assert (place.directory / "src/lib.rs").stat().st_mtime_ns <= finished.started_ns
    assert 50 <= finished.ms < 60_000


def test_what_stands_in_the_way_is_gone_when_it_starts(place: Place) -> None:
    (place.out / f"lib{STEM}.rlib").symlink_to(place.directory / "Cargo.toml")
    run(place, f"echo library > {place.out}/lib{STEM}.rlib\n")
    assert "package" in (place.directory / "Cargo.toml").read_text()


def test_remapped_names_are_paths_in_what_is_passed_on_alone(
    place: Place, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """What is kept is good anywhere."""
    text = "echo ' --> /kache/target/gen.rs:1:2' >&2\n"
    finished = run(place, text)
    assert capfdbinary.readouterr().err == f" --> {place.target}/gen.rs:1:2\n".encode()
    assert finished.stderr == b" --> /kache/target/gen.rs:1:2\n"
    finished = run(place, text, options=("-C", "instrument-coverage"))
    assert capfdbinary.readouterr().err == finished.stderr == b" --> /kache/target/gen.rs:1:2\n"


def test_a_flood_is_passed_on_and_not_kept(
    place: Place, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile, "MOST_OUTPUT", 100_000)
    filler = "-" * 60
    finished = run(place, f"i=0; while [ $i -lt 2000 ]; do echo $i{filler}; i=$((i+1)); done >&2\n")
    lines = capfdbinary.readouterr().err.splitlines()
    assert [line.split(b"-")[0] for line in lines] == [b"%d" % number for number in range(2000)]
    assert not finished.whole and len(finished.stderr) <= 100_000


def test_a_long_line_is_passed_on_in_pieces(place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    finished = run(place, "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo more >&2\n")
    assert capfdbinary.readouterr().err == finished.stderr == b"x" * 3_000_000 + b"\nmore\n"


def test_no_descriptor_is_left_open(place: Place) -> None:
    run(place, "exit 0\n")
    before = len(os.listdir("/proc/self/fd"))
    run(place, "exit 0\n")
    with pytest.raises(OSError):
        compile.run(["/nowhere/rustc"], place.store, place.action())
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_descriptor_reaches_the_compiler(place: Place, tmp_path: Path) -> None:
    """The jobserver's pipe is one: without it rustc warns, and the warning would be stored."""
    with (tmp_path / "jobserver").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        run(place, f"echo token > /proc/self/fd/{file.fileno()}\n")
    assert (tmp_path / "jobserver").read_text() == "token\n"


def test_signals_are_as_a_shell_has_them(place: Place) -> None:
    """Python ignores these two, and what is ignored stays ignored across exec."""
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    finished = run(place, "grep SigIgn /proc/self/status\n")
    ignored = int(finished.stdout.split()[1], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored >> (number - 1) & 1


@pytest.mark.parametrize("driver", [(), ("/opt/rustc",)])
def test_a_command_line_that_is_too_long_goes_through_a_file(driver: Tuple[str, ...], place: Place) -> None:
    words = ["--cfg", "x" * 200_000, "--crate-name", "\udc80", "src/lib.rs"]
    finished = run(place, 'for last; do :; done; echo $#; echo "$1" | head -c 1; cat "${last#@}"\n', *driver, *words)
    count, first, text = finished.stdout.split(b"\n", 2)[0], finished.stdout.split(b"\n")[1][:1], finished.stdout
    assert int(count) == len(driver) + 1
    assert first == (b"/" if driver else b"@")
    assert text.endswith("\n".join(words).encode("utf-8", "surrogateescape"))
    (path,) = Path(place.store.memo_dir()).glob("arguments-*")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "arguments may hold secrets"


LINK_CALL = (
    'LC_ALL="C" PATH="/opt/toolchain/lib/rustlib/x86_64-unknown-linux-gnu/bin:/usr/bin" VSLANG="1033" "cc" "-m64" '
    '"/tmp/rustcAbCdEf/symbols.o" "x.rcgu.o" "-Wl,--as-needed" "-o" "x"'
)


@pytest.mark.parametrize("asked", [True, False])
def test_the_linkers_call_is_heard_where_we_asked_for_it(
    asked: bool, place: Place, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    text = f"echo first; echo '{LINK_CALL}'; echo '\"a\" \"b\"'; echo last\n"
    finished = run(place, text, *([compile.PRINT_LINKER] if asked else []), kind="bin")
    call = LINK_CALL.encode() + b"\n"
    assert finished.link_arguments == ([call] if asked else [])
    printed = b"first\n" + (b"" if asked else call) + b'"a" "b"\nlast\n'
    assert capfdbinary.readouterr().out == finished.stdout == printed


DRIVER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from kachelib import compile
from tests.actions import Place
place = Place(Path(sys.argv[1]))
finished = compile.run(sys.argv[2:], place.store, place.action())
print(finished.status, flush=True)
"""


def test_a_line_is_passed_on_while_the_compiler_still_runs(place: Place, tmp_path: Path) -> None:
    """Cargo starts dependants when it reads that the metadata are there."""
    os.mkfifo(tmp_path / "go")
    compiler = rustc(
        place, f"printf '{{\"artifact\"' >&2; echo ':1}}' >&2; read word < {tmp_path}/go; echo $word >&2\n"
    )
    code = DRIVER.format(path=[str(REPOSITORY), *PACKAGES])
    command = [sys.executable, "-B", "-c", code, str(tmp_path / "inner"), compiler]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stderr is not None
        assert process.stderr.readline() == b'{"artifact":1}\n'
        assert process.poll() is None
        go = os.open(tmp_path / "go", os.O_RDWR)
        os.write(go, b"gone on\n")
        assert process.stderr.readline() == b"gone on\n"
        os.close(go)
        assert process.stdout.read() == b"0\n"
    finally:
        process.kill()
        process.wait()


def test_extra_inputs_are_named_in_the_dep_info_that_rustc_wrote(place: Place) -> None:
    place.write("kache.toml", "extra_inputs = ['data/*']\n")
    place.write("data/a", "")
    path = place.out / f"{STEM}.d"
    path.write_text("x.d: src/lib.rs\n\nsrc/lib.rs:\n")
    compile.extend_depinfo(place.action())
    ws = place.directory
    assert path.read_text() == f"x.d: src/lib.rs {ws}/kache.toml {ws}/data/a {ws}/data\n\nsrc/lib.rs:\n"
    (ws / "kache.toml").unlink()
    path.write_text("x.d: src/lib.rs\n")
    compile.extend_depinfo(place.action())
    assert path.read_text() == "x.d: src/lib.rs\n"


# The environment

TELL = """
import sys
sys.path[:0] = {path!r}
from kachelib import compile
import json
found = compile.environment()
print(json.dumps({{name.decode("latin-1"): value.decode("latin-1") for name, value in found.items()}}))
"""

# As Cargo does: a process with an environment of its own starts the wrapper with another one.
CARGO = """
import json, os, sys
os.chdir(sys.argv[3])
pid = os.fork()
if pid == 0:
    os.execve(sys.argv[1], [sys.argv[1], "-c", 'exec "$0" "$@"', *sys.argv[4:]], json.loads(sys.argv[2]))
sys.exit(os.waitpid(pid, 0)[1] != 0)
"""

Environment = Dict[str, str]


@pytest.fixture(params=SHELLS)
def through_shell(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Environment]:
    """``through_shell(cargo, call)``: what a compiler gets when Cargo, which has the one, calls with the other."""
    shell = shutil.which(request.param) or ""

    def ask(cargo: Environment, call: Environment, cwd: Optional[Path] = None) -> Environment:
        code = TELL.format(path=[str(REPOSITORY), *PACKAGES])
        inner = [sys.executable, "-I", "-S", "-B", "-c", code]
        outer = [sys.executable, "-I", "-S", "-c", CARGO, shell, json.dumps(call), str(cwd or tmp_path), *inner]
        done = subprocess.run(outer, env=cargo, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        # Python's own doing, which the file's launcher undoes
        found.pop("LC_CTYPE", None)
        return dict(found)

    return ask


def test_the_compiler_gets_what_cargo_gave(through_shell: Callable[..., Environment]) -> None:
    """Names that are no identifiers, which dash drops; what shells add and change."""
    cargo = {
        "CARGO_BIN_EXE_my-app": "/ws/target/my-app",
        "DEP_TAURI:WINDOW__X": "a=b\nc",
        "a.b": "",
        "CHANGED": "by cargo",
        "NOT_FOR_THE_COMPILER": "1",
        "PWD": "/where/cargo/was/started",
        "SHLVL": "7",
    }
    call = {**cargo, "CHANGED": "for this call", "CARGO_PKG_NAME": "x", "OLDPWD": "", "_": "cargo"}
    del call["NOT_FOR_THE_COMPILER"], call["OLDPWD"], call["_"]
    assert through_shell(cargo, call) == call


def test_what_no_one_set_stays_unset(through_shell: Callable[..., Environment]) -> None:
    assert through_shell({"A": "1"}, {"A": "1", "B": "2"}) == {"A": "1", "B": "2"}


def test_what_a_build_script_set_reaches_the_compiler(
    through_shell: Callable[..., Environment], tmp_path: Path
) -> None:
    out = tmp_path / "target/debug/build/x-1/out"
    out.mkdir(parents=True)
    (out.parent / "output").write_text(
        "cargo:rustc-env=odd-name=1=2\ncargo::rustc-env=odd.er=\ncargo:rustc-env=PLAIN=old\ncargo:rustc-cfg=x=y\n"
    )
    call = {"OUT_DIR": str(out), "odd-name": "1=2", "odd.er": "", "PLAIN": "new"}
    assert through_shell({}, call) == call


def test_what_cargos_configuration_sets_reaches_the_compiler(
    through_shell: Callable[..., Environment], tmp_path: Path
) -> None:
    (tmp_path / "ws/.cargo").mkdir(parents=True)
    (tmp_path / "ws/.cargo/config.toml").write_text("[env]\n'odd-name' = 'value'\nPLAIN = 'configured'\n")
    call = {"odd-name": "value", "PLAIN": "from the shell"}
    assert through_shell({}, call, tmp_path / "ws") == call


@pytest.mark.parametrize("out", ["/nowhere/out", "relative", "/", ""])
def test_an_odd_out_dir_harms_nothing(out: str, through_shell: Callable[..., Environment]) -> None:
    assert through_shell({}, {"OUT_DIR": out}) == {"OUT_DIR": out}

"""The story of one call: who answers, how often a compiler runs, what is told of it, and that trouble is not a build's.

The compiler here is a script, so that a call costs little; it writes what it read into its outputs.
"""

import json
import os
import posix
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import pytest

from kachelib import invocation, rustc
from tests.actions import STEM, VERSION
from tests.world import REPOSITORY, Event, World

PACKAGES = [path for path in sys.path if path.endswith("site-packages")]
RMETA, RLIB, DEPINFO = f"lib{STEM}.rmeta", f"lib{STEM}.rlib", f"{STEM}.d"

DRIVER = """
import sys
sys.path[:0] = {path!r}
from kachelib import wrapper
{patch}
sys.exit(wrapper.main(sys.argv[1:]))
"""

RUSTC = """#!/bin/sh
case "$*" in *--print*sysroot*) echo /opt/toolchain; exit;; *-vV*) cat '{base}/version'; exit;; esac
printf '%s\\n' "$*" >> '{base}/calls'
[ -f '{base}/does' ] && . '{base}/does'
out=
for word; do
    case $previous in --out-dir) out=$word;; esac
    previous=$word
done
[ -n "$out" ] || exit 0
echo "warning: said" >&2
echo "$out/{depinfo}: src/lib.rs" > "$out/{depinfo}"
echo >> "$out/{depinfo}"
echo "src/lib.rs:" >> "$out/{depinfo}"
cat src/lib.rs > "$out/{rmeta}"
printf '!<arch>\\n' > "$out/{rlib}"
for name in {rmeta} {rlib}; do
    case $name in *.rlib) emit=link;; *) emit=metadata;; esac
    printf '{{"artifact":"%s/%s","emit":"%s"}}\\n' "$out" $name $emit >&2
done
"""


class Bench:
    """A package with a compiler of its own; ``call`` is one call as Cargo makes it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.base = world.root / "compiler"
        self.base.mkdir()
        (self.base / "version").write_text(VERSION)
        self.compiler = self.base / "rustc"
        self.compiler.write_text(RUSTC.format(base=self.base, depinfo=DEPINFO, rmeta=RMETA, rlib=RLIB))
        self.compiler.chmod(0o755)
        self.ws = world.workspace({"src/lib.rs": "one\n", "Cargo.toml": ""})
        self.out = self.ws / "target/debug/deps"
        self.out.mkdir(parents=True)
        (self.ws / "target/CACHEDIR.TAG").write_text("")

    def arguments(self, *more: str, kind: str = "lib", out: "str | Path" = "") -> List[str]:
        line = "--crate-name x --edition=2021 src/lib.rs --error-format=json --json=artifacts --crate-type"
        line += f" {kind} --emit=dep-info,metadata,link -C metadata=1 -C extra-filename=-1 --out-dir {out or self.out}"
        return [*line.split(), *more]

    def start(
        self,
        *words: str,
        env: Optional[Mapping[str, str]] = None,
        patch: str = "",
        cwd: Optional[Path] = None,
        compiler: Sequence[str] = (),
    ) -> "subprocess.Popen[str]":
        """Start the wrapper in a bare interpreter, as the file does. patch: Python that runs before it."""
        code = DRIVER.format(path=[str(REPOSITORY), *PACKAGES], patch=patch)
        command = [
            sys.executable,
            "-I",
            "-S",
            "-X",
            "utf8",
            "-B",
            "-c",
            code,
            *(compiler or [str(self.compiler)]),
            *words,
        ]
        environ = {**self.world.env, "CARGO_MANIFEST_DIR": str(self.ws), **(env or {})}
        return subprocess.Popen(
            command, cwd=cwd or self.ws, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def call(self, *words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run the wrapper; without words, the ordinary library."""
        process = self.start(*(words or self.arguments()), **options)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def does(self, text: str) -> None:
        """What the compiler does before its work."""
        (self.base / "does").write_text(text + "\n")

    def rests(self) -> None:
        (self.base / "does").unlink()

    def calls(self) -> List[str]:
        """The command lines of all compiles so far; questions do not count."""
        path = self.base / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def events(self) -> List[Event]:
        return self.world.events()

    def last(self) -> Event:
        return self.events()[-1]

    def clean(self) -> None:
        for path in self.out.iterdir():
            path.unlink()

    def source(self, text: str) -> None:
        (self.ws / "src/lib.rs").write_text(text)
        # what was written within the last tick cannot be told from what changes during the compile
        time.sleep(0.02)

    def outputs(self) -> Dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.iterdir()}


@pytest.fixture
def bench(world: World) -> Bench:
    return Bench(world)


# Hit and miss


def test_compiled_once_and_restored_from_then_on(bench: Bench) -> None:
    first = bench.call()
    assert first.returncode == 0 and len(bench.calls()) == 1
    event = bench.last()
    assert (event["result"], event["compiler_runs"], event["crate_name"]) == ("miss", 1, "x")
    assert event["reason"] == "no earlier compile of this action"
    outputs = bench.outputs()
    bench.clean()
    again = bench.call()
    assert len(bench.calls()) == 1
    assert bench.outputs() == outputs
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, first.stderr)
    hit = bench.last()
    assert (hit["result"], hit["compiler_runs"], hit["cache_key"]) == ("local_hit", 0, event["cache_key"])
    assert hit["compile_time_ms"] == event["compile_time_ms"] and "reason" not in hit


def test_another_source_is_a_miss_and_the_first_is_a_hit_still(bench: Bench) -> None:
    bench.call()
    bench.source("two\n")
    bench.call()
    assert bench.last()["reason"] == "<workspace>/src/lib.rs differs"
    assert bench.outputs()[RMETA] == b"two\n"
    bench.source("one\n")
    bench.call()
    assert bench.last()["result"] == "local_hit" and len(bench.calls()) == 2
    assert bench.outputs()[RMETA] == b"one\n"


def test_the_same_bytes_from_another_compile_are_a_dup(bench: Bench) -> None:
    bench.call()
    bench.call(env={"KACHE_KEY_SALT": "another"})
    assert bench.last()["result"] == "dup" and len(bench.calls()) == 2


def test_a_blob_that_is_gone_is_a_miss_that_mends_it(bench: Bench) -> None:
    bench.call()
    for path in (bench.world.cache_dir / "store").glob("*/*"):
        path.unlink()
    bench.call()
    assert bench.last()["reason"] == "a blob is missing" and len(bench.calls()) == 2
    bench.call()
    assert bench.last()["result"] == "local_hit"


def test_a_target_that_cannot_be_written_is_the_compilers_to_tell(bench: Bench) -> None:
    bench.call()
    shutil.rmtree(bench.ws / "target")
    (bench.ws / "target").write_text("no directory")
    assert bench.call().returncode == 0
    assert len(bench.calls()) == 2
    assert [event["compiler_runs"] for event in bench.events()] == [1, 1], "and it is no trouble of ours"


def test_two_at_once_compile_once(bench: Bench) -> None:
    bench.does("sleep 0.3")
    running = [bench.start(*bench.arguments()) for _ in range(3)]
    for process in running:
        with process:
            assert process.wait(timeout=60) == 0
    assert len(bench.calls()) == 1
    assert sorted(event["result"] for event in bench.events()) == ["local_hit", "local_hit", "miss"]


def test_whoever_waited_in_vain_compiles_itself(bench: Bench) -> None:
    """The first fails; the others have their own try, and their own words."""
    bench.does("sleep 0.2; echo no >&2; exit 3")
    running = [bench.start(*bench.arguments()) for _ in range(2)]
    for process in running:
        with process:
            assert process.communicate(timeout=60)[1] == "no\n"
            assert process.returncode == 3
    assert len(bench.calls()) == 2


def test_a_second_store_is_looked_into(bench: Bench) -> None:
    bench.call()
    shared = bench.world.root / "shared"
    os.rename(bench.world.cache_dir, shared)
    before = sorted(str(path) for path in shared.rglob("*"))
    bench.clean()
    bench.call(env={"KACHE_READONLY_STORE": str(shared)})
    assert bench.last()["result"] == "local_hit" and len(bench.calls()) == 1
    assert sorted(str(path) for path in shared.rglob("*")) == before


# What changes meanwhile


def test_an_input_of_the_key_that_changes_before_the_compiler_reads_it_is_not_stored(bench: Bench) -> None:
    """A declared input outside the package: only its digest is in the key."""
    shared = bench.world.root / "shared.sql"
    shared.write_text("A")
    (bench.ws / "kache.toml").write_text("extra_inputs = ['../shared.sql']\n")
    time.sleep(0.02)
    bench.does(f"echo BBBB > {shared}; cat {shared} >> src/../target/seen")
    bench.call()
    assert "not stored" in bench.last()["reason"]
    bench.rests()
    shared.write_text("A")
    time.sleep(0.02)
    bench.call()
    assert bench.last()["result"] == "miss"


def test_a_declared_input_that_comes_or_goes_meanwhile_is_not_stored(bench: Bench) -> None:
    (bench.ws / "kache.toml").write_text("extra_inputs = ['data/*']\n")
    (bench.ws / "data").mkdir()
    time.sleep(0.02)
    bench.does("touch data/new")
    bench.call()
    assert "not stored" in bench.last()["reason"]


def test_a_source_that_is_saved_meanwhile_is_not_stored(bench: Bench) -> None:
    bench.does("echo two > src/lib.rs")
    bench.call()
    assert "src/lib.rs changed during the compile" in bench.last()["reason"]
    bench.rests()
    bench.source("one\n")
    bench.call()
    assert bench.last()["result"] != "local_hit"
    assert bench.outputs()[RMETA] == b"one\n"


def test_a_package_file_that_is_written_twice_meanwhile_is_not_stored(bench: Bench) -> None:
    """At the end it is as it was; a macro may have seen it in between."""
    extern = bench.ws / "libmac.rmeta"
    extern.write_text("")
    (bench.ws / "data.sql").write_text("A")
    time.sleep(0.02)
    bench.does("echo B > data.sql; printf A > data.sql")
    bench.call(*bench.arguments("--extern", f"mac={extern}"))
    assert "changed during the compile" in bench.last()["reason"]


# Who is not for the cache


@pytest.mark.parametrize(
    "words",
    [["-vV"], ["-V"], ["--version"], ["--print", "cfg"], ["--print=sysroot"], ["-", "--crate-name", "___"], ["--help"]],
)
def test_a_question_is_the_compilers_and_leaves_no_event(words: List[str], bench: Bench) -> None:
    plain = subprocess.run([str(bench.compiler), *words], capture_output=True, text=True, check=False)
    done = bench.call(*words)
    assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert not bench.world.cache_dir.exists()


def test_switched_off_nothing_is_touched(bench: Bench) -> None:
    words = bench.arguments("-C", "incremental=target/debug/incremental")
    (bench.out / RLIB).symlink_to(bench.ws / "linked")
    assert bench.call(*words, env={"KACHE_DISABLED": "1"}).returncode == 0
    assert bench.calls() == [" ".join(words)]
    assert (bench.ws / "linked").exists(), "the compiler wrote through the link, as it does"
    assert not bench.world.cache_dir.exists()


REFUSED = {
    "emit": ["--emit=dep-info,metadata,asm"],
    "crate_type": ["--crate-type", "sdylib"],
    "output_path": ["-o", "elsewhere"],
    "save_temps": ["-C", "save-temps"],
    "several_sources": ["src/other.rs"],
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused_is_compiled_as_asked(reason: str, bench: Bench) -> None:
    bench.world.cache_dir.mkdir()
    words = bench.arguments(*REFUSED[reason], "-C", "incremental=i")
    done = bench.call(*words)
    assert done.returncode == 0 and "warning: said" in done.stderr
    assert bench.calls() == [" ".join(words)]
    event = bench.last()
    assert event["result"] == "passthrough" and event["reason"].split(":")[0] == reason
    assert event["crate_name"] == "x" and len(bench.events()) == 1


@pytest.mark.parametrize(
    ("reason", "more"),
    [("extern_missing", ["--extern", "a=gone.rmeta"]), ("native_library", ["-l", "static=gone"])],
)
def test_what_is_refused_late_is_compiled_with_the_flags_of_every_compile(
    reason: str, more: List[str], bench: Bench
) -> None:
    """Its dependants find the same bytes in every checkout, and no incremental compile's."""
    bench.world.cache_dir.mkdir()
    assert bench.call(*bench.arguments(*more, "-C", "incremental=i")).returncode == 0
    (call,) = bench.calls()
    assert "incremental" not in call and "--remap-path-prefix=" in call
    event = bench.last()
    assert event["result"] == "passthrough" and event["reason"].split(":")[0] == reason
    assert event["crate_name"] == "x" and len(bench.events()) == 1


def test_what_is_refused_fails_as_the_compiler_does(bench: Bench) -> None:
    bench.does("echo no >&2; exit 7")
    done = bench.call(*bench.arguments("-o", "x"))
    assert (done.returncode, done.stderr) == (7, "no\n")


def test_an_excluded_source_is_skipped(bench: Bench) -> None:
    (bench.ws / ".kache.toml").write_text("[cache]\nexclude = ['src/**']\n")
    bench.world.cache_dir.mkdir()
    bench.call()
    assert bench.last()["result"] == "skipped" and len(bench.calls()) == 1


def test_a_broken_configuration_compiles_uncached(bench: Bench) -> None:
    (bench.ws / ".kache.toml").write_text("[cache\n")
    bench.world.cache_dir.mkdir()
    done = bench.call()
    assert done.returncode == 0 and len(bench.calls()) == 1
    assert bench.last()["reason"].startswith("config: ")
    assert done.stderr.startswith("warning: said")


@pytest.mark.parametrize("where", ["here", "above the outputs"])
def test_the_projects_configuration_is_found(where: str, bench: Bench) -> None:
    out = bench.world.root / "elsewhere/target/debug/deps"
    out.mkdir(parents=True)
    directory = bench.ws if where == "here" else bench.world.root / "elsewhere"
    (directory / ".kache.toml").write_text("[cache]\nexclude = ['**']\n")
    bench.world.cache_dir.mkdir()
    bench.call(*bench.arguments(out=out))
    assert bench.last()["result"] == "skipped"


def test_programs_are_linked_each_time_unless_asked_for(bench: Bench) -> None:
    """With the same flags as their libraries, and without incremental."""
    incremental = bench.ws / "target/debug/incremental"
    for name in ("x-1abc", "other-1abc"):
        (incremental / name).mkdir(parents=True)
    words = bench.arguments("-C", f"incremental={incremental}", kind="bin")
    assert bench.call(*words).returncode == 0
    (line,) = bench.calls()
    assert f"--remap-path-prefix={bench.ws}=" in line and "incremental" not in line
    assert sorted(path.name for path in incremental.iterdir()) == ["other-1abc"]


def test_incremental_directories_stay_where_that_is_asked_for(bench: Bench) -> None:
    incremental = bench.ws / "target/debug/incremental"
    (incremental / "x-1abc").mkdir(parents=True)
    words = bench.arguments("-C", f"incremental={incremental}")
    bench.call(*words, env={"KACHE_CLEAN_INCREMENTAL": "0"})
    assert (incremental / "x-1abc").exists()
    bench.call(*words)
    assert bench.last()["result"] == "local_hit"
    assert not (incremental / "x-1abc").exists()


def test_an_unknown_workspace_wrapper_is_run_each_time(bench: Bench) -> None:
    bench.world.cache_dir.mkdir()
    mine = bench.base / "mine"
    mine.write_text('#!/bin/sh\nshift\nexec "$0/../rustc" "$@"\n'.replace("$0/..", str(bench.base)))
    mine.chmod(0o755)
    for _ in range(2):
        assert bench.call(*bench.arguments(), compiler=[str(mine), str(bench.compiler)]).returncode == 0
    assert len(bench.calls()) == 2
    assert bench.last()["reason"] == f"workspace_wrapper: {mine}"


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["rustc", "--crate-name", "x"], 1),
        (["/a/rustc", "-vV"], 1),
        (["clippy-driver", "rustc", "-vV"], 2),
        (["/a/clippy-driver", "/b/rustc", "--crate-name", "x"], 2),
        (["/a/wrapper", "/b/rustc", "-"], 2),
        (["rustc", "src/lib.rs"], 1),
        (["rustc"], 1),
        (["rustc-1.80", "-O"], 1),
    ],
)
def test_a_command_is_told_from_its_arguments(argv: List[str], command: int) -> None:
    assert rustc.split_command(argv) == (argv[:command], argv[command:])


# How a compile ends


def test_a_compile_that_fails_fails_and_is_not_kept(bench: Bench) -> None:
    bench.does("echo out; echo no >&2; exit 101")
    done = bench.call()
    assert (done.returncode, done.stdout, done.stderr) == (101, "out\n", "no\n")
    assert (bench.last()["result"], bench.last()["reason"]) == ("passthrough", "the compiler failed")
    assert not (bench.world.cache_dir / "entries").exists()
    bench.rests()
    assert bench.call().returncode == 0
    assert bench.last()["result"] == "miss"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT, signal.SIGABRT])
def test_a_compiler_that_a_signal_ended_ends_kache_as_well(number: signal.Signals, bench: Bench) -> None:
    """And is not started again: an OOM killer would come a second time."""
    bench.does(f"ulimit -c 0; kill -{int(number)} $$")
    assert bench.call().returncode == -number
    assert len(bench.calls()) == 1


@pytest.mark.parametrize("code", [0, 1, 101, 255])
def test_an_exit_status_is_passed_on(code: int) -> None:
    assert invocation.end_like(code << 8) == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP])
def test_to_end_like_a_signal_is_to_die_of_it(number: signal.Signals) -> None:
    pid = posix.fork()
    if pid == 0:
        try:
            invocation.end_like(number)
        finally:
            posix._exit(99)
    assert os.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1]) == -number


def test_interrupted_both_end_and_nothing_is_left(bench: Bench) -> None:
    """Ctrl-C reaches the whole group."""
    bench.does("exec sleep 60")
    code = DRIVER.format(path=[str(REPOSITORY), *PACKAGES], patch="")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", code, str(bench.compiler), *bench.arguments()],
        cwd=bench.ws,
        env={**bench.world.env, "CARGO_MANIFEST_DIR": str(bench.ws)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not bench.calls() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT
    assert not (bench.world.cache_dir / "entries").exists()
    bench.rests()
    assert bench.call().returncode == 0, "no claim holds it up"
    assert bench.last()["result"] == "miss"


def test_a_compiler_that_is_not_there_is_127(bench: Bench) -> None:
    done = bench.call(*bench.arguments(), compiler=["/nowhere/rustc"])
    assert (done.returncode, done.stderr) == (127, "kache: cannot run /nowhere/rustc: No such file or directory\n")


def test_a_compiler_that_is_handed_over_to_has_a_shells_signals(bench: Bench) -> None:
    bench.does("grep SigIgn /proc/self/status; exit 0")
    done = bench.call(*bench.arguments("-o", "x"))
    ignored = int(done.stdout.split()[1], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored >> (number - 1) & 1


def test_long_command_lines_reach_the_compiler(bench: Bench) -> None:
    """Cargo falls back on an argument file; expanded, it fits no command line."""
    words = bench.base / "words"
    for kind in ("lib", "bin"):
        words.write_text("\n".join([*bench.arguments(kind=kind), "--cfg", "x" * 300_000]) + "\n")
        assert bench.call(f"@{words}").returncode == 0
        assert bench.calls()[-1].startswith(("@", "-")) and len(bench.calls()[-1]) < 3000


# Trouble


BEFORE = (
    "config.load",
    "extra_inputs.read",
    "roots.find",
    "toolchain.identify",
    "action.build",
    "action.decide_remapping",
    "inputs.package_fingerprint",
    "inputs.difference",
    "replay.restore",
    "replay.say",
    "wrapper.remove_incremental",
)
AFTER = ("events.append", "log.progress", "log.for_wrapper", "action.changed_input", "wrapper.record", "invocation.say")


def breaks(name: str) -> str:
    """Python that makes a function of the wrapper's raise what no one expects."""
    module, _, function = name.partition(".")
    return (
        f"from kachelib import {module} as place\n"
        f"def broken(*_, **__): raise RuntimeError('a bug')\nplace.{function} = broken"
    )


@pytest.mark.parametrize("name", BEFORE + AFTER)
@pytest.mark.parametrize("stored", [False, True], ids=["miss", "hit"])
def test_a_bug_costs_the_cache_and_not_the_build(name: str, stored: bool, bench: Bench) -> None:
    """Exit status, files and words are the compiler's, and it runs once at most."""
    if stored:
        assert bench.call().returncode == 0
        bench.clean()
    plain = subprocess.run(
        [str(bench.compiler), *bench.arguments()], cwd=bench.ws, capture_output=True, text=True, check=True
    )
    outputs = bench.outputs()
    bench.clean()
    before = len(bench.calls())
    done = bench.call(patch=breaks(name))
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)
    assert bench.outputs() == outputs
    assert len(bench.calls()) - before <= 1


@pytest.mark.parametrize("name", ["collect", "publish"])
def test_a_bug_in_storing_is_told_in_the_event(name: str, bench: Bench) -> None:
    patch = f"def broken(*_): raise RuntimeError('a bug')\nfrom kachelib import collect\ncollect.{name} = broken"
    assert bench.call(patch=patch).returncode == 0
    assert bench.last()["reason"].endswith("; not stored: a bug") and len(bench.calls()) == 1


@pytest.mark.parametrize("part", ["", "store", "entries", "memo", "claims", "events.jsonl"])
@pytest.mark.parametrize("how", ["file", "dangling", "loop"])
def test_a_cache_directory_that_is_none_costs_the_cache_and_not_the_build(part: str, how: str, bench: Bench) -> None:
    path = bench.world.cache_dir / part if part else bench.world.cache_dir
    path.parent.mkdir(exist_ok=True)
    if how == "file":
        path.write_text("in the way")
    else:
        path.symlink_to("/nowhere/at/all" if how == "dangling" else path.name)
    for number in (1, 2):
        done = bench.call()
        assert done.returncode == 0 and done.stderr.startswith("warning: said\n")
        assert set(bench.outputs()) == {RMETA, RLIB, DEPINFO}
        assert len(bench.calls()) <= number
        bench.clean()


def test_no_home_and_no_cache_directory_compiles(bench: Bench) -> None:
    for name in ("HOME", "KACHE_CACHE_DIR", "XDG_CACHE_HOME", "CARGO_HOME"):
        bench.world.env.pop(name, None)
    assert bench.call().returncode == 0
    assert len(bench.calls()) == 1


def test_a_package_directory_that_may_not_be_read_is_no_trouble(bench: Bench, require_tool: Any) -> None:
    """A database's, left by a container: who runs the compiler sees no more of it."""
    extern = bench.ws / "libmac.rmeta"
    extern.write_text("")
    (bench.ws / "data").mkdir(mode=0)
    (bench.ws / "secret").write_text("")
    (bench.ws / "secret").chmod(0)
    time.sleep(0.02)
    command: List[str] = []
    if os.geteuid() == 0:
        command = [require_tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]
    code = DRIVER.format(path=[str(REPOSITORY), *PACKAGES], patch="")
    words = [sys.executable, "-I", "-S", "-B", "-c", code, str(bench.compiler)]
    environ = {**bench.world.env, "CARGO_MANIFEST_DIR": str(bench.ws)}
    for _ in range(2):
        subprocess.run(
            [*command, *words, *bench.arguments("--extern", f"mac={extern}")], cwd=bench.ws, env=environ, check=True
        )
    assert [event["result"] for event in bench.events()] == ["miss", "local_hit"]


def test_many_at_once_of_many_crates_all_pass(bench: Bench) -> None:
    """No event is lost, none is cut."""
    done: List[int] = []

    def one(number: int) -> None:
        done.append(bench.call(*bench.arguments("--cfg", f"n{number % 4}")).returncode)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0] * 8
    assert len(bench.events()) == 8
    text = (bench.world.cache_dir / "events.jsonl").read_text()
    assert all(json.loads(line) for line in text.splitlines())

"""log: who hears what, and that the wrapper's own standard error stays the compiler's."""

import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, List, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import log
from kachelib.config import Settings
from tests.world import REPOSITORY, World

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="Cargo's standard error is found by way of /proc")


def settings(**values: Any) -> Settings:
    made = Settings()
    for name, value in {"log": "kache=warn", "log_file": "off", "log_path": "", "progress": "auto", **values}.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("text", "target", "level"),
    [
        ("kache=debug", "kache", log.DEBUG),
        ("kache=debug", "kache::store", log.DEBUG),
        ("kache=DEBUG", "kache", log.DEBUG),
        ("debug", "kache::store", log.DEBUG),
        ("off", "kache", log.OFF),
        ("kache=off", "kache", log.OFF),
        ("kache", "kache", log.TRACE),
        ("kache::store", "kache::store", log.TRACE),
        ("kache::store=trace,warn", "kache::store", log.TRACE),
        ("kache::store=trace,warn", "kache::store::blob", log.TRACE),
        ("kache::store=trace,warn", "kache::storehouse", log.WARN),
        ("kache::store=trace,warn", "kache", log.WARN),
        ("warn,kache::store=trace", "kache::store", log.TRACE),
        (" kache = info , kache::store = error ", "kache::store", log.ERROR),
        ("kache::store=trace", "kache", log.OFF),
        ("kache=4", "kache", log.DEBUG),
        ("2", "kache", log.WARN),
        ("warning", "kache", log.WARN),
        ("kache[span{field=1,other}]=debug", "kache", log.DEBUG),
        # what is not understood, and what is another program's, leaves the default
        ("", "kache", log.WARN),
        ("kache=loud", "kache", log.WARN),
        ("=", "kache", log.WARN),
        (",,", "kache", log.WARN),
        ("hyper=trace", "kache", log.WARN),
        ("hyper", "kache", log.WARN),
        ("kachette=trace", "kache", log.WARN),
        ("hyper=trace,kache=info", "kache", log.INFO),
        ("kache=9", "kache", log.WARN),
    ],
)
def test_filters(text: str, target: str, level: int) -> None:
    assert log.Filter(text, "kache=warn").level(target) == level


@given(st.text() | st.text("kache:=,warndebug[]{}0123456789 "))
def test_any_text_is_a_filter(text: str) -> None:
    assert log.OFF <= log.Filter(text, "kache=warn").level("kache::store") <= log.TRACE


def test_a_command_speaks_on_its_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    speaker = log.for_command(settings(log="kache::store=debug,kache=warn"))
    speaker.warn("one")
    speaker.info("two")
    speaker.debug("three", "kache::store")
    speaker.error("four")
    assert capfd.readouterr().err == "kache: warn: one\nkache::store: debug: three\nkache: error: four\n"
    assert speaker.wants(log.DEBUG, "kache::store") and not speaker.wants(log.INFO)


def test_a_line_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    speaker = log.for_command(settings())
    speaker.warn("a\nb\x1b[31m\udc80é")
    speaker.warn("é" * 10_000)
    first, second = capfd.readouterr().err.splitlines()
    assert first == "kache: warn: a\\nb\\x1b[31m\\udc80é"
    assert len(second.encode()) < 4096 and second.endswith("é...")


def test_a_closed_standard_error_is_no_error() -> None:
    code = "import os; os.close(2); log.for_command(settings).warn('x'); log.for_wrapper(settings).warn('x')"
    assert run_python(code).returncode == 0


# Cargo, as far as the wrapper sees it: a parent of that name, whose child's standard error is another than its own.
# (In a subshell, for dash redirects its own standard error while it starts a command.)
CARGO = '#!/bin/sh\n(exec "$@" 2>"$OWN")\nexit $?\n'


def program(code: str, log_filter: str = "kache=warn", progress: str = "auto") -> List[str]:
    start = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from kachelib import log\nfrom kachelib.config import Settings\n"
        "settings = Settings()\n"
        f"settings.log, settings.progress = {log_filter!r}, {progress!r}\n"
        "settings.log_file, settings.log_path = 'off', ''\n"
    )
    return [sys.executable, "-B", "-c", start + code]


def run_python(code: str, **values: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(program(code, **values), capture_output=True, text=True, check=False)


class Called:
    """A compile as Cargo starts it: what the wrapper's own standard error got."""

    def __init__(self, world: World, name: str = "cargo", script: str = CARGO) -> None:
        self.own = world.root / "own"
        self.cargo = world.root / "bin" / name
        self.cargo.parent.mkdir(exist_ok=True)
        self.cargo.write_text(script)
        self.cargo.chmod(0o755)

    def run(self, code: str, stderr: Union[int, Any] = subprocess.PIPE, **values: str) -> str:
        done = subprocess.run(
            [str(self.cargo), *program(code, **values)],
            env={**os.environ, "OWN": str(self.own)},
            stderr=stderr,
            check=True,
            timeout=60,
        )
        return (done.stderr or b"").decode()


@pytest.fixture
def called(world: World) -> Callable[..., Called]:
    return lambda *words, **named: Called(world, *words, **named)


SPEAK = "log.for_wrapper(settings).warn('spoken')\nlog.for_wrapper(settings).info('not spoken')\n"
PROGRESS = "log.progress(settings, 'crate: hit')\n"


@needs_proc
def test_the_wrapper_speaks_on_cargos_standard_error(called: Callable[..., Called]) -> None:
    cargo = called()
    assert cargo.run(SPEAK) == "kache: warn: spoken\n"
    assert cargo.own.read_text() == ""
    assert cargo.run(SPEAK, log_filter="off") == ""
    assert called("cargo-web").run(SPEAK) == "kache: warn: spoken\n"


@needs_proc
def test_not_on_a_standard_error_that_is_its_own_as_well(called: Callable[..., Called]) -> None:
    # so Cargo would store it, or a shell between the two
    assert called(script='#!/bin/sh\n"$@"\nexit $?\n').run(SPEAK + PROGRESS, progress="always") == ""


@needs_proc
def test_not_on_that_of_another_parent(called: Callable[..., Called]) -> None:
    cargo = called("make")
    assert cargo.run(SPEAK + PROGRESS, progress="always") == ""
    assert cargo.own.read_text() == ""


@needs_proc
def test_a_file_gets_lines_only_where_cargo_appends(called: Callable[..., Called], world: World) -> None:
    cargo = called()
    path = world.root / "log"
    with path.open("w") as file:
        cargo.run(SPEAK, stderr=file)
    assert path.read_text() == "", "Cargo would write over it"
    with path.open("a") as file:
        cargo.run(SPEAK, stderr=file)
    assert path.read_text() == "kache: warn: spoken\n"


@needs_proc
def test_what_cannot_be_opened_is_passed_over(called: Callable[..., Called]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        called().run(SPEAK + PROGRESS, stderr=theirs)


@needs_proc
def test_a_slow_reader_holds_up_no_build(called: Callable[..., Called]) -> None:
    reading, writing = os.pipe()
    try:
        # a hundred times what a pipe takes, and nobody reads
        called().run("for _ in range(2000):\n log.for_wrapper(settings).warn('x' * 3000)\n", stderr=writing)
    finally:
        os.close(reading)
        os.close(writing)


@needs_proc
@pytest.mark.parametrize(
    ("progress", "on_a_pipe", "on_a_terminal"), [("auto", True, False), ("always", True, True), ("never", False, False)]
)
def test_progress(progress: str, on_a_pipe: bool, on_a_terminal: bool, called: Callable[..., Called]) -> None:
    cargo = called()
    assert cargo.run(PROGRESS, progress=progress) == "crate: hit\n" * on_a_pipe
    ours, theirs = pty.openpty()
    try:
        cargo.run(PROGRESS, stderr=theirs, progress=progress)
        os.set_blocking(ours, False)
        try:
            shown = os.read(ours, 1000)
        except BlockingIOError:
            shown = b""
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown == b"crate: hit\r\n" * on_a_terminal
    assert cargo.own.read_text() == ""


@needs_proc
def test_lines_of_many_compiles_do_not_mix(called: Callable[..., Called]) -> None:
    script = '#!/bin/sh\nfor i in 1 2 3 4; do (exec "$@" 2>"$OWN") & done\nwait\n'
    shown = called(script=script).run("for _ in range(50):\n log.progress(settings, 'x' * 200)\n")
    # a full pipe drops lines and never cuts one
    assert set(shown.splitlines()) == {"x" * 200}


@needs_proc
def test_once_for_each_run_of_cargo(called: Callable[..., Called], world: World) -> None:
    memo = world.root / "memo"
    code = (
        f"voice = log.for_wrapper(settings)\nvoice.warn_once('odd', {str(memo)!r})\nvoice.warn_once('too', '/proc/x')\n"
        "voice.warn_once('and', '')\n"
    )
    script = '#!/bin/sh\nfor i in 1 2 3; do (exec "$@" 2>"$OWN"); done\nexit $?\n'
    cargo = called(script=script)
    line = "kache: warn: too\nkache: warn: and\n"
    assert cargo.run(code) == "kache: warn: odd\n" + line * 3, "where it cannot be kept it is said"
    assert cargo.run(code) == "kache: warn: odd\n" + line * 3, "another run of Cargo"
    assert cargo.run(code, log_filter="off") == ""


@needs_proc
def test_what_is_not_wanted_opens_nothing(called: Callable[..., Called]) -> None:
    code = (
        "opened = []\n"
        "sys.addaudithook(lambda event, _: opened.append(event) if event in ('open', 'import') else None)\n"
        "settings.log_file, settings.log_path = 'kache=info', '/nowhere/kache.log'\n"
        "voice = log.for_wrapper(settings)\n"
        "voice.debug('hit')\nvoice.trace('hit', 'kache::store')\n"
        "sys.stdout.write(repr(opened))\n"
    )
    assert run_python(code).stdout == "[]"
    assert "open" in run_python(code.replace("voice.debug('hit')", "voice.warn('hit')")).stdout


def test_the_file_log(tmp_path: Path) -> None:
    path = tmp_path / "deep/kache/kache.log"
    speaker = log.for_command(settings(log="off", log_file="kache=info", log_path=str(path)))
    speaker.debug("nothing")
    assert not path.exists()
    speaker.info("stored é\n", "kache::store")
    speaker.error("x")
    first, second = path.read_text("utf-8").splitlines()
    stamp, level, process, rest = first.split(None, 3)
    assert time.strptime(stamp.split(".")[0], "%Y-%m-%dT%H:%M:%S") and stamp[-5:-1].isascii() and stamp.endswith("Z")
    assert (level, process, rest) == ("INFO", f"[{os.getpid()}]", "kache::store: stored é\\n")
    assert second.split()[1:] == ["ERROR", f"[{os.getpid()}]", "kache:", "x"]
    assert path.stat().st_mode & 0o077 == 0, "paths are nobody else's business"


def test_the_log_turns_over_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LIMIT", 1000)
    path = tmp_path / "kache.log"
    for number in range(100):
        log.append(str(path), b"%03d %b\n" % (number, b"x" * 95))
    aside = path.with_name("kache.log.1")
    assert sorted(path.name for path in tmp_path.glob("kache*")) == ["kache.log", "kache.log.1"], "one old log is kept"
    # eleven lines of 100 bytes exceed it
    assert len(aside.read_text().splitlines()) == 11
    lines = aside.read_text().splitlines() + path.read_text().splitlines()
    assert [line[:3] for line in lines] == [f"{number:03d}" for number in range(88, 100)]


def test_the_limit_is_5_mb() -> None:
    assert log.LIMIT == 5_000_000


def test_many_writers_lose_nothing_when_the_log_turns_over(tmp_path: Path) -> None:
    path = tmp_path / "kache.log"
    # 4 x 500 lines of 100 bytes: it turns over once, near the end of the first half
    code = (
        "log.LIMIT = 110000\n"
        "for number in range(500):\n"
        " log.append(sys.argv[1], f'{sys.argv[2]} {number:03d} '.ljust(99, 'x').encode() + b'\\n')\n"
    )
    processes = [subprocess.Popen([*program(code), str(path), name]) for name in "abcd"]
    assert [process.wait(60) for process in processes] == [0] * 4
    lines = path.with_name("kache.log.1").read_text().splitlines() + path.read_text().splitlines()
    assert {len(line) for line in lines} == {99}
    assert sorted(line[:5] for line in lines) == [f"{name} {number:03d}" for name in "abcd" for number in range(500)]


def test_a_log_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for path in (
        tmp_path / "file/kache.log",
        tmp_path,
        tmp_path / "pipe",
        Path("/proc/x/kache.log"),
        Path("/dev/full"),
    ):
        log.append(str(path), b"line\n")


@needs_proc
def test_real_cargo_shows_it_and_does_not_keep_it(
    world: World, workspace: Callable[..., Path], require_tool: Callable[[str], str]
) -> None:
    cargo = require_tool("cargo")
    wrapper = world.root / "wrapper"
    start = program(SPEAK + PROGRESS + "import os; os.execvp(sys.argv[1], sys.argv[1:])\n")
    wrapper.write_text("\n".join((f"#!{start[0]} -B", start[-1])))
    wrapper.chmod(0o755)
    # with a warning of the compiler's, Cargo keeps what it read on its standard error
    ws = workspace({"Cargo.toml": '[package]\nname = "a"\nversion = "0.1.0"\n', "src/lib.rs": "fn unused() {}\n"})
    first, second = (world.run([cargo, "build"], cwd=ws, env={"RUSTC_WRAPPER": str(wrapper)}).ok() for _ in range(2))
    assert "kache: warn: spoken\n" in first.stderr and "crate: hit\n" in first.stderr
    assert "`unused` is never used" in second.stderr, "replayed"
    assert "spoken" not in second.stderr and "crate: hit" not in second.stderr

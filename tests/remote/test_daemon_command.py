"""``kache daemon`` and its commands, and how long an uploader stays."""

import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterator, List

import pytest

from tests.remote.machines import Machine
from tests.remote.uploaders import Bucket, Fleet, Uploader, alive, entries, never, one_line, processes, until
from tests.servers.proxy import Proxy, delay, hang, status
from tests.world import Kache


@pytest.fixture
def a(fleet: Fleet) -> Machine:
    return fleet.machine("a", fleet.bucket.env)


def test_status_says_whether_one_runs(a: Machine) -> None:
    uploader = Uploader(a)
    for words in ((), ("status",)):
        run = uploader.command(*words)
        assert run.returncode == 1
        assert run.stdout.strip(), run
    assert uploader.pids() == [], "to ask starts none"
    uploader.command("start").ok()
    uploader.pid()
    for words in ((), ("status",)):
        assert uploader.command(*words).ok().stdout.strip()
    uploader.command("stop").ok()
    uploader.gone()
    assert uploader.command("status").returncode == 1


def test_stop_of_none_is_no_error(a: Machine) -> None:
    uploader = Uploader(a)
    uploader.command("stop").ok()
    uploader.command("start").ok()
    uploader.command("stop").ok()
    uploader.command("stop").ok()
    uploader.gone()


def test_start_of_one_that_runs_leaves_it_alone(a: Machine) -> None:
    uploader = Uploader(a)
    uploader.command("start").ok()
    pid = uploader.pid()
    uploader.command("start").ok()
    assert uploader.pid() == pid
    uploader.command("restart").ok()
    assert uploader.pid() != pid
    assert not alive(pid)


def test_start_stop_and_restart_in_quick_turn(fleet: Fleet, a: Machine) -> None:
    uploader = Uploader(a)
    for words in ("restart", "stop", "start", "restart", "restart", "stop", "stop", "start", "start"):
        uploader.command(words).ok()
        expected = 0 if words == "stop" else 1
        until(lambda count=expected: len(uploader.pids()) == count, f"{expected} of it after {words}")  # type: ignore[misc]
        until(lambda count=expected: uploader.runs() == bool(count), f"{expected} of it after {words}")  # type: ignore[misc]
    assert fleet.libraries(a).compile("first") == "miss"
    uploader.drain().ok()
    assert entries(a) == fleet.bucket.names()


def test_all_of_them_at_once(fleet: Fleet, a: Machine) -> None:
    """Starts, stops and restarts against each other: in the end at most one runs, and a compile finds one."""
    view, uploader = a.view(), Uploader(a)
    running = [
        subprocess.Popen(
            [str(a.kache.path), "daemon", word],
            cwd=a.ws,
            env=view.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for word in ("start", "restart", "stop", "start", "restart", "start")
    ]
    for process in running:
        _, told = process.communicate(timeout=120)
        assert b"Traceback" not in told
    until(lambda: len(uploader.pids()) <= 1, f"one at most of {uploader.pids()}")
    assert fleet.libraries(a).compile("first") == "miss"
    uploader.pid()
    uploader.drain().ok()
    assert entries(a) == fleet.bucket.names()


def test_stop_while_it_pushes_loses_nothing(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    proxy.rule(action=delay(0.5), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "1"})
    fleet.libraries(a).compile_all([f"crate{number}" for number in range(6)])
    uploader = Uploader(a)
    uploader.command("stop").ok()
    uploader.gone()
    assert len(uploader.queue()) + len(proxied.names()) >= 6
    assert uploader.queue()
    proxy.clear()
    uploader.command("start").ok()
    until(lambda: entries(a) == proxied.names(), "what was left")
    until(lambda: uploader.queue() == [], "an empty queue")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_run_stays_in_the_foreground_and_ends_on_a_signal(a: Machine, number: int) -> None:
    uploader = Uploader(a)
    process = started(a, "daemon", "run")
    until(uploader.answers, "an answer")
    assert uploader.runs()
    assert process.poll() is None
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert "Traceback" not in told
    assert not uploader.runs()


def started(a: Machine, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(a.kache.path), *words],
        cwd=a.ws,
        env=a.view().env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_run_beside_one_that_runs_does_not_push_it_aside(a: Machine) -> None:
    uploader = Uploader(a)
    uploader.command("start").ok()
    pid = uploader.pid()
    process = started(a, "daemon", "run")
    _, told = process.communicate(timeout=60)
    assert process.returncode in (0, 1), told
    assert "Traceback" not in told
    assert uploader.pids() == [pid]
    assert uploader.runs()


def test_it_leaves_when_nobody_needs_it(fleet: Fleet, a: Machine) -> None:
    a.env["KACHE_DAEMON_IDLE_TIMEOUT"] = "1"
    uploader = Uploader(a)
    assert fleet.libraries(a).compile("first") == "miss"
    until(lambda: entries(a) == fleet.bucket.names(), "what was queued")
    uploader.gone()
    assert not uploader.runs()
    # and the next one comes by itself
    assert fleet.libraries(a).compile("second") == "miss"
    until(lambda: entries(a) == fleet.bucket.names(), "what was queued later")
    uploader.gone()


def test_with_0_it_never_leaves(a: Machine) -> None:
    a.env["KACHE_DAEMON_IDLE_TIMEOUT"] = "0"
    uploader = Uploader(a)
    uploader.command("start").ok()
    pid = uploader.pid()
    never(lambda: uploader.pids() != [pid], "its end", 4)


def test_it_does_not_leave_its_work(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """Idle is one that has nothing to do; a slow push is no idleness."""
    proxy.rule(action=delay(4), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "1"}, KACHE_DAEMON_IDLE_TIMEOUT="1")
    fleet.libraries(a).compile_all(["first", "second"])
    until(lambda: entries(a) == proxied.names(), "both")
    Uploader(a).gone()
    assert Uploader(a).queue() == []


def copy_of(fleet: Fleet, a: Machine, place: Path) -> None:
    """Let the machine use a kache of its own, at that place."""
    place.parent.mkdir()
    shutil.copy(fleet.kache.path, place)
    a.kache = Kache(fleet.world, place, "file")


def other_build(path: Path, stamp: bytes) -> None:
    """Put another build of kache in the place of this one, as an installer does."""
    data = path.read_bytes()
    found = re.search(rb"BUILD = '([0-9a-f]{16})'", data)
    assert found and len(stamp) == 16
    new = path.with_name(".new")
    new.write_bytes(data.replace(found[1], stamp))
    new.chmod(0o755)
    new.replace(path)


def test_another_build_of_the_file_takes_over(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    a, place = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "1"}), fleet.world.root / "bin" / "kache"
    copy_of(fleet, a, place)
    libraries, uploader = fleet.libraries(a), Uploader(a)
    libraries.compile("first")
    old = uploader.pid()
    # the same file asks again, the same stays
    libraries.compile("second")
    assert uploader.pid() == old
    uploader.drain().ok()
    proxy.rule(action=delay(0.5), method="PUT")
    libraries.compile_all(["third", "fourth"])
    other_build(place, b"0123456789abcdef")
    assert libraries.compile("fifth") == "miss"
    until(lambda: not alive(old), f"the end of the old one\n{uploader.log()}")
    assert libraries.compile("sixth") == "miss"
    new = uploader.pid()
    assert new != old
    uploader.drain().ok()
    assert uploader.pids() == [new]
    assert entries(a) == proxied.names()
    assert uploader.queue() == []


def test_the_file_is_gone(fleet: Fleet) -> None:
    """An uploader whose file was removed still answers, or ends in order: what it was given is pushed."""
    a, place = fleet.machine("a", fleet.bucket.env), fleet.world.root / "bin" / "kache"
    copy_of(fleet, a, place)
    fleet.libraries(a).compile("first")
    Uploader(a).pid()
    place.unlink()
    # another copy speaks to it
    a.kache = fleet.kache
    assert fleet.libraries(a).compile("second") == "miss"
    Uploader(a).drain().ok()
    assert entries(a) == fleet.bucket.names()


def test_the_log_is_shown(fleet: Fleet, a: Machine) -> None:
    uploader = Uploader(a)
    assert uploader.command("log", "--no-follow").returncode in (0, 1)
    fleet.libraries(a).compile_all(["first", "second", "third"])
    uploader.drain().ok()
    uploader.command("restart").ok()
    uploader.command("stop").ok()
    uploader.gone()
    lines = uploader.log().splitlines()
    assert len(lines) >= 4, lines
    assert uploader.command("log", "--no-follow", "-n", "2").ok().stdout.splitlines() == lines[-2:]
    assert uploader.command("log", "-n", "1", "--no-follow").ok().stdout.splitlines() == lines[-1:]
    assert uploader.command("log", "--no-follow", "-n", "100000").ok().stdout.splitlines() == lines
    assert lines[-3:] == uploader.command("log", "--no-follow").ok().stdout.splitlines()[-3:]


def test_the_log_is_followed(a: Machine) -> None:
    uploader = Uploader(a)
    uploader.command("start").ok()
    process = started(a, "daemon", "log", "-n", "1")
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip()
        uploader.command("restart").ok()
        assert process.stdout.readline().strip()
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert "Traceback" not in told
    finally:
        process.kill()
        process.wait()


def test_drain_of_nothing_is_done(fleet: Fleet, a: Machine) -> None:
    uploader = Uploader(a)
    uploader.drain("10s").ok()
    uploader.command("drain").ok()
    off = fleet.machine("off", {}, KACHE_UPLOADER="off")
    Uploader(off).drain("10s").ok()
    assert Uploader(off).pids() == []


def test_drain_ends_when_the_time_is_up(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    proxy.rule(action=hang(), method="PUT")
    a = fleet.machine("a", proxied.env)
    fleet.libraries(a).compile_all(["first", "second"])
    uploader = Uploader(a)
    before = time.monotonic()
    one_line(uploader.drain("2s"))
    took = time.monotonic() - before
    assert 2 <= took < 30
    assert len(uploader.queue()) == 2


def test_drain_waits_for_a_helper_that_still_takes(a: Machine) -> None:
    """Cargo has ended, and what the helper is going to queue is not there yet."""
    memo = a.cache_dir / "memo"
    memo.mkdir(parents=True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    with (memo / f"helper-{ended.pid}-1").open("w") as mark:
        os.utime(mark.name, (1e9, 1e9))
        fcntl.flock(mark, fcntl.LOCK_EX)
        one_line(Uploader(a).drain("1s"))
    Uploader(a).drain("10s").ok()


def test_one_that_never_came_up_is_left_alone_until_somebody_wants_it(fleet: Fleet, a: Machine) -> None:
    memo = a.cache_dir / "memo"
    memo.mkdir(parents=True)
    mark = memo / "uploader-no-use"
    mark.touch()
    began = time.monotonic()
    assert fleet.libraries(a).compile("first") == "miss"
    assert time.monotonic() - began < 3
    assert Uploader(a).pids() == []
    Uploader(a).command("start").ok()
    assert not mark.exists()
    Uploader(a).drain().ok()
    assert entries(a) <= fleet.bucket.names()
    assert fleet.libraries(a).compile("second") == "miss"
    Uploader(a).drain().ok()
    assert entries(a, "second") <= fleet.bucket.names()


@pytest.mark.parametrize(
    "words", [("drain", "--timeout", "soon"), ("drain", "--timeout", "-5s"), ("nonsense",), ("log", "-n", "x")]
)
def test_what_makes_no_sense_is_refused(a: Machine, words: List[str]) -> None:
    run = Uploader(a).command(*words)
    assert run.returncode == 2, run
    assert Uploader(a).pids() == []


def test_secrets_are_nowhere(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    """Neither in files nor in output nor on a command line, when all is well and when nothing is."""
    a = fleet.machine("a", proxied.env, KACHE_LOG_FILE="kache=trace")
    uploader = Uploader(a)
    libraries = fleet.libraries(a)

    def build(name: str) -> None:
        command, options = libraries.command(name), libraries.options(name)
        options["env"]["KACHE_LOG"] = "kache=trace"
        run = a.view().run(command, **options).ok()
        assert proxied.server.secret_key not in run.stderr

    build("first")
    uploader.drain().ok()
    proxy.rule(action=status(403))
    build("second")
    shown = [uploader.drain("3s"), uploader.command("status"), uploader.command("log", "--no-follow")]
    a.env["KACHE_S3_SECRET_KEY"] = "wrong-but-secret"
    proxy.clear()
    shown += [uploader.command("restart"), uploader.drain("3s"), uploader.command("status")]
    for pid in uploader.pids():
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
        assert proxied.server.secret_key not in line and "wrong-but-secret" not in line
    for secret in (proxied.server.secret_key, "wrong-but-secret"):
        for run in shown:
            assert secret not in run.stdout + run.stderr
        for path in (path for path in (fleet.world.root / "a").rglob("*") if path.is_file()):
            assert secret.encode() not in path.read_bytes(), path


# what systemctl says in a container and over ssh
NO_SYSTEMD = "#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n"


@pytest.fixture(params=["as it is here", "no bus"])
def tools(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[str]:
    """PATH, once with a systemctl that reaches nobody."""
    if request.param == "no bus":
        place = fleet.world.root / "tools" / "systemctl"
        place.parent.mkdir()
        place.write_text(NO_SYSTEMD)
        place.chmod(0o755)
        yield f"{place.parent}{os.pathsep}{fleet.world.env['PATH']}"
    else:
        yield fleet.world.env["PATH"]


def services(fleet: Fleet) -> List[Path]:
    """The units of systemd in any HOME here."""
    return sorted(path for path in fleet.world.root.rglob("*.service") if "systemd" in path.parts)


def test_install_writes_a_unit_and_uninstall_removes_it(fleet: Fleet, tools: str) -> None:
    a, place = fleet.machine("a", fleet.bucket.env, PATH=tools), fleet.world.root / "my tools 100%" / "kache"
    copy_of(fleet, a, place)
    a.env["XDG_CONFIG_HOME"] = str(fleet.world.root / "a/home/.config")
    uploader = Uploader(a)
    first = uploader.command("install")
    assert first.returncode == 0, first
    (unit,) = services(fleet)
    assert unit.parent == fleet.world.root / "a/home/.config/systemd/user"
    text = unit.read_text()
    assert fleet.bucket.server.secret_key not in text + first.stdout + first.stderr
    (line,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    words = shlex.split(line.replace("%%", "%"))
    assert words[-2:] == ["daemon", "run"]
    assert str(place) in words
    assert "%" not in line.replace("%%", ""), "systemd reads % as the start of a specifier"
    for section in ("[Unit]", "[Service]", "[Install]"):
        assert section in text
    # again: the same
    uploader.command("install").ok()
    assert unit.read_text() == text
    assert processes(fleet.world.root) == [], "nothing was to be started"
    uploader.command("status")
    uploader.command("uninstall").ok()
    assert services(fleet) == []
    uploader.command("uninstall")
    assert services(fleet) == []


def test_uninstall_leaves_other_units_alone(fleet: Fleet) -> None:
    a = fleet.machine("a", fleet.bucket.env)
    a.env["XDG_CONFIG_HOME"] = str(fleet.world.root / "a/home/.config")
    other = fleet.world.root / "a/home/.config/systemd/user/other.service"
    other.parent.mkdir(parents=True)
    other.write_text("[Service]\nExecStart=/bin/true\n")
    uploader = Uploader(a)
    uploader.command("uninstall")
    uploader.command("install").ok()
    uploader.command("uninstall").ok()
    assert services(fleet) == [other]
    assert other.read_text() == "[Service]\nExecStart=/bin/true\n"

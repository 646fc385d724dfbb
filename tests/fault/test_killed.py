"""The wrapper, or a whole build, is killed: nothing half is believed afterwards, no lock stays, nothing is lost."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from tests.fault.compilers import Gate, odd
from tests.fault.crate import Crate, remove
from tests.fault.tracing import CHANGES, FALLIBLE, Tracer, changes, some
from tests.world import Cargo, Kache, World


def leftovers(world: World) -> List[Path]:
    """Temporary files in the store."""
    return [path for path in world.cache_dir.rglob(".tmp-*") if path.is_file()]


def test_killed_before_each_change(crate: Crate, world: World, require_tool: Callable[[str], str]) -> None:
    """Each moment of a store, one after the other: before every call that others could notice."""
    tracer = Tracer(require_tool("strace"), crate)
    crate.check(crate.compile())
    remove(world.cache_dir / "entries")
    remove(world.cache_dir / "store")
    killed = 0
    points = changes(tracer.points(CHANGES))
    for point in points:
        remove(world.cache_dir / "entries")
        remove(world.cache_dir / "store")
        found = tracer.inject(point, "signal=KILL")
        killed += found.returncode == -signal.SIGKILL
        crate.check(crate.compile(keep=True))
        assert crate.check(crate.compile()).result == "local_hit", f"after a kill at {point}"
    assert killed > 30, f"{killed} of {len(points)} runs were killed"


def test_killed_before_each_change_of_a_hit(crate: Crate, world: World, require_tool: Callable[[str], str]) -> None:
    tracer = Tracer(require_tool("strace"), crate)
    crate.check_next()
    killed = 0
    for point in changes(tracer.points(CHANGES)):
        killed += tracer.inject(point, "signal=KILL").returncode == -signal.SIGKILL
        # what lies there half restored is overwritten
        crate.check(crate.compile(keep=True))
    assert killed > 8
    crate.check_hit()


def rounds_of_kills(crate: Crate, world: World, rounds: int, last: float) -> int:
    killed = 0
    for number in range(rounds):
        remove(world.cache_dir / "entries")
        remove(world.cache_dir / "store")
        crate.clean()
        process = crate.start()
        time.sleep(last * number / rounds)
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        crate.check(crate.compile(keep=True))
    crate.check_hit()
    return killed


def test_killed_after_growing_delays(crate: Crate, world: World) -> None:
    crate.check(crate.compile())
    started = time.monotonic()
    remove(world.cache_dir / "entries")
    crate.check(crate.compile())
    assert rounds_of_kills(crate, world, 40, 1.2 * (time.monotonic() - started)) > 2


@pytest.mark.soak
def test_killed_after_growing_delays_for_long(crate: Crate, world: World) -> None:
    crate.check(crate.compile())
    assert rounds_of_kills(crate, world, 1500, 0.3) > 300


def test_what_the_killed_left_is_swept(
    crate: Crate, world: World, kache_file: Kache, require_tool: Callable[[str], str]
) -> None:
    """gc leaves what a compile may still be writing; purge takes it, and so does gc once it is old."""
    tracer = Tracer(require_tool("strace"), crate)
    crate.check(crate.compile())
    remove(world.cache_dir / "entries")
    remove(world.cache_dir / "store")
    for point in tracer.points(["rename"]):
        remove(world.cache_dir / "entries")
        if not leftovers(world):
            remove(world.cache_dir / "store")
        tracer.inject(point, "signal=KILL")
    before = leftovers(world)
    assert before
    kache_file.run("gc").ok()
    assert leftovers(world) == before
    told = kache_file.run("doctor", "--verify", env={"RUSTC_WRAPPER": str(kache_file.path)})
    assert "ok    integrity" in told.stdout, f"unfinished files are nothing to worry about\n{told}"
    kache_file.run("purge").ok()
    assert leftovers(world) == []
    crate.check_next()


def test_a_killed_owner_frees_its_claim(crate: Crate, world: World) -> None:
    """Another call that waits for the same key goes on as soon as the owner is gone."""
    gate = Gate(world.root)
    odd(crate, before=gate.shell())
    owner = crate.start(start_new_session=True)
    gate.wait()
    waiter = crate.start()
    time.sleep(0.3)
    assert waiter.poll() is None
    os.killpg(owner.pid, signal.SIGKILL)
    owner.communicate(timeout=60)
    waiter.communicate(timeout=30)
    assert waiter.returncode == 0
    crate.check_hit()


def test_a_stopped_owner_holds_up_nobody_for_ever(crate: Crate, world: World) -> None:
    """Ctrl-Z on one build, and another of the same thing beside it: it waits, and goes on when the first does."""
    gate = Gate(world.root)
    odd(crate, before=gate.shell())
    owner = crate.start(start_new_session=True)
    gate.wait()
    os.killpg(owner.pid, signal.SIGSTOP)
    waiter = crate.start()
    time.sleep(0.2)
    os.killpg(owner.pid, signal.SIGCONT)
    gate.open()
    for process in (owner, waiter):
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_the_whole_group(crate: Crate, world: World, number: int) -> None:
    """Ctrl-C: compiler and wrapper both die of it, at once, and nothing of this compile is kept."""
    gate = Gate(world.root)
    odd(crate, after=gate.shell())
    process = crate.start(start_new_session=True)
    gate.wait()
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == -number
    assert b"Traceback" not in stderr
    assert b"KeyboardInterrupt" not in stderr
    assert crate.store_files("entries") == []
    crate.check_next()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time(crate: Crate, world: World, number: int) -> None:
    for delay in range(0, 200, 20):
        remove(world.cache_dir / "entries")
        crate.clean()
        process = crate.start(start_new_session=True)
        time.sleep(delay / 1000)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode in (0, -number), stderr
        crate.check(crate.compile(keep=True))
    crate.check_hit()


@pytest.mark.parametrize("warm", [False, True])
def test_a_signal_at_each_call(crate: Crate, world: World, require_tool: Callable[[str], str], warm: bool) -> None:
    """Ctrl-C as soon as kache's own code runs: it ends by that signal and says nothing of Python's."""
    tracer = Tracer(require_tool("strace"), crate)
    crate.check_next()
    if not warm:
        remove(world.cache_dir / "entries")
    for point in some(tracer.points(FALLIBLE), 30):
        if not warm:
            remove(world.cache_dir / "entries")
        found = tracer.inject(point, "signal=INT")
        assert b"Traceback" not in found.stderr, f"{point}\n{found.stderr!r}"
        # a signal that comes while the compiler starts may be seen by nobody
        assert found.returncode in (0, -signal.SIGINT), f"{point}\n{found}"
        crate.check(crate.compile(keep=True))


FILES: Dict[str, str] = {
    "Cargo.toml": """
        [workspace]
        resolver = "2"
        members = ["app", "m*"]
    """,
    "app/Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n'
    + "".join(f'm{n} = {{ path = "../m{n}" }}\n' for n in range(8)),
    "app/src/main.rs": "fn main() { let sum: u64 = 0"
    + "".join(f" + m{n}::value()" for n in range(8))
    + '; println!("sum {sum}"); }\n',
    "app/build.rs": 'fn main() { println!("cargo:rerun-if-changed=build.rs"); }\n',
    **{
        f"m{n}/Cargo.toml": f'[package]\nname = "m{n}"\nversion = "0.1.0"\nedition = "2021"\n'
        + (f'[dependencies]\nm{n - 4} = {{ path = "../m{n - 4}" }}\n' if n >= 4 else "")
        for n in range(8)
    },
    **{
        f"m{n}/src/lib.rs": f"pub fn value() -> u64 {{ {n}"
        + (f" + m{n - 4}::value()" if n >= 4 else "")
        + " }\n"
        + "".join(f'pub fn f{i}(x: u64) -> String {{ format!("{{:?}} {n} {i}", x) }}\n' for i in range(30))
        for n in range(8)
    },
}


@pytest.fixture
def workspace_of_nine(world: World) -> Path:
    """A program over eight libraries, half of them on the other half."""
    return world.workspace(FILES)


def test_half_of_a_parallel_build_is_killed(kache_file: Kache, world: World, workspace_of_nine: Path) -> None:
    """SIGKILL to Cargo and all its children at growing delays; the build after it is right, and so is the next."""
    cargo = Cargo(world, kache_file)
    program = workspace_of_nine / "target" / "debug" / "app"
    for number in range(6):
        remove(workspace_of_nine / "target")
        remove(world.cache_dir)
        process = subprocess.Popen(
            ["cargo", "build", "-j8", "-q"],
            cwd=workspace_of_nine,
            start_new_session=True,
            env={**world.env, "RUSTC_WRAPPER": str(kache_file.path)},
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.25 + 0.2 * number)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(timeout=60)
        cargo("build", "-j8", cwd=workspace_of_nine).ok()
        assert world.run([program]).ok().stdout == "sum 34\n"
    remove(workspace_of_nine / "target")
    again = cargo("build", cwd=workspace_of_nine).ok()
    assert again.count("local_hit") == 8, again.results()
    assert world.run([program]).ok().stdout == "sum 34\n"
    assert cargo("build", "-v", cwd=workspace_of_nine).ok().built() == set()


def test_every_other_wrapper_of_a_build_is_killed(kache_file: Kache, world: World, workspace_of_nine: Path) -> None:
    """As the kernel does when memory is short: Cargo reports a failure; called again, it ends well."""
    killer = world.root / "killer"
    killer.write_text(
        "#!/bin/sh\n"
        f"n=$(cat '{world.root}/count' 2>/dev/null || echo 0); n=$((n + 1)); echo $n >'{world.root}/count'\n"
        "case $* in *--crate-name\\ m*|*--crate-name\\ app*)\n"
        "if [ $((n % 2)) = 0 ]; then\n"
        f"  '{kache_file.path}' \"$@\" & sleep 0.0$((n % 10)); kill -9 $!; wait $!; exit 137\n"
        "fi;; esac\n"
        f"exec '{kache_file.path}' \"$@\"\n"
    )
    killer.chmod(0o755)
    for _ in range(30):
        run = world.run(["cargo", "build", "-j4"], cwd=workspace_of_nine, env={"RUSTC_WRAPPER": str(killer)})
        if run.returncode == 0:
            break
    else:
        raise AssertionError(run)
    program = workspace_of_nine / "target" / "debug" / "app"
    assert world.run([program]).ok().stdout == "sum 34\n"
    remove(workspace_of_nine / "target")
    Cargo(world, kache_file)("build", cwd=workspace_of_nine).ok()
    assert world.run([program]).ok().stdout == "sum 34\n"

"""What one machine builds, another one has, and nobody has said a word: the uploader, forked by the wrapper."""

import json
import os
import select
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Dict, List, Mapping, Union

import pytest

from tests.remote.machines import SAYS, Machine, results
from tests.remote.uploaders import (
    HITS,
    Bucket,
    Fleet,
    SharedDisk,
    Uploader,
    WatchedCompiler,
    alive,
    ancestors,
    entries,
    never,
    processes,
    until,
)
from tests.servers.proxy import Proxy, delay, flip_bit

Remote = Union[Bucket, SharedDisk]


@pytest.fixture(params=["s3", "filesystem"])
def remote(request: pytest.FixtureRequest, fleet: Fleet) -> Remote:
    if request.param == "s3":
        return fleet.bucket
    return SharedDisk(fleet.world)


@pytest.fixture
def watched(fleet: Fleet, rust: Mapping[str, str]) -> WatchedCompiler:
    return WatchedCompiler(fleet.world, Path(rust["sysroot"]), rustup="RUSTUP_TOOLCHAIN" in rust)


def built(fleet: Fleet, remote: Remote, **more: str) -> Machine:
    """A machine that has built, and waited until all was pushed."""
    a = fleet.machine("a", remote.env, KACHE_WARM_TARGETS="0", **more)
    a.cargo("build").ok()
    Uploader(a).drain().ok()
    return a


def second(fleet: Fleet, remote: Remote, **more: str) -> Machine:
    """Another HOME, another checkout, an empty store, and only what the wrapper does by itself."""
    return fleet.machine("b", remote.env, KACHE_WARM_TARGETS="0", **more)


def puts(proxy: Proxy) -> List[str]:
    """The objects that were written, once for each time."""
    return [path.partition("?")[0] for method, path, _ in proxy.requests if method not in ("GET", "HEAD")]


def test_a_build_pushes_all_that_it_made(fleet: Fleet, remote: Remote) -> None:
    a = fleet.machine("a", remote.env, KACHE_WARM_TARGETS="0")
    run = a.cargo("build").ok()
    assert set(results([run])) == {"miss"}
    uploader = Uploader(a)
    uploader.drain().ok()
    assert uploader.queue() == []
    assert len(entries(a)) == 5
    assert entries(a) <= remote.names()
    assert uploader.runs()


def test_drain_waits_and_each_object_is_put_once(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    proxy.rule(action=delay(0.5), method="PUT")
    a = fleet.machine("a", {**proxied.env, "KACHE_S3_CONCURRENCY": "1"}, KACHE_WARM_TARGETS="0")
    a.cargo("build").ok()
    # the last of them was made just now
    assert not entries(a) <= proxied.names()
    Uploader(a).drain().ok()
    assert entries(a) <= proxied.names()
    # what is there is not pushed again, by whomever
    a.remove_target()
    a.cargo("build").ok()
    a.run("sync", "--push").ok()
    Uploader(a).drain().ok()
    counted = Counter(path for path in puts(proxy) if "/.units/" not in path)
    assert len(counted) >= 5
    assert set(counted.values()) == {1}, counted


def test_a_second_machine_compiles_nothing(fleet: Fleet, remote: Remote, watched: WatchedCompiler) -> None:
    """What the uploader alone has pushed is enough."""
    a = built(fleet, remote)
    assert len(watched.calls()) == 5
    watched.forget()
    b = second(fleet, remote)
    run = b.cargo("build").ok()
    assert watched.calls() == []
    assert watched.looks() == []
    assert len(results([run])) == 5
    assert set(results([run])) <= HITS
    assert [event["compiler_runs"] for event in run.events] == [0] * 5
    assert b.program() == SAYS
    assert b.artifacts() == a.artifacts()


def test_with_a_plan_a_second_machine_starts_no_compiler(fleet: Fleet, watched: WatchedCompiler) -> None:
    a = built(fleet, fleet.bucket)
    a.run("save", "--push").ok()
    watched.forget()
    b = second(fleet, fleet.bucket)
    run = b.cargo("build").ok()
    assert watched.calls() + watched.looks() == []
    assert set(results([run])) <= HITS
    assert b.artifacts() == a.artifacts()
    # from now on all is there: nothing is fetched again
    b.remove_target()
    assert set(results([b.cargo("build").ok()])) <= {"local_hit", "prefetch_hit"}
    assert watched.calls() == []


def test_hits_of_the_remote_are_told(fleet: Fleet) -> None:
    built(fleet, fleet.bucket)
    b = second(fleet, fleet.bucket)
    b.cargo("build").ok()
    told = json.loads(b.run("report", "--json").ok().stdout)
    summary = told["summary"]
    assert summary["remote_hits"] + summary["prefetch_hits"] == 5
    assert (summary["misses"], summary["errors"], summary["local_hits"]) == (0, 0, 0)
    assert summary["hit_rate_pct"] == 100
    assert told["network"]
    assert b.run("stats").ok().stdout


@pytest.mark.parametrize("plan", [True, False])
def test_what_the_lock_file_names_comes_before_it_is_asked_for(fleet: Fleet, plan: bool) -> None:
    """Whether somebody has published a plan for it or not."""
    a = built(fleet, fleet.bucket)
    if plan:
        a.run("save", "--push").ok()
    b = second(fleet, fleet.bucket)
    first = b.cargo("build", "-p", "native").ok()
    assert set(results([first])) <= HITS
    until(lambda: entries(b) == entries(a), "entries of all crates that Cargo.lock names", 20)
    rest = b.cargo("build").ok()
    assert set(results([rest])) == {"prefetch_hit"}
    assert b.program() == SAYS


def test_a_change_is_compiled_and_pushed_and_the_rest_is_fetched(fleet: Fleet) -> None:
    built(fleet, fleet.bucket)
    b = second(fleet, fleet.bucket)
    (b.ws / "lib/src/lib.rs").write_text("pub fn count() -> usize { macros::three!() + 1 }\n")
    run = b.cargo("build").ok()
    assert b.program() == b"4 text\n"
    found = run.results()
    assert (found["lib"], found["app"]) == (["miss"], ["miss"])
    assert set(found["macros"] + found["native"] + found["build_script_build"]) <= HITS
    Uploader(b).drain().ok()
    assert entries(b, "lib", "app") <= fleet.bucket.names()


def test_switched_off_it_neither_starts_nor_queues(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    config = fleet.world.root / "off.toml"
    config.write_text('[cache]\nuploader = "off"\n')
    for name, more in (("a", {"KACHE_UPLOADER": "off"}), ("b", {"KACHE_CONFIG": str(config)})):
        a = fleet.machine(name, proxied.env, KACHE_WARM_TARGETS="0", **more)
        assert set(results([a.cargo("build").ok()])) == {"miss"}
        uploader = Uploader(a)
        never(lambda at=a.cache_dir: processes(at), "a process that was left", 1)  # type: ignore[misc]
        assert not uploader.runs()
        assert uploader.queue() == []
        assert not uploader.socket.exists()
    assert proxy.connections == 0
    # sync is as it was
    a.run("sync", "--push").ok()
    assert entries(a) <= proxied.names()


def test_it_comes_up_while_cargo_asks_about_the_target(fleet: Fleet) -> None:
    """Before the first compile, also where no target is warmed."""
    a = fleet.machine("a", fleet.bucket.env, KACHE_WARM_TARGETS="0")
    probe = [str(a.kache.path), str(fleet.compiler), *"- --crate-name ___ --print=file-names".split()]
    a.view().run(probe, cwd=a.ws).ok()
    assert Uploader(a).pid()


def test_without_a_remote_there_is_none(fleet: Fleet) -> None:
    a = fleet.machine("a", {}, KACHE_WARM_TARGETS="0")
    a.cargo("build").ok()
    never(lambda: processes(a.cache_dir), "a process that was left", 1)
    assert Uploader(a).queue() == []
    assert not Uploader(a).socket.exists()


def test_read_only_it_fetches_and_pushes_nothing(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    built(fleet, proxied)
    before = proxied.names()
    proxy.clear()
    b = second(fleet, proxied, KACHE_REMOTE_READONLY="1")
    (b.ws / "app/src/main.rs").write_text('fn main() { println!("{}", lib::count()); }\n')
    found = b.cargo("build").ok().results()
    assert found["app"] == ["miss"]
    assert set(found["lib"] + found["native"] + found["macros"]) <= HITS
    Uploader(b).drain("20s").ok()
    assert Uploader(b).queue() == []
    assert puts(proxy) == []
    assert proxied.names() == before


def test_what_is_excluded_is_not_pushed(fleet: Fleet) -> None:
    config = fleet.world.root / "exclude.toml"
    config.write_text('[cache]\nexclude = ["libraries/private/**"]\n')
    a = fleet.machine("a", fleet.bucket.env, KACHE_CONFIG=str(config))
    libraries = fleet.libraries(a)
    assert libraries.compile("private") == "skipped"
    assert libraries.compile("public") == "miss"
    Uploader(a).drain().ok()
    assert {key.partition("/")[0] for key in fleet.bucket.names()} == {"public"}
    assert libraries.compile("hidden", env={"KACHE_DISABLED": "1"}) == ""
    Uploader(a).drain().ok()
    assert not any(key.startswith("hidden") for key in fleet.bucket.names())


def test_nothing_of_cargos_stays_open(fleet: Fleet) -> None:
    """A CI job ends when nobody holds its pipes any more."""
    a = fleet.machine("a", fleet.bucket.env, KACHE_WARM_TARGETS="0")
    reader, writer = os.pipe()
    env = {**a.view().env, "RUSTC_WRAPPER": str(fleet.kache.path)}
    command = "exec 2>&1; cargo build | cat"
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=a.ws,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[writer],
    )
    os.close(writer)
    assert process.stdin and process.stdout and process.stderr
    ours = {os.fstat(each).st_ino for each in (reader, process.stdin.fileno(), process.stdout.fileno())}
    ours.add(os.fstat(process.stderr.fileno()).st_ino)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert a.program() == SAYS
    assert select.select([reader], [], [], 60)[0] and os.read(reader, 1) == b"", "a descriptor of the job stayed open"
    os.close(reader)
    check_is_on_its_own(Uploader(a), ours)


def check_is_on_its_own(uploader: Uploader, ours: "set[int]") -> None:
    """It shares neither descriptors nor session nor terminal with the build, and is nobody's child."""
    pid = uploader.pid()
    opened: Dict[str, int] = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            opened[os.readlink(link)] = link.stat().st_ino
        except OSError:
            continue
    assert not ours & set(opened.values()), opened
    target = str(uploader.machine.target)
    assert not [path for path in opened if path.startswith(target)], opened
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgrp()
    assert os.getpid() not in ancestors(pid)
    terminal = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4]
    assert terminal == "0"


def test_ctrl_c_on_the_build_does_not_stop_it(fleet: Fleet, proxied: Bucket, proxy: Proxy) -> None:
    proxy.rule(action=delay(0.3))
    a = fleet.machine("a", proxied.env, KACHE_WARM_TARGETS="0")
    env = {**a.view().env, "RUSTC_WRAPPER": str(fleet.kache.path)}
    process = subprocess.Popen(
        ["cargo", "build"],
        cwd=a.ws,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # a group of its own, as a terminal gives it, in this session
        preexec_fn=os.setpgrp,  # noqa: PLW1509
    )
    uploader = Uploader(a)
    pid = uploader.pid()
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    uploader.drain().ok()
    assert uploader.pids() == [pid]
    assert entries(a) <= proxied.names()


def test_sixteen_that_start_at_once_make_one(fleet: Fleet) -> None:
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    names = [f"crate{number:02}" for number in range(16)]
    commands = [libraries.command(name) for name in names]
    running = []
    for name, command in zip(names, commands):
        place = libraries.options(name)
        env = {**a.view().env, **place["env"]}
        running.append(
            subprocess.Popen(
                command,
                cwd=place["cwd"],
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                umask=0,
            )
        )
    assert [process.wait(timeout=120) for process in running] == [0] * 16
    uploader = Uploader(a)
    pid = uploader.pid()
    assert uploader.socket.stat().st_mode & 0o777 == 0o600
    uploader.drain().ok()
    assert uploader.pids() == [pid]
    assert len(entries(a)) == 16
    assert entries(a) == fleet.bucket.names()


def test_two_machines_with_the_same_crates_push_at_once(fleet: Fleet) -> None:
    machines = [fleet.machine(name, fleet.bucket.env) for name in ("a", "b")]
    names = [f"crate{number}" for number in range(4)]
    for name in names:
        for each in machines:
            assert fleet.libraries(each).compile(name) in {"miss", *HITS}
    for each in machines:
        Uploader(each).drain().ok()
        assert entries(each) <= fleet.bucket.names()
    # whoever comes third has all of it
    c = fleet.machine("c", fleet.bucket.env)
    assert set(fleet.libraries(c).compile_all(names)) <= HITS


def test_each_project_has_its_own_remote(fleet: Fleet) -> None:
    """Two projects of one user, one cache directory: what is built for the one remote never goes to the other."""
    one, other = (Bucket(fleet.server, f"{fleet.prefix}{name}/") for name in ("one", "other"))
    a = fleet.machine("a", one.env)
    assert fleet.libraries(a).compile("mine") == "miss"
    Uploader(a).pid()
    assert fleet.libraries(a).compile("theirs", env=other.env) == "miss"
    assert fleet.libraries(a).compile("nobodys", env={"KACHE_REMOTE_READONLY": "1"}) == "miss"
    Uploader(a).drain().ok()
    a.run("daemon", "drain", "--timeout", "60s", env=other.env).ok()
    assert {key.partition("/")[0] for key in one.names()} == {"mine"}
    assert {key.partition("/")[0] for key in other.names()} == {"theirs"}


def test_one_with_other_settings_of_the_remote_takes_over(fleet: Fleet) -> None:
    a = fleet.machine("a", fleet.bucket.env)
    libraries, uploader = fleet.libraries(a), Uploader(a)
    libraries.compile("first")
    uploader.drain().ok()
    before = uploader.pid()
    other = Bucket(fleet.server, "other-" + fleet.prefix)
    libraries.compile("second", env=other.env)
    until(lambda: entries(a, "second") <= other.names(), "what the new one pushed")
    assert not alive(before)
    assert "the remote's settings are others now" in uploader.log()
    assert not entries(a, "first") & other.names()
    assert not entries(a, "second") & fleet.bucket.names()


def test_whom_one_project_trusts_another_need_not(fleet: Fleet) -> None:
    """An uploader that was started without keys does not get unsigned things past one who wants them signed."""
    public = fleet.kache.run("key", "generate", "ci-1", "-o", str(fleet.world.root / "secret")).ok().stdout.strip()
    a = fleet.machine("a", fleet.bucket.env)
    fleet.libraries(a).compile_all(["first", "second", "third", "fourth", "fifth"])
    Uploader(a).drain().ok()
    b = fleet.machine("b", fleet.bucket.env, KACHE_REMOTE_READONLY="1")
    assert fleet.libraries(b).compile("first") == "remote_hit"
    Uploader(b).pid()
    assert fleet.libraries(b).compile("second", env={"KACHE_REMOTE_TRUSTED_KEYS": public}) == "miss"
    # whichever has to wait for another uploader to start may give up
    assert "remote_hit" in fleet.libraries(b).compile_all(["third", "fourth", "fifth"])


def test_what_is_signed_is_fetched_and_the_key_stays_secret(fleet: Fleet) -> None:
    public = fleet.kache.run("key", "generate", "ci-1", "-o", str(fleet.world.root / "secret")).ok().stdout.strip()
    secret = (fleet.world.root / "secret").read_text().strip()
    (fleet.world.root / "secret").unlink()
    a = fleet.machine("a", fleet.bucket.env, KACHE_REMOTE_SIGNING_KEY=secret)
    assert fleet.libraries(a).compile("first") == "miss"
    Uploader(a).drain().ok()
    b = fleet.machine("b", fleet.bucket.env, KACHE_REMOTE_TRUSTED_KEYS=public)
    assert fleet.libraries(b).compile("first") == "remote_hit"
    for path in (path for path in fleet.world.root.rglob("*") if path.is_file()):
        assert secret.partition(":")[2].encode() not in path.read_bytes(), path


@pytest.mark.parametrize("offset", [0, -40])
def test_bits_that_flip_on_the_way_are_noticed(fleet: Fleet, proxied: Bucket, proxy: Proxy, offset: int) -> None:
    a = fleet.machine("a", fleet.bucket.env)
    fleet.libraries(a).compile_all(["first", "second"])
    Uploader(a).drain().ok()
    proxy.rule(action=flip_bit(offset), method="GET", path_contains="tar.zst")
    b = fleet.machine("b", proxied.env, KACHE_REMOTE_READONLY="1")
    assert fleet.libraries(b).compile_all(["first", "second"]) == ["miss", "miss"]
    assert any("tar.zst" in path for _, path, _ in proxy.requests), "nothing was asked for"
    assert fleet.libraries(b).output("first").read_bytes() == fleet.libraries(a).output("first").read_bytes()


def test_one_that_was_stopped_holds_up_nobody(fleet: Fleet) -> None:
    """SIGSTOP: it is there, and takes connections, and never answers."""
    a = fleet.machine("a", fleet.bucket.env)
    libraries = fleet.libraries(a)
    libraries.compile("first")
    uploader = Uploader(a)
    pid = uploader.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert libraries.compile_all(["second", "third"]) == ["miss", "miss"]
    finally:
        os.kill(pid, signal.SIGCONT)
    uploader.drain().ok()
    assert entries(a) == fleet.bucket.names()
    assert alive(pid)

"""What one machine pushed, another one has: on a real S3 server and on a shared directory."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, List

import pytest

from tests.remote.machines import PACKAGES, SAYS, Machine, Remote, calls, filesystem, machine, results, s3_of
from tests.remote.uploaders import until
from tests.servers.proxy import Proxy
from tests.servers.seaweed import SeaweedFS
from tests.world import Kache, World


@pytest.fixture
def kache(kache_file: Kache) -> Kache:
    """As it ships: boto3 is unpacked from the file."""
    return kache_file


@pytest.fixture(autouse=True)
def by_commands_alone(world: World) -> None:
    """Builds leave the remote to commands here; test_uploader.py has the other way."""
    world.env["KACHE_UPLOADER"] = "off"


def filled(world: World, kache: Kache, remote: Remote, **more: str) -> Machine:
    """A machine that has built and published."""
    found = machine(world, kache, "a", remote, **more)
    found.cargo("build").ok()
    found.run("save", "--push").ok()
    return found


def test_a_second_machine_starts_nothing(world: World, kache: Kache, remote: Remote) -> None:
    a = filled(world, kache, remote)
    b = machine(world, kache, "b", remote)
    b.run("warm").ok()
    run = b.cargo("build", "-v").ok()
    assert run.fresh() == PACKAGES
    assert calls(run) == []
    assert b.program() == SAYS
    assert b.artifacts() == a.artifacts()


def test_another_cargo_home_has_hits(
    world: World, kache: Kache, remote: Remote, require_tool: Callable[[str], str]
) -> None:
    require_tool("strace")
    filled(world, kache, remote)
    b = machine(world, kache, "b", remote, cargo_home="other-cargo")
    b.run("sync", "--pull").ok()
    run = b.cargo("build", "-v", trace=True).ok()
    assert set(results([run])) == {"local_hit"}
    assert run.compilers() == []
    assert b.program() == SAYS


def test_sync_moves_entries_both_ways(world: World, kache: Kache, remote: Remote) -> None:
    a = machine(world, kache, "a", remote)
    a.cargo("build").ok()
    told = json.loads(a.run("sync", "--push", "--json").ok().stdout)
    assert told["pushed"] > 4
    assert told["failed"] == []
    assert json.loads(a.run("sync", "--push", "--json").ok().stdout)["pushed"] == 0
    b = machine(world, kache, "b", remote)
    shutil.copy(a.ws / "Cargo.lock", b.ws / "Cargo.lock")
    dry = json.loads(b.run("sync", "--dry-run", "--pull", "--json").ok().stdout)
    assert not (b.cache_dir / "entries").exists()
    pulled = json.loads(b.run("sync", "--pull", "--json").ok().stdout)
    assert len(dry["to_pull"]) == pulled["pulled"] >= 4
    assert json.loads(b.run("sync", "--json").ok().stdout)["pulled"] == 0
    run = b.cargo("build", env={"KACHE_WARM_TARGETS": "0"}).ok()
    assert set(results([run])) == {"local_hit"}


def test_a_workspace_pull_brings_its_members_only(world: World, kache: Kache, remote: Remote) -> None:
    a = machine(world, kache, "a", remote)
    a.cargo("build").ok()
    a.run("sync", "--push").ok()
    b = machine(world, kache, "b", remote)
    shutil.copy(a.ws / "Cargo.lock", b.ws / "Cargo.lock")
    told = json.loads(b.run("sync", "--workspace", "--pull", "--dry-run", "--json").ok().stdout)
    assert {key.partition("/")[0] for key in told["to_pull"]} == {*PACKAGES, "build_script_build"}


@pytest.mark.parametrize("words", [(), ("--workspace",)])
def test_crates_that_are_not_called_like_their_packages(
    world: World, kache: Kache, remote: Remote, words: "tuple[str, ...]"
) -> None:
    """A library with a name of its own, a test, an example, a build script; and no plan says what to ask for."""
    a = machine(world, kache, "a", remote)
    b = machine(world, kache, "b", remote, KACHE_WARM_TARGETS="0")
    for each in (a, b):
        (each.ws / "lib/tests").mkdir()
        test = "#[test]\nfn counts() { assert_eq!(other_name::count(), 3) }\n"
        (each.ws / "lib/tests/whole-thing.rs").write_text(test)
        (each.ws / "lib/examples").mkdir()
        (each.ws / "lib/examples/shown.rs").write_text("fn main() {}\n")
        manifest = each.ws / "lib/Cargo.toml"
        text = manifest.read_text().replace("[dependencies]", '[lib]\nname = "other_name"\n[dependencies]')
        manifest.write_text(text)
        main = each.ws / "app/src/main.rs"
        main.write_text(main.read_text().replace("lib::", "other_name::"))
    a.cargo("test", "--no-run").ok()
    a.run("sync", "--push").ok()
    b.run("sync", "--pull", *words).ok()
    assert set(results([b.cargo("test", "--no-run").ok()])) == {"local_hit"}


def test_nothing_is_pulled_twice_and_nothing_pushed_twice(
    world: World, kache: Kache, seaweed: SeaweedFS, prefix: str, proxy: Proxy
) -> None:
    """The traffic of a pull is what is needed: a request an object, and no more than five others."""
    filled(world, kache, s3_of(seaweed, prefix))
    b = machine(world, kache, "b", s3_of(seaweed, prefix, proxy.endpoint))
    b.run("warm").ok()
    gets = [path for method, path, _ in proxy.requests if method == "GET"]
    objects = len(list((b.cache_dir / "units").rglob("*/*"))) + len(list((b.cache_dir / "entries").rglob("*/*")))
    assert len(gets) <= objects + 5
    assert [method for method, _, _ in proxy.requests if method != "GET"] == []
    before = len(proxy.requests)
    b.remove_target()
    b.run("warm").ok()
    assert len(proxy.requests) - before <= 2


def test_a_read_only_remote_is_not_written(world: World, kache: Kache, seaweed: SeaweedFS, prefix: str) -> None:
    filled(world, kache, s3_of(seaweed, prefix))
    b = machine(world, kache, "b", s3_of(seaweed, prefix, readonly=True), KACHE_REMOTE_READONLY="1")
    run = b.run("sync").ok()
    assert "only read" in run.stdout
    # one script serves the jobs that may write and those that may not
    b.cargo("build").ok()
    for words in (("save", "--push"), ("save-manifest",)):
        assert "pushed nothing: the remote is only read here" in b.run(*words).ok().stdout


TROUBLE = {
    "wrong key": ({"KACHE_S3_SECRET_KEY": "wrong"}, "secret key"),
    "unknown key": ({"KACHE_S3_ACCESS_KEY": "unknown"}, "access key"),
    "no bucket": ({"KACHE_S3_BUCKET": "no-such-bucket"}, "bucket"),
    "nobody there": ({"KACHE_S3_ENDPOINT": "http://127.0.0.1:9"}, "nobody answers"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_is_said_and_the_build_goes_on(
    world: World, kache: Kache, seaweed: SeaweedFS, prefix: str, name: str
) -> None:
    more, words = TROUBLE[name]
    b = machine(world, kache, "b", {**s3_of(seaweed, prefix), **more})
    b.cargo("generate-lockfile").ok()
    run = b.run("sync")
    assert run.returncode == 1
    assert words in run.stderr, run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert seaweed.secret_key not in run.stderr + run.stdout
    warm = b.run("warm").ok()
    assert words in warm.stderr
    b.cargo("build").ok()
    assert b.program() == SAYS


def test_ctrl_c_keeps_what_came(world: World, kache: Kache, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> None:
    from tests.servers.proxy import delay

    filled(world, kache, s3_of(seaweed, prefix))
    b = machine(world, kache, "b", {**s3_of(seaweed, prefix, proxy.endpoint), "KACHE_S3_CONCURRENCY": "1"})
    proxy.rule(action=delay(0.5))
    stop_a_pull(world, b, lambda: time.sleep(2.5))
    proxy.clear()
    pull_and_build(b)


def test_ctrl_c_within_an_object(world: World, kache: Kache, seaweed: SeaweedFS, prefix: str, proxy: Proxy) -> None:
    from tests.servers.proxy import limit_rate

    filled(world, kache, s3_of(seaweed, prefix))
    b = machine(world, kache, "b", s3_of(seaweed, prefix, proxy.endpoint))
    proxy.rule(action=limit_rate(20_000))
    stop_a_pull(world, b, lambda: until(lambda: unfinished(b), "half an object"))
    proxy.clear()
    pull_and_build(b)


def unfinished(b: Machine) -> List[Path]:
    return list(b.cache_dir.rglob("store/*/.tmp-*"))


def stop_a_pull(world: World, b: Machine, wait: Callable[[], object]) -> None:
    """Ctrl-C after ``wait``."""
    shutil.copy(world.root / "a/src/ws/Cargo.lock", b.ws / "Cargo.lock")
    view = b.view()
    process = subprocess.Popen([str(b.kache.path), "sync", "--pull"], cwd=b.ws, env=view.env, stderr=subprocess.PIPE)
    wait()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert b"Traceback" not in told
    assert unfinished(b) == []


def pull_and_build(b: Machine) -> None:
    b.run("sync", "--pull").ok()
    assert unfinished(b) == []
    assert calls(b.cargo("build").ok()) == []


def test_unsigned_things_are_refused_where_keys_are_trusted(world: World, kache: Kache, remote: Remote) -> None:
    public = kache.run("key", "generate", "ci-1", "-o", str(world.root / "secret")).ok().stdout.strip()
    other = kache.run("key", "generate", "ci-1", "-o", str(world.root / "other")).ok().stdout.strip()
    assert (world.root / "secret").stat().st_mode & 0o777 == 0o600
    a = filled(world, kache, remote)
    trusting = {**remote, "KACHE_REMOTE_TRUSTED_KEYS": public}
    b = machine(world, kache, "b", trusting)
    shutil.copy(a.ws / "Cargo.lock", b.ws / "Cargo.lock")
    b.run("sync", "--pull", "--all", "--allow-partial").ok()
    assert not list((b.cache_dir / "entries").rglob("*/*"))
    # pushed anew by one who signs: what was there unsigned gives way
    a.env.update(KACHE_REMOTE_SIGNING_KEY=str(world.root / "secret"), KACHE_REMOTE_TRUSTED_KEYS=public)
    a.run("save", "--push").ok()
    b.run("warm").ok()
    assert calls(b.cargo("build").ok()) == []
    c = machine(world, kache, "c", {**remote, "KACHE_REMOTE_TRUSTED_KEYS": other})
    shutil.copy(a.ws / "Cargo.lock", c.ws / "Cargo.lock")
    c.run("warm").ok()
    assert not list((c.cache_dir / "entries").rglob("*/*"))
    secret = (world.root / "secret").read_text()
    assert secret not in a.run("config", "--show").stdout


def test_one_who_signs_replaces_what_nobody_signed(world: World, kache: Kache, remote: Remote) -> None:
    """A key to sign with is all that the filling job is given, as docs/remote.md has it."""
    public = kache.run("key", "generate", "ci-1", "-o", str(world.root / "secret")).ok().stdout.strip()
    a = filled(world, kache, remote)
    a.run("sync", "--push").ok()
    a.env["KACHE_REMOTE_SIGNING_KEY"] = str(world.root / "secret")
    a.run("save", "--push").ok()
    trusting = {**remote, "KACHE_REMOTE_TRUSTED_KEYS": public}
    b = machine(world, kache, "b", trusting)
    b.run("warm").ok()
    assert calls(b.cargo("build").ok()) == []


def test_sync_replaces_what_nobody_signed(world: World, kache: Kache, remote: Remote) -> None:
    public = kache.run("key", "generate", "ci-1", "-o", str(world.root / "secret")).ok().stdout.strip()
    a = machine(world, kache, "a", remote)
    a.cargo("build").ok()
    a.run("sync", "--push").ok()
    a.env["KACHE_REMOTE_SIGNING_KEY"] = str(world.root / "secret")
    a.run("sync", "--push").ok()
    b = machine(world, kache, "b", {**remote, "KACHE_REMOTE_TRUSTED_KEYS": public}, KACHE_WARM_TARGETS="0")
    b.run("sync", "--pull").ok()
    assert set(results([b.cargo("build").ok()])) == {"local_hit"}
    # and once they are signed they stay
    assert "pushed 0 objects" in a.run("sync", "--push").ok().stdout


def test_one_who_signs_takes_nothing_unsigned(world: World, kache: Kache, remote: Remote) -> None:
    """It would be signed as its own."""
    kache.run("key", "generate", "ci-1", "-o", str(world.root / "secret")).ok()
    filled(world, kache, remote)
    b = machine(world, kache, "b", remote, KACHE_REMOTE_SIGNING_KEY=str(world.root / "secret"))
    b.run("warm").ok()
    assert set(results([b.cargo("build").ok()])) == {"miss"}


@pytest.mark.parametrize("gone", ["units", "entries"])
def test_what_a_lifecycle_rule_removed_is_pushed_again(world: World, kache: Kache, gone: str) -> None:
    """The plan stays, for it is written again and again, and what it names does not."""
    remote = filesystem(world)
    a = filled(world, kache, remote)
    shared = world.root / "shared disk"
    objects = [path for path in sorted(shared.rglob("*.tar.zst")) if "plans" not in path.parts]
    removed = [path for path in objects if (path.parent.name == ".units") == (gone == "units")]
    for path in removed[1:]:
        path.unlink()
    removed[0].write_bytes(b"")
    a.run("save", "--push").ok()
    assert all(path.stat().st_size for path in removed)
    b = machine(world, kache, "b", remote)
    b.run("warm").ok()
    assert calls(b.cargo("build").ok()) == []


def test_a_manifest_serves_another_lock_file(world: World, kache: Kache, remote: Remote) -> None:
    a = machine(world, kache, "a", remote)
    a.cargo("build").ok()
    a.run("save").ok()
    named = ("--manifest-key", "main", "--namespace", "app")
    assert "1 plan published" in a.run("save-manifest", *named).ok().stdout
    b = machine(world, kache, "b", remote)
    for name in ("app/Cargo.toml", "Cargo.lock"):
        text = (b.ws / name).read_text()
        (b.ws / name).write_text(text.replace('name = "app"\nversion = "0.1.0"', 'name = "app"\nversion = "0.2.0"'))
    # the same names elsewhere say nothing
    b.run("warm", "--manifest-key", "main").ok()
    assert not (b.cache_dir / "plans").exists()
    b.run("warm", *named).ok()
    run = b.cargo("build", "-v").ok()
    assert set(calls(run)) == {"app"}
    assert b.program() == SAYS
    # its own plan comes first once there is one
    b.run("save", "--push").ok()
    c = machine(world, kache, "c", remote)
    for name in ("app/Cargo.toml", "Cargo.lock"):
        (c.ws / name).write_text((b.ws / name).read_text())
    c.run("warm", *named).ok()
    assert calls(c.cargo("build", "-v").ok()) == []

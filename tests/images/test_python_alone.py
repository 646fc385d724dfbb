"""The one file in a root that holds nothing but sh, glibc and one Python.

Read-only, no network, no HOME, a user that nobody knows, /tmp mounted noexec.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.crates import write_workspace
from tests.images.roots import Root, add_python, ends, interpreters
from tests.world import World

PYTHONS = interpreters()

LOOK = """
import os, pwd, socket
for name in ("/x", "/opt/x", "/usr/x", "/usr/bin/x"):
    try:
        open(name, "w")
        print("can write", name)
    except OSError:
        pass
for name in ("/tmp/x", "/job/x"):
    open(name, "w").write("#!/bin/sh\\nexit 0\\n")
    os.chmod(name, 0o755)
try:
    os.posix_spawn("/tmp/x", ["x"], {})
    print("/tmp is not noexec")
except OSError:
    pass
os.waitpid(os.posix_spawn("/job/x", ["x"], {}), 0)
try:
    print("known as", pwd.getpwuid(os.getuid()))
except KeyError:
    pass
try:
    socket.create_connection(("192.0.2.1", 80), 5)
    print("there is a network")
except OSError as error:
    assert "unreachable" in str(error), error
print(os.getuid(), os.getgid(), os.getgroups(), sorted(set(os.environ) - {"LC_CTYPE"}), *sorted(os.listdir("/usr/bin")))
"""


@pytest.fixture
def filled(world: World, file: Path) -> Path:
    """A cache directory that a real build filled."""
    write_workspace(world.root / "ws")
    env = {"RUSTC_WRAPPER": str(file), "KACHE_CACHE_EXECUTABLES": "1"}
    world.run(["cargo", "build", "--offline"], cwd=world.root / "ws", env=env).ok()
    return world.cache_dir


def test_the_root_is_as_bare_as_it_says(root: Root, uid: int) -> None:
    """Else all that follows says less than it seems to."""
    python = add_python(root, sys.executable)
    done = root.run([python, "-c", LOOK], {}, uid)
    programs = sorted(["sh", *(path.name for path in [Path(python)] if path.parent == Path("/usr/bin"))])
    assert (done.stdout, done.stderr) == (f"{uid} {uid} [] [] {' '.join(programs)}\n", "")


@pytest.mark.parametrize("name", PYTHONS)
def test_a_store_goes_out_and_comes_back(name: str, root: Root, uid: int, filled: Path) -> None:
    """A store that a real build filled is pushed and pulled again."""
    (root.work / "remote").mkdir()
    subprocess.run(["cp", "-r", str(filled), str(root.work / "one")], check=True)
    (root.work / "config.toml").write_text('[cache.remote]\ntype = "filesystem"\npath = "/job/remote"\n')
    root.open_work()
    there = {path.name for path in root.work.iterdir()}
    python = add_python(root, PYTHONS[name])
    env = {"KACHE_PYTHON": python, "PATH": "/bin", "KACHE_CONFIG": "/job/config.toml"}

    def said(line: str, code: int = 0, cache: str = "/job/one") -> "subprocess.CompletedProcess[str]":
        done = root.run(["/opt/kache", *line.split()], {**env, "KACHE_CACHE_DIR": cache}, uid)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    assert said("--version").stdout.startswith("kache ")
    found = json.loads(said("doctor --json", code=1).stdout)
    checks = {finding["check"]: finding for finding in found["findings"]}
    assert python in checks["python"]["message"]
    assert checks["rustc"]["status"] == "problem"
    salt = said("salt", code=1)
    assert (salt.stdout, salt.stderr.count("\n")) == ("", 1)
    said("sync --push")
    said("sync --pull --all", cache="/job/two")
    listed = [
        {entry["cache_key"] for entry in json.loads(said("list --json", cache=place).stdout)["entries"]}
        for place in ("/job/one", "/job/two")
    ]
    assert len(listed[0]) == 4
    assert listed[0] == listed[1]
    verified = json.loads(said("doctor --checksums --json", code=1, cache="/job/two").stdout)["verify"]
    assert not verified["broken_entries"] and not verified["damaged_blobs"]
    assert {path.name for path in root.work.iterdir()} - there == {"two"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ends(PYTHONS) else pytest.mark.soak) for name in PYTHONS]
)
@pytest.mark.parametrize("unpacks", ["/tmp, noexec", "a cache of its own"])
def test_64_start_at_once_for_the_first_time(name: str, unpacks: str, root: Root, uid: int) -> None:
    """`--version` would do without what is unpacked."""
    env = {"KACHE_PYTHON": add_python(root, PYTHONS[name]), "PATH": "/bin", "KACHE_CACHE_DIR": "/nonexistent"}
    if unpacks != "/tmp, noexec":
        env["XDG_CACHE_HOME"] = "/job"
    # what is left in /tmp is only seen from inside
    line = (
        "pids=; for i in " + " ".join(map(str, range(64))) + '; do /opt/kache list --json & pids="$pids $!"; done\n'
        'for pid in $pids; do wait "$pid" || echo failed; done\necho /tmp/* /tmp/*/* /tmp/*/*/* /tmp/*/*/*/*'
    )
    done = root.run(["/bin/sh", "-c", line], env, uid)
    said, _, left = done.stdout.rstrip().rpartition("\n")
    assert done.stderr == ""
    assert said.count('"entries": []') == 64 and "failed" not in said
    if unpacks == "/tmp, noexec":
        places = left.split()
        assert len(places) == 4 and places[0] == f"/tmp/kache-{uid}", places
        assert Path(places[-1]).match("blake3.cpython-*.so")
        assert os.listdir(root.work) == []
    else:
        assert left == "/tmp/* /tmp/*/* /tmp/*/*/* /tmp/*/*/*/*"
        assert os.listdir(root.work) == ["kache-runtime"]
        (unpacked,) = [path for path in root.work.rglob("*") if path.is_file()]
        assert unpacked.name.startswith("blake3.cpython-")
        assert unpacked.stat().st_uid == uid and unpacked.stat().st_mode & 0o777 == 0o600

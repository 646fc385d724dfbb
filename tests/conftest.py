"""Fixtures: every test runs in a world of its own, and nothing of the caller's gets in.

    world           its directories and environment (automatic); ``world.run`` runs any command in it
    kache           kache twice: from the source tree and as dist/kache
    kache_source    only the one or
    kache_file      only the other
    cargo           real cargo with that kache as wrapper (take it with ``kache``, or alone)
    workspace       writes a workspace: ``workspace({"Cargo.toml": "...", "src/lib.rs": "..."}, name="ws")``
    poison_compiler a compiler that can be made to fail; take it before the first build
    require_tool    path of a tool; where it is missing the test is skipped, in CI it fails

A hit that starts no compiler is proven by ``poison_compiler.poison()``, or counted under strace:
``cargo("build", cwd=ws, trace=True).compilers()``.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator, Mapping

import hypothesis
import pytest

from tests.world import KEPT, REPOSITORY, Cargo, Kache, Poison, World

IN_CI = os.environ.get("CI", "") not in ("", "0", "false")

# Started in the background of a shell, or by nohup, the whole run would ignore these, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

# no deadline: two tests share a core with a compiler; no database: a run depends on the tree alone
hypothesis.settings.register_profile("kache", deadline=None, database=None, derandomize=IN_CI, print_blob=True)
hypothesis.settings.load_profile("kache")


def missing(what: str) -> None:
    """Skip the test for want of ``what``; in CI that is a failure, for CI has to bring everything."""
    if IN_CI:
        pytest.fail(f"{what} is missing, and CI skips nothing", pytrace=False)
    pytest.skip(f"{what} is missing")


@pytest.fixture
def require_tool() -> Callable[[str], str]:
    """``require_tool(name)`` is the tool's path."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            missing(name)
        return path or ""

    return find


@pytest.fixture(scope="session")
def rust() -> Mapping[str, str]:
    """The variables that make the caller's toolchain known in a sealed world, and ``sysroot``, where it lies.

    Empty where there is no Rust.
    """
    home = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
    if shutil.which("rustc") is None or shutil.which("cargo") is None:
        return {}
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    found = {"sysroot": sysroot}
    if Path(sysroot).parent == home / "toolchains":
        found.update(RUSTUP_HOME=str(home), RUSTUP_TOOLCHAIN=Path(sysroot).name, RUSTUP_AUTO_INSTALL="0")
    return found


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rust: Mapping[str, str]) -> World:
    """Seal the test off: own HOME, XDG, cache, CARGO_HOME, TMPDIR, git; no kache, cargo or locale setting leaks in."""
    env = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    env.update({name: value for name, value in rust.items() if name != "sysroot"})
    # a shim on PATH finds its Pythons below the caller's HOME
    env.setdefault("PYENV_ROOT", str(Path.home() / ".pyenv"))
    for name, below in (
        ("HOME", "home"),
        ("XDG_CONFIG_HOME", "home/.config"),
        ("XDG_CACHE_HOME", "home/.cache"),
        ("XDG_DATA_HOME", "home/.local/share"),
        ("XDG_STATE_HOME", "home/.local/state"),
        ("CARGO_HOME", "home/.cargo"),
        ("KACHE_CACHE_DIR", "cache"),
        ("TMPDIR", "tmp"),
    ):
        env[name] = str(tmp_path / below)
    env.update(
        # a shim named python3 would cost each start more than kache does
        KACHE_PYTHON=os.path.realpath(sys.executable),
        # most tests are about the wrapper, which a warm target does not call
        KACHE_WARM_TARGETS="0",
        KACHE_TAKE_UNITS="0",
        LC_ALL="C",
        CARGO_NET_OFFLINE="true",
        CARGO_TERM_COLOR="never",
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL=os.devnull,
        GIT_CEILING_DIRECTORIES=str(tmp_path),
        GIT_AUTHOR_NAME="A Tester",
        GIT_AUTHOR_EMAIL="tester@example.com",
        GIT_AUTHOR_DATE="2024-01-01T00:00:00Z",
        GIT_COMMITTER_NAME="A Tester",
        GIT_COMMITTER_EMAIL="tester@example.com",
        GIT_COMMITTER_DATE="2024-01-01T00:00:00Z",
        GIT_EDITOR="false",
        GIT_TERMINAL_PROMPT="0",
    )
    for name in ("home/.config", "home/.cargo", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    for name in set(os.environ) - set(env):
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, env)


@pytest.fixture
def workspace(world: World) -> Callable[..., Path]:
    """Write a workspace; see ``World.workspace``."""
    return world.workspace


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that runs kache from the source tree, in the environment that has its dependencies."""
    path = tmp_path_factory.mktemp("source") / "kache"
    path.write_text(
        "#!/bin/sh\n"
        f"exec '{sys.executable}' -E -s -X utf8 -X pycache_prefix='{path.parent}/pycache' "
        f"'{REPOSITORY}/kache.py' \"$@\"\n"
    )
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock: the processes of one test run share what they build."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def dist_kache() -> Path:
    """dist/kache, built anew if a source is newer."""
    with locked(REPOSITORY / "build" / "test.lock"):
        make = ["make", "-s", "file", f"PYTHON={os.path.realpath(sys.executable)}"]
        done = subprocess.run(make, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"`make file` failed:\n{done.stdout}\n{done.stderr}", pytrace=False)
    return REPOSITORY / "dist" / "kache"


@pytest.fixture
def kache_source(world: World, launcher: Path) -> Kache:
    """kache from the source tree."""
    return Kache(world, launcher, "source")


@pytest.fixture
def kache_file(world: World, dist_kache: Path) -> Kache:
    """kache as it ships."""
    return Kache(world, dist_kache, "file")


@pytest.fixture(params=["source", "file"])
def kache(request: pytest.FixtureRequest) -> Kache:
    """kache twice: the source tree and dist/kache."""
    found = request.getfixturevalue("kache_" + request.param)
    assert isinstance(found, Kache)
    return found


@pytest.fixture
def cargo(world: World, kache: Kache, rust: Mapping[str, str]) -> Cargo:
    """Real cargo; ``cargo("build", cwd=ws, env={...}, trace=True)`` gives a ``Run``."""
    if not rust:
        missing("Rust")
    return Cargo(world, kache)


@pytest.fixture
def poison_compiler(world: World, rust: Mapping[str, str]) -> Poison:
    """A toolchain that can be poisoned; building with it before and after gives the same keys."""
    if not rust:
        missing("Rust")
    return Poison(world, Path(rust["sysroot"]), rustup="RUSTUP_TOOLCHAIN" in rust)

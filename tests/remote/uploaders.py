"""The uploader as others see it: its processes, its socket, its queue, and what it has put into the remote.

Knows of kache's insides nothing but what its users are told: where the socket, the log and the queue lie, and the
commands. Processes are found by the cache directory in their environment, and are known by their id.
"""

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, TypeVar

from tests.remote.machines import Machine, machine
from tests.servers.proxy import Proxy
from tests.servers.seaweed import SeaweedFS
from tests.world import Kache, Poison, Run, World

# how long a test waits for what has to come; it ends as soon as it has come
SECONDS = 60.0

HITS = {"remote_hit", "prefetch_hit"}

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    """Wait until ``condition()`` is true, and return it; fails saying that ``what`` did not come."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"within {seconds:.0f} s there was not: {what}"
        time.sleep(0.05)


def never(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Fails if ``condition()`` is true at any time within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert not condition(), what
        time.sleep(0.1)


def processes(below: Path) -> List[int]:
    """The ids of all processes that were started with a cache directory ``below`` that path; this one is none."""
    found = []
    start = b"KACHE_CACHE_DIR=" + os.fsencode(below)
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            variables = Path("/proc", name, "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(each == start or each.startswith(start + b"/") for each in variables):
            found.append(int(name))
    return sorted(found)


def session_of(pid: int) -> int:
    """The session of a process, 0 where it has ended meanwhile."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def ancestors(pid: int) -> List[int]:
    """The parent of a process, the parent's parent, and so on."""
    found: List[int] = []
    while pid > 1:
        # the name in parentheses may hold anything
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def end(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    until(lambda: not alive(pid), f"the end of process {pid}")


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Uploader:
    """That of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.socket = machine.cache_dir / "daemon.sock"

    def pids(self) -> List[int]:
        """Processes with this cache directory and a session that is not ours."""
        sessions = (os.getsid(0), 0)
        return [pid for pid in processes(self.machine.cache_dir) if session_of(pid) not in sessions and alive(pid)]

    def pid(self) -> int:
        """The one that runs; waits for it."""
        until(lambda: self.answers() and len(self.pids()) == 1, f"one uploader; there is {self.pids()}\n{self.log()}")
        return self.pids()[0]

    def answers(self) -> bool:
        """Whether somebody listens at the socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
            return True

    def command(self, *words: str, **options: Any) -> Run:
        """``kache daemon`` with these words. Whatever comes of it, nobody is shown a traceback."""
        run = self.machine.run("daemon", *words, **options)
        assert "Traceback" not in run.stderr + run.stdout, run.stderr
        return run

    def runs(self) -> bool:
        """What ``kache daemon status`` says."""
        run = self.command("status")
        assert run.returncode in (0, 1), run
        return run.returncode == 0

    def drain(self, timeout: str = "60s") -> Run:
        return self.command("drain", "--timeout", timeout)

    def queue(self) -> List[Path]:
        """What is still to be pushed: a file an object."""
        return sorted(path for path in (self.machine.cache_dir / "queue").rglob("*") if path.is_file())

    def log(self) -> str:
        """All that it has logged, older files too."""
        files = sorted(self.machine.cache_dir.glob("daemon.log*"))
        return "".join(path.read_text("utf-8", "replace") for path in files)

    def kill(self) -> None:
        """kill -9."""
        for pid in self.pids():
            end(pid)

    def gone(self) -> None:
        """Wait until none is left."""
        until(lambda: not self.pids(), f"the end of {self.pids()}\n{self.log()}")


class Bucket:
    """A prefix of the S3 server, as seen past kache; ``env`` is what makes a machine use it."""

    def __init__(self, server: SeaweedFS, prefix: str, endpoint: str = "", name: str = "") -> None:
        self.server, self.prefix, self.name = server, prefix, name or server.bucket
        self.env: Dict[str, str] = {
            "KACHE_S3_BUCKET": self.name,
            "KACHE_S3_ENDPOINT": endpoint or server.endpoint,
            "KACHE_S3_PREFIX": prefix,
            "KACHE_S3_ACCESS_KEY": server.access_key,
            "KACHE_S3_SECRET_KEY": server.secret_key,
        }
        self._client = server.client(attempts=5)

    def names(self) -> Set[str]:
        """What lies there, without the prefix."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix)
        return {each["Key"][len(self.prefix) :] for page in pages for each in page.get("Contents", ())}

    def read(self, key: str) -> bytes:
        answer = self._client.get_object(Bucket=self.name, Key=self.prefix + key)
        return bytes(answer["Body"].read())

    def write(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=self.prefix + key, Body=data)


class SharedDisk:
    """A directory that several machines see."""

    def __init__(self, world: World) -> None:
        self.root = world.root / "shared disk"
        self.root.mkdir()
        config = world.root / "remote.toml"
        config.write_text(f'[cache.remote]\ntype = "filesystem"\npath = "{self.root}"\n')
        self.env: Dict[str, str] = {"KACHE_CONFIG": str(config)}

    def names(self) -> Set[str]:
        base = self.root / "artifacts"
        return {str(path.relative_to(base)) for path in base.rglob("*.tar.zst") if path.is_file()}


def entries(machine: Machine, *crates: str) -> Set[str]:
    """The names that the entries of the machine's store have in a remote; of these crates alone, if any are named."""
    found = json.loads(machine.run("list", "--json").ok().stdout)["entries"]
    return {
        f"{each['crate_name']}/{each['cache_key']}.tar.zst"
        for each in found
        if not crates or each["crate_name"] in crates
    }


class Libraries:
    """Small libraries compiled by calling the wrapper as Cargo does: cheaper than Cargo where that adds nothing."""

    def __init__(self, machine: Machine, compiler: Path) -> None:
        self.machine, self.compiler = machine, compiler

    def command(self, name: str, text: str = "") -> List[str]:
        """Write the crate's source; the command line that compiles it, the wrapper first."""
        source = self.machine.ws / "libraries" / name / "src" / "lib.rs"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text or f'pub fn name() -> &\'static str {{ "{name}" }}\n')
        (source.parents[1] / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\n')
        self.output(name).parent.mkdir(parents=True, exist_ok=True)
        line = f"--crate-name {name} --edition=2021 src/lib.rs --error-format=json --crate-type lib"
        line += " --json=diagnostic-rendered-ansi,artifacts,future-incompat --emit=dep-info,metadata,link"
        line += f" -C embed-bitcode=no -C debuginfo=2 -C metadata={name} -C extra-filename=-1"
        where = ["--out-dir", str(self.output(name).parent)]
        return [str(self.machine.kache.path), str(self.compiler), *line.split(), *where]

    def output(self, name: str) -> Path:
        return self.machine.target / "debug" / "deps" / f"lib{name}-1.rlib"

    def options(self, name: str) -> Dict[str, Any]:
        """The directory and the variables that Cargo would set."""
        place = self.machine.ws / "libraries" / name
        return {"cwd": place, "env": {"CARGO_MANIFEST_DIR": str(place), "CARGO_PKG_NAME": name}}

    def compile(self, name: str, text: str = "", env: Optional[Mapping[str, str]] = None, timeout: float = 60) -> str:
        """Compile it; the result that the event log tells. Fails unless it passes, silently."""
        command = self.command(name, text)
        self.output(name).unlink(missing_ok=True)
        options = self.options(name)
        run = (
            self.machine.view()
            .run(command, timeout=timeout, **{**options, "env": {**options["env"], **(env or {})}})
            .ok()
        )
        assert self.output(name).exists(), run
        told = [line for line in run.stderr.splitlines() if not line.startswith("{")]
        assert (run.stdout, told) == ("", []), run
        return str(run.events[-1]["result"]) if run.events else ""

    def compile_all(self, names: Sequence[str]) -> List[str]:
        return [self.compile(name) for name in names]


class WatchedCompiler(Poison):
    """A compiler that writes down each compile, from the start, so that machines with empty stores know the same one.

    ``calls`` tells compiles, ``looks`` the calls that only asked which files a crate reads (``--emit=dep-info`` alone).
    """

    def __init__(self, world: World, sysroot: Path, rustup: bool) -> None:
        super().__init__(world, sysroot, rustup)
        self.poison()

    def looks(self) -> List[str]:
        path = Path(f"{self.log}-looks")
        return path.read_text("utf-8", "surrogateescape").splitlines() if path.exists() else []

    def forget(self) -> None:
        """What was called so far was all right."""
        for path in (self.log, Path(f"{self.log}-looks")):
            path.unlink(missing_ok=True)

    def _script(self, path: Path) -> bytes:
        real = path.with_name("real-" + path.name)
        asks = super()._script(path).partition(b"printf")[0]
        return (
            asks
            + (
                f"log='{self.log}'\nbefore=\n"
                'for word in "$@"; do\n'
                "case $before$word in --emit*,*) ;; --emit=dep-info*|--emitdep-info*) log=$log-looks;; esac\n"
                "before=\n"
                "case $word in --emit) before=$word;; esac\n"
                "done\n"
                'printf \'%s\\n\' "$*" >> "$log"\n'
                f"exec '{real}' \"$@\"\n"
            ).encode()
        )


def unprivileged(setpriv: str) -> List[str]:
    """What to put before a command so that permissions hold for it: root passes over them."""
    return [setpriv, "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def one_line(run: Run, code: Optional[int] = 1) -> str:
    """What a command that failed told: one line."""
    assert run.returncode == code, run
    assert len(run.stderr.splitlines()) == 1, run.stderr
    return run.stderr


class Fleet:
    """What all tests of uploaders need: machines, their remote, and libraries for them to compile."""

    def __init__(self, world: World, kache: Kache, server: SeaweedFS, prefix: str, compiler: Path) -> None:
        self.world, self.kache, self.server, self.compiler = world, kache, server, compiler
        self.prefix = prefix
        self.bucket = Bucket(server, prefix)

    def through(self, proxy: Proxy) -> Bucket:
        """The same bucket, by way of the proxy."""
        return Bucket(self.server, self.prefix, proxy.endpoint)

    def machine(self, name: str, remote: Mapping[str, str], **more: str) -> Machine:
        """One with an empty store; ``remote`` and ``more`` are what its kache is told."""
        return machine(self.world, self.kache, name, dict(remote), **more)

    def libraries(self, machine: Machine) -> Libraries:
        return Libraries(machine, self.compiler)

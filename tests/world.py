"""The world a test runs in: its own directories, environment, kache, cargo and compiler.

Owns what end-to-end tests are told about a run: exit status, both outputs, kache's new events and, where asked for,
every program that was started. Knows nothing of pytest; conftest.py makes fixtures of it.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Union

REPOSITORY = Path(__file__).resolve().parent.parent

# What a test may see of the caller's environment: the tools, and how package registries are reached.
KEPT = re.compile(
    r"PATH|PYENV_ROOT|PYTEST_.*"
    r"|PIP_.*|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL|AWS)_CA_BUNDLE|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY"
)

# tests that trace have asked ``require_tool`` for it
STRACE = ("strace", "-f", "-qq", "-s", "1000000", "-e", "trace=execve", "-e", "signal=none")

Event = Dict[str, Any]


@dataclass
class Run:
    """One finished command. Texts are UTF-8 with surrogate escapes."""

    args: List[str]
    returncode: int
    stdout: str
    stderr: str
    # the events that kache appended while it ran, oldest first
    events: List[Event] = field(default_factory=list)
    # argv of every program started, only with trace=True
    started: List[List[str]] = field(default_factory=list)

    def ok(self) -> "Run":
        """Itself, if it ended with 0; else fails with all that is known."""
        told = f"{self.args} ended with {self.returncode}\n{self.stdout}\n{self.stderr}\n{self.events}"
        assert self.returncode == 0, told
        return self

    def results(self) -> Dict[str, List[str]]:
        """Crate name -> the results of its invocations in order, from the events."""
        found: Dict[str, List[str]] = {}
        for event in self.events:
            found.setdefault(str(event.get("crate_name", "")), []).append(str(event.get("result", "")))
        return found

    def count(self, result: str) -> int:
        """How many of the events have this result, say ``local_hit``."""
        return sum(event.get("result") == result for event in self.events)

    def fresh(self) -> Set[str]:
        """Packages that Cargo called Fresh; needs ``-v``."""
        return set(re.findall(r"^ *Fresh (\S+)", self.stderr, re.M))

    def built(self) -> Set[str]:
        """Packages for which Cargo said Compiling, Checking or Dirty."""
        return set(re.findall(r"^ *(?:Compiling|Checking|Dirty) (\S+)", self.stderr, re.M))

    def compilers(self) -> List[List[str]]:
        """The compiler calls among ``started``; Cargo's and build scripts' probes and rustup's proxies are apart."""
        return [argv for argv in self.started if is_compile(argv)]


def is_compile(argv: Sequence[str]) -> bool:
    """Whether this is rustc or clippy-driver asked to compile, and no probe."""
    if not argv or os.path.basename(argv[0]) not in ("rustc", "clippy-driver"):
        return False
    # while it compiles, kache asks for link-args
    words = " ".join(argv[1:]).replace("--print link-args", "").replace("--print=link-args", "").split()
    asks = ("-vV", "-V", "--version", "--print", "___", "-")
    return not any(word in asks or word.startswith("--print=") for word in words)


@dataclass
class World:
    """The directories and the environment of one test."""

    root: Path
    env: Dict[str, str]

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def cache_dir(self) -> Path:
        return self.root / "cache"

    def workspace(self, files: Mapping[str, Union[str, bytes]], name: str = "ws") -> Path:
        """Write ``files`` (relative name -> text, dedented, or bytes) below a directory ``name``, and return that."""
        base = self.root / name
        for relative, content in files.items():
            path = base / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_bytes(textwrap.dedent(content).lstrip("\n").encode("utf-8", "surrogateescape"))
        return base

    def events(self) -> List[Event]:
        """All that kache wrote into its event log, oldest first; a line that is not JSON fails the test."""
        try:
            text = (self.cache_dir / "events.jsonl").read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return []
        # two that write at once may leave an empty line
        return [json.loads(line) for line in text.splitlines() if line]

    def run(
        self,
        args: Sequence[Union[str, Path]],
        *,
        cwd: Optional[Path] = None,
        env: Optional[Mapping[str, Optional[str]]] = None,
        stdin: str = "",
        trace: bool = False,
        timeout: float = 300,
    ) -> Run:
        """Run a command in this world. ``env`` adds to its environment; a value of None takes a variable away."""
        environment = dict(self.env)
        for name, value in (env or {}).items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        command = [str(word) for word in args]
        log = self.root / "strace.log"
        tracer = [*STRACE, "-o", str(log)] if trace else []
        before = len(self.events())
        done = subprocess.run(
            [*tracer, *command],
            cwd=cwd or self.root,
            env=environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        started = programs_started(log.read_text("utf-8", "surrogateescape")) if trace else []
        return Run(command, done.returncode, done.stdout, done.stderr, self.events()[before:], started)


def programs_started(log: str) -> List[List[str]]:
    """argv of each execve that succeeded, from ``strace -f -e trace=execve``.

    A call that another process interrupted stands on two lines: ``PID execve(… <unfinished ...>`` and
    ``PID <... execve resumed>) = 0``. Strings are escaped like C's, which Python's bytes literals understand.
    """
    waiting: Dict[str, str] = {}
    found = []
    for line in log.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.startswith("<... execve resumed>"):
            call = waiting.pop(pid, "") + call
        elif call.endswith("<unfinished ...>"):
            waiting[pid] = call
            continue
        if not call.startswith("execve(") or not call.endswith("= 0"):
            continue
        match = re.search(r", \[(.*)\], 0x", call, re.S)
        if match:
            words = ast.literal_eval("[" + re.sub(r'(^|, )"', r'\1b"', match.group(1)) + "]")
            found.append([word.decode("utf-8", "surrogateescape") for word in words])
    return found


class Kache:
    """kache as a test calls it: ``path`` can stand in RUSTC_WRAPPER, ``kind`` is ``source`` or ``file``."""

    def __init__(self, world: World, path: Path, kind: str) -> None:
        self.world = world
        self.path = path
        self.kind = kind

    def run(self, *args: Union[str, Path], **options: Any) -> Run:
        """Run a command of kache; options as for ``World.run``."""
        return self.world.run([self.path, *args], **options)

    def events(self) -> List[Event]:
        return self.world.events()


class Cargo:
    """Real cargo, with kache as RUSTC_WRAPPER unless told otherwise."""

    def __init__(self, world: World, kache: Kache) -> None:
        self.world = world
        self.kache = kache

    def __call__(
        self,
        *args: Union[str, Path],
        cwd: Path,
        env: Optional[Mapping[str, Optional[str]]] = None,
        wrapper: bool = True,
        **options: Any,
    ) -> Run:
        """Run cargo in ``cwd``; ``wrapper=False`` builds without kache. Options as for ``World.run``."""
        own: Dict[str, Optional[str]] = {"RUSTC_WRAPPER": str(self.kache.path) if wrapper else None}
        return self.world.run(["cargo", *args], cwd=cwd, env={**own, **(env or {})}, **options)


class Poison:
    """A toolchain whose compiler can be made to fail, to prove that a hit starts none.

    The toolchain is a copy made of hard links; only rustc and clippy-driver are real copies. ``poison`` overwrites
    those two in place by a script of the same size and sets their modification time back, so that whoever knows a
    compiler by path, size, time and inode sees the same one. The script still answers what Cargo asks of a compiler
    (-vV, --print), fails every compile, and writes down each of those: ``calls``.
    """

    NAMES = ("rustc", "clippy-driver")

    def __init__(self, world: World, sysroot: Path, rustup: bool) -> None:
        self.world = world
        self.toolchain = world.root / "rustup" / "toolchains" / "poisonable"
        self.log = world.root / "poisoned-calls"
        for part in ("bin", "lib", "libexec"):
            if (sysroot / part).is_dir():
                shutil.copytree(sysroot / part, self.toolchain / part, symlinks=True, copy_function=link_or_copy)
        for name in self.NAMES:
            path = self.toolchain / "bin" / name
            if path.exists():
                path.unlink()
                shutil.copy2(sysroot / "bin" / name, path)
                shutil.copy2(path, path.with_name("real-" + name))
        if rustup:
            (world.root / "rustup" / "settings.toml").write_text('version = "12"\n')
            world.env.update(RUSTUP_HOME=str(world.root / "rustup"), RUSTUP_TOOLCHAIN="poisonable")
        else:
            world.env["PATH"] = f"{self.toolchain}/bin{os.pathsep}{world.env['PATH']}"

    def poison(self) -> None:
        """From now on every compile fails."""
        for name in self.NAMES:
            path = self.toolchain / "bin" / name
            if path.exists():
                self._overwrite(path, self._script(path).ljust(path.stat().st_size, b"\n"))

    def cure(self) -> None:
        """Put the real compilers back."""
        for name in self.NAMES:
            path = self.toolchain / "bin" / name
            if path.exists():
                self._overwrite(path, path.with_name("real-" + name).read_bytes())

    def calls(self) -> List[str]:
        """The compiles that were asked of a poisoned compiler, one command line each."""
        return self.log.read_text("utf-8", "surrogateescape").splitlines() if self.log.exists() else []

    def _script(self, path: Path) -> bytes:
        real = path.with_name("real-" + path.name)
        return (
            "#!/bin/sh\n"
            'for word in "$@"; do\n'
            # while it compiles, kache asks for link-args
            "case $print$word in --print) print=$word; continue;;"
            " --printlink-args|--print=link-args) print=; continue;; esac\n"
            f"case $print$word in -|-vV|-V|--version|--print*|___) exec '{real}' \"$@\";; esac\n"
            "done\n"
            f"printf '%s\\n' \"$*\" >> '{self.log}'\n"
            "echo 'error: the poisoned compiler was started' >&2\n"
            "exit 101\n"
        ).encode()

    def _overwrite(self, path: Path, content: bytes) -> None:
        before = path.stat()
        assert before.st_nlink == 1, f"{path} would be changed outside this test as well"
        assert len(content) == before.st_size, f"{path} is too small for the script"
        with path.open("r+b") as out:
            out.write(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def link_or_copy(source: str, target: str) -> None:
    """Hard-link a file that is only read; copy it where links fail."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

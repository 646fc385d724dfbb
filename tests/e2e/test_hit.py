"""What a hit costs: it loads no module but the allowed ones, starts no process, asks no compiler, stays small.

Each promise is held against a real hit, through the source tree and through dist/kache. A look at ``sys.modules``
needs no hook in kache: the source tree is run by a driver in a bare interpreter, and of dist/kache the interpreter
that its header starts is a script which puts a few lines before the header's own code.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Mapping

import pytest

from tests.arrows import HOT, HOT_MAY_IMPORT
from tests.conftest import missing
from tests.world import REPOSITORY, Event, Poison, World

PYTHON = os.path.realpath(sys.executable)
BARE = ("-I", "-S", "-X", "utf8")
MOST_MEMORY = 20 * 1024 * 1024

# Of the file; the package and the front door carry no name in the list of hot modules.
FRAME = {"kache", "kachelib", "kache_launcher"}

LIBRARY = "pub fn answer() -> u32 { 42 }\nfn unused() {}\n"
PROGRAM = 'fn main() { println!("{}", include_str!("word.txt")) }\n'

TELL = """
import posix, sys
def _tell():
    fd = posix.open({log!r}, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC)
    posix.write(fd, "\\n".join(sys.modules).encode())
    posix.close(fd)
"""

DRIVER = """
sys.path[:0] = {path!r}
sys.argv[0] = "kache"
import kache
status = kache.main()
_tell()
posix._exit(status)
"""

PRELUDE = """
_exit = posix._exit
def _tell_and_exit(status):
    _tell()
    _exit(status)
posix._exit = _tell_and_exit
"""

# The parent's own size counts for a child that it forks, so the parent is small.
MEASURE = """
import posix, sys
null = posix.open("/dev/null", posix.O_RDWR)
actions = [(posix.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
pid = posix.posix_spawn(sys.argv[2], sys.argv[2:], posix.environ, file_actions=actions)
_, status, usage = posix.wait4(pid, 0)
with open(sys.argv[1], "w") as out:
    out.write("%d %d" % (status, usage.ru_maxrss))
"""


class Unit:
    """One unit that kache compiled once, so that every further call is a hit. ``command``: what Cargo would call."""

    def __init__(self, world: World, kind: str, compiler: str = "rustc") -> None:
        self.world = world
        self.kind = kind
        name = "src/main.rs" if kind == "bin" else "src/lib.rs"
        files = {"src/lib.rs": LIBRARY, "src/main.rs": PROGRAM, "src/word.txt": "word"}
        if kind == "declared":
            files.update({"kache.toml": "extra_inputs = ['data/**/*.sql']\n", "data/a.sql": "select 1"})
            files[".kache.toml"] = "[cache]\nkey_env_vars = ['WORD']\n"
        self.directory = world.workspace(files)
        self.out = self.directory / "target/debug/deps"
        self.out.mkdir(parents=True)
        line = f"--crate-name x --edition=2021 {name} --error-format=json --json=diagnostic-rendered-ansi,artifacts"
        line += f" --crate-type {'bin' if kind == 'bin' else 'lib'} -C embed-bitcode=no -C debuginfo=2 -C metadata=1"
        line += f" --emit=dep-info,{'' if kind == 'bin' else 'metadata,'}link -C extra-filename=-1 --out-dir {self.out}"
        self.command = [compiler, *line.split()]
        self.environment = {
            **world.env,
            "CARGO_MANIFEST_DIR": str(self.directory),
            "CARGO_PKG_NAME": "x",
            "KACHE_CACHE_EXECUTABLES": "1",
        }
        # what was written just now is not remembered
        time.sleep(0.06)

    def call(self, *prefix: "str | Path", **more: str) -> "subprocess.CompletedProcess[str]":
        """Run the compile in an empty output directory; ``prefix``: kache, and what stands before it."""
        for path in self.out.iterdir():
            path.unlink()
        command = [*map(str, prefix), *self.command]
        environment = {**self.environment, **more}
        return subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    def last(self) -> Event:
        return self.world.events()[-1]

    def prepare(self, *kache: "str | Path") -> Dict[str, bytes]:
        """Compile once, and hit once so that all memos are written; returns the outputs."""
        done = self.call(*kache)
        assert done.returncode == 0, done.stderr
        assert self.last()["result"] == "miss", self.last()
        time.sleep(0.06)
        self.hit(*kache)
        return self.outputs()

    def hit(self, *prefix: "str | Path", **more: str) -> Event:
        """Call again; it must be a hit.

        Other tests make hard links of the compiler, which moves its ctime: then it is asked who it is, once more.
        """
        for _ in range(5):
            done = self.call(*prefix, **more)
            assert done.returncode == 0, done.stderr
            event = self.last()
            assert event["result"] == "local_hit" and event["compiler_runs"] == 0, event
            if not event["probe_runs"]:
                return event
        raise AssertionError(f"the compiler is asked each time: {event}")

    def outputs(self) -> Dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.iterdir()}


@pytest.fixture(params=["lib", "bin", "declared"])
def unit(request: pytest.FixtureRequest, world: World, rust: Mapping[str, str]) -> Unit:
    """A library with a warning; a program; a library with a configuration file and declared extra inputs."""
    if not rust:
        missing("Rust")
    return Unit(world, request.param)


def bare_modules(log: Path) -> List[str]:
    """What a bare interpreter has before anything is imported."""
    subprocess.run([PYTHON, *BARE, "-c", TELL.format(log=str(log)) + "_tell()"], check=True)
    return log.read_text().split()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def source_driver(tmp_path: Path, tell: str) -> Path:
    """kache from the source tree in a bare interpreter, as dist/kache runs it."""
    import blake3

    # Alone in its directory: nothing else of the environment's packages can be found by accident.
    packages = tmp_path / "packages"
    packages.mkdir(exist_ok=True)
    (packages / "blake3").symlink_to(Path(blake3.__file__).parent)
    driver = tmp_path / "driver.py"
    driver.write_text(tell + DRIVER.format(path=[str(REPOSITORY), str(packages)]))
    return script(tmp_path / "kache-source", f"exec '{PYTHON}' {' '.join(BARE)} -B '{driver}' \"$@\"\n")


def spying_python(tmp_path: Path, tell: str) -> Path:
    """An interpreter for dist/kache's header: the header's code runs in it behind a few lines of ours."""
    lines = [
        '[ "$1 $2 $3 $4 $5" = "-I -S -X utf8 -c" ] || exit 99',
        f"code={shlex.quote(tell + PRELUDE)}$6",
        "shift 6",
        f'exec \'{PYTHON}\' {" ".join(BARE)} -c "$code" "$@"\n',
    ]
    return script(tmp_path / "spy/python3", "\n".join(lines))


def assert_only_allowed(loaded: List[str], bare: List[str], event: Event) -> None:
    new = set(loaded) - set(bare)
    ours = {name.partition(".")[2] for name in new if name.startswith("kachelib.")}
    others = {name for name in new if not name.startswith(("kachelib.", "blake3."))} - FRAME
    # ioctl has no other door; where the file system has reflinks they are worth it
    allowed = HOT_MAY_IMPORT | ({"fcntl"} if event["reflinked_bytes"] else set())
    assert others <= allowed
    assert ours == HOT, "what the architecture calls hot is what a hit loads, no more and no less"


def test_a_hit_through_the_source_tree_loads_only_what_is_allowed(unit: Unit, tmp_path: Path) -> None:
    log = tmp_path / "modules"
    kache = source_driver(tmp_path, TELL.format(log=str(log)))
    bare = bare_modules(log)
    unit.prepare(kache)
    log.unlink()
    event = unit.hit(kache)
    assert_only_allowed(log.read_text().split(), bare, event)


def test_a_hit_through_the_file_loads_only_what_is_allowed(unit: Unit, tmp_path: Path, dist_kache: Path) -> None:
    log = tmp_path / "modules"
    spy = spying_python(tmp_path, TELL.format(log=str(log)))
    bare = bare_modules(log)
    unit.prepare(dist_kache)
    log.unlink()
    event = unit.hit(dist_kache, KACHE_PYTHON=str(spy))
    assert_only_allowed(log.read_text().split(), bare, event)


def test_the_spy_sees_what_a_miss_loads(unit: Unit, tmp_path: Path, dist_kache: Path) -> None:
    """The two tests above are worth what the spy sees."""
    log = tmp_path / "modules"
    spy = spying_python(tmp_path, TELL.format(log=str(log)))
    assert unit.call(dist_kache, KACHE_PYTHON=str(spy)).returncode == 0
    assert {"kachelib.compile", "kachelib.collect"} <= set(log.read_text().split())


@pytest.fixture(params=["source", "file"])
def bare_kache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """kache as a hit should find it: from the source tree without site and os, or the file."""
    if request.param == "source":
        return source_driver(tmp_path, "import posix, sys\ndef _tell(): pass\n")
    found = request.getfixturevalue("dist_kache")
    assert isinstance(found, Path)
    return found


def test_a_hit_starts_no_process(
    unit: Unit, bare_kache: Path, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    """One program becomes the next; nothing is forked."""
    strace, log = require_tool("strace"), tmp_path / "calls"
    unit.prepare(bare_kache)
    calls = "trace=execve,clone,?clone3,?fork,?vfork"
    unit.hit(strace, "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", str(log), bare_kache)
    lines = [line for line in log.read_text().splitlines() if not line.endswith("(No such file or directory)")]
    assert not [line for line in lines if "execve(" not in line or not line.endswith("= 0")]
    started = [re.sub(r'.*execve\("([^"]*)".*', r"\1", line) for line in lines]
    assert started == [str(bare_kache), PYTHON]


def test_a_hit_is_small(unit: Unit, bare_kache: Path, tmp_path: Path) -> None:
    unit.prepare(bare_kache)
    log = tmp_path / "usage"
    unit.hit(PYTHON, *BARE, "-c", MEASURE, log, bare_kache)
    status, kilobytes = map(int, log.read_text().split())
    assert status == 0
    assert kilobytes * 1024 <= MOST_MEMORY, f"{kilobytes} KiB"


def test_the_measure_sees_a_large_program(tmp_path: Path) -> None:
    log = tmp_path / "usage"
    large = [PYTHON, *BARE, "-c", "x = b'1' * 40_000_000"]
    subprocess.run([PYTHON, *BARE, "-c", MEASURE, str(log), *large], check=True)
    assert int(log.read_text().split()[1]) * 1024 > MOST_MEMORY


@pytest.mark.parametrize("kind", ["lib", "bin"])
def test_a_hit_asks_no_compiler(kind: str, world: World, poison_compiler: Poison, bare_kache: Path) -> None:
    """With a compiler that cannot even say its version: same files, same words, same status."""
    unit = Unit(world, kind)
    first = unit.prepare(bare_kache)
    said = unit.call(bare_kache).stderr
    # another name of the caller's library: only this one goes
    for library in (poison_compiler.toolchain / "lib").glob("librustc_driver*"):
        library.unlink()
    assert world.run(["rustc", "-vV"]).returncode != 0
    done = unit.call(bare_kache)
    assert done.returncode == 0, done.stderr
    assert unit.last()["result"] == "local_hit"
    assert done.stderr == said
    assert unit.outputs() == first
    (unit.directory / "src/lib.rs").write_text("pub fn other() {}\n")
    (unit.directory / "src/main.rs").write_text("fn main() {}\n")
    assert unit.call(bare_kache).returncode != 0, "what is no hit fails"

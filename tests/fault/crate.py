"""One small library, compiled by calling the wrapper as Cargo does, and the measure of what is right.

What fault tests expect comes from the promises alone: a compile that would pass passes, prints what the compiler
prints, and leaves the bytes that a fresh compile at this place leaves: with kache on an empty store, or without kache.
"""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from tests.world import Event, Kache, World

Files = Dict[str, bytes]
Environment = Optional[Mapping[str, Optional[str]]]

# The second function makes rustc warn, so that there is something to replay.
SOURCE = "pub fn answer() -> u32 { 42 }\nfn unused() {}\n"

TIMEOUT = 120.0


@dataclass
class Compiled:
    """One finished call: exit status (negative: a signal), outputs, files by base name, and the events it wrote."""

    returncode: int
    stdout: bytes
    stderr: bytes
    files: Files = field(default_factory=dict)
    events: List[Event] = field(default_factory=list)

    @property
    def result(self) -> str:
        """The result of its event, "" where none was written."""
        return str(self.events[-1]["result"]) if self.events else ""

    @property
    def compiled(self) -> bool:
        """Whether a compiler ran; where no event was written that is not known, and true."""
        return not self.events or bool(self.events[-1]["compiler_runs"])


class Crate:
    """A library crate in ``world.root / place``; ``compile`` calls the wrapper, ``check`` judges what came of it."""

    def __init__(self, world: World, kache: Kache, compiler: Path, place: Union[str, Path] = "ws") -> None:
        self.world = world
        self.kache = kache.path
        self.compiler = compiler
        self.directory = world.root / place
        self.source = self.directory / "src" / "lib.rs"
        self.out = self.directory / "target" / "debug" / "deps"
        self.name = "x"
        # more arguments, and files elsewhere that a compile reads
        self.more: List[str] = []
        self.also: List[Path] = []
        self._good: Dict[str, List[Compiled]] = {}
        self.out.mkdir(parents=True)
        self.source.parent.mkdir()
        self.write(SOURCE)

    def write(self, text: Union[str, bytes]) -> None:
        """Write the crate's only source."""
        self.source.write_bytes(text if isinstance(text, bytes) else text.encode())

    def command(self) -> List[str]:
        """The compiler and its arguments, as Cargo writes them."""
        line = f"--crate-name {self.name} --edition=2021 src/lib.rs --error-format=json"
        line += " --json=diagnostic-rendered-ansi,artifacts,future-incompat --crate-type lib"
        line += " --emit=dep-info,metadata,link -C embed-bitcode=no -C debuginfo=2 -C metadata=1 -C extra-filename=-1"
        place = [] if "--out-dir" in self.more else ["--out-dir", str(self.out)]
        return [str(self.compiler), *line.split(), *place, *self.more]

    def environment(self, env: Environment = None) -> Dict[str, str]:
        """What Cargo sets, the world's, and ``env`` over both; a value of None takes a variable away."""
        found = {**self.world.env, "CARGO_MANIFEST_DIR": str(self.directory), "CARGO_PKG_NAME": self.name}
        for name, value in (env or {}).items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value
        return found

    def start(self, *, prefix: Sequence[str] = (), env: Environment = None, **popen: Any) -> "subprocess.Popen[bytes]":
        """Start the wrapper in the background; ``prefix`` stands before it on the command line."""
        options: Dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options.update(cwd=self.directory, env=self.environment(env))
        return subprocess.Popen([*prefix, str(self.kache), *self.command()], **{**options, **popen})

    def compile(self, *, prefix: Sequence[str] = (), env: Environment = None, keep: bool = False) -> Compiled:
        """Call the wrapper and wait. ``keep``: what lies in the output directory stays."""
        if not keep:
            self.clean()
        seen = self.log_size(env)
        return self.finish(self.start(prefix=prefix, env=env), seen, env)

    def finish(self, process: "subprocess.Popen[bytes]", seen: int = 0, env: Environment = None) -> Compiled:
        """Wait for what ``start`` started; events count from byte ``seen`` of the log on."""
        try:
            stdout, stderr = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"the wrapper hangs; until then it said {stderr[-2000:]!r}") from None
        return Compiled(process.returncode, stdout or b"", stderr or b"", self.files(), self.events(seen, env))

    def clean(self) -> None:
        """Empty the output directory."""
        for path in self.out.iterdir():
            # a compiler that was stopped leaves temporary directories
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def files(self) -> Files:
        """The outputs that are there."""
        return {path.name: path.read_bytes() for path in sorted(self.out.iterdir()) if path.is_file()}

    def events(self, seen: int = 0, env: Environment = None) -> List[Event]:
        """The events from byte ``seen`` of the log on; a line that was cut is passed over, as readers do."""
        found = []
        for line in read(self._log(env))[seen:].split(b"\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def log_size(self, env: Environment = None) -> int:
        """How long the event log is now."""
        return len(read(self._log(env)))

    def good(self) -> List[Compiled]:
        """What is right for the source as it is now: without kache first, then with kache on an empty store."""
        key = f"{self.command()} {self._sources()!r}"
        if key not in self._good:
            kept = self.files()
            self.clean()
            plain = self.finish(self._plain())
            self.clean()
            with tempfile.TemporaryDirectory(dir=self.world.root) as store:
                cached = self.compile(env={"KACHE_CACHE_DIR": store})
            self.clean()
            for name, data in kept.items():
                (self.out / name).write_bytes(data)
            assert cached.returncode == plain.returncode, cached
            self._good[key] = [plain, cached]
        return self._good[key]

    def check(self, compiled: Compiled, *, retold: bool = False) -> Compiled:
        """Judge a call: as the compiler alone would have ended, said and written it. Returns ``compiled``.

        ``retold``: the compiler may have run again, and have said its words twice.
        """
        good = self.good()
        told = f"\nevents {compiled.events}\nstderr {compiled.stderr[-3000:]!r}"
        assert compiled.returncode == good[0].returncode, f"ended with {compiled.returncode}{told}"
        assert compiled.stdout == good[0].stdout, f"printed {compiled.stdout!r}{told}"
        words = [good[0].stderr, good[0].stderr * 2] if retold else [good[0].stderr]
        assert compiled.stderr in words, f"another standard error than the compiler's own{told}"
        wrong = [name for name, data in compiled.files.items() if data not in [g.files.get(name) for g in good]]
        assert compiled.files.keys() == good[0].files.keys(), f"left {sorted(compiled.files)}{told}"
        assert not wrong, f"wrong bytes in {wrong}{told}"
        return compiled

    def check_next(self, **options: Any) -> Compiled:
        """Call the wrapper once more and judge that; then again: by now it has to be a hit."""
        self.check(self.compile(**options))
        last = self.check(self.compile(**options))
        assert last.result == "local_hit", last.events
        return last

    def check_hit(self, **options: Any) -> Compiled:
        """Call the wrapper: it has to be a hit, and right."""
        found = self.check(self.compile(**options))
        assert found.result == "local_hit", found.events
        return found

    def store_files(self, *below: str) -> List[Path]:
        """All files of the store below one of these directories, in order."""
        found: List[Path] = []
        for name in below:
            found += [path for path in (self.world.cache_dir / name).rglob("*") if path.is_file()]
        return sorted(found)

    def _sources(self) -> Files:
        """All that a compile may read here."""
        paths = [path for path in self.directory.rglob("*") if "target" not in path.parts and path.is_file()]
        return {str(path): path.read_bytes() for path in sorted([*paths, *self.also])}

    def _plain(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.command(),
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _log(self, env: Environment) -> Path:
        return Path(self.environment(env).get("KACHE_CACHE_DIR", "/nowhere")) / "events.jsonl"


def read(path: Path) -> bytes:
    """The content of a file, nothing where there is none."""
    try:
        return path.read_bytes()
    except (OSError, ValueError):
        return b""


def overwrite(path: Path, data: bytes) -> None:
    """Put other bytes into a file as damage does: its inode, mode and times stay."""
    before = path.stat()
    path.chmod(before.st_mode | 0o200)
    with path.open("r+b") as file:
        file.truncate()
        file.write(data)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flipped(data: bytes, bit: int) -> bytes:
    """``data`` with one bit turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def remove(path: Path) -> None:
    """Remove whatever lies there, also what others are writing into."""
    for _ in range(100):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return

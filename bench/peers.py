"""What others do for a new target directory: kache 2, mbx, and an archive as rust-cache keeps it.

Each is used as its own documents say, with its defaults, a HOME and a cache of its own. `make bench-peers` builds the
first two into build/peers; a peer that is not there is named, and a row with it does not hold.
"""

import os
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List

from bench.ground import REPOSITORY, SCRATCH, BenchError, Ground, fresh_copy, put_aside, remove, say

PEERS = REPOSITORY / "build" / "peers"
KACHE_2, MBX = PEERS / "bin" / "kache", PEERS / "bin" / "mbx"


class Archive:
    """A target directory without the workspace's own units, compressed, as rust-cache keeps it; ``file`` is it."""

    def __init__(self, ground: Ground, project: Path) -> None:
        self.ground = ground
        self.project = project
        self.target, self.file = SCRATCH / "targets" / "rust-cache", SCRATCH / "caches" / "rust-cache.tar.zst"
        ground.build({}, project, "rust-cache")
        own = self._members()
        for directory in ("debug/.fingerprint", "debug/build", "debug/deps"):
            for path in (self.target / directory).iterdir():
                stem = path.name.partition(".")[0].rpartition("-")[0]
                if stem in own or stem[3:] in own:
                    remove(path) if path.is_dir() else path.unlink()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        ground.run(["tar", "--zstd", "-cf", str(self.file), "-C", str(self.target), "."], project)

    def build(self) -> float:
        """Unpack it and build, in seconds."""
        put_aside(self.target)
        self.target.mkdir()
        start = time.monotonic()
        self.ground.run(["tar", "--zstd", "-xf", str(self.file), "-C", str(self.target)], self.project)
        self.ground.run(
            ["cargo", "build", "--quiet", "--offline"], self.project, {"CARGO_TARGET_DIR": str(self.target)}
        )
        return time.monotonic() - start

    def _members(self) -> "set[str]":
        done = self.ground.run(
            ["cargo", "tree", "--workspace", "--depth", "0", "--prefix", "none", "--offline"], self.project
        )
        names = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
        return names | {name.replace("-", "_") for name in names}


class Peers:
    """The peers that can be run here. missing: the others, and why."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.missing: Dict[str, str] = {}
        self._found: Dict[str, Callable[[], float]] = {}
        self._stops: List[Callable[[], None]] = []

    def names(self) -> List[str]:
        return list(self._found)

    def variants(self, project: Path) -> Dict[str, Callable[[], float]]:
        """Name -> a warm build of ``project`` in a new target directory, in seconds; their caches are filled here."""
        for name, prepare in (("rust-cache", self._archive), ("kache 2", self._kache_2), ("mbx", self._mbx)):
            say(f"bench: filling {name}")
            try:
                self._found[name] = prepare(project)
            except (BenchError, OSError) as error:
                self.missing[name] = f"not measured: {str(error).splitlines()[0]}"
        return dict(self._found)

    def stop(self) -> None:
        for stop in self._stops:
            stop()

    def _archive(self, project: Path) -> Callable[[], float]:
        return Archive(self.ground, project).build

    def _home(self, name: str) -> Dict[str, str]:
        home = SCRATCH / "caches" / name
        remove(home)
        home.mkdir(parents=True)
        return {"HOME": str(home), "KACHE_CACHE_DIR": str(home / "cache"), "CARGO_HOME": self.ground.env["CARGO_HOME"]}

    def _kache_2(self, project: Path) -> Callable[[], float]:
        if not KACHE_2.exists():
            raise BenchError("make bench-peers builds it")
        env = {**self._home("kache-2"), "RUSTC_WRAPPER": str(KACHE_2)}
        self._stops.append(lambda: self._quietly([str(KACHE_2), "daemon", "stop"], env))
        self.ground.build(env, project, "kache-2")
        return lambda: self.ground.build(env, project, "kache-2")

    def _mbx(self, project: Path) -> Callable[[], float]:
        if not MBX.exists():
            raise BenchError("make bench-peers builds it")
        # it leaves a link in the checkout
        project = fresh_copy(project, SCRATCH / "another" / "mbx" / project.name)
        targets = SCRATCH / "targets" / "mbx"
        env = {**self._home("mbx"), "MBX_TARGET_ROOT": str(targets)}

        def build() -> float:
            put_aside(targets)
            start = time.monotonic()
            self.ground.run([str(MBX), "build"], project, env)
            return time.monotonic() - start

        build()
        return build

    def _quietly(self, args: List[str], env: Dict[str, str]) -> None:
        subprocess.run(args, env={**os.environ, **self.ground.env, **env}, capture_output=True, check=False)

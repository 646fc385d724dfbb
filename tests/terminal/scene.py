"""A scene to watch: a workspace that real cargo builds while a monitor runs beside it.

Owns the workspace, a remote in a directory, and builds that go on in the background. One crate's build script waits for
``go()``, so that a test can look at the monitor while the build is surely under way.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Optional

from tests.terminal.tmux import Tmux
from tests.world import Kache, World

MEMBERS: Dict[str, List[str]] = {
    "lexer": [],
    "parser": ["lexer"],
    "runtime": [],
    "codegen": ["parser"],
    "compiler": ["codegen", "runtime"],
}

# Waits half a minute at most: a test that failed must not leave it behind.
BUILD_SCRIPT = """
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let gate = std::path::Path::new("GATE");
    for _ in 0..300 {
        if gate.exists() { break; }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
"""


class Scene:
    """One workspace, ``~/shop``, built by kache as Cargo's wrapper and watched by it."""

    def __init__(self, world: World, kache: Kache, start: Callable[..., Tmux]) -> None:
        self.world, self.kache = world, kache
        self._start = start
        self._running: List["subprocess.Popen[bytes]"] = []
        self._gate = world.root / "gate"
        self.root = world.workspace(_files(self._gate), "home/shop")
        (world.home / "bin").mkdir()
        (world.home / "bin" / "kache").symlink_to(kache.path)
        (world.home / "shared").mkdir()
        config = world.home / "kache.toml"
        config.write_text(f'[cache.remote]\ntype = "filesystem"\npath = "{world.home}/shared"\n')
        self._remote = {"KACHE_CONFIG": str(config)}
        self.env = {"PATH": f"{world.home}/bin{os.pathsep}{world.env['PATH']}", "RUSTC_WRAPPER": "kache"}
        self.go()

    def with_remote(self) -> None:
        """From now on builds have a remote, and with it an uploader."""
        self.env.update(self._remote)

    def watch(self, *arguments: str, environ: Optional[Dict[str, Optional[str]]] = None, **options: object) -> Tmux:
        """``kache`` with these arguments, in a terminal."""
        seen = {**self.env, **(environ or {})}
        return self._start([self.kache.path, *arguments], environ=seen, cwd=self.root, **options)

    def begin(self, **environ: str) -> "subprocess.Popen[bytes]":
        """Begin a build that will wait before its last crates are compiled."""
        self._gate.unlink()
        log = (self.world.root / "cargo.log").open("wb")
        with log:
            process = subprocess.Popen(
                ["cargo", "build", "--quiet"],
                cwd=self.root,
                env={**self.world.env, **self.env, **environ},
                stdout=log,
                stderr=log,
            )
        self._running.append(process)
        return process

    def go(self) -> None:
        """Let it go on."""
        self._gate.touch()

    def finish(self, process: "subprocess.Popen[bytes]") -> None:
        self.go()
        assert process.wait(120) == 0, (self.world.root / "cargo.log").read_text()

    def build(self, **environ: str) -> None:
        """Build all of it."""
        self.world.run(["cargo", "build"], cwd=self.root, env={**self.env, **environ}).ok()

    def clean(self) -> None:
        shutil.rmtree(self.root / "target")

    def run(self, *arguments: str) -> None:
        self.kache.run(*arguments, cwd=self.root, env=self.env).ok()

    def close(self) -> None:
        """End what still runs."""
        self.go()
        for process in self._running:
            process.wait(60)
        self.kache.run("daemon", "stop", env=self.env)


def _files(gate: Path) -> Dict[str, str]:
    members = ", ".join(f'"{name}"' for name in MEMBERS)
    files = {"Cargo.toml": f'[workspace]\nmembers = [{members}]\nresolver = "2"\n'}
    for name, needs in MEMBERS.items():
        dependencies = "".join(f'{need} = {{ path = "../{need}" }}\n' for need in needs)
        package = f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
        files[f"{name}/Cargo.toml"] = f"{package}[dependencies]\n{dependencies}"
        calls = " + ".join([f"{need}::count()" for need in needs] or ["1"])
        files[f"{name}/src/lib.rs"] = f"pub fn count() -> u32 {{ {calls} }}\n"
    files["compiler/src/main.rs"] = 'fn main() { println!("{}", compiler::count()); }\n'
    files["runtime/build.rs"] = BUILD_SCRIPT.replace("GATE", str(gate))
    return files

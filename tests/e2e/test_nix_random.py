"""What a key leaves out in a Nix shell makes no hit wrong: random shells, each beside a build from an empty store.

The compiler is the stand-in's wrapper, which hands NIX_LDFLAGS to the linker as nixpkgs' does; Nix is not needed.
"""

import random
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from tests.world import REPOSITORY, Kache, World

WRAPPER = REPOSITORY / "tests" / "nix" / "nixpkgs" / "cc.c"
LOADER = Path("/lib64/ld-linux-x86-64.so.2")

FILES = {
    "Cargo.toml": '[package]\nname = "demo"\nversion = "0.1.0"\nedition = "2021"\n',
    "Cargo.lock": 'version = 4\n\n[[package]]\nname = "demo"\nversion = "0.1.0"\n',
    "src/main.rs": 'fn main() { println!("it runs"); }\n',
}


class Shells:
    """Random shells in two checkouts."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.choose = random.Random(seed)
        self.checkouts = [world.workspace(FILES, name=name) for name in ("one", "deeper/two")]
        self.libraries = [world.root / "lib" / name for name in ("a", "b")]
        for place in self.libraries:
            place.mkdir(parents=True)

    def environment(self, checkout: Path) -> Dict[str, str]:
        """One entry into a shell: what its hooks say of this place and of the toolchain."""
        pick, outputs = self.choose, checkout / "outputs" / "out"
        words: List[str] = []
        if pick.random() < 0.8:
            words += ["-rpath", f"{outputs}/lib"]
        if pick.random() < 0.3:
            words += ["-rpath", f"{outputs}/lib64"]
        for place in self.libraries:
            if pick.random() < 0.4:
                words += pick.choice([[f"-L{place}"], ["-rpath", str(place)], [f"-L{place}", "-rpath", str(place)]])
        if pick.random() < 0.3:
            words.append(pick.choice(["-Wl,-z,now", "-Wl,--build-id=sha1", "-s"]))
        pick.shuffle(self.libraries)
        # somebody installed into the shell's outputs, or removed that again
        if pick.random() < 0.2:
            (outputs / "lib").mkdir(parents=True, exist_ok=True)
        elif pick.random() < 0.3:
            shutil.rmtree(checkout / "outputs", ignore_errors=True)
        return {
            "out": str(outputs),
            "outputs": "out",
            "NIX_LDFLAGS": " ".join(words),
            "NIX_CFLAGS_COMPILE": f"-frandom-seed={pick.randrange(1000)}",
            "NIX_BUILD_TOP": f"/tmp/nix-shell.{pick.randrange(1000)}",
        }


def built(world: World, kache: Kache, checkout: Path, env: Dict[str, str], cache: Path) -> bytes:
    shutil.rmtree(checkout / "target", ignore_errors=True)
    more = {"RUSTC_WRAPPER": str(kache.path), "KACHE_CACHE_EXECUTABLES": "1", "KACHE_CACHE_DIR": str(cache)}
    world.run(["cargo", "build", "--offline"], cwd=checkout, env={**env, **more}).ok()
    return (checkout / "target" / "debug" / "demo").read_bytes()


def walk(world: World, kache: Kache, seed: int, steps: int) -> None:
    print(f"seed {seed}")
    program = world.root / "bin" / "cc"
    libc, ld = world.root / "libc" / "lib", world.root / "ld" / "bin"
    for place in (program.parent, libc, ld):
        place.mkdir(parents=True)
    shutil.copy(LOADER.resolve(), libc / "ld.so")
    (ld / "ld").symlink_to(shutil.which("ld.bfd", path="/usr/bin") or "/usr/bin/ld")
    macros = ['-DPROGRAM="/usr/bin/gcc"', f'-DLIBC="{libc.parent}"', f'-DLD="{ld.parent}"']
    subprocess.run(["gcc", *macros, str(WRAPPER), "-o", str(program)], check=True)
    world.env["PATH"] = f"{program.parent}:{world.env['PATH']}"
    shells = Shells(world, seed)
    hits = 0
    for step in range(steps):
        checkout = shells.choose.choice(shells.checkouts)
        env = shells.environment(checkout)
        shared = built(world, kache, checkout, env, world.cache_dir)
        hits += world.events()[-1]["result"] == "local_hit"
        empty = world.root / f"empty-{step}"
        alone = built(world, kache, checkout, env, empty)
        assert shared == alone, f"seed {seed}, step {step}: {env}"
        shutil.rmtree(empty)
    assert hits, "nothing was ever hit, so nothing was tried"


def test_random_shells(world: World, kache_file: Kache, require_tool: Callable[[str], str]) -> None:
    require_tool("gcc")
    walk(world, kache_file, random.randrange(2**32), 16)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_many_random_shells(world: World, kache_file: Kache, seed: int) -> None:
    walk(world, kache_file, seed, 100)

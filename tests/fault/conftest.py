"""Fixtures of the fault tests: a crate, and the means to make things go wrong.

crate           a small library; ``crate.compile()`` calls the wrapper (dist/kache), ``crate.check`` judges
unprivileged    what to put before a command so that permissions hold for it: root passes over them
tmpfs           ``tmpfs(path, "1m")`` mounts a small file system of its own there
xfs             a mounted xfs of its own, which shares blocks between files
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Iterator, List, Mapping

import pytest

from tests.fault.crate import Crate
from tests.world import Kache, World


@pytest.fixture
def crate(world: World, kache_file: Kache, rust: Mapping[str, str]) -> Crate:
    """A small library, compiled through dist/kache by the toolchain's own rustc."""
    if not rust:
        pytest.skip("Rust is missing")
    return Crate(world, kache_file, Path(rust["sysroot"]) / "bin" / "rustc")


@pytest.fixture
def unprivileged(require_tool: Callable[[str], str]) -> List[str]:
    """A command prefix without root's power over permissions; empty where there is none to give up."""
    if os.geteuid() != 0:
        return []
    return [require_tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def tmpfs() -> Iterator[Callable[[Path, str], Path]]:
    """Mount a tmpfs of that size; the test is skipped where this process may not."""
    mounted: List[Path] = []

    def mount(path: Path, size: str) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        tool = shutil.which("mount") or "mount"
        command = [tool, "-t", "tmpfs", "-o", f"size={size},mode=755", "none", str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system can be mounted: {error}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=False)


@pytest.fixture
def xfs(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Path]:
    """A mounted xfs of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    image, place = tmp_path / "xfs.image", tmp_path / "xfs"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    place.mkdir()
    subprocess.run([require_tool("mkfs.xfs"), "-q", "-m", "reflink=1", str(image)], check=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no image can be mounted: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)

"""A file system with reflinks: outputs are clones, private and without a copy. xfs, from an image."""

import subprocess
from pathlib import Path

from tests.world import Cargo

FILES = {
    "Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n',
    "src/lib.rs": "pub fn two() -> u32 { 2 }\n",
    "src/main.rs": 'fn main() { println!("{}", app::two()); }\n',
}


def write(directory: Path) -> Path:
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def test_outputs_are_clones_with_inodes_of_their_own(xfs: Path, cargo: Cargo) -> None:
    env = {"KACHE_CACHE_DIR": str(xfs / "cache"), "KACHE_CACHE_EXECUTABLES": "1"}
    first, second = write(xfs / "first"), write(xfs / "deeper" / "second")
    cargo("build", cwd=first, env=env)
    cargo("build", cwd=second, env=env)
    lines = (xfs / "cache" / "events.jsonl").read_text().splitlines()
    assert sum('"result":"local_hit"' in line for line in lines) == 2
    for line in lines[2:]:
        assert '"copied_bytes":0' in line and '"hardlinked_bytes":0' in line and '"reflinked_bytes":0' not in line
    for blob in (xfs / "cache" / "store").glob("*/*"):
        assert blob.stat().st_nlink == 1
    assert subprocess.run([second / "target/debug/app"], capture_output=True, text=True, check=True).stdout == "2\n"
    for directory in (first, second, first):
        assert "Compiling" not in cargo("build", cwd=directory, env=env).stderr

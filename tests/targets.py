"""Target directories for tests, made without Cargo where thousands or odd ones are wanted, and pictures of whole trees.

What is made here has the names and marks of what cargo 1.95 leaves; tests/e2e/test_clean.py has the real ones.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import Dict, List, Mapping, Tuple

from kachelib import target_tree
from kachelib.survey import Survey
from kachelib.target_removal import Outcome
from kachelib.target_size import Target

TAG = """\
Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by cargo.
# For information about cache directory tags see https://bford.info/cachedir/
"""
OTHER_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by something else.\n"
INFO = '{"rustc_fingerprint":8668999387863862814,"outputs":{},"successes":{}}'

FILES: Mapping[str, str] = {
    "CACHEDIR.TAG": TAG,
    ".rustc_info.json": INFO,
    "debug/.cargo-lock": "",
    "debug/app": "program",
    "debug/app.d": "app: src/main.rs",
    "debug/.fingerprint/app-17eb751571e7872b/bin-app": "0123456789abcdef",
    "debug/deps/libdep-4c2bcd1539a98990.rlib": "library" * 3000,
    "debug/deps/app-4c2bcd1539a98990.d": "app: src/main.rs",
    "debug/build/app-fbad94938ee920e0/output": "cargo:rerun-if-changed=build.rs",
    "debug/build/app-fbad94938ee920e0/out/made.rs": "pub fn made() {}",
    "debug/incremental/app-0wuhaxdej5zvw/s-hojfhg2ows-1aquzbd-c476/dep-graph.bin": "graph" * 2000,
    "debug/incremental/app-0wuhaxdej5zvw/s-hojfhg2ows-1aquzbd.lock": "",
    "debug/examples/show": "example",
    "doc/app/index.html": "<html>",
}

# relative path (bytes that are not UTF-8 as surrogates) -> type and mode, digest or where it points, time
Snapshot = Dict[str, Tuple[int, bytes, int]]


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write ``files`` below ``directory``, and return that."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def make(directory: Path, without: str = "", files: Mapping[str, str] = FILES) -> Path:
    """A target directory; ``without``: the beginning of names that are left out."""
    return write(directory, {name: text for name, text in files.items() if not without or not name.startswith(without)})


def snapshot(root: Path, but: Tuple[Path, ...] = ()) -> Snapshot:
    """Everything below ``root`` but for these directories, with a digest of its content, mode and time of change."""
    found: Snapshot = {}
    spared = {str(path) for path in but}
    for base, directories, names in os.walk(root):
        directories[:] = [name for name in directories if os.path.join(base, name) not in spared]
        for name in [*names, *directories, "."]:
            path = os.path.join(base, name)
            status = os.lstat(path)
            content = b""
            if stat.S_ISREG(status.st_mode):
                # that a program is read counts as its use
                with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOATIME", 0)), "rb") as file:
                    content = hashlib.sha256(file.read()).digest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(path))
            # A directory changes its time when a target directory in it goes.
            time = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            found[os.path.relpath(path, root)] = (status.st_mode, content, time)
    return found


def disk_bytes(root: Path) -> int:
    """What ``du`` says of ``root``: an inode once, directories too.

    The numbers of files that are not yet on the disk may still change: call ``os.sync`` after a build.
    """
    seen = {}
    for base, _, names in os.walk(root):
        for name in [*names, "."]:
            status = os.lstat(os.path.join(base, name))
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def look(*starts: Path, closed: Mapping[str, str] = {}, cache_dir: str = "", crossing: bool = False) -> Survey:
    """A survey of these, run to its end."""
    fences = target_tree.Fences(closed, crossing)
    view = Survey([os.path.realpath(start) for start in starts], fences, cache_dir)
    for _ in view.run():
        pass
    return view


def paths(view: Survey) -> List[str]:
    """The paths of what was found."""
    return sorted(target.path for target in view.targets)


def remove(view: Survey, target: Target, incremental: bool = False) -> Outcome:
    """Delete one."""
    return view.remove(target, incremental, lambda _: None)

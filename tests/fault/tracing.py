"""Faults at one system call: the N-th call of a name ends in an error, or kills the wrapper before it is made.

strace counts calls of each name from the start of the process, through exec: sh, then Python, then kache. Of the
wrapper's own process only; the compiler is left alone.
"""

import re
from dataclasses import dataclass
from typing import Dict, List, Sequence

from tests.fault.crate import Compiled, Crate

# What changes anything outside the process: between two of these all moments are alike to everybody else.
CHANGES = (
    "chmod fchmod fchmodat fcntl fsync ftruncate ioctl link linkat mkdir mkdirat openat rename renameat renameat2 "
    "rmdir symlink symlinkat unlink unlinkat utimensat vfork write"
).split()

# What may fail on a bad disk, a full table or a strict system.
FALLIBLE = [
    *CHANGES,
    *"access clone clone3 dup dup2 fstat getcwd getdents64 lseek lstat memfd_create newfstatat pipe2 pread64".split(),
    *"pwrite64 read readlink readlinkat stat statx".split(),
]


@dataclass(frozen=True)
class Point:
    """One system call of a run: the ``ordinal``-th of that name, and how strace showed it."""

    name: str
    ordinal: int
    line: str

    def __str__(self) -> str:
        return f"{self.name} {self.ordinal}: {self.line[:150]}"


class Tracer:
    """Runs a crate's wrapper under strace."""

    def __init__(self, strace: str, crate: Crate) -> None:
        self.strace = strace
        self.crate = crate
        self.log = crate.world.root / "trace"

    def points(self, names: Sequence[str]) -> List[Point]:
        """What the wrapper does in one call, from where its own code begins."""
        prefix = [self.strace, "-o", str(self.log), "-e", "trace=all"]
        self.crate.check(self.crate.compile(prefix=prefix))
        lines = self.log.read_text("utf-8", "replace").splitlines()
        # sh reads the file first, then kache itself
        opened = [n for n, line in enumerate(lines) if "openat(" in line and f'"{self.crate.kache}"' in line]
        found = []
        counts: Dict[str, int] = {}
        for number, line in enumerate(lines):
            match = re.match(r"(\w+)\(", line)
            if match:
                counts[match[1]] = counts.get(match[1], 0) + 1
                if number > opened[1] and match[1] in names:
                    found.append(Point(match[1], counts[match[1]], line))
        assert found, lines
        return found

    def inject(self, point: Point, fault: str) -> Compiled:
        """One call in which ``fault`` ("error=EIO", "signal=KILL") befalls the point. The log shows what was hit."""
        prefix = [self.strace, "-o", str(self.log), "-e", f"trace={point.name}"]
        prefix += ["-e", f"inject={point.name}:{fault}:when={point.ordinal}"]
        return self.crate.compile(prefix=prefix)

    def struck(self) -> str:
        """The call that was hit, as strace showed it; "" where the run did not come to it."""
        for line in self.log.read_text("utf-8", "replace").splitlines():
            if "(INJECTED)" in line:
                return line
        return ""


def some(points: List[Point], count: int) -> List[Point]:
    """At most ``count`` of them, evenly."""
    step = max(1, -(-len(points) // count))
    return points[::step]


def changes(points: List[Point]) -> List[Point]:
    """Those that leave a trace: without opening to read, and asking a file whether it is a terminal."""
    return [
        point
        for point in points
        if not (("openat" in point.name and "O_CREAT" not in point.line) or "TCGETS" in point.line)
    ]

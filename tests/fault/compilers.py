"""Compilers that misbehave: scripts that do one odd thing and leave the rest to the real rustc.

They are programs of their own, as the subject is the wrapper's plumbing. A question (-vV, --print) goes to the real
one, so that what kache learns about the compiler is true.
"""

import os
from pathlib import Path
from typing import Optional

from tests.fault.crate import TIMEOUT, Crate


def odd(crate: Crate, before: str = "", after: str = "", name: str = "rustc") -> Path:
    """Make the crate's compiler a script: ``before``, the real compiler, ``after``, as shell text.

    The text may use ``$real``, ``$out`` (the output directory) and ``$status``, with which it ends.
    """
    path = crate.world.root / "odd" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        f"real='{crate.compiler}' out='{crate.out}'\n"
        'for word in "$@"; do\n'
        '  case $word in -|-vV|-V|--version|--print|___) exec "$real" "$@";; esac\n'
        "done\n"
        f"{before}\n"
        '"$real" "$@"\n'
        "status=$?\n"
        f"{after}\n"
        "exit $status\n"
    )
    path.chmod(0o755)
    crate.compiler = path
    return path


class Gate:
    """Stops an odd compiler: it says ``waiting()`` has come, and goes on with ``open()``."""

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.arrived = directory / (name + "-arrived")
        self.opened = directory / (name + "-opened")
        os.mkfifo(self.arrived)
        os.mkfifo(self.opened)

    def shell(self) -> str:
        """What the script does: tell that it is there, and wait. A second compile finds the gate open."""
        return (
            f"if mkdir '{self.arrived}.once' 2>/dev/null; then echo >'{self.arrived}'; read -r _ <'{self.opened}'; fi"
        )

    def wait(self) -> None:
        """Until the script has come to the gate."""
        read_fifo(self.arrived)

    def open(self) -> None:
        """Let it pass."""
        self.opened.write_text("\n")


def read_fifo(path: Path, timeout: Optional[float] = None) -> bytes:
    """Read from a FIFO to its end, waiting for a writer; fails when none comes."""
    import select

    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ready = select.select([fd], [], [], TIMEOUT if timeout is None else timeout)[0]
        assert ready, f"nobody came to {path.name}"
        return os.read(fd, 100)
    finally:
        os.close(fd)

"""A terminal to test screens in: a program in a pane of a tmux of its own.

Owns the tmux server, its socket and what is asked of it. The program runs under a shell that stays in the pane, so
that a test can look at the terminal after the program ended: its status, the modes of the tty, what is on the screen.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Union

from tests.terminal import picture
from tests.world import REPOSITORY

# Runs the program, and says how the terminal was before and after it.
STAND_IN = """\
stty -g > "$1/before"
sh -c 'echo $$ > "$0/pid"; dir=$0; shift 0; exec "$@"' "$@"
code=$?
stty -g > "$1/after"
echo $code > "$1/status.tmp"; mv "$1/status.tmp" "$1/status"
echo "ended with $code"
while :; do sleep 1000; done
"""

CONFIGURATION = """\
set -g status off
set -g escape-time 0
set -g default-terminal {term}
set -g default-size {width}x{height}
set -g remain-on-exit on
"""

Word = Union[str, Path]


class Tmux:
    """One program in one pane."""

    def __init__(
        self,
        tool: str,
        command: Sequence[Word],
        *,
        environ: Mapping[str, str],
        cwd: Path,
        width: int = 80,
        height: int = 24,
        term: str = "screen-256color",
    ) -> None:
        # A socket's path has little room.
        self.directory = Path(tempfile.mkdtemp(prefix="kache-tmux-", dir="/tmp"))
        self._tool = [tool, "-u", "-S", str(self.directory / "socket"), "-f", str(self.directory / "conf")]
        self._environ = dict(environ)
        self.width, self.height = width, height
        (self.directory / "conf").write_text(CONFIGURATION.format(term=term, width=width, height=height))
        (self.directory / "run").write_text(STAND_IN)
        words = ["sh", str(self.directory / "run"), str(self.directory), *(str(word) for word in command)]
        size = ["-x", str(width), "-y", str(height)]
        self._tmux("new-session", "-d", *size, "-c", str(cwd), *words)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tool, *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names: "Tab", "BTab", "Up", "PPage", "NPage", "Escape", "Enter", "BSpace", "q"."""
        for name in names:
            self._tmux("send-keys", name)

    def type(self, text: str) -> None:
        """Type ``text``, whatever it says."""
        self._tmux("send-keys", "-l", text)

    def text(self) -> List[str]:
        """What the pane shows, a line each, without the blanks at their ends."""
        return self._tmux("capture-pane", "-p").splitlines()

    def wait(self, text: str, timeout: float = 30) -> List[str]:
        """Wait until the pane shows ``text``; fails with what it shows instead."""
        return self._watch(lambda lines: any(text in line for line in lines), f"no {text!r}", timeout)

    def gone(self, text: str, timeout: float = 30) -> List[str]:
        """Wait until the pane shows ``text`` no more."""
        return self._watch(lambda lines: not any(text in line for line in lines), f"still {text!r}", timeout)

    def _watch(self, holds: Callable[[List[str]], bool], trouble: str, timeout: float) -> List[str]:
        end = time.monotonic() + timeout
        while True:
            lines = self.text()
            if holds(lines):
                return self._settled(lines, holds)
            assert time.monotonic() < end, f"{trouble} in:\n" + "\n".join(lines)
            time.sleep(0.05)

    def _settled(self, lines: List[str], holds: Callable[[List[str]], bool]) -> List[str]:
        """What two looks in a row show, for the first may be of a screen half drawn; at the latest that of a second."""
        end = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.02)
            before, now = lines, self.text()
            if not holds(now):
                break
            lines = now
            if lines == before:
                break
        return lines

    def resize(self, width: int, height: int) -> None:
        """Give the pane another size."""
        self.width, self.height = width, height
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    @property
    def pid(self) -> int:
        """The program's process."""
        return int(self._file("pid"))

    def ended(self, timeout: float = 30) -> int:
        """Wait for the program's end; its exit status as a shell tells it, 128 and the signal's number for a signal."""
        return int(self._file("status", timeout))

    def restored(self) -> bool:
        """After its end: whether the tty's modes are what they were, and the screen before is back."""
        same = self._file("before") == self._file("after")
        return same and self._tmux("display-message", "-p", "#{alternate_on}#{cursor_flag}").strip() == "01"

    def _file(self, name: str, timeout: float = 30) -> str:
        end = time.monotonic() + timeout
        path = self.directory / name
        while not (path.exists() and path.read_text().strip()):
            assert time.monotonic() < end, f"no {name} in:\n" + "\n".join(self.text())
            time.sleep(0.02)
        return path.read_text().strip()

    def picture(self, name: str, title: str) -> None:
        """Draw the pane; kept under ``name`` (relative to the repository) where KACHE_PICTURES asks for it."""
        # with the blanks at their ends, which may have a background
        lines = self._tmux("capture-pane", "-p", "-e", "-N").splitlines()
        drawn = picture.svg(lines, self.width, title)
        assert drawn.count("<text") > 3, drawn
        path = REPOSITORY / name
        if os.environ.get("PYTEST_KACHE_PICTURES"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(drawn)
        assert path.exists(), f"{name} is missing: run this test with PYTEST_KACHE_PICTURES=1"

    def close(self) -> None:
        """End the server and all that runs in it."""
        subprocess.run([*self._tool, "kill-server"], env=self._environ, capture_output=True, timeout=60, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def environment(world: Mapping[str, str], changes: Mapping[str, Optional[str]]) -> Dict[str, str]:
    """The world's variables for a terminal: UTF-8 unless ``changes`` say otherwise; None takes one away."""
    found = {**world, "LC_ALL": "C.UTF-8", "SHELL": "/bin/sh"}
    for name, value in changes.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found

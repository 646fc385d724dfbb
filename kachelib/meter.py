"""The meter: how far a long transfer is, on a terminal as a bar, elsewhere as a line now and then.

Owns what is drawn and when. Prints to standard error, so that standard output stays for results.
"""

import shutil
import sys
import time
from typing import TextIO

from kachelib import console

TERMINAL_PAUSE = 0.1
LINE_PAUSE = 5.0
WIDEST_BAR = 30


class Meter:
    """One run of transfers. total: objects; total_bytes: where it is known, else 0."""

    def __init__(self, verb: str, total: int, total_bytes: int = 0, stream: "TextIO | None" = None) -> None:
        self.verb = verb
        self.total = total
        self.total_bytes = total_bytes
        self.done = 0
        self.bytes = 0
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._began = time.monotonic()
        self._shown = self._began
        self._drawn = False

    def step(self, size: int) -> None:
        """One object more, of so many bytes."""
        self.done += 1
        self.bytes += size
        now = time.monotonic()
        if now - self._shown >= (TERMINAL_PAUSE if self._live else LINE_PAUSE):
            self._shown = now
            self._show(now)

    def end(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _show(self, now: float) -> None:
        text = self.text(now)
        if not self._live:
            self._stream.write("kache: " + text + "\n")
        else:
            width = shutil.get_terminal_size().columns - 1
            room = min(WIDEST_BAR, width - len(text) - 3)
            if room > 4:
                full = room * self.done // max(1, self.total)
                text = "[" + "#" * full + "-" * (room - full) + "] " + text
            self._stream.write("\r" + text[:width] + "\x1b[K")
            self._drawn = True
        self._stream.flush()

    def text(self, now: float) -> str:
        """How far it is, in words."""
        seconds = max(now - self._began, 0.001)
        parts = [f"{self.verb} {self.done}/{self.total}", console.size(self.bytes)]
        parts.append(console.size(self.bytes / seconds) + "/s")
        if 0 < self.done < self.total:
            parts.append(console.duration((self.total - self.done) * seconds / self.done) + " left")
        return ", ".join(parts)

"""The sight: all that a live view shows at one moment, and how moments and places read in it.

Owns what is shared by the header and the tabs. Draws nothing.
"""

import time
from typing import List, NamedTuple

from kachelib import console
from kachelib.config import Settings
from kachelib.lookout import Lookout
from kachelib.stream import Stream
from kachelib.tally import Tally

# What stands for a number.
NOT_KNOWN = "-"

_RISING = "▁▂▃▄▅▆▇█"
_RISING_ASCII = "_.:-=+*#"


class Sight(NamedTuple):
    """What there is to be shown. since: where the span begins, seconds since the epoch, 0 for all that is logged; home:
    the user's own directory; reading: the share of the log that was read so far, from 0 to 1; trouble: why it cannot be
    read, "" where it can; broken: lines that were passed over."""

    settings: Settings
    tally: Tally
    stream: Stream
    lookout: Lookout
    since: float
    now: float
    unicode: bool
    home: str
    reading: float = 1.0
    trouble: str = ""
    broken: int = 0

    def moment(self, when: float) -> str:
        """A time of day; of another day how long ago it was."""
        if not when:
            return ""
        day = time.localtime(when)
        if day[:3] == time.localtime(self.now)[:3]:
            return time.strftime("%H:%M:%S", day)
        return self.ago(when) + " ago"

    def ago(self, when: float) -> str:
        return console.age(self.now - when) if when else ""

    def homely(self, text: str) -> str:
        """A path, or words with paths in them, as the owner of the home directory calls it."""
        return text.replace(self.home + "/", "~/") if len(self.home) > 1 else text


class Piece(NamedTuple):
    """Some words of a line. style: as the screen knows it."""

    text: str
    style: str = ""


Line = List[Piece]


def percent(part: float) -> str:
    """A share from 0 to 1. What is not all is not called all, and what is not nothing not nothing."""
    value = 100 * part
    if 0 < value < 0.1:
        return "<0.1 %"
    return "99.9 %" if 99.9 < value < 100 else f"{value:.1f} %"


def spark(points: List[float], unicode: bool) -> str:
    """A curve of shares from 0 to 1, a character each."""
    steps = _RISING if unicode else _RISING_ASCII
    return "".join(steps[min(len(steps) - 1, max(0, int(point * len(steps))))] for point in points)


def milliseconds(value: float) -> str:
    return console.duration(value / 1000) if value > 0 else ""

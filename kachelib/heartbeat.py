"""A sign of life: a line of progress now and then, while one compile takes long.

Owns the timer. CI systems end a job that says nothing for long, and people want to know what they wait for. Cold, but
part of every miss: it imports nothing that costs.
"""

import time

# The part of signal that costs no import; typeshed does not know it.
from _signal import ITIMER_REAL, SIG_DFL, SIGALRM, setitimer, signal  # type: ignore[import-not-found]

from kachelib import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kachelib.settings import Settings

# Seconds between two lines.
EVERY = 30.0


class Heartbeat:
    """Says what this process is doing every 30 seconds, until it is stopped. doing: may be changed meanwhile.

    What blocks in the kernel goes on after the line (PEP 475); a child inherits neither timer nor handler (fork(2),
    execve(2)). But a compiler that this process becomes inherits the timer, and would die of it: stop comes first.
    """

    __slots__ = ("_settings", "_started", "doing")

    def __init__(self, settings: "Settings", doing: str) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self.doing = doing
        if settings.progress != "never":
            signal(SIGALRM, self._beat)
            setitimer(ITIMER_REAL, EVERY, EVERY)

    def _beat(self, *_: object) -> None:
        log.progress(self._settings, "kache: still %s after %d s" % (self.doing, time.monotonic() - self._started))

    def stop(self) -> None:
        """No line comes after this."""
        if self._settings.progress != "never":
            setitimer(ITIMER_REAL, 0)
            signal(SIGALRM, SIG_DFL)

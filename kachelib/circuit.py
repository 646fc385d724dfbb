"""The circuit breaker: whether it makes sense to ask the remote at all.

Owns what a failure means for the calls that follow. A remote that does not answer costs one compile its patience, not
all of them. Knows nothing of remotes.
"""

import threading
import time
from typing import Callable

# seconds until a remote in trouble is tried again; doubled with each failure
SHORTEST_PAUSE = 5.0
LONGEST_PAUSE = 300.0


class Circuit:
    """Closed: ask. Open: do not, but for one try when the pause is over. May be used from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = 0.0
        self._next_try = 0.0
        self._pause = 0.0
        # what went wrong last, for people; "" while all is well
        self.trouble = ""

    def is_open(self) -> bool:
        """Whether nobody should ask."""
        return bool(self.trouble)

    def may_try(self) -> bool:
        """Whether to ask: always while it is closed; while it is open once a pause, for one caller."""
        with self._lock:
            if not self.trouble:
                return True
            now = self._clock()
            if now < self._next_try:
                return False
            self._next_try = now + self._pause
            return True

    def failed(self, why: str) -> bool:
        """The remote was of no use; returns whether that is news. Many calls that fail at once count as one."""
        with self._lock:
            news = not self.trouble
            now = self._clock()
            if news or now >= self._since + self._pause:
                self._pause = min(max(self._pause * 2, SHORTEST_PAUSE), LONGEST_PAUSE)
                self._since = now
                self._next_try = now + self._pause
            self.trouble = why or "unknown"
            return news

    def worked(self) -> bool:
        """The remote answered; returns whether that is news."""
        with self._lock:
            news = bool(self.trouble)
            self.trouble = ""
            self._pause = 0.0
            return news

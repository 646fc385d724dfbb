"""The ledger: what one uploader has moved, and what of it stands in the history.

Owns the sums and when they are noted.
"""

import threading
import time
from typing import Any, Dict

from kachelib import history, sync

MOVED = ("pulled", "pulled_bytes", "pushed", "pushed_bytes")


class Ledger:
    """The sums of one uploader. Its methods may be called from several threads."""

    def __init__(self, cache_dir: str) -> None:
        self.tally = sync.Tally()
        self._cache_dir = cache_dir
        self._noted = [0] * len(MOVED)
        self._noted_at = 0.0
        self._lock = threading.Lock()

    def pulled(self, count: int, size: int) -> None:
        """So many objects came, of so many bytes together."""
        self.tally.pulled += count
        self.tally.pulled_bytes += size

    def pushed(self, count: int, size: int) -> None:
        """So many objects went, of so many bytes together."""
        self.tally.pushed += count
        self.tally.pushed_bytes += size

    def note(self, pause: float = 0.0) -> None:
        """Record in the history what was moved since the last note, unless that is less than ``pause`` seconds ago."""
        with self._lock:
            now = time.monotonic()
            total = [getattr(self.tally, name) for name in MOVED]
            if total == self._noted or now - self._noted_at < pause:
                return
            fields: Dict[str, Any] = {name: new - old for name, new, old in zip(MOVED, total, self._noted)}
            self._noted = total
            self._noted_at = now
            history.record_transfer(self._cache_dir, {**fields, "by": "uploader", "failed": 0, "elapsed_ms": 0.0})

"""The courier: carries objects between the store and the remote for the uploader.

Owns what its two halves share: the remote and whether it is in trouble, and the sums. What builds need comes by way of
the fetcher (fetcher.py), what they made goes by way of the pusher (pusher.py).
"""

from typing import Dict

from kachelib import log, remote
from kachelib.config import Settings
from kachelib.fetcher import Fetcher
from kachelib.ledger import Ledger
from kachelib.pusher import Pusher
from kachelib.signing import Keyring
from kachelib.store import Store
from kachelib.transfer import Transfer
from kachelib.watched import Watched


class Courier:
    """One store, one remote. All methods may be called from several threads."""

    def __init__(self, settings: Settings, voice: log.Log) -> None:
        self._voice = voice
        self._remote = Watched(remote.open_remote(settings), self._tell_trouble)
        self._ledger = Ledger(settings.cache_dir)
        mover = Transfer(Store(settings.cache_dir), self._remote, settings, Keyring(settings))
        self.fetcher = Fetcher(settings, voice, mover, self._remote, self._ledger)
        self.pusher = Pusher(settings, voice, mover, self._remote, self._ledger)

    def start(self) -> None:
        """Begin to work."""
        self.fetcher.start()
        self.pusher.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self.fetcher.stop()
        self.pusher.stop()

    def close(self) -> None:
        """Let what is under way go: nothing of it was published, and what is to be pushed is still in the queue."""
        self.fetcher.close()
        self.pusher.close()
        self._ledger.note()

    def is_busy(self) -> bool:
        """Whether something is on its way, or could be."""
        return self.fetcher.is_busy() or self.pusher.is_busy()

    def where(self) -> str:
        """The remote, for people."""
        return self._remote.describe()

    def facts(self) -> Dict[str, object]:
        """What ``kache daemon status`` shows."""
        trouble = self._remote.reading.trouble or self._remote.writing.trouble
        return {"remote": self.where(), **self.pusher.facts(), **self.fetcher.facts(), "trouble": trouble}

    def summary(self) -> str:
        """What it came to, for the log."""
        tally = self._ledger.tally
        return "pushed %d objects (%d bytes), pulled %d (%d bytes), %d wait to be pushed" % (
            tally.pushed, tally.pushed_bytes, tally.pulled, tally.pulled_bytes, self.pusher.waiting(),
        )  # fmt: skip

    def _tell_trouble(self, what: str, why: str) -> None:
        if why:
            self._voice.warn("%s the remote is left alone for a while: %s" % (what, why))
        else:
            self._voice.info("%s the remote works again" % what)

"""A worker: work in a thread of the uploader's, whose failure is told and takes nothing else with it."""

import threading
from typing import Callable

from kachelib import log


def start(voice: log.Log, work: Callable[[], None]) -> None:
    """Do ``work`` in a thread of its own, which nobody waits for."""
    threading.Thread(target=run, args=(voice, work), daemon=True).start()


def run(voice: log.Log, work: Callable[[], None]) -> None:
    """Do ``work`` in this thread."""
    try:
        work()
    except Exception as error:
        voice.error("internal error: %s: %s" % (type(error).__name__, error))

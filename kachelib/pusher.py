"""The pusher: takes what builds left in the queue to the remote.

Owns the threads that push, which object goes when, that none goes twice at once, and when one is given up. What lies in
the queue is push_queue.py's; how an object is packed transfer.py's.
"""

import concurrent.futures
import contextlib
import errno
import os
import threading
import time
from typing import Dict, List, Set

from kachelib import log, push_queue, remote, sync, transfer, worker
from kachelib.config import Settings
from kachelib.ledger import Ledger
from kachelib.outcome import KacheError
from kachelib.pack import PackError
from kachelib.push_queue import Due
from kachelib.remote import SAFE, RemoteError
from kachelib.transfer import Refused, Transfer
from kachelib.watched import Watched

# seconds
SCAN = 1.0  # between looks into the queue, should nobody have said a word
HISTORY = 10.0  # between notes of what was moved
REST = 10.0  # after trouble of this machine's own, such as a full disk

# Of this machine, whatever the object: no room on a disk, no descriptors, no memory.
OWN_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

PUSHERS = 4
MOST_ATTEMPTS = 3


class Pusher:
    """From one store's queue to one remote. All methods may be called from several threads. ledger: keeps what went."""

    def __init__(self, settings: Settings, voice: log.Log, mover: Transfer, watched: Watched, ledger: Ledger) -> None:
        self._settings = settings
        self._voice = voice
        self._store = mover.store
        self._remote = watched
        self._mover = mover
        self._ledger = ledger
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._pushing: Set[str] = set()
        self._settled: Set[str] = set()
        self._attempts: Dict[str, int] = {}
        self._rests_until = 0.0
        self._pushed = concurrent.futures.ThreadPoolExecutor(PUSHERS, "push")

    # Its life

    def start(self) -> None:
        """Begin to look into the queue."""
        worker.start(self._voice, self._push_all)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()
        self._awake.set()

    def close(self) -> None:
        """Let what is under way go: it is still in the queue."""
        self._pushed.shutdown(wait=False, cancel_futures=True)

    def is_busy(self) -> bool:
        """Whether something is on its way, or could be."""
        with self._lock:
            busy = bool(self._pushing)
        return busy or (bool(self._waiting()) and not self._remote.writing.is_open())

    def waiting(self) -> int:
        """Objects in the queue."""
        return len(self._waiting())

    def facts(self) -> Dict[str, object]:
        """What ``kache daemon status`` shows of it."""
        tally = self._ledger.tally
        return {
            "waiting": self.waiting(),
            "pushing": len(self._pushing),
            "pushed": tally.pushed,
            "pushed_bytes": tally.pushed_bytes,
        }

    def _waiting(self) -> List[Due]:
        return [] if self._settings.remote_readonly else push_queue.waiting(self._settings)

    # What is to be pushed

    def wake(self) -> None:
        """There is work."""
        self._awake.set()

    def _push_all(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            # nobody waits for it; Linux has a niceness for each thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while not self._stopping.is_set():
            if self._remote.reading.is_open() and self._remote.reading.may_try():
                self._try()
            self._push_waiting()
            self._ledger.note(HISTORY if self._pushing else 0.0)
            self._awake.wait(SCAN)
            self._awake.clear()

    def _try(self) -> None:
        with contextlib.suppress(RemoteError):
            for _ in self._remote.names():
                pass

    def _push_waiting(self) -> None:
        waiting = self._waiting()
        names = {due.name for due in waiting}
        if not names <= self._settled:
            with contextlib.suppress(OSError):
                push_queue.settle(self._store.root)
            self._settled = names
        if time.monotonic() < self._rests_until:
            return
        if self._remote.writing.is_open():
            # one of them tells whether it works again
            waiting = waiting[:1] if self._remote.writing.may_try() else []
        entries = [due for due in waiting if due.kind == push_queue.ENTRY]
        for due in entries or waiting:
            with self._lock:
                if due.name in self._pushing or (due.kind == push_queue.PLAN and self._pushing):
                    continue
                self._pushing.add(due.name)
            self._pushed.submit(worker.run, self._voice, lambda due=due: self._push(due))  # type: ignore[misc]

    def _push(self, due: Due) -> None:
        try:
            if self._stopping.is_set() or (self._remote.writing.is_open() and len(self._pushing) > 1):
                return
            size = self._push_entry(due) if due.kind == push_queue.ENTRY else self._push_plan(due)
            self._ledger.pushed(size > 0, size)
            push_queue.done(self._store.root, due)
            self._voice.debug("pushed %s" % due.name)
        except (remote.Unreachable, remote.Denied):
            pass  # told already; it stays in the queue
        except PackError:
            # gc took it: nothing is left to be pushed
            push_queue.done(self._store.root, due)
        except (KacheError, Refused) as error:
            self._give_up(due, str(error))
        except OSError as error:
            if error.errno in OWN_TROUBLE:
                self._rest(str(error))
            else:
                self._give_up(due, str(error))
        finally:
            with self._lock:
                self._pushing.discard(due.name)
            self._awake.set()

    def _give_up(self, due: Due, why: str) -> None:
        count = self._attempts[due.name] = self._attempts.get(due.name, 0) + 1
        if count >= MOST_ATTEMPTS:
            self._voice.warn("%s is not going to be pushed: %s" % (due.name, why))
            push_queue.done(self._store.root, due)

    def _rest(self, why: str) -> None:
        """Leave all in the queue for a while: the object is not at fault."""
        if not self._rests_until:
            self._voice.warn("nothing can be pushed now, it is tried again: %s" % why)
        self._rests_until = time.monotonic() + REST

    def _push_entry(self, due: Due) -> int:
        entry = self._store.read_entry(due.first)
        for candidate in entry.candidates() if entry is not None else ():
            if candidate.cache_key == due.second and SAFE.issuperset(candidate.crate_name) and entry is not None:
                return self._mover.push(transfer.outgoing_entry(self._store, due.first, entry, candidate))
        return 0

    def _push_plan(self, due: Due) -> int:
        def push(jobs: List[sync.Job]) -> Set[str]:
            tally = sync.Tally()
            sync.pushes(jobs, self._mover, tally, PUSHERS, lambda size: None)
            self._ledger.pushed(tally.pushed, tally.pushed_bytes)
            return set(tally.failed)

        sync.push_plan(self._mover, due.second, due.first, push, threads=PUSHERS)
        return 0

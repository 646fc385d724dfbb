"""The fetcher: brings from the remote what builds ask for, and what they are going to need.

Owns the threads that fetch, that no object comes twice at once, and how long anybody waits for a remote in trouble. How
an object is proven is transfer.py's; what the remote has remote_index.py's.
"""

import concurrent.futures
import contextlib
import os
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from kachelib import evict, log, remote, sync, transfer, worker
from kachelib.config import Settings
from kachelib.ledger import Ledger
from kachelib.outcome import KacheError
from kachelib.pack import PackError
from kachelib.remote import RemoteError
from kachelib.remote_index import RemoteIndex, workspace_of
from kachelib.transfer import Arrived, Refused, Transfer
from kachelib.watched import Watched

# seconds
PATIENCE = 2.8  # of those who ask: a little less than a compile has (demand.py)
LEARNING = 2.0  # of which the first of a workspace waits for its catalogue
SILENCE = 2.5  # of a remote that was asked
GLANCE = 0.05  # between looks at whether it is in trouble
RELEARN = 60.0

PREFETCHERS = 6
PUBLISH_AT_ONCE = 64


class Fetcher:
    """From one remote into one store. All methods may be called from several threads. ledger: keeps what came."""

    def __init__(self, settings: Settings, voice: log.Log, mover: Transfer, watched: Watched, ledger: Ledger) -> None:
        self._settings = settings
        self._voice = voice
        self._store = mover.store
        self._remote = watched
        self._mover = mover
        self._ledger = ledger
        self._index = RemoteIndex(mover, self._refused)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._pulls: Dict[str, "Future[bool]"] = {}
        self._came: Set[str] = set()
        self._ahead: Dict[str, sync.Job] = {}
        self._ahead_came = threading.Condition(self._lock)
        self._arrivals: "queue.Queue[Optional[Tuple[Arrived, Future[bool], bool]]]" = queue.Queue()
        self._learnt: Dict[str, Tuple[object, float]] = {}
        self._learning: "Set[Future[None]]" = set()
        self._complained: Set[str] = set()
        self._asked = concurrent.futures.ThreadPoolExecutor(settings.s3_concurrency, "asked")

    # Its life

    def start(self) -> None:
        """Begin to fetch ahead."""
        for work in [self._prepare, self._publish_all] + [self._fetch_ahead] * PREFETCHERS:
            worker.start(self._voice, work)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()
        with self._ahead_came:
            self._ahead.clear()
            self._ahead_came.notify_all()

    def close(self) -> None:
        """Let what is under way go: nothing of it was published."""
        self._arrivals.put(None)
        self._asked.shutdown(wait=False, cancel_futures=True)

    def _prepare(self) -> None:
        with contextlib.suppress(KacheError, OSError):
            self._remote.prepare()

    def is_busy(self) -> bool:
        """Whether something is on its way."""
        with self._lock:
            return bool(self._pulls or self._learning)

    def facts(self) -> Dict[str, object]:
        """What ``kache daemon status`` shows of it."""
        tally = self._ledger.tally
        return {
            "pulling": len(self._pulls),
            "pulled": tally.pulled,
            "pulled_bytes": tally.pulled_bytes,
            "refused": len(self._complained),
        }

    def _refused(self, key: str, why: str) -> None:
        """Say once that an object is not believed."""
        with self._lock:
            if key in self._complained:
                return
            self._complained.add(key)
        self._voice.warn("not believed: %s: %s" % (key, why))

    # What compiles ask

    def known(self, action_key: str) -> List[bytes]:
        """The records of candidates that are named in a catalogue. Who asks first in a workspace waits until that came;
        where it does not come in time, nobody waits for it again."""
        with self._lock:
            learning = set(self._learning)
        if not self._in_time(learning, LEARNING):
            with self._lock:
                self._learning -= learning
        return [row.candidate for row in self._index.known(action_key)]

    def _in_time(self, work: "Iterable[Future[Any]]", patience: float) -> bool:
        """Whether all was done within ``patience`` seconds. A remote that is found to be in trouble meanwhile is not
        waited for, and one that says nothing for long is in trouble."""
        deadline = time.monotonic() + patience
        left = set(work)
        while left:
            if self._remote.silence() > SILENCE:
                self._remote.no_answer()
            if self._remote.reading.is_open() or time.monotonic() > deadline:
                return False
            left = concurrent.futures.wait(left, GLANCE).not_done
        return True

    def may_find(self, crate_name: str) -> bool:
        """Whether a search for actions of that crate makes sense."""
        return not self._remote.reading.is_open() and not self._index.lacks(crate_name)

    def search(self, crate_name: str, action_key: str) -> List[bytes]:
        """The records of all candidates; none where the remote is in trouble or does not answer in time."""
        if self._remote.reading.is_open():
            return []
        with contextlib.suppress(RemoteError, RuntimeError):  # told already; or it is leaving
            found = self._asked.submit(self._index.search, crate_name, action_key)
            if self._in_time([found], PATIENCE):
                return [row.candidate for row in found.result()]
        return []

    def fetch(self, crate_name: str, cache_key: str) -> bool:
        """Have an entry in the store; whether it is there, in time."""
        key = transfer.entry_key(crate_name, cache_key)
        if self._remote.reading.is_open():
            return key in self._came
        job = sync.Job(key, transfer.wants_entry(cache_key, crate_name))
        with self._lock:
            if key in self._came:
                return True
            self._ahead.pop(key, None)
            future = self._pulls.get(key)
            mine = future is None
            future = self._pulls[key] = future or Future()
        with contextlib.suppress(RuntimeError):  # it is leaving
            if mine:
                self._asked.submit(self._pull, job, future, False)
            return self._in_time([future], PATIENCE) and future.result()
        return False

    def _pull(self, job: sync.Job, future: "Future[bool]", ahead: bool) -> None:
        assert job.wanted is not None
        try:
            self._arrivals.put((self._mover.pull(job.key, job.wanted), future, ahead))
            return
        except (PackError, Refused) as error:
            self._refused(job.key, str(error))
        except remote.Missing:
            pass
        except (KacheError, OSError) as error:
            self._voice.debug("not pulled: %s: %s" % (job.key, error))
        self._settle(job.key, future, came=False)

    def _settle(self, key: str, future: "Future[bool]", came: bool) -> None:
        with self._lock:
            self._pulls.pop(key, None)
            if came:
                self._came.add(key)
        future.set_result(came)

    def _publish_all(self) -> None:
        """Put into the store what arrived: all that came meanwhile at once, with one wait for the disk."""
        while True:
            first = self._arrivals.get()
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while len(batch) < PUBLISH_AT_ONCE:
                    batch.append(self._arrivals.get_nowait())
            items = [each for each in batch if each is not None]
            if items:
                self._publish(items)
            if len(items) < len(batch):
                return

    def _publish(self, items: "List[Tuple[Arrived, Future[bool], bool]]") -> None:
        came = True
        try:
            for arrived, _, ahead in items:
                if ahead:
                    # before the entry is there: whoever finds it finds the mark
                    self._store.note_prefetched(arrived.head.name)
            stored = transfer.publish(self._store, [arrived for arrived, _, _ in items])
            self._ledger.pulled(len(items), sum(arrived.size for arrived, _, _ in items))
            self._ledger.note()
            if evict.is_due(self._settings, stored):
                worker.start(self._voice, self._tidy)
        except OSError as error:
            came = False
            self._voice.warn("cannot be stored: %s" % error)
        for arrived, future, _ in items:
            candidate = transfer.read_entry(arrived.head)[2]
            self._settle(transfer.entry_key(candidate.crate_name, candidate.cache_key), future, came)

    def _tidy(self) -> None:
        from kachelib import reclaim

        reclaim.reclaim(self._settings, reclaim.limits(self._settings))

    # What a build is going to need

    def look(self, directories: List[str]) -> None:
        """A build goes on in the workspace of these directories: learn what the remote has for it, fetch it ahead."""
        workspace = workspace_of(directories)
        if not workspace or self._remote.reading.is_open():
            return
        try:
            found = os.stat(workspace + "/Cargo.lock")
        except OSError:
            return
        signature = (found.st_mtime_ns, found.st_size)
        now = time.monotonic()
        with self._lock:
            known, when = self._learnt.get(workspace, (None, 0.0))
            if known == signature and now - when < RELEARN:
                return
            self._learnt[workspace] = (signature, now)
            with contextlib.suppress(RuntimeError):
                future = self._asked.submit(self._learn, workspace)
                if known != signature:
                    self._learning.add(future)
                    future.add_done_callback(self._has_learnt)

    def _has_learnt(self, future: "Future[None]") -> None:
        # not under the lock: this may be called by whoever adds it
        self._learning.discard(future)

    def _learn(self, workspace: str) -> None:
        try:
            found = self._index.learn(workspace)
        except RemoteError as error:
            self._voice.debug("nothing is known of %s: %s" % (workspace, error))
            return
        self._fetch(sync.of_catalogue(self._store, found, with_units=False))
        if not found.rows:
            self._asked.submit(self._guess, workspace)

    def _guess(self, workspace: str) -> None:
        """Fetch ahead what is likely to be needed: nobody waits for it."""
        known = {candidate.cache_key for _, _, candidate in sync.local_entries(self._store)}
        with contextlib.suppress(RemoteError):
            for job in self._index.newest(workspace):
                found = sync.entry_of_key(job.key)
                if self._stopping.is_set():
                    return
                if found is not None and found[1] not in known:
                    self._fetch([job])

    def _fetch(self, jobs: List[sync.Job]) -> None:
        with self._ahead_came:
            self._ahead.update((job.key, job) for job in jobs if job.key not in self._came)
            self._ahead_came.notify_all()

    def _fetch_ahead(self) -> None:
        while True:
            with self._ahead_came:
                while not self._ahead:
                    if self._stopping.is_set():
                        return
                    self._ahead_came.wait()
                key = next(iter(self._ahead))
                job = self._ahead.pop(key)
                if key in self._pulls:
                    continue
                future = self._pulls[key] = Future()
            if self._remote.reading.is_open():
                self._settle(key, future, came=False)
            else:
                self._pull(job, future, ahead=True)

"""The courier: carries objects between the store and the remote for the uploader.

Owns the threads, which object goes when, that none goes twice at once, and what is done about a remote in trouble. How
an object is packed and proven is transfer.py's; what the remote has remote_index.py's.
"""

import concurrent.futures
import contextlib
import os
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple

from kachelib import evict, history, log, push_queue, remote, sync, transfer
from kachelib.config import Settings
from kachelib.outcome import KacheError
from kachelib.pack import PackError
from kachelib.push_queue import Due
from kachelib.remote import SAFE, RemoteError
from kachelib.remote_index import RemoteIndex, workspace_of
from kachelib.signing import Keyring
from kachelib.store import Store
from kachelib.transfer import Arrived, Refused, Transfer
from kachelib.watched import Watched

# seconds
PATIENCE = 2.8  # of those who ask: a little less than a compile has (demand.py)
LEARNING = 2.0  # of which the first of a workspace waits for its catalogue
SILENCE = 2.5  # of a remote that was asked
GLANCE = 0.05  # between looks at whether it is in trouble
RELEARN = 60.0
SCAN = 1.0  # between looks into the queue, should nobody have said a word
HISTORY = 10.0  # between notes of what was moved

MOVED = ("pulled", "pulled_bytes", "pushed", "pushed_bytes")

PUSHERS = 4
PREFETCHERS = 6
PUBLISH_AT_ONCE = 64
MOST_ATTEMPTS = 3


class Courier:
    """One store, one remote. All methods may be called from several threads."""

    def __init__(self, settings: Settings, voice: log.Log) -> None:
        self._settings = settings
        self._voice = voice
        self._store = Store(settings.cache_dir)
        self._remote = Watched(remote.open_remote(settings), self._tell_trouble)
        self._mover = Transfer(self._store, self._remote, settings, Keyring(settings))
        self._index = RemoteIndex(self._mover, self._refused)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._pulls: Dict[str, "Future[bool]"] = {}
        self._came: Set[str] = set()
        self._ahead: Dict[str, sync.Job] = {}
        self._ahead_came = threading.Condition(self._lock)
        self._arrivals: "queue.Queue[Optional[Tuple[Arrived, Future[bool], bool]]]" = queue.Queue()
        self._pushing: Set[str] = set()
        self._settled: Set[str] = set()
        self._attempts: Dict[str, int] = {}
        self._learnt: Dict[str, Tuple[object, float]] = {}
        self._learning: "Set[Future[None]]" = set()
        self._complained: Set[str] = set()
        self._asked = concurrent.futures.ThreadPoolExecutor(settings.s3_concurrency, "asked")
        self._pushed = concurrent.futures.ThreadPoolExecutor(PUSHERS, "push")
        self.tally = sync.Tally()
        self._noted = [0] * len(MOVED)
        self._noted_at = 0.0
        self._noting = threading.Lock()

    # Its life

    def start(self) -> None:
        """Begin to work."""
        works: List[Callable[[], None]] = [self._prepare, self._publish_all, self._push_all]
        works += [self._fetch_ahead] * PREFETCHERS
        for work in works:
            threading.Thread(target=self._guarded, args=(work,), daemon=True).start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()
        self._awake.set()
        with self._ahead_came:
            self._ahead.clear()
            self._ahead_came.notify_all()

    def close(self) -> None:
        """Give connections back. What is under way is left: nothing of it was published, and what is to be pushed is
        still in the queue."""
        self._arrivals.put(None)
        self._asked.shutdown(wait=False, cancel_futures=True)
        self._pushed.shutdown(wait=False, cancel_futures=True)
        self._note(0.0)

    def _prepare(self) -> None:
        with contextlib.suppress(KacheError, OSError):
            self._remote.prepare()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._voice.error("internal error: %s: %s" % (type(error).__name__, error))

    def where(self) -> str:
        return self._remote.describe()

    def is_busy(self) -> bool:
        """Whether something is on its way, or could be."""
        with self._lock:
            busy = bool(self._pulls or self._pushing or self._learning)
        return busy or (bool(self._waiting()) and not self._remote.writing.is_open())

    def _waiting(self) -> List[Due]:
        return [] if self._settings.remote_readonly else push_queue.waiting(self._settings)

    def facts(self) -> Dict[str, object]:
        """What ``kache daemon status`` shows."""
        tally = self.tally
        return {
            "remote": self.where(),
            "waiting": len(self._waiting()),
            "pushing": len(self._pushing),
            "pulling": len(self._pulls),
            "pushed": tally.pushed,
            "pushed_bytes": tally.pushed_bytes,
            "pulled": tally.pulled,
            "pulled_bytes": tally.pulled_bytes,
            "refused": len(self._complained),
            "trouble": self._remote.reading.trouble or self._remote.writing.trouble,
        }

    def summary(self) -> str:
        tally = self.tally
        return "pushed %d objects (%d bytes), pulled %d (%d bytes), %d wait to be pushed" % (
            tally.pushed, tally.pushed_bytes, tally.pulled, tally.pulled_bytes, len(self._waiting()),
        )  # fmt: skip

    def _tell_trouble(self, what: str, why: str) -> None:
        if why:
            self._voice.warn("%s the remote is left alone for a while: %s" % (what, why))
        else:
            self._voice.info("%s the remote works again" % what)

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
            self.tally.pulled += len(items)
            self.tally.pulled_bytes += sum(arrived.size for arrived, _, _ in items)
            self._note(0.0)
            if evict.is_due(self._settings, stored):
                threading.Thread(target=self._guarded, args=(self._tidy,), daemon=True).start()
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
            self._note(HISTORY if self._pushing else 0.0)
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
        if self._remote.writing.is_open():
            # one of them tells whether it works again
            waiting = waiting[:1] if self._remote.writing.may_try() else []
        entries = [due for due in waiting if due.kind == push_queue.ENTRY]
        for due in entries or waiting:
            with self._lock:
                if due.name in self._pushing or (due.kind == push_queue.PLAN and self._pushing):
                    continue
                self._pushing.add(due.name)
            self._pushed.submit(self._guarded, lambda due=due: self._push(due))  # type: ignore[misc]

    def _push(self, due: Due) -> None:
        try:
            if self._stopping.is_set() or (self._remote.writing.is_open() and len(self._pushing) > 1):
                return
            size = self._push_entry(due) if due.kind == push_queue.ENTRY else self._push_plan(due)
            self.tally.pushed += size > 0
            self.tally.pushed_bytes += size
            push_queue.done(self._store.root, due)
            self._voice.debug("pushed %s" % due.name)
        except (remote.Unreachable, remote.Denied):
            pass  # told already; it stays in the queue
        except PackError:
            # gc took it: nothing is left to be pushed
            push_queue.done(self._store.root, due)
        except (KacheError, Refused, OSError) as error:
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
            self.tally.pushed += tally.pushed
            self.tally.pushed_bytes += tally.pushed_bytes
            return set(tally.failed)

        sync.push_plan(self._mover, due.second, due.first, push)
        return 0

    def _note(self, pause: float) -> None:
        """Record in the history what was moved since the last note."""
        with self._noting:
            self._note_alone(pause)

    def _note_alone(self, pause: float) -> None:
        now = time.monotonic()
        total = [getattr(self.tally, name) for name in MOVED]
        if total == self._noted or now - self._noted_at < pause:
            return
        fields: Dict[str, Any] = {name: new - old for name, new, old in zip(MOVED, total, self._noted)}
        self._noted = total
        self._noted_at = now
        history.record_transfer(self._store.root, {**fields, "by": "uploader", "failed": 0, "elapsed_ms": 0.0})

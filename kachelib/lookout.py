"""The lookout: what has to be looked for beside the event log, each look in a thread of its own.

Owns when the store, the target directories, Cargo's configuration and the uploader are looked at, and what was found
last. A look may take long, or for ever on a disk that is gone: nobody waits for it, and it ends with the process.
"""

import os
import threading
import time
from typing import Any, Callable, Dict, Generic, List, NamedTuple, Optional, Tuple, TypeVar

from kachelib import checks, config, daemon_command, demand, evict, footprint, history, index, inventory, push_queue
from kachelib.checks import Finding
from kachelib.config import Settings
from kachelib.footprint import Target
from kachelib.index import Item
from kachelib.store import names_in
from kachelib.tally import Tally

# seconds between two looks, at least
STORE_PAUSE = 3.0
TARGETS_PAUSE = 10.0
WRAPPER_PAUSE = 5.0
REMOTE_PAUSE = 1.0

# A look that takes long is taken less often: no more than this share of the time.
MOST_SHARE = 0.1

# After the last call of a compiler, and while something moves, the uploader is asked what it does. After that it is
# left alone: who is asked does not leave.
QUIET = 30.0

Found = TypeVar("Found")


class Noted(NamedTuple):
    """What is known of the store before anybody looked. entries: None where nobody knows; bytes as gc noted them."""

    entries: Optional[int]
    disk_bytes: Optional[int]


class Stock(NamedTuple):
    """The store. items: what is cached; named_bytes, unique_bytes: what candidates name, and that each blob once;
    disk_bytes: what the limit counts."""

    items: List[Item]
    named_bytes: int
    unique_bytes: int
    disk_bytes: int

    def saved_bytes(self) -> int:
        """What is not there twice."""
        return self.named_bytes - self.unique_bytes


class Traffic(NamedTuple):
    """What goes to and comes from the remote. uploader: what it says of itself, None where none runs; waiting: objects
    in the queue; up, down: bytes a second, None where that is not known; runs: of transfers.jsonl, oldest first."""

    uploader: Optional[Dict[str, str]]
    waiting: int
    up: Optional[float]
    down: Optional[float]
    runs: List[Dict[str, Any]]

    def moving(self, way: str) -> int:
        """Objects on their way now. way: "pushing" or "pulling"."""
        return number_of(self.uploader, way)


def number_of(facts: Optional[Dict[str, str]], name: str) -> int:
    """A count that the uploader told; 0 for what is none."""
    text = (facts or {}).get(name, "")
    return int(text) if text.isdigit() and len(text) < 18 else 0


class Look(Generic[Found]):
    """Something that is looked at now and then. found: the last result; trouble: why there is no newer one;
    version: grows with each that differs; done: looks so far."""

    def __init__(self, look: "Callable[[Callable[[Found], None]], None]", pause: float) -> None:
        self._look = look
        self._pause = pause
        self._running = False
        self._next = 0.0
        self.found: Optional[Found] = None
        self.trouble = ""
        self.version = 0
        self.done = 0

    def hurry(self) -> None:
        """Look at the next occasion."""
        self._next = 0.0

    def start_if_due(self) -> bool:
        """Begin to look, unless that goes on already or was done just now."""
        if self._running or time.monotonic() < self._next:
            return False
        self._running = True
        threading.Thread(target=self._run, daemon=True).start()
        return True

    def _run(self) -> None:
        began = time.monotonic()
        self._next = began + self._pause
        trouble = ""
        try:
            self._look(self._tell)
        except Exception as error:
            # A view that lacks a number is worth more than none.
            trouble = str(error) or type(error).__name__
        if trouble != self.trouble:
            self.trouble = trouble
            self.version += 1
        took = time.monotonic() - began
        if self._next:
            self._next = max(self._next, time.monotonic() + took / MOST_SHARE)
        self.done += 1
        self._running = False

    def _tell(self, found: Found) -> None:
        if found != self.found:
            self.found = found
            self.version += 1


class Lookout:
    """All looks of one view. It is told of events by way of the tally."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environ = config.environment()
        self._projects: Dict[str, List[str]] = {}
        self._since = 0.0
        self.noted = Noted(index.last_count(settings.cache_dir), evict.known_bytes(settings.cache_dir))
        self._store_seen: Tuple[object, ...] = ()
        self._targets_seen = -1
        self._traffic_seen: Tuple[object, ...] = ()
        self.store: Look[Stock] = Look(self._look_at_store, STORE_PAUSE)
        self.targets: Look[Tuple[Target, ...]] = Look(self._look_at_targets, TARGETS_PAUSE)
        self.wrapper: Look[Finding] = Look(self._look_at_wrapper, WRAPPER_PAUSE)
        self.traffic: Look[Traffic] = Look(self._look_at_traffic, REMOTE_PAUSE)

    def refresh(self) -> None:
        """Look at everything anew."""
        self._store_seen = self._traffic_seen = ()
        self._targets_seen = -1
        for look in (self.store, self.targets, self.wrapper, self.traffic):
            look.hurry()

    def version(self) -> int:
        """Grows with whatever was found."""
        return self.store.version + self.targets.version + self.wrapper.version + self.traffic.version

    def tick(self, tally: Tally, since: float, targets_shown: bool) -> None:
        """Begin what is due. Costs a few stats where nothing happened."""
        self._since = since
        self.wrapper.start_if_due()
        store = (tally.stored, *(_modified(self._settings.cache_dir + name) for name in _STORE_SIGNS))
        if store != self._store_seen and self.store.start_if_due():
            self._store_seen = store
        if targets_shown and tally.events != self._targets_seen:
            # the thread must not see it grow
            self._projects = {root: list(project.targets) for root, project in tally.projects.items()}
            if self.targets.start_if_due():
                self._targets_seen = tally.events
        traffic = (since, *(_modified(self._settings.cache_dir + name) for name in _TRAFFIC_SIGNS))
        if (traffic != self._traffic_seen or self._is_lively(tally)) and self.traffic.start_if_due():
            self._traffic_seen = traffic

    def _is_lively(self, tally: Tally) -> bool:
        """Whether the uploader may have something to say."""
        if not os.path.exists(self._settings.cache_dir + demand.SOCKET):
            return bool(self.traffic.found and self.traffic.found.uploader)
        found = self.traffic.found
        moving = found is not None and bool(found.moving("pushing") or found.moving("pulling"))
        return moving or time.time() - tally.last < QUIET

    def _look_at_wrapper(self, tell: Callable[[Finding], None]) -> None:
        found = list(checks.check_wrapper(checks.this_machine()))
        tell(found[-1])

    def _look_at_store(self, tell: Callable[[Stock], None]) -> None:
        cache_dir = self._settings.cache_dir
        _give_way()
        with index.opened(cache_dir) as view:
            items = view.items()
            named, unique = view.named_bytes()
        shelves = (inventory.blobs(cache_dir), inventory.entries(cache_dir), inventory.units(cache_dir))
        taken = inventory.disk_bytes(file for shelf in shelves for file in shelf.files.values())
        tell(Stock(items, named, unique, taken))

    def _look_at_targets(self, tell: "Callable[[Tuple[Target, ...]], None]") -> None:
        _give_way()
        known = {target.path: target for target in self.targets.found or ()}
        paths = footprint.targets(dict(self._projects), self._environ)
        of_store = footprint.store_inodes(self._settings.cache_dir)
        # What is not measured yet is shown as it was the last time.
        found = {path: known[path] for path in paths if path in known}
        for path, roots in paths.items():
            found[path] = footprint.measure(path, roots, of_store)
            tell(tuple(found.values()))
        tell(tuple(found.values()))

    def _look_at_traffic(self, tell: Callable[[Traffic], None]) -> None:
        cache_dir = self._settings.cache_dir
        before, when = self.traffic.found, time.monotonic()
        here = os.path.exists(cache_dir + demand.SOCKET)
        facts = daemon_command.facts(cache_dir) if here else None
        runs = history.transfers(cache_dir, self._since)
        waiting = len(names_in(cache_dir + push_queue.DIRECTORY))
        pace = _Pace(before.uploader if before else None, facts, when - self._asked_at if self._asked_at else 0.0)
        self._asked_at = when
        tell(Traffic(facts, waiting, pace.of("pushed_bytes"), pace.of("pulled_bytes"), runs))

    _asked_at = 0.0


class _Pace:
    """How fast a sum of the uploader's grows between two answers."""

    def __init__(self, before: Optional[Dict[str, str]], now: Optional[Dict[str, str]], seconds: float) -> None:
        same = before is not None and now is not None and before.get("pid") == now.get("pid")
        self._before = before if same else None
        self._now = now
        self._seconds = seconds

    def of(self, name: str) -> Optional[float]:
        if self._before is None or not 0 < self._seconds < 10 * REMOTE_PAUSE:
            return None
        return max(0, number_of(self._now, name) - number_of(self._before, name)) / self._seconds


# What changes with the store when no event tells of it: gc, sync, purge.
_STORE_SIGNS = ("/" + history.GC_FILE, "/" + history.TRANSFERS_FILE, "/store", "/entries")
_TRAFFIC_SIGNS = ("/" + history.TRANSFERS_FILE, push_queue.DIRECTORY, demand.SOCKET)


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _give_way() -> None:
    """Let builds go first: Linux has a niceness for each thread."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
    except (OSError, AttributeError):
        pass

"""The push queue: what the remote has yet to get, as empty files whose names say all.

Owns $KACHE_CACHE_DIR/queue. A file is there from the moment something is stored until the remote has it, so nothing is
lost with a process or a machine. Imports nothing heavy: a compile adds to it.

    entry-{action_key}-{cache_key}    an entry
    plan-{selection}-{lock}           a plan with the units it names
"""

import posix

from kachelib.store import make_directories, names_in, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

DIRECTORY = "/queue"
ENTRY = "entry"
PLAN = "plan"


class Due:
    """Something to be pushed. kind: ENTRY or PLAN; first, second: action and cache key, or selection and lock."""

    __slots__ = ("first", "kind", "name", "second")

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind, _, rest = name.partition("-")
        self.first, _, self.second = rest.partition("-")


def add(cache_dir: str, kind: str, first: str, second: str) -> None:
    """Note that something is to be pushed; that lasts, whatever happens to this machine. Raises OSError."""
    directory = cache_dir + DIRECTORY
    make_directories(directory)
    name = "%s/%s-%s-%s" % (directory, kind, first, second)
    posix.close(posix.open(name, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o644))
    fd = posix.open(directory, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def waiting(cache_dir: str) -> "List[Due]":
    """All that is to be pushed, entries first: a plan names them."""
    found = [Due(name) for name in names_in(cache_dir + DIRECTORY)]
    return sorted((due for due in found if due.second and due.kind in (ENTRY, PLAN)), key=lambda due: due.name)


def count(cache_dir: str) -> int:
    """How much is to be pushed."""
    return len(waiting(cache_dir))


def done(cache_dir: str, due: Due) -> None:
    """Take something off the queue."""
    remove(cache_dir + DIRECTORY + "/" + due.name)

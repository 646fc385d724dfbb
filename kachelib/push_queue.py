"""The push queue: what the remote has yet to get, as empty files whose names say all.

Owns $KACHE_CACHE_DIR/queue. A file is there from the moment something is stored until the remote has it, so nothing is
lost with a process, nor, once the uploader saw it, with a machine. Imports nothing heavy: a compile adds to it.

    entry-{action_key}-{cache_key}-{remote}    an entry
    plan-{selection}-{lock}-{remote}           a plan with the units it names

remote says for which: what a project with a remote of its own made goes to no other.
"""

import posix

from kachelib.key import digest_bytes
from kachelib.store import make_directories, names_in, remove, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from kachelib.settings import Settings

DIRECTORY = "/queue"
ENTRY = "entry"
PLAN = "plan"


class Due:
    """Something to be pushed. kind: ENTRY or PLAN; first, second: action and cache key, or selection and lock; remote:
    what ``remote_id`` says of where to."""

    __slots__ = ("first", "kind", "name", "remote", "second")

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind, self.first, self.second, self.remote = [*name.split("-"), "", "", ""][:4]


def remote_id(settings: "Settings") -> str:
    """A short name of the place that the settings name, whoever may write there."""
    place = (
        settings.remote_type,
        settings.remote_path,
        settings.remote_endpoint,
        settings.remote_bucket,
        settings.remote_prefix.strip("/"),
    )
    return digest_bytes("\0".join(place).encode("utf-8", "surrogateescape"))[:16]


def add(settings: "Settings", kind: str, first: str, second: str) -> None:
    """Note that something is to be pushed; that outlasts all processes. Raises OSError."""
    directory = settings.cache_dir + DIRECTORY
    make_directories(directory)
    name = "%s/%s-%s-%s-%s" % (directory, kind, first, second, remote_id(settings))
    posix.close(posix.open(name, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o644))


def settle(cache_dir: str) -> None:
    """Wait until all that was noted outlasts the machine: the uploader does, not the compile. Raises OSError."""
    sync(cache_dir + DIRECTORY)


def waiting(settings: "Settings") -> "List[Due]":
    """All that is to be pushed to the remote of these settings, entries first: a plan names them."""
    found = [Due(name) for name in names_in(settings.cache_dir + DIRECTORY)]
    remote = remote_id(settings)
    ours = [due for due in found if due.remote == remote and due.kind in (ENTRY, PLAN)]
    return sorted(ours, key=lambda due: due.name)


def count(settings: "Settings") -> int:
    """How much is to be pushed."""
    return len(waiting(settings))


def done(cache_dir: str, due: Due) -> None:
    """Take something off the queue."""
    remove(cache_dir + DIRECTORY + "/" + due.name)

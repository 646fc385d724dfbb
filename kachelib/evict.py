"""When the store is tidied up: on demand (``kache gc``), and by itself when it grew past its limit.

Owns the growth file and the detached start. What goes and what stays, reclaim
decides. ``maybe_start`` runs in the wrapper after a store, so this module
imports nothing heavy at its top.

Grammar of memo/growth:

    growth = { [ "=" ] bytes LF }    "=": what a gc measured; without: what was stored since
"""

import posix
import time

from kachelib.store import make_directories, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, List, Optional

    from kachelib.config import Settings
    from kachelib.reclaim import Outcome

GROWTH = "/memo/growth"
STARTED = "/memo/gc-started"

# A gc that could not get below the limit (all of it in use) would otherwise
# be started again by each store.
PAUSE = 60.0

# About ten thousand stores; the sum of their lines is then worth a count.
MOST_GROWTH = 64 * 1024

# A store this small is counted on the spot.
FEW_SHARDS = 16

GC_PATIENCE = 30.0


def maybe_start(settings: "Settings", stored_bytes: int) -> None:
    """Note that ``stored_bytes`` came into the store, and start a detached gc when it is over its limit.

    Costs two small file operations otherwise. Never raises OSError.
    """
    try:
        if is_due(settings, stored_bytes):
            _detach(settings)
    except OSError:
        pass


def is_due(settings: "Settings", stored_bytes: int) -> bool:
    """Note that ``stored_bytes`` came into the store; whether a gc is to be run now. Raises OSError."""
    total = _grow(settings.cache_dir, stored_bytes)
    return (total is None or total > settings.local_max_size) and _may_start(settings.cache_dir + STARTED)


def reset_growth(cache_dir: str, total: int) -> None:
    """Note that a gc measured ``total`` bytes."""
    path = cache_dir + GROWTH
    try:
        make_directories(cache_dir + "/memo")
        temporary = f"{path}.{posix.getpid()}.tmp"
        with open(temporary, "wb") as file:
            file.write(b"=%d\n" % total)
        posix.rename(temporary, path)
    except OSError:
        pass


def _grow(cache_dir: str, stored_bytes: int) -> "Optional[int]":
    """Add to the growth file; returns the bytes that the store has now, or None where that has to be counted."""
    path = cache_dir + GROWTH
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC)
    except FileNotFoundError:
        total = _count_small(cache_dir)
        if total is not None:
            _begin(cache_dir)
            reset_growth(cache_dir, total)
        return total
    try:
        posix.write(fd, b"%d\n" % stored_bytes)
    finally:
        posix.close(fd)
    return known_bytes(cache_dir)


def known_bytes(cache_dir: str) -> "Optional[int]":
    """The bytes that the store has by what was noted, without a look at it; None where that has to be counted."""
    data = read_file(cache_dir + GROWTH)
    if data is None or len(data) > MOST_GROWTH:
        return None
    try:
        return sum([int(line) for line in data.replace(b"=", b"").split()])
    except ValueError:
        return None


def _begin(cache_dir: str) -> None:
    """Once in the life of a store, mostly."""
    from kachelib.seclude import seclude

    seclude(cache_dir)


def _count_small(cache_dir: str) -> "Optional[int]":
    """The bytes of a store that has just begun; None for a bigger one."""
    shards = posix.listdir(cache_dir + "/store")
    if len(shards) > FEW_SHARDS:
        return None
    total = 0
    for shard in shards:
        directory = cache_dir + "/store/" + shard
        for name in posix.listdir(directory):
            try:
                total += posix.lstat(directory + "/" + name).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _may_start(stamp: str) -> bool:
    """Whether the last start is long enough ago; takes the turn if so."""
    try:
        age = time.time() - posix.stat(stamp).st_mtime
        if 0 <= age < PAUSE:
            return False
    except FileNotFoundError:
        pass
    fd = posix.open(stamp, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o644)
    try:
        posix.utime(fd)
    finally:
        posix.close(fd)
    return True


def _detach(settings: "Settings") -> None:
    """Run a gc in a process of its own."""
    from kachelib import background

    def work() -> None:
        from kachelib import log, reclaim

        try:
            reclaim.reclaim(settings, reclaim.limits(settings))
        except Exception as error:
            log.for_command(settings).error(f"gc: {error}")

    background.start(work, ("log", "reclaim"))


def run_gc(argv: "List[str]") -> int:
    """``kache gc``; returns the exit code."""
    from kachelib import console, reclaim

    parser = console.Parser(
        "gc",
        "Remove the least recently used entries until the store takes 90 % of its limit (cache.local_max_size),\n"
        "blobs that no entry names, unfinished files, idle locks and incremental directories.\n"
        "What was used in the last two minutes stays.",
        "Exit codes: 0 done, also when nothing had to go; 1 failed; 2 wrong use.",
    )
    older = "also remove what was not used for DUR (7d, 24h, 30m)"
    parser.add_argument("--max-age", metavar="DUR", type=console.duration_argument, help=older)
    down = "go down to SIZE (5GiB) instead, and spare nothing"
    parser.add_argument("--max-size", metavar="SIZE", type=console.size_argument, help=down)
    parser.add_json()
    options = parser.parse_args(argv)
    settings = console.load_settings()
    console.store_directory(settings)
    wanted = reclaim.limits(settings, options.max_size, options.max_age)
    outcome = reclaim.reclaim(settings, wanted, GC_PATIENCE)
    if options.json:
        console.print_json(outcome.fields())
    else:
        print("\n".join(describe(outcome)))
    return 0


def describe(outcome: "Outcome") -> "Iterable[str]":
    """What a gc did, in lines for people."""
    from kachelib.console import plural, size

    if outcome.entries_evicted or outcome.blobs_removed:
        went = f"{plural(outcome.entries_evicted, 'entry')} and {plural(outcome.blobs_removed, 'blob')}"
        yield f"removed {went}: {size(outcome.bytes_freed)}"
    else:
        yield "nothing was evicted"
    if outcome.shared_bytes_retained:
        yield f"  {size(outcome.shared_bytes_retained)} of it stay on disk while target directories share them"
    if outcome.incremental_dirs_removed:
        found = plural(outcome.incremental_dirs_removed, "incremental directory")
        yield f"removed {found}: {size(outcome.incremental_bytes)}"
    for reason in outcome.reasons:
        yield f"  {reason}"
    yield f"the store takes {size(outcome.store_bytes)} of {size(outcome.limit_bytes)}"

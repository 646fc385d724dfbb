"""The helper that takes units once Cargo has ended.

Owns when it is started, that it is alone, and its waiting. What it takes, take.py decides.
"""

import posix
import sys
import time

from kachelib.roots import exists
from kachelib.store import make_directories, names_in, read_file, remove, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional

    from kachelib.cargo_call import CargoCall
    from kachelib.conditions import Here
    from kachelib.config import Settings
    from kachelib.store import Store

# seconds. A build that takes longer than this is taken by the next one.
LONGEST_BUILD = 6 * 3600.0
LONGEST_WORK = 50.0
GRACE = 10  # until it is ended where it hangs on something: a minute in all
COMING_UP = 2.0

PAUSE = 0.02

# Names of files that say which Cargo has a helper: its process and when that began.
HELPER = "helper-"

MODULES = (
    "take", "index", "conditions", "extra_inputs", "probe", "log", "cargo_config", "config_file", "background",
    "demand",
)  # fmt: skip


def here_of_parent(command: "List[str]", environ: "Dict[str, str]", settings: "Settings", store: "Store") -> "Here":
    """This place, as the Cargo that started this process sees it. command: the compiler's. Raises Unclear."""
    from kachelib import cargo_call
    from kachelib.cargo_call import Unclear

    call = cargo_call.of_parent(environ)
    try:
        cargo = posix.readlink("/proc/%d/exe" % posix.getppid())
    except OSError:
        raise Unclear("Cargo's own program is not known") from None
    return here_of(call, cargo, command, settings, store)


def here_of(call: "CargoCall", cargo: str, command: "List[str]", settings: "Settings", store: "Store") -> "Here":
    """This place for a call of ``cargo`` (a path). Raises Unclear."""
    from kachelib import cargo_call, conditions
    from kachelib.cargo_call import Unclear
    from kachelib.conditions import Here

    tools = conditions.compiler(command, call.environ, store)
    version = cargo_call.cargo_version(cargo, store.memo_dir(), call.environ)
    if tools is None or not version:
        raise Unclear("the compiler or Cargo cannot be identified")
    if cargo_call.minor(version) < cargo_call.OLDEST_MINOR:
        raise Unclear("%s is older than 1.%d" % (version.strip(), cargo_call.OLDEST_MINOR))
    return Here(call, settings, store, tools, version)


def maybe_start(command: "List[str]", environ: "Dict[str, str]", settings: "Settings", store: "Store") -> None:
    """Start the helper for the Cargo that called the wrapper, unless it has one. Never raises OSError.

    Called after every miss, so what tells that there is one already is a file, and nothing is imported before.
    """
    if sys.platform != "linux" or not settings.take_units or not settings.cache_dir:
        return
    cargo = posix.getppid()
    mark = "%s/%s%d-%s" % (store.memo_dir(), HELPER, cargo, (_start_time(cargo) or b"").decode())
    if exists(mark):
        return
    from kachelib import background, selection
    from kachelib.cargo_call import Unclear

    try:
        make_directories(store.memo_dir())
        write_file(mark, b"", 0o644)
        here = here_of_parent(command, environ, settings, store)
        selection.since(here)
        background.start(lambda: _take_after(cargo, mark, here), MODULES)
    except (OSError, Unclear):
        pass


def _claim_name(call: "CargoCall") -> str:
    from kachelib.key import digest_bytes

    text = "take %s %s %s" % (call.build_dir, call.profile, " ".join(call.triples))
    return digest_bytes(text.encode("utf-8", "surrogateescape"))


def _take_after(cargo: int, mark: str, here: "Here") -> None:
    """Wait for the process ``cargo`` to end, then take what it left; one helper at a time for a profile's directory."""
    import fcntl

    from kachelib import log, take

    name = _claim_name(here.call)
    claim = None
    try:
        # for those who ask whether somebody works; let go when this process ends, however it does
        fcntl.flock(posix.open(mark, posix.O_RDWR | posix.O_CLOEXEC), fcntl.LOCK_EX)
        ended = wait_for(cargo, LONGEST_BUILD)
        claim = here.store.claim(name, 0)
        if not ended or claim is None:
            return
        _limit()
        began = time.monotonic()
        found = take.take(here, began + LONGEST_WORK)
        voice = log.for_command(here.settings)
        voice.info("took %d units, %d not" % (len(found.kept), len(found.refused)))
        for key, why in found.refused.items():
            voice.debug("not taken: %s: %s" % (key[1], why))
        if found.kept and here.settings.has_remote and not here.settings.remote_readonly:
            _leave_plan(here)
    except Exception as error:
        log.for_command(here.settings).info("taking units: %s: %s" % (type(error).__name__, error))
    finally:
        if claim is not None:
            here.store.release(name, claim)
        remove(mark)


def wait_until_idle(cache_dir: str) -> None:
    """Until no helper works whose Cargo has ended, or one has had all the time that it may take."""
    end = time.monotonic() + COMING_UP + LONGEST_WORK + GRACE
    while working(cache_dir) and time.monotonic() < end:
        time.sleep(PAUSE)


def working(cache_dir: str) -> int:
    """How many helpers work whose Cargo has ended."""
    import fcntl

    count = 0
    for name in names_in(cache_dir + "/memo"):
        if not name.startswith(HELPER):
            continue
        pid, _, started = name[len(HELPER) :].partition("-")
        if pid.isdigit() and _start_time(int(pid)) == started.encode():
            continue
        try:
            fd = posix.open(cache_dir + "/memo/" + name, posix.O_RDWR | posix.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # one that is only coming up
            count += time.time() - posix.fstat(fd).st_mtime < COMING_UP
        except OSError:
            count += 1
        finally:
            posix.close(fd)
    return count


def _leave_plan(here: "Here") -> None:
    """Have the uploader publish what was taken."""
    from kachelib import demand
    from kachelib.key import digest_bytes

    lock = read_file(here.call.lock_file())
    if lock is not None:
        demand.leave_plan(here.settings, here.selection(), digest_bytes(lock), here.call.root)


def _limit() -> None:
    """End this process where the work takes much too long, whatever it hangs on."""
    import signal

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(LONGEST_WORK) + GRACE)


def wait_for(pid: int, patience: float) -> bool:
    """Whether the process ends within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    started = _start_time(pid)
    pause = PAUSE
    while started is not None and _start_time(pid) == started:
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.2, 0.5)
    return True


def _start_time(pid: int) -> "Optional[bytes]":
    """When a process began, in the kernel's ticks; None where there is none (proc(5), stat, field 22), or where it is
    dead and only not yet waited for."""
    data = read_file("/proc/%d/stat" % pid)
    fields = data.rpartition(b") ")[2].split(b" ") if data else []
    return fields[19] if len(fields) > 19 and fields[0] not in (b"Z", b"X") else None

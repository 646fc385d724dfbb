"""``kache daemon``: the uploader as people see it.

Owns the command line, and waiting for what it does. What it is, uploader.py says; how it is asked, demand.py.
"""

import argparse
import os
import time
from typing import Callable, Dict, List, Optional

from kachelib import console, demand, log, push_queue, service, taker
from kachelib.config import Settings
from kachelib.demand import Line, NoAnswer
from kachelib.outcome import KacheError, UsageError

# seconds
ANSWER = 5.0
COMING_UP = 10.0
LEAVING = 20.0
# what a status has to say
REQUIRED = frozenset(("pid", "remote", "pushed", "pushed_bytes", "pulled", "pulled_bytes"))

# without --timeout, drain waits as long as something moves within this
STANDSTILL = 60.0

LAST_LINES = 20

ACTIONS = {
    "status": "whether one runs and what it does; without an action the same",
    "run": "be the uploader, in the foreground",
    "start": "start one in the background",
    "stop": "stop it; what is to be pushed stays in the queue",
    "restart": "stop it and start one",
    "drain": "wait until all is pushed: the last step of a CI job",
    "log": "show what it said, and go on showing it",
    "install": "have the system start it with the session (systemd, launchd)",
    "uninstall": "undo that",
}


class NotDrained(KacheError):
    """Something is still to be pushed."""


def run(argv: List[str]) -> int:
    """``kache daemon``; returns the exit code."""
    parser = console.Parser(
        "daemon",
        "The uploader pushes to the remote what builds make, and fetches what they ask for. Builds start it when a\n"
        "remote is configured, and it leaves by itself (cache.daemon_idle_timeout_secs).\n\nactions:\n"
        + "".join(f"  {name:<11}{text}\n" for name, text in ACTIONS.items()),
        "Exit codes: 0 done; 1 failed, or status: none runs; 2 wrong use; 130 stopped with Ctrl-C.",
    )
    parser.add_argument("action", nargs="?", metavar="ACTION", choices=ACTIONS, default="status", help="see above")
    timeout = parser.add_argument(
        "--timeout", metavar="DUR", type=console.duration_argument, help="of drain: give up after DUR (30s, 5m)"
    )
    lines = parser.add_argument("-n", "--lines", metavar="N", type=int, help="of log: begin with N lines, not 20")
    follow = parser.add_argument("--no-follow", action="store_true", help="of log: do not go on")
    parser.add_json()
    options = parser.parse_args(argv)
    for option, action in ((timeout, "drain"), (lines, "log"), (follow, "log")):
        if options.action != action and getattr(options, option.dest) not in (None, False):
            raise UsageError(f"daemon: {option.option_strings[-1]} belongs to 'kache daemon {action}'")
    settings = console.load_settings()
    console.store_directory(settings)
    work: Dict[str, Callable[[Settings, argparse.Namespace], int]] = {
        "status": _status, "run": _run, "start": _start, "stop": _stop, "restart": _restart, "drain": _drain,
        "log": _log, "install": _install, "uninstall": _uninstall,
    }  # fmt: skip
    return work[options.action](settings, options)


def facts(cache_dir: str) -> Optional[Dict[str, str]]:
    """What the uploader says of itself; None where none answers. Raises KacheError where something else does."""
    try:
        line = Line(cache_dir, time.monotonic() + ANSWER)
        try:
            words = line.ask("status")
        finally:
            line.close()
    except NoAnswer:
        return None
    found = dict(word.partition("=")[::2] for word in words[1:])
    if words[0] != "status" or not REQUIRED.issubset(found) or not found["pid"].isdigit():
        raise KacheError(f"{cache_dir}{demand.SOCKET}: what answers there is no uploader of this kache; end it")
    return found


def _status(settings: Settings, options: argparse.Namespace) -> int:
    found = facts(settings.cache_dir)
    waiting = push_queue.count(settings)
    if options.json:
        numbers = {name: int(value) if value.isdigit() else value for name, value in (found or {}).items()}
        console.print_json({**numbers, "running": found is not None, "waiting": waiting, "service": service.state()})
    elif found is None:
        print(f"no uploader runs; {console.plural(waiting, 'object')} to be pushed; {service.state()}")
    else:
        print(f"running, process {found['pid']}; {service.state()}")
        print(f"  remote    {found['remote']}")
        print(f"  pushed    {_moved(found, 'pushed')}; {console.plural(waiting, 'object')} to be pushed")
        print(f"  pulled    {_moved(found, 'pulled')}")
        if found.get("refused", "0").strip("0").isdigit():
            print(f"  refused   {console.plural(int(found['refused']), 'object')}: see 'kache daemon log'")
        if found.get("trouble"):
            print(f"  trouble   {found['trouble']}")
    return 0 if found is not None else 1


def _moved(found: Dict[str, str], what: str) -> str:
    count, size = (int(text) if text.isdigit() else 0 for text in (found[what], found[what + "_bytes"]))
    return f"{console.plural(count, 'object')} ({console.size(size)})"


def _run(settings: Settings, _: argparse.Namespace) -> int:
    from kachelib import uploader

    if not uploader.serve(settings, foreground=True):
        raise KacheError("an uploader runs already for this cache directory; 'kache daemon stop' ends it")
    return 0


def _start(settings: Settings, _: argparse.Namespace) -> int:
    if not settings.has_remote:
        raise KacheError("there is nothing to do for an uploader: no remote is configured, or cache.uploader is off")
    if facts(settings.cache_dir) is not None:
        print("an uploader runs already")
        return 0
    demand.start(settings)
    found = _wait(lambda: facts(settings.cache_dir), COMING_UP)
    if found is None:
        raise KacheError(f"the uploader did not come up: see {settings.cache_dir}{log.DAEMON_LOG}")
    print(f"started, process {found['pid']}")
    return 0


def _wait(look: "Callable[[], Optional[Dict[str, str]]]", patience: float) -> "Optional[Dict[str, str]]":
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found is not None or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def _stop(settings: Settings, _: argparse.Namespace) -> int:
    if not _send_stop(settings):
        print("no uploader runs")
        return 0
    print("stopped")
    return 0


def _send_stop(settings: Settings) -> bool:
    """Ask it to leave, and wait until it has. Raises KacheError where it does not."""
    found = facts(settings.cache_dir)
    if found is None:
        return False
    try:
        line = Line(settings.cache_dir, time.monotonic() + ANSWER)
        try:
            line.ask("stop")
        finally:
            line.close()
    except NoAnswer:
        pass
    deadline = time.monotonic() + LEAVING
    while _is_locked(settings.cache_dir):
        if time.monotonic() > deadline:
            raise KacheError(f"the uploader (process {found['pid']}) does not leave; end it with kill {found['pid']}")
        time.sleep(0.02)
    return True


def _is_locked(cache_dir: str) -> bool:
    import fcntl

    try:
        fd = os.open(cache_dir + demand.LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _restart(settings: Settings, options: argparse.Namespace) -> int:
    _send_stop(settings)
    return _start(settings, options)


def _drain(settings: Settings, options: argparse.Namespace) -> int:
    if settings.remote_readonly or not settings.has_remote:
        why = "the remote is only read here" if settings.remote_readonly else "builds here push nothing to a remote"
        print(f"nothing to wait for: {why}")
        return 0
    began = moved = time.monotonic()
    demand.forget_failures(settings.cache_dir)
    before = waiting = _left(settings)
    while waiting:
        now = time.monotonic()
        patience = options.timeout if options.timeout is not None else STANDSTILL
        if now - (began if options.timeout is not None else moved) > patience:
            raise NotDrained(_why_not(settings, waiting))
        demand.tell(settings, ())
        time.sleep(0.05)
        left = _left(settings)
        moved = time.monotonic() if left != waiting else moved
        before = max(before, left)
        waiting = left
    seconds = console.duration(time.monotonic() - began)
    print(f"all is pushed: {console.plural(before, 'object')} in {seconds}" if before else "nothing was left to push")
    return 0


def _left(settings: Settings) -> int:
    """How much is to be pushed, with what a helper is still taking of a build that has ended."""
    return push_queue.count(settings) + taker.working(settings.cache_dir)


def _why_not(settings: Settings, waiting: int) -> str:
    found = facts(settings.cache_dir)
    why = "no uploader runs" if found is None else found.get("trouble") or "it takes longer"
    return f"{console.plural(waiting, 'object')} could not be pushed yet ({why}); they stay in the queue"


def _log(settings: Settings, options: argparse.Namespace) -> int:
    count = LAST_LINES if options.lines is None else options.lines
    if count < 0:
        raise UsageError("daemon log: -n takes 0 or more")
    path = settings.cache_dir + log.DAEMON_LOG
    try:
        file = open(path, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    except FileNotFoundError:
        raise KacheError(f"{path} is not there: no uploader ran yet") from None
    with file:
        lines = file.readlines()
        for line in lines[len(lines) - min(count, len(lines)) :]:
            print(line, end="", flush=True)
    position = os.path.getsize(path)
    while not options.no_follow:
        time.sleep(0.2)
        position = _print_new(path, position)
    return 0


def _print_new(path: str, position: int) -> int:
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:
            # put aside when it was full: the new one is shown from its start
            file.seek(position if os.path.getsize(path) >= position else 0)
            print(file.read(), end="", flush=True)
            return file.tell()
    except OSError:
        return 0


def _install(settings: Settings, _: argparse.Namespace) -> int:
    print(service.install())
    if not settings.has_remote:
        console.note("no remote is configured yet: the service will have nothing to do")
    return 0


def _uninstall(_: Settings, __: argparse.Namespace) -> int:
    print(service.uninstall())
    return 0

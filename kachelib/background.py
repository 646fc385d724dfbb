"""A process of its own for work that must not keep a build waiting.

Owns the fork: own session, no terminal, none of Cargo's descriptors (a pipe that stays open hangs a CI job). Knows
nothing of the work.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Sequence


def start(work: "Callable[[], None]", modules: "Sequence[str]", niceness: int = 10) -> None:
    """Call ``work`` in a process that outlives this one. Raises OSError where none can be had.

    modules: kache's own that the work needs; they are imported before descriptors are closed, for code may be read from
    the archive through one of these. niceness: 10 is for what nobody waits for. Nobody is the new process's parent, so
    nobody has to wait for it.
    """
    child = posix.fork()
    if child != 0:
        posix.waitpid(child, 0)
        return
    try:
        posix.setsid()
        if posix.fork() == 0:
            _run(work, modules, niceness)
    finally:
        posix._exit(0)


def _run(work: "Callable[[], None]", modules: "Sequence[str]", niceness: int) -> None:
    null = posix.open("/dev/null", posix.O_RDWR)
    # At once: Cargo waits until nobody holds these.
    for fd in (0, 1, 2):
        posix.dup2(null, fd)
    posix.nice(niceness)
    for name in modules:
        __import__("kachelib." + name)
    _close_all()
    # A directory that somebody works in cannot be unmounted.
    posix.chdir("/")
    work()


def _close_all() -> None:
    # The jobserver is among them.
    try:
        names = posix.listdir("/dev/fd")
    except OSError:
        posix.closerange(3, 256)
        return
    for name in names:
        if int(name) > 2:
            try:
                posix.close(int(name))
            except OSError:
                pass

"""The processes of test servers: how they start, which ports they may take, and that they end.

A server ends with the thread that started it, be that killed: the kernel sees to it (prctl(2), PR_SET_PDEATHSIG), so
start one from a thread that lives as long as the server shall. Processes are known by their id, never by name.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Sequence

PR_SET_PDEATHSIG = 1


def free_ports(count: int, also: int = 0) -> List[int]:
    """Ports of 127.0.0.1 that are free now, and so is each plus ``also``."""
    found: List[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            # those that do not fit are held as well, so that the kernel does not offer them again
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if port + also >= 65536:
                continue
            if also:
                second = held.enter_context(socket.socket())
                try:
                    second.bind(("127.0.0.1", port + also))
                except OSError:
                    continue
            found.append(port)
    return found


def ends_with_this_thread() -> Optional[Callable[[], None]]:
    """What a child runs before exec, so that it is killed when this thread ends; None where no kernel does that."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


class Daemon:
    """One server process, with its output in ``log``."""

    def __init__(self, args: Sequence[str], directory: Path, env: Mapping[str, str], log: Path) -> None:
        self.args = list(args)
        self.directory = directory
        self.env = dict(env)
        self.log = log
        self.process: Optional["subprocess.Popen[bytes]"] = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.args,
                cwd=self.directory,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ctrl-C is for the tests, which then stop their servers
                start_new_session=True,
                # safe beside threads: the child calls prctl and getppid, which take no lock
                preexec_fn=ends_with_this_thread(),  # noqa: PLW1509
            )

    def check(self) -> None:
        """RuntimeError with the end of its output, if it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"{self.args[0]} has ended:\n{self.tail()}")

    def tail(self) -> str:
        """The last 4 KB of its output."""
        return self.log.read_bytes()[-4096:].decode("utf-8", "replace") if self.log.exists() else ""

    def stop(self, seconds: float = 15) -> None:
        """Ask it to end; kill it if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

"""The pager: long output of a command goes through one, as git does it.

Owns which program that is, and when there is none. Knows nothing of what is
shown.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys

from kachelib import config
from kachelib.settings import SETTINGS, Settings

DEFAULT = "less -FRX"

# What a pager is told where nobody told it otherwise (git does the same): less ends by itself where all fits, lets
# colours through and leaves the text on the screen.
OPTIONS = {"LESS": "FRX", "LV": "-c"}

# How a shell says that a program was not there, or could not be run.
NOT_STARTED = (126, 127)


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option of every command that pages."""
    parser.add_argument("--no-pager", action="store_true", help="never through a pager, however long it is")


def show(text: str, settings: Settings, wanted: bool) -> None:
    """Print ``text`` and a newline; through a pager where standard output is a terminal that it does not fit.

    wanted: False where the command line says no. A pager that cannot be
    started is no failure, nor is one that the reader leaves early.
    """
    command = choose(settings) if wanted and _is_too_long(text) else ""
    if not command or not _page(command, text + "\n"):
        print(text)


def choose(settings: Settings) -> str:
    """The pager's command line: KACHE_PAGER, PAGER, less where it is; "" for none. One that is empty says none."""
    environ = config.environment()
    name = next(row.env for row in SETTINGS if row.name == "pager")
    if settings.pager or name in environ:
        found = settings.pager
    elif "PAGER" in environ:
        found = environ["PAGER"]
    else:
        found = DEFAULT if shutil.which("less") else ""
    return "" if found.strip() in ("", "cat") else found


def _is_too_long(text: str) -> bool:
    """Whether standard output is a terminal, one that a pager can use, and has no room for all of ``text``."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    columns, rows = shutil.get_terminal_size()
    # One row is the prompt's. Colours take no room, but rather page too early than let a line scroll away.
    taken = sum(max(1, -(-len(line) // columns)) for line in text.split("\n"))
    return taken >= rows


def _page(command: str, text: str) -> bool:
    """Give ``text`` to a pager and wait for it; False where it could not be started."""
    environ = {**OPTIONS, **os.environ}
    sys.stdout.flush()
    # It is a command line, and a shell knows how to read one.
    shell = ["/bin/sh", "-c", command]
    try:
        if subprocess.run(["/bin/sh", "-n", *shell[1:]], check=False, stdin=subprocess.DEVNULL).returncode:
            return False
        pager = subprocess.Popen(shell, stdin=subprocess.PIPE, env=environ)
    except OSError:
        return False
    # Ctrl-C is the pager's: it ends a search there, and must not leave it without us.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pager.communicate(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))
    finally:
        signal.signal(signal.SIGINT, before)
    return pager.returncode not in NOT_STARTED

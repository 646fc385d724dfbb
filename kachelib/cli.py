"""The command table: which module answers which command, and what ends a command.

Owns the names, the one-line summaries, the exit codes and what happens to an
error. Imports a command's module only when it is called.
"""

import importlib
import importlib.util
import os
import signal
import sys
from typing import Callable, Dict, List, NamedTuple

from kachelib import VERSION
from kachelib.outcome import KacheError, UsageError


class Command(NamedTuple):
    """Where a command lives: ``kachelib.<module>.<function>(argv) -> exit code``."""

    module: str
    function: str
    summary: str


COMMANDS: Dict[str, Command] = {
    "monitor": Command("monitor", "run", "watch builds and the cache, live; 'kache' alone does the same"),
    "list": Command("listing", "run", "list what is cached, or show one crate in detail"),
    "stats": Command("report_command", "run_stats", "the store and the hit rate on one screen"),
    "report": Command("report_command", "run_report", "what happened to every compile: text, JSON or a page"),
    "why-miss": Command("why", "run", "why a crate was compiled: which input changed"),
    "gc": Command("evict", "run_gc", "remove what was not used for long"),
    "purge": Command("purge", "run", "remove everything, or one crate"),
    "clean": Command("clean", "run", "find target directories; delete those that are chosen"),
    "save": Command("warm_command", "run_save", "keep what Cargo built, for new target directories"),
    "warm": Command("warm_command", "run_warm", "put back what Cargo would build into a new target directory"),
    "sync": Command("sync_command", "run", "pull from the remote what is needed, push to it what it lacks"),
    "save-manifest": Command("sync_command", "run_save_manifest", "publish what this Cargo.lock needs"),
    "daemon": Command("daemon_command", "run", "the uploader: its state, start, stop, log, and waiting for it"),
    "salt": Command("salt_command", "run", "a value that changes with the Nix toolchain, for KACHE_KEY_SALT"),
    "key": Command("key_command", "run", "make a pair of keys to sign what goes to the remote"),
    "doctor": Command("doctor", "run", "check this machine, the setup and the store"),
    "completions": Command("completions", "run", "a script that has a shell complete all this"),
    "init": Command("setup", "run", "make kache Cargo's compiler wrapper, or undo that"),
    "bench": Command("bench_command", "run", "build a project without cache, cold and warm, and compare"),
    "config": Command("config_command", "run", "edit, show or change settings: get, set, unset, path"),
}

EXIT_CODES = """\
exit codes:
  0    done; nothing wrong
  1    something failed, or a check found a problem
  2    the command line or the configuration is wrong
  130  stopped with Ctrl-C
"""

INTERRUPTED = 130


def main(argv: List[str]) -> int:
    """Run the command that ``argv`` (without the program's name) asks for; returns the exit code."""
    _prepare_streams()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # The file's start lets Ctrl-C end it; a command says goodbye.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = _dispatch(argv)
        sys.stdout.flush()
        return code
    except KacheError as error:
        _traceback()
        print(f"kache: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        _silence_output()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        # argparse ends --help this way
        return end.code if isinstance(end.code, int) else 0
    except ImportError as error:
        _traceback()
        print(f"kache: this Python lacks a module: {error}; name another with KACHE_PYTHON", file=sys.stderr)
        return 1
    except OSError as error:
        _traceback()
        print(f"kache: {_describe(error)}", file=sys.stderr)
        return 1


def help_text() -> str:
    """What ``kache --help`` prints."""
    lines = [
        "kache: a compile cache for Rust that ships as one file",
        "",
        "usage: kache COMMAND [OPTIONS]",
        "       RUSTC_WRAPPER=kache cargo build",
        "",
        "commands:",
    ]
    room = max(len(name) for name in COMMANDS) + 2
    lines += [f"  {name.ljust(room)}{command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "options:", "  -h, --help     this text; 'kache COMMAND --help' tells more"]
    lines += ["  -V, --version  the version", "", EXIT_CODES]
    return "\n".join(lines)


def _dispatch(argv: List[str]) -> int:
    name = argv[0] if argv else _default()
    if name in ("help", "-h", "--help"):
        if len(argv) > 1 and argv[1] in COMMANDS:
            return _call(argv[1], ["--help"])
        sys.stdout.write(help_text())
        return 0
    if name in ("-V", "--version", "version"):
        print("kache " + VERSION)
        return 0
    if name not in COMMANDS:
        raise UsageError(_unknown(name))
    return _call(name, argv[1:])


def _default() -> str:
    """What ``kache`` alone is: the monitor, where there is a terminal that can show it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        return "help"
    # not every Python is built with it
    return "monitor" if importlib.util.find_spec("_curses") else "help"


def _call(name: str, arguments: List[str]) -> int:
    command = COMMANDS[name]
    module = importlib.import_module("kachelib." + command.module)
    function: Callable[[List[str]], int] = getattr(module, command.function)
    return function(arguments)


def _unknown(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"there is no command '{name}'; {hint}'kache --help' lists all"


def _prepare_streams() -> None:
    # A path that is not UTF-8 must not end a command; what cannot be encoded
    # is shown escaped.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _silence_output() -> None:
    # The reader is gone; the interpreter would complain when it flushes.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _describe(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; 'kache doctor' looks for the cause"


def _traceback() -> None:
    """Show where an error came from, to those who asked for it with KACHE_LOG."""
    try:
        from kachelib import config, log

        said = log.Filter(config.load(config.environment(), ()).log, "kache=warn")
        wanted = said.level(log.TARGET) >= log.DEBUG
    except Exception:
        # What failed may be one of these modules; the traceback is then all there is.
        wanted = True
    if wanted:
        import traceback

        traceback.print_exc()

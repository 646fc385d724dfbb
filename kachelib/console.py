"""How commands talk to people: arguments, tables, sizes, times, JSON.

Owns the look of every command's output and the parser they share. Knows
nothing of the store, and prints nothing unless it is asked to.
"""

import argparse
import json
import os
import shutil
import sys
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, TextIO

from kachelib import config, extra_inputs, log
from kachelib.config import Settings
from kachelib.outcome import ConfigError, StoreError, UsageError

# The version of every document that --json prints; raised when a field is
# removed or changes its meaning, not when one is added.
JSON_VERSION = 1

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class ParserMade(Exception):
    """Instead of parsing: what ``parser_of`` wants to know. Not an error."""

    def __init__(self, parser: "Parser") -> None:
        super().__init__()
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with exit code 2, raised as UsageError."""

    # while ``parser_of`` asks for it
    only_made = False

    def __init__(self, name: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog="kache " + name,
            description=description,
            epilog=epilog or None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog[6:]}: {message}; see '{self.prog} --help'")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse's; a command's first step, before it looks at anything else."""
        if Parser.only_made:
            raise ParserMade(self)
        return super().parse_known_args(args, namespace)

    def add_json(self) -> None:
        """The option every command has that a script would call."""
        self.add_argument("--json", action="store_true", help="print one JSON document")


def parser_of(command: Callable[[List[str]], int]) -> Optional[Parser]:
    """The parser that a command makes, without running it; None of a command that parses nothing."""
    Parser.only_made = True
    try:
        command([])
    except ParserMade as made:
        return made.parser
    finally:
        Parser.only_made = False
    return None


def size_argument(text: str) -> int:
    """A size as the configuration writes it, in bytes; for ``add_argument(type=...)``."""
    try:
        return config.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration_argument(text: str) -> int:
    """A duration as the configuration writes it, in seconds; for ``add_argument(type=...)``."""
    try:
        return config.parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def load_settings() -> Settings:
    """The settings that hold in the current directory. Raises ConfigError where they, or its kache.toml, are wrong."""
    here = current_directory()
    settings = config.load(config.environment(), (here,))
    config.require(settings)
    _require_extra_inputs(os.path.join(here, extra_inputs.FILE_NAME))
    for warning in settings.warnings:
        log.for_command(settings).warn(warning)
    return settings


def _require_extra_inputs(file: str) -> None:
    # In a build such a file costs its crate the cache, with one line; here it is loud.
    if os.path.exists(file):
        from kachelib import config_file

        _, error = config_file.read_extra_inputs(file)
        if error:
            raise ConfigError(error)


def store_directory(settings: Settings) -> str:
    """The cache directory, which may not exist yet. Raises StoreError where there is no place for one."""
    if not settings.cache_dir:
        raise StoreError("there is no place for the store: HOME is not set; name one with KACHE_CACHE_DIR")
    return settings.cache_dir


def current_directory() -> str:
    """The working directory, or "/" where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def home() -> str:
    """The user's home directory; "" where there is none."""
    found = os.path.expanduser("~")
    return "" if found == "~" else found


def print_json(document: Dict[str, Any]) -> None:
    """Print one document; ``schema_version`` comes first."""
    print(json.dumps({"schema_version": JSON_VERSION, **document}, indent=2))


def note(text: str) -> None:
    """One line for the person at the terminal, kept out of standard output."""
    print("kache: " + text, file=sys.stderr)


def size(count: float) -> str:
    """Bytes for people: three digits at most before the unit, one behind the point."""
    value = float(count)
    for unit in _SIZES:
        if abs(value) < 1000 or unit == _SIZES[-1]:
            break
        value /= 1024
    return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """A span of time for people: its two biggest units."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, length, smaller, below in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // below
            return f"{whole // length}{unit} {rest}{smaller}" if rest else f"{whole // length}{unit}"
    return f"{whole} s"


def age(seconds: float) -> str:
    """How long ago, in the one unit that says it."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def plural(count: int, noun: str, many: str = "") -> str:
    """``1 entry``, ``2 entries``: English for what kache counts."""
    if count == 1:
        return f"1 {noun}"
    if not many:
        many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {many}"


def paint(text: str, style: str, stream: Optional[TextIO] = None) -> str:
    """``text`` in a style where ``stream`` (default: standard output) is a terminal and NO_COLOR is unset."""
    out = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not out.isatty():
        return text
    return f"\033[{_STYLES[style]}m{text}\033[0m"


def width() -> int:
    """Columns that a line may have; 0 where output goes to no terminal and nothing need be cut."""
    if not sys.stdout.isatty():
        return 0
    return shutil.get_terminal_size().columns


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], columns: Optional[int] = None) -> List[str]:
    """The lines of a table that fits ``columns`` (default: the terminal; 0: as wide as it gets).

    heads: one a column; a leading ">" aligns it to the right, a leading "~"
    marks the column that is cut first where the line is too long.
    """
    titles = [head.lstrip(">~") for head in heads]
    widths = [max([len(titles[i]), *(len(row[i]) for row in rows)]) for i in range(len(heads))]
    limit = width() if columns is None else columns
    _narrow(heads, widths, limit)
    lines = [_line(heads, titles, widths)] if any(titles) else []
    lines += [_line(heads, row, widths) for row in rows]
    return [cut(line, limit) for line in lines] if limit else lines


def _narrow(heads: Sequence[str], widths: List[int], limit: int) -> None:
    over = sum(widths) + 2 * (len(widths) - 1) - limit
    if not limit:
        return
    for i, head in enumerate(heads):
        if head.startswith("~") and over > 0:
            taken = min(over, max(0, widths[i] - 8))
            widths[i] -= taken
            over -= taken


def _line(heads: Sequence[str], cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for head, cell, room in zip(heads, cells, widths):
        text = cut(cell, room)
        parts.append(text.rjust(room) if head.startswith(">") else text.ljust(room))
    return "  ".join(parts).rstrip()


def cut(text: str, room: int) -> str:
    """``text`` in at most ``room`` characters."""
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"

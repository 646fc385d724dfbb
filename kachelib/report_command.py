"""``kache report`` and ``kache stats``: their options, the gate, and where the output goes.

Owns the command lines. What is counted, report.py says; how it looks, report_text.py and its siblings.
"""

import argparse
import contextlib
import io
import os
import stat
import sys
from typing import Any, Callable, Dict, List, Optional

from kachelib import console, report, report_text
from kachelib.outcome import KacheError, UsageError
from kachelib.report import Report, Scope

Fields = Dict[str, Any]

# The exit code of --min-hit-rate.
BELOW = 3

# Formats that nobody reads on a terminal.
FOR_FILES = ("html", "perfetto")

STDOUT = "-"


def run_report(argv: List[str]) -> int:
    """``kache report``; returns the exit code."""
    options = _parser().parse_args(argv)
    if options.output is None and options.format in FOR_FILES and sys.stdout.isatty():
        name = "report.html" if options.format == "html" else "trace.json"
        raise UsageError(f"report: {options.format} is for a file: add '--output {name}' ('--output -' shows it here)")
    cache_dir = console.store_directory(console.load_settings())
    roots = tuple(dict.fromkeys(place for directory in options.root for place in _places(directory)))
    found = report.collect(cache_dir, Scope(options.since, roots, options.top))
    shown = FORMATS[options.format]
    if options.output in (None, STDOUT):
        shown(found, cache_dir)
    else:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            shown(found, cache_dir)
        _write(options.output, text.getvalue())
    return 0 if options.min_hit_rate is None else _judge(found.document, options.min_hit_rate)


def _parser() -> console.Parser:
    parser = console.Parser(
        "report",
        "What happened to every compile: hits, misses with their reasons, and what was not cached.",
        "Exit codes: 0 done; 1 failed; 2 wrong use; 3 the hit rate is below --min-hit-rate.",
    )
    told = (
        "default: text; github: Markdown with what is long folded away, for a job's summary; html: one page with a "
        "timeline; perfetto: a trace for ui.perfetto.dev"
    )
    parser.add_argument("--format", choices=tuple(FORMATS), default="text", help=told)
    for name in ("json", "html"):
        same = f"the same as --format {name}"
        parser.add_argument("--" + name, dest="format", action="store_const", const=name, help=same)
    gate = "exit with 3 where less than this came from the cache, or no compile was seen"
    parser.add_argument("--min-hit-rate", metavar="PCT", type=_percentage, help=gate)
    span = "only what ended within the last DUR (7d, 24h, 30m); default: all that is logged"
    parser.add_argument("--since", metavar="DUR", type=console.duration_argument, help=span)
    where = "only what was built in the workspace DIR, or in workspaces below it; may be given several times"
    parser.add_argument("--root", metavar="DIR", action="append", default=[], help=where)
    most = f"rows of misses, of what was not cached and of errors; default: {report.TOP} misses, all of the others"
    parser.add_argument("--top", metavar="N", type=_row_count, help=most)
    file = "write into FILE, whole or not at all; - is standard output"
    parser.add_argument("--output", metavar="FILE", type=_file_name, help=file)
    return parser


def run_stats(argv: List[str]) -> int:
    """``kache stats``; returns the exit code."""
    parser = console.Parser(
        "stats", "The store and the hit rate on one screen.", "Exit codes: 0 done; 1 failed; 2 wrong use."
    )
    span = "count only the invocations of the last DUR (7d, 24h, 30m); default: all that are logged"
    parser.add_argument("--since", metavar="DUR", type=console.duration_argument, help=span)
    parser.add_json()
    options = parser.parse_args(argv)
    settings = console.load_settings()
    cache_dir = console.store_directory(settings)
    document = report.build(cache_dir, options.since)
    store = report.store_fields(settings)
    if options.json:
        parts = ("meta", "summary", "storage", "network", "gc")
        console.print_json({"store": store, **{name: document[name] for name in parts}})
        return 0
    print("\n".join([*report_text.store_lines(store), "", *report_text.summary_lines(document)]))
    return 0


# Formats


def _as_text(found: Report, cache_dir: str) -> None:
    print("\n".join(report_text.lines(found.document)))


def _as_json(found: Report, cache_dir: str) -> None:
    console.print_json(found.document)


def _as_markdown(found: Report, cache_dir: str, folded: bool = False) -> None:
    from kachelib import report_markdown

    print("\n".join(report_markdown.lines(found.document, _reasons(found, cache_dir), folded)))


def _as_github(found: Report, cache_dir: str) -> None:
    _as_markdown(found, cache_dir, folded=True)


def _as_html(found: Report, cache_dir: str) -> None:
    from kachelib import report_html

    print(report_html.page(found, _reasons(found, cache_dir)))


def _as_perfetto(found: Report, cache_dir: str) -> None:
    from kachelib import report_trace

    print(report_trace.text(found.events))


FORMATS: Dict[str, Callable[[Report, str], None]] = {
    "text": _as_text,
    "json": _as_json,
    "markdown": _as_markdown,
    "github": _as_github,
    "html": _as_html,
    "perfetto": _as_perfetto,
}


def _reasons(found: Report, cache_dir: str) -> List[str]:
    """Why each of ``top_misses`` missed, as why-miss finds it."""
    from kachelib import why

    units = [(miss["crate_name"], miss["crate_types"]) for miss in found.document["top_misses"]]
    return [why.in_short(cache_dir, found.events, *unit) for unit in units]


# Arguments and output


def _percentage(text: str) -> float:
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("give a number from 0 to 100")
    return value


def _row_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number from 1 on")
    return int(text)


def _file_name(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("give the name of a file, or - for standard output")
    return text


def _places(directory: str) -> List[str]:
    """A directory as builds may have known it: Cargo says the real path, a symlink's name stands in variables."""
    path = os.path.join(console.current_directory(), directory)
    return [os.path.normpath(path), os.path.realpath(path)]


def _write(path: str, text: str) -> None:
    """``text`` as the file's whole content, or no change; a device or a pipe is written to. Raises KacheError."""
    target = os.path.realpath(path)
    data = text.encode("utf-8", "backslashreplace")
    try:
        mode = os.stat(target).st_mode if os.path.exists(target) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(target, "wb") as file:
                file.write(data)
        else:
            _replace(target, data, mode)
    except OSError as error:
        raise KacheError(f"report: {path}: {error.strerror}; name another place with --output") from None


def _replace(target: str, data: bytes, mode: Optional[int]) -> None:
    temporary = os.path.join(os.path.dirname(target), f".kache-{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _judge(document: Fields, least: float) -> int:
    """The exit code of the gate, and one line on what it found."""
    s = document["summary"]
    if not (s["warmed"] or document["timing"]["hit_time_ms"] or document["timing"]["miss_time_ms"]):
        console.note("no compile was seen: does Cargo call kache (RUSTC_WRAPPER), and is this its cache directory?")
        return BELOW
    if s["hit_rate_pct"] < least:
        console.note(f"{s['hit_rate_pct']:.1f} % came from the cache, which is less than {least:g} %")
        return BELOW
    return 0

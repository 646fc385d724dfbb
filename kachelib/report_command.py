"""``kache report`` and ``kache stats``: their options, the gate, and where the output goes.

Owns the command lines. What is counted, report.py says; how it looks, report_text.py and its siblings.
"""

import argparse
from typing import Any, Dict, List

from kachelib import console, history, report, report_text

Fields = Dict[str, Any]

FORMATS = ("text", "json", "markdown", "github")

# The exit code of --min-hit-rate.
BELOW = 3


def run_report(argv: List[str]) -> int:
    """``kache report``; returns the exit code."""
    parser = console.Parser(
        "report",
        "What happened to every compile: hits, misses with their reasons, and what was not cached.",
        "Exit codes: 0 done; 1 failed; 2 wrong use; 3 the hit rate is below --min-hit-rate.",
    )
    told = "default: text; github: Markdown with what is long folded away, for a job's summary"
    parser.add_argument("--format", choices=FORMATS, default="text", help=told)
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    gate = "exit with 3 where less than this came from the cache, or no compile was seen"
    parser.add_argument("--min-hit-rate", metavar="PCT", type=_percentage, help=gate)
    span = "only what ended within the last DUR (7d, 24h, 30m); default: all that is logged"
    parser.add_argument("--since", metavar="DUR", type=console.duration_argument, help=span)
    options = parser.parse_args(argv)
    cache_dir = console.store_directory(console.load_settings())
    document = report.build(cache_dir, options.since)
    if options.format == "json":
        console.print_json(document)
    elif options.format == "text":
        print("\n".join(report_text.lines(document)))
    else:
        from kachelib import report_markdown, why

        events = history.read(cache_dir).events
        units = [(miss["crate_name"], miss["crate_types"]) for miss in document["top_misses"]]
        reasons = [why.in_short(cache_dir, events, *unit) for unit in units]
        print("\n".join(report_markdown.lines(document, reasons, options.format == "github")))
    return 0 if options.min_hit_rate is None else _judge(document, options.min_hit_rate)


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


def _percentage(text: str) -> float:
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("give a number from 0 to 100")
    return value


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

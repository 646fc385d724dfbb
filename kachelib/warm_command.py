"""``kache save`` and ``kache warm``: taking and putting back by hand.

Owns both command lines and what is told about each package. What is kept and what goes back, take.py and warm.py
decide.
"""

import argparse
import os
import time
from typing import Any, Dict, List, Tuple

from kachelib import cargo_call, config, console, selection, take, taker, toolchain, warm, warming
from kachelib.cargo_call import Unclear
from kachelib.conditions import Here
from kachelib.config import Settings
from kachelib.key import digest_bytes
from kachelib.outcome import KacheError
from kachelib.store import Store, read_file
from kachelib.warm import Outcome

Key = Tuple[str, str]

SAVE_SECONDS = 600.0


def run_save(argv: List[str]) -> int:
    """``kache save``; returns the exit code."""
    parser = console.Parser(
        "save",
        "Keep what Cargo built in a target directory, so that a new one can be warmed with it. The helper does that\n"
        "by itself once Cargo has ended (cache.take_units); a CI job that ends at once had better say it.",
        "Exit codes: 0 done, also where nothing could be kept; 1 failed; 2 wrong use.",
    )
    _add_place(parser)
    parser.add_argument("--push", action="store_true", help="publish to the remote what was kept, for other machines")
    parser.add_json()
    options = parser.parse_args(argv)
    here = _here(options)
    if not os.path.isfile(here.call.lock_file()):
        raise KacheError(f"{here.call.lock_file()} does not exist; build first, or name --manifest-path")
    # Whoever archives the cache directory next must find it at rest.
    taker.wait_until_idle(here.settings.cache_dir)
    found = take.take(here, time.monotonic() + SAVE_SECONDS)
    refused = [
        {"unit": _name(key), "reason": why} for key, why in sorted(found.refused.items(), key=lambda each: each[0])
    ]
    pushed = ""
    if options.push:
        from kachelib import sync_command

        pushed = sync_command.push_plan_of(here)
    if options.json:
        console.print_json({"target_dir": here.call.build_dir, "kept": len(found.kept), "refused": refused})
        return 0
    print(f"kept {console.plural(len(found.kept), 'unit')} of {here.call.build_dir} ({here.call.profile})")
    if pushed:
        print(pushed)
    rows = [(row["unit"], row["reason"]) for row in refused]
    if rows:
        print("\n".join(["", *console.table(("NOT KEPT", "~WHY"), rows)]))
    return 0


def run_warm(argv: List[str]) -> int:
    """``kache warm``; returns the exit code."""
    parser = console.Parser(
        "warm",
        "Put whole units back into a new target directory, before Cargo looks. Cargo's first call in a new target\n"
        "does that by itself (cache.warm_targets).",
        "Exit codes: 0 done, also where nothing could be put back; 1 failed; 2 wrong use.",
    )
    from kachelib import sync_command

    _add_place(parser)
    sync_command.add_manifest(parser)
    parser.add_argument("--no-pull", action="store_true", help="do not ask the remote first")
    text = "say for every package whether its units come back, and if not, why; change nothing"
    parser.add_argument("--explain", "--dry-run", dest="explain", action="store_true", help=text)
    parser.add_json()
    options = parser.parse_args(argv)
    here = _here(options)
    if options.explain:
        outcome = warm.warm(here, time.monotonic() + SAVE_SECONDS, explain=True)
        if outcome.reason == warm.NO_PLAN:
            outcome.reason += _nearest(here)
    else:
        if not options.no_pull:
            from kachelib import sync

            told = sync_command.pull_first(here, sync.manifest_name(options.manifest_key, options.namespace))
            if told:
                console.note(told)
        outcome = warming.once(here, warming.Warming())
    if options.json:
        console.print_json(_document(here, outcome, options.explain))
    else:
        print("\n".join(_lines(here, outcome, options.explain)))
    return 0


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-r", "--release", action="store_true", help="the release profile; default: dev")
    parser.add_argument("--profile", metavar="P", default="", help="a profile by name")
    parser.add_argument("--target", metavar="T", action="append", default=[], help="a target triple, as for Cargo")
    parser.add_argument("--target-dir", metavar="D", default="", help="the target directory, as for Cargo")
    parser.add_argument("--manifest-path", metavar="M", default="", help="the Cargo.toml, as for Cargo")


def _here(options: argparse.Namespace) -> Here:
    settings = console.load_settings()
    words = ["build"]
    for name in ("profile", "target_dir", "manifest_path"):
        value = getattr(options, name)
        if value:
            words += ["--" + name.replace("_", "-"), value]
    for triple in options.target:
        words += ["--target", triple]
    if options.release:
        words.append("--release")
    return here_for(words, settings)


def here_for(words: List[str], settings: Settings) -> Here:
    """This place, as Cargo with these arguments would see it. Raises KacheError."""
    store = Store(console.store_directory(settings))
    environ = config.environment()
    try:
        call = cargo_call.parse(words, console.current_directory(), environ)
        cargo = toolchain.resolve("cargo", environ)
        rustc = toolchain.resolve(environ.get("RUSTC", "rustc"), environ)
        if not cargo or not rustc:
            raise KacheError("cargo and rustc are not on PATH")
        return taker.here_of(call, cargo, [rustc], settings, store)
    except Unclear as why:
        raise KacheError(f"units are neither kept nor put back here: {why}") from None


def _name(key: Key) -> str:
    triple, unit = key
    return f"{triple}/{unit}" if triple else unit


def _nearest(here: Here) -> str:
    """What differs from the place where there is a plan."""
    lock = digest_bytes(read_file(here.call.lock_file()) or b"")
    found = selection.nearest(here.store, lock, here.selection_fields())
    return f"; next to it is one where {found}" if found else ""


def _packages(here: Here, outcome: Outcome) -> List[Dict[str, Any]]:
    """Every package of the lock file with its units."""
    lock = (read_file(here.call.lock_file()) or b"").decode("utf-8", "surrogateescape")
    states: Dict[str, List[Tuple[Key, Dict[str, str]]]] = {}
    for key in outcome.back:
        states.setdefault(_package(key), []).append((key, {"unit": _name(key), "state": "back", "reason": ""}))
    for key, why in outcome.left.items():
        states.setdefault(_package(key), []).append((key, {"unit": _name(key), "state": "left out", "reason": why}))
    found = []
    for name, version, _ in cargo_call.locked_packages(lock):
        # a registry's package by its version as well; of others there is one of a name
        wanted = ("", f"{name}-{version}")
        rows = [row for key, row in states.get(name, []) if outcome.packages.get(key, "") in wanted]
        found.append({"name": name, "version": version, "units": rows})
    return found


def _package(key: Key) -> str:
    return key[1].partition("/")[0].rpartition("-")[0]


def _document(here: Here, outcome: Outcome, explained: bool) -> Dict[str, Any]:
    return {
        "target_dir": here.call.build_dir,
        "profile": here.call.profile,
        "warmed": 0 if explained else len(outcome.back),
        "units": len(outcome.back),
        "left_out": len(outcome.left),
        "files": outcome.files,
        "reason": outcome.reason,
        "packages": _packages(here, outcome),
    }


def _lines(here: Here, outcome: Outcome, explained: bool) -> List[str]:
    verb = "would put back" if explained else "put back"
    lines = [f"{verb} {console.plural(len(outcome.back), 'unit')} into {here.call.build_dir} ({here.call.profile})"]
    if outcome.reason:
        lines = [f"nothing was put back: {outcome.reason}"]
    if explained:
        rows = []
        for package in _packages(here, outcome):
            name = f"{package['name']} {package['version']}"
            left = [row for row in package["units"] if row["reason"]]
            if not package["units"]:
                rows.append((name, "-", "no snapshot"))
            elif not left:
                rows.append((name, str(len(package["units"])), ""))
            rows += [(name, "-", f"{row['unit'].rpartition('/')[2]}: {row['reason']}") for row in left]
        lines += ["", *console.table(("PACKAGE", ">UNITS", "~WHY NOT"), rows)]
    elif outcome.left:
        lines.append(f"  left out: {warming.summary(outcome)}; 'kache warm --explain' in a new target tells more")
    return lines

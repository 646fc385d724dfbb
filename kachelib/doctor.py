"""``kache doctor``: check, say, and on request mend.

Owns the command: which checks run, how findings are shown, what --fix and
--repair do. What is looked at is in checks, reach, integrity and trial.
"""

import argparse
import sys
from typing import Any, Dict, Iterator, List, Optional

from kachelib import checks, console, integrity, migrate, reach, setup, trial
from kachelib.checks import OK, PROBLEM, WARNING, Finding, Machine
from kachelib.integrity import MOST_LISTED, Verdict
from kachelib.outcome import UsageError

_MARKS = {OK: ("ok", "green"), WARNING: ("warn", "yellow"), PROBLEM: ("FAIL", "red")}


def run(argv: List[str]) -> int:
    """``kache doctor``; returns the exit code."""
    options = _options(argv)
    machine = checks.this_machine()
    done: List[str] = []
    if options.fix:
        done = fix(machine, options.purge_sccache)
        machine = checks.this_machine()
    findings = [*checks.all_findings(machine), *reach.findings(machine.settings)]
    if options.probe:
        findings.append(probe(machine))
    verdict: Optional[Verdict] = None
    if options.verify or options.checksums or options.repair:
        cache_dir = console.store_directory(machine.settings)
        verdict = integrity.verify(cache_dir, options.checksums, options.repair)
        findings += verdict_findings(verdict)
    failed = any(finding.status == PROBLEM for finding in findings)
    if options.json:
        console.print_json(_document(findings, verdict, done, failed))
    else:
        print("\n".join([*done, *_lines(findings)]))
    return 1 if failed else 0


def _options(argv: List[str]) -> argparse.Namespace:
    parser = console.Parser(
        "doctor",
        "Check this machine, the setup, the store and the remote.",
        "Exit codes: 0 all is well, warnings aside; 1 there is a problem; 2 wrong use.",
    )
    parser.add_argument(
        "--probe", action="store_true", help="compile, store and restore a small crate in a scratch cache"
    )
    parser.add_argument(
        "--fix", action="store_true", help="name kache where sccache is named; remember the interpreter"
    )
    parser.add_argument("--purge-sccache", action="store_true", help="with --fix: also delete sccache's cache")
    parser.add_argument("--verify", action="store_true", help="check that index, entries and blobs fit")
    parser.add_argument("--checksums", action="store_true", help="the same, and read and hash every blob")
    parser.add_argument("--repair", action="store_true", help="the same, drop what is broken and make the index anew")
    parser.add_json()
    options = parser.parse_args(argv)
    if options.purge_sccache and not options.fix:
        raise UsageError("doctor: --purge-sccache needs --fix")
    return options


def fix(machine: Machine, purge_sccache: bool) -> List[str]:
    """Mend the setup; returns what was done, one line each. Raises KacheError."""
    done: List[str] = []
    found = migrate.leftovers(machine.cargo_file, machine.home)
    if found:
        done += migrate.fix(found, setup.wrapper_path())
    note = setup.remember_python(machine.environ)
    if note:
        done.append(f"{note}: names {sys.executable}")
    if purge_sccache:
        directory = migrate.cache_directory(machine.environ, machine.home, sys.platform)
        freed = migrate.purge(directory, machine.environ)
        done.append(f"{directory}: {'removed, ' + console.size(freed) if freed else 'nothing there'}")
    return done


def probe(machine: Machine) -> Finding:
    """Whether this machine can cache, tried out."""
    if not machine.settings.cache_dir:
        return Finding("probe", PROBLEM, "there is no place for a store", "name one with KACHE_CACHE_DIR")
    found = trial.run(machine.environ, machine.settings.cache_dir)
    if found.passed:
        return Finding("probe", OK, f"this machine can cache: {found.message}")
    return Finding("probe", PROBLEM, found.message, "KACHE_LOG=kache=debug kache doctor --probe tells more")


def verdict_findings(verdict: Verdict) -> Iterator[Finding]:
    """What --verify found, as findings. What was repaired is no problem any more."""
    what = f"{console.plural(verdict.entries, 'entry')}, {console.plural(verdict.blobs, 'blob')}"
    if verdict.hashed_bytes:
        what += f", {console.size(verdict.hashed_bytes)} hashed"
    if verdict.problems() == 0:
        yield Finding("integrity", OK, what)
    else:
        repaired = "; all of it was dropped and will be stored anew" if verdict.repaired else ""
        status = OK if verdict.repaired else PROBLEM
        hint = "" if verdict.repaired else "kache doctor --repair drops what is broken"
        yield Finding("integrity", status, f"{what}; {console.plural(verdict.problems(), 'problem')}{repaired}", hint)
        yield from _listed(verdict)
    if verdict.strangers:
        text = (
            f"{console.plural(len(verdict.strangers), 'file')} that kache did not make, such as {verdict.strangers[0]}"
        )
        yield Finding("integrity", WARNING, text)


def _listed(verdict: Verdict) -> Iterator[Finding]:
    status = OK if verdict.repaired else PROBLEM
    kinds = (
        ("entry is damaged", verdict.broken_entries),
        ("entry names a blob that is missing or damaged", verdict.incomplete),
        ("blob has another content than its name says", verdict.damaged_blobs),
        ("", verdict.index_problems),
    )
    for text, found in kinds:
        for name in found[:MOST_LISTED]:
            yield Finding("integrity", status, f"{text}: {name}" if text else name)
        if len(found) > MOST_LISTED:
            yield Finding("integrity", status, f"and {len(found) - MOST_LISTED:,} more: {text}")


def _lines(findings: List[Finding]) -> List[str]:
    room = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        mark, style = _MARKS[finding.status]
        lines.append(f"{console.paint(mark.ljust(4), style)}  {finding.check.ljust(room)}  {finding.message}")
        if finding.hint:
            lines.append(f"{' ' * (room + 8)}-> {finding.hint}")
    problems = sum(finding.status == PROBLEM for finding in findings)
    warnings = sum(finding.status == WARNING for finding in findings)
    if problems or warnings:
        lines.append(f"{console.plural(problems, 'problem')}, {console.plural(warnings, 'warning')}")
    else:
        lines.append("all is well")
    return lines


def _document(findings: List[Finding], verdict: Optional[Verdict], done: List[str], failed: bool) -> Dict[str, Any]:
    return {
        "ok": not failed,
        "fixed": done,
        "findings": [finding._asdict() for finding in findings],
        "verify": verdict.fields() if verdict else None,
    }

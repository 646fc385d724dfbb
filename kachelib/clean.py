"""kache clean: finds target directories, shows what they take, deletes those that are wanted.

Owns the options and what is printed. Nothing is deleted but by ``-y``, or by what people choose in the selector and
confirm there.
"""

import contextlib
import os
import sys
import time
from typing import Any, Dict, Iterator, List

from kachelib import config, console, survey, target_tree
from kachelib.outcome import UsageError
from kachelib.survey import Survey, Wishes
from kachelib.target_removal import Outcome
from kachelib.target_size import PARTS, Target

PAUSE = 0.1
# A search of a whole disk passes over a lot that is not this user's.
MOST_PASSED = 20

NOT_ASKED = 2


def run(argv: List[str]) -> int:
    """``kache clean``; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.yes and options.dry_run:
        parser.error("-n and -y cannot be had together")
    settings = console.load_settings()
    wishes = Wishes(options.older_than, options.larger_than, options.incremental)
    environ = config.environment()
    closed = target_tree.closed_places(environ, settings.cache_dir, console.home())
    fences = target_tree.Fences(closed, options.cross_file_systems)
    view = Survey(_starts(options.directories), fences, settings.cache_dir)
    asks_nothing = options.yes or options.dry_run or options.json
    if not asks_nothing and sys.stdin.isatty() and sys.stdout.isatty():
        return _interactive(view, wishes)
    _look(view)
    found = view.wanted(wishes)
    if options.yes:
        return _delete(view, found, wishes, options.json)
    if options.json:
        console.print_json(_document(view, found, wishes))
        return 0
    _tell_passed(view)
    _print_table(view, found, wishes)
    if options.dry_run or not found:
        return 0
    console.note("nothing was deleted: there is no terminal to choose at; -y deletes all of these, -n only shows them")
    return NOT_ASKED


def _parser() -> console.Parser:
    parser = console.Parser(
        "clean",
        "Find Cargo's target directories below DIR (default: here), show what they take, and delete those that are\n"
        "chosen. At a terminal one chooses on a screen; elsewhere, or with -n, they are listed and nothing is deleted.",
        "Exit codes: 0 done; 1 something could not be deleted; 2 wrong use, or neither -n nor -y where there is no\n"
        "terminal to choose at; 130 stopped with Ctrl-C.",
    )
    parser.add_argument("directories", metavar="DIR", nargs="*", help="where to look")
    parser.add_argument("-n", "--dry-run", action="store_true", help="list them; delete nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="delete all that were found, without asking")
    parser.add_argument("--incremental", action="store_true", help="only the incremental directories in them")
    duration, size = console.duration_argument, console.size_argument
    parser.add_argument("--older-than", metavar="DUR", type=duration, help="only what was not used for DUR (30d, 12h)")
    parser.add_argument("--larger-than", metavar="SIZE", type=size, help="only what takes more than SIZE (500MiB)")
    parser.add_argument("--cross-file-systems", action="store_true", help="look into other file systems below DIR, too")
    parser.add_json()
    return parser


def _starts(directories: List[str]) -> List[str]:
    try:
        here = os.getcwd()
    except OSError:
        if not all(each.startswith("/") for each in directories or [""]):
            raise UsageError("clean: the current directory is gone; say where to look") from None
        here = "/"
    try:
        return survey.real(directories, here)
    except (OSError, ValueError) as error:
        place = getattr(error, "filename", "") or ""
        raise UsageError(f"clean: {place}: {getattr(error, 'strerror', None) or error}; name a directory") from None


def _look(view: Survey) -> None:
    """Run the survey to its end, with a line of progress where somebody watches."""
    live = sys.stderr.isatty()
    shown = time.monotonic()
    try:
        for _ in view.run():
            if live and time.monotonic() - shown >= PAUSE:
                shown = time.monotonic()
                _draw(f"looked into {console.plural(view.directories(), 'directory')}, found {len(view.targets)}")
    finally:
        if live:
            _draw("")


def _draw(text: str) -> None:
    sys.stderr.write("\r" + (f"kache: {text}" if text else "") + "\x1b[K")
    sys.stderr.flush()


def _interactive(view: Survey, wishes: Wishes) -> int:
    from kachelib import clean_screen

    outcomes: List[Outcome] = []
    with _told(view, outcomes):
        chosen = clean_screen.choose(view, wishes, outcomes)
    if not chosen:
        _tell_passed(view)
        print("nothing was deleted" if view.targets or not view.finished else _none(view))
        return 0
    return _tell(outcomes)


def _delete(view: Survey, found: List[Target], wishes: Wishes, as_json: bool) -> int:
    outcomes: List[Outcome] = []
    live = sys.stderr.isatty()
    shown = 0.0

    def tick(outcome: Outcome) -> None:
        nonlocal shown
        if live and time.monotonic() - shown >= PAUSE:
            shown = time.monotonic()
            _draw(f"{len(outcomes) + 1} of {len(found)}: {console.plural(outcome.files, 'file')} deleted")

    with _told(view, outcomes):
        for target in found:
            try:
                outcomes.append(view.remove(target, wishes.incremental, tick))
            finally:
                if live:
                    _draw("")
    if as_json:
        console.print_json({**_document(view, found, wishes), **_outcomes(outcomes)})
        return _code(outcomes)
    _tell_passed(view)
    if not found:
        _print_table(view, found, wishes)
    return _tell(outcomes) if found else 0


@contextlib.contextmanager
def _told(view: Survey, outcomes: List[Outcome]) -> Iterator[None]:
    """On Ctrl-C tell what is gone by then."""
    try:
        yield
    except KeyboardInterrupt:
        if outcomes:
            _tell(outcomes)
        if view.touched:
            console.note("stopped; what is left of a target directory is one, and 'kache clean' finds it again")
        raise


def _tell(outcomes: List[Outcome]) -> int:
    for outcome in outcomes:
        path = shown(outcome.path)
        if outcome.passed:
            console.note(f"{path}: {shown(outcome.passed)}; passed over")
        if outcome.note:
            console.note(f"{path}: {outcome.note}")
        for error in outcome.errors:
            console.note(f"{shown(error)}; not deleted")
        if outcome.more_errors:
            console.note(f"{path}: and {outcome.more_errors:,} more that could not be deleted")
        if outcome.gone:
            print(f"deleted {path}: {console.size(outcome.freed)}")
    what = "the incremental directories of " if any(each.incremental for each in outcomes) else ""
    count = console.plural(sum(outcome.gone for outcome in outcomes), "target directory")
    print(f"deleted {what}{count}; {console.size(sum(outcome.freed for outcome in outcomes))} freed")
    return _code(outcomes)


def _code(outcomes: List[Outcome]) -> int:
    return 1 if any(outcome.errors for outcome in outcomes) else 0


def _tell_passed(view: Survey) -> None:
    passed = view.passed()
    for path, reason in passed[:MOST_PASSED]:
        console.note(f"{shown(path)}: {shown(reason)}; passed over")
    if len(passed) > MOST_PASSED:
        console.note(f"{len(passed) - MOST_PASSED:,} more were passed over; --json names them")
    for target in view.targets:
        if target.incomplete:
            console.note(f"{shown(target.path)}: {target.incomplete:,} directories in it cannot be read; it is bigger")


def _none(view: Survey) -> str:
    places = [shown(start) for start in view.starts]
    return f"there is no target directory below {', '.join(places)}"


def _print_table(view: Survey, found: List[Target], wishes: Wishes) -> None:
    if not found:
        print(_none(view) + (" that is asked for" if view.targets else ""))
        return
    now = time.time()
    rows = []
    for target in found:
        taken = view.sum(target, wishes.incremental)
        sizes = [console.size(each) for each in taken]
        rows.append([*sizes, console.age(now - target.last_use), shown(target.path)])
    for line in console.table([">SIZE", ">FREED", ">IN STORE", ">USED", "~TARGET DIRECTORY"], rows):
        print(line)
    whole = view.total(found, wishes.incremental)
    count = console.plural(len(found), "target directory")
    print(f"{count}: {console.size(whole.size)}; deleting all of it frees {console.size(whole.freed)}")
    if not wishes.incremental:
        parts = {part: sum(target.breakdown()[part] for target in found) for part in PARTS}
        print("  " + ", ".join(f"{part} {console.size(size)}" for part, size in parts.items()))


def _document(view: Survey, found: List[Target], wishes: Wishes) -> Dict[str, Any]:
    whole = view.total(found, wishes.incremental)
    targets = []
    for target in found:
        taken = view.sum(target, wishes.incremental)
        targets.append(
            {
                "path": target.path,
                "size": taken.size,
                "freed": taken.freed,
                "in_store": taken.stored,
                "files": survey.files([target], wishes.incremental),
                "last_use": target.last_use,
                "parts": target.breakdown(),
            }
        )
    return {
        "directories": view.starts,
        "incremental_only": wishes.incremental,
        "targets": targets,
        "total": {"size": whole.size, "freed": whole.freed, "in_store": whole.stored},
        "passed_over": [{"path": path, "reason": reason} for path, reason in view.passed()],
    }


def _outcomes(outcomes: List[Outcome]) -> Dict[str, Any]:
    return {
        "deleted": [
            {"path": each.path, "freed": each.freed, "files": each.files, "note": each.note}
            for each in outcomes
            if each.gone
        ],
        "not_deleted": [
            {"path": each.path, "reason": each.passed, "errors": each.errors, "more_errors": each.more_errors}
            for each in outcomes
            if not each.gone
        ],
        "freed": sum(each.freed for each in outcomes),
    }


def shown(path: str) -> str:
    """A path for a terminal: names may hold line breaks and escape sequences."""
    if path.isprintable():
        return path
    return "".join(char if char.isprintable() or "\udc80" <= char <= "\udcff" else ascii(char)[1:-1] for char in path)

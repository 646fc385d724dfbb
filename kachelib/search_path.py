"""Where a C compiler looks for headers.

Owns the search path, asked of the compiler itself, and the memo of the answer. Cold.
"""

from __future__ import annotations

import os
import re

from kachelib import clang_files, memo
from kachelib.cc import DIALECT, KEY, Plan
from kachelib.cc_action import Action
from kachelib.clang_files import RESOURCES
from kachelib.inputs import same_place
from kachelib.roots import absolute
from kachelib.store import Store

# Variables that name more of it, and what stands between two.
VARIABLES = {"CPATH": ":", "C_INCLUDE_PATH": ":", "CPLUS_INCLUDE_PATH": ":", "INCLUDE": ";"}

MEMO_VERSION = "5"

# How Clang's -v marks one.
HEADER_MAP = " (headermap)"
FRAMEWORKS = " (framework directory)"


class SearchPath:
    """quote, angle: directories in order, as the compiler joins names to them; gone: those that are not there; twice:
    others that have to stay which they are; same: for each but ``gone``, what ``places`` says."""

    def __init__(self, quote: list[str], angle: list[str], gone: list[str], twice: list[str], same: list[str]) -> None:
        self.quote = quote
        self.angle = angle
        self.gone = gone
        self.twice = twice
        self.same = same

    def places(self, cwd: str) -> list[tuple[str, str]]:
        """All directories but those that are gone, absolute and each name once, with the first that is the same one."""
        known: dict[tuple[int, int], str] = {}
        found = {}
        for each in (*self.quote, *self.angle, *self.twice):
            place = absolute(plain(each), cwd).rstrip("/") + "/"
            if place not in found:
                found[place] = same_place(place, place, known)
        return list(found.items())

    def is_current(self, cwd: str) -> bool:
        """Whether each directory is still there, or still not, and none leads to another one than it did."""
        there = all(os.path.isdir(absolute(plain(path), cwd)) for path in (*self.quote, *self.angle))
        gone = not any(os.path.isdir(absolute(path, cwd)) for path in self.gone)
        return there and gone and self.same == [same for _, same in self.places(cwd)]


def plain(directory: str) -> str:
    """A directory without what Clang's -v says of its kind."""
    return directory[: -len(FRAMEWORKS)] if directory.endswith(FRAMEWORKS) else directory


def read(action: Action, store: Store) -> SearchPath:
    """The search path of a compile, from a memo where one holds. Raises OSError."""
    words = _words(action.plan)
    variables = [name + "=" + action.environ[name] for name in sorted(action.environ) if _counts(name)]
    compiler = action.compiler
    if action.plan.dialect == DIALECT:
        last = ["-x", _language(action), os.devnull]
    else:
        last = ["/TC" if action.plan.language == "c" else "/TP", "--", os.devnull]
    # C and C++ have their own directories, and variables that name more.
    chosen = [place + "=" + names for place, names in clang_files.chosen_from(action)]
    subject = "\n".join(
        [MEMO_VERSION, compiler.text, compiler.program, action.cwd, *words, *last, "", *variables, *chosen]
    )
    memo_path = memo.path_of(store.memo_dir(), "search", subject)
    body = memo.read(memo_path)
    if body is not None:
        known = SearchPath(*[part.split("\n") if part else [] for part in os.fsdecode(body).split("\0")])
        del known.same[:1]
        if known.is_current(action.cwd):
            return known
    # with subprocess, which only they need
    from kachelib.cc_probe import Questions

    asked = Questions(action.compiler.program, action.environ)
    answer = asked.run(["-E", "-v", *words, *last], cwd=action.cwd)
    if answer is None:
        raise OSError("%s does not say where it looks for headers" % action.compiler.program)
    found = parse(os.fsdecode(answer[1]))
    # Of two names of one directory Clang says the same one twice, and not which of them it left out.
    listed = {*found.quote, *found.angle, *found.gone, *found.twice}
    found.twice += [each for each in named(action) if each not in listed]
    found.same = [same for _, same in found.places(action.cwd)]
    parts = (found.quote, found.angle, found.gone, found.twice, ["", *found.same])
    memo.write(memo_path, os.fsencode("\0".join("\n".join(part) for part in parts)))
    return found


def named(action: Action) -> list[str]:
    """The directories that the command and the environment name."""
    found = [directory for _, directory in action.plan.search]
    found += [directory + "/include" for option, directory in action.plan.directories if option == RESOURCES]
    for name, separator in VARIABLES.items():
        found += [each or "." for each in action.environ.get(name, "").split(separator) if name in action.environ]
    return found


def _counts(name: str) -> bool:
    return name.startswith("NIX_") or name.endswith(("PATH", "INCLUDE")) or name in ("SDKROOT", "GCC_EXEC_PREFIX")


def _language(action: Action) -> str:
    """The language as the driver takes it: g++ compiles C as C++."""
    given = action.plan.language
    return "c++" if given == "c" and action.compiler.program.rstrip("-.0123456789").endswith("++") else given


def _words(plan: Plan) -> list[str]:
    """The options of a compile that may move its search path."""
    words = [word for kind, word in plan.words if kind == KEY and not word.startswith(("-W", "-O"))]
    options = {"include": "-I", "quote": "-iquote", "system": "-isystem", "after": "-idirafter"}
    if plan.dialect != DIALECT:
        options = {"include": "/I", "system": "/imsvc"}
    for kind, directory in plan.search:
        words += [options[kind], directory]
    for option, directory in plan.directories:
        words.append(option + "=" + directory if option == "--sysroot" else option)
        words += [] if option == "--sysroot" else [directory]
    return words


def parse(text: str) -> SearchPath:
    """Read what ``-v`` says (GCC's and Clang's InitHeaderSearch print the same)."""
    quote: list[str] = []
    angle: list[str] = []
    gone = re.findall(r'^ignoring nonexistent directory "(.*)"$', text, re.MULTILINE)
    twice = re.findall(r'^ignoring duplicate directory "(.*)"$', text, re.MULTILINE)
    current: list[str] | None = None
    for line in text.split("\n"):
        if line.startswith('#include "..."'):
            current = quote
        elif line.startswith("#include <...>"):
            current = angle
        elif line.startswith("End of search list"):
            current = None
        elif current is not None and line.startswith(" "):
            current.append(line[1:])
    return SearchPath(quote, angle, gone, twice, [])

"""Where a C compiler looked for headers, and did not find them.

Owns the search path, asked of the compiler itself, and the list of what must not appear: a header that stands earlier
on the path than the one that was read shadows it, and an answer of __has_include changes with it. Cold.

A name counts for every directory before the first that has it. Which directives a compile passed over is not
evaluated: what is looked for too much costs at most a compile.
"""

from __future__ import annotations

import os
import re
from typing import Iterator

from kachelib import memo
from kachelib.cc import DIALECT, KEY, Plan
from kachelib.cc_action import Action
from kachelib.cc_probe import Questions
from kachelib.cc_toolchain import GCC
from kachelib.entry import ABSENT, FILE, MISSING, Input
from kachelib.include_scan import (
    ANGLED,
    COMPUTED,
    HAS_ANGLED,
    HAS_QUOTED,
    IMPORT,
    NEXT,
    ONCE,
    QUOTED,
    WRAPPER,
    Text,
    uses,
)
from kachelib.roots import absolute
from kachelib.store import Store, digest_file, read_file

# GCC reads this before anything else, as if <…> named it.
GCC_PREAMBLE = "stdc-predef.h"

# Precompiled headers: GCC takes one for the first header of a compile, Clang for what -include names.
GCC_PRECOMPILED = (".gch",)
CLANG_PRECOMPILED = (".pch", ".gch")

MEMO_VERSION = "2"

# How Clang's -v marks one.
HEADER_MAP = " (headermap)"

# More than this is a search that is dearer than a compile.
MOST_NAMES = 60_000


class Unclear(Exception):
    """What must not appear cannot be listed; the text says why."""


class SearchPath:
    """quote, angle: directories in order, as the compiler joins names to them; gone: those that are not there; twice:
    those that are another one of the list by another name."""

    def __init__(self, quote: list[str], angle: list[str], gone: list[str], twice: list[str]) -> None:
        self.quote = quote
        self.angle = angle
        self.gone = gone
        self.twice = twice

    def is_current(self, cwd: str) -> bool:
        """Whether each directory is still there, or still not."""
        there = all(os.path.isdir(absolute(path, cwd)) for path in (*self.quote, *self.angle))
        return there and not any(os.path.isdir(absolute(path, cwd)) for path in self.gone)


def search_path(action: Action, store: Store) -> SearchPath:
    """The search path of a compile, from a memo where one holds. Raises OSError."""
    words = search_words(action.plan)
    variables = [name + "=" + action.environ[name] for name in sorted(action.environ) if _counts(name)]
    compiler = action.compiler
    subject = "\n".join([MEMO_VERSION, compiler.text, compiler.program, action.cwd, *words, "", *variables])
    memo_path = memo.path_of(store.memo_dir(), "search", subject)
    body = memo.read(memo_path)
    if body is not None:
        known = SearchPath(*[part.split("\n") if part else [] for part in os.fsdecode(body).split("\0")])
        if known.is_current(action.cwd):
            return known
    asked = Questions(action.compiler.program, action.environ)
    if action.plan.dialect == DIALECT:
        last = ["-x", language(action), os.devnull]
    else:
        last = ["/TC" if action.plan.language == "c" else "/TP", "--", os.devnull]
    answer = asked.run(["-E", "-v", *words, *last], cwd=action.cwd)
    if answer is None:
        raise OSError("%s does not say where it looks for headers" % action.compiler.program)
    found = parse(os.fsdecode(answer[1]))
    parts = (found.quote, found.angle, found.gone, found.twice)
    memo.write(memo_path, os.fsencode("\0".join("\n".join(part) for part in parts)))
    return found


def _counts(name: str) -> bool:
    return name.startswith("NIX_") or name.endswith(("PATH", "INCLUDE")) or name in ("SDKROOT", "GCC_EXEC_PREFIX")


def language(action: Action) -> str:
    """The language as the driver takes it: g++ compiles C as C++."""
    given = action.plan.language
    return "c++" if given == "c" and action.compiler.program.rstrip("-.0123456789").endswith("++") else given


def search_words(plan: Plan) -> list[str]:
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
    return SearchPath(quote, angle, gone, twice)


class Missing:
    """The names that must not appear, by directory, and the files whose presence was asked for."""

    def __init__(self, action: Action, path: SearchPath, started_ns: int) -> None:
        self.action = action
        self.path = path
        self.started_ns = started_ns
        self.names: dict[str, set[str]] = {}
        self.asked: set[str] = set()
        self.count = 0
        self.known: dict[str, tuple[int, int] | None] = {}
        # Files that are included once, by size: what is the same as one of them is not included, and no depfile tells.
        self.once: dict[int, list[str]] = {}
        # Where clang-cl looks besides for "name": beside each file on the way to the one that names it.
        self.beside: list[str] = []

    def identity(self, path: str) -> tuple[int, int] | None:
        """What tells the file at ``path`` (absolute) from others; None where a compiler finds none."""
        if path not in self.known:
            try:
                state = os.stat(path)
            except (OSError, ValueError):
                self.known[path] = None
                return None
            if state.st_mode & 0o170000 == 0o040000:
                self.known[path] = None
                return None
            if state.st_ctime_ns >= self.started_ns:
                # Was it there when the compiler looked?
                raise Unclear("%s appeared during the compile" % path)
            self.known[path] = (state.st_dev, state.st_ino)
        return self.known[path]

    def add(self, path: str) -> None:
        """``path`` (absolute) must not appear."""
        directory, _, name = path.rpartition("/")
        found = self.names.setdefault(directory, set())
        if name and name not in found:
            found.add(name)
            self.count += 1
            if self.count > MOST_NAMES:
                raise Unclear("headers are looked for in too many places")

    def places(self, how: str, name: str, includer: str) -> Iterator[str]:
        """Where ``name`` is looked for, in order. includer: the directory of the file that names it, as it is named."""
        if name.startswith("/"):
            yield name
            return
        if how in (QUOTED, HAS_QUOTED):
            yield _join(includer, name, self.action.cwd)
            for directory in self.path.quote:
                yield _join(directory, name, self.action.cwd)
        for directory in self.path.angle:
            yield _join(directory, name, self.action.cwd)

    def look(self, how: str, name: str, includer: str, read: set[tuple[int, int]]) -> None:
        """Note what stood before the header that ``name`` led to. read: the files that the compile read."""
        before: list[str] = []
        if self._is_beside(how, name, read):
            return
        for place in self.places(how, name, includer):
            found = self.identity(place)
            if found is None:
                before.append(place)
            elif how != NEXT:
                if how in (HAS_QUOTED, HAS_ANGLED) and found not in read:
                    self.asked.add(place)
                self.check_once(place)
                if found in read or how in (HAS_QUOTED, HAS_ANGLED):
                    break
                # In a branch that was not taken: nothing hangs on it.
                return
        else:
            if how in (QUOTED, ANGLED):
                # Nowhere to be found, and yet the compile went well: nothing hangs on it either.
                return
        for place in before:
            self.add(place)


    def check_once(self, place: str) -> None:
        """Raise Unclear for the same content as that of a file which is included once, under another name: GCC compares
        contents and times, Clang inodes, and neither is in an entry."""
        size = os.stat(place).st_size if self.once else -1
        for path in self.once.get(size, ()):
            if path == place or os.path.realpath(path) == os.path.realpath(place):
                continue
            if read_file(path) == read_file(place):
                raise Unclear("%s is the same as %s, which is included once" % (place, path))

    def _is_beside(self, how: str, name: str, read: set[tuple[int, int]]) -> bool:
        """Whether a file that was read is beside another one under that name; where there is none, none must be."""
        if how not in (QUOTED, HAS_QUOTED) or name.startswith("/"):
            return False
        places = [_join(directory, name, self.action.cwd) for directory in self.beside]
        for place in places:
            if self.identity(place) is None:
                self.add(place)
        return any(self.identity(place) in read for place in places)


def _join(directory: str, name: str, cwd: str) -> str:
    return absolute(directory + "/" + name if directory else name, cwd)


def missing(
    action: Action, names: list[str], texts: dict[str, Text], started_ns: int, store: Store
) -> list[Input]:
    """The inputs that say what must not appear, and files of which only the presence counted.

    names: the files that were read, as the compiler names them, the source first; texts: what each says; started_ns:
    when reading began. Raises OSError, Unclear.
    """
    found = Missing(action, search_path(action, store), started_ns)
    _check_kinds(found.path)
    _check_twice(action, found.path)
    found.once = _once(action, names, texts)
    read = {state for state in (found.identity(absolute(name, action.cwd)) for name in names) if state}
    if action.plan.dialect != DIALECT:
        found.beside = sorted({name.rpartition("/")[0] for name in names})
    for path in action.plan.forced:
        found.look(QUOTED, path, "", read)
    if action.compiler.family == GCC:
        found.look(ANGLED, GCC_PREAMBLE, "", read)
    for name in names:
        text = texts[name]
        includer = name.rpartition("/")[0]
        for how, header in text.headers:
            if how != WRAPPER:
                found.look(how, header, includer, read)
        if COMPUTED in text.traits:
            for header in _possible(names, found.path, includer):
                found.look(QUOTED, header, includer, read)
    wrappers = {name for text in texts.values() for how, name in text.headers if how == WRAPPER}
    for name in names if wrappers else ():
        asked = uses(read_file(absolute(name, action.cwd)) or b"", wrappers)
        if asked is None:
            raise Unclear("__has_include of a macro in %s" % name)
        for how, header in asked:
            found.look(how, header, name.rpartition("/")[0], read)
    _add_precompiled(action, names, found)
    inputs = [Input(ABSENT, action.roots.normalise(absolute(path, action.cwd)), "") for path in found.path.gone]
    for directory in sorted(found.names):
        listed = "/".join(sorted(found.names[directory]))
        inputs.append(Input(MISSING, action.roots.normalise(directory), listed))
    for place in sorted(found.asked):
        inputs.append(Input(FILE, action.roots.normalise(place), digest_file(place)))
    return inputs


def _check_kinds(path: SearchPath) -> None:
    """Raise Unclear where what is searched is a map of headers (Clang's .hmap), which is in no depfile."""
    for each in (*path.quote, *path.angle):
        if each.endswith(HEADER_MAP):
            raise Unclear("%s is searched" % each)


def _check_twice(action: Action, path: SearchPath) -> None:
    """Raise Unclear where a directory of the search path is another one of it by a link: the compiler passes over the
    second, until the link leads elsewhere."""
    kept = [absolute(each, action.cwd).rstrip("/") for each in (*path.quote, *path.angle)]
    for each in path.twice:
        place = absolute(each, action.cwd).rstrip("/")
        real = os.path.realpath(place)
        same = [other for other in kept if os.path.realpath(other) == real]
        if place not in kept and any(os.path.normpath(name) != real for name in (place, *same)):
            raise Unclear("%s is another directory of headers by a link" % each)


def _once(action: Action, names: list[str], texts: dict[str, Text]) -> dict[int, list[str]]:
    """The files that are included once, by size. Raises Unclear where two are the same."""
    everything = any(IMPORT in text.traits for text in texts.values())
    found: dict[int, list[str]] = {}
    for name in names:
        if everything or ONCE in texts[name].traits:
            path = absolute(name, action.cwd)
            found.setdefault(os.stat(path).st_size, []).append(path)
    for paths in found.values():
        contents = [read_file(path) for path in paths] if len(paths) > 1 else []
        if len(set(contents)) < len(contents):
            raise Unclear("two files are the same, and included once: %s" % ", ".join(paths[:3]))
    return found


def _possible(names: list[str], path: SearchPath, includer: str) -> Iterator[str]:
    """Every way in which a macro may have named one of the files that were read."""
    for name in names[1:]:
        for directory in (includer, *path.quote, *path.angle):
            if name.startswith(directory + "/"):
                yield name[len(directory) + 1 :]
        if not name.startswith("/"):
            yield name


def _add_precompiled(action: Action, names: list[str], found: Missing) -> None:
    gcc = action.compiler.family == GCC
    for name in names[1:] if gcc else [name for name in names if name in action.plan.forced]:
        for ending in GCC_PRECOMPILED if gcc else CLANG_PRECOMPILED:
            path = absolute(name, action.cwd) + ending
            if os.path.exists(path):
                # It stands for whatever the header was when it was made.
                raise Unclear("%s stands beside it" % path)
            found.add(path)

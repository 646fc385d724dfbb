"""Where a C compiler looked for headers, and did not find them.

Owns the list of what must not appear: a header that stands earlier on the search path than the one that was read
shadows it, and an answer of __has_include changes with it. Cold.

A name counts for every directory before the first that has it. Which directives a compile passed over is not
evaluated: what is looked for too much costs at most a compile.
"""

from __future__ import annotations

import os
import re

from kachelib import cc_compile, clang_files, search_path
from kachelib.cc import DIALECT
from kachelib.cc_action import Action
from kachelib.cc_toolchain import CLANG, GCC
from kachelib.entry import ABSENT, FILE, LINK, MISSING, NOWHERE, PLACE, Input
from kachelib.include_scan import (
    ANGLED,
    COMPUTED,
    COMPUTED_NEXT,
    HAS_ANGLED,
    HAS_QUOTED,
    IMPORT,
    NEXT_ANGLED,
    NEXT_QUOTED,
    ONCE,
    ONCE_BY_MACRO,
    QUOTED,
    WRAPPER,
    Text,
    uses,
)
from kachelib.roots import absolute
from kachelib.search_path import FRAMEWORKS, HEADER_MAP, SearchPath
from kachelib.store import Store, digest_file, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

# GCC reads this before anything else, as if <…> named it.
GCC_PREAMBLE = "stdc-predef.h"

# Precompiled headers: GCC takes one for the first header of a compile, Clang for what -include names.
GCC_PRECOMPILED = (".gch",)
CLANG_PRECOMPILED = (".pch", ".gch")

# Clang as Microsoft's compiler, which looks for headers beside all files on the way.
MICROSOFT = re.compile("-fms-compatibility|(?<!un)win|msvc")

# What is looked for beside the file that names it; #include_next too, in a source and in what was found that way.
BESIDE = (QUOTED, HAS_QUOTED, NEXT_QUOTED)
NEXT = (NEXT_QUOTED, NEXT_ANGLED)

# How GCC's -dI prints a directive.
PRINTED = rb'(?m)^#(include_next|include|import) (?:"([^"\n]+)"|<([^>\n]+)>)'

# More than this is a search that is dearer than a compile.
MOST_NAMES = 60_000


class Unclear(Exception):
    """What must not appear cannot be listed; the text says why."""


class Missing:
    """The names that must not appear, by directory, and the files whose presence was asked for.

    read: the names of the files that the compile read, as the compiler has them.
    """

    def __init__(self, action: Action, path: SearchPath, started_ns: int, read: list[str]) -> None:
        self.action = action
        self.path = path
        self.started_ns = started_ns
        self.names: dict[str, set[str]] = {}
        self.asked: set[str] = set()
        # other names of what was read
        self.links: set[str] = set()
        # what was read and a directive that spells it out led to
        self.reached: set[tuple[int, int]] = set()
        self.count = 0
        self.known: dict[str, tuple[int, int] | None] = {}
        self.directories: dict[str, tuple[int, int] | None] = {}
        self.linked: dict[str, list[str]] = {}
        # Files that are included once, by size: what is the same as one of them is not included, and no depfile tells.
        self.once: dict[int, list[str]] = {}
        # Where clang-cl looks besides for "name": beside each file on the way to the one that names it.
        self.beside: list[str] = []
        self.read: dict[tuple[int, int], list[str]] = {}
        for path_read in (absolute(name, action.cwd) for name in read):
            state = self.identity(path_read)
            if state:
                self.read.setdefault(state, []).append(path_read)

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

    def directory(self, path: str) -> tuple[int, int] | None:
        """What tells what is at ``path`` (absolute), a directory or not, from others; None where nothing is."""
        if path not in self.directories:
            try:
                state = os.stat(path or "/")
                self.directories[path] = (state.st_dev, state.st_ino)
            except OSError:
                self.directories[path] = None
        return self.directories[path]

    def links_in(self, directory: str) -> list[str]:
        """The names of links in a directory (absolute)."""
        if directory not in self.linked:
            try:
                with os.scandir(directory) as entries:
                    self.linked[directory] = [entry.name for entry in entries if entry.is_symlink()]
            except OSError:
                self.linked[directory] = []
        return self.linked[directory]

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
        if how in BESIDE:
            yield _join(includer, name, self.action.cwd)
        if how in (*BESIDE, NEXT_ANGLED):
            for directory in self.path.quote:
                yield _join(directory, name, self.action.cwd)
        for directory in self.path.angle:
            if not directory.endswith(FRAMEWORKS):
                yield _join(directory, name, self.action.cwd)
            elif "/" in name:
                framework, _, header = name.partition("/")
                for kind in ("Headers", "PrivateHeaders"):
                    place = "%s/%s.framework/%s/%s" % (search_path.plain(directory), framework, kind, header)
                    yield absolute(place, self.action.cwd)

    def look(self, how: str, name: str, includer: str) -> None:
        """Note what stood before the header that ``name`` led to."""
        before: list[str] = []
        if "\\" in name:
            # Microsoft's way to write a slash, which Clang takes for one where it is like that compiler.
            self.look(how, name.replace("\\", "/"), includer)
        self._look_beside(how, name)
        for place in self.places(how, name, includer):
            found = self.identity(place)
            if found is None:
                before.append(place)
                continue
            if found in self.read:
                self.lead(place, self.read[found])
            elif how in (HAS_QUOTED, HAS_ANGLED, *NEXT):
                self.asked.add(place)
            self.check_once(place)
            self.check_precompiled(place)
            if how in NEXT:
                continue
            if found in self.read and how in (QUOTED, ANGLED):
                self.reached.add(found)
            if found in self.read or how in (HAS_QUOTED, HAS_ANGLED):
                break
            # In a branch that was not taken: nothing hangs on it.
            return
        else:
            if how in (QUOTED, ANGLED):
                # Nowhere to be found, and yet the compile went well: nothing hangs on it either.
                return
        for place in before:
            self.add(place)

    def lead(self, place: str, names: list[str]) -> None:
        """Note how ``place`` leads to a file that was read by other ``names``: GCC calls a header of the system by the
        name that links lead to, where that is shorter."""
        if place in names or any(self.is_beside_itself(place, name) for name in names):
            return
        (self.links if os.path.realpath(place) in names else self.asked).add(place)

    def is_beside_itself(self, one: str, other: str) -> bool:
        """Whether these are one name in one directory that has two; that it is one has to stay so."""
        (directory, _, name), (other_directory, _, other_name) = one.rpartition("/"), other.rpartition("/")
        if name != other_name or self.directory(directory) != self.directory(other_directory):
            return False
        places = (directory or "/", other_directory or "/")
        self.path.twice += [each for each in places if each not in self.path.twice]
        return True

    def check_once(self, place: str) -> None:
        """Raise Unclear for the same content as that of a file which is included once, under another name: GCC compares
        contents and times, Clang inodes, and neither is in an entry. In one directory of two names it is one file, as
        long as that is one."""
        size = os.stat(place).st_size if self.once else -1
        for path in self.once.get(size, ()):
            if path != place and not self.is_beside_itself(path, place) and read_file(path) == read_file(place):
                raise Unclear("%s is the same as %s, which is included once" % (place, path))

    def check_precompiled(self, place: str) -> None:
        """Raise Unclear where GCC has a precompiled header for the one at ``place``: then no depfile names either."""
        if self.action.compiler.family == GCC and os.path.exists(place + GCC_PRECOMPILED[0]):
            raise Unclear("%s has a precompiled header beside it" % place)

    def _look_beside(self, how: str, name: str) -> None:
        """Note what is beside the files on the way under that name, and where nothing must be. Whether the compiler
        looks there is not certain, so the search path counts all the same."""
        if how not in BESIDE or name.startswith("/"):
            return
        for place in [_join(directory, name, self.action.cwd) for directory in self.beside]:
            found = self.identity(place)
            if found is None:
                self.add(place)
            elif found in self.read:
                self.lead(place, self.read[found])


def _join(directory: str, name: str, cwd: str) -> str:
    return absolute(directory + "/" + name if directory else name, cwd)


def missing(
    action: Action, names: list[str], texts: dict[str, Text], started_ns: int, store: Store
) -> list[Input]:
    """The inputs that say what must not appear, and files of which only the presence counted.

    names: the files that were read, as the compiler names them, the source first; texts: what each says; started_ns:
    when reading began. Raises OSError, Unclear.
    """
    found = Missing(action, search_path.read(action, store), started_ns, names)
    _check_kinds(found.path)
    _check_directories(action)
    _note_once(found, names, texts)
    microsoft = action.plan.dialect != DIALECT or any(MICROSOFT.search(word) for _, word in action.plan.words)
    if microsoft and action.compiler.family == CLANG:
        found.beside = sorted({name.rpartition("/")[0] for name in names})
    for path in action.plan.forced:
        found.look(QUOTED, path, "")
    if action.compiler.family == GCC:
        found.look(ANGLED, GCC_PREAMBLE, "")
    everywhere = sorted({name.rpartition("/")[0] for name in names})
    for name in names:
        for how, header in texts[name].headers:
            # A macro asks from where it stands, not from where it was defined.
            for includer in everywhere if how in (HAS_QUOTED, NEXT_QUOTED) else (name.rpartition("/")[0],):
                if how != WRAPPER:
                    found.look(how, header, includer)
    for trait, way in ((COMPUTED, QUOTED), (COMPUTED_NEXT, NEXT_QUOTED)):
        for includer in sorted({name.rpartition("/")[0] for name in names if trait in texts[name].traits}):
            _look_for_computed(found, names, includer, way)
    _look_for_skipped(found, names, texts, store)
    wrappers = {name for text in texts.values() for how, name in text.headers if how == WRAPPER}
    for _, word in action.plan.words:
        if any(re.search(r"\b%s\b" % name, word.partition("=")[2]) for name in wrappers):
            raise Unclear("__has_include by a macro in %s" % word.partition("=")[0])
    for name in names if wrappers else ():
        asked = uses(read_file(absolute(name, action.cwd)) or b"", wrappers)
        if asked is None:
            raise Unclear("__has_include of a macro in %s" % name)
        for how, header in asked:
            for includer in everywhere:
                found.look(how, header, includer)
                # It may be one of __has_include_next.
                found.look(NEXT_QUOTED if how == HAS_QUOTED else NEXT_ANGLED, header, includer)
    _add_precompiled(action, names, found)
    inputs = [Input(ABSENT, action.roots.normalise(absolute(path, action.cwd)), "") for path in found.path.gone]
    inputs += clang_files.inputs(action, found.path.angle)
    for place, same in found.path.places(action.cwd):
        said = action.roots.normalise(same) if same not in ("", NOWHERE) else same
        inputs.append(Input(PLACE, action.roots.normalise(place), said))
    for directory in sorted(found.names):
        listed = "/".join(sorted(found.names[directory]))
        inputs.append(Input(MISSING, action.roots.normalise(directory), listed))
    for place in sorted(found.links):
        target = action.roots.normalise(os.path.realpath(place))
        inputs.append(Input(LINK, action.roots.normalise(place), target))
    for place in sorted(found.asked):
        inputs.append(Input(FILE, action.roots.normalise(place), digest_file(place)))
    return inputs


def _check_kinds(path: SearchPath) -> None:
    """Raise Unclear where what is searched is a map of headers (Clang's .hmap), which is in no depfile."""
    for each in (*path.quote, *path.angle):
        if each.endswith(HEADER_MAP):
            raise Unclear("%s is searched" % each)


def _check_directories(action: Action) -> None:
    """Raise Unclear where a file stands for a directory of headers: it is passed over until it is one."""
    for directory in search_path.named(action):
        place = absolute(directory, action.cwd)
        if os.path.exists(place) and not os.path.isdir(place):
            raise Unclear("%s is no directory" % directory)


def _note_once(found: Missing, names: list[str], texts: dict[str, Text]) -> None:
    """Note the files that are included once. Raises Unclear where two are the same."""
    if found.action.compiler.family == CLANG:
        # It takes two names of one file for that file, and looks for what it names in one of the two places. Equal ones
        # are two files to it, as long as they are (ALONE).
        for one, *others in found.read.values():
            for other in others:
                if not found.is_beside_itself(one, other):
                    raise Unclear("%s is another name of %s" % (other, one))
        return
    everything = any(text.traits & {IMPORT, ONCE_BY_MACRO} for text in texts.values())
    for name in names:
        if everything or ONCE in texts[name].traits:
            path = absolute(name, found.action.cwd)
            found.check_once(path)
            found.once.setdefault(os.stat(path).st_size, []).append(path)


def _look_for_computed(found: Missing, names: list[str], includer: str, way: str) -> None:
    """Look for every file that was read by all names that a macro may have for it, seen from ``includer``.

    Compilers write paths in their own way, so a directory is known by what it is, not by its name. Raises Unclear for a
    file that lies in none that is searched, and that no directive names.
    """
    cwd = found.action.cwd
    tops: dict[tuple[int, int] | None, set[str]] = {}
    for place in {absolute(place, cwd) for place in (includer, *found.path.quote, *found.path.angle)}:
        tops.setdefault(found.directory(place), set()).add("")
        if found.action.compiler.family == GCC:
            # It may call a header by the name that a link leads to.
            for link in found.links_in(place):
                tops.setdefault(found.directory(place + "/" + link), set()).add(link)
    tops.pop(None, None)
    for name in names[1:]:
        path = absolute(name, cwd)
        headers = set() if name.startswith("/") else {name}
        for end in [index for index, letter in enumerate(path) if letter == "/"] + [len(path)]:
            headers.update((top + path[end:]).lstrip("/") for top in tops.get(found.directory(path[:end]), ()))
        if not headers and found.identity(path) not in found.reached:
            raise Unclear("#include of a macro, which may name %s" % name)
        for header in sorted(headers):
            found.look(way, header, includer)


def _look_for_skipped(found: Missing, names: list[str], texts: dict[str, Text], store: Store) -> None:
    """Look for the headers that macros name: GCC passes over one that is the same as a file which is included once, and
    no depfile tells. Raises Unclear."""
    includers = sorted({name.rpartition("/")[0] for name in names if COMPUTED in texts[name].traits})
    if not includers or not found.once:
        return
    said = cc_compile.directives(found.action, store)
    if said is None:
        raise Unclear("#include of a macro, and the preprocessor does not say of what")
    for kind, quoted, angled in dict.fromkeys(re.findall(PRINTED, said)):
        ways = (NEXT_QUOTED, NEXT_ANGLED) if kind == b"include_next" else (QUOTED, ANGLED)
        for includer in includers if quoted else includers[:1]:
            found.look(ways[not quoted], os.fsdecode(quoted or angled), includer)


def _add_precompiled(action: Action, names: list[str], found: Missing) -> None:
    gcc = action.compiler.family == GCC
    for name in names[1:] if gcc else action.plan.forced:
        for ending in GCC_PRECOMPILED if gcc else CLANG_PRECOMPILED:
            path = absolute(name, action.cwd) + ending
            if os.path.exists(path):
                # It stands for whatever the header was when it was made.
                raise Unclear("%s stands beside it" % path)
            found.add(path)
    for directory, missing in found.names.items() if gcc else ():
        # GCC takes name.gch where there is no name as well; inputs.py looks for it as for the name.
        there = set(os.listdir(directory)) if os.path.isdir(directory) else set()
        if any(name + ending in there for name in missing for ending in GCC_PRECOMPILED):
            raise Unclear("a precompiled header stands for one that is looked for in %s" % directory)

"""The .rlib as an archive: which members rustc did not compile itself.

Cold. Owns the ``ar`` format as far as names go: a magic line, then members,
each with a header of 60 bytes: name (16), times and modes, size (10) at
offset 48; data padded to even length. A name "/N" stands at offset N of the
member "//"; BSD's "#1/N" puts N bytes of name before the data.
"""

import posix

from kachelib import memo
from kachelib.entry import ABSENT, FILE, Input
from kachelib.roots import absolute, exists
from kachelib.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Set, Tuple

    from kachelib.action import Action
    from kachelib.collect import Collected
    from kachelib.entry import Candidate
    from kachelib.store import Store

MAGIC = b"!<arch>\n"
HEADER = 60

# Members that are rustc's own, whatever the crate.
TABLES = ("/", "//", "/SYM64/", "__.SYMDEF", "__.SYMDEF SORTED")
OWN_NAMES = ("lib.rmeta", "lib.rmeta-link", "rust.metadata.bin")
OWN_SUFFIXES = (".rcgu.o", ".rcgu.bc")


def check(action: "Action", collected: "Collected", candidate: "Candidate", store: "Store") -> None:
    """Account for every native object inside the .rlib. Raises NotStored, OSError, ValueError.

    A library that ``-l static`` names is in the action key. One that only a
    ``#[link(kind = "static")]`` in the sources names is looked for by the names
    that stand there, and recorded as an input. What is in neither came from
    elsewhere.
    """
    from kachelib.collect import NotStored

    foreign: "Set[str]" = set()
    for path, output in collected.files:
        if output.name.endswith(".rlib"):
            foreign |= {name for name in members(path) if not _is_own(name, action)}
    # In a static library lie all of the toolchain's objects as well: what is the crate's own, no name tells.
    whole = "staticlib" in action.plan.crate_types
    if not foreign and not whole:
        return
    from kachelib.action import find_archive

    names, unclear = _names_in_sources(action, candidate)
    if whole and unclear:
        raise NotStored("a library is linked by a name that the sources do not spell out")
    known: "Set[str]" = set()
    for value in action.plan.native_libraries:
        kind, _, name = value.partition("=")
        if kind.partition(":")[0] == "static":
            known |= _members_of(find_archive(action, name.rpartition(":")[2], "+verbatim" in kind))
    for name in names:
        path = find_archive(action, name)
        if not path:
            raise NotStored("static library %s was not found exactly once" % name)
        known |= _members_of(path)
        candidate.inputs.append(Input(FILE, action.roots.normalise(path), memo.file_digest(path, store)))
        for absent in _places_without(name, action):
            candidate.inputs.append(Input(ABSENT, action.roots.normalise(absent), ""))
    if foreign - known:
        raise NotStored("the library contains native objects of unknown origin: %s" % min(foreign - known))


def _is_own(name: str, action: "Action") -> bool:
    """Whether a member is what rustc made of this crate."""
    own = name.endswith(OWN_SUFFIXES) and name.startswith(action.plan.output_stem() + ".")
    return own or name in OWN_NAMES or name in TABLES


def _places_without(name: str, action: "Action") -> "List[str]":
    """Where a library of that name is not, but would be found if it appeared."""
    found = []
    for kind, path in action.plan.library_paths:
        if kind in ("native", "all"):
            for file in ("lib" + name + ".a", name + ".lib"):
                place = absolute(path, action.cwd) + "/" + file
                if not exists(place):
                    found.append(place)
    return found


def _members_of(path: str) -> "Set[str]":
    """What of an archive may stand in a library: its members, or itself. Raises OSError, ValueError."""
    return {*members(path), path.rpartition("/")[2]} if path else set()


def members(path: str) -> "List[str]":
    """The names of an archive's members. Raises OSError, ValueError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        if posix.read(fd, len(MAGIC)) != MAGIC:
            raise ValueError("not an archive: " + path)
        names: "List[str]" = []
        long_names = b""
        offset = len(MAGIC)
        while True:
            header = posix.pread(fd, HEADER, offset)
            if len(header) < HEADER:
                return names
            name = header[:16].rstrip()
            if not header[48:58].rstrip().isdigit():
                raise ValueError("a member without a size: " + path)
            size = int(header[48:58])
            if name == b"//":
                long_names = posix.pread(fd, size, offset + HEADER)
            elif name.startswith(b"#1/"):
                name = posix.pread(fd, int(name[3:]), offset + HEADER).rstrip(b"\0")
            elif name[:1] == b"/" and name[1:].isdigit():
                name = long_names[int(name[1:]) :].partition(b"\n")[0].rstrip(b"/")
            elif name not in (b"/", b"/SYM64/"):
                name = name.rstrip(b"/")
            names.append(name.decode("utf-8", "surrogateescape"))
            offset += HEADER + size + (size & 1)
    finally:
        posix.close(fd)


def _names_in_sources(action: "Action", candidate: "Candidate") -> "Tuple[List[str], bool]":
    """(the libraries that ``#[link(kind = "static")]`` attributes name; whether one does not spell them out)."""
    import re

    attribute = re.compile(rb"\blink\s*\(([^)]*)\)")
    kind = re.compile(rb"kind\s*=\s*\"static")
    name = re.compile(rb"name\s*=\s*\"([^\"]+)\"")
    found: "Set[str]" = set()
    unclear = False
    for item in candidate.inputs:
        # an included file may have any name
        text = read_file(absolute(action.roots.localise(item.path), action.cwd)) or b""
        for match in attribute.finditer(text):
            names = name.findall(match[1])
            if kind.search(match[1]):
                found.update(each.decode("utf-8", "surrogateescape") for each in names)
            unclear = unclear or not names or (b"kind" in match[1] and not re.search(rb"kind\s*=\s*\"", match[1]))
    return sorted(found), unclear

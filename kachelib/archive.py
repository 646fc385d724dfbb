"""The .rlib as an archive: which members rustc did not compile itself.

Cold. Owns the ``ar`` format as far as names go: a magic line, then members,
each with a header of 60 bytes: name (16), times and modes, size (10) at
offset 48; data padded to even length. A name "/N" stands at offset N of the
member "//"; BSD's "#1/N" puts N bytes of name before the data.
"""

import posix

from kachelib import memo
from kachelib.entry import FILE, Input
from kachelib.roots import absolute
from kachelib.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Set

    from kachelib.action import Action
    from kachelib.collect import Collected
    from kachelib.entry import Candidate
    from kachelib.store import Store

MAGIC = b"!<arch>\n"
HEADER = 60

# Members that are rustc's own, whatever the crate.
TABLES = ("/", "//", "/SYM64/", "__.SYMDEF", "__.SYMDEF SORTED")
OWN_SUFFIXES = (".rcgu.o", ".rmeta", ".rmeta-link", ".rcgu.bc", "rust.metadata.bin")


def check(action: "Action", collected: "Collected", candidate: "Candidate", store: "Store") -> None:
    """Account for every native object inside the .rlib. Raises NotStored, OSError.

    A library that ``-l static`` names is in the action key. One that only a
    ``#[link(kind = "static")]`` in the sources names is looked for by the names
    that stand there, and recorded as an input.
    """
    from kachelib.collect import NotStored

    foreign: "Set[str]" = set()
    for path, output in collected.files:
        if output.name.endswith(".rlib"):
            foreign |= {name for name in members(path) if not name.endswith(OWN_SUFFIXES) and name not in TABLES}
    # In a static library lie all of the toolchain's objects as well: what is the crate's own, no name tells.
    if not foreign and "staticlib" not in action.plan.crate_types:
        return
    from kachelib.action import find_archive

    names = _names_in_sources(action, candidate)
    if not names and not foreign:
        return
    if not names and any(value.startswith("static") for value in action.plan.native_libraries):
        return
    if not names:
        raise NotStored("the library contains native objects of unknown origin")
    for name in names:
        path = find_archive(action, name)
        if not path:
            raise NotStored("static library %s was not found exactly once" % name)
        candidate.inputs.append(Input(FILE, action.roots.normalise(path), memo.file_digest(path, store)))


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


def _names_in_sources(action: "Action", candidate: "Candidate") -> "List[str]":
    """The libraries that ``#[link(... kind = "static" ...)]`` attributes name."""
    import re

    attribute = re.compile(rb"link\s*\(([^)]*kind\s*=\s*\"static[^)]*)\)")
    name = re.compile(rb"name\s*=\s*\"([^\"]+)\"")
    found: "Set[str]" = set()
    for item in candidate.inputs:
        path = action.roots.localise(item.path)
        if path.endswith(".rs"):
            for match in attribute.finditer(read_file(absolute(path, action.cwd)) or b""):
                found.update(each.decode("utf-8", "surrogateescape") for each in name.findall(match[1]))
    return sorted(found)

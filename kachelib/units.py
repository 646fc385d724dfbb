"""Snapshots of Cargo units, and the plans that name them.

Owns their bytes and where they lie below the cache directory. Knows placeholders; not how a snapshot is taken from a
target directory (take.py), nor when it may go back (warm.py).

    units/ab/<blake3 of the file>    a snapshot: a unit as it was kept; never changes
    plans/ab/<selection>-<lock>      a plan: the snapshots that one Cargo.lock needs; mtime is its last use

Grammar (version 1; numbers are ASCII decimal, digests 64 hex digits):

    snapshot  = "kache-unit 1" LF head LF text { content }
    head      = length of text { SP length of a content }
    text      = list of fields, joined by NUL:
                triple directory name hash package generation action_key flags
                n { triple directory/name generation }      what it was built against
                n { kind name value }                       requirements, see Requirement
                n { root value }                            bindings: contents name this local root
                n { kind path digest }                      inputs, as in entry.py
                n { form path mode size digest }            files, in the order in which they are put back
    flags     = { "s" }         "s": its own freshness hangs on times, so it is stamped
    content   = of each file whose form is "t", "r" or "d", in their order

    plan      = "kache-plan 1" LF checksum LF { line }
    line      = triple SP directory SP name { SP digest } LF    snapshots of this unit, the newest first

Text contents (form "t") hold local roots as NUL name NUL: a text with a NUL of its own is kept as it is.
"""

import posix

from kachelib.entry import Input
from kachelib.key import digest_bytes
from kachelib.store import make_directories, read_file, remove, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple

    from kachelib.roots import Roots
    from kachelib.store import Store

# Raise whenever what a snapshot must fulfil changes: older plans are then not found.
SCHEMA = "kache-units-1"

UNIT_MAGIC = b"kache-unit 1\n"
PLAN_MAGIC = b"kache-plan 1\n"

# How a file is kept.
LINK = "l"  # a blob whose inode may be shared
COPY = "c"  # a blob; gets an inode of its own
NAME = "n"  # a second name of the file before it
TEXT = "t"  # inline, with placeholders
RAW = "r"  # inline
WATCHED = "d"  # inline: a dep-… file whose paths have placeholders
DIRECTORY = "m"  # a directory

# An edit history nobody returns to, as in entry.py, and what a plan may grow to.
MOST_SNAPSHOTS = 6
MOST_UNITS = 20_000


class File:
    """One file of a unit. path: relative to the profile's directory; mode: permission bits; content: of what is kept
    inline; digest, size: of a blob."""

    __slots__ = ("content", "digest", "form", "mode", "path", "size")

    def __init__(
        self, form: str, path: str, mode: int, content: bytes = b"", *, digest: str = "", size: int = 0
    ) -> None:
        self.form = form
        self.path = path
        self.mode = mode
        self.content = content
        self.digest = digest
        self.size = size


class Requirement:
    """One thing outside Cargo's sight that has to be here as it was there. kind, name, value: see conditions.py."""

    __slots__ = ("kind", "name", "value")

    def __init__(self, kind: str, name: str, value: str) -> None:
        self.kind = kind
        self.name = name
        self.value = value


class Snapshot:
    """A unit as it was kept.

    triple: "" for the host's profile directory. directory: ``<package>-<hash>``; name: of its fingerprint; hash: the
    fingerprint. package: ``name-version`` where a registry has it, else "". generation: digest of its outputs and of
    all that it was built against. dependencies: (triple, ``directory/name``, generation). stamped: Cargo compares its
    times with those of files. action_key: of the compile whose entry has its blobs, "" for a run.
    """

    __slots__ = (
        "action_key",
        "bindings",
        "dependencies",
        "directory",
        "files",
        "generation",
        "hash",
        "inputs",
        "name",
        "package",
        "requirements",
        "stamped",
        "triple",
    )

    def __init__(self) -> None:
        self.triple = ""
        self.directory = ""
        self.name = ""
        self.hash = ""
        self.package = ""
        self.generation = ""
        self.action_key = ""
        self.stamped = False
        self.dependencies: "List[Tuple[str, str, str]]" = []
        self.requirements: "List[Requirement]" = []
        self.bindings: "List[Tuple[str, str]]" = []
        self.inputs: "List[Input]" = []
        self.files: "List[File]" = []

    def key(self) -> "Tuple[str, str]":
        """Which unit it is: (triple, ``directory/name``)."""
        return self.triple, self.directory + "/" + self.name

    def blobs(self) -> "List[str]":
        """The digests of every blob that it needs."""
        return [file.digest for file in self.files if file.digest]

    def encode(self) -> bytes:
        """The file's bytes; their digest is its name."""
        fields = [self.triple, self.directory, self.name, self.hash, self.package, self.generation, self.action_key]
        fields.append("s" if self.stamped else "")
        fields.append(str(len(self.dependencies)))
        for row in self.dependencies:
            fields += row
        fields.append(str(len(self.requirements)))
        for each in self.requirements:
            fields += (each.kind, each.name, each.value)
        fields.append(str(len(self.bindings)))
        for pair in self.bindings:
            fields += pair
        fields.append(str(len(self.inputs)))
        for item in self.inputs:
            fields += (item.kind, item.path, item.digest)
        fields.append(str(len(self.files)))
        for file in self.files:
            fields += (file.form, file.path, "%o" % file.mode, str(file.size), file.digest)
        text = "\0".join(fields).encode("utf-8", "surrogateescape")
        contents = [file.content for file in self.files if file.form in (TEXT, RAW, WATCHED)]
        head = b" ".join([b"%d" % len(part) for part in (text, *contents)])
        return b"".join((UNIT_MAGIC, head, b"\n", text, *contents))


def decode(data: bytes) -> "Optional[Snapshot]":
    """Read a snapshot whose digest was checked; None for another version."""
    if not data.startswith(UNIT_MAGIC):
        return None
    head, _, rest = data[len(UNIT_MAGIC) :].partition(b"\n")
    lengths = [int(number) for number in head.split(b" ")]
    f = rest[: lengths[0]].decode("utf-8", "surrogateescape").split("\0")
    s = Snapshot()
    s.triple, s.directory, s.name, s.hash, s.package, s.generation, s.action_key = f[:7]
    s.stamped = f[7] == "s"
    at = 8
    end = at + 1 + 3 * int(f[at])
    s.dependencies = list(zip(f[at + 1 : end : 3], f[at + 2 : end : 3], f[at + 3 : end : 3]))
    at, end = end, end + 1 + 3 * int(f[end])
    rows = zip(f[at + 1 : end : 3], f[at + 2 : end : 3], f[at + 3 : end : 3])
    s.requirements = [Requirement(*row) for row in rows]
    at, end = end, end + 1 + 2 * int(f[end])
    s.bindings = list(zip(f[at + 1 : end : 2], f[at + 2 : end : 2]))
    at, end = end, end + 1 + 3 * int(f[end])
    s.inputs = [Input(*row) for row in zip(f[at + 1 : end : 3], f[at + 2 : end : 3], f[at + 3 : end : 3])]
    at, end = end, end + 1 + 5 * int(f[end])
    start, number = lengths[0], 1
    for i in range(at + 1, end, 5):
        file = File(f[i], f[i + 1], int(f[i + 2], 8), digest=f[i + 4], size=int(f[i + 3]))
        if file.form in (TEXT, RAW, WATCHED):
            file.content = rest[start : start + lengths[number]]
            start += lengths[number]
            number += 1
        s.files.append(file)
    return s


class Plan:
    """The snapshots that a build needs: unit -> digests of its snapshots, the newest first; the units in the order in
    which they were taken last."""

    __slots__ = ("units",)

    def __init__(self) -> None:
        self.units: "Dict[Tuple[str, str], List[str]]" = {}

    def add(self, key: "Tuple[str, str]", digest: str) -> None:
        """Put a snapshot in front of the others of its unit."""
        known = [each for each in self.units.pop(key, []) if each != digest]
        self.units[key] = [digest, *known[: MOST_SNAPSHOTS - 1]]

    def encode(self) -> bytes:
        """The file's bytes."""
        rows = list(self.units.items())[-MOST_UNITS:]
        lines = ["%s %s %s" % (triple, unit.replace("/", " ", 1), " ".join(each)) for (triple, unit), each in rows]
        body = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
        return PLAN_MAGIC + digest_bytes(body).encode() + b"\n" + body


def decode_plan(data: bytes) -> "Optional[Plan]":
    """Read a plan; None for anything that is not exactly what ``encode`` wrote."""
    head = len(PLAN_MAGIC) + 65
    body = data[head:]
    if not data.startswith(PLAN_MAGIC) or data[len(PLAN_MAGIC) : head] != digest_bytes(body).encode() + b"\n":
        return None
    plan = Plan()
    for line in body.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        triple, directory, name, *digests = line.split(" ")
        plan.units[triple, directory + "/" + name] = digests
    return plan


def unit_path(root: str, digest: str) -> str:
    """Where a snapshot lies below the cache directory ``root``, whether or not it is there."""
    return root + "/units/" + digest[:2] + "/" + digest


def plan_path(root: str, selection: str, lock: str) -> str:
    """Where the plan of a Cargo.lock with the digest ``lock`` lies."""
    return root + "/plans/" + selection[:2] + "/" + selection + "-" + lock


def read_unit(store: "Store", digest: str) -> "Optional[Snapshot]":
    """A snapshot; None where it is missing or is not what its name says."""
    data = read_file(unit_path(store.root, digest))
    if data is None or digest_bytes(data) != digest:
        return None
    return decode(data)


def write_unit(store: "Store", snapshot: Snapshot) -> str:
    """Keep a snapshot; returns its digest. Raises OSError."""
    data = snapshot.encode()
    digest = digest_bytes(data)
    path = unit_path(store.root, digest)
    known = read_file(path)
    if known != data:
        publish(path, data)
    return digest


def publish(path: str, data: bytes) -> None:
    """Put a checksummed record in its place at once. What a crash cuts fails its checksum. Raises OSError."""
    temporary = "%s/.tmp-%d-%s" % (path.rpartition("/")[0], posix.getpid(), path.rpartition("/")[2][:16])
    make_directories(path.rpartition("/")[0])
    try:
        write_file(temporary, data, 0o644)
        posix.rename(temporary, path)
    except OSError:
        remove(temporary)
        raise


def read_plan(store: "Store", selection: str, lock: str) -> "Optional[Plan]":
    """The plan for a Cargo.lock; None where there is none, or it is damaged."""
    data = read_file(plan_path(store.root, selection, lock))
    return None if data is None else decode_plan(data)


def plans_of(store: "Store", selection: str, most: int) -> "List[Plan]":
    """The plans of that selection for other Cargo.locks, the last used first, at most so many."""
    directory = store.root + "/plans/" + selection[:2]
    found = []
    try:
        for name in posix.listdir(directory):
            if name.startswith(selection + "-"):
                found.append((posix.stat(directory + "/" + name).st_mtime_ns, directory + "/" + name))
    except OSError:
        pass
    plans = []
    for _, path in sorted(found, reverse=True)[:most]:
        data = read_file(path)
        plan = None if data is None else decode_plan(data)
        if plan is not None:
            plans.append(plan)
    return plans


def with_placeholders(data: bytes, roots: "Roots") -> "Optional[bytes]":
    """A text with every local root as NUL name NUL; None where it holds a NUL itself.

    A root counts where nothing joins on to it that would make it the head of a longer name.
    """
    if b"\0" in data:
        return None
    for name, value in roots.values:
        root = value.encode("utf-8", "surrogateescape")
        if root in data:
            mark = b"\0" + name.encode() + b"\0"
            data = _replace(data, root, mark)
    return data


def _replace(data: bytes, root: bytes, mark: bytes) -> bytes:
    parts = data.split(root)
    out = [parts[0]]
    for before, after in zip(parts, parts[1:]):
        joined = (before[-1:].isalnum() or before[-1:] in (b".", b"_", b"/", b"-")) and not _is_option(before)
        longer = after[:1].isalnum() or after[:1] in (b"_", b"-", b".")
        out += (root if joined or longer else mark, after)
    return b"".join(out)


def _is_option(before: bytes) -> bool:
    """Whether a path stands right behind an option's letter, as in -I/place."""
    return before[-1:].isalpha() and before[-2:-1] == b"-" and before[-3:-2] in (b"", b" ", b",", b"=", b'"', b"\n")


def without_placeholders(text: bytes, roots: "Dict[str, str]") -> bytes:
    """The reverse of ``with_placeholders`` for this place. Raises KeyError for a root that is not known here."""
    if b"\0" not in text:
        return text
    parts = text.split(b"\0")
    for index in range(1, len(parts), 2):
        parts[index] = roots[parts[index].decode()].encode("utf-8", "surrogateescape")
    return b"".join(parts)


def remaining_roots(data: bytes, roots: "Roots", also: "Sequence[str]" = ()) -> "List[str]":
    """The names of local roots whose value occurs in ``data`` in any way."""
    found = [name for name, value in roots.values if value.encode("utf-8", "surrogateescape") in data]
    return found + [value for value in also if value and value.encode("utf-8", "surrogateescape") in data]

"""What a compile read, and whether it is all still so here.

Owns the comparison of a candidate's recorded inputs with the files, variables
and package of this invocation. Knows nothing of compilers; reads, never
writes but memos.
"""

import posix
import time

from blake3 import blake3

from kachelib import memo
from kachelib.entry import ABSENT, ALONE, FILE, LINK, MISSING, NAMES, NOWHERE, PLACE, SOURCE
from kachelib.key import digest_bytes
from kachelib.roots import exists, without_links
from kachelib.store import digest_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Container, Dict, List, Optional, Protocol, Set, Tuple

    from kachelib.action import Action
    from kachelib.entry import Candidate, Input
    from kachelib.roots import Roots
    from kachelib.store import Store

    class Asked(Protocol):
        """What an action of any language has, as far as a candidate is compared with it."""

        roots: Roots
        environ: Dict[str, str]
        cwd: str

        def suits(self, layout: str) -> bool: ...


# A package with more than this is described by names and sizes: reading it
# all would cost more than the compile.
MOST_FILES = 5_000
MOST_BYTES = 256 * 1024 * 1024

# What no metadata of one file or directory tells. A kind that is not known has a content that is never found.
ASKED_ANEW = frozenset((ABSENT, PLACE, LINK, NAMES))

# Where the sources of a package's crates lie.
SOURCES = ("src/", "tests/", "examples/", "benches/")

# Never part of a package, wherever they lie in it.
VERSION_CONTROL = frozenset((".git", ".hg", ".svn", ".jj"))

# Bytes that stand for a directory's state in a memo.
DIRECTORY_STATE = 16

DIRECTORY, REGULAR, SYMLINK = 0o040000, 0o100000, 0o120000
FILE_TYPE = 0o170000


def difference(candidate: "Candidate", action: "Asked", fingerprint: str, store: "Store") -> str:
    """The first recorded input that is not as it was, in words; "" when all are: then the candidate is a hit."""
    for name, value in candidate.bindings:
        if action.roots.by_name.get(name) != value:
            return "the outputs name %s %s" % (name, value)
    if not action.suits(candidate.layout):
        return "the diagnostics are laid out for another width"
    for dep in candidate.env_deps:
        current = action.environ.get(dep.name)
        if dep.state == "-":
            same = current is None
        elif dep.state == "~":
            same = current is not None and action.roots.normalise(current) == dep.value
        else:
            same = current == dep.value
        if not same:
            return "environment variable %s differs" % dep.name
    if candidate.fingerprint != fingerprint:
        return "a file of the package differs"
    for path in candidate.needs:
        if not exists(path):
            return "%s does not exist" % path
    return _changed_file(candidate, action, store)


class _Group:
    """Recorded inputs that are compared together, and of which one memo says in which state they were as recorded.

    subject: what with ``paths`` tells what the memo is about: the candidate, and the place for what lies below roots.
    """

    __slots__ = ("items", "missing", "paths", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.items: "List[Input]" = []
        self.paths: "List[str]" = []
        # (directory, names)
        self.missing: "List[Tuple[str, str]]" = []

    def add(self, item: "Input", path: str) -> bool:
        """Take an input whose state is told by metadata; whether it is one."""
        if item.kind in ASKED_ANEW:
            return False
        if item.kind == MISSING:
            self.missing.append((path, item.digest))
        else:
            self.items.append(item)
            self.paths.append(path)
        return True

    def changed(
        self, states: "List[posix.stat_result]", action: "Asked", store: "Store", known_good: "Container[str]" = ()
    ) -> str:
        """The first input with other content, in words; "" when none has, and then the memo is written. states: of
        ``paths``; known_good: those of them whose content in that state is as recorded."""
        if not self.paths and not self.missing:
            return ""
        body = blake3(b"\n".join([memo.identity(state) for state in states])).digest()
        memo_path = memo.path_of(store.memo_dir(), "inputs", "\n".join([self.subject, *self.paths]))
        known = memo.read(memo_path) or b""
        now = time.time_ns()
        directories, appeared = _look_for(self.missing, known[len(body) :])
        if appeared:
            return "%s appeared" % action.roots.normalise(appeared)
        fresh = body + b"".join([identity for identity, _ in directories])
        if known == fresh:
            return ""
        if known[: len(body)] != body:
            for item, path, state in zip(self.items, self.paths, states):
                if path not in known_good and not _same_content(item, path, state, store):
                    return "%s differs" % item.path
        seen = [*states, *[state for _, state in directories if state is not None]]
        if store.writable and not memo.is_racy(seen, now):
            memo.write(memo_path, fresh)
        return ""


def _changed_file(candidate: "Candidate", action: "Asked", store: "Store") -> str:
    """The first recorded file with other content; remembers the state of all when none has."""
    here, everywhere = _Group(candidate.cache_key + "\n" + action.cwd), _Group(candidate.cache_key)
    places: "Dict[Tuple[int, int], str]" = {}
    for item in candidate.inputs:
        path = action.roots.localise(item.path)
        if not path:
            return "%s is not known here" % item.path
        # What lies below no root is one file for all checkouts: the system's headers, most of what C reads.
        group = everywhere if path is item.path else here
        if group.add(item, path):
            continue
        if item.kind == PLACE:
            if same_place(item.path, path, places) != item.digest:
                return "%s leads elsewhere" % item.path
        elif item.kind == LINK:
            if action.roots.normalise(without_links(path)) != item.digest:
                return "%s leads elsewhere" % item.path
        elif item.kind == NAMES:
            if names_in(path) != item.digest:
                return "%s has other entries" % item.path
        elif exists(path):
            return "%s appeared" % item.path
    own, shared = _states(here.paths), _states(everywhere.paths)
    if own is None or shared is None:
        return _missing(here.paths + everywhere.paths)
    known: "Dict[Tuple[int, int], Input]" = {}
    for item, state in [*zip(here.items, own), *zip(everywhere.items, shared)]:
        if item.kind == ALONE and known.setdefault((state.st_dev, state.st_ino), item) is not item:
            return "%s is another name of %s" % (item.path, known[state.st_dev, state.st_ino].path)
    rivals: "List[str]" = []
    if not action.roots.immutable:
        rivals = [rival(path) for item, path in zip(here.items, here.paths) if item.kind == SOURCE]
    for other in rivals:
        if other and exists(other):
            return "%s stands beside a module of the same name" % action.roots.normalise(other)
    return here.changed(own, action, store) or everywhere.changed(shared, action, store)


def remember(candidate: "Candidate", action: "Asked", store: "Store", seen: "Dict[str, posix.stat_result]") -> None:
    """Note in which state the inputs are that every checkout has, for the first hit in another one. seen: {path: its
    metadata before its content was read for ``candidate``}, of files that did not change since."""
    everywhere = _Group(candidate.cache_key)
    for item in candidate.inputs:
        if action.roots.localise(item.path) is item.path:
            everywhere.add(item, item.path)
    try:
        states = [seen.get(path) or posix.stat(path) for path in everywhere.paths]
    except OSError:
        return
    everywhere.changed(states, action, store, seen)


def same_place(name: str, path: str, known: "Dict[Tuple[int, int], str]") -> str:
    """Which of the ``known`` directories, {what tells it: name}, the one at ``path`` is; "" for none, and then ``name``
    is known as well; NOWHERE where no directory is. A compiler looks once into a directory of many names, and may warn
    of one that is not there, or that it may not enter. path: with a slash behind it."""
    try:
        state = posix.stat(path + ".")
    except OSError:
        return NOWHERE
    first = known.setdefault((state.st_dev, state.st_ino), name)
    return first if first != name else ""


def names_in(path: str) -> str:
    """A digest of the names in a directory; NOWHERE where none is."""
    try:
        names = sorted(posix.listdir(path))
    except OSError:
        return NOWHERE
    return digest_bytes("\n".join(names).encode("utf-8", "surrogateescape"))


def _look_for(
    missing: "List[Tuple[str, str]]", known: bytes
) -> "Tuple[List[Tuple[bytes, Optional[posix.stat_result]]], str]":
    """Whether any of the names stands in its directory: ([(what tells its state, its metadata)], the first that does).

    known: the states of the directories when no name was there. What was not changed since needs no look at each name.
    """
    found: "List[Tuple[bytes, Optional[posix.stat_result]]]" = []
    for index, (directory, names) in enumerate(missing):
        try:
            state = posix.stat(directory)
        except OSError:
            found.append((bytes(DIRECTORY_STATE), None))
            continue
        identity = blake3(memo.identity(state)).digest(length=DIRECTORY_STATE)
        found.append((identity, state))
        if known[index * DIRECTORY_STATE : (index + 1) * DIRECTORY_STATE] != identity:
            for name in names.split("/"):
                # GCC takes x.h.gch for x.h, wherever it looks for that.
                for path in (directory + "/" + name, directory + "/" + name + ".gch"):
                    there = _would_be_read(path)
                    if there:
                        return found, path
                    if there is None:
                        found[index] = (bytes(DIRECTORY_STATE), state)
    return found, ""


def _would_be_read(path: str) -> "Optional[bool]":
    """Whether a compiler that looks for a file takes what is there: no directory, but of precompiled headers (GCC
    manual, "Using Precompiled Headers"). None where a link leads to nothing yet: that moves no directory's state."""
    try:
        mode = posix.lstat(path).st_mode
    except (OSError, ValueError):
        return False
    linked = mode & FILE_TYPE == SYMLINK
    try:
        mode = posix.stat(path).st_mode if linked else mode
    except OSError:
        return None
    if mode & FILE_TYPE != DIRECTORY or path.endswith((".gch", ".pch")):
        return True
    return None if linked else False


def _states(paths: "List[str]") -> "Optional[List[posix.stat_result]]":
    """The metadata of all files; None when one is missing."""
    try:
        return [posix.stat(path) for path in paths]
    except OSError:
        return None


def _missing(paths: "List[str]") -> str:
    for path in paths:
        if not exists(path):
            return "%s does not exist" % path
    return "a file does not exist"


def _same_content(item: "Input", path: str, state: posix.stat_result, store: "Store") -> bool:
    if item.kind in (FILE, ALONE) and state.st_nlink > 1 and memo.is_blob(state, item.digest, store):
        return True
    try:
        return memo.file_digest(path, store) == item.digest
    except OSError:
        return False


def rival(path: str) -> str:
    """``foo/mod.rs`` for ``foo.rs``, and the other way round: both together are an error that no dep-info can tell."""
    if path.endswith("/mod.rs"):
        return path[:-7] + ".rs"
    return path[:-3] + "/mod.rs" if path.endswith(".rs") else ""


class _Package:
    """The files below one directory.

    Unless whole: without target directories, version control and nested
    packages; the root's *.md and LICENSE* count only where a compile read
    them, and then they are inputs. sources: these and the content of Rust
    sources count as well.
    """

    __slots__ = ("bytes", "directories", "files", "seen", "sources", "target", "whole")

    def __init__(self, target: str, whole: bool = False, sources: bool = False) -> None:
        self.files: "List[_File]" = []
        # names of directories, for one that is empty and one that is a link to another
        self.directories: "List[str]" = []
        self.bytes = 0
        self.target = target
        self.whole = whole
        self.sources = sources
        self.seen: "Set[Tuple[int, int]]" = set()


class _File:
    __slots__ = ("name", "path", "state")

    def __init__(self, name: str, path: str, state: posix.stat_result) -> None:
        self.name = name
        self.path = path
        self.state = state


def package_fingerprint(action: "Action", store: "Store") -> str:
    """The fingerprint of what a proc macro may look at: 64 hex digits; "" for a unit that carries none.

    The package, where its sources may change, and what its build script left
    in OUT_DIR: names of all files and directories, content of the files that
    are no Rust sources, or Rust where no crate's sources lie. Raises OSError.
    """
    target = action.roots.by_name.get("target", "")
    package = package_tree(action.manifest_dir(), target, store) if action.fingerprinted else ""
    generated = generated_tree(action.generated, store) if action.generated else ""
    return fingerprint_of(package, generated)


def package_tree(directory: str, target: str, store: "Store") -> str:
    """The fingerprint of the package in ``directory`` alone. target: the target directory, which is none of it.

    Raises OSError.
    """
    return _tree(_Package(target), directory, store)


def fingerprint_of(package: str, generated: str) -> str:
    """What ``package_fingerprint`` is for these two trees; "" for one that does not count."""
    found = ["package " + package] if package else []
    found += ["generated " + generated] if generated else []
    return digest_bytes(" ".join(found).encode()) if found else ""


def package_moved(directory: str, target: str) -> int:
    """When a file of the package changed last, in ns. Raises OSError."""
    package = _Package(target, sources=True)
    _collect(package, directory, "")
    files = [file.state for file in package.files]
    return max((max(state.st_mtime_ns, state.st_ctime_ns) for state in files), default=0)


def generated_tree(directory: str, store: "Store") -> str:
    """The fingerprint of what a build script left in OUT_DIR. Raises OSError."""
    return _tree(_Package("", whole=True), directory, store)


def script_tree(directory: str, target: str, store: "Store") -> str:
    """The fingerprint of all that a build script may read in its package: sources and documents as well. Raises
    OSError."""
    return _tree(_Package(target, sources=True), directory, store)


def whole_tree(directory: str, store: "Store") -> str:
    """The fingerprint of all files below ``directory``, by name and content. Raises OSError."""
    return _tree(_Package("", whole=True, sources=True), directory, store)


def _tree(package: _Package, root: str, store: "Store") -> str:
    """The fingerprint of one directory, from a memo where nothing in it changed."""
    _collect(package, root, "")
    package.files.sort(key=lambda file: file.name)
    package.directories.sort()
    states = b"\n".join(
        [file.name.encode("utf-8", "surrogateescape") + b" " + memo.identity(file.state) for file in package.files]
    )
    names = "\n".join(package.directories).encode("utf-8", "surrogateescape")
    body = blake3(states + b"\0" + names).digest()
    kind = "package" if not package.sources else "contents" if package.whole else "script"
    memo_path = memo.path_of(store.memo_dir(), kind, root)
    known = memo.read(memo_path)
    if known is not None and known[:32] == body:
        return known[32:].decode()
    now = time.time_ns()
    fingerprint = _describe(package)
    if store.writable and not memo.is_racy([file.state for file in package.files], now):
        memo.write(memo_path, body + fingerprint.encode())
    return fingerprint


def is_large(manifest_dir: str, target: str) -> bool:
    """Whether the package is above the limits, so that names and sizes stand for content. Raises OSError."""
    package = _Package(target)
    _collect(package, manifest_dir, "")
    return _is_large(package)


def _is_large(package: _Package) -> bool:
    return len(package.files) > MOST_FILES or package.bytes > MOST_BYTES


def _describe(package: _Package) -> str:
    large = _is_large(package) and not package.sources
    parts = [b"large" if large else b"whole"]
    for file in package.files:
        name = file.name.encode("utf-8", "surrogateescape")
        if not package.sources and _is_source(file.name, package):
            described = b""
        elif large:
            described = b"%d" % file.state.st_size
        elif file.state.st_mode & FILE_TYPE == REGULAR:
            described = _content(file.path)
        else:
            described = b"special"
        parts.append(b"%d:%b%d:%b" % (len(name), name, len(described), described))
    for directory in package.directories:
        name = directory.encode("utf-8", "surrogateescape")
        parts.append(b"%d:%b" % (len(name), name))
    return digest_bytes(b"".join(parts))


def _is_source(name: str, package: _Package) -> bool:
    """Whether a file is Rust that a compile names where it reads it; elsewhere a macro may read it as any other."""
    return name.endswith(".rs") and (package.whole or name == "build.rs" or name.startswith(SOURCES))


def _content(path: str) -> bytes:
    try:
        return digest_file(path).encode()
    except PermissionError:
        return b"unreadable"


def package_changed(action: "Action") -> bool:
    """Whether a file of the package that is no source changed since the action was looked at: a macro may have seen it
    half written, though it is now as it was. Raises OSError."""
    if not action.fingerprinted:
        return False
    package = _Package(action.roots.by_name.get("target", ""))
    _collect(package, action.manifest_dir(), "")
    newest = max((max(file.state.st_mtime_ns, file.state.st_ctime_ns) for file in package.files), default=0)
    return newest >= action.started_ns


def _collect(package: _Package, directory: str, prefix: str) -> None:
    """Add all files below ``directory``. Raises OSError where there is none."""
    try:
        names = posix.listdir(directory)
    except PermissionError:
        # What we may not read, no macro may.
        package.files.append(_File(prefix, directory, posix.stat(directory)))
        return
    if prefix and not package.whole and ("Cargo.toml" in names or "CACHEDIR.TAG" in names):
        return
    if prefix:
        package.directories.append(prefix)
    # Sorted: of two ways to one directory, every machine takes the same.
    for name in sorted(names):
        path = directory + "/" + name
        if not package.whole and _is_left_out(name, prefix, path, package):
            continue
        try:
            state = posix.stat(path)
        except OSError:
            # A dangling symlink: its name is all there is.
            state = posix.lstat(path)
        if state.st_mode & FILE_TYPE == DIRECTORY:
            # A symlink may lead back to where we came from.
            if (state.st_dev, state.st_ino) not in package.seen:
                package.seen.add((state.st_dev, state.st_ino))
                _collect(package, path, prefix + name + "/")
            else:
                package.directories.append(prefix + name + "/again")
            continue
        package.files.append(_File(prefix + name, path, state))
        package.bytes += state.st_size


def _is_left_out(name: str, prefix: str, path: str, package: _Package) -> bool:
    if name in VERSION_CONTROL or path == package.target:
        return True
    return not package.sources and not prefix and (name.endswith(".md") or name.startswith("LICENSE"))

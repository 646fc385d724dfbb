"""The run of a build script: what it declared, what it left, what else it hangs on.

Owns the reading of a run's directory (``build/<package>-<hash>/``) and the rules by which it may be kept. Knows the
forms of snapshots and the kinds of conditions; not where a snapshot goes. Source of the directives: Cargo's reference,
"Build Scripts".
"""

import functools
import os
import re
import shutil
from typing import Dict, List, Tuple

from kachelib import inputs, memo
from kachelib.conditions import C_ENVIRONMENT, Here, head_commit, head_moved
from kachelib.entry import FILE, Input
from kachelib.fingerprint import STAMP, Described
from kachelib.key import digest_bytes
from kachelib.store import digest_file, read_file
from kachelib.units import COPY, DIRECTORY, RAW, TEXT, File, Requirement, Snapshot, remaining_roots, with_placeholders

# Larger files are blobs; but a text that names local roots, as a large crate's dep-info does, goes elsewhere only with
# placeholders. A script that leaves more than this many files is left to run.
INLINE_LIMIT = 64 * 1024
TEXT_LIMIT = 4 << 20
MOST_FILES = 4_000

# A system library may come and go in any of these; their times move with each package that is installed.
LIBRARY_PLACES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/pkgconfig")

OBJECTS = (b"!<arch>\n", b"\x7fELF", b"\xcf\xfa\xed\xfe", b"BC\xc0\xde")

COMMIT_DIGITS = 7
# What a build script that asks git is likely to hold; and one that asks whether files are as they were committed.
GIT = (b"git", b"built::")
DIRTY = (b"dirty", b'"status"', b'"diff"', b"vergen", b"shadow_rs")

# A link that leads back to where it lies makes paths without an end.
LONGEST_PATH = 2_000

C_COMPILERS = ("clang", "clang++", "g++", "gcc")

# Files at the top of a profile's directory, and of a target directory.
CARGO_S_OWN = (".cargo-artifact-lock", ".cargo-build-lock", ".cargo-lock", ".rustc_info.json", "CACHEDIR.TAG")


class Refused(Exception):
    """Why a unit is not kept; the text is for people."""


class Run:
    """One run. directory: below the profile's directory; package: the package's directory; immutable: it lies in a
    registry or git checkout."""

    def __init__(self, profile_dir: str, directory: str, package: str, immutable: bool, described: Described) -> None:
        self.profile_dir = profile_dir
        self.directory = directory
        self.package = package
        self.immutable = immutable
        self.described = described
        self.path = profile_dir + "/" + directory
        self.output = read_file(self.path + "/output")
        self.tree: List[Tuple[str, os.stat_result]] = []
        for base, names, files in os.walk(self.path + "/out"):
            for name in [*files, *names]:
                path = base + "/" + name
                self.tree.append((path, os.lstat(path)))
            if len(self.tree) > MOST_FILES:
                raise Refused("its build script left more than %d files" % MOST_FILES)
        self.tree.sort(key=lambda each: each[0])

    def content_digest(self, here: Here) -> str:
        """What dependants see of the run: its words and its files, the same in every place."""
        parts = [_anywhere(self.output or b"", here)]
        for path, state in self.tree:
            parts.append(path[len(self.path) :].encode("utf-8", "surrogateescape"))
            if os.path.islink(path) or os.path.isdir(path):
                continue
            data = read_file(path) if state.st_size <= INLINE_LIMIT else None
            parts.append(digest_file(path).encode() if data is None else _anywhere(data, here))
        return digest_bytes(b"\0\0".join(b"%d:%b" % (len(part), part) for part in parts))

    def keep(self, snapshot: Snapshot, here: Here) -> None:
        """Fill in files, inputs and requirements. Raises Refused, OSError."""
        if self.output is None:
            raise Refused("its build script's output is missing")
        if not self.immutable and not is_package_of(self.package, self.directory.partition("/")[2]):
            raise Refused("its build script lies in another package than its own")
        self._check_age()
        self._check_neighbours()
        self._add_declared(snapshot, here)
        self._add_words(snapshot, here)
        compiled = False
        found = b""
        for path, state in self.tree:
            if os.path.islink(path) or not (os.path.isdir(path) or os.path.isfile(path)):
                raise Refused("its build script left %s, which is no plain file" % os.path.basename(path))
            relative = path[len(self.profile_dir) + 1 :]
            if os.path.isdir(path):
                snapshot.files.append(File(DIRECTORY, relative, 0o777))
                continue
            file, data = keep_file(path, relative, state, snapshot, here)
            snapshot.files.append(file)
            compiled = compiled or data.startswith(OBJECTS)
            found += data if len(found) < 1 << 24 else b""
            if b"../../../" in data or (relative.endswith(".rs") and remaining_roots(data, here.roots)):
                # A way through places, or a source that a compile here saw as it is: both hang on where this lies.
                bind(snapshot, here, [name for name, _ in here.rewritten.values])
        text = self.output
        if b"../../../" in text:
            bind(snapshot, here, [name for name, _ in here.rewritten.values])
        if compiled or b"=CC" in text or b"=CXX" in text:
            self._add_c_compiler(snapshot, here)
        self._add_commit(snapshot, here, text + found)
        if not self.immutable:
            snapshot.stamped = True
            self._add_package(snapshot, here)

    def _add_package(self, snapshot: Snapshot, here: Here) -> None:
        """A script may read what it did not declare: then as the package is, and as it was when the script ran."""
        ended = os.stat(self.path + "/output").st_mtime_ns
        if inputs.package_moved(self.package, here.call.target_dir) > ended:
            raise Refused("a file of the package changed after the build script ran")
        if head_moved(self.package) > ended:
            raise Refused("another commit was checked out after the build script ran")
        name = here.roots.normalise(self.package)
        snapshot.requirements.append(Requirement("script", name, here.value("script", name)))

    def _check_age(self) -> None:
        """Cargo does not empty OUT_DIR before a run: what an earlier one left, a fresh build has not."""
        began = os.stat(self.path + "/" + STAMP).st_mtime_ns
        for path, state in self.tree:
            if state.st_ctime_ns < began and not os.path.isdir(path):
                raise Refused("%s was left by an earlier run" % os.path.basename(path))

    def _check_neighbours(self) -> None:
        """What a script put beside Cargo's own directories would be missing."""
        began = os.stat(self.path + "/" + STAMP).st_mtime_ns
        ended = os.stat(self.path + "/output").st_ctime_ns
        for directory in (self.profile_dir, os.path.dirname(self.profile_dir)):
            for name in os.listdir(directory):
                path = directory + "/" + name
                state = os.lstat(path)
                second = state.st_nlink > 1 or os.path.exists(self.profile_dir + "/deps/" + name)
                if name in CARGO_S_OWN or name.endswith(".d") or os.path.isdir(path) or second:
                    continue
                if began <= state.st_ctime_ns <= ended:
                    raise Refused("while its build script ran, %s appeared in the target directory" % name)

    def _add_declared(self, snapshot: Snapshot, here: Here) -> None:
        declared = self.described.declared()
        if declared is None:
            if not self.immutable:
                raise Refused("its build script declares nothing, so Cargo runs it for every change")
            return
        ended = os.stat(self.path + "/output").st_mtime_ns
        for name in declared:
            path = os.path.normpath(os.path.join(self.package, name))
            if os.path.realpath(path) != os.path.realpath(os.path.join(self.package, name)):
                raise Refused("its build script declares %s, which leads through a link" % name)
            if "/.git/" in path + "/":
                self._bind_to_commit(snapshot, here)
            if self.immutable and path.startswith(here.call.cargo_home + "/"):
                continue
            if path.startswith(here.call.build_dir + "/"):
                raise Refused("its build script declares %s, which lies in the target directory" % name)
            snapshot.stamped = True
            state = os.stat(path) if os.path.exists(path) else None
            if state is None:
                raise Refused("its build script declares %s, which does not exist" % name)
            if max(state.st_mtime_ns, state.st_ctime_ns) > ended:
                raise Refused("%s changed after the build script ran" % name)
            place = here.roots.normalise(path)
            if os.path.isdir(path):
                if not _is_old_tree(path, ended):
                    raise Refused("a file below %s changed after the build script ran" % name)
                snapshot.requirements.append(Requirement("tree", place, here.value("tree", place)))
            else:
                snapshot.inputs.append(Input(FILE, place, memo.file_digest(path, here.store)))

    def _add_words(self, snapshot: Snapshot, here: Here) -> None:
        """The directives; where they name places of this system, the run is bound to their state."""
        text = (self.output or b"").decode("utf-8", "surrogateescape")
        outside: Dict[str, None] = {}
        libraries = False
        for line in text.split("\n"):
            if not line.startswith("cargo:"):
                continue
            key, _, value = line[6:].lstrip(":").partition("=")
            if key == "rerun-if-changed":
                continue
            libraries = libraries or (key == "rustc-link-lib" and not self._has_library(value))
            for word in value.replace("=", " ").replace(",", " ").replace(":", " ").split():
                if word.startswith("/") and not self._is_own(word, here):
                    outside[word] = None
        if "PKG_CONFIG" in text:
            for name in ("PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"):
                for place in here.environ.get(name, "").split(":"):
                    if os.path.isdir(place):
                        snapshot.requirements.append(Requirement("tree", place, here.value("tree", place)))
        if libraries:
            triple = here.tools.field("host").replace("-unknown", "")
            places = [*LIBRARY_PLACES, "/usr/lib/" + triple, "/usr/lib/" + triple + "/pkgconfig"]
            outside.update((place, None) for place in places if os.path.isdir(place))
        ended = os.stat(self.path + "/output").st_mtime_ns
        for path in outside:
            if os.path.exists(path):
                state = os.stat(path)
                if max(state.st_mtime_ns, state.st_ctime_ns) > ended:
                    raise Refused("%s changed after the build script ran" % path)
                snapshot.requirements.append(Requirement("state", path, here.value("state", path)))

    def _is_own(self, word: str, here: Here) -> bool:
        """Whether a path lies where its content is known otherwise."""
        build_dir = here.call.build_dir
        places = [build_dir, os.path.realpath(build_dir), here.call.cargo_home, here.tools.sysroot, self.package]
        return any(word == place or word.startswith(place + "/") for place in places)

    def _has_library(self, value: str) -> bool:
        """Whether ``rustc-link-lib`` names what the script itself left in OUT_DIR."""
        name = value.rpartition("=")[2].partition(":")[0]
        names = {"lib%s.a" % name, "lib%s.so" % name, name}
        return any(os.path.basename(path) in names for path, _ in self.tree)

    def _add_commit(self, snapshot: Snapshot, here: Here, text: bytes) -> None:
        if self.immutable:
            return
        commit = head_commit(self.package)
        source = (read_file(self.package + "/build.rs") or b"").lower()
        if any(word in source for word in DIRTY):
            raise Refused("its build script may ask whether files are committed")
        if any(word in source for word in GIT) or (commit and commit[:COMMIT_DIGITS].encode() in text.lower()):
            self._bind_to_commit(snapshot, here)

    def _bind_to_commit(self, snapshot: Snapshot, here: Here) -> None:
        name = here.roots.normalise(self.package)
        value = here.value("commit", name)
        if value == "?":
            raise Refused("its build script asks git, and the commit is not known")
        snapshot.requirements.append(Requirement("commit", name, value))

    def _add_c_compiler(self, snapshot: Snapshot, here: Here) -> None:
        """What a C compiler that the script called hangs on. Raises Refused."""
        programs = {"cc"}
        source = (read_file(self.package + "/build.rs") or b"").decode("utf-8", "surrogateescape")
        programs.update(name for name in C_COMPILERS if '"' + name + '"' in source)
        if any("native" in value for name, value in here.environ.items() if "FLAGS" in name) or "native" in source:
            snapshot.requirements.append(Requirement("cpu", "", here.value("cpu", "")))
        for name in C_ENVIRONMENT:
            snapshot.requirements.append(Requirement("env", name, here.value("env", name)))
        for name, value in here.environ.items():
            if name.startswith(("CC_", "CXX_", "CFLAGS_", "CXXFLAGS_", "AR_")):
                snapshot.requirements.append(Requirement("env", name, "=" + value))
            if name.startswith(("CC", "CXX", "HOST_CC", "TARGET_CC")) and value.split():
                programs.add(value.split()[0])
        for headers in _header_directories(here.environ):
            path = os.path.normpath(os.path.join(self.package, headers))
            if not self._is_own(path, here) and os.path.isdir(path):
                name = here.roots.normalise(path)
                snapshot.requirements.append(Requirement("tree", name, here.value("tree", name)))
        if "c++" not in programs and here.value("ccompiler", "c++") != "?":
            programs.add("c++")
        ended = os.stat(self.path + "/output").st_mtime_ns
        for program in sorted(programs):
            found = here.value("ccompiler", program)
            place = shutil.which(program, path=here.environ.get("PATH"))
            if place and max(os.stat(place).st_mtime_ns, os.stat(place).st_ctime_ns) > ended:
                raise Refused("the C compiler %s changed after the build script ran" % program)
            if found != "?":
                snapshot.requirements.append(Requirement("ccompiler", program, found))
            elif program == "cc":
                raise Refused("the C compiler cannot be identified")


def keep_file(path: str, relative: str, state: os.stat_result, snapshot: Snapshot, here: Here) -> Tuple[File, bytes]:
    """A file as a snapshot keeps it, and its content; binds the snapshot to the roots that it names and that cannot be
    rewritten. Raises OSError."""
    mode = state.st_mode & 0o777
    with open(path, "rb") as stream:
        data = stream.read()
    for place in _real_places(tuple(value for _, value in here.roots.values)):
        if place in data:
            raise Refused("%s names %s, which Cargo knows by a link" % (relative, os.fsdecode(place)))
    text = with_placeholders(data, here.rewritten) if len(data) <= TEXT_LIMIT else None
    if text == data and len(data) > INLINE_LIMIT:
        text = None
    bind(snapshot, here, remaining_roots(data if text is None else text, here.roots))
    if text is not None:
        return File(TEXT, relative, mode, text), data
    if len(data) <= INLINE_LIMIT:
        return File(RAW, relative, mode, data), data
    digest = digest_bytes(data)
    here.store.put_file(path, digest, len(data), False, bool(mode & 0o100))
    return File(COPY, relative, mode, digest=digest, size=len(data)), data


@functools.cache
def _real_places(roots: Tuple[str, ...]) -> Tuple[bytes, ...]:
    """Where roots lie that are reached by a link: a script that resolves links names these, and nothing binds them."""
    real = [os.path.realpath(root) for root in roots]
    return tuple(os.fsencode(place) for place in dict.fromkeys(real) if place not in roots and len(place) > 1)


def bind(snapshot: Snapshot, here: Here, names: List[str]) -> None:
    """Bind a snapshot to the value that these roots have here."""
    known = {name for name, _ in snapshot.bindings}
    for name in names:
        if name not in known:
            snapshot.bindings.append((name, here.roots.by_name[name]))


def _header_directories(environ: Dict[str, str]) -> List[str]:
    """The directories of headers that the environment names for C compilers."""
    found = []
    for name, value in environ.items():
        if "CFLAGS" in name or "CXXFLAGS" in name or name == "CPPFLAGS":
            found += re.findall(r"(?:-I|-isystem|-iquote|-idirafter) ?([^ ]+)", value)
        elif name in ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"):
            found += [place for place in value.split(":") if place]
    return sorted(set(found))


def is_package_of(directory: str, unit: str) -> bool:
    """Whether the package in ``directory`` is the one whose name begins a unit's directory, ``name-hash``."""
    text = (read_file(directory + "/Cargo.toml") or b"").decode("utf-8", "replace")
    found = re.search(
        r"^[ \t]*\[[ \t]*[\"']?package[\"']?[ \t]*\].*?^[ \t]*[\"']?name[\"']?[ \t]*=[ \t]*[\"']([^\"']+)",
        text,
        re.M | re.S,
    )
    return found is not None and found[1] == unit.rpartition("-")[0]


def _anywhere(data: bytes, here: Here) -> bytes:
    text = with_placeholders(data, here.rewritten)
    return data if text is None else text


def _is_old_tree(directory: str, ended: int) -> bool:
    """Whether nothing below a directory, or where links in it lead, has a time after ``ended``."""
    for base, names, files in os.walk(directory, followlinks=True):
        if len(base) > LONGEST_PATH:
            return False
        for name in [*files, *names, "."]:
            path = os.path.join(base, name)
            states = [os.lstat(path)] + ([os.stat(path)] if os.path.exists(path) else [])
            if any(max(state.st_mtime_ns, state.st_ctime_ns) > ended for state in states):
                return False
    return True

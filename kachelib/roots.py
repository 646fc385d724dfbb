"""Local roots: the directories whose place differs from machine to machine.

Owns how a path is made absolute, how the part of it that is local gives way to
a placeholder and comes back, and the --remap-path-prefix flags that do the
same inside the compiler. May not know what is cached or why.

A placeholder is ``<name>`` at the very start of a path; every other absolute
path starts with a slash, so the two cannot be confused.
"""

import posix
import sys

# Of Linux: a file is named, not opened.
O_PATH = 0o10000000 if sys.platform == "linux" else 0

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Sequence, Tuple

WORKSPACE = "workspace"
PACKAGE = "package"
TARGET = "target"
CARGO_HOME = "cargo-home"
SYSROOT = "sysroot"
HOME = "home"
# of C and C++: where the compiler runs, where the project's sources lie, what paths.base_dirs names
BUILD = "build"
SOURCE = "source"
BASE = "base-"

# What the compiler writes in a root's stead. Debuggers on Linux run from the
# workspace's root, where /proc/self/cwd leads back to the sources.
REMAP_TARGETS = {
    WORKSPACE: "/proc/self/cwd" if sys.platform == "linux" else "/kache/workspace",
    PACKAGE: "/kache/package",
    TARGET: "/kache/target",
    CARGO_HOME: "/kache/.cargo",
    HOME: "/kache/home",
}
# The same for C and C++: debuggers run from the build directory.
C_TARGETS = {
    **REMAP_TARGETS,
    BUILD: "/proc/self/cwd" if sys.platform == "linux" else "/kache/build",
    SOURCE: "/kache/source",
}

# What a project's top holds where no version control marks it.
PROJECT_FILES = ("/CMakeLists.txt", "/meson.build", "/configure", "/Makefile", "/Cargo.toml")
VERSION_CONTROL = ("/.git", "/.hg", "/.svn", "/.jj")

# Directories between a target directory and an --out-dir below it:
# TRIPLE/PROFILE/build/PACKAGE/HASH/out is the deepest.
MOST_LEVELS = 7


class Roots:
    """The local roots of one invocation.

    values: (name, absolute directory), the longest directory first, so that
    the innermost root of a path is found first. immutable: the package lies in
    a registry or git checkout, which Cargo never changes. member: Cargo runs
    the compiler in the workspace's root.
    """

    __slots__ = ("by_name", "immutable", "member", "values")

    def __init__(self, values: "Dict[str, str]", member: bool, immutable: bool) -> None:
        # A CI job's HOME may be the workspace itself: the narrower name holds.
        if sum(value == values.get(HOME) for value in values.values()) > 1:
            values = {name: value for name, value in values.items() if name != HOME}
        self.by_name = values
        self.values: "List[Tuple[str, str]]" = sorted(values.items(), key=lambda item: (-len(item[1]), item[0]))
        self.member = member
        self.immutable = immutable

    def normalise(self, path: str) -> str:
        """``path`` with its innermost root as placeholder; unchanged when it lies below none."""
        for name, value in self.values:
            if path.startswith(value) and (len(path) == len(value) or path[len(value)] == "/"):
                return "<" + name + ">" + path[len(value) :]
        return path

    def localise(self, path: str) -> str:
        """The reverse of ``normalise``; "" for a root that is not known here."""
        if not path.startswith("<"):
            return path
        name, _, rest = path[1:].partition(">")
        value = self.by_name.get(name)
        return "" if value is None else value + rest

    def normalise_text(self, text: str) -> str:
        """Every root that occurs anywhere in ``text`` at a path's boundary, as placeholder."""
        for name, value in self.values:
            if value not in text:
                continue
            parts = text.split(value)
            out = parts[0]
            for before, after in zip(parts, parts[1:]):
                # The tail of another path, or the head of a longer name, is not this root;
                # what is joined to an option's letter (-L/ws/lib) is.
                inside = before != "" and (before[-1].isalnum() or before[-1] in "._-/")
                if inside and before[-1].isalpha() and before[-2:-1] == "-":
                    inside = len(before) > 2 and before[-3] not in " ,="
                longer = after[:1].isalnum() or after[:1] in ("_", "-", ".")
                out += (value if inside or longer else "<" + name + ">") + after
            text = out
        return text

    def occurs_in(self, text: str) -> bool:
        """Whether any root occurs anywhere in ``text``."""
        return any(value in text for _, value in self.values)

    def remapped(self) -> "List[str]":
        """The names of the roots that rustc is told to remap, the outermost first: it takes the last that matches.

        rustc takes no argument that is not UTF-8; such a root is left to the
        search for its bytes.
        """
        return [name for name, value in reversed(self.values) if name in REMAP_TARGETS and is_utf8(value)]

    def file_prefix_maps(self, without: "Sequence[str]" = ()) -> "List[str]":
        """The flags that say the same to a C compiler, of all roots but those named; none lies in another."""
        flags = [(name, "-ffile-prefix-map=" + value + "=" + target_of(name)) for name, value in self.values]
        return [flag for name, flag in flags if name not in without]

    def is_ambiguous(self, path: str) -> bool:
        """Whether a C compiler maps ``path``, though it lies below no root: to bytes, ``/wsx`` begins with ``/ws``."""
        for _, value in self.values:
            if path.startswith(value) and path[len(value) : len(value) + 1] not in ("", "/"):
                return True
        return False

    def remap_flags(self) -> "List[str]":
        """The --remap-path-prefix flags for ``remapped``."""
        return ["--remap-path-prefix=" + self.by_name[name] + "=" + REMAP_TARGETS[name] for name in self.remapped()]


def find(source: str, cwd: str, out_dir: str, environ: "Dict[str, str]", target: str = "") -> Roots:
    """The roots of a compile of ``source`` (as given) in ``cwd``, writing below ``out_dir`` (absolute). target: its
    target directory, where that is known.

    Cargo runs the compiler in the workspace's root, with a relative source,
    for packages inside it; in the package's own root, with an absolute source,
    for all others (Cargo's ``path_args``).
    """
    home = _directory(environ.get("HOME", ""))
    default = home + "/.cargo" if environ.get("HOME", "").startswith("/") else ""
    cargo_home = _directory(environ.get("CARGO_HOME", "")) or default
    member = not source.startswith("/")
    directory = source if source.startswith("/") else cwd
    checkouts = (cargo_home + "/registry/src/", cargo_home + "/git/checkouts/")
    immutable = bool(cargo_home) and directory.startswith(checkouts)
    values = {TARGET: target or target_directory(out_dir)}
    if home:
        values[HOME] = home
    if cargo_home:
        values[CARGO_HOME] = cargo_home
    if member:
        values[WORKSPACE] = cwd
    elif not immutable:
        values[PACKAGE] = _directory(environ.get("CARGO_MANIFEST_DIR", "")) or cwd
    # A root of "/" is no root: everything lies below it.
    return Roots({name: value for name, value in values.items() if len(value) > 1}, member, immutable)


def find_for_c(source: str, cwd: str, environ: "Dict[str, str]", bases: "Sequence[str]") -> Roots:
    """The roots of a C compile of ``source`` (as given) in ``cwd``. bases: of the settings.

    None lies in another: which of two nested ones a compiler maps by differs between compilers.
    """
    directory = absolute(source, cwd).rpartition("/")[0]
    home = _directory(environ.get("HOME", ""))
    values = {BASE + str(number): place for number, place in enumerate(bases, 1)}
    if environ.get("OUT_DIR", "").startswith("/") and "CARGO_MANIFEST_DIR" in environ:
        # a build script's compile
        values[CARGO_HOME] = _directory(environ.get("CARGO_HOME", "")) or home + "/.cargo"
        values[TARGET] = target_directory(environ["OUT_DIR"])
        values[PACKAGE] = _directory(environ["CARGO_MANIFEST_DIR"])
    values[SOURCE] = project(directory, home)
    values[BUILD] = cwd
    kept: "Dict[str, str]" = {}
    # What somebody named goes before what is found, and then the outer before the inner.
    order = sorted(values, key=lambda name: (not name.startswith(BASE), len(values[name]), name == BUILD))
    for name in order:
        if len(values[name]) > 1 and not any(_nested(values[name], other) for other in kept.values()):
            kept[name] = values[name]
    if len(home) > 1 and not any(_nested(value, home) for value in kept.values()):
        kept[HOME] = home
    return Roots({name: value for name, value in kept.items() if is_utf8(value) and "=" not in value}, False, False)


def _nested(one: str, other: str) -> bool:
    return (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/")


def project(directory: str, home: str) -> str:
    """The top of the project that ``directory`` lies in: where version control is, else the highest directory above it
    without a gap that holds what a build begins with. ``directory`` itself where nothing tells."""
    top = directory
    at = directory
    while at and at != home:
        if any(exists(at + name) for name in VERSION_CONTROL):
            return at
        at = at.rpartition("/")[0]
    at = directory
    gap = 0
    while at and at != home and gap < 2:
        if any(exists(at + name) for name in PROJECT_FILES):
            top = at
            gap = 0
        else:
            gap += 1
        at = at.rpartition("/")[0]
    return top


def target_of(name: str) -> str:
    """What a C compiler writes in a root's stead."""
    return C_TARGETS.get(name) or "/kache/" + name


def with_sysroot(roots: Roots, sysroot: str) -> Roots:
    """``roots`` and the toolchain's own directory."""
    return Roots({**roots.by_name, SYSROOT: sysroot}, roots.member, roots.immutable)


def target_directory(out_dir: str) -> str:
    """The target directory above ``out_dir``: the nearest one that Cargo marked, else the usual two levels up."""
    directory = out_dir
    for _ in range(MOST_LEVELS):
        directory = directory.rpartition("/")[0]
        if not directory:
            break
        if exists(directory + "/.rustc_info.json") or exists(directory + "/CACHEDIR.TAG"):
            return directory
    return out_dir.rpartition("/")[0].rpartition("/")[0] or out_dir


def is_utf8(text: str) -> bool:
    """Whether ``text`` came from bytes that were UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_links(path: str) -> str:
    """The absolute name of what is at ``path``, with no link in it."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | O_PATH)
        try:
            return posix.readlink("/proc/self/fd/%d" % descriptor)
        finally:
            posix.close(descriptor)
    except OSError:
        # No such system, or no such file. Few come here, and os takes long to import.
        from os.path import realpath

        return realpath(path)


def exists(path: str) -> bool:
    """Whether there is anything at ``path``."""
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


def absolute(path: str, cwd: str) -> str:
    """``path`` below ``cwd``, without ``.`` and empty parts. ``..`` stays: before it may stand a symlink."""
    if not path.startswith("/"):
        path = cwd + "/" + path
    if "/./" not in path and "//" not in path and not path.endswith(("/", "/.")):
        return path
    return "/" + "/".join([part for part in path.split("/") if part not in ("", ".")])


def _directory(path: str) -> str:
    """``path`` without slashes at its end; "" for one that is not absolute."""
    return path.rstrip("/") if path.startswith("/") else ""

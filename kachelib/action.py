"""The action: everything about a compile that is known before its sources are read.

Owns the recipe of the action key. Knows plans, toolchains, roots and settings;
not entries, nor what a compile read.
"""

import posix

from kachelib import memo, replay, toolchain
from kachelib.key import SCHEMA, Transcript
from kachelib.outcome import Refusal
from kachelib.roots import HOME, absolute, exists, is_utf8
from kachelib.rustc import OFF, PLAIN_CODEGEN
from kachelib.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Set, Tuple

    from kachelib.config import Settings
    from kachelib.extra_inputs import ExtraInputs
    from kachelib.roots import Roots
    from kachelib.rustc import Plan
    from kachelib.store import Store
    from kachelib.toolchain import Toolchain

# Not in the key: where outputs go (their names are), and how diagnostics are
# laid out.
PLACE_OPTIONS = frozenset(("--out-dir", "--diagnostic-width"))
PLACE_CODEGEN = frozenset(("incremental", "linker"))

# Cargo's variables that a proc macro may read without a trace; they hold no
# path. Values that come from the workspace's manifest are in no package file.
PACKAGE_VARIABLES = ("CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_MANIFEST_LINKS")
APPLE_VARIABLES = (
    "IPHONEOS_DEPLOYMENT_TARGET", "MACOSX_DEPLOYMENT_TARGET", "SDKROOT", "TVOS_DEPLOYMENT_TARGET",
    "WATCHOS_DEPLOYMENT_TARGET", "XROS_DEPLOYMENT_TARGET",
)  # fmt: skip
CLIPPY_VARIABLES = ("CLIPPY_ARGS", "CLIPPY_DISABLE_DOCS_LINKS")
# These lints ask Cargo about every package of the workspace.
CARGO_LINTS = (
    "clippy::cargo",
    "clippy::multiple_crate_versions",
    "clippy::negative_feature_names",
    "clippy::redundant_feature_names",
    "clippy::wildcard_dependencies",
)
CLIPPY_FILES = (".clippy.toml", "clippy.toml")

# What an --extern without a path may mean, where a library path might have one of that name.
SYSROOT_CRATES = frozenset("alloc compiler_builtins core proc_macro std test".split())
ANY_CRATE = ("all", "crate")

SCRIPT_COMMANDS = (b"INCLUDE", b"INPUT", b"GROUP", b"STARTUP")

THIN_ARCHIVE = b"!<thin>\n"


class Action:
    """A compile as asked for, with its key.

    remap: the flags to inject, in order; empty binds outputs to their place.
    bound: nothing about this action is portable. fingerprinted: the unit
    carries a package fingerprint. generated: the directory that the package's
    build script filled, where a proc macro may read it; else "". read: the
    files whose content went into the key, as they were then; started_ns: the
    file system's clock before.
    """

    __slots__ = (
        "bound",
        "cwd",
        "environ",
        "extra",
        "fingerprinted",
        "generated",
        "key",
        "plan",
        "read",
        "remap",
        "roots",
        "started_ns",
        "toolchain",
        "transcript",
    )

    def __init__(self, plan: "Plan", tools: "Toolchain", roots: "Roots", cwd: str, environ: "Dict[str, str]") -> None:
        self.plan = plan
        self.toolchain = tools
        self.roots = roots
        self.cwd = cwd
        self.environ = environ
        self.extra: "Optional[ExtraInputs]" = None
        self.transcript = Transcript()
        self.started_ns = memo.file_clock()
        self.read: "List[Tuple[str, posix.stat_result]]" = []
        self.key = ""
        self.remap: "List[str]" = []
        self.bound = False
        # A proc macro reaches a unit through any --extern: others re-export it.
        macros = any(extern.path for extern in plan.externs)
        self.fingerprinted = macros and not roots.immutable
        self.generated = environ.get("OUT_DIR", "") if macros else ""

    def suits(self, layout: str) -> bool:
        """Whether diagnostics of a candidate's layout are what the compiler would print here."""
        return replay.suits(layout, self.plan)

    def manifest_dir(self) -> str:
        """The package's directory, absolute; the source's where nobody said, for the working one may hold anything."""
        given = self.environ.get("CARGO_MANIFEST_DIR")
        return given or absolute(self.plan.source, self.cwd).rpartition("/")[0] or "/"

    def out_dir(self) -> str:
        """The absolute directory that outputs go to."""
        return absolute(self.plan.out_dir, self.cwd)


def build(action: Action, settings: "Settings", store: "Store") -> "Optional[Refusal]":
    """Fill in the transcript and the key of ``action``; a Refusal where an input cannot be known."""
    add = action.transcript.add
    add("schema", SCHEMA)
    add("compiler", action.toolchain.version)
    _add_place(action)
    _add_environment(action, settings)
    refusal = (
        _add_driver(action, store)
        or _add_options(action, store)
        or _add_externs(action, store)
        or _add_native_libraries(action, store)
        or _add_extra_inputs(action, store)
        or _add_linker(action, store)
    )
    if refusal is None:
        action.key = action.transcript.digest()
    return refusal


def decide_remapping(action: Action, settings: "Settings") -> None:
    """Choose the remap flags, or bind the outputs to their place. The key is made of the same decision."""
    coverage = action.plan.last_codegen("instrument-coverage")
    # Coverage maps name sources for tools that open them.
    action.bound = not settings.path_normalize or (coverage is not None and coverage not in OFF)
    if not action.bound:
        action.remap = action.roots.remap_flags()
        if is_utf8(action.toolchain.sysroot):
            action.remap.append(action.toolchain.standard_library_flag())


def _add_place(action: Action) -> None:
    """Which roots the remap flags cover, or, without any, the place itself."""
    add = action.transcript.add
    if action.bound:
        for name, value in action.roots.values:
            add("place " + name, value)
        add("place cwd", action.cwd)
        return
    # Their order follows from the lengths of paths and tells nothing more.
    names = set(action.roots.remapped())
    if action.environ.get("HOME", "").rstrip("/") in action.roots.by_name.values():
        names.add(HOME)
    for name in sorted(names):
        add("remap", name)
    # Relative sources are named relative to the workspace's root in file!() and
    # in spans; absolute ones are not.
    add("member", "yes" if action.roots.member else "no")
    add("cwd", action.roots.normalise(action.cwd))


def _digest(action: Action, path: str, store: "Store") -> str:
    """The digest of an input of the key. Raises OSError."""
    action.read.append((path, posix.stat(path)))
    return memo.file_digest(path, store)


def changed_input(action: Action) -> str:
    """The first file whose content is in the key and that may have changed since; "" when none has."""
    for path, before in action.read:
        try:
            now = posix.stat(path)
        except OSError:
            return path
        # Another process may link a blob at any time, which moves its ctime.
        shared = now.st_nlink > 1 and now.st_mtime_ns == memo.BLOB_TIME_NS
        same = (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
        if not same or now.st_mtime_ns >= action.started_ns:
            return path
        if not shared and (now.st_ctime_ns != before.st_ctime_ns or now.st_ctime_ns >= action.started_ns):
            return path
    return ""


def _add_environment(action: Action, settings: "Settings") -> None:
    add = action.transcript.add
    environ = action.environ
    toolchain.add_settings(action.transcript, settings, environ)
    names = [name for name in environ if name.startswith("CARGO_PKG_") or name in PACKAGE_VARIABLES]
    if "-apple-" in (action.plan.target or action.toolchain.field("host")):
        names += [name for name in APPLE_VARIABLES if name in environ]
    if "RUSTC_BOOTSTRAP" in environ:
        names.append("RUSTC_BOOTSTRAP")
    for name in sorted(names):
        add("env " + name, environ[name])
    for value in script_variables(action.generated) if action.generated else ():
        add("script variable", action.roots.normalise_text(value))


def script_variables(out_dir: str) -> "List[str]":
    """What a package's build script has rustc run with, NAME=VALUE: a macro may read that without a trace."""
    output = read_file(out_dir.rpartition("/")[0] + "/output") or b""
    lines = [line.strip().partition(b"rustc-env=") for line in output.split(b"\n") if b"rustc-env=" in line]
    return [value.decode("utf-8", "surrogateescape") for key, _, value in lines if key in (b"cargo:", b"cargo::")]


def _add_driver(action: Action, store: "Store") -> "Optional[Refusal]":
    """clippy-driver's own identity and all it reads besides rustc's arguments."""
    if not action.toolchain.driver:
        return None
    add = action.transcript.add
    add("driver", action.toolchain.driver)
    words = action.environ.get("CLIPPY_ARGS", "")
    if "--no-deps" in words:
        # It looks at nothing but what Cargo was asked for.
        add("primary", "yes" if "CARGO_PRIMARY_PACKAGE" in action.environ else "no")
    asked = [words, *[value for _, value in action.plan.options]]
    for lint in CARGO_LINTS:
        if any(lint in words for words in asked):
            return Refusal("clippy_config", lint)
    for name in CLIPPY_VARIABLES:
        if name in action.environ:
            add("env " + name, action.environ[name])
    files = [action.manifest_dir() + "/Cargo.toml", action.roots.by_name.get("workspace", action.cwd) + "/Cargo.lock"]
    config = _clippy_config(action)
    if config:
        files.append(config)
    for path in files:
        if exists(path):
            try:
                add("clippy reads " + action.roots.normalise(path), _digest(action, path, store))
            except OSError:
                return Refusal("clippy_config", path)
    return None


def _clippy_config(action: Action) -> str:
    """The configuration file that clippy would find: in CLIPPY_CONF_DIR, else from the package's directory upwards."""
    directory = action.environ.get("CLIPPY_CONF_DIR") or action.manifest_dir()
    directory = absolute(directory, action.cwd)
    while True:
        for name in CLIPPY_FILES:
            if exists(directory + "/" + name):
                return directory + "/" + name
        if not directory:
            return ""
        directory = directory.rpartition("/")[0]


def _add_options(action: Action, store: "Store") -> "Optional[Refusal]":
    plan, roots = action.plan, action.roots
    add = action.transcript.add
    json_diagnostics = any(name == "--error-format" and value == "json" for name, value in plan.options)
    for name, value in plan.options:
        if name in PLACE_OPTIONS or name == "--emit" or (name == "--color" and json_diagnostics):
            continue
        if name == "--remap-path-prefix":
            source, _, to = value.rpartition("=")
            add(name, roots.normalise(source) + "=" + to)
            continue
        add(name, value)
        if name == "-Z" and value.replace("_", "-") == "tune-cpu=native" and not _add_native(action):
            return Refusal("native_cpu", "tune-cpu")
        if name == "-Z" and not _add_named_files(action, "-Z", value, store):
            return Refusal("input_argument", value)
    add("emit", ",".join(sorted(set(plan.emit))))
    for key, value in plan.codegen:
        if key in PLACE_CODEGEN:
            continue
        if key in ("target-cpu", "tune-cpu") and value == "native" and not _add_native(action):
            return Refusal("native_cpu", key)
        add("-C " + key, value if key in PLAIN_CODEGEN else roots.normalise_text(value))
        if key not in PLAIN_CODEGEN and not _add_named_files(action, "-C " + key, value, store):
            return Refusal("input_argument", value)
    if plan.linked and plan.last_codegen("rpath") not in (None, *OFF):
        # The way from there to the libraries is in the output.
        add("rpath from", action.out_dir())
    for kind, path in plan.library_paths:
        if kind != "dependency":
            add("-L " + kind, roots.normalise(absolute(path, action.cwd)))
        if kind in ANY_CRATE and _holds_crates(absolute(path, action.cwd)):
            return Refusal("library_path", path)
    _add_source(action)
    return _add_target(action, store)


def _add_source(action: Action) -> None:
    """The source, and how it was named where that is not the only way: file!() and the dep-info have it as given."""
    given = action.plan.source
    source = absolute(given, action.cwd)
    action.transcript.add("source", action.roots.normalise(source))
    if given == source and source.startswith(action.cwd + "/"):
        action.transcript.add("source as given", "absolute")
    elif given != source and source != action.cwd + "/" + given:
        action.transcript.add("source as given", action.roots.normalise_text(given))


def _add_native(action: Action) -> bool:
    """Add what ``native`` stands for on this machine; False where that cannot be told."""
    machine = toolchain.native_cpu()
    if machine:
        action.transcript.add("native cpu", machine)
    return bool(machine)


def _add_named_files(action: Action, tag: str, value: str, store: "Store") -> bool:
    """Scripts, objects, profiles: the content of every file that a word of ``value`` names.

    False where more is read than can be told from here: a response file, a
    script that includes others, a linker script that is not found.
    """
    directories = ["", *[path for kind, path in action.plan.library_paths if kind in ("native", "all")]]
    for word in possible_names(value):
        for directory in directories:
            path = absolute(directory + "/" + word if directory else word, action.cwd)
            try:
                if posix.stat(path).st_mode & 0o170000 != 0o100000:
                    continue
                digest = _digest(action, path, store)
            except (OSError, ValueError):
                continue
            if "@" + word in value or includes_more(path) or is_thin(path):
                return False
            action.transcript.add(tag + " file", action.roots.normalise(path) + " " + digest)
            break
        else:
            if "-T" + word in value.split(",") or value == "-T" + word:
                return False
    return True


def possible_names(value: str) -> "List[str]":
    """The words of an argument that may be files: all of it, its parts, and what is joined to a letter (-Tlink.ld)."""
    words = [value, value.partition("=")[2], *value.split(","), *value.replace("=", " ").replace(",", " ").split()]
    words += [word[2:] for word in words if len(word) > 2 and word[0] == "-" and word[1].isalpha()]
    words += [word[1:] for word in words if word.startswith("@")]
    return [word for word in dict.fromkeys(words) if word]


def includes_more(path: str) -> bool:
    """Whether a file looks like a linker script that reads others (GNU ld manual, "File Commands")."""
    data = read_file(path) or b""
    return len(data) < 1 << 20 and b"\0" not in data and any(word in data for word in SCRIPT_COMMANDS)


def _holds_crates(directory: str) -> bool:
    """Whether an ``extern crate`` without --extern could find a crate in a general library path."""
    try:
        names = posix.listdir(directory)
    except OSError:
        return False
    return any(name.endswith((".rlib", ".rmeta")) for name in names)


def _add_target(action: Action, store: "Store") -> "Optional[Refusal]":
    """A target description, where a file and not the compiler itself gives it."""
    target = action.plan.target
    if not target:
        return None
    paths = []
    if target.endswith(".json"):
        paths = [absolute(target, action.cwd)]
    else:
        search = action.environ.get("RUST_TARGET_PATH", "")
        paths = [absolute(place, action.cwd) + "/" + target + ".json" for place in search.split(":") if place]
        paths.append(action.toolchain.sysroot + "/lib/rustlib/" + target + "/target.json")
        paths = [path for path in paths if exists(path)]
    for path in paths:
        try:
            action.transcript.add("target description", _digest(action, path, store))
        except OSError:
            return Refusal("target_json", path)
    return None


def _add_externs(action: Action, store: "Store") -> "Optional[Refusal]":
    for extern in action.plan.externs:
        described = extern.name + " " + extern.options
        if not extern.path:
            # proc_macro, std and their like: the sysroot's, which the version names.
            if extern.name not in SYSROOT_CRATES and any(kind in ANY_CRATE for kind, _ in action.plan.library_paths):
                return Refusal("extern_without_path", extern.name)
            action.transcript.add("extern", described)
            continue
        try:
            digest = _digest(action, absolute(extern.path, action.cwd), store)
        except OSError:
            return Refusal("extern_missing", extern.path)
        action.transcript.add("extern", described + " " + digest)
    return None


def _add_native_libraries(action: Action, store: "Store") -> "Optional[Refusal]":
    """The -l options; a static library becomes part of the output, so its archive is an input."""
    for value in action.plan.native_libraries:
        action.transcript.add("-l", value)
        kind, equals, name = value.partition("=")
        kind, _, modifiers = kind.partition(":")
        if not equals or kind != "static":
            continue
        archive = find_archive(action, name.rpartition(":")[2], "+verbatim" in modifiers)
        if not archive:
            return Refusal("native_library", name)
        try:
            action.transcript.add("static library " + name, _digest(action, archive, store))
        except OSError:
            return Refusal("native_library", archive)
    return None


def find_archive(action: Action, name: str, verbatim: bool = False) -> str:
    """The static library of that name on the library paths; "" unless there is exactly one, and no thin archive."""
    names = [name] if verbatim else ["lib" + name + ".a", name + ".lib"]
    found: "Set[str]" = set()
    for kind, path in action.plan.library_paths:
        if kind in ("native", "all"):
            directory = absolute(path, action.cwd)
            found.update(directory + "/" + each for each in names if exists(directory + "/" + each))
    if len(found) != 1:
        return ""
    path = found.pop()
    try:
        return "" if is_thin(path) else path
    except OSError:
        return ""


def is_thin(path: str) -> bool:
    """Whether a file is an archive that only names its members. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, len(THIN_ARCHIVE)) == THIN_ARCHIVE
    finally:
        posix.close(fd)


def _add_extra_inputs(action: Action, store: "Store") -> "Optional[Refusal]":
    extra = action.extra
    if extra is None:
        return None
    if extra.error:
        return Refusal("extra_inputs", extra.error)
    for pattern in extra.patterns:
        action.transcript.add("extra input pattern", pattern)
    for name, path in extra.files:
        try:
            action.transcript.add("extra input " + name, _digest(action, path, store))
        except OSError:
            return Refusal("extra_inputs", path)
    return None


def _add_linker(action: Action, store: "Store") -> "Optional[Refusal]":
    plan = action.plan
    if not plan.linked:
        return None
    identity = toolchain.linker(linker_name(action), linker_flags(plan.codegen), action.environ, store.memo_dir())
    if identity is None:
        return Refusal("linker", linker_name(action))
    action.transcript.add("linker", identity)
    for name, value in toolchain.linker_environment(action.environ, not action.bound):
        action.transcript.add("env " + name, action.roots.normalise_text(value))
    return None


def linker_flags(codegen: "Sequence[Tuple[str, str]]") -> "List[str]":
    """The link arguments that choose another linker, or other files for it to start from."""
    words: "List[str]" = []
    for key, value in codegen:
        if key == "link-arg":
            words.append(value)
        elif key == "link-args":
            words += value.split()
    flags = []
    for word, following in zip(words, [*words[1:], ""]):
        if word in ("-B", "--sysroot", "-fuse-ld"):
            flags.append((word + "=" if word.startswith("--") else word) + following)
        elif word.startswith(("-fuse-ld=", "-B", "--sysroot=", "-m", "--ld-path=")):
            flags.append(word)
    return flags


def linker_name(action: Action) -> str:
    """The linker as rustc will call it: ``-C linker``, else the target's default."""
    given = action.plan.last_codegen("linker")
    if given:
        return given
    target = action.plan.target
    if target.endswith("-windows-gnu"):
        return target.partition("-")[0] + "-w64-mingw32-gcc"
    return "cc"

"""How Cargo was called: which profile it builds, for which targets, in which directory.

Owns the reading of a Cargo command line and of what decides the target directory: options, environment,
configuration files, the workspace's root. Reads, never writes. Knows nothing of units or the store.

What cannot be told for sure is Unclear, with the reason, and then nothing is warmed. Source of the rules: Cargo's
reference ("Configuration", "Build cache", "Workspaces") and ``find_root``, ``get_profile_name`` of its sources.
"""

import posix
import sys

from kachelib.roots import absolute, exists
from kachelib.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

# Commands that compile units, with Cargo's own short names; docs are not restored.
ALIAS_PREFIX = "CARGO_ALIAS_"
COMMANDS = {
    "b": "build",
    "bench": "bench",
    "build": "build",
    "c": "check",
    "check": "check",
    "clippy": "check",
    "r": "run",
    "run": "run",
    "rustc": "rustc",
    "t": "test",
    "test": "test",
}

# Where a profile's outputs go; any other name is a directory of its own.
PROFILE_DIRECTORIES = {"bench": "release", "dev": "debug", "test": "debug"}

# Options with a value that say nothing about places.
WITH_VALUE = frozenset(
    "--bench --bin --color --example --exclude --features --jobs --message-format --package --test -F -Z -j -p".split()
)
MEANT = frozenset("--config --lockfile-path --manifest-path --profile --target --target-dir -C".split())

# --config KEY=VALUE that leaves places alone.
PLACE_KEYS = ("build", "include", "target")

# What moves the names or the content of fingerprints, so that another plan suits.
SELECTING = ("CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_INCREMENTAL", "RUSTFLAGS")
SELECTING_PREFIXES = ("CARGO_PROFILE_", "CARGO_TARGET_")
# Not these, which Cargo itself may set for a compile.
PLACES = ("CARGO_TARGET_DIR", "CARGO_TARGET_TMPDIR")

# Before this, dep-… files have another form; and before 70, registry packages are judged by time.
OLDEST_MINOR = 85

# An unstable feature (cargo -Z help), and the variable that turns it on: nothing lies where it lay.
NEW_LAYOUT = "build-dir-new-layout"
NEW_LAYOUT_VARIABLE = "CARGO_UNSTABLE_BUILD_DIR_NEW_LAYOUT"

CONFIG_NAMES = ("/config", "/config.toml")


class Unclear(Exception):
    """Why a call is not warmed; the text is for people."""


class CargoCall:
    """One call of Cargo. Paths are absolute.

    command: of COMMANDS' values. root: the workspace's root. build_dir: where ``<profile>/deps`` lies. profile: the
    directory's name. triples: "" for the host, then each ``--target``. selection: what else chooses between plans.
    """

    __slots__ = (
        "build_dir",
        "cargo_home",
        "command",
        "environ",
        "profile",
        "root",
        "selection",
        "target_dir",
        "triples",
    )

    def __init__(self, environ: "Dict[str, str]") -> None:
        self.environ = environ
        self.cargo_home = ""
        self.command = ""
        self.root = ""
        self.build_dir = ""
        self.target_dir = ""
        self.profile = ""
        self.triples: "List[str]" = [""]
        self.selection: "List[str]" = []

    def lock_file(self) -> str:
        """The path of Cargo.lock; it may not be there."""
        return self.root + "/Cargo.lock"

    def linkers(self) -> "List[str]":
        """The linkers that configuration files name."""
        found: "List[str]" = []
        for text in self.selection:
            if "linker" in text and "[" in text:
                targets = parse_toml(text, "Cargo's configuration").get("target")
                for table in targets.values() if isinstance(targets, dict) else ():
                    if isinstance(table, dict) and isinstance(table.get("linker"), str):
                        found.append(table["linker"])
        return found

    def directories(self) -> "List[Tuple[str, str]]":
        """(triple, directory) of every profile directory that this call may fill; the host's comes first."""
        return [(triple, "/".join([p for p in (self.build_dir, triple, self.profile) if p])) for triple in self.triples]


def of_parent(environ: "Dict[str, str]") -> CargoCall:
    """The call of the process that started this one. Raises Unclear."""
    if sys.platform != "linux":
        raise Unclear("what called kache cannot be seen on this system")
    parent = "/proc/%d" % posix.getppid()
    words = (read_file(parent + "/cmdline") or b"").decode("utf-8", "surrogateescape").split("\0")[:-1]
    try:
        cwd = posix.readlink(parent + "/cwd")
    except OSError:
        raise Unclear("the directory that Cargo works in is not known") from None
    if not words or not words[0].rpartition("/")[2].startswith("cargo"):
        raise Unclear("the wrapper was not called by Cargo")
    return parse(words[1:], cwd, environ)


def parse(words: "Sequence[str]", cwd: str, environ: "Dict[str, str]") -> CargoCall:
    """Understand a command line, without ``cargo`` itself, in the directory ``cwd``. Raises Unclear."""
    call = CargoCall(environ)
    home = environ.get("HOME", "")
    call.cargo_home = (environ.get("CARGO_HOME") or (home + "/.cargo" if home.startswith("/") else "")).rstrip("/")
    if not call.cargo_home.startswith("/"):
        raise Unclear("CARGO_HOME is not known")
    command, options = _options(words)
    call.command = command
    configured = _Configuration(cwd, call.cargo_home)
    if any(len(word) == 1 for word in words) and (
        any("alias" in text for text in configured.texts) or any(name.startswith(ALIAS_PREFIX) for name in environ)
    ):
        raise Unclear("a short name of a command may be an alias")
    if NEW_LAYOUT_VARIABLE in environ or any(NEW_LAYOUT in text for text in (*words, *configured.texts)):
        raise Unclear("Cargo's new layout of target directories is not followed")
    manifest = options.get("--manifest-path", [""])[-1]
    if "-C" in options or "--lockfile-path" in options:
        raise Unclear("-C and --lockfile-path are not understood")
    call.root = workspace_root(_plain(absolute(manifest, cwd)) if manifest else _find_manifest(cwd), call.cargo_home)
    call.profile = _profile(command, options)
    _place(call, options, configured, cwd)
    targets = options.get("--target") or _words(environ.get("CARGO_BUILD_TARGET", "")) or configured.targets()
    for triple in targets:
        if triple.endswith(".json") or triple == "host-tuple" or "/" in triple:
            raise Unclear("--target %s is not understood" % triple)
    call.triples += list(dict.fromkeys(targets))
    for name in sorted(environ):
        if name in SELECTING or (name.startswith(SELECTING_PREFIXES) and name not in PLACES):
            call.selection.append(name + "=" + environ[name])
    call.selection += configured.texts
    call.selection += ["--config=" + value for value in options.get("--config", ())]
    return call


def _options(words: "Sequence[str]") -> "Tuple[str, Dict[str, List[str]]]":
    """The command, and the options that mean something here with their values in order."""
    command = ""
    found: "Dict[str, List[str]]" = {}
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            if not command and not word.startswith("+"):
                command = COMMANDS.get(word, "")
                if not command:
                    raise Unclear("cargo %s compiles nothing that is restored" % word)
            continue
        short = word[:2] if not word.startswith("--") and word[:2] in ("-C", "-F", "-Z", "-j", "-p") else ""
        if short and len(word) > 2:
            name, equals, value = short, "=", word[2:]
        if not equals and (name in WITH_VALUE or name in MEANT):
            value = words[index] if index < len(words) else ""
            index += 1
            if name == "--target" and not value:
                raise Unclear("--target has no value")
        if name in MEANT or name in ("--release", "-r"):
            found.setdefault("--release" if name == "-r" else name, []).append(value)
        elif not word.startswith("--") and "r" in word and not short:
            # -qr, -rv: several in one word
            found.setdefault("--release", []).append("")
        if name == "--config":
            key = value.partition("=")[0].strip().partition(".")[0]
            if "=" not in value or key in PLACE_KEYS:
                raise Unclear("--config %s may move the target directory" % value)
    if not command:
        raise Unclear("cargo was given no command")
    return command, found


def _profile(command: str, options: "Dict[str, List[str]]") -> str:
    """The name of the profile's directory."""
    named = options.get("--profile", [""])[-1]
    if named:
        return PROFILE_DIRECTORIES.get(named, named)
    return "release" if "--release" in options or command == "bench" else "debug"


def _place(call: CargoCall, options: "Dict[str, List[str]]", configured: "_Configuration", cwd: str) -> None:
    """Fill in the two directories that Cargo writes to."""
    environ = call.environ
    given = options.get("--target-dir", [""])[-1]
    given = given or environ.get("CARGO_TARGET_DIR", "") or environ.get("CARGO_BUILD_TARGET_DIR", "")
    call.target_dir = absolute(given, cwd) if given else configured.path("target-dir") or call.root + "/target"
    build = environ.get("CARGO_BUILD_BUILD_DIR", "")
    build = absolute(_template(build, call), cwd) if build else _template(configured.path("build-dir"), call)
    call.build_dir = (build or call.target_dir).rstrip("/")
    call.target_dir = call.target_dir.rstrip("/")
    if len(call.build_dir) < 2:
        raise Unclear("the target directory is not known")


def _template(path: str, call: CargoCall) -> str:
    """A build directory with its placeholders replaced."""
    path = path.replace("{workspace-root}", call.root).replace("{cargo-cache-home}", call.cargo_home)
    if "{" in path:
        raise Unclear("build-dir %s is not understood" % path)
    # what was joined to a directory before the placeholder was replaced
    return path[path.rindex("//") + 1 :] if "//" in path else path


class _Configuration:
    """The configuration files that Cargo reads in ``cwd``, the nearest first. texts: what they hold."""

    __slots__ = ("_builds", "texts")

    def __init__(self, cwd: str, cargo_home: str) -> None:
        self.texts: "List[str]" = []
        self._builds: "List[Tuple[str, Dict[str, Any]]]" = []
        places = []
        directory = cwd
        while directory:
            places.append(directory + "/.cargo")
            directory = directory.rpartition("/")[0]
        for place in dict.fromkeys([*places, cargo_home]):
            data = None
            for name in CONFIG_NAMES:
                data = data or read_file(place + name)
            if data:
                self._read(data.decode("utf-8", "surrogateescape"), place)

    def _read(self, text: str, place: str) -> None:
        self.texts.append(text)
        if not any(word in text for word in ("target", "build-dir", "include")):
            return
        table = parse_toml(text, place)
        if "include" in table:
            raise Unclear("%s includes another file" % place)
        build = table.get("build")
        if isinstance(build, dict):
            self._builds.append((place.rpartition("/")[0], build))

    def path(self, key: str) -> str:
        """The absolute path that ``build.<key>`` names, "" for none: relative to what holds ``.cargo``."""
        for base, build in self._builds:
            value = build.get(key)
            if isinstance(value, str):
                return absolute(value, base)
        return ""

    def targets(self) -> "List[str]":
        """``build.target``: a name, or a list of names."""
        for _, build in self._builds:
            value = build.get("target")
            if value is not None:
                return [str(each) for each in value] if isinstance(value, list) else [str(value)]
        return []


def workspace_root(manifest: str, cargo_home: str) -> str:
    """The directory of the workspace that the package of ``manifest`` belongs to. Raises Unclear."""
    text = _manifest(manifest)
    own = manifest.rpartition("/")[0]
    if own.startswith(cargo_home + "/"):
        raise Unclear("the package lies in CARGO_HOME")
    if _has_workspace(text, manifest):
        return own
    named = _named_workspace(text, manifest)
    if named:
        return _plain(absolute(named, own))
    directory = own.rpartition("/")[0]
    while directory:
        path = directory + "/Cargo.toml"
        if exists(path):
            above = _manifest(path)
            if _has_workspace(above, path):
                return own if _excludes(above, path, own) else directory
        directory = directory.rpartition("/")[0]
    return own


def _find_manifest(cwd: str) -> str:
    directory = cwd
    while directory:
        if exists(directory + "/Cargo.toml"):
            return directory + "/Cargo.toml"
        directory = directory.rpartition("/")[0]
    raise Unclear("there is no Cargo.toml in %s or above" % cwd)


def _manifest(path: str) -> str:
    data = read_file(path)
    if data is None or not path.endswith("/Cargo.toml"):
        raise Unclear("%s cannot be read" % path)
    return data.decode("utf-8", "surrogateescape")


def _has_workspace(text: str, path: str) -> bool:
    """Whether a manifest is a workspace's root. The usual way of writing it is seen without reading TOML."""
    if "workspace" not in text:
        return False
    if '"""' not in text and "'''" not in text:
        lines = [line.strip() for line in text.split("\n")]
        if any(line.startswith(("[workspace]", "[workspace.")) for line in lines):
            return True
        if not any(line.startswith(("workspace", '"workspace', "'workspace", "[ ", "[\t")) for line in lines):
            return False
    return "workspace" in parse_toml(text, path)


def _named_workspace(text: str, path: str) -> str:
    """``package.workspace``: where the root is, relative to the package."""
    if not any(line.strip().startswith("workspace") for line in text.split("\n")):
        return ""
    package = parse_toml(text, path).get("package")
    value = package.get("workspace") if isinstance(package, dict) else None
    return value if isinstance(value, str) else ""


def _excludes(text: str, path: str, member: str) -> bool:
    """Whether a root says that ``member``, a directory below it, is none of its packages."""
    if "exclude" not in text:
        return False
    table = parse_toml(text, path)["workspace"]
    base = path.rpartition("/")[0]

    def holds(key: str) -> bool:
        return any((member + "/").startswith(_plain(absolute(str(each), base)) + "/") for each in table.get(key, ()))

    return holds("exclude") and not holds("members")


def _plain(path: str) -> str:
    """``path`` without ``..``, from the text alone."""
    parts: "List[str]" = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def parse_toml(text: str, path: str) -> "Dict[str, Any]":
    """A TOML document. Raises Unclear where it is none."""
    from kachelib import cargo_config
    from kachelib.outcome import ConfigError

    try:
        return cargo_config.parse(text, path)
    except ConfigError as error:
        raise Unclear(str(error)) from None


def _words(text: str) -> "List[str]":
    return text.split()


def locked_packages(lock: str) -> "List[Tuple[str, str, str]]":
    """(name, version, source) of every package in the text of a Cargo.lock, which Cargo writes line by line."""
    found: "List[Tuple[str, str, str]]" = []
    name = version = source = ""
    for line in [*lock.split("\n"), "[[package]]"]:
        if line.startswith("[["):
            if name:
                found.append((name, version, source))
            name = version = source = ""
            continue
        key, equals, value = line.partition(" = ")
        if equals and value.startswith('"'):
            text = value[1:].rpartition('"')[0]
            if key == "name":
                name = text
            elif key == "version":
                version = text
            elif key == "source":
                source = text
    return found


def minor(version: str) -> int:
    """95 for "cargo 1.95.0 (…)"; 0 where that cannot be read."""
    parts = version.partition(" ")[2].split(".")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0


def cargo_version(program: str, memo_dir: str, environ: "Optional[Dict[str, str]]" = None) -> str:
    """What ``program``, Cargo's own file, says of its version; "" where it cannot be asked. Kept in a memo."""
    from kachelib import memo, toolchain

    try:
        state = memo.identity(posix.stat(program))
    except OSError:
        return ""
    path = memo.path_of(memo_dir, "cargo", program)
    body = memo.read(path)
    if body is not None and body.partition(b"\0")[0] == state:
        return body.partition(b"\0")[2].decode("utf-8", "replace")
    import subprocess

    try:
        done = subprocess.run([program, "-V"], capture_output=True, check=False, env=environ, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if done.returncode != 0:
        return ""
    # rustup's proxy is another Cargo in another directory
    if toolchain.says_what_it_is(program):
        memo.write(path, state + b"\0" + done.stdout)
    return done.stdout.decode("utf-8", "replace")

"""Nix: which toolchain from its store this environment resolves to, and what its compiler wrappers are told there.

Owns the salt that stands for such a toolchain and the normal form of the wrappers' variables. Nix itself need not be
there: everything is read from PATH, links and the environment. Knows nothing of keys, settings or commands.

Grammar of the salt (version 1):

    salt   = "nixr1-" digest          32 hex digits of the key (key.py) that these fields make:
    field  = "tool " name             a tool's last path component; value: the store paths on the way, joined by LF
           | "env " variable          value: its words in normal form, joined by blanks

A flake makes another one when it is evaluated (nix/lib.nix), of the outPaths that its shell names in KACHE_KEY_SALT_OF:

    salt   = "nixe1-" digest          32 hex digits of the SHA-256 of these, sorted, joined by LF

With input-addressed store paths a path stands for its whole closure: a libc deep below a compiler's wrapper moves the
wrapper's own path. That the paths on the *way* count, and not only where the links end, is for aggregates
(``symlinkJoin``, rust-overlay), whose end may be what several of them share.
"""

import posix

from kachelib.key import Transcript
from kachelib.store import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, List, Tuple

STORE = "/nix/store"
PREFIX = "nixr1-"
FLAKE_PREFIX = "nixe1-"
CLOSURE_PREFIX = "nixc1-"
FLAKE_PATHS = "KACHE_KEY_SALT_OF"
DIGITS = 32

# What a Rust build runs without being told to.
TOOLS = ("rustc", "cargo", "cc", "c++", "ld", "mold", "lld")

# Of these a flake's salt is made; what cc links with hangs below it.
COVERED = ("rustc", "cargo", "cc", "c++")

# Variables that name further ones, each as a command line.
COMMANDS = ("CC", "CXX", "LD", "RUSTC")
FLAGS = ("CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS")

# How the names of variables begin that nixpkgs' cc-wrapper, ld-wrapper and bintools-wrapper read (their *-wrapper.sh,
# add-flags.sh and setup hooks); behind them comes nothing, _FOR_BUILD, _FOR_TARGET or a platform.
VARIABLES = (
    "NIX_BINTOOLS",
    "NIX_CC",
    "NIX_CFLAGS_COMPILE",
    "NIX_CFLAGS_LINK",
    "NIX_COREFOUNDATION_RPATH",
    "NIX_CXXSTDLIB_COMPILE",
    "NIX_CXXSTDLIB_LINK",
    "NIX_DONT_SET_RPATH",
    "NIX_DYNAMIC_LINKER",
    "NIX_ENFORCE_NO_NATIVE",
    "NIX_ENFORCE_PURITY",
    "NIX_GNATFLAGS_COMPILE",
    "NIX_HARDENING_ENABLE",
    "NIX_IGNORE_LD_THROUGH_GCC",
    "NIX_LDFLAGS",
    "NIX_NO_SELF_RPATH",
    "NIX_SET_BUILD_ID",
)

# The seed is taken from the shell's own name, and moves with every edit of the shell (nixpkgs, reproducible-builds.sh).
SEED = "-frandom-seed="

# Where `nix develop` says that the outputs of the shell's derivation would go.
DEVELOP_OUTPUTS = "/outputs/"

LOCAL = "<local>"

# SHA-256 of no bytes: what `nix eval … | sha256sum` prints when nix failed.
HASH_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

MOST_LINKS = 40


class Tool:
    """A program that a build may run. name: as it was asked for; path: what PATH or a link's name gave, "" where there
    is none; stores: the store paths on the chain of links behind it, in order."""

    __slots__ = ("name", "path", "stores")

    def __init__(self, name: str, path: str, stores: "List[str]") -> None:
        self.name = name
        self.path = path
        self.stores = stores


class Environment:
    """What an environment resolves to. tools: all that were looked for; variables: (name, value in normal form)."""

    __slots__ = ("tools", "variables")

    def __init__(self, tools: "List[Tool]", variables: "List[Tuple[str, str]]") -> None:
        self.tools = tools
        self.variables = variables

    def fields(self) -> "List[Tuple[str, str]]":
        """What goes into the salt, in order; nothing where no tool comes from the store."""
        found = [(tool.name, tool.stores) for tool in self.tools if tool.stores]
        tools = [("tool " + name.rpartition("/")[2], "\n".join(stores)) for name, stores in found]
        return tools + [("env " + name, value) for name, value in self.variables] if tools else []

    def salt(self) -> str:
        """The salt; "" where no tool comes from the store."""
        fields = self.fields()
        return digest(PREFIX, fields) if fields else ""


def is_hash_of_nothing(salt: str) -> bool:
    """Whether a salt is the beginning of the hash of an empty text."""
    return len(salt) >= 8 and HASH_OF_NOTHING.startswith(salt)


def stale(environ: "Dict[str, str]", known: str, found: Environment) -> "List[str]":
    """Why a flake's salt is not one for what the environment resolves to, a line each; none where it is one, or where
    the shell does not say what its salt is of."""
    import hashlib

    paths = environ.get(FLAKE_PATHS, "").split()
    tools = [tool for tool in found.tools if tool.stores and tool.name.rpartition("/")[2] in COVERED]
    lines = [] if tools else ["no tool here is from the Nix store"]
    if not paths:
        return lines
    made = FLAKE_PREFIX + hashlib.sha256("\n".join(sorted(paths)).encode()).hexdigest()[:DIGITS]
    if made != known:
        lines.append("%s names what gives %s" % (FLAKE_PATHS, made))
    for tool in tools:
        if not set(tool.stores).intersection(paths):
            lines.append("%s is %s, of which the salt was not made" % (tool.name, tool.stores[0]))
    return lines


def digest(prefix: str, fields: "List[Tuple[str, str]]") -> str:
    """The salt that these fields make."""
    key = Transcript()
    for tag, value in fields:
        key.add(tag, value)
    return prefix + key.digest()[:DIGITS]


def resolve(environ: "Dict[str, str]", directory: str) -> Environment:
    """Look every tool up as a build in ``directory`` (absolute) would. Never raises."""
    path = environ.get("PATH", "")
    tools: "Dict[str, Tool]" = {}
    for name in (*TOOLS, *_named(environ), *_configured(environ, directory)):
        # "kache cc" runs cc; kache's own place in the store says nothing about what it runs
        if name not in tools and name.rpartition("/")[2] != "kache":
            tools[name] = _find(name, path, directory)
    variables = [(name, _portable(words)) for name, words in wrapper_words(environ, False)]
    return Environment(list(tools.values()), variables)


def wrapper_variables(environ: "Dict[str, str]") -> "List[Tuple[str, str]]":
    """The variables of Nix's compiler wrappers with what they say to a compile or link here, sorted by name."""
    return [(name, " ".join(words)) for name, words in wrapper_words(environ, True)]


def wrapper_words(environ: "Dict[str, str]", existing: bool) -> "Iterator[Tuple[str, List[str]]]":
    """Each variable's words, without the seed and without the search path for libraries that the shell's derivation
    would install, which nobody builds; where such a directory is there after all, ``existing`` keeps it."""
    outputs = [environ[name] for name in environ.get("outputs", "out").split() if environ.get(name, "").startswith("/")]
    for name in variable_names(environ):
        words = environ[name].split()
        if SEED in environ[name] or "-rpath" in words:
            words = _without_outputs(words, outputs, existing)
        yield name, words


def variable_names(environ: "Dict[str, str]") -> "List[str]":
    """The variables of Nix's compiler wrappers that are set, sorted."""
    # elsewhere no name begins so, and every linked output is asked for
    return sorted(name for name in environ if name.startswith("NIX_") and name.startswith(VARIABLES))


def linker_changes(environ: "Dict[str, str]") -> "List[Tuple[str, str]]":
    """The variables that a linker must get with another value than they have, to write the same in every checkout.

    Unchanged, the checkout's name would stand in every executable, and nothing above a proc macro would be the same
    in two of them.
    """
    found = wrapper_words(environ, True)
    return [(name, " ".join(words)) for name, words in found if len(words) != len(environ[name].split())]


def _without_outputs(words: "List[str]", outputs: "List[str]", existing: bool) -> "List[str]":
    kept: "List[str]" = []
    rest = iter(words)
    for word in rest:
        if word.startswith(SEED):
            continue
        if word == "-rpath":
            place = next(rest, "")
            if not _is_output(place, outputs) or (existing and posix.access(place, posix.F_OK)):
                kept += (word, place)
            continue
        kept.append(word)
    return kept


def _is_output(place: str, outputs: "List[str]") -> bool:
    below = any(place.startswith(output.rstrip("/") + "/") for output in outputs)
    return below or (DEVELOP_OUTPUTS in place and not place.startswith(STORE + "/"))


def _portable(words: "List[str]") -> str:
    """The words with every path outside the store taken out: it is another one in another checkout."""
    kept = []
    for word in words:
        start = word.find("/")
        outside = start >= 0 and not word.startswith(STORE + "/", start)
        kept.append(word[:start] + LOCAL if outside else word)
    return " ".join(kept)


def _named(environ: "Dict[str, str]") -> "Iterator[str]":
    """The programs that variables name: compilers, and linkers of a target."""
    for name in sorted(environ):
        linker = name.startswith("CARGO_TARGET_") and name.endswith("_LINKER")
        if name in COMMANDS or linker:
            yield from [word for word in environ[name].split() if word[0] not in "-@"]
        elif name in FLAGS or (name.startswith("CARGO_TARGET_") and name.endswith("_RUSTFLAGS")):
            yield from _linkers(environ[name])


def _configured(environ: "Dict[str, str]", directory: str) -> "Iterator[str]":
    """The linkers that Cargo's configuration names (The Cargo Book, "Configuration"): upwards, then CARGO_HOME's.

    Taken from the text: one too many costs a miss after its change, and to parse TOML would cost every compile.
    """
    homes = [environ.get("CARGO_HOME") or environ.get("HOME", "") + "/.cargo"]
    while directory:
        homes.insert(-1, directory + "/.cargo")
        directory = directory.rpartition("/")[0]
    for home in homes:
        for file in ("/config.toml", "/config"):
            data = read_file(home + file)
            if data is not None:
                lines = data.decode("utf-8", "surrogateescape").split("\n")
                for line in lines:
                    if not line.lstrip().startswith("#"):
                        yield from _linkers(line)


def _linkers(text: str) -> "Iterator[str]":
    """What stands behind each ``linker =``, quoted or not."""
    at = text.find("linker")
    while at >= 0:
        rest = text[at + len("linker") :].lstrip()
        if rest.startswith("="):
            rest = rest[1:].lstrip()
            if rest[:1] in ("'", '"'):
                name = rest[1:].partition(rest[0])[0]
            else:
                name = rest.replace("\x1f", " ").replace('"', " ").replace("'", " ").partition(" ")[0]
            if name.strip():
                yield name
        at = text.find("linker", at + 1)


def _find(name: str, path: str, directory: str) -> Tool:
    if "/" in name:
        place = name if name.startswith("/") else directory + "/" + name
        return Tool(name, place, store_paths(place)[0])
    for each in path.split(":"):
        place = (each or ".") + "/" + name
        if is_program(place):
            stores, end = store_paths(place if place.startswith("/") else directory + "/" + place)
            if end.rpartition("/")[2] != "kache":
                return Tool(name, place, stores)
    return Tool(name, "", [])


def store_paths(path: str) -> "Tuple[List[str], str]":
    """The store paths on the way along ``path`` (absolute) and every link in it, in order; and where the way ends."""
    found: "Dict[str, None]" = {}
    todo = path.split("/")[::-1]
    at = ""
    links = 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            at = at.rpartition("/")[0]
            continue
        above, at = at, at + "/" + name
        if above == STORE:
            found[at] = None
        try:
            target = posix.readlink(at)
        except OSError:
            continue
        links += 1
        if links > MOST_LINKS:
            break
        at = "" if target.startswith("/") else above
        todo += target.split("/")[::-1]
    return list(found), at


def is_program(path: str) -> bool:
    """Whether ``path`` can be run; a directory passes for executable, too."""
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o100000 and posix.access(path, posix.X_OK)
    except (OSError, ValueError):
        return False

"""Conditions: what Cargo does not see and a unit yet hangs on, and whether it is here as it was there.

Owns the kinds of a snapshot's requirements, their values at this place, and the environment key. Reads only. Knows
snapshots, settings and the compiler; nothing of how units are taken or put back.

kind, name, value of a Requirement (paths may have placeholders):

    env       variable          "=" and its value, or "-" where it was not set
    linker    program LF flags  digest of the linker's identity
    ccompiler program           digest of the C compiler's identity
    cpu       ""                digest of what target-cpu=native stands for
    driver    ""                digest of clippy-driver's version
    remap     source LF cwd     the roots that the compiler was told to remap
    exists    path              "": it is there
    package   directory         fingerprint of a package, as a proc macro may see it
    script    directory         fingerprint of a package, as its build script may see it
    tree      directory         names and contents of all files below it
    state     path              inode and times of what lies outside of all packages
    commit    directory         the commit that is checked out, its branch and all tags
    extra     directory         digest of the declared extra inputs
"""

import posix

from kachelib import extra_inputs, inputs, memo, roots, toolchain
from kachelib.action import APPLE_VARIABLES
from kachelib.entry import ABSENT, SOURCE
from kachelib.key import SCHEMA, Transcript, digest_bytes
from kachelib.roots import CARGO_HOME, HOME, SYSROOT, TARGET, WORKSPACE, Roots, exists
from kachelib.store import names_in, read_file
from kachelib.units import SCHEMA as UNITS_SCHEMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Tuple

    from kachelib.cargo_call import CargoCall
    from kachelib.config import Settings
    from kachelib.entry import Input
    from kachelib.store import Store
    from kachelib.toolchain import Toolchain
    from kachelib.units import Requirement, Snapshot

# Read by rustc and by no fingerprint of Cargo's.
ENVIRONMENT = (*APPLE_VARIABLES, "RUSTC_BOOTSTRAP", "RUST_TARGET_PATH")

# What changes the work of a C compiler that a build script calls, declared or not.
C_ENVIRONMENT = (
    "AR", "ARFLAGS", "CC", "CFLAGS", "CPATH", "CPPFLAGS", "CXX", "CXXFLAGS", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH",
    "HOST_CC", "HOST_CFLAGS", "LDFLAGS", "TARGET_CC", "TARGET_CFLAGS", "PKG_CONFIG_PATH", "SOURCE_DATE_EPOCH",
)  # fmt: skip

# These roots may be written in another way elsewhere; the others only bind.
REWRITTEN = (WORKSPACE, TARGET, CARGO_HOME)


class Here:
    """This place: what requirements are compared with.

    roots: of the whole build; rewritten: those that text may name in another way elsewhere; tools: the compiler's
    identity; cargo: Cargo's version; store: for memos, and what is taken; shelf: where snapshots come from.
    """

    def __init__(self, call: "CargoCall", settings: "Settings", store: "Store", tools: "Toolchain", cargo: str) -> None:
        self.call = call
        self.settings = settings
        self.store = store
        # Where snapshots come from: the user's own store, or the one that is only read.
        self.shelf = store
        self.tools = tools
        self.cargo = cargo
        self.environ = call.environ
        values = {WORKSPACE: call.root, TARGET: call.build_dir, CARGO_HOME: call.cargo_home, SYSROOT: tools.sysroot}
        home = self.environ.get("HOME", "").rstrip("/")
        if home.startswith("/"):
            values[HOME] = home
        self.roots = Roots({name: value for name, value in values.items() if len(value) > 1}, True, False)
        rewritten = {name: value for name, value in self.roots.by_name.items() if name in REWRITTEN}
        self.rewritten = Roots(rewritten, True, False)
        self._target = ""
        self._known: "Dict[Tuple[str, str], str]" = {}
        self._kinds: "Dict[str, Callable[[str], str]]" = {
            "env": self._variable,
            "linker": self._linker,
            "ccompiler": self._c_compiler,
            "cpu": self._cpu,
            "driver": self._driver,
            "remap": self._remap,
            "members' remap": lambda cwd: self._remapped("a member", self.local(cwd)),
            "exists": self._exists,
            "package": self._package,
            "script": self._script,
            "tree": self._tree,
            "state": self._state,
            "commit": self._commit,
            "extra": self._extra,
        }

    def selection(self) -> str:
        """What a plan is found by, beside its Cargo.lock: the environment key and what chooses between fingerprints."""
        key = Transcript()
        for tag, value in self.selection_fields():
            key.add(tag, value)
        return key.digest()

    def c_variables(self) -> "List[str]":
        """The variables that C compilers, or the ``cc`` crate, would read; sorted."""
        named = [name for name in self.environ if name.startswith(("CC", "CXX", "CFLAGS_", "CXXFLAGS_", "AR_"))]
        return sorted({*named, *C_ENVIRONMENT})

    def selection_fields(self) -> "List[Tuple[str, str]]":
        """What ``selection`` is made of: (tag, value)."""
        settings = self.settings
        fields = [
            ("schema", UNITS_SCHEMA + " " + SCHEMA),
            ("compiler", self.tools.version),
            ("cargo", self.cargo),
            ("remap", "yes" if settings.path_normalize else "no"),
            ("executables", "yes" if settings.cache_executables else "no"),
            ("salt", settings.key_salt),
        ]
        if settings.toolchain_salt:
            fields.append(("nix salt", settings.toolchain_salt))
        fields += [("env " + name, self._variable(name)) for name in (*settings.key_env_vars, *ENVIRONMENT)]
        fields += [("exclude", pattern) for pattern in settings.exclude]
        fields.append(("profile", self.call.profile))
        fields.append(("triples", " ".join(self.call.triples)))
        fields.append(("cargo home", self.call.cargo_home))
        return fields + [("selection", text) for text in self.call.selection]

    def value(self, kind: str, name: str) -> str:
        """What a requirement's value is here; "?" where it cannot be told, which is never equal. Asked once each."""
        key = kind, name
        found = self._known.get(key)
        if found is None:
            try:
                found = self._kinds[kind](name) if kind in self._kinds else "?"
            except OSError:
                found = "?"
            self._known[key] = found
        return found

    def difference(self, snapshot: "Snapshot") -> str:
        """The first thing that is not here as it was there, in words; "" where all is."""
        for name, value in snapshot.bindings:
            if self.roots.by_name.get(name) != value:
                return "bound to %s %s" % (name, value)
        for need in snapshot.requirements:
            found = self.value(need.kind, need.name)
            if found != need.value or found == "?":
                return self._describe(need)
        for item in snapshot.inputs:
            why = self._input(item)
            if why:
                return why
        return ""

    def _describe(self, need: "Requirement") -> str:
        name = need.name.partition("\n")[0]
        words = {
            "env": "variable %s differs" % name,
            "linker": "linker %s is another one%s" % (name, self._names(need)),
            "ccompiler": "C compiler %s is another one%s" % (name, self._names(need)),
            "cpu": "target-cpu=native is another processor",
            "driver": "clippy-driver is another one",
            "remap": "the local roots lie otherwise",
            "exists": "%s does not exist" % name,
            "package": "a file of the package %s differs" % name,
            "script": "a file of the package %s differs" % name,
            "tree": "a file below %s differs" % name,
            "state": "%s changed" % name,
            "commit": "another commit is checked out",
            "extra": "an extra input of %s differs" % name,
        }
        return words.get(need.kind, "%s is not understood" % need.kind)

    def _input(self, item: "Input") -> str:
        key = "input", item.path
        path = self.local(item.path)
        if item.kind == ABSENT:
            return "%s appeared" % item.path if exists(path) else ""
        found = self._known.get(key)
        if found is None:
            try:
                found = memo.file_digest(path, self.store)
            except OSError:
                found = ""
            self._known[key] = found
        if found != item.digest:
            return "%s differs" % item.path if found else "%s does not exist" % item.path
        if item.kind == SOURCE:
            rival = inputs.rival(path)
            if rival and exists(rival):
                return "%s stands beside a module of the same name" % item.path
        return ""

    def local(self, path: str) -> str:
        """A path with placeholders as it is here; one of an unknown root leads nowhere."""
        return self.roots.localise(path) or "/\1"

    def _variable(self, name: str) -> str:
        return "=" + self.environ[name] if name in self.environ else "-"

    def _names(self, need: "Requirement") -> str:
        """What a program said of itself there, where that was noted here, and what it says now."""
        if need.kind not in ("linker", "ccompiler"):
            return ""
        from kachelib import selection

        was, now = selection.name_of(self.store, need.value), _named(self._identity(need.name) or "")
        return ": it was '%s' and is '%s'" % (was, now) if was and now and was != now else ""

    def note_name(self, need: "Requirement") -> None:
        """Remember what the program of a requirement says of itself: the requirement has a digest only."""
        if need.kind in ("linker", "ccompiler"):
            from kachelib import selection

            selection.note_name(self.store, need.value, _named(self._identity(need.name) or ""))

    def _identity(self, name: str) -> "Optional[str]":
        program, *flags = name.split("\n")
        return toolchain.linker(program, flags, self.environ, self.store.memo_dir())

    def _linker(self, name: str) -> str:
        found = self._identity(name)
        if found is None:
            return "?"
        variables = toolchain.linker_environment(self.environ, self.settings.path_normalize)
        surroundings = [each + "=" + value for each, value in variables]
        return digest_bytes("\n".join([found, *surroundings]).encode("utf-8", "surrogateescape"))

    def _c_compiler(self, name: str) -> str:
        return self._linker(name)

    def _cpu(self, _: str) -> str:
        return digest_bytes(toolchain.native_cpu().encode()) if toolchain.native_cpu() else "?"

    def _driver(self, _: str) -> str:
        program = self.tools.sysroot + "/bin/clippy-driver"
        found = toolchain.identify([program, self.tools.program], self.environ, self.store.memo_dir())
        return digest_bytes(found.driver.encode()) if found else "?"

    def _remap(self, name: str) -> str:
        source, _, cwd = name.partition("\n")
        if source.startswith(("<", "/")):
            return self._remapped(self.local(source), self.local(cwd))
        # Of the workspace's members one is as good as another.
        return self.value("members' remap", cwd)

    def _remapped(self, place: str, cwd: str) -> str:
        environ = dict(self.environ)
        environ.pop("CARGO_MANIFEST_DIR", None)
        directory = self.call.build_dir + "/" + self.call.profile + "/deps"
        if not self._target:
            self._target = roots.target_directory(directory)
        found = roots.with_sysroot(roots.find(place, cwd, directory, environ, self._target), self.tools.sysroot)
        names = set(found.remapped())
        if self.environ.get("HOME", "").rstrip("/") in found.by_name.values():
            names.add(HOME)
        return ",".join(sorted(names)) + " " + ("yes" if found.member else "no")

    def _exists(self, name: str) -> str:
        return "" if exists(self.local(name)) else "?"

    def _package(self, name: str) -> str:
        return inputs.package_tree(self.local(name), self.call.target_dir, self.store)

    def _script(self, name: str) -> str:
        return inputs.script_tree(self.local(name), self.call.target_dir, self.store)

    def _tree(self, name: str) -> str:
        return inputs.whole_tree(self.local(name), self.store)

    def _state(self, name: str) -> str:
        return memo.identity(posix.stat(self.local(name))).decode()

    def _commit(self, name: str) -> str:
        return head_state(self.local(name)) or "?"

    def _extra(self, name: str) -> str:
        found = extra_inputs.read(self.local(name), self.store.memo_dir())
        if found is None:
            return ""
        if found.error:
            return "?"
        files = [(each, memo.file_digest(path, self.store)) for each, path in found.files]
        return extra_digest(list(found.patterns), files)


def _named(identity: str) -> str:
    """What the first line of a linker's identity (probe.linker) says."""
    return identity.partition("\n")[0].partition(" ")[2]


def extra_digest(patterns: "List[str]", files: "List[Tuple[str, str]]") -> str:
    """What a package declares in its kache.toml, and what that is now; files: (name, digest)."""
    parts = [*patterns, *[name + " " + digest for name, digest in files]]
    return digest_bytes("\0".join(parts).encode("utf-8", "surrogateescape")) if parts else ""


def head_moved(directory: str) -> int:
    """When another commit was checked out last around ``directory``, in ns of its files' times; 0 without git."""
    newest = 0
    while directory:
        place = directory + "/.git"
        if exists(place):
            place = _git_directory(place)
            for name in ("/HEAD", "/logs/HEAD"):
                try:
                    newest = max(newest, posix.stat(place + name).st_mtime_ns)
                except OSError:
                    continue
            break
        directory = directory.rpartition("/")[0]
    return newest


def head_commit(directory: str) -> str:
    """The commit that git has checked out around ``directory``, 40 or more hex digits; "" where that is not known."""
    while directory:
        place = directory + "/.git"
        if exists(place):
            return _head(place)
        directory = directory.rpartition("/")[0]
    return ""


def head_state(directory: str) -> str:
    """The commit that is checked out around ``directory``, the branch, and a digest of all tags; "" where that is not
    known."""
    commit = head_commit(directory)
    if not commit:
        return ""
    while not exists(directory + "/.git"):
        directory = directory.rpartition("/")[0]
    place = _git_directory(directory + "/.git")
    common = _text(place + "/commondir")
    base = roots.absolute(common, place) if common else place
    tags = {}
    for line in _text(base + "/packed-refs").split("\n"):
        target, _, name = line.partition(" ")
        if name.startswith("refs/tags/"):
            tags[name] = target
    pending = ["refs/tags"]
    while pending:
        name = pending.pop()
        for each in names_in(base + "/" + name):
            path = name + "/" + each
            found = _text(base + "/" + path)
            if found:
                tags[path] = found
            else:
                pending.append(path)
    text = "\n".join(["%s %s" % pair for pair in sorted(tags.items())])
    return "%s %s %s" % (commit, _text(place + "/HEAD"), digest_bytes(text.encode("utf-8", "surrogateescape")))


def _git_directory(place: str) -> str:
    link = read_file(place)
    if link is not None and link.startswith(b"gitdir: "):
        # a worktree or submodule
        place = roots.absolute(link[8:].strip().decode("utf-8", "surrogateescape"), place.rpartition("/")[0])
    return place


def _head(place: str) -> str:
    place = _git_directory(place)
    head = _text(place + "/HEAD")
    if not head.startswith("ref: "):
        return head if _is_commit(head) else ""
    name = head[5:]
    common = _text(place + "/commondir")
    for base in (place, roots.absolute(common, place) if common else place):
        found = _text(base + "/" + name)
        if _is_commit(found):
            return found
        for line in _text(base + "/packed-refs").split("\n"):
            commit, _, ref = line.partition(" ")
            if ref == name and _is_commit(commit):
                return commit
    return ""


def _text(path: str) -> str:
    return (read_file(path) or b"").decode("utf-8", "surrogateescape").strip()


def _is_commit(text: str) -> bool:
    return len(text) in (40, 64) and all(char in "0123456789abcdef" for char in text)


def compiler(command: "List[str]", environ: "Dict[str, str]", store: "Store") -> "Optional[Toolchain]":
    """The identity of the compiler that Cargo would call; of a driver's the one behind it."""
    return toolchain.identify(command[-1:], environ, store.memo_dir())

"""Taking: from a target directory that Cargo has left to snapshots and a plan.

Owns the rules by which a unit may be kept. Only outputs that kache stored or restored are taken, and only where all
that they were built against lies beside them. Never writes into the target.
"""

import errno
import os
import time
from typing import Dict, List, NamedTuple, Set, Tuple

from kachelib import fingerprint, inputs, memo, selection, toolchain, units
from kachelib.conditions import Here, extra_digest
from kachelib.entry import ABSENT, FILE, SOURCE, Input
from kachelib.fingerprint import FormatError
from kachelib.key import Transcript, digest_bytes
from kachelib.roots import HOME, exists
from kachelib.script_run import Refused, bind, is_package_of, keep_file
from kachelib.store import read_file
from kachelib.target import PACKAGE_ROOT, Key, Target, Unit
from kachelib.units import COPY, LINK, NAME, RAW, WATCHED, File, Plan, Requirement, Snapshot

# Kinds of units whose outputs people get, and may strip or sign in place.
HANDED_OUT = ("bin-", "example-", "test-", "bench-")
CLIPPY_FILES = (".clippy.toml", "clippy.toml")


class Taken(NamedTuple):
    """What a taking came to. kept: unit -> digest; refused: unit -> why not."""

    kept: Dict[Key, str]
    refused: Dict[Key, str]


def take(here: Here, deadline: float) -> Taken:
    """Keep the units of the profile, and put them into the plan of the Cargo.lock as it is now. Raises OSError.

    deadline: of time.monotonic(); what is not kept by then is left for another time.
    """
    target = Target(here)
    lock = read_file(here.call.lock_file())
    taken = Taken({}, {})
    if lock is None:
        return taken
    target.read()
    keeper = _Keeper(here, target)
    lock_digest = digest_bytes(lock)
    chosen = here.selection()
    plan = units.read_plan(here.store, chosen, lock_digest) or Plan()
    before = plan.encode()
    for unit in target.units.values():
        if time.monotonic() > deadline:
            break
        try:
            snapshot = keeper.snapshot(unit)
            if unit.states() != target.states[unit.key()]:
                raise Refused("Cargo is at work on it")
            digest = units.write_unit(here.store, snapshot)
        except (Refused, FormatError) as why:
            taken.refused[unit.key()] = str(why)
            continue
        except FileNotFoundError as why:
            taken.refused[unit.key()] = "%s is gone" % why.filename
            continue
        except (OSError, ValueError) as why:
            # what one unit reads is odd; a store that takes nothing more is another matter
            if isinstance(why, OSError) and why.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            taken.refused[unit.key()] = str(why)
            continue
        plan.add(unit.key(), digest)
        taken.kept[unit.key()] = digest
    data = plan.encode()
    if taken.kept and (data != before or not exists(units.plan_path(here.store.root, chosen, lock_digest))):
        units.publish(units.plan_path(here.store.root, chosen, lock_digest), data)
    if taken.kept:
        selection.note(here.store, chosen, here.selection_fields())
    return taken


class _Keeper:
    """Makes snapshots of the units of one target directory."""

    def __init__(self, here: Here, target: Target) -> None:
        self.here = here
        self.target = target
        self._since = selection.since(here)
        # Roots that stand in another form in files that escape them.
        self._odd = [name for name, value in here.rewritten.values if any(char in value for char in ' "\\')]

    def snapshot(self, unit: Unit) -> Snapshot:
        """The unit as it is kept. Raises Refused, FormatError, OSError."""
        if unit.refusal or not unit.generation:
            raise Refused(unit.refusal or "it is not complete")
        if len((unit.directory + unit.name).split()) != 1:
            raise Refused("its name holds a space")
        s = Snapshot()
        s.triple, s.directory, s.name, s.hash = unit.triple, unit.directory, unit.name, unit.hash
        s.generation = unit.generation
        s.action_key = unit.action_key
        newest = unit.newest()
        if newest > time.time_ns():
            raise Refused("it has a time in the future")
        for each in self.target.dependencies(unit):
            if each.newest() > newest:
                raise Refused("%s is newer" % each.directory)
            s.dependencies.append((*each.key(), each.generation))
        bind(s, self.here, self._odd)
        parts = unit.source[len(self.here.call.cargo_home) + 1 :].split("/")
        if self.target.is_immutable(unit.source) and parts[0] == "registry":
            s.package = parts[3]
        if unit.run is not None:
            if os.stat(unit.run.path + "/output").st_ctime_ns < self._since:
                raise Refused("it ran under another configuration, salt or environment of C compilers")
            for each in self.target.dependencies(unit):
                if each.name.startswith(fingerprint.SCRIPT_PREFIX):
                    # What made it must be what would make it now: compiler, linker, sources.
                    self.snapshot(each)
            unit.run.keep(s, self.here)
            for name in ("root-output", "stderr", "output", fingerprint.STAMP):
                self._keep_text(s, unit.run.path + "/" + name, unit)
        else:
            self._keep_compile(s, unit)
        self._keep_fingerprint(s, unit)
        return s

    def _keep_text(self, s: Snapshot, path: str, unit: Unit) -> None:
        file, _ = keep_file(path, path[len(unit.profile_dir) + 1 :], os.stat(path), s, self.here)
        s.files.append(file)

    def _keep_fingerprint(self, s: Snapshot, unit: Unit) -> None:
        """The files in the fingerprint's directory; the fingerprint itself is the last of all."""
        relative = fingerprint.DIRECTORY + "/" + unit.directory + "/"
        own = [unit.name + fingerprint.JSON_ENDING, fingerprint.OUTPUT_PREFIX + unit.name]
        for name in own:
            if os.path.exists(unit.path + "/" + name):
                self._keep_text(s, unit.path + "/" + name, unit)
        watched = read_file(unit.path + "/" + fingerprint.DEP_PREFIX + unit.name)
        if watched is not None:
            found = fingerprint.decode_dep(watched)
            kept = found.with_paths(lambda path: _normal(path, self.here))
            same = kept.paths == found.paths
            file = File(RAW if same else WATCHED, relative + fingerprint.DEP_PREFIX + unit.name, 0o666, kept.encode())
            s.files.append(file)
        elif unit.run is None:
            raise Refused("its dep file is missing")
        s.files.append(File(RAW, relative + unit.name, 0o666, unit.hash.encode()))

    def _keep_compile(self, s: Snapshot, unit: Unit) -> None:
        candidate = unit.candidate
        assert candidate is not None
        self._check_externs(unit)
        handed_out = unit.name.startswith(HANDED_OUT)
        for output in candidate.outputs[1:]:
            path = next(path for path in unit.outputs if os.path.basename(path) == output.name)
            relative = path[len(unit.profile_dir) + 1 :]
            if not self.here.store.has_blob(output.digest, output.size):
                raise Refused("a blob is missing")
            mode = 0o777 if output.executable else 0o666
            # people strip and index what they were given, and a static library is that
            form = COPY if handed_out or output.name.endswith(".a") else LINK
            s.files.append(File(form, relative, mode, digest=output.digest, size=output.size))
            second = os.path.dirname(path) + "/build-script-build"
            if unit.name.startswith(fingerprint.SCRIPT_PREFIX) and os.path.exists(second):
                s.files.append(File(NAME, os.path.dirname(relative) + "/build-script-build", mode))
        self._keep_text(s, self.target.depinfo_path(unit), unit)
        roots = self.here.roots.by_name
        for name, value in candidate.bindings:
            # Cargo marks the directory of a triple as well, and a compile takes the nearest one for its target's root.
            if name in roots and value in (roots[name], roots[name] + "/" + unit.triple):
                bind(s, self.here, [name])
            elif name != PACKAGE_ROOT[1:-1]:
                raise Refused("bound to %s %s" % (name, value))
        for need in candidate.needs:
            s.requirements.append(Requirement("exists", need, ""))
        immutable = self.target.is_immutable(unit.source)
        package = "" if immutable else self.target.package(unit.source)
        if package and not is_package_of(package, unit.directory):
            raise Refused("its source lies in another package than its own")
        s.stamped = not immutable
        self._add_inputs(s, unit, package)
        self._add_fields(s, unit, package)

    def _check_externs(self, unit: Unit) -> None:
        """What the compile was given must be what lies here now."""
        known = {digest for each in self.target.dependencies(unit) for digest in each.outputs.values()}
        cfgs: Set[str] = set()
        for tag, value in unit.fields:
            digest = value.rpartition(" ")[2]
            if tag == "extern" and len(digest) == 64 and digest not in known:
                raise Refused("%s is not what it was compiled against" % value.partition(" ")[0])
            if tag == "--cfg" and not value.startswith("feature="):
                cfgs.add(value)
        flags = set(unit.described.rustflags) if unit.described else set()
        wanted: Set[str] = set()
        for each in self.target.dependencies(unit):
            if each.run is not None and each.directory.rpartition("-")[0] == unit.directory.rpartition("-")[0]:
                wanted |= _cfgs(each.run.output or b"")
        if not wanted <= cfgs or any(cfg not in wanted and not _in_flags(cfg, flags) for cfg in cfgs):
            raise Refused("it was compiled against another run of its build script")

    def _add_inputs(self, s: Snapshot, unit: Unit, package: str) -> None:
        """The files that the compile read, as they are now; those of other units are known by these."""
        assert unit.candidate is not None
        target = self.here.call.build_dir + "/"
        for item in unit.candidate.inputs:
            path = self._local(item.path, unit, package)
            if path.startswith(target):
                # Text that was put together for this place is other text elsewhere.
                data = read_file(path) or b""
                bind(s, self.here, units.remaining_roots(data, self.here.roots))
            if item.kind == ABSENT:
                if exists(path):
                    raise Refused("%s appeared" % item.path)
            elif memo.file_digest(path, self.here.store) != item.digest:
                raise Refused("%s changed since it was compiled" % item.path)
            if path.startswith(target) and not path.startswith(self._made_here(unit)):
                raise Refused("%s lies in the target directory, and no build script made it" % item.path)
            if path.startswith(target) or (not package and path.startswith(self.here.call.cargo_home + "/")):
                continue
            kind = SOURCE if item.kind == SOURCE and package else FILE if item.kind == SOURCE else item.kind
            s.inputs.append(Input(kind, self._place(path), item.digest))
        for dep in unit.candidate.env_deps:
            if dep.name == "CARGO_PRIMARY_PACKAGE":
                raise Refused("it hangs on what Cargo was asked for")
            if dep.state == "=":
                bind(s, self.here, [n for n, value in self.here.roots.values if value in dep.value and n != HOME])
        self._add_surroundings(s, unit, package)
        if package:
            self._add_package(s, unit, package)

    def _made_here(self, unit: Unit) -> Tuple[str, ...]:
        """Where in the target directory lies what other units are known to have made."""
        return unit.profile_dir + "/deps/", *(directory + "/build/" for _, directory in self.here.call.directories())

    def _add_surroundings(self, s: Snapshot, unit: Unit, package: str) -> None:
        """Where a proc macro may have looked around: the package, and what its build script left."""
        assert unit.candidate is not None
        if not unit.candidate.fingerprint:
            return
        place = self._place(package) if package else ""
        tree = self.here.value("package", place) if package else ""
        runs = [each.run for each in self.target.dependencies(unit) if each.run is not None]
        generated = ["", *[inputs.generated_tree(run.path + "/out", self.here.store) for run in runs]]
        if unit.candidate.fingerprint not in [inputs.fingerprint_of(tree, each) for each in generated]:
            raise Refused("a file of the package changed since it was compiled")
        if package:
            s.requirements.append(Requirement("package", place, tree))

    def _local(self, path: str, unit: Unit, package: str) -> str:
        """A path that an entry names, as it is here."""
        if path.startswith(PACKAGE_ROOT):
            return package + path[len(PACKAGE_ROOT) :]
        below = self.here.call.build_dir + "/" + unit.triple + path[len("<target>") :]
        return below if path.startswith("<target>/") and unit.triple and exists(below) else self.here.local(path)

    def _add_package(self, s: Snapshot, unit: Unit, package: str) -> None:
        """What a package whose files may change hangs on besides its sources."""
        manifest = package + "/Cargo.toml"
        paths = [manifest]
        if b"workspace" in (read_file(manifest) or b"") and package != self.here.call.root:
            paths.append(self.here.call.root + "/Cargo.toml")
        for path in paths:
            s.inputs.append(Input(FILE, self._place(path), memo.file_digest(path, self.here.store)))
        for path in paths:
            state = os.stat(path)
            if max(state.st_mtime_ns, state.st_ctime_ns) > max(unit.newest(), unit.noted()):
                raise Refused("%s changed since it was compiled" % path)
        place = self._place(package)
        self._require(s, "extra", place)
        patterns = [value for tag, value in unit.fields if tag == "extra input pattern"]
        files = [
            (tag[12:], value) for tag, value in unit.fields if tag.startswith("extra input ") and tag[12:] != "pattern"
        ]
        if s.requirements[-1].value != extra_digest(patterns, files):
            raise Refused("an extra input changed since it was compiled")

    def _check_settings(self, unit: Unit) -> None:
        """What the user puts into every key must be what it is now, for the plan will say that it is."""
        transcript = Transcript()
        toolchain.add_settings(transcript, self.here.settings, self.here.environ)
        tags = {"salt", "nix salt", *["env " + name for name in self.here.settings.key_env_vars]}
        if {pair for pair in unit.fields if pair[0] in tags} != set(transcript.fields):
            raise Refused("it was compiled with another salt, or another value of a variable in key_env_vars")

    def _add_fields(self, s: Snapshot, unit: Unit, package: str) -> None:
        """What the action's key says of things that Cargo does not see."""
        self._check_settings(unit)
        names: List[str] = []
        native: List[str] = []
        member = source = cwd = ""
        bound = False
        for tag, value in unit.fields:
            if tag == "remap":
                names.append(value)
            elif tag == "member":
                member = value
            elif tag == "source":
                source = value
            elif tag == "cwd":
                cwd = value
            elif tag.startswith("place "):
                bound = True
            elif tag in ("native cpu", "driver"):
                self._require(s, "cpu" if tag == "native cpu" else tag, "")
                if s.requirements[-1].value != digest_bytes(value.encode()):
                    raise Refused("%s is another one than it was compiled with" % tag)
            elif tag == "linker":
                self._add_linker(s, unit, value)
            elif tag == "-L native":
                native.append(value)
            elif tag in ("-L all", "-L crate", "target description", "rpath from", "primary"):
                raise Refused("%s is not followed" % tag)
            elif tag.startswith("static library "):
                self._add_archive(s, tag[15:], value, [self._local(each, unit, package) for each in native])
            elif tag.endswith(" file") or tag.startswith("clippy reads "):
                path = tag[13:] if tag.startswith("clippy reads ") else value.rpartition(" ")[0]
                self._add_file(s, self._local(path, unit, package), value.rpartition(" ")[2])
        if any(tag == "driver" for tag, _ in unit.fields):
            known = {item.path for item in s.inputs}
            directory = package
            while directory:
                for name in CLIPPY_FILES:
                    place = self._place(directory + "/" + name)
                    if place not in known:
                        s.inputs.append(Input(ABSENT, place, ""))
                directory = directory.rpartition("/")[0]
        if not bound:
            where = source if member != "yes" else source.replace("<workspace>/", "", 1)
            here = self.here
            name = "%s\n%s" % (_outside(where, package, here), _outside(cwd, package, here))
            if PACKAGE_ROOT not in (source + cwd):
                self._require(s, "remap", name)
                if s.requirements[-1].value != ",".join(sorted(names)) + " " + member:
                    raise Refused("the local roots lie otherwise than when it was compiled")

    def _require(self, s: Snapshot, kind: str, name: str) -> None:
        s.requirements.append(Requirement(kind, name, self.here.value(kind, name)))
        self.here.note_name(s.requirements[-1])

    def _add_file(self, s: Snapshot, path: str, digest: str) -> None:
        if memo.file_digest(path, self.here.store) != digest:
            raise Refused("%s changed since it was compiled" % path)
        s.inputs.append(Input(FILE, self._place(path), digest))

    def _add_archive(self, s: Snapshot, name: str, digest: str, native: List[str]) -> None:
        for directory in native:
            path = directory + "/lib" + name.partition(":")[0] + ".a"
            if os.path.exists(path) and memo.file_digest(path, self.here.store) == digest:
                if not path.startswith(self.here.call.build_dir + "/"):
                    s.inputs.append(Input(FILE, self._place(path), digest))
                return
        raise Refused("the static library %s is not found" % name)

    def _add_linker(self, s: Snapshot, unit: Unit, identity: str) -> None:
        """Find out which program is the linker that the key knows, and require it."""
        from kachelib.action import linker_flags

        environ = self.here.environ
        programs = [value for name, value in environ.items() if name.startswith("CARGO_TARGET_") and "LINKER" in name]
        flags = unit.described.rustflags if unit.described else []
        programs += [word.partition("linker=")[2] for word in flags if "linker=" in word]
        programs += [*self.here.call.linkers(), "cc"]
        codegen = [(tag[3:], value) for tag, value in unit.fields if tag in ("-C link-arg", "-C link-args")]
        words = linker_flags(codegen)
        for program in dict.fromkeys(programs):
            if toolchain.linker(program, words, environ, self.here.store.memo_dir()) == identity:
                self._require(s, "linker", "\n".join([program, *words]))
                return
        raise Refused("its linker is not known")

    def _place(self, path: str) -> str:
        return self.here.roots.normalise(path)


def _outside(path: str, package: str, here: Here) -> str:
    """A path of a package outside the workspace, as it is found here."""
    return path.replace(PACKAGE_ROOT, here.roots.normalise(package), 1) if path.startswith(PACKAGE_ROOT) else path


def _cfgs(output: bytes) -> Set[str]:
    """The ``rustc-cfg`` directives of a run."""
    found = set()
    for line in output.decode("utf-8", "surrogateescape").split("\n"):
        key, _, value = line.strip().partition("=")
        if key in ("cargo:rustc-cfg", "cargo::rustc-cfg"):
            found.add(value)
    return found


def _in_flags(cfg: str, flags: Set[str]) -> bool:
    return any(cfg == word or word == "--cfg=" + cfg for word in flags)


def _normal(path: bytes, here: Here) -> bytes:
    text = path.decode("utf-8", "surrogateescape")
    return here.rewritten.normalise(text).encode("utf-8", "surrogateescape")

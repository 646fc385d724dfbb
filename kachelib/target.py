"""A target directory as Cargo has left it: its units, and the entries that these came from.

Owns how a fingerprint, outputs, an entry and the units below it are found to belong together. Knows Cargo's formats and
the index; judges nothing but what is not complete, and never writes.
"""

import os
from typing import Dict, List, Optional, Set, Tuple

from kachelib import depinfo, fingerprint, index, memo
from kachelib.conditions import Here
from kachelib.entry import Candidate
from kachelib.fingerprint import Described, FormatError
from kachelib.key import digest_bytes
from kachelib.script_run import Refused, Run
from kachelib.store import read_file

Key = Tuple[str, str]

# How entries name the directory of a package outside the workspace.
PACKAGE_ROOT = "<package>"


class Unit:
    """One fingerprint in the target, and what was found out about it."""

    def __init__(self, triple: str, profile_dir: str, directory: str, name: str, text: str) -> None:
        self.triple = triple
        self.profile_dir = profile_dir
        self.directory = directory
        self.name = name
        self.hash = text
        self.path = profile_dir + "/" + fingerprint.DIRECTORY + "/" + directory
        self.described: Optional[Described] = None
        # paths of rustc's outputs -> digest
        self.outputs: Dict[str, str] = {}
        self.candidate: Optional[Candidate] = None
        self.action_key = ""
        self.fields: List[Tuple[str, str]] = []
        self.run: Optional[Run] = None
        self.source = ""
        self.generation = ""
        self.refusal = ""

    def key(self) -> Key:
        return self.triple, self.directory + "/" + self.name

    def is_run(self) -> bool:
        return self.name.startswith(fingerprint.RUN_PREFIX)

    def newest(self) -> int:
        """The newest of the times that Cargo compares, in ns."""
        paths = [self.run.path + "/output"] if self.run else list(self.outputs)
        return max((os.lstat(path).st_mtime_ns for path in paths), default=0)

    def noted(self) -> int:
        """When Cargo, or a warming, noted what the unit was built from, in ns; 0 where there is no such note."""
        path = self.path + "/" + fingerprint.DEP_PREFIX + self.name
        return os.stat(path).st_mtime_ns if os.path.exists(path) else 0

    def states(self) -> List[bytes]:
        """What tells that nobody worked on the unit meanwhile."""
        names = [self.path + "/" + self.name, self.path + "/dep-" + self.name, *sorted(self.outputs)]
        names += [self.run.path + "/output"] if self.run else []
        return [memo.identity(os.stat(path)) for path in names if os.path.exists(path)]


class Target:
    """The profile's directories of one target directory."""

    def __init__(self, here: Here) -> None:
        self.here = here
        self.units: Dict[Key, Unit] = {}
        self.states: Dict[Key, List[bytes]] = {}
        self._by_hash: Dict[str, List[Unit]] = {}
        self._names: Dict[str, Dict[str, List[str]]] = {}
        self._crates: Dict[str, List[Tuple[str, Candidate, List[Tuple[str, str]]]]] = {}

    def read(self) -> None:
        """Find all units, their outputs and the entries that these came from."""
        for triple, directory in self.here.call.directories():
            base = directory + "/" + fingerprint.DIRECTORY
            for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
                self._read_directory(triple, directory, name)
        crates: Set[str] = set()
        for unit in list(self.units.values()):
            self._find_outputs(unit)
            crates.update(_crate_name(path) for path in unit.outputs)
        with index.opened(self.here.store.root) as view:
            for crate in crates:
                self._crates[crate] = self._entries({item.action_key for item in view.items(crate)})
        for unit in self.units.values():
            self._find_candidate(unit)
        for unit in self.units.values():
            if unit.is_run():
                self._find_run(unit)
        for unit in self.units.values():
            self._generation(unit, set())
            self.states[unit.key()] = unit.states()

    def _read_directory(self, triple: str, profile_dir: str, directory: str) -> None:
        path = profile_dir + "/" + fingerprint.DIRECTORY + "/" + directory
        names = os.listdir(path) if os.path.isdir(path) else []
        for name in fingerprint.unit_names(names):
            data = read_file(path + "/" + name)
            if data is None or not fingerprint.is_hash(data) or name.startswith(fingerprint.DOC_PREFIXES):
                continue
            unit = Unit(triple, profile_dir, directory, name, data.decode("ascii", "replace"))
            text = read_file(path + "/" + name + fingerprint.JSON_ENDING)
            try:
                unit.described = fingerprint.describe(text) if text is not None else None
            except FormatError as why:
                unit.refusal = str(why)
            self.units[unit.key()] = unit
            self._by_hash.setdefault(unit.hash, []).append(unit)

    def _find_outputs(self, unit: Unit) -> None:
        if unit.is_run():
            return
        if unit.name.startswith(fingerprint.SCRIPT_PREFIX):
            directory = unit.profile_dir + "/build/" + unit.directory
        elif unit.name.startswith("example-"):
            directory = unit.profile_dir + "/examples"
        else:
            directory = unit.profile_dir + "/deps"
        tag = unit.directory.rpartition("-")[2]
        for name in self._listing(directory).get(tag, ()):
            path = directory + "/" + name
            if not name.endswith(".d") and os.path.isfile(path):
                unit.outputs[path] = memo.file_digest(path, self.here.store)

    def _listing(self, directory: str) -> Dict[str, List[str]]:
        """The files of a directory by the hash in their names."""
        if directory not in self._names:
            found: Dict[str, List[str]] = {}
            for name in os.listdir(directory) if os.path.isdir(directory) else ():
                found.setdefault(name.partition(".")[0].rpartition("-")[2], []).append(name)
            self._names[directory] = found
        return self._names[directory]

    def _entries(self, action_keys: Set[str]) -> List[Tuple[str, Candidate, List[Tuple[str, str]]]]:
        found = []
        for action_key in action_keys:
            entry = self.here.store.read_entry(action_key)
            if entry is not None:
                found += [(action_key, candidate, entry.transcript()) for candidate in entry.candidates()]
        return found

    def _find_candidate(self, unit: Unit) -> None:
        """The compile that these outputs came from, by their names and content."""
        names = {os.path.basename(path): digest for path, digest in unit.outputs.items()}
        for crate in {_crate_name(path) for path in unit.outputs}:
            for action_key, candidate, fields in self._crates.get(crate, ()):
                made = {output.name: output.digest for output in candidate.outputs if output.emit != "dep-info"}
                same = bool(made) and all(names.get(name) == digest for name, digest in made.items())
                if same and (unit.candidate is None or candidate.created > unit.candidate.created):
                    unit.candidate, unit.action_key, unit.fields = candidate, action_key, fields
        for path in list(unit.outputs):
            if unit.candidate and os.path.basename(path) not in {o.name for o in unit.candidate.outputs}:
                del unit.outputs[path]
        for tag, value in unit.fields:
            if tag == "source":
                unit.source = self._source(unit, value)

    def _source(self, unit: Unit, value: str) -> str:
        """The crate's first source as an absolute path; "" where it cannot be told."""
        if not value.startswith(PACKAGE_ROOT):
            return self.here.local(value)
        data = read_file(self.depinfo_path(unit)) or b""
        for name in depinfo.parse(data).files:
            if name.startswith("/") and name.endswith(value[len(PACKAGE_ROOT) :]):
                return name
        return ""

    def depinfo_path(self, unit: Unit) -> str:
        assert unit.candidate is not None
        directory = next(iter(unit.outputs), "").rpartition("/")[0]
        return directory + "/" + unit.candidate.outputs[0].name

    def _find_run(self, unit: Unit) -> None:
        scripts = [each for each in self.dependencies(unit) if each.name.startswith(fingerprint.SCRIPT_PREFIX)]
        if len(scripts) != 1 or not scripts[0].source or unit.described is None:
            unit.refusal = unit.refusal or "its build script is not known"
            return
        source = scripts[0].source
        package = self.package(source)
        directory = "build/" + unit.directory
        try:
            unit.run = Run(unit.profile_dir, directory, package, self.is_immutable(source), unit.described)
        except Refused as why:
            unit.refusal = str(why)
        unit.source = source

    def is_immutable(self, source: str) -> bool:
        home = self.here.call.cargo_home
        return source.startswith((home + "/registry/src/", home + "/git/checkouts/"))

    def package(self, source: str) -> str:
        """The directory of the package that a source belongs to."""
        directory = os.path.dirname(source)
        while directory != "/" and not os.path.exists(directory + "/Cargo.toml"):
            directory = os.path.dirname(directory)
        return directory

    def dependencies(self, unit: Unit) -> List[Unit]:
        """The units that this one was built against; fewer than it has where one is not complete."""
        found = []
        for text in unit.described.dependencies if unit.described else ():
            found += self._by_hash.get(text, [])
        return found

    def _generation(self, unit: Unit, above: Set[Key]) -> str:
        """The digest of a unit's outputs and of all below; "" where something is not known."""
        if unit.generation or unit.refusal or unit.key() in above:
            return unit.generation
        if unit.described is None:
            unit.refusal = "its fingerprint is not described"
            return ""
        parts = [unit.hash]
        if unit.is_run():
            if unit.run is None:
                unit.refusal = unit.refusal or "its build script is not known"
                return ""
            parts.append(unit.run.content_digest(self.here))
        elif unit.candidate is None:
            unit.refusal = "its outputs are not in the store"
            return ""
        else:
            parts += [os.path.basename(path) + " " + digest for path, digest in sorted(unit.outputs.items())]
        found = self.dependencies(unit)
        if len(found) != len(unit.described.dependencies):
            unit.refusal = "what it depends on is not complete, or there twice"
            return ""
        for each in found:
            below = self._generation(each, above | {unit.key()})
            if not below:
                unit.refusal = "it depends on %s: %s" % (each.directory, each.refusal)
                return ""
            parts.append(below)
        unit.generation = digest_bytes("\0".join(parts).encode("utf-8", "surrogateescape"))
        return unit.generation


def _crate_name(path: str) -> str:
    """The crate that an output is of: ``lib<crate>-<hash>.rlib``, ``<crate>-<hash>``."""
    name = os.path.basename(path).partition(".")[0].rpartition("-")[0]
    library = path.endswith((".rlib", ".rmeta", ".so", ".dylib", ".a"))
    return name[3:] if library and name.startswith("lib") else name

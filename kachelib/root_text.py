"""How root causes are told: in sentences, and as fields of JSON.

Owns the words. What is at the root of what, root_cause.py says.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from kachelib import console, difference, history
from kachelib.builds import C_CRATE, COMPILED
from kachelib.difference import Change
from kachelib.root_cause import Graph, Key, Miss, Root, Step, dependency

# Of what changed, where there is one line for it.
MOST_NAMED = 3

# Names of crates on one line.
MOST_CRATES = 8

# A way through more crates than this is told by its ends.
MOST_STEPS = 6
FIRST_STEPS, LAST_STEPS = 2, 3

# A value that is longer says nothing in a sentence.
LONGEST_VALUE = 40

VERSION = "env CARGO_PKG_VERSION"

# Below a package's directory, where Cargo looks for sources.
_SOURCE_PLACES = ("/src/", "/tests/", "/examples/", "/benches/", "/build.rs")


class Weight(NamedTuple):
    """What missed for one root alone: the compiles, and their compilers' time in seconds."""

    misses: Tuple[Miss, ...]
    seconds: float

    def crates(self) -> List[str]:
        """Whose compiles, each once."""
        return list(dict.fromkeys(str(miss.event.get("crate_name", "")) for miss in self.misses))


def weigh(misses: Sequence[Miss], roots: Sequence[Root]) -> Weight:
    """Those of ``misses`` whose roots are exactly these."""
    mine = tuple(miss for miss in misses if miss.roots == tuple(roots))
    return Weight(mine, seconds(mine))


def seconds(misses: Sequence[Miss]) -> float:
    """The compilers' time of all these."""
    return sum(history.number(miss.event, "compile_time_ms") for miss in misses) / 1000


def root_line(graph: Graph, root: Root) -> str:
    """A root in one line, with whose it is."""
    if root.lack:
        return root.lack
    crates = sorted({graph.steps[key].crate for key in root.steps})
    if len(root.packages) == 1:
        name = crates[0] if len(crates) == 1 or crates[0].startswith(C_CRATE) else root.packages[0]
    else:
        of_c = all(crate.startswith(C_CRATE) for crate in crates)
        name = "in " + console.plural(len(root.packages), "C file" if of_c else "package")
    return f"{name}: {_changes(graph, root.changes, root.steps[0])}"


def way(graph: Graph, miss: Miss, root: Root) -> str:
    """How a miss goes back to a root: ``app missed because base changed; base missed because src/lib.rs changed``."""
    keys = graph.way(miss.step, root)
    parts = []
    for key, following in zip(keys, keys[1:]):
        step = graph.steps[key]
        name = next(dependency(name) for name, other in step.through if other == following)
        parts.append(f"{_verb(graph, step)} because {name} changed")
    last = graph.steps[keys[-1]]
    if root.lack:
        lack = last.lack or root.lack
        parts.append(f"{last.crate} missed: {lack}" if last.new else f"why {last.crate} changed is not known: {lack}")
    else:
        parts.append(f"{_verb(graph, last)} because {_changes(graph, _own(last, root), keys[-1])}")
    left_out = len(parts) - FIRST_STEPS - LAST_STEPS
    if len(parts) > MOST_STEPS:
        parts[FIRST_STEPS:-LAST_STEPS] = [f"{left_out} more in between"]
    return "; ".join(parts)


def names(crates: Sequence[str]) -> str:
    """Crates on one line."""
    more = f" and {len(crates) - MOST_CRATES} more" if len(crates) > MOST_CRATES else ""
    return ", ".join(crates[:MOST_CRATES]) + more


def fields(graph: Graph, root: Root, weight: Weight) -> Dict[str, Any]:
    """A root as JSON."""
    return {
        "text": root_line(graph, root),
        "crate_names": sorted({graph.steps[key].crate for key in root.steps}),
        "changes": [difference.shown(change)._asdict() for change in root.changes],
        "unknown": root.lack or None,
        "only_because_of_it": weight.crates(),
        "units": len(weight.misses),
        "compile_time_ms": int(weight.seconds * 1000),
    }


def _own(step: Step, root: Root) -> List[Change]:
    """What of a step's own inputs belongs to a root."""
    causes = {(change.name, change.new) for change in root.changes}
    return [change for change in step.own if (change.name, change.new) in causes]


def _verb(graph: Graph, step: Step) -> str:
    event = graph.by_key.get(step.new.candidate.cache_key) if step.new else None
    if event is None:
        return f"{step.crate} is another"
    return f"{step.crate} {'missed' if event['result'] in COMPILED else 'came from the cache, and is another'}"


def _changes(graph: Graph, changes: Sequence[Change], key: Key) -> str:
    """What changed, for a sentence. key: of a step whose inputs these are."""
    step = graph.steps[key]
    home, place = _directory(graph, step)
    version = [change for change in changes if change.name == VERSION]
    if version:
        # The version is in the names of everything else.
        others = [change for change in changes if not change.name.startswith((VERSION, "<", "/", "source", "cwd"))]
        changes = version + [change for change in others if not change.name.startswith("-C metadata")]
    phrases = [_phrase(difference.shown(change), home) for change in sorted(changes, key=_rank)]
    more = f" and {len(phrases) - MOST_NAMED} more" if len(phrases) > MOST_NAMED else ""
    inside = any(change.name.startswith(home + "/") or change.name == difference.PACKAGE_FILES for change in changes)
    return ", ".join(phrases[:MOST_NAMED]) + more + (f" (in {place})" if home and inside else "")


def _rank(change: Change) -> int:
    """Flags and variables before files, for they say more in the same room."""
    return 1 if change.name.startswith(("<", "/")) else 2 if change.name == difference.PACKAGE_FILES else 0


def _phrase(change: Change, home: str) -> str:
    name, old, new = change
    if name.startswith(("<", "/")):
        what = "changed" if old and new else "came" if new else "went"
        return f"{_file(name, home)} {what}"
    if name == difference.PACKAGE_FILES:
        return "a file of the package that is no Rust source changed"
    name = {VERSION: "its version"}.get(name, name)
    if name.startswith(difference.DEPENDENCY):
        return name + (" changed" if old and new else " was added" if new else " was removed")
    value = " " + (new or old) if len(new or old) <= LONGEST_VALUE else ""
    if not old or not new:
        return f"{name}{value} {'was added' if new else 'was removed'}" if old or new else f"{name} changed"
    if max(len(old), len(new)) > LONGEST_VALUE:
        return f"{name} changed"
    return f"{name} changed from {old} to {new}"


def _file(path: str, home: str) -> str:
    """A file below the package's directory, or what Cargo's layout tells of another."""
    if home and path.startswith(home + "/"):
        return path[len(home) + 1 :]
    head, found, rest = path.partition("/out/")
    unit = head.rpartition("/")[2].rpartition("-")[0]
    if found and unit and "/build/" in head and path.startswith("<target>/"):
        return f"{rest}, which the build script of {unit} wrote,"
    return path


def _directory(graph: Graph, step: Step) -> Tuple[str, str]:
    """(the package's directory with its placeholder, the same as it is called here); ("", "") where that is unknown."""
    if step.new is None:
        return "", ""
    source = step.new.field("source")
    if step.new.field("language"):
        # The root of a C file is where its project lies.
        home = "<source>"
    else:
        ends = [source.index(place) for place in _SOURCE_PLACES if place in source]
        home = source[: min(ends)] if ends else source.rpartition("/")[0]
    event = graph.by_key.get(step.new.candidate.cache_key, {})
    place = home
    for name in ("<workspace>", "<source>"):
        if home.startswith(name) and event.get("root"):
            place = str(event["root"]) + home[len(name) :]
    if home == "<package>":
        place = f"{step.package} {step.new.field(VERSION)}"
    return home, place

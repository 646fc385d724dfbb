"""The difference of two compiles: of what was known before their sources were read, and of what each run read.

Owns the names of changed inputs, and how a value of one may be shown: a digest
short, a secret not at all. Knows the records of an entry and no store.
"""

from typing import Dict, List, NamedTuple, Tuple

from kachelib import inventory, redact
from kachelib.entry import Candidate

Fields = List[Tuple[str, str]]

DEPENDENCY = "dependency "
VARIABLE = "variable "
PLACE = "place of "
PACKAGE_FILES = "other files of the package"
ORDER = "the order of arguments"

NOT_SET = "(not set)"

# Tags whose difference means another kind of compile, not a changed input.
KIND_TAGS = ("--crate-type", "--emit", "emit", "--test", "driver", "--target")
KIND_WEIGHT = 100

# How much of a digest tells two apart.
SHORT_DIGEST = 12


class Change(NamedTuple):
    """One input that differs. old, new: as recorded, or as they may be shown; "" for absent."""

    name: str
    old: str
    new: str


def of_commands(old: Fields, new: Fields) -> List[Change]:
    """What differs between two transcripts, in the order of the new one."""
    before, after = _by_name(old), _by_name(new)
    changes = []
    for name in [*after, *(name for name in before if name not in after)]:
        gone = _minus(before.get(name, []), after.get(name, []))
        came = _minus(after.get(name, []), before.get(name, []))
        for i in range(max(len(gone), len(came))):
            was = gone[i] if i < len(gone) else ""
            is_now = came[i] if i < len(came) else ""
            changes.append(Change(name, was, is_now))
    if not changes and old != new:
        changes.append(Change(ORDER, "", ""))
    return changes


def of_files(old: Candidate, new: Candidate) -> List[Change]:
    """The files that two runs read with other content, by path; old and new are digests."""
    before = {item.path: item for item in old.inputs}
    after = {item.path: item for item in new.inputs}
    changes = []
    for path in sorted({**before, **after}):
        was, is_now = before.get(path), after.get(path)
        if was is None or is_now is None or was.digest != is_now.digest:
            changes.append(Change(path, was.digest if was else "", is_now.digest if is_now else ""))
    return changes


def of_surroundings(old: Candidate, new: Candidate) -> List[Change]:
    """What two runs found different besides files that they name: variables, the package's other files, the place."""
    changes = []
    was_set = {dep.name: NOT_SET if dep.state == "-" else dep.value for dep in old.env_deps}
    is_set = {dep.name: NOT_SET if dep.state == "-" else dep.value for dep in new.env_deps}
    for name in sorted({**was_set, **is_set}):
        if was_set.get(name) != is_set.get(name):
            changes.append(Change(VARIABLE + name, was_set.get(name, ""), is_set.get(name, "")))
    if old.fingerprint != new.fingerprint:
        changes.append(Change(PACKAGE_FILES, old.fingerprint, new.fingerprint))
    places, here = dict(old.bindings), dict(new.bindings)
    for name in sorted({**places, **here}):
        if places.get(name) != here.get(name):
            changes.append(Change(PLACE + name, places.get(name, ""), here.get(name, "")))
    return changes


def of_runs(old: Candidate, new: Candidate) -> List[Change]:
    """All that two runs of one action read differently."""
    return of_files(old, new) + of_surroundings(old, new)


def weight(changes: List[Change]) -> int:
    """How unlike two commands are."""
    return sum(KIND_WEIGHT if change.name in KIND_TAGS else 1 for change in changes)


def shown(change: Change) -> Change:
    """``change`` as a person may see it."""
    return Change(change.name, _shown(change.name, change.old), _shown(change.name, change.new))


def _shown(name: str, value: str) -> str:
    if name == "salt" and value:
        return redact.shown("KEY", value)
    if name.startswith(VARIABLE):
        return value if value == NOT_SET else redact.shown(name[len(VARIABLE) :], value)
    if name.startswith("env "):
        return redact.shown(name[4:], value)
    return " ".join(_short(word) for word in redact.shown("", value).split(" "))


def _short(word: str) -> str:
    return word[:SHORT_DIGEST] if inventory.is_key(word) else word


def _by_name(fields: Fields) -> Dict[str, List[str]]:
    """Values by the name under which they are compared: an extern by its crate, a text of several lines by line."""
    found: Dict[str, List[str]] = {}
    for tag, value in fields:
        if tag == "extern":
            name, _, rest = value.partition(" ")
            found.setdefault(DEPENDENCY + name, []).append(rest.strip())
        elif "\n" in value:
            for line in value.splitlines():
                label, colon, rest = line.partition(": ")
                name, text = (f"{tag} {label}", rest) if colon else (tag, line)
                found.setdefault(name, []).append(text)
        else:
            found.setdefault(tag, []).append(value)
    return found


def _minus(values: List[str], others: List[str]) -> List[str]:
    left = list(others)
    found = []
    for value in values:
        if value in left:
            left.remove(value)
        else:
            found.append(value)
    return found

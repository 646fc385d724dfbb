"""Selections in words: a plan is found by a digest, and people ask what differs.

Owns notes beside the plans, which anybody may delete: what each selection was made of, and what the linkers and C
compilers that requirements know by a digest said of themselves. Of salts and variables a digest is kept.

    memo of kind "selection" = { tag LF value NUL }      about a selection
    memo of kind "named"     = words                     about a requirement's value
    memo of kind "since"     = selection SP C's environment LF time in ns      about a profile's directory
"""

from kachelib import memo
from kachelib.key import digest_bytes
from kachelib.store import names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Tuple

    from kachelib.conditions import Here
    from kachelib.store import Store

# Never in words.
SECRET = ("salt", "nix salt")

WORDS = {
    "compiler": "the compiler",
    "cargo": "Cargo",
    "remap": "path_normalize",
    "executables": "cache_executables",
    "salt": "the salt (KACHE_KEY_SALT)",
    "nix salt": "the Nix salt",
    "exclude": "cache.exclude",
    "profile": "the profile",
    "triples": "--target",
    "cargo home": "CARGO_HOME",
    "selection": "Cargo's configuration",
}


def note(store: "Store", digest: str, fields: "List[Tuple[str, str]]") -> None:
    """Keep what a selection was made of."""
    path = memo.path_of(store.memo_dir(), "selection", digest)
    if memo.read(path) is None:
        body = "\0".join(tag + "\n" + _shown(tag, value) for tag, value in _with_names(fields))
        memo.write(path, body.encode("utf-8", "surrogateescape"))


def since(here: "Here") -> int:
    """From when on, by the file system's clock in ns, Cargo was seen to work in this profile's directory under what
    holds now: the selection, and what C compilers read of the environment. 0 where nobody looked before."""
    call = here.call
    path = memo.path_of(here.store.memo_dir(), "since", "\0".join([call.build_dir, call.profile, *call.triples]))
    variables = [name + here.environ.get(name, "") for name in here.c_variables()]
    now = here.selection() + " " + digest_bytes("\0".join(variables).encode("utf-8", "surrogateescape"))
    known = (memo.read(path) or b"").decode()
    was, _, at = known.partition("\n")
    if was == now and at.isdigit():
        return int(at)
    began = memo.file_clock() if known else 0
    memo.write(path, ("%s\n%d" % (now, began)).encode())
    return began


def note_name(store: "Store", digest: str, words: str) -> None:
    """Keep what a program said of itself."""
    path = memo.path_of(store.memo_dir(), "named", digest)
    if words and memo.read(path) is None:
        memo.write(path, words.encode("utf-8", "surrogateescape"))


def name_of(store: "Store", digest: str) -> str:
    """What was kept of a program; "" where nothing was."""
    return (memo.read(memo.path_of(store.memo_dir(), "named", digest)) or b"").decode("utf-8", "surrogateescape")


def of_lock(store: "Store", lock: str) -> "List[str]":
    """The selections of which a store has a plan for the Cargo.lock of that digest; of any, for ""."""
    found = set()
    for shard in names_in(store.root + "/plans"):
        for name in names_in(store.root + "/plans/" + shard):
            selection, _, of = name.partition("-")
            if not lock or of == lock:
                found.add(selection)
    return sorted(found)


def nearest(store: "Store", lock: str, fields: "List[Tuple[str, str]]") -> str:
    """In words, what differs from the nearest selection that has a plan; "" where none is known. lock: the digest of
    the Cargo.lock, whose plans come first."""
    best: "List[str]" = []
    for selection in of_lock(store, lock) or of_lock(store, ""):
        body = memo.read(memo.path_of(store.memo_dir(), "selection", selection))
        if body is None:
            continue
        there = [_pair(text) for text in body.decode("utf-8", "surrogateescape").split("\0")]
        found = _differences(there, [(tag, _shown(tag, value)) for tag, value in _with_names(fields)])
        if found and (not best or len(found) < len(best)):
            best = found
    return "; ".join(best)


def _differences(there: "List[Tuple[str, str]]", here: "List[Tuple[str, str]]") -> "List[str]":
    was, now = _by_tag(there), _by_tag(here)
    found = []
    for tag in dict.fromkeys((*now, *was)):
        if was.get(tag) == now.get(tag):
            continue
        words = WORDS.get(tag) or ("variable " + tag[4:] if tag.startswith("env ") else "kache's own format")
        before, after = (_first(each.get(tag, [])) for each in (was, now))
        told = before and after and before != after and tag not in SECRET and not tag.startswith("env ")
        found.append("%s was %s and is %s" % (words, before, after) if told else words + " differs")
    return found


def _by_tag(fields: "List[Tuple[str, str]]") -> "Dict[str, List[str]]":
    found: "Dict[str, List[str]]" = {}
    for tag, value in fields:
        found.setdefault(tag, []).append(value)
    return found


def _first(values: "List[str]") -> str:
    return values[0].strip().partition("\n")[0] if len(values) == 1 else ""


def _shown(tag: str, value: str) -> str:
    if value in ("", "-") or not (tag in SECRET or tag.startswith(("env ", "selection"))):
        return value
    return digest_bytes(value.encode("utf-8", "surrogateescape"))


def _pair(text: str) -> "Tuple[str, str]":
    tag, _, value = text.partition("\n")
    return tag, value


def _with_names(fields: "List[Tuple[str, str]]") -> "List[Tuple[str, str]]":
    """The fields, those that are a variable and its value with its name in the tag."""
    found = []
    for tag, value in fields:
        name, is_set, rest = value.partition("=")
        variable = tag == "selection" and is_set and name.replace("_", "A").isalnum() and name == name.upper()
        found.append(("env " + name, "=" + rest) if variable else (tag, value))
    return found

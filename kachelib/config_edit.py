"""The text of a configuration file, changed in one setting and in nothing else.

Owns the change and the proof of it. tomlkit, which keeps comments, order and
spelling, proposes a text; what is read from that by the parser that settings
are read with has to be the old document with one key changed, and no line but
the key's own may be touched. What cannot be proven is refused. Knows nothing
of files on disk.
"""

import copy
import difflib
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from kachelib import bundle, config_file
from kachelib.config_value import Written
from kachelib.outcome import ConfigError

_Path = Tuple[str, ...]


class _Difference(NamedTuple):
    """The lines, without their ends, of two texts between what both begin and end with. at: where these begin."""

    at: int
    old: List[str]
    new: List[str]


def changed(text: str, changes: Mapping[str, Optional[Written]], file: str) -> str:
    """``text``, the content of ``file``, with the dotted keys of ``changes`` set, or unset where None.

    Raises ConfigError where the text is not TOML, or no change could be proven.
    """
    for key, value in changes.items():
        text = _with(text, key, value, file)
    return text


def require_toml(text: str, file: str) -> None:
    """Raise ConfigError, which says where, unless ``text``, the content of ``file``, is TOML."""
    _document(text, file)


def value_of(text: str, key: str, file: str) -> Any:
    """What ``text`` says of the dotted ``key``; None where it says nothing. Raises ConfigError."""
    return _find(_document(text, file), tuple(key.split(".")))


def _document(text: str, file: str) -> Dict[str, Any]:
    try:
        return config_file.loads(text, file)
    except config_file.Unreadable as error:
        raise ConfigError(str(error)) from None


def _with(text: str, key: str, value: Optional[Written], file: str) -> str:
    path = tuple(key.split("."))
    before = _document(text, file)
    if _equal(_find(before, path), value):
        return text
    _require_tables(before, path, file)
    bundle.ensure_importable("tomlkit")
    for attempt in _UNSETTING if value is None else _SETTING:
        try:
            proposed = _with_line_ends(text, attempt(text, path, value))
        except Exception:
            # Whatever the library makes of an odd document, the next way may do.
            continue
        for candidate in (_tidied(text, proposed), proposed):
            if _proven(text, candidate, path, value):
                return candidate
    what = f"unset {key}" if value is None else f"set {key}"
    raise ConfigError(f"{file}: kache does not know how to {what} there; edit the file by hand")


def _require_tables(document: Dict[str, Any], path: _Path, file: str) -> None:
    for end in range(1, len(path)):
        found = _find(document, path[:end])
        if found is not None and not isinstance(found, dict):
            name = ".".join(path[:end])
            raise ConfigError(
                f"{file}: {name} is {config_file.type_name(found)}; it is a table: [{name}]; mend that first"
            )


# Ways to a new text. Each may fail in any way.


def _set(text: str, path: _Path, value: Any) -> str:
    """The key in its table, which is made where missing; a list keeps what is said of its items."""
    document, table = _tables(text, path)
    known = table.get(path[-1])
    if isinstance(value, list) and isinstance(known, list):
        _set_items(known, value)
    else:
        table[path[-1]] = value
    return _text(document)


def _set_whole(text: str, path: _Path, value: Any) -> str:
    """The same, but a list is written anew."""
    document, table = _tables(text, path)
    table[path[-1]] = value
    return _text(document)


def _set_dotted(text: str, path: _Path, value: Any) -> str:
    """A dotted key in the deepest table that is there: behind other dotted keys no table can begin."""
    import tomlkit

    document = tomlkit.parse(text)
    table: Any = document
    depth = 0
    while depth < len(path) - 1 and path[depth] in table:
        table = table[path[depth]]
        depth += 1
    table.append(tomlkit.key(list(path[depth:])), value)
    return _text(document)


def _set_at_top(text: str, path: _Path, value: Any) -> str:
    """The whole dotted key, before the first table."""
    import tomlkit

    document = tomlkit.parse(text)
    document.append(tomlkit.key(list(path)), value)
    return _text(document)


def _unset(text: str, path: _Path, value: Any) -> str:
    document, table = _tables(text, path)
    del table[path[-1]]
    return _text(document)


def _unset_dotted(text: str, path: _Path, value: Any) -> str:
    """The last key of a table that only dotted keys made: without it the table is not there either."""
    while len(path) > 1 and len(_find(config_file.loads(text, ""), path[:-1])) == 1:
        path = path[:-1]
    return _unset(text, path, value)


_Attempt = Callable[[str, _Path, Any], str]
_SETTING: Tuple[_Attempt, ...] = (_set, _set_whole, _set_dotted, _set_at_top)
_UNSETTING: Tuple[_Attempt, ...] = (_unset, _unset_dotted)


def _tables(text: str, path: _Path) -> Tuple[Any, Any]:
    """(the document, the table that ``path`` lies in), that made where missing."""
    import tomlkit
    from tomlkit.items import InlineTable

    document = tomlkit.parse(text)
    table: Any = document
    for name in path[:-1]:
        if name not in table:
            table[name] = tomlkit.inline_table() if isinstance(table, InlineTable) else tomlkit.table()
        table = table[name]
    return document, table


def _text(document: Any) -> str:
    import tomlkit

    return tomlkit.dumps(document)


def _set_items(array: Any, wanted: Sequence[str]) -> None:
    """Make the items of ``array`` the wanted ones; those that stay keep their lines and comments."""
    steps = difflib.SequenceMatcher(None, list(array), list(wanted), autojunk=False).get_opcodes()
    for tag, start, end, first, last in reversed(steps):
        if tag == "equal":
            continue
        both = min(end - start, last - first)
        for offset in range(both):
            array[start + offset] = wanted[first + offset]
        for _ in range(end - start - both):
            del array[start + both]
        for offset in range(last - first - both):
            array.insert(start + both + offset, wanted[first + both + offset])


# What the library leaves to do


def _with_line_ends(old: str, new: str) -> str:
    """``new`` with the line ends of ``old`` in what was added."""
    if not _has_carriage_returns(old):
        return new
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    end = next((i for i in range(most - start) if old[-1 - i] != new[-1 - i]), most - start)
    middle = re.sub(r"(?<!\r)\n", "\r\n", new[start : len(new) - end])
    if middle.startswith("\r\n") and old[:start].endswith("\r"):
        middle = middle[1:]
    return new[:start] + middle + new[len(new) - end :]


def _has_carriage_returns(text: str) -> bool:
    """Whether lines end in CR LF: the first one tells."""
    return text.partition("\n")[0].endswith("\r")


def _tidied(old: str, new: str) -> str:
    """``new`` with a line that was added behind the last key of its table, and an added table between blank lines.

    The library puts both before the next table, behind the comments that belong to that.
    """
    found = _difference(old, new)
    end = "\r" if _has_carriage_returns(old) else ""
    block = [line + end for line in found.new if line.strip()]
    if found.old or not block:
        return new
    lines = old.split("\n")
    at = found.at
    header = block[0].lstrip().startswith("[")
    if not header or (at < len(lines) and lines[at].strip()):
        at = _before(lines, at, "#" if header else "# ")
    at = _before(lines, at, " ") or found.at
    before, after = lines[:at], lines[at:]
    if header and before and before[-1].strip():
        block.insert(0, end)
    if header and after and after[0].strip():
        block.append(end)
    if not after:
        before[-1:] = [line.rstrip("\r") + end for line in before[-1:]]
        after = [""]
    return "\n".join([*before, *block, *after])


def _before(lines: List[str], at: int, kinds: str) -> int:
    """Where the lines before ``at`` begin that are comments ("#" is in ``kinds``) or blank (" " is)."""
    while at > 0 and (lines[at - 1].strip()[:1] or " ") in kinds:
        at -= 1
    return at


def _difference(old: str, new: str) -> _Difference:
    a, b = ([line.rstrip("\r") for line in text.split("\n")] for text in (old, new))
    most = min(len(a), len(b))
    start = next((i for i in range(most) if a[i] != b[i]), most)
    end = next((i for i in range(most - start) if a[-1 - i] != b[-1 - i]), most - start)
    return _Difference(start, a[start : len(a) - end], b[start : len(b) - end])


# The proof


def _proven(old: str, new: str, path: _Path, value: Optional[Written]) -> bool:
    """Whether ``new`` says what ``old`` says, but for the value at ``path``, and looks like it."""
    try:
        before, after = config_file.loads(old, ""), config_file.loads(new, "")
    except config_file.Unreadable:
        return False
    known = _find(before, path)
    expected = copy.deepcopy(before)
    _put(expected, path, value)
    # A table that the key alone made comes and goes with it; what is read is the same.
    for document in (expected, after):
        _prune(document, path[:-1])
    if not _equal(expected, after):
        return False
    found = _difference(old, new)
    if known is None:
        # At most the line of an inline table.
        return len(found.old) <= 1
    return len(found.new) <= 1 if value is None else isinstance(known, (list, str)) or len(found.old) <= 1


def _find(document: Dict[str, Any], path: _Path) -> Any:
    found: Any = document
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def _put(document: Dict[str, Any], path: _Path, value: Optional[Written]) -> None:
    for name in path[:-1]:
        document = document.setdefault(name, {})
    if value is None:
        document.pop(path[-1], None)
    else:
        document[path[-1]] = value


def _prune(document: Dict[str, Any], path: _Path) -> None:
    """Remove the tables along ``path`` that are empty."""
    for end in range(len(path), 0, -1):
        above = _find(document, path[: end - 1])
        if isinstance(above, dict) and above.get(path[end - 1]) == {}:
            del above[path[end - 1]]


def _equal(one: Any, other: Any) -> bool:
    """Equal as TOML values are: 1 is no true and no 1.0, and nan is itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return repr(one) == repr(other)

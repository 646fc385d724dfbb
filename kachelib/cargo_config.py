"""Cargo's configuration file: which wrapper it names, and naming another one.

Owns changing one key of a TOML file that people wrote, byte for byte keeping
the rest, and the way back. A change that cannot be proven harmless, by reading
the result as TOML, is refused. Knows nothing of what kache does as a wrapper.

Every line that is written here ends in a mark, and the mark says how to undo it:

    rustc-wrapper = "/opt/kache"  # by kache
        the line was not there
    rustc-wrapper = "/opt/kache"  # by kache; before: rustc-wrapper = "sccache"
        the line stood there
    [build]  # by kache
        the table was not there
    [build]  # by kache; the file did not end in a newline
"""

import importlib
import os
import re
import sys
from typing import Any, Dict, List, NamedTuple, Optional

from kachelib.outcome import ConfigError

MARK = "# by kache"
_BEFORE = "; before: "
_UNFINISHED = "; the file did not end in a newline"

_KEY = "rustc-wrapper"
_MARKED = re.compile(r"# by kache(?:; before: (?P<before>.*)|; the file did not end in a newline)?$")


class Statement(NamedTuple):
    """One header or assignment of a TOML text, from ``start`` up to and without its line's end."""

    start: int
    end: int
    text: str


def path(environ: Dict[str, str], home: str) -> str:
    """The file that Cargo reads: of ``config`` and ``config.toml`` in CARGO_HOME the first that is there."""
    directory = environ.get("CARGO_HOME") or home + "/.cargo"
    old = directory + "/config"
    return old if os.path.isfile(old) else old + ".toml"


def read(file: str) -> str:
    """The file's text; "" where there is none. Raises ConfigError where it cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not UTF-8, so not TOML; mend it first") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def wrapper(text: str, file: str) -> str:
    """The ``build.rustc-wrapper`` that the text names, or "". Raises ConfigError where it is not TOML."""
    build = parse(text, file).get("build")
    value = build.get(_KEY) if isinstance(build, dict) else None
    return value if isinstance(value, str) else ""


def with_wrapper(text: str, value: str, file: str) -> str:
    """``text`` with ``build.rustc-wrapper`` set to ``value``. Raises ConfigError where that cannot be done safely."""
    before = parse(text, file)
    changed = _set(text, value)
    if changed is None:
        raise ConfigError(f'{file}: kache does not know how to change it; set rustc-wrapper = "{value}" by hand')
    expected = dict(before)
    build = expected.get("build", {})
    expected["build"] = {**build, _KEY: value}
    if parse(changed, file) != expected:
        raise ConfigError(f'{file}: kache does not know how to change it; set rustc-wrapper = "{value}" by hand')
    return changed


def without_wrapper(text: str, file: str) -> str:
    """``text`` as it was before ``with_wrapper``; later changes stay. Raises ConfigError where it is not TOML."""
    parse(text, file)
    found = statements(text)
    for number in range(len(found) - 1, -1, -1):
        mark = _MARKED.search(_line(text, found[number]))
        if mark is None:
            continue
        statement = found[number]
        header = statement.text.startswith("[")
        if header and number + 1 < len(found) and not found[number + 1].text.startswith("["):
            # Somebody put other keys under it.
            text = _replace(text, statement, statement.text)
        elif mark.group("before") is not None:
            text = _replace(text, statement, mark.group("before"))
        else:
            text = _remove(text, statement, joined=header and mark.group().endswith(_UNFINISHED))
        found = statements(text)
    parse(text, file)
    return text


def variables(text: bytes, directory: str) -> Dict[bytes, bytes]:
    """The ``[env]`` table of a configuration in ``directory``, as Cargo would set it; nothing where it is broken.

    directory: ``.cargo``. Source: Cargo's reference, "env": a string, or a
    table of ``value``, ``relative`` (to what holds ``.cargo``) and ``force``.
    """
    try:
        table = parse(text.decode("utf-8"), directory).get("env", {})
    except (ConfigError, UnicodeDecodeError):
        return {}
    found = {}
    for name, value in table.items() if isinstance(table, dict) else ():
        if isinstance(value, dict):
            text_value = str(value.get("value", ""))
            value = os.path.join(os.path.dirname(directory), text_value) if value.get("relative") else text_value
        if isinstance(value, str):
            found[os.fsencode(name)] = os.fsencode(value)
    return found


def write(file: str, text: str) -> None:
    """Replace the file at once, keeping its mode; a link stays, and what it names is replaced. Raises ConfigError."""
    target = os.path.realpath(file)
    temporary = f"{target}.kache-{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            mode = os.stat(target).st_mode & 0o7777
        except FileNotFoundError:
            mode = 0o644
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise ConfigError(f"{target}: {error.strerror}; write it by hand or change its owner") from None


def statements(text: str) -> List[Statement]:
    """The headers and assignments of a TOML text, in order; a value may span lines."""
    found = []
    at = 0
    while at < len(text):
        end = _statement_end(text, at)
        body = _strip_comment(text[at:end])
        if body.strip():
            found.append(Statement(at, end, body.strip()))
        at = end + 1
    return found


def _statement_end(text: str, at: int) -> int:
    """Where the line ends on which the statement that begins at ``at`` ends."""
    depth = 0
    while at < len(text):
        char = text[at]
        if char == "\n" and depth <= 0:
            return at
        if char == "#":
            at = _line_end(text, at)
            continue
        if char in "\"'":
            at = _string_end(text, at)
            continue
        depth += (char in "[{") - (char in "]}")
        at += 1
    return len(text)


def _string_end(text: str, at: int) -> int:
    """The place after the string that begins at ``at``; an unfinished one ends with its line, or with the text."""
    quote = text[at]
    if text.startswith(quote * 3, at):
        at += 3
        while at < len(text) and not text.startswith(quote * 3, at):
            at += 2 if quote == '"' and text[at] == "\\" else 1
        # A string may end in one or two quotes before the three that close it.
        at += 3
        while at < len(text) and text[at] == quote:
            at += 1
        return at
    at += 1
    while at < len(text) and text[at] not in (quote, "\n"):
        at += 2 if quote == '"' and text[at] == "\\" else 1
    return at + 1 if at < len(text) and text[at] == quote else at


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _strip_comment(text: str) -> str:
    """A statement without the comment behind it."""
    at = 0
    while at < len(text):
        if text[at] in "\"'":
            at = _string_end(text, at)
        elif text[at] == "#" and "\n" not in text[at:].rstrip():
            return text[:at]
        else:
            at += 1
    return text


def _set(text: str, value: str) -> Optional[str]:
    """``text`` with the key set, in the place that changes least; None where there is none."""
    assignment = f"{_KEY} = {quote(value)}"
    newline = "\r\n" if "\r\n" in text else "\n"
    table = ""
    header = dotted = None
    for statement in statements(text):
        if statement.text.startswith("["):
            table = _bare(statement.text)
            if table == "[build]":
                header = statement
            continue
        key = _bare(statement.text.partition("=")[0])
        full = key if not table else f"{table[1:-1]}.{key}"
        if full == "build." + _KEY:
            return _exchange(text, statement, value)
        if not table and key.startswith("build."):
            dotted = dotted or statement
        if full == "build":
            return None
    if header is not None:
        return _insert_after(text, header, f"{assignment}  {MARK}", newline)
    if dotted is not None:
        return text[: dotted.start] + f"build.{assignment}  {MARK}{newline}" + text[dotted.start :]
    unfinished = bool(text) and not text.endswith("\n")
    mark = MARK + _UNFINISHED if unfinished else MARK
    glue = newline if unfinished else ""
    return f"{text}{glue}[build]  {mark}{newline}{assignment}  {MARK}{newline}"


def _exchange(text: str, statement: Statement, value: str) -> Optional[str]:
    """Another value for a key that is there; the line as it was goes behind the mark."""
    line = _line(text, statement)
    if "\n" in line:
        return None
    mark = _MARKED.search(line)
    tail = MARK + _BEFORE + line if mark is None else mark.group()
    key = statement.text.partition("=")[0].strip()
    return _replace(text, statement, f"{key} = {quote(value)}  {tail}")


def _insert_after(text: str, header: Statement, line: str, newline: str) -> str:
    end = _line_end(text, header.end)
    if end == len(text):
        # The last line has no newline; the inserted one takes over that it ends so.
        return f"{text}{newline}{line}"
    return f"{text[: end + 1]}{line}{newline}{text[end + 1 :]}"


def _line(text: str, statement: Statement) -> str:
    return text[statement.start : statement.end].rstrip("\r")


def _replace(text: str, statement: Statement, line: str) -> str:
    ending = "\r" if text[statement.start : statement.end].endswith("\r") else ""
    return text[: statement.start] + line + ending + text[statement.end :]


def _remove(text: str, statement: Statement, joined: bool) -> str:
    """Take a whole line away; ``joined``: and the newline before it that was ours, too."""
    start, end = statement.start, min(statement.end + 1, len(text))
    if joined or (statement.end >= len(text) and start > 0):
        start -= 2 if text[max(0, start - 2) : start] == "\r\n" else 1
    return text[:start] + text[end:]


def _bare(text: str) -> str:
    """A key or header without what may be written differently: spaces and quotes."""
    return re.sub(r"[\s\"']", "", text)


def quote(value: str) -> str:
    """``value`` as a TOML string. A path that is not UTF-8 cannot be one; Cargo would not read it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


def parse(text: str, file: str) -> Dict[str, Any]:
    """A TOML document. Raises ConfigError where it is none."""
    name = "tomllib"
    if sys.version_info < (3, 11):
        from kachelib.bundle import ensure_importable

        name = "tomli"
        ensure_importable(name)
    try:
        return dict(importlib.import_module(name).loads(text))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not TOML: {error}; mend it first") from None

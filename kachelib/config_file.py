"""Configuration files: TOML, its validation, and what people are told about it.

Owns the shape of ``.kache.toml`` (settings) and of ``kache.toml`` (a crate's
extra inputs). Loaded only when a file has changed since it was last read, for
a TOML parser costs more than a whole hit. No message quotes a value whose key
is not known: it may be a secret.
"""

import difflib
import importlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from kachelib import globs
from kachelib.config import FileSettings
from kachelib.outcome import KacheError
from kachelib.settings import (
    CHOICE,
    COUNT,
    FLAG,
    GLOBS,
    LISTS,
    NAMES,
    NUMBERS,
    SETTINGS,
    Setting,
    accepted,
    parse_text,
    quote,
)

if TYPE_CHECKING:
    from kachelib.settings import Value

# More than this is not a configuration, and /dev/zero has no end.
_MOST_BYTES = 1 << 20

_EXTRA_INPUTS = "extra_inputs"

_TYPE_NAMES = ((bool, "a boolean"), (int, "a number"), (float, "a number"), (str, "a string"), (list, "a list"))


class Unreadable(Exception):
    """A file that cannot be read or is not TOML; the text is one line that names it."""


def read(path: str) -> FileSettings:
    """The settings that the configuration file at ``path`` makes; what is wrong with it is in ``problems``."""
    try:
        document = parse(path)
    except Unreadable as error:
        return FileSettings({}, (str(error),), True)
    return _Reader(path).read(document)


def read_extra_inputs(path: str) -> "Tuple[Tuple[str, ...], str]":
    """The patterns of a crate's ``kache.toml``, and one line on what is wrong with it, or ""."""
    try:
        document = parse(path)
    except Unreadable as error:
        return (), str(error)
    for key in document:
        if key != _EXTRA_INPUTS:
            hint = "; settings belong in .kache.toml" if key in ("cache", "cc") else ""
            return (), f"{path}: {_show(key)} is not known here; the only key is {_EXTRA_INPUTS}{hint}"
    patterns = document.get(_EXTRA_INPUTS, [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        return (), f"{path}: {_EXTRA_INPUTS} is {type_name(patterns)}; give a list of strings"
    for pattern in patterns:
        try:
            globs.check(pattern)
        except ValueError as error:
            return (), f"{path}: {_EXTRA_INPUTS}: {pattern!a}: {error}"
    return tuple(patterns), ""


def parse(path: str) -> "Dict[str, Any]":
    """The document at ``path``. Raises Unreadable."""
    return loads(decode(contents(path), path), path)


def contents(path: str) -> bytes:
    """The bytes of the file at ``path``. Raises Unreadable."""
    try:
        # Opening a pipe would wait for its writer.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
            raise Unreadable(f"{path} is not a regular file")
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise Unreadable(f"{path} is larger than {_MOST_BYTES >> 20} MiB")
    return data


def decode(data: bytes, path: str) -> str:
    """The text that ``data``, the content of ``path``, stands for, without a byte order mark. Raises Unreadable."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"{path} is not UTF-8 (at line {line})") from None


def loads(text: str, path: str) -> "Dict[str, Any]":
    """The document that ``text``, the content of ``path``, stands for. Raises Unreadable."""
    try:
        return _loads(text)
    except (ImportError, KacheError) as error:
        raise Unreadable(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:
        what = _place_of_end(str(error), text) if isinstance(error, ValueError) else "nested too deeply"
        raise Unreadable(f"{path} is not TOML: {what}") from None


def _place_of_end(message: str, text: str) -> str:
    """The parser names line and column, but not at the end of the document."""
    line = text.count("\n") + 1
    column = len(text) - (text.rfind("\n") + 1) + 1
    return " ".join(message.replace("at end of document", f"at line {line}, column {column}, the end").split())


def _loads(text: str) -> "Dict[str, Any]":
    name = "tomllib"
    if sys.version_info < (3, 11):
        from kachelib.bundle import ensure_importable

        name = "tomli"
        ensure_importable(name)
    document: "Dict[str, Any]" = importlib.import_module(name).loads(text)
    return document


class _Reader:
    """Collects the values and the problems of one document."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows = {row.key: row for row in SETTINGS if row.key}
        self.tables = {key.rpartition(".")[0] for key in self.rows} | {"cache", "cc"}
        self.values: "Dict[str, Value]" = {}
        self.problems: "List[str]" = []
        self.broken = False

    def read(self, document: "Dict[str, Any]") -> FileSettings:
        self._table("", document)
        return FileSettings(self.values, tuple(self.problems), self.broken)

    def _table(self, prefix: str, table: "Dict[str, Any]") -> None:
        for name, value in table.items():
            key = f"{prefix}.{name}" if prefix else name
            row = self.rows.get(key)
            if row is not None and "." not in name:
                self._setting(row, value)
            elif key in self.tables and "." not in name:
                if isinstance(value, dict):
                    self._table(key, value)
                else:
                    self._wrong(key, f"is {type_name(value)}; it is a table: [{key}]")
            else:
                self._unknown(prefix, name)

    def _setting(self, row: Setting, value: "Any") -> None:
        try:
            taken = accept(row, value)
        except TypeError:
            self._wrong(row.key, f"is {type_name(value)}; {accepted(row)}")
        except ValueError as error:
            self._wrong(row.key, f"= {quote(row, str(value))}: {error}")
        else:
            # An empty string says no more than an empty variable.
            if taken != "":
                self.values[row.name] = taken

    def _wrong(self, key: str, what: str) -> None:
        self.problems.append(f"{self.path}: {key} {what}")
        self.broken = True

    def _unknown(self, prefix: str, name: str) -> None:
        inside = prefix + "." if prefix else ""
        here = sorted({key[len(inside) :].split(".")[0] for key in self.rows if key.startswith(inside)})
        where = f"in [{prefix}]" if prefix else "at the top"
        close = difflib.get_close_matches(name, here, 1)
        guess = inside + close[0] if close else self._elsewhere(name)
        hint = f"did you mean {guess}? " if guess else ""
        self.problems.append(
            f"{self.path}: {inside}{_show(name)} is not a setting; {hint}accepted {where}: {', '.join(here)}"
        )

    def _elsewhere(self, name: str) -> str:
        """The key that ends in ``name`` in another table, or ""."""
        for key in self.rows:
            if key.rpartition(".")[2] == name:
                return key
        for row in SETTINGS:
            if name in (row.env, row.name):
                return row.key or row.env
        return ""


def accept(row: Setting, value: "Any") -> "Value":
    """``value``, as a parser gives it, as ``row`` wants it.

    Raises TypeError, and ValueError that says what is accepted.
    """
    if row.kind in LISTS:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TypeError
        for item in value:
            _check_item(row, item)
        return tuple(value)
    if row.kind == FLAG:
        if not isinstance(value, bool):
            raise TypeError
        return value
    if row.kind in NUMBERS:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, str))
            or (row.kind == COUNT and isinstance(value, str))
        ):
            raise TypeError
        return parse_text(row, str(value))
    if not isinstance(value, str):
        raise TypeError
    if "\0" in value:
        raise ValueError("a NUL character")
    return parse_text(row, value) if row.kind == CHOICE else value


def _check_item(row: Setting, item: str) -> None:
    if row.kind == GLOBS:
        globs.check(item)
    elif not item or "\0" in item:
        raise ValueError(accepted(row) + ", none empty")
    elif row.kind == NAMES and "=" in item:
        raise ValueError(accepted(row))


def _show(name: str) -> str:
    """A key as a message may show it."""
    return name if name.isprintable() and name and len(name) <= 60 else ascii(name[:60])


def type_name(value: "Any") -> str:
    """What kind of thing a value of a document is: "a string"."""
    if isinstance(value, list) and any(not isinstance(item, str) for item in value):
        return "a list with " + type_name(next(item for item in value if not isinstance(item, str)))
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), _other_type(value))


def _other_type(value: "Any") -> str:
    return "a table" if isinstance(value, dict) else "a date or time"

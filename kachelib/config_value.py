"""What people type for a setting, as a value of the configuration file, and back.

Owns the way from words to TOML values and the names that a setting goes by.
What a value may be is settings' and config_file's to say. Knows no file.
"""

import difflib
import json
from typing import Dict, List, Mapping, Optional, Sequence, Union

from kachelib import config_file, globs
from kachelib.outcome import UsageError
from kachelib.redact import MASK, mask_url
from kachelib.settings import (
    CHOICE,
    COUNT,
    DIRECTORIES,
    FLAG,
    LISTS,
    NUMBERS,
    PATH,
    SETTINGS,
    Setting,
    accepted,
    parse_text,
)

# A value as it stands in the file.
Written = Union[str, int, bool, List[str]]


def find(name: str) -> Setting:
    """The setting with that key, environment variable or name of ``--json``. Raises UsageError with a hint."""
    names = _names()
    if name in names:
        return names[name]
    ends = {row.key.rpartition(".")[2]: row.key for row in reversed(SETTINGS) if row.key}
    close = difflib.get_close_matches(name, [*names, *ends], 1)
    guess = ends.get(name) or (ends.get(close[0], close[0]) if close else "")
    hint = f"did you mean {guess}? " if guess else ""
    raise UsageError(f"config: there is no setting '{name}'; {hint}'kache config --show' lists all")


def _names() -> Dict[str, Setting]:
    names = {row.name: row for row in SETTINGS}
    names.update((row.env, row) for row in SETTINGS if row.env)
    names.update((row.key, row) for row in SETTINGS if row.key)
    return names


def from_words(row: Setting, words: Sequence[str], environ: Mapping[str, str]) -> Written:
    """The value that ``words``, arguments of a command, stand for. Raises ValueError that says what is accepted.

    A list is one word an item, or one word that is a TOML array of strings.
    """
    if row.kind in LISTS:
        items = _array(words[0]) if len(words) == 1 else None
        return _checked(row, list(words) if items is None else items, environ)
    if len(words) != 1:
        raise ValueError(accepted(row) + ", as one word")
    return _checked(row, _scalar(row, words[0]), environ)


def from_line(row: Setting, line: str, environ: Mapping[str, str]) -> Written:
    """The value that an edited line stands for. Raises ValueError that says what is accepted.

    A list is a TOML array of strings, or words between white space.
    """
    if row.kind not in LISTS:
        return from_words(row, [line], environ)
    items = _array(line)
    return _checked(row, line.split() if items is None else items, environ)


def line_of(row: Setting, value: Written) -> str:
    """``value`` as a line that ``from_line`` reads."""
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def toml(value: Written) -> str:
    """``value`` as TOML writes it, in one line."""
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for this one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def public(row: Setting, value: Written) -> Written:
    """``value`` as it may be shown: what may be a secret is masked."""
    if row.secret:
        return MASK
    return mask_url(value) if row.name == "remote_endpoint" and isinstance(value, str) else value


def _array(text: str) -> Optional[List[str]]:
    """The items of a TOML array of strings; None where the text is none."""
    if not text.strip().startswith("["):
        return None
    try:
        document = config_file.loads("a = " + text.strip(), "")
    except config_file.Unreadable:
        return None
    items = document.pop("a")
    if document or not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        return None
    return items


def _scalar(row: Setting, text: str) -> Written:
    if row.kind in (FLAG, CHOICE):
        value = parse_text(row, text)
        assert isinstance(value, (str, bool))
        return value
    if row.kind in NUMBERS:
        text = text.strip()
        plain = text.isascii() and text.isdigit() and len(text) <= 19
        if row.kind == COUNT and not plain:
            raise ValueError(accepted(row))
        return int(text) if plain else text
    return text


def _checked(row: Setting, value: Written, environ: Mapping[str, str]) -> Written:
    texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("it is not UTF-8, which a configuration file has to be") from None
        if row.kind in (PATH, DIRECTORIES):
            # config.load finds the file at fault then, and nothing is cached.
            missing = globs.unset_variable(text, environ)
            if missing:
                raise ValueError(f"{missing} is not set")
    if value == "":
        raise ValueError("an empty value is the same as none: unset it instead")
    try:
        config_file.accept(row, value)
    except TypeError:
        raise ValueError(accepted(row)) from None
    return value

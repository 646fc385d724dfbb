"""``kache config --show``: every setting, its value and where that comes from.

Owns the look of settings as text and JSON, and what of them is a secret.
"""

import json as json_module
from typing import TYPE_CHECKING, Any, Dict, List, Union

from kachelib import config, console
from kachelib.redact import MASK, mask_url
from kachelib.settings import SECONDS, SETTINGS, SIZE, Setting, Settings

if TYPE_CHECKING:
    from kachelib.settings import Value

_UNITS = ("PiB", "TiB", "GiB", "MiB", "KiB", "PB", "TB", "GB", "MB", "KB")


def show(settings: Settings, json: bool) -> str:
    """All settings as a table, or as one JSON document, with what is wrong at the end; secrets are masked."""
    if json:
        return json_module.dumps(_document(settings), indent=2)
    lines = ["configuration file: " + (settings.file or "none"), ""]
    rows = [[row.key or row.env, text_of(row, settings), config.origin(settings, row.name)] for row in SETTINGS]
    lines += console.table(("setting", "~value", "~from"), rows, columns=0)
    lines += [f"\nproblem: {text}" for text in settings.problems]
    lines += [f"\nwarning: {text}" for text in settings.warnings]
    return "\n".join(lines)


def text_of(row: Setting, settings: Settings) -> str:
    """The value as a person would write it; "-" where there is none."""
    value = shown(row, settings)
    if value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return json_module.dumps(value, ensure_ascii=False)
    if row.kind == SIZE:
        return size_text(int(value))
    if row.kind == SECONDS:
        return f"{value}s"
    return str(value)


def shown(row: Setting, settings: Settings) -> Union[str, int, bool, List[str]]:
    """The value as JSON may show it: no secret, nothing that is not Unicode."""
    value: "Value" = getattr(settings, row.name)
    if isinstance(value, tuple):
        return [_printable(item) for item in value]
    if not isinstance(value, str):
        return value
    if row.secret:
        return MASK if value else ""
    return _printable(mask_url(value) if row.name == "remote_endpoint" else value)


def described(row: Setting, settings: Settings) -> Dict[str, Any]:
    """The setting as JSON shows it."""
    return {
        "value": shown(row, settings),
        "origin": _printable(config.origin(settings, row.name)),
        "key": row.key,
        "env": row.env,
    }


def size_text(size: int) -> str:
    """``size`` in the largest unit that says it exactly: "50GiB", "10GB", "1023B"."""
    candidates = [(size // _unit(name), name) for name in _UNITS if size and size % _unit(name) == 0]
    number, unit = min(candidates, default=(size, "B"))
    return f"{number}{unit}"


def _unit(name: str) -> int:
    return config.parse_size("1" + name)


def _document(settings: Settings) -> Dict[str, Any]:
    return {
        "schema_version": console.JSON_VERSION,
        "file": _printable(settings.file),
        "settings": {row.name: described(row, settings) for row in SETTINGS},
        "problems": [_printable(text) for text in settings.problems],
        "warnings": [_printable(text) for text in settings.warnings],
    }


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()

"""The settings as an editor has them: what holds, where from, and what is to be written.

Owns the changes that are not yet written, which settings cannot be changed
here and why, and saving. Draws nothing.
"""

import sys
from typing import Dict, List, Mapping, Optional

from kachelib import config, config_edit, config_show, config_target, config_value
from kachelib.config_target import Target
from kachelib.config_value import Written
from kachelib.outcome import KacheError
from kachelib.redact import MASK
from kachelib.settings import CHOICE, FLAG, PATH, SECONDS, SETTINGS, Setting, Settings

# What an origin is called in a column; "env" is followed by the variable, "file" by the path.
UNSAVED = "unsaved"


class Fields:
    """All settings of a directory. target: the file that is changed, None while there is none; trouble: why it cannot
    be changed, or ""; changes: what is to be written, by dotted key, None to take it out."""

    settings: Settings
    target: Optional[Target]
    trouble: str

    def __init__(self, environ: Mapping[str, str], here: str) -> None:
        self.environ = environ
        self.here = here
        self.changes: Dict[str, Optional[Written]] = {}
        self.before = ""
        self.reload()

    def reload(self) -> None:
        """Read all anew; what is not yet written stays."""
        self.settings = config.load(self.environ, (self.here,))
        self.before = config_target.in_force(self.environ, self.here)
        self.target = None
        self.trouble = ""
        if self.before:
            self.take(self.before)

    def take(self, path: str) -> None:
        """Change the file at ``path`` from now on."""
        try:
            self.target = config_target.read(path)
            config_edit.require_toml(self.target.text, path)
        except KacheError as error:
            self.trouble = str(error)

    def rows(self, words: str = "") -> List[Setting]:
        """The settings in whose names all of ``words`` are."""
        wanted = words.lower().split()
        return [row for row in SETTINGS if all(word in f"{row.key} {row.env} {row.name}".lower() for word in wanted)]

    def lock(self, row: Setting) -> str:
        """Why ``row`` cannot be changed here, or ""."""
        origin = config.origin(self.settings, row.name)
        if origin.startswith("env "):
            return f"{row.env} is set in the environment and wins over the file"
        if not row.key:
            return f"only the environment sets this: {row.env}"
        return self.trouble

    def value(self, row: Setting) -> str:
        """What will hold once all is written, for people."""
        if row.key in self.changes:
            value = self.changes[row.key]
            if value is None:
                return self.default(row)
            shown = config_value.line_of(row, config_value.public(row, value))
            return shown + "s" if row.kind == SECONDS and isinstance(value, int) else shown
        shown = config_show.text_of(row, self.settings)
        return self.short(shown) if row.kind == PATH else shown

    def short(self, path: str) -> str:
        """``path`` as people write it, with ~ for HOME."""
        home = config.home_directory(self.environ)
        return "~" + path[len(home) :] if len(home) > 1 and path.startswith(home + "/") else path

    def origin(self, row: Setting) -> str:
        """Where the value comes from, in a word or two."""
        if row.key in self.changes:
            return UNSAVED
        origin = config.origin(self.settings, row.name).partition(" ")[0]
        if origin == "env" or not row.key:
            return "env (locked)" if origin == "env" else "env only"
        return origin

    def default(self, row: Setting) -> str:
        """What holds where nothing is said."""
        if row.name == "cache_dir":
            return "~/Library/Caches/kache" if sys.platform == "darwin" else "~/.cache/kache"
        plain = Settings()
        setattr(plain, row.name, row.default)
        return config_show.text_of(row, plain)

    def line(self, row: Setting) -> str:
        """The value as a line to edit; "" where there is none, and for what may be a secret."""
        value = self.changes.get(row.key)
        if row.secret:
            return ""
        if value is None and self.target is not None and not self.trouble and row.key not in self.changes:
            found = config_edit.value_of(self.target.text, row.key, self.target.path)
            value = found if isinstance(found, (str, bool, int, list)) else None
        if value is None:
            shown = self.value(row)
            return "" if shown == "-" or MASK in shown else shown
        return config_value.line_of(row, value) if config_value.public(row, value) == value else ""

    def check(self, row: Setting, line: str) -> str:
        """What is wrong with an edited line, or ""."""
        try:
            config_value.from_line(row, line, self.environ)
        except ValueError as error:
            return str(error)
        return ""

    def put(self, row: Setting, line: str) -> None:
        """Take over an edited line that ``check`` found nothing wrong with."""
        self._change(row, config_value.from_line(row, line, self.environ))

    def toggle(self, row: Setting) -> bool:
        """The next of a few values; False where there are not few."""
        now = self.value(row)
        if row.kind == FLAG:
            self._change(row, now != "true")
        elif row.kind == CHOICE:
            at = row.choices.index(now) if now in row.choices else -1
            self._change(row, row.choices[(at + 1) % len(row.choices)])
        return row.kind in (FLAG, CHOICE)

    def unset(self, row: Setting) -> None:
        """Take it out of the file."""
        self._change(row, None)

    def revert(self, row: Setting) -> None:
        """Forget what was to be written of it."""
        self.changes.pop(row.key, None)

    def _change(self, row: Setting, value: Optional[Written]) -> None:
        text, path = (self.target.text, self.target.path) if self.target is not None else ("", "")
        known = config_edit.value_of(text, row.key, path)
        # What is there already needs no writing.
        if type(known) is type(value) and known == value:
            self.changes.pop(row.key, None)
        else:
            self.changes[row.key] = value

    def save(self) -> List[str]:
        """Write all changes into the target; returns what people should know then.

        Raises config_target.Changed where somebody else wrote the file since it was read, KacheError where it
        cannot be done; the changes are kept then.
        """
        assert self.target is not None
        target = self.target
        rows = [row for row in SETTINGS if row.key in self.changes]
        text = config_edit.changed(target.text, self.changes, target.path)
        config_target.write(target, text, private=any(row.secret for row in rows))
        before = self.before
        self.changes.clear()
        self.reload()
        return config_target.effects(rows, target.path, before, self.settings)

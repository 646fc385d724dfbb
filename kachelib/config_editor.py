"""``kache config`` on a terminal: all settings to look at and to change.

Owns the picture and the keys. What a setting is, may be and becomes is
config_fields' to know, the terminal screen's.
"""

import textwrap
from typing import List, Mapping, NamedTuple, Tuple

from kachelib import config_target, screen, setting_texts
from kachelib.config_fields import UNSAVED, Fields
from kachelib.outcome import KacheError
from kachelib.screen import Screen
from kachelib.settings import LISTS, Setting, accepted

_NAME, _ORIGIN = 32, 12
# Above the list: title, trouble or a blank line, heads. Below: a rule, four of the selected setting, message, keys.
_ABOVE, _BELOW, _TROUBLE = 3, 7, 3
# From this width on there is room for a column of defaults.
_WIDE = 120

_KEYS = "Enter change  u unset  s save  f filter  ? help  q quit"

_HELP = """\
up down PgUp PgDn     move; also k j, g and G for the first and the last
Enter, Space          change the setting: a switch or a choice takes its next value, all else becomes a line to edit
u, Delete             unset it: take it out of the file, so that its default holds
r                     forget the change that is not saved
s                     save all changes
f, /                  show only settings with these words in their names; Escape shows all
q                     leave
?                     this text

Escape leaves a line that is edited as it was. A list is words between blanks, or what TOML writes: ["a b", "c"].

Changes are written into one file, the one that is in force here: what KACHE_CONFIG names, else the nearest \
.kache.toml upwards, else your own. Where there is none, saving asks which to make. The rest of the file stays.

What the environment sets wins over any file and cannot be changed here; unset the variable to have the file's value.
Secrets are never shown."""


class _Column(NamedTuple):
    at: int
    room: int
    title: str


def edit(environ: Mapping[str, str], here: str) -> int:
    """Show the settings that hold in ``here`` and let people change them; returns the exit code."""
    fields = Fields(environ, here)
    with screen.opened() as shown:
        _Editor(shown, fields).run()
    return 0


class _Editor:
    """The screen and what is looked at on it."""

    def __init__(self, shown: Screen, fields: Fields) -> None:
        self.screen = shown
        self.fields = fields
        self.cursor = screen.Cursor()
        self.words = ""
        self.message = ""
        self.style = ""

    def run(self) -> None:
        """Until people leave."""
        while True:
            if not screen.too_small(self.screen):
                self._draw()
            key = self.screen.key(3600.0)
            if key in ("", "resize"):
                continue
            self._say("")
            if key == "q" and self._may_leave():
                return
            self._follow(key)

    def _follow(self, key: str) -> None:
        rows = self.fields.rows(self.words)
        if self.cursor.move(key, len(rows), self._page()):
            return
        if key in ("f", "/"):
            found = self.screen.ask(self.screen.height - 1, "filter", self.words)
            self.words = self.words if found is None else found
        elif key == "escape":
            self.words = ""
        elif key == "?":
            self._help()
        elif key == "s":
            self._save()
        elif rows and key in ("enter", " ", "u", "delete", "r"):
            self._change(rows[self.cursor.selected], key)

    def _change(self, row: Setting, key: str) -> None:
        lock = self.fields.lock(row)
        if key == "r":
            self.fields.revert(row)
        elif lock:
            self._say("the file is to be mended first" if lock == self.fields.trouble else lock, "yellow")
        elif key in ("u", "delete"):
            self.fields.unset(row)
        elif not self.fields.toggle(row):
            self._edit(row)

    def _edit(self, row: Setting) -> None:
        hint = "give words, or a TOML list of strings" if row.kind in LISTS else accepted(row)
        self._put_line(self.screen.height - 2, f"{hint}; Enter takes it, Escape leaves it as it was", "dim")
        line = self.screen.ask(
            self.screen.height - 1, row.key, self.fields.line(row), lambda text: self.fields.check(row, text)
        )
        if line is not None:
            self.fields.put(row, line)

    # Saving and leaving

    def _save(self) -> bool:
        """Write what is to be written; True where nothing is left to."""
        fields = self.fields
        if not fields.changes:
            self._say("nothing was changed")
            return True
        try:
            if fields.target is None and not self._choose():
                return False
            assert fields.target is not None
            path = fields.target.path
            short = fields.short(path)
            try:
                told = fields.save()
            except config_target.Changed:
                if not self._agreed(f"{short} was changed by another program. Put your changes into it as it is now?"):
                    return False
                fields.take(path)
                if fields.trouble:
                    self._say(fields.trouble, "red")
                    return False
                told = fields.save()
        except KacheError as error:
            self._say(str(error), "red")
            return False
        self._say("; ".join([f"saved {short}", *told]), "yellow" if told else "green")
        return True

    def _choose(self) -> bool:
        """Which file to make."""
        files = {"p": config_target.project(self.fields.here)}
        try:
            files["u"] = config_target.user(self.fields.environ)
        except KacheError:
            pass
        lines = ["There is no configuration file yet. Which is to be made?", ""]
        if "u" in files:
            lines.append(f"u   {self.fields.short(files['u'])}: for all that you build")
        lines += [f"p   {self.fields.short(files['p'])}: for this project", "", "Escape: none"]
        key = self._question(lines, (*files, "escape"))
        if key == "escape":
            return False
        self.fields.take(files[key])
        return True

    def _may_leave(self) -> bool:
        if not self.fields.changes:
            return True
        count = len(self.fields.changes)
        what = "1 change is" if count == 1 else f"{count} changes are"
        key = self._question(
            [f"{what} not saved.", "", "s   save and leave", "d   discard and leave", "", "Escape: stay"],
            ("s", "d", "escape"),
        )
        return key == "d" or (key == "s" and self._save())

    def _agreed(self, question: str) -> bool:
        return self._question([question, "", "y   yes", "n   no: nothing is written"], ("y", "n", "escape")) == "y"

    def _question(self, lines: List[str], keys: Tuple[str, ...]) -> str:
        """The key of ``keys`` that is pressed."""
        while True:
            if not screen.too_small(self.screen):
                self.screen.clear()
                self.screen.put(0, 0, "kache config", "bold")
                for number, line in enumerate(self._wrapped("\n".join(lines))):
                    self.screen.put(2 + number, 2, line)
                self.screen.show()
            key = self.screen.key(3600.0)
            if key in keys:
                return key

    def _help(self) -> None:
        while True:
            if not screen.too_small(self.screen):
                self.screen.clear()
                self.screen.put(0, 0, "kache config: keys", "bold")
                for number, line in enumerate(self._wrapped(_HELP)):
                    self.screen.put(1 + number, 1, line)
                self.screen.put(self.screen.height - 1, 0, "any key: back", "dim")
                self.screen.show()
            if self.screen.key(3600.0) not in ("", "resize"):
                return

    def _wrapped(self, text: str) -> List[str]:
        found: List[str] = []
        for line in text.split("\n"):
            # What explains a key stays below its first line.
            indent = " " * (len(line) - len(line.partition("  ")[2].lstrip())) if "  " in line else ""
            found += textwrap.wrap(line, min(100, self.screen.width - 4), subsequent_indent=indent) or [""]
        return found

    # The picture

    def _page(self) -> int:
        return max(1, self.screen.height - self._above() - _BELOW)

    def _above(self) -> int:
        return _ABOVE + max(0, len(self._trouble()) - 1)

    def _trouble(self) -> List[str]:
        """What is wrong with the settings, in a few lines."""
        fields = self.fields
        found = [fields.trouble] if fields.trouble else [*fields.settings.problems, *fields.settings.warnings]
        file = fields.settings.file
        # The title names it.
        texts = [text.replace(file + ": ", "").replace(file, "the file") if file else text for text in found]
        return textwrap.wrap("; ".join(texts), self.screen.width - 1)[:_TROUBLE]

    def _say(self, text: str, style: str = "") -> None:
        self.message, self.style = text, style

    def _put_line(self, line: int, text: str, style: str = "") -> None:
        room = self.screen.width - 1
        self.screen.put(line, 0, " " * room)
        self.screen.put(line, 0, text, style, room)

    def _columns(self) -> List[_Column]:
        width = self.screen.width
        rest = width - 2 - _NAME - 1 - _ORIGIN - 1
        value = rest if width < _WIDE else rest * 3 // 5
        found = [
            _Column(2, _NAME, "setting"),
            _Column(2 + _NAME + 1, value - 1, "value"),
            _Column(2 + _NAME + 1 + value, _ORIGIN, "from"),
        ]
        if width >= _WIDE:
            at = found[-1].at + _ORIGIN + 2
            found.append(_Column(at, width - at, "default"))
        return found

    def _draw(self) -> None:
        fields, out = self.fields, self.screen
        out.clear()
        title = "kache config"
        out.put(0, 0, title, "bold")
        out.put(0, len(title) + 2, fields.short(fields.target.path) if fields.target else "no configuration file yet")
        if fields.changes:
            count = f" {len(fields.changes)} not saved "
            out.put(0, out.width - len(count), count, "bold yellow reverse")
        for number, text in enumerate(self._trouble(), 1):
            out.put(number, 0, text, "red")
        columns = self._columns()
        above = self._above()
        for column in columns:
            out.put(above - 1, column.at, column.title, "dim", column.room)
        rows = fields.rows(self.words)
        window = self.cursor.window(len(rows), self._page())
        for number, index in enumerate(window):
            self._draw_row(above + number, rows[index], columns, index == self.cursor.selected)
        if not rows:
            out.put(above, 2, f"no setting has '{self.words}' in its name; Escape shows all", "dim")
        self._draw_rule(len(rows), window)
        if rows:
            self._draw_selected(rows[self.cursor.selected])
        self._put_line(out.height - 2, self.message, self.style)
        self._put_line(out.height - 1, _KEYS, "dim")
        out.show()

    def _draw_rule(self, count: int, window: range) -> None:
        out = self.screen
        top = out.height - _BELOW
        out.put(top, 0, ("─" if out.unicode else "-") * out.width, "dim")
        if self.words:
            out.put(top, 2, f" only '{self.words}'; Escape shows all ", "bold")
        if len(window) < count:
            where = f" {window.start + 1}-{window.stop} of {count} "
            out.put(top, out.width - len(where) - 2, where, "dim")

    def _draw_row(self, line: int, row: Setting, columns: List[_Column], selected: bool) -> None:
        fields, out = self.fields, self.screen
        origin = fields.origin(row)
        changed = origin == UNSAVED
        style = "bold yellow" if changed else "dim" if fields.lock(row) else ""
        if selected:
            style += " reverse"
            out.put(line, 0, " " * out.width, style)
        texts = ["* " if changed else "  ", row.key or row.env, fields.value(row), origin, fields.default(row)]
        out.put(line, 0, texts[0], style)
        for column, text in zip(columns, texts[1:]):
            out.put(line, column.at, text, style, column.room)

    def _draw_selected(self, row: Setting) -> None:
        out = self.screen
        top = out.height - _BELOW + 1
        out.put(top, 0, "  ".join(name for name in (row.key, row.env) if name), "bold")
        for number, line in enumerate(textwrap.wrap(setting_texts.of(row), out.width - 1)[:2], 1):
            out.put(top + number, 0, line)
        lock = self.fields.lock(row)
        rest = "read-only: " + lock if lock and not self.fields.trouble else accepted(row)
        out.put(top + 3, 0, f"default: {self.fields.default(row)}   {rest}", "dim")

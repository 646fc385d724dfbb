"""The terminal as a screen: opened, drawn on, read, and given back as it was.

Owns curses, signals while a screen is open, and the widgets that all screens
share: a line to edit, a place in a list, a bar. Knows nothing of kache.

Nothing here sleeps in slices: ``key`` waits in select for the keyboard or a
signal, so an idle screen costs nothing. A signal that ends the process first
gives the terminal back and then ends it, so that the caller sees the signal.
"""

import curses
import locale
import os
import select
import signal
import sys
import unicodedata
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional

from kachelib.outcome import UsageError

# The smallest screen that everything fits on.
WIDTH, HEIGHT = 80, 24

# How long after Escape the rest of a key's sequence may come, ms. ncurses waits a second, which people feel.
ESCAPE_MS = 25

_COLOURS = ("red", "green", "yellow", "blue", "cyan")

_NAMES = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_LEFT: "left",
    curses.KEY_RIGHT: "right",
    curses.KEY_PPAGE: "pageup",
    curses.KEY_NPAGE: "pagedown",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_ENTER: "enter",
    curses.KEY_BTAB: "backtab",
    curses.KEY_BACKSPACE: "backspace",
    curses.KEY_DC: "delete",
    curses.KEY_RESIZE: "resize",
}

_CHARACTERS = {"\n": "enter", "\r": "enter", "\t": "tab", "\x1b": "escape", "\x7f": "backspace", "\x08": "backspace"}

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class _Ended(BaseException):
    """A signal asked the process to end. number: which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Screen:
    """An open screen. unicode: whether more than ASCII may be drawn; colour: whether colours are wanted."""

    def __init__(self, window: "curses.window", wakeup: int) -> None:
        self._window = window
        self._wakeup = wakeup
        self.height, self.width = window.getmaxyx()
        self.unicode = "utf" in (locale.nl_langinfo(locale.CODESET) or "").lower()
        self.colour = curses.has_colors() and not os.environ.get("NO_COLOR")
        self._styles: Dict[str, int] = {"bold": curses.A_BOLD, "dim": curses.A_DIM, "reverse": curses.A_REVERSE}
        if self.colour:
            self._add_colours()

    def _add_colours(self) -> None:
        curses.start_color()
        try:
            curses.use_default_colors()
            background = -1
        except curses.error:
            background = curses.COLOR_BLACK
        for number, name in enumerate(_COLOURS, 1):
            curses.init_pair(number, getattr(curses, "COLOR_" + name.upper()), background)
            self._styles[name] = curses.color_pair(number)

    def clear(self) -> None:
        """Forget what was put. Nothing is seen of it before ``show``."""
        self._window.erase()

    def put(self, row: int, column: int, text: str, style: str = "", room: Optional[int] = None) -> None:
        """Write ``text`` there, cut to the screen and to ``room`` columns.

        style: words, as in "bold green"; unknown ones count for nothing, nor do colours where there are none.
        """
        space = self.width - column if room is None else min(room, self.width - column)
        if not (0 <= row < self.height and column >= 0) or space <= 0:
            return
        attribute = 0
        for word in style.split():
            attribute |= self._styles.get(word, 0)
        shown = fit(self.printable(text), space, self.unicode)
        try:
            self._window.addstr(row, column, shown, attribute)
        except (curses.error, UnicodeEncodeError):
            # The cursor cannot stand behind the last cell, which is written all the same.
            pass

    def printable(self, text: str) -> str:
        """``text`` as this terminal can show it, in one line."""
        if text.isascii() and text.isprintable():
            return text
        safe = "".join(char if char.isprintable() else "?" for char in text)
        return safe if self.unicode else safe.encode("ascii", "replace").decode()

    def show(self) -> None:
        """Bring what was put to the terminal, in one go: only what changed is sent."""
        self._window.refresh()

    def key(self, timeout: float) -> str:
        """The next key, waiting ``timeout`` seconds at most: a name or a character; "" where none came."""
        ready = select.select([sys.stdin, self._wakeup], [], [], max(0.0, timeout))[0]
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
            if self._resized():
                return "resize"
        if sys.stdin not in ready:
            return ""
        return self._read()

    def _read(self) -> str:
        try:
            found = self._window.get_wch()
        except curses.error:
            # The keyboard is at its end: the terminal went away.
            if not os.isatty(0):
                raise _Ended(signal.SIGHUP) from None
            return ""
        if isinstance(found, int):
            name = _NAMES.get(found, "")
            if name == "resize":
                self._resized()
            return name
        return _CHARACTERS.get(found, found if found.isprintable() else "")

    def _resized(self) -> bool:
        try:
            size = os.get_terminal_size(1)
        except OSError:
            return False
        if (size.lines, size.columns) == (self.height, self.width) or not size.lines or not size.columns:
            return False
        curses.resizeterm(size.lines, size.columns)
        # What the terminal shows now is its own idea of the old picture.
        self._window.clear()
        self.height, self.width = self._window.getmaxyx()
        return True

    def ask(
        self, row: int, prompt: str, value: str = "", check: Optional[Callable[[str], str]] = None
    ) -> Optional[str]:
        """A line that people edit, at ``row``; None where they leave it with Escape.

        check: returns what is wrong with a text, or ""; that is shown in the row above. Where the screen changes its
        size, only the line follows.
        """
        text, at = value, len(value)
        trouble = ""
        _show_cursor(True)
        try:
            while True:
                self._draw_line(min(row, self.height - 1), prompt, text, at, trouble)
                key = self.key(3600.0)
                if key == "escape":
                    return None
                if key == "enter":
                    trouble = check(text) if check is not None else ""
                    if not trouble:
                        return text
                    continue
                text, at = _edited(text, at, key)
        finally:
            _show_cursor(False)

    def _draw_line(self, row: int, prompt: str, text: str, at: int, trouble: str) -> None:
        for line, words, style in ((row - 1, trouble, "red"), (row, "", "")):
            if words or line == row:
                self.put(line, 0, " " * (self.width - 1))
                self.put(line, 0, words, style)
        head = prompt + " "
        room = max(8, self.width - 1 - columns(head))
        # The end of what is left of the cursor stays in sight.
        start = 0
        while columns(text[start:at]) >= room:
            start += 1
        self.put(row, 0, head, "bold")
        self.put(row, columns(head), text[start:], room=room)
        place = min(self.width - 1, columns(head) + columns(text[start:at]))
        try:
            self._window.move(row, place)
        except curses.error:
            pass
        self.show()


class Cursor:
    """A place in a list that may be longer than the screen. selected: an index; top: the first row that is seen."""

    def __init__(self) -> None:
        self.selected = 0
        self.top = 0

    def move(self, key: str, count: int, page: int) -> bool:
        """Follow ``key`` in a list of ``count`` rows of which ``page`` are seen; False where it means nothing here."""
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -page, "pagedown": page}
        ends = {"home": 0, "g": 0, "end": count - 1, "G": count - 1}
        if key in steps:
            self.selected += steps[key]
        elif key in ends:
            self.selected = ends[key]
        else:
            return False
        self.selected = max(0, min(self.selected, count - 1))
        return True

    def window(self, count: int, page: int) -> range:
        """The rows that are seen, the selected one among them."""
        page = max(1, page)
        self.selected = max(0, min(self.selected, count - 1))
        self.top = max(0, min(self.top, count - page, self.selected), self.selected - page + 1)
        return range(self.top, min(count, self.top + page))


@contextmanager
def opened() -> Iterator[Screen]:
    """The terminal as a screen. Raises UsageError where there is none."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("this needs a terminal; 'kache --help' lists what works without one")
    locale.setlocale(locale.LC_ALL, "")
    sys.stdout.flush()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGWINCH)}
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    ended = 0
    try:
        window = _begin()
        try:
            for number in _ENDING:
                # Who was told to ignore it (nohup) goes on to.
                if before[number] is not signal.SIG_IGN:
                    signal.signal(number, _end)
            # ncurses has a handler of its own, which does not wake select.
            signal.signal(signal.SIGWINCH, lambda *_: None)
            yield Screen(window, reader)
        finally:
            _give_back()
    except _Ended as end:
        ended = end.number
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(reader)
        os.close(writer)
    if ended:
        signal.signal(ended, signal.SIG_DFL)
        os.kill(os.getpid(), ended)


def _begin() -> "curses.window":
    if hasattr(curses, "set_escdelay"):
        curses.set_escdelay(ESCAPE_MS)
    try:
        # initscr would end the process where the terminal is unknown.
        curses.setupterm()
    except curses.error:
        name = os.environ.get("TERM", "")
        raise UsageError(f"the terminal '{name}' is not known here; set TERM, to xterm for example") from None
    window = curses.initscr()
    curses.noecho()
    curses.cbreak()
    window.keypad(True)
    window.nodelay(True)
    _show_cursor(False)
    return window


def _give_back() -> None:
    # A second signal must not leave the terminal half restored.
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    _show_cursor(True)
    try:
        curses.endwin()
    except curses.error:
        pass


def _end(number: int, _: Any) -> None:
    raise _Ended(number)


def _show_cursor(shown: bool) -> None:
    try:
        curses.curs_set(1 if shown else 0)
    except curses.error:
        # Some terminals cannot hide it.
        pass


def _edited(text: str, at: int, key: str) -> "tuple[str, int]":
    if key == "backspace":
        return text[: max(0, at - 1)] + text[at:], max(0, at - 1)
    if key == "delete":
        return text[:at] + text[at + 1 :], at
    if len(key) == 1:
        return text[:at] + key + text[at:], at + 1
    places = {"left": max(0, at - 1), "right": min(len(text), at + 1), "home": 0, "end": len(text)}
    return text, places.get(key, at)


def columns(text: str) -> int:
    """How many columns a terminal takes for ``text``."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, room: int, unicode: bool = True) -> str:
    """``text`` in at most ``room`` columns, with a mark where it was cut."""
    if columns(text) <= room:
        return text
    mark = "…" if unicode else "~"
    kept, taken = [], 0
    for char in text:
        taken += _columns(char)
        if taken > room - 1:
            break
        kept.append(char)
    return ("".join(kept) + mark)[: max(0, room)]


def bar(share: float, room: int, unicode: bool) -> str:
    """A bar of ``room`` columns that is filled to ``share``, from 0 to 1."""
    filled = max(0, min(room, round(share * room)))
    full, empty = ("█", "░") if unicode else ("#", ".")
    return full * filled + empty * (room - filled)


def too_small(screen: Screen, width: int = WIDTH, height: int = HEIGHT) -> bool:
    """Whether the screen is smaller than that; then it says so, and nothing else is to be drawn."""
    if screen.width >= width and screen.height >= height:
        return False
    screen.clear()
    screen.put(0, 0, f"the terminal is {screen.width}x{screen.height}; kache needs {width}x{height}")
    screen.show()
    return True

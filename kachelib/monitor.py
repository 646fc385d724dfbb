"""``kache monitor``: the cache, live: what builds do, what is kept, what is missing.

Owns the loop, the keys and where things stand on the screen. What is told is in overview.py and panes.py, where it
comes from in follower.py and lookout.py. Nothing here waits for another process, nor for a disk but the cache's own.
"""

import time
from typing import Any, List, Optional

from kachelib import console, overview, panes, screen
from kachelib.config import Settings
from kachelib.follower import Follower
from kachelib.lookout import Lookout
from kachelib.screen import Screen
from kachelib.sight import Line, Sight
from kachelib.stream import Stream
from kachelib.tabs import Tab, placed
from kachelib.tally import Tally

# seconds
GLANCE = 0.25  # between looks at the log
READING = 0.05  # of the log at once, before the screen and the keys have their turn
REDRAW = 5.0  # so that ages are right where nothing happens
READING_REDRAW = 0.3

# So many calls are shown while the whole log is read.
PREVIEW = 200

FOOTER = "q quit  Tab 1-5 tabs  f filter  s sort  c clear  r refresh  ? help"

HELP = """\
kache keeps what compilers make. A call whose inputs are all the same gets its
outputs from the store: a hit. Everything else is compiled and kept: a miss.

In short   units that came from the cache, of all that could have
Hits       by compile time: each call counts as long as its compile takes;
           of the time: what misses took of all that hits and misses took
Saved      dedup: outputs that are equal lie in the store once; hard links and
           reflinks put outputs back without a copy
Wrapper    whether Cargo calls kache in the directory you are in

hit  from the store            remote  prefetch  fetched from the remote
miss  compiled and kept        dup  compiled, and the same bytes were known
warmed  put back before Cargo asked      passed  not cached; tab 5 says why

1-5  Tab  Shift-Tab     tabs          f  filter: Enter, Escape takes it off
arrows  PgUp  PgDn      a row, a page s  another order
g  G                    first, last   c  count from now on (deletes nothing)
q                       quit          r  read and look at everything anew

any key goes back"""


def run(argv: List[str]) -> int:
    """``kache monitor``; returns the exit code."""
    parser = console.Parser(
        "monitor",
        "Watch the cache while builds go on: what each call of the compiler came to, what is kept and what it takes,\n"
        "what moves to and from the remote, what is not cached and why. 'kache' alone opens it as well.",
        "Exit codes: 0 done; 1 failed; 2 wrong use, or this is no terminal; 130 stopped with Ctrl-C.",
    )
    span = "only what ended within the last DUR (7d, 24h, 30m), and what comes; default: all that is logged"
    parser.add_argument("--since", metavar="DUR", type=console.duration_argument, help=span)
    options = parser.parse_args(argv)
    settings = console.load_settings()
    console.store_directory(settings)
    with screen.opened() as shown:
        Monitor(shown, settings, time.time() - options.since if options.since is not None else 0.0).run()
    return 0


class Monitor:
    """One view of one cache directory. since: seconds since the epoch, 0 for all that is logged."""

    def __init__(self, shown: Screen, settings: Settings, since: float) -> None:
        self._screen = shown
        self._settings = settings
        self._asked_since = since
        self._tabs: List[Tab[Any]] = list(panes.all_panes())
        self._tab = 0
        self._help = False
        self._lookout = Lookout(settings)
        self._home = console.home()
        self._drawn = 0.0
        self._drawn_version = -1
        self._page = 1
        self._follower: Optional[Follower] = None
        self._begin(since)

    def _begin(self, since: float) -> None:
        """Read the log from ``since`` on."""
        if self._follower is not None:
            self._follower.close()
        self._since = since
        self._follower = Follower(self._settings.cache_dir, since)
        self._total = self._follower.left()
        self._tally, self._stream = Tally(), Stream()
        self._preview: Optional[Stream] = Stream()
        for event in self._follower.newest(PREVIEW):
            self._preview.add(event)

    def run(self) -> None:
        """Until somebody quits."""
        while True:
            changed = self._follow()
            self._lookout.tick(self._tally, self._since, targets_shown=self._tab == 1)
            self._draw(changed)
            key = self._screen.key(GLANCE if self._preview is None else 0.0)
            if key and not self._obey(key):
                return

    def _follow(self) -> bool:
        """Take in what came; whether anything did."""
        assert self._follower is not None
        deadline = time.monotonic() + READING
        changed = False
        while time.monotonic() < deadline:
            for event in self._follower.read():
                self._tally.add(event)
                self._stream.add(event)
                changed = True
            if self._follower.at_end:
                changed = changed or self._preview is not None
                self._preview = None
                break
        return changed

    def _obey(self, key: str) -> bool:
        """Do what a key asks for; False to quit."""
        self._drawn = 0.0
        tab = self._tabs[self._tab]
        if self._help:
            self._help = False
            return True
        if key == "q":
            return False
        if key in ("tab", "right", "backtab", "left"):
            self._tab = (self._tab + (1 if key in ("tab", "right") else -1)) % len(self._tabs)
        elif key in "12345" and len(key) == 1:
            self._tab = int(key) - 1
        elif key == "f":
            found = self._screen.ask(self._screen.height - 1, "filter:", tab.filter)
            tab.find(tab.filter if found is None else found)
        elif key == "escape":
            tab.find("")
        elif key == "s":
            tab.sort()
        elif key == "c":
            self._begin(time.time())
        elif key == "r":
            self._begin(self._asked_since)
            self._lookout.refresh()
        elif key == "?":
            self._help = True
        else:
            tab.cursor.move(key, len(tab.rows(self._sight())), self._page)
        return True

    def _sight(self) -> Sight:
        assert self._follower is not None
        reading = 1.0
        if self._preview is not None:
            reading = 1 - self._follower.left() / self._total if self._total else 0.0
        return Sight(
            self._settings,
            self._tally,
            self._preview or self._stream,
            self._lookout,
            self._since,
            time.time(),
            self._screen.unicode,
            self._home,
            reading,
            self._follower.trouble,
            self._follower.broken,
        )

    def _draw(self, changed: bool) -> None:
        now = time.monotonic()
        version = self._lookout.version()
        if self._preview is not None and 0 < now - self._drawn < READING_REDRAW:
            return
        if not (changed or version != self._drawn_version or now - self._drawn >= REDRAW):
            return
        self._drawn, self._drawn_version = now, version
        if screen.too_small(self._screen):
            return
        self._screen.clear()
        if self._help:
            for row, line in enumerate(HELP.splitlines()):
                self._screen.put(row, 1, line)
        else:
            self._draw_all(self._sight(), self._tabs[self._tab])
        self._screen.show()

    def _draw_all(self, sight: Sight, tab: "Tab[Any]") -> None:
        for row, line in enumerate(overview.lines(sight)):
            self._put_line(row, line)
        self._draw_bar(overview.HEIGHT, sight, tab)
        at = overview.HEIGHT + 1
        for line in tab.head(sight, self._screen.width):
            self._put_line(at, line)
            at += 1
        self._draw_table(at, sight, tab)
        told = FOOTER
        if tab.filter:
            told = f"{len(tab.rows(sight)):,} of {tab.total:,} with '{tab.filter}'; f changes that, Escape takes it off"
        self._screen.put(self._screen.height - 1, 0, told, "" if tab.filter else "dim")

    def _put_line(self, row: int, line: Line) -> None:
        column = 0
        for piece in line:
            self._screen.put(row, column, piece.text, piece.style)
            column += screen.columns(piece.text)

    def _draw_bar(self, row: int, sight: Sight, tab: "Tab[Any]") -> None:
        """The tabs' names, and how the table of this one was made."""
        column = 0
        for number, each in enumerate(self._tabs, 1):
            text = f" {number} {each.name} "
            self._screen.put(row, column, text, "reverse bold" if each is tab else "")
            column += len(text)
        told = f"{len(tab.rows(sight)):,}, by {tab.sorted_by()}"
        self._screen.put(row, max(column, self._screen.width - len(told)), told, "dim")

    def _draw_table(self, at: int, sight: Sight, tab: "Tab[Any]") -> None:
        width, rows = self._screen.width, tab.rows(sight)
        cells = placed(tab.columns, width)
        for cell in cells:
            self._screen.put(at, cell.at, cell.fitted(cell.column.title, sight.unicode), "bold", cell.width)
        # below the rows: all of the selected one, and the keys
        self._page = max(1, self._screen.height - at - 3)
        for row, number in enumerate(tab.cursor.window(len(rows), self._page), at + 1):
            item = rows[number]
            texts = tab.cells(item, sight)
            chosen = "reverse" if number == tab.cursor.selected else ""
            if chosen:
                self._screen.put(row, 0, " " * width, chosen)
            for cell in cells:
                style = tab.style(item) if cell.number == tab.coloured else ""
                text = cell.fitted(self._screen.printable(texts[cell.number]), sight.unicode)
                self._screen.put(row, cell.at, text, f"{style} {chosen}", cell.width)
        if rows:
            selected = tab.selected()
            detail = tab.detail(selected, sight) if selected is not None else ""
            self._screen.put(self._screen.height - 2, 0, detail, "dim")
        else:
            nothing = ["Nothing has that in it."] if tab.filter else tab.empty(sight)
            for row, line in enumerate(nothing, at + 2):
                self._screen.put(row, 2, line)

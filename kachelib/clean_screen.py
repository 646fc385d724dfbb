"""The selector of ``kache clean``: target directories as a list, what takes their room, and what deleting gives back.

Owns the screen and its keys. Deletes what was chosen once people said yes to its count and bytes, and nothing else.
"""

import time
from typing import Iterator, List, Optional, Set

from kachelib import config, console, screen, survey
from kachelib.screen import Cursor, Screen
from kachelib.survey import Survey, Wishes
from kachelib.target_removal import Outcome
from kachelib.target_size import PARTS, Target

# Seconds: how often the screen is drawn while something goes on, and how long that may go on between two looks at keys.
PAUSE = 0.1
SLICE = 0.05
IDLE = 3600.0

ORDERS = ("size", "freed", "age", "path")
KEYS = "space choose  a all  o older  i incremental  s sort  enter delete  q quit"
HEAD = "         SIZE      FREED   IN STORE   USED   TARGET DIRECTORY"
# Rows that are no list: two above it; below it a line, the parts, what is chosen, the keys.
ABOVE = 2
BELOW = 3 + len(PARTS)
PATH_COLUMN = 45
# A path in fewer columns says nothing.
ROOM = 12


def choose(view: Survey, wishes: Wishes, outcomes: List[Outcome]) -> bool:
    """Let people choose, and delete that. False where they left without.

    outcomes: gets one for each target directory, as soon as it is known. Raises UsageError without a terminal.
    """
    with screen.opened() as s:
        selector = _Selector(s, view, wishes)
        chosen = selector.run()
        if chosen is None:
            return False
        for number, target in enumerate(chosen, 1):
            outcomes.append(selector.delete(target, number, len(chosen)))
        return True


class _Selector:
    """The screen's state. wishes: what the list is cut down to."""

    def __init__(self, s: Screen, view: Survey, wishes: Wishes) -> None:
        self.wishes = wishes
        self._s = s
        self._view = view
        self._cursor = Cursor()
        self._order = ORDERS[0]
        self._marked: Set[str] = set()
        self._shown: List[Target] = []
        self._drawn = 0.0

    def run(self) -> Optional[List[Target]]:
        """What people chose and confirmed; None where they left."""
        looking: Optional[Iterator[None]] = self._view.run()
        while True:
            if looking is not None and not self._step(looking):
                looking = None
                if not self._view.targets:
                    return None
            if looking is None or time.monotonic() - self._drawn >= PAUSE:
                self._draw(KEYS)
            key = self._s.key(IDLE if looking is None else 0.0)
            if key in ("q", "escape"):
                return None
            if key == "enter":
                chosen = self._chosen()
                if chosen and self._confirm(chosen):
                    return chosen
            elif key:
                self._press(key)
                self._draw(KEYS)

    def _step(self, looking: Iterator[None]) -> bool:
        """Go on looking for a moment; False at the end."""
        end = time.monotonic() + SLICE
        return any(time.monotonic() >= end for _ in looking)

    def _press(self, key: str) -> None:
        if self._cursor.move(key, len(self._shown), self._page()) or (not self._shown and key not in "oi"):
            return
        if key == " ":
            self._marked ^= {self._shown[self._cursor.selected].path}
            self._cursor.move("down", len(self._shown), self._page())
        elif key == "a":
            every = {target.path for target in self._shown}
            self._marked = set() if every <= self._marked else every
        elif key == "s":
            self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        elif key == "i":
            self.wishes = self.wishes._replace(incremental=not self.wishes.incremental)
        elif key == "o":
            self._ask_age()

    def _ask_age(self) -> None:
        prompt = "only what was not used for (30d, 12h; empty: any)"
        text = self._s.ask(self._s.height - 1, prompt, "", _wrong_age)
        if text is not None:
            age = config.parse_duration(text) if text.strip() else None
            self.wishes = self.wishes._replace(older_than=age)

    def _page(self) -> int:
        return max(1, self._s.height - ABOVE - BELOW)

    def _chosen(self) -> List[Target]:
        return [target for target in self._shown if target.path in self._marked]

    def _refresh(self) -> None:
        """Bring the list up to date; the one that the cursor stands on stays that."""
        before = self._shown[self._cursor.selected].path if self._cursor.selected < len(self._shown) else ""
        self._shown = self._view.wanted(self.wishes)
        if self._order == "freed":
            self._shown.sort(key=lambda target: -self._view.sum(target, self.wishes.incremental).freed)
        elif self._order == "age":
            self._shown.sort(key=lambda target: target.last_use)
        elif self._order == "path":
            self._shown.sort(key=lambda target: target.path)
        paths = [target.path for target in self._shown]
        # What is not seen is not chosen.
        self._marked.intersection_update(paths)
        if before in paths:
            self._cursor.selected = paths.index(before)

    def _draw(self, foot: str, style: str = "dim") -> None:
        s = self._s
        self._drawn = time.monotonic()
        self._refresh()
        if screen.too_small(s):
            return
        s.clear()
        self._draw_head()
        now = time.time()
        for row, index in enumerate(self._cursor.window(len(self._shown), self._page()), ABOVE):
            self._draw_target(row, index, now)
        if not self._shown:
            s.put(ABOVE, 2, "nothing yet" if not self._view.finished else "nothing that is asked for", "dim")
        self._draw_parts(s.height - BELOW)
        chosen = self._chosen()
        total = self._view.total(chosen, self.wishes.incremental)
        what = f"chosen: {len(chosen)} of {len(self._shown)}, {console.size(total.size)}"
        s.put(s.height - 2, 0, f"{what}; deleting frees {console.size(total.freed)}", "bold")
        s.put(s.height - 1, 0, foot, style)
        s.show()

    def _draw_head(self) -> None:
        s, view = self._s, self._view
        whole = view.total(self._shown, self.wishes.incremental)
        found = f"{console.plural(len(self._shown), 'target directory')}, {console.size(whole.size)}"
        looked = "" if view.finished else f"  looking: {console.plural(view.directories(), 'directory')}"
        passed = len(view.passed())
        over = f"  {passed:,} passed over" if passed else ""
        s.put(0, 0, " " * s.width, "reverse")
        head = f"kache clean  {found}{over}{looked}"
        s.put(0, 1, head, "reverse bold")
        room = s.width - screen.columns(head) - 4
        if len(view.starts) == 1 and room > ROOM:
            start = _tail(s.printable(_at_home(view.starts[0])), room, s.unicode)
            s.put(0, s.width - screen.columns(start) - 1, start, "reverse")
        s.put(1, 0, HEAD, "bold")

    def _draw_target(self, row: int, index: int, now: float) -> None:
        s, target = self._s, self._shown[index]
        taken = self._view.sum(target, self.wishes.incremental)
        mark = "[x]" if target.path in self._marked else "[ ]"
        sizes = "".join(console.size(size).rjust(11) for size in (taken.size, taken.freed, taken.stored))
        used = console.age(now - target.last_use).rjust(5)
        style = "reverse" if index == self._cursor.selected else "green" if mark == "[x]" else ""
        if index == self._cursor.selected:
            s.put(row, 0, " " * s.width, style)
        s.put(row, 0, f"{mark}{sizes[1:]}  {used}", style)
        s.put(row, PATH_COLUMN, _tail(s.printable(self._name(target)), s.width - PATH_COLUMN, s.unicode), style)

    def _name(self, target: Target) -> str:
        """A target directory's path, from where the search began."""
        start = self._view.starts[0].rstrip("/") + "/"
        inside = len(self._view.starts) == 1 and target.path.startswith(start)
        return target.path[len(start) :] if inside else target.path

    def _draw_parts(self, row: int) -> None:
        """What the selected target directory consists of."""
        s = self._s
        s.put(row, 0, ("─" if s.unicode else "-") * s.width, "dim")
        s.put(row, 2, f" {self._narrowed()} ", "dim")
        if not self._shown:
            return
        target = self._shown[self._cursor.selected]
        parts = target.breakdown()
        whole = max(1, sum(parts.values()))
        for line, name in enumerate(PARTS, row + 1):
            share = parts[name] / whole
            s.put(line, 2, f"{name:<12}{console.size(parts[name]):>10}  {share * 100:3.0f} %", room=32)
            s.put(line, 32, screen.bar(share, min(40, s.width - 34), s.unicode), "cyan")

    def _narrowed(self) -> str:
        """What the list shows, and in which order."""
        words = ["by " + self._order]
        if self.wishes.incremental:
            words.append("incremental only")
        if self.wishes.older_than is not None:
            words.append("older than " + console.duration(self.wishes.older_than))
        if self.wishes.larger_than is not None:
            words.append("larger than " + console.size(self.wishes.larger_than))
        return ", ".join(words)

    def _confirm(self, chosen: List[Target]) -> bool:
        """Ask once more, with count and bytes."""
        total = self._view.total(chosen, self.wishes.incremental)
        what = "the incremental directories of " if self.wishes.incremental else ""
        count = console.plural(len(chosen), "target directory")
        files = console.plural(survey.files(chosen, self.wishes.incremental), "file")
        while True:
            self._draw("")
            s = self._s
            row = max(0, s.height - 4)
            for line in (row, row + 1, row + 2):
                s.put(line, 0, " " * s.width)
            s.put(row, 1, f"Delete {what}{count}: {files}, {console.size(total.size)}?", "bold red")
            s.put(row + 1, 1, f"That frees {console.size(total.freed)}. It cannot be undone.")
            s.put(row + 2, 1, "y deletes, every other key goes back", "bold")
            s.show()
            key = s.key(IDLE)
            if key not in ("", "resize"):
                return key == "y"

    def delete(self, target: Target, number: int, count: int) -> Outcome:
        """Delete one, and show how far that is."""

        def tick(outcome: Outcome) -> None:
            if time.monotonic() - self._drawn < PAUSE:
                return
            s = self._s
            self._drawn = time.monotonic()
            s.key(0.0)
            s.clear()
            s.put(0, 0, " " * s.width, "reverse")
            s.put(0, 1, f"kache clean  deleting {number} of {count}", "reverse bold")
            s.put(2, 1, _tail(s.printable(target.path), s.width - 2, s.unicode))
            files = survey.files([target], self.wishes.incremental)
            s.put(3, 1, f"{outcome.files:,} of {console.plural(files, 'file')}, {console.size(outcome.freed)} freed")
            s.put(4, 1, screen.bar(outcome.files / max(1, files), min(60, s.width - 2), s.unicode), "cyan")
            s.put(6, 1, "Ctrl-C stops", "dim")
            s.show()

        self._drawn = 0.0
        tick(Outcome(target.path))
        return self._view.remove(target, self.wishes.incremental, tick)


def _wrong_age(text: str) -> str:
    """What is wrong with an age that was typed, or ""."""
    try:
        if text.strip():
            config.parse_duration(text)
    except ValueError as error:
        return str(error)
    return ""


def _at_home(path: str) -> str:
    """A path as people write it: HOME is ``~``."""
    home = console.home()
    return "~" + path[len(home) :] if home and (path + "/").startswith(home.rstrip("/") + "/") else path


def _tail(text: str, room: int, unicode: bool) -> str:
    """The end of a path: what tells target directories apart."""
    if screen.columns(text) <= room:
        return text
    while text and screen.columns(text) > room - 1:
        text = text[1:]
    return ("…" if unicode else "~") + text

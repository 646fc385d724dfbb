"""A tab: a table of things that change while one looks at it.

Owns columns and how they share a line, filtering, sorting, and which row stays selected when others come. What a tab is
about, panes.py says. Draws nothing.
"""

from typing import Any, Callable, Generic, Hashable, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

from kachelib import screen
from kachelib.sight import Line, Sight

Item = TypeVar("Item")


class Column(NamedTuple):
    """title; width: columns of the screen; right: numbers are; grow: the share of what is left over; least: narrower
    screens do without; tail: of what does not fit, the end is shown."""

    title: str
    width: int
    right: bool = False
    grow: int = 0
    least: int = 0
    tail: bool = False


class Order(NamedTuple):
    """A way to sort rows. key: None leaves them as they come."""

    name: str
    key: Optional[Callable[[Any], Any]]


class Cell(NamedTuple):
    """A column and where it stands. number: among all columns of the tab."""

    number: int
    column: Column
    at: int
    width: int

    def fitted(self, text: str, unicode: bool) -> str:
        """``text`` as it goes into this cell."""
        if self.column.tail and screen.columns(text) > self.width:
            mark = "…" if unicode else "~"
            while text and screen.columns(text) > self.width - 1:
                text = text[1:]
            return mark + text
        text = screen.fit(text, self.width, unicode)
        return " " * (self.width - screen.columns(text)) + text if self.column.right else text


def placed(columns: Sequence[Column], width: int) -> List[Cell]:
    """The columns that a line of ``width`` shows, and where."""
    shown = [(number, column) for number, column in enumerate(columns) if column.least <= width]
    spare = width - sum(column.width for _, column in shown) - 2 * (len(shown) - 1)
    shares = sum(column.grow for _, column in shown)
    cells = []
    at = 0
    for number, column in shown:
        room = column.width + (max(0, spare) * column.grow // shares if shares else 0)
        cells.append(Cell(number, column, at, room))
        at += room + 2
    return cells


class Tab(Generic[Item]):
    """One tab. Its own kind says what is in it; filter, order and place are kept here."""

    name = ""
    columns: Tuple[Column, ...] = ()
    # the first one holds until somebody asks for another
    orders: Tuple[Order, ...] = (Order("", None),)
    # the column whose text carries the row's style
    coloured = 0

    def __init__(self) -> None:
        self.filter = ""
        self.order = 0
        self.cursor = screen.Cursor()
        self.total = 0
        self._rows: List[Item] = []
        self._made_of: Hashable = None

    # What the kinds of tab say

    def items(self, sight: Sight) -> List[Item]:
        """All there is."""
        raise NotImplementedError

    def version(self, sight: Sight) -> Hashable:
        """What ``items`` hang on: where it is the same, so are they."""
        raise NotImplementedError

    def cells(self, item: Item, sight: Sight) -> List[str]:
        """A text for each column."""
        raise NotImplementedError

    def text(self, item: Item) -> str:
        """What a filter looks at."""
        raise NotImplementedError

    def key(self, item: Item) -> Hashable:
        """What stays the same of a thing that is seen again."""
        raise NotImplementedError

    def style(self, item: Item) -> str:
        """How the coloured column is drawn."""
        return ""

    def detail(self, item: Item, sight: Sight) -> str:
        """All of a row that its line has no room for."""
        return ""

    def head(self, sight: Sight, width: int) -> List[Line]:
        """Lines above the table."""
        return []

    def empty(self, sight: Sight) -> List[str]:
        """What is said where there is no row."""
        return []

    # What all of them do

    def rows(self, sight: Sight) -> List[Item]:
        """The items that pass the filter, in order. The selected one stays selected, wherever it went."""
        made_of = (self.version(sight), self.filter, self.order)
        if made_of != self._made_of:
            rows = self.items(sight)
            self.total = len(rows)
            if self.filter:
                rows = [item for item in rows if _plain(self.filter) in _plain(self.text(item))]
            key = self.orders[self.order].key
            self._settle(sorted(rows, key=key) if key is not None else rows)
            self._made_of = made_of
        return self._rows

    def _settle(self, rows: List[Item]) -> None:
        before, place = self._rows, self.cursor.selected
        self._rows = rows
        # who stands at the top wants to see what comes
        if not 0 < place < len(before):
            return
        wanted = self.key(before[place])
        found = next((number for number, item in enumerate(rows) if self.key(item) == wanted), None)
        if found is not None:
            self.cursor.top = max(0, self.cursor.top + found - place)
            self.cursor.selected = found

    def sort(self) -> None:
        """The next order."""
        self.order = (self.order + 1) % len(self.orders)
        self.cursor = screen.Cursor()

    def sorted_by(self) -> str:
        return self.orders[self.order].name

    def find(self, text: str) -> None:
        """Show only what has ``text`` in it; all where that is empty."""
        self.filter = text.strip()
        self.cursor = screen.Cursor()

    def selected(self) -> Optional[Item]:
        return self._rows[self.cursor.selected] if 0 <= self.cursor.selected < len(self._rows) else None


def _plain(text: str) -> str:
    return text.lower().replace("-", "_")

"""A tab's table fits every line, and the row that somebody looks at stays selected while others come."""

from typing import Hashable, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import panes, screen
from kachelib.sight import Sight
from kachelib.tabs import Cell, Column, Order, Tab, placed

ALL = [pane.columns for pane in panes.all_panes()]


@pytest.mark.parametrize("columns", ALL)
@given(width=st.integers(80, 300))
def test_columns_fit_the_line_and_do_not_touch(columns: Tuple[Column, ...], width: int) -> None:
    cells = placed(columns, width)
    assert cells[0].at == 0
    for cell, after in zip(cells, cells[1:]):
        assert cell.at + cell.width + 2 == after.at
    assert cells[-1].at + cells[-1].width <= width
    assert all(cell.width >= len(cell.column.title) for cell in cells)


@given(st.text(max_size=40), st.integers(1, 20), st.booleans(), st.booleans())
def test_a_cell_is_never_wider_than_its_room(text: str, width: int, right: bool, tail: bool) -> None:
    cell = Cell(0, Column("X", width, right=right, tail=tail), 0, width)
    assert screen.columns(cell.fitted(text, True)) <= width


def test_of_a_path_the_end_is_shown() -> None:
    cell = Cell(0, Column("X", 8, tail=True), 0, 8)
    assert cell.fitted("/home/me/app/target", True) == "…/target"
    assert cell.fitted("/home/me/app/target", False) == "~/target"


class Numbers(Tab[int]):
    columns = (Column("N", 5),)
    orders = (Order("as they come", None), Order("biggest", lambda item: -item))

    def __init__(self) -> None:
        super().__init__()
        self.numbers: List[int] = []
        self.asked = 0

    def items(self, sight: Sight) -> List[int]:
        self.asked += 1
        return self.numbers

    def version(self, sight: Sight) -> Hashable:
        return tuple(self.numbers)

    def cells(self, item: int, sight: Sight) -> List[str]:
        return [str(item)]

    def text(self, item: int) -> str:
        return f"Number-{item}"

    def key(self, item: int) -> Hashable:
        return item


SIGHT: Sight = None  # type: ignore[assignment]


def test_rows_are_made_anew_only_where_something_changed() -> None:
    tab = Numbers()
    tab.numbers = [3, 1, 2]
    assert [tab.rows(SIGHT), tab.rows(SIGHT)] == [[3, 1, 2]] * 2
    assert tab.asked == 1
    tab.sort()
    assert tab.rows(SIGHT) == [3, 2, 1]
    tab.sort()
    assert tab.rows(SIGHT) == [3, 1, 2]


def test_a_filter_knows_no_case_and_no_hyphens() -> None:
    tab = Numbers()
    tab.numbers = [11, 2, 12]
    tab.find(" nUMBER_1 ")
    assert (tab.rows(SIGHT), tab.total) == ([11, 12], 3)
    tab.find("")
    assert tab.rows(SIGHT) == [11, 2, 12]


def test_the_selected_row_stays_selected_where_others_come_above_it() -> None:
    tab = Numbers()
    tab.numbers = list(range(100, 0, -1))
    tab.rows(SIGHT)
    for _ in range(30):
        tab.cursor.move("down", 100, 10)
    before = tab.cursor.window(100, 10)
    assert tab.selected() == 70
    tab.numbers = [*range(107, 100, -1), *tab.numbers]
    assert len(tab.rows(SIGHT)) == 107
    assert tab.selected() == 70
    # and the picture stands still
    after = tab.cursor.window(107, 10)
    assert (after.start - before.start, after.stop - before.stop) == (7, 7)


def test_who_looks_at_the_top_sees_what_comes() -> None:
    tab = Numbers()
    tab.numbers = [1]
    tab.rows(SIGHT)
    tab.numbers = [2, 1]
    tab.rows(SIGHT)
    assert tab.selected() == 2


def test_a_selected_row_that_went_leaves_the_place() -> None:
    tab = Numbers()
    tab.numbers = [1, 2, 3]
    tab.rows(SIGHT)
    tab.cursor.move("end", 3, 3)
    tab.numbers = [1]
    tab.rows(SIGHT)
    tab.cursor.window(1, 3)
    assert tab.selected() == 1
    tab.numbers = []
    tab.rows(SIGHT)
    assert tab.selected() is None

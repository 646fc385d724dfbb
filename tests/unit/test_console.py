"""What commands print is readable, fits, and is plain where nobody looks at it."""

import io
import json
import os
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import console


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1536, "1.5 KiB"), (10**9, "953.7 MiB"), (1 << 60, "1024.0 PiB")],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert console.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0123, "12 ms"), (1.25, "1.2 s"), (59.9, "59.9 s"), (61, "1m 1s"), (3600, "1h"), (90061, "1d 1h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0s"), (59, "59s"), (3599, "59m"), (86400 * 9, "9d")])
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    assert console.age(seconds) == text


def test_counts_are_english() -> None:
    assert [console.plural(n, "entry") for n in (0, 1, 2000)] == ["0 entries", "1 entry", "2,000 entries"]
    assert console.plural(2, "blob") == "2 blobs"


CELLS = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=40)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6), st.integers(min_value=12, max_value=100))
def test_a_table_never_is_wider_than_asked(rows: "List[tuple[str, str, str]]", columns: int) -> None:
    lines = console.table(("~NAME", ">SIZE", "WHY"), rows, columns)
    assert len(lines) == len(rows) + 1
    assert max(len(line) for line in lines) <= columns


def test_a_table_that_fits_is_not_cut_and_its_columns_align() -> None:
    assert console.table(("NAME", ">SIZE"), [("a", "10"), ("long name", "5")], 0) == [
        "NAME       SIZE",
        "a            10",
        "long name     5",
    ]


def test_only_marked_columns_give_way_first() -> None:
    lines = console.table(("~NAME", "KEY"), [("a" * 50, "0123456789")], 30)
    assert lines[1] == "a" * 17 + "…  0123456789"


def test_a_table_without_heads_has_no_head_line() -> None:
    assert console.table(("", ">"), [("hits", "1")], 0) == ["hits  1"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_and_for_those_who_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.paint("x", "red", io.StringIO()) == "x"
    assert console.paint("x", "red", Terminal()) == "\033[31mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.paint("x", "red", Terminal()) == "x"


def test_output_that_goes_to_no_terminal_is_not_cut() -> None:
    assert console.width() == 0


def test_a_document_begins_with_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"a": "\udcff"})
    document = json.loads(capsys.readouterr().out)
    assert list(document.items()) == [("schema_version", 1), ("a", "\udcff")]


def test_a_working_directory_that_is_gone_is_no_error(tmp_path: "os.PathLike[str]") -> None:
    place = os.path.join(tmp_path, "gone")
    os.mkdir(place)
    os.chdir(place)
    os.rmdir(place)
    assert console.current_directory() == "/"
    os.chdir("/")

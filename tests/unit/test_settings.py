"""settings: sizes, durations and what a variable may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib.config import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GiB", 50 << 30),
        ("10GB", 10**10),
        ("512MiB", 512 << 20),
        ("1024MB", 1024 * 10**6),
        ("50 GiB", 50 << 30),
        (" 50gib ", 50 << 30),
        ("1KiB", 1024),
        ("1kb", 1000),
        ("7B", 7),
        ("7", 7),
        ("0", 0),
        ("2T", 2 << 40),
        ("2TB", 2 * 10**12),
        ("10G", 10 << 30),
        ("1.5GiB", 3 << 29),
        ("0.1KB", 100),
        ("1.9B", 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "GiB",
        "-1",
        "+1",
        "1e3",
        "1.GiB",
        ".5GiB",
        "1,5GiB",
        "1 Gi B",
        "0x10",
        "1_000",
        "٣",
        "9EiB",
        "9" * 40,
        "8388608T",
    ],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="50GiB, 10GB, 512MiB or 1024MB"):
        parse_size(text)


@given(
    st.integers(0, 2**40), st.sampled_from(["", "B", "KiB", "MiB", "KB", "MB", "k", "m"]), st.sampled_from(["", " "])
)
def test_whole_sizes_are_exact(number: int, unit: str, space: str) -> None:
    factor = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "kb": 1000, "mb": 10**6, "k": 1024, "m": 1024**2}[
        unit.lower()
    ]
    if number * factor >= 2**63:
        return
    assert parse_size(f"{number}{space}{unit}") == number * factor


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        assert 0 <= parse_size(text) < 2**63
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7d", 604800),
        ("24h", 86400),
        ("30m", 1800),
        ("90s", 90),
        ("2w", 1209600),
        ("1h30m", 5400),
        (" 1D ", 86400),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "d", "7", "7 d x", "-7d", "7y", "1.5h", "d7", "٣d", "9" * 30 + "s", "9" * 19 + "w"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="7d, 24h, 30m or 90s"):
        parse_duration(text)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("smhdw")), min_size=1, max_size=5))
def test_parts_of_a_duration_add_up(parts: "list[tuple[int, str]]") -> None:
    factors = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    total = sum(number * factors[unit] for number, unit in parts)
    assert parse_duration("".join(f"{number}{unit}" for number, unit in parts)) == total


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert 0 <= parse_duration(text) < 2**63
    except ValueError:
        pass

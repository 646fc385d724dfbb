"""How the benchmark's numbers become rows: nothing that was not measured may look as if it held."""

import json
from typing import List

from bench.table import Row, as_json, as_markdown, as_text, interleave, ratio_row


def test_variants_take_turns_and_each_round_begins_with_another() -> None:
    order: List[str] = []

    def variant(name: str) -> float:
        order.append(name)
        return 1.0

    samples = interleave(3, {name: lambda name=name: variant(name) for name in "abc"})  # type: ignore[misc]
    assert "".join(order) == "abcbcacab"
    assert samples == {"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3}


def test_ratio_is_of_medians_and_is_held_against_its_limit() -> None:
    samples = {"kache": [2.0, 9.0, 1.0], "uncached": [10.0, 20.0, 30.0]}
    row = ratio_row("warm", samples, "s", {("kache", "uncached"): 0.10})
    assert row.holds is True
    assert row.measured.startswith("0.100x uncached")
    assert ratio_row("warm", samples, "s", {("kache", "uncached"): 0.09}).holds is False


def test_what_was_not_measured_neither_holds_nor_fails() -> None:
    row = ratio_row("warm", {"kache": [1.0]}, "s", {("kache", "sccache"): 0.28})
    assert row.holds is None
    assert "not measured" in row.measured
    assert "not measured" in as_text([row])
    # one limit that fails is not hidden by one that was not measured
    both = {("kache", "sccache"): 0.28, ("kache", "uncached"): 0.1}
    assert ratio_row("warm", {"kache": [1.0], "uncached": [2.0]}, "s", both).holds is False


def test_table_is_markdown_and_json() -> None:
    rows = [Row("a hit", "1 ms", "≤ 2 ms", True), Row("memory", "30 MiB", "≤ 20 MB", False)]
    assert as_markdown(rows).splitlines()[2:] == [
        "| a hit | 1 ms | ≤ 2 ms | yes |",
        "| memory | 30 MiB | ≤ 20 MB | NO |",
    ]
    document = json.loads(as_json(rows, {"cpus": 2}))
    assert document["facts"] == {"cpus": 2}
    assert [row["holds"] for row in document["rows"]] == [True, False]

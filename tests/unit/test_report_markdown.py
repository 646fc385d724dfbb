"""report as Markdown: a headline, the worst misses and why each missed; what builds named stays text; the gate."""

import re
from typing import Any, Dict

import pytest

from kachelib import cli, report, report_markdown
from tests.stock import log
from tests.world import World


def event(result: str, **fields: Any) -> Dict[str, Any]:
    return {"result": result, "crate_name": "demo", "crate_types": "lib", **fields}


def shown(world: World, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["report", *arguments]) == 0
    return capsys.readouterr().out


def test_the_headline(world: World) -> None:
    log(
        world.cache_dir,
        event("warmed", warmed=90),
        event("local_hit", compile_time_ms=90_000, elapsed_ms=0),
        *[event("miss")] * 9,
    )
    said = report_markdown.headline(report.build(str(world.cache_dir)))
    assert said == "91.0 % from the cache, 90 units warmed, 1 hit, 9 compiled, 1m 30s of compiling saved"


def test_nothing_seen_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(world, capsys, "--format", "github").startswith("### kache: no compile was seen\n")


def test_the_most_expensive_misses_come_first_and_the_rest_is_folded(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = {f"crate{number}": number * 1000 for number in range(1, 9)}
    log(
        world.cache_dir,
        *(event("miss", crate_name=n, compile_time_ms=ms, reason="src/lib.rs") for n, ms in cost.items()),
    )
    text = shown(world, capsys, "--format", "github")
    names = re.findall(r"`(crate\d)`", text)
    assert names == [f"crate{number}" for number in range(8, 0, -1)]
    head, _, folded = text.partition("<details>")
    assert len(re.findall(r"`crate\d`", head)) == report_markdown.OPEN_MISSES
    assert folded.startswith("<summary>3 more</summary>")
    assert text.count("<details>") == text.count("</details>") > 1
    assert "<details>" not in shown(world, capsys, "--format", "markdown")


def test_what_a_build_named_ends_no_cell_and_becomes_no_markup(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "a|b `c` <img src=x> [x](http://y) @everyone #1 **bold**\nnext"
    log(world.cache_dir, event("miss", crate_name="we|ird`", reason=hostile))
    text = shown(world, capsys, "--format", "github")
    row = next(line for line in text.splitlines() if "weird" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    for sign in ("<img", "x](http", "@everyone", "**bold"):
        assert sign not in text


@pytest.mark.parametrize(("rate", "code"), [("0", 0), ("50", 0), ("50%", 0), ("50.1", 3), ("100", 3)])
def test_the_gate(world: World, capsys: pytest.CaptureFixture[str], rate: str, code: int) -> None:
    log(world.cache_dir, event("local_hit", elapsed_ms=9), event("miss", elapsed_ms=9))
    assert cli.main(["report", "--min-hit-rate", rate]) == code
    assert bool(capsys.readouterr().err) == (code != 0)


def test_the_gate_is_shut_where_nothing_was_seen(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "--min-hit-rate", "0"]) == 3
    assert "RUSTC_WRAPPER" in capsys.readouterr().err


def test_units_that_were_warmed_open_the_gate(world: World) -> None:
    log(world.cache_dir, event("warmed", warmed=3))
    assert cli.main(["report", "--min-hit-rate", "100"]) == 0


@pytest.mark.parametrize("rate", ["-1", "101", "many", "nan", ""])
def test_what_is_no_percentage_is_wrong_use(world: World, rate: str) -> None:
    assert cli.main(["report", f"--min-hit-rate={rate}"]) == 2

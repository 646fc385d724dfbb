"""report's options hold for every format: --root, --since, --top and --output, which writes all or nothing."""

import json
import os
import re
import stat
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from kachelib import cli
from tests.stock import log
from tests.world import Kache, World

FORMATS = ("text", "json", "markdown", "github", "html", "perfetto")


def event(result: str, crate: str, **fields: Any) -> Dict[str, Any]:
    return {"result": result, "crate_name": crate, "crate_types": "lib", "root": "/ws", **fields}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["report", *arguments]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    return found.out


@pytest.fixture
def two(world: World) -> World:
    """Two workspaces, the second built an hour later, and a call of nobody's long before."""
    now = time.time()
    hour = {"start_time": now - 3600, "end_time": now - 3599}
    log(
        world.cache_dir,
        event("miss", "stray", root="", start_time=now - 9000, end_time=now - 8999, compile_time_ms=5),
        event("miss", "mine_old", **hour, compile_time_ms=10),
        event("passthrough", "mine_bin", root="", **hour, reason="executable"),
        event("miss", "theirs", root="/other", compile_time_ms=10),
        event("error", "theirs_failed", root="/other/inner", reason="no space left"),
    )
    return world


@pytest.mark.parametrize("form", FORMATS)
def test_root_and_since_hold_for_every_format(two: World, capsys: pytest.CaptureFixture[str], form: str) -> None:
    every = run(capsys, "--format", form)
    assert "mine_old" in every and "theirs" in every and "stray" in every
    mine = run(capsys, "--format", form, "--root", "/ws")
    assert "mine_old" in mine
    assert "theirs" not in mine and "stray" not in mine
    late = run(capsys, "--format", form, "--since", "10m")
    assert "theirs" in late and "mine_old" not in late


def test_root_counts_what_belongs_to_the_workspace(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, "--json", "--root", "/ws"))
    assert (document["summary"]["misses"], document["summary"]["passthroughs"]) == (1, 1)
    assert document["meta"]["roots"] == ["/ws"]
    assert (document["network"], document["gc"]) == (None, None)
    both = json.loads(run(capsys, "--json", "--root", "/ws", "--root", "/other"))
    assert (both["summary"]["misses"], both["summary"]["errors"]) == (2, 1)


def test_root_may_be_relative_or_a_symlink(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    real = world.root / "real"
    (real / "ws").mkdir(parents=True)
    (world.root / "link").symlink_to(real)
    log(world.cache_dir, event("miss", "there", root=str(real / "ws")))
    for name in ("link/ws", "./real/../real/ws/", str(world.root / "link")):
        assert json.loads(run(capsys, "--json", "--root", name))["summary"]["misses"] == 1, name


@pytest.mark.parametrize("form", ["text", "json", "markdown", "github", "html"])
def test_top_cuts_every_list(world: World, capsys: pytest.CaptureFixture[str], form: str) -> None:
    for number in range(1, 13):
        log(
            world.cache_dir,
            event("miss", f"miss{number:02}", compile_time_ms=number),
            *[event("passthrough", "program", reason=f"reason{number:02}")] * number,
            *[event("error", f"error{number:02}", reason="no space left")] * number,
        )
    shown = run(capsys, "--format", form, "--top", "2")
    if form == "html":
        # above stand timelines, which show all calls
        shown = shown.partition('id="h-misses"')[2]
    found = set(re.findall(r"(?:miss|reason|error)\d\d", shown))
    assert found == {f"{kind}{number}" for kind in ("miss", "reason", "error") for number in (11, 12)}


def test_without_top_there_are_ten_misses_and_all_of_the_others(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(15):
        log(world.cache_dir, event("miss", f"m{number}"), event("passthrough", "", reason=f"r{number}"))
    document = json.loads(run(capsys, "--json"))
    assert (len(document["top_misses"]), len(document["bypass"]["reasons"])) == (10, 15)
    assert len(json.loads(run(capsys, "--json", "--top", "12"))["top_misses"]) == 12


@pytest.mark.parametrize("form", FORMATS)
def test_output_is_what_would_be_printed(two: World, capsys: pytest.CaptureFixture[str], form: str) -> None:
    def same(text: str) -> str:
        """The text without the time at which it was made."""
        return re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z", "", text)

    printed = run(capsys, "--format", form, "--output", "-")
    assert run(capsys, "--format", form, "--output", "out file") == ""
    assert same(Path("out file").read_text()) == same(printed)


def test_output_replaces_a_file_and_keeps_its_mode_and_its_symlink(
    two: World, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("real").write_text("old " * 10_000)
    Path("real").chmod(0o640)
    Path("link").symlink_to("real")
    run(capsys, "--json", "--output", "link")
    assert Path("link").is_symlink()
    assert json.loads(Path("real").read_text())["schema_version"] == 1
    assert stat.S_IMODE(Path("real").stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        run(capsys, "--json", "--output", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path("new").stat().st_mode) == 0o640


def test_output_may_be_a_device(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--output", "/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("place", ["no/such/directory/file", "directory", "n" * 300])
def test_output_that_cannot_be_written_is_one_line(two: World, capsys: pytest.CaptureFixture[str], place: str) -> None:
    Path("directory").mkdir()
    before = sorted(two.root.rglob("*"))
    assert cli.main(["report", "--output", place]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert place in found.err and "--output" in found.err
    assert sorted(two.root.rglob("*")) == before


def test_a_write_that_fails_leaves_the_old_file(two: World, kache_file: Kache) -> None:
    """The process may write no file longer than a kilobyte; the report is one. From source it would also cut the
    compiled code that it keeps for the next test."""
    Path("out").write_text("old")
    limit = 'ulimit -f 1; exec "$@"'
    run = two.run(["bash", "-c", limit, "bash", kache_file.path, "report", "--json", "--output", "out"])
    assert (run.returncode, run.stdout) == (1, "")
    assert "File too large" in run.stderr and run.stderr.count("\n") == 1
    assert Path("out").read_text() == "old"
    assert [path.name for path in two.root.glob(".kache*")] == []


@pytest.mark.parametrize("arguments", [["--top", "0"], ["--top", "-1"], ["--top", "x"], ["--output", ""], ["--root"]])
def test_wrong_use_is_said(capsys: pytest.CaptureFixture[str], arguments: List[str]) -> None:
    assert cli.main(["report", *arguments]) == 2
    assert capsys.readouterr().err.startswith("kache: report: ")


def test_the_gate_judges_what_root_leaves_and_the_report_is_there(
    two: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", "--json", "--root", "/nowhere", "--min-hit-rate", "0", "--output", "out"]) == 3
    assert json.loads(Path("out").read_text())["meta"]["event_count"] == 0
    assert "no compile was seen" in capsys.readouterr().err

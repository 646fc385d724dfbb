"""Events: every line is one JSON object, whatever the names in it, and no line takes another with it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import events, outcome
from kachelib.events import Event
from tests.world import REPOSITORY

texts = st.one_of(st.text(), st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))


def lines(directory: Path, name: str = events.FILE_NAME) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in (directory / name).read_bytes().splitlines() if line]


@given(texts)
def test_any_text_is_json(text: str) -> None:
    encoded = events.json_string(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert json.loads(encoded).encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_common_text_is_not_escaped() -> None:
    assert events.json_string("serde_json 1.0 (lib)") == '"serde_json 1.0 (lib)"'
    assert (
        events.json_string('a"b\\c\nd\te\x7f\udcffé𝄞')
        == '"a\\"b\\\\c\\u000ad\\u0009e\\u007f\\udcff\\u00e9\\ud834\\udd1e"'
    )


@given(texts, texts, st.integers(0, 2**60), st.floats(0, 1e12))
def test_a_line_is_one_object_of_what_is_set(name: str, reason: str, size: int, elapsed: float) -> None:
    event = Event()
    event.crate_name, event.reason, event.size, event.elapsed_ms = name, reason, size, elapsed
    line = event.line()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert found["schema_version"] == events.SCHEMA_VERSION
    assert found["size"] == size
    assert found["elapsed_ms"] == pytest.approx(elapsed, abs=0.001)
    assert ("crate_name" in found) == (name != "")
    assert found.keys() <= {"schema_version", *Event.__slots__}
    assert "result" not in found


def test_times_are_seconds_and_durations_are_milliseconds() -> None:
    event = Event()
    event.compile_time_ms = 3
    event.result = outcome.MISS
    time.sleep(0.02)
    event.finish()
    assert abs(event.start_time - time.time()) < 60
    assert event.elapsed_ms == pytest.approx((event.end_time - event.start_time) * 1000)
    assert event.elapsed_ms >= 20
    assert event.overhead_ms == pytest.approx(event.elapsed_ms - 3)


@pytest.mark.parametrize("result", outcome.RESULTS)
def test_the_overhead_of_a_hit_is_all_of_it(result: str) -> None:
    """Its compile time is what was saved."""
    event = Event()
    event.compile_time_ms = 10_000_000
    event.result = result
    event.finish()
    assert event.overhead_ms == (event.elapsed_ms if result in outcome.HITS else 0.0)


def test_a_clock_that_went_back() -> None:
    event = Event()
    event.start_time += 1000
    event.finish()
    assert event.elapsed_ms == event.overhead_ms == 0.0


def event_of(name: str) -> Event:
    event = Event()
    event.crate_name = name
    return event


def test_events_are_appended_in_order_and_the_directory_is_made(tmp_path: Path) -> None:
    place = tmp_path / "not" / "there"
    for name in "abc":
        events.append(str(place), event_of(name))
    assert [line["crate_name"] for line in lines(place)] == ["a", "b", "c"]


@pytest.mark.parametrize("before", [b"{}\n{", b'{"a": 1', b"x", b"\0"])
def test_a_cut_line_does_not_swallow_the_next(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / events.FILE_NAME
    path.write_bytes(before)
    events.append(str(tmp_path), event_of("whole"))
    events.append(str(tmp_path), event_of("next"))
    data = path.read_bytes()
    assert data.startswith(before + b"\n")
    assert [json.loads(line)["crate_name"] for line in data.splitlines()[-2:]] == ["whole", "next"]


@pytest.mark.parametrize("what", ["file", "directory", "dangling"])
def test_a_log_that_cannot_be_written_loses_the_line_alone(tmp_path: Path, what: str) -> None:
    place = tmp_path / "cache"
    if what == "file":
        place.write_text("")
    elif what == "directory":
        (place / events.FILE_NAME).mkdir(parents=True)
    else:
        place.mkdir()
        (place / events.FILE_NAME).symlink_to("nowhere/at/all")
    events.append(str(place), event_of("lost"))


def test_a_large_log_is_put_aside_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ROTATE_BYTES", 3000)
    place = tmp_path / "cache"
    for number in range(40):
        events.append(str(place), event_of(str(number)))
    current = [int(line["crate_name"]) for line in lines(place)] if (place / events.FILE_NAME).exists() else []
    aside = [int(line["crate_name"]) for line in lines(place, events.OLD_NAME)]
    assert aside + current == list(range(aside[0], 40)), "a line was lost at the turn"
    assert (place / events.OLD_NAME).stat().st_size < 3000 + 2 * 700
    assert {path.name for path in place.iterdir()} <= {events.FILE_NAME, events.OLD_NAME}


WRITER = """
import sys
from kachelib import events
events.ROTATE_BYTES = 20_000
for number in range(200):
    event = events.Event()
    event.crate_name = sys.argv[2] + "-" + str(number)
    event.reason = "x" * (number * 7 % 300)
    events.append(sys.argv[1], event)
"""


def test_many_writers_lose_and_mix_no_line(tmp_path: Path) -> None:
    """Also while the log is put aside: what is left is each writer's last lines, whole and in order."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], env=env) for name in "abcd"]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    found = lines(tmp_path, events.OLD_NAME)
    if (tmp_path / events.FILE_NAME).exists():
        found += lines(tmp_path)
    for name in "abcd":
        numbers = [int(line["crate_name"][2:]) for line in found if line["crate_name"].startswith(name)]
        assert numbers == sorted(set(numbers))
    assert len(found) > 20

"""The event log is followed through rotation, cut lines and whatever else happens to a file, and never read whole."""

import json
import os
import time
from pathlib import Path
from typing import Any, List

import pytest

from kachelib import events, follower
from kachelib.events import Event
from kachelib.follower import Follower
from tests.stock import log
from tests.world import World


def name(number: int) -> "dict[str, Any]":
    return {"result": "miss", "crate_name": f"crate{number}"}


def read(following: Follower) -> List[str]:
    """The crates of all that is there now."""
    found: List[str] = []
    while True:
        found += [str(event["crate_name"]) for event in following.read()]
        if following.at_end:
            return found


def crates(*numbers: int) -> List[str]:
    return [f"crate{number}" for number in numbers]


@pytest.fixture
def cache(world: World) -> Path:
    world.cache_dir.mkdir()
    return world.cache_dir


def rotate(cache: Path) -> None:
    (cache / "events.jsonl").rename(cache / "events.jsonl.1")


def test_each_event_comes_once(cache: Path) -> None:
    log(cache, name(1))
    rotate(cache)
    log(cache, name(2), name(3))
    following = Follower(str(cache))
    assert read(following) == crates(1, 2, 3)
    assert read(following) == []
    log(cache, name(4))
    assert read(following) == crates(4)


def test_a_log_that_begins_later_is_found(world: World) -> None:
    following = Follower(str(world.cache_dir))
    assert (read(following), following.trouble) == ([], "")
    log(world.cache_dir, name(1))
    assert read(following) == crates(1)


def test_the_logs_own_rotation_loses_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ROTATE_BYTES", 2000)
    following = Follower(str(cache))
    found = []
    for number in range(200):
        event = Event()
        event.result, event.crate_name = "miss", f"crate{number}"
        event.finish()
        events.append(str(cache), event)
        if number % 3 == 0:
            found += read(following)
    assert (cache / "events.jsonl.1").exists()
    assert found + read(following) == crates(*range(200))


def test_what_a_slow_writer_adds_to_the_old_file_comes_too(cache: Path) -> None:
    log(cache, name(1))
    following = Follower(str(cache))
    read(following)
    with (cache / "events.jsonl").open("ab") as slow:
        rotate(cache)
        log(cache, name(2))
        assert read(following) == crates(2)
        slow.write(json.dumps({**name(3), "end_time": time.time()}).encode() + b"\n")
    assert read(following) == crates(3)


def test_a_file_that_came_and_went_between_two_looks_is_read(cache: Path) -> None:
    log(cache, name(1))
    following = Follower(str(cache))
    rotate(cache)
    log(cache, name(2))
    rotate(cache)
    log(cache, name(3))
    assert read(following) == crates(1, 2, 3)
    assert len(list(Path("/proc/self/fd").iterdir())) < 100


def test_many_rotations_leave_no_files_open(cache: Path) -> None:
    following = Follower(str(cache))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(50):
        # the last line of each is cut, as a crash does it
        log(cache, name(number))
        with (cache / "events.jsonl").open("a") as file:
            file.write('{"result":"mi')
        assert read(following) == crates(number)
        rotate(cache)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4
    following.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_log_that_was_emptied_in_place_is_read_from_its_start(cache: Path) -> None:
    log(cache, name(1), name(2))
    following = Follower(str(cache))
    read(following)
    os.truncate(cache / "events.jsonl", 0)
    log(cache, name(3))
    assert read(following) == crates(3)


def test_half_a_line_waits_for_its_other_half(cache: Path) -> None:
    line = json.dumps({**name(1), "end_time": time.time()}).encode() + b"\n"
    with (cache / "events.jsonl").open("wb", buffering=0) as file:
        following = Follower(str(cache))
        file.write(line[:20])
        assert read(following) == []
        file.write(line[20:])
        assert read(following) == crates(1)
    assert following.broken == 0


def test_broken_lines_are_counted_and_passed_over(cache: Path) -> None:
    broken = [
        b'{"cut',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"result":"miss","end_time":NaN}',
        b'{"result":"odd","end_time":1}',
    ]
    broken += [b'{"result":"miss","end_time":1e300}', b"\0" * 300, b"x" * (3 * follower.SLICE)]
    log(cache, name(1))
    with (cache / "events.jsonl").open("ab") as file:
        file.write(b"\n\n" + b"\n".join(broken) + b"\n")
    log(cache, name(2))
    following = Follower(str(cache))
    assert read(following) == crates(1, 2)
    assert following.broken >= len(broken)


@pytest.mark.parametrize("ages", [[0, 1, 59, 61, 3599, 3601], [1000], [10_000]])
@pytest.mark.parametrize("rotated", [False, True])
def test_a_span_begins_where_it_begins(cache: Path, ages: List[int], rotated: bool) -> None:
    now = time.time()
    log(cache, *({**name(n), "end_time": now - 5000 + n, "reason": "r" * 200} for n in range(2500)))
    if rotated:
        rotate(cache)
    log(cache, *({**name(n), "end_time": now - 5000 + n, "reason": "r" * 200} for n in range(2500, 5000)))
    assert (cache / "events.jsonl").stat().st_size > 4 * follower.NEAR
    for age in ages:
        following = Follower(str(cache), now - age)
        expected = [n for n in range(5000) if 5000 - n <= age]
        # only what is near the beginning is read in vain
        assert following.left() < (len(expected) + 2) * 400 + 4 * follower.NEAR
        assert read(following) == crates(*expected)


def test_a_span_is_found_among_broken_lines(cache: Path) -> None:
    now = time.time()
    with (cache / "events.jsonl").open("wb") as file:
        file.write((b"garbage\n" * 30_000) + b"\0" * 300_000 + b"\n")
    log(cache, {**name(1), "end_time": now - 100}, {**name(2), "end_time": now - 1})
    assert read(Follower(str(cache), now - 10)) == crates(2)


def test_of_a_huge_log_the_end_is_read(cache: Path) -> None:
    with (cache / "events.jsonl").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    log(cache, *(name(number) for number in range(1000)))
    began = time.process_time()
    for since in (0.0, time.time() - 3600):
        following = Follower(str(cache), since)
        assert [event["crate_name"] for event in following.newest(3)] == crates(997, 998, 999)
        assert following.left() < 40 << 20
        assert read(following) == crates(*range(1000))
    assert time.process_time() - began < 5


def test_the_newest_come_at_once_and_again(cache: Path) -> None:
    log(cache, name(1), name(2))
    rotate(cache)
    log(cache, name(3))
    following = Follower(str(cache))
    assert [event["crate_name"] for event in following.newest(2)] == crates(2, 3)
    assert [event["crate_name"] for event in following.newest(100)] == crates(1, 2, 3)
    assert read(following) == crates(1, 2, 3)


def test_what_is_no_log_is_said_and_mended(cache: Path) -> None:
    path = cache / "events.jsonl"
    os.mkfifo(path)
    following = Follower(str(cache))
    assert read(following) == []
    assert "it is no file" in following.trouble
    path.unlink()
    path.mkdir()
    read(following)
    assert "it is no file" in following.trouble
    path.rmdir()
    log(cache, name(1))
    assert (read(following), following.trouble) == (crates(1), "")


def test_a_log_that_cannot_be_opened_is_said(cache: Path) -> None:
    (cache / "events.jsonl").symlink_to("events.jsonl")
    following = Follower(str(cache))
    assert read(following) == []
    assert "symbolic links" in following.trouble


def test_a_look_at_nothing_new_reads_nothing(cache: Path) -> None:
    log(cache, *(name(number) for number in range(5000)))
    following = Follower(str(cache))
    read(following)
    before = Path("/proc/self/io").read_text().split()
    for _ in range(100):
        assert following.read() == []
    after = Path("/proc/self/io").read_text().split()
    # rchar: bytes that were read, those of /proc/self/io itself among them
    assert int(after[1]) - int(before[1]) < 1000

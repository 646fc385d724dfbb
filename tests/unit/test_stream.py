"""Each result reads as a line; of a long log only the newest are put into words."""

from typing import Any, Dict

import pytest

from kachelib import stream
from kachelib.outcome import RESULTS
from kachelib.stream import Call, Stream


def event(result: str, **fields: Any) -> Dict[str, Any]:
    return {"result": result, "end_time": 100.0, "crate_name": "serde", **fields}


def test_every_result_has_a_word_that_fits_its_column() -> None:
    assert sorted(stream.STATES) == sorted(RESULTS)
    assert max(len(word) for word, _ in stream.STATES.values()) <= 8


SAID = (
    (event("local_hit", hardlinked_bytes=1 << 20, copied_bytes=10), "hit", "hard link 1.0 MiB, copy 10 B"),
    (event("local_hit"), "hit", "its words alone"),
    (event("remote_hit", reflinked_bytes=2048), "remote", "fetched; reflink 2.0 KiB"),
    (event("prefetch_hit", copied_bytes=1), "prefetch", "fetched ahead; copy 1 B"),
    (event("miss", reason="src/lib.rs differs"), "miss", "compiled: src/lib.rs differs"),
    (event("dup"), "dup", "compiled; the same bytes were known"),
    (event("warmed", warmed=97), "warmed", "warmed 97 units"),
    (event("warmed", warmed=1, left_out="2 no snapshot"), "warmed", "warmed 1 unit; left out: 2 no snapshot"),
    (event("passthrough", reason="native_library: z"), "passed", "a static library that was not found exactly once"),
    (event("skipped", reason="excluded"), "skipped", "the source matches cache.exclude"),
    (event("error", reason="no space left: /x"), "error", "no space left: /x"),
)


@pytest.mark.parametrize(("told", "state", "done"), SAID)
def test_a_call_is_told_in_words(told: Dict[str, Any], state: str, done: str) -> None:
    call = Call(told)
    assert (call.state(), call.done[: len(done)]) == (state, done)
    assert call.done.endswith(": z") == ("native" in str(told))


def test_what_has_no_crate_is_called_by_its_directory() -> None:
    assert Call({"result": "warmed", "end_time": 1.0, "root": "/home/me/app"}).name() == "app"


def test_fields_of_any_kind_do_no_harm() -> None:
    call = Call(event("local_hit", size="big", compile_time_ms=None, elapsed_ms=[1], crate_types=7, root={}))
    assert (call.size, call.compile_ms, call.elapsed_ms, call.types) == (0, 0, 0, "7")


def test_the_newest_come_first_and_the_oldest_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST", 3)
    found = Stream()
    for number in range(5):
        found.add(event("miss", crate_name=str(number)))
    assert [call.crate for call in found.newest_first()] == ["4", "3", "2"]
    found.add(event("miss", crate_name="5"))
    assert [call.crate for call in found.newest_first()] == ["5", "4", "3"]
    assert found.added == 6

"""Event logs that no build would write, for whatever reads them: hypothesis makes them up, hostile ones among them."""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from hypothesis import strategies as st

from kachelib import history
from kachelib.outcome import REFUSALS, RESULTS

Event = Dict[str, Any]

# the moment around which they lie, seconds since the epoch
MOMENT = 1_700_000_000.0

HOSTILE = "</script></title><img src=x onerror=alert(1)>\"'`&\n\u202e\x00"

TEXTS = st.one_of(
    st.sampled_from(["", "serde", "my_crate", HOSTILE, "ünïcode \U0001f980", "bytes \udcff\udc80", "-->", "]]>"]),
    st.text(max_size=12),
)

NUMBERS: "st.SearchStrategy[Any]" = st.one_of(
    st.integers(0, 5_000),
    st.floats(0, 5_000),
    st.sampled_from([-5, 10**400, float("nan"), float("inf"), -float("inf"), 1e300, True, None, "many", [], 0.0005]),
)

COUNTS = (
    *("elapsed_ms", "compile_time_ms", "overhead_ms", "size", "warmed", "files", "probe_runs"),
    *("reflinked_bytes", "hardlinked_bytes", "copied_bytes"),
)

ROOTS = st.sampled_from(["", "/ws", "/ws/target", "/other", "/home/.cargo/registry/src/x/zlib-1", "/b\udcffd"])


def event() -> "st.SearchStrategy[Event]":
    """One event; a field may be missing or be none that kache would write. The event log takes all of them."""
    return st.fixed_dictionaries(
        {
            "schema_version": st.just(1),
            "result": st.sampled_from(RESULTS),
            "end_time": st.floats(MOMENT, MOMENT + 120),
        },
        optional={
            "start_time": st.one_of(st.floats(MOMENT - 5, MOMENT + 120), NUMBERS),
            "crate_name": st.one_of(TEXTS, NUMBERS),
            "crate_types": TEXTS,
            "reason": st.one_of(TEXTS, st.sampled_from(sorted(REFUSALS)), st.just("unsupported_flag: -fa -fb")),
            "root": ROOTS,
            "target_dir": ROOTS,
            "left_out": TEXTS,
            "profile": TEXTS,
            **dict.fromkeys(COUNTS, NUMBERS),
        },
    )


def events(max_size: int = 25) -> "st.SearchStrategy[List[Event]]":
    """A log's events, in any order."""
    return st.lists(event(), max_size=max_size)


def tidy(count: int = 12) -> "st.SearchStrategy[List[Event]]":
    """Events as kache writes them, close together: times in microseconds, and many at once or one after another."""
    start = st.integers(0, 40).map(lambda tick: MOMENT + tick / 4)
    return st.lists(
        st.builds(
            lambda begin, length, result, root: {
                "schema_version": 1,
                "crate_name": "alpha",
                "crate_types": "lib",
                "result": result,
                "root": root,
                "start_time": begin,
                "end_time": begin + length / 1000,
                "elapsed_ms": float(length),
            },
            start,
            st.sampled_from([0, 250, 500, 1000, 2500]),
            st.sampled_from(RESULTS),
            st.sampled_from(["/ws", "/other"]),
        ),
        max_size=count,
    )


def written(cache_dir: Path, log: Sequence[Event]) -> List[Event]:
    """``log`` as the events file of a cache directory, and what its reader makes of it."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    (cache_dir / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in log))
    return history.read(str(cache_dir)).events

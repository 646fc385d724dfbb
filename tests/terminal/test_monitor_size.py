"""The monitor over more than anybody has: it is there at once, and where nothing happens it costs nothing."""

import json
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from kachelib import entry as entry_format
from kachelib.entry import Candidate, Input, Output
from kachelib.key import Transcript, digest_bytes
from kachelib.store import Store
from tests.stock import log
from tests.terminal.tmux import Tmux
from tests.world import Kache, World

ENTRIES = 50_000
EVENTS = 100_000

# The promise is a second; a machine that tests share with a compiler takes longer.
SECONDS = 1.0
FACTOR = 5


def ticks(pid: int) -> int:
    """Hundredths of a second of processor time (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def peak(pid: int) -> int:
    """The most memory that it ever had, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def fill(cache_dir: Path, count: int) -> None:
    """Entries in the format of entries, each with two outputs; the blobs are few, and shared."""
    store = Store(str(cache_dir))
    digests = [store.put_bytes(b"%d" % number * 50) for number in range(100)]
    for shard in range(256):
        os.makedirs(cache_dir / "entries" / f"{shard:02x}", exist_ok=True)
    now = int(time.time())
    for number in range(count):
        transcript = Transcript()
        transcript.add("--crate-name", f"crate{number}")
        key = transcript.digest()
        candidate = Candidate()
        candidate.crate_name, candidate.crate_types = f"crate{number}", "lib"
        candidate.created, candidate.compile_ms = now - number, number % 5000
        candidate.inputs = [Input("s", "<workspace>/src/lib.rs", digests[0])]
        candidate.outputs = [
            Output("lib.rlib", "link", digests[number % 100], number, False),
            Output("lib.rmeta", "metadata", digests[number * 7 % 100], 100, False),
        ]
        candidate.cache_key = candidate.compute_cache_key(key)
        data = entry_format.empty().with_candidate(candidate, transcript.fields).encode(key)
        Path(store.entry_path(key)).write_bytes(data)


def event(number: int, ended: float) -> Dict[str, Any]:
    keys = {name: digest_bytes(b"%d" % number) for name in ("action_key", "cache_key")}
    result = "miss" if number % 10 == 0 else "local_hit"
    more = {"crate_name": f"crate{number}", "crate_types": "lib", "root": f"/home/me/project{number % 20}"}
    sizes = {"hardlinked_bytes": 1000, "copied_bytes": 10, "size": 1010}
    return {"result": result, "end_time": ended, "compile_time_ms": 100, "elapsed_ms": 2.0, **keys, **more, **sizes}


def began(shown: Callable[[], Tmux], text: str) -> "tuple[Tmux, float]":
    """A monitor, and how long it took until it showed ``text``, seconds."""
    start = time.monotonic()
    started = shown()
    started.wait(text)
    return started, time.monotonic() - start


def test_it_is_there_at_once_and_idles_for_nothing(world: World, tmux: Callable[..., Tmux], kache_file: Kache) -> None:
    fill(world.cache_dir, ENTRIES)
    now = time.time()
    with (world.cache_dir / "events.jsonl").open("w") as file:
        for number in range(EVENTS):
            file.write(json.dumps({"schema_version": 1, **event(number, now - EVENTS + number)}) + "\n")
    kache_file.run("list", "no-such-crate")  # makes the index, as any command does
    shown, seconds = began(lambda: tmux([kache_file.path, "monitor"]), "crate99999")
    print(f"first screen: {seconds:.2f} s")
    assert seconds < SECONDS * FACTOR
    # the header knows of the store before it was counted
    assert any("50,000 entries" in line or "counting" in line for line in shown.text())
    shown.wait(f"{ENTRIES:,} entries", timeout=120)
    shown.gone("counting", timeout=120)
    shown.gone("reading", timeout=120)
    assert any(line.startswith("Hits     90.0 %") for line in shown.text())
    # what it began at the start may still be under way
    time.sleep(3)
    before, start = ticks(shown.pid), time.monotonic()
    time.sleep(10)
    share = (ticks(shown.pid) - before) / 100 / (time.monotonic() - start)
    print(f"idle: {share:.2%} of a core; {peak(shown.pid) >> 20} MiB at most")
    assert share < 0.01
    shown.keys("3")
    shown.wait(f"{ENTRIES:,}, by last use")
    start = time.monotonic()
    shown.keys("f")
    shown.type("crate4999")
    shown.keys("Enter")
    shown.wait("11 of 50,000 with")
    assert time.monotonic() - start < SECONDS * FACTOR


def test_of_a_huge_log_it_reads_the_end(world: World, tmux: Callable[..., Tmux], kache: Kache) -> None:
    world.cache_dir.mkdir()
    now = time.time()
    with (world.cache_dir / "events.jsonl").open("wb") as file:
        # a gigabyte of nothing, as a file system leaves it after a crash
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    log(world.cache_dir, *(event(number, now - 1000 + number) for number in range(1000)))
    for arguments, first in ((["monitor"], 1000), (["monitor", "--since", "5m"], 300)):
        command = [kache.path, *arguments]
        shown, seconds = began(lambda command=command: tmux(command), "crate999")  # type: ignore[misc]
        print(f"1 GB, {' '.join(arguments)}: first screen {seconds:.2f} s")
        assert seconds < SECONDS * FACTOR
        shown.gone("reading")
        line = next(line for line in shown.text() if line.startswith("In short"))
        counted = int(line.split(" of ")[1].split()[0].replace(",", ""))
        assert abs(counted - first) < 60
        assert peak(shown.pid) < 200 << 20
        log(world.cache_dir, {"result": "miss", "crate_name": "the-newest"})
        shown.wait("the-newest")
        shown.keys("q")
        assert shown.ended() == 0


@pytest.mark.parametrize("lively", [False, True])
def test_it_waits_without_work(world: World, tmux: Callable[..., Tmux], kache_source: Kache, lively: bool) -> None:
    """With an uploader's socket that nobody answers, too."""
    log(world.cache_dir, event(1, time.time() - 60))
    if lively:
        (world.cache_dir / "daemon.sock").touch()
    shown = tmux([kache_source.path, "monitor"])
    shown.wait("1 of 1 unit")
    shown.wait("0 entries")
    time.sleep(2)
    before = ticks(shown.pid)
    time.sleep(5)
    assert ticks(shown.pid) - before <= 5

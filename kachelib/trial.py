"""The trial: compile, store and restore one small crate, the way Cargo would have it done.

Owns ``doctor --probe``. Uses the real compiler, the real wrapper in a process
of its own, and a scratch cache beside the real one, so that what works here
works in a build.
"""

import filecmp
import json
import os
import shutil
import subprocess
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Optional

from kachelib import bundle, console
from kachelib.outcome import HITS, MISS

CRATE = "kache_probe"
TIMEOUT = 120.0


class Trial(NamedTuple):
    """passed: this machine can cache. message: what happened, or the first thing that went wrong."""

    passed: bool
    message: str


def run(environ: Dict[str, str], cache_dir: str) -> Trial:
    """Compile twice into different directories; the second time must be a hit with the same bytes."""
    compiler = shutil.which(environ.get("RUSTC") or "rustc", path=environ.get("PATH"))
    if compiler is None:
        return Trial(False, "there is no rustc on PATH")
    scratch = _scratch(cache_dir)
    try:
        return _run(environ, compiler, scratch)
    except subprocess.TimeoutExpired:
        return Trial(False, f"the compiler did not end within {TIMEOUT:.0f} s")
    except OSError as error:
        return Trial(False, f"{error.filename or scratch}: {error.strerror}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scratch(cache_dir: str) -> str:
    """A new directory, in the store's file system where that can be written."""
    for place in (cache_dir, os.path.dirname(cache_dir)):
        if os.path.isdir(place) and os.access(place, os.W_OK):
            return tempfile.mkdtemp(prefix=".probe-", dir=place)
    return tempfile.mkdtemp(prefix="kache-probe-")


def _run(environ: Dict[str, str], compiler: str, scratch: str) -> Trial:
    source = scratch + "/lib.rs"
    with open(source, "w", encoding="utf-8") as file:
        # New every time: no other cache can know it.
        file.write(f"pub fn made() -> u128 {{ {time.time_ns()} }}\n")
    env = dict(environ, KACHE_CACHE_DIR=scratch + "/cache", KACHE_PROGRESS="never")
    times: List[float] = []
    for out_dir in ("first", "second"):
        os.mkdir(f"{scratch}/{out_dir}")
        started = time.monotonic()
        done = subprocess.run(
            [*bundle.start_command(), *_command(compiler, source, f"{scratch}/{out_dir}")],
            cwd=scratch,
            env=env,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        times.append(time.monotonic() - started)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            return Trial(False, f"the compiler failed with status {done.returncode}: {said[0]}")
    return _judge(_events(scratch + "/cache/events.jsonl"), scratch, times)


def _command(compiler: str, source: str, out_dir: str) -> List[str]:
    """A compile as Cargo asks for one."""
    return [
        compiler,
        *("--crate-name", CRATE, "--edition=2021", source, "--error-format=json"),
        "--json=diagnostic-rendered-ansi,artifacts,future-incompat",
        *("--crate-type", "lib", "--emit=dep-info,metadata,link", "-C", "debuginfo=2"),
        *("-C", "metadata=0123456789abcdef", "-C", "extra-filename=-0123456789abcdef", "--out-dir", out_dir),
    ]


def _judge(events: List[Dict[str, Any]], scratch: str, times: List[float]) -> Trial:
    problem = _problem(events)
    if problem:
        return Trial(False, problem)
    first, second = (sorted(os.listdir(f"{scratch}/{name}")) for name in ("first", "second"))
    if first != second or len(first) != 3:
        return Trial(False, f"compiled: {', '.join(first)}; restored: {', '.join(second)}")
    for name in first:
        same = name.endswith(".d") or filecmp.cmp(f"{scratch}/first/{name}", f"{scratch}/second/{name}", shallow=False)
        if not same:
            return Trial(False, f"{name} came back with other bytes")
    ways = [way for way in ("reflinked", "hardlinked", "copied") if events[1].get(way + "_bytes")]
    took = f"compiled in {console.duration(times[0])}, restored in {console.duration(times[1])}"
    return Trial(True, f"{took} ({', '.join(ways) or 'nothing to restore'})")


def _problem(events: List[Dict[str, Any]]) -> Optional[str]:
    """What the two events say against it."""
    if len(events) != 2:
        return "kache recorded nothing: is it switched off, or the scratch cache not writable?"
    stored, restored = events
    if stored.get("result") != MISS or "not stored" in str(stored.get("reason", "")) or not stored.get("cache_key"):
        return f"the compile was not stored: {stored.get('result')}: {stored.get('reason') or 'no reason was recorded'}"
    if restored.get("result") not in HITS:
        return f"the second compile was no hit: {restored.get('reason') or restored.get('result')}"
    return None


def _events(path: str) -> List[Dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            return [json.loads(line) for line in file]
    except (OSError, ValueError):
        return []

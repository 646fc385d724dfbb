"""The rows about one process: a hit against a bare Python, its memory, what it imports."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from bench.ground import KACHE, SCRATCH, BenchError, Ground, remove
from bench.table import Row, interleave, ratio_row
from tests.arrows import HOT_MAY_IMPORT

# a small crate without dependencies or a build script, found in both sources of crates
CRATE = "itoa"

TIMES_A_ROUND = 20

RECORDER = """#!{python}
import json, os, sys
if "--crate-name" in sys.argv and sys.argv[sys.argv.index("--crate-name") + 1] == {crate!r}:
    with open({out!r}, "w") as out:
        json.dump({{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}, out)
os.execvp(sys.argv[1], sys.argv[1:])
"""

# A parent's own memory counts for the child that it starts; so a bare Python starts it, which is smaller than any hit.
PEAK = """
import posix, sys
child = posix.posix_spawnp(sys.argv[1], sys.argv[1:], posix.environ)
_, status, usage = posix.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(status != 0)
"""


class Compile:
    """One compiler call as Cargo makes it: its arguments, directory and environment."""

    def __init__(self, ground: Ground, project: Optional[Path] = None, crate: str = CRATE) -> None:
        out = SCRATCH / "recorded.json"
        recorder = SCRATCH / "recorder"
        recorder.write_text(RECORDER.format(python=sys.executable, crate=crate, out=str(out)))
        recorder.chmod(0o755)
        out.unlink(missing_ok=True)
        ground.build({"RUSTC_WRAPPER": str(recorder)}, project or ground.project, "hit", "--package", crate)
        if not out.exists():
            raise BenchError(f"Cargo compiled no {crate}")
        seen = json.loads(out.read_text())
        self.argv: List[str] = seen["argv"]
        self.cwd: str = seen["cwd"]
        self.env: Dict[str, str] = {name: value for name, value in seen["env"].items() if name != "RUSTC_WRAPPER"}
        self.out_dir = Path(self.argv[self.argv.index("--out-dir") + 1])
        extra = next(word.partition("=")[2] for word in self.argv if word.startswith("extra-filename="))
        self.pattern = f"*{crate}{extra}.*"

    def remove_outputs(self) -> None:
        for path in self.out_dir.glob(self.pattern):
            path.unlink()

    def run(self, prefix: Sequence[str], env: Mapping[str, str]) -> float:
        """Seconds from the start to the end of one call, its outputs not there before, and there after."""
        self.remove_outputs()
        seconds = timed([*prefix, *self.argv], self.cwd, {**self.env, **env})
        if not any(self.out_dir.glob(self.pattern)):
            raise BenchError(f"{prefix[:1]} left no outputs")
        return seconds


def timed(argv: List[str], cwd: str, env: Mapping[str, str]) -> float:
    """Seconds that a process takes, started with as little of Python's own work as can be."""
    os.chdir(cwd)
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    start = time.perf_counter()
    child = os.posix_spawnp(argv[0], argv, dict(env), file_actions=actions)
    _, status = os.waitpid(child, 0)
    seconds = time.perf_counter() - start
    os.close(null)
    if status != 0:
        raise BenchError(f"`{shlex.join(argv[:6])} …` failed with status {status}")
    return seconds


def hit(ground: Ground, rounds: int) -> List[Row]:
    """One hit of a small crate, the whole process, against the least that Python can do."""
    compile_ = Compile(ground)
    env = prepared(ground, compile_)
    bare = [ground.python, "-I", "-S", "-c", "pass"]
    variants: Dict[str, Callable[[], float]] = {
        "python -I -S -c pass": lambda: timed(bare, compile_.cwd, compile_.env),
        "kache": lambda: compile_.run([str(KACHE)], env),
    }
    sccache = ground.sccache
    if sccache:
        sccache.start()
        server, binary = sccache.env, str(sccache.binary)
        compile_.run([binary], server)
        variants["sccache"] = lambda: compile_.run([binary], server)
    variants["rustc"] = lambda: compile_.run([], {})
    samples = interleave(rounds * TIMES_A_ROUND, variants)
    wanted = {("kache", "python -I -S -c pass"): 1.8, ("kache", "sccache"): None, ("kache", "rustc"): None}
    return [ratio_row(f"one hit of a small crate ({CRATE}), whole process", samples, "ms", wanted)]


def prepared(ground: Ground, compile_: Compile) -> Dict[str, str]:
    """kache's environment, with this compile in its cache."""
    env = ground.kache_env("hit")
    remove(ground.cache_dir("hit"))
    compile_.run([str(KACHE)], env)
    compile_.run([str(KACHE)], env)
    last = ground.events("hit")[-1:]
    if not last or last[0].get("result") != "local_hit":
        raise BenchError(f"the second compile of {CRATE} is no hit: {last}")
    return env


def memory(ground: Ground, rounds: int) -> List[Row]:
    """The most memory a hit ever holds."""
    compile_ = Compile(ground)
    env = {**compile_.env, **prepared(ground, compile_)}
    peaks = []
    for _ in range(rounds):
        compile_.remove_outputs()
        args = [ground.python, "-I", "-S", "-c", PEAK, str(KACHE), *compile_.argv]
        done = subprocess.run(args, cwd=compile_.cwd, env=env, capture_output=True, text=True, check=True)
        # the unit is KiB on Linux, bytes on macOS
        peaks.append(int(done.stdout.split()[-1]) / (1 << 20 if sys.platform == "darwin" else 1 << 10))
    text = f"{max(peaks):.1f} MiB"
    return [Row("memory of a hit, peak", text, "≤ 20 MB", max(peaks) * (1 << 20) <= 20e6, {"peaks_mib": peaks})]


def modules(ground: Ground, rounds: int) -> List[Row]:
    """What a hit imports beyond what a bare Python does by itself, as -X importtime sees it."""
    del rounds
    compile_ = Compile(ground)
    env = {**compile_.env, **prepared(ground, compile_)}
    python = SCRATCH / "importtime-python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(ground.python)} -X importtime "$@"\n')
    python.chmod(0o755)
    compile_.remove_outputs()
    bare = imported([str(python), "-I", "-S", "-X", "utf8", "-c", "pass"], compile_.cwd, env)
    extra = imported([str(KACHE), *compile_.argv], compile_.cwd, {**env, "KACHE_PYTHON": str(python)}) - bare
    unknown = {name for name in extra if name.partition(".")[0] not in HOT_MAY_IMPORT | {"kachelib"}}
    text = ", ".join(sorted(extra)) or "nothing"
    if unknown:
        text += "; not allowed: " + ", ".join(sorted(unknown))
    numbers = {"imported": sorted(extra), "not_allowed": sorted(unknown)}
    return [Row("modules imported on a hit", text, "the allowed list", not unknown, numbers)]


def imported(argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> "set[str]":
    done = subprocess.run(argv, cwd=cwd, env=dict(env), capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}

"""`make bench`: measure kache against no cache and against sccache, and say whether what is promised holds.

    python -m bench [--rounds N] [--markdown] [ROW ...]

Rows: hit, warm, cold, checkout, fresh, compilers, memory, modules, and of warm targets: real, modes, generated, growth,
bump, rustc-info, taking, defaults, jobs, and of the remote: pull-rate, machines, demand, remote-misses, remote-dead,
and of C and C++: c-hit, c-projects; all of them unless some are named.
"""

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List

from bench import builds, c_projects, jobs, sharing, starts, warming
from bench.ground import DEBIAN_CRATES, REPOSITORY, BenchError, Ground, say
from bench.table import Row, as_json, as_markdown, as_text

ROWS: Dict[str, Callable[[Ground, int], List[Row]]] = {
    "hit": starts.hit,
    "warm": builds.warm,
    "cold": builds.cold,
    "checkout": builds.checkout,
    "fresh": builds.fresh,
    "compilers": builds.compilers,
    "memory": starts.memory,
    "modules": starts.modules,
    "real": warming.real,
    "modes": warming.modes,
    "generated": warming.generated,
    "growth": warming.growth,
    "bump": warming.bump,
    "rustc-info": warming.rustc_info,
    "taking": warming.cold,
    "defaults": warming.defaults,
    "jobs": jobs.archives,
    "pull-rate": sharing.pull_rate,
    "machines": sharing.machines,
    "demand": sharing.demand,
    "remote-misses": sharing.misses,
    "remote-dead": sharing.dead,
    "c-hit": c_projects.hit,
    "c-projects": c_projects.projects,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="measure kache")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which rows to measure: {', '.join(ROWS)}; default all")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured (default 5)")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/performance.md has it")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs kache (default: this one)")
    parser.add_argument(
        "--crates", type=Path, default=DEBIAN_CRATES, help="a directory of crates, should no registry answer"
    )
    args = parser.parse_args()
    unknown = [name for name in args.rows if name not in ROWS]
    if unknown or args.rounds < 1:
        parser.error(f"no such row: {', '.join(unknown)}" if unknown else "--rounds must be 1 or more")
    return args


def measure(ground: Ground, names: List[str], rounds: int) -> List[Row]:
    """The rows, in order; one that cannot be measured says why and does not stop the others."""
    found: List[Row] = []
    for name in names:
        say(f"bench: {name}")
        start = time.monotonic()
        try:
            found.extend(ROWS[name](ground, rounds))
        except BenchError as error:
            found.append(Row(name, f"not measured: {error}", holds=False))
        say(f"bench: {name} took {time.monotonic() - start:.0f} s")
    return found


def main() -> int:
    args = arguments()
    # ended by a signal, too, it stops sccache's server and clears up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ground = None
    try:
        ground = Ground(args.python, args.crates)
        rows = measure(ground, args.rows or list(ROWS), args.rounds)
    except BenchError as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if ground:
            ground.clear()
    facts = {**ground.facts(), "rounds": args.rounds}
    results = REPOSITORY / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / time.strftime("%Y%m%dT%H%M%S.json")).write_text(as_json(rows, facts), "utf-8")
    print(as_markdown(rows) if args.markdown else as_text(rows))
    print("\n" + "; ".join(f"{name} {value}" for name, value in facts.items()))
    return 1 if any(row.holds is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make demo`: build a small real workspace twice, in two directories, and show what kache did.

Everything happens below build/demo, with a cache of its own; the crates come through the caller's own CARGO_HOME.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
SCRATCH = REPOSITORY / "build" / "demo"
KACHE = REPOSITORY / "dist" / "kache"

# what would make the two builds something else than the two builds shown
NOT_OURS = ("KACHE_", "CARGO_TARGET_DIR", "CARGO_BUILD_", "CARGO_INCREMENTAL", "CARGO_ENCODED_", "RUSTC", "RUSTFLAGS")


def environment() -> Dict[str, str]:
    """The caller's, with kache as the wrapper, a fresh cache and no configuration file."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    config = SCRATCH / "config.toml"
    config.write_text("")
    env.update(
        RUSTC_WRAPPER=str(KACHE),
        KACHE_PYTHON=sys.executable,
        KACHE_CACHE_DIR=str(SCRATCH / "cache"),
        KACHE_CACHE_EXECUTABLES="1",
        KACHE_CONFIG=str(config),
        KACHE_PROGRESS="never",
        # the demo says `kache save` itself, so that nothing is left to a moment
        KACHE_TAKE_UNITS="0",
    )
    return env


def run(args: Sequence[str], cwd: Path, env: Dict[str, str]) -> None:
    """Run and show a command; the demo ends where it fails."""
    print(f"$ {' '.join(args)}", flush=True)
    if subprocess.run(args, cwd=cwd, env=env, check=False).returncode != 0:
        sys.exit(f"demo: `{' '.join(args)}` failed in {cwd}")


def choose_example(env: Dict[str, str]) -> str:
    """``bookshelf``, once its crates are here; ``plain``, which needs none, where no registry answers."""
    fetch = ["cargo", "fetch", "--locked", "--manifest-path", str(REPOSITORY / "examples" / "bookshelf" / "Cargo.toml")]
    env = {**env, "CARGO_NET_RETRY": "1", "CARGO_HTTP_TIMEOUT": "20"}
    done = subprocess.run(fetch, env=env, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "bookshelf"
    print("demo: the crates registry does not answer, so this is examples/plain, which needs no crates")
    return "plain"


def main() -> None:
    for tool in ("cargo", "rustc"):
        if shutil.which(tool) is None:
            sys.exit(f"demo: no {tool} on PATH; install Rust first")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    env = environment()
    example = choose_example(env)
    seconds = []
    for place in ("one", "two"):
        copy = SCRATCH / place / example
        shutil.copytree(REPOSITORY / "examples" / example, copy, ignore=shutil.ignore_patterns("target"))
        print(f"\n== {example}, checkout {place} ({copy.relative_to(REPOSITORY)})")
        start = time.monotonic()
        run(["cargo", "build", "--quiet", "--locked", "--offline"], copy, env)
        seconds.append(time.monotonic() - start)
        run(["cargo", "run", "--quiet", "--locked", "--offline"], copy, env)
        if place == "one":
            run([str(KACHE), "save"], copy, env)
    print()
    run([str(KACHE), "report"], SCRATCH, env)
    first, second = seconds
    print(f"\nfirst build, empty cache      {first:6.2f} s")
    print(f"second build, other checkout  {second:6.2f} s  ({second / first:.0%})")
    print(f"The cache of this demo is {(SCRATCH / 'cache').relative_to(REPOSITORY)}; `make clean` removes it.")


if __name__ == "__main__":
    main()

"""``kache bench``: one's own project without cache, cold and warm.

Owns the three builds, in scratch target directories with a scratch cache, and
what is shown of them. Leaves the project's own target directory, the store and
the event log alone.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple

from kachelib import bundle, config, console, history, report, setup, sweep
from kachelib.outcome import KacheError

# name of the run, what is said of it, whether kache is the wrapper
RUNS = (("uncached", "without cache", False), ("cold", "cold, storing", True), ("warm", "warm, new target", True))


class Project(NamedTuple):
    """manifest: absolute path of Cargo.toml. root: the workspace's. target: its usual target directory."""

    manifest: str
    root: str
    target: str


def run(argv: List[str]) -> int:
    """``kache bench``; returns the exit code."""
    cargo_arguments: List[str] = []
    if "--" in argv:
        at = argv.index("--")
        argv, cargo_arguments = argv[:at], argv[at + 1 :]
    parser = console.Parser(
        "bench",
        "Build a project without cache, with an empty cache and with a warm one, each in a new target directory,\n"
        "and print the three times and what the warm build hit. Everything is made in a scratch directory inside\n"
        "the project's target directory and removed again.",
        "What stands behind -- is given to 'cargo build':  kache bench . -- --release\n"
        "Exit codes: 0 done; 1 the project does not build; 2 wrong use.",
    )
    parser.add_argument(
        "path", nargs="?", default=".", metavar="PATH", help="the project, default: the current directory"
    )
    parser.add_argument("--keep", action="store_true", help="keep the scratch directory")
    parser.add_json()
    options = parser.parse_args(argv)
    project = find_project(options.path)
    scratch = _scratch(project)
    try:
        document = measure(project, scratch, cargo_arguments, quiet=options.json)
    finally:
        if not options.keep:
            shutil.rmtree(scratch, ignore_errors=True)
            _remove_if_empty(project.target)
    if options.json:
        console.print_json(document)
    else:
        print("\n".join(lines(document)))
        if options.keep:
            print(f"kept: {scratch}")
    return 0


def find_project(path: str) -> Project:
    """The project at ``path``, a directory or a Cargo.toml. Raises KacheError."""
    manifest = os.path.abspath(path)
    if os.path.isdir(manifest):
        manifest = os.path.join(manifest, "Cargo.toml")
    if not os.path.isfile(manifest):
        raise KacheError(f"{manifest}: there is no such file; name a directory that holds a Cargo.toml")
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest]
    said = _cargo(command, config.environment(), os.path.dirname(manifest), quiet=True)
    # Downloads are not what is measured; without a network the builds may still pass.
    subprocess.run(["cargo", "fetch", "--manifest-path", manifest], capture_output=True, check=False)
    found = json.loads(said)
    return Project(manifest, str(found["workspace_root"]), str(found["target_directory"]))


def measure(project: Project, scratch: str, arguments: List[str], quiet: bool) -> Dict[str, Any]:
    """The three builds; the document that --json prints. Raises KacheError where one fails."""
    wrapper = _wrapper(scratch)
    cache = scratch + "/cache"
    runs: List[Dict[str, Any]] = []
    for name, _, cached in RUNS:
        env = dict(config.environment(), CARGO_TARGET_DIR=f"{scratch}/{name}", RUSTC_WRAPPER=wrapper if cached else "")
        env.update(KACHE_CACHE_DIR=cache, KACHE_PROGRESS="never")
        command = ["cargo", "build", "--manifest-path", project.manifest, *arguments]
        started, clock = time.time(), time.monotonic()
        _cargo(command, env, project.root, quiet)
        seconds = time.monotonic() - clock
        runs.append({"name": name, "seconds": round(seconds, 3), **_counted(cache, started, cached)})
    return {"project": project.root, "cargo_arguments": arguments, "runs": runs}


def lines(document: Dict[str, Any]) -> List[str]:
    """The result for people."""
    runs = document["runs"]
    base = runs[0]["seconds"] or 0.001
    rows = []
    for (_, text, _), found in zip(RUNS, runs):
        share = f"{100 * found['seconds'] / base:.0f} %"
        rows.append((text, console.duration(found["seconds"]), share))
    told = [console.paint(document["project"], "bold"), *console.table(("BUILD", ">TIME", ">OF UNCACHED"), rows)]
    warm = runs[-1]["report"]
    told += ["", "the warm build:", *report.hit_table(warm)]
    told += [f"  not cached: {row['count']} x {row['text']}" for row in warm["bypass"]["reasons"]]
    if any(row["reason"] == "executable" for row in warm["bypass"]["reasons"]):
        told.append("  'KACHE_CACHE_EXECUTABLES=1 kache bench' shows what caching those would bring")
    return told


def _counted(cache: str, started: float, cached: bool) -> Dict[str, Any]:
    return {"report": report.aggregate(history.read(cache, started))} if cached else {}


def _wrapper(scratch: str) -> str:
    """A path that Cargo can start this kache by; from a checkout, a script."""
    try:
        return setup.wrapper_path()
    except KacheError:
        path = scratch + "/kache"
        words = " ".join(shlex.quote(word) for word in bundle.start_command())
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f'#!/bin/sh\nexec {words} "$@"\n')
        os.chmod(path, 0o755)
        return path


def _scratch(project: Project) -> str:
    """A new directory where the project's outputs go anyway: same disk, ignored by everybody."""
    os.makedirs(project.target, exist_ok=True)
    scratch = tempfile.mkdtemp(prefix=".kache-bench-", dir=project.target)
    # So that it is nobody's input, and backups leave it alone.
    with open(f"{scratch}/{sweep.TAG_NAME}", "wb") as file:
        file.write(sweep.TAG_START + b"\n")
    return scratch


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        pass


def _cargo(command: List[str], env: Dict[str, str], cwd: str, quiet: bool) -> bytes:
    """Run Cargo; its progress is shown on a terminal. Returns its output; raises KacheError where it fails."""
    shown = not quiet and sys.stderr.isatty()
    try:
        done = subprocess.run(
            command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=None if shown else subprocess.PIPE, check=False
        )
    except FileNotFoundError:
        raise KacheError("there is no cargo on PATH; install Rust: https://rustup.rs") from None
    if done.returncode != 0:
        said = (done.stderr or b"").decode("utf-8", "replace").strip()
        if said:
            print(said, file=sys.stderr)
        raise KacheError(f"'{' '.join(command)}' failed with status {done.returncode}")
    return done.stdout

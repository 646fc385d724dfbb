"""``kache bench``: one's own project without cache, cold and warm.

Owns the builds, in scratch target directories with a scratch cache, and
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
from typing import Any, Dict, List, NamedTuple, Optional

from kachelib import bundle, config, console, history, report, report_text, setup, sweep
from kachelib.outcome import KacheError


class Build(NamedTuple):
    """One of the builds. name: in JSON; text: what is said of it; cached: whether kache is the wrapper; executables:
    whether those are cached, None for what the settings say; shown: or only made to fill the cache."""

    name: str
    text: str
    cached: bool
    executables: Optional[str] = None
    shown: bool = True


RUNS = (
    Build("uncached", "without cache", False),
    Build("cold", "cold, storing", True),
    Build("warm", "warm, new target", True),
)

# Where the settings leave executables out: what caching them would bring. The libraries are stored by then.
WITH_EXECUTABLES = (
    Build("fill", "", True, "1", shown=False),
    Build("warm_executables", "the same with KACHE_CACHE_EXECUTABLES=1", True, "1"),
)


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
    builds = RUNS if console.load_settings().cache_executables else (*RUNS, *WITH_EXECUTABLES)
    runs: List[Dict[str, Any]] = []
    for build in builds:
        env = dict(config.environment(), CARGO_TARGET_DIR=f"{scratch}/{build.name}", KACHE_PROGRESS="never")
        env.update(RUSTC_WRAPPER=wrapper if build.cached else "", KACHE_CACHE_DIR=scratch + "/cache")
        # What a helper would do a moment later is done in between, and is not measured.
        env.update(KACHE_TAKE_UNITS="0")
        if build.executables:
            env.update(KACHE_CACHE_EXECUTABLES=build.executables)
        command = ["cargo", "build", "--manifest-path", project.manifest, *arguments]
        started, clock = time.time(), time.monotonic()
        _cargo(command, env, project.root, quiet)
        seconds = time.monotonic() - clock
        if build.shown:
            counted = _counted(scratch + "/cache", started, build.cached)
            runs.append({"name": build.name, "seconds": round(seconds, 3), **counted})
        if build.cached:
            _save(project, arguments, env)
    return {"project": project.root, "cargo_arguments": arguments, "runs": runs}


def _save(project: Project, arguments: List[str], env: Dict[str, str]) -> None:
    """Keep the units of a build; where its arguments are not understood, there are none to put back."""
    words = []
    for word, following in zip(arguments, [*arguments[1:], ""]):
        name, equals, value = word.partition("=")
        if word in ("--release", "-r"):
            words.append(word)
        elif name in ("--profile", "--target"):
            words += [name, value if equals else following]
    command = [*bundle.start_command(), "save", "--manifest-path", project.manifest, *words]
    subprocess.run(command, env=env, cwd=project.root, capture_output=True, check=False)


def lines(document: Dict[str, Any]) -> List[str]:
    """The result for people."""
    runs = document["runs"]
    base = runs[0]["seconds"] or 0.001
    rows = []
    texts = {build.name: build.text for build in (*RUNS, *WITH_EXECUTABLES)}
    for found in runs:
        share = f"{100 * found['seconds'] / base:.0f} %"
        rows.append((texts[found["name"]], console.duration(found["seconds"]), share))
    told = [console.paint(document["project"], "bold"), *console.table(("BUILD", ">TIME", ">OF UNCACHED"), rows)]
    warm = runs[2]["report"]
    told += ["", "the warm build:", *report_text.hit_table(warm)]
    told += [f"  not cached: {row['count']} x {row['text']}" for row in warm["bypass"]["reasons"]]
    if any(row["reason"] == "executable" for row in warm["bypass"]["reasons"]):
        told.append("  KACHE_CACHE_EXECUTABLES=1 (cache.cache_executables) caches those as well")
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

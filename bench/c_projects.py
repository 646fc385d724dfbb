"""The rows about C and C++: one hit, and real projects rebuilt elsewhere, beside ccache, sccache and kache 2.

The projects are Debian's source packages, fetched into build/bench with the system's own sources of packages. A peer
that is not installed is named, and a row with it does not hold.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from bench.ground import KACHE, SCRATCH, BenchError, Ground, put_aside, remove, say, settle
from bench.peers import KACHE_2
from bench.starts import TIMES_A_ROUND, timed
from bench.table import Row, interleave, ratio, ratio_row

SOURCES = SCRATCH / "c-sources"
JOBS = "-j2"

SMALL = '#include <stdio.h>\n#include "small.h"\nint small(int x) {{ return printf("%d", x + SMALL); }}\n'

# Objects that hold the time of their build.
DATED = ("release.o",)

# What a hit may cost: of the floor, and of kache 2 in the same run.
MOST_OF_FLOOR = 1.7
MOST_OF_UNCACHED = 0.15
FEWEST_HITS = 0.98


class Project:
    """A project: its source packages, what has to be done before it is built, which is not timed, and how it is built.

    configure, build: called with the directory, the launcher ("" for none) and what runs a command in a directory.
    """

    def __init__(self, name: str, packages: Tuple[str, ...], configure: "Step", build: "Step") -> None:
        self.name = name
        self.packages = packages
        self.configure = configure
        self.build = build


Runner = Callable[[List[str], Path], None]
Step = Callable[[Path, str, Runner], None]


def nothing(place: Path, launcher: str, run: Runner) -> None:
    """No configuration."""


def sqlite(place: Path, launcher: str, run: Runner) -> None:
    """The amalgamation and the shell."""
    for name in ("sqlite3.c", "shell.c"):
        words = [*launcher.split(), "gcc", "-O2", "-I.", "-c", name, "-o", name[:-1] + "o"]
        run(words, place / "sqlite3")


def zlib_configure(place: Path, launcher: str, run: Runner) -> None:
    run(["sh", "-c", f"CC='{launcher} gcc' ./configure --static >/dev/null"], place / "zlib")


def zlib(place: Path, launcher: str, run: Runner) -> None:
    run(["make", "-s", JOBS, "libz.a"], place / "zlib")


def zstd(place: Path, launcher: str, run: Runner) -> None:
    run(["make", "-s", JOBS, "libzstd.a", f"CC={launcher} gcc"], place / "libzstd" / "lib")


def lua(place: Path, launcher: str, run: Runner) -> None:
    words = ["make", "-s", JOBS, "a", f"CC={launcher} gcc -std=gnu99", "SYSCFLAGS=-DLUA_USE_POSIX"]
    run(words, place / "lua5.4" / "src")


def redis(place: Path, launcher: str, run: Runner) -> None:
    run(["make", "-s", JOBS, f"CC={launcher} gcc", f"CXX={launcher} g++", "MALLOC=libc"], place / "redis")


def cmake_configure(place: Path, launcher: str, run: Runner) -> None:
    given = [f"-DCMAKE_{each}_COMPILER_LAUNCHER={launcher}" for each in ("C", "CXX") if launcher]
    for name, options in (("fmtlib", ["-DFMT_TEST=OFF"]), ("googletest", ["-Dgtest_build_samples=ON"])):
        words = ["cmake", "-G", "Ninja", "-S", name, "-B", f"build-{name}", "-DCMAKE_BUILD_TYPE=Release"]
        run([*words, *options, *given], place)


def cmake(place: Path, launcher: str, run: Runner) -> None:
    """With Ninja: fmt, and GoogleTest with its samples."""
    for name in ("fmtlib", "googletest"):
        run(["ninja", "-C", f"build-{name}", JOBS], place)


PROJECTS = (
    Project("SQLite", ("sqlite3",), nothing, sqlite),
    Project("zlib", ("zlib",), zlib_configure, zlib),
    Project("zstd", ("libzstd",), nothing, zstd),
    Project("Lua", ("lua5.4",), nothing, lua),
    Project("Redis", ("redis",), nothing, redis),
    Project("fmt and GoogleTest", ("fmtlib", "googletest"), cmake_configure, cmake),
)


class Tool:
    """A cache: its launcher, and its environment with a cache of its own. hits: how many it had, where it says so."""

    def __init__(self, name: str, launcher: str, env: Dict[str, str]) -> None:
        self.name = name
        self.launcher = launcher
        self.env = env


def tools(ground: Ground) -> Tuple[Dict[str, Tool], Dict[str, str], Callable[[], None]]:
    """(the tools that are here, what is missing and why, what ends them)."""
    caches = SCRATCH / "caches"
    remove(caches / "c-projects")
    found = {
        "uncached": Tool("uncached", "", {}),
        "kache": Tool("kache", str(KACHE), ground.kache_env("c-kache")),
    }
    remove(ground.cache_dir("c-kache"))
    missing = {}
    ends: List[Callable[[], None]] = []
    ccache = shutil.which("ccache")
    if ccache:
        env = {"CCACHE_DIR": str(caches / "c-projects" / "ccache"), "CCACHE_BASEDIR": "", "CCACHE_NOHASHDIR": "1"}
        found["ccache"] = Tool("ccache", ccache, env)
    else:
        missing["ccache"] = "not installed"
    if ground.sccache:
        ground.sccache.start(empty=True)
        found["sccache"] = Tool("sccache", str(ground.sccache.binary), ground.sccache.env)
        ends.append(ground.sccache.stop)
    else:
        missing["sccache"] = "not installed"
    if KACHE_2.exists():
        home = caches / "c-projects" / "kache-2"
        home.mkdir(parents=True)
        env = {"HOME": str(home), "KACHE_CACHE_DIR": str(home / "cache")}
        found["kache 2"] = Tool("kache 2", str(KACHE_2), env)
        ends.append(lambda: stop_kache_2(ground, env))
    else:
        missing["kache 2"] = "make bench-peers builds it"

    def end() -> None:
        for each in ends:
            each()

    return found, missing, end


def stop_kache_2(ground: Ground, env: Dict[str, str]) -> None:
    subprocess.run([str(KACHE_2), "daemon", "stop"], env={**ground.env, **env}, capture_output=True, check=False)


def hit(ground: Ground, rounds: int) -> List[Row]:
    """One hit of a small C file, the whole process."""
    place = SCRATCH / "c-hit"
    remove(place)
    place.mkdir(parents=True)
    (place / "small.c").write_text(SMALL.format())
    (place / "small.h").write_text("#define SMALL 1\n")
    found, missing, end = tools(ground)
    try:
        words = ["gcc", "-O2", "-MD", "-c", "small.c", "-o", "small.o"]
        variants: Dict[str, Callable[[], float]] = {}
        bare = [ground.python, "-I", "-S", "-c", "pass"]
        variants["python -I -S -c pass"] = lambda: timed(bare, str(place), ground.env)
        for name, tool in found.items():
            variants[name] = compile_once(ground, tool, words, place)
            settle()
            for _ in range(2):
                variants[name]()
        last = ground.events("c-kache")[-1]
        if last.get("result") != "local_hit" or last.get("preprocessor_runs"):
            raise BenchError(f"the second compile is no direct hit: {last}")
        samples = interleave(rounds * TIMES_A_ROUND, variants)
    finally:
        end()
    wanted = {
        ("kache", "python -I -S -c pass"): MOST_OF_FLOOR,
        ("kache", "kache 2"): 1.0,
        ("kache", "ccache"): None,
        ("kache", "sccache"): None,
        ("kache", "uncached"): None,
    }
    return [named(ratio_row("one hit of a small C file, whole process", samples, "ms", wanted), missing)]


def compile_once(ground: Ground, tool: Tool, words: List[str], place: Path) -> Callable[[], float]:
    command = [*([tool.launcher] if tool.launcher else []), *words]
    env = {**ground.env, **tool.env}
    return lambda: timed(command, str(place), env)


def projects(ground: Ground, rounds: int) -> List[Row]:
    """Each project built by each tool in one directory, then rebuilt in another."""
    fetch()
    found, missing, end = tools(ground)
    try:
        return [named(measured(ground, project, found, rounds), missing) for project in PROJECTS]
    finally:
        end()


def named(row: Row, missing: Dict[str, str]) -> Row:
    """The row with what could not be measured; without a peer that it has to be compared with, it does not hold."""
    if missing:
        row.measured += " · " + "; ".join(f"{name}: {why}" for name, why in missing.items())
        row.holds = False if "kache 2" in missing else row.holds
    return row


def measured(ground: Ground, project: Project, found: Dict[str, Tool], rounds: int) -> Row:
    """One project's row."""
    say(f"bench: {project.name}")
    here, there = SCRATCH / "c-here" / "one", SCRATCH / "c-there" / "another"
    first = {name: build(ground, project, tool, here) for name, tool in found.items()}
    cold = objects(here)
    variants = {name: rebuild(ground, project, tool, there) for name, tool in found.items()}
    before = len(ground.events("c-kache"))
    samples = interleave(rounds, variants)
    events = ground.events("c-kache")[before:]
    counted = [event for event in events if event["result"] in ("local_hit", "miss", "dup") and not is_tried(event)]
    hits = sum(event["result"] == "local_hit" for event in counted)
    share = hits / len(counted) if counted else 0.0
    same, checked = compared(ground, project, found["kache"], there)
    slow = sum(event["compile_time_ms"] >= 100 for event in counted) > len(counted) / 2
    wanted: Dict[Tuple[str, str], Optional[float]] = {
        ("kache", "uncached"): MOST_OF_UNCACHED if slow else None,
        ("kache", "kache 2"): 1.0,
        ("kache", "ccache"): None,
        ("kache", "sccache"): None,
    }
    row = ratio_row(f"{project.name}, rebuilt in another directory", samples, "s", wanted)
    row.must = f"≥ {FEWEST_HITS:.0%} hits, {row.must}, every object the same"
    paid = ", ".join(f"{name} {took / first['uncached']:.2f}x" for name, took in first.items() if name != "uncached")
    row.measured = f"{share:.1%} of {len(counted)} hit, {same} of {checked} objects the same, {row.measured}"
    row.measured += f" · the first build, once each, uncached {first['uncached']:.2f} s: {paid}"
    row.holds = share >= FEWEST_HITS and same == checked > 0 and row.holds is not False
    if ratio(samples, "kache", "kache 2") is None:
        row.holds = False
    row.numbers.update(hits=hits, compiles=len(counted), objects=len(cold), first=first)
    return row


def is_tried(event: Dict[str, object]) -> bool:
    """Whether a compile is what a configure script tries out, which is not part of the build."""
    return str(event["crate_name"]).startswith(("cc-ztest", "cc-CMake", "cc-testC"))


def build(ground: Ground, project: Project, tool: Tool, place: Path) -> float:
    """Build in a new copy of the sources at ``place``, in seconds; unpacking and configuring do not count."""
    put_aside(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir()
    for package in project.packages:
        shutil.copytree(SOURCES / package, place / package, symlinks=True)
        # A checkout of its own: this one lies above.
        (place / package / ".git").mkdir()
    env = {**tool.env}

    def run(args: List[str], cwd: Path) -> None:
        ground.run(args, cwd, env)

    project.configure(place, tool.launcher, run)
    settle()
    start = time.monotonic()
    project.build(place, tool.launcher, run)
    return time.monotonic() - start


def rebuild(ground: Ground, project: Project, tool: Tool, place: Path) -> Callable[[], float]:
    return lambda: build(ground, project, tool, place)


def objects(place: Path) -> Dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*.o"))}


def compared(ground: Ground, project: Project, tool: Tool, place: Path) -> Tuple[int, int]:
    """(how many restored objects are what the compiler makes at that place with the same prefix maps, of how many)."""
    build(ground, project, tool, place)
    restored = objects(place)
    empty = Tool("kache", tool.launcher, {**tool.env, "KACHE_CACHE_DIR": str(SCRATCH / "caches" / "c-empty")})
    remove(SCRATCH / "caches" / "c-empty")
    build(ground, project, empty, place)
    fresh = objects(place)
    names = [name for name in fresh if os.path.basename(name) not in DATED]
    return sum(restored.get(name) == fresh[name] for name in names), len(names)


def fetch() -> None:
    """Unpack the source packages. Raises BenchError where they cannot be had."""
    wanted = [package for project in PROJECTS for package in project.packages]
    if all((SOURCES / package).is_dir() for package in wanted) and (SOURCES / "sqlite3" / "shell.c").exists():
        return
    if not shutil.which("apt-get"):
        raise BenchError("the projects are Debian's source packages, and there is no apt-get")
    apt = SCRATCH / "apt"
    for name in ("lists/partial", "archives/partial", "sources"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    if not listed:
        raise BenchError("apt-get knows no source of packages; run apt-get update")
    uri, release = listed[0].split()[:2]
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb-src [signed-by={keyring}] {uri} {release} main\n")
    options = ["-o", f"Dir::Etc::sourcelist={apt}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null"]
    options += ["-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}", "-o", "APT::Sandbox::User=root"]
    for command in (["update", "-qq"], ["source", "-qq", "--download-only", *wanted]):
        done = subprocess.run(["apt-get", *options, *command], cwd=apt / "sources", capture_output=True, check=False)
        if done.returncode:
            raise BenchError(f"apt-get {command[0]}: {done.stderr.decode().strip().splitlines()[-1:]}")
    for package in wanted:
        archives = sorted((apt / "sources").glob(f"{package}_*.orig.tar.*"))
        archives = [path for path in archives if path.suffix != ".asc"]
        remove(SOURCES / package)
        (SOURCES / package).mkdir(parents=True)
        tar = ["tar", "-xf", str(archives[0]), "-C", str(SOURCES / package), "--strip-components", "1"]
        subprocess.run(tar, check=True)
    amalgamation = SOURCES / "sqlite3"
    for step in (["./configure", "--quiet", "--disable-tcl"], ["make", "-s", "sqlite3.c", "shell.c"]):
        done = subprocess.run(step, cwd=amalgamation, capture_output=True, check=False)
        if done.returncode:
            remove(amalgamation)
            raise BenchError(f"sqlite3: {done.stderr.decode().strip().splitlines()[-1:]}")

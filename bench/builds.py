"""The rows that build a whole workspace: warm, cold, in a second checkout, again, and under strace."""

import collections
import re
from pathlib import Path
from typing import Any, Callable, Counter, Dict, Iterable, List, Mapping, NamedTuple

from bench.ground import REPOSITORY, SCRATCH, BenchError, Ground, fresh_copy, put_aside, remove, say
from bench.table import Row, interleave, ratio_row
from tests.world import STRACE, is_compile, programs_started

Event = Dict[str, Any]

COMMANDS = ("build", "check --all-targets", "test --no-run", "clippy --all-targets", "build --release")

HITS = ("local_hit", "prefetch_hit", "remote_hit")
# programs: not libraries
LINKED = re.compile(r"build_script_.*|leaf_app")


def results(events: Iterable[Event]) -> str:
    """``98 local_hit, 13 passthrough``; Cargo's probes, which name no crate, are left out."""
    counts = collections.Counter(str(event.get("result")) for event in events if event.get("crate_name"))
    return ", ".join(f"{number} {name}" for name, number in counts.most_common()) or "no events"


def warm(ground: Ground, rounds: int) -> List[Row]:
    """Every unit restored into a fresh target directory, with and without cached executables."""
    on, off = ground.kache_env("warm-on"), ground.kache_env("warm-off", executables=False)
    variants: Dict[str, Callable[[], float]] = {"uncached": lambda: ground.build({}, ground.project, "uncached")}
    say("bench: filling the caches")
    for name in ("warm-on", "warm-off"):
        remove(ground.cache_dir(name))
    for env, target in ((on, "on"), (off, "off")):
        ground.build(env, ground.project, target)
    variants["kache"] = lambda: ground.build(on, ground.project, "on")
    variants["kache, executables off"] = lambda: ground.build(off, ground.project, "off")
    sccache = ground.sccache
    if sccache:
        sccache.start(empty=True)
        server = sccache.env
        ground.build(server, ground.project, "sccache")
        variants["sccache"] = lambda: ground.build(server, ground.project, "sccache")
    before = {name: len(ground.events(name)) for name in ("warm-on", "warm-off")}
    samples = interleave(rounds, variants)
    counts = {name: results(ground.events(name)[start:]) for name, start in before.items()}
    chosen = {name: samples[name] for name in samples if name != "kache, executables off"}
    with_off = {name: samples[name] for name in samples if name != "kache"}
    limits_on = {("kache", "sccache"): 0.28, ("kache", "uncached"): 0.10}
    limits_off = {("kache, executables off", "sccache"): 0.85, ("kache, executables off", "uncached"): None}
    rows = [
        ratio_row("warm build, cache_executables on", chosen, "s", limits_on),
        ratio_row("warm build, cache_executables off", with_off, "s", limits_off),
    ]
    for row, name in zip(rows, counts):
        row.measured += f" · in {rounds} builds {counts[name]}"
        row.numbers["results"] = counts[name]
    return rows


def cold(ground: Ground, rounds: int) -> List[Row]:
    """The first build, with an empty cache."""
    env = ground.kache_env("cold")

    def kache() -> float:
        put_aside(ground.cache_dir("cold"))
        return ground.build(env, ground.project, "cold")

    variants: Dict[str, Callable[[], float]] = {
        "uncached": lambda: ground.build({}, ground.project, "uncached"),
        "kache": kache,
    }
    return [ratio_row("cold build", interleave(rounds, variants), "s", {("kache", "uncached"): 1.06})]


def checkout(ground: Ground, rounds: int) -> List[Row]:
    """The same sources at another path, with debug info: each library that hits in place has to hit there too."""
    del rounds
    env = ground.kache_env("checkout")
    remove(ground.cache_dir("checkout"))
    elsewhere = fresh_copy(ground.project, SCRATCH / "another" / "place" / "real-crates")
    ground.build(env, ground.project, "place-one")
    hits: List[Counter[str]] = []
    missed: Dict[str, str] = {}
    for project, target in ((ground.project, "place-one"), (elsewhere, "another/place-two")):
        start = len(ground.events("checkout"))
        ground.build(env, project, target)
        events = [event for event in ground.events("checkout")[start:] if event.get("crate_name")]
        hits.append(collections.Counter(str(event["crate_name"]) for event in events if event.get("result") in HITS))
        missed = {str(e["crate_name"]): str(e.get("reason", "")) for e in events if e.get("result") not in HITS}
    lost = hits[0] - hits[1]
    libraries = sum(number for name, number in hits[0].items() if not LINKED.fullmatch(name))
    lost_libraries = sum(number for name, number in lost.items() if not LINKED.fullmatch(name))
    text = f"{libraries - lost_libraries} of {libraries} library units hit; linked units that hit only in place: "
    text += str(sum(lost.values()) - lost_libraries)
    if lost:
        text += " (" + ", ".join(f"{name}: {missed.get(name, '')}" for name in sorted(lost)) + ")"
    text += sccache_elsewhere(ground, elsewhere)
    numbers = {"in_place": dict(hits[0]), "elsewhere": dict(hits[1]), "lost": dict(lost)}
    holds = libraries > 0 and not lost_libraries
    return [Row("warm in a second checkout, debug info", text, "every library unit that hits in place", holds, numbers)]


def sccache_elsewhere(ground: Ground, elsewhere: Path) -> str:
    """How sccache does there: hits in place, hits elsewhere."""
    if not ground.sccache:
        return ""
    ground.sccache.start(empty=True)
    ground.build(ground.sccache.env, ground.project, "place-one")
    counts = []
    for project, target in ((ground.project, "place-one"), (elsewhere, "another/place-two")):
        ground.sccache.call("--zero-stats")
        ground.build(ground.sccache.env, project, target)
        counts.append(ground.sccache.hits())
    return f"; sccache {counts[1]} hits where {counts[0]} in place"


def fresh(ground: Ground, rounds: int) -> List[Row]:
    """Two worktrees on one store, used in turn: the second time nothing runs, whatever the command."""
    del rounds
    example = "bookshelf" if "registry" in ground.crates else "plain"
    env = ground.kache_env("fresh")
    remove(ground.cache_dir("fresh"))
    source = REPOSITORY / "examples" / example
    if example == "bookshelf":
        ground.run(["cargo", "fetch", "--locked"], source, {"CARGO_NET_OFFLINE": "false"})
    trees = [fresh_copy(source, SCRATCH / "trees" / name / example) for name in ("one", "two")]
    commands = [line.split() for line in COMMANDS]
    for command in commands:
        for tree in trees:
            ground.run(["cargo", *command, "--offline"], tree, env)
    ran: List[str] = []
    count = 0
    for command in commands:
        for tree in trees:
            text = ground.run(["cargo", *command, "--offline", "-v"], tree, env).stderr
            count += len(re.findall(r"^ *Fresh ", text, re.M))
            ran.extend(re.findall(r"^ *(?:Dirty|Compiling|Checking) (\S+)", text, re.M))
    names = f" ({', '.join(sorted(set(ran)))})" if ran else ""
    text = f"{len(ran)} units run{names}, {count} Fresh; build, check, test, clippy, build --release in two worktrees"
    return [Row("second build in each of two worktrees", text, "0 units run", not ran and count > 0, {"ran": ran})]


class Compiled(NamedTuple):
    """The compilers that a build started. units: argv of those that compiled a unit; probes: how many others, which
    build scripts ask."""

    units: List[List[str]]
    probes: int


def compiled(ground: Ground, project: Path, env: Mapping[str, str], target: Path) -> Compiled:
    """Run `cargo build` under strace. Probes of Cargo and build scripts have no ``-C metadata``. Raises BenchError."""
    log = SCRATCH / "strace.log"
    traced = {**env, "CARGO_TARGET_DIR": str(target)}
    try:
        ground.run([*STRACE, "-o", str(log), "cargo", "build", "--quiet", "--offline"], project, traced)
    except OSError as error:
        raise BenchError(f"strace: {error.strerror}") from None
    started = programs_started(log.read_text("utf-8", "surrogateescape"))
    found = [argv for argv in started if is_compile(argv)]
    units = [argv for argv in found if any("metadata=" in word for word in argv)]
    return Compiled(units, len(found) - len(units))


def compilers(ground: Ground, rounds: int) -> List[Row]:
    """Count what a warm build starts, under strace."""
    del rounds
    env = ground.kache_env("compilers")
    remove(ground.cache_dir("compilers"))
    ground.build(env, ground.project, "compilers")
    target = SCRATCH / "targets" / "compilers"
    remove(target)
    found = compiled(ground, ground.project, env, target)
    names = collections.Counter(crate_name(argv) for argv in found.units)
    text = f"{len(found.units)}; probes of build scripts apart: {found.probes}"
    if found.units:
        text += " (" + ", ".join(f"{number} {name}" for name, number in names.most_common(8)) + ")"
    numbers = {"units": dict(names), "probes": found.probes}
    return [Row("compilers started by the wrapper in a warm build", text, "0", not found.units, numbers)]


def crate_name(argv: List[str]) -> str:
    return argv[argv.index("--crate-name") + 1] if "--crate-name" in argv else "?"

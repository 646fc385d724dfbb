"""The rows about warm targets: what a new target directory costs when Cargo starts nothing in it."""

import re
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Set, Tuple

from bench import forest
from bench.ground import KACHE, SCRATCH, BenchError, Ground, fresh_copy, put_aside, remove, say, settle
from bench.peers import Peers
from bench.table import Row, interleave, ratio_row

Event = Dict[str, Any]

MODES = ("check", "test --no-run", "clippy", "build --release")
PACKAGES = 200
SIZES = (200, 450, 700, 950, 1200)


class Site:
    """One project, one cache, one target directory that is new each time."""

    def __init__(self, ground: Ground, name: str, project: Path, executables: bool = True) -> None:
        self.ground = ground
        self.name = name
        self.project = project
        self.env = {**ground.kache_env(name, executables), "KACHE_WARM_TARGETS": "1"}
        remove(ground.cache_dir(name))

    def target(self) -> Path:
        return SCRATCH / "targets" / self.name

    def cargo(self, *words: str, project: "Path | None" = None, env: "Mapping[str, str] | None" = None) -> float:
        """Seconds that Cargo takes, in the target directory as it is."""
        settle()
        start = time.monotonic()
        own = {**self.env, "CARGO_TARGET_DIR": str(self.target()), **(env or {})}
        self.ground.run(["cargo", *words, "--quiet", "--offline"], project or self.project, own)
        return time.monotonic() - start

    def new(self, *words: str, project: "Path | None" = None, env: "Mapping[str, str] | None" = None) -> float:
        """The same in a new target directory."""
        put_aside(self.target())
        return self.cargo(*words, project=project, env=env)

    def save(self, *options: str) -> None:
        own = {**self.env, "CARGO_TARGET_DIR": str(self.target())}
        self.ground.run([str(KACHE), "save", *options], self.project, own)

    def fill(self, *words: str) -> None:
        self.new(*words)
        self.save(*[word for word in words if word == "--release"])

    def events(self) -> List[Event]:
        return self.ground.events(self.name)

    def called(self, since: int) -> List[str]:
        """The crates that Cargo called the wrapper for, after so many events."""
        return wrapper_calls(self.events()[since:])

    def not_fresh(self, *words: str, project: "Path | None" = None) -> Set[str]:
        """The packages that are not Fresh in a new target directory."""
        put_aside(self.target())
        own = {**self.env, "CARGO_TARGET_DIR": str(self.target())}
        return not_fresh(self.ground.run(["cargo", *words, "-v", "--offline"], project or self.project, own).stderr)


def wrapper_calls(events: List[Event]) -> List[str]:
    """The crates that Cargo called the wrapper for."""
    return [str(event.get("crate_name")) for event in events if event.get("result") != "warmed"]


def not_fresh(told: str) -> Set[str]:
    """The packages that were not Fresh, of what Cargo says with ``-v``."""
    return set(re.findall(r"^ *(?:Dirty|Compiling|Checking) (\S+)", told, re.M))


def real(ground: Ground, rounds: int) -> List[Row]:
    """The real crates, in the same checkout and in another one whose files are new."""
    site = Site(ground, "warmed", ground.project)
    elsewhere = fresh_copy(ground.project, SCRATCH / "another" / "real-crates")
    for path in elsewhere.rglob("*"):
        path.touch()
    say("bench: filling the caches")
    site.fill("build")
    before = len(site.events())
    variants: Dict[str, Callable[[], float]] = {
        "uncached": lambda: ground.build({}, ground.project, "uncached"),
        "kache": lambda: site.new("build"),
        "kache elsewhere": lambda: site.new("build", project=elsewhere),
    }
    if ground.sccache:
        ground.sccache.start(empty=True)
        server = ground.sccache.env
        ground.build(server, ground.project, "sccache")
        variants["sccache"] = lambda: ground.build(server, ground.project, "sccache")
    peers = Peers(ground)
    variants.update(peers.variants(ground.project))
    try:
        samples = interleave(rounds, variants)
    finally:
        peers.stop()
    called = site.called(before)
    stale = site.not_fresh("build") | site.not_fresh("build", project=elsewhere)
    limits: Dict[Tuple[str, str], "float | None"] = {}
    for name in ("kache", "kache elsewhere"):
        limits.update({(name, "sccache"): 0.04, (name, "uncached"): 0.012})
        limits.update({(name, peer): 0.3 for peer in peers.names()})
    row = ratio_row("real crates, new target", samples, "s", limits)
    row.measured += f" · {len(called)} wrapper calls; not Fresh: {', '.join(sorted(stale)) or 'none'}"
    row.measured += "".join(f"; {name}: {why}" for name, why in peers.missing.items())
    row.holds = bool(row.holds) and not called and not stale and not peers.missing
    return [row]


def modes(ground: Ground, rounds: int) -> List[Row]:
    """Each mode of a profile in a new target directory of its own."""
    site = Site(ground, "warm-modes", ground.project)
    put_aside(site.target())
    for line in ("build", *MODES):
        site.cargo(*line.split())
    site.save()
    site.save("--release")
    rows = []
    for line in MODES:
        words = line.split()
        before = len(site.events())
        variants: Dict[str, Callable[[], float]] = {
            "uncached": lambda words=words: uncached(ground, words),  # type: ignore[misc]
            "kache": lambda words=words: site.new(*words),  # type: ignore[misc]
        }
        row = ratio_row(f"{line}, new target", interleave(rounds, variants), "s", {("kache", "uncached"): 0.024})
        called, stale = site.called(before), site.not_fresh(*words)
        row.measured += f" · {len(called)} wrapper calls; not Fresh: {', '.join(sorted(stale)) or 'none'}"
        row.holds = bool(row.holds) and not called and not stale
        rows.append(row)
    return rows


def uncached(ground: Ground, words: List[str]) -> float:
    place = SCRATCH / "targets" / "uncached"
    put_aside(place)
    settle()
    start = time.monotonic()
    ground.run(["cargo", *words, "--quiet", "--offline"], ground.project, {"CARGO_TARGET_DIR": str(place)})
    return time.monotonic() - start


def planted(ground: Ground, count: int, odd: bool = True) -> Path:
    """The generated workspace with so many packages. odd: with those that do not come back everywhere."""
    base = SCRATCH / "forest" / str(count) / "ws"
    remove(base)
    forest.write(base, count, odd)
    ground.run(["cargo", "fetch"], base, {"CARGO_NET_OFFLINE": "false"})
    return base


def generated(ground: Ground, rounds: int) -> List[Row]:
    """Path packages, in another checkout; and what one edit costs there."""
    base = planted(ground, PACKAGES)
    site = Site(ground, "forest", base)
    site.fill("build")
    elsewhere = fresh_copy(base, SCRATCH / "forest" / "elsewhere" / "ws")
    for path in elsewhere.rglob("*"):
        path.touch()
    bound = forest.above(forest.odd_ones(PACKAGES), PACKAGES)
    expected = {forest.name_of(number) for number in bound} | {"top"}
    stale = site.not_fresh("build", project=elsewhere)
    edited = PACKAGES // 2
    source = elsewhere / forest.name_of(edited) / "src" / "lib.rs"
    source.write_text(source.read_text() + "pub fn edited() {}\n")
    after = site.not_fresh("build", project=elsewhere) - stale
    hit_by_it = {forest.name_of(number) for number in forest.above({edited}, PACKAGES)} - stale
    # A cc crate that calls kache has its objects with debug information mapped, and they come back as well.
    text = f"{len(stale)} not Fresh of {PACKAGES + 1}, {len(expected)} at most expected"
    right = "just" if after == hit_by_it else "not just"
    text += f"; after one edit besides: {len(after)}, {right} the edited package and its dependants that were Fresh"
    rows = [
        Row(
            f"{PACKAGES} path packages in another checkout",
            text,
            "only what is bound or declares nothing, and what hangs on it; after an edit what hangs on that",
            stale <= expected and after == hit_by_it,
            {"stale": sorted(stale), "expected": sorted(expected), "after": sorted(after), "due": sorted(hit_by_it)},
        )
    ]
    peers = Peers(ground)
    variants = {"kache": lambda: site.new("build"), **peers.variants(base)}
    try:
        samples = interleave(rounds, variants)
    finally:
        peers.stop()
    row = ratio_row("the same in place, beside peers", samples, "s", {("kache", peer): 0.3 for peer in peers.names()})
    row.measured += "".join(f"; {name}: {why}" for name, why in peers.missing.items())
    row.holds = bool(row.holds) and not peers.missing
    return [*rows, row]


def growth(ground: Ground, rounds: int) -> List[Row]:
    """What a unit more costs, over Cargo's own look at a target directory that is there."""
    costs: List[Tuple[int, float]] = []
    for count in SIZES:
        site = Site(ground, f"growth-{count}", planted(ground, count, odd=False))
        site.fill("build")
        site.new("build")
        found = site.events()[-1]
        variants: Dict[str, Callable[[], float]] = {
            "new": lambda site=site: site.new("build"),  # type: ignore[misc]
            "no-op": lambda site=site: site.cargo("build"),  # type: ignore[misc]
        }
        samples = interleave(rounds, variants)
        warmed = max(int(event.get("warmed", 0)) for event in site.events())
        costs.append(
            (
                warmed or int(found.get("warmed", 0)),
                statistics.median(samples["new"]) - statistics.median(samples["no-op"]),
            )
        )
        remove(ground.cache_dir(site.name))
    slope = slope_of(costs) * 1000
    text = f"{slope:.2f} ms a unit; " + "; ".join(f"{units} units {cost:.2f} s" for units, cost in costs)
    return [Row("growth, over a no-op build", text, "≤ 0.4 ms a unit", slope <= 0.4, {"costs": costs})]


def slope_of(points: List[Tuple[int, float]]) -> float:
    """Of the line that lies closest to the points."""
    middle, height = statistics.mean(x for x, _ in points), statistics.mean(y for _, y in points)
    return sum((x - middle) * (y - height) for x, y in points) / sum((x - middle) ** 2 for x, _ in points)


def bump(ground: Ground, rounds: int) -> List[Row]:
    """One dependency at another version: only it and what depends on it is called."""
    del rounds
    project = fresh_copy(ground.project, SCRATCH / "another" / "bumped")
    site = Site(ground, "bump", project)
    site.fill("build")
    for package, version in (("itoa", "1.0.17"), ("itoa", "1.0.15"), ("hex", "0.4.2")):
        try:
            command = ["cargo", "update", "-p", package, "--precise", version]
            ground.run(command, project, {"CARGO_NET_OFFLINE": "false"})
            ground.run(["cargo", "fetch"], project, {"CARGO_NET_OFFLINE": "false"})
            break
        except BenchError:
            continue
    else:
        return [Row("one dependency bumped", "not measured: no other version to be had", "only it and its dependants")]
    tree = ground.run(["cargo", "tree", "-i", package, "--prefix", "none", "--offline"], project).stdout
    dependants = {line.split()[0] for line in tree.splitlines() if line.strip() and not line.startswith("[")}
    stale = site.not_fresh("build")
    text = f"{package} {version}: not Fresh {', '.join(sorted(stale))}"
    return [Row("one dependency bumped", text, "only it and its dependants", bool(stale) and stale <= dependants)]


def rustc_info(ground: Ground, rounds: int) -> List[Row]:
    """CARGO_CACHE_RUSTC_INFO=0: Cargo asks at every start."""
    site = Site(ground, "rustc-info", ground.project)
    site.fill("build")
    site.fill("build", "--release")
    site.new("build")
    asking = {"CARGO_CACHE_RUSTC_INFO": "0"}
    variants: Dict[str, Callable[[], float]] = {
        "Cargo alone": lambda: site.cargo("build", env={**asking, "RUSTC_WRAPPER": ""}),
        "kache": lambda: site.cargo("build", env=asking),
    }
    samples = interleave(rounds, variants)
    more = 1000 * (statistics.median(samples["kache"]) - statistics.median(samples["Cargo alone"]))
    before = len(site.events())
    site.cargo("build", "--release", env=asking)
    called = site.called(before)
    text = f"{more:.0f} ms more; --release beside a debug build: {len(called)} wrapper calls"
    return [Row("CARGO_CACHE_RUSTC_INFO=0", text, "≤ 60 ms, 0 calls", more <= 60 and not called)]


def cold(ground: Ground, rounds: int) -> List[Row]:
    """The first build, with the helper that takes units."""
    site = Site(ground, "warm-cold", ground.project)

    def kache() -> float:
        time.sleep(3)  # the helper of the round before has gone by then
        put_aside(ground.cache_dir(site.name))
        return site.new("build", env={"KACHE_TAKE_UNITS": "1"})

    variants: Dict[str, Callable[[], float]] = {
        "uncached": lambda: ground.build({}, ground.project, "uncached"),
        "kache": kache,
    }
    samples = interleave(rounds, variants)
    return [ratio_row("cold build with taking", samples, "s", {("kache", "uncached"): 1.06})]


def defaults(ground: Ground, rounds: int) -> List[Row]:
    """Without cached executables: what hangs on none is Fresh, all else is as without warming."""
    site = Site(ground, "warm-defaults", ground.project, executables=False)
    site.fill("build")
    variants: Dict[str, Callable[[], float]] = {
        "warming": lambda: site.new("build"),
        "not warming": lambda: site.new("build", env={"KACHE_WARM_TARGETS": "0"}),
    }
    samples = interleave(rounds, variants)
    row = ratio_row("cache_executables off", samples, "s", {("warming", "not warming"): 1.03})
    row.measured += f" · {len(site.not_fresh('build'))} packages not Fresh"
    return [row]

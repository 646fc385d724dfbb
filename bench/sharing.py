"""The rows about the remote: what machines that share one move, and what it costs when it has nothing or is dead.

The remote is SeaweedFS from .venv, started for each row on this machine and stopped after it, so there is no network in
these numbers. Where traffic is counted or spoilt, the proxy of the tests stands before it.
"""

import contextlib
import hashlib
import json
import random
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping

from bench.builds import HITS, compiled, results
from bench.ground import KACHE, SCRATCH, BenchError, Ground, fresh_copy, put_aside, remove, say, settle
from bench.starts import Compile, timed
from bench.table import Row, Samples, interleave, spread, spreads
from bench.warming import not_fresh, planted, wrapper_calls
from tests.world import link_or_copy

if TYPE_CHECKING:
    from tests.servers.seaweed import SeaweedFS

Event = Dict[str, Any]

MACHINES = SCRATCH / "machines"

ENTRIES = 1000
ENTRY_BYTES = 20_000
THREADS = 16
STRANGERS = 200
CALLS_A_ROUND = 20
PACKAGES = 100

# What pull-rate is compared with: the same objects by nothing but boto3.
PLAIN = """
import concurrent.futures, json, sys, boto3
from botocore.config import Config
given = json.load(open(sys.argv[1]))
client = boto3.client("s3", **given["client"], config=Config(**given["config"]))
def get(key):
    return len(client.get_object(Bucket=given["bucket"], Key=key)["Body"].read())
with concurrent.futures.ThreadPoolExecutor(given["threads"]) as pool:
    print(sum(pool.map(get, given["keys"])))
"""


@contextlib.contextmanager
def storage() -> "Iterator[SeaweedFS]":
    """An S3 server of this row's own, its bucket empty. Raises BenchError where it is not installed."""
    try:
        from tests.servers.seaweed import SeaweedFS
    except ImportError as error:
        raise BenchError(f"{error.name} is missing: run it by `make bench`, which has .venv") from None
    place = SCRATCH / "storage"
    remove(place)
    try:
        server = SeaweedFS(place)
    except (OSError, RuntimeError) as error:
        raise BenchError(f"no S3 server: {str(error).splitlines()[0]}") from None
    try:
        yield server
    finally:
        server.stop()
        remove(place)


def remote(server: "SeaweedFS", prefix: str, endpoint: str = "", uploader: str = "off") -> Dict[str, str]:
    """The variables that name the server, or what stands before it."""
    return {
        "KACHE_S3_BUCKET": server.bucket,
        "KACHE_S3_ENDPOINT": endpoint or server.endpoint,
        "KACHE_S3_PREFIX": prefix,
        "KACHE_S3_ACCESS_KEY": server.access_key,
        "KACHE_S3_SECRET_KEY": server.secret_key,
        "KACHE_S3_CONCURRENCY": str(THREADS),
        "KACHE_UPLOADER": uploader,
        "NO_PROXY": "127.0.0.1",
    }


def objects(server: "SeaweedFS", prefix: str) -> Dict[str, int]:
    """Key -> bytes of all that lies below a prefix."""
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=server.bucket, Prefix=prefix + "/")
    return {each["Key"]: int(each["Size"]) for page in pages for each in page.get("Contents", ())}


def pushed(ground: Ground, server: "SeaweedFS", prefix: str, names: List[str]) -> None:
    """Push one entry for each crate name, of ENTRY_BYTES that no compression makes smaller."""
    from kachelib.store import Store
    from tests.stock import put

    remove(ground.cache_dir("synthetic"))
    store = Store(str(ground.cache_dir("synthetic")))
    chance = random.Random(5)
    # as many fields and inputs as a small crate of the registry has
    fields = [(f"--field-{number}", f"value-{number}") for number in range(20)]
    inputs = [(f"<cargo>/registry/src/index/crate-1.0.0/src/{number}.rs", str(number)) for number in range(8)]
    for number, name in enumerate(names):
        content = chance.getrandbits(8 * ENTRY_BYTES).to_bytes(ENTRY_BYTES, "little")
        put(store, name, content=content, fields=fields, inputs=inputs, change=str(number))
    ground.run([str(KACHE), "sync", "--push"], SCRATCH, {**ground.kache_env("synthetic"), **remote(server, prefix)})


def pull_rate(ground: Ground, rounds: int) -> List[Row]:
    """Many small objects into an empty store, against plain GETs of the same objects. Both are whole processes, start
    and end included; kache's lists the bucket besides, proves what comes and publishes it."""
    with storage() as server:
        say(f"bench: making {ENTRIES} entries")
        pushed(ground, server, "rate", [f"crate_{number:04d}" for number in range(ENTRIES)])
        sizes = objects(server, "rate")
        if len(sizes) != ENTRIES:
            raise BenchError(f"{len(sizes)} of {ENTRIES} entries were pushed")
        plain, tuned = plain_gets(ground, server, list(sizes), False), plain_gets(ground, server, list(sizes), True)
        variants = {"kache": lambda: pull_all(ground, server), "boto3": plain, "boto3, kache's settings": tuned}
        for warm_up in variants.values():
            warm_up()
        samples = interleave(rounds, variants)
    rates = {name: [ENTRIES / seconds for seconds in values] for name, values in samples.items()}
    ratios = {name: rate_ratio(samples, name) for name in variants if name != "kache"}
    text = ", ".join(f"{value:.2f}x {name}" for name, value in ratios.items()) + " · "
    text += "; ".join(f"{name} {spread(values, 'a second')}" for name, values in rates.items())
    what = f"pull of {ENTRIES} entries of {ENTRY_BYTES // 1000} KB into an empty store"
    numbers = {"samples": samples, "bytes": sum(sizes.values())}
    return [Row(what, text, "≥ 0.65x the rate of boto3", ratios["boto3"] >= 0.65, numbers)]


def rate_ratio(samples: Samples, base: str) -> float:
    return statistics.median(samples[base]) / statistics.median(samples["kache"])


def pull_all(ground: Ground, server: "SeaweedFS") -> float:
    put_aside(ground.cache_dir("rate"))
    own = {**ground.kache_env("rate"), **remote(server, "rate")}
    settle()
    start = time.monotonic()
    told = ground.run([str(KACHE), "sync", "--pull", "--all", "--json"], SCRATCH, own).stdout
    seconds = time.monotonic() - start
    there = sum(1 for _ in ground.cache_dir("rate").glob("entries/??/*"))
    if json.loads(told)["pulled"] != ENTRIES or there != ENTRIES:
        raise BenchError(f"{there} of {ENTRIES} entries came")
    return seconds


def plain_gets(ground: Ground, server: "SeaweedFS", keys: List[str], tuned: bool) -> Callable[[], float]:
    """Seconds that boto3 takes for the objects. tuned: with the settings that kache gives it, else with its own."""
    config: Dict[str, Any] = {"max_pool_connections": THREADS}
    if tuned:
        config.update(parameter_validation=False, s3={"payload_signing_enabled": False, "addressing_style": "path"})
        config.update(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    client = {"endpoint_url": server.endpoint, "region_name": "us-east-1"}
    client.update(aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key)
    given = SCRATCH / f"plain-{'tuned' if tuned else 'default'}.json"
    given.write_text(
        json.dumps({"client": client, "config": config, "bucket": server.bucket, "keys": keys, "threads": THREADS})
    )

    def run() -> float:
        settle()
        start = time.monotonic()
        ground.run([sys.executable, "-I", "-c", PLAIN, str(given)], SCRATCH, {"NO_PROXY": "127.0.0.1"})
        return time.monotonic() - start

    return run


class Machine:
    """A HOME, a user, a checkout and a store of its own. more: what its kache is told besides."""

    def __init__(self, ground: Ground, name: str, source: Path, place: str, more: Mapping[str, str]) -> None:
        self.ground = ground
        self.name = f"machine-{name}"
        self.root = MACHINES / name
        remove(self.root)
        self.project = fresh_copy(source, self.root / place / source.name)
        (self.root / "home").mkdir()
        self.env = {**ground.kache_env(self.name), "KACHE_WARM_TARGETS": "1"}
        self.env.update(HOME=str(self.root / "home"), USER=name, LOGNAME=name)
        self.env.update(more)
        remove(ground.cache_dir(self.name))

    @property
    def target(self) -> Path:
        return self.project / "target"

    def kache(self, *words: str) -> str:
        return self.ground.run([str(KACHE), *words], self.project, self.env).stdout

    def cargo(self, *words: str) -> str:
        """What Cargo says on standard error."""
        return self.ground.run(["cargo", *words, "--offline"], self.project, self.env).stderr

    def events(self) -> List[Event]:
        return self.ground.events(self.name)

    def artifacts(self) -> Dict[str, str]:
        """Name -> SHA-256 of all that compilers and linkers wrote."""
        found = {}
        for path in sorted((self.target / "debug").rglob("*")):
            made = path.suffix in (".rlib", ".rmeta", ".so") or path.stat().st_mode & 0o100
            if made and path.is_file():
                found[str(path.relative_to(self.target))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def machines(ground: Ground, rounds: int) -> List[Row]:
    """What one machine built and pushed, two others have: one with the same path of CARGO_HOME, one with another."""
    del rounds
    with storage() as server:
        a = Machine(ground, "a", ground.project, "src", remote(server, "shared"))
        say("bench: the first machine builds")
        a.cargo("build", "--quiet")
        a.kache("save", "--push")
        needed = objects(server, "shared")
        # what nobody needs lies beside it, under the same crates' names
        crates = sorted({key.split("/")[1] for key in needed if not key.startswith("shared/.")})
        pushed(ground, server, "shared", [crates[number % len(crates)] for number in range(STRANGERS)])
        say("bench: the others pull")
        return [same_cargo_home(ground, server, a, needed), other_cargo_home(ground, server, needed)]


def same_cargo_home(ground: Ground, server: "SeaweedFS", a: Machine, needed: Dict[str, int]) -> Row:
    from tests.servers.proxy import Proxy

    proxy = Proxy(server.endpoint)
    try:
        b = Machine(ground, "b", ground.project, "work/another checkout", remote(server, "shared", proxy.endpoint))
        b.kache("warm")
        moved, requests = proxy.bytes_up + proxy.bytes_down, len(proxy.requests)
        told = b.cargo("build", "-v")
    finally:
        proxy.stop()
    run, calls = not_fresh(told), wrapper_calls(b.events())
    ours, theirs = a.artifacts(), b.artifacts()
    other = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    size = sum(needed.values())
    text = f"not Fresh: {', '.join(sorted(run)) or 'none'}; {len(calls)} wrapper calls; "
    text += f"{len(ours) - len(other)} of {len(ours)} artifacts the same; {moved / 1e6:.2f} MB in {requests} requests, "
    text += f"{moved / size:.3f}x the {size / 1e6:.2f} MB of the {len(needed)} objects needed"
    fits = moved <= 1.05 * size and requests <= len(needed) + 5
    must = "all Fresh, 0 wrapper calls, all artifacts the same, ≤ 1.05x the bytes, ≤ 5 requests more than objects"
    numbers = {"moved": moved, "requests": requests, "needed": size, "objects": len(needed), "differ": other}
    holds = not run and not calls and bool(ours) and not other and fits
    return Row("a second machine, same CARGO_HOME path", text, must, holds, numbers)


def other_cargo_home(ground: Ground, server: "SeaweedFS", needed: Dict[str, int]) -> Row:
    place = MACHINES / "other cargo home"
    remove(place)
    shutil.copytree(ground.env["CARGO_HOME"], place, symlinks=True, copy_function=link_or_copy)
    more = {**remote(server, "shared"), "CARGO_HOME": str(place)}
    c = Machine(ground, "c", ground.project, "elsewhere", more)
    c.kache("warm")
    started = compiled(ground, c.project, c.env, c.target)
    stored = {key.rpartition("/")[2].partition(".")[0]: key.split("/")[1] for key in needed if "/.units/" not in key}
    hits = {str(event.get("cache_key")) for event in c.events() if event.get("result") in HITS}
    lost = sorted(name for cache_key, name in stored.items() if cache_key not in hits)
    text = f"{len(stored) - len(lost)} of {len(stored)} pushed entries hit"
    text += f" (not: {', '.join(lost)})" if lost else ""
    text += f"; {results(c.events())}; compilers started: {len(started.units)}, probes apart {started.probes}"
    holds = bool(stored) and not lost and not started.units
    return Row("a second machine, another CARGO_HOME path", text, "100 % hits, 0 compilers", holds, {"lost": lost})


def stop_uploader(ground: Ground, cache: str, env: Mapping[str, str]) -> None:
    """End the uploader of a cache, where one runs, and wait until it has gone."""
    directory = ground.cache_dir(cache)
    if not (directory / "daemon.sock").exists():
        return
    ground.run([str(KACHE), "daemon", "stop"], SCRATCH, env)
    until = time.monotonic() + 60
    while (directory / "daemon.sock").exists():
        if time.monotonic() > until:
            raise BenchError("the uploader does not end")
        time.sleep(0.02)


def demand(ground: Ground, rounds: int) -> List[Row]:
    """Units one by one, by the uploader when the wrapper asks for them, against the same out of a filled store."""
    with storage() as server:
        say("bench: filling the store and the remote")
        local = ground.kache_env("demand-local")
        remove(ground.cache_dir("demand-local"))
        ground.build(local, ground.project, "demand-local")
        pushing = {"CARGO_TARGET_DIR": str(SCRATCH / "targets" / "demand-local"), "KACHE_WARM_TARGETS": "1"}
        # as its uploader would have done: the plan, and what it does not name
        for words in (["save", "--push"], ["sync", "--push"]):
            ground.run([str(KACHE), *words], ground.project, {**local, **remote(server, "demand"), **pushing})
        env = {**ground.kache_env("demand"), **remote(server, "demand", uploader="auto")}

        def emptied() -> None:
            stop_uploader(ground, "demand", env)
            put_aside(ground.cache_dir("demand"))

        def from_remote() -> float:
            emptied()
            seconds = ground.build(env, ground.project, "demand")
            seen.extend(ground.events("demand"))
            return seconds

        seen: List[Event] = []
        variants = {"local": lambda: ground.build(local, ground.project, "demand-local"), "remote": from_remote}
        try:
            samples = interleave(rounds, variants)
            emptied()
            put_aside(SCRATCH / "targets" / "demand")
            # apart from what is traced, which has to end
            ground.run([str(KACHE), "daemon", "start"], SCRATCH, env)
            started = compiled(ground, ground.project, env, SCRATCH / "targets" / "demand")
        finally:
            stop_uploader(ground, "demand", env)
    value = statistics.median(samples["remote"]) / statistics.median(samples["local"])
    others = sorted(
        {str(e["crate_name"]) for e in seen if e.get("crate_name") and e["result"] in ("local_hit", "miss")}
    )
    text = f"{value:.2f}x local · {spreads(samples, 's')} · in {rounds} builds {results(seen)}"
    text += f"; compilers started: {len(started.units)}, probes apart {started.probes}"
    text += f"; neither fetched nor passed through: {', '.join(others)}" if others else ""
    must = "every hit remote_hit or prefetch_hit, 0 compilers, ≤ 1.5x local"
    holds = value <= 1.5 and bool(seen) and not others and not started.units
    return [Row("warm build on demand, store empty, no sync", text, must, holds, {"samples": samples})]


class Tiny:
    """Compiles of a crate that nobody has seen: each time another name and another source."""

    def __init__(self, ground: Ground) -> None:
        project = MACHINES / "tiny"
        remove(project)
        (project / "src").mkdir(parents=True)
        (project / "Cargo.toml").write_text('[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\n')
        self.source = project / "src" / "lib.rs"
        self.source.write_text("")
        ground.run(["cargo", "generate-lockfile", "--offline"], project)
        self.compile = Compile(ground, project, "tiny")
        self.number = 0

    def call(self, env: Mapping[str, str]) -> float:
        """Seconds that a compile by kache takes."""
        self.number += 1
        self.source.write_text(f"pub fn number() -> usize {{ {self.number} }}\n")
        argv = list(self.compile.argv)
        argv[argv.index("--crate-name") + 1] = f"tiny{self.number}"
        return timed([str(KACHE), *argv], self.compile.cwd, {**self.compile.env, **env})


def misses(ground: Ground, rounds: int) -> List[Row]:
    """One wrapper call that finds nothing, with a remote that has never heard of the crate, and with none. What is
    stored is pushed, as always; the next call waits for that, so that none pays for another."""
    with storage() as server:
        pushed(ground, server, "misses", [f"stranger_{number}" for number in range(STRANGERS)])
        tiny = Tiny(ground)
        alone = ground.kache_env("misses-alone")
        env = {**ground.kache_env("misses"), **remote(server, "misses", uploader="auto")}
        for cache in ("misses", "misses-alone"):
            remove(ground.cache_dir(cache))

        def with_remote() -> float:
            seconds = tiny.call(env)
            ground.run([str(KACHE), "daemon", "drain"], SCRATCH, env)
            return seconds

        variants = {"no remote": lambda: tiny.call(alone), "remote": with_remote}
        try:
            for warm_up in variants.values():
                warm_up()
            samples = interleave(rounds * CALLS_A_ROUND, variants)
        finally:
            stop_uploader(ground, "misses", env)
        came = len(objects(server, "misses")) - STRANGERS
    events = [event for cache in ("misses", "misses-alone") for event in ground.events(cache)]
    more = 1000 * (statistics.median(samples["remote"]) - statistics.median(samples["no remote"]))
    text = f"{more:.1f} ms more · {spreads(samples, 'ms')} · {results(events)}; {came} pushed meanwhile"
    sound = results(events) == f"{len(events)} miss" and came == rounds * CALLS_A_ROUND + 1
    return [
        Row("a miss that the remote has not either", text, "≤ 5 ms more", more <= 5 and sound, {"samples": samples})
    ]


def dead(ground: Ground, rounds: int) -> List[Row]:
    """A cold build of many small units with a remote that is of no use, in each way that it can be."""
    from tests.servers import proxy as faults

    project = planted(ground, PACKAGES, odd=False)
    with storage() as server, contextlib.ExitStack() as held:
        endpoints = {
            "refused": held.enter_context(faults.refused()),
            "black hole": held.enter_context(faults.black_hole()),
        }
        actions = {
            "silent": faults.hang(),
            "hangs after headers": faults.hang_after_headers(),
            "503": faults.status(503),
        }
        for name, action in actions.items():
            proxy = faults.Proxy(server.endpoint)
            held.callback(proxy.stop)
            proxy.rule(action=action)
            endpoints[name] = proxy.endpoint
        variants: Dict[str, Callable[[], float]] = {"no remote": lambda: cold(ground, project, {})}
        for name, endpoint in endpoints.items():
            more = remote(server, "dead", endpoint, uploader="auto")
            variants[name] = lambda more=more: cold(ground, project, more)  # type: ignore[misc]
        samples = interleave(rounds, variants)
    base = statistics.median(samples["no remote"])
    extra = {name: statistics.median(samples[name]) - base for name in endpoints}
    text = ", ".join(f"{name} {seconds:+.2f} s" for name, seconds in extra.items()) + " · " + spreads(samples, "s")
    must = "≤ 1.05x + 5 s"
    holds = all(base + seconds <= 1.05 * base + 5 for seconds in extra.values())
    return [Row(f"cold build of {PACKAGES} packages, remote dead", text, must, holds, {"samples": samples})]


def cold(ground: Ground, project: Path, more: Mapping[str, str]) -> float:
    """Seconds of a build with an empty store and no uploader yet."""
    put_aside(ground.cache_dir("dead"))
    env = {**ground.kache_env("dead"), **more}
    try:
        return ground.build(env, project, "dead")
    finally:
        stop_uploader(ground, "dead", env)

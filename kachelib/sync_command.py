"""``kache sync``, and what ``warm``, ``save`` and ``save-manifest`` do with the remote.

Owns the command line, the order of steps and what is told of them. Which objects and how, sync.py and transfer.py.
"""

import argparse
import os
import time
from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Set, Tuple

from kachelib import cargo_call, catalogue, console, crates, evict, history, remote, selection, sync
from kachelib.catalogue import Catalogue
from kachelib.conditions import Here
from kachelib.config import Settings
from kachelib.meter import Meter
from kachelib.outcome import KacheError, UsageError
from kachelib.remote import RemoteError
from kachelib.signing import Keyring
from kachelib.store import Store, read_file
from kachelib.sync import Job, Tally
from kachelib.transfer import Transfer

READ_ONLY = "pushed nothing: the remote is only read here (cache.remote.readonly)"

SCRIPT_CRATES = ("build_script_build", "build_script_main")


class Incomplete(KacheError):
    """Something was not moved; what could be, was."""


class Exchange:
    """One store and one remote, for the length of a command."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(console.store_directory(settings))
        self.mover = Transfer(self.store, remote.open_remote(settings), settings, Keyring(settings))
        self.tally = Tally()
        self._began = time.monotonic()

    def where(self) -> str:
        """The remote, for people."""
        return self.mover.remote.describe()

    def pull(self, jobs: Sequence[Job]) -> None:
        """Fetch what is listed there. Raises RemoteError where going on makes no sense."""
        meter = Meter("pulled", len(jobs))
        try:
            sync.pulls(jobs, self.mover, self.tally, self.settings.s3_concurrency, meter.step)
        finally:
            meter.end()
            self._count()

    def push(self, jobs: Sequence[Job]) -> None:
        """Put what is not there. Raises RemoteError where going on makes no sense."""
        meter = Meter("pushed", len(jobs))
        try:
            sync.pushes(jobs, self.mover, self.tally, self.settings.s3_concurrency, meter.step)
        finally:
            meter.end()
            self._count()

    def _count(self) -> None:
        self.tally.seconds = time.monotonic() - self._began
        if self.tally.stored_bytes:
            evict.maybe_start(self.settings, self.tally.stored_bytes)
            self.tally.stored_bytes = 0

    def close(self) -> None:
        """Give connections back, and note what was moved."""
        tally = self.tally
        if tally.pulled or tally.pushed or tally.failed:
            fields = {name: getattr(tally, name) for name in ("pulled", "pulled_bytes", "pushed", "pushed_bytes")}
            fields.update(by="sync", failed=len(tally.failed), elapsed_ms=round(tally.seconds * 1000, 3))
            history.record_transfer(self.store.root, fields)
        self.mover.remote.close()


def pull_for(exchange: Exchange, here: Here, manifest: str = "") -> None:
    """Fetch what the remote's catalogue names for this place: entries, and units with their plan. Where it has
    none for this Cargo.lock, what the manifest says; else of other places' catalogues for the same Cargo.lock, the
    entries. Raises RemoteError."""
    lock = sync.lock_digest(here.call.lock_file())
    if not lock:
        return
    chosen = here.selection()
    found, _ = catalogue.fetch(exchange.mover, lock, chosen)
    if found is None and manifest:
        found, _ = catalogue.fetch(exchange.mover, manifest, chosen)
    if found is not None:
        try:
            exchange.pull(sync.of_catalogue(exchange.store, found))
        finally:
            sync.keep_plan(exchange.store, found, lock, chosen)
        return
    other = catalogue.fetch_all(exchange.mover, lock)
    exchange.pull(sync.of_catalogue(exchange.store, other, with_units=False))


def push_plans(exchange: Exchange, lock: str, selections: Sequence[str], manifest: str = "") -> int:
    """Publish local plans of a Cargo.lock with their snapshots and entries; returns how many changed."""

    def push(jobs: List[Job]) -> Set[str]:
        exchange.push(jobs)
        return set(exchange.tally.failed)

    threads = exchange.settings.s3_concurrency
    return sum(
        sync.push_plan(exchange.mover, lock, each, push, threads=threads, manifest=manifest) for each in selections
    )


def run(argv: List[str]) -> int:
    """``kache sync``; returns the exit code."""
    parser = console.Parser(
        "sync",
        "Pull what this workspace's Cargo.lock needs from the remote, and push what is not there.",
        "Exit codes: 0 done; 1 something failed; 2 wrong use; 130 stopped with Ctrl-C: what came is kept.",
    )
    parser.add_argument("--pull", action="store_true", help="only pull")
    parser.add_argument("--push", action="store_true", help="only push")
    parser.add_argument("--all", action="store_true", help="pull everything, not only what Cargo.lock names")
    parser.add_argument("--workspace", action="store_true", help="pull only the workspace's own crates")
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would be moved, and move nothing")
    parser.add_argument("--allow-partial", action="store_true", help="exit with 0 although something was not moved")
    parser.add_argument("--manifest-path", metavar="P", default="", help="the Cargo.toml, as for Cargo")
    add_manifest(parser)
    parser.add_json()
    options = parser.parse_args(argv)
    if options.all and options.workspace:
        raise UsageError("sync: --all and --workspace exclude each other")
    exchange = Exchange(console.load_settings())
    both = options.pull == options.push
    try:
        plan = _Plan(exchange, options, both or options.pull, both or options.push)
        plan.work()
    except RemoteError:
        if exchange.tally.pulled or exchange.tally.pushed:
            _tell(exchange, plan, options)
        raise
    finally:
        exchange.close()
    _tell(exchange, plan, options)
    if exchange.tally.failed and not options.allow_partial:
        raise Incomplete(
            f"{console.plural(len(exchange.tally.failed), 'object')} could not be moved; "
            "run it again, or accept that with --allow-partial"
        )
    return 0


def add_manifest(parser: console.Parser) -> None:
    """The options that name a manifest: by them a machine finds what another one published for another Cargo.lock."""
    text = "a name to publish under and to pull by, where the Cargo.lock's own has nothing (such as main)"
    parser.add_argument("--manifest-key", metavar="K", default="", help=text)
    parser.add_argument("--namespace", metavar="NS", default="", help="keeps equal names of several projects apart")


class _Plan:
    """What one ``kache sync`` is going to move."""

    def __init__(self, exchange: Exchange, options: argparse.Namespace, pull: bool, push: bool) -> None:
        self.exchange = exchange
        self.options = options
        self.wants_pull = pull
        self.wants_push = push
        self.pulls: List[Job] = []
        self.pushes: List[Job] = []
        self.lock_file = _lock_file(options.manifest_path)
        self.lock = sync.lock_digest(self.lock_file)
        self.manifest = sync.manifest_name(options.manifest_key, options.namespace)
        self._found: List[Tuple[str, Catalogue]] = []
        self._listed: Dict[Optional[FrozenSet[str]], List[remote.Listed]] = {}

    def work(self) -> None:
        """Look, and move unless it is only to be said."""
        if self.wants_pull:
            self.pulls = self._choose_pulls()
            if not self.options.dry_run:
                try:
                    self.exchange.pull(self.pulls)
                finally:
                    for chosen, found in self._found:
                        sync.keep_plan(self.exchange.store, found, self.lock, chosen)
        if self.wants_push and not self.exchange.settings.remote_readonly:
            self.pushes = self._choose_pushes()
            if not self.options.dry_run:
                self.exchange.push(self.pushes)
                if self.lock:
                    push_plans(self.exchange, self.lock, selection.of_lock(self.exchange.store, self.lock))

    def _choose_pulls(self) -> List[Job]:
        store = self.exchange.store
        if self.options.all:
            return sync.of_entries(self._list(None), self._known())
        if not self.lock:
            raise UsageError("sync: there is no Cargo.lock here; name --manifest-path, or pull everything with --all")
        text = (read_file(self.lock_file) or b"").decode("utf-8", "surrogateescape")
        packages = cargo_call.locked_packages(text)
        if self.options.workspace:
            members = {name for name, _, source in packages if not source}
            return self._of_crates(crates.named(self.lock_file, members, with_others=False), [])
        for here in _places(self.options, self.exchange):
            chosen = here.selection()
            found, _ = catalogue.fetch(self.exchange.mover, self.lock, chosen)
            if found is None and self.manifest:
                found, _ = catalogue.fetch(self.exchange.mover, self.manifest, chosen)
            if found is not None:
                self._found.append((chosen, found))
        if self._found:
            return [job for _, found in self._found for job in sync.of_catalogue(store, found)]
        other = catalogue.fetch_all(self.exchange.mover, self.lock)
        if other.rows:
            return sync.of_catalogue(store, other, with_units=False)
        names = crates.named(self.lock_file, {name for name, _, _ in packages}, with_others=True)
        return self._of_crates(names, ["/%s-%s/" % (name, version) for name, version, source in packages if source])

    def _of_crates(self, names: Set[str], places: Sequence[str]) -> List[Job]:
        """Pulls of crates by name, and of the build scripts whose sources lie in one of the places or a workspace."""
        jobs = sync.of_entries(self._list(names - set(SCRIPT_CRATES)), self._known())
        scripts = sync.of_entries(self._list(set(SCRIPT_CRATES)), self._known())
        return jobs + sync.of_packages(self.exchange.mover, scripts, places, self._threads())

    def _choose_pushes(self) -> List[Job]:
        jobs = sync.of_store(self.exchange.store)
        ours = {job.key.partition("/")[0] for job in jobs}
        there = {each.key for each in self._list(ours)} & {job.key for job in jobs} if ours else set()
        if self.exchange.mover.keyring.trusted():
            there -= sync.disbelieved(self.exchange.mover, there, self._threads())
        return [job for job in jobs if job.key not in there]

    def _list(self, crates: Optional[Set[str]]) -> List[remote.Listed]:
        key = frozenset(crates) if crates is not None else None
        if None in self._listed:
            return [each for each in self._listed[None] if crates is None or each.key.partition("/")[0] in crates]
        if key not in self._listed:
            self._listed[key] = sync.of_listing(self.exchange.mover, crates, self._threads())
        return self._listed[key]

    def _known(self) -> Set[str]:
        return {candidate.cache_key for _, _, candidate in sync.local_entries(self.exchange.store)}

    def _threads(self) -> int:
        return self.exchange.settings.s3_concurrency


def _lock_file(manifest: str) -> str:
    """The Cargo.lock of a workspace: above the manifest, or above the working directory."""
    directory = os.path.dirname(os.path.abspath(manifest)) if manifest else console.current_directory()
    while True:
        path = os.path.join(directory, "Cargo.lock")
        parent = os.path.dirname(directory)
        if os.path.isfile(path) or parent == directory:
            return path
        directory = parent


def _places(options: argparse.Namespace, exchange: Exchange) -> List[Here]:
    """This place for both usual profiles; none where Cargo or its call is not clear."""
    from kachelib import warm_command

    found = []
    manifest = ["--manifest-path", options.manifest_path] if options.manifest_path else []
    for profile in ("dev", "release"):
        try:
            found.append(warm_command.here_for(["build", "--profile", profile, *manifest], exchange.settings))
        except KacheError:
            continue
    return found


def _tell(exchange: Exchange, plan: _Plan, options: argparse.Namespace) -> None:
    tally = exchange.tally
    if options.json:
        console.print_json(_document(exchange, plan, options))
        return
    for label, why in sorted(tally.failed.items()):
        console.note(f"{label}: {why}")
    if options.dry_run:
        for verb, jobs in (("pull", plan.pulls), ("push", plan.pushes)):
            for job in jobs:
                print(f"would {verb} {job.key}")
        print(f"would pull {console.plural(len(plan.pulls), 'object')}, push {len(plan.pushes)}")
        return
    parts = []
    if plan.wants_pull:
        parts.append(f"pulled {console.plural(tally.pulled, 'object')} ({console.size(tally.pulled_bytes)})")
    if plan.wants_push:
        pushed = f"pushed {console.plural(tally.pushed, 'object')} ({console.size(tally.pushed_bytes)})"
        parts.append(READ_ONLY if exchange.settings.remote_readonly else pushed)
    print(f"{exchange.where()}: {', '.join(parts)} in {console.duration(tally.seconds)}")


def _document(exchange: Exchange, plan: _Plan, options: argparse.Namespace) -> Dict[str, Any]:
    tally = exchange.tally
    return {
        "remote": exchange.where(),
        "dry_run": options.dry_run,
        "to_pull": [job.key for job in plan.pulls],
        "to_push": [job.key for job in plan.pushes],
        "pulled": tally.pulled,
        "pulled_bytes": tally.pulled_bytes,
        "pushed": tally.pushed,
        "pushed_bytes": tally.pushed_bytes,
        "failed": [{"object": label, "reason": why} for label, why in sorted(tally.failed.items())],
        "seconds": round(tally.seconds, 3),
    }


def pull_first(here: Here, manifest: str) -> str:
    """What ``kache warm`` does before it looks: fetch what the remote has for this place, or what a manifest names.
    Returns what to tell; a remote in trouble is no reason to fail."""
    if not remote.is_configured(here.settings):
        return ""
    exchange = Exchange(here.settings)
    try:
        pull_for(exchange, here, manifest)
    except (RemoteError, OSError) as error:
        return f"the remote was of no use: {error}"
    finally:
        exchange.close()
    for key, why in exchange.tally.failed.items():
        console.note(f"not pulled: {key}: {why}")
    tally = exchange.tally
    pulled = f"{console.plural(tally.pulled, 'object')} ({console.size(tally.pulled_bytes)})"
    return f"pulled {pulled} from {exchange.where()}"


def push_plan_of(here: Here) -> str:
    """What ``kache save --push`` does at the end: publish this place's plan. Returns what to tell; where the remote is
    only read, that, so that one script serves the jobs that may write and those that may not. Raises KacheError."""
    if here.settings.remote_readonly:
        return READ_ONLY
    exchange = Exchange(here.settings)
    try:
        push_plans(exchange, sync.lock_digest(here.call.lock_file()), [here.selection()])
    finally:
        exchange.close()
    tally = exchange.tally
    if tally.failed:
        key, why = next(iter(tally.failed.items()))
        raise Incomplete(f"{console.plural(len(tally.failed), 'object')} could not be pushed; {key}: {why}")
    return f"pushed {console.plural(tally.pushed, 'object')} ({console.size(tally.pushed_bytes)}) to {exchange.where()}"


def run_save_manifest(argv: List[str]) -> int:
    """``kache save-manifest``; returns the exit code."""
    parser = console.Parser(
        "save-manifest",
        "Publish the plan of this workspace's Cargo.lock with all it names, so that other machines pull it in one go.\n"
        "'kache save --push' takes units first and then does the same.",
        "Exit codes: 0 done; 1 failed; 2 wrong use.",
    )
    parser.add_argument("--manifest-path", metavar="P", default="", help="the Cargo.toml, as for Cargo")
    add_manifest(parser)
    options = parser.parse_args(argv)
    settings = console.load_settings()
    if settings.remote_readonly:
        print(READ_ONLY)
        return 0
    exchange = Exchange(settings)
    lock = sync.lock_digest(_lock_file(options.manifest_path))
    if not lock:
        raise UsageError("save-manifest: there is no Cargo.lock here; build first, or name --manifest-path")
    selections = selection.of_lock(exchange.store, lock)
    if not selections:
        raise KacheError("no units were taken for this Cargo.lock; 'kache save' takes them after a build")
    try:
        manifest = sync.manifest_name(options.manifest_key, options.namespace)
        changed = push_plans(exchange, lock, selections, manifest)
    finally:
        exchange.close()
    tally = exchange.tally
    print(
        f"{exchange.where()}: {console.plural(changed, 'plan')} published, "
        f"{console.plural(tally.pushed, 'object')} pushed ({console.size(tally.pushed_bytes)})"
    )
    return 0

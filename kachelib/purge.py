"""Purging: the whole store, or all there is of one crate.

Owns which files go at once, whatever their age. Keeps the cache directory, the
event log and the log of gc runs; follows no symbolic link below the cache
directory; removes nothing that kache did not name.
"""

import os
from typing import Dict, Iterable, List

from kachelib import console, evict, index, inventory, reclaim, sweep, unit_gc
from kachelib.inventory import File
from kachelib.outcome import StoreError
from kachelib.store import Store

PATIENCE = 30.0


class Outcome:
    """What went. Bytes are on disk."""

    def __init__(self) -> None:
        self.entries_removed = 0
        self.blobs_removed = 0
        self.bytes_freed = 0
        self.disk_bytes_reclaimed = 0
        self.shared_bytes_retained = 0
        self.failed = 0

    def remove(self, file: File) -> bool:
        """Unlink ``file`` and count its bytes; False where that failed."""
        try:
            os.unlink(file.path)
        except FileNotFoundError:
            return False
        except OSError:
            self.failed += 1
            return False
        self.bytes_freed += file.disk
        if file.links == 1:
            self.disk_bytes_reclaimed += file.disk
        else:
            self.shared_bytes_retained += file.disk
        return True


def run(argv: List[str]) -> int:
    """``kache purge``; returns the exit code."""
    parser = console.Parser(
        "purge",
        "Remove all entries and blobs, or those of one crate. The event log stays, and so does the directory.\n"
        "Builds that run meanwhile see misses.",
        "Exit codes: 0 done; 1 something could not be removed, or there is no such crate; 2 wrong use.",
    )
    parser.add_argument("--crate-name", metavar="NAME", help="only this crate's entries, and the blobs no other needs")
    parser.add_json()
    options = parser.parse_args(argv)
    cache_dir = console.store_directory(console.load_settings())
    outcome = purge(cache_dir, options.crate_name or "")
    if options.json:
        console.print_json(dict(vars(outcome)))
    else:
        _print(outcome)
    if outcome.failed:
        raise StoreError(f"{cache_dir}: {console.plural(outcome.failed, 'file')} could not be removed; who owns them?")
    if options.crate_name and not outcome.entries_removed:
        raise StoreError(f"there is no entry of a crate named '{options.crate_name}'; 'kache list' shows all")
    return 0


def purge(cache_dir: str, crate: str = "") -> Outcome:
    """Remove everything, or one crate. Raises StoreError where a gc is at work."""
    outcome = Outcome()
    if not os.path.isdir(cache_dir):
        return outcome
    lock = Store(cache_dir).claim(reclaim.LOCK_NAME, PATIENCE)
    if lock is None:
        raise StoreError(f"{cache_dir}: a gc is at work, or the store cannot be written; try again later")
    try:
        if crate:
            _purge_crate(cache_dir, crate, outcome)
        else:
            _purge_all(cache_dir, outcome)
    finally:
        os.close(lock)
    return outcome


def _purge_all(cache_dir: str, outcome: Outcome) -> None:
    entries = inventory.entries(cache_dir)
    blobs = inventory.blobs(cache_dir)
    # Entries first: without them nobody looks for the blobs.
    outcome.entries_removed = _remove_all(entries.files.values(), outcome)
    outcome.blobs_removed = _remove_all(blobs.files.values(), outcome)
    records = inventory.units(cache_dir)
    _remove_all([*records.files.values(), *unit_gc.plan_files(cache_dir)], outcome)
    _remove_all([*entries.temporaries, *blobs.temporaries, *records.temporaries], outcome)
    for shelf in ("/entries", "/store", "/units", "/plans"):
        _remove_empty_shards(cache_dir + shelf)
    sweep.memos(cache_dir, age=-1.0)
    sweep.claims(cache_dir)
    index.remove(cache_dir)
    evict.reset_growth(cache_dir, 0)


def _purge_crate(cache_dir: str, crate: str, outcome: Outcome) -> None:
    with index.opened(cache_dir) as view:
        doomed = {item.action_key for item in view.items(crate)}
        keys = {item.cache_key for item in view.items(crate)}
        mine = {reference.digest for reference in view.references() if reference.cache_key in keys}
        entries = inventory.entries(cache_dir).files
        outcome.entries_removed = _remove_all(_known(entries, doomed), outcome)
        view.refresh()
        needed = {reference.digest for reference in view.references()}
    blobs = inventory.blobs(cache_dir).files
    outcome.blobs_removed = _remove_all(_known(blobs, mine - needed), outcome)


def _known(files: Dict[str, File], names: Iterable[str]) -> List[File]:
    return [files[name] for name in names if name in files]


def _remove_all(files: Iterable[File], outcome: Outcome) -> int:
    return sum(outcome.remove(file) for file in files)


def _remove_empty_shards(directory: str) -> None:
    if os.path.islink(directory):
        return
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        try:
            # Fails, as it should, for whatever is not an empty directory.
            os.rmdir(directory + "/" + name)
        except OSError:
            continue


def _print(outcome: Outcome) -> None:
    if not outcome.entries_removed and not outcome.blobs_removed:
        print("there was nothing to remove")
        return
    went = f"{console.plural(outcome.entries_removed, 'entry')} and {console.plural(outcome.blobs_removed, 'blob')}"
    print(f"removed {went}: {console.size(outcome.bytes_freed)}")
    if outcome.shared_bytes_retained:
        print(f"  {console.size(outcome.shared_bytes_retained)} of it stay on disk while target directories share them")

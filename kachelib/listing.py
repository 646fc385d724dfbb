"""``kache list``: what is cached.

Owns the look of the list and of one crate's details. Asks the index and, for
details, the entries.
"""

import time
from typing import Any, Dict, List, Optional

from kachelib import console, index, pager, redact
from kachelib.entry import Candidate
from kachelib.index import Item
from kachelib.outcome import StoreError
from kachelib.store import Store

# How much of a key tells two apart.
SHORT_KEY = 16

SORTS = ("name", "size", "hits", "age")


def run(argv: List[str]) -> int:
    """``kache list``; returns the exit code."""
    parser = console.Parser(
        "list",
        "List what is cached, or show the entries of one crate in detail.",
        "Exit codes: 0 done; 1 there is no such crate; 2 wrong use.",
    )
    parser.add_argument("crate", nargs="?", default="", metavar="CRATE", help="show this crate in detail")
    parser.add_argument(
        "--sort", choices=SORTS, default="name", help="biggest, most used, latest used first (default: name)"
    )
    parser.add_json()
    pager.add_option(parser)
    options = parser.parse_args(argv)
    settings = console.load_settings()
    cache_dir = console.store_directory(settings)
    with index.opened(cache_dir) as view:
        items = ordered(view.items(options.crate), options.sort)
    if options.json:
        details = _details(cache_dir, items) if options.crate else {}
        console.print_json({"entries": [_fields(item, details.get(item.cache_key)) for item in items]})
    else:
        lines = _detail_lines(items, _details(cache_dir, items)) if options.crate else _table_lines(items)
        if lines:
            pager.show("\n".join(lines), settings, not options.no_pager)
    if options.crate and not items:
        raise StoreError(f"there is no entry of a crate named '{options.crate}'; 'kache list' shows all")
    return 0


def ordered(items: List[Item], sort: str) -> List[Item]:
    """``items`` by one of SORTS; what is equal stays by name, the newest first."""
    if sort == "size":
        return sorted(items, key=lambda item: -item.size)
    if sort == "hits":
        return sorted(items, key=lambda item: -item.hits)
    if sort == "age":
        return sorted(items, key=lambda item: -item.last_use())
    return items


def _table_lines(items: List[Item]) -> List[str]:
    now = time.time()
    heads = ("~CRATE", "~TYPES", ">SIZE", ">HITS", ">USED", "CACHE KEY")
    rows = [
        (
            item.crate_name,
            item.crate_types,
            console.size(item.size),
            str(item.hits),
            console.age(now - item.last_use()),
            item.cache_key[:SHORT_KEY],
        )
        for item in items
    ]
    total = f"{console.plural(len(items), 'entry')}, {console.size(sum(item.size for item in items))}"
    return [*(console.table(heads, rows) if rows else []), total]


def _detail_lines(items: List[Item], details: Dict[str, Candidate]) -> List[str]:
    now = time.time()
    lines = []
    for item in items:
        used = f"{console.age(now - item.last_use())} ago"
        hits = f"{console.plural(item.hits, 'hit')}, used {used}, made {console.age(now - item.created)} ago"
        lines.append(console.paint(f"{item.crate_name} ({item.crate_types})", "bold"))
        lines.append(f"  cache key   {item.cache_key}")
        lines.append(f"  action key  {item.action_key}")
        lines.append(f"  {hits}, compiled in {console.duration(item.compile_ms / 1000)}")
        candidate = details.get(item.cache_key)
        if candidate is not None:
            lines += ["  " + line for line in _candidate_lines(candidate)]
        lines.append("")
    return lines


def _candidate_lines(candidate: Candidate) -> List[str]:
    lines = [f"{output.emit:<10}  {console.size(output.size):>10}  {output.name}" for output in candidate.outputs]
    lines.append(f"read {console.plural(len(candidate.inputs), 'file')}")
    lines += [f"  variable {dep.name} {redact.shown_env(dep)}" for dep in candidate.env_deps]
    lines += [f"  only where {name} is {value}" for name, value in candidate.bindings]
    lines += [f"  needs {path}" for path in candidate.needs]
    return lines


def _details(cache_dir: str, items: List[Item]) -> Dict[str, Candidate]:
    """The candidates of ``items`` by cache key; one that went meanwhile is missing."""
    store = Store(cache_dir, writable=False)
    found = {}
    for action_key in {item.action_key for item in items}:
        entry = store.read_entry(action_key)
        for candidate in entry.candidates() if entry else ():
            found[candidate.cache_key] = candidate
    return found


def _fields(item: Item, candidate: Optional[Candidate]) -> Dict[str, Any]:
    fields: Dict[str, Any] = {
        "crate_name": item.crate_name,
        "crate_types": item.crate_types,
        "cache_key": item.cache_key,
        "action_key": item.action_key,
        "size": item.size,
        "hits": item.hits,
        "created": item.created,
        "last_use": item.last_use(),
        "compile_time_ms": item.compile_ms,
    }
    if candidate is not None:
        fields["outputs"] = [
            {"name": output.name, "emit": output.emit, "digest": output.digest, "size": output.size}
            for output in candidate.outputs
        ]
        fields["inputs"] = [{"kind": i.kind, "path": i.path, "digest": i.digest} for i in candidate.inputs]
        fields["env_deps"] = [{"name": dep.name, "value": redact.shown_env(dep)} for dep in candidate.env_deps]
        fields["bindings"] = [{"root": name, "value": value} for name, value in candidate.bindings]
    return fields

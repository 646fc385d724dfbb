"""``kache why-miss``: why a crate was compiled, or all that the last build compiled, and which change was the first.

Owns the command and the look of its answers. What differs, difference.py says;
from what, past.py; what is at the root of it, root_cause.py.
"""

import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from kachelib import builds, console, difference, history, index, pager, root_text
from kachelib.builds import COMPILED, Build, began
from kachelib.difference import Change
from kachelib.entry import Candidate
from kachelib.history import Event
from kachelib.outcome import HITS, PASSTHROUGH, REFUSALS, KacheError
from kachelib.past import Past, Run
from kachelib.root_cause import Graph, Miss
from kachelib.root_text import MOST_NAMED
from kachelib.store import Store

# Of one miss, so many ways to a root are told.
MOST_WAYS = 4

# And of one build, so many roots.
MOST_ROOTS = 20


class Explanation(NamedTuple):
    """Why one compile was no hit.

    compared: "inputs" (another run of the same action), "action" (the nearest
    other action), "" (there is nothing to compare with). age: seconds since
    the other was made.
    """

    event: Event
    compared: str
    age: float
    changes: List[Change]


class Answer(NamedTuple):
    """The same as one JSON document, and as lines for people."""

    document: Dict[str, Any]
    lines: List[str]


def run(argv: List[str]) -> int:
    """``kache why-miss``; returns the exit code."""
    parser = console.Parser(
        "why-miss",
        "Tell which input of a crate changed when it was last compiled, name by name, old and new, and where that\n"
        "began. Without CRATE: where all began that the last build compiled.",
        "Exit codes: 0 told; 1 the event log knows no compile of that crate, or no build; 2 wrong use.",
    )
    parser.add_argument("crate", nargs="?", default="", metavar="CRATE", help="its name; - and _ are the same")
    parser.add_argument("--since", metavar="DUR", type=console.duration_argument, help="all of that time, as one build")
    parser.add_json()
    pager.add_option(parser)
    options = parser.parse_args(argv)
    settings = console.load_settings()
    cache_dir = console.store_directory(settings)
    events = history.read(cache_dir).events
    first = time.time() - options.since if options.since is not None else 0.0
    with index.opened(cache_dir) as view:
        past = Past(view, Store(cache_dir, writable=False))
        recent = [event for event in events if event["end_time"] >= first]
        found = iter([Build(recent)] if first and recent else builds.newest_first(recent, past))
        if options.crate:
            document, lines = _crate(options.crate, events, found, past)
        else:
            document, lines = _build(next(found, None), events, past)
    if options.json:
        console.print_json(document)
    else:
        pager.show("\n".join(lines), settings, not options.no_pager)
    return 0


def explain(past: Past, event: Event, without: Sequence[str] = ()) -> Explanation:
    """Compare the compile of ``event`` with the one before it that is most like it. without: as in ``Past.before``."""
    action_key = str(event.get("action_key", ""))
    entry = past.entry(action_key)
    if entry is None:
        return Explanation(event, "", 0.0, [])
    mine = past.run(action_key, str(event.get("cache_key", "")))
    if mine is None:
        # Not stored, or gone since: only what was known before the sources were read can be compared.
        unknown = Candidate()
        unknown.crate_name = str(event.get("crate_name", ""))
        mine = Run(action_key, entry.transcript(), unknown)
    other = past.before(mine, began(event), without)
    if other is None:
        return Explanation(event, "", 0.0, [])
    age = time.time() - other.candidate.created
    if other.action_key == action_key:
        return Explanation(event, "inputs", age, _shown(difference.of_runs(other.candidate, mine.candidate)))
    return Explanation(event, "action", age, _shown(difference.of_commands(other.command, mine.command)))


def in_short(cache_dir: str, events: Sequence[Event], crate_name: str, crate_types: str) -> str:
    """Why the newest compile of a unit among ``events`` was no hit, in a few words; "" where there is none."""
    unit = (crate_name, crate_types)
    mine = [event for event in events if (event.get("crate_name"), event.get("crate_types")) == unit]
    newest = next((event for event in reversed(mine) if event["result"] in COMPILED), None)
    if newest is None:
        return ""
    with index.opened(cache_dir) as view:
        changes = explain(Past(view, Store(cache_dir, writable=False)), newest).changes
    names = [change.name for change in changes]
    if not names:
        return str(newest.get("reason", ""))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return "changed: " + ", ".join(names[:MOST_NAMED]) + more


def _crate(name: str, events: List[Event], found: Iterator[Build], past: Past) -> Answer:
    """The newest build that compiled a crate. Raises KacheError where none did."""
    crate = _plain(name)
    build = next((each for each in found if any(_is_of(event, crate) for event in each.compiled())), None)
    if build is None:
        raise KacheError(_nothing(name, [event for event in events if _is_of(event, crate)]))
    graph = Graph(past, events, build)
    misses = graph.misses()
    fresh = [str(event.get("cache_key")) for event in build.compiled()]
    told = [(miss, explain(past, miss.event, fresh)) for miss in reversed(misses) if _is_of(miss.event, crate)]
    documents = [{**_fields(explanation), **_way_fields(graph, misses, miss)} for miss, explanation in told]
    lines: List[str] = []
    for miss, explanation in told:
        lines += [*([""] if lines else []), *_lines(explanation), *_way_lines(graph, misses, miss)]
    return Answer({"crate_name": crate, "misses": documents}, lines)


def _build(build: Optional[Build], events: List[Event], past: Past) -> Answer:
    """All that a build compiled. Raises KacheError where there is none."""
    if build is None:
        raise KacheError("the event log knows no build; does Cargo call kache? 'kache doctor' looks")
    graph = Graph(past, events, build)
    misses = graph.misses()
    weights = {root: root_text.weigh(misses, [root]) for miss in misses for root in miss.roots}
    ordered = sorted(weights, key=lambda root: (-weights[root].seconds, -len(root.packages)))
    several = [miss for miss in misses if len(miss.roots) > 1]
    lines = _build_head(build, misses)
    for root in ordered[:MOST_ROOTS]:
        weight = weights[root]
        count = f"{console.plural(len(weight.misses), 'unit')}, {console.duration(weight.seconds)}"
        if not weight.misses:
            count = f"no unit for this alone, {sum(root in miss.roots for miss in several)} for it and others"
        lines += ["", f"{console.paint(count, 'bold')}: {root_text.root_line(graph, root)}"]
        lines += ["  " + root_text.names(weight.crates())] if weight.misses else []
    if len(ordered) > MOST_ROOTS:
        lines += ["", f"and {len(ordered) - MOST_ROOTS} more; 'kache why-miss --json' has all"]
    if several:
        count = f"{console.plural(len(several), 'unit')}, {console.duration(root_text.seconds(several))}"
        lines += ["", f"{console.paint(count, 'bold')}: for more than one of these"]
        lines.append("  " + root_text.names([_name(miss) for miss in several]))
    document = {
        "build": _build_fields(build, misses),
        "roots": [root_text.fields(graph, root, weights[root]) for root in ordered],
        "several_roots": [
            {"crate_name": _name(miss), "roots": [root_text.root_line(graph, root) for root in miss.roots]}
            for miss in several
        ],
    }
    return Answer(document, lines)


def _build_fields(build: Build, misses: List[Miss]) -> Dict[str, Any]:
    return {
        "start_time": build.start(),
        "end_time": build.end(),
        "directories": _directories(build),
        "compiled": len(misses),
        "hits": len(build.hits()),
        "compile_time_ms": int(root_text.seconds(misses) * 1000),
    }


def _build_head(build: Build, misses: List[Miss]) -> List[str]:
    ago = console.age(time.time() - build.end())
    took = console.duration(root_text.seconds(misses))
    hits = console.plural(len(build.hits()), "hit")
    what = f"{console.plural(len(misses), 'unit')} compiled in {took}, {hits}"
    return [f"the last build ended {ago} ago: {what}", *("  in " + place for place in _directories(build))]


def _directories(build: Build) -> List[str]:
    """Where a build was, without what lies inside another of these."""
    found = sorted({str(event["root"]) for event in build.events if event.get("root")})
    return [place for place in found if not any(place.startswith(other + "/") for other in found)]


def _way_lines(graph: Graph, misses: List[Miss], miss: Miss) -> List[str]:
    lines = ["  " + root_text.way(graph, miss, root) for root in miss.roots[:MOST_WAYS]]
    if len(miss.roots) > MOST_WAYS:
        lines.append(f"  and {len(miss.roots) - MOST_WAYS} more; 'kache why-miss' lists all")
    others = root_text.weigh([other for other in misses if other is not miss], miss.roots)
    if others.misses:
        what = f"{console.plural(len(others.misses), 'other unit')} ({console.duration(others.seconds)})"
        lines.append(f"  {what} missed only because of the same: {root_text.names(others.crates())}")
    return lines


def _way_fields(graph: Graph, misses: List[Miss], miss: Miss) -> Dict[str, Any]:
    others = [other for other in misses if other is not miss]
    roots = []
    for root in miss.roots:
        way = [graph.steps[key].crate for key in graph.way(miss.step, root)]
        told = {"way": way, "told": root_text.way(graph, miss, root)}
        roots.append({**root_text.fields(graph, root, root_text.weigh(misses, [root])), **told})
    return {"roots": roots, "also_missed": root_text.weigh(others, miss.roots).crates()}


def _shown(changes: List[Change]) -> List[Change]:
    return [difference.shown(change) for change in changes]


def _name(miss: Miss) -> str:
    return str(miss.event.get("crate_name", ""))


def _is_of(event: Event, crate: str) -> bool:
    return _plain(str(event.get("crate_name", ""))) == crate


def _plain(crate: str) -> str:
    return crate.replace("-", "_")


def _lines(explanation: Explanation) -> List[str]:
    event = explanation.event
    ago = console.age(time.time() - event["end_time"])
    took = console.duration(history.number(event, "compile_time_ms") / 1000)
    kind = f" ({event['crate_types']})" if event.get("crate_types") else ""
    lines = [console.paint(f"{event.get('crate_name', '')}{kind}: compiled {ago} ago in {took}", "bold")]
    if event.get("root"):
        lines.append(f"  in {event['root']}")
    if event.get("reason"):
        lines.append(f"  the wrapper said: {event['reason']}")
    if not explanation.compared:
        lines.append("  the store holds no earlier compile to compare with")
        return lines
    what = "an earlier run of the same command" if explanation.compared == "inputs" else "the most similar command"
    lines.append(f"  compared with {what}, from {console.age(explanation.age)} ago:")
    if not explanation.changes:
        lines.append("  nothing differs: the earlier one came later, or its files were gone")
        return lines
    rows = [(change.name, change.old or "-", change.new or "-") for change in explanation.changes]
    room = max(0, console.width() - 2)
    return lines + ["  " + line for line in console.table(("~CHANGED", "~OLD", "~NEW"), rows, room)]


def _fields(explanation: Explanation) -> Dict[str, Any]:
    event = explanation.event
    names = ("crate_name", "crate_types", "root", "result", "reason", "cache_key", "action_key", "end_time")
    return {
        **{name: event[name] for name in names if name in event},
        "compared_with": explanation.compared or None,
        "compared_age_secs": int(explanation.age),
        "changes": [change._asdict() for change in explanation.changes],
    }


def _nothing(crate: str, events: Sequence[Event]) -> str:
    """What to say of a crate that was not compiled, as far as the log goes back."""
    if not events:
        return f"the event log knows no crate '{crate}'; 'kache report' shows what it knows"
    last = events[-1]
    if last["result"] in HITS:
        return f"'{crate}' was not compiled: its last {console.plural(len(events), 'invocation')} were hits"
    if last["result"] == PASSTHROUGH:
        reason = str(last.get("reason", ""))
        name, _, detail = reason.partition(": ")
        told = REFUSALS.get(name, name) + (f": {detail}" if detail else "")
        return f"'{crate}' is not cached: {told}"
    return f"'{crate}' ended with {last['result']}: {last.get('reason', 'no reason was recorded')}"

"""``kache why-miss``: which input of a compile changed, name by name, old and new.

Owns the comparison of two compiles: of what was known before the sources were
read (the transcript in an entry) and of what each run read (its candidate).
Shows no value that looks like a secret.
"""

import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from kachelib import console, history, index, inventory, redact
from kachelib.entry import Candidate, Entry
from kachelib.history import Event
from kachelib.outcome import DUP, HITS, MISS, PASSTHROUGH, REFUSALS, KacheError
from kachelib.store import Store

Fields = List[Tuple[str, str]]

COMPILED = (MISS, DUP)

# A build asks for several units of one crate (library, tests) within this, seconds.
SAME_BUILD = 600.0

# More actions of one crate than this are an edit history; the newest tell enough.
MOST_COMPARED = 200

# Tags whose difference means another kind of compile, not a changed input.
KIND_TAGS = ("--crate-type", "--emit", "--test", "driver", "--target")
KIND_WEIGHT = 100

# Of what changed, where there is one line for it.
MOST_NAMED = 3

# How much of a digest tells two apart.
SHORT_DIGEST = 12


class Change(NamedTuple):
    """One input that differs. old, new: as they may be shown; "" for absent."""

    name: str
    old: str
    new: str


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


def run(argv: List[str]) -> int:
    """``kache why-miss``; returns the exit code."""
    parser = console.Parser(
        "why-miss",
        "Tell which input of a crate changed when it was last compiled: name by name, old and new.",
        "Exit codes: 0 told; 1 the event log knows no compile of that crate; 2 wrong use.",
    )
    parser.add_argument("crate", metavar="CRATE", help="the crate's name; - and _ are the same")
    parser.add_json()
    options = parser.parse_args(argv)
    cache_dir = console.store_directory(console.load_settings())
    crate = options.crate.replace("-", "_")
    events = history.read(cache_dir).events
    mine = [event for event in events if str(event.get("crate_name", "")).replace("-", "_") == crate]
    found = [explain(cache_dir, event) for event in newest_compiles(mine)]
    if options.json:
        console.print_json({"crate_name": crate, "misses": [_fields(explanation) for explanation in found]})
    elif found:
        print("\n\n".join("\n".join(_lines(explanation)) for explanation in found))
    if not found:
        raise KacheError(_nothing(options.crate, mine))
    return 0


def newest_compiles(events: Sequence[Event]) -> List[Event]:
    """The last compile of each kind of unit that the newest build asked for, the newest first."""
    compiles = [event for event in events if event["result"] in COMPILED]
    found: Dict[str, Event] = {}
    for event in reversed(compiles):
        if compiles[-1]["end_time"] - event["end_time"] <= SAME_BUILD:
            found.setdefault(str(event.get("crate_types", "")), event)
    return list(found.values())


def explain(cache_dir: str, event: Event) -> Explanation:
    """Compare the compile of ``event`` with the run before it that is most like it."""
    store = Store(cache_dir, writable=False)
    entry = store.read_entry(str(event.get("action_key", "")))
    if entry is None:
        return Explanation(event, "", 0.0, [])
    now = time.time()
    candidates = list(entry.candidates())
    mine = next((c for c in candidates if c.cache_key == event.get("cache_key")), None)
    others = [c for c in candidates if c is not mine]
    if mine is not None and others:
        compared = [(_input_changes(other, mine), other) for other in others]
        changes, nearest = min(compared, key=lambda pair: (len(pair[0]), -pair[1].created))
        return Explanation(event, "inputs", now - nearest.created, changes)
    other_entry = _nearest_action(store, event, entry)
    if other_entry is None:
        return Explanation(event, "", 0.0, [])
    made = next(other_entry.candidates()).created
    return Explanation(event, "action", now - made, transcript_changes(other_entry.transcript(), entry.transcript()))


def in_short(cache_dir: str, events: Sequence[Event], crate_name: str, crate_types: str) -> str:
    """Why the newest compile of a unit among ``events`` was no hit, in a few words; "" where there is none."""
    unit = (crate_name, crate_types)
    mine = [event for event in events if (event.get("crate_name"), event.get("crate_types")) == unit]
    newest = next((event for event in reversed(mine) if event["result"] in COMPILED), None)
    if newest is None:
        return ""
    names = [change.name for change in explain(cache_dir, newest).changes]
    if not names:
        return str(newest.get("reason", ""))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return "changed: " + ", ".join(names[:MOST_NAMED]) + more


def transcript_changes(old: Fields, new: Fields) -> List[Change]:
    """What differs between two transcripts, in the order of the new one."""
    before, after = _by_name(old), _by_name(new)
    changes = []
    for name in [*after, *(name for name in before if name not in after)]:
        gone = _minus(before.get(name, []), after.get(name, []))
        came = _minus(after.get(name, []), before.get(name, []))
        for i in range(max(len(gone), len(came))):
            was = gone[i] if i < len(gone) else ""
            is_now = came[i] if i < len(came) else ""
            changes.append(Change(name, _shown(name, was), _shown(name, is_now)))
    if not changes and old != new:
        changes.append(Change("the order of arguments", "", ""))
    return changes


def _nearest_action(store: Store, event: Event, entry: Entry) -> Optional[Entry]:
    """The entry of the same crate, made earlier, whose transcript differs least from that of ``entry``."""
    start = history.number(event, "start_time") or float(event["end_time"])
    with index.opened(store.root) as view:
        items = [item for item in view.items(str(event["crate_name"])) if item.created <= start]
    keys = list(dict.fromkeys(item.action_key for item in items if item.action_key != event["action_key"]))
    mine = entry.transcript()
    best: Optional[Entry] = None
    least = 0
    for key in keys[:MOST_COMPARED]:
        other = store.read_entry(key)
        if other is None or not len(other):
            continue
        changes = transcript_changes(other.transcript(), mine)
        weight = sum(KIND_WEIGHT if change.name in KIND_TAGS else 1 for change in changes)
        # Items come the newest first, so on equal weight the newer one stays.
        if best is None or weight < least:
            best, least = other, weight
    return best


def _input_changes(old: Candidate, new: Candidate) -> List[Change]:
    """What two runs of one action read differently."""
    changes = []
    before = {item.path: item for item in old.inputs}
    after = {item.path: item for item in new.inputs}
    for path in sorted({**before, **after}):
        was, is_now = before.get(path), after.get(path)
        if was is None or is_now is None or was.digest != is_now.digest:
            changes.append(Change(path, _short(was.digest) if was else "", _short(is_now.digest) if is_now else ""))
    was_set = {dep.name: dep for dep in old.env_deps}
    is_set = {dep.name: dep for dep in new.env_deps}
    for name in sorted({**was_set, **is_set}):
        before_dep, after_dep = was_set.get(name), is_set.get(name)
        shown_before = redact.shown_env(before_dep) if before_dep else ""
        shown_after = redact.shown_env(after_dep) if after_dep else ""
        if shown_before != shown_after:
            changes.append(Change("variable " + name, shown_before, shown_after))
    if old.fingerprint != new.fingerprint:
        name = "other files of the package"
        changes.append(Change(name, _short(old.fingerprint), _short(new.fingerprint)))
    places, here = dict(old.bindings), dict(new.bindings)
    for name in sorted({**places, **here}):
        if places.get(name) != here.get(name):
            changes.append(Change("place of " + name, places.get(name, ""), here.get(name, "")))
    return changes


def _by_name(fields: Fields) -> Dict[str, List[str]]:
    """Values by the name under which they are compared: an extern by its crate, a text of several lines by line."""
    found: Dict[str, List[str]] = {}
    for tag, value in fields:
        if tag == "extern":
            name, _, rest = value.partition(" ")
            found.setdefault("dependency " + name, []).append(rest.strip())
        elif "\n" in value:
            for line in value.splitlines():
                label, colon, rest = line.partition(": ")
                name, text = (f"{tag} {label}", rest) if colon else (tag, line)
                found.setdefault(name, []).append(text)
        else:
            found.setdefault(tag, []).append(value)
    return found


def _minus(values: List[str], others: List[str]) -> List[str]:
    left = list(others)
    found = []
    for value in values:
        if value in left:
            left.remove(value)
        else:
            found.append(value)
    return found


def _shown(name: str, value: str) -> str:
    if name == "salt" and value:
        return redact.shown("KEY", value)
    if name.startswith("env "):
        return redact.shown(name[4:], value)
    words = redact.shown("", value).split(" ")
    return " ".join(_short(word) for word in words)


def _short(word: str) -> str:
    return word[:SHORT_DIGEST] if inventory.is_key(word) else word


def _lines(explanation: Explanation) -> List[str]:
    event = explanation.event
    ago = console.age(time.time() - event["end_time"])
    took = console.duration(history.number(event, "compile_time_ms") / 1000)
    kind = f" ({event['crate_types']})" if event.get("crate_types") else ""
    lines = [console.paint(f"{event['crate_name']}{kind}: compiled {ago} ago in {took}", "bold")]
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
    lines += ["  " + line for line in console.table(("~CHANGED", "~OLD", "~NEW"), rows, room)]
    names = [change.name[11:] for change in explanation.changes if change.name.startswith("dependency ")]
    if names:
        lines.append(f"  a dependency was compiled differently: 'kache why-miss {names[0]}' may tell why")
    return lines


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

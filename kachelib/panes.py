"""The panes: the five tabs of the monitor.

Owns what each of them lists, in which columns, how it may be sorted, and what it says when it is empty.
"""

from typing import Hashable, List, NamedTuple, Tuple

from kachelib import console
from kachelib.footprint import Target
from kachelib.history import Event, number
from kachelib.index import Item
from kachelib.listing import SHORT_KEY
from kachelib.lookout import number_of
from kachelib.sight import NOT_KNOWN, Line, Piece, Sight, milliseconds, percent, spark
from kachelib.stream import Call
from kachelib.tabs import Column, Order, Tab
from kachelib.tally import Reason, curve, share

_FIRST_STEPS = (
    "Nothing was built with kache yet. What to do:",
    "",
    "  kache init      tells Cargo to call kache; once, for all projects",
    "  cargo build     as ever: the first build fills the store",
    "  cargo build     in a new checkout or after cargo clean: from the store",
    "",
    "Every call of a compiler then goes by here. kache doctor finds mistakes.",
)


class Build(Tab[Call]):
    """Calls of the compiler as they end."""

    name = "Build"
    columns = (
        Column("TIME", 8, least=100),
        Column("STATUS", 8),
        Column("CRATE", 14, grow=1),
        Column("TYPE", 10, least=110),
        Column("WHAT WAS DONE", 16, grow=3),
        Column("COMPILE", 7, right=True),
        Column("TOTAL", 7, right=True),
        Column("SIZE", 9, right=True),
    )
    orders = (
        Order("newest", None),
        Order("slowest", lambda call: -call.elapsed_ms),
        Order("compile", lambda call: -call.compile_ms),
        Order("size", lambda call: -call.size),
        Order("crate", lambda call: (call.name(), call.types)),
    )
    coloured = 1

    def items(self, sight: Sight) -> List[Call]:
        return sight.stream.newest_first()

    def version(self, sight: Sight) -> Hashable:
        return (id(sight.stream), sight.stream.added)

    def cells(self, item: Call, sight: Sight) -> List[str]:
        size = console.size(item.size) if item.size else ""
        times = (milliseconds(item.compile_ms), milliseconds(item.elapsed_ms))
        return [sight.moment(item.ended), item.state(), item.name(), item.types, item.done, *times, size]

    def text(self, item: Call) -> str:
        return item.text()

    def key(self, item: Call) -> Hashable:
        return id(item)

    def style(self, item: Call) -> str:
        return item.style()

    def detail(self, item: Call, sight: Sight) -> str:
        types = f" ({item.types})" if item.types else ""
        place = f" in {sight.homely(item.root)}" if item.root else ""
        return f"{sight.moment(item.ended)}  {item.name()}{types}: {item.done}{place}"

    def head(self, sight: Sight, width: int) -> List[Line]:
        label = "Hit rate "
        room = min(100, width - len(label) - 30)
        recent = sight.tally.recent
        told = f" of the last {console.plural(len(recent), 'call')}" if recent else f"{NOT_KNOWN} no call yet"
        points = curve(recent, room)
        return [[Piece(label, "dim"), Piece(spark(points, sight.unicode), "green"), Piece(told, "dim")]]

    def empty(self, sight: Sight) -> List[str]:
        if sight.reading < 1:
            return ["reading the event log..."]
        if sight.since:
            told = f"No compiler was called in the last {sight.ago(sight.since)}."
            return [told, "", "r goes back to what was asked for"]
        return list(_FIRST_STEPS)


class Row(NamedTuple):
    """A target directory, as the Projects tab lists it. hits, compiled: of the projects that build there."""

    target: Target
    hits: int
    compiled: int
    last: float


class Projects(Tab[Row]):
    """Target directories and what they take."""

    name = "Projects"
    columns = (
        Column("TARGET DIRECTORY", 24, grow=1, tail=True),
        Column("SIZE", 9, right=True),
        Column("SHARED", 9, right=True),
        Column("SHARE", 7, right=True),
        Column("HITS", 7, right=True),
        Column("COMPILED", 8, right=True, least=100),
        Column("USED", 4, right=True),
    )
    orders = (
        Order("last use", None),
        Order("size", lambda row: -row.target.size),
        Order("shared", lambda row: -row.target.shared),
        Order("hit rate", lambda row: -share(row.hits, row.compiled)),
        Order("path", lambda row: row.target.path),
    )

    def items(self, sight: Sight) -> List[Row]:
        rows = []
        for target in sight.lookout.targets.found or ():
            known = [sight.tally.projects[root] for root in target.roots if root in sight.tally.projects]
            sums = (sum(project.hits for project in known), sum(project.compiled for project in known))
            rows.append(Row(target, *sums, max([project.last for project in known], default=0.0)))
        return sorted(rows, key=lambda row: -row.last)

    def version(self, sight: Sight) -> Hashable:
        return (sight.lookout.targets.version, id(sight.tally), sight.tally.events)

    def cells(self, item: Row, sight: Sight) -> List[str]:
        target = item.target
        rate = percent(share(item.hits, item.compiled)) if item.hits + item.compiled else ""
        shared = percent(target.shared / target.size) if target.size else ""
        sizes = [console.size(target.size), console.size(target.shared), shared]
        return [sight.homely(target.path), *sizes, rate, f"{item.compiled:,}", sight.ago(item.last)]

    def text(self, item: Row) -> str:
        return " ".join((item.target.path, *item.target.roots))

    def key(self, item: Row) -> Hashable:
        return item.target.path

    def detail(self, item: Row, sight: Sight) -> str:
        roots = ", ".join(sight.homely(root) for root in item.target.roots)
        return f"{sight.homely(item.target.path)}, of {roots}"

    def head(self, sight: Sight, width: int) -> List[Line]:
        look = sight.lookout.targets
        found = look.found or ()
        if look.trouble:
            return [[Piece(look.trouble, "red")]]
        if not look.done:
            return [[Piece(f"measuring... {len(found):,} done", "dim")]]
        size, shared = sum(target.size for target in found), sum(target.shared for target in found)
        count = console.plural(len(found), "target directory")
        told = f"{count}, {console.size(size)}; {console.size(shared)} of that is the store's, by hard link"
        if any(project.reflinked_bytes for project in sight.tally.projects.values()):
            told += "; reflinks not seen"
        return [[Piece(told, "dim")]]

    def empty(self, sight: Sight) -> List[str]:
        if not sight.lookout.targets.done:
            return []
        return ["No target directory of a project that was built with kache is there."]


class Stored(Tab[Item]):
    """What is cached."""

    name = "Store"
    columns = (
        Column("CRATE", 16, grow=1),
        Column("TYPE", 10, grow=0),
        Column("SIZE", 9, right=True),
        Column("HITS", 6, right=True),
        Column("COMPILED IN", 11, right=True),
        Column("USED", 4, right=True),
        Column("MADE", 4, right=True, least=100),
        Column("CACHE KEY", SHORT_KEY, least=110),
    )
    orders = (
        Order("last use", lambda item: -item.last_use()),
        Order("size", lambda item: -item.size),
        Order("hits", lambda item: -item.hits),
        Order("compile", lambda item: -item.compile_ms),
        Order("name", None),
    )

    def items(self, sight: Sight) -> List[Item]:
        found = sight.lookout.store.found
        return found.items if found is not None else []

    def version(self, sight: Sight) -> Hashable:
        return sight.lookout.store.version

    def cells(self, item: Item, sight: Sight) -> List[str]:
        times = (milliseconds(item.compile_ms), sight.ago(item.last_use()), sight.ago(item.created))
        sizes = (console.size(item.size), f"{item.hits:,}")
        return [item.crate_name, item.crate_types, *sizes, *times, item.cache_key[:SHORT_KEY]]

    def text(self, item: Item) -> str:
        return f"{item.crate_name} {item.crate_types} {item.cache_key}"

    def key(self, item: Item) -> Hashable:
        return (item.action_key, item.cache_key)

    def detail(self, item: Item, sight: Sight) -> str:
        return f"'kache list {item.crate_name}' tells all of it; cache key {item.cache_key}"

    def head(self, sight: Sight, width: int) -> List[Line]:
        look = sight.lookout.store
        if look.trouble:
            return [[Piece(look.trouble, "red")]]
        if look.found is None:
            return [[Piece("counting...", "dim")]]
        stock = look.found
        told = f"{console.plural(len(stock.items), 'entry')} name {console.size(stock.named_bytes)} of outputs; "
        told += f"each kept once, that is {console.size(stock.unique_bytes)}"
        return [[Piece(told, "dim")]]

    def empty(self, sight: Sight) -> List[str]:
        if sight.lookout.store.found is None:
            return []
        return ["The store is empty. The first build with kache fills it."]


class Move(NamedTuple):
    """Objects that went one way. up: to the remote; seconds: 0 where nobody measured."""

    ended: float
    up: bool
    objects: int
    size: int
    seconds: float
    by: str
    failed: int


def _moves(run: Event) -> List[Move]:
    both = []
    for way, up in (("pushed", True), ("pulled", False)):
        objects, size = int(number(run, way)), int(number(run, way + "_bytes"))
        if objects or size:
            seconds = number(run, "elapsed_ms") / 1000
            both.append(Move(run["end_time"], up, objects, size, seconds, str(run.get("by", "")), 0))
    failed = int(number(run, "failed"))
    if both and failed:
        both[0] = both[0]._replace(failed=failed)
    # Who moved both ways at once did not say how long each took.
    return [move._replace(seconds=0.0) for move in both] if len(both) > 1 else both


class Transfers(Tab[Move]):
    """What went to the remote and came from it."""

    name = "Transfer"
    columns = (
        Column("TIME", 8),
        Column("DIRECTION", 10, grow=1),
        Column("OBJECTS", 7, right=True),
        Column("SIZE", 9, right=True),
        Column("RATE", 11, right=True),
        Column("FAILED", 6, right=True),
        Column("BY", 8),
    )
    orders = (
        Order("newest", None),
        Order("size", lambda move: -move.size),
        Order("rate", lambda move: -(move.size / move.seconds if move.seconds else 0.0)),
    )
    coloured = 1

    def items(self, sight: Sight) -> List[Move]:
        traffic = sight.lookout.traffic.found
        return [move for run in reversed(traffic.runs) for move in _moves(run)] if traffic is not None else []

    def version(self, sight: Sight) -> Hashable:
        return sight.lookout.traffic.version

    def cells(self, item: Move, sight: Sight) -> List[str]:
        arrows = ("↑ ", "↓ ") if sight.unicode else ("", "")
        way = arrows[0] + "upload" if item.up else arrows[1] + "download"
        rate = console.size(item.size / item.seconds) + "/s" if item.seconds else NOT_KNOWN
        failed = f"{item.failed:,}" if item.failed else ""
        return [sight.moment(item.ended), way, f"{item.objects:,}", console.size(item.size), rate, failed, item.by]

    def text(self, item: Move) -> str:
        return f"{'upload' if item.up else 'download'} {item.by}"

    def key(self, item: Move) -> Hashable:
        return item

    def style(self, item: Move) -> str:
        return "cyan" if item.up else "green"

    def head(self, sight: Sight, width: int) -> List[Line]:
        look = sight.lookout.traffic
        if look.trouble:
            return [[Piece(look.trouble, "red")]]
        traffic = look.found
        if traffic is None:
            return [[Piece("...", "dim")], []]
        facts = traffic.uploader
        if facts is None:
            told = f"no uploader runs; {console.plural(traffic.waiting, 'object')} waiting to be pushed"
            return [[Piece(told, "dim")], []]
        ways = []
        for verb, way, pace, done in (
            ("up", "pushing", traffic.up, "pushed"),
            ("down", "pulling", traffic.down, "pulled"),
        ):
            rate = f" at {console.size(pace)}/s" if pace else ""
            total = f"{number_of(facts, done):,} done ({console.size(number_of(facts, done + '_bytes'))})"
            ways.append(f"{verb} {traffic.moving(way):,}{rate}, {total}")
        told = "; ".join(ways) + f"; {traffic.waiting:,} waiting"
        return [
            [Piece("Uploader ", "dim"), Piece(f"process {facts['pid']}, {sight.homely(facts['remote'])}")],
            [Piece("         "), Piece(told)],
        ]

    def empty(self, sight: Sight) -> List[str]:
        if sight.settings.has_remote:
            return ["Nothing was moved yet."]
        return [
            "No remote is configured, so nothing moves: the store is this machine's alone.",
            "With one, other machines and CI get what was built here. See docs/remote.md.",
        ]


class Passed(Tab[Reason]):
    """Why calls were not cached."""

    name = "Passthrough"
    columns = (
        Column("REASON", 30, grow=2),
        Column("ABOUT", 20, grow=1, least=120),
        Column("COUNT", 7, right=True),
        Column("LAST", 8, right=True),
        Column("LAST CRATE", 14),
    )
    orders = (
        Order("count", lambda reason: -reason.count),
        Order("last", lambda reason: -reason.last),
        Order("reason", lambda reason: reason.text),
    )

    def items(self, sight: Sight) -> List[Reason]:
        return list(sight.tally.reasons.values())

    def version(self, sight: Sight) -> Hashable:
        return (id(sight.tally), sight.tally.events)

    def cells(self, item: Reason, sight: Sight) -> List[str]:
        about = ", ".join(item.most_frequent(3))
        return [_told(item), about, f"{item.count:,}", sight.moment(item.last), item.last_crate]

    def text(self, item: Reason) -> str:
        return f"{item.name} {_told(item)} {' '.join(item.details)} {item.last_crate}"

    def key(self, item: Reason) -> Hashable:
        return (item.failed, item.name)

    def style(self, item: Reason) -> str:
        return "red" if item.failed else ""

    def detail(self, item: Reason, sight: Sight) -> str:
        about = ", ".join(item.most_frequent(5))
        return f"{_told(item)}: {about}" if about else _told(item)

    def head(self, sight: Sight, width: int) -> List[Line]:
        told = "calls that went to the compiler as they were, and errors of kache's own"
        return [[Piece(told, "dim")]]

    def empty(self, sight: Sight) -> List[str]:
        return ["Nothing was handed to the compiler uncached."]


def _told(reason: Reason) -> str:
    return "error: " + reason.text if reason.failed else reason.text


def all_panes() -> Tuple["Tab[Call]", "Tab[Row]", "Tab[Item]", "Tab[Move]", "Tab[Reason]"]:
    """The tabs in their order."""
    return Build(), Projects(), Stored(), Transfers(), Passed()

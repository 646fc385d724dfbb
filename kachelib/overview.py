"""The overview: what the cache does for its user, in a few lines above everything else.

Owns the words of the header. What a newcomer has to do first is said here.
"""

import sys
from typing import List

from kachelib import VERSION, bundle, console, screen
from kachelib.checks import OK
from kachelib.sight import NOT_KNOWN, Line, Piece, Sight, percent

LABEL = 9
BAR = 20

# How many lines there are.
HEIGHT = 7


def lines(sight: Sight) -> List[Line]:
    """The header, HEIGHT lines."""
    return [_title(sight), _short(sight), _store(sight), _hits(sight), _saved(sight), _remote(sight), _wrapper(sight)]


def _labelled(label: str, *pieces: Piece) -> Line:
    return [Piece(label.ljust(LABEL), "dim"), *pieces]


def _title(sight: Sight) -> Line:
    tally = sight.tally
    python = ".".join(str(part) for part in sys.version_info[:3])
    told = f", Python {python}"
    if sight.trouble:
        return [Piece(f"kache {VERSION}", "bold"), Piece("; the event log: " + sight.trouble, "red")]
    if sight.reading < 1:
        told += f"; reading the event log: {int(100 * sight.reading)} %"
    elif tally.events:
        told += f"; {console.plural(tally.events, 'call')} in {sight.ago(tally.first)}"
        told += f", last {sight.moment(tally.last)}"
    if sight.broken:
        told += f"; {console.plural(sight.broken, 'broken line')}"
    return [Piece(f"kache {VERSION}", "bold"), Piece(told)]


def _short(sight: Sight) -> Line:
    """What it comes to, in one sentence."""
    tally = sight.tally
    hits, compiled = tally.hits(), tally.compiled()
    wrapper = sight.lookout.wrapper.found
    if sight.settings.disabled:
        piece = Piece("kache is switched off: KACHE_DISABLED is set.", "bold red")
    elif hits:
        share = f"{hits:,} of {console.plural(hits + compiled, 'unit')} came from the cache"
        if tally.saved_ms >= 1000:
            rest = f": {console.duration(tally.saved_ms / 1000)} of compiling saved."
        else:
            rest = f", {tally.warmed:,} of them before Cargo asked." if tally.warmed else "."
        piece = Piece(share + rest, "bold green")
    elif compiled:
        piece = Piece(f"{console.plural(compiled, 'unit')} compiled and kept: next time they come from here.", "bold")
    elif sight.reading < 1 or wrapper is None:
        piece = Piece("")
    elif wrapper.status != OK and not sight.since:
        piece = Piece("kache keeps what compilers make. Cargo does not call it yet: kache init", "bold yellow")
    elif sight.since and not tally.events:
        piece = Piece(f"No compiler was called in the last {sight.ago(sight.since)}.", "bold")
    elif tally.events:
        piece = Piece("Nothing that was called could be cached; tab 5 says why.", "bold yellow")
    else:
        piece = Piece("Nothing was built with kache yet: run cargo build, and watch it here.", "bold")
    return _labelled("In short", piece)


def _store(sight: Sight) -> Line:
    limit = sight.settings.local_max_size
    look, noted = sight.lookout.store, sight.lookout.noted
    if look.found is None and look.trouble:
        return _labelled("Store", Piece(look.trouble, "red"))
    taken, entries = noted.disk_bytes, noted.entries
    if look.found is not None:
        taken, entries = look.found.disk_bytes, len(look.found.items)
    if taken is None:
        return _labelled("Store", Piece("counting...", "dim"))
    share = taken / limit if limit else 0.0
    drawn = screen.bar(share, BAR, sight.unicode)
    style = "red" if share > 1 else "yellow" if share > 0.9 else "green"
    told = f" {console.size(taken)} of {console.size(limit)} ({percent(share)})"
    if entries is not None:
        told += f", {console.plural(entries, 'entry')}"
    return _labelled("Store", Piece(drawn, style), Piece(told), Piece("" if look.found else "; counting...", "dim"))


def _hits(sight: Sight) -> Line:
    tally = sight.tally
    if not tally.hits() + tally.compiled():
        return _labelled("Hits", Piece(f"{NOT_KNOWN} nothing yet that a cache could have had", "dim"))
    weighted = NOT_KNOWN
    if tally.hit_compile_ms + tally.miss_compile_ms:
        weighted = percent(tally.weighted_rate())
    told = f" of units, {weighted} by compile time; misses took {percent(tally.miss_share())} of the time"
    return _labelled("Hits", Piece(percent(tally.hit_rate()), "bold"), Piece(told))


def _saved(sight: Sight) -> Line:
    tally, found = sight.tally, sight.lookout.store.found
    dedup = console.size(found.saved_bytes()) if found is not None else NOT_KNOWN
    told = f"dedup {dedup}; put back by hard link {console.size(tally.hardlinked_bytes)}"
    told += f", reflink {console.size(tally.reflinked_bytes)}, copy {console.size(tally.copied_bytes)}"
    return _labelled("Saved", Piece(told))


def _remote(sight: Sight) -> Line:
    traffic = sight.lookout.traffic.found
    if traffic is None or not (sight.settings.has_remote or traffic.uploader or traffic.waiting):
        told = sight.lookout.traffic.trouble or "none: what is cached stays on this machine"
        return _labelled("Remote", Piece(told, "red" if sight.lookout.traffic.trouble else "dim"))
    up, down = traffic.moving("pushing"), traffic.moving("pulling")
    told = f"{console.plural(up, 'upload')} and {console.plural(down, 'download')} in flight, "
    told += f"{traffic.waiting:,} waiting"
    if traffic.uploader is None:
        return _labelled("Remote", Piece(told), Piece("; no uploader runs", "dim"))
    trouble, build = (traffic.uploader.get(name, "") for name in ("trouble", "build"))
    if trouble:
        return _labelled("Remote", Piece(told), Piece("; " + trouble, "red"))
    other = build and bundle.build() and build != bundle.build()
    return _labelled("Remote", Piece(told), Piece("; of another build" if other else "", "yellow"))


def _wrapper(sight: Sight) -> Line:
    look = sight.lookout.wrapper
    if look.found is None:
        return _labelled("Wrapper", Piece(look.trouble or "...", "red" if look.trouble else "dim"))
    if look.found.status == OK:
        return _labelled("Wrapper", Piece("wired", "green"), Piece(f": Cargo calls {sight.homely(look.found.message)}"))
    hint = f" -> {look.found.hint}" if look.found.hint else ""
    return _labelled("Wrapper", Piece("not wired", "bold red"), Piece(f": {look.found.message}{hint}"))

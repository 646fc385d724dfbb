"""A warming as a wrapper's call has it: on Cargo's target probe, with its event and its helper.

Owns the moment and the event. The story of what goes back is warm.py's. Cold: imported on the probe of a new target
only.
"""

import sys
import time

from kachelib import cargo_call, events, log, selection, taker, warm
from kachelib.cargo_call import Unclear
from kachelib.conditions import Here
from kachelib.events import Event
from kachelib.outcome import WARMED
from kachelib.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Sequence

    from kachelib.config import Settings
    from kachelib.warm import Outcome


class Warming(Event):
    """The event of a warming. warmed: units put back; left_out: "5 no snapshot, 1 a blob is missing"; files."""

    __slots__ = ("files", "left_out", "profile", "target_dir", "warmed")

    FIELDS = (*Event.FIELDS, "warmed", "files", "left_out", "profile", "target_dir")

    def __init__(self) -> None:
        super().__init__()
        self.result = WARMED
        self.warmed = 0
        self.files = 0
        self.left_out = ""
        self.profile = ""
        self.target_dir = ""


def on_probe(
    command: "List[str]",
    environ: "Dict[str, str]",
    settings: "Settings",
    places: "Sequence[str]",
    answer: "Callable[[], None]",
) -> None:
    """Warm the target that Cargo asks about, where it is new; start the helpers where something is left to do.

    places: at or below the workspace; answer: called once before the work begins, so that the compiler that answers
    Cargo runs beside it.
    """
    if sys.platform != "linux" or not settings.cache_dir:
        return
    if not settings.warm_targets:
        _announce(settings, places)
        return
    voice = log.for_wrapper(settings)
    event = Warming()
    store = Store(settings.cache_dir)
    try:
        call = cargo_call.of_parent(environ)
        if any(warm.in_use(directory) for _, directory in call.directories()):
            return
        here = taker.here_of_parent(command, environ, settings, store)
    except Unclear as why:
        voice.debug("not warmed: %s" % why)
        return
    answer()
    selection.since(here)
    outcome = once(here, event)
    for key, reason in outcome.left.items():
        voice.debug("left out: %s: %s" % (key[1], reason))
    if not outcome.complete:
        _announce(settings, (call.root,))
        taker.maybe_start(command, environ, settings, store)


def _announce(settings: "Settings", places: "Sequence[str]") -> None:
    """Tell the uploader that a build begins which may lack something: it comes up while Cargo makes up its mind."""
    if settings.has_remote:
        from kachelib import demand

        demand.tell(settings, places)


def once(here: Here, event: Warming) -> "Outcome":
    """Warm, and record what came of it. Of two at once one has Cargo's lock, and the other leaves it to that."""
    settings = here.settings
    outcome = warm.warm(here, time.monotonic() + settings.warm_deadline_ms / 1000)
    event.root = here.call.root
    event.target_dir = here.call.build_dir
    event.profile = here.call.profile
    event.warmed = len(outcome.back)
    event.files = outcome.files
    event.reason = outcome.reason
    event.left_out = summary(outcome)
    event.hardlinked_bytes = outcome.hardlinked_bytes
    event.reflinked_bytes = outcome.reflinked_bytes
    event.copied_bytes = outcome.copied_bytes
    event.finish()
    if outcome.back or outcome.left:
        events.append(settings.cache_dir, event)
        log.progress(settings, "kache: warmed %d units, %.0f ms" % (event.warmed, event.elapsed_ms))
    log.for_wrapper(settings).info("warmed %d units (%s)" % (event.warmed, event.left_out or outcome.reason))
    return outcome


def summary(outcome: "Outcome") -> str:
    """What was left out, by reason, the most frequent first."""
    counts: "Dict[str, int]" = {}
    for why in outcome.left.values():
        # the particular thing differs from unit to unit
        reason = "what it hangs on is left out" if why.endswith(" is left out") else why
        counts[reason] = counts.get(reason, 0) + 1
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join("%d %s" % (count, reason) for reason, count in ordered[:8])

"""Lanes: which calls were one build of a workspace, and in which lane each of them ran.

Owns two rules. The calls of one workspace are one build as long as no GAP lies between them. In a build a call goes
into the first lane that is free when it starts, so lanes never overlap and there are as many as ran at once at most.

A workspace is what a call's event names as its root. Two kinds of calls name none: what was handed to the compiler
before anybody looked for roots, and C compiled out of Cargo's registry. They belong to the workspace that alone was
built when they ran; where two were, to none.
"""

import heapq
import time
from typing import Dict, List, NamedTuple, Sequence, Tuple

from kachelib import console
from kachelib.history import Event, number
from kachelib.outcome import PASSTHROUGH, SKIPPED, WARMED

# Between two calls of one build, microseconds. A build script or a linker that nobody times takes that long.
GAP = 10_000_000

SECOND = 1_000_000

# Cargo's name for a target directory below its workspace.
TARGET = "/target"

# Where Cargo keeps the sources of packages: a C compile there was asked for by a build script.
CHECKOUTS = ("/registry/src/", "/git/checkouts/")


class Call(NamedTuple):
    """One event as an interval. start: microseconds since the epoch; length: microseconds; lane: from 0 on."""

    event: Event
    start: int
    length: int
    lane: int = 0

    @property
    def end(self) -> int:
        """The first microsecond after it."""
        return self.start + self.length

    @property
    def title(self) -> str:
        """What it is called: the crate and its types, or the units that were put back."""
        if self.event["result"] == WARMED:
            return "warmed " + console.plural(int(number(self.event, "warmed")), "unit")
        crate, types = str(self.event.get("crate_name", "")), str(self.event.get("crate_types", ""))
        return f"{crate} ({types})" if crate and types else crate or "(no crate)"

    @property
    def untimed(self) -> bool:
        """Whether it was noted before its compiler ran, whose time then nobody knows."""
        return self.event["result"] in (PASSTHROUGH, SKIPPED)


class Build(NamedTuple):
    """workspace: "" where no call tells; calls: by their start; lanes: how many; start, end: microseconds since the
    epoch."""

    workspace: str
    calls: List[Call]
    lanes: int
    start: int
    end: int


class _Open:
    """A build that may still grow."""

    def __init__(self, workspace: str, call: Call) -> None:
        self.workspace = workspace
        self.calls = [call]
        self.start = call.start
        self.end = call.end

    def add(self, call: Call) -> None:
        self.calls.append(call)
        self.start = min(self.start, call.start)
        self.end = max(self.end, call.end)


def found(events: Sequence[Event]) -> List[Build]:
    """All builds that ``events`` tell of, by their start."""
    targets = _target_directories(events)
    calls = sorted(map(_call, events), key=lambda call: (call.start, call.end))
    named = _grouped([(call, _workspace(call.event, targets)) for call in calls])
    around = _Around([build for build in named if build.workspace])
    placed = [(call, _workspace(call.event, targets) or around.workspace(call)) for call in calls]
    return sorted(map(_closed, _grouped(placed)), key=lambda build: (build.start, build.workspace))


def of_workspaces(events: Sequence[Event], directories: Sequence[str]) -> List[Event]:
    """Those of ``events`` that belong to workspaces at or below ``directories`` (absolute), in their order."""
    tops = tuple(directory.rstrip("/") + "/" for directory in directories)
    kept = {
        id(call.event)
        for build in found(events)
        if build.workspace and (build.workspace + "/").startswith(tops)
        for call in build.calls
    }
    return [event for event in events if id(event) in kept]


def moment(microseconds: int, form: str) -> str:
    """A time of a call in this machine's zone, by a format of strftime; a number where no calendar has it."""
    try:
        return time.strftime(form, time.localtime(microseconds / SECOND))
    except (ValueError, OverflowError, OSError):
        return str(microseconds // SECOND)


def _call(event: Event) -> Call:
    length = max(0, round(number(event, "elapsed_ms") * 1000))
    start = number(event, "start_time")
    moment = round(start * SECOND) if start else round(number(event, "end_time") * SECOND) - length
    return Call(event, moment, length)


def _target_directories(events: Sequence[Event]) -> Dict[str, str]:
    """Target directories to the workspaces that they were warmed for; to "" where several share one."""
    targets: Dict[str, str] = {}
    for event in events:
        if event.get("target_dir") and event.get("root"):
            directory, root = str(event["target_dir"]), str(event["root"])
            targets[directory] = root if targets.get(directory, root) == root else ""
    return targets


def _workspace(event: Event, targets: Dict[str, str]) -> str:
    """The workspace that an event names; "" where it names none.

    A dependency's root is the target directory, for it knows no more: that of a warming is known, else it is Cargo's
    default.
    """
    root = str(event.get("root", ""))
    if any(place in root for place in CHECKOUTS):
        return ""
    if root in targets:
        return targets[root]
    return root[: -len(TARGET)] if root.endswith(TARGET) else root


def _grouped(placed: Sequence[Tuple[Call, str]]) -> List[_Open]:
    """Builds of calls and their workspaces; the calls come by their start."""
    latest: Dict[str, _Open] = {}
    builds: List[_Open] = []
    for call, workspace in placed:
        build = latest.get(workspace)
        if build is None or call.start - build.end >= GAP:
            latest[workspace] = build = _Open(workspace, call)
            builds.append(build)
        else:
            build.add(call)
    return builds


class _Around:
    """Which workspaces were built around a moment; asked by calls that come by their start."""

    def __init__(self, builds: Sequence[_Open]) -> None:
        self.waiting = sorted(builds, key=lambda build: -build.start)
        self.near: List[_Open] = []

    def workspace(self, call: Call) -> str:
        """The one that ``call`` belongs to, whose build it then prolongs; "" where there is none, or more than one."""
        while self.waiting and self.waiting[-1].start - call.end < GAP:
            self.near.append(self.waiting.pop())
        self.near = [build for build in self.near if call.start - build.end < GAP]
        names = {build.workspace for build in self.near if build.start - call.end < GAP}
        if len(names) != 1:
            return ""
        for build in self.near:
            if build.start <= call.end:
                build.end = max(build.end, call.end)
        return names.pop()


def _closed(build: _Open) -> Build:
    """The build with a lane for each call."""
    calls: List[Call] = []
    busy: List[List[int]] = []
    free: List[int] = []
    lanes = 0
    # An empty interval goes before one that begins at its moment, which would else keep the lane from it.
    for call in sorted(build.calls, key=lambda call: (call.start, call.end)):
        while busy and busy[0][0] <= call.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane = lanes
            lanes += 1
        heapq.heappush(busy, [call.end, lane])
        calls.append(call._replace(lane=lane))
    return Build(build.workspace, calls, lanes, build.start, build.end)

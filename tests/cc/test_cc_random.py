"""Random edits of a C project: after each, a compile through kache is what a compile without it is.

Each step changes something (often back to what it was) in one of two checkouts, then compares exit status, object,
depfile and words with a fresh compile at the same place, with the same prefix maps; sometimes with none, and by the
name of a link. Many steps keep the command and the place of the one before: what moves an object and stands in no
depfile is found where nothing else changed. KACHE_TEST_SEED repeats a run, KACHE_TEST_STEPS says how long one is; the
seed is in every failure.
"""

import os
import random
from typing import Callable, List

import pytest

from tests.cc.odd_sources import OddSources
from tests.cc.project import Endless, compare, settle
from tests.cc.sources import lay
from tests.cc.walk import Walk
from tests.conftest import IN_CI
from tests.world import Kache, World

SEED = os.environ.get("KACHE_TEST_SEED", "")
STEPS = int(os.environ.get("KACHE_TEST_STEPS", "250" if IN_CI else "120"))
# After so many steps without a hit, and each time again, what keeps compiles from being stored is written anew; after
# this many all is.
DRY = 5
MOST_DRY = 20


@pytest.mark.parametrize("seed", [int(SEED)] if SEED else range(1, 9 if IN_CI else 3))
def test_edits(seed: int, world: World, kache_file: Kache, require_tool: Callable[[str], str]) -> None:
    edit(seed, STEPS, world, kache_file, [name for name in ("gcc", "clang") if require_tool(name)])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1001, 1011))
def test_fifty_thousand_edits(
    seed: int, world: World, kache_file: Kache, require_tool: Callable[[str], str]
) -> None:
    edit(seed, 5000, world, kache_file, [name for name in ("gcc", "clang") if require_tool(name)])


def edit(seed: int, steps: int, world: World, kache_file: Kache, compilers: List[str]) -> None:
    """Random steps, each compared with a fresh compile."""
    rng = random.Random(seed)
    walk = Walk(rng, world, kache_file, compilers)
    sources = OddSources(rng)
    first = dict(sources.files)
    hits = by_text = dry = 0
    for number in range(steps):
        done = sources.step()
        walk.go_on(done)
        assert walk.call is not None
        place, call = walk.place, walk.call.at(walk.place.project)
        lay(place.project, sources.files, sources.times)
        place.project.env = place.environment(call)
        settle()
        try:
            expected = place.fresh(call, place.mapped)
        except Endless:
            sources.files = dict(sources.history[-1])
            continue
        found, run = place.project.cached(call.words, call.names)
        if found.result in ("", "passthrough") and found.status == 0:
            # kache became the compiler, which was given no maps
            expected = place.fresh(call, False)
        told = f"seed {seed}, step {number} ({done}), {place.pwd}: {' '.join(call.words)}, {call.env}:"
        compare(found, expected, f"{told} {found.result} {found.reason}", world.root)
        hits += found.result == "local_hit"
        dry = 0 if found.result == "local_hit" else dry + 1
        if dry == MOST_DRY:
            # Something that is never kept stands in a file that every state since has.
            sources.files, dry = dict(first), 0
            sources.history = [dict(first)]
        elif dry and dry % DRY == 0:
            sources.tidy()
        by_text += any(event.get("route") == "preprocessed" for event in run.events[-1:])
        lasts = found.result != "passthrough" and "not stored" not in found.reason
        walk.keep(expected.status == 0 and (lasts or rng.random() < 0.3))
        if expected.status:
            # What does not compile says little, and so would all that is made of it.
            sources.files = dict(sources.history[-1])
    # the text stands for the source where no debug information is asked for and nothing is said
    assert hits > steps / 12 and (by_text or steps < 2000), f"seed {seed}: only {hits} hits, {by_text} by the text"

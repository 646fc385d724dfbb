"""Random edits of random workspaces: the roots that why-miss names are the crates that were edited, for each miss.

A unit's state is the numbers of all crates that it is made of. It must miss where that state is new, and the crates it
is said to have missed for must be all in which its state differs from one that was built before: from the last
one, as long as no edit is taken back. KACHE_TEST_SEED repeats a run; without it, CI takes 1.
"""

import os
import random
import shutil
import time
from typing import Any, Dict, FrozenSet, List, Set, Tuple

from tests.conftest import IN_CI
from tests.e2e.chain import Builds, above, main_file, source, workspace_of
from tests.world import Cargo, Kache, World

SEED = os.environ.get("KACHE_TEST_SEED", "")
STEPS = 8

State = Dict[str, int]


def random_graph(dice: random.Random) -> Dict[str, Tuple[str, ...]]:
    """Five to eight crates, each using up to three of those before it; ``app`` uses what nobody else does."""
    graph: Dict[str, Tuple[str, ...]] = {}
    for number in range(dice.randint(4, 7)):
        known = list(graph)
        graph[f"crate{number}"] = tuple(sorted(dice.sample(known, dice.randint(0, min(3, len(known))))))
    used = {name for names in graph.values() for name in names}
    graph["app"] = tuple(name for name in graph if name not in used)
    return graph


def below(graph: Dict[str, Tuple[str, ...]], name: str) -> Set[str]:
    return {other for other in graph if name in above(graph, {other})}


def differing(state: State, other: State, names: Set[str]) -> FrozenSet[str]:
    return frozenset(name for name in names if state[name] != other[name])


def named(document: Dict[str, Any]) -> Dict[str, FrozenSet[str]]:
    """Unit -> the crates that it missed for."""
    found: Dict[str, Set[str]] = {}
    crates = {root["text"]: root["crate_names"][0] for root in document["roots"]}
    for root in document["roots"]:
        assert root["unknown"] is None and len(root["crate_names"]) == 1, root
        for unit in root["only_because_of_it"]:
            found.setdefault(unit, set()).add(root["crate_names"][0])
    for mixed in document["several_roots"]:
        assert mixed["crate_name"] not in found
        found[mixed["crate_name"]] = {crates[text] for text in mixed["roots"]}
    return {unit: frozenset(names) for unit, names in found.items()}


def random_edits(dice: random.Random, state: State, past: List[State], counter: int) -> State:
    """Some crates get a number that none had, or, every third time, one goes back to what it was."""
    after = dict(state)
    for name in dice.sample(list(state), dice.randint(1, 2)):
        after[name] = counter
    if len(past) > 2 and dice.random() < 0.34:
        name = dice.choice(list(state))
        after[name] = dice.choice(past)[name]
    return after


def test_the_roots_are_the_crates_that_were_edited(world: World, cargo: Cargo, kache: Kache) -> None:
    seed = int(SEED or (1 if IN_CI else random.randrange(1 << 30)))
    print(f"KACHE_TEST_SEED={seed}")
    dice = random.Random(seed)
    graph = random_graph(dice)
    made_of = {name: below(graph, name) for name in graph}
    builds = Builds(cargo, kache, world.workspace(workspace_of(graph)), {})
    builds.build()
    state = dict.fromkeys(graph, 1)
    past = [state]
    plain = True
    for step in range(STEPS):
        # Entries know their age in whole seconds.
        time.sleep(1.0)
        last, state = state, random_edits(dice, state, past, step + 2)
        plain = plain and all(state[name] in (last[name], step + 2) for name in graph)
        for name in differing(state, last, set(graph)):
            builds.edit(main_file(name), source(name, graph[name], state[name]))
        if dice.random() < 0.5:
            shutil.rmtree(builds.ws / "target")
        compiled = builds.build()
        new = {name for name in graph if all(differing(state, other, made_of[name]) for other in past)}
        assert compiled == new, f"step {step} of {graph}"
        found = named(builds.document())
        assert set(found) == compiled
        for name in compiled:
            possible = {differing(state, other, made_of[name]) for other in past}
            expected = {differing(state, last, made_of[name])} if plain else possible
            assert found[name] in expected, f"step {step}: {name} of {graph}: {found[name]}, not in {expected}"
        past.append(state)

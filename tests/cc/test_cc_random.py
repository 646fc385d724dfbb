"""Random edits of a C project: after each, a compile through kache is what a compile without it is.

Each step changes something (often back to what it was) in one of two checkouts, then compares exit status, object,
depfile and words with a fresh compile at the same place, with the same prefix maps. KACHE_TEST_SEED repeats a run,
KACHE_TEST_STEPS says how long one is; the seed is in every failure.
"""

import os
import random
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from tests.cc.project import Endless, Project, settle
from tests.cc.sources import LINKED, Sources, lay
from tests.conftest import IN_CI
from tests.world import Kache, World

SEED = os.environ.get("KACHE_TEST_SEED", "")
# After so many steps without a hit it begins anew.
MOST_DRY = 20
STEPS = int(os.environ.get("KACHE_TEST_STEPS", "250" if IN_CI else "120"))

FLAGS = (
    ["-O0"], ["-O1"], ["-O2"], ["-Os"], ["-g"], ["-g", "-O2"], ["-g1"], ["-ggdb3"], ["-gz", "-g"], ["-fPIC"], ["-Wall"],
    ["-Wall", "-Wextra"], ["-DX=1"], ["-DX=2"], ["-DFLAG"], ["-UFLAG"], ["-std=gnu11"], ["-std=gnu17"],
    ["-ffunction-sections"], ["-fno-omit-frame-pointer"], ["-fvisibility=hidden"], ["-m32"], ["-march=native"],
    ["-fstack-protector-strong"], ["-fsanitize=undefined"], ["-include", "inc1/a.h"], ["-pthread"], ["-w"],
    ["-Winvalid-pch"], ["-fno-strict-aliasing"], ["-funroll-loops"], ["-fno-common"], ["-pipe"],
    ["-Wp,-D_FORTIFY_SOURCE=2", "-O1"], ["-Wa,--noexecstack"], ["-fdebug-prefix-map=/x=/y"],
    ["-ffile-prefix-map={base}=."],
    ["-fno-asynchronous-unwind-tables"], ["-DWHEN=__TIME__"], ["-DHAVE=__has_include(\"d.h\")"],
    ["-DHAVE=__has_include(<sub/e.h>)"], ["-DHEADER=\"d.h\""], ["-DHEADER=<b.h>"], ["-Werror", "-Wall"],
    ["-imacros", "inc2/b.h"],
    ["-fmacro-prefix-map={base}=m"], ["-fdiagnostics-color=always", "-Wall"],
)  # fmt: skip
DEPENDENCIES: Tuple[List[str], ...] = (
    [], [], ["-MD"], ["-MMD"], ["-MD", "-MP"], ["-MD", "-MF", "deps.d"], ["-MMD", "-MF", "deps.d", "-MT", "x y"],
    ["-MD", "-MQ", "a$b", "-MT", "c"], ["-Wp,-MD,deps.d"], ["-Wp,-MMD,deps.d"],
)  # fmt: skip
SEARCHES = (
    ["-Iinc1", "-Iinc2"], ["-Iinc2", "-Iinc1"], ["-I", "inc1", "-isystem", "sys"], ["-iquote", "inc2", "-Iinc1"],
    ["-Iinc1", "-idirafter", "late"], ["-Igone", "-Iinc1", "-Iinc2"], ["-I{base}/inc1", "-I{base}/inc2"],
    ["-isystem", "{base}/sys", "-Iinc1", "-Iinc2"], ["-Iinc1", f"-I{LINKED}", "-Iinc2"],
    [f"-I{LINKED}", "-Iinc1", "-Isys"],
    ["-isystem", LINKED, "-Iinc1"], ["-I./inc1", "-I{base}/inc2", "-idirafter", LINKED],
)  # fmt: skip


ENVIRONMENTS: Tuple[Dict[str, str], ...] = (
    {"CPATH": "{base}/sys"}, {"CPATH": "inc2:"}, {"C_INCLUDE_PATH": "{base}/late"}, {"COMPILER_PATH": "{base}/tools"},
    {"COMPILER_PATH": "{base}/tools"}, {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C.UTF-8", "LANGUAGE": "de"},
    {"GCC_COLORS": "warning=01;36"}, {"SOURCE_DATE_EPOCH": "86400"},
)  # fmt: skip


def command(rng: random.Random, compiler: str) -> Tuple[List[str], List[str]]:
    """A compile, with {base} where the checkout's name stands, and the names of its outputs."""
    words = list(rng.choice(SEARCHES))
    for flags in rng.sample(FLAGS, rng.randrange(0, 4)):
        words += flags
    if compiler.startswith("clang"):
        # Clang 14's __TIME__ is now, whatever SOURCE_DATE_EPOCH says
        words = [word for word in words if word not in ("-m32", "-fsanitize=undefined", "-DWHEN=__TIME__")]
    words += rng.choice(DEPENDENCIES)
    output = rng.choice(("main.o", "out/main.o"))
    source = rng.choice(("src/main.c", "{base}/src/main.c"))
    names = [output, output[:-2] + ".d", "deps.d"]
    return [compiler, *words, "-c", source, "-o", output], names


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
    places = [Project.make(world, kache_file, "one/project"), Project.make(world, kache_file, "two/longer/project")]
    sources = Sources(rng)
    for project in places:
        (project.build / "out").mkdir()
    commands: List[Tuple[List[str], List[str], Dict[str, str]]] = []
    first = dict(sources.files)
    hits = by_text = dry = 0
    for number in range(steps):
        done = sources.step()
        project = rng.choice(places)
        lay(project, sources.files, sources.times)
        if rng.random() < 0.85 and commands:
            words, names, env = rng.choice(commands[-8:])
        else:
            words, names = command(rng, rng.choice(compilers))
            env = dict(rng.choice(ENVIRONMENTS)) if rng.random() < 0.2 else {}
            if "-DWHEN=__TIME__" in words:
                # else it is another object from second to second
                env["SOURCE_DATE_EPOCH"] = rng.choice(("86400", "86401"))
            commands.append((words, names, env))
        words = [word.replace("{base}", str(project.base)) for word in words]
        project.env = {name: value.replace("{base}", str(project.base)) for name, value in env.items()}
        settle()
        try:
            expected = project.fresh(words, names)
        except Endless:
            sources.files = dict(sources.history[-1])
            continue
        found, run = project.cached(words, names)
        if found.result == "passthrough":
            # Then the compiler runs as it was asked to, without our maps.
            expected = project.fresh(words, names, maps=False)
        told = f"seed {seed}, step {number} ({done}), {project.base}: {' '.join(words)}: {found.result} {found.reason}"
        assert found.status == expected.status, told + found.said + expected.said
        assert found.said == expected.said, told
        for name in names:
            assert (found.outputs[name] is None) == (expected.outputs[name] is None), (told, name)
            if found.outputs[name] != expected.outputs[name]:
                keep(world.root, name, found.outputs[name], expected.outputs[name])
                pytest.fail(f"{told}: {name} differs")
        hits += found.result == "local_hit"
        dry = 0 if found.result == "local_hit" else dry + 1
        if dry == MOST_DRY:
            # Something that is never kept stands in a file that every state since has.
            sources.files, dry = dict(first), 0
            sources.history = [dict(first)]
        by_text += run.events[-1].get("route") == "preprocessed"
        if expected.status:
            # What does not compile says little, and so would all that is made of it.
            sources.files = dict(sources.history[-1])
    assert hits > steps / 8 and by_text, f"seed {seed}: only {hits} hits, {by_text} of them by the preprocessed text"


def keep(root: Path, name: str, found: object, expected: object) -> None:
    """Leave both for who looks into it."""
    for kind, data in (("found", found), ("expected", expected)):
        if isinstance(data, bytes):
            (root / f"{kind}-{name.replace('/', '-')}").write_bytes(data)

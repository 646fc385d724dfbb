"""Each option that a compiler here takes, in a project that changes: kache's compiles are what the compiler's are.

A flag of the random test stands beside every change sooner or later; these are all the others, one after another, each
with a few changes that have misled caches. KACHE_TEST_SEED repeats a choice; it is in every failure.
"""

import os
import random
from typing import Callable, Dict, List, Tuple

import pytest

from tests.cc.options import Options
from tests.cc.project import Endless, Project, compare, settle
from tests.conftest import IN_CI
from tests.world import Kache, World

SEED = int(os.environ.get("KACHE_TEST_SEED", "0"))
COMPILERS = ("gcc", "clang")
SAMPLE = 30 if IN_CI else 8

SOURCE = """#include "a.h"
#include <b.h>
#include <stddef.h>
#if __has_include("c.h")
int has_c;
#endif
#define SAME(x) (MACRO == x)
#define MACRO x
/** @param y what is counted */
int many(int x) {
    switch (x) {
    case 1:
        x += SAME(x) + A_VALUE(x);
        /* fall through */
    case 2:
        x += b_value(x) ? 2 : -1;
    }
    if (x == 3)
      x++;
        x--;
    return x + __LINE__;
}
const char *where(void) { return __FILE__ "\\u00e9??!"; }
double sum(const float *all, size_t count) {
    double found = 0;
    for (size_t i = 0; i < count; i++) { found += all[i] * 1.1f; }
    return found;
}
struct bits { unsigned a : 3; char b; long c; };
long last(struct bits *all, char c) { char text[64] = {c}; return all[1].c + text[c & 63] + (unsigned char)c / 3; }
"""
FILES: Dict[str, str] = {
    "inc1/a.h": "#ifndef A_H\n#define A_H\n#define A_VALUE(x) ((x) + 1)\n#endif\n",
    "sys/b.h": "#pragma once\nstatic inline int b_value(int x) { return x + __LINE__; }\n",
    "src/main.c": SOURCE,
}
# What changes, and in which of two checkouts it is seen; each begins with all files as they were.
EDITS: Tuple[Tuple[str, int, Dict[str, str]], ...] = (
    ("nothing", 0, {}),
    ("nothing", 1, {}),
    ("a comment falls through no more", 1, {"src/main.c": SOURCE.replace("fall through", "and then on")}),
    ("a comment names another parameter", 0, {"src/main.c": SOURCE.replace("@param y", "@param x")}),
    ("a macro's name is what it was made from", 0, {"src/main.c": SOURCE.replace("MACRO ==", "x ==")}),
    ("a header of that name earlier", 1, {"inc0/a.h": "#define A_VALUE(x) 7\n"}),
    ("a header of that name beside the source", 0, {"src/b.h": "#define b_value(x) 8\n"}),
    ("a header that was asked for", 1, {"inc1/c.h": ""}),
    ("another header", 0, {"sys/b.h": "#pragma once\n\nstatic inline int b_value(int x) { return x + __LINE__; }\n"}),
    ("nothing", 1, {}),
)  # fmt: skip
SEARCH = ["-Iinc0", "-Iinc1", "-isystem", "sys"]
BESIDE: Tuple[List[str], ...] = (
    [], ["-O2"], ["-g"], ["-O1", "-Wall", "-Wextra"], ["-x", "c++"], ["-g", "-O2", "-Wall"], ["-std=c99"]
)  # fmt: skip
DEPENDENCIES: Tuple[List[str], ...] = ([], ["-MMD"], ["-MD"])


class Case:
    """Two checkouts, and the options of one compiler in them."""

    def __init__(self, compiler: str, world: World, kache: Kache) -> None:
        self.compiler = compiler
        self.projects = [Project.make(world, kache, name) for name in ("one/project", "two/longer/project")]
        self.options = Options(compiler, world.root / "trial")
        self.root = world.root

    def lay(self, project: Project, changed: Dict[str, str]) -> None:
        for name in {name for _, _, edit in EDITS for name in edit}:
            (project.base / name).unlink(missing_ok=True)
        project.write({"inc0/none": "", **FILES, **changed})

    def run(self, words: List[str], told: str) -> List[str]:
        """Go through the changes; each compile is compared. Returns the results."""
        results = []
        command = [self.compiler, *SEARCH, *words, "-c", "src/main.c", "-o", "main.o"]
        for what, place, changed in EDITS:
            project = self.projects[place]
            self.lay(project, changed)
            settle()
            found, _ = project.cached(command, ["main.o", "main.d"])
            mapped = found.result not in ("", "passthrough") or found.status != 0
            expected = project.fresh(command, ["main.o", "main.d"], mapped)
            compare(found, expected, f"{told}, {what}: {' '.join(command)}: {found.result} {found.reason}", self.root)
            results.append(found.result)
        return results


def go_through(case: Case, count: int) -> None:
    """So many of the compiler's options, whatever comes of one; what was seen is in the test's output."""
    rng = random.Random(SEED)
    names = case.options.names
    faults = []
    hits = seen = 0
    for name in rng.sample(names, min(count, len(names))):
        beside = [*rng.choice(BESIDE), *rng.choice(DEPENDENCIES)]
        words = case.options.choose(rng, name, beside)
        if not words:
            continue
        try:
            results = case.run([*words, *beside], f"seed {SEED}")
        except Endless:
            continue
        except (AssertionError, pytest.fail.Exception) as fault:
            faults.append(str(fault))
            results = ["fault"]
        seen += 1
        hits += "local_hit" in results
        print(f"{name}: {' '.join([*words, *beside])}: {' '.join(results)}", flush=True)
    assert not faults, "\n".join(faults)
    assert hits > seen / 4, f"seed {SEED}: {hits} of {seen} options ever hit"


@pytest.mark.parametrize("compiler", COMPILERS)
def test_some_options(compiler: str, world: World, kache_file: Kache, require_tool: Callable[[str], str]) -> None:
    require_tool(compiler)
    go_through(Case(compiler, world, kache_file), SAMPLE)


@pytest.mark.soak
@pytest.mark.parametrize("compiler", COMPILERS)
def test_all_options(compiler: str, world: World, kache_file: Kache, require_tool: Callable[[str], str]) -> None:
    require_tool(compiler)
    go_through(Case(compiler, world, kache_file), 1_000_000)

"""A random walk through compiles of one C project: which command comes next, and where it runs."""

import dataclasses
import os
import random
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from tests.cc.odd_sources import HIDDEN
from tests.cc.options import Options
from tests.cc.project import Compiled, Project
from tests.cc.sources import LINKED, OUTSIDE, place_of
from tests.world import Kache, World

FLAGS = (
    ["-O0"], ["-O1"], ["-O2"], ["-Os"], ["-g"], ["-g", "-O2"], ["-g1"], ["-ggdb3"], ["-gz", "-g"], ["-fPIC"], ["-Wall"],
    ["-Wall", "-Wextra"], ["-DX=1"], ["-DX=2"], ["-DFLAG"], ["-UFLAG"], ["-std=gnu11"], ["-std=gnu17"],
    ["-ffunction-sections"], ["-fno-omit-frame-pointer"], ["-fvisibility=hidden"], ["-m32"], ["-march=native"],
    ["-fstack-protector-strong"], ["-fsanitize=undefined"], ["-include", "inc1/a.h"], ["-pthread"], ["-w"],
    ["-Winvalid-pch"], ["-fno-strict-aliasing"], ["-funroll-loops"], ["-fno-common"], ["-pipe"], ["-DNDEBUG"],
    ["-Wmissing-include-dirs"], ["-Wmissing-include-dirs", "-Werror"],
    ["-Wp,-D_FORTIFY_SOURCE=2", "-O1"], ["-Wa,--noexecstack"], ["-fdebug-prefix-map=/x=/y"], ["-save-temps=obj"],
    ["-ffile-prefix-map={base}=."], ["-fmacro-prefix-map={base}=m"], ["-fdiagnostics-color=always", "-Wall"],
    ["-fno-asynchronous-unwind-tables"], ["-Werror", "-Wall"], ["-Werror"], ["-x", "c++"], ["-trigraphs"],
    ["-imacros", "inc2/b.h"], ["-include", "d.h"], ["-imacros", "c.h"], ["-include", "inc1/a.h", "-Winvalid-pch"],
)  # fmt: skip
DEFINITIONS = (
    ["-DWHEN=__TIME__"], ["-DWHEN=__DATE__"], ["-Wp,-DWHEN=__TIME__"], ["-DWHEN=__TIMESTAMP__"], ["-DSTAMPED"],
    ['-DHAVE=__has_include("d.h")'], ["-DHAVE=__has_include(<sub/e.h>)"], ['-Wp,-DHAVE=__has_include("c.h")'],
    ['-DHEADER="d.h"'], ["-DHEADER=<b.h>"], ['-DHEADER="sub/e.h"'], ["-DALIAS=__has_include"],
    ["-DALIAS(x)=__has_include(x)"], ['-DPART=".include \\"inc1/part.s\\""'], ["-DHEADER=<a.h>"],
)  # fmt: skip
# of Clang alone
CLANG_FLAGS = (["-Wdocumentation"], ["-fno-integrated-as"], ["-Wall", "-Wdocumentation", "-Werror"])
# what moves with the clock; GCC's is SOURCE_DATE_EPOCH, Clang 14's is not
CLOCK = ("-DWHEN=__TIME__", "-DWHEN=__DATE__", "-Wp,-DWHEN=__TIME__", "-DSTAMPED")
DEPENDENCIES: Tuple[List[str], ...] = (
    [], [], ["-MD"], ["-MMD"], ["-MD", "-MP"], ["-MD", "-MF", "deps.d"], ["-MMD", "-MF", "deps.d", "-MT", "x y"],
    ["-MD", "-MQ", "a$b", "-MT", "c"], ["-Wp,-MD,deps.d"], ["-Wp,-MMD,deps.d"],
)  # fmt: skip
SEARCHES = (
    ["-Iinc1", "-Iinc2"], ["-Iinc2", "-Iinc1"], ["-I", "inc1", "-isystem", "sys"], ["-iquote", "inc2", "-Iinc1"],
    ["-Iinc1", "-idirafter", "late"], ["-Igone", "-Iinc1", "-Iinc2"], ["-I{base}/inc1", "-I{base}/inc2"],
    ["-isystem", "{base}/sys", "-Iinc1", "-Iinc2"], ["-Iinc1", f"-I{LINKED}", "-Iinc2"],
    [f"-I{LINKED}", "-Iinc1", "-Isys"], ["-iquote", LINKED, "-iquote", "late", "-Iinc1"],
    ["-isystem", LINKED, "-Iinc1"], ["-I./inc1", "-I{base}/inc2", "-idirafter", LINKED],
    [f"-I{LINKED}", "-isystem", "inc2", "-Iinc1"], ["-Isrc/../inc2", "-Iinc1/", "-isystem", "{base}/late/../sys"],
    ["-Iinc1", "-I{outside}", "-Iinc2"], ["-isystem", "{outside}", "-Iinc1"], ["-Iinc1", "-iquote", "{outside}/sub/.."],
)  # fmt: skip
SOURCES = (*["src/main.c"] * 8, "{base}/src/main.c", "{base}/src/main.c", "src/low.S", "src/low.s", "src/text.i")

ENVIRONMENTS: Tuple[Dict[str, str], ...] = (
    {"CPATH": "{base}/sys"}, {"CPATH": "inc2:"}, {"CPATH": f"{LINKED}:late"}, {"C_INCLUDE_PATH": "{base}/late"},
    {"C_INCLUDE_PATH": LINKED}, {"CPLUS_INCLUDE_PATH": "{base}/late:inc2"}, {"COMPILER_PATH": "{base}/tools"},
    {"PATH": "{base}/tools:{path}"}, {"CPATH": "{outside}:late"},
    {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "", "LANG": "C.UTF-8"}, {"LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"},
    {"LC_ALL": "C.UTF-8", "LANGUAGE": "de"}, {"GCC_COLORS": "warning=01;36"}, {"GCC_COLORS": "warning=01;32"},
    {"GCC_EXTRA_DIAGNOSTIC_OUTPUT": "fixits-v1"}, {"SOURCE_DATE_EPOCH": "86400"}, {"SOURCE_DATE_EPOCH": "90000"},
)  # fmt: skip


class Call(NamedTuple):
    """A compile, with {base} where the checkout's name stands and {outside} for what lies in none, the names of its
    outputs, and its variables."""

    words: List[str]
    names: List[str]
    env: Dict[str, str]

    def at(self, project: Project) -> "Call":
        """The same with names of this checkout."""
        names = {"base": project.base, "outside": place_of(project, OUTSIDE), "path": os.environ["PATH"]}

        def localised(text: str) -> str:
            for name, value in names.items():
                text = text.replace("{%s}" % name, str(value))
            return text

        env = {name: localised(value) for name, value in self.env.items()}
        return Call([localised(word) for word in self.words], self.names, env)


class Place(NamedTuple):
    """Where a compile runs; mapped: by names that kache has the compiler map; pwd: what a shell calls it."""

    project: Project
    mapped: bool
    pwd: str

    def environment(self, call: Call) -> Dict[str, str]:
        """What kache gets."""
        own = {} if self.mapped else {"KACHE_CC_PATH_NORMALIZE": "0"}
        return {**call.env, **own, "PWD": self.pwd}

    def fresh(self, call: Call, mapped: bool) -> Compiled:
        """Compile without kache; unless mapped, by the names that the shell has. Raises Endless."""
        project = self.project if mapped else dataclasses.replace(self.project, build=Path(self.pwd))
        return project.fresh(call.words, call.names, mapped)


def environment(rng: random.Random, words: List[str], chance: float) -> Dict[str, str]:
    """Variables that the compilers read, or none."""
    env = dict(rng.choice(ENVIRONMENTS)) if rng.random() < chance else {}
    if any(word in CLOCK for word in words):
        # else it is another object from second to second
        env["SOURCE_DATE_EPOCH"] = rng.choice(("86400", "90000"))
    return env


class Walk:
    """Which compile comes next, and where."""

    def __init__(self, rng: random.Random, world: World, kache: Kache, compilers: List[str]) -> None:
        self.rng = rng
        self.compilers = compilers
        self.options = {name: Options(name, world.root / "trial") for name in compilers}
        one, two = (Project.make(world, kache, name) for name in ("one/project", "two/longer/project"))
        link = world.root / "link"
        link.symlink_to(one.base)
        for project in (one, two):
            (project.build / "out").mkdir()
        self.places = [Place(each, True, str(each.build)) for each in (one, two)] * 3
        # a shell that went through the link is there by the name of that
        self.places += [Place(one, True, str(link)), Place(one, False, str(link)), Place(one, False, str(one.build))]
        self.place = self.places[0]
        self.calls: List[Call] = []
        self.call: Optional[Call] = None

    def go_on(self, done: str) -> None:
        """Choose; often what it was, so that only files change, or all of it but one thing. done: to the files."""
        kind = self.rng.random()
        if self.call is not None and self.rng.random() < (0.6 if done in HIDDEN else 0.3):
            return
        if not self.calls or kind < 0.2:
            self.call = self.new_call(self.rng.choice(self.compilers))
        else:
            self.call = self.rng.choice(self.calls[-8:])
        if 0.2 < kind < 0.3:
            self.call = self.call._replace(env=environment(self.rng, self.call.words, 0.7))
        elif 0.3 < kind < 0.4:
            words = [self.call.words[0], *self.flags(self.call.words[0]), *self.call.words[1:]]
            self.call = Call(words, self.call.names, {**environment(self.rng, words, 0), **self.call.env})
        else:
            self.place = self.rng.choice(self.places)

    def keep(self, good: bool) -> None:
        """Remember a command whose compile says much; another one is not tried again."""
        assert self.call is not None
        if good and self.call not in self.calls[-8:]:
            self.calls.append(self.call)
        elif not good and self.call not in self.calls:
            self.call = None

    def new_call(self, compiler: str) -> Call:
        rng = self.rng
        words = [*rng.choice(SEARCHES), *self.flags(compiler), *rng.choice(DEPENDENCIES)]
        output = rng.choice(("main.o", "out/main.o"))
        names = [output, output[:-2] + ".d", "deps.d"]
        return Call([compiler, *words, "-c", rng.choice(SOURCES), "-o", output], names, environment(rng, words, 0.2))

    def flags(self, compiler: str) -> List[str]:
        """Some options, of those that this compiler knows."""
        rng = self.rng
        clang = compiler.startswith("clang")
        groups = rng.sample((*FLAGS, *(CLANG_FLAGS if clang else ())), rng.randrange(0, 4))
        if rng.random() < 0.3:
            groups.append(rng.choice(DEFINITIONS))
        if rng.random() < 0.3:
            printed = self.options[compiler]
            groups.append(printed.choose(rng, rng.choice(printed.names), []))
        words = [word for group in groups for word in group]
        # Clang 14's __TIME__ is now, whatever SOURCE_DATE_EPOCH says
        return [word for word in words if word not in ("-m32", "-fsanitize=undefined", *CLOCK)] if clang else words

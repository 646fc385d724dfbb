"""Random edits of a C project: after each, a compile through kache is what a compile without it is.

Each step changes something (often back to what it was) in one of two checkouts, then compares exit status, object,
depfile and words with a fresh compile at the same place, with the same prefix maps; sometimes with none, and by the
name of a link. Many steps keep the command and the place of the one before: what moves an object and stands in no
depfile is found where nothing else changed. KACHE_TEST_SEED repeats a run, KACHE_TEST_STEPS says how long one is; the
seed is in every failure.
"""

import dataclasses
import os
import random
import re
import shutil
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import pytest

from tests.cc.project import Compiled, Endless, Project, settle
from tests.cc.sources import DIRECTORIES, HARD, HEADERS, LINKED, SOFT, TIMES, Sources, lay
from tests.conftest import IN_CI
from tests.world import Kache, World

SEED = os.environ.get("KACHE_TEST_SEED", "")
STEPS = int(os.environ.get("KACHE_TEST_STEPS", "250" if IN_CI else "120"))

FLAGS = (
    ["-O0"], ["-O1"], ["-O2"], ["-Os"], ["-g"], ["-g", "-O2"], ["-g1"], ["-ggdb3"], ["-gz", "-g"], ["-fPIC"], ["-Wall"],
    ["-Wall", "-Wextra"], ["-DX=1"], ["-DX=2"], ["-DFLAG"], ["-UFLAG"], ["-std=gnu11"], ["-std=gnu17"],
    ["-ffunction-sections"], ["-fno-omit-frame-pointer"], ["-fvisibility=hidden"], ["-m32"], ["-march=native"],
    ["-fstack-protector-strong"], ["-fsanitize=undefined"], ["-include", "inc1/a.h"], ["-pthread"], ["-w"],
    ["-Winvalid-pch"], ["-fno-strict-aliasing"], ["-funroll-loops"], ["-fno-common"], ["-pipe"], ["-DNDEBUG"],
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
)  # fmt: skip
SOURCES = (*["src/main.c"] * 8, "{base}/src/main.c", "{base}/src/main.c", "src/low.S", "src/low.s", "src/text.i")

ENVIRONMENTS: Tuple[Dict[str, str], ...] = (
    {"CPATH": "{base}/sys"}, {"CPATH": "inc2:"}, {"CPATH": f"{LINKED}:late"}, {"C_INCLUDE_PATH": "{base}/late"},
    {"C_INCLUDE_PATH": LINKED}, {"CPLUS_INCLUDE_PATH": "{base}/late:inc2"}, {"COMPILER_PATH": "{base}/tools"},
    {"PATH": "{base}/tools:{path}"},
    {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "", "LANG": "C.UTF-8"}, {"LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"},
    {"LC_ALL": "C.UTF-8", "LANGUAGE": "de"}, {"GCC_COLORS": "warning=01;36"}, {"GCC_COLORS": "warning=01;32"},
    {"GCC_EXTRA_DIAGNOSTIC_OUTPUT": "fixits-v1"}, {"SOURCE_DATE_EPOCH": "86400"}, {"SOURCE_DATE_EPOCH": "90000"},
)  # fmt: skip

# Headers that are read once, or tell the object how often; those that read one beside them, of which directory.
COUNTS = "#define CAT(x, y) x##y\n#define NAME(x) CAT(read_, x)\nint NAME(__COUNTER__);\n"
ONCE = (
    "#pragma once\n" + COUNTS,
    '_Pragma("once")\n' + COUNTS,
    COUNTS,
    '#pragma once\n#include "b.h"\nextern int beside;\n',
    '#include "c.h"\n' + COUNTS,
)
# of DEFINITIONS
USES = (
    "#ifdef HAVE\n#if HAVE\nint have_it;\n#endif\n#endif\n",
    "#ifdef HEADER\n#include HEADER\n#endif\n",
    "#ifdef WHEN\nconst char *when(void) { return WHEN; }\n#endif\n",
    '#ifdef ALIAS\n#if ALIAS("d.h") + ALIAS(<a.h>) == 1\nint one_of_them;\n#endif\n#endif\n',
)
# What a step changes to the other; the preprocessed text of the first pair is the same.
EXCHANGED = (("MACRO == x", "x == x"), ("fall through", "go on, then"), ("@param x", "@param y"))
PRECOMPILED = ("inc1/a.h.gch", "inc2/b.h.gch")
# for these no compile is kept, or not without SOURCE_DATE_EPOCH
UNKEPT = (".include", ".incbin", "__TIMESTAMP__", "__TIME__", "GCC dependency", "HO HI", "__has_include /*")
# the steps after which a compile is most likely to be asked for again as it was
HIDDEN = ("time", "join", "part", "linked directory", "shadow", "remove", "exchange", "assembler", "part of assembly")
# as it warns of what Clang sees in macros, and not in their text
SAYS_ITSELF = re.compile(r"warning:.*\[-W(?:error,-W)?tautological-compare\]")


class OddSources(Sources):
    """The same, with more of what moves an object and stands in no depfile."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.files["inc1/part.s"] = " .byte 1\n"
        self.files["src/low.S"] = self.assembly()
        self.files["src/low.s"] = " .byte 1\n"
        self.files["src/text.i"] = "int text = 1;\n"

    def source(self, number: int) -> str:
        """A source that mostly uses what a command line may define."""
        return super().source(number) + "".join(lines for lines in USES if self.rng.random() < 0.4)

    def odd_line(self, name: str, number: int) -> str:
        """A line that hides what it asks for, or whose meaning hangs on more than a file's text."""
        kind = self.rng.random()
        if kind < 0.4:
            return super().odd_line(name, number)
        if kind < 0.43:
            return self.unkept_line(name, number)
        ask, tell = self.asking(name, number), self.telling(number)
        return self.rng.choice(ask if kind < 0.75 else tell)

    def asking(self, name: str, number: int) -> Tuple[str, ...]:
        """Ways to ask for a header."""
        there = f"int asked_{number};\n#endif\n"
        return (
            f"#define HI __has_include\n#define HO HI\n#if HO(<{name}>)\n{there}",
            "#define HI __has_include\n",
            f'#ifdef HI\n#if HI("{name}")\n{there}#endif\n',
            f'#if __has_include \\\n("{name}")\n{there}',
            f"#ifdef ALIAS\n#if ALIAS(<{name}>)\n{there}#endif\n",
            f"#if defined(__has_include) && __has_include(<{name}>)\n{there}",
            f"#if __has_include_next(<{name}>)\n{there}",
            f'#if 0\n#elif __has_include /* c */ (/* d */"{name}")\n{there}',
            f'%:include "{name}"\n',
            f'#include_next /**/ "{name}"\n',
        )

    def telling(self, number: int) -> Tuple[str, ...]:
        """What an object knows of places and times, and what is warned of."""
        once = f"#ifndef ONCE_{number}\n#define ONCE_{number}\n"
        return (
            "#include <assert.h>\n" + once + f"void check_{number}(int x) {{ assert(x != {number}); }}\n#endif\n",
            once + f"const char *file_{number} = __FILE__;\n#endif\n",
            once + f"int line_{number}(void) {{ return __builtin_LINE(); }}\n#endif\n",
            once + f"#define MACRO x\nint same_{number}(int x) {{ return MACRO == x; }}\n#endif\n",
            once + f"int fall_{number}(int x) {{\nswitch (x) {{\ncase 1: x++; /* fall through */\ncase 2: x += 2;\n}}\n"
            "return x;\n}\n#endif\n",
            f"/** @param x this */\nint told_{number}(int x);\n",
            '_Pragma("once")\n',
        )

    def unkept_line(self, name: str, number: int) -> str:
        """A line for which no compile is kept."""
        return self.rng.choice(
            (
                '__asm__(".include \\"inc1/part.s\\"");\n',
                '#define STR(x) #x\n#define S(x) STR(x)\n__asm__(S(.include "inc1/part.s"));\n',
                "#ifdef PART\n__asm__(PART);\n#endif\n",
                f"static const char *const changed_{number} = __TIMESTAMP__;\nint at_{number}(void) "
                f"{{ return changed_{number}[18]; }}\n",
                f'#pragma GCC dependency "{name}"\n',
                f"#ifdef STAMPED\nstatic const char stamp_{number}[] = __DATE__ __TIME__;\nint stamped_{number}(void) "
                f"{{ return stamp_{number}[19]; }}\n#endif\n",
            )
        )

    def assembly(self) -> str:
        name = self.rng.choice(HEADERS)
        lines = (
            ' nop; .include "inc1/part.s"\n',
            ' .INCBIN "inc1/data"\n',
            " .byte __LINE__\n",
            f'#if __has_include("{name}")\n .byte 2\n#endif\n',
            " .byte 3\n",
            "#ifdef X\n .byte X\n#endif\n",
        )
        return "".join(self.rng.sample(lines, 2))

    def step(self) -> str:
        """Change something; returns what."""
        if self.rng.random() < 0.5:
            return super().step()
        self.history.append(dict(self.files))
        kinds: Tuple[Tuple[str, Callable[[], None]], ...] = (
            *[("twins", self.add_twins)] * 2,
            *[("time", self.set_time)] * 3,
            ("join", self.join),
            ("part", self.part),
            ("linked directory", self.link_directory),
            *[("shadow", self.add_shadow)] * 2,
            ("remove", self.remove),
            ("assembler", self.change_assembler),
            ("low source", self.change_low),
            ("part of assembly", self.change_part),
            ("exchange", self.exchange),
            ("precompiled", self.change_precompiled),
            *[("tidy", self.tidy)] * 2,
            ("nothing", lambda: None),
        )
        name, change = self.rng.choice(kinds)
        change()
        return name

    def twins(self) -> List[str]:
        """Headers whose text another one has as well."""
        texts = list(self.files.values())
        return [name for name in self.texts() if name.endswith(".h") and texts.count(self.files[name]) > 1]

    def add_twins(self) -> None:
        """Two headers with one text, and a source that reads both."""
        places = [f"{directory}/{name}" for directory in DIRECTORIES for name in HEADERS[:4]]
        text = self.rng.choice(ONCE)
        lines = ""
        for name in self.rng.sample(places, 2):
            self.files[name] = text
            self.times[name] = self.rng.choice(TIMES)
            how = "include" if "once" in text else "import"
            lines += f'#{how} "../{name}"\n'
        self.files["src/main.c"] = lines + self.files["src/main.c"]

    def set_time(self) -> None:
        name = self.rng.choice(self.twins() or ["src/main.c"])
        self.times[name] = self.rng.choice([time for time in TIMES if time != self.times.get(name)])

    def join(self) -> None:
        """One of two twins becomes a link to the other."""
        names = self.twins()
        if names:
            name = self.rng.choice(names)
            others = [other for other in names if other != name and self.files[other] == self.files[name]]
            self.files[name] = self.rng.choice((HARD, SOFT)) + self.rng.choice(others)

    def part(self) -> None:
        """A link to a header becomes a file of its own."""
        for name, text in sorted(self.files.items()):
            target = text[len(HARD) :]
            if text[:1] == "\0" and self.files.get(target, "\0")[:1] != "\0":
                self.files[name] = self.files[target]
                return

    def tidy(self) -> None:
        """Write anew what keeps compiles from being stored."""
        twins = self.twins()[1:]
        for name in self.texts():
            if name in twins or any(word in self.files[name] for word in UNKEPT):
                header = name.endswith(".h")
                number = self.rng.randrange(9)
                self.files[name] = self.header(name.partition("/")[2], number) if header else self.source(number)

    def link_directory(self) -> None:
        self.files[LINKED] = SOFT + self.rng.choice(("inc1", "inc1", "inc2", "sys", "late", "gone"))

    def change_assembler(self) -> None:
        if self.files.pop("tools/as", None) is None:
            # "as" alone would be this script once more
            program = shutil.which("as")
            self.files["tools/as"] = f'#!/bin/sh\nexec {program} --defsym odd_{self.rng.randrange(2)}=1 "$@"\n'

    def change_low(self) -> None:
        self.files["src/low.S"] = self.assembly()
        self.files["src/low.s"] = self.rng.choice((" .byte 1\n", ' .Include "inc1/part.s"\n', ' .INCBIN "inc1/data"\n'))
        self.files["src/text.i"] = self.rng.choice(("int text = 1;\n", '#include "../inc1/a.h"\nint text = 2;\n'))

    def change_part(self) -> None:
        self.files["inc1/part.s"] = f" .byte {self.rng.randrange(3)}\n"

    def exchange(self) -> None:
        """Say something in other words, which only warnings hang on."""
        for name in self.texts():
            for one, other in EXCHANGED:
                text = self.files[name]
                self.files[name] = text.replace(one, other) if one in text else text.replace(other, one)

    def change_precompiled(self) -> None:
        name = self.rng.choice(PRECOMPILED)
        if self.files.pop(name, None) is None:
            self.files[name] = "no such thing\n"


class Call(NamedTuple):
    """A compile, with {base} where the checkout's name stands, the names of its outputs, and its variables."""

    words: List[str]
    names: List[str]
    env: Dict[str, str]

    def at(self, base: Path) -> "Call":
        """The same with names of this checkout."""
        words = [word.replace("{base}", str(base)) for word in self.words]
        path = os.environ["PATH"]
        env = {name: value.replace("{base}", str(base)).replace("{path}", path) for name, value in self.env.items()}
        return Call(words, self.names, env)


class Place(NamedTuple):
    """Where a compile runs; mapped: by names that kache has the compiler map; pwd: what a shell calls it."""

    project: Project
    mapped: bool
    pwd: str

    def is_linked(self) -> bool:
        """Whether it is called by the name of a link."""
        return self.pwd != str(self.project.build)

    def environment(self, call: Call) -> Dict[str, str]:
        """What kache gets."""
        own = {} if self.mapped else {"KACHE_CC_PATH_NORMALIZE": "0"}
        return {**call.env, **own, "PWD": self.pwd}

    def fresh(self, call: Call, mapped: bool) -> Compiled:
        """Compile without kache; unless mapped, by the names that the shell has. Raises Endless."""
        project = self.project if mapped else dataclasses.replace(self.project, build=Path(self.pwd))
        return project.fresh(call.words, call.names, mapped)


def flags(rng: random.Random, compiler: str) -> List[str]:
    """Some options, of those that this compiler knows."""
    clang = compiler.startswith("clang")
    groups = rng.sample((*FLAGS, *(CLANG_FLAGS if clang else ())), rng.randrange(0, 4))
    if rng.random() < 0.3:
        groups.append(rng.choice(DEFINITIONS))
    words = [word for group in groups for word in group]
    # Clang 14's __TIME__ is now, whatever SOURCE_DATE_EPOCH says
    return [word for word in words if word not in ("-m32", "-fsanitize=undefined", *CLOCK)] if clang else words


def new_call(rng: random.Random, compiler: str) -> Call:
    words = [*rng.choice(SEARCHES), *flags(rng, compiler), *rng.choice(DEPENDENCIES)]
    output = rng.choice(("main.o", "out/main.o"))
    names = [output, output[:-2] + ".d", "deps.d"]
    return Call([compiler, *words, "-c", rng.choice(SOURCES), "-o", output], names, environment(rng, words, 0.2))


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
            self.call = new_call(self.rng, self.rng.choice(self.compilers))
        else:
            self.call = self.rng.choice(self.calls[-8:])
        if 0.2 < kind < 0.3:
            self.call = self.call._replace(env=environment(self.rng, self.call.words, 0.7))
        elif 0.3 < kind < 0.4:
            words = [self.call.words[0], *flags(self.rng, self.call.words[0]), *self.call.words[1:]]
            self.call = Call(words, self.call.names, {**environment(self.rng, words, 0), **self.call.env})
        else:
            self.place = self.rng.choice(self.places)

    def keep(self, good: bool) -> None:
        """Remember a command that compiles; one that does not say little, and is not tried again."""
        assert self.call is not None
        if good and self.call not in self.calls[-8:]:
            self.calls.append(self.call)
        elif not good and self.call not in self.calls:
            self.call = None


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
    hits = by_text = 0
    for number in range(steps):
        done = sources.step()
        walk.go_on(done)
        assert walk.call is not None
        place, call = walk.place, walk.call.at(walk.place.project.base)
        lay(place.project, sources.files, sources.times)
        place.project.env = place.environment(call)
        settle()
        try:
            expected = place.fresh(call, place.mapped)
        except Endless:
            sources.files = dict(sources.history[-1])
            continue
        found, run = place.project.cached(call.words, call.names)
        if found.result == "passthrough" and found.status == 0:
            if place.is_linked():
                # kache became the compiler, and handed on the PWD that its own parent began with
                continue
            # kache became the compiler, which was given no maps
            expected = place.fresh(call, False)
        told = f"seed {seed}, step {number} ({done}), {place.pwd}: {' '.join(call.words)}, {call.env}:"
        compare(found, expected, f"{told} {found.result} {found.reason}", world.root)
        hits += found.result == "local_hit"
        by_text += run.events[-1].get("route") == "preprocessed"
        walk.keep(expected.status == 0)
        if expected.status:
            # What does not compile says little, and so would all that is made of it.
            sources.files = dict(sources.history[-1])
    assert hits > steps / 6 and by_text, f"seed {seed}: only {hits} hits, {by_text} of them by the preprocessed text"


def compare(found: Compiled, expected: Compiled, told: str, root: Path) -> None:
    """Fail unless kache's compile came to what the compiler's did."""
    assert found.status == expected.status, told + found.said + expected.said
    if found.said != expected.said:
        # A hit by the preprocessed text may lack a warning that is given where no macro says the same.
        warnings = [line for line in expected.said.splitlines() if "warning:" in line]
        lacks = found.result == "local_hit" and not found.said and all(map(SAYS_ITSELF.search, warnings))
        assert lacks, f"{told}\nfound:\n{found.said}\nexpected:\n{expected.said}"
    for name, data in expected.outputs.items():
        other = found.outputs[name]
        assert (other is None) == (data is None), (told, name)
        if other != data:
            keep(root, name, other, data)
            pytest.fail(f"{told}: {name} differs")


def keep(root: Path, name: str, found: object, expected: object) -> None:
    """Leave both for who looks into it."""
    for kind, data in (("found", found), ("expected", expected)):
        if isinstance(data, bytes):
            (root / f"{kind}-{name.replace('/', '-')}").write_bytes(data)

"""Random edits of a C project: after each, a compile through kache is what a compile without it is.

Each step changes something (often back to what it was) in one of two checkouts, then compares exit status, object,
depfile and words with a fresh compile at the same place, with the same prefix maps. KACHE_TEST_SEED repeats a run,
KACHE_TEST_STEPS says how long one is; the seed is in every failure.
"""

import os
import random
import shutil
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

from tests.cc.project import Endless, Project, settle
from tests.conftest import IN_CI
from tests.world import Kache, World

SEED = os.environ.get("KACHE_TEST_SEED", "")
STEPS = int(os.environ.get("KACHE_TEST_STEPS", "250" if IN_CI else "120"))

HEADERS = ("a.h", "b.h", "c.h", "d.h", "sub/e.h")
DIRECTORIES = ("src", "inc1", "inc2", "sys", "late")

FLAGS = (
    ["-O0"], ["-O1"], ["-O2"], ["-Os"], ["-g"], ["-g", "-O2"], ["-g1"], ["-ggdb3"], ["-gz", "-g"], ["-fPIC"], ["-Wall"],
    ["-Wall", "-Wextra"], ["-DX=1"], ["-DX=2"], ["-DFLAG"], ["-UFLAG"], ["-std=gnu11"], ["-std=gnu17"],
    ["-ffunction-sections"], ["-fno-omit-frame-pointer"], ["-fvisibility=hidden"], ["-m32"], ["-march=native"],
    ["-fstack-protector-strong"], ["-fsanitize=undefined"], ["-include", "inc1/a.h"], ["-pthread"], ["-w"],
    ["-Winvalid-pch"], ["-fno-strict-aliasing"], ["-funroll-loops"], ["-fno-common"], ["-pipe"],
    ["-Wp,-D_FORTIFY_SOURCE=2", "-O1"], ["-Wa,--noexecstack"], ["-fdebug-prefix-map=/x=/y"],
    ["-ffile-prefix-map={base}=."],
    ["-fno-asynchronous-unwind-tables"],
)  # fmt: skip
DEPENDENCIES: Tuple[List[str], ...] = (
    [], [], ["-MD"], ["-MMD"], ["-MD", "-MP"], ["-MD", "-MF", "deps.d"], ["-MMD", "-MF", "deps.d", "-MT", "x y"],
    ["-MD", "-MQ", "a$b", "-MT", "c"], ["-Wp,-MD,deps.d"], ["-Wp,-MMD,deps.d"],
)  # fmt: skip
SEARCHES = (
    ["-Iinc1", "-Iinc2"], ["-Iinc2", "-Iinc1"], ["-I", "inc1", "-isystem", "sys"], ["-iquote", "inc2", "-Iinc1"],
    ["-Iinc1", "-idirafter", "late"], ["-Igone", "-Iinc1", "-Iinc2"], ["-I{base}/inc1", "-I{base}/inc2"],
    ["-isystem", "{base}/sys", "-Iinc1", "-Iinc2"],
)  # fmt: skip


class Sources:
    """The project's files: what they hold, and how a step changes them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.files: Dict[str, str] = {}
        self.history: List[Dict[str, str]] = []
        for name in HEADERS:
            self.files["inc1/" + name] = self.header(name, 1)
            self.files[rng.choice(("inc2/", "sys/")) + name] = self.header(name, 2)
        self.files["src/main.c"] = self.source(3)

    def header(self, name: str, number: int, more: str = "") -> str:
        guard = name.replace("/", "_").replace(".", "_").upper()
        body = f"static inline int {guard}_value(void) {{ return {number} + __LINE__; }}\n"
        return f"#ifndef {guard}\n#define {guard}\n{more}{body}#endif\n"

    def include(self) -> str:
        """A line that reads, or asks for, a header that may or may not be there."""
        name = self.rng.choice(HEADERS)
        number = self.rng.randrange(1000)
        return self.rng.choice(
            (
                f'#include "{name}"\n',
                f"#include <{name}>\n",
                f'#  include /* c */ "{name}"\n',
                f'#if __has_include("{name}")\n#include "{name}"\n#else\nextern int no_{name[-3]};\n#endif\n',
                f"#if __has_include(<{name}>)\nextern int has;\nint *with_{number} = &has;\n#endif\n",
                f'#define WHICH "{name}"\n#include WHICH\n#undef WHICH\n',
                f"#if __has_include(<{name}>) && !__has_include(\"{name}\")\nint only_{number};\n#endif\n",
                f"#if 0\n#include <{name}>\n#endif\n",
                f"#undef HAS\n#define HAS(x) __has_include(x)\n#if HAS(<{name}>)\nint wrapped_{number};\n#endif\n",
                f"#ifdef FLAG\n#include <{name}>\n#endif\n",
            )
        )

    def source(self, number: int) -> str:
        lines = [self.include() for _ in range(self.rng.randrange(1, 4))]
        lines.append(f"int unused_{number}(int x) {{ int never; return x * {number} + __LINE__; }}\n")
        lines.append("#ifdef X\nconst char *place(void) { return __FILE__; }\n#endif\n")
        return "".join(lines)

    def step(self) -> str:
        """Change something; returns what."""
        self.history.append(dict(self.files))
        kinds: Tuple[Tuple[str, Callable[[], None]], ...] = (
            ("number", self.change_number),
            ("comment", self.add_comment),
            ("blank line", self.add_line),
            ("spaces", self.add_spaces),
            ("include", self.add_include),
            ("shadow", self.add_shadow),
            ("remove", self.remove),
            ("rename", self.rename),
            ("next", self.include_next),
            ("source", self.new_source),
            *[("back", self.back)] * 5,
            ("macro", self.add_macro),
            *[("nothing", lambda: None)] * 3,
        )
        name, change = self.rng.choice(kinds)
        change()
        return name

    def any_header(self) -> str:
        return self.rng.choice(sorted(name for name in self.files if name.endswith(".h")) or ["inc1/a.h"])

    def change_number(self) -> None:
        name = self.any_header()
        self.files[name] = self.header(name.partition("/")[2], self.rng.randrange(5))

    def add_comment(self) -> None:
        name = self.rng.choice(sorted(self.files))
        self.files[name] = self.rng.choice(("// word\n", "/* a\n b */ ", "/**/")) + self.files[name]

    def add_line(self) -> None:
        name = self.rng.choice(sorted(self.files))
        self.files[name] = "\n" + self.files[name]

    def add_spaces(self) -> None:
        name = self.rng.choice(sorted(self.files))
        self.files[name] = self.files[name].replace("return", self.rng.choice(("return ", " return", "return")), 1)

    def add_macro(self) -> None:
        name = self.rng.choice(sorted(self.files))
        self.files[name] = f"#define UNUSED_{self.rng.randrange(9)} 1\n" + self.files[name]

    def add_include(self) -> None:
        name = self.rng.choice(sorted(self.files))
        self.files[name] = self.include() + self.files[name]

    def add_shadow(self) -> None:
        name = self.rng.choice(HEADERS)
        self.files[f"{self.rng.choice(DIRECTORIES)}/{name}"] = self.header(name, self.rng.randrange(5, 9))

    def remove(self) -> None:
        self.files.pop(self.any_header(), None)

    def rename(self) -> None:
        name = self.any_header()
        if name in self.files:
            self.files[f"{self.rng.choice(DIRECTORIES)}/{self.rng.choice(HEADERS)}"] = self.files.pop(name)

    def include_next(self) -> None:
        name = self.rng.choice(HEADERS)
        self.files[f"inc1/{name}"] = f"#include_next <{name}>\nextern int next_{self.rng.randrange(3)};\n"

    def new_source(self) -> None:
        self.files["src/main.c"] = self.source(self.rng.randrange(9))

    def back(self) -> None:
        self.files = dict(self.rng.choice(self.history))


def lay(project: Project, files: Dict[str, str]) -> None:
    """Make the checkout hold these files; those that hold it already are left as they are."""
    for directory in DIRECTORIES:
        for path in sorted((project.base / directory).rglob("*"), reverse=True):
            if path.is_file() and str(path.relative_to(project.base)) not in files:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
    for name, text in files.items():
        path = project.base / name
        if not path.is_file() or path.read_text() != text:
            if path.is_dir():
                shutil.rmtree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def command(rng: random.Random, compiler: str) -> Tuple[List[str], List[str]]:
    """A compile, with {base} where the checkout's name stands, and the names of its outputs."""
    words = list(rng.choice(SEARCHES))
    for flags in rng.sample(FLAGS, rng.randrange(0, 4)):
        words += flags
    if compiler.startswith("clang"):
        words = [word for word in words if word not in ("-m32", "-fsanitize=undefined")]
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
    hits = by_text = 0
    for number in range(steps):
        done = sources.step()
        project = rng.choice(places)
        lay(project, sources.files)
        if rng.random() < 0.85 and commands:
            words, names, env = rng.choice(commands[-8:])
        else:
            words, names = command(rng, rng.choice(compilers))
            env = {"CPATH": "{base}/sys"} if rng.random() < 0.1 else {}
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
        told = f"seed {seed}, step {number} ({done}), {project.base}: {' '.join(words)}: {found.result} {found.reason}"
        assert found.status == expected.status, told + found.said + expected.said
        assert found.said == expected.said, told
        for name in names:
            assert (found.outputs[name] is None) == (expected.outputs[name] is None), (told, name)
            if found.outputs[name] != expected.outputs[name]:
                keep(world.root, name, found.outputs[name], expected.outputs[name])
                pytest.fail(f"{told}: {name} differs")
        hits += found.result == "local_hit"
        by_text += run.events[-1].get("route") == "preprocessed"
        if expected.status:
            # What does not compile says little, and so would all that is made of it.
            sources.files = dict(sources.history[-1])
    assert hits > steps / 6 and by_text, f"seed {seed}: only {hits} hits, {by_text} of them by the preprocessed text"


def keep(root: Path, name: str, found: object, expected: object) -> None:
    """Leave both for who looks into it."""
    for kind, data in (("found", found), ("expected", expected)):
        if isinstance(data, bytes):
            (root / f"{kind}-{name.replace('/', '-')}").write_bytes(data)

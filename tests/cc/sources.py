"""The files of the random test's C project: what they hold, how a step changes them, and how a checkout gets them.

A file is its text, or a link to another: hard, or symbolic, which may lead nowhere. A directory of the search path may
be a link to another one. Some files have a time that a step gave them.
"""

import os
import random
import shutil
from pathlib import Path
from typing import Callable, Dict, List, Set, Tuple

from tests.cc.project import Project

HEADERS = ("a.h", "b.h", "c.h", "d.h", "sub/e.h")
# one that all checkouts have, and that lies in none
OUTSIDE = "outside"
DIRECTORIES = ("src", "inc1", "inc2", "sys", "late", OUTSIDE)
# a name on the search path that is a link to one of the others, or to nothing
LINKED = "linked"
HARD, SOFT = "\0hard ", "\0soft "
# in seconds; GCC takes two headers with #pragma once for one where size, time and content are the same
TIMES = (1_500_000_000, 1_500_000_001)
# equal wherever it stands; the object tells how often it was read
TWIN = "#pragma once\n#ifndef ONCE\n#define ONCE\nint once = 1;\n#else\nint twice = 2;\n#endif\n"
# an assembler that says something else; gcc looks for it in COMPILER_PATH
ASSEMBLER = '#!/bin/sh\nexec as --defsym odd_{number}=1 "$@"\n'


def guard_of(name: str) -> str:
    """The macro that guards a header."""
    return name.replace("/", "_").replace(".", "_").upper()


class Sources:
    """The project's files: what they hold, and how a step changes them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.files: Dict[str, str] = {}
        self.times: Dict[str, int] = {}
        self.history: List[Dict[str, str]] = []
        for name in HEADERS:
            self.files["inc1/" + name] = self.header(name, 1)
            self.files[rng.choice(("inc2/", "sys/")) + name] = self.header(name, 2)
        self.files["src/main.c"] = self.source(3)
        self.files["inc1/data"] = "1"

    def header(self, name: str, number: int, more: str = "") -> str:
        guard = guard_of(name)
        body = f"static inline int {guard}_value(void) {{ return {number} + __LINE__; }}\n"
        body += f"#define {guard}_CALL(x) ({number} + (x))\n"
        return f"#ifndef {guard}\n#define {guard}\n{more}{body}#endif\n"

    def include(self) -> str:
        """A line that reads, or asks for, a header that may or may not be there."""
        name = self.rng.choice(HEADERS)
        number = self.rng.randrange(1000)
        if self.rng.random() < 0.3:
            return self.odd_line(name, number)
        return self.rng.choice(
            (
                f'#include "{name}"\n',
                f"#include <{name}>\n",
                f'#  include /* c */ "{name}"\n',
                f'#if __has_include("{name}")\n#include "{name}"\n#else\nextern int no_{name[-3]};\n#endif\n',
                f"#if __has_include(<{name}>)\nextern int has;\nint *with_{number} = &has;\n#endif\n",
                f'#define WHICH "{name}"\n#include WHICH\n#undef WHICH\n',
                f'#if __has_include(<{name}>) && !__has_include("{name}")\nint only_{number};\n#endif\n',
                f"#if 0\n#include <{name}>\n#endif\n",
                f"#undef HAS\n#define HAS(x) __has_include(x)\n#if HAS(<{name}>)\nint wrapped_{number};\n#endif\n",
                f"#ifdef FLAG\n#include <{name}>\n#endif\n",
            )
        )

    def odd_line(self, name: str, number: int) -> str:
        """A line that hides what it asks for, or whose meaning hangs on more than a file's text."""
        if self.rng.random() < 0.05:
            return '__asm__(".pushsection .rodata\\n.incbin \\"inc1/data\\"\\n.popsection");\n'
        return self.rng.choice(
            (
                f"#undef ASK\n#define ASK __has_include\n#if ASK(<{name}>)\nint alias_{number};\n#endif\n",
                f'#if __has_include /* c */ ("{name}")\nint spaced_{number};\n#endif\n',
                f'#import "{name}"\n',
                "#ifdef HAVE\n#if HAVE\nint have_it;\n#endif\n#endif\n#ifdef HEADER\n#include HEADER\n#endif\n",
                f"#ifdef WHEN\nconst char *when_{number}(void) {{ return WHEN; }}\n#endif\n",
                f'#line {number} "elsewhere.c"\n',
                "#ifndef COUNTED\n#define COUNTED\nint counted = __COUNTER__ * 10 + __INCLUDE_LEVEL__;\n#endif\n",
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
            ("twin", self.add_twin),
            ("twin", self.add_twin),
            ("time", self.set_time),
            ("time", self.set_time),
            ("link", self.add_link),
            ("linked directory", self.link_directory),
            ("data", self.change_data),
            ("assembler", self.change_assembler),
            *[("nothing", lambda: None)] * 3,
        )
        name, change = self.rng.choice(kinds)
        change()
        return name

    def texts(self) -> List[str]:
        """The names of files that are text of C."""
        return sorted(name for name, text in self.files.items() if name.endswith((".h", ".c")) and text[:1] != "\0")

    def add_twin(self) -> None:
        name = self.rng.choice(HEADERS)
        for directory in self.rng.sample(DIRECTORIES, 2):
            self.files[f"{directory}/{name}"] = TWIN

    def set_time(self) -> None:
        names = [name for name, text in self.files.items() if text == TWIN] or [self.any_header()]
        self.times[self.rng.choice(sorted(names))] = self.rng.choice(TIMES)

    def add_link(self) -> None:
        place = f"{self.rng.choice(DIRECTORIES)}/{self.rng.choice(HEADERS)}"
        target = self.rng.choice(self.texts())
        if place != target and target.endswith(".h"):
            self.files[place] = self.rng.choice((HARD, SOFT)) + target

    def link_directory(self) -> None:
        self.files[LINKED] = SOFT + self.rng.choice((*DIRECTORIES, "gone"))

    def change_data(self) -> None:
        self.files["inc1/data"] = str(self.rng.randrange(3))

    def change_assembler(self) -> None:
        if self.files.pop("tools/as", None) is None:
            self.files["tools/as"] = ASSEMBLER.format(number=self.rng.randrange(2))

    def any_header(self) -> str:
        return self.rng.choice(sorted(name for name in self.files if name.endswith(".h")) or ["inc1/a.h"])

    def change_number(self) -> None:
        name = self.any_header()
        self.files[name] = self.header(name.partition("/")[2], self.rng.randrange(5))

    def add_comment(self) -> None:
        name = self.rng.choice(self.texts())
        self.files[name] = self.rng.choice(("// word\n", "/* a\n b */ ", "/**/")) + self.files[name]

    def add_line(self) -> None:
        name = self.rng.choice(self.texts())
        self.files[name] = "\n" + self.files[name]

    def add_spaces(self) -> None:
        name = self.rng.choice(self.texts())
        self.files[name] = self.files[name].replace("return", self.rng.choice(("return ", " return", "return")), 1)

    def add_macro(self) -> None:
        name = self.rng.choice(self.texts())
        self.files[name] = f"#define UNUSED_{self.rng.randrange(9)} 1\n" + self.files[name]

    def add_include(self) -> None:
        name = self.rng.choice(self.texts())
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


def lay(project: Project, files: Dict[str, str], times: Dict[str, int]) -> None:
    """Make the checkout hold these files; those that hold it already are left as they are."""
    for directory in (*DIRECTORIES, "tools", LINKED):
        clear(place_of(project, directory), {place_of(project, name) for name in files})
    # what links lead to comes first
    for name, text in sorted(files.items(), key=lambda item: item[1][:1] == "\0"):
        path = place_of(project, name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith(SOFT):
            lay_symlink(path, os.path.relpath(place_of(project, text[len(SOFT) :]), path.parent))
        elif text.startswith(HARD):
            lay_hard_link(path, place_of(project, text[len(HARD) :]))
        else:
            lay_text(path, text, 0o755 if name.startswith("tools/") else 0o644)
        if name in times and path.is_file() and not path.is_symlink() and path.stat().st_mtime != times[name]:
            os.utime(path, (times[name], times[name]))


def place_of(project: Project, name: str) -> Path:
    """Where a file or directory of the project lies."""
    outside = name.partition("/")[0] == OUTSIDE
    return (project.world.root if outside else project.base) / name


def clear(top: Path, kept: Set[Path]) -> None:
    """Remove what is below ``top``, or is that, but these files and their directories."""
    for path in [top] if top.is_symlink() else sorted(top.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()


def lay_text(path: Path, text: str, mode: int) -> None:
    if path.is_symlink() or not path.is_file() or path.stat().st_nlink > 1 or path.read_text() != text:
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)


def lay_symlink(path: Path, target: str) -> None:
    if not path.is_symlink() or os.readlink(path) != target:
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def lay_hard_link(path: Path, target: Path) -> None:
    """Another name of ``target``; where that is not there, nothing."""
    path.unlink(missing_ok=True)
    if target.is_file() and not target.is_symlink():
        os.link(target, path)

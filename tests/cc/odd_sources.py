"""A C project with all that moves an object and stands in no depfile, and random changes of it.

Owns the odd texts and steps; the plain ones are sources.py's.
"""

import random
import shutil
from typing import Callable, List, Tuple

from tests.cc.sources import DIRECTORIES, HARD, HEADERS, LINKED, OUTSIDE, SOFT, TIMES, Sources, guard_of

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
        call = guard_of(name) + "_CALL"
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
            f'#include "{name}"\n#ifdef {call}\nenum {{ called_{number} = {call} /* c */ (1) }};\n'
            f"int call_{number}(void) {{ return called_{number}; }}\n#endif\n",
            f'/* c */ #include "{name}"\n',
            f'#define NAMED <{name}>\n#include_next NAMED\n#undef NAMED\n',
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
        places = [f"{directory}/{name}" for directory in DIRECTORIES[:-1] for name in HEADERS[:4]]
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
        self.files[LINKED] = SOFT + self.rng.choice(("inc1", "inc1", "inc2", "sys", "late", OUTSIDE, "gone"))

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

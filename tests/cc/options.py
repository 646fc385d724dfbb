"""The options that the compilers here print of themselves, and which of them a compile takes."""

import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional, Set, Tuple

GCC_CLASSES = ("common", "optimizers", "warnings", "target", "params", "c", "c++")
# where a help text shows a value, but not which
VALUES = ("1", "x", "all", "none", "off", "16", "c11", "c++17", "x=y", "32", "full", "thin", "generic", "skylake")

# What a compile came to: status, words, object; None where it did not end.
Outcome = Optional[Tuple[int, bytes, bytes]]
MOST_SECONDS = 20
# GCC 12 writes types in the order of where they lie in its memory
UNSTABLE = ("-gctf",)
# as -v and -### do, with what kache adds
TELLS_COMMAND = re.compile(b" -cc1 |COLLECT_GCC")


def gcc_options(compiler: str) -> Set[str]:
    """The options that GCC prints, as it spells them."""
    found: Set[str] = set()
    for name in GCC_CLASSES:
        text = subprocess.run([compiler, f"--help={name}"], capture_output=True, text=True, check=True).stdout
        found |= set(re.findall(r"^  (-\S+)", text, re.M))
    return found


def clang_options(*mode: str) -> Set[str]:
    """The options that Clang prints, as it spells them."""
    text = subprocess.run(["clang", *mode, "--help-hidden"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  (-\S+(?: <\S+>)?)", text, re.M))


def example(option: str) -> List[str]:
    """An option as it would stand on a command line."""
    name, blank, _ = option.partition(" <")
    name = name.rstrip(",")
    joined = re.split(r"[<\[]", name)[0]
    if "[" in name and "<" not in name.partition("[")[0]:
        return [joined]
    if name == "-O<number>":
        return ["-O1"]
    if joined.endswith("=") or joined != name:
        return [joined + ("1" if joined.endswith("=") else "x")]
    return [name, "value"] if blank else [name]


def examples(option: str) -> List[List[str]]:
    """An option in all the ways that its help text leaves open, with each of some values, and with ``no-``."""
    words = example(option)
    name, equals, _ = words[0].partition("=")
    if equals or "[" in option:
        shown = re.search(r"=\[([^\]<]*)\]", option)
        values = shown.group(1).split("|") if shown else VALUES
        return [[f"{name}={value}"] for value in values]
    if len(words) > 1:
        return [[words[0], value] for value in VALUES]
    negative = re.match(r"(-[fmW])(?!no-)(\w)", name)
    return [words, [f"{negative.group(1)}no-{name[2:]}"]] if negative else [words]


class Options:
    """The options that a compiler prints, ``names`` in an order that is always the same, and a place to try them in."""

    def __init__(self, compiler: str, place: Path) -> None:
        self.compiler = compiler
        self.place = place
        place.mkdir(exist_ok=True)
        (place / "plain.c").write_text("int x;\nint f(int y) { return y ? x : 1; }\n")
        printed = clang_options() if "clang" in compiler else gcc_options(compiler)
        self.names = sorted(name for name in printed if not name.startswith(UNSTABLE))

    def choose(self, rng: random.Random, name: str, beside: List[str]) -> List[str]:
        """A way to write an option that a compile takes beside others; none, where there is none."""
        ways = examples(name)
        rng.shuffle(ways)
        return next((words for words in ways if self._is_taken([*words, *beside])), [])

    def _is_taken(self, words: List[str]) -> bool:
        """Whether a compile ends well and makes something, twice the same way, and does not tell its own command."""
        first = self._compile(words)
        if first is None or first[0] or not first[2] or TELLS_COMMAND.search(first[1]):
            return False
        return self._compile(words) == first

    def _compile(self, words: List[str]) -> Outcome:
        command = [self.compiler, *words, "-c", "plain.c", "-o", "plain.o"]
        made = self.place / "plain.o"
        for path in self.place.iterdir():
            # What an option had a compile write, others would read.
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "plain.c":
                path.unlink()
        try:
            done = subprocess.run(
                command,
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=MOST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return None
        return done.returncode, done.stdout + done.stderr, made.read_bytes() if made.is_file() else b""

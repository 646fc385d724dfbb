"""The depfile: the make rule in which a C compiler says what it read.

Owns its reading, and its writing for another place byte for byte as GCC and Clang write it; lines are broken where the
names in them end, so a change of a name may move every break.

Grammar: ``TARGET…: NAME…``, broken by backslash and newline, then with -MP ``NAME:`` for every file but the first. A
blank and ``#`` in a name are quoted by a backslash, ``$`` by another one (GCC: libcpp/mkdeps.cc; Clang:
Frontend/DependencyFile.cpp).

As it is stored: the style's name, then the names, a line each, with placeholders for local roots.
"""

from kachelib.cc import quote
from kachelib.cc_toolchain import CLANG, GCC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Sequence

    from kachelib.cc_action import Action

# How compilers write it: GCC; Clang up to 14, which leaves a line before each phony target; Clang since.
GCC_STYLE = "gcc"
OLD_CLANG_STYLE = "clang-14"
CLANG_STYLE = "clang"
STYLES = {GCC: (GCC_STYLE,), CLANG: (OLD_CLANG_STYLE, CLANG_STYLE)}

# Columns at which lines are broken.
GCC_WIDTH = 72
CLANG_WIDTH = 75


def parse(data: bytes) -> "List[str]":
    """The files of the first rule, in order, as the compiler names them; none where there is no rule."""
    text = data.decode("utf-8", "surrogateescape").replace("\\\n", " ")
    for line in text.split("\n"):
        if ": " in line:
            return _names(line.partition(": ")[2])
    return []


def _names(text: str) -> "List[str]":
    names: "List[str]" = []
    word = ""
    at = 0
    while at < len(text):
        char = text[at]
        following = text[at + 1 : at + 2]
        if (char == "\\" and following in (" ", "\t", "#")) or (char == "$" and following == "$"):
            word += following
            at += 1
        elif char in " \t":
            if word:
                names.append(word)
            word = ""
        else:
            word += char
        at += 1
    return [*names, word] if word else names


def template(data: bytes, action: "Action") -> "Optional[bytes]":
    """A depfile as it is stored; None where this module would not write it so again."""
    names = parse(data)
    style = next((style for style in STYLES[action.compiler.family] if write(names, action, style) == data), "")
    stored = [action.roots.normalise(name) if name.startswith("/") else name for name in names]
    unclear = any((name.startswith("<") and name == given) or "\n" in name for name, given in zip(stored, names))
    if not style or not names or unclear:
        return None
    return "\n".join([style, *stored]).encode("utf-8", "surrogateescape")


def expand(stored: bytes, action: "Action") -> bytes:
    """A stored depfile as the compiler would write it here."""
    style, *names = stored.decode("utf-8", "surrogateescape").split("\n")
    return write([action.roots.localise(name) for name in names], action, style)


def write(names: "Sequence[str]", action: "Action", style: str) -> bytes:
    """The depfile of a compile that read ``names``, the source first."""
    plan = action.plan
    rule = _gcc_rule if style == GCC_STYLE else _clang_rule
    lines = [rule(targets(action, style), names)]
    if plan.phony:
        before = "\n" if style == OLD_CLANG_STYLE else ""
        lines += [before + quote(name) + ":\n" for name in names[1:]]
    return "".join(lines).encode("utf-8", "surrogateescape")


def targets(action: "Action", style: str) -> "List[str]":
    """The rule's targets, as they stand there: without -MT and -MQ the object, or what GCC's preprocessor alone takes
    for it."""
    plan = action.plan
    if plan.targets:
        # In GCC's those of -MT come first.
        given = sorted(plan.targets, key=lambda target: target[0]) if style == GCC_STYLE else plan.targets
        return [name for _, name in given]
    if plan.from_cpp and style == GCC_STYLE:
        name = plan.source.rpartition("/")[2]
        return [quote((name.rpartition(".")[0] or name) + ".o")]
    return [quote(plan.output)]


def _gcc_rule(targets: "Sequence[str]", names: "Sequence[str]") -> str:
    out: "List[str]" = []
    column = 0
    for group in (targets, [quote(name) for name in names]):
        for name in group:
            size = len(name.encode("utf-8", "surrogateescape"))
            if column:
                if column + size > GCC_WIDTH:
                    out.append(" \\\n")
                    column = 0
                column += 1
                out.append(" ")
            column += size
            out.append(name)
        if group is targets:
            out.append(":")
            column += 1
    return "".join(out) + "\n"


def _clang_rule(targets: "Sequence[str]", names: "Sequence[str]") -> str:
    out: "List[str]" = []
    column = 0
    for target in targets:
        size = len(target.encode("utf-8", "surrogateescape"))
        if not column:
            column = size
        elif column + size + 2 > CLANG_WIDTH:
            column = size + 2
            out.append(" \\\n  ")
        else:
            column += size + 1
            out.append(" ")
        out.append(target)
    out.append(":")
    column += 1
    for name in names:
        # counted as it is, not as it is written
        size = len(name.encode("utf-8", "surrogateescape"))
        if column + size + 3 > CLANG_WIDTH:
            out.append(" \\\n ")
            column = 2
        out += (" ", quote(name))
        column += size + 1
    return "".join(out) + "\n"

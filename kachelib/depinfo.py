"""Dep-info: the Makefile fragment in which rustc says what it read.

Owns its reading, and its template: the same text with placeholders for local
roots, from which the file is written for another place.

Grammar (rustc's ``write_out_deps``): rules ``OUTPUT: PATH PATH…``, a line
``PATH:`` for each file, then ``# env-dep:NAME`` or ``# env-dep:NAME=VALUE``.
In paths only a space is escaped, as ``\\ ``; in variables ``\\``, newline and
carriage return are, as ``\\\\``, ``\\n`` and ``\\r``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple

    from kachelib.entry import EnvDep
    from kachelib.roots import Roots

# The placeholder of the directory that outputs go to, which is no root.
OUT_DIR = "out-dir"

ENV_DEP = "# env-dep:"


class DepInfo:
    """What a dep-info file says. files: paths as written, without repetition; variables: (name, value or None)."""

    __slots__ = ("files", "variables")

    def __init__(self, files: "List[str]", variables: "List[Tuple[str, Optional[str]]]") -> None:
        self.files = files
        self.variables = variables


def parse(data: bytes) -> DepInfo:
    """Read a dep-info file. The first rule names every file; the others repeat it."""
    files: "Dict[str, None]" = {}
    variables: "List[Tuple[str, Optional[str]]]" = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith(ENV_DEP):
            name, equals, value = line[len(ENV_DEP) :].partition("=")
            variables.append((_unescape(name), _unescape(value) if equals else None))
        elif not line.startswith("#") and ": " in line:
            for path in _split(line.partition(": ")[2]):
                files[path] = None
    return DepInfo(list(files), variables)


def template(data: bytes, roots: "Roots", out_dir: str) -> "Optional[bytes]":
    """The text with placeholders and without its variables; None where a path would be taken for a placeholder.

    out_dir: as the compiler was given it; outputs are named by it.
    """
    out = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith("#"):
            continue
        if "<" in line and any("<" + name + ">" in line for name in (OUT_DIR, *roots.by_name)):
            return None
        if ": " not in line and (line.endswith(":") or not line):
            # In what was read a blank is escaped, so this is no rule whose last file's name ends like that.
            out.append(_escape(roots.normalise(line.replace("\\ ", " "))))
            continue
        if not line.startswith(out_dir + "/"):
            return None
        # rustc escapes the paths of what it read, not those of what it writes.
        name, colon, tail = line[len(out_dir) :].partition(": ")
        words = [_escape(roots.normalise(path)) for path in _split(tail)]
        out.append("<" + OUT_DIR + ">" + name + colon + " ".join(words))
    return "\n".join(out).encode("utf-8", "surrogateescape")


def expand(
    text: bytes, roots: "Roots", out_dir: str, deps: "Sequence[EnvDep]", environ: "Dict[str, str]"
) -> bytes:
    """A template as the file for this place, with the variables' current values."""
    if b"<" in text:
        text = text.replace(b"<%b>" % OUT_DIR.encode(), out_dir.encode("utf-8", "surrogateescape"))
        for name, value in roots.values:
            text = text.replace(b"<%b>" % name.encode(), _escape(value).encode("utf-8", "surrogateescape"))
    lines = []
    for dep in deps:
        current = environ.get(dep.name)
        setting = "" if current is None else "=" + _escape_variable(current)
        lines.append(ENV_DEP + _escape_variable(dep.name) + setting + "\n")
    return text + "".join(lines).encode("utf-8", "surrogateescape")


def with_files(data: bytes, paths: "Sequence[str]") -> bytes:
    """The text with ``paths`` added to its first rule, the only one that Cargo reads."""
    head, newline, rest = data.partition(b"\n")
    words = b"".join(b" " + _escape(path).encode("utf-8", "surrogateescape") for path in paths)
    return head + words + newline + rest


def _split(text: str) -> "List[str]":
    """The paths of one rule. Cargo's reader splits in the same way."""
    paths: "List[str]" = []
    pending = ""
    for word in text.split(" "):
        if word.endswith("\\"):
            pending += word[:-1] + " "
        elif pending or word:
            paths.append(pending + word)
            pending = ""
    return paths


def _escape(path: str) -> str:
    return path.replace(" ", "\\ ")


def _escape_variable(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    out = []
    chars = iter(text)
    for char in chars:
        if char == "\\":
            char = next(chars, "\\")
            char = {"n": "\n", "r": "\r"}.get(char, char)
        out.append(char)
    return "".join(out)

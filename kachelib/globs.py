"""Globs: which paths a pattern names, matched as text.

Owns the pattern language; knows nothing of what is on disk (glob_walk does).

    *        any characters within one name, leading dots included
    ?        one character, not "/"
    [a-z]    one of these; [!a-z] or [^a-z] one that is not; a "]" that comes first stands for itself
    {a,b}    either; may be nested and may hold "/"
    **       as a whole name: any number of directories, none included; at the end: everything below
    \\x       x itself

Elsewhere ``**`` is ``*``. A pattern whose last name has no wildcard also names
everything below that path, so a directory may be written as it is; a trailing
"/" says so for any last name. "." and ".." are resolved in the text.

Matching costs at most (length of the pattern) x (length of the path): after a
mismatch only the latest star is tried again, for names as for characters.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Mapping, Protocol, Sequence, Tuple, Union

    class _Excluding(Protocol):
        exclude: Tuple[str, ...]


_SPECIAL = "*?[]{}\\"
_ANY_DEPTH = "**"
_NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789"

# The longest path that a system call takes.
_LONGEST = 4096
# {a,b}{c,d}… doubles with each group.
_MOST_ALTERNATIVES = 256


def excluded(settings: "_Excluding", source: str, bases: "Sequence[str]", environ: "Mapping[str, str]") -> str:
    """The first pattern of ``cache.exclude`` that names ``source`` (absolute), or "".

    Relative patterns are tried below each of ``bases`` (absolute directories;
    empty ones are passed over). A pattern that cannot be understood excludes
    everything: the compiler is always right.
    """
    for pattern in settings.exclude:
        expanded = expand(pattern, environ)
        try:
            if expanded.startswith("/"):
                if matches(expanded, source):
                    return pattern
                continue
            for base in bases:
                if base and matches(below(base, expanded), source):
                    return pattern
        except ValueError:
            return pattern
    return ""


def below(base: str, pattern: str) -> str:
    """The absolute pattern for ``pattern``, which is relative to the directory ``base``."""
    return pattern if pattern.startswith("/") else escape(base.rstrip("/")) + "/" + pattern


def escape(text: str) -> str:
    """A pattern that names ``text`` alone."""
    if not any(character in text for character in _SPECIAL):
        return text
    return "".join("\\" + character if character in _SPECIAL else character for character in text)


def check(pattern: str) -> None:
    """Raise ValueError, saying why, when ``pattern`` is none."""
    if not pattern:
        raise ValueError("an empty pattern")
    if "\0" in pattern:
        raise ValueError("a NUL character")
    alternatives(pattern)


def matches(pattern: str, path: str) -> bool:
    """Whether ``pattern`` names ``path``; both absolute or both relative. Raises ValueError for a malformed pattern."""
    names = _split(normalise(path))
    wanted = alternatives(pattern)
    suits = [one.startswith("/") == path.startswith("/") for one in _without_braces(pattern)]
    return any(suited and _match_names(each, names) for suited, each in zip(suits, wanted))


def leaves(pattern: str) -> bool:
    """Whether a pattern may name something that is not below its base. Raises ValueError for a malformed pattern."""
    plain = (normalise(one) for one in _without_braces(pattern))
    return any(one.startswith("/") or one == ".." or one.startswith("../") for one in plain)


def expand(pattern: str, environ: "Mapping[str, str]") -> str:
    """``pattern`` with a leading ~, $VAR and ${VAR} replaced by what they stand for, taken literally.

    CARGO_HOME falls back to ~/.cargo. A variable that is not set, or empty,
    stays as it is written and so names nothing that exists.
    """
    return _replace(pattern, environ, True)


def expand_path(path: str, environ: "Mapping[str, str]") -> str:
    """The same for a path that is no pattern."""
    return _replace(path, environ, False)


def unset_variable(text: str, environ: "Mapping[str, str]") -> str:
    """The first variable (as it is written) that ``expand`` would leave in place, or ""."""
    for piece, name in _pieces(text):
        if name and not _value(name, environ):
            return piece
    return ""


def normalise(path: str) -> str:
    """``path`` without empty names, "." and "..", worked out from the text alone; "." when nothing is left."""
    if "//" not in path and "/." not in path and path[:1] != "." and (path[-1:] != "/" or path == "/"):
        return path or "."
    absolute = path.startswith("/")
    kept: "List[str]" = []
    for name in path.split("/"):
        if name == ".." and (absolute or (kept and kept[-1] != "..")):
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return "/" + "/".join(kept) if absolute else "/".join(kept) or "."


class _Class:
    """[…]: ranges of characters, both ends inclusive."""

    __slots__ = ("negated", "ranges")

    def __init__(self, body: str) -> None:
        self.negated = body[:1] in ("!", "^")
        self.ranges: "List[Tuple[str, str]]" = []
        at = 1 if self.negated else 0
        while at < len(body):
            low = high = body[at]
            if body[at + 1 : at + 2] == "-" and at + 2 < len(body):
                high = body[at + 2]
                at += 2
            if low > high:
                raise ValueError(f"[{body}] runs backwards")
            self.ranges.append((low, high))
            at += 1

    def holds(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


class Name:
    """One name of a pattern.

    text: the name itself when there is no wildcard in it, else None.
    tokens: a character; "" for ?; None for *; or a _Class. any_depth: it is ``**``.
    """

    __slots__ = ("any_depth", "text", "tokens")

    def __init__(self, pattern: str) -> None:
        self.any_depth = pattern == _ANY_DEPTH
        self.tokens = _tokens(pattern)
        literal = all(isinstance(token, str) and token for token in self.tokens)
        self.text = "".join(token for token in self.tokens if isinstance(token, str)) if literal else None

    def matches(self, name: str) -> bool:
        if self.text is not None:
            return self.text == name
        at = here = restart = 0
        star = -1
        while here < len(name):
            token = self.tokens[at] if at < len(self.tokens) else _END
            if token is None:
                star, restart = at, here
                at += 1
            elif token == "" or token == name[here] or (isinstance(token, _Class) and token.holds(name[here])):
                at += 1
                here += 1
            elif star >= 0:
                restart += 1
                at, here = star + 1, restart
            else:
                return False
        return all(token is None for token in self.tokens[at:])


# Longer than any character, so that no name goes on where a pattern ends.
_END = "end"


def reaches_end(wanted: "List[Name]", depth: int) -> bool:
    """Whether a path that has come to position ``depth`` in ``wanted`` may end there."""
    return all(name.any_depth for name in wanted[depth:])


def _match_names(wanted: "List[Name]", names: "List[str]") -> bool:
    """The same walk as Name.matches, with ``**`` for the star."""
    at = here = restart = 0
    star = -1
    while here < len(names):
        if at < len(wanted) and wanted[at].any_depth:
            star, restart = at, here
            at += 1
        elif at < len(wanted) and wanted[at].matches(names[here]):
            at += 1
            here += 1
        elif star >= 0:
            restart += 1
            at, here = star + 1, restart
        else:
            return False
    return reaches_end(wanted, at)


def _tokens(pattern: str) -> "List[Union[str, _Class, None]]":
    tokens: "List[Union[str, _Class, None]]" = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*":
            if tokens[-1:] != [None]:
                tokens.append(None)
        elif character == "?":
            tokens.append("")
        elif character == "[":
            end = _class_end(pattern, at)
            tokens.append(_Class(pattern[at + 1 : end]))
            at = end
        elif character == "\\":
            at += 1
            if at == len(pattern):
                raise ValueError("a \\ with nothing behind it")
            tokens.append(pattern[at])
        else:
            tokens.append(character)
        at += 1
    return tokens


def _class_end(pattern: str, start: int) -> int:
    """Where the "]" stands that belongs to the "[" at ``start``."""
    first = start + 2 if pattern[start + 1 : start + 2] in ("!", "^") else start + 1
    end = pattern.find("]", first + 1)
    if end < 0:
        raise ValueError("a [ without its ]")
    return end


def alternatives(pattern: str) -> "List[List[Name]]":
    """The names of each of the patterns that ``pattern`` stands for. Raises ValueError."""
    if len(pattern) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters")
    return [_names(one) for one in _without_braces(pattern)]


def _names(pattern: str) -> "List[Name]":
    wanted: "List[Name]" = []
    for part in _split(normalise(pattern)):
        if part != _ANY_DEPTH or not (wanted and wanted[-1].any_depth):
            wanted.append(Name(part))
    if wanted and wanted[-1].any_depth:
        wanted.append(Name("*"))
    elif not wanted or wanted[-1].text is not None:
        wanted.append(Name(_ANY_DEPTH))
    elif pattern.endswith("/"):
        wanted += [Name(_ANY_DEPTH), Name("*")]
    return wanted


def _split(path: str) -> "List[str]":
    return [name for name in path.split("/") if name not in ("", ".")]


def _without_braces(pattern: str) -> "List[str]":
    if "{" not in pattern and "}" not in pattern:
        return [pattern]
    done = []
    pending = [pattern]
    while pending:
        one = pending.pop()
        cuts = _first_group(one)
        if not cuts:
            done.append(one)
            continue
        head, tail = one[: cuts[0]], one[cuts[-1] + 1 :]
        pending += [head + one[start + 1 : end] + tail for start, end in zip(cuts, cuts[1:])]
        if len(done) + len(pending) > _MOST_ALTERNATIVES:
            raise ValueError(f"more than {_MOST_ALTERNATIVES} alternatives in braces")
    return done


def _first_group(pattern: str) -> "List[int]":
    """Where the first {, its commas and its } stand; [] when there is none."""
    cuts: "List[int]" = []
    depth = at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 1
        elif character == "[":
            at = _class_end(pattern, at)
        elif character == "{":
            depth += 1
            if depth == 1:
                cuts.append(at)
        elif character == "," and depth == 1:
            cuts.append(at)
        elif character == "}":
            depth -= 1
            if depth < 0:
                raise ValueError("a } without its {")
            if depth == 0:
                cuts.append(at)
                return cuts
        at += 1
    if depth:
        raise ValueError("a { without its }")
    return []


def _replace(text: str, environ: "Mapping[str, str]", pattern: bool) -> str:
    if "$" not in text and text[:1] != "~":
        return text
    parts = []
    for piece, name in _pieces(text):
        value = _value(name, environ) if name else ""
        if value and pattern:
            value = escape(value)
        parts.append(value or piece)
    return "".join(parts)


def _pieces(text: str) -> "Iterator[Tuple[str, str]]":
    """``text`` cut into (as written, name of the variable it stands for or ""); ~ stands for HOME."""
    at = 0
    if text == "~" or text.startswith("~/"):
        yield "~", "HOME"
        at = 1
    start = at
    while at < len(text):
        end = _variable_end(text, at) if text[at] == "$" else at
        if end == at:
            # A backslash keeps what follows it from being replaced.
            at += 2 if text[at] == "\\" else 1
            continue
        yield text[start:at], ""
        yield text[at:end], text[at + 1 : end].strip("{}")
        start = at = end
    yield text[start:], ""


def _variable_end(text: str, start: int) -> int:
    """The end of $NAME or ${NAME} at ``start``; ``start`` when there is no such thing."""
    braced = text[start + 1 : start + 2] == "{"
    first = start + 2 if braced else start + 1
    end = first
    while end < len(text) and text[end] in _NAME_CHARACTERS:
        end += 1
    if end == first:
        return start
    if not braced:
        return end
    return end + 1 if text[end : end + 1] == "}" else start


def _value(name: str, environ: "Mapping[str, str]") -> str:
    value = environ.get(name, "")
    if not value and name == "CARGO_HOME" and environ.get("HOME"):
        value = environ["HOME"].rstrip("/") + "/.cargo"
    return value

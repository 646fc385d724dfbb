"""Random TOML documents as people write configuration: odd order, comments, every way to spell a table.

Owns the strategy. Knows the names of some settings, and nothing of how kache reads or changes them.
"""

from typing import Dict, List, Tuple

from hypothesis import strategies as st

Path = Tuple[str, ...]

# What may be said, as it may be written.
LEAVES: Dict[Path, List[str]] = {
    ("cache", "local_max_size"): ['"1GB"', "'2GB'", "10"],
    ("cache", "key_salt"): ['"x # y"', "'''a\nb'''", '"""\nq\\\n  r"""', '"[cache]"'],
    ("cache", "exclude"): ["[]", '["a"]', '[ "a", "b" ]', '[\n  "a", # one\n  "b",\n\n  # end\n]', '[\n"a",\n"c"\n]'],
    ("cache", "nix_salt"): ["true", "false"],
    ("cache", "remote", "bucket"): ['"b"'],
    ("cache", "remote", "type"): ["'s3'"],
    ("cache", "remote", "readonly"): ["true"],
    ("cc", "identity"): ['"banner"'],
    ("other", "a"): ["1", "1979-05-27T07:32:00Z", "0.5", "nan", '[[1,2],["x"]]', '{a=1, b="y"}', "0x1F", "1_000"],
    ("other", "b c"): ["1", '"]["', '"\\u00e9"'],
    ("other", "sub", "d"): ["1", "{}"],
    ("top",): ["1", '"""\n[cache]\n"""'],
}

_NOISE = ["", "", "", "\n", "# note\n", "\n# [cache]\n\n", "  # x = 1\n", "\n\n", "\t\n"]


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A text that is TOML 1.0."""
    said = draw(st.lists(st.sampled_from(sorted(LEAVES)), unique=True, max_size=7))
    values = {path: draw(st.sampled_from(LEAVES[path])) for path in said}
    top: List[str] = []
    tables: List[str] = []
    for name in draw(st.permutations(sorted({path[0] for path in said} | {"cache", "empty"}))):
        mine = {path: value for path, value in values.items() if path[0] == name}
        if ("top",) in mine:
            top.append(_assignment(draw, ("top",), mine["top",]))
        elif not mine:
            tables += [_header(draw, (name,))] if draw(st.booleans()) else []
        else:
            style = draw(st.sampled_from(["tables", "tables", "dotted", "inline", "part"]))
            if style == "inline" and not any("\n" in value for value in mine.values()):
                top.append(_assignment(draw, (name,), _inline(draw, mine, 1)))
            elif style == "dotted":
                top += [_assignment(draw, path, value) for path, value in mine.items()]
            else:
                tables += _tables(draw, name, mine, style == "part")
    if draw(st.integers(0, 6)) == 0:
        tables.append("[[fruit]]\nn=1\n\n[[fruit]]\nn=2\n")
    text = "".join(top + tables)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    return text.replace("\n", "\r\n") if draw(st.integers(0, 2)) == 0 else text


def _noise(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(_NOISE))


def _key(draw: st.DrawFn, names: Path) -> str:
    quoted = ['"{}"', "'{}'"]
    spelled = [draw(st.sampled_from(quoted if " " in name else ["{}", "{}", *quoted])).format(name) for name in names]
    return draw(st.sampled_from([".", ".", " . "])).join(spelled)


def _assignment(draw: st.DrawFn, names: Path, value: str, indent: str = "") -> str:
    equals = draw(st.sampled_from([" = ", "=", "  =  ", "= "]))
    behind = draw(st.sampled_from(["", "", "  # c", "#c", " "]))
    return f"{_noise(draw)}{indent}{_key(draw, names)}{equals}{value}{behind}\n"


def _header(draw: st.DrawFn, names: Path) -> str:
    pad = draw(st.sampled_from(["", " "]))
    return f"{_noise(draw)}[{pad}{_key(draw, names)}{pad}]{draw(st.sampled_from(['', ' # h', ' ']))}\n{_noise(draw)}"


def _inline(draw: st.DrawFn, mine: Dict[Path, str], depth: int) -> str:
    """{a = 1, sub.b = 2} or {a = 1, sub = {b = 2}}."""
    below = {path: value for path, value in mine.items() if len(path) > depth + 1}
    parts = [f"{_key(draw, path[depth:])} = {value}" for path, value in mine.items() if path not in below]
    if draw(st.booleans()) and below:
        parts.append(f"{_key(draw, next(iter(below))[depth : depth + 1])}={_inline(draw, below, depth + 1)}")
    else:
        parts += [f"{_key(draw, path[depth:])}={value}" for path, value in below.items()]
    pad = draw(st.sampled_from(["", " "]))
    return "{" + pad + draw(st.sampled_from([", ", ",", " , "])).join(draw(st.permutations(parts))) + pad + "}"


def _tables(draw: st.DrawFn, name: str, mine: Dict[Path, str], part: bool) -> List[str]:
    """[name] and [name.sub], in any order. part: what is below is dotted, or inline, in [name]."""
    own = [(path, value) for path, value in mine.items() if len(path) == 2]
    below: Dict[Path, str] = {path: value for path, value in mine.items() if len(path) == 3}
    indent = draw(st.sampled_from(["", "", "  ", "\t"]))
    first: List[str] = []
    if own or part or draw(st.booleans()):
        first = [_header(draw, (name,)), *[_assignment(draw, path[1:], value, indent) for path, value in own]]
    if not below:
        return [*first, _noise(draw)]
    sub = next(iter(below))[1]
    if part and draw(st.booleans()):
        return [*first, _assignment(draw, (sub,), _inline(draw, below, 2), indent)]
    if part:
        return [*first, *[_assignment(draw, path[1:], value, indent) for path, value in below.items()]]
    second = [_header(draw, (name, sub))]
    second += [_assignment(draw, path[2:], value, indent) for path, value in below.items()]
    return [*second, *first, _noise(draw)] if draw(st.booleans()) else [*first, *second, _noise(draw)]

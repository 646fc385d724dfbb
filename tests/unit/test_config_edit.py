"""config_edit: one setting changes, and nothing else in the file does."""

import copy
import importlib
import re
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from kachelib import config_edit
from kachelib.config_value import Written
from kachelib.outcome import ConfigError
from tests.toml_documents import documents

TOML = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


class Cut(NamedTuple):
    """What differs between two texts; before: the part of its line that stands in front of it."""

    old: str
    new: str
    before: str


def cut(old: str, new: str) -> Cut:
    most = min(len(old), len(new))
    start = next((i for i in range(most) if old[i] != new[i]), most)
    end = next((i for i in range(most - start) if old[-1 - i] != new[-1 - i]), most - start)
    return Cut(old[start : len(old) - end], new[start : len(new) - end], old[:start].rpartition("\n")[2])


def lines(text: str) -> List[str]:
    return text.replace("\r\n", "\n").split("\n")


def find(document: Dict[str, Any], key: str) -> Any:
    found: Any = document
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def without(document: Dict[str, Any], key: str) -> str:
    """All that a document says but for ``key``, in one order; tables along it that are empty then count for nothing."""
    left = copy.deepcopy(document)
    names = key.split(".")
    for end in range(len(names), 0, -1):
        table = find(left, ".".join(names[: end - 1])) if end > 1 else left
        if isinstance(table, dict) and (end == len(names) or table.get(names[end - 1]) == {}):
            table.pop(names[end - 1], None)

    def ordered(value: Any) -> Any:
        return [(name, ordered(value[name])) for name in sorted(value)] if isinstance(value, dict) else value

    return repr(ordered(left))


CHANGES: List[Tuple[str, List[Written]]] = [
    ("cache.local_max_size", ["20GiB", 7]),
    ("cache.exclude", [["a"], [], ["b", "n"], ["n", "a", "b", "m"], ['"\\', "é#"]]),
    ("cache.nix_salt", [True, False]),
    ("cache.remote.bucket", ["B"]),
    ("cache.remote.trusted_keys", [["k:1"]]),
    ("cc.identity", ["content"]),
    ("paths.base_dirs", [["/a b"]]),
]


@st.composite
def changes(draw: st.DrawFn) -> Tuple[str, Optional[Written]]:
    key, values = draw(st.sampled_from(CHANGES))
    return key, draw(st.sampled_from([None, *values]))


@settings(max_examples=600)
@given(documents(), changes())
@example('cache.key_salt = "x"\ncache.nix_salt = true\ntop = 1\n', ("cache.remote.bucket", "B"))
@example('cache = {remote.bucket = "b" , nix_salt = true}\n', ("cache.remote.bucket", None))
@example("\r\n[cache]\r\nexclude = [\r\n 'a', # one\r\n 'b',\r\n]", ("cache.exclude", ["n", "a", "b"]))
def test_a_change_changes_one_key_and_no_other_line(text: str, change: Tuple[str, Optional[Written]]) -> None:
    """As a parser of TOML sees it, and byte for byte."""
    key, value = change
    new = config_edit.changed(text, {key: value}, "FILE")
    note(new)
    before, after = TOML.loads(text), TOML.loads(new)
    assert find(after, key) == value and type(find(after, key)) is type(value)
    assert without(after, key) == without(before, key)
    known = find(before, key)
    found = cut(text, new)
    if known == value and type(known) is type(value):
        assert new == text
    elif known is None or value is None:
        # one stretch comes or goes, unless it lies between the braces of a line
        whole = found.old if known is None else found.new
        assert not whole or ("\n" not in whole and "{" in found.before + whole)
    elif not isinstance(known, list):
        assert not re.search(r"[#\n]", found.old) or "\n" in str(known)
    gone: List[str] = lines(found.old) if value is None else []
    for line in lines(text):
        if line.lstrip().startswith("#") and line not in gone:
            assert line in lines(new), "a comment of its own stays"
    assert "\r" not in new if "\r" not in text else not re.search(r"(?<!\r)\n", new)


@given(documents(), st.lists(changes(), max_size=5))
def test_changes_may_be_made_one_by_one_or_together(text: str, several: List[Tuple[str, Optional[Written]]]) -> None:
    step = text
    for key, value in several:
        step = config_edit.changed(step, {key: value}, "FILE")
    together = config_edit.changed(text, dict(several), "FILE")
    for key, value in dict(several).items():
        assert find(TOML.loads(together), key) == find(TOML.loads(step), key) == value
    assert config_edit.changed(step, dict(several), "FILE") == step, "nothing is left to change"


@pytest.mark.parametrize(
    ("text", "key", "value", "expected"),
    [
        ("", "cache.nix_salt", True, "[cache]\nnix_salt = true\n"),
        ("", "cache.remote.bucket", "b", '[cache.remote]\nbucket = "b"\n'),
        ("# mine", "cc.identity", "content", '# mine\n\n[cc]\nidentity = "content"\n'),
        ("[cache]", "cache.nix_salt", True, "[cache]\nnix_salt = true\n"),
        ("[cache] # c\n", "cache.nix_salt", True, "[cache] # c\nnix_salt = true\n"),
        (
            "[cache]\n# why\nkey_salt = 'x'  # this\n\n[tool]\nx = 1\n",
            "cache.nix_salt",
            True,
            "[cache]\n# why\nkey_salt = 'x'  # this\nnix_salt = true\n\n[tool]\nx = 1\n",
        ),
        (
            "[cache]\nkey_salt = 'x'\n\n[tool]\nx = 1\n",
            "cache.remote.bucket",
            "b",
            "[cache]\nkey_salt = 'x'\n\n[cache.remote]\nbucket = \"b\"\n\n[tool]\nx = 1\n",
        ),
        (
            "[cache]\nkey_salt = 'x'\n# nix_salt = true\n\n# another tool\n[tool]\n",
            "cache.local_max_size",
            "1GB",
            "[cache]\nkey_salt = 'x'\nlocal_max_size = \"1GB\"\n# nix_salt = true\n\n# another tool\n[tool]\n",
        ),
        (
            "[cache]\r\nkey_salt = 'x'\r\n\r\n# another tool\r\n[tool]\r\n",
            "cache.remote.bucket",
            "b",
            "[cache]\r\nkey_salt = 'x'\r\n\r\n[cache.remote]\r\nbucket = \"b\"\r\n\r\n# another tool\r\n[tool]\r\n",
        ),
        (
            "[cache]\nkey_salt = '''\n# x\n# y'''\n",
            "cache.nix_salt",
            True,
            "[cache]\nkey_salt = '''\n# x\n# y'''\nnix_salt = true\n",
        ),
        ("[cache]\nkey_salt   =  'x'   # c", "cache.key_salt", "y", '[cache]\nkey_salt   =  "y"   # c'),
        ("[cache]\r\nkey_salt='x'", "cache.nix_salt", True, "[cache]\r\nkey_salt='x'\r\nnix_salt = true\r\n"),
        ("cache = {}\n", "cache.remote.bucket", "b", 'cache = {remote = {bucket = "b"}}\n'),
        ("cache.key_salt='x'\nx=1\n", "cache.nix_salt", True, "cache.key_salt='x'\ncache.nix_salt = true\nx=1\n"),
        (
            "[cache.remote]\ntype='s3'\n[x]\n[cache]\nkey_salt='x'\n",
            "cache.remote.bucket",
            "b",
            "[cache.remote]\ntype='s3'\nbucket = \"b\"\n[x]\n[cache]\nkey_salt='x'\n",
        ),
        (
            "[cache]\nexclude = [\n    'a',  # one\n    'b',  # two\n    'c',\n]\n",
            "cache.exclude",
            ["a", "c", "d"],
            "[cache]\nexclude = [\n    'a',  # one\n    'c',\n    \"d\",\n]\n",
        ),
        ("[cache]\nkey_salt='x' # c\n[x]\n", "cache.key_salt", None, "[cache]\n[x]\n"),
        ("[cache]\nexclude=[\n'a',\n]\nnix_salt=true", "cache.exclude", None, "[cache]\nnix_salt=true"),
        ("[x]\n", "cache.key_salt", None, "[x]\n"),
    ],
)
def test_the_text_is_what_a_person_would_have_written(
    text: str, key: str, value: Optional[Written], expected: str
) -> None:
    assert config_edit.changed(text, {key: value}, "FILE") == expected


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[cache]\nlocal_max_size 5\n", "(at line 2, column 16)"),
        ('[cache]\nkey_salt = "x\n', "(at line 2, column 14)"),
        ("[cache]\n\n  [cache]\n", "(at line 3, column 9)"),
        ("[cache", "(at line 1, column 7, the end)"),
    ],
)
def test_a_syntax_error_is_told_with_line_and_column(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_edit.changed(text, {"cache.nix_salt": True}, "/some/file")
    assert str(caught.value).startswith("/some/file is not TOML: ") and str(caught.value).endswith(where)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["cache = 3\n", "[[cache]]\nx = 1\n", "[cache]\nremote = 'x'\n"])
def test_what_is_no_table_is_not_made_one(text: str) -> None:
    with pytest.raises(ConfigError, match=r"it is a table: \[cache(\.remote)?\]; mend that first"):
        config_edit.changed(text, {"cache.remote.bucket": "b"}, "FILE")


def test_what_cannot_be_proven_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library makes of a text: what else it changes, and what it leaves out."""
    text = "[cache]\nkey_salt = 'x'\n\n# note\n[tool]\nx = 1\n"
    for wrong in (
        "[cache]\nkey_salt = 'x'\n\n# note\n[tool]\nx = 1\n",
        "[cache]\nnix_salt = true\nkey_salt = 'y'\n\n# note\n[tool]\nx = 1\n",
        "[cache]\nnix_salt = true\nkey_salt = 'x'\n\n# note\n[tool]\nx = true\n",
        "[cache]\nnix_salt = true\nkey_salt = 'x'\n\n# note\n[tool]\nx = 1.0\n",
        "[cache]\nnix_salt = true\nkey_salt = 'x'\n\n[tool]\nx = 1\n",
        "[cache]\nkey_salt = 'x'\nnix_salt = 1\n\n# note\n[tool]\nx = 1\n",
        "[cache]\nnix_salt = true\nkey_salt = 'x'\n\n# note\n[tool\nx = 1\n",
    ):
        monkeypatch.setattr(config_edit, "_text", lambda document, wrong=wrong: wrong)
        with pytest.raises(ConfigError, match=r"does not know how to set cache\.nix_salt"):
            config_edit.changed(text, {"cache.nix_salt": True}, "FILE")

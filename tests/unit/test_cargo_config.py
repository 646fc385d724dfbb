"""Changing one key of Cargo's configuration changes nothing else, and can be undone to the byte."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import cargo_config
from kachelib.outcome import ConfigError

TOML = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

KACHE = "/opt/kache"

FILES = [
    "",
    "\n",
    "# only a comment",
    "[build]\n",
    "[build]",
    "[build] # mine\njobs = 4\n",
    "[ build ]\njobs = 4",
    '["build"]\njobs = 4\n',
    "[net]\noffline = true\n\n[build]\n\n# note\njobs = 4\n\n[term]\nverbose = true\n",
    '[build]\nrustc-wrapper = "sccache"\n',
    '[build]\n  rustc-wrapper="sccache"   # fast # really\njobs = 4\n',
    "[build]\n\"rustc-wrapper\" = 'sccache'",
    'build.rustc-wrapper = "sccache"\nbuild.jobs = 4\n',
    "build.jobs = 4\n[net]\noffline = true\n",
    "[net]\noffline = true",
    '[env]\nX = """\n[build]\nrustc-wrapper = "no"\n"""\n[build]\njobs = 2\n',
    "[env]\nX = '''\n[build]\n'''\n",
    'x = [\n  "[build]", # [build]\n  "b",\n]\n',
    "[build]\r\njobs = 4\r\n",
    "[net]\r\noffline = true\r\n",
    '[build]\r\nrustc-wrapper = "sccache"\r\n',
    '[target.x86_64-unknown-linux-gnu]\nlinker = "clang"\nrustflags = ["-C", "link-arg=-fuse-ld=mold"]\n',
    "[build]\nrustflags = [\n  '--cfg', # rustc-wrapper = 1\n  'x',\n]\n",
    "[build.x]\ny = 1\n",
    '[[bins]]\nname = "build"\n',
    "a = \"ends in a quote\\\"\"\nb = '''two quotes'''''\n[build]\n",
]


def parsed(text: str) -> Dict[str, Any]:
    return dict(TOML.loads(text))


@pytest.mark.parametrize("text", FILES)
def test_the_key_is_set_and_nothing_else_changes(text: str) -> None:
    changed = cargo_config.with_wrapper(text, KACHE, "config.toml")
    expected = parsed(text)
    expected["build"] = {**expected.get("build", {}), "rustc-wrapper": KACHE}
    assert parsed(changed) == expected
    assert cargo_config.wrapper(changed, "config.toml") == KACHE


@pytest.mark.parametrize("text", FILES)
def test_undo_gives_the_bytes_back(text: str) -> None:
    changed = cargo_config.with_wrapper(text, KACHE, "config.toml")
    assert cargo_config.without_wrapper(changed, "config.toml") == text


@pytest.mark.parametrize("text", FILES)
def test_setting_it_again_changes_nothing_and_setting_another_keeps_the_way_back(text: str) -> None:
    once = cargo_config.with_wrapper(text, KACHE, "config.toml")
    assert cargo_config.with_wrapper(once, KACHE, "config.toml") == once
    moved = cargo_config.with_wrapper(once, "/usr/bin/kache", "config.toml")
    assert cargo_config.wrapper(moved, "config.toml") == "/usr/bin/kache"
    assert cargo_config.without_wrapper(moved, "config.toml") == text


def test_undo_of_a_file_without_our_mark_changes_nothing() -> None:
    text = '[build]\nrustc-wrapper = "sccache"\n'
    assert cargo_config.without_wrapper(text, "config.toml") == text


def test_undo_keeps_what_was_added_since() -> None:
    changed = cargo_config.with_wrapper("", KACHE, "config.toml") + "jobs = 4\n\n[net]\noffline = true\n"
    left = cargo_config.without_wrapper(changed, "config.toml")
    assert parsed(left) == {"build": {"jobs": 4}, "net": {"offline": True}}
    assert "kache" not in left


@pytest.mark.parametrize(
    "text", ["build = { jobs = 4 }\n", '[build]\nrustc-wrapper = """\nsccache"""\n', "[build\n", "[build]\n[build]\n"]
)
def test_what_cannot_be_changed_safely_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: "):
        cargo_config.with_wrapper(text, KACHE, "config.toml")


KEYS = st.sampled_from(["jobs", "target", '"rustc-wrapper"', "rustc-wrapper", "rustflags", "x.y", "'q'"])
VALUES = st.sampled_from(
    [
        '"a"',
        "'b # c'",
        "3",
        "true",
        '["x", "[build]"]',
        "[\n 1, # two\n 2\n]",
        '"""\n[build]\n"""',
        "'''x'''",
        "{ a = 1 }",
    ]
)
TABLES = st.sampled_from(["[build]", "[ build ]", "[net]", "[build.sub]", "[[bin]]", '["build"]'])
SPACE = st.sampled_from(["", " ", "\t", "  # note", " # [build]"])
LINES = st.one_of(
    st.builds(lambda k, v, s: f"{k} = {v}{s}", KEYS, VALUES, SPACE),
    st.builds(lambda t, s: t + s, TABLES, SPACE),
    SPACE,
)


@given(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_toml_is_changed_right_or_refused(lines: List[str], newline: str, finished: bool) -> None:
    text = newline.join(line.replace("\n", newline) for line in lines) + (newline if finished else "")
    try:
        before = parsed(text)
    except ValueError:
        with pytest.raises(ConfigError):
            cargo_config.with_wrapper(text, KACHE, "f")
        return
    try:
        changed = cargo_config.with_wrapper(text, KACHE, "f")
    except ConfigError:
        return
    build = before.get("build", {})
    assert parsed(changed) == {**before, "build": {**build, "rustc-wrapper": KACHE}}
    assert cargo_config.without_wrapper(changed, "f") == text


@given(st.text(max_size=200))
def test_statements_cover_the_text_in_order(text: str) -> None:
    end = 0
    for statement in cargo_config.statements(text):
        assert end <= statement.start < statement.end <= len(text)
        end = statement.end


def test_the_older_name_is_used_where_it_exists(tmp_path: Path) -> None:
    environ = {"CARGO_HOME": str(tmp_path)}
    assert cargo_config.path(environ, "") == f"{tmp_path}/config.toml"
    (tmp_path / "config").write_text("")
    assert cargo_config.path(environ, "") == f"{tmp_path}/config"
    assert cargo_config.path({}, "/home/me") == "/home/me/.cargo/config.toml"


def test_writing_keeps_mode_and_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "config.toml"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o600)
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    cargo_config.write(str(link), "new\r\n")
    assert link.is_symlink()
    assert real.read_bytes() == b"new\r\n"
    assert real.stat().st_mode & 0o777 == 0o600
    assert os.listdir(real.parent) == ["config.toml"]


def test_a_value_is_quoted_for_toml() -> None:
    odd = '/a "b"\\c\td'
    assert parsed("x = " + cargo_config.quote(odd)) == {"x": odd}

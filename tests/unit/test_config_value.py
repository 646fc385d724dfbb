"""config_value: what people type is judged as what stands in a file is, and means what they meant."""

import importlib
import sys
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import config_file, config_value
from kachelib.config_value import Written
from kachelib.outcome import UsageError
from kachelib.settings import SETTINGS, Setting

TOML = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
ENVIRON = {"HOME": "/home/me", "PLACE": "/place"}


@pytest.mark.parametrize("name", ["cache.local_max_size", "KACHE_MAX_SIZE", "local_max_size"])
def test_a_setting_has_three_names(name: str) -> None:
    assert config_value.find(name).name == "local_max_size"


def test_every_name_means_one_setting() -> None:
    for row in SETTINGS:
        for name in filter(None, (row.key, row.env, row.name)):
            assert config_value.find(name) is row


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cache.local_max_sise", "did you mean cache.local_max_size?"),
        ("local_store", "did you mean cache.local_store?"),
        ("bucket", "did you mean cache.remote.bucket?"),
        ("remote.bucket", "did you mean remote_bucket?"),
        ("KACHE_MAXSIZE", "did you mean KACHE_MAX_SIZE?"),
        ("zzz", "no setting 'zzz'; 'kache config --show' lists all"),
    ],
)
def test_an_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        config_value.find(name)
    assert hint in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("cache.local_max_size", ["20GiB"], "20GiB"),
        ("cache.local_max_size", [" 1.5GiB "], "1.5GiB"),
        ("cache.local_max_size", ["1024"], 1024),
        ("cache.compression_level", ["22"], 22),
        ("cache.daemon_idle_timeout_secs", ["0"], 0),
        ("cache.daemon_idle_timeout_secs", ["1h30m"], "1h30m"),
        ("cache.nix_salt", ["ON"], True),
        ("cache.nix_salt", ["0"], False),
        ("cache.remote.type", ["FileSystem"], "filesystem"),
        ("cache.key_salt", [" as it is "], " as it is "),
        ("cache.local_store", ["~/x"], "~/x"),
        ("cache.local_store", ["$PLACE/x"], "$PLACE/x"),
        ("cache.exclude", ["a/**", "b c/**"], ["a/**", "b c/**"]),
        ("cache.exclude", ["[ab]/**"], ["[ab]/**"]),
        ("cache.exclude", ['["a", "b"]'], ["a", "b"]),
        ("cache.exclude", ["[]"], []),
        ("cache.exclude", ["[1]"], ["[1]"]),
        ("cc.extra_allowlist_flags", ["-fno-rtti"], ["-fno-rtti"]),
        ("paths.base_dirs", ["/a:b", "~/c"], ["/a:b", "~/c"]),
    ],
)
def test_words_become_the_value_that_a_file_has(key: str, words: List[str], value: Written) -> None:
    found = config_value.from_words(config_value.find(key), words, ENVIRON)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "words", "accepted"),
    [
        ("cache.local_max_size", ["lots"], "give a size such as 50GiB"),
        ("cache.local_max_size", ["0"], "more than 0"),
        ("cache.local_max_size", ["9999999999999999999"], "give a size"),
        ("cache.compression_level", ["23"], "give a whole number from 1 to 22"),
        ("cache.compression_level", ["x"], "give a whole number from 1 to 22"),
        ("cache.compression_level", ["²"], "give a whole number from 1 to 22"),
        ("cache.compression_level", ["1", "2"], "as one word"),
        ("cache.daemon_idle_timeout_secs", ["soon"], "give seconds, or a duration such as 10m"),
        ("cache.nix_salt", ["perhaps"], "give true or false"),
        ("cache.uploader", ["on"], "give auto or off"),
        ("cache.key_salt", [""], "an empty value is the same as none"),
        ("cache.key_salt", ["\udc80"], "it is not UTF-8"),
        ("cache.key_salt", ["a\0b"], "a NUL character"),
        ("cache.local_store", ["$NOWHERE/x"], "$NOWHERE is not set"),
        ("paths.base_dirs", ["/a", "${NOWHERE}"], "${NOWHERE} is not set"),
        ("cache.exclude", ["a", "{b"], "{"),
        ("cache.key_env_vars", ["A=1"], "give names of environment variables"),
        ("cc.extra_allowlist_flags", ["-x", ""], "none empty"),
    ],
)
def test_what_a_file_may_not_say_is_not_taken(key: str, words: List[str], accepted: str) -> None:
    with pytest.raises(ValueError) as caught:
        config_value.from_words(config_value.find(key), words, ENVIRON)
    assert accepted in str(caught.value)


@pytest.mark.parametrize(
    ("line", "value"),
    [("a/** b/**", ["a/**", "b/**"]), ('["a b", "c"]', ["a b", "c"]), ("", []), (" [ab]* x ", ["[ab]*", "x"])],
)
def test_a_line_of_a_list_is_words_or_toml(line: str, value: List[str]) -> None:
    assert config_value.from_line(config_value.find("cache.exclude"), line, ENVIRON) == value


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.one_of(TEXTS, st.booleans(), st.integers(0, 2**63 - 1), st.lists(TEXTS))


@given(VALUES)
def test_toml_of_a_value_is_read_as_that_value(value: Written) -> None:
    text = config_value.toml(value)
    assert "\n" not in text
    found = TOML.loads("a = " + text)["a"]
    assert found == value and type(found) is type(value)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)))
def test_a_list_is_edited_as_what_it_is(items: List[str]) -> None:
    row = config_value.find("cc.extra_allowlist_flags")
    assert config_value.from_line(row, config_value.line_of(row, items), ENVIRON) == items


ROWS = [row for row in SETTINGS if row.key]


@given(st.sampled_from(ROWS), st.text(st.sampled_from("a1 0GiB[]\"',{}*$\\xtrue"), max_size=12))
def test_what_is_taken_the_file_takes(row: Setting, text: str) -> None:
    try:
        value = config_value.from_words(row, [text], ENVIRON)
    except ValueError as error:
        assert str(error)
        return
    assert config_file.accept(row, value) != ""

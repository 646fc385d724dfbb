"""Keys: two lists of fields that differ have keys that differ, and a key is the same everywhere."""

import subprocess
import sys
from typing import List, Tuple

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from kachelib.key import Transcript, digest_bytes
from tests.world import REPOSITORY

Fields = List[Tuple[str, str]]

# Names and values as they come: decoded bytes, with surrogate escapes where they were not UTF-8.
texts = st.binary(max_size=12).map(lambda data: data.decode("utf-8", "surrogateescape"))
fields = st.lists(st.tuples(texts, texts), max_size=5)


def key_of(found: Fields) -> str:
    transcript = Transcript()
    for tag, value in found:
        transcript.add(tag, value)
    return transcript.digest()


def test_a_digest_is_blake3_in_lower_case_hex() -> None:
    assert digest_bytes(b"") == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest_bytes(b"kache") == blake3(b"kache").hexdigest()


def test_the_recipe_of_a_key_is_fixed() -> None:
    """Another recipe needs another schema: whoever changes this number has to raise it."""
    expected = blake3(b"4:name5:value4:more3:\xffa\n").hexdigest()
    assert key_of([("name", "value"), ("more", "\udcffa\n")]) == expected


@given(fields, fields)
def test_other_fields_have_another_key(one: Fields, other: Fields) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


@pytest.mark.parametrize(
    "one, other",
    [
        ([("-I", "-O2")], [("-I-O2", "")]),
        ([("a", "bc")], [("ab", "c")]),
        ([("a", "b"), ("c", "d")], [("a", "b1:c1:d")]),
        ([("a", "1:b")], [("a1:", "b")]),
        ([("a", "b"), ("a", "c")], [("a", "c"), ("a", "b")]),
        ([("a", "")], []),
        ([("a", "")], [("", "a")]),
        ([("a", "x"), ("a", "y")], [("a", "xy")]),
        ([("1", "1:1")], [("11:", "1")]),
    ],
)
def test_lists_that_look_alike_when_joined(one: Fields, other: Fields) -> None:
    assert key_of(one) != key_of(other)


@given(fields)
def test_the_transcript_holds_what_was_added(found: Fields) -> None:
    transcript = Transcript()
    for tag, value in found:
        transcript.add(tag, value)
    assert transcript.fields == found


def test_names_and_values_that_are_no_text() -> None:
    assert key_of([("extra input \udcff", "\udcfe")]) != key_of([("extra input \udcfe", "\udcff")])


def test_a_key_does_not_depend_on_the_process() -> None:
    """Neither the hash seed nor the locale nor UTF-8 mode is part of it."""
    code = "from kachelib.key import Transcript; t = Transcript(); t.add('\\xe4', '\\xfc\\udcff'); print(t.digest())"
    found = set()
    for seed, locale, mode in (("1", "C", "0"), ("2", "C.UTF-8", "1"), ("3", "POSIX", "0")):
        env = {"PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONUTF8": mode}
        env["PYTHONPATH"] = ":".join([str(REPOSITORY), *sys.path])
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1

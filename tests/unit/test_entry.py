"""The entry's bytes: what is written is read again, and nothing else is."""

from typing import Any, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kachelib import entry
from kachelib.entry import ABSENT, FILE, MOST_CANDIDATES, SOURCE, Candidate, Entry, EnvDep, Input, Output, Stream
from kachelib.key import digest_bytes

KEY = "ab" * 32
OTHER = "cd" * 32

# As they come: decoded bytes, with surrogate escapes where they were not UTF-8; NUL ends a field.
texts = st.binary(max_size=8).map(lambda data: data.replace(b"\0", b"-").decode("utf-8", "surrogateescape"))
digests = st.binary(max_size=4).map(digest_bytes)
numbers = st.integers(0, 2**62)
streams = st.one_of(
    st.builds(Stream, data=st.binary(max_size=40).map(lambda data: data.replace(b"\0", b""))),
    st.builds(Stream, digest=digests),
)


@st.composite
def candidates(draw: Any) -> Candidate:
    found = Candidate()
    found.cache_key = draw(digests)
    found.crate_name, found.crate_types, found.fingerprint, found.layout = (draw(texts) for _ in range(4))
    found.created, found.compile_ms = draw(numbers), draw(numbers)
    found.bindings = draw(st.lists(st.tuples(texts, texts), max_size=3))
    found.env_deps = draw(st.lists(st.builds(EnvDep, texts, st.sampled_from("=~-"), texts), max_size=3))
    inputs = st.builds(Input, st.sampled_from([SOURCE, FILE, ABSENT]), texts, digests)
    found.inputs = draw(st.lists(inputs, max_size=4, unique_by=lambda item: item.path))
    found.needs = draw(st.lists(texts, max_size=3))
    found.outputs = draw(st.lists(st.builds(Output, texts, texts, digests, numbers, st.booleans()), max_size=4))
    found.stdout, found.stderr = draw(streams), draw(streams)
    return found


def facts(record: Any) -> Any:
    """A record and all below it as plain values."""
    if isinstance(record, (list, tuple)):
        return [facts(item) for item in record]
    if hasattr(record, "__slots__"):
        return {name: facts(getattr(record, name)) for name in record.__slots__}
    return record


def entry_with(*found: Candidate, fields: Tuple[Tuple[str, str], ...] = (("schema", "1"),)) -> Entry:
    made = entry.empty()
    for each in found:
        made = made.with_candidate(each, fields)
    return made


def small(key: str = "", **values: Any) -> Candidate:
    found = Candidate()
    found.cache_key = key or digest_bytes(b"")
    for name, value in values.items():
        setattr(found, name, value)
    return found


def read(data: bytes, key: str = KEY) -> Entry:
    found = entry.decode(data, key)
    assert found is not None
    return found


@given(
    st.lists(candidates(), max_size=4, unique_by=lambda each: each.cache_key),
    st.lists(st.tuples(texts, texts), max_size=4),
)
def test_what_was_written_is_read(found: List[Candidate], fields: List[Tuple[str, str]]) -> None:
    made = entry_with(*found, fields=tuple(fields))
    again = read(made.encode(KEY))
    assert facts(list(again.candidates())) == facts(found[::-1])
    assert len(again) == len(found)
    assert again.encode(KEY) == made.encode(KEY)
    if found:
        assert again.transcript() == fields


@given(candidates(), st.data())
def test_any_change_is_noticed(found: Candidate, data: st.DataObject) -> None:
    good = bytearray(entry_with(found).encode(KEY))
    place = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "remove"]))
    if kind == "flip":
        good[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del good[place:]
    elif kind == "insert":
        good.insert(place, data.draw(st.integers(0, 255)))
    else:
        del good[place]
    if bytes(good) != entry_with(found).encode(KEY):
        assert entry.decode(bytes(good), KEY) is None


@given(st.binary(max_size=300))
def test_rubbish_is_no_entry(data: bytes) -> None:
    assert entry.decode(data, KEY) is None
    assert entry.decode(entry.MAGIC + data, KEY) is None


def test_another_actions_entry_is_none() -> None:
    assert entry.decode(entry_with(small()).encode(KEY), OTHER) is None


def test_another_version_is_none() -> None:
    data = entry_with(small()).encode(KEY)
    assert data.startswith(b"kache-entry 1\n")
    assert entry.decode(data.replace(b"kache-entry 1\n", b"kache-entry 2\n", 1), KEY) is None


def test_nothing_is_an_entry_without_candidates() -> None:
    assert len(entry.empty()) == 0
    assert list(read(entry.empty().encode(KEY)).candidates()) == []


def test_the_newest_candidate_comes_first_and_replaces_its_like() -> None:
    first, second = small("a" * 64, compile_ms=1), small("b" * 64, compile_ms=2)
    made = entry_with(first, second, small("a" * 64, compile_ms=3))
    assert [(each.cache_key[0], each.compile_ms) for each in made.candidates()] == [("a", 3), ("b", 2)]


def test_a_key_that_begins_like_another_is_another() -> None:
    made = entry_with(small("ab"), small("a"), small("abc"))
    assert [each.cache_key for each in made.candidates()] == ["abc", "a", "ab"]


def test_old_candidates_give_way() -> None:
    made = entry_with(*(small(f"{n:064d}") for n in range(MOST_CANDIDATES + 3)))
    keys = [int(each.cache_key) for each in made.candidates()]
    assert keys == list(range(MOST_CANDIDATES + 2, 2, -1))


def test_keeping_those_that_are_wanted() -> None:
    made = entry_with(*(small(f"{n:064d}") for n in range(5)), fields=(("tag", "value"),))
    kept = read(made.keeping(lambda each: int(each.cache_key) % 2 == 0).encode(KEY))
    assert [int(each.cache_key) for each in kept.candidates()] == [4, 2, 0]
    assert kept.transcript() == [("tag", "value")]
    assert len(made) == 5


def test_a_value_with_nul_does_not_break_the_transcript() -> None:
    """Only an argument file could bring one; a key is made of the value itself."""
    made = entry_with(small(), fields=(("-C link-arg", "a\0b"), ("next", "c")))
    assert read(made.encode(KEY)).transcript() == [("-C link-arg", "a b"), ("next", "c")]


@given(candidates(), st.randoms())
def test_the_order_of_reading_is_not_in_the_cache_key(found: Candidate, random: Any) -> None:
    found.env_deps = list({dep.name: dep for dep in found.env_deps}.values())
    before = found.compute_cache_key(KEY)
    for list_of in (found.bindings, found.env_deps, found.inputs):
        random.shuffle(list_of)
    assert found.compute_cache_key(KEY) == before


CHANGES: List[Tuple[str, Any]] = [
    ("fingerprint", "f"),
    ("layout", "80"),
    ("bindings", [("workspace", "/w")]),
    ("bindings", [("workspace", "/v")]),
    ("bindings", [("home", "/w")]),
    ("env_deps", [EnvDep("A", "=", "1")]),
    ("env_deps", [EnvDep("A", "=", "2")]),
    ("env_deps", [EnvDep("A", "~", "1")]),
    ("env_deps", [EnvDep("A", "-", "")]),
    ("env_deps", [EnvDep("A", "=", "")]),
    ("inputs", [Input(SOURCE, "a", "1" * 64)]),
    ("inputs", [Input(FILE, "a", "1" * 64)]),
    ("inputs", [Input(ABSENT, "a", "")]),
    ("inputs", [Input(SOURCE, "a", "2" * 64)]),
    ("inputs", [Input(SOURCE, "b", "1" * 64)]),
    ("inputs", [Input(SOURCE, "a", "1" * 64), Input(SOURCE, "b", "2" * 64)]),
    ("inputs", [Input(SOURCE, "a", "2" * 64), Input(SOURCE, "b", "1" * 64)]),
]


def test_all_that_was_read_is_in_the_cache_key() -> None:
    """Two modules that swapped their contents have another key, as has a variable that was unset."""
    keys = {small().compute_cache_key(KEY), small().compute_cache_key(OTHER)}
    keys |= {small(**{name: value}).compute_cache_key(KEY) for name, value in CHANGES}
    assert len(keys) == len(CHANGES) + 2


@pytest.mark.parametrize(
    "name, value",
    [("created", 5), ("compile_ms", 5), ("crate_name", "x"), ("outputs", [Output("a", "link", "1" * 64, 1, False)])],
)
def test_what_came_of_it_is_not_in_the_cache_key(name: str, value: Any) -> None:
    assert small(**{name: value}).compute_cache_key(KEY) == small().compute_cache_key(KEY)


def test_a_candidate_knows_its_blobs_and_its_size() -> None:
    found = small(
        outputs=[Output("a", "link", "1" * 64, 10, False), Output("b", "metadata", "2" * 64, 5, True)],
        stdout=Stream(b"inline"),
        stderr=Stream(digest="3" * 64),
    )
    assert found.blobs() == ["1" * 64, "2" * 64, "3" * 64]
    assert found.size() == 15

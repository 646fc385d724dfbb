"""Ways to a root in stores that no build would leave: circles, several writers of one file, files that nobody wrote."""

import json
from typing import Any, Dict, List, Sequence, Tuple

import pytest

from kachelib import cli
from kachelib.entry import Candidate
from kachelib.key import digest_bytes
from kachelib.store import Store
from tests.stock import action_of, log, put
from tests.world import World

LIB = "<workspace>/src/lib.rs"
Fields = List[Tuple[str, str]]


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def extern(name: str, content: bytes) -> Tuple[str, str]:
    return "extern", f"{name}  {digest_bytes(content)}"


def missed(world: World, candidate: Candidate, fields: Sequence[Tuple[str, str]] = (), **more: Any) -> None:
    known = {"crate_name": candidate.crate_name, "action_key": action_of(candidate.crate_name, fields)}
    log(world.cache_dir, {"result": "miss", **known, "cache_key": candidate.cache_key, **more})


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["why-miss", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_circle_ends_and_is_said(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for age, one, two in ((900, b"a1", b"b1"), (5, b"a2", b"b2")):
        of_a, of_b = [extern("b", two)], [extern("a", one)]
        a = put(store, "a", fields=of_a, content=one, age=age)
        b = put(store, "b", fields=of_b, content=two, age=age)
    missed(world, a, of_a)
    missed(world, b, of_b)
    [root] = {root["unknown"] for root in document(capsys)["roots"]}
    assert root == "its dependencies lead back to itself"
    assert cli.main(["why-miss", "a"]) == 0


def test_of_several_writers_of_one_file_the_one_that_explains_least_is_taken(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comment changed and left the output as it was: the edit that came after is all that counts."""
    other = "<workspace>/src/other.rs"
    put(store, "base", content=b"old", inputs=[(LIB, "1"), (other, "1")], age=900)
    put(store, "base", content=b"old", inputs=[(LIB, "1"), (other, "comment")], age=800)
    base = put(store, "base", content=b"new", inputs=[(LIB, "2"), (other, "comment")], age=5)
    put(store, "app", fields=[extern("base", b"old")], age=900)
    fields = [extern("base", b"new")]
    app = put(store, "app", fields=fields, age=5)
    missed(world, base)
    missed(world, app, fields)
    [root] = document(capsys)["roots"]
    assert [change["name"] for change in root["changes"]] == [LIB] and root["units"] == 2


def test_a_dependency_that_is_new_is_an_input_of_its_own(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    base = put(store, "base", content=b"base", age=5)
    put(store, "app", age=900)
    fields = [extern("base", b"base")]
    app = put(store, "app", fields=fields, age=5)
    missed(world, base)
    missed(world, app, fields)
    texts = {root["text"]: root["only_because_of_it"] for root in document(capsys)["roots"]}
    assert texts == {"no earlier compile is known": ["base"], "app: dependency base was added": ["app"]}


def test_cargos_names_for_a_unit_are_a_root_only_where_nothing_else_is(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more in (("plain", []), ("optimised", [("-C opt-level", "3")])):
        put(store, name, fields=[("-C metadata", "1")], age=900)
        fields: Fields = [("-C metadata", "2"), *more]
        missed(world, put(store, name, fields=fields, age=5), fields)
    texts = {root["text"] for root in document(capsys)["roots"]}
    assert texts == {"plain: -C metadata changed from 1 to 2", "optimised: -C opt-level 3 was added"}


def test_another_unit_of_the_same_build_is_no_earlier_state(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two variants of a crate, and a flag that changed for both: each is compared with itself."""
    variants: List[Fields] = [[], [("-C relocation-model", "pic")]]
    for variant in variants:
        put(store, "alpha", fields=variant, age=900)
    for age, variant in zip((6, 5), variants):
        fields = [*variant, ("-C opt-level", "3")]
        missed(world, put(store, "alpha", fields=fields, age=age), fields)
    [root] = document(capsys)["roots"]
    assert root["text"] == "alpha: -C opt-level 3 was added" and root["units"] == 2


def test_another_kind_of_unit_is_no_earlier_state(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, "alpha", fields=[("emit", "link")], age=900)
    fields = [("emit", "metadata")]
    missed(world, put(store, "alpha", fields=fields, age=5), fields)
    [root] = document(capsys)["roots"]
    assert root["text"] == "no earlier compile is known"


def test_secrets_are_in_no_sentence(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, "alpha", env=[("API_TOKEN", "hunter2")], fields=[("salt", "s3cr3t-one")], age=900)
    fields = [("salt", "s3cr3t-two")]
    missed(world, put(store, "alpha", env=[("API_TOKEN", "hunter3")], fields=fields, age=5), fields)
    for arguments in ([], ["alpha"], ["--json"], ["alpha", "--json"]):
        assert cli.main(["why-miss", *arguments]) == 0
        said = capsys.readouterr().out
        assert "API_TOKEN" in said or "salt" in said
        assert "hunter" not in said and "s3cr3t" not in said


def test_a_long_way_is_told_by_its_ends(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    fields: Dict[int, Fields] = {}
    for age, state in ((900, "old"), (5, "new")):
        for number in range(12):
            fields[number] = [("source", LIB)]
            fields[number] += [extern(f"c{number - 1}", f"{number - 1} {state}".encode())] if number else []
            text = state if number == 0 else "same"
            content = f"{number} {state}".encode()
            made = put(store, f"c{number}", fields=fields[number], content=content, inputs=[(LIB, text)], age=age)
            if state == "new":
                missed(world, made, fields[number], root="/ws")
    [told] = [root["told"] for miss in document(capsys, "c11")["misses"] for root in miss["roots"]]
    assert told.startswith("c11 missed because c10 changed; c10 missed because c9 changed; 7 more in between; c2 ")
    assert told.endswith("c0 missed because src/lib.rs changed (in /ws)")


def test_a_chain_of_a_thousand_is_followed(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """No recursion: Python has a limit there."""
    for age, state in ((900, "old"), (5, "new")):
        for number in range(1000):
            fields = [extern(f"c{number - 1}", f"{number - 1} {state}".encode())] if number else []
            text = state if number == 0 else "same"
            content = f"{number} {state}".encode()
            made = put(store, f"c{number}", fields=fields, content=content, inputs=[(LIB, text)], age=age)
    missed(world, made, fields)
    [miss] = document(capsys, "c999")["misses"]
    [root] = miss["roots"]
    assert root["crate_names"] == ["c0"] and len(root["way"]) == 1000


def test_of_very_many_roots_the_most_expensive_are_told(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        put(store, f"c{number}", inputs=[(LIB, "old")], age=900)
        missed(world, put(store, f"c{number}", inputs=[(LIB, f"new {number}")], age=5), compile_time_ms=1000 + number)
    assert cli.main(["why-miss"]) == 0
    said = capsys.readouterr().out
    assert "c29: " in said and "c10: " in said and "c9: " not in said and "and 10 more; " in said
    assert len(document(capsys)["roots"]) == 30


def test_since_takes_all_of_that_time_for_one_build(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = put(store, "alpha", age=5)
    missed(world, made)
    missed(world, made, reason="a blob is missing")
    assert document(capsys)["build"]["compiled"] == 1
    assert document(capsys, "--since", "1h")["build"]["compiled"] == 2


def test_a_compile_that_was_not_stored_says_why(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "no earlier compile of this action; not stored: src/lib.rs changed during the compile"
    log(world.cache_dir, {"result": "miss", "crate_name": "alpha", "action_key": "0" * 64, "reason": reason})
    [root] = document(capsys)["roots"]
    assert root["text"] == "alpha: its compile could not be stored: src/lib.rs changed during the compile"

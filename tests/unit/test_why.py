"""why-miss names the input that changed, old and new, and no secret."""

import json
from typing import Any, Dict, List, Tuple

import pytest

from kachelib import cli
from kachelib.entry import Candidate
from kachelib.store import Store
from tests.stock import action_of, log, put
from tests.world import World

LIB = "<workspace>/src/lib.rs"


@pytest.fixture
def store(world: World) -> Store:
    return Store(str(world.cache_dir))


def missed(world: World, candidate: Candidate, fields: Any = (), **more: Any) -> None:
    """The event that the wrapper writes when ``candidate`` was compiled."""
    action_key = action_of(candidate.crate_name, fields)
    known = {"crate_name": candidate.crate_name, "crate_types": candidate.crate_types, "action_key": action_key}
    log(world.cache_dir, {"result": "miss", **known, "cache_key": candidate.cache_key, "compile_time_ms": 1500, **more})


def explained(capsys: pytest.CaptureFixture[str], crate: str) -> List[Dict[str, Any]]:
    assert cli.main(["why-miss", crate, "--json"]) == 0
    misses = json.loads(capsys.readouterr().out)["misses"]
    assert isinstance(misses, list)
    return misses


def changes(capsys: pytest.CaptureFixture[str], crate: str) -> List[Tuple[str, str, str]]:
    [found] = explained(capsys, crate)
    return [(change["name"], change["old"], change["new"]) for change in found["changes"]]


def test_a_changed_source_is_named(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    other = ("<workspace>/src/a.rs", "same")
    old = put(store, "alpha", inputs=[(LIB, "one"), other], age=900)
    new = put(store, "alpha", inputs=[(LIB, "two"), other], age=5)
    missed(world, new)
    assert changes(capsys, "alpha") == [(LIB, old.inputs[0].digest[:12], new.inputs[0].digest[:12])]


def test_a_source_that_came_and_one_that_went_are_named(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, "alpha", inputs=[(LIB, "one"), ("<workspace>/src/old.rs", "x")], age=900)
    new = put(store, "alpha", inputs=[(LIB, "one"), ("<workspace>/src/new.rs", "x")], age=5)
    missed(world, new)
    found = {name: (bool(old), bool(new)) for name, old, new in changes(capsys, "alpha")}
    assert found == {"<workspace>/src/old.rs": (True, False), "<workspace>/src/new.rs": (False, True)}


def test_a_changed_variable_is_shown_and_a_secret_is_not(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, "alpha", env=[("GREETING", "hello"), ("API_TOKEN", "hunter2")], age=900)
    new = put(store, "alpha", env=[("GREETING", "bye"), ("API_TOKEN", "hunter3")], age=5)
    missed(world, new)
    found = changes(capsys, "alpha")
    assert ("variable GREETING", "hello", "bye") in found
    [(_, old, now)] = [change for change in found if change[0] == "variable API_TOKEN"]
    assert old != now, "that it changed is seen"
    cli.main(["why-miss", "alpha"])
    assert "hunter" not in json.dumps(found) + capsys.readouterr().out


def test_the_run_that_differs_least_is_compared(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, "alpha", inputs=[(LIB, "one"), ("<workspace>/src/a.rs", "1")], age=900)
    put(store, "alpha", inputs=[(LIB, "zero"), ("<workspace>/src/a.rs", "0")], age=100)
    new = put(store, "alpha", inputs=[(LIB, "two"), ("<workspace>/src/a.rs", "1")], age=5)
    missed(world, new)
    assert [name for name, _, _ in changes(capsys, "alpha")] == [LIB]


BASE = [("compiler", "rustc 1.94.0\nhost: x\nrelease: 1.94.0"), ("-C opt-level", "0"), ("extern", "serde  " + "a" * 64)]


@pytest.mark.parametrize(
    ("index", "value", "expected"),
    [  # which field of BASE changed, to what
        (1, ("-C opt-level", "3"), [("-C opt-level", "0", "3")]),
        (2, ("extern", "serde  " + "b" * 64), [("dependency serde", "a" * 12, "b" * 12)]),
        (
            0,
            ("compiler", "rustc 1.95.0\nhost: x\nrelease: 1.95.0"),
            [("compiler", "rustc 1.94.0", "rustc 1.95.0"), ("compiler release", "1.94.0", "1.95.0")],
        ),
    ],
)
def test_a_changed_command_is_compared_with_the_nearest_one(
    world: World,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    *,
    index: int,
    value: Tuple[str, str],
    expected: List[Tuple[str, str, str]],
) -> None:
    fields = list(BASE)
    fields[index] = value
    far = [("compiler", "rustc 1.50.0"), ("-C opt-level", "1"), ("-C lto", "fat"), ("cfg", "x")]
    put(store, "alpha", fields=far, age=100)
    put(store, "alpha", fields=BASE, age=900)
    put(store, "other", fields=fields, age=50)
    new = put(store, "alpha", fields=fields, age=5)
    missed(world, new, fields)
    assert changes(capsys, "alpha") == expected


def test_another_kind_of_unit_is_not_the_nearest(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    build, check = ("--emit", "dep-info,metadata,link"), ("--emit", "dep-info,metadata")
    put(store, "alpha", fields=[check, ("-C opt-level", "0")], age=100)
    put(store, "alpha", fields=[build, ("-C opt-level", "1"), ("cfg", "x")], age=900)
    fields = [build, ("-C opt-level", "0")]
    new = put(store, "alpha", fields=fields, age=5)
    missed(world, new, fields)
    assert [name for name, _, _ in changes(capsys, "alpha")] == ["-C opt-level", "cfg"]


def test_salt_and_secret_variables_of_a_command_are_hidden(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, "alpha", fields=[("salt", "s3cr3t-one"), ("env DB_PASSWORD", "=hunter2")], age=900)
    fields = [("salt", "s3cr3t-two"), ("env DB_PASSWORD", "=hunter3")]
    new = put(store, "alpha", fields=fields, age=5)
    missed(world, new, fields)
    assert cli.main(["why-miss", "alpha"]) == 0
    out = capsys.readouterr().out
    assert "salt" in out and "env DB_PASSWORD" in out
    assert "s3cr3t" not in out and "hunter" not in out


def test_each_kind_of_unit_of_one_build_is_explained(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    first = put(store, "alpha", age=5)
    test = put(store, "alpha", crate_types="test", fields=[("--test", "")], age=5)
    missed(world, first)
    missed(world, first)
    missed(world, test, [("--test", "")])
    assert [miss["crate_types"] for miss in explained(capsys, "alpha")] == ["test", "lib"]


def test_a_first_compile_has_nothing_to_compare_with(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    missed(world, put(store, "alpha", age=5), reason="no earlier compile of this action")
    assert cli.main(["why-miss", "alpha"]) == 0
    out = capsys.readouterr().out
    assert "no earlier compile to compare with" in out
    assert "the wrapper said: no earlier compile of this action" in out


def test_an_entry_that_is_gone_is_no_error(world: World, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    candidate = put(store, "alpha", age=5)
    missed(world, candidate)
    store.write_entry(action_of("alpha"), store.read_entry(action_of("alpha")).keeping(lambda c: False))  # type: ignore[union-attr]
    assert explained(capsys, "alpha")[0]["compared_with"] is None


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "the event log knows no crate 'my-crate'"),
        ([{"result": "local_hit"}] * 2, "its last 2 invocations were hits"),
        ([{"result": "passthrough", "reason": "executable"}], "is not cached: linked outputs"),
        ([{"result": "error", "reason": "no space"}], "ended with error: no space"),
    ],
)
def test_a_crate_that_was_not_compiled_is_said_so(
    world: World, capsys: pytest.CaptureFixture[str], events: List[Dict[str, Any]], said: str
) -> None:
    log(world.cache_dir, *[{"crate_name": "my_crate", **event} for event in events])
    assert cli.main(["why-miss", "my-crate"]) == 1
    assert said in capsys.readouterr().err


def test_a_dependency_that_nobody_can_follow_is_said_so(
    world: World, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, "alpha", fields=[("extern", "serde  " + "a" * 64)], age=900)
    fields = [("extern", "serde  " + "b" * 64)]
    missed(world, put(store, "alpha", fields=fields, age=5), fields)
    cli.main(["why-miss", "alpha"])
    told = capsys.readouterr().out
    assert "why serde changed is not known: the store does not hold what wrote it" in told

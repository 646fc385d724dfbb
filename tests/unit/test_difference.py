"""What differs between two compiles, and how much of it is shown."""

from kachelib import difference
from kachelib.difference import Change
from kachelib.entry import Candidate, EnvDep, Input


def test_fingerprint_and_place_are_named() -> None:
    old, new = Candidate(), Candidate()
    old.fingerprint, new.fingerprint = "1" * 64, "2" * 64
    old.bindings, new.bindings = [("workspace", "/a")], [("workspace", "/b")]
    assert [tuple(difference.shown(change)) for change in difference.of_runs(old, new)] == [
        ("other files of the package", "1" * 12, "2" * 12),
        ("place of workspace", "/a", "/b"),
    ]


def test_repeated_options_are_compared_as_a_bag() -> None:
    old = [("cfg", "a"), ("cfg", "b"), ("cfg", "b")]
    new = [("cfg", "b"), ("cfg", "c"), ("cfg", "a")]
    assert [tuple(change) for change in difference.of_commands(old, new)] == [("cfg", "b", "c")]
    assert difference.of_commands(old, list(reversed(old))) == [Change("the order of arguments", "", "")]
    assert difference.of_commands(old, old) == []


def test_what_differs_is_kept_whole_and_shown_short() -> None:
    old, new = Candidate(), Candidate()
    old.inputs, new.inputs = [Input("s", "<workspace>/a.rs", "1" * 64)], [Input("s", "<workspace>/a.rs", "2" * 64)]
    [change] = difference.of_files(old, new)
    assert change == Change("<workspace>/a.rs", "1" * 64, "2" * 64)
    assert difference.shown(change) == Change("<workspace>/a.rs", "1" * 12, "2" * 12)


def test_two_secrets_that_differ_are_told_apart_and_not_shown() -> None:
    old, new = Candidate(), Candidate()
    old.env_deps, new.env_deps = [EnvDep("API_TOKEN", "=", "hunter2")], [EnvDep("API_TOKEN", "-", "")]
    [change] = map(difference.shown, difference.of_runs(old, new))
    assert "hunter" not in change.old and change.old and change.new == "(not set)"

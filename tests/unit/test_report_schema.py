"""report --json is what docs/report.schema.json says, whatever stands in the event log."""

import copy
import json
import re
from pathlib import Path
from typing import Any, Dict, List

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kachelib import cli, history, report
from kachelib.outcome import RESULTS
from kachelib.report import Scope
from tests import calls, schema
from tests.calls import Event
from tests.stock import log
from tests.world import REPOSITORY, World


def full(world: World) -> Dict[str, Any]:
    """A report in which no list is empty and nothing is null."""
    log(world.cache_dir, *({"result": result, "reason": "unsupported_flag: -fx", "root": "/ws"} for result in RESULTS))
    history.record_gc(str(world.cache_dir), {"entries_evicted": 3, "bytes_freed": 100})
    history.record_transfer(str(world.cache_dir), {"pulled": 3, "pulled_bytes": 100, "elapsed_ms": 1.5})
    return report.build(str(world.cache_dir), 3600)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.published())


def test_a_full_report_fits(world: World) -> None:
    document = full(world)
    assert document["network"]
    assert document["gc"]
    schema.check({"schema_version": 1, **document})


@pytest.mark.parametrize("arguments", [[], ["--since", "1h"], ["--root", "/ws", "--root", "rel"], ["--top", "1"]])
def test_what_the_command_prints_fits(world: World, capsys: pytest.CaptureFixture[str], arguments: List[str]) -> None:
    full(world)
    assert cli.main(["report", "--json", *arguments]) == 0
    schema.check(json.loads(capsys.readouterr().out))


@given(calls.events(), st.sampled_from([Scope(), Scope(top=2), Scope(roots=("/ws",))]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_report_of_any_log_fits(tmp_path: Path, events: List[Event], scope: Scope) -> None:
    calls.written(tmp_path / "cache", events)
    document = report.collect(str(tmp_path / "cache"), scope).document
    text = json.dumps({"schema_version": 1, **document}, allow_nan=False)
    schema.check(json.loads(text))


def test_fields_may_be_added(world: World) -> None:
    document = {"schema_version": 1, **full(world), "new": 1}
    document["summary"]["newer"] = 2
    jsonschema.Draft202012Validator(schema.published()).validate(document)
    with pytest.raises(jsonschema.ValidationError):
        schema.check(document)


def paths(document: Any, way: str = "") -> List[str]:
    """Every field of a document; of a list its first item's."""
    if isinstance(document, list):
        return paths(document[0], way + "[]") if document else []
    if not isinstance(document, dict):
        return []
    return [field for name in document for field in (f"{way}.{name}", *paths(document[name], f"{way}.{name}"))]


def without(document: Any, path: str) -> Any:
    """A copy that lacks one field."""
    lacking = copy.deepcopy(document)
    at = lacking
    *steps, last = path.strip(".").split(".")
    for step in steps:
        at = at[step[:-2]][0] if step.endswith("[]") else at[step]
    del at[last]
    return lacking


def test_no_field_may_go(world: World) -> None:
    """The schema would notice each of them missing, and of another kind."""
    document = {"schema_version": 1, **full(world)}
    fields = paths(document)
    assert len(fields) > 60
    for field in fields:
        with pytest.raises(jsonschema.ValidationError):
            schema.check(without(document, field))


def test_the_documentation_names_every_field(world: World) -> None:
    text = (REPOSITORY / "docs" / "commands.md").read_text("utf-8")
    section = text.partition("## `kache report`")[2].partition("\n## ")[0]
    names = {re.split(r"[.\[]", field.replace("[]", ""))[-1] for field in paths(full(world))}
    assert [name for name in sorted(names) if not re.search(rf"[`.]{name}[`.\[]", section)] == []

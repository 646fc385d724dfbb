"""docs/report.schema.json, as tests hold reports against it."""

import json
from typing import Any, Dict

import jsonschema

from tests.world import REPOSITORY

FILE = REPOSITORY / "docs" / "report.schema.json"


def published() -> Dict[str, Any]:
    """The schema that people get."""
    found = json.loads(FILE.read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def closed(schema: Any) -> Any:
    """The same schema without room for fields that it does not name: what kache writes must all be described."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if "properties" in schema and "type" in schema else {}
    return {**{name: closed(part) for name, part in schema.items()}, **more}


def check(document: Any) -> None:
    """Fails where ``document`` is no report, or has a field that the schema does not describe."""
    jsonschema.Draft202012Validator(closed(published())).validate(document)

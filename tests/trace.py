"""A trace as its viewers read it: Chrome's trace events, checked without kache's own code.

The shapes are those of the "Trace Event Format": complete events (X) and metadata (M).
"""

import json
from typing import Any, Dict, List, NamedTuple

import jsonschema

SCHEMA: Dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["ph", "name", "pid", "tid"],
                "properties": {
                    "ph": {"enum": ["X", "M"]},
                    "name": {"type": "string", "minLength": 1},
                    "pid": {"type": "integer", "minimum": 1},
                    "tid": {"type": "integer", "minimum": 0},
                    "args": {"type": "object"},
                },
                "if": {"properties": {"ph": {"const": "X"}}},
                "then": {
                    "required": ["ts", "dur", "cat", "args"],
                    "properties": {
                        "ts": {"type": "integer", "minimum": 0},
                        "dur": {"type": "integer", "minimum": 0},
                        "tid": {"minimum": 1},
                        "cat": {"type": "string"},
                        "args": {"required": ["result"], "additionalProperties": {"type": ["string", "number"]}},
                    },
                },
                "else": {
                    "required": ["args"],
                    "properties": {
                        "name": {
                            "enum": [
                                *("process_name", "process_labels", "process_sort_index"),
                                *("thread_name", "thread_sort_index"),
                            ]
                        }
                    },
                },
            },
        },
    },
}


class Trace(NamedTuple):
    """calls: the complete events. names: (pid, tid) to a thread's name, (pid, 0) to its process's."""

    document: Dict[str, Any]
    calls: List[Dict[str, Any]]
    names: Dict["tuple[int, int]", str]


def read(text: str) -> Trace:
    """The trace in ``text``; fails where it is none, or where two calls overlap in a lane."""
    document = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    # A reader in C++ knows no lone surrogate.
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    calls = [event for event in document["traceEvents"] if event["ph"] == "X"]
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in document["traceEvents"]
        if event["name"] in ("process_name", "thread_name") and event["ph"] == "M"
    }
    reached: Dict["tuple[int, int]", int] = {}
    for call in sorted(calls, key=lambda call: (call["ts"], call["ts"] + call["dur"])):
        lane = (call["pid"], call["tid"])
        assert lane in names, "a lane without a name"
        assert call["ts"] >= reached.get(lane, 0), f"overlap in {lane}"
        reached[lane] = call["ts"] + call["dur"]
    return Trace(document, calls, names)


def most_at_once(calls: List[Dict[str, Any]]) -> int:
    """How many of the calls ran at one moment at most; each must take some time."""
    changes = sorted([(call["ts"] + call["dur"], -1) for call in calls] + [(call["ts"], 1) for call in calls])
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most

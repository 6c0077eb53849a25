"""The JSON of `report -o json`: its schema, and its reference page, both generated from the summary's model.

    python -m meshmark.report.schema     writes both where a checkout keeps them

A key is removed, or its meaning changed, only with a new `schema_version`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from meshmark.analysis.model import SUMMARY_VERSION, Summary

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "meshmark" / "resources" / "schemas" / "report.schema.json"
PAGE_FILE = ROOT / "docs" / "reference" / "report-json.md"

INTRODUCTION = f"""# The report as JSON

`meshmark report DIR -o json` prints a run in numbers; `meshmark run` writes the same to `summary.json` in the run
directory. This page and
[`report.schema.json`](../../meshmark/resources/schemas/report.schema.json) (JSON Schema 2020-12) are generated from
the code. `schema_version` is {SUMMARY_VERSION}; it rises when a key is removed or its meaning changes, not when a key
is added.

Base units everywhere: seconds, bytes, messages. *Per MB* and *per GB* mean 10^6 and 10^9 bytes of payload
acknowledged, before replication. Shares are between 0 and 1. What was not measured, or cannot be known, is `null`,
never 0. Keys are snake_case; inside `plan`, `started`, `finished`, `path` and `proofs` they are camelCase, as in plan
files and records.

    meshmark report DIR -o json | jq '.scenarios[] | {{name, rate_msg_s, loss_vs_plain, verdict}}'
"""


@cache
def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a summary as printed."""
    made = Summary.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """The reference in Markdown: one table for each kind of object, in the order in which they are met."""
    whole = schema()
    parts = [INTRODUCTION, _section("Summary", whole)]
    parts += [_section(name, whole["$defs"][name]) for name in _met(whole)]
    return "\n".join(parts)


def _met(whole: dict[str, Any]) -> list[str]:
    """Definitions of objects, breadth first from the summary."""
    order: list[str] = []
    waiting = [whole]
    while waiting:
        for name in _references(waiting.pop(0).get("properties", {})):
            if name not in order and "properties" in whole["$defs"][name]:
                order.append(name)
                waiting.append(whole["$defs"][name])
    return order


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _section(name: str, part: dict[str, Any]) -> str:
    description = " ".join(part.get("description", "").split())
    rows = [f"| `{key}` | {_type(value)} | {_meaning(value)} |" for key, value in part["properties"].items()]
    return "\n".join([f"## {name}", "", description, "", "| key | type | meaning |", "|---|---|---|", *rows, ""])


def _meaning(part: dict[str, Any]) -> str:
    return str(part.get("description", "")).replace("|", "\\|").replace("\n", " ")


def _type(part: dict[str, Any]) -> str:
    if "$ref" in part:
        return _link(part["$ref"].rpartition("/")[2])
    if "anyOf" in part:
        return " or ".join(_type(each) for each in part["anyOf"])
    if "enum" in part or "const" in part:
        return ", ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        return f"list of {_type(part.get('items', {}))}"
    if part.get("type") == "object":
        inner = part.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, dict) else "object"
    return str(part.get("type", "any"))


def _link(name: str) -> str:
    """Enumerations have no section of their own."""
    definition = schema()["$defs"][name]
    return f"[{name}](#{name.lower()})" if "properties" in definition else _type(definition)


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    PAGE_FILE.write_text(page(), encoding="utf-8")

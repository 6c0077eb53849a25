"""What a plan file may hold: its JSON Schema, and the same said in words for error messages.

The schema is generated from the plan's models; it differs from theirs only where a file may say less than a
resolved plan: defaults for all scenarios at the top level, and a scenario that is only a data plane's name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from meshmark.plan import THRESHOLD_LIMIT, ClusterSpec, EnvironmentSpec, Method, Plan, Workload
from meshmark.values import Model

_NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,47}$"


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of plan files."""
    result = Plan.model_json_schema()
    definitions = result["$defs"]
    scenario = definitions["Scenario"]
    scenario["required"] = []
    scenario["anyOf"] = [{"required": ["name"]}, {"required": ["dataPlane"]}]
    scenario["description"] = "One scenario; what it does not say comes from the plan's top level."
    sections = (
        ("cluster", "ClusterSpec"),
        ("workload", "Workload"),
        ("method", "Method"),
        ("thresholds", "Thresholds"),
    )
    for key, model in sections:
        for holder in (scenario["properties"], result["properties"]):
            holder[key] = {"$ref": f"#/$defs/{model}"}
    result["properties"]["scenarios"]["items"] = {
        "anyOf": [{"$ref": "#/$defs/DataPlane"}, {"$ref": "#/$defs/Scenario"}]
    }
    result["description"] = "A meshmark plan file: what a run will do. `meshmark plan show` prints a full one."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result}


def schema_text() -> str:
    """The schema as committed in resources/schemas."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def resolve(part: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follows references into the schema's definitions; of a value that may be null, what it is else."""
    while True:
        kinds = [each for each in part.get("anyOf", ()) if each.get("type") != "null"]
        if "$ref" in part:
            part = root["$defs"][part["$ref"].rpartition("/")[2]]
        elif len(kinds) == 1:
            part = kinds[0]
        else:
            return part


def describe(part: dict[str, Any], root: dict[str, Any]) -> str:
    """What a value may be: `a whole number from 1 to 9`."""
    part = resolve(part, root)
    if "enum" in part:
        return "one of " + ", ".join(map(str, part["enum"]))
    if "const" in part:
        return str(part["const"])
    if "anyOf" in part:
        return "a word, a number, true or false"
    kind = part.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(part)
    if kind == "string":
        return _text(part)
    if kind == "array":
        return "a list of " + _lengths(part) + _plural(part.get("items", {}), root)
    return "a mapping" + (f" with {', '.join(sorted(part['properties']))}" if "properties" in part else "")


def sections_with(key: str) -> list[str]:
    """The sections of a plan that know a key."""
    models: dict[str, type[Model]] = {
        "cluster": ClusterSpec,
        "workload": Workload,
        "method": Method,
        "environment": EnvironmentSpec,
    }
    return [name for name, model in models.items() if key in model.model_json_schema()["properties"]]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing."""
    folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower().replace("_", ""), folded, n=1, cutoff=0.7)
    return f" (did you mean {folded[near[0]]}?)" if near else ""


def _bounds(part: dict[str, Any]) -> str:
    low = f"{part['minimum']:,}" if "minimum" in part else None
    above = f"{part['exclusiveMinimum']:,}" if "exclusiveMinimum" in part else None
    high = f"{part['maximum']:,}" if "maximum" in part else None
    below = f"{part['exclusiveMaximum']:,}" if "exclusiveMaximum" in part else None
    if low and high:
        return f" from {low} to {high}"
    words = [
        f"{word} {limit}"
        for word, limit in (("of at least", low), ("above", above), ("of at most", high), ("below", below))
        if limit
    ]
    return f" {' and '.join(words)}" if words else ""


def _text(part: dict[str, Any]) -> str:
    if part.get("pattern") == _NAME_PATTERN:
        return "1 to 48 lower-case letters, digits and hyphens, not beginning with a hyphen"
    if part.get("pattern") == THRESHOLD_LIMIT:
        return "a limit like <15% or <50"
    return f"text that matches {part['pattern']}" if "pattern" in part else "text"


def _lengths(part: dict[str, Any]) -> str:
    if "minItems" in part and "maxItems" in part:
        low, high = part["minItems"], part["maxItems"]
        return f"{low} " if low == high else f"{low} to {high} "
    return ""


def _plural(part: dict[str, Any], root: dict[str, Any]) -> str:
    part = resolve(part, root)
    return "texts" if part.get("type") == "string" else "entries"

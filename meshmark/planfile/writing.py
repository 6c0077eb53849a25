"""Plan -> YAML that reads back to the same plan, every default spelt out.

What all scenarios share is written once at the top level, as a person would.
"""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from meshmark.plan import Plan

_SHARED = ("cluster", "workload", "method", "thresholds")


def dump(plan: Plan) -> str:
    """The plan as a YAML file."""
    values: dict[str, Any] = plan.model_dump(mode="json")
    scenarios: list[dict[str, Any]] = values.pop("scenarios")
    for scenario in scenarios:
        if not scenario["baseline"]:
            del scenario["baseline"]
    for key in _SHARED:
        if all(scenario[key] == scenarios[0][key] for scenario in scenarios):
            values[key] = scenarios[0][key]
            for scenario in scenarios:
                del scenario[key]
    for scenario in scenarios:
        if not scenario.get("thresholds", True):
            del scenario["thresholds"]
    values["scenarios"] = [_short(scenario) for scenario in scenarios]
    return yaml_text(values)


def yaml_text(values: dict[str, Any]) -> str:
    """In the style of all YAML that meshmark writes."""
    yaml = YAML(typ="rt", pure=True)
    yaml.default_flow_style = False
    yaml.width = 119
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_escaped(values), stream)
    return stream.getvalue()


def _escaped(value: Any) -> Any:
    """Text with characters that an editor would not show is quoted, so that it is written as escapes."""
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, str) and not value.isprintable():
        return DoubleQuotedScalarString(value)
    return value


def _short(scenario: dict[str, Any]) -> dict[str, Any] | str:
    """A scenario that says nothing but its data plane is that name."""
    if set(scenario) == {"name", "dataPlane"} and scenario["name"] == scenario["dataPlane"]:
        return str(scenario["name"])
    return scenario

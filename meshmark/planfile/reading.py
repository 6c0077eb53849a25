"""A plan file -> Plan, with every mistake of the file at once.

Three passes over one tree of positioned values: the YAML itself (`tree`), each value against the plan's schema
(here), values against each other (`limits`). Top-level `cluster`, `workload`, `method` and `thresholds` are what each
scenario starts from; a scenario overrides them key by key. `topicConfig` and `producerConfig` add to the plan's own
defaults in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meshmark.data_plane import DataPlane
from meshmark.errors import PlanError, UsageError
from meshmark.plan import ClusterSpec, Method, Plan, Thresholds, Workload
from meshmark.planfile import limits
from meshmark.planfile.schema import describe, did_you_mean, resolve, sections_with
from meshmark.planfile.tree import START, Node, Problem, default, merge, parse
from meshmark.values import Model

FILE_BYTES_MAX = 1_000_000
FileOf = Literal["plan", "profile", "workload"]
SECTIONS: dict[str, type[Model]] = {
    "cluster": ClusterSpec,
    "workload": Workload,
    "method": Method,
    "thresholds": Thresholds,
}
M = TypeVar("M", bound=Model)
DATA_PLANES = [plane.value for plane in DataPlane]


def builtin_names() -> list[str]:
    """Names of the plans that come with meshmark."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _plans().iterdir() if entry.name.endswith(".yaml"))


def builtin(name: str) -> Plan:
    """A plan that comes with meshmark; UsageError for another name."""
    if name not in builtin_names():
        raise UsageError(
            f"no built-in plan is called {name}{did_you_mean(name, builtin_names())}",
            hint=f"there are: {', '.join(builtin_names())}; a file is given by its path",
        )
    return loads(_plans().joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def load(path: Path) -> Plan:
    """Reads a plan file. PlanError with all problems, each `FILE:LINE:COL: key: what is wrong; what is allowed`."""
    return loads(read_text(path), str(path))


def read_text(path: Path, of: FileOf = "plan") -> str:
    """PlanError for what is no readable text."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except IsADirectoryError:
        example = "" if of == "workload" else f" (`meshmark {of} show` prints one)"
        raise PlanError([f"{path}: a directory; give a {of} file{example}"], of) from None
    except OSError as error:
        raise PlanError([f"{path}: {error.strerror}; give a readable {of} file"], of) from error
    if len(content) > FILE_BYTES_MAX:
        raise PlanError([f"{path}: larger than {FILE_BYTES_MAX} bytes; this is no {of} file"], of)
    if b"\0" in content:
        raise PlanError([f"{path}: binary, or not UTF-8; a {of} is UTF-8 text"], of)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"{path}:{line}:1: not UTF-8 (byte {error.start}); save the {of} as UTF-8"
        raise PlanError([problem], of) from error


def loads(text: str, source: str) -> Plan:
    """`load` for text; `source` is what messages call the file."""
    root, problems = parse(text)
    plan: Plan | None = None
    if root is not None and isinstance(root.value, dict) and root.value:
        plan, found = _plan(root, {problem.key for problem in problems})
        problems = [*problems, *found]
    elif root is not None and root.value not in (None, {}):
        problems.append(Problem(root.at or START, "", "a plan is a mapping of keys (`name: ...`, `scenarios: ...`)"))
    elif not problems:
        problems.append(Problem(START, "", "empty; a plan needs `name` and `scenarios` (see `meshmark plan show`)"))
    if plan is None or problems:
        raise PlanError([f"{source}:{problem}" for problem in sorted(set(problems))])
    return plan


def _plans() -> Any:
    return files("meshmark") / "resources" / "plans"


def _plan(root: Node, known_bad: set[str]) -> tuple[Plan | None, list[Problem]]:
    """The plan if it can be one, and the problems found on the way; `known_bad` are keys already reported."""
    top = {key: _section(node) for key, node in root.items().items()}
    defaults = {name: merge(_model_defaults(name), top.pop(name, Node(value={}))) for name in SECTIONS}
    problems: list[Problem] = []
    for name, model in SECTIONS.items():
        problems += check(model, defaults[name], known_bad, within=name)
    scenarios = top.get("scenarios")
    resolved: list[Node] = []
    if scenarios is not None and isinstance(scenarios.value, list):
        resolved = [_scenario(item, defaults) for item in scenarios.value]
        top["scenarios"] = Node(value=list(resolved), key="scenarios", at=scenarios.at, key_at=scenarios.key_at)
    whole = Node(value=top, at=root.at or START, key_at=root.at)
    problems += check(Plan, whole, known_bad)
    bad = known_bad | {problem.key for problem in problems}
    problems += limits.problems(whole, resolved, bad)
    if bad or problems:
        return None, problems
    try:
        return validate(Plan, whole), []
    except ValidationError as error:  # a limit of the models that `limits` does not know
        return None, [Problem(whole.at or START, "", str(item["msg"])) for item in error.errors()]


def _section(node: Node) -> Node:
    """A section whose keys are all commented out says nothing, rather than null."""
    names = (*SECTIONS, "environment")
    if node.key.rpartition(".")[2] in names and node.value is None:
        return Node(value={}, key=node.key, at=node.at, key_at=node.key_at)
    return node


def _model_defaults(section: str) -> Node:
    """The default settings that a plan adds to: those mappings that are not empty."""
    values = SECTIONS[section]().model_dump(mode="json")
    return default({key: value for key, value in values.items() if isinstance(value, dict) and value}, section)


def _scenario(item: Node, defaults: dict[str, Node]) -> Node:
    """A scenario as written, on top of the plan's defaults: a data plane's name alone is one."""
    if isinstance(item.value, str):
        written = {name: Node(value=item.value, key=item.key, at=item.at) for name in ("name", "dataPlane")}
    elif isinstance(item.value, dict):
        written = {key: _section(node) for key, node in item.value.items()}
        for absent, other in (("name", "dataPlane"), ("dataPlane", "name")):
            source = written.get(other)
            if absent not in written and source is not None and source.value in DATA_PLANES:
                written[absent] = source
    else:
        return item
    for name, base in defaults.items():
        written[name] = merge(base, written[name]) if name in written else base
    return Node(value=written, key=item.key, at=item.at, key_at=item.key_at)


def validate(model: type[M], node: Node) -> M:
    """The model of a tree's values; raises pydantic's ValidationError."""
    # By way of JSON: strict there still takes lists and names, but no "3" and no true for a number.
    return model.model_validate_json(json.dumps(node.plain()), strict=True, by_alias=True, by_name=False)


def check(model: type[Model], node: Node, known_bad: set[str], within: str = "") -> list[Problem]:
    """Problems of each value on its own."""
    try:
        validate(model, node)
    except ValidationError as error:
        schema = model.model_json_schema()
        found = (_problem(item, node, schema, within) for item in error.errors())
        return [problem for problem in found if problem is not None and problem.key not in known_bad]
    return []


def _problem(error: ErrorDetails, root: Node, schema: dict[str, Any], within: str) -> Problem | None:
    """None for what is no single value's fault: `limits` says these with a place."""
    if error["type"] == "value_error":
        return None
    node, part, missing = _locate(root, schema, error["loc"])
    at = node.at or root.at or START
    if error["type"] == "missing":
        key = f"{node.key}.{missing}" if node.key else missing
        return Problem(at, key, f"missing; must be {describe(part, schema)}")
    if error["type"] == "extra_forbidden":
        return _unknown(node, missing, part, schema)
    if error["type"] == "too_short" and node.value:
        return None  # pydantic counts entries that it refused as absent
    key = node.key or within
    shown = _shown(node.value)
    known = resolve(part, schema).get("enum", [])
    near = did_you_mean(node.value, known) if isinstance(node.value, str) else ""
    return Problem(at, key, f"{shown} is not allowed{near}; must be {describe(part, schema)}")


def _unknown(node: Node, name: str, part: dict[str, Any], schema: dict[str, Any]) -> Problem:
    known = sorted(resolve(part, schema).get("properties", {}))
    child = node.items()[name]
    near = did_you_mean(name, known)
    if not near:
        homes = sections_with(name)
        near = f" (it belongs under {' or '.join(homes)})" if homes else ""
    return Problem(child.key_at or child.at or START, child.key, f"unknown key{near}; allowed: {', '.join(known)}")


def _locate(root: Node, schema: dict[str, Any], loc: Sequence[str | int]) -> tuple[Node, dict[str, Any], str]:
    """The value that an error is about, and its schema. For a key that is missing or unknown: the mapping around
    it and the key (a missing key comes with its own schema)."""
    node, part = root, schema
    for step in loc:
        inner = resolve(part, schema)
        if isinstance(step, int) and isinstance(node.value, list):
            node, part = node.value[step], inner.get("items", {})
            continue
        properties = inner.get("properties", {})
        child = node.items().get(str(step))
        if isinstance(node.value, dict) and step in properties:
            if child is None:
                return node, properties[step], str(step)
            node, part = child, properties[step]
        elif child is not None and "additionalProperties" in inner and inner["additionalProperties"]:
            node, part = child, inner["additionalProperties"]
        elif child is not None:
            return node, part, str(step)
        else:
            break  # the rest names a member of a union, not a place
    return node, part, ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:36]}..."

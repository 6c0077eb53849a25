"""A reference page in Markdown from a JSON Schema: one table for each kind of object, as they are met."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]


def page(introduction: str, whole: Schema, first: Mapping[str, Schema], *, defaults: bool = False) -> str:
    """`whole` holds the definitions that `first`, the sections to begin with by title, refer to. `defaults`: with a
    column for them."""
    return "\n".join([introduction, *_Page(whole["$defs"], defaults=defaults).sections(first)])


class _Page:
    def __init__(self, definitions: Mapping[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def sections(self, first: Mapping[str, Schema]) -> Iterator[str]:
        for name, part in first.items():
            yield self._section(name, part)
        for name in self._met(first):
            yield self._section(name, self._definitions[name])

    def _met(self, first: Mapping[str, Schema]) -> list[str]:
        """Definitions of objects, breadth first."""
        order: list[str] = []
        waiting = list(first.values())
        while waiting:
            for name in _references(waiting.pop(0).get("properties", {})):
                if name not in order and name not in first and "properties" in self._definitions[name]:
                    order.append(name)
                    waiting.append(self._definitions[name])
        return order

    def _section(self, name: str, part: Schema) -> str:
        description = " ".join(part.get("description", "").split())
        columns = ["key", "type", *(["default"] if self._defaults else []), "meaning"]
        rows = [self._row(key, value) for key, value in part["properties"].items()]
        head = [f"## {name}", "", description, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        return "\n".join([*head, *rows, ""])

    def _row(self, key: str, value: Schema) -> str:
        cells = [f"`{key}`", self._type(value), *([_default(value)] if self._defaults else []), _meaning(value)]
        return f"| {' | '.join(cells)} |"

    def _type(self, part: Schema) -> str:
        if "$ref" in part:
            return self._link(part["$ref"].rpartition("/")[2])
        if "anyOf" in part:
            return " or ".join(self._type(each) for each in part["anyOf"])
        if "enum" in part or "const" in part:
            return ", ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
        if part.get("type") == "array":
            return f"list of {self._type(part.get('items', {}))}"
        if part.get("type") == "object":
            inner = part.get("additionalProperties")
            return f"object of {self._type(inner)}" if isinstance(inner, dict) else "object"
        return str(part.get("type", "any"))

    def _link(self, name: str) -> str:
        """Enumerations have no section of their own."""
        definition = self._definitions[name]
        return f"[{name}](#{name.lower()})" if "properties" in definition else self._type(definition)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _meaning(part: Schema) -> str:
    return str(part.get("description", "")).replace("|", "\\|").replace("\n", " ")


def _default(part: Schema) -> str:
    """Of an object: what its own section says."""
    value = part.get("default")
    return "" if value is None or isinstance(value, dict) else f"`{json.dumps(value, ensure_ascii=False)}`"

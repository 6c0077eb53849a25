"""YAML text -> a tree of values that know where in the file they stand.

Takes the part of YAML 1.2 that a plan needs: mappings, lists and the core schema's scalars. Anchors, aliases,
tags and several documents are refused, and so are duplicate keys; every problem is kept, not only the first
(a syntax error alone ends the reading). Nothing here knows what a plan is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

DEPTH_MAX = 20
INTEGER_MAX = 2**63 - 1

Scalar = str | int | float | bool | None

# The scalars of YAML 1.2's core schema (section 10.3.2).
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Line and column, counted from 1 as editors do."""

    line: int
    column: int


START = Position(1, 1)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong with the value of `key`, e.g. `workload.messageSize`; `key` is empty for the whole file."""

    at: Position
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.at.line}:{self.at.column}: " + (f"{self.key}: " if self.key else "") + self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A value at a place. `at` is where the value begins, `key_at` where its key does; both are None for a
    default, which stands in no file."""

    value: Scalar | dict[str, Node] | list[Node]
    key: str = ""
    at: Position | None = None
    key_at: Position | None = None

    def items(self) -> dict[str, Node]:
        """The children of a mapping; of anything else, none."""
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """The value without positions, as JSON knows it."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`, mappings key by key; anything else of `over` replaces what was below."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(value=merged, key=over.key, at=over.at, key_at=over.key_at)


def default(value: Any, key: str = "") -> Node:
    """A tree of defaults."""
    if isinstance(value, dict):
        prefix = f"{key}." if key else ""
        return Node(value={name: default(item, prefix + name) for name, item in value.items()}, key=key)
    return Node(value=value, key=key)


def parse(text: str) -> tuple[Node | None, list[Problem]]:
    """The root of the only document, None where there is none or it cannot be read as YAML."""
    builder = _Builder()
    try:
        root = builder.document(YAML(typ="safe", pure=True).parse(text))
    except ReaderError as error:
        before = text[: error.position]
        at = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        return None, [Problem(at, "", "a character that YAML does not allow; this must be plain text")]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Position(mark.line + 1, mark.column + 1) if mark else START
        what = " ".join(str(error.problem or error.context or "cannot be read").split())
        return None, [*builder.problems, Problem(at, "", f"not YAML: {what}; check indentation and quotes here")]
    except YAMLError as error:
        return None, [*builder.problems, Problem(START, "", f"not YAML: {' '.join(str(error).split())}")]
    return root, builder.problems


def _at(event: Event) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


@dataclass(slots=True)
class _Builder:
    """Consumes parser events."""

    problems: list[Problem] = field(default_factory=list)

    def document(self, events: Iterator[Event]) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.problems.append(Problem(_at(event), "", "a second document; a file holds one"))
                    break
            elif isinstance(event, NodeEvent):
                root = self._node(event, events, key="", key_at=_at(event), depth=0)
        return root

    def _node(self, event: Event, events: Iterator[Event], *, key: str, key_at: Position, depth: int) -> Node:
        at = _at(event)
        if isinstance(event, AliasEvent):
            self.problems.append(Problem(at, key, f"the alias *{event.anchor} is not allowed; write the value out"))
            return Node(value=None, key=key, at=at, key_at=key_at)
        if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent) and event.tag:
            self.problems.append(Problem(at, key, f"the tag {event.tag} is not allowed; write the plain value"))
        if isinstance(event, ScalarEvent):
            return Node(value=self._scalar(event, key), key=key, at=at, key_at=key_at)
        if depth == DEPTH_MAX:
            self.problems.append(Problem(at, key, f"nested more than {DEPTH_MAX} levels deep"))
            _skip(events)
            return Node(value=None, key=key, at=at, key_at=key_at)
        value: dict[str, Node] | list[Node]
        if isinstance(event, MappingStartEvent):
            value = self._mapping(events, key, depth + 1)
        else:
            value = self._sequence(events, key, depth + 1)
        return Node(value=value, key=key, at=at, key_at=key_at)

    def _mapping(self, events: Iterator[Event], key: str, depth: int) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            at = _at(event)
            named = isinstance(event, ScalarEvent)
            name = str(event.value) if isinstance(event, ScalarEvent) else "?"
            if not named:
                self._node(event, events, key=key, key_at=at, depth=depth)
                self.problems.append(Problem(at, key, "a key must be a single word"))
            path = f"{key}.{name}" if key else name
            child = self._node(next(events), events, key=path, key_at=at, depth=depth)
            first = children.get(name)
            if first is not None and first.key_at is not None:
                self.problems.append(Problem(at, path, f"given twice; it is already on line {first.key_at.line}"))
            elif named:
                children[name] = child
        return children

    def _sequence(self, events: Iterator[Event], key: str, depth: int) -> list[Node]:
        children: list[Node] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            children.append(self._node(event, events, key=f"{key}[{len(children)}]", key_at=_at(event), depth=depth))
        return children

    def _scalar(self, event: ScalarEvent, key: str) -> Scalar:
        text = str(event.value)
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.problems.append(Problem(_at(event), key, "half of a surrogate pair; write the character itself"))
            return None
        if event.style is not None:
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _NOT_FINITE.fullmatch(text):
            self.problems.append(Problem(_at(event), key, f"{text} is not allowed; give a finite number"))
            return None
        return self._number(text, _at(event), key)

    def _number(self, text: str, at: Position, key: str) -> Scalar:
        integer = _INT.fullmatch(text) is not None
        if not integer and not _FLOAT.fullmatch(text):
            return text
        # Length first: Python refuses to convert thousands of digits.
        value: int | float = math.inf
        if not integer:
            value = float(text)
        elif len(text) <= 30:
            value = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if math.isinf(value) or (integer and abs(value) > INTEGER_MAX):
            shown = text if len(text) <= 30 else f"{text[:20]}... ({len(text)} characters)"
            self.problems.append(Problem(at, key, f"{shown} is too large; must be at most {INTEGER_MAX}"))
            return None
        return value


def _skip(events: Iterator[Event]) -> None:
    """Consumes the rest of a collection whose start was just consumed."""
    open_collections = 1
    for event in events:
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            open_collections += 1
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            open_collections -= 1
        if open_collections == 0:
            return

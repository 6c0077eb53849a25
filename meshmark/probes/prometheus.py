"""Prometheus' text format, and OpenMetrics, which differs in what is no sample here -> samples. Pure.

Only those with the names that are asked for: a proxy's page has hundreds of others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
_REST = re.compile(
    r'(?:\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?'
    r" (?P<value>\S+)(?: (?P<at_ms>-?\d+))?(?: # .*)?"
)
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"(?:,\s*|$)')
_ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
MILLI = 1e-3


class Sample(NamedTuple):
    """`at`: Unix time, of a sample that has one."""

    name: str
    labels: Mapping[str, str]
    value: float
    at: float | None = None


def samples(text: str, names: Collection[str]) -> Iterator[Sample]:
    """In their order. Raises ValueError for a line that is neither a sample nor a comment."""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name = _NAME.match(line)
        if name is not None and name[0] not in names:
            continue
        found = _REST.fullmatch(line, name.end()) if name is not None else None
        if name is None or found is None:
            raise ValueError(f"not a line of Prometheus' text format: {line[:80]!r}")
        at = None if found["at_ms"] is None else int(found["at_ms"]) * MILLI
        yield Sample(name[0], _labels(found["labels"] or "", line), float(found["value"]), at)


def _labels(text: str, line: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        label = _LABEL.match(text, at)
        if label is None:
            raise ValueError(f"not a line of Prometheus' text format: {line[:80]!r}")
        found[label[1]] = re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), label[2])
        at = label.end()
    return found

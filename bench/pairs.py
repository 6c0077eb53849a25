"""Things that take turns: the order within each pair or round is drawn, the ratio is taken within it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Given = TypeVar("Given")


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Of each pair: first over second."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        mean = statistics.geometric_mean(self.values)
        return f"{mean:.2f} (n = {len(self.values)}, from {min(self.values):.2f} to {max(self.values):.2f})"


def interleaved(
    first: Callable[[], float], second: Callable[[], float], *, pairs: int, seed: int
) -> Iterator[tuple[float, float]]:
    """What both gave, pair by pair, as they come."""
    order = random.Random(seed)
    for _ in range(pairs):
        if order.random() < 0.5:
            value = first()
            yield value, second()
        else:
            value = second()
            yield first(), value


def rounds(things: Mapping[str, Callable[[], Given]], *, count: int, seed: int) -> Iterator[dict[str, Given]]:
    """What each gave, round by round, as they come."""
    order = random.Random(seed)
    for _ in range(count):
        names = list(things)
        order.shuffle(names)
        yield {name: things[name]() for name in names}


def ratios(pairs: Sequence[tuple[float, float]]) -> Ratios:
    return Ratios(values=tuple(one / other for one, other in pairs))

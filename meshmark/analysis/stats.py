"""Means, spreads and 95 % intervals of a few repeats, and ratios paired by repeat.

The unit is the repeat (one life of a cluster), never a second within one: those are autocorrelated. With one repeat
there is no interval. Limits: Student's t supposes that repeats scatter about normally (ratios: their logarithms);
with two repeats the interval is wide, which is the truth about two repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its 95 % interval; `low` and `high` are None below two values."""

    mean: float
    low: float | None
    high: float | None
    count: int


def mean(values: Sequence[float | None]) -> float | None:
    """Of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def spread(values: Sequence[float]) -> float | None:
    """(largest - smallest) / mean; None below two values or around a mean of zero."""
    if len(values) < 2 or fmean(values) == 0:
        return None
    return (max(values) - min(values)) / fmean(values)


def estimate(values: Sequence[float]) -> Estimate | None:
    """None for no values."""
    if not values:
        return None
    middle = fmean(values)
    if len(values) < 2:
        return Estimate(mean=middle, low=None, high=None, count=len(values))
    half = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Estimate(mean=middle, low=middle - half, high=middle + half, count=len(values))


def ratio(contender: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate | None:
    """contender / baseline as the geometric mean over the repeats that both have, keyed by repeat; None if none.

    Pairing takes out what changes from repeat to repeat for both alike (the machine's neighbours, its heat)."""
    logs = [
        math.log(contender[repeat] / baseline[repeat])
        for repeat in sorted(contender.keys() & baseline.keys())
        if contender[repeat] > 0 and baseline[repeat] > 0
    ]
    found = estimate(logs)
    if found is None:
        return None
    low, high = (None if bound is None else _exp(bound) for bound in (found.low, found.high))
    return Estimate(mean=math.exp(found.mean), low=low, high=high, count=found.count)


def _exp(value: float) -> float:
    """Two repeats far apart give bounds beyond what a float holds; the nearest that it holds says as much."""
    return math.exp(min(max(value, -700.0), 700.0))


@cache
def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, so that plus and minus it hold 95 %. By bisection of `_inside`."""
    if degrees < 1:
        raise ValueError(f"Student's t needs at least one degree of freedom, not {degrees}")
    low, high = 1.0, 13.0  # 1.96 for many degrees of freedom, 12.71 for one
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, degrees) < 0.95 else (low, middle)
    return (low + high) / 2


def _inside(t: float, degrees: int) -> float:
    """P(|T| < t), exact for whole degrees of freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 if odd else 1, degrees - 1, 2):
        term *= cosine**2 * k / (k + 1)
        total += term
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total

"""Means, spreads and 95 % intervals of a few repeats, ratios paired by repeat, and quotients of two estimates.

The unit is the repeat (one life of a cluster), never a second within one: those are autocorrelated. With one repeat
there is no interval. Limits: Student's t supposes that repeats scatter about normally (ratios: their logarithms);
with two repeats the interval is wide, which is the truth about two repeats. From ten pairs on there is enough to let
the pairs themselves say how their mean scatters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Literal, NamedTuple

import numpy as np

BOOTSTRAP_FROM = 10
"""Pairs. Below, so few values say less about the shape of their distribution than the normal one does."""
RESAMPLES = 5_000
SEED = 20190821
"""Of all resampling, so that the same record always gives the same figures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its 95 % interval; `low` and `high` are None below two values."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio(Estimate):
    """A geometric mean of ratios. `detectable`: the least change, as a share, that so many pairs with this scatter
    would tell from none in four of five such comparisons; None below two pairs."""

    method: Literal["one pair", "t", "bootstrap"]
    detectable: float | None


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


def ratio_of_pairs(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    """Of (contender, baseline) as the geometric mean; a pair with a value that is not above zero has no ratio, and
    without a pair there is none. Pairing takes out what changes for both alike (the machine's neighbours, its heat).

    The interval is Student's t on the log ratios, and from `BOOTSTRAP_FROM` pairs on the studentized bootstrap (Efron
    and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5): percentiles of resampled means alone would
    hold the truth in 90 rather than 95 of 100 cases with ten pairs. The least detectable change is
    (t of 97.5 % + t of 80 %) standard errors (Bloom, Evaluation Review 19, 1995)."""
    logs = [math.log(ours / theirs) for ours, theirs in pairs if ours > 0 and theirs > 0]
    found = estimate(logs)
    if found is None:
        return None
    if found.low is None or found.high is None:
        return Ratio(mean=_exp(found.mean), low=None, high=None, count=1, method="one pair", detectable=None)
    resampled = found.count >= BOOTSTRAP_FROM
    low, high = _studentized(logs) if resampled else (found.low, found.high)
    error = stdev(logs) / math.sqrt(found.count)
    detectable = (t_quantile(found.count - 1) + t_quantile(found.count - 1, 0.6)) * error
    return Ratio(
        mean=_exp(found.mean),
        low=_exp(low),
        high=_exp(high),
        count=found.count,
        method="bootstrap" if resampled else "t",
        detectable=_exp(detectable) - 1,
    )


def geometric_mean(values: Sequence[float]) -> float | None:
    """None for no values, and where one is not above zero."""
    return math.exp(fmean(map(math.log, values))) if values and min(values) > 0 else None


def _studentized(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean by the bootstrap of (mean of the resample - mean) / its standard error."""
    known = np.asarray(values, dtype=np.float64)
    middle, root = float(known.mean()), math.sqrt(len(known))
    drawn = known[np.random.default_rng(SEED).integers(0, len(known), (RESAMPLES, len(known)))]
    errors = drawn.std(axis=1, ddof=1) / root
    varied = errors > 0
    if not varied.any():
        return middle, middle
    low, high = np.quantile((drawn.mean(axis=1)[varied] - middle) / errors[varied], (0.025, 0.975))
    error = float(known.std(ddof=1)) / root
    return middle - float(high) * error, middle - float(low) * error


def quotient(contender: Estimate, baseline: Estimate) -> Estimate:
    """contender / baseline of two independent estimates, both above 0 and with an interval.

    On the logarithms, where it is a difference: from each estimate's distance to its own bounds (MOVER: Zou and
    Donner, Statistics in Medicine 27, 2008). What changes for both alike widens the interval, which then holds
    rather too much. `count` is the smaller one's."""
    ours, theirs = _logs(contender), _logs(baseline)
    middle = ours.mean - theirs.mean
    below = math.hypot(ours.mean - ours.low, theirs.high - theirs.mean)
    above = math.hypot(ours.high - ours.mean, theirs.mean - theirs.low)
    return Estimate(
        mean=math.exp(middle),
        low=_exp(middle - below),
        high=_exp(middle + above),
        count=min(contender.count, baseline.count),
    )


def ratio(contender: Estimate, baseline: Estimate) -> Estimate:
    """Their quotient; where one has no interval, that of the means alone."""
    if None not in (contender.low, contender.high, baseline.low, baseline.high):
        return quotient(contender, baseline)
    count = min(contender.count, baseline.count)
    return Estimate(mean=contender.mean / baseline.mean, low=None, high=None, count=count)


class _Logs(NamedTuple):
    mean: float
    low: float
    high: float


def _logs(found: Estimate) -> _Logs:
    if found.low is None or found.high is None:
        raise ValueError("an estimate without an interval has no share in one")
    return _Logs(math.log(found.mean), math.log(found.low), math.log(found.high))


def _exp(value: float) -> float:
    """Two repeats far apart give bounds beyond what a float holds; the nearest that it holds says as much."""
    return math.exp(min(max(value, -700.0), 700.0))


@cache
def t_quantile(degrees: int, inside: float = 0.95) -> float:
    """So that plus and minus it hold this share of Student's t: its 97.5 % quantile for 0.95, its 80 % quantile for
    0.6. By bisection of `_inside`."""
    if degrees < 1:
        raise ValueError(f"Student's t needs at least one degree of freedom, not {degrees}")
    low, high = 0.0, 13.0  # of 95 %: 1.96 for many degrees of freedom, 12.71 for one
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, degrees) < inside else (low, middle)
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

"""What trials tell about ceilings that differ from trial to trial: a posterior on a grid.

In trial j the ceiling for any latency is log C_j ~ Normal(m + d t_j, s): m its median at the middle of the search, s
the noise, d a drift (t from -1/2 to 1/2). An SLO's ceiling lies below it by a gap g, with some noise of its own.

* Growth of the backlog: below C_j there is none; above, log(acknowledged / offered) is k log(C_j / r). k is 1 for a
  system that carries its ceiling while overloaded, more for one that thrashes, less for one whose batches grow. So an
  overloaded trial measures C_j, and one that kept up says that C_j was above its rate.
* An SLO held or not: a trial that kept up and missed it had its rate in the gap. Some trials miss at any rate (a pause
  of the collector): lapses. The ceiling is the rate at which half of the trials hold the SLO, lapses included.

A share of trials are outliers from a much wider distribution. Neighbouring trials resemble each other, which the model
leaves out; `_WEIGHT` weakens their evidence instead. The constants were set on simulated systems, and the coverage was
measured on others (`bench/saturation.py`). Pure; numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_WEIGHT = 0.95
_OUTLIERS = 0.02
_OUTLIER_NOISE = 0.35
_NOISE_MEDIAN, _NOISE_SPREAD = 0.05, 0.5
"""Prior of the noise: median, and standard deviation of its logarithm."""
_DRIFT = 0.03
_GAP_NOISE = 0.008, 0.25
"""Standard deviation of a gap from trial to trial: at no gap, and more for each unit of gap."""

_LEAST = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One trial. `log_share`: log(acknowledged / offered) with its error; None if records failed, which says only
    that the ceiling was below the rate. `at`: place in the search. `held`: how surely the SLO in question was met,
    0..1; latency close to what is allowed could as well have been on the other side of it in an equal trial."""

    log_rate: float
    log_share: float | None
    error: float
    at: float
    held: float = 0.0


class _Axis(NamedTuple):
    values: FloatArray
    log_prior: FloatArray


def _axis(values: Sequence[float], prior: Sequence[float]) -> _Axis:
    return _Axis(np.array(values), np.log(np.array(prior) / sum(prior)))


class _Grid(NamedTuple):
    """The number of points of m, and the other axes. Blur: what share of trials miss an SLO at any rate, and how much
    its gap differs from trial to trial beyond `_GAP_NOISE`."""

    points: int
    noise: _Axis
    drift: _Axis
    thrash: _Axis
    gap: _Axis
    blur: _Axis


def _noise_axis(count: int) -> _Axis:
    values = np.geomspace(0.014, 0.5, count)
    return _Axis(values, -((np.log(values / _NOISE_MEDIAN) / _NOISE_SPREAD) ** 2) / 2)


_ONE, _NONE = _axis([1], [1]), _axis([0], [1])
_SHARP = _Axis(np.array([[0.02, 0.0]]), np.zeros(1))
_BLUR = _Axis(
    np.array([[0.02, 0.0], [0.2, 0.0], [0.4, 0.0], [0.65, 0.0], [0.02, 0.12], [0.1, 0.4]]),
    np.log(np.array([0.75, 0.12, 0.05, 0.04, 0.03, 0.01])),
)
_NOWHERE = -1e3
"""Logarithm of the ceiling of an SLO that most trials miss at any rate."""
_GAPS = (0.002, 0.01, 0.02, 0.035, 0.055, 0.085, 0.13, 0.2, 0.35, 0.7, 1.5)
_GAP = _axis(_GAPS, [1.0] * len(_GAPS))
_FULL = _Grid(
    points=81,
    noise=_noise_axis(12),
    drift=_axis([-2 * _DRIFT, -_DRIFT, 0, _DRIFT, 2 * _DRIFT], [0.14, 0.6, 1, 0.6, 0.14]),
    thrash=_axis([0.75, 1.0, 1.5, 2.2], [0.25, 0.45, 0.2, 0.1]),
    gap=_NONE,
    blur=_SHARP,
)
_FULL_SLO = _Grid(
    points=51,
    noise=_noise_axis(8),
    drift=_axis([-1.5 * _DRIFT, 0, 1.5 * _DRIFT], [0.33, 1, 0.33]),
    thrash=_axis([0.8, 1.0, 1.7], [0.3, 0.45, 0.25]),
    gap=_GAP,
    blur=_BLUR,
)
_ROUGH = _Grid(points=61, noise=_noise_axis(8), drift=_NONE, thrash=_ONE, gap=_NONE, blur=_SHARP)
_ROUGH_SLO = _Grid(points=41, noise=_noise_axis(6), drift=_NONE, thrash=_ONE, gap=_GAP, blur=_SHARP)


@dataclass(frozen=True, slots=True)
class Belief:
    """Weights of possible ceilings (logarithms, ascending) and of the noise."""

    values: FloatArray
    below: FloatArray
    noises: FloatArray
    noise_weights: FloatArray

    def quantile(self, probability: float) -> float:
        """Of the ceiling, if there is one."""
        nowhere = self.nowhere
        return float(np.interp(nowhere + probability * (1 - nowhere), self.below, self.values))

    @property
    def nowhere(self) -> float:
        """Probability that there is no such rate."""
        first = int(np.searchsorted(self.values, _NOWHERE / 2))
        return float(self.below[first - 1]) if first else 0.0

    @property
    def noise(self) -> float:
        """Median of the noise, between the points of the grid on its logarithm."""
        return float(np.exp(np.interp(0.5, np.cumsum(self.noise_weights), np.log(self.noises))))

    def noise_above(self, limit: float) -> float:
        return float(self.noise_weights[limit < self.noises].sum())


def locate(evidence: Sequence[Evidence], low: float, high: float) -> tuple[float, float]:
    """Where between two logarithms the ceiling for any latency can be."""
    centres = np.linspace(low, high, _ROUGH.points)
    marginal = _weigh(evidence, centres, _ROUGH, slo=False).sum(axis=(1, 2, 3, 4, 5))
    likely = centres[marginal > marginal.max() * 1e-4]
    step = centres[1] - centres[0]
    return float(likely[0] - step), float(likely[-1] + step)


def believe(evidence: Sequence[Evidence], low: float, high: float, *, slo: bool, rough: bool = False) -> Belief:
    """The posterior of a ceiling, where the one for any latency lies between two logarithms, as `locate` gives them.
    `rough`, for steering, leaves drift, thrashing and blur out."""
    grid = (_ROUGH_SLO if slo else _ROUGH) if rough else (_FULL_SLO if slo else _FULL)
    centres = np.linspace(low, high, grid.points)
    weights = _weigh(evidence, centres, grid, slo=slo)
    noise, gap = grid.noise.values[:, None, None, None, None], grid.gap.values[:, None]
    values = np.broadcast_to(centres[:, None, None, None, None, None], weights.shape)
    if slo:
        lapse, extra = grid.blur.values[:, 0], grid.blur.values[:, 1]
        half = np.array([NormalDist().inv_cdf(0.5 / (1 - share)) if share < 0.5 else 0.0 for share in lapse])
        values = values - gap - np.hypot(noise, _GAP_NOISE[0] + _GAP_NOISE[1] * gap + extra) * half
        values = np.where(lapse < 0.5, values, _NOWHERE)
    flat, flat_weights = values.ravel(), weights.ravel()
    order = np.argsort(flat, kind="stable")
    # Each weight lies to both sides of its value.
    below = np.cumsum(flat_weights[order]) - flat_weights[order] / 2
    return Belief(flat[order], below, grid.noise.values, weights.sum(axis=(0, 2, 3, 4, 5)))


def _weigh(evidence: Sequence[Evidence], centres: FloatArray, grid: _Grid, *, slo: bool) -> FloatArray:
    """Posterior weights; axes: m, noise, drift, thrashing, gap, blur."""
    noise, thrash = grid.noise.values[:, None, None, None, None], grid.thrash.values[:, None, None]
    drift, gap = grid.drift.values[:, None, None, None], grid.gap.values[:, None]
    lapse, extra = grid.blur.values[:, 0], grid.blur.values[:, 1]
    own = _GAP_NOISE[0] + _GAP_NOISE[1] * gap + extra
    parts = ((1 - _OUTLIERS, noise), (_OUTLIERS, np.full((1, 1, 1, 1, 1), _OUTLIER_NOISE)))
    shape = (len(centres), *(len(axis.log_prior) for axis in grid[1:]))
    total = np.ones(shape)
    for item in evidence:
        distance = centres[:, None, None, None, None, None] + drift * item.at - item.log_rate
        # What does not depend on gap and blur, and what does not depend on thrashing: small arrays, joined at last.
        plain: FloatArray = np.asarray(_LEAST)
        held: FloatArray = np.asarray(0.0)
        for share, spread in parts:
            kept_up = _below(distance / spread)
            if item.log_share is None:
                seen_kept, seen_grown = 0.0, 1 - kept_up
            else:
                seen_kept = float(_density(item.log_share / item.error)) / item.error
                seen_grown = _grown(item.log_share, item.error, thrash * distance, thrash * spread)
            plain = plain + share * (1 - item.held if slo else 1) * (kept_up * seen_kept + seen_grown)
            if slo:
                met = (1 - lapse) * np.minimum(kept_up, _below((distance - gap) / np.hypot(spread, own)))
                held = held + share * seen_kept * (2 * item.held - 1) * met
        likelihood = np.maximum(plain + held, _LEAST)
        total *= likelihood
        total /= total.max()
    log_prior = grid.noise.log_prior[:, None, None, None, None] + grid.drift.log_prior[:, None, None, None]
    log_prior = log_prior + grid.thrash.log_prior[:, None, None] + grid.gap.log_prior[:, None] + grid.blur.log_prior
    weights = total**_WEIGHT * np.exp(log_prior - log_prior.max())
    return np.asarray(weights / weights.sum())


def _grown(log_share: float, error: float, mean: FloatArray, spread: FloatArray) -> FloatArray:
    """Density of the share seen and that the backlog grew: z ~ Normal(mean, spread) cut at z < 0, seen with a normal
    error. The product of two normal densities is one."""
    both = np.sqrt(spread**2 + error**2)
    centre = (log_share * spread**2 + mean * error**2) / both**2
    return np.asarray(_density((log_share - mean) / both) / both * _below(-centre * both / (spread * error)))


def _below(values: FloatArray) -> FloatArray:
    """The normal distribution function within 0.0002, as Page's tanh formula gives it: numpy has none."""
    return np.asarray(0.5 + 0.5 * np.tanh(values * (0.7978846 + 0.0356774 * values * values)))


def _density(values: FloatArray | float) -> FloatArray:
    return np.asarray(np.exp(-np.square(values) / 2) / math.sqrt(2 * math.pi))

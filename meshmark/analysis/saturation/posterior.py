"""What trials tell about ceilings that differ from trial to trial: a posterior on a grid.

In trial j of life l the ceiling for any latency is log C_j ~ Normal(m_l + d t_j, s): m_l its median in that life, s
the noise, d a drift within a life (t from -1/2 to 1/2). Lives are clusters started one after the other, whose
compilers and placements chose differently: m_l ~ Normal(m, u). Noise, drift and what overload costs are common to all
lives. A search of one life is about that one: u is 0. An SLO's ceiling lies below by a gap g, with some noise of its
own.

* Growth of the backlog: where the queue was never empty in the window, log(acknowledged / offered) is k log(C_j / r).
  k is 1 for a system that carries its ceiling while overloaded, more for one that thrashes, less for one whose batches
  grow. So an overloaded trial measures C_j. Where the queue was empty at times, capacity was lost, and the backlog at
  the window's end says how far C_j may have been above what was carried (`bridge`).
* An SLO held or not: a trial that kept up and missed it had its rate in the gap. Some trials miss at any rate (a pause
  of the collector): lapses. The ceiling is the rate at which half of the trials hold the SLO, lapses included. For an
  SLO, growth stands for a lack of capacity as it is, and below C_j there is none.

A share of trials are outliers from a much wider distribution. Neighbouring trials resemble each other, which the model
leaves out; `_WEIGHT` weakens their evidence instead. The constants were set on simulated systems, and the coverage was
measured on others (`bench/saturation.py`). Pure; numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshmark.analysis.saturation.bridge import emptied, ended_below

FloatArray = NDArray[np.floating[Any]]
"""Of 32 bits, where many are computed: a share of a millionth is no matter here."""

_WEIGHT = 0.67
_OUTLIERS = 0.02
_OUTLIER_NOISE = 0.35
_NOISE_MEDIAN, _NOISE_SPREAD = 0.05, 0.5
"""Prior of the noise: median, and standard deviation of its logarithm."""
_DRIFT = 0.03
_GAP_NOISE = 0.008, 0.25
"""Standard deviation of a gap from trial to trial: at no gap, and more for each unit of gap."""

RESOLUTION = 0.004
"""Growth of a backlog by less than this share of the load is not told from none: windows cut through batches."""
_LEAST = 1e-9
_CHUNK = 50_000
"""Values worked on at once: more would leave the processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One trial. `log_share`: log(acknowledged / offered) with its error; None if records failed, which says only
    that the ceiling was below the rate. `at`: place in its life. `held`: how surely the SLO in question was met,
    0..1; latency close to what is allowed could as well have been on the other side of it in an equal trial.
    `backlog`: when the window began and ended, as shares of its load; None if the queue was never empty in between.
    `sway`: how far the capacity of such a window swings within it (`trend.sway`), a share too."""

    log_rate: float
    log_share: float | None
    error: float
    at: float
    life: int = 1
    held: float = 0.0
    backlog: tuple[float, float] | None = None
    sway: float = 0.01


class _Axis(NamedTuple):
    values: FloatArray
    log_prior: FloatArray


def _axis(values: Sequence[float], prior: Sequence[float]) -> _Axis:
    return _Axis(np.array(values, dtype=np.float32), np.log(np.array(prior, dtype=np.float32) / sum(prior)))


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
    values = np.geomspace(0.014, 0.5, count, dtype=np.float32)
    return _Axis(values, -((np.log(values / _NOISE_MEDIAN) / _NOISE_SPREAD) ** 2) / 2)


_ONE, _NONE = _axis([1], [1]), _axis([0], [1])
_BETWEEN = _axis([0.004, 0.012, 0.022, 0.034, 0.05, 0.08], [0.14, 0.2, 0.24, 0.22, 0.14, 0.06])
"""How much lives differ: standard deviation. Few lives tell little of it, so this prior matters."""
_LIFE_BEYOND = 0.1
"""How far (in logarithms) outside the range of m a life's own ceiling may lie."""
_SHARP = _Axis(np.array([[0.02, 0.0]], dtype=np.float32), np.zeros(1, dtype=np.float32))
_BLUR = _Axis(
    np.array([[0.02, 0.0], [0.2, 0.0], [0.4, 0.0], [0.65, 0.0], [0.02, 0.12], [0.1, 0.4]], dtype=np.float32),
    np.log(np.array([0.75, 0.12, 0.05, 0.04, 0.03, 0.01], dtype=np.float32)),
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
    noise=_noise_axis(7),
    drift=_axis([-1.5 * _DRIFT, 0, 1.5 * _DRIFT], [0.33, 1, 0.33]),
    thrash=_axis([0.85, 1.4], [0.6, 0.4]),
    gap=_GAP,
    blur=_BLUR,
)
_ROUGH = _Grid(points=61, noise=_noise_axis(8), drift=_NONE, thrash=_ONE, gap=_NONE, blur=_SHARP)
_ROUGH_SLO = _Grid(points=41, noise=_noise_axis(6), drift=_NONE, thrash=_ONE, gap=_GAP, blur=_SHARP)


@dataclass(frozen=True, slots=True)
class Belief:
    """Weights of possible ceilings (logarithms, ascending), of the noise, and of the difference between lives."""

    values: FloatArray
    below: FloatArray
    noises: FloatArray
    noise_weights: FloatArray
    between: FloatArray
    between_weights: FloatArray

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
        return _median(self.noises, self.noise_weights)

    @property
    def life_noise(self) -> float | None:
        """Median of the difference between lives; None where one life alone is asked about."""
        return _median(self.between, self.between_weights) if len(self.between) > 1 else None

    def noise_above(self, limit: float) -> float:
        """Probability."""
        return 1 - float(np.interp(math.log(limit), np.log(self.noises), _cumulated(self.noise_weights)))


def _median(values: FloatArray, weights: FloatArray) -> float:
    return float(np.exp(np.interp(0.5, _cumulated(weights), np.log(values))))


def _cumulated(weights: FloatArray) -> FloatArray:
    """Each weight lies to both sides of its value."""
    return np.asarray(np.cumsum(weights) - weights / 2)


def locate(evidence: Sequence[Evidence], low: float, high: float, *, lives: bool) -> tuple[float, float]:
    """Where between two logarithms the ceiling for any latency can be. `lives`: as the median over lives."""
    centres = _centres(low, high, _ROUGH)
    weights, _ = _join(_likelihoods(evidence, centres, _ROUGH, slo=False), centres, _ROUGH, lives=lives)
    marginal = weights.sum(axis=(1, 2, 3, 4, 5))
    likely = centres[marginal > marginal.max() * 1e-4]
    margin = centres[1] - centres[0] + (_LIFE_BEYOND if lives else 0.0)
    return float(likely[0] - margin), float(likely[-1] + margin)


class Posterior:
    """What trials say of a ceiling, where the one for any latency lies between two logarithms, as `locate` gives them.
    `rough`, for steering, leaves drift, thrashing and blur out."""

    def __init__(
        self, evidence: Sequence[Evidence], low: float, high: float, *, slo: bool, lives: bool, rough: bool = False
    ) -> None:
        self._slo, self._lives = slo, lives
        self._grid = (_ROUGH_SLO if slo else _ROUGH) if rough else (_FULL_SLO if slo else _FULL)
        self._centres = _centres(low, high, self._grid)
        self._likelihoods = _likelihoods(evidence, self._centres, self._grid, slo=slo)
        self._weights, self._between_weights = _join(self._likelihoods, self._centres, self._grid, lives=lives)

    def belief(self) -> Belief:
        grid, weights = self._grid, self._weights
        noise, gap = grid.noise.values[:, None, None, None, None], grid.gap.values[:, None]
        values: FloatArray = np.broadcast_to(self._centres[:, None, None, None, None, None], weights.shape)
        if self._slo:
            lapse, extra = grid.blur.values[:, 0], grid.blur.values[:, 1]
            half = np.array([NormalDist().inv_cdf(0.5 / (1 - share)) if share < 0.5 else 0.0 for share in lapse])
            # The difference between lives would widen this a little; it is left out, to keep its axis out of the
            # sorting.
            values = values - gap - np.hypot(noise, _GAP_NOISE[0] + _GAP_NOISE[1] * gap + extra) * half
            values = np.where(lapse < 0.5, values, _NOWHERE)
        flat, flat_weights = values.ravel(), weights.ravel()
        order = np.argsort(flat, kind="stable")
        # Each weight lies to both sides of its value.
        below = np.cumsum(flat_weights[order], dtype=np.float64) - flat_weights[order] / 2
        return Belief(
            values=flat[order],
            below=below,
            noises=grid.noise.values,
            noise_weights=weights.sum(axis=(0, 2, 3, 4, 5)),
            between=_between(self._lives).values,
            between_weights=self._between_weights,
        )

    def of_lives(self) -> dict[int, tuple[float, float]]:
        """For each life the median of its own ceiling, as a logarithm, and its standard error. Noise and drift are
        taken from all lives, the ceiling from this one's trials alone, so that lives stay independent."""
        shared = self._weights.sum(axis=0)
        found = {}
        for life, likelihood in self._likelihoods.items():
            own = likelihood / np.maximum(likelihood.sum(axis=0), _LEAST) * shared
            weights = own.sum(axis=(1, 2, 3, 4, 5))
            below = (np.cumsum(weights) - weights / 2) / weights.sum()
            minus, middle, plus = (float(np.interp(share, below, self._centres)) for share in (0.1587, 0.5, 0.8413))
            found[life] = middle, (plus - minus) / 2
        return found


def _centres(low: float, high: float, grid: _Grid) -> FloatArray:
    return np.linspace(low, high, grid.points, dtype=np.float32)


def _between(lives: bool) -> _Axis:
    return _BETWEEN if lives else _NONE


def _join(
    likelihoods: Mapping[int, FloatArray], centres: FloatArray, grid: _Grid, *, lives: bool
) -> tuple[FloatArray, FloatArray]:
    """Posterior weights, axes: m, noise, drift, thrashing, gap, blur; and those of the difference between lives."""
    log_prior = grid.noise.log_prior[:, None, None, None, None] + grid.drift.log_prior[:, None, None, None]
    log_prior = log_prior + grid.thrash.log_prior[:, None, None] + grid.gap.log_prior[:, None] + grid.blur.log_prior
    prior = np.exp(log_prior - log_prior.max())
    between = _between(lives)
    total, shares = np.zeros((len(centres), *prior.shape), dtype=np.float32), np.zeros(len(between.values))
    for number, (spread, share) in enumerate(zip(between.values, np.exp(between.log_prior), strict=True)):
        kernel = _kernel(centres, float(spread))
        joined = np.float32(share) * prior
        for likelihood in likelihoods.values():
            joined = joined * _blurred(likelihood, kernel)
        total += joined
        shares[number] = joined.sum()
    return total / total.sum(), shares / shares.sum()


def _blurred(likelihood: FloatArray, kernel: FloatArray | None) -> FloatArray:
    if kernel is None:
        return likelihood
    return np.asarray(kernel @ likelihood.reshape(len(likelihood), -1)).reshape(likelihood.shape)


def _kernel(centres: FloatArray, spread: float) -> FloatArray | None:
    """Row i: the probability that a life lies in the cell of each centre, if m is centre i. None: it is there."""
    half = (centres[1] - centres[0]) / 2
    away = centres[None, :] - centres[:, None]
    if not spread:
        return None
    return _below((away + half) / spread) - _below((away - half) / spread)


def _likelihoods(
    evidence: Sequence[Evidence], centres: FloatArray, grid: _Grid, *, slo: bool
) -> dict[int, FloatArray]:
    """Of each life's trials, axes: m_l, noise, drift, thrashing, gap, blur; at most 1."""
    shape = (len(centres), *(len(axis.log_prior) for axis in grid[1:]))
    totals: dict[int, FloatArray] = {}
    at_once = max(1, _CHUNK // math.prod(shape))
    for first in range(0, len(evidence), at_once):
        chunk = evidence[first : first + at_once]
        for item, likelihood in zip(chunk, _of_trials(chunk, centres, grid, slo=slo), strict=True):
            total = totals.setdefault(item.life, np.ones(shape, dtype=np.float32))
            total *= likelihood
            total /= total.max()
    return {life: total**_WEIGHT for life, total in totals.items()}


def _of_trials(evidence: Sequence[Evidence], centres: FloatArray, grid: _Grid, *, slo: bool) -> FloatArray:
    """Axes: trials, and those of `_likelihoods`, where they matter."""
    if slo:
        return _of_slo(evidence, centres, grid)
    shape = (len(evidence), len(centres), *(len(axis.log_prior) for axis in grid[1:]))
    found = np.full(shape, _LEAST, dtype=np.float32)
    kinds: dict[_Kind, list[int]] = {}
    for number, item in enumerate(evidence):
        kinds.setdefault(_kind(item), []).append(number)
    for kind, numbers in kinds.items():
        found[numbers] += _of_growth(kind, [evidence[number] for number in numbers], centres, grid)[..., None, None]
    return found


_Kind = Literal["failed", "full", "emptied", "small"]


def _kind(item: Evidence) -> _Kind:
    """What is known of a trial's backlog: nothing, since records failed; that it was there all the time; how large it
    was at the end; or that it was small then."""
    if item.log_share is None:
        return "failed"
    if item.backlog is None:
        return "full"
    return "emptied" if item.backlog[1] > item.sway else "small"


def _of_growth(kind: _Kind, items: Sequence[Evidence], centres: FloatArray, grid: _Grid) -> FloatArray:
    """Of trials of a kind; axes: trials, m_l, noise, drift, thrashing."""

    def each(values: Sequence[float]) -> FloatArray:
        return np.array(values, dtype=np.float32)[:, None, None, None, None]

    log_rate, at = each([item.log_rate for item in items]), each([item.at for item in items])
    log_share = each([item.log_share or 0.0 for item in items])
    begin, end = (each([(item.backlog or (0.0, 0.0))[place] for item in items]) for place in (0, 1))
    sway = each([item.sway for item in items])
    thrash = grid.thrash.values
    distance = centres[:, None, None, None] - log_rate + grid.drift.values[:, None] * at
    excess = -np.where(distance < 0, thrash * distance, distance)
    total: FloatArray = np.zeros(1, dtype=np.float32)
    for share, spread in _spreads(grid.noise.values[:, None, None]):
        if kind == "failed":
            seen = 1 - _below(distance / spread)
        elif kind == "full":
            both = np.hypot(thrash * spread, np.float32(RESOLUTION))
            seen = _density((log_share - thrash * distance) / both) / both
        elif kind == "emptied":
            seen = emptied(begin, end, sway**2, excess, spread)
        else:
            seen = ended_below(begin, sway, sway**2, excess, spread)
        total = total + share * seen
    return total


def _spreads(noise: FloatArray) -> tuple[tuple[float, FloatArray], ...]:
    """Of trials, and of outliers, each with its share."""
    return (1 - _OUTLIERS, noise), (_OUTLIERS, np.full_like(noise[:1], _OUTLIER_NOISE))


def _of_slo(evidence: Sequence[Evidence], centres: FloatArray, grid: _Grid) -> FloatArray:
    def each(values: Sequence[float]) -> FloatArray:
        return np.array(values, dtype=np.float32)[:, None, None, None, None, None, None]

    noise, thrash = grid.noise.values[:, None, None, None, None], grid.thrash.values[:, None, None]
    drift, gap = grid.drift.values[:, None, None, None], grid.gap.values[:, None]
    lapse, extra = grid.blur.values[:, 0], grid.blur.values[:, 1]
    own = _GAP_NOISE[0] + _GAP_NOISE[1] * gap + extra
    log_rate, at = each([item.log_rate for item in evidence]), each([item.at for item in evidence])
    error, known = each([item.error for item in evidence]), each([item.log_share is not None for item in evidence])
    log_share = each([item.log_share or 0.0 for item in evidence])
    held = each([item.held for item in evidence])
    distance = (centres[:, None, None, None, None, None] - log_rate) + drift * at
    seen_kept = known * _density(log_share / error) / error
    # What does not depend on gap and blur, and what does not depend on thrashing: small arrays, joined at last.
    plain: FloatArray = np.full(1, _LEAST, dtype=np.float32)
    met: FloatArray = np.zeros(1, dtype=np.float32)
    for share, spread in _spreads(noise):
        kept_up = _below(distance / spread)
        grown = np.where(known > 0, _grown(log_share, error, thrash * distance, thrash * spread), 1 - kept_up)
        plain = plain + share * (1 - held) * (kept_up * seen_kept + grown)
        below = np.minimum(kept_up, _below((distance - gap) / np.hypot(spread, own)))
        met = met + share * below
    return np.maximum(plain + (seen_kept * (2 * held - 1)) * ((1 - lapse) * met), np.float32(_LEAST))


def _grown(log_share: FloatArray, error: FloatArray, mean: FloatArray, spread: FloatArray) -> FloatArray:
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

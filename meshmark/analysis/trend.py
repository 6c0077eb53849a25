"""Does a series grow? Estimates that know that neighbouring values of a load test resemble each other.

Ordinary tests take n values for n pieces of evidence; a queue remembers, so n values are fewer. The long-run variance
here counts the resemblance (Newey-West with the Bartlett kernel, prewhitened by an AR(1) as Andrews and Monahan do),
and `effective` says how many independent values the series is worth. Pure; numpy alone.

Limits: a stay in one state longer than the series cannot be seen in it; that is what repeated trials are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_AR_MAX = 0.9
"""Beyond it the prewhitened variance of a short series explodes; Andrews and Monahan cut at 0.97, for longer ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value with its standard error; `effective` independent values stand behind it."""

    value: float
    error: float
    effective: float

    def below(self, limit: float) -> float:
        """Probability that the true value is below a limit, by the normal approximation."""
        return below(self.value, self.error, limit)


def below(value: float, error: float, limit: float) -> float:
    """Probability that what was seen as `value`, with a normal error, is below a limit."""
    if error == 0:
        return 1.0 if value < limit else 0.0
    return 0.5 * math.erfc((value - limit) / error / math.sqrt(2))


def mean(values: Sequence[float] | FloatArray) -> Estimate:
    """The mean of a stationary series. At least 4 values."""
    series = np.asarray(values, dtype=np.float64)
    count = len(series)
    if count < 4:
        raise ValueError(f"a mean with its error needs 4 values, not {count}")
    residuals = series - series.mean()
    variance = float(residuals @ residuals) / (count - 1)
    long_run = _long_run_variance(residuals)
    effective = _effective(count, variance, long_run)
    error = math.sqrt(long_run / count) * _short(effective)
    return Estimate(value=float(series.mean()), error=error, effective=effective)


def slope(time_s: Sequence[float] | FloatArray, values: Sequence[float] | FloatArray) -> Estimate:
    """Least-squares slope a second of a series that is stationary around its line. At least 5 values."""
    times, series = np.asarray(time_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    count = len(series)
    if count < 5 or len(times) != count:
        raise ValueError(f"a slope with its error needs 5 values and a time of each, not {count} and {len(times)}")
    centred = times - times.mean()
    spread = float(centred @ centred)
    value = float(centred @ series) / spread
    residuals = series - series.mean() - value * centred
    # Two parameters were fitted; a short series would look quieter than it is.
    long_run = _long_run_variance(residuals) * count / (count - 2)
    variance = float(residuals @ residuals) / (count - 2)
    effective = _effective(count, variance, long_run)
    return Estimate(value=value, error=math.sqrt(long_run / spread) * _short(effective), effective=effective)


def growth(time_s: Sequence[float] | FloatArray, outstanding: Sequence[float] | FloatArray) -> Estimate:
    """How fast a backlog grows, in its unit a second: the mean of its increments.

    An overloaded queue is a random walk with drift, on which a fitted slope claims a precision it has not; its
    increments are stationary, and so are those of a queue that keeps up (there they take each other back, and the
    error becomes small by itself)."""
    times, series = np.asarray(time_s, dtype=np.float64), np.asarray(outstanding, dtype=np.float64)
    steps = np.diff(times)
    if len(steps) < 4 or np.any(steps <= 0):
        raise ValueError("growth needs 5 values or more, at times that rise")
    # Increments are per mean step: clocks of reports jitter, and a long step has more of both backlog and noise.
    return _scaled(mean(np.diff(series)), 1 / float(steps.mean()))


def cut_error(time_s: Sequence[float] | FloatArray, outstanding: Sequence[float] | FloatArray) -> float:
    """How far the growth seen in a window may be from capacity less load in that same window, in units a second.

    The window cuts through a queue that swings: both ends lie somewhere within its spread around its line. That is
    less than the error of `growth`, which also says how another window of the same trial would differ."""
    times, series = np.asarray(time_s, dtype=np.float64), np.asarray(outstanding, dtype=np.float64)
    centred = times - times.mean()
    line = float(centred @ series) / float(centred @ centred) * centred
    return math.sqrt(2) * float(np.std(series - series.mean() - line)) / float(times[-1] - times[0])


def sway(time_s: Sequence[float] | FloatArray, values: Sequence[float] | FloatArray) -> float:
    """How far a random walk swings over its whole length, as the standard deviation of its end: from how far it
    departs from the straight line between its ends. A Brownian bridge's mean square is a sixth of that variance."""
    times, series = np.asarray(time_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    place = (times - times[0]) / (times[-1] - times[0])
    departure = series - series[0] - (series[-1] - series[0]) * place
    return math.sqrt(6 * float(np.trapezoid(np.square(departure), place)))


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(value=estimate.value * factor, error=estimate.error * factor, effective=estimate.effective)


def _effective(count: int, variance: float, long_run: float) -> float:
    return float(count) if long_run == 0 else min(float(count), max(2.0, count * variance / long_run))


def _short(effective: float) -> float:
    """What an error grows by because the variance itself was estimated from so few values: about Student's t, so
    that `below` may use the normal distribution. Checked against simulated AR(1) series in the tests."""
    return math.sqrt((effective + 2) / (effective - 1))


def _long_run_variance(residuals: FloatArray) -> float:
    """Variance of the sum of a series, per value."""
    count = len(residuals)
    power = float(residuals @ residuals)
    if power <= 1e-24 * count:
        return 0.0
    memory = float(residuals[1:] @ residuals[:-1]) / power
    # Short series look less alike than they are: Kendall's correction of the AR(1) coefficient.
    memory = min(max(memory + (1 + 3 * memory) / count, -_AR_MAX), _AR_MAX)
    white = residuals[1:] - memory * residuals[:-1]
    white = white - white.mean()
    lags = min(len(white) - 1, math.floor(4 * (count / 100) ** (2 / 9)))
    total = float(white @ white)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * float(white[lag:] @ white[:-lag])
    return max(total, 0.0) / len(white) * count / (count - 1) / (1 - memory) ** 2

"""What a queue that was empty within a window says of the capacity: less was carried than could have been.

While a queue is empty, capacity is lost, and nothing shows how much. So a trial near the ceiling ends with a backlog
that is larger than offered load less mean capacity: some seconds were slow, and the fast ones before found nothing to
do. To take that growth for a lack of capacity finds ceilings that are too low, by the more the more capacity sways.

Here offered load less capacity, added up, is a Brownian motion X over the window, whose mean is what is asked about
and whose variance at the window's end is `sway`. A queue that begins with b and is reflected at 0 ends with
max(b + X, M), where M, seen from the window's end, is the highest point of X's reversal; and given X = x, M has the
distribution of a Brownian bridge's maximum, P(M > y) = exp(-2 y (y - x) / sway) (Karatzas and Shreve, Brownian Motion
and Stochastic Calculus, 2.8). If the queue was empty, its end e is M; that density times the one of x, which is normal
around what is believed, integrates over x up to e - b in closed form.

All are shares of what was offered in the window. Pure; numpy alone. Limits: capacity that stands still for long, or
remembers for as long as the window, is no Brownian motion. One that remembers at all is smoother on a small scale, so
how small a small backlog is says less than here: `ended_below` asks no more than that it was.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

_FAR = 30.0
_GRID = np.linspace(0, _FAR, 1201)
_MILLS = np.array([math.sqrt(math.pi / 2) * math.exp(w * w / 2) * math.erfc(w / math.sqrt(2)) for w in _GRID])


def emptied(
    begin: FloatArray, end: FloatArray, sway: FloatArray, excess: FloatArray, spread: FloatArray
) -> FloatArray:
    """Density of the backlog `end` of a queue that began with `begin` and was empty in between, where X is normal with
    mean `excess` and standard deviation `spread`. Arrays that broadcast; `end` above 0."""
    found = _tilt(begin, end, sway, excess, spread)
    growth, away = end - begin, np.maximum(-found.place, 0)
    within = 2 * end - found.centre + spread * _density(np.maximum(found.place, 0)) / found.below
    beyond = 2 * end - growth + spread * (1 - away * found.mills) / found.mills
    mean = np.where(
        found.place >= 0, within, np.where(away < _FAR, beyond, 2 * end - growth + spread / np.maximum(away, 1))
    )
    return np.asarray(2 / sway * np.maximum(found.weight * mean, 0))


def ended_below(
    begin: FloatArray, limit: FloatArray, sway: FloatArray, excess: FloatArray, spread: FloatArray
) -> FloatArray:
    """Probability that the queue, empty in between or not, ended with no more than `limit`."""
    weight = _tilt(begin, limit, sway, excess, spread).weight
    return np.asarray(np.maximum(_below((limit - begin - excess) / spread) - weight, 0))


class _Tilt(NamedTuple):
    """`weight`: the integral of exp(-2 end (end - x) / sway) times the density of x, over x up to end - begin. That
    product is a normal density around `centre`, and the bound lies `place` standard deviations above it."""

    weight: FloatArray
    centre: FloatArray
    place: FloatArray
    below: FloatArray
    mills: FloatArray


def _tilt(begin: FloatArray, end: FloatArray, sway: FloatArray, excess: FloatArray, spread: FloatArray) -> _Tilt:
    centre = excess + 2 * end / sway * spread**2
    place = (end - begin - centre) / spread
    below, mills = _below(np.maximum(place, 0)), _mills(np.maximum(-place, 0))
    # Where the centre lies within the bound, as it is written; beyond, relative to the density at the bound, since the
    # factors would leave the range of a float.
    inside = np.exp(np.minimum(2 * end * (excess - end) / sway + 2 * np.square(end * spread / sway), 0.0))
    bound = np.exp(-2 * end * begin / sway) * _density((end - begin - excess) / spread)
    return _Tilt(np.where(place >= 0, inside * below, bound * mills), centre, place, below, mills)


def _mills(w: FloatArray) -> FloatArray:
    """(1 - the normal distribution function) / density, for w >= 0."""
    return np.where(w < _FAR, np.interp(w, _GRID, _MILLS), 1 / np.maximum(w, 1)).astype(w.dtype)


def _below(values: FloatArray) -> FloatArray:
    return np.asarray(0.5 + 0.5 * np.tanh(values * (0.7978846 + 0.0356774 * values * values)))


def _density(values: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-np.square(values) / 2) / math.sqrt(2 * math.pi))

"""What a queue that was empty says of capacity, against what integrals and simulated queues give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meshmark.analysis.saturation.bridge import emptied, ended_below

ENDS = np.linspace(1e-5, 0.8, 40_000)
STEP = float(ENDS[1] - ENDS[0])


def density(begin: float, sway: float, excess: float, spread: float) -> np.ndarray:
    return emptied(*(np.array(value) for value in (begin, ENDS, sway**2, excess, spread)))


@pytest.mark.parametrize("begin", [0.0, 0.004, 0.03])
@pytest.mark.parametrize(("excess", "spread"), [(0.0, 0.05), (-0.08, 0.03), (0.1, 0.02), (0.05, 0.2)])
@pytest.mark.parametrize("sway", [0.01, 0.05])
def test_all_ends_together_are_as_probable_as_that_the_queue_was_empty(
    begin: float, excess: float, spread: float, sway: float
) -> None:
    x = np.linspace(excess - 8 * spread, excess + 8 * spread, 20_001)
    weights = np.exp(-(((x - excess) / spread) ** 2) / 2)
    reached = np.where(x <= -begin, 1.0, np.exp(-2 * begin * np.maximum(begin + x, 0) / sway**2))
    expected = float((weights * reached).sum() / weights.sum())
    assert float(density(begin, sway, excess, spread).sum() * STEP) == pytest.approx(expected, abs=2e-3)


def test_a_simulated_queue_ends_where_it_should() -> None:
    source = np.random.default_rng(7)
    trials, steps, begin, sway, excess, spread = 4_000, 2_000, 0.01, 0.04, 0.01, 0.03
    mean = source.normal(excess, spread, trials)
    walk = np.cumsum(source.normal(0, sway / math.sqrt(steps), (trials, steps)), axis=1)
    place = np.arange(1, steps + 1) / steps
    path = begin + walk - walk[:, -1:] * place + mean[:, None] * place
    lowest = np.minimum.accumulate(path, axis=1)[:, -1]
    reflected = path[:, -1] - np.minimum(lowest, 0)
    ends = reflected[lowest < 0]
    told = density(begin, sway, excess, spread)
    assert len(ends) / trials == pytest.approx(float(told.sum() * STEP), abs=0.03)
    for share in (0.25, 0.5, 0.75):
        expected = float(np.interp(share, np.cumsum(told) / told.sum(), ENDS))
        assert float(np.quantile(ends, share)) == pytest.approx(expected, abs=0.003)
    for limit in (0.005, 0.02, 0.05, 0.1):
        below = ended_below(*(np.array(value) for value in (begin, limit, sway**2, excess, spread)))
        assert float((reflected <= limit).mean()) == pytest.approx(float(below), abs=0.03)


def test_it_stays_within_a_float_of_32_bits_and_follows_one_of_64() -> None:
    ends = np.array([0.0, 0.005, 0.1, 0.3, 1.0])[:, None, None]
    excess = np.linspace(-1.5, 1.5, 61)[:, None]
    spread = np.geomspace(0.014, 0.5, 12)
    exact = emptied(np.array(0.0), ends, np.array(1e-4), excess, spread)
    rough = emptied(*(each.astype(np.float32) for each in (np.array(0.0), ends, np.array(1e-4), excess, spread)))
    assert rough.dtype == np.float32
    assert np.isfinite(rough).all()
    assert rough == pytest.approx(exact, rel=0.02, abs=1e-3)

"""Trend tests that know autocorrelation: false alarms stay rare where neighbouring values resemble each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meshmark.analysis import trend

FloatArray = trend.FloatArray
SERIES = 400


def resembling(source: np.random.Generator, memory: float, count: int) -> FloatArray:
    """An AR(1) series, standard deviation 1."""
    series = [float(source.standard_normal())]
    for _ in range(count - 1):
        series.append(memory * series[-1] + math.sqrt(1 - memory**2) * float(source.standard_normal()))
    return np.array(series)


def alarms(memory: float, count: int) -> tuple[float, float]:
    """How often a flat series seems to have a mean, or a slope, beyond 2 standard errors."""
    source = np.random.default_rng(7)
    means, slopes = 0, 0
    for _ in range(SERIES):
        series = resembling(source, memory, count)
        found, line = trend.mean(series), trend.slope(np.arange(count, dtype=np.float64), series)
        means += abs(found.value) > 2 * found.error
        slopes += abs(line.value) > 2 * line.error
    return means / SERIES, slopes / SERIES


@pytest.mark.parametrize(
    ("memory", "count", "limit"), [(0.0, 25, 0.15), (0.5, 25, 0.15), (0.5, 60, 0.12), (0.8, 60, 0.18)]
)
def test_false_alarms_stay_rare(memory: float, count: int, limit: float) -> None:
    assert max(alarms(memory, count)) < limit


def test_forgetting_the_resemblance_would_cry_wolf() -> None:
    source = np.random.default_rng(7)
    wrong = 0
    for _ in range(SERIES):
        series = resembling(source, 0.8, 60)
        wrong += abs(series.mean()) > 2 * series.std() / math.sqrt(60)
    assert wrong / SERIES > 2 * alarms(0.8, 60)[0]


def test_effective_values_are_fewer_the_more_they_resemble_each_other() -> None:
    source = np.random.default_rng(3)
    effective = [trend.mean(resembling(source, memory, 400)).effective for memory in (0.0, 0.5, 0.9)]
    assert effective[0] > effective[1] > effective[2]


def test_a_growing_backlog_is_told_from_one_that_swings() -> None:
    source = np.random.default_rng(11)
    times = [0.2 * step for step in range(30)]
    swinging = 500 + 200 * resembling(source, 0.7, 30)
    walk = np.cumsum(source.normal(40, 30, 30))
    assert trend.growth(times, swinging).below(100) > 0.9
    assert trend.growth(times, walk).below(100) < 0.05
    assert trend.growth(times, walk).value == pytest.approx((walk[-1] - walk[0]) / (times[-1] - times[0]))


def test_a_queue_that_stays_put_has_no_growth_and_no_error() -> None:
    flat = trend.growth([0.0, 1.0, 2.0, 3.0, 4.0], [7.0] * 5)
    assert (flat.value, flat.error) == (0.0, 0.0)
    assert flat.below(0.1) == 1
    assert flat.below(0.0) == 0
    assert trend.cut_error([0.0, 1.0, 2.0, 3.0, 4.0], [7.0] * 5) == 0


@pytest.mark.parametrize("times", [[0.0, 1, 2, 3], [0.0, 1, 1, 2, 3]])
def test_growth_needs_five_values_at_rising_times(times: list[float]) -> None:
    with pytest.raises(ValueError, match="growth needs 5"):
        trend.growth(times, [1.0] * len(times))


def test_means_and_slopes_need_enough_values() -> None:
    with pytest.raises(ValueError, match="needs 4 values"):
        trend.mean([1.0, 2, 3])
    with pytest.raises(ValueError, match="needs 5 values"):
        trend.slope([0.0, 1, 2, 3, 4], [1.0, 2, 3, 4])


def test_a_walks_sway_is_the_spread_of_its_end_whatever_its_drift() -> None:
    source = np.random.default_rng(3)
    times = [0.24 * step for step in range(26)]
    walks = np.cumsum(source.normal(0, 1, (2_000, 26)), axis=1)
    ends = float(np.std(walks[:, -1] - walks[:, 0]))
    for drift in (0.0, 50.0):
        line = drift * np.array(times)
        sways = [trend.sway(times, (walk + line).tolist()) for walk in walks]
        assert math.sqrt(float(np.mean(np.square(sways)))) == pytest.approx(ends, rel=0.05)
    assert trend.sway(times, [3 * time for time in times]) == pytest.approx(0, abs=1e-9)

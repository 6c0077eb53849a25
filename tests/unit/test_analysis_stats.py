"""Intervals against tables of Student's t, and what few or strange repeats give."""

from __future__ import annotations

import math
import random

import pytest

from meshmark.analysis.stats import Estimate, estimate, mean, quotient, ratio_of_pairs, spread, t_quantile


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [
        (1, 12.7062),
        (2, 4.30265),
        (3, 3.18245),
        (4, 2.77645),
        (9, 2.26216),
        (10, 2.22814),
        (29, 2.04523),
        (120, 1.97993),
        (999, 1.96234),
    ],
)
def test_quantiles_are_those_of_the_printed_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=6e-6)


def test_no_degree_of_freedom_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="at least one"):
        t_quantile(0)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = estimate([5.0])
    assert one is not None
    assert (one.mean, one.low, one.high, one.count) == (5.0, None, None, 1)
    assert estimate([]) is None
    assert spread([5.0]) is None
    assert mean([None, None]) is None


def test_the_interval_of_three_values_by_hand() -> None:
    found = estimate([90, 100, 110])
    assert found is not None
    assert found.low == pytest.approx(100 - 4.30265 * 10 / math.sqrt(3), abs=1e-4)
    assert found.high == pytest.approx(100 + 4.30265 * 10 / math.sqrt(3), abs=1e-4)
    assert spread([90, 100, 110]) == pytest.approx(0.2)


def test_what_is_not_known_is_left_out_of_a_mean_and_not_zero() -> None:
    assert mean([1.0, None, 3.0]) == 2.0


def test_pairing_takes_out_what_changes_for_both() -> None:
    plain = {1: 100.0, 2: 150.0, 3: 80.0}
    mesh = {repeat: rate * 0.8 for repeat, rate in plain.items()}
    found = ratio_of_pairs([(mesh[repeat], plain[repeat]) for repeat in plain])
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8))


def test_one_pair_has_a_ratio_without_an_interval_and_none_has_none() -> None:
    found = ratio_of_pairs([(50.0, 100.0), (0.0, 100.0)])
    assert found is not None
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.count) == (None, 1)
    assert ratio_of_pairs([(0.0, 100.0)]) is None
    assert ratio_of_pairs([]) is None


def test_two_repeats_far_apart_give_a_wide_interval_and_no_overflow() -> None:
    found = ratio_of_pairs([(1e-9, 1.0), (1e9, 1.0)])
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 1e-100
    assert math.isfinite(found.high)


@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say(repeats: int) -> None:
    """1,000 experiments: 95 % +- three standard errors."""
    source = random.Random(repeats)
    held = 0
    for _ in range(1_000):
        plain = {repeat: math.exp(source.gauss(0, 0.05)) for repeat in range(repeats)}
        mesh = {repeat: 0.8 * math.exp(source.gauss(0, 0.05)) for repeat in range(repeats)}
        found = ratio_of_pairs([(mesh[repeat], plain[repeat]) for repeat in plain])
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.8 <= found.high
    assert 0.93 <= held / 1_000 <= 0.97


def known(mean: float, low: float, high: float, count: int = 3) -> Estimate:
    return Estimate(mean=mean, low=low, high=high, count=count)


def test_a_quotient_of_two_estimates_by_hand() -> None:
    """Each is known within a factor: 1.2 and 1.1 up, 1.25 and 1.05 down."""
    found = quotient(known(80, 80 / 1.25, 80 * 1.2), known(100, 100 / 1.05, 110, count=2))
    assert found.mean == pytest.approx(0.8)
    assert found.low == pytest.approx(0.8 * math.exp(-math.hypot(math.log(1.25), math.log(1.1))))
    assert found.high == pytest.approx(0.8 * math.exp(math.hypot(math.log(1.2), math.log(1.05))))
    assert found.count == 2


def test_a_quotient_by_something_exact_keeps_the_shape_of_its_interval() -> None:
    found = quotient(known(80, 60, 90), known(100, 100, 100))
    assert (found.low, found.high) == pytest.approx((0.6, 0.9))


def test_quotients_of_normal_estimates_hold_the_truth_as_often_as_they_say() -> None:
    source, held = random.Random(7), 0
    for _ in range(2_000):
        own, other = source.gauss(math.log(80), 0.1), source.gauss(math.log(100), 0.03)
        parts = [
            known(math.exp(at), math.exp(at - 1.96 * error), math.exp(at + 1.96 * error))
            for at, error in ((own, 0.1), (other, 0.03))
        ]
        found = quotient(*parts)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.8 <= found.high
    assert held == pytest.approx(1_900, abs=40)


def test_an_estimate_without_an_interval_has_no_quotient() -> None:
    with pytest.raises(ValueError, match="without an interval"):
        quotient(Estimate(mean=1, low=None, high=None, count=1), known(1, 0.9, 1.1))

"""Warm-up on simulated systems: a flat rate is one on which a rise can be ruled out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from meshmark.analysis.trend import flat
from meshmark.backends.simulated_open import OpenBench, random_system

SYSTEMS = 40
WINDOWS_MAX = 60


def two_means(rates: Sequence[float]) -> bool:
    """The rule that `flat` is better than: the last four readings against the four before."""
    return len(rates) >= 8 and sum(rates[-4:]) < 1.05 * sum(rates[-8:-4])


def left_to_rise(is_flat: Callable[[Sequence[float]], bool]) -> list[float]:
    """Share of the final rate still missing when each system is called flat."""
    left = []
    for seed in range(SYSTEMS):
        system = random_system(seed)
        bench, rates = OpenBench(system), list[float]()
        while len(rates) < WINDOWS_MAX and not is_flat(rates):
            rates.append(bench.warm_up_window())
        assert len(rates) < WINDOWS_MAX
        left.append(system.warmup_depth * math.exp(-bench.load_s / system.warmup_s))
    return left


def test_few_systems_are_called_warm_too_early() -> None:
    early = sum(share > 0.05 for share in left_to_rise(flat))
    earlier = sum(share > 0.05 for share in left_to_rise(two_means))
    assert early <= SYSTEMS / 10
    assert early < earlier


def test_a_noisy_rate_takes_longer_to_be_called_flat_than_a_quiet_one() -> None:
    climb = [90.0, 91, 92, 93, 94, 95, 96, 97]
    swing = [100.0, 100, 60, 100, 100, 130, 100, 110]
    assert flat([100.0, 101, 99, 100, 102, 99, 101, 100])
    assert not flat(climb)
    assert not flat(swing)


@pytest.mark.parametrize("rates", [[], [100.0] * 7, [0.0] * 12, [100.0] * 11 + [0.0]])
def test_too_few_readings_or_none_at_all_are_not_flat(rates: list[float]) -> None:
    assert not flat(rates)
    assert flat([*rates, *[100.0] * 8])

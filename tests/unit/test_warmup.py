"""Warm-up on simulated systems: a flat rate is one on which a rise can be ruled out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from meshmark.analysis.warmup import flat, warm
from meshmark.backends.simulated_open import OpenBench, random_system

SYSTEMS = 40
WINDOWS_MAX = 60


def two_means(rates: Sequence[float]) -> bool:
    """What `flat` must be better than: the last four readings against the four before."""
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


@pytest.mark.parametrize(
    ("rates", "is_flat"),
    [
        ([100] * 8, True),
        ([100, 101, 99, 100, 102, 99, 101, 100], True),
        ([10, 20, 30, 40, 50, 60, 70, 80], False),
        ([90, 91, 92, 93, 94, 95, 96, 97], False),
        ([10, 60, 90, 97, 99, 102, 98, 101, 99, 100, 98, 103], True),
        # A noisy rate takes longer to be called flat than a quiet one.
        ([100, 100, 60, 100, 100, 130, 100, 110], False),
        ([100, 100, 100, 100, 60, 70, 60, 70], True),
    ],
)
def test_flat_is_when_a_rise_can_be_ruled_out(rates: list[float], is_flat: bool) -> None:
    assert flat(rates) is is_flat


@pytest.mark.parametrize("rates", [[], [100.0] * 7, [0.0] * 12, [100.0] * 11 + [0.0]])
def test_too_few_readings_or_none_at_all_are_not_flat(rates: list[float]) -> None:
    assert not flat(rates)
    assert flat([*rates, *[100.0] * 8])


RISING = [10.0, 20, 30, 40, 50, 60, 70, 80]
NOISY = [100.0, 100, 60, 100, 100, 130, 100, 110]


@pytest.mark.parametrize(
    ("rates", "compiling", "is_warm"),
    [
        ([100.0] * 8, [], True),  # not told: the rate alone tells
        (RISING, [], False),
        (NOISY, [], False),
        ([100.0] * 8, [0.6] * 8, False),
        ([100.0] * 8, [0.6] * 4 + [0.2] * 4, True),
        ([100.0] * 8, [0.2] * 6 + [0.8] * 2, False),
        ([100.0] * 8, [0.1] * 7 + [0.4], True),
        ([100.0] * 7, [0.1] * 7, False),
        (RISING, [0.1] * 8, False),
        (NOISY, [0.1] * 8, False),
    ],
)
def test_a_system_is_warm_when_its_rate_is_flat_and_its_compilers_have_done(
    rates: list[float], compiling: list[float], is_warm: bool
) -> None:
    assert warm(rates, compiling) is is_warm

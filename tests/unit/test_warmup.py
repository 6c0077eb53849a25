"""When a rate counts as flat."""

from __future__ import annotations

import pytest

from meshmark.analysis.warmup import flat


@pytest.mark.parametrize(
    ("rates", "is_flat"),
    [
        ([], False),
        ([100.0] * 7, False),
        ([100.0] * 8, True),
        ([0.0] * 8, False),
        ([10, 20, 30, 40, 50, 60, 70, 80], False),
        ([10, 60, 90, 99, 100, 98, 101, 99], False),
        ([10, 60, 90, 97, 99, 102, 98, 101, 99, 100, 98, 103], True),
        ([100, 104, 96, 101, 105, 97, 103, 102], True),
        ([100, 100, 100, 100, 60, 70, 60, 70], True),
    ],
)
def test_flat_is_when_the_last_readings_no_longer_rise(rates: list[float], is_flat: bool) -> None:
    assert flat(rates) is is_flat

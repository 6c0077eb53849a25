"""Noise from recorded trials: what of a run is the system's own."""

from __future__ import annotations

import pytest

from bench.record_noise import full_load, rates


@pytest.mark.parametrize(
    ("valid", "offered_msg_s", "full"),
    [(True, None, True), (True, 1_200, True), (True, 1_000, False), (False, 1_200, False), (False, None, False)],
)
def test_only_a_trial_whose_rate_the_system_decided_tells_of_its_noise(
    valid: bool, offered_msg_s: float | None, full: bool
) -> None:
    assert full_load(valid=valid, offered_msg_s=offered_msg_s, rate_msg_s=1_000) is full


def test_rates_are_those_of_the_window_in_equal_steps() -> None:
    # 1,000 a second until the middle of the window, half of that after it, as reports at odd moments show it.
    times = [8.0 + 0.3 * step for step in range(22)]
    reports = [(at, round(1_000 * min(at, 12.0) + 500 * max(at - 12.0, 0))) for at in times]
    seen = rates(reports, 10.0, 14.0)
    assert len(seen) == 8
    assert seen[:3] == pytest.approx([1_000] * 3, rel=0.01)
    assert seen[-3:] == pytest.approx([500] * 3, rel=0.01)
    assert rates(reports[:1], 10.0, 14.0) == []

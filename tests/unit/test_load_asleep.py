"""The clock of a thread's sleep: it goes on in a sleep and stands still in work."""

from __future__ import annotations

import threading
import time

import pytest

from meshmark.load.asleep import SleepClock


def test_sleep_counts_and_work_does_not() -> None:
    clock = SleepClock()
    before_ns, worked_ns = clock.slept_ns(), time.thread_time_ns()
    while time.thread_time_ns() - worked_ns < 50_000_000:
        pass
    after_work_ns = clock.slept_ns()
    threading.Event().wait(0.1)
    after_sleep_ns = clock.slept_ns()
    clock.close()
    assert after_sleep_ns - after_work_ns > 90_000_000
    assert after_work_ns - before_ns < after_sleep_ns - after_work_ns


def test_without_the_kernels_statistics_nothing_is_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshmark.load.asleep._STATISTICS", "/nowhere")
    clock = SleepClock()
    assert clock.slept_ns() == 0
    clock.close()

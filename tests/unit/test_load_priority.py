"""The pacing thread's priority: what root gets, what is tried next, and that being refused is no error."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshmark.load.priority import NICE, raise_priority


def alone(call: Callable[[], Any]) -> Any:
    """In a thread of its own, which keeps what it did to itself."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def refused(*_: Any) -> None:
    raise PermissionError


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_gets_real_time_for_the_pacing_thread_alone() -> None:
    def look() -> tuple[str, int, int]:
        told = raise_priority()
        return told, os.sched_getscheduler(0), alone(lambda: os.sched_getscheduler(0))

    told, own, of_a_thread_after_it = alone(look)
    if told != "SCHED_RR 1":
        pytest.skip(f"this kernel or container allows only {told}")
    assert own == os.SCHED_RR | os.SCHED_RESET_ON_FORK
    assert of_a_thread_after_it == os.SCHED_OTHER


def test_without_real_time_it_is_a_nice_value(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def only_normal(_: int, policy: int, __: os.sched_param) -> None:
        if policy & os.SCHED_RR:
            raise PermissionError
        asked.append(policy)

    monkeypatch.setattr(os, "sched_setscheduler", only_normal)
    monkeypatch.setattr(os, "setpriority", lambda *given: asked.append(given[-1]))
    assert raise_priority() == f"nice {NICE}"
    assert asked == [os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, NICE]


def test_being_refused_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr(os, "setpriority", refused)
    assert raise_priority() == "normal"

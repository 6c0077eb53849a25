"""A load worker's priority: what root gets, and that being refused is no error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshmark.load.priority import AUTOGROUP, NICE, raise_pacer, raise_process


def alone(call: Callable[[], Any]) -> Any:
    """In a thread of its own, which keeps what it did to itself."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def refused(*_: Any) -> None:
    raise PermissionError


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_gets_a_nice_value_for_all_threads_and_real_time_for_the_pacing_one_alone() -> None:
    def look() -> tuple[str, str | None, int, list[int]]:
        told, before = raise_process(), alone(lambda: os.getpriority(os.PRIO_PROCESS, 0))
        paced, own = raise_pacer(), os.sched_getscheduler(0)
        return told, paced, own, [before, alone(lambda: os.sched_getscheduler(0))]

    told, paced, own, (nice_of_a_thread, policy_of_a_later_one) = alone(look)
    assert told == f"nice {NICE}"
    assert nice_of_a_thread == NICE
    if paced is None:
        pytest.skip("this kernel or container allows no real-time priority")
    assert paced == "SCHED_RR 1"
    assert own == os.SCHED_RR | os.SCHED_RESET_ON_FORK
    assert policy_of_a_later_one == os.SCHED_OTHER


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not group sessions")
def test_the_group_of_a_workers_session_goes_first_too() -> None:
    """Else the nice value would count among the worker's own threads only."""
    script = f"from meshmark.load.priority import *; raise_process(); print(open('{AUTOGROUP}').read())"
    ran = subprocess.run([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE, check=True)
    assert ran.stdout.split()[-2:] == [b"nice", b"-10"]


def test_being_refused_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", refused)
    monkeypatch.setattr(os, "setpriority", refused)
    assert raise_process() == "normal"
    assert raise_pacer() is None

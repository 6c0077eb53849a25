"""Who used the CPU between two readings of all processes, those that ended meanwhile included."""

from __future__ import annotations

import pytest

from meshmark.backends.lab.tasks import Tasks, Used, family, growth
from meshmark.probes.procfs import ProcessStat


def task(pid: int, parent: int, used: float, *, waited: float = 0.0, start: int = 1) -> ProcessStat:
    """Half of everything as user."""
    return ProcessStat(
        pid=pid,
        name=f"p{pid}",
        state="S",
        parent=parent,
        kernel=False,
        user_s=used / 2,
        system_s=used / 2,
        children_user_s=waited / 2,
        children_system_s=waited / 2,
        threads=1,
        start_ticks=start,
        rss_bytes=0,
    )


def tasks(*all_tasks: ProcessStat) -> Tasks:
    return {each.pid: each for each in all_tasks}


def used(before: Tasks, now: Tasks) -> dict[int, float]:
    return {stat.pid: grown.user_s + grown.system_s for stat, grown in growth(before, now)}


@pytest.mark.parametrize(
    ("before", "now", "grown"),
    [
        pytest.param([task(5, 1, 10)], [task(5, 1, 13)], {5: 3}, id="a process that lives"),
        pytest.param([task(5, 1, 10)], [task(5, 1, 10), task(6, 5, 2)], {5: 0, 6: 2}, id="a new one counts whole"),
        pytest.param([task(5, 1, 10)], [task(5, 1, 11, waited=4)], {5: 5}, id="a child that lived in between"),
        pytest.param(
            [task(5, 1, 10), task(6, 5, 7)], [task(5, 1, 10, waited=8)], {5: 1}, id="a child that ended counts on"
        ),
        pytest.param(
            [task(5, 1, 10), task(6, 5, 7, waited=3), task(7, 6, 2)],
            [task(5, 1, 10, waited=14)],
            {5: 2},
            id="so does a whole family that ended",
        ),
        pytest.param([task(5, 1, 10), task(6, 5, 7)], [task(5, 1, 10)], {5: 0}, id="a child nobody waited for"),
        pytest.param([task(5, 1, 10)], [task(5, 1, 1, start=9)], {5: 1}, id="the same number, another process"),
    ],
)
def test_growth_between_two_readings(
    before: list[ProcessStat], now: list[ProcessStat], grown: dict[int, float]
) -> None:
    assert used(tasks(*before), tasks(*now)) == pytest.approx(grown)


def test_user_and_system_time_stay_apart() -> None:
    ((_, grown),) = growth({}, tasks(task(5, 1, 3)._replace(user_s=1.0, system_s=2.0)))
    assert grown == Used(1.0, 2.0)


def test_a_family_is_a_process_and_all_below_it() -> None:
    all_tasks = tasks(task(1, 0, 0), task(5, 1, 0), task(6, 5, 0), task(7, 6, 0), task(8, 1, 0))
    assert family(all_tasks, 5) == {5, 6, 7}

"""How far another machine's monotonic clock is ahead of this one's, within bounds that hold.

Each exchange bounds it: what the other clock said lies between the question and the answer by this one. Of many
exchanges the bounds are cut with each other, so the result is at least as narrow as the shortest round trip. Limits:
ways that take longer in one direction than in the other are in the bounds, not in the middle; clocks drift, so what is
bounded before and after a load is taken to have gone evenly in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from meshmark.cluster import Process
from meshmark.nodes import ClockCheck

EXCHANGES = 30
MOST_S = 0.02
"""Of a bound: by so much marks and schedules of load workers are apart, 1 % of the shortest windows."""


class Ahead(NamedTuple):
    """No less than `low_s`, no more than `high_s`."""

    low_s: float
    high_s: float

    @property
    def middle_s(self) -> float:
        return (self.low_s + self.high_s) / 2

    @property
    def bound_s(self) -> float:
        """Around the middle."""
        return (self.high_s - self.low_s) / 2

    def error_s(self, taken_s: float) -> float:
        """Of a value that was taken for it, at most."""
        return max(self.high_s - taken_s, taken_s - self.low_s)


def compare(ask: Callable[[], float], now: Callable[[], float] = time.monotonic) -> Ahead:
    """`ask` gives the other clock's time."""
    found: list[Ahead] = []
    for _ in range(EXCHANGES):
        asked_s = now()
        told_s = ask()
        found.append(Ahead(told_s - now(), told_s - asked_s))
    cut = Ahead(max(each.low_s for each in found), min(each.high_s for each in found))
    # They contradict each other where the clocks ran apart meanwhile, by more than the exchanges leave open.
    return (
        cut
        if cut.low_s <= cut.high_s
        else Ahead(min(each.low_s for each in found), max(each.high_s for each in found))
    )


def checked(process: Process, before: Ahead, after: Ahead | None, began_s: float, ended_s: float) -> ClockCheck:
    """Of a load worker, which was told the middle of `before`."""
    errors = [each.error_s(before.middle_s) for each in (before, after) if each]
    return ClockCheck(
        host=process.host,
        worker=process.name,
        began_s=began_s,
        ended_s=ended_s,
        ahead_s=before.middle_s,
        bound_s=before.bound_s,
        error_s=max(errors) if after else None,
    )

"""The whole distribution of latency at equal load: all windows of a scenario's repeats in one histogram. Pure.

What a data plane adds is told by the repeat (`equal_load`), with an interval: one histogram hides how much repeats
differ. It shows the shape instead, and its tail reaches further than that of one window. Trials count here as there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from meshmark.analysis.equal_load import equal_trials
from meshmark.histogram import Histogram, total
from meshmark.plan import Scenario
from meshmark.record import Trial
from meshmark.store import Run

Ends = Literal["acknowledgement", "consumer"]
"""Where a latency ends; it begins at the intended send."""

LONGER_LEAST = 10
"""So many records must be longer than a quantile that is told."""
NINES_MOST = 4
STEPS = 16
"""Of a curve, for each nine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """Of one scenario at one equal load. `curve` has (nines, seconds): 0 is the smallest value, 1 the 90 % quantile, 2
    the 99 % one, up to NINES_MOST, or to the last with LONGER_LEAST longer values; without what is below a
    microsecond."""

    scenario: str
    baseline: str
    share: float
    offered_msg_s: float
    ends: Ends
    repeats: int
    count: int
    curve: tuple[tuple[float, float], ...]
    max_s: float

    def at(self, nines: int) -> float | None:
        """Seconds; None beyond the curve's end."""
        return dict(self.curve).get(float(nines))


def distributions(run: Run) -> tuple[Distribution, ...]:
    """In the order of the plan's scenarios; none where nothing was counted."""
    found = (
        _of(run, scenario, share, ends)
        for scenario in run.plan.scenarios
        for share in scenario.method.equal_load
        for ends in ("acknowledgement", "consumer")
    )
    return tuple(each for each in found if each is not None)


def _of(run: Run, scenario: Scenario, share: float, ends: Ends) -> Distribution | None:
    trials = list(equal_trials(run, scenario.name, share).values())
    merged = total(_texts(trials, ends))
    largest = merged.max_s
    if largest is None:
        return None
    return Distribution(
        scenario=scenario.name,
        baseline=run.plan.baseline_of(scenario),
        share=share,
        offered_msg_s=trials[0].offered_msg_s,
        ends=ends,
        repeats=len(trials),
        count=merged.count,
        curve=tuple(_curve(merged)),
        max_s=largest,
    )


def _texts(trials: list[Trial], ends: Ends) -> Iterator[str]:
    for trial in trials:
        latency = trial.latency if ends == "acknowledgement" else trial.end_to_end
        if latency is not None:
            yield latency.histogram


def _curve(merged: Histogram) -> Iterator[tuple[float, float]]:
    for step in range(NINES_MOST * STEPS + 1):
        nines = step / STEPS
        longer = 10**-nines
        if merged.count * longer < LONGER_LEAST * (1 - 1e-9):
            return
        seconds = merged.quantile_s(1 - longer)
        if seconds:
            yield nines, seconds

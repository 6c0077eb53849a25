"""The recorded trials of a scenario -> its saturation search: what to offer next, and what all of them say. Pure.

One search spans all rounds of a scenario: each round adds some trials of a new cluster. The conductor asks it for the
next rate, a report asks it for the answer, and both build it from the same recorded trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median

from meshmark.analysis import stats
from meshmark.analysis.saturation import POINTS_LEAST, Saturation, Search, SearchConfig, TrialOutcome
from meshmark.histogram import Histogram
from meshmark.plan import Method, Plan, Scenario
from meshmark.record import Latency, Point, Trial

REPEATS_LEAST = 3
"""Before a run may end for what it knows: fewer do not tell how much lives of a cluster differ."""
_FOR_EVER_S = 86_400.0
_TRIALS_LEAST = 3
"""A plan may ask for fewer trials than an interval takes; then there is none."""
COUNTED = ("carried", "not carried", "unclear")
"""Verdicts of the trials that a search learns from."""
_START_SECONDS = 4
_START_SHARE = 0.95
"""Where a search begins, of the rate in closed loop: near, and rather carried."""


def start_msg_s(rates_msg_s: Sequence[float]) -> float:
    """A first guess from the last seconds of closed loop, under the limits where there are any."""
    return max(1.0, fmean(rates_msg_s[-_START_SECONDS:] or [1.0]) * _START_SHARE)


def search(plan: Plan, scenario: Scenario, start: float, trials: Sequence[Trial]) -> Search:
    """`start`: the highest guess from closed loop so far; `trials` in the order in which they were made."""
    found = [trial for trial in trials if trial.purpose == "search"]
    return Search.resume(config(plan, scenario, start), [outcome(trial, scenario.method) for trial in found])


def config(plan: Plan, scenario: Scenario, start: float) -> SearchConfig:
    method = scenario.method
    trials = max(_TRIALS_LEAST, method.trials * plan.repeats)
    return SearchConfig(
        start_msg_s=start,
        slos=method.slos,
        trials_max=trials,
        lives=plan.repeats,
        trial_seconds=method.window_seconds,
        settle_seconds=method.settle_seconds,
        budget_seconds=_FOR_EVER_S,
        width=method.width,
        seed=plan.seed,
    )


def outcome(trial: Trial, method: Method) -> TrialOutcome:
    """What the search is to know of a trial. One with too few reports has a fault (`too_few`) and is not read; the
    search needs it all the same, since it numbers its trials."""
    series = trial.series if len(trial.series) >= POINTS_LEAST else _unread(trial)
    return TrialOutcome(
        rate_msg_s=trial.offered_msg_s,
        life=trial.repeat,
        phase=trial.phase,
        target=trial.target,
        started_s=trial.started_s,
        ended_s=trial.ended_s,
        time_s=tuple(point.time_s for point in series),
        offered=tuple(float(point.offered) for point in series),
        acknowledged=tuple(float(point.acknowledged) for point in series),
        outstanding=tuple(float(point.outstanding) for point in series),
        latency_s=tuple((slo.quantile, _quantile_s(trial.latency, slo.quantile)) for slo in method.slos),
        errors=trial.errors,
        late_share=trial.lateness.late_share if trial.lateness else 0.0,
        invalid="; ".join(dict.fromkeys((*trial.faults, *too_few(trial.series)))),
    )


def too_few(series: Sequence[Point]) -> tuple[str, ...]:
    """The fault of a trial with such a series, if that is one."""
    if len(series) >= POINTS_LEAST:
        return ()
    return (f"the load workers reported {len(series)} times in its window, and {POINTS_LEAST} are needed",)


def _unread(trial: Trial) -> tuple[Point, ...]:
    seconds = trial.window_end_s - trial.window_start_s
    times = (trial.window_start_s + seconds * number / POINTS_LEAST for number in range(POINTS_LEAST))
    return tuple(Point(time_s=time_s, offered=0, acknowledged=0, outstanding=0) for time_s in times)


def is_none(reason: str | None) -> bool:
    """Does this reason say that there is no ceiling to compare, however many repeats there may be?"""
    return reason not in (None, "not enough trials")


def ratio(contender: Saturation, baseline: Saturation) -> stats.Estimate | None:
    """Of two ceilings for any latency."""
    return quotient(_estimate(contender), _estimate(baseline))


def quotient(contender: stats.Estimate | None, baseline: stats.Estimate | None) -> stats.Estimate | None:
    """Of two ceilings, whose counts are of lives. Two lives of each, or there is no interval: one life does not tell
    how much lives differ."""
    if contender is None or baseline is None:
        return None
    found = stats.ratio(contender, baseline)
    return found if found.count > 1 else stats.Estimate(mean=found.mean, low=None, high=None, count=found.count)


def known(plan: Plan, found: Mapping[str, Saturation]) -> bool:
    """Whether every loss against a baseline is known to within the plan's `stop_width`; `found` by scenario. False
    without any loss."""
    pairs = [(scenario.name, plan.baseline_of(scenario)) for scenario in plan.scenarios]
    ratios = [ratio(found[name], found[base]) for name, base in pairs if name != base and base in found]
    return bool(ratios) and all(
        each is not None and each.low is not None and each.high is not None and each.high - each.low <= plan.stop_width
        for each in ratios
    )


def _estimate(found: Saturation) -> stats.Estimate | None:
    ceiling = found.ceilings[0]
    if ceiling.middle_msg_s is None:
        return None
    lives = len({view.life for view in found.trials if view.verdict in COUNTED})
    return stats.Estimate(mean=ceiling.middle_msg_s, low=ceiling.low_msg_s, high=ceiling.high_msg_s, count=lives)


def lowest_msg_s(searches: Sequence[Search]) -> float | None:
    """The lowest ceiling of all scenarios, from which equal loads are taken; None while one is not known. Where there
    is no ceiling (the answer is `unstable`, say), what its trials carried stands for it."""
    rates = [_believed_msg_s(found) for found in searches]
    known = [rate for rate in rates if rate is not None]
    return min(known) if known and len(known) == len(rates) else None


def _believed_msg_s(found: Search) -> float | None:
    middle = found.result().ceilings[0].middle_msg_s
    if middle is not None:
        return middle
    carried = [
        (each.acknowledged[-1] - each.acknowledged[0]) / (each.time_s[-1] - each.time_s[0])
        for each in found.outcomes
        if not each.invalid
    ]
    return median(carried) if carried else None


def _quantile_s(latency: Latency | None, quantile: float) -> float:
    """An empty histogram's: nothing was acknowledged in the window, so no service level was met."""
    found = Histogram.decode(latency.histogram).quantile_s(quantile) if latency else None
    return _FOR_EVER_S if found is None else found

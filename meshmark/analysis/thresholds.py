"""The plan's thresholds against what was measured: held, broken, or not to be told. Pure.

A threshold is held if the whole 95 % interval is below it, broken if the whole interval is not: each is wrong at most
once in forty. Where half of the repeats or more are missing none is held: the missing ones may be the bad ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.analysis import stats
from meshmark.analysis.model import Interval, ScenarioSummary, ThresholdSummary, ThresholdVerdict
from meshmark.plan import Plan, Threshold

MS = 1e3


def judged(plan: Plan, scenarios: Sequence[ScenarioSummary]) -> tuple[ThresholdSummary, ...]:
    """One for each threshold of the plan, in its order."""
    by_name = {scenario.name: scenario for scenario in scenarios}
    return tuple(
        _loss(threshold, by_name[asked.name], by_name.get(plan.baseline_of(asked)))
        if threshold.share is None
        else _latency(threshold, by_name[asked.name])
        for asked, threshold in plan.thresholds()
    )


def _loss(threshold: Threshold, scenario: ScenarioSummary, base: ScenarioSummary | None) -> ThresholdSummary:
    """Of two ceilings, as `summary` has it."""
    counted = min(scenario.repeats_valid, base.repeats_valid) if base else 0
    interval, planned = scenario.loss_interval, scenario.repeats_planned
    verdict, why = judge(threshold.limit, interval, counted=counted, planned=planned)
    if scenario.verdict == "no ceiling":
        verdict, why = "cannot tell", f"no ceiling: {scenario.verdict_text}"
    return _summary(threshold, scenario, scenario.loss_vs_plain, interval, (counted, planned), (verdict, why))


def _latency(threshold: Threshold, scenario: ScenarioSummary) -> ThresholdSummary:
    """Mean of the repeats' quantiles; equal loads begin with the second repeat."""
    found = [
        getattr(trial.latency, f"{threshold.quantile}_s")
        for repeat in scenario.repeats
        for trial in repeat.trials
        if trial.purpose == "equal-load" and trial.valid and threshold.is_at(trial.share)
    ]
    estimate = stats.estimate([seconds * MS for seconds in found if seconds is not None])
    interval = Interval.of(estimate) if estimate else None
    counted, planned = estimate.count if estimate else 0, scenario.repeats_planned - 1
    told = judge(threshold.limit, interval, counted=counted, planned=planned)
    return _summary(threshold, scenario, estimate.mean if estimate else None, interval, (counted, planned), told)


def _summary(
    threshold: Threshold,
    scenario: ScenarioSummary,
    value: float | None,
    interval: Interval | None,
    repeats: tuple[int, int],
    told: tuple[ThresholdVerdict, str],
) -> ThresholdSummary:
    return ThresholdSummary(
        scenario=scenario.name,
        name=threshold.name,
        limit=threshold.limit,
        value=value,
        interval=interval,
        repeats_counted=repeats[0],
        repeats_planned=repeats[1],
        verdict=told[0],
        why=told[1],
    )


def judge(limit: float, interval: Interval | None, *, counted: int, planned: int) -> tuple[ThresholdVerdict, str]:
    """Verdict, and why it cannot be told."""
    if interval is None:
        return "cannot tell", "one repeat shows no spread" if counted else "not measured"
    if interval.low >= limit:
        return "broken", ""
    if interval.high >= limit:
        return "cannot tell", "the interval holds the limit"
    if 2 * counted <= planned:
        return "cannot tell", f"only {counted} of {planned} repeats: the missing ones may be the bad ones"
    return "held", ""

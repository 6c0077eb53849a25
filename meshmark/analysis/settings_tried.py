"""Which of Kafka's settings moves what is carried at a distance, and whether the term that binds said so before.

Pure. A scenario that differs from its baseline in settings of brokers, of producers or in the number of connections,
and in nothing else, tries a setting. The prediction is made of the bounds of both (`terms.py`), not of the scenario's
rate: the rate goes up or down with the bound that binds the baseline, goes down where another bound is now below the
baseline's rate, and stays otherwise. What was seen is the quotient of the two ceilings: up or down where its 95 %
interval excludes 1.

Limits: a bound that rises uncovers the next one, so only the direction is predicted, never by how much. That a rate
stays can be contradicted, and never shown. What a setting costs in CPU is not predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from meshmark.analysis.model import ScenarioSummary
from meshmark.analysis.wan_model import Binding, Bound, SettingTried, Term
from meshmark.plan import Plan, Scenario
from meshmark.units import number

MOVES = 0.1
"""By more than this share a bound is another one."""

Direction = Literal["up", "down", "same"]


class Predicted(NamedTuple):
    """None: nothing is."""

    direction: Direction | None
    reason: str


def tried(plan: Plan, scenarios: Sequence[ScenarioSummary], bindings: Sequence[Binding]) -> tuple[SettingTried, ...]:
    """In the plan's order; empty where no scenario differs from its baseline in settings alone."""
    by_name = {each.scenario: each for each in bindings}
    return tuple(_tried(row, base, changes, by_name) for row, base, changes in _pairs(plan, scenarios, by_name))


def _pairs(
    plan: Plan, scenarios: Sequence[ScenarioSummary], bindings: Mapping[str, Binding]
) -> Iterator[tuple[ScenarioSummary, Binding, str]]:
    asked = {scenario.name: scenario for scenario in plan.scenarios}
    for row in scenarios:
        own, base = asked[row.name], asked.get(plan.baseline_of(asked[row.name]))
        if base is not None and base.name != own.name and {own.name, base.name} <= bindings.keys():
            changes = changed(base, own)
            if changes and _others(base) == _others(own):
                yield row, bindings[base.name], changes


def changed(base: Scenario, own: Scenario) -> str:
    """Settings and their values, as `own` has them; empty where all are alike."""
    one, other = _settings(base), _settings(own)
    return ", ".join(
        f"{key}={other.get(key, 'default')}" for key in dict(one | other) if one.get(key) != other.get(key)
    )


def _settings(scenario: Scenario) -> dict[str, Any]:
    work = scenario.workload
    return {**scenario.cluster.broker_config, **work.producer_config, "workers": work.workers}


def _others(scenario: Scenario) -> tuple[Any, ...]:
    cluster = scenario.cluster.model_dump(exclude={"broker_config"})
    workload = scenario.workload.model_dump(exclude={"producer_config", "workers"})
    return scenario.data_plane, cluster, workload


def predicted(base: Binding, own: Sequence[Bound]) -> Predicted:
    """From what binds the baseline, and the bounds of both."""
    lower = [bound.term for bound in own if _below(bound, base)]
    if lower:
        return Predicted("down", f"{lower[0]} is now below the baseline's rate")
    if not base.binds:
        return Predicted(None, "what binds the baseline is unknown")
    first = base.binds[0]
    before, after = _bound(base.bounds, first), _bound(own, first)
    if first == "CPU" or (before is not None and after is not None and abs(after / before - 1) <= MOVES):
        return Predicted("same", f"{first} binds, and is as before")
    if before is None or after is None:
        return Predicted(None, f"{first} binds, and what it allows now is not known")
    direction: Direction = "up" if after > before else "down"
    return Predicted(direction, f"{first} binds, and allows {number(after / before)} times as much")


def _below(bound: Bound, base: Binding) -> bool:
    """A bound that was above the baseline's rate, and is no more."""
    if bound.term == "CPU" or bound.bound_msg_s is None or base.rate_msg_s is None:
        return False
    before = _bound(base.bounds, bound.term)
    return bound.bound_msg_s < base.rate_msg_s * (1 - MOVES) and (before is None or before > bound.bound_msg_s)


def _bound(bounds: Sequence[Bound], term: Term) -> float | None:
    return next((bound.bound_msg_s for bound in bounds if bound.term == term), None)


def _tried(row: ScenarioSummary, base: Binding, changes: str, bindings: Mapping[str, Binding]) -> SettingTried:
    told = predicted(base, bindings[row.name].bounds)
    seen = seen_of(row)
    interval = row.loss_interval
    return SettingTried(
        scenario=row.name,
        baseline=base.scenario,
        data_plane=row.data_plane,
        changed=changes,
        binds=base.binds[0] if base.binds else None,
        predicted=told.direction,
        reason=told.reason,
        ratio=None if row.loss_vs_plain is None else 1 - row.loss_vs_plain,
        ratio_low=None if interval is None else 1 - interval.high,
        ratio_high=None if interval is None else 1 - interval.low,
        seen=seen,
        agrees=agrees(told.direction, seen),
    )


def seen_of(row: ScenarioSummary) -> Literal["up", "down", "cannot tell"] | None:
    known: Mapping[str, Literal["up", "down", "cannot tell"]] = {
        "faster": "up",
        "slower": "down",
        "cannot tell": "cannot tell",
    }
    return known.get(row.verdict)


def agrees(predicted: Direction | None, seen: Literal["up", "down", "cannot tell"] | None) -> bool | None:
    """Whether what was seen is what was predicted; None where one of both is unknown."""
    return None if predicted is None or seen in (None, "cannot tell") else predicted == seen

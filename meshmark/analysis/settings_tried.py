"""Which of Kafka's settings moves what is carried at a distance, and whether the term that binds said so before.

Pure. A scenario that differs from its baseline in settings of brokers, of producers or in the number of connections,
and in nothing else, tries a setting. The prediction is made of the bounds of both (`terms.py`), not of the scenario's
rate. Where a bound other than CPU binds the baseline, what each term takes of a record's way adds up, as in the law of
distance: 1 / rate = sum of 1 / bound, and the rate goes as that sum does. Where CPU binds, terms pass beside it: the
rate stays, or goes down where a bound is now below the baseline's rate, which a term that there was not before does in
any case. Where no answer is waited for (`acks=0`) there is no such term, and it takes no time; a bound that is not
known is left out. What was seen is the quotient of the two ceilings: up or down where its 95 % interval excludes 1.

Limits: a bound that rises uncovers CPU, so only the direction is predicted, never by how much. That a rate stays can
be contradicted, and never shown. What a setting costs in CPU is not predicted.
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
WAITS: tuple[Term, ...] = ("batches in flight", "records held")
"""For an answer: there are none where none is waited for. Other terms that are not there are not known."""

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
    first = base.binds[0] if base.binds else None
    passing = first is None or first == "CPU"
    lower = [bound.term for bound in own if _below(bound, base)]
    if beyond := [term for term in lower if passing or _bound(base.bounds, term) is None]:
        return Predicted("down", f"{beyond[0]} is now below the baseline's rate")
    if first is None:
        return Predicted(None, "what binds the baseline is unknown")
    return Predicted("same", "CPU binds, and is as before") if passing else _summed(base, own, first)


def _summed(base: Binding, own: Sequence[Bound], first: Term) -> Predicted:
    """By what all terms together take of a record's way; `first` binds the baseline, and is not CPU."""
    terms = [bound.term for bound in base.bounds if bound.term == first or _counts(bound, base)]
    terms += [term for term in WAITS if all(bound.term != term for bound in base.bounds)]
    before = {term: _seconds(base.bounds, term) for term in terms}
    after = {term: _seconds(own, term) for term in terms}
    if before[first] is None or after[first] is None:
        return Predicted(None, f"{first} binds, and what it allows now is not known")
    known = [term for term in terms if before[term] is not None and after[term] is not None]
    was, now = (sum(seconds[term] or 0.0 for term in known) for seconds in (before, after))
    if not now:
        return Predicted("up", f"{first} binds, and no term takes time any more")
    times = was / now
    if abs(times - 1) <= MOVES:
        return Predicted("same", f"{first} binds, and all terms together are as before")
    return Predicted(
        "up" if times > 1 else "down", f"{first} binds, and all terms together allow {number(times)} times as much"
    )


def _counts(bound: Bound, base: Binding) -> bool:
    """Whether a term takes its part of a record's way; one that the baseline exceeded is not what it was taken for."""
    if bound.term == "CPU" or bound.bound_msg_s is None:
        return False
    return base.rate_msg_s is None or bound.bound_msg_s >= base.rate_msg_s


def _below(bound: Bound, base: Binding) -> bool:
    """A bound that was above the baseline's rate, and is no more."""
    if bound.term == "CPU" or bound.bound_msg_s is None or base.rate_msg_s is None:
        return False
    before = _bound(base.bounds, bound.term)
    return bound.bound_msg_s < base.rate_msg_s * (1 - MOVES) and (before is None or before > bound.bound_msg_s)


def _bound(bounds: Sequence[Bound], term: Term) -> float | None:
    return next((bound.bound_msg_s for bound in bounds if bound.term == term), None)


def _seconds(bounds: Sequence[Bound], term: Term) -> float | None:
    """Of a record's way, in the mean of many; None where it is not known."""
    if term in WAITS and all(bound.term != term for bound in bounds):
        return 0.0
    bound = _bound(bounds, term)
    return 1 / bound if bound else None


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

"""What crossed the links between clusters, per byte that was acknowledged, and by how much less than the baseline's.

Pure. From what relays, or the kernel's scheduler netem, counted, over whole trials with nothing in flight at either
end, so what replicas and consumers fetch after the load is in it, and so is Kafka's chatter meanwhile. Bytes are those
of IP packets as they would be on a wire: headers, TLS and what TCP sends again included.

Limits: what netem counts was seen with another scheduler in its place alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from meshmark.analysis.links import counters
from meshmark.analysis.wan_model import WanSummary
from meshmark.plan import Scenario
from meshmark.record import Trial
from meshmark.store import Run

Key = tuple[str, str]
"""Link, and way."""


def crossed(run: Run) -> tuple[WanSummary, ...]:
    """Every link and direction of every scenario, in the plan's order."""
    per_byte = {scenario.name: _per_byte(run, scenario) for scenario in run.plan.scenarios}
    return tuple(row for scenario in run.plan.scenarios for row in _rows(run, scenario, per_byte))


def _rows(run: Run, scenario: Scenario, per_byte: Mapping[str, Mapping[Key, float]]) -> Iterator[WanSummary]:
    own, base = per_byte[scenario.name], run.plan.baseline_of(scenario)
    baseline = per_byte.get(base, {}) if base != scenario.name else {}
    for link in scenario.cluster.topology.links:
        for way, source, target in (("forward", *link.ends), ("back", *reversed(link.ends))):
            value, other = own.get((link.name, way)), baseline.get((link.name, way))
            if value is not None:
                yield WanSummary(
                    scenario=scenario.name,
                    source=source,
                    target=target,
                    bytes_per_byte=value,
                    saved=1 - value / other if other else None,
                    saved_bytes_per_byte=None if other is None else other - value,
                )


def _per_byte(run: Run, scenario: Scenario) -> dict[Key, float]:
    trials = [
        trial
        for data in run.rounds
        if data.started.scenario == scenario.name
        for trial in data.trials
        if trial.valid and trial.total.acknowledged_bytes
    ]
    payload = sum(trial.total.acknowledged_bytes for trial in trials)
    found = {}
    for link in scenario.cluster.topology.links:
        for way in ("forward", "back"):
            grown = [_grown(trial, counters(link, f"{way}_bytes")) for trial in trials]
            known = [value for value in grown if value is not None]
            if trials and len(known) == len(grown):
                found[link.name, way] = sum(known) / payload
    return found


def _grown(trial: Trial, keys: Sequence[str]) -> float | None:
    """Of the first that was counted."""
    known = (key for key in keys if key in trial.quiet_start and key in trial.quiet_end)
    return next((trial.quiet_end[key] - trial.quiet_start[key] for key in known), None)

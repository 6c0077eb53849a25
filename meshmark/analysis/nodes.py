"""Readings of a node's CPU that somebody else took -> what it spent in which pods and outside all of them. Pure.

Everything is of the time between two readings of the node itself, so that is exact; of pods it is what their own
readings, at other times, leave possible (`meshmark.nodes.growth`). Limits: rounds as a whole, since a trial's window
is shorter than two readings are apart; a node counts only with two readings of itself within those of all its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from meshmark.analysis.node_model import ContainerCpu, Cpus, NodeCpu, ReadingSpread
from meshmark.nodes import (
    KUBELET,
    NODE,
    PODS,
    RUNTIME,
    ZTUNNEL,
    Between,
    CpuReading,
    NodesRead,
    QuotaReading,
    Source,
    growth,
)
from meshmark.store import Run

GROUPS = (NODE, PODS, KUBELET, RUNTIME, ZTUNNEL)
LEAST = 2
"""Readings, from one of which to another something can have grown."""
TIMES_S: dict[Source, float] = {"kubelet": 1.0, "prometheus": 0.0}
"""What a source leaves out of its readings' times: a kubelet's are a Kubernetes API's Time, in whole seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """On one node in one round, in CPU seconds. A part without a bound is not known. `edges_s`: what any of it, or all
    together, can have spent while readings of one time by their clock were made one after the other."""

    seconds: float
    node_s: float
    grown: dict[str, Between | None]
    edges_s: float

    @property
    def parts(self) -> dict[str, Between | None]:
        return {part: _wider(grown, self.edges_s) for part, grown in self.grown.items()}

    @property
    def outside(self) -> Between:
        pods = self.parts[PODS]
        assert pods is not None, "known of every round that counts"
        return Between(max(0.0, self.node_s - pods.high), max(0.0, self.node_s - pods.low))

    @property
    def own(self) -> Between | None:
        """No more than all pods together, by which the bounds of many containers' sum are too wide."""
        total = _wider(_sum(self.grown[part] for part in self.grown if part not in GROUPS), self.edges_s)
        pods = self.parts[PODS]
        if total is None or pods is None:
            return total
        return Between(min(total.low, pods.high), min(total.high, pods.high))

    @property
    def others(self) -> Between | None:
        pods, own = self.parts[PODS], self.own
        if pods is None or own is None:
            return None
        return Between(max(0.0, pods.low - own.high), max(0.0, pods.high - own.low))


def nodes(run: Run) -> tuple[NodeCpu, ...]:
    """By scenario, in the plan's order, and node."""
    found, cpus = [], run.started.host.cpus
    for scenario in run.plan.scenarios:
        rounds = [data.nodes for data in run.rounds if data.started.scenario == scenario.name and data.nodes]
        names = sorted({each.node for read in rounds for each in read.cpu})
        for node in names:
            counted = [spent for read in rounds if (spent := spent_on(read.cpu, node, _edges_s(read, cpus)))]
            if counted:
                found.append(_summary(scenario.name, node, rounds, counted))
    return tuple(found)


def spreads(run: Run) -> tuple[ReadingSpread, ...]:
    """By scenario; empty where nothing was read in pods."""
    found = []
    for scenario in run.plan.scenarios:
        rounds = [data.nodes for data in run.rounds if data.started.scenario == scenario.name and data.nodes]
        if rounds:
            made = ReadingSpread(
                scenario=scenario.name,
                readings=sum(read.readings for read in rounds),
                p50_s=max((read.spread_p50_s for read in rounds if read.spread_p50_s is not None), default=None),
                max_s=max((read.spread_max_s for read in rounds if read.spread_max_s is not None), default=None),
            )
            found.append(made)
    return tuple(found)


def _edges_s(read: NodesRead, cpus: int) -> float:
    """Of both edges of a round."""
    return 2 * TIMES_S[read.source] * cpus if read.source else 0.0


def spent_on(readings: Sequence[CpuReading], node: str, edges_s: float = 0.0) -> Spent | None:
    """In one round; None where the readings do not allow it."""
    parts: dict[str, list[CpuReading]] = {}
    for each in readings:
        if each.node == node:
            parts.setdefault(each.part, []).append(each)
    itself = parts.pop(NODE, [])
    told = {part: found for part, found in parts.items() if len(found) >= LEAST}
    if PODS not in told:
        return None
    first, last = max(found[0].read_at for found in told.values()), min(found[-1].read_at for found in told.values())
    inside = [each for each in itself if first <= each.read_at <= last]
    if len(inside) < LEAST:
        return None
    start, end = inside[0], inside[-1]
    grown = {part: growth(parts[part], start.read_at, end.read_at) for part in sorted(parts)}
    whole = growth(itself, start.read_at, end.read_at)
    if whole is None or grown[PODS] is None:
        return None
    return Spent(seconds=end.read_at - start.read_at, node_s=whole.low, grown=grown, edges_s=edges_s)


def _wider(grown: Between | None, by_s: float) -> Between | None:
    return grown and Between(max(0.0, grown.low - by_s), grown.high + by_s)


def _summary(scenario: str, node: str, rounds: Sequence[NodesRead], counted: Sequence[Spent]) -> NodeCpu:
    seconds = sum(each.seconds for each in counted)
    source = next(read.source for read in rounds if read.source)
    limits = {each.part for read in rounds for each in read.quotas if each.node == node}
    names = sorted({part for each in counted for part in each.parts} - {*GROUPS} | limits)

    def mean(values: Iterable[Between | None]) -> Cpus | None:
        total = _sum(values)
        return None if total is None else Cpus(low=total.low / seconds, high=total.high / seconds)

    outside = mean(each.outside for each in counted)
    assert outside is not None, "known of every round that counts"
    return NodeCpu(
        scenario=scenario,
        node=node,
        source=source,
        verified=all(read.verified for read in rounds),
        rounds=len(counted),
        seconds=seconds,
        cpus=sum(each.node_s for each in counted) / seconds,
        own=mean(each.own for each in counted),
        others=mean(each.others for each in counted),
        outside=outside,
        kubelet=mean(each.parts.get(KUBELET) for each in counted),
        runtime=mean(each.parts.get(RUNTIME) for each in counted),
        ztunnel=mean(each.parts.get(ZTUNNEL) for each in counted),
        containers=tuple(
            ContainerCpu(
                pod=name.partition("/")[0],
                container=name.partition("/")[2],
                cpus=mean(each.parts.get(name) for each in counted),
                limited=limited and limited.share,
                limited_s=limited and limited.seconds,
            )
            for name in names
            for limited in [_limited([each for read in rounds for each in _held_back(read.quotas, node, name)])]
        ),
    )


class _Limited(NamedTuple):
    share: float
    seconds: float


def _held_back(quotas: Iterable[QuotaReading], node: str, part: str) -> Iterator[tuple[QuotaReading, QuotaReading]]:
    """The first and the last reading of a container in one round; none where it began anew in between."""
    found = [each for each in quotas if (each.node, each.part) == (node, part)]
    if len(found) >= LEAST and all(later.periods >= earlier.periods for earlier, later in pairwise(found)):
        yield found[0], found[-1]


def _limited(spans: Sequence[tuple[QuotaReading, QuotaReading]]) -> _Limited | None:
    """Over all of them. All counters of a reading are of one instant, so there are no bounds to tell."""
    periods = sum(last.periods - first.periods for first, last in spans)
    if not spans:
        return None
    throttled = sum(last.throttled_periods - first.throttled_periods for first, last in spans)
    seconds = sum(last.throttled_s - first.throttled_s for first, last in spans)
    return _Limited(throttled / periods if periods else 0.0, seconds)


def _sum(values: Iterable[Between | None]) -> Between | None:
    """None if there is none, or any is unknown."""
    known: list[Between] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    if not known:
        return None
    return Between(sum(each.low for each in known), sum(each.high for each in known))

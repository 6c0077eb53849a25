"""How throughput depends on distance: one law for each data plane, from the ceilings of scenarios that differ in their
links alone. Pure.

Whatever may be under way at once, divided by the time that it is under way, is what is carried (Little's law): with a
time s at the spot and so many bytes W under way for each round trip,

    1 / rate = s + RTT x size / W

so the inverse of the rate is a straight line over the RTT. Both constants are fitted by least squares of the relative
errors, over all lives of a cluster; intervals are Student's. W is what the pipe between brokers and clients holds, as
their socket buffers. Every distance is also predicted by a fit that does not know it, so that the law can fail: its
`error` is of that prediction.

Limits: a law of two constants. Where the CPU is the limit at short distances and the pipe only at long ones, a line is
between both, which the errors show. RTT is that of the farthest two clusters that have brokers, as found before load.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from meshmark.analysis import stats
from meshmark.analysis.model import DistanceLaw, DistancePoint, Interval, ScenarioSummary
from meshmark.plan import Scenario
from meshmark.record import LinkProbe
from meshmark.store import Run
from meshmark.topology import Topology

DISTANCES_MIN = 3


class Seen(NamedTuple):
    """One life of a cluster."""

    rtt_s: float
    rate_msg_s: float


class Line(NamedTuple):
    """1 / rate = base_s + rtt_s x slope, both for one message."""

    base_s: float
    slope: float
    base_error_s: float | None
    slope_error: float | None

    def rate_msg_s(self, rtt_s: float) -> float | None:
        inverse = self.base_s + rtt_s * self.slope
        return 1 / inverse if inverse > 0 else None


def laws(run: Run, scenarios: Sequence[ScenarioSummary]) -> tuple[DistanceLaw, ...]:
    """One for each data plane and workload that is measured at DISTANCES_MIN distances, or more."""
    asked = {scenario.name: scenario for scenario in run.plan.scenarios}
    groups: dict[str, list[ScenarioSummary]] = {}
    for row in scenarios:
        groups.setdefault(_but_distance(asked[row.name]), []).append(row)
    probes = {row.name: _rtt_s(run, asked[row.name]) for row in scenarios}
    found = (_law(rows, probes, asked[rows[0].name].workload.message_size) for rows in groups.values())
    return tuple(law for law in found if law is not None)


def _but_distance(scenario: Scenario) -> str:
    """All that is to be equal."""
    values = scenario.model_dump(mode="json", exclude={"name", "baseline", "method"})
    for link in values["cluster"]["topology"]["links"]:
        link["rttMs"] = None
    return json.dumps(values, sort_keys=True)


def _rtt_s(run: Run, scenario: Scenario) -> float:
    """Of the farthest two clusters that have brokers: found before load, or asked for where it was not found."""
    topology = scenario.cluster.topology
    names = [cluster.name for cluster in topology.clusters if cluster.brokers]
    longest = max(combinations(names, 2), key=lambda pair: _asked_s(topology, *pair), default=None)
    if longest is None:
        return 0.0
    probes = [probe for data in run.rounds if data.started.scenario == scenario.name for probe in data.links]
    there = [rtt for probe in probes if (rtt := _between(probe, longest)) is not None]
    return fmean(there) if there else _asked_s(topology, *longest)


def _asked_s(topology: Topology, one: str, other: str) -> float:
    return topology.way(one, other).delay_s + topology.way(other, one).delay_s


def _between(probe: LinkProbe, pair: tuple[str, str]) -> float | None:
    return probe.rtt_s if probe.trial is None and {probe.source, probe.target} == set(pair) else None


def _law(rows: Sequence[ScenarioSummary], rtts_s: Mapping[str, float], size: int) -> DistanceLaw | None:
    lives = {
        row.name: [Seen(rtts_s[row.name], each.rate_msg_s) for each in row.repeats if each.rate_msg_s] for row in rows
    }
    measured = sorted((row for row in rows if lives[row.name]), key=lambda row: rtts_s[row.name])
    if len({rtts_s[row.name] for row in measured}) < DISTANCES_MIN:
        return None
    line = fit([seen for row in measured for seen in lives[row.name]])
    points = []
    for row in measured:
        others = fit([seen for other in measured if other is not row for seen in lives[other.name]])
        rate, told = fmean(seen.rate_msg_s for seen in lives[row.name]), others.rate_msg_s(rtts_s[row.name])
        points.append(
            DistancePoint(
                scenario=row.name,
                rtt_s=rtts_s[row.name],
                rate_msg_s=rate,
                lives=len(lives[row.name]),
                fitted_msg_s=line.rate_msg_s(rtts_s[row.name]),
                predicted_msg_s=told,
                error=told / rate - 1 if told is not None else None,
            )
        )
    t = stats.t_quantile(max(1, sum(len(each) for each in lives.values()) - 2))
    return DistanceLaw(
        data_plane=rows[0].data_plane,
        rate_at_zero_msg_s=_inverse(line.base_s),
        rate_at_zero_interval=_inverted(line.base_s, line.base_error_s, t, 1.0),
        bytes_per_rtt=None if (held := _inverse(line.slope)) is None else held * size,
        bytes_per_rtt_interval=_inverted(line.slope, line.slope_error, t, float(size)),
        points=tuple(points),
    )


def fit(seen: Sequence[Seen]) -> Line:
    """Least squares of rate x (base + slope x RTT) - 1, which is the relative error of the rate, for small ones.
    ValueError below two distances."""
    if len({each.rtt_s for each in seen}) < 2:
        raise ValueError("a line needs two distances")
    one = [each.rate_msg_s for each in seen]
    other = [each.rate_msg_s * each.rtt_s for each in seen]
    aa, bb = sum(x * x for x in one), sum(y * y for y in other)
    ab = sum(x * y for x, y in zip(one, other, strict=True))
    determinant = aa * bb - ab * ab
    base_s = (sum(one) * bb - sum(other) * ab) / determinant
    slope = (sum(other) * aa - sum(one) * ab) / determinant
    left = sum((base_s * x + slope * y - 1) ** 2 for x, y in zip(one, other, strict=True))
    if len(seen) < 3:
        return Line(base_s, slope, None, None)
    variance = left / (len(seen) - 2)
    return Line(base_s, slope, math.sqrt(variance * bb / determinant), math.sqrt(variance * aa / determinant))


def _inverse(value: float) -> float | None:
    """None where the line does not rise, or begins below zero: there is no such law."""
    return 1 / value if value > 0 else None


def _inverted(value: float, error: float | None, t: float, unit: float) -> Interval | None:
    """Of unit / value; None where the interval of the value holds 0, so that it has no upper end."""
    if error is None or value - t * error <= 0:
        return None
    return Interval(low=unit / (value + t * error), high=unit / (value - t * error))

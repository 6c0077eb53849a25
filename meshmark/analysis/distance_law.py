"""How throughput depends on distance: one law for each data plane, from the ceilings of scenarios that differ in their
links alone. Pure.

Whatever may be under way at once, divided by the time that it is under way, is what is carried (Little's law): with a
time s at the spot and so many bytes W under way for each round trip,

    1 / rate = s + RTT x size / W

so the inverse of the rate is a straight line over the RTT. Both constants are fitted by least squares of the
logarithms of rate / line, over all lives of a cluster; intervals are Student's. W is what the pipe between brokers and
clients holds, as their socket buffers. Every distance is also predicted by a fit that does not know it, so that the
law can fail: its `error` is of that prediction. A scenario that the plan holds out is in no fit: what is told of it is
the prediction that was recorded before its first round.

Limits: a law of two constants. Where the CPU is the limit at short distances and the pipe only at long ones, a line is
between both, which the errors show. RTT is that of the farthest two clusters that have brokers, as found before load.
Which two these are, and how many distances a plan has, is by what was asked for, and so is what is predicted of a link
that was not there yet. Links that were found and not made are all one way, whatever the plan says of them: they give
no law.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Literal, NamedTuple

from meshmark.analysis import stats
from meshmark.analysis.model import DistanceLaw, DistancePoint, Interval, ScenarioSummary
from meshmark.plan import Scenario
from meshmark.record import LinkProbe, Prediction
from meshmark.store import Run
from meshmark.topology import Topology

DISTANCES_MIN = 3
STEPS = 30
"""Of a fit, and halvings of one: some 8 are taken."""
Errors = Literal["relative", "log"]


class Seen(NamedTuple):
    """One life of a cluster."""

    rtt_s: float
    rate_msg_s: float


class Measured(NamedTuple):
    """A scenario, and the lives of its clusters that have a ceiling."""

    row: ScenarioSummary
    rtt_s: float
    lives: tuple[Seen, ...]


class Spread(NamedTuple):
    """Of the logarithms of lives' rates about a line, and of its two constants (standard errors, covariance)."""

    variance: float
    base_error_s: float
    slope_error: float
    covariance: float


class Line(NamedTuple):
    """1 / rate = base_s + rtt_s x slope, both for one message. The spread is None below three lives."""

    base_s: float
    slope: float
    spread: Spread | None = None

    def rate_msg_s(self, rtt_s: float) -> float | None:
        inverse = self.base_s + rtt_s * self.slope
        return 1 / inverse if inverse > 0 else None

    def error(self, rtt_s: float) -> float | None:
        """Standard error of the rate of one more life there, as a share of it: the line's own, and that of lives."""
        rate, spread = self.rate_msg_s(rtt_s), self.spread
        if rate is None or spread is None:
            return None
        own = spread.base_error_s**2 + 2 * rtt_s * spread.covariance + (rtt_s * spread.slope_error) ** 2
        return math.sqrt(spread.variance + max(0.0, own) * rate**2)


def laws(run: Run, scenarios: Sequence[ScenarioSummary]) -> tuple[DistanceLaw, ...]:
    """One for each data plane and workload measured at DISTANCES_MIN distances or more, held-out ones not counted."""
    told = {each.scenario: each for each in run.predictions}
    sizes = {scenario.name: scenario.workload.message_size for scenario in run.plan.scenarios}
    return tuple(_law(known, held_out, told, sizes[known[0].row.name]) for known, held_out in _groups(run, scenarios))


def predictions(
    run: Run, scenarios: Sequence[ScenarioSummary], time_s: float, errors: Errors = "log"
) -> tuple[Prediction, ...]:
    """Of all scenarios that are held out and have a law, from the others alone. None where the law has no interval.
    `errors`: as for `fit`."""
    found = []
    for known, held_out in _groups(run, scenarios):
        lives = [seen for each in known for seen in each.lives]
        line = fit(lives, errors)
        t = stats.t_quantile(max(1, len(lives) - 2))
        for each in held_out:
            asked = next(scenario for scenario in run.plan.scenarios if scenario.name == each.row.name)
            rtt_s = _asked_rtt_s(asked.cluster.topology)
            rate, error = line.rate_msg_s(rtt_s), line.error(rtt_s)
            if rate is not None and error is not None:
                low, high = _of_one_more(rate, t * error, errors)
                found.append(
                    Prediction(
                        time_s=time_s,
                        scenario=each.row.name,
                        rtt_s=rtt_s,
                        rate_msg_s=rate,
                        low_msg_s=low,
                        high_msg_s=high,
                        errors=errors,
                        law_of=tuple(other.row.name for other in known),
                        lives=len(lives),
                    )
                )
    return tuple(found)


def _of_one_more(rate_msg_s: float, error: float, errors: Errors) -> tuple[float, float | None]:
    if errors == "log":
        return rate_msg_s * math.exp(-error), rate_msg_s * math.exp(error)
    return rate_msg_s / (1 + error), rate_msg_s / (1 - error) if error < 1 else None


def _groups(run: Run, scenarios: Sequence[ScenarioSummary]) -> Iterator[tuple[Sequence[Measured], Sequence[Measured]]]:
    """Scenarios that differ in RTT alone, the nearest first: those that a law is made of, and those that are held out.
    Only groups that give a law."""
    asked = {scenario.name: scenario for scenario in run.plan.scenarios}
    ways_found = {data.started.scenario for data in run.rounds if any(probe.kind == "found" for probe in data.links)}
    groups: dict[str, list[Measured]] = {}
    for row in (row for row in scenarios if row.name not in ways_found):
        rtt_s = found_rtt_s(run, asked[row.name])
        lives = tuple(Seen(rtt_s, each.rate_msg_s) for each in row.repeats if each.rate_msg_s)
        groups.setdefault(but_distance(asked[row.name]), []).append(Measured(row, rtt_s, lives))
    for group in groups.values():
        ordered = sorted(group, key=lambda each: each.rtt_s)
        known = [each for each in ordered if each.lives and not asked[each.row.name].held_out]
        if len({_asked_rtt_s(asked[each.row.name].cluster.topology) for each in known}) >= DISTANCES_MIN:
            yield known, [each for each in ordered if asked[each.row.name].held_out]


def but_distance(scenario: Scenario) -> str:
    """All that is to be equal."""
    values = scenario.model_dump(mode="json", exclude={"name", "baseline", "method", "held_out"})
    for link in values["cluster"]["topology"]["links"]:
        link["rttMs"] = None
    return json.dumps(values, sort_keys=True)


def found_rtt_s(run: Run, scenario: Scenario) -> float:
    """Of the farthest two clusters that have brokers: found before load, or asked for where it was not found."""
    topology = scenario.cluster.topology
    longest = farthest(topology)
    if longest is None:
        return 0.0
    probes = [probe for data in run.rounds if data.started.scenario == scenario.name for probe in data.links]
    there = [rtt for probe in probes if (rtt := _between(probe, longest)) is not None]
    return fmean(there) if there else _asked_s(topology, *longest)


def _asked_rtt_s(topology: Topology) -> float:
    longest = farthest(topology)
    return 0.0 if longest is None else _asked_s(topology, *longest)


def farthest(topology: Topology) -> tuple[str, str] | None:
    names = [cluster.name for cluster in topology.clusters if cluster.brokers]
    return max(combinations(names, 2), key=lambda pair: _asked_s(topology, *pair), default=None)


def _asked_s(topology: Topology, one: str, other: str) -> float:
    return topology.way(one, other).delay_s + topology.way(other, one).delay_s


def _between(probe: LinkProbe, pair: tuple[str, str]) -> float | None:
    return probe.rtt_s if probe.trial is None and {probe.source, probe.target} == set(pair) else None


def _law(
    known: Sequence[Measured], held_out: Sequence[Measured], told: Mapping[str, Prediction], size: int
) -> DistanceLaw:
    lives = [seen for each in known for seen in each.lives]
    line = fit(lives)
    points = [_known(each, known, line) for each in known]
    points += [_held_out(each, line, told.get(each.row.name)) for each in held_out if each.lives]
    t = stats.t_quantile(max(1, len(lives) - 2))
    base_error_s, slope_error = (line.spread.base_error_s, line.spread.slope_error) if line.spread else (None, None)
    return DistanceLaw(
        data_plane=known[0].row.data_plane,
        rate_at_zero_msg_s=_inverse(line.base_s),
        rate_at_zero_interval=_inverted(line.base_s, base_error_s, t, 1.0),
        bytes_per_rtt=None if (held := _inverse(line.slope)) is None else held * size,
        bytes_per_rtt_interval=_inverted(line.slope, slope_error, t, float(size)),
        points=tuple(sorted(points, key=lambda point: point.rtt_s)),
    )


def _known(own: Measured, known: Sequence[Measured], line: Line) -> DistancePoint:
    others = fit([seen for other in known if other is not own for seen in other.lives])
    return _point(own, line, others.rate_msg_s(own.rtt_s), None, held_out=False)


def _held_out(own: Measured, line: Line, told: Prediction | None) -> DistancePoint:
    interval = None
    if told is not None and told.high_msg_s is not None:
        interval = Interval(low=told.low_msg_s, high=told.high_msg_s)
    return _point(own, line, None if told is None else told.rate_msg_s, interval, held_out=True)


def _point(
    own: Measured, line: Line, predicted: float | None, interval: Interval | None, *, held_out: bool
) -> DistancePoint:
    rate = fmean(seen.rate_msg_s for seen in own.lives)
    return DistancePoint(
        scenario=own.row.name,
        rtt_s=own.rtt_s,
        rate_msg_s=rate,
        lives=len(own.lives),
        held_out=held_out,
        fitted_msg_s=line.rate_msg_s(own.rtt_s),
        predicted_msg_s=predicted,
        predicted_interval=interval,
        error=predicted / rate - 1 if predicted is not None else None,
    )


def fit(seen: Sequence[Seen], errors: Errors = "log") -> Line:
    """Least squares of log(rate x (base + slope x RTT)), the relative error of the rate, by Gauss and Newton's steps
    from the line that has the least squares of rate x (base + slope x RTT) - 1, which is linear in both constants and
    what older records predict by (`relative`). There lives that carry more weigh more: with errors of a quarter its
    rates are 6 % too high. ValueError below two distances."""
    if len({each.rtt_s for each in seen}) < 2:
        raise ValueError("a line needs two distances")
    rows = [(each.rate_msg_s, each.rate_msg_s * each.rtt_s) for each in seen]
    base_s, slope = _solved(rows, [1.0] * len(seen))
    left = [base_s * one + slope * other - 1 for one, other in rows]
    if errors == "log":
        base_s, slope = _refined(seen, base_s, slope)
        rows, left = _linearised(seen, base_s, slope), _log_errors(seen, base_s, slope)
    if len(seen) < 3:
        return Line(base_s, slope)
    aa, ab, bb = _products(rows)
    determinant = aa * bb - ab * ab
    variance = sum(each * each for each in left) / (len(seen) - 2)
    return Line(
        base_s,
        slope,
        Spread(
            variance=variance,
            base_error_s=math.sqrt(variance * bb / determinant),
            slope_error=math.sqrt(variance * aa / determinant),
            covariance=-variance * ab / determinant,
        ),
    )


def _refined(seen: Sequence[Seen], base_s: float, slope: float) -> tuple[float, float]:
    """Steps of least squares until they change nothing any more; halved while they make it worse."""
    if not all(base_s + slope * each.rtt_s > 0 for each in seen):
        base_s, slope = fmean(1 / each.rate_msg_s for each in seen), 0.0
    least = _squares(seen, base_s, slope)
    for _ in range(STEPS):
        errors = _log_errors(seen, base_s, slope)
        more_base_s, more_slope = _solved(_linearised(seen, base_s, slope), [-error for error in errors])
        for halvings in range(STEPS):
            part = 0.5**halvings
            one, other = base_s + part * more_base_s, slope + part * more_slope
            if (found := _squares(seen, one, other)) < least:
                break
        else:
            return base_s, slope
        base_s, slope, least = one, other, found
    return base_s, slope


def _squares(seen: Sequence[Seen], base_s: float, slope: float) -> float:
    """Without end where the line has no rate at one of the distances."""
    if not all(base_s + slope * each.rtt_s > 0 for each in seen):
        return math.inf
    return sum(error * error for error in _log_errors(seen, base_s, slope))


def _log_errors(seen: Sequence[Seen], base_s: float, slope: float) -> list[float]:
    return [math.log(each.rate_msg_s * (base_s + slope * each.rtt_s)) for each in seen]


def _linearised(seen: Sequence[Seen], base_s: float, slope: float) -> list[tuple[float, float]]:
    """By how much each logarithm grows with either constant."""
    return [(1 / (base_s + slope * each.rtt_s), each.rtt_s / (base_s + slope * each.rtt_s)) for each in seen]


def _solved(rows: Sequence[tuple[float, float]], values: Sequence[float]) -> tuple[float, float]:
    """The two factors of a row whose sums come nearest to the values, by least squares."""
    aa, ab, bb = _products(rows)
    a = sum(one * value for (one, _), value in zip(rows, values, strict=True))
    b = sum(other * value for (_, other), value in zip(rows, values, strict=True))
    determinant = aa * bb - ab * ab
    return (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant


def _products(rows: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    return (
        sum(one * one for one, _ in rows),
        sum(one * other for one, other in rows),
        sum(other * other for _, other in rows),
    )


def _inverse(value: float) -> float | None:
    """None where the line does not rise, or begins below zero: there is no such law."""
    return 1 / value if value > 0 else None


def _inverted(value: float, error: float | None, t: float, unit: float) -> Interval | None:
    """Of unit / value; None where the interval of the value holds 0, so that it has no upper end."""
    if error is None or value - t * error <= 0:
        return None
    return Interval(low=unit / (value + t * error), high=unit / (value - t * error))

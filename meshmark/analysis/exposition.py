"""A record's readings as metrics by Prometheus' conventions: names, kinds, labels, values; for whoever prints them.

A metric of `metrics.METRICS` becomes `meshmark_` and its name with the unit spelled out, a counter ends in `_total`:
`cpu_user_s` is `meshmark_cpu_user_seconds_total`. Host and component are labels, as are run, scenario and repeat: a
round is one life of a cluster, so its counters are series of their own. docs/reference/metrics.md lists all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from meshmark.histogram import Histogram
from meshmark.metrics import METRICS, parts
from meshmark.record import Counters, Latency, LinkProbe, LoadInterval, LoadTotals

PREFIX = "meshmark_"
ROUND = ("run", "scenario", "repeat")
"""Labels that every family has."""
HOST = ("host", "component")
BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper ends of the buckets of latencies; the last one is without end."""
_UNITS = {"_bytes_s": "_bytes_per_second", "_ops_s": "_ops_per_second", "_s": "_seconds"}
"""Ends of metrics' names -> of families'; the first that fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What is printed under one name, `_total` not in it. `labels` come after those of the round."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """As OpenMetrics wants it: the end of the name."""
        return next((unit for unit in ("seconds", "bytes") if self.name.endswith(f"_{unit}")), "")

    @property
    def samples(self) -> tuple[str, ...]:
        """The names by which a query asks for it."""
        ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[self.kind]
        return tuple(self.name + end for end in ends)


@dataclass(frozen=True, slots=True)
class Distribution:
    """So many latencies of at most each of BOUNDS_S, of all, and their sum in seconds."""

    at_most: NDArray[np.int64]
    count: int
    sum_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one series; `labels` are those of its family."""

    family: Family
    labels: tuple[str, ...]
    value: float | Distribution


def _name(metric: str) -> str:
    end = next((end for end in _UNITS if metric.endswith(end)), "")
    return PREFIX + (metric.removesuffix(end) + _UNITS[end] if end else metric)


def _of_hosts() -> dict[str, Family]:
    return {
        name: Family(name=_name(name), kind=each.kind, meaning=each.meaning, labels=HOST)
        for name, each in METRICS.items()
    }


def _load(name: str, kind: Literal["counter", "gauge", "histogram"], meaning: str) -> Family:
    return Family(name=f"{PREFIX}load_{name}", kind=kind, meaning=meaning)


HOSTS = _of_hosts()
"""By name of the metric."""
TOTALS = {
    "offered": _load("offered_records", "counter", "records that came due, of all loads of the round"),
    "acknowledged": _load("acknowledged_records", "counter", "records acknowledged"),
    "failed": _load("failed_records", "counter", "records that failed; given up at a load's stop among them"),
    "unknown": _load("unknown_records", "counter", "records that timed out: may or may not be stored"),
    "acknowledged_bytes": _load("acknowledged_bytes", "counter", "payload acknowledged, before replication"),
    "consumed": _load("consumed_records", "counter", "records that consumers read"),
    "consumed_bytes": _load("consumed_bytes", "counter", "payload that consumers read"),
}
"""By field of LoadTotals."""
OUTSTANDING = _load("outstanding_records", "gauge", "records offered and not yet acknowledged, failed or timed out")
LAG = _load("lag_records", "gauge", "acknowledged records that consumers have not read yet")
LATENCIES = {
    "latency": _load("latency_seconds", "histogram", "intended send to acknowledgement"),
    "end_to_end": _load("end_to_end_latency_seconds", "histogram", "intended send to consumer"),
}
"""By field of LoadInterval."""
LATE = _load("late_records", "counter", "records that the load generator itself sent more than 10 ms late")
RTT = Family(
    name=f"{PREFIX}link_rtt_seconds",
    kind="gauge",
    meaning="round trip between two clusters, median of the last probe",
    labels=("source", "target"),
)
ASKED_RTT = Family(
    name=f"{PREFIX}link_asked_rtt_seconds",
    kind="gauge",
    meaning="round trip between two clusters, as the plan asks for it",
    labels=("source", "target"),
)
CPUS = Family(name=f"{PREFIX}machine_cpus", kind="gauge", meaning="CPUs of the machine")
WORKERS = Family(name=f"{PREFIX}sidecar_workers", kind="gauge", meaning="worker threads of each sidecar")

FAMILIES: tuple[Family, ...] = (
    *HOSTS.values(),
    *TOTALS.values(),
    OUTSTANDING,
    LAG,
    *LATENCIES.values(),
    LATE,
    RTT,
    ASKED_RTT,
    CPUS,
    WORKERS,
)
"""All that can be printed."""


def of_sample(values: Counters) -> Iterator[Reading]:
    """One reading of all probes. A key of another version of meshmark has no family and is left out."""
    for key, value in values.items():
        host, component, metric = parts(key)
        if family := HOSTS.get(metric):
            yield Reading(family, (host, component), value)


def of_link(probe: LinkProbe) -> Iterator[Reading]:
    labels = (probe.source, probe.target)
    yield Reading(ASKED_RTT, labels, probe.asked_rtt_s)
    if probe.rtt_s is not None:
        yield Reading(RTT, labels, probe.rtt_s)


def begins(interval: LoadInterval, before: LoadTotals) -> bool:
    """Is it the first report of a load, after another one's? Its counts may be higher at once; but then its latencies
    are those of all that it acknowledged."""
    now = interval.totals
    if any(getattr(now, name) < getattr(before, name) for name in ("offered", "acknowledged", "failed", "unknown")):
        return True
    first = interval.latency is not None and interval.latency.count >= now.acknowledged - now.negative > 0
    return first and before.acknowledged > 0


class Load:
    """What the load workers of a round reported, all its loads added: each begins anew, which a counter must not."""

    def __init__(self) -> None:
        self._before = LoadTotals()
        self._now = LoadTotals()
        self._late = 0
        self._lag: int | None = None
        self._latencies: dict[str, Distribution] = {}

    def add(self, interval: LoadInterval) -> None:
        if begins(interval, self._now):
            self._before += self._now
        self._now = interval.totals
        self._lag = interval.lag
        self._late += interval.lateness.late_10ms if interval.lateness else 0
        for name in LATENCIES:
            latency: Latency | None = getattr(interval, name)
            if latency and latency.count:
                self._latencies[name] = _sum(self._latencies.get(name), Histogram.decode(latency.histogram))

    def readings(self) -> Iterator[Reading]:
        totals = self._before + self._now
        for field, family in TOTALS.items():
            yield Reading(family, (), float(getattr(totals, field)))
        yield Reading(OUTSTANDING, (), float(self._now.outstanding))
        yield Reading(LATE, (), float(self._late))
        if self._lag is not None:
            yield Reading(LAG, (), float(self._lag))
        for name, distribution in self._latencies.items():
            yield Reading(LATENCIES[name], (), distribution)


def _sum(before: Distribution | None, more: Histogram) -> Distribution:
    added = Distribution(more.at_most(BOUNDS_S), more.count, (more.mean_s or 0.0) * more.count)
    if before is None:
        return added
    return Distribution(before.at_most + added.at_most, before.count + added.count, before.sum_s + added.sum_s)


def labels(of_round: tuple[str, ...], reading: Reading) -> dict[str, str]:
    """Label names -> values; `of_round` are the values of ROUND."""
    return dict(zip((*ROUND, *reading.family.labels), (*of_round, *reading.labels), strict=True))


def samples(of_round: tuple[str, ...], reading: Reading) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each line that the reading takes."""
    named, name, value = labels(of_round, reading), reading.family.name, reading.value
    if isinstance(value, Distribution):
        counts = (*value.at_most.tolist(), value.count)
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
            yield f"{name}_bucket", {**named, "le": bound}, count
        yield f"{name}_count", named, value.count
        yield f"{name}_sum", named, value.sum_s
    else:
        yield reading.family.samples[0], named, value

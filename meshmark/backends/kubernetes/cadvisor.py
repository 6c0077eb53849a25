"""How CPU limits held containers back, by cAdvisor's series: of a kubelet's own page, or as a Prometheus has them.

Agents read it of brokers alone, since a container that runs as another user shows them no control group. cAdvisor has
these series of containers with a CPU limit, and of no others. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from meshmark.nodes import QuotaReading
from meshmark.probes import prometheus

PERIODS, THROTTLED, THROTTLED_S = (
    f"container_cpu_cfs_{what}_total" for what in ("periods", "throttled_periods", "throttled_seconds")
)
SERIES = (PERIODS, THROTTLED, THROTTLED_S)


class Sample(NamedTuple):
    name: str
    labels: Mapping[str, str]
    at: float
    """Unix time."""
    value: float


def samples(page: str) -> Iterator[Sample]:
    """Of what is served as /metrics/cadvisor, with the times of its readings. Raises ValueError where it is none."""
    for each in prometheus.samples(page, SERIES):
        if each.at is None:
            raise ValueError(f"no sample with a time: {each.name}{dict(each.labels)}")
        yield Sample(each.name, each.labels, each.at, each.value)


def quotas(
    found: Iterable[Sample], node: Callable[[Mapping[str, str]], str | None], namespace: str
) -> Iterator[QuotaReading]:
    """Those of the containers in that namespace, on nodes that `node` knows by a sample's labels; of each reading all
    three series, each a count, or it does not count."""
    read: dict[tuple[str, str, float], dict[str, float]] = {}
    for each in found:
        where, labels = node(each.labels), each.labels
        if where and labels.get("namespace") == namespace and labels.get("container") not in (None, "", "POD"):
            part = f"{labels.get('pod', '')}/{labels['container']}"
            read.setdefault((where, part, each.at), {})[each.name] = each.value
    for (where, part, at), values in sorted(read.items()):
        if values.keys() == set(SERIES) and all(0 <= value < math.inf for value in values.values()):
            yield QuotaReading(
                node=where,
                part=part,
                read_at=at,
                periods=round(values[PERIODS]),
                throttled_periods=round(values[THROTTLED]),
                throttled_s=values[THROTTLED_S],
            )

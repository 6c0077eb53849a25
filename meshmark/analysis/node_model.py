"""What a summary tells of the nodes of a cluster: what they spent outside the run's pods, by whom else counts it, and
how far apart the pods were read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value


class Cpus(Value):
    """CPUs that something used on the average: no fewer than `low`, no more than `high`."""

    low: float
    high: float


class ContainerCpu(Value):
    """Of the run's own."""

    pod: str
    container: str
    cpus: Cpus | None = Field(description="null: too few readings")
    limited: float | None = Field(
        description="share of its CPU limit's periods in which it had used that up; null: none, or too few readings"
    )
    limited_s: float | None = Field(
        description="for which its threads had to wait then, summed over them; null as above"
    )


class NodeCpu(Value):
    """Of one node, all rounds of a scenario together, warm-up and pauses included. Readings are 10 s and more apart,
    so what pods used between two of the node's own is known within bounds."""

    scenario: str
    node: str
    source: Literal["kubelet", "prometheus"]
    verified: bool = Field(description="false: kubelets' certificates were not")
    rounds: int = Field(description="with readings enough; those without are left out")
    seconds: float = Field(description="from the first to the last reading that count, all rounds together")
    cpus: float = Field(description="that the whole node used on the average")
    own: Cpus | None = Field(description="by the run's pods, as their containers say; null: not known of all of them")
    others: Cpus | None = Field(description="by all other pods, and by what is between pods and containers")
    outside: Cpus = Field(description="by what is in no pod, the kubelet and the runtime included")
    kubelet: Cpus | None = Field(description="null: it has no control group that the source knows")
    runtime: Cpus | None = Field(description="of containers; null as above")
    ztunnel: Cpus | None = Field(None, description="among the others: ambient mode's proxy; null: there is none")
    containers: tuple[ContainerCpu, ...]


class ReadingSpread(Value):
    """How far apart the pods were read at one reading, in a scenario's rounds: no further than this."""

    scenario: str
    readings: int
    p50_s: float | None = Field(description="of the rounds' medians the largest")
    max_s: float | None

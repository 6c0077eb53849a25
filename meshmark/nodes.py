"""What a round on nodes of a cluster tells of them: by whose clocks, how far apart its readings were, and the CPU time
that somebody else than meshmark counts there.

Such counters have times of their own, some ten seconds apart. A counter only grows, so what it grew by between two
instants lies between what its readings inside them say and what those around them say; nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from meshmark.values import Model

Source = Literal["kubelet", "prometheus"]
NODE, PODS, KUBELET, RUNTIME, ZTUNNEL = "node", "pods", "kubelet", "runtime", "ztunnel"
ZTUNNEL_PODS = ("istio-system", "ztunnel-")
"""Their namespace, and how the names of ambient mode's proxies begin, one on each node."""

END_TO_END_ERROR = 0.1
"""By clocks, as a share of the median: with a larger one a trial has no end-to-end latency."""


class CpuReading(Model):
    """CPU time that something on a node had used, as its source read it."""

    node: str = Field(description="its name")
    part: str = Field(
        description="`node` (all of it), `pods` (all of them), `kubelet`, `runtime`, `ztunnel`, or POD/CONTAINER"
    )
    read_at: float = Field(description="by its source, by the clock of the node")
    cpu_s: float = Field(description="since it began, on all CPUs")


class QuotaReading(Model):
    """How the CPU limit of a container had held it back since it began, as its source read it; one without a limit has
    none."""

    node: str
    part: str = Field(description="POD/CONTAINER")
    read_at: float = Field(description="as of `cpu`")
    periods: int = Field(ge=0, description="of its limit, in which it wanted to run")
    throttled_periods: int = Field(ge=0, description="of those, in which it had used its limit up")
    throttled_s: float = Field(ge=0, description="for which its threads had to wait then, summed over them")


class ClockCheck(Model):
    """Of a load worker on a machine whose monotonic clock is not the conductor's: how well its clock was known."""

    host: str
    worker: str
    began_s: float
    ended_s: float
    ahead_s: float = Field(description="its clock before the conductor's, as it was told when it began")
    bound_s: float = Field(description="of that, in either direction, by exchanges then")
    error_s: float | None = Field(description="at most, by exchanges when it had ended too; null: there were none")


class NodesRead(Model):
    """Of one round."""

    readings: int = Field(description="of the agents in all pods, on the clock and at the edges of windows")
    spread_p50_s: float | None = Field(description="from a reading's first question to its last answer: the median")
    spread_max_s: float | None = Field(description="the longest of these")
    clocks: tuple[ClockCheck, ...] = Field((), description="empty: all load workers went by the conductor's clock")
    source: Source | None = Field(None, description="of `cpu`; null: nobody was asked")
    verified: bool = Field(True, description="who answered was who should; false: kubelets' certificates were not")
    cpu: tuple[CpuReading, ...] = Field((), description="each reading of the source once, in the order of its times")
    quotas: tuple[QuotaReading, ...] = Field((), description="of the run's containers with a CPU limit, as `cpu`")
    problems: tuple[str, ...] = Field((), description="why there are fewer readings than there should be")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if (self.cpu or self.quotas) and self.source is None:
            raise ValueError("`cpu` and `quotas` need a `source`")
        return self


class Metered(NamedTuple):
    """What a source has told so far, in the order of the readings' times, and why it is not more."""

    cpu: tuple[CpuReading, ...] = ()
    quotas: tuple[QuotaReading, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, cpu: Iterable[CpuReading], quotas: Iterable[QuotaReading], problems: Iterable[str]) -> Self:
        """In any order."""
        return cls(
            cpu=tuple(sorted(cpu, key=lambda each: each.read_at)),
            quotas=tuple(sorted(quotas, key=lambda each: each.read_at)),
            problems=tuple(problems),
        )


class Between(NamedTuple):
    """What a counter grew by: no less than `low`, no more than `high`."""

    low: float
    high: float


def error_between_s(hosts: Iterable[str], checks: Sequence[ClockCheck]) -> float | None:
    """Of a time from a load worker on one of these hosts to one on another, at most; workers of one host have one
    clock. None where one was not compared again."""
    errors: list[float] = []
    for host in set(hosts):
        own = [each.error_s for each in checks if each.host == host]
        known = [error for error in own if error is not None]
        if len(known) < len(own):
            return None
        errors.append(max(known, default=0.0))
    return sum(sorted(errors)[-2:]) if len(errors) > 1 else 0.0


def growth(readings: Sequence[CpuReading], start_at: float, end_at: float) -> Between | None:
    """Of one part on one node, in the order of time, from one instant to another, in seconds of CPU. None where there
    is no reading at or before the start, or none at or after the end, or the counter began anew meanwhile."""
    before = [each for each in readings if each.read_at <= start_at]
    after = [each for each in readings if each.read_at >= end_at]
    if not before or not after:
        return None
    around = readings[len(before) - 1 : len(readings) - len(after) + 1]
    if any(later.cpu_s < earlier.cpu_s for earlier, later in pairwise(around)):
        return None
    inside = [each for each in readings if start_at <= each.read_at <= end_at]
    low = inside[-1].cpu_s - inside[0].cpu_s if inside else 0.0
    return Between(low, after[0].cpu_s - before[-1].cpu_s)

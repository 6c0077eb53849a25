"""The part of a summary that tells what hosts were limited to; values only, computed in `hardware.py`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value


class BoundSummary(Value):
    """What one resource of this machine allowed the profile to be scaled to."""

    resource: Literal["cpu", "disk", "network"]
    needed: float = Field(description="by all hosts at scale 1: CPUs, or bytes a second")
    available: float = Field(description="here; of disk and network, four fifths of what the environment gave")
    scale: float


class LimitSummary(Value):
    """A limit of one host, and what its probes found, in CPUs, bytes a second or operations a second."""

    host: str
    resource: Literal["cpu", "disk", "operations", "network"]
    component: Literal["kafka", "sidecar", "client"] | None = Field(description="of cpu: whose")
    of_profile: float = Field(description="the profile's figure, at scale 1")
    amount: float = Field(description="that was set: the figure times the scale")
    measured: float = Field(description="mean of the probes, one in each round")
    error: float = Field(description="the largest of them: measured / amount - 1")
    probes: int


class Extrapolation(Value):
    """What a scenario carried, divided by the scale: arithmetic, not a measurement."""

    scenario: str
    rate_msg_s: float | None = Field(description="measured, under the scaled limits")
    disk_bytes_s_per_broker: float | None = Field(description="measured: growth of the brokers' logs")
    extrapolated_rate_msg_s: float | None
    extrapolated_disk_bytes_s_per_broker: float | None
    limited_by: tuple[str, ...]


class HardwareSummary(Value):
    """The profile that hosts were limited to."""

    profile: str
    description: str
    asked: Literal["auto"] | float
    scale: float
    bounds: tuple[BoundSummary, ...]
    limits: tuple[LimitSummary, ...] = Field(description="of all scenarios; sidecars' only where there are any")
    not_scaled: tuple[str, ...] = Field(description="what is not in the profile's proportions")
    extrapolated: tuple[Extrapolation, ...]

"""The part of a summary that tells what hosts were limited to; values only, computed in `hardware.py`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value


class BoundSummary(Value):
    """What one resource of this machine allowed the profile to be scaled to."""

    resource: Literal["cpu", "disk", "operations", "network"]
    needed: float = Field(description="at scale 1, by all hosts at once: CPUs, bytes or operations a second")
    available: float = Field(description="here; of disk and network, four fifths of what the environment gave")
    scale: float


class LimitSummary(Value):
    """A limit of one host, and what its probes found, in CPUs, bytes a second or operations a second."""

    host: str
    resource: Literal["cpu", "disk", "operations", "network"]
    component: Literal["kafka", "sidecar", "client"] | None = Field(description="of cpu: whose")
    of_profile: float | None = Field(
        description="the profile's figure, at scale 1; null: a scenario's own cap of its disks, which is not scaled"
    )
    amount: float = Field(description="that was set: the figure times the scale, or the scenario's own")
    measured: float = Field(description="mean of the probes, one in each round")
    error: float = Field(description="the largest of them: measured / amount - 1")
    probes: int


class Extrapolation(Value):
    """What a scenario carried, divided by the scale: arithmetic, not a measurement. Only where a limit of the profile
    was what limited it, and its disks have no cap of their own."""

    scenario: str
    rate_msg_s: float | None = Field(description="the ceiling under the scaled limits")
    disk_bytes_s_per_broker: float | None = Field(
        description="growth of the brokers' logs at that rate: in trials near to it, for each message; as measured in "
        "them without a ceiling"
    )
    extrapolated_rate_msg_s: float | None = Field(description="null: no limit of the profile limited it")
    extrapolated_disk_bytes_s_per_broker: float | None = Field(description="null: the same")
    limited_by: tuple[str, ...]


class SingleFlow(Value):
    """What one TCP flow carried: of the profile's machines by its source, and of this machine before any limit. Both
    are of one flow without a mesh; neither is scaled, and neither is a limit."""

    profile_bytes_s: float = Field(description="between two brokers' machines, as `source` measured it")
    source: str
    here_bytes_s: float | None = Field(description="mean of the repeats; null: this run did not probe it")
    here_spread: float | None = Field(description="of these, (largest - smallest) / mean; null below two repeats")
    here_repeats: int
    full_disk_bytes_s: float | None = Field(
        description="that a broker of the profile takes in when its disk is full: all that it writes comes over its "
        "network; null: the profile has no disk"
    )


class HardwareSummary(Value):
    """The profile that hosts were limited to."""

    profile: str
    description: str
    asked: Literal["auto"] | float
    scale: float
    bounds: tuple[BoundSummary, ...]
    limits: tuple[LimitSummary, ...] = Field(description="of all scenarios; sidecars' only where there are any")
    single_flow: SingleFlow | None = Field(None, description="null: the profile has no such figure")
    not_scaled: tuple[str, ...] = Field(description="what is not in the profile's proportions")
    extrapolated: tuple[Extrapolation, ...]

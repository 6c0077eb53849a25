"""What a summary tells of results against what the environment gave without Kafka."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value


class AgainstEnvironment(Value):
    """What one setup took of a disk or of a path near its ceiling, against what the same gave without Kafka."""

    scenario: str
    resource: Literal["disk", "network"]
    where: str = Field(description="all brokers, or the busiest path from one host to another")
    probe: str = Field(description="what was measured without Kafka")
    used_bytes_s: float = Field(description="to the device; of a path, bytes of record batches")
    given_bytes_s: float = Field(description="mean of the probe's repeats")
    spread: float | None = Field(description="of these, (largest - smallest) / mean; null below two repeats")
    rate_msg_s: float = Field(description="carried meanwhile: mean of the repeats' trials")
    ceiling_msg_s: float | None = Field(
        description="at which all that was given would be used, of a disk by every byte of the log; null: not counted"
    )
    above: bool = Field(description="used is above given by more than the spread: one of the two is wrong")

"""What a summary tells of whether brokers took records evenly."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value


class SteadyState(Value):
    """All windows of a scenario that a report tells of: the trials that stand for repeats, and those of fixed loads.
    The worst is the broker whose log grew least evenly, in the window where it did."""

    scenario: str
    windows: int = Field(description="those in which a link went down left out")
    judged: int = Field(description="of them: the load came evenly, and they have three steps of a second at least")
    uneven: int = Field(description="of these: a broker swung")
    longest_s: float | None = Field(
        None, description="the longest judged window: of a swing with a longer period only a part was seen"
    )
    verdict: Literal["stable", "unstable", "unknown"] = Field(description="unknown: no window could be judged")
    host: str | None = Field(description="the worst; null: none could be judged")
    repeat: int | None
    trial: int | None
    least_bytes_s: float | None = Field(description="that its log grew by from second to second")
    most_bytes_s: float | None
    variation: float | None = Field(description="standard deviation of these steps / their mean; above 0.5 it swung")

"""What a summary tells of the test that the load generator made of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value


class StopSummary(Value):
    """A stop of known length: how many records must have a latency above half of it, and how many had."""

    target: Literal["load worker", "broker"]
    host: str
    value: Literal["latency", "end-to-end latency"]
    seconds: float = Field(description="that it surely stood still")
    above_s: float
    low: int = Field(description="so many records must have a longer one")
    high: int = Field(description="so many can")
    counted: int
    holds: bool
    caught_up: bool = Field(description="the backlog of the stop was gone when this was counted")


class SelfTestSummary(Value):
    """What the load generator made of stops that it was not told about."""

    round_index: int
    scenario: str
    rate_msg_s: float
    holds: bool = Field(description="a run whose self-test does not hold is refused")
    conclusive: bool
    stops: tuple[StopSummary, ...]
    contradictions: tuple[str, ...] = Field(description="of its accounts at the end")

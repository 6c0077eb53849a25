"""What a summary tells of the records of one load."""

from __future__ import annotations

from pydantic import Field

from meshmark.analysis.value import Value
from meshmark.record import LoadTotals


class Account(Value):
    """Of all records from a load's start to its end: `offered = acknowledged + failed + unknown + outstanding`."""

    offered: int = Field(description="came due")
    acknowledged: int
    failed: int = Field(description="not stored")
    unknown: int = Field(description="may or may not be stored")
    outstanding: int = Field(description="not resolved; 0 at the end, or the trial is invalid")
    errors: dict[str, int] = Field(description="of failed and unknown, by name: how many")
    consumed: int = Field(description="by all consumer groups together")
    negative: int = Field(description="latencies below zero, in no histogram")
    unstamped: int = Field(description="records of somebody else that consumers read, in no latency")

    @classmethod
    def of(cls, totals: LoadTotals) -> Account:
        return cls(**{name: getattr(totals, name) for name in cls.model_fields})

"""What a summary tells of settings that differ in what ran: values only, which `settings_apart.py` finds."""

from __future__ import annotations

from pydantic import Field

from meshmark.analysis.value import Value


class SettingApart(Value):
    """One setting of what ran that is not the same in a scenario and in its baseline."""

    scenario: str
    baseline: str
    part: str = Field(description="broker, broker's JVM, broker's sidecar, client's sidecar, gateway, producer, limit")
    setting: str
    value: str | None = Field(description="of several hosts, each distinct one; null: not set, or no such part")
    baseline_value: str | None
    recorded_in: str = Field(description="file of a round, or plan.json where it was asked for and is not recorded")

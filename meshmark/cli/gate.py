"""Thresholds as an exit code: 1 where one is broken, 3 where that cannot be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshmark.analysis.model import Summary


def require_held(summary: Summary) -> None:
    """ThresholdBroken, or else Inconclusive, with a sentence for each that is not held."""
    from meshmark.errors import Inconclusive, ThresholdBroken
    from meshmark.report.thresholds import sentence

    not_held = sorted((each for each in summary.thresholds if each.verdict != "held"), key=lambda each: each.verdict)
    told = "".join(f"\n    {sentence(each)}" for each in not_held)
    if any(each.verdict == "broken" for each in not_held):
        raise ThresholdBroken(f"a threshold of the plan is broken:{told}")
    if not_held:
        raise Inconclusive(
            f"whether the plan's thresholds are held cannot be told:{told}",
            hint="more repeats make intervals narrower",
        )

"""The highest rate that a system carries, as an interval with a confidence, for any latency and for each SLO."""

from meshmark.analysis.saturation.model import (
    ANY_LATENCY,
    Ceiling,
    Life,
    Offer,
    Saturation,
    SearchConfig,
    Slo,
    TrialOutcome,
    TrialView,
)
from meshmark.analysis.saturation.search import Search

__all__ = [
    "ANY_LATENCY",
    "Ceiling",
    "Life",
    "Offer",
    "Saturation",
    "Search",
    "SearchConfig",
    "Slo",
    "TrialOutcome",
    "TrialView",
]

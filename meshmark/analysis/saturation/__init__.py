"""The highest rate that a system carries, as an interval with a confidence, for any latency and for each SLO."""

from meshmark.analysis.saturation.model import (
    ANY_LATENCY,
    POINTS_LEAST,
    Ceiling,
    Life,
    Offer,
    Saturation,
    SearchConfig,
    TrialOutcome,
    TrialView,
)
from meshmark.analysis.saturation.search import Search
from meshmark.plan import Slo

__all__ = [
    "ANY_LATENCY",
    "POINTS_LEAST",
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

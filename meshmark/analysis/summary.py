"""A run directory's records -> Summary: what `-o json` prints, what tables and HTML show."""

from __future__ import annotations

from meshmark.analysis.model import Summary
from meshmark.store import Run


def summarize(run: Run) -> Summary:
    """Everything that can be said about a run, complete or not."""
    raise NotImplementedError

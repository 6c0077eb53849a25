"""A mutant of the merge over workers: one of several histograms is lost. It is put in the place of `combined` in
`meshmark.load.mark`, which is no part of a worker, so it is the same for the simulated system and for real Kafka.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.histogram import Histogram, combined

CAUGHT = r"the merge of 2 load workers gave \d+ latencies of \d+ records"
"""What is said of it."""


def without_the_last(histograms: Sequence[Histogram]) -> Histogram:
    """Of one alone, itself."""
    return combined(histograms[:-1] or histograms)

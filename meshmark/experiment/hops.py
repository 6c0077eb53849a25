"""The mean latency by hop of a window of load, from its two marks and the counters read with them."""

from __future__ import annotations

from meshmark.analysis.hops import latency_by_hop
from meshmark.histogram import Histogram
from meshmark.load.generator import Mark
from meshmark.record import Counters, HopTime


def hops(first: Mark, last: Mark, start: Counters, end: Counters) -> tuple[HopTime, ...]:
    """Empty in closed loop, and where nothing was acknowledged: there is no latency to explain."""
    window = last.since(first)
    if window.latency is None or window.lateness is None or not window.latency.count:
        return ()
    batches = window.batches
    return latency_by_hop(
        mean_s=Histogram.decode(window.latency.histogram).mean_s or 0.0,
        records=window.latency.count,
        held_s=window.held_s,
        handed_over=window.lateness.records,
        queued=(batches.queued_s, batches.queued),
        sending=(batches.sending_s, batches.sending),
        answering=(batches.answering_s, batches.answering),
        start=start,
        end=end,
    )

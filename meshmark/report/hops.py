"""The mean latency by hop at each equal load: one row for each hop, one column for each scenario."""

from __future__ import annotations

from meshmark.analysis.model import Summary
from meshmark.report import charts
from meshmark.report.sections import Figure
from meshmark.report.view import Grid, milliseconds, number_column, text_column
from meshmark.units import percent, rate_msg_s

TOTAL = "total"


def hops(summary: Summary) -> list[Figure]:
    """One for each load at which parts are known."""
    shares = sorted({each.share for row in summary.scenarios for each in row.equal_loads if each.hops})
    return [_at(summary, share) for share in shares]


def _at(summary: Summary, share: float) -> Figure:
    found = {
        row.name: each for row in summary.scenarios for each in row.equal_loads if each.share == share and each.hops
    }
    means: dict[str, dict[str, float]] = {
        name: {hop.hop: hop.mean_s for hop in each.hops} for name, each in found.items()
    }
    # In the order of the scenario that has most of them: the others lack some, and have no other ones.
    listed = [list(parts) for parts in means.values()]
    names = max(listed, key=len)
    columns = {
        name: [milliseconds(parts.get(hop)) for hop in names] + [milliseconds(sum(parts.values()))]
        for name, parts in means.items()
    }
    rate = next(iter(found.values())).offered_msg_s
    load = f"{rate_msg_s(rate)} msg/s, {percent(share)} of the lowest ceiling known after one repeat"
    return Figure(
        title=f"Mean latency by hop at {percent(share)} load",
        picture=charts.bars(
            [*names, TOTAL],
            {
                name: [None if value is None else max(0.0, value) for value in values]
                for name, values in columns.items()
            },
        ),
        caption=f"Milliseconds, at {load}, from the intended send to the acknowledgement; mean of the repeats. The "
        "last two parts are remainders. They, and differences of small times, may be below zero: the picture shows "
        "none then, the table what they are.",
        grid=Grid(
            title=f"Mean latency by hop at {percent(share)} load, ms",
            columns=(
                text_column("hop", [*names, TOTAL]),
                *(number_column(name, values) for name, values in columns.items()),
            ),
        ),
        unit="ms",
    )

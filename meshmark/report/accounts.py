"""The accounts of the page: bytes as predicted and as counted."""

from __future__ import annotations

from meshmark.analysis.model import Summary
from meshmark.report.view import Column, Grid, number_column, text_column
from meshmark.units import MB, UNKNOWN


def traffic(summary: Summary) -> Grid | None:
    """Every path and every interface: what it should have carried, and what was counted."""
    rows = [
        (scenario, repeat, row)
        for scenario in summary.scenarios
        for repeat in scenario.repeats
        for row in repeat.traffic
    ]
    if not rows:
        return None
    judged = [row for _, _, row in rows if row.holds is not None]
    held = sum(row.holds is True for row in judged)
    return Grid(
        title="Bytes as predicted from records, replication and readers, and as counted",
        columns=(
            text_column("scenario", (scenario.name for scenario, _, _ in rows)),
            Column(head="repeat", cells=tuple(str(repeat.repeat) for _, repeat, _ in rows)),
            text_column("path", (row.path for _, _, row in rows)),
            number_column("predicted MB", (row.predicted_bytes / MB for _, _, row in rows), digits=5),
            number_column("counted MB", (_mb(row.counted_bytes) for _, _, row in rows), digits=5),
            Column(head="difference", cells=tuple(_signed(row.error) for _, _, row in rows)),
            number_column("slack MB", (row.slack_bytes / MB for _, _, row in rows)),
            text_column("counted by", (row.counter for _, _, row in rows)),
            text_column("arithmetic", (row.explained for _, _, row in rows)),
        ),
        note=f"{held} of {len(judged)} counters that moved enough to judge are within 2 % and their slack.",
    )


def _mb(value: float | None) -> float | None:
    return None if value is None else value / MB


def _signed(error: float | None) -> str:
    return UNKNOWN if error is None else f"{error * 100:+.2f} %"

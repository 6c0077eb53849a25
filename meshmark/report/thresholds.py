"""What became of the plan's thresholds: a table, and a sentence for each."""

from __future__ import annotations

from meshmark.analysis.model import Interval, Summary, ThresholdSummary
from meshmark.report.view import Column, Grid, text_column
from meshmark.units import UNKNOWN, number


def grid(summary: Summary) -> Grid | None:
    """A row for each; None where the plan has none."""
    rows = summary.thresholds
    if not rows:
        return None
    return Grid(
        title="Thresholds of the plan",
        columns=(
            text_column("scenario", (each.scenario for each in rows)),
            text_column("threshold", (each.name for each in rows)),
            Column(head="limit", cells=tuple(f"< {_value(each, each.limit)}" for each in rows)),
            Column(head="measured", cells=tuple(_value(each, each.value) for each in rows)),
            Column(head="95 % interval", cells=tuple(_interval(each, each.interval) for each in rows)),
            Column(head="repeats", cells=tuple(f"{each.repeats_counted} of {each.repeats_planned}" for each in rows)),
            text_column("verdict", (each.verdict for each in rows)),
            *([text_column("why", (each.why for each in rows))] if any(each.why for each in rows) else ()),
        ),
        note="Held, or broken: the whole interval is below the limit, or none of it.",
    )


def sentence(row: ThresholdSummary) -> str:
    """`istio-mtls: saturation_loss is 31 % (25 … 37 %), not < 15 %`, or why it cannot be told."""
    measured = f"{_value(row, row.value)} ({_interval(row, row.interval)})"
    limit = f"< {_value(row, row.limit)}"
    if row.verdict == "cannot tell":
        return f"{row.scenario}: {row.name} {limit} cannot be told: {measured}, {row.why}"
    return f"{row.scenario}: {row.name} is {measured}, {'' if row.verdict == 'held' else 'not '}{limit}"


def _value(row: ThresholdSummary, value: float | None) -> str:
    if value is None:
        return UNKNOWN
    shown = number(value * 100).replace("-", "−")
    return f"{shown} %" if row.name == "saturation_loss" else f"{number(value)} ms"


def _interval(row: ThresholdSummary, interval: Interval | None) -> str:
    """Of a latency not below zero, where none is, though few repeats reach there."""
    if interval is None:
        return UNKNOWN
    low = interval.low if row.name == "saturation_loss" else max(0.0, interval.low)
    return f"{_value(row, low)} … {_value(row, interval.high)}"

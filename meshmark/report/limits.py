"""What taking a resource away did to each scenario: the table beside the evidence of utilisation."""

from __future__ import annotations

from meshmark.analysis.model import Elasticity, Interval, Summary
from meshmark.report.view import Column, Grid, text_column
from meshmark.units import UNKNOWN, percent


def explanations(summary: Summary) -> Grid | None:
    """Every resource that was tightened; None where none was."""
    told = [(row.name, row.explanation) for row in summary.scenarios if row.explanation]
    rows = [(name, each) for name, explanation in told for each in explanation.elasticities]
    if not rows:
        return None
    return Grid(
        title="What was carried with less of one resource",
        columns=(
            text_column("scenario", (name for name, _ in rows)),
            text_column("resource", (each.resource for _, each in rows)),
            Column(head="taken away", cells=tuple(percent(1 - each.amount / each.available) for _, each in rows)),
            Column(head="carried less by", cells=tuple(percent(each.lost) for _, each in rows)),
            Column(head="elasticity", cells=tuple(f"{each.elasticity:.2f}" for _, each in rows)),
            Column(head="95 % interval", cells=tuple(_interval(each.interval) for _, each in rows)),
            Column(head="blocks", cells=tuple(str(each.blocks) for _, each in rows)),
            text_column("limits", (_limits(each) for _, each in rows)),
        ),
        note=" ".join(f"{name}: {explanation.text}." for name, explanation in told),
    )


def _interval(found: Interval | None) -> str:
    return UNKNOWN if found is None else f"{found.low:.2f} … {found.high:.2f}"


def _limits(each: Elasticity) -> str:
    return "yes" if each.limits else ""

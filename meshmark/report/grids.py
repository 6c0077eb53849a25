"""The tables of a summary, in the order in which the terminal's text and Markdown have them."""

from __future__ import annotations

from collections.abc import Iterator

from meshmark.analysis.model import Summary
from meshmark.report import (
    accounts,
    against,
    cost,
    geography,
    hardware,
    limits,
    nodes,
    sensitivity,
    terms,
    thresholds,
    view,
)
from meshmark.report.view import Grid


def grids(summary: Summary) -> list[Grid]:
    """Those that have anything to say."""
    return [grid for grid in (*_answer(summary), *_environment(summary)) if grid]


def _answer(summary: Summary) -> Iterator[Grid | None]:
    yield thresholds.grid(summary)
    if summary.scenarios:
        yield from (view.carried(summary), cost.cost(summary))
    yield from view.latencies(summary)
    yield from (hardware.extrapolation(summary), hardware.limits(summary))
    yield from (sensitivity.grid(each, wide=False) for each in summary.sensitivity)
    yield limits.explanations(summary)
    yield from accounts.cpu_splits(summary)
    yield nodes.cpu(summary)


def _environment(summary: Summary) -> Iterator[Grid | None]:
    if summary.environment.disk:
        yield view.disk(summary)
    if summary.environment.network:
        yield view.network(summary)
    yield from (hardware.single_flow(summary), against.grid(summary))
    yield from (geography.links(summary), geography.laws(summary))
    yield from (terms.terms(summary), terms.mtls(summary), terms.settings(summary))
    yield from (geography.crossed(summary), geography.outages(summary), geography.steadiness(summary))

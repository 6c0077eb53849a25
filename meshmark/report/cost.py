"""What carrying the load took: the table of packets and CPU, and what it says when its CPU cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshmark.analysis.ledger import UNUSABLE_SHARE
from meshmark.analysis.model import ScenarioSummary, Summary
from meshmark.report.view import Column, Grid, hops, listing, number_column, text_column
from meshmark.units import UNKNOWN, percent, rate_msg_s

JIT = "JIT"
"""Head of the column for what the model calls compilers."""


def cost(summary: Summary) -> Grid:
    """What carrying it took: packets and CPU; which hops were encrypted; what limited it."""
    rows = summary.scenarios
    per_gb, packets = "CPU seconds per GB", "packets"
    return Grid(
        title="What it took",
        columns=(
            text_column("scenario", (row.name for row in rows)),
            Column(head="per second", cells=tuple(rate_msg_s(row.packets_s) for row in rows), group=packets),
            number_column("per MB", (row.packets_per_mb for row in rows), packets),
            number_column("brokers", (row.cpu_s_per_gb.brokers for row in rows), per_gb),
            *_if_known(JIT, [row.cpu_s_per_gb.compilers for row in rows], per_gb),
            number_column("sidecars", (row.cpu_s_per_gb.sidecars for row in rows), per_gb),
            *_if_known("gateways", [row.cpu_s_per_gb.gateways for row in rows], per_gb),
            number_column("clients", (row.cpu_s_per_gb.clients for row in rows), per_gb),
            number_column("machine", (row.cpu_s_per_gb.machine for row in rows), per_gb),
            Column(head="unattributed", cells=tuple(tenths(row.unattributed_share) for row in rows)),
            text_column("encrypted hops", (hops(row) for row in rows)),
            text_column("limited by", (", ".join(row.limited_by) or UNKNOWN for row in rows)),
        ),
        note=" ".join(filter(None, (_jit(rows), unusable_cpu(rows)))),
    )


def _if_known(head: str, values: Sequence[float | None], group: str) -> list[Column]:
    """No column where nobody has a value."""
    return [number_column(head, values, group)] if any(value is not None for value in values) else []


def _jit(rows: Iterable[ScenarioSummary]) -> str:
    known = any(row.cpu_s_per_gb.compilers is not None for row in rows)
    return f"{JIT}: the brokers' compilers, which work until a broker is warm; not in brokers." if known else ""


def unusable_cpu(rows: Iterable[ScenarioSummary]) -> str:
    """Names the scenarios whose CPU per GB must not be used; empty if there is none."""
    names = [row.name for row in rows if row.unattributed_share and abs(row.unattributed_share) > UNUSABLE_SHARE]
    if not names:
        return ""
    share = percent(UNUSABLE_SHARE)
    return (
        f"CPU per GB is not usable for {listing(names)}: more than {share} of the machine's CPU time is unattributed."
    )


def tenths(ratio: float | None) -> str:
    """A share as percent, for shares that are small when all is well."""
    return UNKNOWN if ratio is None else f"{round(ratio * 100, 1) + 0.0:.1f} %"

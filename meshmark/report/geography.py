"""The links between clusters as asked for and as found: one table, for the terminal and for the page."""

from __future__ import annotations

from meshmark.analysis.model import LinkSummary, Summary
from meshmark.report.view import Column, Grid, listing, milliseconds, number_column, text_column
from meshmark.units import MB, UNKNOWN, percent


def links(summary: Summary) -> Grid | None:
    """None where all hosts were in one place."""
    rows = summary.environment.links
    if not rows:
        return None
    lossy = any(row.asked_loss for row in rows)
    limited = any(row.asked_bandwidth_bytes_s for row in rows)
    return Grid(
        title="Links between clusters, as asked for and as found",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("from", (row.source for row in rows)),
            text_column("to", (row.target for row in rows)),
            number_column("asked", (milliseconds(row.asked_rtt_s) for row in rows), "RTT, ms"),
            number_column("found", (milliseconds(row.rtt_s) for row in rows), "RTT, ms"),
            Column(head="error", cells=tuple(_signed(row.rtt_error) for row in rows), group="RTT, ms"),
            number_column("under load", (milliseconds(row.loaded_rtt_s) for row in rows), "RTT, ms"),
            *(_loss(rows) if lossy else ()),
            *(_bandwidth(rows) if limited else ()),
        ),
        note=_note(rows),
    )


def _loss(rows: tuple[LinkSummary, ...]) -> tuple[Column, ...]:
    return (
        Column(head="asked", cells=tuple(percent(row.asked_loss) for row in rows), group="loss"),
        Column(head="found", cells=tuple(percent(row.loss) for row in rows), group="loss"),
    )


def _bandwidth(rows: tuple[LinkSummary, ...]) -> tuple[Column, ...]:
    group = "bandwidth, MB/s"
    return (
        number_column("asked", (_mb(row.asked_bandwidth_bytes_s) for row in rows), group),
        number_column("found", (_mb(row.bandwidth_bytes_s) for row in rows), group),
        Column(head="error", cells=tuple(_signed(row.bandwidth_error) for row in rows), group=group),
    )


def _note(rows: tuple[LinkSummary, ...]) -> str:
    kinds = listing(sorted({row.kind for row in rows}))
    controls = listing(sorted({row.congestion_control for row in rows if row.congestion_control}))
    control = f" TCP's congestion control was {controls}." if controls else ""
    return (
        f"Made by {kinds}; before load by ICMP, datagrams and TCP past the sidecars; under load by ICMP at the end of "
        f"each trial, queues on the way included.{control}"
    )


def _mb(value: float | None) -> float | None:
    return None if value is None else value / MB


def _signed(error: float | None) -> str:
    return UNKNOWN if error is None else f"{error * 100:+.1f} %".replace("-", "−")

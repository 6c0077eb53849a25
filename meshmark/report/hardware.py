"""The profile that hosts were limited to: its scale, every limit with its probe, and what the figures would be without
the scale, which is said to be arithmetic wherever it stands."""

from __future__ import annotations

from meshmark.analysis.hardware_model import HardwareSummary, LimitSummary
from meshmark.analysis.model import Summary
from meshmark.report.view import Column, Grid, listing, number_column, text_column
from meshmark.units import MB, UNKNOWN, number, rate_msg_s


def limits(summary: Summary) -> Grid | None:
    """Every limit; None without a profile, or before any was set."""
    hardware = summary.hardware
    if hardware is None or not hardware.limits:
        return None
    rows = hardware.limits
    return Grid(
        title=f"Hardware: {hardware.profile} at scale {hardware.scale:g}",
        columns=(
            text_column("host", (row.host for row in rows)),
            text_column("limit", (_name(row) for row in rows)),
            text_column("unit", (_unit(row) for row in rows)),
            Column(head="profile", cells=tuple(_amount(row, row.of_profile) for row in rows)),
            Column(head="set", cells=tuple(_amount(row, row.amount) for row in rows)),
            Column(head="probe", cells=tuple(_amount(row, row.measured) for row in rows)),
            Column(head="largest error", cells=tuple(f"{row.error * 100:+.1f} %" for row in rows)),
            Column(head="probes", cells=tuple(str(row.probes) for row in rows)),
        ),
        note=scale_text(hardware),
    )


def scale_text(hardware: HardwareSummary) -> str:
    """Where the factor is from, and what it does not hold for."""
    if not hardware.bounds:
        return "The profile limits nothing: each scenario says itself what its disks take."
    allowed = listing([f"{bound.resource} allows {bound.scale:.3g}" for bound in hardware.bounds])
    chosen = "The largest that fits this machine" if hardware.asked == "auto" else "Scale as asked"
    return f"{chosen}: {allowed}. Not scaled: {listing(hardware.not_scaled)}."


def extrapolation(summary: Summary) -> Grid | None:
    """Measured, and divided by the scale; None where nothing was scaled."""
    hardware = summary.hardware
    if hardware is None or not hardware.extrapolated or hardware.scale == 1:
        return None
    rows = hardware.extrapolated
    measured, made = "measured here", "extrapolated"
    return Grid(
        title=f"Extrapolation to {hardware.profile}: measured / {hardware.scale:g}, not measured",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            Column(head="messages/s", cells=tuple(rate_msg_s(row.rate_msg_s) for row in rows), group=measured),
            number_column("MB/s per broker", (_mb(row.disk_bytes_s_per_broker) for row in rows), measured),
            Column(
                head="messages/s", cells=tuple(rate_msg_s(row.extrapolated_rate_msg_s) for row in rows), group=made
            ),
            number_column("MB/s per broker", (_mb(row.extrapolated_disk_bytes_s_per_broker) for row in rows), made),
            text_column("limited by", (", ".join(row.limited_by) or UNKNOWN for row in rows)),
        ),
        note="As far as what limits is in the profile's proportions, and only then. It says nothing about latency.",
    )


def _name(row: LimitSummary) -> str:
    if row.resource == "cpu":
        return {"kafka": "broker CPU", "sidecar": "sidecar CPU", "client": "client CPU"}[row.component or "kafka"]
    return {"disk": "disk writes", "operations": "disk writes", "network": "network, each way"}[row.resource]


def _unit(row: LimitSummary) -> str:
    return {"cpu": "CPUs", "operations": "a second"}.get(row.resource, "MB/s")


def _amount(row: LimitSummary, value: float) -> str:
    return number(value if _unit(row) != "MB/s" else value / MB)


def _mb(value: float | None) -> float | None:
    return None if value is None else value / MB

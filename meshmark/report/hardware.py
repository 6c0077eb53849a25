"""The profile that hosts were limited to: its scale, every limit with its probe, and what the figures would be without
the scale, which is said to be arithmetic wherever it stands."""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.analysis.hardware_model import Extrapolation, HardwareSummary, LimitSummary, SingleFlow
from meshmark.analysis.model import Summary
from meshmark.report.view import Column, Grid, listing, number_column, text_column
from meshmark.units import MB, UNKNOWN, mb, number, percent, rate_msg_s


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
            Column(head="profile", cells=tuple(_of_profile(row) for row in rows)),
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
    """What was found here, and the same divided by the scale; None where nothing was scaled."""
    hardware = summary.hardware
    if hardware is None or not hardware.extrapolated or hardware.scale == 1:
        return None
    rows = hardware.extrapolated
    here, made = "here", "extrapolated"
    return Grid(
        title=f"Extrapolation to {hardware.profile}: figures here / {hardware.scale:g}, not measured",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            Column(head="messages/s", cells=tuple(rate_msg_s(row.rate_msg_s) for row in rows), group=here),
            number_column("MB/s per broker", (_mb(row.disk_bytes_s_per_broker) for row in rows), here),
            Column(
                head="messages/s", cells=tuple(rate_msg_s(row.extrapolated_rate_msg_s) for row in rows), group=made
            ),
            number_column("MB/s per broker", (_mb(row.extrapolated_disk_bytes_s_per_broker) for row in rows), made),
            text_column("limited by", (", ".join(row.limited_by) or UNKNOWN for row in rows)),
        ),
        note=_extrapolation_text(rows),
    )


def _extrapolation_text(rows: Sequence[Extrapolation]) -> str:
    about = "As far as what limits is in the profile's proportions, and only then. It says nothing about latency."
    left = [row.scenario for row in rows if row.rate_msg_s is not None and row.extrapolated_rate_msg_s is None]
    if not left:
        return about
    return f"{about} No figure for {listing(left)}: what limited there is no limit of the profile, or not known."


def single_flow(summary: Summary) -> Grid | None:
    """The profile's figure of one TCP flow beside what this machine's own probe found; None without such a figure."""
    flow = summary.hardware.single_flow if summary.hardware else None
    if flow is None:
        return None
    rows: list[tuple[str, float | None, str, str]] = [
        ("the profile's machines", flow.profile_bytes_s, UNKNOWN, flow.source),
        ("this machine", flow.here_bytes_s, percent(flow.here_spread), "this run's probe, before any limit"),
    ]
    if flow.full_disk_bytes_s is not None:
        rows.append(("what a broker takes in", flow.full_disk_bytes_s, UNKNOWN, "the profile's disk, when it is full"))
    return Grid(
        title="One TCP flow: the profile's figure, and this machine's",
        columns=(
            text_column("one flow between two hosts", (row[0] for row in rows)),
            number_column("MB/s", (_mb(row[1]) for row in rows)),
            number_column("Gbit/s", (None if row[1] is None else row[1] * 8 / 1e9 for row in rows)),
            Column(head="spread", cells=tuple(row[2] for row in rows)),
            text_column("from", (row[3] for row in rows)),
        ),
        note=_flow_text(flow),
    )


def _flow_text(flow: SingleFlow) -> str:
    """What the figures have in common, what not, and why the profile's is no limit."""
    like = (
        "Alike: both are what one TCP flow carried without a mesh. Unlike: the profile's was between two machines; "
        "this machine's is inside one kernel, unlimited and not scaled, so that neither says anything of the other."
    )
    if flow.full_disk_bytes_s is None or flow.full_disk_bytes_s <= flow.profile_bytes_s:
        return f"{like} The profile's figure is a probe and limits nothing."
    return (
        f"{like} The profile's figure is a probe and limits nothing: with every partition copied to all of three "
        f"brokers (replication factor 3), a broker takes in over its network all that it writes, "
        f"{mb(flow.full_disk_bytes_s)} MB/s when its disk is full, and one flow carried {mb(flow.profile_bytes_s)}."
    )


def _name(row: LimitSummary) -> str:
    if row.resource == "cpu":
        return {"kafka": "broker CPU", "sidecar": "sidecar CPU", "client": "client CPU"}[row.component or "kafka"]
    return {"disk": "disk writes", "operations": "disk operations", "network": "network, each way"}[row.resource]


def _of_profile(row: LimitSummary) -> str:
    return UNKNOWN if row.of_profile is None else _amount(row, row.of_profile)


def _unit(row: LimitSummary) -> str:
    return {"cpu": "CPUs", "operations": "a second"}.get(row.resource, "MB/s")


def _amount(row: LimitSummary, value: float) -> str:
    return number(value if _unit(row) != "MB/s" else value / MB)


def _mb(value: float | None) -> float | None:
    return None if value is None else value / MB

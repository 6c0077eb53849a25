"""How the price depends on the workload, or on the brokers' disks: a table for each sweep, and its picture.

A sweep whose plan offers a fixed load shows what it costs there; any other one shows the two ceilings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshmark.analysis.model import CpuPerGb, Mean, Sensitivity, SensitivityPoint, Summary
from meshmark.analysis.sensitivity import DISK_CAP, NO_CAP, PLACE
from meshmark.report import charts, view
from meshmark.report.sections import Figure
from meshmark.report.view import Column, Grid, number_column, text_column
from meshmark.units import MB, UNKNOWN, column, number, rate_msg_s

CANNOT_TELL = "cannot tell"
OF_HOST = re.compile(r"^(broker|client)-\d+[ /]")


def figures(summary: Summary) -> list[Figure]:
    """One for each sweep: bars of what CPU a GB takes without the data plane and what it adds, or of the ceilings."""
    return [_at_load(each) if _has_load(each) else _ceilings(each) for each in summary.sensitivity]


def _at_load(sweep: Sensitivity) -> Figure:
    return Figure(
        title=_title(sweep),
        picture=charts.bars([point.value for point in sweep.points], _bars(sweep)),
        caption="CPU seconds per GB acknowledged at the same load: of the baseline, and what comes on top.",
        grid=grid(sweep),
    )


def _ceilings(sweep: Sensitivity) -> Figure:
    rates = {
        sweep.baseline_data_plane.value: [each.baseline_rate_msg_s for each in sweep.points],
        sweep.data_plane.value: [each.rate_msg_s for each in sweep.points],
    }
    return Figure(
        title=_title(sweep),
        picture=charts.curves([point.value for point in sweep.points], rates),
        caption="Messages a second at the ceiling, without the data plane and with it.",
        grid=grid(sweep),
    )


def _has_load(sweep: Sensitivity) -> bool:
    return any(each.load_bytes_s is not None for each in sweep.points)


def grid(sweep: Sensitivity, *, wide: bool = True) -> Grid:
    """A row for each value. A terminal has no room for the clients' part, which `added` holds too."""
    return _load_grid(sweep, wide=wide) if _has_load(sweep) else _ceiling_grid(sweep)


def _ceiling_grid(sweep: Sensitivity) -> Grid:
    points = sweep.points
    own, base = sweep.data_plane.value, sweep.baseline_data_plane.value
    rate, disk, cause = "messages/s", "MB/s per broker", "limited by"
    return Grid(
        title=_title(sweep),
        columns=(
            text_column(sweep.factor, (each.value for each in points)),
            Column(head=base, cells=tuple(rate_msg_s(each.baseline_rate_msg_s) for each in points), group=rate),
            Column(head=own, cells=tuple(rate_msg_s(each.rate_msg_s) for each in points), group=rate),
            Column(head="loss", cells=tuple(view.loss(each.loss) for each in points)),
            Column(head="95 % interval", cells=tuple(_loss_told(each) for each in points)),
            number_column(base, (_scaled(each.baseline_disk_bytes_s_per_broker) for each in points), disk),
            number_column(own, (_scaled(each.disk_bytes_s_per_broker) for each in points), disk),
            text_column(base, (_causes(each.baseline_limited_by) for each in points), cause),
            text_column(own, (_causes(each.limited_by) for each in points), cause),
        ),
        note=_parting(sweep),
    )


def _causes(names: Sequence[str]) -> str:
    """Without the hosts: the disks of three brokers are one cause."""
    return ", ".join(dict.fromkeys(OF_HOST.sub("", name) for name in names)) or UNKNOWN


def _parting(sweep: Sensitivity) -> str:
    """Of disks, what the rows say: where the curves part, or what RAM shows; else empty."""
    own = sweep.data_plane.value
    if sweep.factor == PLACE:
        return (
            "With the logs in RAM, everything but the disk is limited as with them on it. That row says what the mesh "
            "costs where disks are not the limit, and nothing about disks."
        )
    if sweep.factor != DISK_CAP:
        return ""
    said = []
    if sweep.hidden_to is not None:
        said.append(f"Up to {sweep.hidden_to} per broker the disks limit both, and no loss can be told.")
    if sweep.apart_from is not None:
        from_here = "Without a cap" if sweep.apart_from == NO_CAP else f"From {sweep.apart_from} per broker on"
        said.append(f"{from_here} {own} carries less.")
    return " ".join(said) or "Where the curves part cannot be told from this run."


def _load_grid(sweep: Sensitivity, *, wide: bool) -> Grid:
    points = sweep.points
    cpu, packets = "CPU seconds per GB", "packets per MB"
    added = _added(points)
    if not wide:
        del added["+clients"]
    return Grid(
        title=_title(sweep),
        columns=(
            text_column(sweep.factor, (each.value for each in points)),
            Column(head="loss", cells=tuple(view.loss(each.loss) for each in points), group="ceiling"),
            Column(
                head="95 % interval",
                cells=tuple(_loss_told(each) for each in points),
                group="ceiling",
            ),
            number_column("base", (base_cpu(each.baseline_cpu_s_per_gb) for each in points), cpu),
            *(Column(head=name, cells=cells, group=cpu) for name, cells in added.items()),
            Column(
                head="95 % interval", cells=tuple(told(each.added_cpu_s_per_gb.together) for each in points), group=cpu
            ),
            number_column("base", (each.baseline_packets_per_mb for each in points), packets),
            number_column("mesh", (each.packets_per_mb for each in points), packets),
            number_column("records", (each.records_per_batch for each in points), "a batch"),
            number_column("MB", (_scaled(each.sidecar_memory_bytes) for each in points), "sidecars"),
        ),
        note=" ".join(_notes(sweep)),
    )


def _added(points: Sequence[SensitivityPoint]) -> dict[str, tuple[str, ...]]:
    """By component and all of them together, with as many decimals in all as the largest needs."""
    names = {"sidecars": "+sidecars", "brokers": "+brokers", "clients": "+clients", "together": "added"}
    values = [_mean(getattr(each.added_cpu_s_per_gb, name)) for name in names for each in points]
    flat, height = column(values), len(points)
    return {head: tuple(flat[place * height : (place + 1) * height]) for place, head in enumerate(names.values())}


def told(found: Mean | None) -> str:
    """The interval of a difference, or that none can be told from it."""
    if found is None:
        return UNKNOWN
    if found.interval is None:
        return "one repeat"
    low, high = found.interval.low, found.interval.high
    return CANNOT_TELL if low <= 0 <= high else f"{number(low)} … {number(high)}".replace("-", "−")


def _loss_told(point: SensitivityPoint) -> str:
    interval = point.loss_interval
    if interval is not None and interval.low <= 0 <= interval.high:
        return CANNOT_TELL
    return view.loss_interval(interval)


def base_cpu(cpu: CpuPerGb) -> float | None:
    """Of brokers and clients, and of sidecars where there are some."""
    parts = (cpu.brokers, cpu.clients)
    known = [part for part in parts if part is not None]
    return sum(known) + (cpu.sidecars or 0.0) if len(known) == len(parts) else None


def _title(sweep: Sensitivity) -> str:
    return f"What {sweep.data_plane.value} costs, by {sweep.factor}"


def _bars(sweep: Sensitivity) -> dict[str, list[float | None]]:
    return {
        f"{sweep.baseline_data_plane.value}, all": [base_cpu(each.baseline_cpu_s_per_gb) for each in sweep.points],
        "+ sidecars": [_bar(each.added_cpu_s_per_gb.sidecars) for each in sweep.points],
        "+ brokers": [_bar(each.added_cpu_s_per_gb.brokers) for each in sweep.points],
        "+ clients": [_bar(each.added_cpu_s_per_gb.clients) for each in sweep.points],
    }


def _bar(found: Mean | None) -> float | None:
    """No bar for less than nothing; the table has the number."""
    return None if found is None else max(0.0, round(found.mean, 3))


def _notes(sweep: Sensitivity) -> list[str]:
    said = [_load(sweep)]
    memory = sweep.memory_bytes_per_connection
    if memory is not None:
        counted = [each.sidecar_connections for each in sweep.points]
        ends = " to ".join(f"{count:,.0f}" for count in (counted[0], counted[-1]) if count is not None)
        bounds = ""
        if memory.interval is not None:
            bounds = f" ({number(memory.interval.low / 1e3)} … {number(memory.interval.high / 1e3)})"
        said.append(
            f"A connection to a sidecar takes {number(memory.mean / 1e3)} kB of its memory{bounds}, from {ends} "
            "connections, all sidecars together."
        )
    left_out = [text for each in sweep.points for text in each.left_out]
    if left_out:
        said.append(f"Left out: {'; '.join(left_out)}.")
    return said


def _load(sweep: Sensitivity) -> str:
    """What was offered, and by which client."""
    loads = sorted({each.load_bytes_s for each in sweep.points if each.load_bytes_s is not None})
    clients = view.listing(sorted({each.client for each in sweep.points}))
    if not loads:
        return f"CPU, packets and memory are unknown: the plan offers no fixed load. Client: {clients}."
    repeats = sorted({each.repeats for each in sweep.points})
    pairs = f"{repeats[0]} to {repeats[-1]}" if len(repeats) > 1 else str(repeats[0])
    said = view.listing([f"{number(load / MB)} MB/s" for load in loads])
    return (
        f"CPU, packets, batches and memory at {said} for both sides, {pairs} repeats; differences are paired by "
        f"repeat. CPU is without the brokers' JIT compilers. Ceilings are those of the search. Client: {clients}."
    )


def _mean(found: Mean | None) -> float | None:
    return None if found is None else found.mean


def _scaled(value_bytes: float | None) -> float | None:
    return None if value_bytes is None else value_bytes / MB

"""What all load workers together had done at one instant, and what lies between two of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.errors import InstrumentFault
from meshmark.histogram import Histogram, combined, latency, lateness, total
from meshmark.load.clients.statistics import sum_batches
from meshmark.record import Latency, Lateness, LoadTotals
from meshmark.units import number
from meshmark.values import Model
from meshmark.worker_protocol import Batches, WorkerReport, WorkerSpec


class Mark(Model):
    """The sum over all workers at one instant; everything is cumulative since the load began, or since another mark.

    `time_s` is when the producers told, so what came due and was acknowledged is of then; consumers, on other hosts
    perhaps, may tell later: `apart_s`, from the first worker to the last.

    Latencies and lateness are null in closed loop, `end_to_end` without consumers of stamped records, `lag` without
    consumers. `priority` is that of the producers' pacing threads in open loop; `missed_s` is how much of a schedule's
    end was never offered, because the generator could not keep up with it. `notes`: what workers have to say against
    their own accounts at the end."""

    time_s: float
    apart_s: float = 0
    clients: int
    connections: int
    totals: LoadTotals
    batches: Batches
    cpu_user_s: float
    cpu_system_s: float
    latency: Latency | None = None
    end_to_end: Latency | None = None
    lateness: Lateness | None = None
    held_s: float = 0
    missed_s: float = 0
    lag: int | None = None
    priority: str = ""
    notes: tuple[str, ...] = ()

    @property
    def fault(self) -> str:
        """Why what lies before this mark says nothing about the system; empty when it does."""
        if self.missed_s:
            return (
                f"the load generator was {number(self.missed_s)} s behind its schedule when that ended, and never "
                "offered the rest; give it a lower rate, or divide it between more load processes"
            )
        return self.lateness.fault if self.lateness else ""

    def since(self, earlier: Mark) -> Mark:
        """What happened between the two; time, notes and lag (records acknowledged and not yet consumed) stay those
        of the later one."""
        batches = {name: getattr(self.batches, name) - getattr(earlier.batches, name) for name in Batches.model_fields}
        return self.model_copy(
            update={
                "totals": self.totals - earlier.totals,
                "batches": Batches(**batches),
                "held_s": self.held_s - earlier.held_s,
                "cpu_user_s": self.cpu_user_s - earlier.cpu_user_s,
                "cpu_system_s": self.cpu_system_s - earlier.cpu_system_s,
                "latency": self.latency and latency(_difference(self.latency, earlier.latency)),
                "end_to_end": self.end_to_end and latency(_difference(self.end_to_end, earlier.end_to_end)),
                "lateness": self.lateness and lateness(_difference(self.lateness, earlier.lateness)),
            }
        )


def summed(
    reported: Sequence[tuple[WorkerSpec, WorkerReport]],
    specs: Sequence[WorkerSpec],
    now_s: float,
    notes: tuple[str, ...],
) -> Mark:
    """Reports of one instant; `specs` are those of all workers, reported or not. Raises InstrumentFault when a latency
    is missing: every record that counts has one."""
    producers = [spec for spec in specs if spec.role == "producer"]
    consumers = [spec for spec in specs if spec.role == "consumer"]
    reports = [report for _, report in reported]
    told_s = [report.time_s for report in reports] or [now_s]
    offering = [report for spec, report in reported if spec.role == "producer"] or reports
    totals = sum((report.totals for report in reports), LoadTotals())
    acknowledged: list[Histogram] = []
    arrived: list[Histogram] = []
    for spec, report in reported:
        if spec.schedule:
            acknowledged.append(_complete(spec, report, report.latency, report.totals.acknowledged))
        elif spec.stamp:
            read = report.totals.consumed - report.totals.unstamped
            arrived.append(_complete(spec, report, report.end_to_end, read))
    open_loop = any(spec.schedule for spec in producers)
    return Mark(
        time_s=max((report.time_s for report in offering), default=now_s),
        apart_s=max(told_s) - min(told_s),
        clients=len(producers),
        connections=sum(spec.connections for spec in producers),
        totals=totals,
        batches=sum_batches(report.batches for report in reports),
        cpu_user_s=sum(report.cpu_user_s for report in reports),
        cpu_system_s=sum(report.cpu_system_s for report in reports),
        latency=latency(_merged(acknowledged)) if open_loop else None,
        end_to_end=latency(_merged(arrived)) if any(spec.stamp for spec in consumers) else None,
        lateness=lateness(total(report.lateness for report in reports)) if open_loop else None,
        held_s=sum(report.held_s for report in reports),
        missed_s=max((report.missed_s for report in reports), default=0),
        lag=len(consumers) * totals.acknowledged - (totals.consumed - totals.unstamped) if consumers else None,
        priority=", ".join(sorted({report.priority for report in reports if report.priority})),
        notes=notes,
    )


def _complete(spec: WorkerSpec, report: WorkerReport, text: str, records: int) -> Histogram:
    histogram = Histogram.decode(text)
    if histogram.count + report.totals.negative != records:
        raise InstrumentFault(f"load worker {spec.name} gave {histogram.count} latencies of {records} records")
    return histogram


def _merged(parts: Sequence[Histogram]) -> Histogram:
    """Of all workers, none of them left out."""
    merged, records = combined(parts), sum(part.count for part in parts)
    if merged.count != records:
        raise InstrumentFault(
            f"the merge of {len(parts)} load workers gave {merged.count} latencies of {records} records"
        )
    return merged


def _difference(later: Latency | Lateness, earlier: Latency | Lateness | None) -> Histogram:
    whole = Histogram.decode(later.histogram)
    return whole - Histogram.decode(earlier.histogram) if earlier else whole

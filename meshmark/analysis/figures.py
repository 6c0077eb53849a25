"""One trial -> its figures; several repeats' figures -> their mean.

Counters are read some milliseconds beside the marks that count records, so every figure is a quotient of two rates,
each over its own time. What was not measured stays None, in a mean too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshmark.analysis import stats
from meshmark.analysis.ledger import broker_hosts, client_hosts, elapsed_s, gateway_hosts, ledger, sum_known
from meshmark.analysis.model import CpuPerGb, Figures
from meshmark.plan import Scenario
from meshmark.record import Trial
from meshmark.units import MB

PER_SECOND = (
    "payload_bytes_s",
    "consumed_msg_s",
    "disk_bytes_s_per_broker",
    "device_bytes_s_per_broker",
    "packets_s",
)


def figures(trial: Trial, scenario: Scenario, cpus: int) -> Figures:
    """Of the trial's window."""
    brokers = broker_hosts(scenario)
    hosts = (*brokers, *gateway_hosts(scenario), *client_hosts(scenario))
    book = ledger(trial, scenario, cpus)
    payload_bytes_s = trial.window.acknowledged_bytes / trial.seconds
    packets_s = _rate(trial, (f"{host}/net/tx_packets" for host in hosts))
    segments_s = _rate(trial, (f"{host}/net/tcp_out_segments" for host in hosts))
    wire_segments_s = _rate(trial, (f"{host}/net/tcp_wire_out_segments" for host in hosts))
    sent_bytes_s = _rate(trial, (f"{host}/net/tx_bytes" for host in hosts))
    consuming = scenario.workload.subscriptions_per_topic > 0
    return Figures(
        measured_msg_s=trial.rate_msg_s,
        payload_bytes_s=payload_bytes_s,
        consumed_msg_s=trial.window.consumed / trial.seconds if consuming else None,
        disk_bytes_s_per_broker=_divide(_rate(trial, (f"{host}/kafka/log_bytes" for host in brokers)), len(brokers)),
        device_bytes_s_per_broker=_divide(_rate(trial, ("machine/disk/write_bytes",)), len(brokers)),
        packets_s=packets_s,
        packets_per_mb=_divide(packets_s, payload_bytes_s / MB),
        packet_bytes=_divide(sent_bytes_s, packets_s),
        tcp_segments_per_mb=_divide(segments_s, payload_bytes_s / MB),
        wire_segments_per_mb=_divide(wire_segments_s, payload_bytes_s / MB),
        cpu_s_per_gb=book.per_gb("total_s"),
        cpu_user_s_per_gb=book.per_gb("user_s"),
        cpu_system_s_per_gb=book.per_gb("system_s"),
        softirq_s_per_gb=book.gb_share(book.softirq_s),
        unattributed_share=book.unattributed_share,
        machine_cpu_share=book.share(book.busy_s),
        steal_share=book.share(book.steal_s),
        records_per_batch=trial.batch.records_per_batch,
        bytes_per_batch=trial.batch.bytes_per_batch,
    )


def at_ceiling(found: Figures, ceiling_msg_s: float | None) -> Figures:
    """With as much for each message at the ceiling's rate, which lies beside the trial's own: arithmetic. As measured
    where there is no ceiling."""
    if ceiling_msg_s is None or not found.measured_msg_s:
        return found
    scale = ceiling_msg_s / found.measured_msg_s
    rates = {name: getattr(found, name) for name in PER_SECOND}
    return found.model_copy(update={name: value and value * scale for name, value in rates.items()})


def mean_figures(repeats: Sequence[Figures]) -> Figures:
    """Of each figure the mean of the repeats that have it."""
    plain = [name for name, field in Figures.model_fields.items() if field.annotation is not CpuPerGb]
    books = [name for name, field in Figures.model_fields.items() if field.annotation is CpuPerGb]
    means = {name: stats.mean([getattr(found, name) for found in repeats]) for name in plain}
    return Figures(**means, **{name: mean_cpu([getattr(found, name) for found in repeats]) for name in books})


def mean_cpu(books: Sequence[CpuPerGb]) -> CpuPerGb:
    """The same of a ledger's shares."""
    return CpuPerGb(**{name: stats.mean([getattr(book, name) for book in books]) for name in CpuPerGb.model_fields})


def _rate(trial: Trial, keys: Iterable[str]) -> float | None:
    """Growth a second of all keys together; None if one was not read."""
    return _divide(sum_known(trial.delta(key) for key in keys), elapsed_s(trial))


def _divide(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by

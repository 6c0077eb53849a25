"""A round's samples -> the panels of its page: a few lines each, over one common time.

A counter becomes a rate between two neighbouring readings; a fall (a counter's reset) or a hole in time gives a gap,
never a line across it. Lines have at most POINTS_MAX points: rates over longer steps stay exact means; a gauge shows
its reading at each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TypeVar

from meshmark.metrics import METRICS
from meshmark.record import LoadInterval, Sample
from meshmark.units import GB, MB

POINTS_MAX = 300
HOUR_S = 3_600.0
HOLE = 3.0
"""A step this many times the usual one is a hole in the series."""

Values = list[float | None]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    label: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Lines over `times_s`, seconds since the round began. `silent` names lines that are zero throughout."""

    title: str
    unit: str
    times_s: tuple[float, ...]
    lines: tuple[Line, ...]
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Lines made of the metrics of one component: one line of their sum for each host, or, with a label, one of all
    hosts together."""

    component: str
    metrics: tuple[str, ...]
    label: str = ""
    suffix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What a panel shows, and the base units that make one unit of its axis."""

    title: str
    unit: str
    scale: float
    sources: tuple[Source, ...]


def _each(component: str, *metrics: str, suffix: str = "") -> tuple[Source, ...]:
    return (Source(component=component, metrics=metrics, suffix=suffix),)


def _named(component: str, **labels: str) -> tuple[Source, ...]:
    """metric=label pairs, one line each."""
    return tuple(Source(component=component, metrics=(metric,), label=label) for metric, label in labels.items())


def _components(*metrics: str) -> tuple[Source, ...]:
    names = {"kafka": "brokers", "sidecar": "sidecars", "gateway": "gateways"}
    names |= {"client": "clients", "meshmark": "meshmark", "relay": "links"}
    return tuple(Source(component=name, metrics=metrics, label=label) for name, label in names.items())


def _inside_brokers(title: str, request: str) -> Form:
    """A second of request time in each second is one request there at a time."""
    labels = {
        "queue": "waiting for a handler",
        "local": "handled",
        "remote": "waiting for others",
        "response_queue": "answer waiting",
        "response_send": "answer being sent",
        "total": "all of these",
        "throttle": "told to slow down",
    }
    metrics = {f"{request}_{part}_s": label for part, label in labels.items()}
    return Form(title=title, unit="at a time", scale=1, sources=_named("kafka", **metrics))


FORMS: tuple[Form, ...] = (
    Form(title="CPU of brokers", unit="CPUs", scale=1, sources=_each("kafka", "cpu_user_s", "cpu_system_s")),
    Form(title="CPU of sidecars", unit="CPUs", scale=1, sources=_each("sidecar", "cpu_user_s", "cpu_system_s")),
    Form(title="CPU of gateways", unit="CPUs", scale=1, sources=_each("gateway", "cpu_user_s", "cpu_system_s")),
    Form(
        title="CPU of clients and of meshmark",
        unit="CPUs",
        scale=1,
        sources=(
            *_each("client", "cpu_user_s", "cpu_system_s"),
            *_each("meshmark", "cpu_user_s", "cpu_system_s", suffix=" meshmark"),
            *_each("relay", "cpu_user_s", "cpu_system_s", suffix=" relay"),
        ),
    ),
    Form(
        title="CPU of the machine",
        unit="CPUs",
        scale=1,
        sources=_named(
            "cpu",
            user_s="user",
            system_s="system",
            softirq_s="softirq",
            irq_s="interrupts",
            iowait_s="I/O wait",
            steal_s="steal",
            idle_s="idle",
        ),
    ),
    Form(
        title="Accepted to the logs",
        unit="MB/s",
        scale=MB,
        sources=(
            *_each("kafka", "log_bytes"),
            Source(component="kafka", metrics=("leader_log_bytes",), label="leaders, all"),
        ),
    ),
    Form(
        title="Disk bytes",
        unit="MB/s",
        scale=MB,
        sources=(
            *_named("disk", write_bytes="device writes", read_bytes="device reads"),
            Source(component="kafka", metrics=("write_bytes",), label="brokers dirtied"),
            Source(component="kafka", metrics=("read_bytes",), label="brokers read"),
        ),
    ),
    Form(
        title="Disk operations",
        unit="per second",
        scale=1,
        sources=_named("disk", write_ops="writes", read_ops="reads"),
    ),
    Form(
        title="Requests answered by brokers",
        unit="per second",
        scale=1,
        sources=_named(
            "kafka",
            produce_requests="Produce",
            follower_fetch_requests="Fetch of followers",
            consumer_fetch_requests="Fetch of consumers",
        ),
    ),
    _inside_brokers("Produce requests in brokers", "produce"),
    _inside_brokers("Followers' Fetch requests in brokers", "follower_fetch"),
    _inside_brokers("Consumers' Fetch requests in brokers", "consumer_fetch"),
    Form(title="JVM compilers at work", unit="threads", scale=1, sources=_each("kafka", "compile_s")),
    Form(title="Idle request handlers", unit="share", scale=1, sources=_each("kafka", "request_handler_idle_s")),
    Form(title="Idle network threads", unit="threads", scale=1, sources=_each("kafka", "network_thread_idle_s")),
    Form(
        title="Queues of brokers",
        unit="number",
        scale=1,
        sources=_named("kafka", request_queue_size="requests", response_queue_size="answers"),
    ),
    Form(
        title="Replicas out of sync",
        unit="number",
        scale=1,
        sources=_named("kafka", under_replicated_partitions="partitions", isr_shrinks="shrinks per second"),
    ),
    Form(
        title="Small requests under way",
        unit="share of time",
        scale=1,
        sources=_named(
            "paths",
            through_s="through both sidecars",
            past_s="past the client's",
            direct_s="at the broker",
            refused_s="network alone",
        ),
    ),
    Form(
        title="Small requests",
        unit="per second",
        scale=1,
        sources=_named(
            "paths",
            through_requests="through both sidecars",
            past_requests="past the client's",
            direct_requests="at the broker",
            refused_requests="network alone",
        ),
    ),
    Form(title="Packets sent", unit="per second", scale=1, sources=_each("net", "tx_packets")),
    Form(title="Packets received", unit="per second", scale=1, sources=_each("net", "rx_packets")),
    Form(title="Network bytes sent", unit="MB/s", scale=MB, sources=_each("net", "tx_bytes")),
    Form(title="Network bytes received", unit="MB/s", scale=MB, sources=_each("net", "rx_bytes")),
    Form(
        title="TCP segments, loopback included",
        unit="per second",
        scale=1,
        sources=_named("net", tcp_out_segments="sent", tcp_in_segments="received", tcp_retransmits="retransmitted"),
    ),
    Form(
        title="TCP segments on the wire",
        unit="per second",
        scale=1,
        sources=_named("net", tcp_wire_out_segments="sent", tcp_wire_in_segments="received"),
    ),
    Form(
        title="Payload through sidecars",
        unit="MB/s",
        scale=MB,
        sources=_named(
            "sidecar",
            inbound_rx_bytes="in, received",
            inbound_tx_bytes="in, sent",
            outbound_rx_bytes="out, received",
            outbound_tx_bytes="out, sent",
        ),
    ),
    Form(title="Sidecar connections", unit="open", scale=1, sources=_each("sidecar", "connections")),
    Form(title="Age of sidecars", unit="s", scale=1, sources=_each("sidecar", "uptime_s")),
    Form(
        title="Until sidecars' certificates expire",
        unit="h",
        scale=HOUR_S,
        sources=_each("sidecar", "certificate_left_s"),
    ),
    Form(
        title="Bytes through gateways, encrypted",
        unit="MB/s",
        scale=MB,
        sources=_named("gateway", forwarded_rx_bytes="in", forwarded_tx_bytes="back"),
    ),
    Form(
        title="Gateway connections",
        unit="open",
        scale=1,
        sources=_named("gateway", connections="open", refused_connections="refused"),
    ),
    Form(
        title="Waiting",
        unit="share of time",
        scale=1,
        sources=(
            *_named(
                "psi",
                cpu_some_s="some for CPU",
                io_some_s="some for I/O",
                io_full_s="all for I/O",
                memory_some_s="some for memory",
            ),
            *_named("disk", busy_s="disk busy"),
        ),
    ),
    Form(
        title="Waiting of brokers and sidecars",
        unit="share of time",
        scale=1,
        sources=(
            *_each("kafka", "cpu_stalled_s", suffix=" broker, for CPU"),
            *_each("kafka", "io_stalled_s", suffix=" broker, for I/O"),
            *_each("sidecar", "cpu_stalled_s", suffix=" sidecar, for CPU"),
            *_each("sidecar", "io_stalled_s", suffix=" sidecar, for I/O"),
        ),
    ),
    Form(
        title="CPU quotas",
        unit="per second",
        scale=1,
        sources=(
            *_each("kafka", "cpu_throttled_s", suffix=" broker held back, s"),
            *_each("sidecar", "cpu_throttled_s", suffix=" sidecar held back, s"),
            *_each("kafka", "cpu_throttled_periods", suffix=" broker, periods used up"),
            *_each("kafka", "cpu_periods", suffix=" broker, periods"),
        ),
    ),
    Form(title="Written to disks of brokers' own", unit="MB/s", scale=MB, sources=_each("volume", "write_bytes")),
    Form(title="What limited disks may take", unit="MB/s", scale=MB, sources=_each("volume", "limit_bytes_s")),
    Form(
        title="Writes to disks of brokers' own",
        unit="operations/s",
        scale=1,
        sources=(
            *_each("volume", "write_ops", suffix=", done"),
            *_each("volume", "limit_ops_s", suffix=", may take"),
        ),
    ),
    Form(title="Bandwidth of limited links", unit="MB/s", scale=MB, sources=_each("net", "link_bytes_s")),
    Form(
        title="Packets at limited links",
        unit="per second",
        scale=1,
        sources=_named("net", queued_packets="waited", dropped_packets="dropped"),
    ),
    Form(
        title="Bytes between clusters",
        unit="MB/s",
        scale=MB,
        sources=_named("relay", forward_bytes="forward", back_bytes="back"),
    ),
    Form(
        title="Packets between clusters",
        unit="per second",
        scale=1,
        sources=_named(
            "relay", carried_packets="carried", lost_packets="lost as asked", dropped_packets="dropped at the queue"
        ),
    ),
    Form(
        title="Dirty pages",
        unit="MB",
        scale=MB,
        sources=_named("memory", dirty_bytes="dirty", writeback_bytes="being written"),
    ),
    Form(title="Resident memory", unit="MB", scale=MB, sources=_components("memory_rss_bytes")),
    Form(
        title="Memory and space of the machine",
        unit="GB",
        scale=GB,
        sources=(
            *_named("memory", available_bytes="memory free", cached_bytes="page cache"),
            *_named("disk", free_bytes="disk free"),
        ),
    ),
    Form(title="Threads", unit="number", scale=1, sources=_components("threads")),
    Form(
        title="Context switches",
        unit="per second",
        scale=1,
        sources=_named("cpu", context_switches="machine"),
    ),
)
"""The order of a round's page. Every metric of the record is on some panel."""


def panels(samples: Sequence[Sample], origin_s: float) -> list[Panel]:
    """Panels that have anything to show."""
    if len(samples) < 2:
        return []
    picked = _thinned(samples, [sample.time_s for sample in samples])
    series = _Series(picked)
    times = tuple(round(sample.time_s - origin_s, 2) for sample in picked)
    made = (_panel(form, series, times) for form in FORMS)
    return [panel for panel in made if panel is not None]


def load_panel(intervals: Sequence[LoadInterval], origin_s: float) -> Panel | None:
    """What the load workers reported: rates of records."""
    if len(intervals) < 2:
        return None
    picked = _thinned(intervals, [each.time_s for each in intervals])
    steps = _Steps([each.time_s for each in picked])
    counts = {
        "acknowledged": [float(each.totals.acknowledged) for each in picked],
        "consumed": [float(each.totals.consumed) for each in picked],
        "failed or unknown": [float(each.totals.failed + each.totals.unknown) for each in picked],
    }
    lines = {
        label: steps.rates(list(values)) for label, values in counts.items() if label == "acknowledged" or values[-1]
    }
    return Panel(
        title="Messages",
        unit="per second",
        times_s=tuple(round(each.time_s - origin_s, 2) for each in picked),
        lines=tuple(Line(label=label, values=_rounded(values, 1)) for label, values in lines.items()),
    )


def _panel(form: Form, series: _Series, times: tuple[float, ...]) -> Panel | None:
    lines, silent = [], []
    for label, values in _lines(form, series):
        if all(value is None for value in values):
            continue
        if any(values):
            lines.append(Line(label=label, values=_rounded(values, form.scale)))
        else:
            silent.append(label)
    if not lines and not silent:
        return None
    return Panel(title=form.title, unit=form.unit, times_s=times, lines=tuple(lines), silent=tuple(silent))


def _lines(form: Form, series: _Series) -> Iterator[tuple[str, Values]]:
    for source in form.sources:
        if source.label:
            yield source.label, series.sum(series.hosts(source.component), source)
        else:
            for host in series.hosts(source.component):
                yield f"{host}{source.suffix}", series.sum((host,), source)


class _Steps:
    """The steps between neighbouring readings, and which of them are holes."""

    def __init__(self, times: Sequence[float]) -> None:
        self._seconds = [after - before for before, after in pairwise(times)]
        self._hole = HOLE * median(self._seconds)

    def rates(self, readings: Values) -> Values:
        """The first reading has no rate."""
        found: Values = [None]
        for (before, after), seconds in zip(pairwise(readings), self._seconds, strict=True):
            if before is None or after is None or after < before or not 0 < seconds <= self._hole:
                found.append(None)
            else:
                found.append((after - before) / seconds)
        return found


class _Series:
    """Samples by key."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._steps = _Steps([sample.time_s for sample in samples])
        keys = sorted({key for sample in samples for key in sample.values})
        self._hosts: dict[str, list[str]] = {}
        for key in keys:
            host, component, _ = key.split("/", 2)
            known = self._hosts.setdefault(component, [])
            if host not in known:
                known.append(host)

    def hosts(self, component: str) -> Sequence[str]:
        return self._hosts.get(component, ())

    def sum(self, hosts: Iterable[str], source: Source) -> Values:
        """The sum of what is known at each time; None where nothing is."""
        columns = [self._values(f"{host}/{source.component}/{metric}") for host in hosts for metric in source.metrics]
        return [_sum(row) for row in zip(*columns, strict=True)] if columns else []

    def _values(self, key: str) -> Values:
        readings: Values = [sample.values.get(key) for sample in self._samples]
        return self._steps.rates(readings) if METRICS[key.rsplit("/", 1)[1]].kind == "counter" else readings


def _sum(row: Sequence[float | None]) -> float | None:
    known = [value for value in row if value is not None]
    return sum(known) if known else None


def _thinned(rows: Sequence[T], times_s: Sequence[float]) -> Sequence[T]:
    """Readings a fair step apart, POINTS_MAX at most. Between those on the clock others were read at the edges of
    windows; over a few milliseconds the ticks of CPU counters would be spikes of many CPUs."""
    shortest = median(after - before for before, after in pairwise(times_s)) / 2
    kept: list[T] = []
    last = -math.inf
    for row, time_s in zip(rows, times_s, strict=True):
        if time_s - last >= shortest:
            kept.append(row)
            last = time_s
    return kept[:: -(-len(kept) // POINTS_MAX)]


def _rounded(values: Values, scale: float) -> tuple[float | None, ...]:
    """Four significant digits: more than a picture or a reader takes."""
    return tuple(None if value is None else float(f"{value / scale:.4g}") for value in values)

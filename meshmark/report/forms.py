"""What a round's panels show, in the order of the page: which metrics of which component make which lines."""

from __future__ import annotations

from dataclasses import dataclass

from meshmark.units import GB, MB

HOUR_S = 3_600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Lines made of the metrics of one component: one line of their sum for each host, or, with a label, one of all
    hosts together. `per`: divided by the sum of these. A component that ends in a colon stands for all whose names
    begin so, each with a line of its own."""

    component: str
    metrics: tuple[str, ...]
    label: str = ""
    suffix: str = ""
    per: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        return self.component.endswith(":")


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


PROCESSES = {
    "kafka": "brokers",
    "sidecar": "sidecars",
    "gateway": "gateways",
    "client": "clients",
    "meshmark": "meshmark",
    "relay": "links",
}
ONE = {"kafka": "broker"}
LINKS = {"relay": "", "netem": ", by the kernel"}


def _components(*metrics: str, suffix: str = "") -> tuple[Source, ...]:
    return tuple(
        Source(component=name, metrics=metrics, label=f"{label}{suffix}") for name, label in PROCESSES.items()
    )


def _waiting(*components: str) -> tuple[Source, ...]:
    return tuple(
        Source(component=name, metrics=(f"{kind}_stalled_s",), suffix=f" {ONE.get(name, name)}, for {what}")
        for name in components
        for kind, what in (("cpu", "CPU"), ("io", "I/O"))
    )


def _quotas() -> tuple[Source, ...]:
    """Of what a profile, or an explanation of limits, gives less CPU; `quota` is all of them together."""
    told = {"throttled_s": "held back, s", "throttled_periods": "periods used up", "periods": "periods"}
    return tuple(
        Source(component=name, metrics=(f"cpu_{metric}",), suffix=f" {ONE.get(name, name)}, {what}")
        for name in ("kafka", "sidecar", "gateway", "client", "quota")
        for metric, what in told.items()
    )


def _between_clusters(**labels: str) -> tuple[Source, ...]:
    return tuple(
        Source(component=maker, metrics=(metric,), label=f"{label}{how}")
        for maker, how in LINKS.items()
        for metric, label in labels.items()
    )


def _mean_wait(component: str, suffix: str = "") -> tuple[Source, ...]:
    return tuple(
        Source(component=component, metrics=(f"{kind}_wait_s",), per=(f"{kind}_ops",), suffix=f"{suffix}, {kind}s")
        for kind in ("read", "write")
    )


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
        title="Each CPU of the machine",
        unit="share of time",
        scale=1,
        sources=(*_each("core:", "used_s"), *_each("core:", "softirq_s", suffix=", in softirq")),
    ),
    Form(
        title="CPU of the kernel's threads and of other processes",
        unit="CPUs",
        scale=1,
        sources=(
            Source(component="kernel", metrics=("cpu_user_s", "cpu_system_s"), label="kernel"),
            Source(component="others", metrics=("cpu_user_s", "cpu_system_s"), label="others, all"),
            *_each("others:", "cpu_user_s", "cpu_system_s"),
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
        sources=_named("disk", write_bytes="device writes", read_bytes="device reads"),
    ),
    Form(
        title="Disk operations",
        unit="per second",
        scale=1,
        sources=_named("disk", write_ops="writes", read_ops="reads"),
    ),
    Form(
        title="Storage bytes of processes",
        unit="MB/s",
        scale=MB,
        sources=(*_components("write_bytes", suffix=" dirtied"), *_components("read_bytes", suffix=" read")),
    ),
    Form(
        title="Disks busy",
        unit="share of time",
        scale=1,
        sources=(*_named("disk", busy_s="under the logs"), *_each("volume", "busy_s")),
    ),
    Form(
        title="Mean time of a disk's operation",
        unit="ms",
        scale=1e-3,
        sources=(*_mean_wait("disk"), *_mean_wait("volume", suffix=", own disk")),
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
    Form(
        title="CPU of JVM compilers",
        unit="CPUs",
        scale=1,
        sources=_each("kafka", "compilers_cpu_user_s", "compilers_cpu_system_s"),
    ),
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
        sources=_named(
            "psi",
            cpu_some_s="some for CPU",
            io_some_s="some for I/O",
            io_full_s="all for I/O",
            memory_some_s="some for memory",
        ),
    ),
    Form(title="Waiting of brokers and sidecars", unit="share of time", scale=1, sources=_waiting("kafka", "sidecar")),
    Form(
        title="Waiting of clients, gateways, links and meshmark",
        unit="share of time",
        scale=1,
        sources=_waiting("client", "gateway", "relay", "meshmark"),
    ),
    Form(title="CPU quotas", unit="per second", scale=1, sources=_quotas()),
    Form(
        title="Bytes of disks of brokers' own",
        unit="MB/s",
        scale=MB,
        sources=(*_each("volume", "write_bytes", suffix=", written"), *_each("volume", "read_bytes", suffix=", read")),
    ),
    Form(title="What limited disks may take", unit="MB/s", scale=MB, sources=_each("volume", "limit_bytes_s")),
    Form(
        title="Operations of disks of brokers' own",
        unit="operations/s",
        scale=1,
        sources=(
            *_each("volume", "write_ops", suffix=", writes"),
            *_each("volume", "limit_ops_s", suffix=", writes it may take"),
            *_each("volume", "read_ops", suffix=", reads"),
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
        sources=_between_clusters(forward_bytes="forward", back_bytes="back"),
    ),
    Form(
        title="Packets between clusters",
        unit="per second",
        scale=1,
        sources=_between_clusters(
            carried_packets="carried", lost_packets="lost as asked", dropped_packets="dropped at the queue"
        ),
    ),
    Form(
        title="Packets between clusters, by direction",
        unit="per second",
        scale=1,
        sources=_between_clusters(
            forward_carried_packets="carried forward",
            forward_lost_packets="lost forward",
            forward_dropped_packets="dropped forward",
            back_carried_packets="carried back",
            back_lost_packets="lost back",
            back_dropped_packets="dropped back",
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
        title="Memory of the machine",
        unit="GB",
        scale=GB,
        sources=_named(
            "memory",
            total_bytes="memory",
            available_bytes="available",
            unused_bytes="used for nothing",
            cached_bytes="page cache",
            buffers_bytes="buffers",
            anonymous_bytes="of processes",
            slab_bytes="of the kernel",
            swap_total_bytes="swap",
            swap_free_bytes="swap free",
        ),
    ),
    Form(
        title="Space of file systems",
        unit="GB",
        scale=GB,
        sources=(
            *_named("disk", size_bytes="under the logs", used_bytes="used", free_bytes="free"),
            *_each("volume", "size_bytes", suffix=", own disk"),
            *_each("volume", "used_bytes", suffix=", used"),
            *_each("volume", "free_bytes", suffix=", free"),
        ),
    ),
    Form(title="Threads", unit="number", scale=1, sources=_components("threads")),
    Form(
        title="Events of the machine",
        unit="per second",
        scale=1,
        sources=_named("cpu", context_switches="context switches", interrupts="interrupts", forks="forks"),
    ),
    Form(
        title="Tasks of the machine",
        unit="number",
        scale=1,
        sources=_named(
            "cpu",
            runnable_tasks="runnable",
            blocked_tasks="blocked",
            load_1m="average of 1 min",
            load_5m="of 5 min",
            load_15m="of 15 min",
        ),
    ),
    Form(
        title="Page faults and swapping",
        unit="per second",
        scale=1,
        sources=_named(
            "memory",
            page_faults="page faults",
            major_page_faults="that had to read",
            swapped_in_pages="pages from swap",
            swapped_out_pages="pages to swap",
        ),
    ),
    Form(
        title="Waiting for the device under the logs",
        unit="operations",
        scale=1,
        sources=_named("disk", read_wait_s="reads, mean", write_wait_s="writes, mean", operations="in flight"),
    ),
    Form(
        title="Waiting for disks of brokers' own",
        unit="operations",
        scale=1,
        sources=(
            *_each("volume", "read_wait_s", suffix=", reads"),
            *_each("volume", "write_wait_s", suffix=", writes"),
            *_each("volume", "operations", suffix=", in flight"),
        ),
    ),
    Form(
        title="Errors and drops at hosts' interfaces",
        unit="packets per second",
        scale=1,
        sources=(
            *_each("net", "rx_errors", "tx_errors", suffix=", errors"),
            *_each("net", "rx_drops", "tx_drops", suffix=", drops"),
        ),
    ),
    Form(
        title="TCP sockets",
        unit="number",
        scale=1,
        sources=(
            *_each("net", "tcp_sockets"),
            *_each("net", "tcp_established", suffix=", connections open"),
            *_each("net", "tcp_time_wait_sockets", suffix=", closing"),
        ),
    ),
    Form(
        title="Errors of TCP",
        unit="per second",
        scale=1,
        sources=_named(
            "net",
            tcp_retransmits="segments sent again",
            tcp_in_errors="received with errors",
            tcp_out_resets="resets sent",
            tcp_reset_connections="connections reset",
        ),
    ),
)
"""The order of a round's page. Every metric of every component of the record is on some panel."""

"""What happened: frozen values, written by the run as they occur, read by everything after it.

Base units only: seconds, bytes, messages. Times named `*_at` are Unix seconds; series use the machine's
monotonic clock (`time_s`), and `Started.clock_offset_s` joins the two.

A *counter key* is `HOST/COMPONENT/METRIC`, e.g. `broker-1/kafka/cpu_user_s`. `HOST` is a lab host
(`broker-1`, `client-1`) or `machine`. METRICS lists every metric.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from meshmark.plan import DataPlane, Model
from meshmark.units import percent

SCHEMA_VERSION = 2

LATE_SHARE_MAX = 0.01
"""Of records that the generator handed over more than 10 ms late although there was room: above, its own delays are a
part of the 99th percentile. Below 10 ms a loop on a machine whose cores brokers share is late now and then."""


class Metric(NamedTuple):
    kind: Literal["counter", "gauge"]
    unit: str
    meaning: str


METRICS: dict[str, Metric] = {
    # of a process component: kafka, sidecar, client (all load workers of that host), meshmark; and of the machine's
    # kernel (threads), others, others:NAME
    "cpu_user_s": Metric("counter", "s", "user CPU time"),
    "cpu_system_s": Metric("counter", "s", "system CPU time, softirq inside it where the kernel does not split it"),
    "memory_rss_bytes": Metric("gauge", "bytes", "resident memory"),
    "threads": Metric("gauge", "threads", "threads"),
    "read_bytes": Metric("counter", "bytes", "bytes the component caused to be read from storage"),
    "write_bytes": Metric("counter", "bytes", "bytes the component dirtied for storage (not yet on the device)"),
    # of component kafka
    "log_bytes": Metric("counter", "bytes", "size of the broker's log segments: bytes accepted to the log"),
    "leader_log_bytes": Metric("counter", "bytes", "the same, of the partitions that this broker leads"),
    # of component kafka, as the broker itself says; times are sums over requests, each rounded to whole milliseconds
    "produce_requests": Metric("counter", "requests", "Produce requests answered"),
    "produce_queue_s": Metric("counter", "s", "Produce requests, summed: waited for a request handler"),
    "produce_local_s": Metric("counter", "s", "Produce requests, summed: handled by the broker itself"),
    "produce_remote_s": Metric(
        "counter", "s", "Produce requests, summed: waited for others: followers, or data to fetch"
    ),
    "produce_throttle_s": Metric(
        "counter", "s", "Produce requests, summed: quota delay told to the client; not a part of the total"
    ),
    "produce_response_queue_s": Metric(
        "counter", "s", "Produce requests, summed: answers waited for a network thread"
    ),
    "produce_response_send_s": Metric("counter", "s", "Produce requests, summed: answers were being sent"),
    "produce_total_s": Metric(
        "counter", "s", "Produce requests, summed: from the request having been read to its answer having been sent"
    ),
    "follower_fetch_requests": Metric("counter", "requests", "followers' Fetch requests answered"),
    "follower_fetch_queue_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: waited for a request handler"
    ),
    "follower_fetch_local_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: handled by the broker itself"
    ),
    "follower_fetch_remote_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: waited for others: followers, or data to fetch"
    ),
    "follower_fetch_throttle_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: quota delay told to the client; not a part of the total"
    ),
    "follower_fetch_response_queue_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: answers waited for a network thread"
    ),
    "follower_fetch_response_send_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: answers were being sent"
    ),
    "follower_fetch_total_s": Metric(
        "counter",
        "s",
        "followers' Fetch requests, summed: from the request having been read to its answer having been sent",
    ),
    "consumer_fetch_requests": Metric("counter", "requests", "consumers' Fetch requests answered"),
    "consumer_fetch_queue_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: waited for a request handler"
    ),
    "consumer_fetch_local_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: handled by the broker itself"
    ),
    "consumer_fetch_remote_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: waited for others: followers, or data to fetch"
    ),
    "consumer_fetch_throttle_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: quota delay told to the client; not a part of the total"
    ),
    "consumer_fetch_response_queue_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: answers waited for a network thread"
    ),
    "consumer_fetch_response_send_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: answers were being sent"
    ),
    "consumer_fetch_total_s": Metric(
        "counter",
        "s",
        "consumers' Fetch requests, summed: from the request having been read to its answer having been sent",
    ),
    "request_handler_idle_s": Metric("counter", "s", "idle time of the request handlers, mean of the threads"),
    "network_thread_idle_s": Metric("counter", "s", "idle time of the clients' network threads, summed"),
    "request_queue_size": Metric("gauge", "requests", "requests that wait for a handler"),
    "response_queue_size": Metric("gauge", "answers", "answers that wait for a network thread"),
    "under_replicated_partitions": Metric("gauge", "partitions", "led here, with a replica out of sync"),
    "isr_shrinks": Metric("counter", "shrinks", "replicas that fell out of sync"),
    # of component sidecar
    "inbound_rx_bytes": Metric("counter", "bytes", "received from peers for the application behind the sidecar"),
    "inbound_tx_bytes": Metric("counter", "bytes", "sent to peers for the application behind the sidecar"),
    "outbound_rx_bytes": Metric("counter", "bytes", "received by the application's own connections, payload side"),
    "outbound_tx_bytes": Metric("counter", "bytes", "sent by the application's own connections, payload side"),
    "connections": Metric("gauge", "connections", "open downstream connections, inbound and outbound"),
    # of component paths of a client host: small requests of meshmark's own, all brokers together, while they are sent
    "through_s": Metric("counter", "s", "request and answer as an application's, through both sidecars, summed"),
    "through_requests": Metric("counter", "requests", "answered on that way"),
    "past_s": Metric("counter", "s", "the same past the client's sidecar, through the broker's, summed"),
    "past_requests": Metric("counter", "requests", "answered on that way"),
    "direct_s": Metric("counter", "s", "the same within the broker's host, past all sidecars, summed"),
    "direct_requests": Metric("counter", "requests", "answered on that way"),
    "refused_s": Metric("counter", "s", "a connection to the broker's host until its kernel refused it, summed"),
    "refused_requests": Metric("counter", "requests", "connections refused"),
    # of component net: the host's interface to the others (HOST), or the bridge
    "rx_bytes": Metric("counter", "bytes", "received on the host's interface"),
    "tx_bytes": Metric("counter", "bytes", "sent on the host's interface"),
    "rx_packets": Metric("counter", "packets", "offload super-packets received, as the interface counts them"),
    "tx_packets": Metric("counter", "packets", "offload super-packets sent, as the interface counts them"),
    "tcp_out_segments": Metric("counter", "segments", "TCP segments sent by the host's kernel, loopback included"),
    "tcp_in_segments": Metric("counter", "segments", "TCP segments received by the host's kernel, loopback included"),
    "tcp_wire_out_segments": Metric(
        "counter", "segments", "TCP segments sent over the host's interface, by its sockets"
    ),
    "tcp_wire_in_segments": Metric("counter", "segments", "TCP segments received over it, by its sockets"),
    "tcp_retransmits": Metric("counter", "segments", "TCP segments retransmitted"),
    # of machine/cpu; the parts add up to elapsed x CPUs
    "user_s": Metric("counter", "s", "user time, niced included, guest not counted twice"),
    "system_s": Metric("counter", "s", "system time"),
    "softirq_s": Metric("counter", "s", "softirq time as the kernel books it: an 'of which' where it is not split"),
    "irq_s": Metric("counter", "s", "hard interrupt time"),
    "idle_s": Metric("counter", "s", "idle time"),
    "iowait_s": Metric("counter", "s", "idle with I/O outstanding"),
    "steal_s": Metric("counter", "s", "time the hypervisor gave to others"),
    "elapsed_s": Metric("counter", "s", "monotonic clock at the moment the times above were read"),
    "context_switches": Metric("counter", "switches", "context switches"),
    # of machine/memory
    "available_bytes": Metric("gauge", "bytes", "memory available without swapping"),
    "cached_bytes": Metric("gauge", "bytes", "page cache"),
    "dirty_bytes": Metric("gauge", "bytes", "dirty page cache"),
    "writeback_bytes": Metric("gauge", "bytes", "page cache being written back"),
    # of machine/disk: the device under the brokers' logs (read_bytes, write_bytes as above, but at the device)
    "read_ops": Metric("counter", "operations", "reads completed by the device"),
    "write_ops": Metric("counter", "operations", "writes completed by the device"),
    "busy_s": Metric("counter", "s", "time with at least one operation in flight"),
    "free_bytes": Metric("gauge", "bytes", "free space of the logs' file system"),
    # of machine/psi, where the kernel has it
    "cpu_some_s": Metric("counter", "s", "time some task waited for a CPU"),
    "io_some_s": Metric("counter", "s", "time some task waited for I/O"),
    "io_full_s": Metric("counter", "s", "time all tasks waited for I/O"),
    "memory_some_s": Metric("counter", "s", "time some task waited for memory"),
}

Counters = dict[str, float]


class Sample(Model):
    """One reading of every probe, one line of a round's series. A key that could not be read is absent."""

    time_s: float
    values: Counters


class HostFacts(Model):
    """The machine that the lab ran on."""

    hostname: str
    kernel: str
    cpu_model: str
    cpus: int
    memory_bytes: int
    cgroup: str
    file_system: str
    privileges: str
    features: dict[str, bool]


class Versions(Model):
    """What ran: names as the projects print them."""

    meshmark: str
    python: str
    kafka: str
    java: str
    envoy: str
    librdkafka: str


class Started(Model):
    """First record of a run."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_at: float
    clock_offset_s: float = Field(description="Unix time minus monotonic time of this machine")
    command: tuple[str, ...]
    effort: str = Field(description="quick, default or full")
    scenarios_selected: tuple[str, ...]
    host: HostFacts
    versions: Versions


class Finished(Model):
    """Last record of a run; absent after a crash."""

    finished_at: float
    outcome: Literal["complete", "interrupted", "failed"]
    error: str = ""
    rounds_done: int
    rounds_planned: int


class DiskProbe(Model):
    """Sequential writes of `write_bytes` to the brokers' file system."""

    tool: str
    mode: Literal["buffered", "synced"]
    write_bytes: int
    rate_bytes_s: float
    seconds: float
    repeat: int


class NetworkProbe(Model):
    """TCP payload from a client host to a broker host."""

    tool: str
    path: Literal["direct", "sidecars", "sidecars-mtls"]
    flows: int
    rate_bytes_s: float
    seconds: float
    repeat: int


class Proof(Model):
    """One thing shown about the path before load, e.g. STRICT mTLS at one broker."""

    name: str
    host: str
    holds: bool
    detail: str


NOT_ACCEPTED = "_NOT_ACCEPTED"
"""The error name of records that an open load gave up when it was stopped, before the client had room for them."""


class LoadTotals(Model):
    """Accounting of records; `offered = acknowledged + failed + unknown + outstanding` always holds.

    In open loop a record is offered when its intended time comes, whether the client has room for it or not; until it
    has, it is outstanding. In closed loop it is offered when the client takes it."""

    offered: int = 0
    acknowledged: int = 0
    failed: int = 0
    unknown: int = Field(0, description="timed out: may or may not be stored")
    outstanding: int = 0
    acknowledged_bytes: int = Field(0, description="payload: record values, before replication")
    consumed: int = 0
    consumed_bytes: int = 0
    unstamped: int = Field(0, description="consumed records without a send time of this load: no end-to-end latency")
    negative: int = Field(0, description="latencies below zero, in no histogram: clocks that differ")
    errors: dict[str, int] = Field(default_factory=dict, description="error name -> records, failed and unknown")

    @property
    def not_accepted(self) -> int:
        """Of the failed: given up at the stop, never sent. Backlog of the system, not an error of it."""
        return self.errors.get(NOT_ACCEPTED, 0)

    @property
    def closed(self) -> bool:
        return self.offered == self.acknowledged + self.failed + self.unknown + self.outstanding

    def __add__(self, other: LoadTotals) -> LoadTotals:
        return self._combine(other, 1)

    def __sub__(self, other: LoadTotals) -> LoadTotals:
        return self._combine(other, -1)

    def _combine(self, other: LoadTotals, sign: int) -> LoadTotals:
        names = [name for name in type(self).model_fields if name != "errors"]
        errors = {
            kind: self.errors.get(kind, 0) + sign * other.errors.get(kind, 0)
            for kind in sorted({*self.errors, *other.errors})
        }
        sums = {name: getattr(self, name) + sign * getattr(other, name) for name in names}
        return LoadTotals(**sums, errors={kind: count for kind, count in errors.items() if count})


class Latency(Model):
    """Durations from the intended send to the acknowledgement, or to the consumer (end to end).

    Quantiles are upper ends of HdrHistogram buckets (at most 0.1 % too high); null when nothing was counted."""

    count: int
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    p99_9_s: float | None
    max_s: float | None
    histogram: str = Field(description="HdrHistogram of microseconds, V2 compressed, base64; empty: no values")


class Lateness(Model):
    """By how much the load generator itself was late with records that the client had room for. What a full client
    queue holds back is not in it: that is the system's backlog."""

    records: int = Field(description="handed to the client")
    late_1ms: int = Field(description="by more than that")
    late_10ms: int = Field(description="by more than that")
    max_s: float | None
    histogram: str = Field(description="as in Latency")

    @property
    def late_share(self) -> float:
        """Of records handed over more than 10 ms late."""
        return self.late_10ms / self.records if self.records else 0.0

    @property
    def fault(self) -> str:
        """Why a window with this lateness says nothing about the system; empty when it does."""
        if self.late_share <= LATE_SHARE_MAX:
            return ""
        return (
            f"the load generator was more than 10 ms late with {percent(self.late_share)} of the records, at most "
            f"{self.max_s or 0:.3g} s; give it CPU of its own, or a lower rate"
        )


class LoadInterval(Model):
    """What the load workers reported for one interval, summed. Latencies and lateness are null in closed loop, which
    has no intended times."""

    time_s: float
    clients: int
    totals: LoadTotals = Field(description="cumulative since the trial began")
    latency: Latency | None = Field(None, description="of the records acknowledged in this interval")
    end_to_end: Latency | None = Field(None, description="of the records consumed in this interval")
    lateness: Lateness | None = Field(None, description="in this interval")
    lag: int | None = Field(None, description="acknowledged, times consumer groups, less consumed; null: no groups")


class BatchFill(Model):
    """What batching gave in the window, from the client library's own statistics."""

    records_per_batch: float | None
    bytes_per_batch: float | None
    requests: int
    request_bytes: int = Field(description="bytes of all requests that the producers sent, headers included")


class HopTime(Model):
    """One part of the mean latency of a window; the parts of a trial, the last of which is what no other explains, add
    up to it. So a part may be below zero: it then overlaps others by so much, or is smaller than its own error."""

    hop: str
    mean_s: float
    count: int = Field(description="records, requests or answers that the mean is of")
    source: str


class PathCheck(Model):
    """Does a sidecar's own byte counter explain what Kafka moved? `error` = counted / expected - 1."""

    host: str
    direction: Literal["inbound_rx", "inbound_tx", "outbound_rx", "outbound_tx"]
    expected_bytes: float
    counted_bytes: float
    error: float
    explained: str


class Point(Model):
    """Counts since the load began, all load workers together."""

    time_s: float
    offered: int
    acknowledged: int
    outstanding: int


Purpose = Literal["search", "equal-load"]


class Trial(Model):
    """A rate held in open loop for one window. Counters are read at both edges of the window and, with nothing in
    flight, before the load started and after it drained (`quiet_*`)."""

    round_index: int
    scenario: str
    repeat: int
    number: int = Field(description="from 1, within the round")
    purpose: Purpose
    share: float | None = Field(None, description="of equal-load: of the lowest scenario's ceiling")
    phase: str = Field("", description="of search: bracket, refine or confirm")
    target: str = Field("", description="of search: the ceiling that it is to tell about")
    clients: int
    connections: int
    offered_msg_s: float = Field(description="the schedule's mean rate")
    started_s: float
    ended_s: float
    window_start_s: float
    window_end_s: float
    window: LoadTotals
    total: LoadTotals
    series: tuple[Point, ...] = Field(description="within the window, its edges included")
    latency: Latency | None = Field(None, description="of the records acknowledged in the window")
    end_to_end: Latency | None = Field(None, description="of the records consumed in the window")
    lateness: Lateness | None = Field(None, description="of the generator in the window")
    priority: str = Field("", description="of the threads that paced an open loop: SCHED_RR 1, nice -10 or normal")
    batch: BatchFill
    counters_start: Counters
    counters_end: Counters
    quiet_start: Counters
    quiet_end: Counters
    path: tuple[PathCheck, ...] = ()
    hops: tuple[HopTime, ...] = Field((), description="mean latency by hop; empty: not taken")
    faults: tuple[str, ...] = Field((), description="why it says nothing about the system, the generator apart")

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is invalid."""
        late = self.lateness.fault if self.lateness else ""
        return (*self.faults, late) if late else self.faults

    @property
    def valid(self) -> bool:
        return not self.reasons

    @property
    def errors(self) -> int:
        """Records that failed or whose fate is unknown; what the client never took is not among them."""
        return self.total.failed + self.total.unknown - self.total.not_accepted

    @property
    def seconds(self) -> float:
        return self.window_end_s - self.window_start_s

    @property
    def rate_msg_s(self) -> float:
        return self.window.acknowledged / self.seconds

    def delta(self, key: str, *, absent: float | None = None) -> float | None:
        """Growth of a counter over the window; None where it was not read. `absent` is the value at the start of a
        counter that is made only when it has something to count."""
        start = self.counters_start.get(key, absent)
        return None if start is None or key not in self.counters_end else self.counters_end[key] - start


class StopCheck(Model):
    """A stop of known length, and whether the load generator's own figures show it as arithmetic says."""

    target: Literal["load worker", "broker"]
    host: str
    value: Literal["latency", "end-to-end latency"]
    seconds: float = Field(description="that it surely stood still")
    above_s: float = Field(description="half the stop that was asked for; longer latencies are counted")
    low: int = Field(description="so many records must have a longer one")
    high: int = Field(description="so many can")
    counted: int
    caught_up: bool = Field(description="the backlog of the stop was gone when this was counted")

    @property
    def holds(self) -> bool:
        return self.low <= self.counted <= self.high


class SelfTest(Model):
    """What the load generator made of stops that it was not told about. A run is refused where it does not hold."""

    round_index: int
    scenario: str
    time_s: float
    seconds: float = Field(description="that it took")
    rate_msg_s: float = Field(description="offered, at even distances")
    queue_records: int = Field(description="for which the client has room")
    checks: tuple[StopCheck, ...]
    totals: LoadTotals
    contradictions: tuple[str, ...] = Field((), description="of its accounts at the end")

    @property
    def holds(self) -> bool:
        return not self.contradictions and all(check.holds for check in self.checks)

    @property
    def conclusive(self) -> bool:
        return all(check.caught_up for check in self.checks)


class RoundStarted(Model):
    index: int
    scenario: str
    repeat: int
    data_plane: DataPlane
    started_at: float
    time_s: float


class RoundFinished(Model):
    index: int
    finished_at: float
    time_s: float
    startup_s: float
    warmup_rates_msg_s: tuple[float, ...] = ()
    encrypted_hops: tuple[str, ...]
    plain_hops: tuple[str, ...]


class Event(Model):
    """Something worth a line in the log of a run."""

    time_s: float
    level: Literal["info", "warning", "error"]
    phase: str
    text: str

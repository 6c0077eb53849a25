"""What happened: frozen values, written by the run as they occur, read by everything after it.

Base units only: seconds, bytes, messages. Times named `*_at` are Unix seconds; series use the machine's
monotonic clock (`time_s`), and `Started.clock_offset_s` joins the two.

A *counter key* is `HOST/COMPONENT/METRIC`, as `broker-1/kafka/cpu_user_s` (all: `metrics.py`); HOST may be `machine`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.data_plane import DataPlane, NetworkPath
from meshmark.plan import Plan
from meshmark.read_back import ReadBack
from meshmark.units import percent
from meshmark.values import Model

SCHEMA_VERSION = 2

LATE_SHARE_MAX = 0.01
"""Of records handed over more than 10 ms late although there was room: above, the generator's own delays are a part of
the 99th percentile. Below, a loop that shares cores with brokers is late now and then."""

Counters = dict[str, float]


class Sample(Model):
    """One reading of every probe, one line of a round's series. A key that could not be read is absent."""

    time_s: float
    values: Counters = Field(description="`HOST/COMPONENT/METRIC` -> value")


class Limit(Model):
    """A cap on one resource of one host, held for as long as a trial lasted."""

    host: str = Field(description="`machine`, of cpu: brokers, sidecars and load workers together")
    resource: Literal["cpu", "disk", "operations", "network"]
    amount: float = Field(gt=0, description="CPUs; disk: bytes/s; operations: writes/s; network: bytes/s each way")
    component: Literal["kafka", "sidecar", "client"] = Field("kafka", description="of cpu: whose processes")


class Tightened(Model):
    """What there was less of in a trial. Trials of one block stand beside each other; one of them had everything."""

    block: int = Field(description="from 1")
    limit: Limit | None = Field(None, description="null: nothing was taken away")
    available: float | None = Field(None, description="how much there is otherwise, in the limit's unit")

    @property
    def share(self) -> float:
        """By which part of what there is."""
        return 1 - self.limit.amount / self.available if self.limit and self.available else 0.0


class HostFacts(Model):
    """The machine that the lab ran on."""

    hostname: str
    kernel: str = Field(description="its release")
    cpu_model: str
    cpus: int = Field(description="of the whole machine")
    cpus_allowed: int | None = Field(None, description="that this process may run on; null: not recorded")
    memory_bytes: int = Field(description="of the whole machine")
    cgroup: str = Field(description="v1 or v2")
    file_system: str = Field(description="under the brokers' logs")
    privileges: str = Field(description="root or user namespace")
    features: dict[str, bool] = Field(description="what of the kernel the lab could use, and the like")


class Versions(Model):
    """What ran: names as the projects print them."""

    meshmark: str
    python: str
    kafka: str
    java: str
    envoy: str
    librdkafka: str
    proxies: dict[str, str] = Field({}, description="of other meshes than Istio's sidecars: linkerd, ztunnel")
    operator: str = Field("none", description="that made the brokers, with the version that it says; none: meshmark")


class Started(Model):
    """First record of a run."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_at: float
    clock_offset_s: float = Field(description="Unix time minus monotonic time of this machine")
    command: tuple[str, ...] = Field(description="as it was given")
    effort: str = Field(description="quick, default or full")
    scenarios_selected: tuple[str, ...] = Field(description="those of the plan, or of `--only`")
    host: HostFacts
    versions: Versions
    estimator: int = Field(1, description="of ceilings, by which it chose what to offer")


class Finished(Model):
    """Last record of a run; absent after a crash."""

    finished_at: float
    outcome: Literal["complete", "interrupted", "failed"]
    error: str = Field("", description="what ended it early; empty: nothing did")
    rounds_done: int = Field(description="those that ended whole")
    rounds_planned: int
    sharp: bool = Field(False, description="ended before its last repeat: every loss was known as well as asked")

    def repeats(self, plan: Plan) -> int:
        """Those that were to be: the plan's, or as many as were enough."""
        return self.rounds_done // len(plan.scenarios) if self.sharp else plan.repeats


class DiskProbe(Model):
    """Writes of `write_bytes` to the brokers' file system; direct: over what is there, past the page cache."""

    tool: str = Field(description="which program measured")
    mode: Literal["buffered", "synced", "direct"]
    write_bytes: int = Field(description="of each write")
    rate_bytes_s: float
    seconds: float
    repeat: int = Field(description="from 1")


class NetworkProbe(Model):
    """TCP payload from a client host to a broker host."""

    tool: str = Field(description="which program measured")
    path: NetworkPath = Field(description="what the flows pass")
    flows: int = Field(description="TCP connections at once")
    rate_bytes_s: float
    seconds: float
    repeat: int = Field(description="from 1")


class LinkProbe(Model):
    """The way from one cluster to another, as asked for and as found between two hosts, past sidecars. Under load,
    round trips hold what queues on the way, too. Null: not asked for, or not probed."""

    source: str = Field(description="a cluster")
    target: str = Field(description="a cluster")
    kind: Literal["netem", "relay", "simulated", "found"] = Field(description="what made the way; found: nothing did")
    trial: int | None = Field(None, description="at the end of whose load; null: before any load")
    asked_rtt_s: float = Field(description="of a way that was found: by the plan, and not made")
    rtt_s: float | None = Field(description="median, as kernels stamped answers; found: of handshakes between pods")
    rtt_min_s: float | None = Field(None, description="null: not recorded, or as below")
    rtt_max_s: float | None
    asked_loss: float = Field(0, description="share of packets, in this direction")
    packets_sent: int = Field(0, description="to see how many are lost")
    packets_lost: int = Field(0, description="of these")
    asked_bandwidth_bytes_s: float | None = None
    bandwidth_bytes_s: float | None = Field(None, description="bytes of IP packets a second, of several TCP flows")
    congestion_control: str = Field("", description="of the hosts' TCP")
    tcp_memory_bytes: tuple[int, int] | None = Field(None, description="a socket's own most, to receive and to send")


class Outage(Model):
    """A link that was down while a trial's load was offered: nothing new entered it in either direction."""

    trial: int = Field(description="its number within the round")
    link: str = Field(description="as the plan names it")
    began_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


class Prediction(Model):
    """What a scenario was going to carry, said before its first round by the law of those it differs from in RTT."""

    time_s: float
    scenario: str
    rtt_s: float = Field(description="asked for, between the farthest two clusters with brokers")
    rate_msg_s: float = Field(description="its ceiling")
    low_msg_s: float = Field(description="95 % interval of a single life's ceiling")
    high_msg_s: float | None = Field(description="null: open")
    law_of: tuple[str, ...] = Field(description="scenarios")
    lives: int = Field(description="of clusters, of these scenarios")
    errors: Literal["relative", "log"] = Field("relative", description="of rates, whose squares are least in the law")


class Proof(Model):
    """One thing shown about the path before load, e.g. STRICT mTLS at one broker."""

    name: str = Field(description="what is shown")
    host: str = Field(description="the broker that was asked")
    hop: str = Field("", description="with a port of its own, e.g. broker-broker; empty: all at the port of clients")
    holds: bool
    detail: str = Field(description="what was seen")


NOT_ACCEPTED = "_NOT_ACCEPTED"
"""The error name of records that an open load gave up when it was stopped, before the client had room for them."""


class LoadTotals(Model):
    """Accounting of records; `offered = acknowledged + failed + unknown + outstanding` always holds.

    In open loop a record is offered when its intended time comes, whether the client has room for it or not; until it
    has, it is outstanding. In closed loop it is offered when the client takes it."""

    offered: int = Field(0, description="came due")
    acknowledged: int = 0
    failed: int = Field(0, description="are not stored")
    unknown: int = Field(0, description="timed out: may or may not be stored")
    outstanding: int = Field(0, description="without an answer yet")
    acknowledged_bytes: int = Field(0, description="payload: record values, before replication")
    consumed: int = Field(0, description="read by consumers, of all groups together")
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
        kinds = sorted({*self.errors, *other.errors})
        errors = {kind: self.errors.get(kind, 0) + sign * other.errors.get(kind, 0) for kind in kinds}
        sums = {name: getattr(self, name) + sign * getattr(other, name) for name in names}
        return LoadTotals(**sums, errors={kind: count for kind, count in errors.items() if count})


class Latency(Model):
    """Durations from the intended send to the acknowledgement, or to the consumer (end to end).

    Quantiles are upper ends of HdrHistogram buckets (at most 0.1 % too high); null when nothing was counted."""

    count: int = Field(description="records")
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
    """What the load workers reported for one interval, summed. In closed loop latencies and lateness are null."""

    time_s: float
    clients: int = Field(description="load workers that produce")
    totals: LoadTotals = Field(description="cumulative since the trial began")
    latency: Latency | None = Field(None, description="of the records acknowledged in this interval")
    end_to_end: Latency | None = Field(None, description="of the records consumed in this interval")
    lateness: Lateness | None = Field(None, description="in this interval")
    lag: int | None = Field(None, description="acknowledged, times consumer groups, less consumed; null: no groups")


class BatchFill(Model):
    """What batching gave in the window, from the client library's own statistics."""

    records_per_batch: float | None
    bytes_per_batch: float | None
    requests: int = Field(description="of the producers")
    request_bytes: int = Field(description="bytes of all requests that the producers sent, headers included")


class HopTime(Model):
    """One part of the mean latency of a window; the parts of a trial, the last of which is what no other explains, add
    up to it. So a part may be below zero: it then overlaps others by so much, or is smaller than its own error."""

    hop: str = Field(description="which part")
    mean_s: float
    count: int = Field(description="records, requests or answers that the mean is of")
    source: str = Field(description="what measured it")


class PathCheck(Model):
    """Does a sidecar's own byte counter explain what Kafka moved?"""

    host: str
    direction: Literal["inbound_rx", "inbound_tx", "outbound_rx", "outbound_tx"] = Field(description="which counter")
    expected_bytes: float = Field(description="by what Kafka moved; 0: all of it goes past the sidecar")
    counted_bytes: float = Field(description="by the sidecar")
    error: float = Field(description="counted / expected - 1; nothing expected: counted, as a share of what went past")
    explained: str = Field(description="in words: the terms of what was expected")


class Point(Model):
    """Counts since the load began, all load workers together."""

    time_s: float
    offered: int
    acknowledged: int
    outstanding: int

    @classmethod
    def of(cls, time_s: float, load: LoadTotals) -> Point:
        return cls(time_s=time_s, offered=load.offered, acknowledged=load.acknowledged, outstanding=load.outstanding)


Purpose = Literal["search", "equal-load", "fixed-load", "explain"]


class Trial(Model):
    """A rate held in open loop for one window. Counters are read at its edges and, in `quiet_*`, around the load."""

    round_index: int
    scenario: str
    repeat: int
    number: int = Field(description="from 1, within the round")
    purpose: Purpose
    share: float | None = Field(None, description="of equal-load: of the lowest ceiling after repeat 1")
    phase: Literal["", "bracket", "refine", "confirm"] = Field("", description="of search")
    target: str = Field("", description="of search: the ceiling that it is to tell about")
    tightened: Tightened | None = Field(None, description="of explain")
    clients: int = Field(description="load workers that produce")
    connections: int = Field(description="of producers")
    offered_msg_s: float = Field(description="the schedule's mean rate")
    started_s: float = Field(description="its first quiet reading")
    ended_s: float = Field(description="after its last quiet reading")
    window_start_s: float
    window_end_s: float
    window: LoadTotals = Field(description="of the window alone")
    total: LoadTotals = Field(description="of the whole load")
    series: tuple[Point, ...] = Field(description="within the window, its edges included")
    latency: Latency | None = Field(None, description="of the records acknowledged in the window")
    end_to_end: Latency | None = Field(None, description="of the records consumed in the window")
    end_to_end_error_s: float | None = Field(0, description="of these, by clocks; null: unknown")
    lateness: Lateness | None = Field(None, description="of the generator in the window")
    priority: str = Field("", description="of the load workers' threads, and of those that paced an open loop")
    batch: BatchFill
    counters_start: Counters = Field(description="the reading at the start of the window")
    counters_end: Counters = Field(description="the reading at its end")
    quiet_start: Counters = Field(description="the reading before the load")
    quiet_end: Counters = Field(description="the reading after it drained")
    path: tuple[PathCheck, ...] = Field((), description="empty: no sidecars")
    read_back: tuple[ReadBack, ...] = Field((), description="by consumers; empty: there were none, or not recorded")
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
        """Growth over the window; None: not read. `absent`: the start of a counter that is made once it counts."""
        start = self.counters_start.get(key, absent)
        return None if start is None or key not in self.counters_end else self.counters_end[key] - start


WorkKind = Literal["crypto", "copy", "network", "kernel", "jvm", "user", "unknown"]
"""Of a component's CPU time: ciphers, hashes and TLS; copying of memory; the kernel's network; the kernel's rest;
compilers and collectors of a JVM; other code with a name; code without one."""


class CpuSamples(Model):
    """How often one component was found at one kind of work."""

    component: str = Field(description="`HOST/COMPONENT`, as in counter keys")
    kind: WorkKind
    samples: int


class CpuProfile(Model):
    """What `perf` found on all CPUs in the window of one trial."""

    trial: int = Field(description="its number within the round")
    hz: int = Field(description="samples a second of each CPU")
    expected: int = Field(description="samples of all CPUs in the window, idle ones too")
    idle: int = Field(description="samples in which a CPU had nothing to do")
    samples: tuple[CpuSamples, ...]
    unknown_in: dict[str, int] = Field(description="program or library -> samples of the kind `unknown` in it")


class StopCheck(Model):
    """A stop of known length, and whether the load generator's own figures show it as arithmetic says."""

    target: Literal["load worker", "broker"]
    host: str = Field(description="where it was")
    value: Literal["latency", "end-to-end latency"]
    seconds: float = Field(description="that it surely stood still")
    above_s: float = Field(description="half the stop that was asked for; longer latencies are counted")
    low: int = Field(description="so many records must have a longer one")
    high: int = Field(description="so many can")
    counted: int = Field(description="records that have a longer one")
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
    answer_required: bool = Field(False, description="a run without an answer ends; false: recorded before that")

    @property
    def holds(self) -> bool:
        return not self.contradictions and all(check.holds for check in self.checks)

    @property
    def conclusive(self) -> bool:
        return all(check.caught_up for check in self.checks)


class RoundStarted(Model):
    index: int = Field(description="from 1, its place in the run")
    scenario: str
    repeat: int = Field(description="of the scenario, from 1")
    data_plane: DataPlane
    started_at: float
    time_s: float


class RoundFinished(Model):
    index: int
    finished_at: float
    time_s: float
    startup_s: float = Field(description="from the start of the cluster until it was ready")
    warmup_rates_msg_s: tuple[float, ...] = Field((), description="of each second")
    warmup_compiling: tuple[float, ...] = Field((), description="of each second: compilers' share of brokers' CPU")
    limited_rates_msg_s: tuple[float, ...] = Field((), description="of each second, in closed loop under limits")
    encrypted_hops: tuple[str, ...] = Field(description="as the data plane is made; proofs show it")
    encrypted_by: dict[str, str] = Field({}, description="hop -> who encrypts it; empty: recorded before it was told")
    plain_hops: tuple[str, ...] = Field(description="those that nothing encrypts")


class Event(Model):
    """Something worth a line in the log of a run."""

    time_s: float
    level: Literal["info", "warning", "error"]
    phase: str = Field(description="which part of the run, or which round")
    text: str

"""The shape of a summary: what `-o json` prints, what tables and HTML show.

Values only; `summary.py` computes them. Keys are snake_case. Base units (seconds, bytes, messages), and 'per MB' and
'per GB' mean 10^6 and 10^9 bytes of payload acknowledged, before replication. A value that was not measured, or that
cannot be known, is null, never 0. Whoever changes a meaning or removes a key raises SUMMARY_VERSION.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.account_model import Account
from meshmark.analysis.environment_model import AgainstEnvironment
from meshmark.analysis.hardware_model import HardwareSummary
from meshmark.analysis.node_model import NodeCpu, ReadingSpread
from meshmark.analysis.selftest_model import SelfTestSummary
from meshmark.analysis.settings_model import SettingApart
from meshmark.analysis.stats import Estimate
from meshmark.analysis.steadiness_model import SteadyState
from meshmark.analysis.value import Value
from meshmark.analysis.wan_model import Binding, LinkSummary, MtlsCost, OutageSummary, SettingTried, WanSummary
from meshmark.data_plane import DataPlane, NetworkPath
from meshmark.plan import Plan
from meshmark.record import CpuProfile, Finished, HopTime, PathCheck, Proof, Purpose, Started, WorkKind

SUMMARY_VERSION = 4
ESTIMATOR = 2
"""Raised when the same record gives other ceilings; reports by another estimator are told so and not judged. 1, which
reports without the key have, took a backlog at a window's end for a lack of capacity in all of it."""

Verdict = Literal["baseline", "slower", "faster", "cannot tell", "no ceiling", "no data"]


class Interval(Value):
    """A 95 % confidence interval."""

    low: float
    high: float

    @classmethod
    def of(cls, estimate: Estimate) -> Interval | None:
        """None where there are too few values for one."""
        if estimate.low is None or estimate.high is None:
            return None
        return cls(low=estimate.low, high=estimate.high)


class CpuPerGb(Value):
    """CPU seconds per GB of payload acknowledged, by component, all hosts of that component summed."""

    brokers: float | None = Field(None, description="the brokers' JVMs without their compilers, where those are known")
    compilers: float | None = Field(
        None, description="the JIT compilers of the brokers' JVMs, which work until a broker is warm; null: not known"
    )
    sidecars: float | None = Field(None, description="the proxies of all hosts; null where the data plane has none")
    gateways: float | None = Field(None, description="the proxies before clusters of the mesh; null without")
    clients: float | None = Field(None, description="the load workers")
    meshmark: float | None = Field(None, description="the conductor, its sampler included")
    kernel: float | None = Field(None, description="kernel threads; null where they cannot be seen")
    others: float | None = Field(None, description="processes outside meshmark")
    relays: float | None = Field(None, description="relays that stand for links between clusters; null without")
    unattributed: float | None = Field(None, description="the machine's total less all components; never booked")
    machine: float | None = Field(None, description="elapsed x CPUs - idle - iowait - steal")


class LedgerLine(Value):
    """One component of one host, by what it used as user and in the kernel."""

    host: str = Field(description="a host, gateway-CLUSTER, link-A-B, or `machine`")
    component: str = Field(
        description="kafka (its compilers included), sidecar, gateway, client, meshmark, relay, kernel, others, "
        "others:NAME (within others)"
    )
    user_s_per_gb: float
    system_s_per_gb: float


class WorkSplit(Value):
    """CPU seconds per GB acknowledged of one component, by kind of work: counted in all, shared out by samples."""

    component: str = Field(description="brokers, sidecars, gateways, clients, meshmark, kernel, others or relays")
    samples: int
    s_per_gb: dict[WorkKind, float] | None = Field(
        description="crypto: ciphers, hashes, TLS; copy: of memory; network and kernel: the kernel's network, and its "
        "rest; jvm: compilers, collectors; user: other code with a name; unknown: without one. null: CPU not known"
    )


class CpuSplit(Value):
    """What CPU time goes into, by samples of the windows that `cpu_s_per_gb` is of."""

    windows: int = Field(description="of repeats, that were sampled")
    hz: int = Field(description="samples a second of each CPU")
    busy_share: float | None = Field(description="of all samples; to be near `machine_cpu_share`")
    components: tuple[WorkSplit, ...]
    unknown_in: dict[str, int] = Field(description="program or library -> samples of the kind `unknown` in it")


class Traffic(Value):
    """Bytes of one path as predicted from records, batches, replication and readers, and as counted."""

    path: str = Field(description="log, produce, replicate, consume, HOST sends, HOST receives")
    counter: str = Field(description="what counted it")
    predicted_bytes: float
    slack_bytes: float = Field(
        description="what may come on top and cannot be predicted: fetch requests, small TLS records"
    )
    counted_bytes: float | None
    error: float | None = Field(description="counted / predicted - 1")
    holds: bool | None = Field(description="within 2 % and the slack; null: not counted, or too little to judge")
    explained: str


class Evidence(Value):
    """How much of one resource was used in the window."""

    resource: str = Field(description="machine CPU, disk, broker-1/kafka CPU quota, broker-1 request handlers, ...")
    host: str = Field("machine", description="whose resource, or `machine`: of all hosts together")
    share: float = Field(description="0 idle .. 1 all of it")
    limit: float | None = Field(description="from this share on the resource is said to limit; null: never by itself")
    text: str = Field(description="what it is a share of")
    may_wait: bool = Field(
        False, description="may be busy because of another resource's limit: named only where no other is at its limit"
    )


class Elasticity(Value):
    """What taking a part of one resource away did to what was carried."""

    resource: str = Field(description="machine CPU, broker-1/kafka CPU, broker-1 disk, client-1 network, ...")
    host: str = Field(description="whose, or `machine`: of brokers, sidecars and load workers together")
    available: float = Field(description="how much there is: CPUs, or bytes a second")
    amount: float = Field(description="how much was left")
    lost: float = Field(description="share of what was carried, mean of the blocks")
    elasticity: float = Field(description="lost / share taken away: 1 goes with the resource, 0 there is enough")
    interval: Interval | None = Field(description="over the blocks; null with fewer than two")
    blocks: int
    limits: bool


class Explanation(Value):
    """What limits, by experiment: short overloaded trials in blocks, one resource tightened in each."""

    limited_by: tuple[str, ...] = Field(description="several: they cannot be told apart; or 'unknown'")
    text: str
    blocks: int = Field(description="that have a trial with nothing taken away which counts")
    carried_msg_s: float | None = Field(description="mean of these trials")
    elasticities: tuple[Elasticity, ...] = Field(description="largest first")


class Figures(Value):
    """What the trial showed that stands for a repeat (that whose rate is nearest to the repeat's ceiling), or the mean
    over the valid repeats. Rates per second of a repeat are as measured in that trial, at `measured_msg_s`. Those of a
    scenario are at `rate_msg_s`: the repeats', each times `rate_msg_s` / `measured_msg_s`; as measured where there is
    no ceiling."""

    rate_msg_s: float | None = Field(None, description="the ceiling: records acknowledged a second")
    measured_msg_s: float | None = Field(
        None, description="records acknowledged a second in the trial that stands for the repeat; their mean"
    )
    payload_bytes_s: float | None = Field(None, description="record values acknowledged a second")
    consumed_msg_s: float | None = Field(None, description="records read by all consumers a second; null: none")
    disk_bytes_s_per_broker: float | None = Field(None, description="growth of the brokers' logs, replicas included")
    device_bytes_s_per_broker: float | None = Field(
        None, description="written by the device below all logs, divided by the brokers; lags and is null on tmpfs"
    )
    packets_s: float | None = Field(None, description="offload super-packets sent on all hosts' interfaces")
    packets_per_mb: float | None = Field(None, description="the same per MB of payload acknowledged")
    packet_bytes: float | None = Field(None, description="mean size of such a packet")
    tcp_segments_per_mb: float | None = Field(
        None, description="TCP segments that all hosts' kernels sent, loopback hops to and from sidecars included"
    )
    wire_segments_per_mb: float | None = Field(
        None,
        description="TCP segments that all hosts sent over their interfaces: packets as they are without offloads",
    )
    cpu_s_per_gb: CpuPerGb = CpuPerGb()
    cpu_user_s_per_gb: CpuPerGb = CpuPerGb()
    cpu_system_s_per_gb: CpuPerGb = Field(CpuPerGb(), description="softirq and hard interrupts inside")
    softirq_s_per_gb: float | None = Field(None, description="'of which' of the machine; never added to anything")
    unattributed_share: float | None = Field(None, description="of the machine's busy time; above 0.1 is unusable")
    machine_cpu_share: float | None = Field(None, description="busy part of all CPUs, 0..1")
    steal_share: float | None = Field(None, description="part of all CPUs that the hypervisor gave to others")
    records_per_batch: float | None = None
    bytes_per_batch: float | None = None


class LatencyFigures(Value):
    """Seconds from the intended send; null where nothing was counted."""

    p50_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None
    p99_9_s: float | None = None
    max_s: float | None = None


class TrialSummary(Value):
    """One offered load, whether it counts or not."""

    number: int
    purpose: Purpose
    phase: str
    target: str
    share: float | None
    seconds: float
    offered_msg_s: float
    rate_msg_s: float = Field(description="acknowledged in the window")
    records: Account
    verdict: str = Field(description="of a search's trial: carried, not carried, unclear, client or invalid")
    growth: float | None = Field(description="of the backlog, as a share of the offered rate")
    latency: LatencyFigures
    end_to_end: LatencyFigures
    late_share: float | None = Field(description="records that the generator itself sent more than 10 ms late")
    valid: bool
    reasons: tuple[str, ...] = Field(description="why it is invalid")
    stands: bool = Field(description="this trial's figures stand for its repeat")


class RepeatSummary(Figures):
    """One round."""

    round_index: int
    repeat: int
    valid: bool = Field(description="it has a trial that counts")
    chosen: str = Field(description="which trial stands for the repeat, or why there is none")
    clients: int | None = None
    connections: int | None = None
    trials: tuple[TrialSummary, ...] = Field(description="but for those that explain, which `explanation` sums up")
    path: tuple[PathCheck, ...] = Field((), description="of the trial that stands for the repeat")
    traffic: tuple[Traffic, ...] = Field((), description="of the trial that stands for it, from its start to its end")
    ledger: tuple[LedgerLine, ...] = Field((), description="of the trial that stands for it: CPU by host")
    cpu_profile: CpuProfile | None = Field(None, description="samples of that trial's window; null: not taken")
    proofs: tuple[Proof, ...] = ()
    limited_by: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    startup_s: float | None = None
    warmup_rates_msg_s: tuple[float, ...] = ()
    limited_rates_msg_s: tuple[float, ...] = ()


class CeilingSummary(Value):
    """The highest rate that most trials carry while they meet one threshold, or why there is none."""

    target: str = Field(description="any latency, or a service level")
    rate_msg_s: float | None
    interval: Interval | None
    reason: str | None = Field(description="unstable; not reached: ...; missed at ...; not enough trials")
    noise: float | None = Field(description="how much it differs from trial to trial: standard deviation, share")
    explained: str


class Change(Value):
    """Seconds more than the baseline at the same load, paired by repeat."""

    mean_s: float
    interval: Interval | None = Field(description="null with fewer than two pairs")
    pairs: int


class EqualLoad(Value):
    """Latency while all scenarios with the same baseline are offered the same rate."""

    share: float = Field(description="of the lowest ceiling of all scenarios with the same baseline, after repeat 1")
    offered_msg_s: float
    repeats_valid: int
    latency: LatencyFigures = Field(description="mean of the repeats' quantiles")
    end_to_end: LatencyFigures
    end_to_end_error_s: float | None = Field(0, description="by clocks of several machines, at most; null: unknown")
    negative: int = Field(0, description="values below zero of all repeats, which are in no latency")
    unstamped: int = Field(0, description="records of somebody else that consumers read, in no latency either")
    added_p50: Change | None = Field(description="null for the baseline, and without a pair")
    added_p99: Change | None
    added_p99_9: Change | None
    hops: tuple[HopTime, ...] = Field((), description="mean latency by hop, mean of the repeats; residual last")
    cpu_s_per_gb: CpuPerGb = Field(description="at this load")


class ScenarioSummary(Figures):
    """One row of the table: means over the valid repeats."""

    name: str
    data_plane: DataPlane
    baseline: str = Field(description="the scenario that it is compared with; its own name: it is one")
    repeats_planned: int
    repeats_valid: int
    rate_interval: Interval | None = Field(description="of the ceiling, from the search over all repeats")
    ceilings: tuple[CeilingSummary, ...] = Field(description="any latency first, then each service level")
    trials_counted: int = Field(description="trials of the search that count")
    search_ended: str
    equal_loads: tuple[EqualLoad, ...]
    rate_spread: float | None = Field(description="(largest - smallest) / mean of repeats' ceilings; null below two")
    loss_vs_plain: float | None = Field(description="1 - rate / rate of `baseline`; null: unknown")
    loss_interval: Interval | None = Field(description="from the intervals of both rates; null below two repeats")
    verdict: Verdict
    verdict_text: str
    encrypted_hops: tuple[str, ...] = Field(description="where all proofs hold; with plain_hops empty: not known")
    encrypted_by: dict[str, str] = Field({}, description="hop -> who encrypts it; empty: not recorded")
    plain_hops: tuple[str, ...]
    limited_by: tuple[str, ...] = Field(description="resources near their limit in most repeats, or 'unknown'")
    evidence: tuple[Evidence, ...] = Field(description="of every resource looked at, the mean of the repeats")
    explanation: Explanation | None = Field(None, description="by experiment; null: not asked for, or not reached")
    ledger: tuple[LedgerLine, ...] = Field((), description="CPU by host, the mean of the repeats")
    cpu_split: CpuSplit | None = Field(None, description="CPU by kind of work, of all repeats; null: not sampled")
    repeats: tuple[RepeatSummary, ...]


class Mean(Value):
    """A mean over repeats."""

    mean: float
    interval: Interval | None = Field(description="null with fewer than two repeats")
    repeats: int


class AddedCpu(Value):
    """CPU seconds per GB more than the baseline, paired by repeat; null without a pair."""

    brokers: Mean | None
    sidecars: Mean | None = Field(description="all of theirs, where the baseline has none")
    clients: Mean | None
    together: Mean | None = Field(description="of these three; null where a proxy is the node's, in none of them")


class SensitivityPoint(Value):
    """One value of a factor: a scenario against its baseline, both with the same workload. From `cpu_s_per_gb` on,
    all is of the trials at the fixed load."""

    value: str = Field(description="of the factor, as a person would say it")
    scenario: str
    baseline: str
    client: str = Field(description="of the producers: librdkafka or raw")
    load_bytes_s: float | None = Field(description="payload that both were offered; null: the plan says none")
    repeats: int = Field(description="in which both carried the load")
    left_out: tuple[str, ...] = Field(description="trials at the load that do not count, and why")
    loss: float | None = Field(description="1 - ceiling / ceiling of the baseline; null: unknown")
    loss_interval: Interval | None
    rate_msg_s: float | None = Field(None, description="the ceiling")
    baseline_rate_msg_s: float | None = None
    disk_bytes_s_per_broker: float | None = Field(
        None, description="growth of a broker's logs at the ceiling; in trials where it is not known"
    )
    baseline_disk_bytes_s_per_broker: float | None = None
    limited_by: tuple[str, ...] = Field((), description="at the ceiling, as far as utilisation tells")
    baseline_limited_by: tuple[str, ...] = ()
    cpu_s_per_gb: CpuPerGb
    baseline_cpu_s_per_gb: CpuPerGb
    added_cpu_s_per_gb: AddedCpu
    packets_per_mb: float | None
    baseline_packets_per_mb: float | None
    records_per_batch: float | None = Field(description="that resulted, with the data plane")
    baseline_records_per_batch: float | None = Field(description="and with the baseline's")
    bytes_per_batch: float | None = Field(description="with the data plane, compressed where that was asked for")
    sidecar_memory_bytes: float | None = Field(description="resident, all sidecars, at the end of the window")
    sidecar_connections: float | None = Field(description="open then, as all sidecars count those that come to them")


class Sensitivity(Value):
    """A sweep: what a data plane costs, by the value of one factor, all else the same."""

    factor: str = Field(description="record size, batch fill, compression, connections, disk cap, place of the logs")
    data_plane: DataPlane
    baseline_data_plane: DataPlane
    points: tuple[SensitivityPoint, ...] = Field(description="from the least value to the largest")
    hidden_to: str | None = Field(
        None, description="of disk caps, the last one up to which disks limit both sides and no loss is told"
    )
    apart_from: str | None = Field(None, description="of disk caps, the first one from which on a loss is told")
    memory_bytes_per_connection: Mean | None = Field(
        description="of sidecars, from the fewest connections to the most; null where their number is not varied"
    )


class DistancePoint(Value):
    """One distance, as measured and as the law has it."""

    scenario: str
    rtt_s: float = Field(description="of the farthest two clusters with brokers, as found before load")
    rate_msg_s: float = Field(description="mean ceiling of the lives of its clusters")
    lives: int
    held_out: bool = Field(description="in no fit; its prediction was recorded before its first round")
    fitted_msg_s: float | None = Field(description="by the law; null where it has no rate there")
    predicted_msg_s: float | None = Field(
        description="of one that is held out: as recorded before; else by a fit to all others that are not"
    )
    predicted_interval: Interval | None = Field(description="of one that is held out; null: open, or not held out")
    error: float | None = Field(description="predicted / measured - 1")


class DistanceLaw(Value):
    """1 / rate = 1 / rate_at_zero + RTT x message size / bytes_per_rtt, fitted to one data plane's ceilings. Null: the
    rate does not fall with the RTT, or its interval is open."""

    data_plane: DataPlane
    rate_at_zero_msg_s: float | None
    rate_at_zero_interval: Interval | None
    bytes_per_rtt: float | None = Field(description="payload that may be under way in one round trip")
    bytes_per_rtt_interval: Interval | None
    points: tuple[DistancePoint, ...] = Field(description="the nearest first")


class DiskCeiling(Value):
    """What the file system of the brokers' logs took."""

    mode: Literal["buffered", "synced", "direct"]
    tool: str
    write_bytes: int
    rate_bytes_s: float = Field(description="mean of the repeats")
    spread: float | None = Field(description="(largest - smallest) / mean; null below two repeats")
    repeats: int


class NetworkCeiling(Value):
    """What TCP carried between two hosts, payload bytes."""

    path: NetworkPath
    tool: str
    flows: int
    rate_bytes_s: float
    spread: float | None
    repeats: int
    loss_vs_direct: float | None = Field(description="1 - rate / rate of `direct` with as many flows")
    loss_vs_sidecars: float | None = Field(description="of `sidecars-mtls`: what mTLS alone costs; else null")


class Environment(Value):
    """The ceilings measured before the first round; empty where the plan skips them. And the links between clusters,
    measured in every round."""

    disk: tuple[DiskCeiling, ...]
    network: tuple[NetworkCeiling, ...]
    links: tuple[LinkSummary, ...] = ()


ThresholdVerdict = Literal["held", "broken", "cannot tell"]


class ThresholdSummary(Value):
    """A limit of the plan against what was measured."""

    scenario: str
    name: str
    limit: float = Field(description="the value is to be below: a share for `saturation_loss`, else milliseconds")
    value: float | None
    interval: Interval | None = Field(description="null with fewer than two repeats")
    repeats_counted: int = Field(description="of `saturation_loss`: of the side that has fewer")
    repeats_planned: int
    verdict: ThresholdVerdict = Field(description="held, broken: the whole interval is below, or not below, the limit")
    why: str = Field(description="why it cannot be told; else empty")


class Summary(Value):
    """A run in numbers."""

    schema_version: int = SUMMARY_VERSION
    estimator: int = Field(ESTIMATOR, description="by which ceilings were found: it rises when a record gives others")
    run_id: str
    outcome: Literal["complete", "interrupted", "failed", "unfinished"] = Field(
        description="unfinished: the run has no last record; it crashed or still goes on"
    )
    plan: Plan = Field(description="as asked, camelCase as in plan files")
    started: Started
    finished: Finished | None
    seconds: float | None
    rounds_done: int
    rounds_planned: int
    baseline: str = Field(description="of the plan; scenarios may have their own")
    environment: Environment
    against_environment: tuple[AgainstEnvironment, ...] = Field((), description="results, against that")
    hardware: HardwareSummary | None = Field(None, description="null: the plan has no profile")
    self_test: SelfTestSummary | None = Field(description="of the load generator, before the first trial")
    scenarios: tuple[ScenarioSummary, ...]
    thresholds: tuple[ThresholdSummary, ...] = Field(description="one for each that the plan names")
    distance_laws: tuple[DistanceLaw, ...] = Field((), description="of data planes at three distances or more")
    distance_terms: tuple[Binding, ...] = Field((), description="what binds where brokers are in several clusters")
    mtls: MtlsCost | None = Field(None, description="over distances; null: no like scenario, or no distance")
    settings_tried: tuple[SettingTried, ...] = Field((), description="of Kafka, at a distance, against the baseline")
    wan: tuple[WanSummary, ...] = Field((), description="bytes between clusters, where relays counted them")
    outages: tuple[OutageSummary, ...] = Field((), description="of trials in which links went down")
    nodes: tuple[NodeCpu, ...] = Field((), description="of a cluster, by whom else counts their CPU")
    reading_spreads: tuple[ReadingSpread, ...] = Field((), description="in pods; empty: there were none")
    steadiness: tuple[SteadyState, ...] = Field((), description="whether brokers took evenly what came evenly")
    settings_apart: tuple[SettingApart, ...] = Field((), description="what differs in what ran, by scenario")
    sensitivity: tuple[Sensitivity, ...] = Field(description="one for each factor that the plan varies; mostly none")
    warnings: tuple[str, ...]

    @property
    def repeats(self) -> int:
        """Those that were to be: the plan's, or as many as were enough."""
        return self.finished.repeats(self.plan) if self.finished else self.plan.repeats

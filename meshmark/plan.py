"""What was asked: a Plan, frozen and fully resolved before anything starts.

Keys follow the tools people know: Kafka's configuration names verbatim, OpenMessaging Benchmark's workload
keys (camelCase), Istio's and Linkerd's names for data planes. Reading YAML files and placing errors at their
lines is `planfile.py`; here are only the models and the limits that hold whatever the source.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER, CONTROLLER, HOPS, KAFKA, DataPlane, NetworkPath
from meshmark.topology import MeshCluster, Topology, contradictions
from meshmark.values import Model

RACK_SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
"""Of Kafka (KIP-392): a consumer reads from a replica in its own rack, where there is one."""
LOG_BUDGET_BYTES_MIN = 100_000_000
SCENARIO_NAME_LENGTH = 48

ConfigValue = str | int | float | bool
ClientKind = Literal["librdkafka", "raw"]
Scale = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


Operator = Literal["", "strimzi", "koperator"]
OPERATORS = ("strimzi", "koperator")
TWICE = " in "
"""Between those who encrypt a hop twice, the inner first."""


class ClusterSpec(Model):
    """The system under test, data plane apart."""

    brokers: int = Field(3, ge=1, le=9, description="Kafka brokers, one host and one rack each")
    clients: int = Field(1, ge=1, le=9, description="hosts that load workers run on")
    client_cpus: int = Field(
        0,
        ge=0,
        le=256,
        description="CPUs that load workers alone run on; the cluster has the others. 0: all share all",
    )
    heap_bytes: int = Field(1_073_741_824, ge=268_435_456, description="JVM heap of each broker (-Xms and -Xmx)")
    jvm_options: tuple[str, ...] = Field(("-XX:+UseG1GC",), description="further JVM options of each broker")
    broker_config: dict[str, ConfigValue] = Field(default_factory=dict, description="Kafka broker settings")
    sidecar_concurrency: int = Field(2, ge=1, le=64, description="Envoy worker threads (Istio's `concurrency`)")
    storage: Literal["disk", "ram", "image"] = Field(
        "disk", description="where the logs are: a directory on disk, tmpfs, or a file system of each broker's own"
    )
    disk_write_bytes_s: float | None = Field(
        None,
        ge=100_000,
        le=1e11,
        description="most that each broker's disk takes, instead of the profile's; null: as the profile has it. Goes "
        "with a profile (`unlimited` limits nothing else), and a disk of each broker's own",
    )
    topology: Topology = Field(Topology(), description="where hosts are, and the links between; empty: one place")
    operator: Operator = Field("", description="of Kubernetes alone: who makes the brokers; empty: meshmark does")
    replication_in_mesh: bool = Field(
        False,
        description="of Strimzi, whose brokers encrypt what they send each other whatever the data plane: that passes "
        "the sidecars as well",
    )

    @property
    def listener(self) -> str:
        """What the brokers' listener for clients is called: as meshmark names it, or as Strimzi makes of that."""
        return "CLIENT-9092" if self.operator == "strimzi" else "CLIENT"


KeyDistributor = Literal["NO_KEY", "KEY_ROUND_ROBIN", "RANDOM_NANO"]
"""OpenMessaging Benchmark's names: records without keys, with keys in turn, with keys at random."""
KEY_BYTES = 10
PAYLOAD_BYTES_MAX = 500_000
"""A plan file is not to be larger than a megabyte."""
TOPICS_MAX = PARTITIONS_MAX = 1_000
CONNECTIONS_MAX = 10_000
"""Of one client: what a machine with brokers beside it may hold."""


class Workload(Model):
    """OpenMessaging Benchmark's workload keys, and Kafka's own names for client settings."""

    topics: int = Field(3, ge=1, le=TOPICS_MAX)
    partitions_per_topic: int = Field(3, ge=1, le=PARTITIONS_MAX)
    replication_factor: int = Field(3, ge=1, le=9)
    message_size: int = Field(512, ge=16, le=1_000_000, description="bytes of value")
    random_bytes_ratio: float = Field(1, ge=0, le=1, description="part of each value that is random; zeros follow")
    randomized_payload_pool_size: int = Field(
        0, ge=0, le=1_000_000, description="so many different values; 0: as many as a client keeps (4 MiB)"
    )
    payload_base64: str = Field(
        "",
        max_length=4 * PAYLOAD_BYTES_MAX // 3 + 4,
        description="every value is these messageSize bytes, in base64; empty: made as the two keys above say",
    )
    key_distributor: KeyDistributor = Field(
        "NO_KEY", description="keys of records, of which there are 10,000: none, in turn, or at random"
    )
    workers: int = Field(20, ge=1, le=CONNECTIONS_MAX, description="producer connections of one producing client")
    client: ClientKind = Field(
        "librdkafka", description="of producers; raw: record batches encoded once, at least once, cheap in CPU"
    )
    subscriptions_per_topic: int = Field(0, ge=0, le=64, description="consumer groups that read everything")
    consumer_per_subscription: int = Field(1, ge=1, le=CONNECTIONS_MAX, description="consumers in each group")
    topic_each: bool = Field(
        False, description="each producer connection, and each consumer, has one of the topics; else it has all"
    )
    producers_in: str = Field(
        "", max_length=15, description="the cluster of the topology whose client hosts producers run on; empty: any"
    )
    consumers_in: str = Field(
        "",
        max_length=15,
        description="the same of consumers, which then say that they are in its rack (client.rack); empty: any",
    )
    topic_config: dict[str, ConfigValue] = Field({"min.insync.replicas": 2})
    producer_config: dict[str, ConfigValue] = Field(
        {"acks": "all", "compression.type": "none", "linger.ms": 5, "queue.buffering.max.messages": 2_000}
    )
    consumer_config: dict[str, ConfigValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _payload(self) -> Workload:
        if not self.payload_base64:
            return self
        try:
            found = len(base64.b64decode(self.payload_base64, validate=True))
        except ValueError:
            raise ValueError("payloadBase64 is not base64") from None
        if found != self.message_size:
            raise ValueError(f"payloadBase64 has {found:,} bytes; messageSize says {self.message_size:,}")
        if self.random_bytes_ratio < 1 or self.randomized_payload_pool_size:
            raise ValueError("payloadBase64 says what values are; leave out randomBytesRatio and the pool's size")
        return self

    @property
    def key_bytes(self) -> int:
        return 0 if self.key_distributor == "NO_KEY" else KEY_BYTES

    @property
    def plain_random(self) -> bool:
        """Records have no keys, and values are random throughout."""
        made = self.random_bytes_ratio == 1 and not self.randomized_payload_pool_size and not self.payload_base64
        return made and not self.key_bytes


class Slo(Model):
    """A service level: this quantile of latency, from the intended send to the acknowledgement, is at most so much."""

    quantile: float = Field(0.99, gt=0, lt=1)
    latency_s: Seconds

    @property
    def name(self) -> str:
        return f"p{self.quantile * 100:g} under {self.latency_s * 1e3:g} ms"


class Method(Model):
    """How a scenario's ceiling is found: rates in open loop, chosen by a search that goes on over all repeats."""

    warmup_seconds: Seconds = Field(8, description="load before the first trial, at least: a cold JVM carries half")
    warmup_max_seconds: Seconds = Field(20, description="and at most, if it is not warm by then")
    settle_seconds: float = Field(1.5, ge=0, le=600, description="load of a trial before its window")
    window_seconds: float = Field(
        3.5,
        ge=1.5,
        le=86_400,
        description="length of a trial's measured window; a backlog's growth takes several reports of the workers",
    )
    trials: int = Field(3, ge=1, le=100, description="trials of the search in each round")
    width: float = Field(0.05, gt=0, lt=1, description="an interval as narrow as this (high / low - 1) is sharp")
    slos: tuple[Slo, ...] = Field((), max_length=8, description="service levels whose ceilings are searched as well")
    arrivals: Literal["even", "poisson"] = Field("poisson", description="poisson: as independent users send")
    equal_load: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5,),
        max_length=16,
        description="shares of the lowest ceiling, after repeat 1, of all scenarios that share a baseline, at which "
        "all of them are measured from repeat 2 on",
    )
    load_bytes_s: float | None = Field(
        None, gt=0, le=1e11, description="payload bytes a second that one more trial of every round offers; null: none"
    )


ThresholdQuantile = Literal["p50", "p90", "p99", "p99_9"]
THRESHOLD_NAME = r"^(saturation_loss|latency_ms_(p50|p90|p99|p99_9)@\d{1,2}(\.\d{1,3})?%)$"
THRESHOLD_LIMIT = r"^< ?\d{1,9}(\.\d{1,9})?%?$"


class Threshold(Model):
    """What is to hold of one scenario: less than `limit`, which is a share of the baseline for `saturation_loss`, and
    else milliseconds at an equal load."""

    name: str
    limit: float
    quantile: ThresholdQuantile | None = None
    share: float | None = Field(None, description="of the equal load")

    @classmethod
    def parse(cls, name: str, limit: str) -> Threshold:
        """Of `saturation_loss` and `<15%`, or `latency_ms_p99@50%` and `<50`; ValueError says what is allowed."""
        if not re.fullmatch(THRESHOLD_NAME, name):
            raise ValueError(
                f"there is no threshold {name}; must be saturation_loss, or latency_ms_p99@50% (p50, p90, p99 or "
                "p99_9, at a share of method.equalLoad)"
            )
        is_loss = name == "saturation_loss"
        if not re.fullmatch(THRESHOLD_LIMIT, limit) or limit.endswith("%") != is_loss:
            raise ValueError(
                f"{limit} is not allowed; must be "
                + ("a share of the baseline like <15%" if is_loss else "milliseconds like <50")
            )
        value = float(limit.strip("<% "))
        if is_loss:
            return cls(name=name, limit=value / 100)
        quantile, _, share = name.removeprefix("latency_ms_").removesuffix("%").partition("@")
        return cls.model_validate({"name": name, "limit": value, "quantile": quantile, "share": float(share) / 100})

    def is_at(self, share: float | None) -> bool:
        """Is it about this equal load, however the share was written?"""
        return share is not None and self.share is not None and abs(share - self.share) < 1e-6


class Thresholds(Model):
    """Limits by name, e.g. `saturation_loss: <15%` (against the baseline) or `latency_ms_p99@50%: <50` (milliseconds
    at that equal load); `meshmark run` ends with exit code 1 where one is broken, and 3 where that cannot be told."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": {"pattern": THRESHOLD_NAME}})
    __pydantic_extra__: dict[str, Annotated[str, Field(pattern=THRESHOLD_LIMIT)]]

    @model_validator(mode="after")
    def _understood(self) -> Thresholds:
        self.parsed()
        return self

    def parsed(self) -> tuple[Threshold, ...]:
        return tuple(Threshold.parse(name, limit) for name, limit in self.__pydantic_extra__.items())


class EnvironmentSpec(Model):
    """The environment benchmark before the first round; 0 seconds skips a probe."""

    disk_seconds: float = Field(2, ge=0, le=600)
    network_seconds: float = Field(2, ge=0, le=600)
    flows: int = Field(4, ge=2, le=64, description="TCP flows of the several-flow probe")
    repeats: int = Field(2, ge=1, le=100)


class Scenario(Model):
    """One column of the question: a cluster, a data plane, a workload and a method."""

    name: str = Field(pattern=rf"^[a-z0-9][a-z0-9-]{{0,{SCENARIO_NAME_LENGTH - 1}}}$")
    data_plane: DataPlane
    baseline: str = Field("", description="the scenario that its losses are relative to; empty: the plan's baseline")
    held_out: bool = Field(
        False,
        description="measured after all that are not; its ceiling is predicted before, from those that differ in the "
        "RTT of their links alone, and the prediction recorded",
    )
    cluster: ClusterSpec = ClusterSpec()
    workload: Workload = Workload()
    method: Method = Method()
    thresholds: Thresholds = Thresholds()

    @model_validator(mode="after")
    def _possible(self) -> Scenario:
        if self.workload.replication_factor > self.cluster.brokers:
            raise ValueError(
                f"replicationFactor {self.workload.replication_factor} is above the {self.cluster.brokers} brokers"
            )
        if self.cluster.replication_in_mesh and not self.could_replicate_in_mesh:
            raise ValueError(
                "replicationInMesh is of the operator strimzi, and of data planes whose sidecars carry replication"
            )
        if wrong := list(contradictions(self.cluster.topology, self.cluster.brokers, self.cluster.clients)):
            raise ValueError("; ".join(wrong))
        if self.cluster.topology.gateways() and not self.data_plane.gateways:
            raise ValueError(
                f"gateways tell brokers apart by what mTLS sends first; {self.data_plane} has none between all of them"
            )
        work = self.workload
        for name in (work.producers_in, work.consumers_in):
            if name and not self.cluster.topology.clients(name):
                raise ValueError(f"there is no cluster {name} with client hosts")
        readers = work.consumer_per_subscription if work.subscriptions_per_topic else work.topics
        if work.topic_each and min(work.workers, readers) < work.topics:
            raise ValueError(f"topicEach needs a connection for each of the {work.topics} topics")
        if work.client == "raw" and (work.topic_each or not work.plain_random):
            raise ValueError(
                "the raw client gives each connection all topics, random values, and no keys; use librdkafka"
            )
        return self

    @property
    def reads_nearby(self) -> bool:
        """Do brokers send consumers to a replica in their rack?"""
        selector = str(self.cluster.broker_config.get("replica.selector.class", ""))
        return selector == RACK_SELECTOR and bool(self.workload.consumers_in)

    @property
    def load_hosts(self) -> tuple[str, ...]:
        """Of each load worker, the producers' first and then one for each consumer group: client hosts in turn, or
        those of the cluster that the workload names."""
        work = self.workload
        named = (work.producers_in, *(work.consumers_in for _ in range(work.subscriptions_per_topic)))
        everywhere = range(1, self.cluster.clients + 1)
        possible = [self.cluster.topology.clients(name) or everywhere for name in named]
        return tuple(f"client-{hosts[place % len(hosts)]}" for place, hosts in enumerate(possible))

    @property
    def could_replicate_in_mesh(self) -> bool:
        """May Strimzi's brokers be asked to send their copies through sidecars?"""
        plane = self.data_plane
        return self.cluster.operator == "strimzi" and plane.has_sidecar("broker") and plane.carries(BROKER_BROKER)

    def carries(self, hop: str) -> bool:
        """Does what is sent over it pass the proxies of the data plane? Strimzi's controllers go past them, and so do
        copies between its brokers unless they are asked in."""
        if self.cluster.operator == "strimzi" and hop != CLIENT_BROKER:
            return hop == BROKER_BROKER and self.cluster.replication_in_mesh
        return self.data_plane.carries(hop)

    def path_of(self, hop: str) -> NetworkPath:
        """What a TCP flow of this hop passes."""
        return self.data_plane.path if self.carries(hop) else "direct"

    @property
    def encrypted_by(self) -> Mapping[str, str]:
        """Hop -> who, in the order of HOPS, as it is made; `kafka in envoy`: twice, Kafka first. Strimzi's brokers and
        controllers encrypt among each other whatever the data plane is."""
        found = dict(self.data_plane.encrypted_by)
        for hop in self.own_tls:
            twice = self.carries(hop) and self.data_plane.mtls
            found[hop] = f"{KAFKA}{TWICE}{found[hop]}" if twice else KAFKA
        return {hop: found[hop] for hop in HOPS if hop in found}

    @property
    def own_tls(self) -> tuple[str, ...]:
        """Hops over which Strimzi's brokers speak TLS of Kafka's, at a port of its own each."""
        return (BROKER_BROKER, CONTROLLER) if self.cluster.operator == "strimzi" else ()

    def by(self, hops: Iterable[str]) -> dict[str, str]:
        """Hop -> who encrypts it, of these: as above, or the mesh, which may carry more than the data plane says."""
        return {hop: self.encrypted_by.get(hop) or self.data_plane.by([hop])[hop] for hop in hops}

    @property
    def own_replication(self) -> bool:
        """Do brokers replicate over a listener of their own?"""
        return self.cluster.operator == "strimzi" or self.data_plane.own_replication

    def layers(self, hop: str) -> int:
        """How many times it is encrypted."""
        who = self.encrypted_by.get(hop)
        return 0 if who is None else who.count(TWICE) + 1

    @property
    def encrypted_hops(self) -> tuple[str, ...]:
        return tuple(self.encrypted_by)

    @property
    def plain_hops(self) -> tuple[str, ...]:
        return tuple(hop for hop in self.data_plane.plain_hops if hop not in self.encrypted_by)

    @property
    def gateways(self) -> tuple[MeshCluster, ...]:
        """Clusters whose brokers others reach through a gateway."""
        return self.cluster.topology.gateways() if self.data_plane.gateways else ()


class Slot(Model):
    """One place in the order of a run: which scenario, which repeat of it."""

    index: int
    scenario: str
    repeat: int


class Plan(Model):
    """Everything a run will do. `order` gives its rounds."""

    api_version: Literal["meshmark/v1"] = "meshmark/v1"
    kind: Literal["Plan"] = "Plan"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")
    description: str = ""
    seed: int = Field(1, ge=0, le=2**32 - 1)
    repeats: int = Field(3, ge=1, le=1_000)
    budget_seconds: Seconds = Field(720, description="no new round starts that would end after this")
    log_budget_bytes: int = Field(
        30_000_000_000,
        ge=LOG_BUDGET_BYTES_MIN,
        description="bytes that the logs of all brokers together may take at once",
    )
    explain_blocks: int = Field(
        0,
        ge=0,
        le=50,
        description="so often each resource is tightened at the end of a scenario's last round, to see what that "
        "costs; 2 or more for an answer, 0: not at all; needs root",
    )
    cpu_samples_hz: int = Field(
        0,
        ge=0,
        le=1_000,
        description="so often a second `perf` looks what each CPU does in the windows of the search; 0: not at all",
    )
    stop_width: float = Field(
        0,
        ge=0,
        lt=1,
        description="no further repeat once the loss of every scenario is known to within so much, the width of its "
        "95 % interval, and three repeats are done; 0: all repeats",
    )
    profile: str = Field("", description="hardware that hosts are limited to: a profile's name or file; empty: none")
    scale: Literal["auto"] | Scale = Field(
        "auto", description="factor for all of the profile's limits; auto: the largest that this machine can carry"
    )
    environment: EnvironmentSpec = EnvironmentSpec()
    baseline: str = Field("plain", description="the scenario that losses are relative to")
    scenarios: tuple[Scenario, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _names(self) -> Plan:
        names = [scenario.name for scenario in self.scenarios]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"scenario names must differ; given twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _last_repeat(self) -> Plan:
        if self.stop_width and any(scenario.held_out for scenario in self.scenarios):
            raise ValueError("stopWidth and heldOut exclude each other: what is held out comes after all repeats")
        if self.stop_width and self.explain_blocks:
            raise ValueError(
                "stopWidth and explainBlocks exclude each other: it is not known which repeat is the last"
            )
        return self

    def scenario(self, name: str) -> Scenario:
        return next(scenario for scenario in self.scenarios if scenario.name == name)

    def baseline_of(self, scenario: Scenario) -> str:
        """The name of the scenario that it is compared with; its own where it is a baseline itself."""
        return scenario.baseline or self.baseline

    @property
    def baselines(self) -> tuple[str, ...]:
        """Each once, in the order of the scenarios; they need not be among these."""
        return tuple(dict.fromkeys(self.baseline_of(scenario) for scenario in self.scenarios))

    def thresholds(self) -> tuple[tuple[Scenario, Threshold], ...]:
        """Of all scenarios; a baseline has no loss, so what is said of all losses does not hold for it."""
        return tuple(
            (scenario, threshold)
            for scenario in self.scenarios
            for threshold in scenario.thresholds.parsed()
            if threshold.share is not None or self.baseline_of(scenario) != scenario.name
        )

    def order(self) -> tuple[Slot, ...]:
        """Rounds in the order they run: each repeat holds every scenario once, shuffled by the seed,
        so that drift of the machine falls on all scenarios alike; those that are held out come after all others."""
        source = random.Random(self.seed)
        slots: list[Slot] = []
        for held_out in (False, True):
            alike = [scenario.name for scenario in self.scenarios if scenario.held_out is held_out]
            for repeat in range(1, self.repeats + 1):
                names = list(alike)
                source.shuffle(names)
                for name in names:
                    slots.append(Slot(index=len(slots) + 1, scenario=name, repeat=repeat))
        return tuple(slots)

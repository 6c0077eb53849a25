"""Broker settings of a scenario, as `server.properties`. Pure.

KRaft with combined roles and a static quorum, one rack per broker; a topology says what racks and controllers are
instead. Everything that is not set here is Kafka's own default. The controllers' listener is plaintext in every data
plane, so that scenarios differ in the data path only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshmark.plan import ClusterSpec, ConfigValue, Scenario

BROKER_PORT = 9092
CONTROLLER_PORT = 9093
TRAINING_PORT = 9094
REPLICATION_PORT = 9091
"""Only where a data plane tells what brokers send each other from what clients do; Strimzi's port for it."""
LISTENER, REPLICATION_LISTENER = "CLIENT", "REPLICATION"
"""Of clients, and of brokers among each other where these have no listener of their own."""

SEGMENT_BYTES_MAX = 1_073_741_824  # Kafka's default
SEGMENT_BYTES_MIN = 1_048_576

# What the lab itself decides: identities, addresses, directories, and what encrypts.
RESERVED_KEYS = frozenset(
    {
        "advertised.listeners",
        "broker.id",
        "broker.rack",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
        "listeners",
        "log.dir",
        "log.dirs",
        "metadata.log.dir",
        "node.id",
        "process.roles",
        "security.inter.broker.protocol",
    }
)
RESERVED_PREFIXES = ("controller.quorum.", "controller.listener.", "listener.name.", "ssl.", "sasl.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One broker (and controller) of the quorum: where others find it, and where it listens, if that is not the same
    (empty: on all addresses)."""

    node_id: int
    address: str
    listens_at: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsStores:
    """PEM files: key and certificate chain of the broker, and the CA it trusts."""

    keystore: Path
    truststore: Path


def reserved_keys(config: Mapping[str, ConfigValue]) -> tuple[str, ...]:
    """Keys of a plan's `brokerConfig` that are not the plan's to set."""
    return tuple(sorted(key for key in config if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIXES)))


def broker_properties(
    scenario: Scenario,
    nodes: Sequence[Node],
    node: Node,
    *,
    directory: Path,
    log_budget_bytes: int,
    tls: TlsStores | None = None,
) -> dict[str, str]:
    """Settings of one broker. `directory` gets `log/` and `metadata/`; `tls` is needed by kafka-tls alone."""
    spec = scenario.cluster
    protocol = "SSL" if scenario.data_plane.kafka_tls else "PLAINTEXT"
    settings: dict[str, ConfigValue] = {
        **_roles(scenario, nodes, node),
        "advertised.listeners": ",".join(_listeners(scenario, node.address)),
        "inter.broker.listener.name": inter_broker_listener(scenario),
        "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:PLAINTEXT"
        + (f",{REPLICATION_LISTENER}:PLAINTEXT" if scenario.data_plane.own_replication else ""),
        "log.dirs": str(directory / "log"),
        "metadata.log.dir": str(directory / "metadata"),
        "auto.create.topics.enable": False,
        "group.initial.rebalance.delay.ms": 0,
    }
    settings |= _internal_topics(spec)
    settings |= _log_limits(scenario, log_budget_bytes)
    if protocol == "SSL":
        if tls is None:
            raise ValueError("kafka-tls needs its PEM stores")
        settings |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(tls.keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(tls.truststore),
            "ssl.enabled.protocols": "TLSv1.3",
            "ssl.protocol": "TLSv1.3",
            "ssl.client.auth": "none",
            "ssl.endpoint.identification.algorithm": "https",
        }
    settings |= spec.broker_config
    return {key: _text(value) for key, value in settings.items()}


def _roles(scenario: Scenario, nodes: Sequence[Node], node: Node) -> dict[str, ConfigValue]:
    """Who it is, where it is, and which controllers there are. One that is no controller has no such listener."""
    topology = scenario.cluster.topology
    voters = [each for each in nodes if not topology or each.node_id in topology.controllers()]
    rack = topology.cluster_of("broker", node.node_id).region if topology else f"rack-{node.node_id}"
    here = node.address if node.listens_at is None else node.listens_at
    listeners = _listeners(scenario, here)
    if node in voters:
        listeners.append(f"CONTROLLER://{here}:{CONTROLLER_PORT}")
    return {
        "process.roles": "broker,controller" if node in voters else "broker",
        "node.id": node.node_id,
        "broker.rack": rack,
        "controller.quorum.voters": ",".join(f"{n.node_id}@{n.address}:{CONTROLLER_PORT}" for n in voters),
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(listeners),
    }


def inter_broker_listener(scenario: Scenario) -> str:
    return REPLICATION_LISTENER if scenario.own_replication else LISTENER


def _listeners(scenario: Scenario, address: str) -> list[str]:
    """Those that are advertised."""
    found = [f"CLIENT://{address}:{BROKER_PORT}"]
    if scenario.data_plane.own_replication:
        found.append(f"{REPLICATION_LISTENER}://{address}:{REPLICATION_PORT}")
    return found


def with_plaintext(settings: Mapping[str, str], node: Node) -> dict[str, str]:
    """The same broker with a second, plaintext listener for clients: a training run carries both kinds of traffic."""
    listener = f",TRAINING://{node.address}:{TRAINING_PORT}"
    return {
        **settings,
        "listeners": settings["listeners"] + listener,
        "advertised.listeners": settings["advertised.listeners"] + listener,
        "listener.security.protocol.map": settings["listener.security.protocol.map"] + ",TRAINING:PLAINTEXT",
    }


def _internal_topics(spec: ClusterSpec) -> dict[str, ConfigValue]:
    """Replicated to every broker; few partitions, as one lab has few groups (the default, 50, only delays)."""
    settings: dict[str, ConfigValue] = {"log.cleaner.dedupe.buffer.size": 16_777_216}
    for prefix in ("transaction.state.log", "share.coordinator.state.topic"):
        settings[f"{prefix}.min.isr"] = min(2, spec.brokers)
    for prefix in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        settings[f"{prefix}.replication.factor"] = spec.brokers
        settings[f"{prefix}.num.partitions"] = 2 * spec.brokers
    return settings


def _log_limits(scenario: Scenario, log_budget_bytes: int) -> dict[str, ConfigValue]:
    """Retention is a safety net under the plan's budget: trials delete their topics long before it bites.

    A partition may outgrow its retention by one segment and by what arrives between two checks, so it gets 70 %
    of its share. Deleted files are freed at once, not after Kafka's minute; the first check, which also deletes
    the files of deleted topics, is not delayed by Kafka's half minute.
    """
    workload = scenario.workload
    replicas = workload.topics * workload.partitions_per_topic * workload.replication_factor
    retention = max(log_budget_bytes * 7 // 10 // replicas, 4 * SEGMENT_BYTES_MIN)
    return {
        "log.retention.bytes": retention,
        "log.segment.bytes": min(retention // 4, SEGMENT_BYTES_MAX),
        "log.retention.check.interval.ms": 5_000,
        "log.segment.delete.delay.ms": 100,
        "log.initial.task.delay.ms": 500,
    }


def _text(value: ConfigValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def render(settings: Mapping[str, str]) -> str:
    """The text of a Java properties file."""
    lines = []
    for key, value in settings.items():
        escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"{key}={escaped}\n")
    return "".join(lines)

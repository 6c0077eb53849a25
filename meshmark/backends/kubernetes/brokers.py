"""Brokers as a run meets them, whoever makes them: what their hosts are called, where they listen and keep their logs.

In a record an operator's broker N is `broker-N`, as in the lab and as the pod of meshmark's own StatefulSet. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from meshmark.backends.kubernetes import koperator, manifest, strimzi
from meshmark.backends.kubernetes.config import DATA_DIRECTORY
from meshmark.backends.kubernetes.manifest import WORKLOAD, Body
from meshmark.data_plane import BROKER_BROKER, CONTROLLER
from meshmark.plan import Scenario


@dataclass(frozen=True, kw_only=True, slots=True)
class Brokers:
    """`service`: by which sidecars know them. `volume`: where their container has it; in it `log` and `metadata`, with
    `{number}` for the broker's. `authority`: the Secret and its key that clients trust under kafka-tls."""

    service: str
    address: Callable[[int, str], str]
    """Of a broker, by its number and the namespace, as clients are told."""
    selector: dict[str, str]
    volume: str
    log: str
    metadata: str
    settings: tuple[str, str] | None = None
    """ConfigMap and key in which an operator puts those of a broker, with `{number}`."""
    authority: tuple[str, str] = (manifest.TLS_SECRET, manifest.TLS_AUTHORITY)
    own_tls: Mapping[str, int] = field(default_factory=dict)
    """Hop -> port at which there is TLS of Kafka's own, whatever the data plane."""

    def directories(self, number: int) -> tuple[str, str]:
        """Of partitions, and of the metadata log."""
        return self.log.format(number=number), self.metadata.format(number=number)


def brokers(scenario: Scenario) -> Brokers:
    """Of its operator, or meshmark's own."""
    match scenario.cluster.operator:
        case "strimzi":
            return Brokers(
                service=strimzi.BROKERS,
                address=lambda number, namespace: (
                    f"{strimzi.CLUSTER}-{WORKLOAD}-{number}.{strimzi.BROKERS}.{namespace}.svc"
                ),
                selector=strimzi.OF_CLUSTER,
                volume="/var/lib/kafka/data-0",
                log="kafka-log{number}",
                metadata="kafka-log{number}",
                settings=(f"{strimzi.CLUSTER}-{WORKLOAD}-{{number}}", "server.config"),
                authority=strimzi.AUTHORITY,
                own_tls={BROKER_BROKER: strimzi.REPLICATION_PORT, CONTROLLER: strimzi.CONTROL_PORT},
            )
        case "koperator":
            return Brokers(
                service=koperator.HEADLESS,
                address=lambda number, namespace: f"{koperator.HEADLESS}.{namespace}.svc",
                selector=koperator.OF_CLUSTER,
                volume=koperator.VOLUME,
                log="kafka",
                metadata="kafka",
                settings=(f"{koperator.CLUSTER}-config-{{number}}", "broker-config"),
            )
    stretched = bool(scenario.cluster.topology)
    return Brokers(
        service=manifest.SERVICE,
        address=lambda number, namespace: manifest.address(number, namespace, stretched=stretched),
        selector=manifest.selector(scenario),
        volume=DATA_DIRECTORY,
        log="log",
        metadata="metadata",
    )


def host_of(pod: Body) -> str:
    """What the pod is called in a record."""
    labels, name = pod["metadata"].get("labels") or {}, str(pod["metadata"]["name"])
    if found := re.fullmatch(rf"{strimzi.CLUSTER}-{WORKLOAD}-(\d+)", name):
        return f"{WORKLOAD}-{found[1]}"
    if koperator.OF_CLUSTER.items() <= labels.items() and koperator.BROKER_ID in labels:
        return f"{WORKLOAD}-{labels[koperator.BROKER_ID]}"
    return name

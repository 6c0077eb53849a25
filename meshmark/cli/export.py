"""`meshmark export`: a scenario as manifests for Kubernetes. It talks to no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.kubernetes import OPEN_REPLICATION, SHARED, Asked, resolved
from meshmark.cli.options import (
    KAFKA,
    Cpus,
    Heap,
    Image,
    Kafka,
    Memory,
    MonitorLabel,
    Monitors,
    Namespace,
    Only,
    PlanFile,
    Provider,
    ReplicationInMesh,
    ShareNodes,
    StorageClass,
    VolumeSize,
)
from meshmark.cli.output import emit, note

if TYPE_CHECKING:
    from meshmark.backends.kubernetes import Target
    from meshmark.plan import Scenario

EXAMPLES = (
    "\b\nExamples:\n  meshmark export --only istio-mtls -d manifests\n"
    "  meshmark export -f my.yaml --only big -d manifests --storage-class fast --volume-size 500Gi\n"
    "  kubectl apply -k manifests"
)

MESHES = {
    "istio": "Istio 1.22 or newer, injecting by the label istio-injection",
    "ambient": "Istio 1.24 or newer with its ambient profile (for a waypoint with the Gateway API's kinds), and "
    "clients in its mesh",
    "linkerd": "Linkerd 2.14 or newer, and clients in its mesh",
}
OPERATORS_KAFKA = "Kafka is of the version that the operator brings, not of the lab's"


def export(
    directory: Annotated[Path, typer.Option("-d", "--directory", metavar="DIR", help="Where the files go.")],
    file: PlanFile = None,
    only: Only = None,
    namespace: Namespace = None,
    cpus: Cpus = None,
    memory: Memory = None,
    heap: Heap = None,
    volume_size: VolumeSize = None,
    storage_class: StorageClass = None,
    share_nodes: ShareNodes = None,
    image: Image = None,
    monitors: Monitors = None,
    monitor_label: MonitorLabel = None,
    kafka: Kafka = KAFKA,
    provider: Provider = None,
    replication_in_mesh: ReplicationInMesh = None,
) -> None:
    """Write a scenario as plain manifests with a kustomization, to apply them yourself (docs/how-to/kubernetes.md)."""
    from meshmark.backends import kubernetes

    asked = Asked(
        file=file,
        only=only,
        namespace=namespace,
        cpus=cpus,
        memory=memory,
        heap=heap,
        volume_size=volume_size,
        storage_class=storage_class,
        share_nodes=share_nodes,
        image=image,
        monitors=monitors,
        monitor_label=monitor_label,
        provider=provider,
        replication_in_mesh=replication_in_mesh,
        kafka=kafka,
    )
    scenario, target, made = resolved(asked)
    texts = {cluster: kubernetes.texts(manifests) for cluster, manifests in made.items()}
    for cluster, files in texts.items():
        kubernetes.write(directory / cluster, files)
        emit("\n".join(str(directory / cluster / name) for name in files))
    kubernetes.clear(directory, texts)
    for text in _remarks(scenario, target):
        note(text)


def _remarks(scenario: Scenario, target: Target) -> list[str]:
    """What has to be there before they are applied, and what they are not."""
    from meshmark.backends.kubernetes.manifest import TLS_SECRET

    found = [
        "export talks to no cluster: nothing was applied or checked against one",
        "needed: a cluster of Kubernetes 1.27 or newer",
    ]
    if target.share_nodes:
        found.append(SHARED)
    if scenario.data_plane.mesh in MESHES:
        found.append(f"needed in the cluster: {MESHES[scenario.data_plane.mesh]}")
    if scenario.data_plane.own_replication:
        found.append(OPEN_REPLICATION)
    if scenario.cluster.topology:
        found.append("needed between the clusters: one mesh of them all; `meshmark infra istio` prints the steps")
    if scenario.cluster.operator:
        return [*found, *REMARKS[scenario.cluster.operator](scenario)]
    if scenario.data_plane.kafka_tls:
        found.append(
            f"needed in the namespace {target.namespace}: the Secret {TLS_SECRET} with key and certificates; "
            "docs/how-to/kubernetes.md says how to make it"
        )
    if target.monitors is not None:
        found.append("needed in the cluster: the Prometheus Operator")
    return found


def _remarks_on_strimzi(scenario: Scenario) -> list[str]:
    from meshmark.backends.kubernetes.strimzi import remark

    return [
        "needed in the cluster: Strimzi's operator, 1.2 or newer, watching this namespace, and nodes with a zone",
        OPERATORS_KAFKA,
        remark(scenario),
    ]


def _remarks_on_koperator(scenario: Scenario) -> list[str]:
    found = ["needed in the cluster: Koperator 0.28 or newer, and nodes with a zone", OPERATORS_KAFKA]
    if scenario.data_plane.mtls:
        found.append("needed for Koperator itself: a sidecar, or STRICT refuses it at the brokers")
    return [*found, "Cruise Control and its reporter in each broker are a load that the plan does not have"]


REMARKS = {"strimzi": _remarks_on_strimzi, "koperator": _remarks_on_koperator}

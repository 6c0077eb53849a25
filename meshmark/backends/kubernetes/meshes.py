"""Other meshes in place of Istio's sidecars, for a scenario with the data plane `istio-mtls`: Istio's ambient mode,
with a waypoint or without, and Linkerd. Pure.

The lab has none of them, and a plan cannot name them: objects have the mesh as their data plane, so that nobody takes
one for the other. Each refuses what is not encrypted by the mesh, as STRICT does, but for the ports that it skips.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshmark.backends.kubernetes import mesh as sidecars
from meshmark.backends.kubernetes.asked import SHARED_CPU, Target
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.mesh import PEER_AUTHENTICATION, SIDECAR_MEMORY, Mesh
from meshmark.data_plane import DataPlane, Place
from meshmark.errors import UsageError
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT
from meshmark.plan import Scenario

WAYPOINT = "waypoint"
WAYPOINT_FILE = "waypoint.yaml"
FILES = (WAYPOINT_FILE,)
HBONE_PORT = 15008


def mesh(scenario: Scenario, target: Target, place: Place = "broker") -> Mesh:
    """Of the mesh that is asked for, as `mesh.mesh` has it. Raises UsageError where the scenario, or another option,
    does not go with it."""
    if target.mesh == "sidecars":
        return sidecars.mesh(scenario, target, place)
    if wrong := list(_wrong(scenario, target)):
        raise UsageError(
            f"the mesh {target.mesh} cannot be had: {'; '.join(wrong)}",
            hint="Take --only istio-mtls, the provider statefulset, and no monitors (docs/how-to/meshes.md).",
        )
    return _linkerd(scenario, target) if target.mesh.startswith("linkerd") else _ambient(target)


def policies(scenario: Scenario, target: Target) -> dict[str, Body]:
    """File -> object without its namespace. DestinationRules are of sidecars alone; Linkerd's are annotations."""
    if target.mesh == "sidecars":
        return sidecars.policies(scenario)
    if target.mesh.startswith("linkerd"):
        return {}
    strict = {PEER_AUTHENTICATION: sidecars.policies(scenario)[PEER_AUTHENTICATION]}
    return {**strict, WAYPOINT_FILE: _waypoint()} if target.mesh == "ambient-waypoint" else strict


def _ambient(target: Target) -> Mesh:
    """By labels: the node's ztunnel takes all that the pods send and get, controllers' port included."""
    through = {"istio.io/use-waypoint": WAYPOINT} if target.mesh == "ambient-waypoint" else {}
    return Mesh(
        namespace_labels={"istio-injection": "disabled", "istio.io/dataplane-mode": "ambient", **through},
        pod_labels={"sidecar.istio.io/inject": "false"},
        pod_annotations={"linkerd.io/inject": "disabled"},
    )


def _waypoint() -> Body:
    """For services and workloads: clients reach a broker by its pod's own name, which is no service."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": WAYPOINT, "labels": {"istio.io/waypoint-for": "all"}},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "infrastructure": {"labels": {"istio.io/waypoint-for": "all"}},  # else its pods have the brokers'
            "listeners": [{"name": "mesh", "port": HBONE_PORT, "protocol": "HBONE"}],
        },
    }


def _linkerd(scenario: Scenario, target: Target) -> Mesh:
    """Kafka's port is opaque: its proxy carries bytes, and looks for no HTTP in them. The service says so too, or
    clients' proxies do not know it. Controllers' port is skipped, as in the lab; in the variant Kafka's is as well."""
    threads = str(scenario.cluster.sidecar_concurrency)
    skips = target.mesh == "linkerd-skip"
    skipped = ",".join(map(str, [BROKER_PORT, CONTROLLER_PORT] if skips else [CONTROLLER_PORT]))
    opaque = {} if skips else {"config.linkerd.io/opaque-ports": str(BROKER_PORT)}
    return Mesh(
        namespace_labels={"istio-injection": "disabled", "istio.io/dataplane-mode": "none"},
        pod_labels={"sidecar.istio.io/inject": "false"},
        pod_annotations={
            "linkerd.io/inject": "enabled",
            "config.linkerd.io/default-inbound-policy": "all-authenticated",
            "config.linkerd.io/proxy-cpu-request": SHARED_CPU if target.share_nodes else threads,
            "config.linkerd.io/proxy-cpu-limit": threads,
            "config.linkerd.io/proxy-memory-request": SIDECAR_MEMORY,
            "config.linkerd.io/proxy-memory-limit": SIDECAR_MEMORY,
            "config.linkerd.io/skip-inbound-ports": skipped,
            "config.linkerd.io/skip-outbound-ports": skipped,
            **opaque,
        },
        service_annotations=opaque,
    )


def _wrong(scenario: Scenario, target: Target) -> Iterator[str]:
    if scenario.data_plane is not DataPlane.ISTIO_MTLS:
        yield f"the scenario {scenario.name} has the data plane {scenario.data_plane}, and not istio-mtls"
    if target.provider != "statefulset":
        yield f"objects for {target.provider} know Istio's sidecars alone"
    if scenario.cluster.topology:
        yield "a topology is for Istio's sidecars"
    if target.monitors is not None:
        yield "monitors are of Istio's sidecars"

"""What each mesh is told: Istio's sidecars (`mesh.py`), its ambient mode, with a waypoint or without, Linkerd. Pure.

What the mesh encrypts, it refuses from others, as STRICT does; `linkerd-skip` has a proxy that Kafka's ports go past.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meshmark.backends.kubernetes import mesh as sidecars
from meshmark.backends.kubernetes.asked import SHARED_CPU, Target
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.mesh import PEER_AUTHENTICATION, SIDECAR_MEMORY, Mesh
from meshmark.data_plane import CLIENT_BROKER, DataPlane, Place
from meshmark.errors import UsageError
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT
from meshmark.plan import Scenario

WAYPOINT = "waypoint"
WAYPOINT_FILE = "waypoint.yaml"
FILES = (WAYPOINT_FILE,)
HBONE_PORT = 15008
INJECT_LINKERD = "linkerd.io/inject"
OPAQUE = "config.linkerd.io/opaque-ports"
MTLS_ONLY = "config.linkerd.io/proxy-require-identity-inbound-ports"
SKIP_INBOUND, SKIP_OUTBOUND = "config.linkerd.io/skip-inbound-ports", "config.linkerd.io/skip-outbound-ports"
AMBIENT = "istio.io/dataplane-mode"
OUTSIDE = {"sidecar.istio.io/inject": "false", AMBIENT: "none"}
"""Labels of a pod that no mesh of Istio's takes; Linkerd's is told by OUTSIDE_LINKERD."""
OUTSIDE_LINKERD = {INJECT_LINKERD: "disabled"}


def mesh(scenario: Scenario, target: Target, place: Place = "broker") -> Mesh:
    """Of the scenario's data plane, as `mesh.mesh` has it. Raises UsageError where who makes brokers, or a topology,
    does not go with it."""
    plane = scenario.data_plane
    if plane.mesh not in ("ambient", "linkerd"):
        return sidecars.mesh(scenario, target, place)
    if wrong := list(_wrong(scenario, target)):
        raise UsageError(
            f"the data plane {plane} cannot be had: {'; '.join(wrong)}",
            hint="Take the provider statefulset and one cluster, or Istio's sidecars (docs/how-to/meshes.md).",
        )
    return _linkerd(scenario, target) if plane.mesh == "linkerd" else _ambient(plane)


def policies(scenario: Scenario) -> dict[str, Body]:
    """File -> object without its namespace. DestinationRules are of sidecars alone; Linkerd's are annotations."""
    plane = scenario.data_plane
    if plane.mesh == "linkerd":
        return {}
    if plane.mesh != "ambient":
        return sidecars.policies(scenario)
    strict = {PEER_AUTHENTICATION: sidecars.strict()}
    return {**strict, WAYPOINT_FILE: _waypoint()} if has_waypoint(plane) else strict


def has_waypoint(plane: DataPlane) -> bool:
    return plane.path == "waypoint"


def amiss(plane: DataPlane, pod: Mapping[str, str]) -> str:
    """What a pod's annotations lack of those that Linkerd goes by; empty where nothing is."""
    if plane.mesh != "linkerd":
        return ""
    key = OPAQUE if plane.carries(CLIENT_BROKER) else SKIP_INBOUND
    return "" if str(BROKER_PORT) in pod.get(key, "").split(",") else f"has no port {BROKER_PORT} in {key}"


def service_amiss(plane: DataPlane, service: Body) -> str:
    """By which a proxy would look for HTTP in what Kafka speaks, or wait for who speaks first; empty where nothing."""
    port = next((each for each in service["spec"].get("ports") or [] if each["port"] == BROKER_PORT), None)
    if port is None:
        return f"has no port {BROKER_PORT}"
    if plane.mesh != "none" and port.get("appProtocol") != "tcp":
        return f"does not say that its port {BROKER_PORT} is TCP (appProtocol): a proxy would look for HTTP in it"
    annotations = service["metadata"].get("annotations") or {}
    return amiss(plane, annotations) if plane.carries(CLIENT_BROKER) else ""


def _ambient(plane: DataPlane) -> Mesh:
    """By labels: the node's ztunnel takes all that the pods send and get, controllers' port included."""
    through = {"istio.io/use-waypoint": WAYPOINT} if has_waypoint(plane) else {}
    return Mesh(
        namespace_labels={"istio-injection": "disabled", AMBIENT: "ambient", **through},
        pod_labels={"sidecar.istio.io/inject": "false"},
        pod_annotations=OUTSIDE_LINKERD,
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
    clients' proxies do not know it. Controllers' port is skipped, as in the lab; in the variant Kafka's is as well.
    Who has no identity is refused at Kafka's port alone: a policy for all ports would keep the proxy's own metrics,
    too, from whoever has none."""
    threads = str(scenario.cluster.sidecar_concurrency)
    carries = scenario.data_plane.carries(CLIENT_BROKER)
    skipped = ",".join(map(str, [CONTROLLER_PORT] if carries else [BROKER_PORT, CONTROLLER_PORT]))
    opaque = {OPAQUE: str(BROKER_PORT)} if carries else {}
    mtls_only = {MTLS_ONLY: str(BROKER_PORT)} if carries else {}
    return Mesh(
        namespace_labels={"istio-injection": "disabled", AMBIENT: "none"},
        pod_labels={"sidecar.istio.io/inject": "false"},
        pod_annotations={
            INJECT_LINKERD: "enabled",
            "config.linkerd.io/default-inbound-policy": "all-unauthenticated",
            "config.linkerd.io/proxy-cpu-request": SHARED_CPU if target.share_nodes else threads,
            "config.linkerd.io/proxy-cpu-limit": threads,
            "config.linkerd.io/proxy-memory-request": SIDECAR_MEMORY,
            "config.linkerd.io/proxy-memory-limit": SIDECAR_MEMORY,
            SKIP_INBOUND: skipped,
            SKIP_OUTBOUND: skipped,
            **opaque,
            **mtls_only,
        },
        service_annotations=opaque,
    )


def _wrong(scenario: Scenario, target: Target) -> Iterator[str]:
    if scenario.cluster.operator:
        yield f"objects for {scenario.cluster.operator} know Istio's sidecars alone"
    if scenario.cluster.topology:
        yield "a topology is for Istio's sidecars"

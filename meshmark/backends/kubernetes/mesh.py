"""What a data plane adds to the brokers' namespace and pods, and its policies. Pure.

Istio by sidecars, of a version whose policies have the API version v1 (1.22 or newer). What is said here is what the
lab does: the controllers' port is outside the mesh in every data plane, the sidecar has as many worker threads as the
plan says, and without mTLS neither side opens or accepts it. Where only clients are in the mesh, brokers' pods get no
sidecar; where replication is not, its own port is outside as well. Over several clusters the controllers' port is in
the mesh, which alone knows the way. A data plane without sidecars has none, whatever the cluster injects elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from meshmark.backends.kubernetes.asked import SHARED_CPU, Target
from meshmark.backends.kubernetes.manifest import SERVICE, Body
from meshmark.backends.kubernetes.stretched import PROBE_PORT, rule_file, services_of
from meshmark.data_plane import Place
from meshmark.kafka.properties import CONTROLLER_PORT, REPLICATION_PORT
from meshmark.plan import Scenario

PEER_AUTHENTICATION = "peer-authentication.yaml"
DESTINATION_RULE = "destination-rule.yaml"
FILES = (PEER_AUTHENTICATION, DESTINATION_RULE)
"""Those that not every data plane has."""
SIDECAR_MEMORY = "1Gi"
"""Istio's own default limit; here requested as well, so that a node's pressure never takes it away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mesh:
    """Labels and annotations by which a mesh knows what to do with whom."""

    namespace_labels: Mapping[str, str]
    pod_labels: Mapping[str, str]
    pod_annotations: Mapping[str, str]
    service_annotations: Mapping[str, str] = field(default_factory=dict)


def mesh(scenario: Scenario, target: Target, place: Place = "broker") -> Mesh:
    """Of the scenario's data plane, for brokers' pods or for clients'; what is said of the namespace is the same."""
    plane = scenario.data_plane
    injected = {"istio-injection": "enabled"}
    around = injected if plane.sidecars else {"istio-injection": "disabled", "istio.io/dataplane-mode": "none"}
    if not plane.has_sidecar(place):
        return Mesh(
            namespace_labels=around,
            pod_labels={"sidecar.istio.io/inject": "false"},
            pod_annotations={"linkerd.io/inject": "disabled"},
        )
    threads = scenario.cluster.sidecar_concurrency
    proxy = {"concurrency": threads, "holdApplicationUntilProxyStarts": True}
    ports = [PROBE_PORT if target.cluster else CONTROLLER_PORT, *([REPLICATION_PORT] if plane.own_replication else [])]
    outside = ",".join(map(str, ports))
    return Mesh(
        namespace_labels=around,
        pod_labels={"sidecar.istio.io/inject": "true"},
        pod_annotations={
            "sidecar.istio.io/proxyCPU": SHARED_CPU if target.share_nodes else str(threads),
            "sidecar.istio.io/proxyCPULimit": str(threads),
            "sidecar.istio.io/proxyMemory": SIDECAR_MEMORY,
            "sidecar.istio.io/proxyMemoryLimit": SIDECAR_MEMORY,
            "proxy.istio.io/config": json.dumps(proxy),
            "traffic.sidecar.istio.io/excludeInboundPorts": outside,
            "traffic.sidecar.istio.io/excludeOutboundPorts": outside,
        },
    )


def policies(scenario: Scenario) -> dict[str, Body]:
    """File -> object without its metadata: what servers of the namespace accept, and what clients send to Kafka."""
    if scenario.data_plane.mesh != "istio":
        return {}
    sent = "ISTIO_MUTUAL" if scenario.data_plane.mtls else "DISABLE"
    return {
        PEER_AUTHENTICATION: strict() if scenario.data_plane.mtls else _peer_authentication("DISABLE"),
        DESTINATION_RULE: _destination_rule(SERVICE, sent),
        **{rule_file(name): _destination_rule(name, sent) for name in services_of(scenario)},
    }


def strict() -> Body:
    """For a whole namespace: plaintext is refused."""
    return _peer_authentication("STRICT")


def _peer_authentication(mode: str) -> Body:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default"},
        "spec": {"mtls": {"mode": mode}},
    }


def _destination_rule(service: str, mode: str) -> Body:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": service},
        "spec": {"host": service, "trafficPolicy": {"tls": {"mode": mode}}},
    }

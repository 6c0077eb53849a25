"""What other meshes than Istio's sidecars go by, against the plan: labels of the namespace, annotations, a policy, and
that their proxies said their versions, and showed by their own counters what nothing else shows. Such a mesh is told
no configuration of Envoy's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from meshmark.analysis.ledger import broker_hosts, client_hosts, sidecar_hosts
from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.raw import Raw
from meshmark.data_plane import (
    AT_CONTROLLERS,
    BROKER_BROKER,
    CLIENT_BROKER,
    MADE_TLS,
    REPLICATION_TLS,
    TAKEN_TLS,
    DataPlane,
)
from meshmark.plan import Scenario

KAFKA = "9092"
"""The port that brokers have in a cluster."""


def mesh_findings(round_: Raw, scenario: Scenario, texts: Mapping[str, str]) -> Iterator[Finding]:
    plane = scenario.data_plane
    if plane.mesh == "ambient":
        wanted = _of_ambient(plane)
        if not any(name.endswith(".ztunnel.version") for name in texts):
            yield Finding(
                file=round_.file("config"), recorded="no version of any ztunnel", follows=f"{plane} passes one"
            )
    elif plane.mesh == "linkerd":
        wanted = _of_linkerd(plane)
        for host in sidecar_hosts(scenario):
            if f"{host}.linkerd.version" not in texts:
                yield Finding(
                    file=round_.file(f"config/{host}.linkerd.version"),
                    recorded="no such file",
                    follows=f"{plane} has a sidecar on this host",
                )
    else:
        return
    for name, line in wanted:
        if not re.search(rf"^\s*{line}$", texts.get(name, ""), re.MULTILINE):
            yield Finding(
                file=round_.file(f"config/{name}"),
                recorded=f"no line {line}" if name in texts else "no such file",
                follows=f"{plane} is made by it",
            )


def own_proofs(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Host, and words of the name, of what a round with trials cannot do without."""
    plane, brokers = scenario.data_plane, broker_hosts(scenario)
    if plane.mesh == "ambient":
        yield "ztunnel", "mutual TLS"
        if plane.path == "waypoint":
            yield "waypoint", "passes the waypoint"
        yield from ((host, AT_CONTROLLERS) for host in brokers)
    elif plane.mesh == "linkerd" and plane.mtls:
        yield from ((host, TAKEN_TLS) for host in brokers)
        yield from ((host, MADE_TLS) for host in (*client_hosts(scenario), *(brokers if len(brokers) > 1 else ())))
    elif scenario.carries(BROKER_BROKER) and BROKER_BROKER in scenario.own_tls and plane.mtls and len(brokers) > 1:
        yield from ((host, REPLICATION_TLS) for host in brokers)


def _of_ambient(plane: DataPlane) -> Iterator[tuple[str, str]]:
    """File and a line of it, as a pattern."""
    yield "namespace.yaml", "istio.io/dataplane-mode: ambient"
    yield "peer-authentication.yaml", "mode: STRICT"
    if plane.path == "waypoint":
        yield "namespace.yaml", "istio.io/use-waypoint: waypoint"
        yield "waypoint.yaml", "kind: Gateway"


def _of_linkerd(plane: DataPlane) -> Iterator[tuple[str, str]]:
    for name in ("broker.statefulset.yaml", "client.statefulset.yaml"):
        yield name, "linkerd.io/inject: enabled"
        if plane.carries(CLIENT_BROKER):
            for key in ("opaque-ports", "proxy-require-identity-inbound-ports"):
                yield name, rf"config\.linkerd\.io/{key}: ['\"]{KAFKA}['\"]"
        else:
            yield name, rf"config\.linkerd\.io/skip-outbound-ports: ['\"]?{KAFKA},\d+['\"]?"
    if plane.carries(CLIENT_BROKER):
        yield "service.yaml", rf"config\.linkerd\.io/opaque-ports: ['\"]{KAFKA}['\"]"

"""The steps that make one mesh of several clusters, as a shell script: Istio, multi-primary. It is printed, never run.

Each cluster has an istiod of its own. They share a root of trust, which issues an authority for each; each may read
the services of the others (remote secrets); and where pods of a cluster cannot be reached directly, an east-west
gateway hands on what comes for them, without ending its TLS. Limits: Istio 1.22 or newer and no revisions; the root's
key stays in a directory of whoever runs the script.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from itertools import permutations

from meshmark.backends.kubernetes.files import yaml_text
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.stretched import network
from meshmark.plan import Scenario
from meshmark.topology import MeshCluster

MESH = "meshmark"
NAMESPACE = "istio-system"
DIRECTORY = "mesh-authorities"
GATEWAY = "istio-eastwestgateway"
GATEWAY_PORT = 15_443
STATUS_PORT = 15_021
NETWORK_LABEL = "topology.istio.io/network"
ROOT_DAYS, DAYS = 3_650, 730
AUTHORITY = "-addext keyUsage=critical,keyCertSign,cRLSign -addext basicConstraints=critical,CA:TRUE"


def script(scenario: Scenario, contexts: Mapping[str, str]) -> str:
    """Of the topology's clusters; `contexts` has the kubeconfig's name for each."""
    clusters = scenario.cluster.topology.clusters
    parts = [_head(scenario, contexts), *_trust(clusters, contexts), *_control_planes(clusters, contexts)]
    return "\n".join([*parts, *_remote_secrets(contexts), *_gateways(clusters, contexts)])


def _head(scenario: Scenario, contexts: Mapping[str, str]) -> str:
    names = "\n".join(f"#   {name}: {context}" for name, context in contexts.items())
    return f"""#!/bin/sh
# Makes one mesh (Istio, multi-primary) of the clusters of the scenario {scenario.name}:
{names}
# It needs istioctl, kubectl, openssl 3 and an administrator's rights in each of them. Read it before you run it: it
# installs Istio. Tests run it on real clusters, but with a stand-in for istioctl. {DIRECTORY}/ holds the root's key:
# keep it safe.
set -eu
umask 077
"""


def _trust(clusters: tuple[MeshCluster, ...], contexts: Mapping[str, str]) -> Iterator[str]:
    root, key = f"{DIRECTORY}/root-cert.pem", f"{DIRECTORY}/root-key.pem"
    yield f"""# One root of trust, made once, and an authority for each cluster's istiod.
mkdir -p {DIRECTORY}
[ -f {root} ] || openssl req -x509 -newkey rsa:2048 -noenc -days {ROOT_DAYS} -subj /O={MESH}/CN=root \\
  -keyout {key} -out {root} {AUTHORITY}
"""
    for cluster in clusters:
        own, kubectl = f"{DIRECTORY}/{cluster.name}", _kubectl(contexts[cluster.name])
        files = " ".join(f"--from-file={own}/{name}.pem" for name in ("ca-cert", "ca-key", "root-cert", "cert-chain"))
        yield f"""mkdir -p {own}
[ -f {own}/ca-cert.pem ] || openssl req -x509 -newkey rsa:2048 -noenc -days {DAYS} -subj /O={MESH}/CN={cluster.name} \\
  -CA {root} -CAkey {key} -keyout {own}/ca-key.pem -out {own}/ca-cert.pem {AUTHORITY},pathlen:0
cp {root} {own}/root-cert.pem
cat {own}/ca-cert.pem {root} > {own}/cert-chain.pem
{kubectl} create namespace {NAMESPACE} --dry-run=client -o yaml | {kubectl} apply -f -
{kubectl} label namespace {NAMESPACE} {NETWORK_LABEL}={network(cluster)} --overwrite
{kubectl} -n {NAMESPACE} create secret generic cacerts {files} --dry-run=client -o yaml | {kubectl} apply -f -
"""


def _control_planes(clusters: tuple[MeshCluster, ...], contexts: Mapping[str, str]) -> Iterator[str]:
    yield "# A control plane in each. One that runs already takes its new authority when it starts again."
    for cluster in clusters:
        yield _install(contexts[cluster.name], control_plane(cluster))


def _remote_secrets(contexts: Mapping[str, str]) -> Iterator[str]:
    yield "# Each reads the others' services, at the address that the kubeconfig has of their API servers."
    for there, here in permutations(contexts, 2):
        yield (
            f"istioctl create-remote-secret --context {shlex.quote(contexts[there])} --name {there} "
            f"| {_kubectl(contexts[here])} apply -f -"
        )
    yield ""


def _gateways(clusters: tuple[MeshCluster, ...], contexts: Mapping[str, str]) -> Iterator[str]:
    for cluster in clusters:
        if cluster.gateway:
            yield f"# Others reach pods of {cluster.name} through a gateway, whose load balancer they have to reach."
            yield _install(contexts[cluster.name], gateway(cluster))
            yield f"{_kubectl(contexts[cluster.name])} apply -f - <<'EOF'\n{yaml_text(exposure())}EOF\n"
    if direct := ", ".join(cluster.name for cluster in clusters if not cluster.gateway):
        yield f"# Pods of {direct} have to be reached at their own addresses from all clusters; `up` tries that."


def control_plane(cluster: MeshCluster) -> Body:
    """For istioctl."""
    own = {"meshID": MESH, "multiCluster": {"clusterName": cluster.name}, "network": network(cluster)}
    return _operator(MESH, {"values": {"global": own}})


def gateway(cluster: MeshCluster) -> Body:
    """For istioctl: the east-west gateway of a cluster."""
    ports = [
        {"name": name, "port": port, "targetPort": port}
        for name, port in (("status-port", STATUS_PORT), ("tls", GATEWAY_PORT))
    ]
    deployed = {
        "name": GATEWAY,
        "enabled": True,
        "label": {"istio": "eastwestgateway", "app": GATEWAY, NETWORK_LABEL: network(cluster)},
        "k8s": {
            "env": [{"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": network(cluster)}],
            "service": {"ports": ports},
        },
    }
    values = {
        "gateways": {"istio-ingressgateway": {"injectionTemplate": "gateway"}},
        "global": {"network": network(cluster)},
    }
    return _operator(
        f"{MESH}-east-west",
        {"profile": "empty", "components": {"ingressGateways": [deployed]}, "values": values},
    )


def exposure() -> Body:
    """Hands on, by the name that a TLS connection asks for, what is for services of the cluster."""
    server = {
        "port": {"number": GATEWAY_PORT, "name": "tls", "protocol": "TLS"},
        "tls": {"mode": "AUTO_PASSTHROUGH"},
        "hosts": ["*.local"],
    }
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": f"{MESH}-east-west", "namespace": NAMESPACE},
        "spec": {"selector": {"istio": "eastwestgateway"}, "servers": [server]},
    }


def _operator(name: str, spec: Body) -> Body:
    return {
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def _install(context: str, body: Body) -> str:
    return f"istioctl install -y --context {shlex.quote(context)} -f - <<'EOF'\n{yaml_text(body)}EOF\n"


def _kubectl(context: str) -> str:
    return f"kubectl --context {shlex.quote(context)}"

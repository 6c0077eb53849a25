"""What a run needs of a scenario beside its brokers: load pods, and in each broker's pod somebody who reads. Pure.

Meshmark's own brokers get a second container, `monitor`, of its image; the containers of a pod share process IDs, by
which it sees, and can stop, the broker's process. Load pods (`client-1`, ...) are in the mesh if clients are. With a
mesh there is one more pod that is outside it, `stranger-1`, which asks what somebody there gets, and asks ztunnels
what they count. None has a service account's token. In a topology each cluster has its own load pods, and a stranger,
numbered through as brokers are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshmark.backends.kubernetes import koperator, manifest, pools
from meshmark.backends.kubernetes.asked import DNS_NAME, Target
from meshmark.backends.kubernetes.brokers import brokers
from meshmark.backends.kubernetes.config import DATA_DIRECTORY, TLS_DIRECTORY
from meshmark.backends.kubernetes.kinds import KAFKA_CLUSTER, KAFKA_NODE_POOL, STATEFUL_SET, kind_of
from meshmark.backends.kubernetes.manifest import Body, Manifest
from meshmark.backends.kubernetes.meshes import MTLS_ONLY, OPAQUE, OUTSIDE, OUTSIDE_LINKERD, mesh
from meshmark.backends.kubernetes.pods import HOST, TEMPORARY, TEMPORARY_SIZE, USER
from meshmark.backends.kubernetes.pools import Pool
from meshmark.backends.kubernetes.stretched import clients_of, stranger_of
from meshmark.plan import Scenario

CLIENT, STRANGER, MONITOR = "client", "stranger", "monitor"
"""Load pods and the one outside the mesh, whose containers are called so too; and the brokers' second container."""
PROBE_PORT = 5201
"""Of the environment's network probe: a port of the brokers' service, so that the mesh treats it as Kafka's."""
STATISTICS = (
    r"tcp\..*\.downstream_cx_[rt]x_bytes_total",
    r"listener\..*\.(downstream_cx_active|no_filter_chain_match|ssl\.handshake)",
    r"cluster\.outbound\|.*\.(upstream_cx_total|upstream_cx_connect_fail|ssl\.handshake)",
)
"""Of Envoy's, which Istio hides unless it is told not to."""
IDLE = ("sleep", "2147483647")
SMALL = {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
LOAD = {"requests": {"cpu": "1", "memory": "256Mi"}}
"""A load worker that waits for a CPU says nothing of the system: where three brokers share its node and reserve next
to nothing, it has several times the weight of all of them, as the raised priority gives it in the lab. No limit."""
LABEL = r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?"
NODES = rf"({DNS_NAME}/)?{LABEL}=({LABEL})?"
"""A label that nodes have, and its value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadPods:
    """`image` is meshmark's own. `nodes`: a label and its value, as LABEL=VALUE, of the nodes that load pods run on;
    empty: any."""

    image: str
    nodes: str = ""


def measured(
    made: tuple[Manifest, ...], scenario: Scenario, target: Target, load: LoadPods, *, kafka: bool = True
) -> tuple[Manifest, ...]:
    """The scenario's objects, and those above. Without `kafka` the brokers' containers are there, and idle."""
    labels = made[-1].body["metadata"]["labels"]
    changed = [Manifest(file=each.file, body=_changed(each.body, scenario, load, kafka=kafka)) for each in made]
    account = {"metadata": {"name": CLIENT}, "automountServiceAccountToken": False}
    added: dict[str, Body] = {
        "client-account.yaml": {"apiVersion": "v1", "kind": "ServiceAccount", **account},
    }
    if numbers := clients_of(scenario, target.cluster):
        clients = _stateful_set(CLIENT, numbers, scenario, target, load, labels)
        added["clients.yaml"] = clients if kafka else _probed(clients)
    if scenario.data_plane.mesh != "none":
        number = stranger_of(scenario, target.cluster)
        added["stranger.yaml"] = _stateful_set(STRANGER, range(number, number + 1), scenario, target, load, labels)
    return (*changed, *(Manifest(file=file, body=_placed(body, target, labels)) for file, body in added.items()))


def _changed(body: Body, scenario: Scenario, load: LoadPods, *, kafka: bool) -> Body:
    """An operator's brokers get who reads them once they run (`ephemeral.py`)."""
    kind = kind_of(body)
    if kind == STATEFUL_SET:
        brokers = _read_by_monitor(body, scenario, load)
        return brokers if kafka else _probed(_idle(brokers))
    if kind == KAFKA_NODE_POOL:
        return _with(body, ("spec", "template", "pod", "metadata", "annotations"))
    if kind == KAFKA_CLUSTER:
        return _with(body, ("spec", "brokerConfigGroups", koperator.GROUP, "brokerAnnotations"))
    if body["kind"] == "Service" and not kafka:
        probed = {"name": "tcp-probe", "port": PROBE_PORT, "protocol": "TCP", "appProtocol": "tcp"}
        spec = {**body["spec"], "ports": [*body["spec"]["ports"], probed]}
        return {**body, "metadata": _with_probe(body["metadata"]), "spec": spec}
    return body


def _probed(workload: Body) -> Body:
    """Its pods carry the probe's port as they do Kafka's."""
    template = workload["spec"]["template"]
    told = {**template, "metadata": _with_probe(template["metadata"])}
    return {**workload, "spec": {**workload["spec"], "template": told}}


def _with_probe(metadata: Body) -> Body:
    """Where Linkerd's proxy is told something of Kafka's port, it is told it of the probe's as well."""
    annotations = metadata.get("annotations", {})
    told = {key: f"{annotations[key]},{PROBE_PORT}" for key in (OPAQUE, MTLS_ONLY) if key in annotations}
    return {**metadata, "annotations": {**annotations, **told}} if told else metadata


def _with(body: Body, path: Sequence[str]) -> Body:
    """With annotations at the path by which sidecars count more."""
    key, *more = path
    return {**body, key: _with(body[key], more) if more else _told(body[key])}


def _read_by_monitor(workload: Body, scenario: Scenario, load: LoadPods) -> Body:
    template = workload["spec"]["template"]
    monitor = {
        **_container(MONITOR, load),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_DIRECTORY},
            {"name": "monitor-temporary", "mountPath": TEMPORARY},
        ],
    }
    spec = {
        **template["spec"],
        "shareProcessNamespace": True,
        "containers": [*template["spec"]["containers"], monitor],
        "volumes": [*template["spec"]["volumes"], _temporary("monitor-temporary")],
    }
    told = {**template["metadata"], "annotations": _told(template["metadata"]["annotations"])}
    return {**workload, "spec": {**workload["spec"], "template": {**template, "metadata": told, "spec": spec}}}


def _idle(workload: Body) -> Body:
    """The broker's container with its image, and nothing that runs in it."""
    template = workload["spec"]["template"]
    kafka, *rest = template["spec"]["containers"]
    asked = ("startupProbe", "readinessProbe", "livenessProbe", "command")
    idle = {**{key: value for key, value in kafka.items() if key not in asked}, "command": list(IDLE)}
    spec = {**template["spec"], "containers": [idle, *rest]}
    return {**workload, "spec": {**workload["spec"], "template": {**template, "spec": spec}}}


def _stateful_set(
    name: str, numbers: range, scenario: Scenario, target: Target, load: LoadPods, labels: Mapping[str, str]
) -> Body:
    around = mesh(scenario, target, "client")
    own = {**manifest.selector(scenario), "app.kubernetes.io/component": name}
    metadata: Body = {
        "labels": {**labels, **own, **around.pod_labels},
        "annotations": _told(around.pod_annotations),
    }
    if name == STRANGER:
        metadata = {"labels": {**labels, **own, **OUTSIDE}, "annotations": OUTSIDE_LINKERD}
    return {
        "apiVersion": STATEFUL_SET.api_version,
        "kind": STATEFUL_SET.name,
        "metadata": {"name": name},
        "spec": {
            "serviceName": manifest.SERVICE,
            "replicas": len(numbers),
            "ordinals": {"start": numbers.start},
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": own},
            "template": {"metadata": metadata, "spec": _pod(name, scenario, target, load)},
        },
    }


def _pod(name: str, scenario: Scenario, target: Target, load: LoadPods) -> Body:
    mounts: list[Body] = [{"name": "temporary", "mountPath": TEMPORARY}]
    volumes: list[Body] = [_temporary("temporary")]
    if scenario.data_plane.kafka_tls:
        secret, key = brokers(scenario).authority
        authority = {"key": key, "path": manifest.TLS_AUTHORITY}
        mounts.append({"name": "tls", "mountPath": TLS_DIRECTORY})
        volumes.append({"name": "tls", "secret": {"secretName": secret, "items": [authority]}})
    label, _, value = load.nodes.partition("=")
    return {
        "serviceAccountName": CLIENT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "shareProcessNamespace": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"nodeSelector": {label: value}} if label else {}),
        "tolerations": pools.tolerations(Pool.CLIENT),
        "affinity": {
            "nodeAffinity": pools.affinity(Pool.CLIENT),
            "podAntiAffinity": _away_from_brokers(scenario, target),
        },
        "containers": [{**_container(name, load), "volumeMounts": mounts}],
        "volumes": volumes,
    }


def _away_from_brokers(scenario: Scenario, target: Target) -> Body:
    """On no broker's node; where nodes are shared, on another if there is one."""
    term = {"labelSelector": {"matchLabels": brokers(scenario).selector}, "topologyKey": HOST}
    if target.share_nodes:
        return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


def _container(name: str, load: LoadPods) -> dict[str, Any]:
    return {**idle(name, load.image), "resources": LOAD if name == CLIENT else SMALL}


def idle(name: str, image: str) -> dict[str, Any]:
    """A container of meshmark's image, in which nothing runs until it is told to."""
    return {
        "name": name,
        "image": image,
        "command": list(IDLE),
        "env": [{"name": "HOME", "value": TEMPORARY}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _temporary(name: str) -> Body:
    return {"name": name, "emptyDir": {"sizeLimit": TEMPORARY_SIZE}}


def _told(annotations: Mapping[str, str]) -> dict[str, str]:
    """Istio's sidecar also counts what is looked at here."""
    key = "proxy.istio.io/config"
    if key not in annotations:
        return dict(annotations)
    proxy = {**json.loads(annotations[key]), "proxyStatsMatcher": {"inclusionRegexps": list(STATISTICS)}}
    return {**annotations, key: json.dumps(proxy)}


def _placed(body: Body, target: Target, labels: Mapping[str, str]) -> Body:
    return {**body, "metadata": {**body["metadata"], "namespace": target.namespace, "labels": dict(labels)}}

"""Plan and scenario -> all objects, in the order that they are applied in. Pure: the same each time."""

from __future__ import annotations

from collections.abc import Mapping

from meshmark.backends.kubernetes import config, koperator, manifest, stretched, strimzi
from meshmark.backends.kubernetes.asked import Target, refuse_inexpressible
from meshmark.backends.kubernetes.manifest import Body, Manifest
from meshmark.backends.kubernetes.meshes import mesh, policies
from meshmark.backends.kubernetes.monitors import monitors
from meshmark.backends.kubernetes.pods import pod, stateful_set
from meshmark.plan import Plan, Scenario

OPERATORS = {"strimzi": strimzi.manifests, "koperator": koperator.manifests}
FILES = (
    "service-account.yaml",
    "config-map.yaml",
    "service.yaml",
    "pod-disruption-budget.yaml",
    "stateful-set.yaml",
)
"""Of this provider alone."""
CONFIG_DIGEST = "meshmark/config-sha256"


def manifests(plan: Plan, scenario: Scenario, target: Target, *, kafka: bool = True) -> tuple[Manifest, ...]:
    """Of one scenario of the plan. Raises UsageError where no cluster can be told what the plan says. Without `kafka`
    nobody is to run it."""
    refuse_inexpressible(plan, scenario, kafka=kafka)
    around = mesh(scenario, target)
    if scenario.cluster.operator:
        return OPERATORS[scenario.cluster.operator](plan, scenario, target)
    texts = config.data(plan, scenario, target)
    common = manifest.labels(plan, scenario, target.kafka_version)
    if target.cluster:
        common[manifest.CLUSTER] = target.cluster
    template = pod(
        scenario,
        target,
        labels={**common, **around.pod_labels},
        annotations={**around.pod_annotations, CONFIG_DIGEST: config.digest(texts)},
    )
    bodies: dict[str, Body] = {
        "namespace.yaml": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target.namespace}},
        "service-account.yaml": {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": manifest.ACCOUNT},
            "automountServiceAccountToken": False,
        },
        **policies(scenario),
        "config-map.yaml": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": manifest.CONFIG},
            "data": texts,
        },
        "service.yaml": _service(scenario, around.service_annotations),
        **{stretched.service_file(name): _own_service(scenario, name) for name in stretched.services_of(scenario)},
        "pod-disruption-budget.yaml": _budget(scenario),
        **({} if target.monitors is None else monitors(scenario, target.namespace, target.monitors)),
        "stateful-set.yaml": stateful_set(scenario, target, template),
    }
    return tuple(
        Manifest(file=file, body=manifest.placed(body, target.namespace, common, around.namespace_labels))
        for file, body in bodies.items()
    )


def _service(scenario: Scenario, annotations: Mapping[str, str]) -> Body:
    """Headless: clients reach each broker by its own name. Those that are not ready have theirs too, or no quorum
    would ever form; and ports say that they are TCP, or a proxy waits to see what is spoken."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": manifest.SERVICE, **({"annotations": dict(annotations)} if annotations else {})},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": manifest.selector(scenario),
            "ports": _ports(scenario),
        },
    }


def _own_service(scenario: Scenario, broker: str) -> Body:
    """Of one broker, in each cluster the same: where its pod is not, the name leads to an address that the mesh takes
    to the cluster that has it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": broker},
        "spec": {
            "publishNotReadyAddresses": True,
            "selector": {**manifest.selector(scenario), stretched.POD_NAME: broker},
            "ports": _ports(scenario),
        },
    }


def _ports(scenario: Scenario) -> list[Body]:
    return [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP", "appProtocol": "tcp"}
        for name, port in manifest.ports(scenario.data_plane).items()
    ]


def _budget(scenario: Scenario) -> Body:
    """Nodes are drained one broker at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": manifest.WORKLOAD},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": manifest.selector(scenario)}},
    }

"""A scenario for Koperator 0.28, of the branch that is looked after (adobe/koperator): one KafkaCluster. Pure.

Brokers speak to each other and to clients at the same plaintext listener, so that a mesh carries both, as in the lab;
controllers' port does not pass it. Limits: its TLS listeners want key stores from cert-manager, which are not written
here, so there is no kafka-tls; its Istio ingress was in the branch of 2019 and is not in this one. Beside the brokers
it runs Cruise Control, whose reporter in each broker writes to a topic of its own: a load that the plan does not have.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshmark.backends.kubernetes import manifest
from meshmark.backends.kubernetes.asked import SHARED_CPU, Target, quantity
from meshmark.backends.kubernetes.manifest import Body, Manifest, placed
from meshmark.backends.kubernetes.mesh import DESTINATION_RULE, mesh, policies
from meshmark.backends.kubernetes.operators import inexpressible, settings
from meshmark.backends.kubernetes.pods import ZONE, placement
from meshmark.errors import UsageError
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT, render
from meshmark.plan import Plan, Scenario

API_VERSION = "kafka.banzaicloud.io/v1beta1"
CLUSTER = "kafka"
HEADLESS = f"{CLUSTER}-headless"
"""The service that the operator makes."""
OF_CLUSTER = {"app": "kafka", "kafka_cr": CLUSTER}
"""Labels of the brokers' pods, which the operator gives them."""
BROKER_ID = "brokerId"
"""Label of a broker's pod."""
VOLUME = "/kafka-logs"
"""The operator puts the logs into a directory `kafka` of it."""
GROUP = "broker"
KAFKA_CLUSTER = "kafka-cluster.yaml"
FILES = (KAFKA_CLUSTER,)
FORBIDDEN = (
    "listener",
    "advertised.",
    "broker.id",
    "broker.rack",
    "controller.",
    "node.id",
    "process.roles",
    "inter.broker.listener.name",
    "log.dir",
    "metadata.log.dir",
    "security.",
    "sasl.",
    "ssl.",
    "metric.reporters",
    "cruise.control.",
)
"""Prefixes of settings that the operator writes itself."""


def manifests(plan: Plan, scenario: Scenario, target: Target) -> tuple[Manifest, ...]:
    """All objects, in the order that they are applied in. Raises UsageError with everything that Koperator cannot be
    told."""
    if wrong := list(_inexpressible(scenario, target)):
        raise UsageError(
            f"Koperator cannot be told the scenario {scenario.name}: {'; '.join(wrong)}",
            hint="Leave these out, or take the provider statefulset (docs/how-to/operators.md).",
        )
    labels = manifest.labels(plan, scenario, target.kafka_version)
    del labels["app.kubernetes.io/version"]  # the operator's to say
    bodies: dict[str, Body] = {
        "namespace.yaml": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target.namespace}},
        **_policies(scenario),
        KAFKA_CLUSTER: _cluster(plan, scenario, target),
    }
    of_namespace = mesh(scenario, target).namespace_labels
    return tuple(
        Manifest(file=file, body=placed(body, target.namespace, labels, of_namespace)) for file, body in bodies.items()
    )


def _policies(scenario: Scenario) -> dict[str, Body]:
    """The StatefulSet's, for the service that the operator makes."""
    found = policies(scenario)
    if DESTINATION_RULE in found:
        rule = found[DESTINATION_RULE]
        found[DESTINATION_RULE] = {**rule, "metadata": {"name": HEADLESS}, "spec": {**rule["spec"], "host": HEADLESS}}
    return found


def _cluster(plan: Plan, scenario: Scenario, target: Target) -> Body:
    brokers = scenario.cluster.brokers
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaCluster",
        "metadata": {"name": CLUSTER},
        "spec": {
            "kRaft": True,
            "headlessServiceEnabled": True,
            "oneBrokerPerNode": False,  # the group's affinity says it
            "rackAwareness": {"labels": [ZONE]},
            "readOnlyConfig": render(settings(plan, scenario, FORBIDDEN)),
            "brokerConfigGroups": {GROUP: _group(scenario, target)},
            "brokers": [{"id": number, "brokerConfigGroup": GROUP} for number in range(1, brokers + 1)],
            "disruptionBudget": {"create": True, "budget": "1"},
            "rollingUpgradeConfig": {"failureThreshold": 1},
            "listenersConfig": {"internalListeners": _listeners()},
            "cruiseControlConfig": {
                "cruiseControlTaskSpec": {"RetryDurationMinutes": 5},
                "topicConfig": {"partitions": brokers, "replicationFactor": min(3, brokers)},
            },
        },
    }


def _listeners() -> list[Body]:
    return [
        {
            "type": "plaintext",
            "name": "client",
            "containerPort": BROKER_PORT,
            "usedForInnerBrokerCommunication": True,
        },
        {
            "type": "plaintext",
            "name": "controller",
            "containerPort": CONTROLLER_PORT,
            "usedForInnerBrokerCommunication": False,
            "usedForControllerCommunication": True,
        },
    ]


def _group(scenario: Scenario, target: Target) -> Body:
    """Of all brokers; they are their own controllers, as in the lab. Their image runs as root: with a capability that
    an agent beside it has not, its process could not be looked into."""
    size = {"cpu": str(target.cpus), "memory": quantity(target.memory_bytes)}
    named = {"storageClassName": target.storage_class} if target.storage_class else {}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        **named,
        "resources": {"requests": {"storage": quantity(target.volume_bytes)}},
    }
    around, where = mesh(scenario, target), placement(OF_CLUSTER, target)
    return {
        "processRoles": ["controller", "broker"],
        "resourceRequirements": {
            "requests": {**size, "cpu": SHARED_CPU} if target.share_nodes else size,
            "limits": size,
        },
        "kafkaHeapOpts": f"-Xms{target.heap_bytes} -Xmx{target.heap_bytes}",
        "kafkaJvmPerfOpts": " ".join([*scenario.cluster.jvm_options, "-Djava.awt.headless=true"]),
        "storageConfigs": [{"mountPath": VOLUME, "pvcSpec": claim}],
        "tolerations": where["tolerations"],
        "affinity": where["affinity"],
        "brokerLabels": dict(around.pod_labels),
        "brokerAnnotations": dict(around.pod_annotations),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _inexpressible(scenario: Scenario, target: Target) -> Iterator[str]:
    yield from inexpressible(scenario, target, FORBIDDEN)
    if scenario.data_plane.kafka_tls:
        yield "its TLS listeners want key stores from cert-manager, which are not written here"
    if scenario.cluster.brokers < 2:
        yield "Cruise Control wants two brokers at least"

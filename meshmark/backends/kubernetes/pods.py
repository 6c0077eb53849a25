"""The brokers' StatefulSet: who they are, where they may run, what they are given and what they are denied. Pure.

The rack is the zone of the pod's node by the label that the API server copies from node to pod when it is placed
(Kubernetes 1.35 and newer, KEP-4742); in an older one, or without zones, it is the broker's own, as in the lab. Where
a topology says what racks are, zones do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshmark.backends.kubernetes import manifest, pools
from meshmark.backends.kubernetes.asked import SHARED_CPU, Target, quantity
from meshmark.backends.kubernetes.config import (
    DATA_DIRECTORY,
    DIRECTORY,
    LOG_SETTINGS,
    NAME_VARIABLE,
    START,
    TLS_DIRECTORY,
    ZONE_VARIABLE,
)
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.pools import Pool
from meshmark.backends.kubernetes.stretched import brokers_of
from meshmark.kafka.properties import BROKER_PORT
from meshmark.plan import ClusterSpec, Scenario

BASH = "/bin/bash"  # Kafka's own scripts need it, so every image of Kafka has it
USER = 1000
"""`appuser` of Apache's image, by number, or the kubelet cannot tell that it is not root."""
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
SHARED = "meshmark/share-nodes"
"""Annotation of a StatefulSet whose brokers may share a node."""
TEMPORARY = "/tmp"
TEMPORARY_SIZE = "256Mi"
GRACE_S = 60
START_S = 3_600
"""The port opens once a majority of the pods is placed and the logs are recovered, and neither is a broker's fault:
a probe that ends sooner kills one that recovers, which then begins again."""

VOLUMES = {"data": DATA_DIRECTORY, "config": DIRECTORY, "temporary": TEMPORARY}


def stateful_set(scenario: Scenario, target: Target, template: Body) -> Body:
    """Pods start together: a quorum does not wait for its first member."""
    numbers = brokers_of(scenario, target.cluster)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": manifest.WORKLOAD, **_remark(target)},
        "spec": {
            "serviceName": manifest.SERVICE,
            "replicas": len(numbers),
            "ordinals": {"start": numbers.start},
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "selector": {"matchLabels": manifest.selector(scenario)},
            "template": template,
            "volumeClaimTemplates": [_claim(scenario, target)],
        },
    }


def pod(scenario: Scenario, target: Target, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Body:
    """The template of all brokers."""
    return {
        "metadata": {"labels": dict(labels), "annotations": dict(annotations)},
        "spec": {
            "serviceAccountName": manifest.ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **placement(manifest.selector(scenario), target),
            "containers": [_container(scenario, target)],
            "volumes": _volumes(scenario),
        },
    }


def _remark(target: Target) -> Body:
    """So that whoever looks at the objects knows what they cannot measure."""
    return {"annotations": {SHARED: "true"}} if target.share_nodes else {}


def placement(selector: Mapping[str, str], target: Target) -> Body:
    """A node for each broker, or as many as there are where they may share; of the brokers' pool where there is one,
    and over zones as evenly as there are any. The selector finds all brokers' pods."""
    alike = {"matchLabels": dict(selector)}
    apart = {"labelSelector": alike, "topologyKey": HOST}
    strict = {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
    wished = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]}
    return {
        "tolerations": pools.tolerations(Pool.BROKER),
        "affinity": {
            "nodeAffinity": pools.affinity(Pool.BROKER),
            "podAntiAffinity": wished if target.share_nodes else strict,
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": alike}
        ],
    }


def _container(scenario: Scenario, target: Target) -> Body:
    size = {"cpu": str(target.cpus), "memory": quantity(target.memory_bytes)}
    mounts = [{"name": name, "mountPath": path} for name, path in VOLUMES.items()]
    if scenario.data_plane.kafka_tls:
        mounts.append({"name": "tls", "mountPath": TLS_DIRECTORY})
    return {
        "name": "kafka",
        "image": target.image,
        "command": [BASH, f"{DIRECTORY}/{START}"],
        "env": _environment(scenario.cluster, target),
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in manifest.ports(scenario.data_plane).items()
        ],
        "resources": {"requests": {**size, "cpu": SHARED_CPU} if target.share_nodes else size, "limits": size},
        # The other two are asked only after it has succeeded.
        "startupProbe": _answers(every_s=5, failures=START_S // 5),
        "readinessProbe": _answers(every_s=5, failures=3),
        "livenessProbe": _answers(every_s=10, failures=6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _answers(*, every_s: int, failures: int) -> Body:
    """Does it accept connections? Asked inside the pod: from outside a sidecar would accept them in its place, and a
    Kafka client would be a JVM each time."""
    return {
        "exec": {"command": [BASH, "-c", f": < /dev/tcp/127.0.0.1/{BROKER_PORT}"]},
        "periodSeconds": every_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _environment(spec: ClusterSpec, target: Target) -> list[Body]:
    """In place of the defaults of Kafka's scripts: heap and options are said, there is no log of the collector, and
    log4j writes to no file. What the lab's JVMs get beside that, to be measured and to start sooner, is not said."""
    heap = f"{target.heap_bytes}"
    said = {
        "KAFKA_HEAP_OPTS": f"-Xms{heap} -Xmx{heap}",
        "KAFKA_JVM_PERFORMANCE_OPTS": " ".join(
            [*spec.jvm_options, "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]
        ),
        "KAFKA_LOG4J_OPTS": f"-Dlog4j2.configurationFile={DIRECTORY}/{LOG_SETTINGS}",
        "EXTRA_ARGS": "-name kafkaServer",
        "LOG_DIR": f"{TEMPORARY}/kafka",
    }
    return [
        _field(NAME_VARIABLE, "metadata.name"),
        *([] if target.cluster else [_field(ZONE_VARIABLE, f"metadata.labels['{ZONE}']")]),
        *({"name": name, "value": value} for name, value in said.items()),
    ]


def _field(name: str, path: str) -> Body:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _volumes(scenario: Scenario) -> list[Body]:
    """Those that are no disks."""
    found: list[Body] = [
        {"name": "config", "configMap": {"name": manifest.CONFIG}},
        {"name": "temporary", "emptyDir": {"sizeLimit": TEMPORARY_SIZE}},
    ]
    if scenario.data_plane.kafka_tls:
        found.append({"name": "tls", "secret": {"secretName": manifest.TLS_SECRET, "defaultMode": 0o440}})
    return found


def _claim(scenario: Scenario, target: Target) -> Body:
    """Labels that never change alone: a StatefulSet's claims cannot."""
    named = {"storageClassName": target.storage_class} if target.storage_class else {}
    return {
        "metadata": {"name": "data", "labels": {**manifest.selector(scenario), manifest.MANAGED: manifest.OWNER}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **named,
            "resources": {"requests": {"storage": quantity(target.volume_bytes)}},
        },
    }

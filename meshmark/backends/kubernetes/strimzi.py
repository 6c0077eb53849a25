"""A scenario for Strimzi 1.2: a Kafka and its KafkaNodePool, which its operator makes brokers of. Pure.

What cannot be as in the lab, whatever the data plane: brokers replicate over TLS of Kafka's own (port 9091), which
Strimzi does not switch off, and its operator administers them over that port; controllers and the agent have TLS, too.
So the mesh either leaves replication alone, the default, or carries it encrypted twice. Kafka is of the version that
the operator brings, in its image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from meshmark.backends.kubernetes import manifest
from meshmark.backends.kubernetes.asked import SHARED_CPU, Target, quantity
from meshmark.backends.kubernetes.manifest import Body, Manifest, placed
from meshmark.backends.kubernetes.mesh import DESTINATION_RULE, PEER_AUTHENTICATION, mesh, policies
from meshmark.backends.kubernetes.operators import inexpressible, settings
from meshmark.backends.kubernetes.pods import ZONE, placement
from meshmark.errors import UsageError
from meshmark.kafka.properties import BROKER_PORT
from meshmark.plan import Plan, Scenario

API_VERSION = "kafka.strimzi.io/v1"
CLUSTER = "kafka"
BOOTSTRAP, BROKERS = f"{CLUSTER}-kafka-bootstrap", f"{CLUSTER}-kafka-brokers"
"""Services that the operator makes."""
OF_CLUSTER = {"strimzi.io/cluster": CLUSTER}
"""Label of the pool, and of all pods that the operator makes for it."""
AUTHORITY = (f"{CLUSTER}-cluster-ca-cert", "ca.crt")
"""The Secret that the operator makes, and its key with the certificate that clients trust."""
CONTROL_PORT, REPLICATION_PORT, AGENT_PORT = 9090, 9091, 8443
NODE_POOL, KAFKA = "kafka-node-pool.yaml", "kafka.yaml"
BOOTSTRAP_RULE, REPLICATION_POLICY = "destination-rule-bootstrap.yaml", "peer-authentication-broker.yaml"
FILES = (NODE_POOL, KAFKA, BOOTSTRAP_RULE, REPLICATION_POLICY)
REPLICATION = "meshmark/replication"
"""Annotation of the Kafka: who encrypts what brokers send each other."""
FORBIDDEN = (
    "listener",
    "advertised.",
    "broker.",
    "controller.",
    "node.id",
    "process.roles",
    "inter.broker.listener.name",
    "log.dir",
    "metadata.log.dir",
    "host.name",
    "port",
    "sasl.",
    "ssl.",
    "security.",
    "password.",
    "authorizer.",
    "super.user",
    "cruise.control.metrics.",
    "client.quota.callback.static.",
    "prometheus.metrics.reporter.",
    "cordoned.log.dirs",
)
"""Prefixes of settings that the operator decides (KafkaClusterSpec.FORBIDDEN_PREFIXES of Strimzi 1.2)."""


def manifests(plan: Plan, scenario: Scenario, target: Target) -> tuple[Manifest, ...]:
    """All objects, in the order that they are applied in. Raises UsageError with everything that Strimzi cannot be
    told."""
    if wrong := list(_inexpressible(scenario, target)):
        raise UsageError(
            f"Strimzi cannot be told the scenario {scenario.name}: {'; '.join(wrong)}",
            hint="Leave these out, or take the provider statefulset (docs/how-to/operators.md).",
        )
    labels = manifest.labels(plan, scenario, target.kafka_version)
    del labels["app.kubernetes.io/version"]  # the operator's to say
    bodies: dict[str, Body] = {
        "namespace.yaml": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target.namespace}},
        **_policies(scenario),
        NODE_POOL: _node_pool(scenario, target),
        KAFKA: _kafka(plan, scenario, target),
    }
    of_namespace = mesh(scenario, target).namespace_labels
    return tuple(
        Manifest(file=file, body=placed(body, target.namespace, labels, of_namespace)) for file, body in bodies.items()
    )


def replication(scenario: Scenario) -> str:
    """Who encrypts it: Kafka alone, or Kafka and then the mesh."""
    twice = scenario.cluster.replication_in_mesh and scenario.data_plane.mtls
    return "kafka-tls in istio-mtls" if twice else "kafka-tls"


def remark(scenario: Scenario) -> str:
    """What is not as in the lab, and the choice."""
    told = f"what brokers send each other is encrypted whatever the data plane: {replication(scenario)}"
    if scenario.data_plane.sidecars and not scenario.cluster.replication_in_mesh:
        told += "; it does not pass the sidecars (--replication-in-mesh: it does)"
    return told


def _node_pool(scenario: Scenario, target: Target) -> Body:
    """Brokers are their own controllers, numbered from 1, as in the lab."""
    size = {"cpu": str(target.cpus), "memory": quantity(target.memory_bytes)}
    named = {"class": target.storage_class} if target.storage_class else {}
    volume = {"id": 0, "type": "persistent-claim", "size": quantity(target.volume_bytes), **named}
    numbers = f"[1-{scenario.cluster.brokers}]" if scenario.cluster.brokers > 1 else "[1]"
    around = mesh(scenario, target)
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaNodePool",
        "metadata": {
            "name": manifest.WORKLOAD,
            "labels": OF_CLUSTER,
            "annotations": {"strimzi.io/next-node-ids": numbers},
        },
        "spec": {
            "replicas": scenario.cluster.brokers,
            "roles": ["controller", "broker"],
            "storage": {"type": "jbod", "volumes": [{**volume, "deleteClaim": True, "kraftMetadata": "shared"}]},
            "resources": {"requests": {**size, "cpu": SHARED_CPU} if target.share_nodes else size, "limits": size},
            "jvmOptions": _jvm(scenario, target),
            "template": {
                "pod": {
                    "metadata": {
                        "labels": dict(around.pod_labels),
                        "annotations": {**around.pod_annotations, **_past_the_mesh(scenario)},
                    },
                    **placement(OF_CLUSTER, target),
                }
            },
        },
    }


def _past_the_mesh(scenario: Scenario) -> dict[str, str]:
    """Ports that no sidecar takes. One that is there before the operator's own init container lets that reach the API
    server, which it asks for the rack."""
    if not scenario.data_plane.sidecars:
        return {}
    ports = [CONTROL_PORT, AGENT_PORT, *([] if scenario.cluster.replication_in_mesh else [REPLICATION_PORT])]
    listed = ",".join(map(str, sorted(ports)))
    return {
        "sidecar.istio.io/nativeSidecar": "true",
        "traffic.sidecar.istio.io/excludeInboundPorts": listed,
        "traffic.sidecar.istio.io/excludeOutboundPorts": listed,
    }


def _kafka(plan: Plan, scenario: Scenario, target: Target) -> Body:
    tls = scenario.data_plane.kafka_tls
    return {
        "apiVersion": API_VERSION,
        "kind": "Kafka",
        "metadata": {"name": CLUSTER, "annotations": {REPLICATION: replication(scenario)}},
        "spec": {
            "kafka": {
                "listeners": [{"name": "client", "port": BROKER_PORT, "type": "internal", "tls": tls}],
                "rack": {"topologyKey": ZONE},
                "config": _settings(plan, scenario),
            }
        },
    }


def _settings(plan: Plan, scenario: Scenario) -> dict[str, str]:
    """Of TLS, two that it leaves to others."""
    tls = {"ssl.enabled.protocols": "TLSv1.3", "ssl.protocol": "TLSv1.3"}
    more = tls if scenario.data_plane.kafka_tls else {}
    return {**settings(plan, scenario, FORBIDDEN), **more}


def _jvm(scenario: Scenario, target: Target) -> Body:
    """As the operator has them: heap, options that begin with -XX, and system properties."""
    options, properties = {}, []
    for option in scenario.cluster.jvm_options:
        if switch := re.fullmatch(r"-XX:([+-])(\w+)", option):
            options[switch[2]] = "true" if switch[1] == "+" else "false"
        elif valued := re.fullmatch(r"-XX:(\w+)=(.+)", option):
            options[valued[1]] = valued[2]
        elif defined := re.fullmatch(r"-D([^=]+)=(.*)", option):
            properties.append({"name": defined[1], "value": defined[2]})
        else:
            raise UsageError(
                f"Strimzi takes no JVM option {option}", hint="It takes -XX:... and -DNAME=VALUE (jvmOptions)."
            )
    heap = str(target.heap_bytes)
    more: dict[str, Any] = {"javaSystemProperties": properties} if properties else {}
    return {"-Xms": heap, "-Xmx": heap, "-XX": options, **more}


def _policies(scenario: Scenario) -> dict[str, Body]:
    """Of the StatefulSet, for the services that the operator makes. Where replication passes the mesh, the operator,
    which has no sidecar, is let in at its port."""
    found = policies(scenario)
    if not found:
        return {}
    rule = found[DESTINATION_RULE]
    made: dict[str, Body] = {PEER_AUTHENTICATION: found[PEER_AUTHENTICATION]}
    for file, host in ((DESTINATION_RULE, BROKERS), (BOOTSTRAP_RULE, BOOTSTRAP)):
        made[file] = {**rule, "metadata": {"name": host}, "spec": {**rule["spec"], "host": host}}
    if scenario.cluster.replication_in_mesh and scenario.data_plane.mtls:
        policy = found[PEER_AUTHENTICATION]
        spec = {
            "selector": {"matchLabels": OF_CLUSTER},
            **policy["spec"],
            "portLevelMtls": {str(REPLICATION_PORT): {"mode": "PERMISSIVE"}},
        }
        made[REPLICATION_POLICY] = {**policy, "metadata": {"name": manifest.WORKLOAD}, "spec": spec}
    return made


def _inexpressible(scenario: Scenario, target: Target) -> Iterator[str]:
    yield from inexpressible(scenario, target, FORBIDDEN)

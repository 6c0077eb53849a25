"""The brokers' ConfigMap: each one's settings, how it logs, and how it starts. Pure.

Settings come from the code that the lab's come from. What differs is where brokers listen (on all addresses, since a
pod's name may not resolve yet when it starts) and where they are found (by the pod's stable name).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from meshmark.backends.kubernetes import manifest
from meshmark.backends.kubernetes.asked import Target
from meshmark.backends.kubernetes.stretched import brokers_of
from meshmark.kafka.launch import LOGGING
from meshmark.kafka.properties import Node, TlsStores, broker_properties, render
from meshmark.plan import Plan, Scenario

DIRECTORY = "/etc/meshmark"
"""Where the ConfigMap is mounted."""
DATA_DIRECTORY = "/var/lib/kafka/data"
"""A volume of the image anyway."""
TLS_DIRECTORY = "/etc/meshmark-tls"
START = "start.sh"
LOG_SETTINGS = "log4j2.properties"
NAME_VARIABLE = "POD_NAME"
ZONE_VARIABLE = "NODE_ZONE"
KAFKA_SCRIPTS = "/opt/kafka/bin"

SCRIPT = f"""# The pod's ordinal is the broker's number; its rack is the node's zone, where the pod knows that.
set -eu
settings="{DIRECTORY}/broker-${{{NAME_VARIABLE}##*-}}.properties"
KAFKA_HEAP_OPTS=-Xmx256M {KAFKA_SCRIPTS}/kafka-storage.sh format --ignore-formatted --cluster-id CLUSTER_ID \\
  --config "$settings"
if [ -n "${{{ZONE_VARIABLE}:-}}" ]; then
  exec {KAFKA_SCRIPTS}/kafka-server-start.sh "$settings" --override "broker.rack=${ZONE_VARIABLE}"
fi
exec {KAFKA_SCRIPTS}/kafka-server-start.sh "$settings"
"""


def data(plan: Plan, scenario: Scenario, target: Target) -> dict[str, str]:
    """File name -> text; of the brokers of one cluster, which know all of them."""
    stretched = bool(scenario.cluster.topology)
    nodes = [
        Node(node_id=number, address=manifest.address(number, target.namespace, stretched=stretched), listens_at="")
        for number in range(1, scenario.cluster.brokers + 1)
    ]
    made = {
        f"{manifest.WORKLOAD}-{node.node_id}.properties": render(
            broker_properties(
                scenario,
                nodes,
                node,
                directory=Path(DATA_DIRECTORY),
                log_budget_bytes=plan.log_budget_bytes,
                tls=_stores(scenario),
            )
        )
        for node in nodes
        if node.node_id in brokers_of(scenario, target.cluster)
    }
    made[LOG_SETTINGS] = LOGGING.read_text(encoding="utf-8")
    made[START] = SCRIPT.replace("CLUSTER_ID", cluster_id(plan, scenario, target))
    return made


def digest(data: dict[str, str]) -> str:
    """Changes with any of the texts: an annotation of the pods, so that they follow the ConfigMap."""
    whole = hashlib.sha256()
    for name, text in sorted(data.items()):
        whole.update(f"{name}\n{len(text)}\n{text}".encode())
    return whole.hexdigest()


def cluster_id(plan: Plan, scenario: Scenario, target: Target) -> str:
    """As Kafka writes UUIDs, of the names alone, so that an export is the same each time; never one that begins with a
    dash, which a command line would take for an option."""
    seed = f"{plan.name}/{scenario.name}/{target.namespace}".encode()
    while True:
        seed = hashlib.sha256(seed).digest()
        text = base64.urlsafe_b64encode(seed[:16]).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _stores(scenario: Scenario) -> TlsStores | None:
    if not scenario.data_plane.kafka_tls:
        return None
    directory = Path(TLS_DIRECTORY)
    return TlsStores(keystore=directory / manifest.TLS_KEYSTORE, truststore=directory / manifest.TLS_AUTHORITY)

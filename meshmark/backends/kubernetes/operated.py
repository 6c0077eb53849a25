"""Brokers that an operator makes: what it says of the resource that it was given, and which objects are of its making.

What an operator makes has labels of its own. Whose it is, the API's owner references tell: each names the resource of
ours that it was made for, or for pods of Strimzi the set between. Pure. Limit: Koperator does not say of which
generation its state is, so a change that it has not seen yet looks settled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshmark.backends.kubernetes import koperator, strimzi
from meshmark.backends.kubernetes.kinds import KAFKA, KAFKA_CLUSTER, KAFKA_NODE_POOL, KOPERATOR, STRIMZI, kind_of
from meshmark.backends.kubernetes.manifest import WORKLOAD, Body
from meshmark.kafka.properties import BROKER_PORT

OWNERS = {
    (STRIMZI, "Kafka", strimzi.CLUSTER),
    (STRIMZI, "KafkaNodePool", WORKLOAD),
    ("core.strimzi.io", "StrimziPodSet", f"{strimzi.CLUSTER}-{WORKLOAD}"),
    (KOPERATOR, "KafkaCluster", koperator.CLUSTER),
}
"""API group, kind and name. Resources of these names are ours: `up` refuses a namespace where they are not."""
CRUISE_CONTROL = re.compile(rf"{koperator.CLUSTER}-cruisecontrol-[0-9a-z]+")
"""The set of pods of the Deployment that Koperator makes, by which alone that pod is known as its."""
SILENT = "its operator has said nothing yet: does one run, and does it watch this namespace?"
RUNNING = "ClusterRunning"
"""Koperator's state of a cluster with nothing to be done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operated:
    """What an operator was asked for. `said` is its own word on it, empty where that is ready and there is no more."""

    wanted: int
    ready: bool
    said: str
    bootstrap: str
    replication: str = ""
    """Who encrypts what brokers send each other, where that is not as the data plane has it."""
    version: str = ""
    """Of the operator, as it says it; empty where it does not."""


def by_operator(body: Body) -> bool:
    """Was the object made by an operator, for a resource of ours?"""
    return any(
        (str(owner.get("apiVersion", "")).partition("/")[0], owner.get("kind"), owner.get("name")) in OWNERS
        for owner in body["metadata"].get("ownerReferences") or ()
    )


def goes_with_it(body: Body) -> bool:
    """Does it end with a resource of ours: what was made for that, and the pod that Koperator has beside brokers?"""
    owners = body["metadata"].get("ownerReferences") or ()
    beside = [each for each in owners if each.get("kind") == "ReplicaSet" and CRUISE_CONTROL.fullmatch(each["name"])]
    return bool(beside) or by_operator(body)


def read(objects: Iterable[Body]) -> Operated | None:
    """Of a scenario's objects, as the cluster has them; None where no operator makes its brokers."""
    found = {(kind_of(body), body["metadata"]["name"]): body for body in objects}
    if kafka := found.get((KAFKA, strimzi.CLUSTER)):
        return _strimzi(kafka, found.get((KAFKA_NODE_POOL, WORKLOAD)))
    cluster = found.get((KAFKA_CLUSTER, koperator.CLUSTER))
    return _koperator(cluster) if cluster else None


def what_keeps(body: Body) -> str:
    """Why a resource that is being removed is still there."""
    finalizers = body["metadata"].get("finalizers") or []
    return f" (its operator has not let go of it: {', '.join(finalizers)})" if finalizers else ""


def _strimzi(kafka: Body, pool: Body | None) -> Operated:
    metadata, status = kafka["metadata"], kafka.get("status") or {}
    conditions = status.get("conditions") or []
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 1)
    is_ready = any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
    said = "; ".join(_conditions(conditions)) if conditions else SILENT
    return Operated(
        wanted=pool["spec"]["replicas"] if pool else 0,
        ready=seen and is_ready,
        said=said if seen or not conditions else f"the last change is not seen yet; before: {said or 'ready'}",
        bootstrap=f"{strimzi.BOOTSTRAP}.{metadata['namespace']}.svc:{BROKER_PORT}",
        replication=(metadata.get("annotations") or {}).get(strimzi.REPLICATION, ""),
        version=str(status.get("operatorLastSuccessfulVersion", "")),
    )


def _conditions(conditions: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Those that hold and are not good news; warnings are told of a ready cluster too."""
    for each in conditions:
        if each["status"] == "True" and each["type"] != "Ready":
            yield ": ".join(str(each[key]) for key in ("type", "reason", "message") if each.get(key))


def _koperator(cluster: Body) -> Operated:
    state = (cluster.get("status") or {}).get("state", "")
    return Operated(
        wanted=len(cluster["spec"]["brokers"]),
        ready=state == RUNNING,
        said="" if state == RUNNING else state or SILENT,
        bootstrap=f"{koperator.HEADLESS}.{cluster['metadata']['namespace']}.svc:{BROKER_PORT}",
    )

"""One object of Kubernetes with the file that it goes to, and the names and labels that all objects share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshmark.data_plane import DataPlane
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT, REPLICATION_PORT
from meshmark.plan import Plan, Scenario

Body = Mapping[str, Any]
"""An object as the API has it: strings, numbers, booleans, lists and mappings."""

SERVICE = "kafka"
"""The headless service, by which pods have names of their own."""
WORKLOAD = "broker"
"""The StatefulSet: its pods are broker-1, broker-2, ..., as hosts of the lab are called."""
CONFIG = "broker-config"
DASHBOARD = "meshmark-dashboard"
ACCOUNT = "broker"
TLS_SECRET = "broker-tls"
"""Of kafka-tls; whoever applies the manifests makes it. Its keys are those that cert-manager writes."""
TLS_KEYSTORE = "tls-combined.pem"
TLS_AUTHORITY = "ca.crt"

MANAGED = "app.kubernetes.io/managed-by"
OWNER = "meshmark"
PLAN = "meshmark/plan"
SCENARIO = "meshmark/scenario"
DATA_PLANE = "meshmark/data-plane"
CLUSTER = "meshmark/cluster"
"""Which one of the plan's topology this is; only there."""
CREATED = "meshmark/created"
"""Annotation of a namespace that `up` made; only such a one is ever removed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One object, and the name of its file."""

    file: str
    body: Body


def host(namespace: str) -> str:
    """The service's name, the same whatever the cluster's domain is: every pod's resolver adds that."""
    return f"{SERVICE}.{namespace}.svc"


def address(number: int, namespace: str, *, stretched: bool = False) -> str:
    """Of one broker, for as long as the StatefulSet lives, on whatever node the pod is. Over several clusters it is
    that of a service of its own, which each of them has."""
    return f"{WORKLOAD}-{number}.{namespace}.svc" if stretched else f"{WORKLOAD}-{number}.{host(namespace)}"


def ports(plane: DataPlane) -> dict[str, int]:
    """Of a broker, by name. Names say that they are TCP, or a proxy waits to see what is spoken."""
    own = {"tcp-replication": REPLICATION_PORT} if plane.own_replication else {}
    return {"tcp-kafka": BROKER_PORT, "tcp-controller": CONTROLLER_PORT, **own}


def selector(scenario: Scenario) -> dict[str, str]:
    """By which the brokers' pods are found; a part of all labels that cannot be changed later."""
    return {
        "app.kubernetes.io/name": "kafka",
        "app.kubernetes.io/instance": scenario.name,
        "app.kubernetes.io/component": "broker",
    }


def labels(plan: Plan, scenario: Scenario, version: str) -> dict[str, str]:
    """Of every object: those that Kubernetes recommends, and what the object is a part of here."""
    return {
        **selector(scenario),
        "app.kubernetes.io/version": version,
        "app.kubernetes.io/part-of": "meshmark",
        MANAGED: OWNER,
        PLAN: plan.name,
        SCENARIO: scenario.name,
        DATA_PLANE: str(scenario.data_plane),
    }


def placed(body: Body, namespace: str, labels: Mapping[str, str], of_namespace: Mapping[str, str]) -> Body:
    """With its labels and, where it is not the namespace itself, in the namespace."""
    if body["kind"] == "Namespace":
        metadata = {**body["metadata"], "labels": {**labels, **of_namespace}}
    else:
        own = body["metadata"].get("labels", {})
        metadata = {**body["metadata"], "namespace": namespace, "labels": {**own, **labels}}
    return {**body, "metadata": metadata}

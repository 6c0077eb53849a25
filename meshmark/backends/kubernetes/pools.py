"""Pools of nodes: brokers and clients have their own, by a label and a taint, so that neither takes the other's CPU.

Where a cluster has no such nodes, pods go where there is room: the label is preferred, and a taint that is not there
needs no tolerance. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

LABEL = "meshmark/pool"
"""Of nodes, and the key of their taint."""
EFFECT = "NoSchedule"


class Pool(StrEnum):
    """`controller` is what the document's ZooKeeper had: not tainted, it takes all that belongs to no other pool."""

    BROKER = "broker"
    CONTROLLER = "controller"
    CLIENT = "client"

    @property
    def tainted(self) -> bool:
        return self is not Pool.CONTROLLER


def affinity(pool: Pool) -> dict[str, Any]:
    """For a pod's `nodeAffinity`."""
    wanted = {"matchExpressions": [{"key": LABEL, "operator": "In", "values": [str(pool)]}]}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": wanted}]}


def tolerations(pool: Pool) -> list[dict[str, str]]:
    """For a pod's `tolerations`."""
    return [{"key": LABEL, "operator": "Equal", "value": str(pool), "effect": EFFECT}] if pool.tainted else []

"""What is alike for all operators that make brokers: the settings that are theirs, what none can be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meshmark.backends.kubernetes.asked import Target
from meshmark.data_plane import BETWEEN_HOSTS, DataPlane
from meshmark.kafka.properties import Node, broker_properties
from meshmark.plan import Plan, Scenario


def settings(plan: Plan, scenario: Scenario, forbidden: tuple[str, ...]) -> dict[str, str]:
    """Those of the lab's brokers that do not begin with what the operator decides. TLS is not among them."""
    plain = scenario.model_copy(update={"data_plane": DataPlane.PLAIN})
    node = Node(node_id=1, address="")
    lab = broker_properties(plain, [node], node, directory=Path("/"), log_budget_bytes=plan.log_budget_bytes)
    return {key: value for key, value in lab.items() if not key.startswith(forbidden)}


def inexpressible(scenario: Scenario, target: Target, forbidden: tuple[str, ...]) -> Iterator[str]:
    """What of the plan, and of what is asked for beside it, no operator takes."""
    if taken := sorted(key for key in scenario.cluster.broker_config if key.startswith(forbidden)):
        yield f"brokerConfig sets {', '.join(taken)}, which its operator decides"
    plane = scenario.data_plane
    if plane.mesh not in ("none", "istio") or plane.row.carries not in ((), BETWEEN_HOSTS):
        yield f"{plane} is for meshmark's own brokers: an operator's have Istio's sidecars for both hops, or none"
    if scenario.cluster.topology:
        yield "a topology is for the StatefulSets of its clusters"
    if target.monitors is not None:
        yield "--monitors are for the StatefulSet's pods"

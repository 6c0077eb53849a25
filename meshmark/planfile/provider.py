"""Who makes the brokers of a plan's scenarios, where the command line says it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshmark.errors import UsageError
from meshmark.plan import OPERATORS, Plan, Scenario

OWN = "statefulset"
"""On the command line: no operator."""
PROVIDERS = (OWN, *OPERATORS)


def provided(plan: Plan, provider: str | None, *, replication_in_mesh: bool = False) -> Plan:
    """Of all scenarios, as the plan has it without a provider. Raises UsageError for one that there is not, and where
    no scenario's replication could pass a mesh beside being encrypted by Kafka."""
    if provider is not None:
        if provider not in PROVIDERS:
            raise UsageError(f"--provider {provider} is not allowed", hint=f"it takes {', '.join(PROVIDERS)}")
        operator = "" if provider == OWN else provider
        plan = _changed(plan, lambda scenario: _of_operator(scenario, operator))
    if not replication_in_mesh:
        return plan
    if not any(scenario.cluster.operator == "strimzi" for scenario in plan.scenarios):
        raise UsageError("--replication-in-mesh is of --provider strimzi", hint="Others have it in the mesh.")
    if not any(scenario.could_replicate_in_mesh for scenario in plan.scenarios):
        raise UsageError(
            "--replication-in-mesh needs a data plane with sidecars", hint="Leave it out, or take istio or istio-mtls."
        )
    return _changed(plan, lambda scenario: {"replication_in_mesh": scenario.could_replicate_in_mesh})


def _of_operator(scenario: Scenario, operator: str) -> Mapping[str, object]:
    """What the plan says of one operator means nothing to another."""
    return {} if scenario.cluster.operator == operator else {"operator": operator, "replication_in_mesh": False}


def _changed(plan: Plan, values: Callable[[Scenario], Mapping[str, object]]) -> Plan:
    """Clusters of all scenarios."""
    scenarios = tuple(
        scenario.model_copy(update={"cluster": scenario.cluster.model_copy(update=values(scenario))})
        for scenario in plan.scenarios
    )
    return plan.model_copy(update={"scenarios": scenarios})

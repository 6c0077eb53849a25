"""What every report says of its figures: units, and what machines they are of."""

from __future__ import annotations

from collections.abc import Iterator

from meshmark.analysis.model import Summary

UNITS = (
    "MB = 10^6 bytes, GB = 10^9 bytes. 'Per MB' and 'per GB' are of payload acknowledged, before replication. "
    "Bytes to the device lag behind bytes to the log, since writeback does. "
    "Packets are offload super-packets as the hosts' interfaces count them, not packets on a wire."
)
ONE_MACHINE = (
    "Brokers, sidecars and clients shared one machine, without a network card between them: ratios and CPU per GB "
    "travel to other machines, MB/s do not."
)
NODES = (
    "Brokers and clients were pods on several nodes of a cluster, whose CPUs and memory are added up: a ceiling is of "
    "these nodes and of the network between them."
)
SHARED_NODES = (
    "Brokers might share a node with each other and with clients, and reserved next to no CPU: figures say how they "
    "disturb each other."
)


OPERATOR = (
    "The brokers were made by {operator}: its image, settings and helpers are not meshmark's, so these figures are "
    "not like for like with a run on brokers of meshmark's own, or of another operator's."
)
STRIMZI = (
    "Strimzi's brokers encrypt what they send each other whatever the data plane: the loss of one that encrypts too "
    "is that of clients' connections alone, and plain is not plain between brokers."
)


def one_machine(summary: Summary) -> bool:
    """Did all of it run on one? A record of the lab does not say, and always did."""
    return summary.started.host.features.get("one_node", True)


def caveats(summary: Summary) -> tuple[str, ...]:
    shared = summary.started.host.features.get("shared_nodes", False)
    found = [UNITS, ONE_MACHINE if one_machine(summary) else NODES, *([SHARED_NODES] if shared else [])]
    return (*found, *_of_operators(summary))


def _of_operators(summary: Summary) -> Iterator[str]:
    scenarios = summary.plan.scenarios
    for operator in dict.fromkeys(scenario.cluster.operator for scenario in scenarios if scenario.cluster.operator):
        yield OPERATOR.format(operator=operator)
        if operator == "strimzi":
            yield STRIMZI
    for scenario in scenarios:
        for hop in scenario.encrypted_by:
            if scenario.layers(hop) > 1:
                yield f"{scenario.name}: {hop} is encrypted twice ({scenario.encrypted_by[hop]})."


def encrypters(summary: Summary) -> list[str]:
    """Of each scenario that has any, who encrypts which hops."""
    found = []
    for row in summary.scenarios:
        hops_of: dict[str, list[str]] = {}
        for hop, who in row.encrypted_by.items():
            hops_of.setdefault(who, []).append(hop)
        if hops_of:
            told = "; ".join(f"{', '.join(own)} by {who}" for who, own in hops_of.items())
            found.append(f"{row.name}: {told}")
    return found

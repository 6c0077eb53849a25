"""What lies between the clusters of a topology, as it is found: round trips from pod to pod, past the sidecars.

A connection is made to a port outside the mesh, where the other pod's agent listens. The kernel tells how long its
handshake took (TCP_INFO), and the other kernel answers by itself: no process has to get a CPU in between, so the way
is timed alone, also under load.

A way must have a time before load, or there is no run: the plan's would take its place else. Under load one that has
none is recorded so, and the trial goes on.

Limits: pods reach each other directly, and not through gateways; neither loss nor bandwidth is probed. A handshake
whose first packet was lost has no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from statistics import median
from typing import Any

from meshmark.backends.kubernetes.stream import AgentLink
from meshmark.backends.kubernetes.stretched import PROBE_PORT
from meshmark.errors import ClusterUnreachable, ComponentFailed
from meshmark.record import LinkProbe
from meshmark.topology import Topology

IDLE: Mapping[str, float] = {"count": 25, "timeout_s": 5.0}
LOADED: Mapping[str, float] = {"count": 15, "timeout_s": 2.0}
"""Handshakes for each way, and how long they may take together."""
NOTHING: Mapping[str, Any] = {"times_s": (), "congestion_control": "", "tcp_memory_bytes": None}


def probes(
    topology: Topology, agents: Mapping[str, AgentLink], address: Callable[[str], str], trial: int | None
) -> Iterator[LinkProbe]:
    """The way between any two clusters where no third one is on it, in either direction, all clusters at once.
    `agents`: of a pod of each cluster; `address` is that of a host. Raises ComponentFailed for a way without a time
    before load, which must have been asked for before one under load is."""
    ways = [
        (source, target)
        for source, target in permutations(agents, 2)
        if agents.keys().isdisjoint(topology.between(source, target))
    ]
    if trial is None:
        for agent in agents.values():
            agent.ask("listen", address=address(agent.host), port=PROBE_PORT)
    with ThreadPoolExecutor(len(ways)) as threads:
        asked = [
            threads.submit(_handshakes, agents[source], address(agents[target].host), loaded=trial is not None)
            for source, target in ways
        ]
    for (source, target), answer in zip(ways, asked, strict=True):
        found = answer.result()
        if trial is None and not found["times_s"]:
            raise ComponentFailed(
                f"no handshake from {agents[source].host} in the cluster {source} with {agents[target].host} in "
                f"{target}, at {address(agents[target].host)} port {PROBE_PORT}: {found['failed']}",
                component="way",
                hint="Pods must reach each other directly: look at routes, firewalls and NetworkPolicies.",
            )
        yield _probe(topology, source, target, found, trial)


def _handshakes(agent: AgentLink, address: str, *, loaded: bool) -> Mapping[str, Any]:
    effort = LOADED if loaded else IDLE
    try:
        answer: Mapping[str, Any] = agent.ask("way", address=address, port=PROBE_PORT, **effort)
    except (ComponentFailed, ClusterUnreachable):
        if not loaded:
            raise
        return NOTHING
    return answer


def _probe(topology: Topology, source: str, target: str, found: Mapping[str, Any], trial: int | None) -> LinkProbe:
    there, back = topology.way(source, target), topology.way(target, source)
    times_s = found["times_s"]
    return LinkProbe(
        source=source,
        target=target,
        kind="found",
        trial=trial,
        asked_rtt_s=there.delay_s + back.delay_s,
        rtt_s=median(times_s) if times_s else None,
        rtt_min_s=min(times_s, default=None),
        rtt_max_s=max(times_s, default=None),
        congestion_control=found["congestion_control"],
        tcp_memory_bytes=found["tcp_memory_bytes"],
    )

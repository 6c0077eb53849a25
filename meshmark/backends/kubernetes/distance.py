"""What lies between the clusters of a topology, as it is found: round trips from pod to pod, past the sidecars.

A connection is made to a port outside the mesh, where the other pod's agent listens. The kernel tells how long its
handshake took (TCP_INFO), and the other kernel answers by itself: no process has to get a CPU in between, so the way
is timed alone, also under load.

Limits: pods reach each other directly, and not through gateways; neither loss nor bandwidth is probed. A handshake
whose first packet was lost has no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from statistics import median

from meshmark.backends.kubernetes.stream import AgentLink
from meshmark.backends.kubernetes.stretched import PROBE_PORT
from meshmark.record import LinkProbe
from meshmark.topology import Topology

CONNECTIONS, CONNECTIONS_LOADED = 25, 15


def probes(
    topology: Topology, agents: Mapping[str, AgentLink], address: Callable[[str], str], trial: int | None
) -> Iterator[LinkProbe]:
    """The way between any two clusters where no third one is on it, in either direction. `agents`: of a pod of each
    cluster; `address` is that of a host."""
    for agent in agents.values():
        agent.ask("listen", address=address(agent.host), port=PROBE_PORT)
    for source, agent in agents.items():
        for target in agents:
            if target != source and agents.keys().isdisjoint(topology.between(source, target)):
                yield _probe(topology, source, target, agent, address(agents[target].host), trial)


def _probe(
    topology: Topology, source: str, target: str, agent: AgentLink, address: str, trial: int | None
) -> LinkProbe:
    there, back = topology.way(source, target), topology.way(target, source)
    count = CONNECTIONS if trial is None else CONNECTIONS_LOADED
    found = agent.ask("way", address=address, port=PROBE_PORT, count=count)
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
        tcp_memory_bytes=tuple(found["tcp_memory_bytes"]),
    )

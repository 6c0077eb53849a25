"""Distance in the simulated system: links are exactly as asked for, as far as they carry so much; an acknowledgement
waits one round trip for the farthest replica."""

from __future__ import annotations

import math
from itertools import permutations

from meshmark.record import LinkProbe
from meshmark.topology import Topology

PACKETS = 1_000
TCP_MEMORY_BYTES = (6_291_456, 4_194_304)  # Linux' own on a machine with memory enough


def farthest_s(topology: Topology) -> float:
    """The longest round trip between two clusters that have brokers."""
    return max((probe.asked_rtt_s for probe in probes(topology, None)), default=0.0)


def probes(topology: Topology, trial: int | None, most_bytes_s: float = math.inf) -> list[LinkProbe]:
    there = [cluster.name for cluster in topology.clusters if cluster.brokers]
    return [_probe(topology, source, target, trial, most_bytes_s) for source, target in permutations(there, 2)]


def _probe(topology: Topology, source: str, target: str, trial: int | None, most_bytes_s: float) -> LinkProbe:
    way, back = topology.way(source, target), topology.way(target, source)
    rtt_s = way.delay_s + back.delay_s
    idle, limit = trial is None, way.bandwidth_bytes_s
    return LinkProbe(
        source=source,
        target=target,
        kind="simulated",
        trial=trial,
        asked_rtt_s=rtt_s,
        rtt_s=rtt_s,
        rtt_min_s=rtt_s,
        rtt_max_s=rtt_s,
        asked_loss=way.loss,
        packets_sent=PACKETS if idle else 0,
        packets_lost=round(PACKETS * way.loss) if idle else 0,
        asked_bandwidth_bytes_s=limit,
        bandwidth_bytes_s=min(limit, most_bytes_s) if idle and limit is not None else None,
        tcp_memory_bytes=TCP_MEMORY_BYTES,
    )

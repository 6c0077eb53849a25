"""Whether links can give the bandwidth that a plan asks of them, found before any broker is started.

What makes a link (a relay in user space, or the kernel's netem) carries so much and no more, on a busy machine less.
So each link with a bandwidth is tried on hosts without brokers, with neither distance nor loss, which would bound TCP
and not the link. The most of some tries counts: other work takes away, and nothing adds.

Limits: one direction of one link at a time; links that are full together share the machine's CPUs. A round probes its
links again, as they are, before load.
"""

from __future__ import annotations

from meshmark.cluster import Backend, probe_links
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.experiment.progress import Progress
from meshmark.hardware import TOLERANCE
from meshmark.plan import Plan, Scenario
from meshmark.record import LinkProbe
from meshmark.topology import Backward, Link, Topology
from meshmark.units import mb

TRIES = 3


def require_bandwidth(plan: Plan, backend: Backend, progress: Progress) -> None:
    """Raises MissingRequirement for a link that carries less than was asked by more than a limit may be off."""
    tried: list[Topology] = []
    for scenario in plan.scenarios:
        bare = _bare(scenario.cluster.topology)
        if any(way.bandwidth_bytes_s is not None for link in bare.links for way in link.ways()) and bare not in tried:
            tried.append(bare)
            progress.phase(f"{scenario.name}: what links carry")
            _require(scenario, bare, backend)


def short(probe: LinkProbe) -> str:
    """What a link lacks of what was asked of it, in words; empty: nothing, or loss bounds TCP."""
    found, asked = probe.bandwidth_bytes_s, probe.asked_bandwidth_bytes_s
    if found is None or asked is None or probe.asked_loss or found >= asked * (1 - TOLERANCE):
        return ""
    return f"the link from {probe.source} to {probe.target} carries {mb(found)} of {mb(asked)} MB/s (bandwidthBytesS)"


def _bare(topology: Topology) -> Topology:
    """With bandwidths alone."""
    links = (
        Link(ends=link.ends, rtt_ms=0, bandwidth_bytes_s=link.bandwidth_bytes_s, back=_bare_back(link))
        for link in topology.links
    )
    return topology.model_copy(update={"links": tuple(links)})


def _bare_back(link: Link) -> Backward:
    return Backward(bandwidth_bytes_s=link.back.bandwidth_bytes_s)


def _require(scenario: Scenario, bare: Topology, backend: Backend) -> None:
    cluster = scenario.cluster.model_copy(update={"topology": bare, "storage": "disk"})
    hosts = scenario.model_copy(update={"data_plane": DataPlane.PLAIN, "cluster": cluster})
    most: dict[tuple[str, str], LinkProbe] = {}
    with backend.testbed(hosts) as testbed:
        for _ in range(TRIES):
            for probe in probe_links(testbed):
                best = most.setdefault((probe.source, probe.target), probe)
                most[probe.source, probe.target] = max(best, probe, key=lambda each: each.bandwidth_bytes_s or 0.0)
            if not (lacking := [text for probe in most.values() if (text := short(probe))]):
                return
    raise MissingRequirement(
        f"scenario {scenario.name}: {'; '.join(lacking)}, as {TRIES} tries of TCP without brokers found",
        hint="Lower bandwidthBytesS of the link, leave it out (null: no limit), or end what else uses the machine.",
    )

"""The ways between clusters, as the probes of links have them, against the plan's topology and each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.raw import Raw
from meshmark.plan import Scenario
from meshmark.record import LinkProbe
from meshmark.store import Run
from meshmark.topology import Topology

MADE = "made, since no nodes were read"


def link_findings(run: Run, round_: Raw, scenario: Scenario) -> Iterator[Finding]:
    topology, probes, kind = scenario.cluster.topology, round_.data.links, _kind(run)
    holding = [cluster for cluster in topology.clusters if cluster.brokers]
    if len(holding) > 1 and round_.data.trials and not probes:
        yield Finding(
            file=round_.file("links.jsonl"),
            recorded="no probe of a link",
            follows=f"the plan has {len(holding)} clusters with brokers",
        )
    elif probes and round_.data.trials:
        yield from _absent(round_, topology, probes)
    for line, probe in enumerate(probes, start=1):
        asked = _asked(topology, probe)
        told = (probe.asked_rtt_s, probe.asked_loss, probe.asked_bandwidth_bytes_s or 0.0)
        if asked is None or not all(math.isclose(*pair, abs_tol=1e-9) for pair in zip(told, asked, strict=True)):
            yield Finding(
                file=round_.file("links.jsonl", line),
                recorded=f"{probe.source} to {probe.target}: {_words(told)}",
                follows=f"the plan asks for {_words(asked)}" if asked else "the plan has no such clusters",
            )
        times_s = [each for each in (probe.rtt_min_s, probe.rtt_s, probe.rtt_max_s) if each is not None]
        if times_s != sorted(times_s) or probe.kind != kind:
            yield Finding(
                file=round_.file("links.jsonl", line),
                recorded=f"{probe.kind}, round trips of {', '.join(f'{each:g}' for each in times_s)} s",
                follows=f"links of this run are {kind or MADE}, and a median lies between the least and the most",
            )
        if probe.kind == "found" and probe.trial is None and probe.rtt_s is None:
            yield Finding(
                file=round_.file("links.jsonl", line),
                recorded=f"no round trip from {probe.source} to {probe.target} before load",
                follows="a way that is found has one, or there is no load",
            )


def _kind(run: Run) -> str | None:
    """Of all its links, as the first has it; `found` where nodes are read, and there alone. None where it is not."""
    if any(data.nodes for data in run.rounds):
        return "found"
    first = next((probe.kind for data in run.rounds for probe in data.links), None)
    return None if first == "found" and any(data.finished for data in run.rounds) else first


def _absent(round_: Raw, topology: Topology, probes: Sequence[LinkProbe]) -> Iterator[Finding]:
    """Ways between clusters with brokers, with nobody in between, that nobody looked at before load."""
    there = {cluster.name for cluster in topology.clusters if cluster.brokers or cluster.clients}
    holding = [cluster.name for cluster in topology.clusters if cluster.brokers]
    idle = {(probe.source, probe.target) for probe in probes if probe.trial is None}
    for pair in permutations(holding, 2):
        if pair not in idle and there.isdisjoint(topology.between(*pair)):
            yield Finding(
                file=round_.file("links.jsonl"),
                recorded=f"no probe before load of the way from {pair[0]} to {pair[1]}",
                follows="the plan has brokers in both",
            )


def _asked(topology: Topology, probe: LinkProbe) -> tuple[float, float, float] | None:
    """RTT (s), loss and bandwidth (bytes a second, 0: no limit); None where there is no way."""
    if not {probe.source, probe.target} <= {cluster.name for cluster in topology.clusters}:
        return None
    there, back = topology.way(probe.source, probe.target), topology.way(probe.target, probe.source)
    return there.delay_s + back.delay_s, there.loss, there.bandwidth_bytes_s or 0.0


def _words(way: tuple[float, float, float]) -> str:
    rtt_s, loss, bandwidth = way
    return f"RTT {rtt_s:g} s, loss {loss:g}, {f'{bandwidth:g} bytes/s' if bandwidth else 'no limit'}"

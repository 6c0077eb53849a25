"""How near limits, links and the law of distance are to what was asked for, or said before.

    python -m bench.near meshmark-runs/geography-20261126T* meshmark-runs/disks-20261126T*
    python -m bench.near --probe 2

From the records of runs, so it takes no load: every probe of a limit (CPU, disk, operations, network) that a profile
set; every probe of a link before load and under it (round trip, loss, bandwidth); and of each law of distance what it
said of distances that were not in its fit. Goals are the limits' own tolerance, 5 %, for limits and links.

With `--probe N` it makes links by itself, with distance, jitter, loss and bandwidth, alone and together, and probes
each so often, as a run does before load; no Kafka is there. That takes about a minute each, and root.

Limits: where a link has loss, TCP carries what its congestion control makes of it, so its bandwidth has no goal. A
probe of a limit that was not within its tolerance is tried again before it is recorded, so what is here is of the last
try; `tries` tells how many. Under load a round trip has queues in it, which nobody asked for.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from meshmark.analysis.model import DistanceLaw, DistancePoint
from meshmark.analysis.summary import summarize
from meshmark.hardware import TOLERANCE
from meshmark.record import LinkProbe
from meshmark.store import Run, load
from meshmark.topology import Backward, Link, MeshCluster, Topology
from meshmark.units import mb, number, percent, rate_msg_s

CPU_NAMES = {"kafka": "CPU of brokers", "sidecar": "CPU of sidecars", "client": "CPU of clients"}
NAMES = {"disk": "disk, bytes", "operations": "disk, operations", "network": "network"}
BEFORE, UNDER, BANDWIDTH = "RTT before load", "RTT under load", "bandwidth of links"
LOSSY = "bandwidth with loss"
CHANCE = 1.96
"""Standard deviations that 95 % of a normal distribution are within."""
STAR: tuple[dict[str, Any], ...] = (
    {"rtt_ms": 2, "back": Backward(loss=0.001)},
    {"rtt_ms": 24, "jitter_ms": 2, "loss": 0.0001},
    {"rtt_ms": 24, "loss": 0.01, "back": Backward(loss=0.05)},
    {"rtt_ms": 100, "loss": 0.001},
    {"rtt_ms": 24, "bandwidth_bytes_s": 10e6, "back": Backward(bandwidth_bytes_s=125e6)},
    {"rtt_ms": 7, "bandwidth_bytes_s": 60e6, "back": Backward(bandwidth_bytes_s=250e6)},
    {"rtt_ms": 0, "bandwidth_bytes_s": 500e6, "back": Backward(bandwidth_bytes_s=1e9)},
    {"rtt_ms": 24, "loss": 0.01, "bandwidth_bytes_s": 20e6},
)
"""Of links from one cluster to others; the last but one is to find out what a link carries at most."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One probe against what was asked for, in the same unit; `tries`: probes until it counted."""

    what: str
    asked: float
    found: float
    tries: int = 1

    @property
    def error(self) -> float:
        return self.found / self.asked - 1


def limits(run: Run) -> Iterator[Gap]:
    """Of every limit, in every round."""
    for probe in (probe for data in run.rounds for probe in data.limits):
        limit = probe.limit
        what = CPU_NAMES[limit.component] if limit.resource == "cpu" else NAMES[limit.resource]
        yield Gap(what=what, asked=limit.amount, found=probe.measured, tries=probe.tries)


def links(probes: Iterable[LinkProbe]) -> Iterator[Gap]:
    """Of every link where something was asked for; round trips in seconds."""
    for probe in probes:
        if probe.asked_rtt_s and probe.rtt_s is not None:
            yield Gap(what=BEFORE if probe.trial is None else UNDER, asked=probe.asked_rtt_s, found=probe.rtt_s)
        if probe.asked_bandwidth_bytes_s and probe.bandwidth_bytes_s is not None:
            what = LOSSY if probe.asked_loss else BANDWIDTH
            yield Gap(what=what, asked=probe.asked_bandwidth_bytes_s, found=probe.bandwidth_bytes_s)


def near(gaps: Sequence[Gap]) -> Iterator[str]:
    """A line for each kind of probe."""
    for what in dict.fromkeys(gap.what for gap in gaps):
        found = [gap for gap in gaps if gap.what == what]
        worst = max(found, key=lambda gap: abs(gap.error))
        within = sum(abs(gap.error) <= TOLERANCE for gap in found)
        again = sum(gap.tries > 1 for gap in found)
        line = f"{what:20} {len(found):4} probes: mean {_signed(fmean(gap.error for gap in found))}, "
        line += f"worst {_signed(worst.error)}"
        if what in (BEFORE, UNDER):
            furthest = max((gap.found - gap.asked for gap in found), key=abs)
            line += f" (furthest off {furthest * 1e3:+.2f} ms)"
        line += f", {within} of {len(found)} within {percent(TOLERANCE)}"
        yield line + (f", {again} after another try" if again else "")


def losses(probes: Sequence[LinkProbe]) -> Iterator[str]:
    """All packets together, by what was asked for, and whether that is within chance (95 %, binomial)."""
    sent = [probe for probe in probes if probe.packets_sent]
    for asked in sorted({probe.asked_loss for probe in sent}):
        those = [probe for probe in sent if probe.asked_loss == asked]
        packets, lost = sum(probe.packets_sent for probe in those), sum(probe.packets_lost for probe in those)
        told = f"loss of {number(asked * 100)} %: {lost:,} of {packets:,} packets, {number(lost / packets * 100)} %"
        off = abs(lost - asked * packets)
        within = off <= CHANCE * math.sqrt(asked * (1 - asked) * packets)
        yield told + (f", {'within' if within else 'beyond'} chance" if asked else "")


def each_way(probes: Sequence[LinkProbe]) -> Iterator[str]:
    """A line for each way that was asked for: what was, and what all probes before load found of it."""
    groups: dict[tuple[float, float, float | None], list[LinkProbe]] = {}
    for probe in probes:
        if probe.trial is None:
            asked = probe.asked_rtt_s, probe.asked_loss, probe.asked_bandwidth_bytes_s
            groups.setdefault(asked, []).append(probe)
    for (rtt_s, loss, bandwidth), found in groups.items():
        asked_for = [f"{number(rtt_s * 1e3)} ms", *([f"loss {number(loss * 100)} %"] if loss else [])]
        if bandwidth is not None:
            asked_for.append(f"{mb(bandwidth)} MB/s")
        trips = [f"{each.rtt_s * 1e3:.2f}" for each in found if each.rtt_s is not None]
        told = [f"{' '.join(trips)} ms"]
        told += (
            [f"lost {' '.join(f'{each.packets_lost:,} of {each.packets_sent:,}' for each in found)}"] if loss else []
        )
        rates = [mb(each.bandwidth_bytes_s) for each in found if each.bandwidth_bytes_s is not None]
        told += [f"{' '.join(rates)} MB/s"] if rates else []
        yield f"{', '.join(asked_for):32} {'; '.join(told)}"


def probed(times: int) -> list[LinkProbe]:
    """Of links made for it, as a run probes its own before load."""
    from meshmark.backends.lab import distance, wan
    from meshmark.backends.lab.instance import instance
    from meshmark.backends.lab.link import network

    ends = [MeshCluster(name=f"end-{number}", brokers=1) for number in range(1, len(STAR) + 1)]
    topology = Topology(
        clusters=(MeshCluster(name="here", brokers=1), *ends),
        links=tuple(
            Link.model_validate({"ends": ("here", end.name), **asked}) for end, asked in zip(ends, STAR, strict=True)
        ),
    )
    with (
        instance("bench") as made,
        network(made, brokers=len(topology.clusters), clients=0, topology=topology) as net,
        wan.links(made, net, topology, None) as links,
    ):
        return [probe for _ in range(times) for probe in distance.probe(net, topology, links[0].kind, None)]


def residuals(found: Sequence[DistanceLaw]) -> Iterator[str]:
    """A line for each distance that a law was to tell: held out, or left out of its own fit."""
    for law in found:
        for point in law.points:
            if point.predicted_msg_s is not None and point.error is not None:
                yield (
                    f"law of {law.data_plane}: {point.scenario} ({number(point.rtt_s * 1e3)} ms, "
                    f"{'held out' if point.held_out else 'by the others'}): predicted "
                    f"{rate_msg_s(point.predicted_msg_s)}{_interval(point)}, measured {rate_msg_s(point.rate_msg_s)}, "
                    f"{_signed(point.error)}"
                )


def _interval(point: DistancePoint) -> str:
    held = point.predicted_interval
    if held is None:
        return ""
    inside = held.low <= point.rate_msg_s <= held.high
    return f" ({rate_msg_s(held.low)} … {rate_msg_s(held.high)}, {'inside' if inside else 'outside'})"


def _signed(error: float) -> str:
    return f"{error * 100:+.1f} %"


def told(runs: Sequence[Run], own: Sequence[LinkProbe] = ()) -> Iterator[str]:
    """Everything, of runs and of links made for it; one sentence where there are neither limits nor links."""
    probes = [*own, *(probe for run in runs for data in run.rounds for probe in data.links)]
    gaps = [gap for run in runs for gap in limits(run)] + list(links(probes))
    lines = [*each_way(own), *near(gaps), *losses(probes)]
    for run in runs:
        lines += residuals(summarize(run).distance_laws)
    yield from lines or ["these runs have no limits, no links and no law of distance"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.near", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*", help="run directories")
    parser.add_argument("--probe", type=int, default=0, metavar="N", help="make links, and probe each so often")
    given = parser.parse_args()
    print("\n".join(told([load(path) for path in given.runs], probed(given.probe) if given.probe else ())))


if __name__ == "__main__":
    main()

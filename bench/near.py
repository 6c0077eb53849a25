"""How near limits, links and the law of distance are to what was asked for, or said before.

    python -m bench.near meshmark-runs/geography-20261126T* meshmark-runs/disks-20261126T*

From the records of runs, so it takes no load: every probe of a limit (CPU, disk, operations, network) that a profile
set; every probe of a link before load and under it (round trip, loss, bandwidth); and of each law of distance what it
said of distances that were not in its fit. Goals are the limits' own tolerance, 5 %, for limits and links.

Limits: a probe of a limit that was not within its tolerance is tried again before it is recorded, so what is here is
of the last try; `tries` tells how many. Under load a round trip has queues in it, which nobody asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from meshmark.analysis.model import DistanceLaw, DistancePoint
from meshmark.analysis.summary import summarize
from meshmark.hardware import TOLERANCE
from meshmark.record import LinkProbe
from meshmark.store import Run, load
from meshmark.units import number, percent, rate_msg_s

CPU_NAMES = {"kafka": "CPU of brokers", "sidecar": "CPU of sidecars", "client": "CPU of clients"}
NAMES = {"disk": "disk, bytes", "operations": "disk, operations", "network": "network"}
BEFORE, UNDER, BANDWIDTH = "RTT before load", "RTT under load", "bandwidth of links"


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
            yield Gap(what=BANDWIDTH, asked=probe.asked_bandwidth_bytes_s, found=probe.bandwidth_bytes_s)


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
    """All packets together, by what was asked for."""
    sent = [probe for probe in probes if probe.packets_sent]
    for asked in sorted({probe.asked_loss for probe in sent}):
        those = [probe for probe in sent if probe.asked_loss == asked]
        packets, lost = sum(probe.packets_sent for probe in those), sum(probe.packets_lost for probe in those)
        yield f"loss of {number(asked * 100)} %: {lost:,} of {packets:,} packets, {number(lost / packets * 100)} %"


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


def told(runs: Sequence[Run]) -> Iterator[str]:
    """Everything; one sentence where the runs have neither limits nor links."""
    probes = [probe for run in runs for data in run.rounds for probe in data.links]
    gaps = [gap for run in runs for gap in limits(run)] + list(links(probes))
    lines = [*near(gaps), *losses(probes)]
    for run in runs:
        lines += residuals(summarize(run).distance_laws)
    yield from lines or ["these runs have no limits, no links and no law of distance"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.near", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run directories")
    print("\n".join(told([load(path) for path in parser.parse_args().runs])))


if __name__ == "__main__":
    main()

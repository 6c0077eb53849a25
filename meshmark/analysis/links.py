"""Probes of links between clusters, and what was counted on them under load -> what was asked for, what was found, and
by how much they differ. Pure.

Limits: older records have packets of both directions together, so that there is one loss for both under load. With
netem, where a direction has both loss and a bandwidth, the kernel does not tell apart what was lost and what found a
queue full. Trials in which a link was down are left out of what was carried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from meshmark.analysis.ledger import sum_known
from meshmark.analysis.wan_model import LinkSummary
from meshmark.plan import Scenario
from meshmark.record import LinkProbe, Trial
from meshmark.store import RoundData, Run
from meshmark.topology import Link

MAKERS = ("relay", "netem")
"""Components that count what goes over a link."""

Ends = tuple[str, str]
"""Source and target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """Over a link in windows of trials, in one direction: packets, and bytes a second of each trial. None: not told
    apart."""

    carried: float
    lost: float | None
    dropped: float | None
    together: bool
    """Packets are those of both directions."""
    same_loss: bool
    """Asked for in both directions."""
    bytes_s: tuple[float, ...]

    @property
    def packets(self) -> float:
        return self.carried + (self.lost or 0.0) + (self.dropped or 0.0)


NOTHING = Carried(carried=0, lost=None, dropped=None, together=False, same_loss=False, bytes_s=())


def found(run: Run) -> tuple[LinkSummary, ...]:
    """Every direction of every scenario, in the plan's order."""
    return tuple(
        summary
        for scenario in run.plan.scenarios
        for summary in _of(scenario, [data for data in run.rounds if data.started.scenario == scenario.name])
    )


def _of(scenario: Scenario, rounds: Sequence[RoundData]) -> list[LinkSummary]:
    trials = []
    for data in rounds:
        cut = {outage.trial for outage in data.outages}
        trials += [trial for trial in data.trials if trial.valid and trial.number not in cut]
    probes = [probe for data in rounds for probe in data.links]
    return summaries(scenario.name, probes, carried(scenario.cluster.topology.links, trials))


def carried(links: Sequence[Link], trials: Sequence[Trial]) -> dict[Ends, Carried]:
    """Of each direction of each link."""
    found = {}
    for link in links:
        forward, back = link.ways()
        first, second = link.ends
        for way, ends in (("forward", (first, second)), ("back", (second, first))):
            alone = _packets(trials, link, f"{way}_")
            carried, lost, dropped = _packets(trials, link, "") if alone[0] is None else alone
            grown = [(_grown(trial, link, f"{way}_bytes"), trial.seconds) for trial in trials]
            found[ends] = Carried(
                carried=carried or 0.0,
                lost=lost,
                dropped=dropped,
                together=alone[0] is None and carried is not None,
                same_loss=forward.loss == back.loss,
                bytes_s=tuple(value / seconds for value, seconds in grown if value is not None),
            )
    return found


def _packets(trials: Sequence[Trial], link: Link, way: str) -> tuple[float | None, ...]:
    """Carried, lost and dropped; `way` is how the names of counters begin."""
    kinds = ("carried", "lost", "dropped")
    return tuple(sum_known(_grown(trial, link, f"{way}{kind}_packets") for trial in trials) for kind in kinds)


def counters(link: Link, metric: str) -> tuple[str, ...]:
    """Keys of a metric of a link, one for each thing that may make it; a record has one of them at most."""
    return tuple(f"link-{link.name}/{maker}/{metric}" for maker in MAKERS)


def _grown(trial: Trial, link: Link, metric: str) -> float | None:
    """In the trial's window."""
    grown = (trial.delta(key) for key in counters(link, metric))
    return next((value for value in grown if value is not None), None)


def summaries(
    scenario: str, probes: Sequence[LinkProbe], loads: Mapping[Ends, Carried] | None = None
) -> list[LinkSummary]:
    groups: dict[Ends, list[LinkProbe]] = {}
    for probe in probes:
        groups.setdefault((probe.source, probe.target), []).append(probe)
    return [_summary(scenario, group, (loads or {}).get(ends, NOTHING)) for ends, group in groups.items()]


def _summary(scenario: str, probes: Sequence[LinkProbe], load: Carried) -> LinkSummary:
    first = probes[0]
    idle = [probe for probe in probes if probe.trial is None]
    loaded = [probe for probe in probes if probe.trial is not None]
    rtt_s, rate = _mean(probe.rtt_s for probe in idle), _mean(probe.bandwidth_bytes_s for probe in idle)
    sent = sum(probe.packets_sent for probe in idle)
    loaded_rtt_s = _mean(probe.rtt_s for probe in loaded)
    loss = load.lost / load.packets if load.packets and load.lost is not None else None
    dropped = load.dropped / load.packets if load.packets and load.dropped is not None else None
    most = max(load.bytes_s, default=None)
    return LinkSummary(
        scenario=scenario,
        source=first.source,
        target=first.target,
        kind=first.kind,
        asked_rtt_s=first.asked_rtt_s,
        rtt_s=rtt_s,
        rtt_min_s=min((probe.rtt_min_s for probe in idle if probe.rtt_min_s is not None), default=None),
        rtt_max_s=max((probe.rtt_max_s for probe in idle if probe.rtt_max_s is not None), default=None),
        rtt_error=_error(rtt_s, first.asked_rtt_s),
        loaded_rtt_s=loaded_rtt_s,
        loaded_rtt_error=_error(loaded_rtt_s, first.asked_rtt_s),
        asked_loss=first.asked_loss,
        loss=sum(probe.packets_lost for probe in idle) / sent if sent else None,
        packets_sent=sent,
        asked_bandwidth_bytes_s=first.asked_bandwidth_bytes_s,
        bandwidth_bytes_s=rate,
        bandwidth_error=_error(rate, first.asked_bandwidth_bytes_s),
        loaded_packets=round(load.packets),
        loaded_together=load.together,
        loaded_loss=loss,
        loaded_loss_error=_error(loss, first.asked_loss) if load.same_loss or not load.together else None,
        loaded_dropped=dropped,
        loaded_bytes_s=_mean(load.bytes_s),
        loaded_bytes_s_most=most,
        loaded_bandwidth_error=_error(most, first.asked_bandwidth_bytes_s),
        congestion_control=first.congestion_control,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _error(measured: float | None, asked: float | None) -> float | None:
    return measured / asked - 1 if measured is not None and asked else None

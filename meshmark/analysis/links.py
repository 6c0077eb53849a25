"""Probes of links between clusters -> what was asked for, what was found, and by how much they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from meshmark.analysis.wan_model import LinkSummary
from meshmark.record import LinkProbe
from meshmark.store import Run


def found(run: Run) -> tuple[LinkSummary, ...]:
    """Every direction of every scenario, in the plan's order."""
    return tuple(
        summary
        for scenario in run.plan.scenarios
        for summary in summaries(
            scenario.name,
            [probe for data in run.rounds if data.started.scenario == scenario.name for probe in data.links],
        )
    )


def summaries(scenario: str, probes: Sequence[LinkProbe]) -> list[LinkSummary]:
    groups: dict[tuple[str, str], list[LinkProbe]] = {}
    for probe in probes:
        groups.setdefault((probe.source, probe.target), []).append(probe)
    return [_summary(scenario, group) for group in groups.values()]


def _summary(scenario: str, probes: Sequence[LinkProbe]) -> LinkSummary:
    first = probes[0]
    idle = [probe for probe in probes if probe.trial is None]
    loaded = [probe for probe in probes if probe.trial is not None]
    rtt_s, rate = _mean(probe.rtt_s for probe in idle), _mean(probe.bandwidth_bytes_s for probe in idle)
    sent = sum(probe.packets_sent for probe in idle)
    return LinkSummary(
        scenario=scenario,
        source=first.source,
        target=first.target,
        kind=first.kind,
        asked_rtt_s=first.asked_rtt_s,
        rtt_s=rtt_s,
        rtt_error=_error(rtt_s, first.asked_rtt_s),
        loaded_rtt_s=_mean(probe.rtt_s for probe in loaded),
        asked_loss=first.asked_loss,
        loss=sum(probe.packets_lost for probe in idle) / sent if sent else None,
        packets_sent=sent,
        asked_bandwidth_bytes_s=first.asked_bandwidth_bytes_s,
        bandwidth_bytes_s=rate,
        bandwidth_error=_error(rate, first.asked_bandwidth_bytes_s),
        congestion_control=first.congestion_control,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _error(measured: float | None, asked: float | None) -> float | None:
    return measured / asked - 1 if measured is not None and asked else None

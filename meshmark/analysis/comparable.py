"""What is compared: each metric by its name, its unit, which direction is better, and where a repeat has it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from meshmark.analysis import ceilings
from meshmark.analysis.model import CpuPerGb, RepeatSummary, ScenarioSummary
from meshmark.plan import Method
from meshmark.record import Purpose
from meshmark.units import percent

Better = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A repeat's figure, or why it has none. `at_least`, `at_most`: where all its trials lie on one side of it, the
    nearest of them. `load_msg_s`: what was offered, where that must be equal."""

    value: float | None = None
    missing: str = ""
    at_least: float | None = None
    at_most: float | None = None
    load_msg_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """`read` gives a repeat's figure. `always`: told even where no repeat has it; `of_ceiling`: says nothing where a
    scenario has no ceiling; `of_proxies`: unknown where a proxy is the node's, which is no process of a host."""

    name: str
    unit: str
    better: Better
    read: Callable[[RepeatSummary], Reading]
    first_repeat: int = 1
    always: bool = False
    of_ceiling: bool = False
    of_proxies: bool = False

    def reading(self, scenario: ScenarioSummary, repeat: int) -> Reading:
        if self.of_proxies and scenario.data_plane.has_sidecar("node"):
            return Reading(missing="ztunnel's CPU is the node's, and would not be in it")
        found = next((each for each in scenario.repeats if each.repeat == repeat), None)
        return Reading(missing="not run") if found is None else self.read(found)


def metrics(methods: Sequence[Method]) -> Iterator[Metric]:
    """Of scenarios that are measured so. Equal loads begin with the second repeat."""
    yield Metric(
        name="messages/s",
        unit="1/s",
        better="higher",
        read=_ceiling,
        always=True,
        of_ceiling=True,
    )
    yield _cost("CPU s/GB brokers", "s/GB", lambda repeat: repeat.cpu_s_per_gb.brokers)
    yield _cost("CPU s/GB sidecars", "s/GB", lambda repeat: repeat.cpu_s_per_gb.sidecars)
    yield _cost("CPU s/GB clients", "s/GB", lambda repeat: repeat.cpu_s_per_gb.clients)
    whole = _cost("CPU s/GB together", "s/GB", lambda repeat: together(repeat.cpu_s_per_gb))
    yield replace(whole, of_proxies=True)
    yield _cost("packets/MB", "1/MB", lambda repeat: repeat.packets_per_mb)
    for share in dict.fromkeys(share for method in methods for share in method.equal_load):
        yield from _latencies(f"at {percent(share)}", "equal-load", share, first_repeat=2)
    if any(method.load_bytes_s is not None for method in methods):
        yield from _latencies("at loadBytesS", "fixed-load", None, first_repeat=1)


def together(cpu: CpuPerGb) -> float | None:
    """Brokers, clients and, where there are some, sidecars and gateways."""
    if cpu.brokers is None or cpu.clients is None:
        return None
    return cpu.brokers + cpu.clients + (cpu.sidecars or 0.0) + (cpu.gateways or 0.0)


def _cost(name: str, unit: str, read: Callable[[RepeatSummary], float | None]) -> Metric:
    return Metric(
        name=name, unit=unit, better="lower", read=lambda repeat: _of_standing(repeat, read(repeat), "not measured")
    )


def _ceiling(repeat: RepeatSummary) -> Reading:
    found = _of_standing(repeat, repeat.rate_msg_s, "its trials show no ceiling")
    offered = [(trial.verdict, trial.offered_msg_s) for trial in repeat.trials if trial.verdict in ceilings.COUNTED]
    verdicts, rates = {verdict for verdict, _ in offered}, [rate for _, rate in offered]
    if found.value is not None or len(verdicts) != 1:
        return found
    if verdicts == {"carried"}:
        return replace(found, missing="its trials show no ceiling: all were carried", at_least=max(rates))
    if verdicts == {"not carried"}:
        return replace(found, missing="its trials show no ceiling: none was carried", at_most=min(rates))
    return found


def _of_standing(repeat: RepeatSummary, value: float | None, absent: str) -> Reading:
    """A figure of the trial that stands for the repeat."""
    if not repeat.valid:
        reasons = [f"trial {trial.number}: {reason}" for trial in repeat.trials for reason in trial.reasons]
        return Reading(missing="; ".join([repeat.chosen, *reasons[:1]]))
    return Reading(value=value, missing="" if value else absent)


def _latencies(at: str, purpose: Purpose, share: float | None, *, first_repeat: int) -> Iterator[Metric]:
    for quantile, key in (("p50", "p50_s"), ("p99", "p99_s")):
        yield Metric(
            name=f"{quantile} {at}",
            unit="s",
            better="lower",
            read=partial(_latency, purpose=purpose, share=share, key=key),
            first_repeat=first_repeat,
        )


def _latency(repeat: RepeatSummary, *, purpose: Purpose, share: float | None, key: str) -> Reading:
    trial = next((each for each in repeat.trials if each.purpose == purpose and each.share == share), None)
    if trial is None:
        return Reading(missing="not measured")
    if not trial.valid:
        return Reading(missing=f"trial {trial.number}: {trial.reasons[0]}", load_msg_s=trial.offered_msg_s)
    value = getattr(trial.latency, key)
    return Reading(value=value, missing="" if value else "nothing acknowledged", load_msg_s=trial.offered_msg_s)

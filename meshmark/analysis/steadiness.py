"""Whether brokers took records evenly while the load came evenly. Pure.

    readings of a broker's log in a trial's window -> rates over steps of a second -> how much they vary

The document of 2019 saw one broker go from 20 kB/s to 287 MB/s and back. The mean of a window hides that, so of each
scenario it is told whether a broker did so, with the least and the most that the worst one's log grew by.

Limits: what goes up and down within a step is not seen, nor all of what takes longer than the longest window, whose
length is told; nothing is said of a window with fewer than three steps. A trial with a link that goes down is meant to
be uneven, and so is a load of few records that come at random.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from meshmark.analysis.ledger import broker_hosts
from meshmark.analysis.model import ScenarioSummary
from meshmark.analysis.steadiness_model import SteadyState
from meshmark.record import Sample, Trial
from meshmark.store import Run

LEAST_STEP_S = 0.8
"""Readings are a second apart, one late now and then, and the next one is then the nearer."""
LEAST_STEPS = 3
"""Of a window: the default one, 3.5 s, has so many."""
VARIATION = 0.5
"""Standard deviation of a broker's steps, as a share of their mean. A log that goes back and forth between one and
three times something has it, and one that stands still for one step in five. Of 188 windows of six real runs on two
cores, disks limited or not, half had up to 0.08, and the largest 0.32."""
STEADY_LOAD = 0.1
"""The same of what was offered. Arrivals at random have it at a hundred records a step."""
BYSTANDER = 0.05
"""Of the mean of the broker that takes most: one with less holds next to nothing of the load."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Swing:
    """One broker in one window, in bytes a second of its log."""

    host: str
    least_bytes_s: float
    most_bytes_s: float
    variation: float


def states(run: Run, scenarios: Sequence[ScenarioSummary]) -> tuple[SteadyState, ...]:
    """Of every scenario, in their order."""
    windows = _windows(run, scenarios)
    return tuple(_state(row.name, windows.get(row.name, [])) for row in scenarios)


def _windows(run: Run, scenarios: Sequence[ScenarioSummary]) -> dict[str, list[tuple[Trial, tuple[Swing, ...]]]]:
    """Of trials that are told of, with what each broker took."""
    told = {
        (repeat.round_index, trial.number)
        for scenario in scenarios
        for repeat in scenario.repeats
        for trial in repeat.trials
        if trial.stands or (trial.valid and trial.purpose in ("equal-load", "fixed-load"))
    }
    found: dict[str, list[tuple[Trial, tuple[Swing, ...]]]] = {}
    for data in run.rounds:
        cut = {outage.trial for outage in data.outages}
        trials = [each for each in data.trials if (each.round_index, each.number) in told and each.number not in cut]
        spans = [(trial.window_start_s, trial.window_end_s) for trial in trials if tellable(trial)]
        samples = data.series(spans) if spans else []
        hosts = broker_hosts(run.plan.scenario(data.started.scenario))
        windows = [(trial, spreads(trial, samples, hosts)) for trial in trials]
        found.setdefault(data.started.scenario, []).extend(windows)
    return found


def _state(name: str, windows: Sequence[tuple[Trial, tuple[Swing, ...]]]) -> SteadyState:
    judged = [(trial, found[0]) for trial, found in windows if found]
    uneven = sum(worst.variation > VARIATION for _, worst in judged)
    trial, worst = max(judged, key=lambda each: each[1].variation, default=(None, None))
    return SteadyState(
        scenario=name,
        windows=len(windows),
        judged=len(judged),
        uneven=uneven,
        longest_s=max((trial.seconds for trial, _ in judged), default=None),
        verdict="unstable" if uneven else "stable" if judged else "unknown",
        host=worst.host if worst else None,
        repeat=trial.repeat if trial else None,
        trial=trial.number if trial else None,
        least_bytes_s=worst.least_bytes_s if worst else None,
        most_bytes_s=worst.most_bytes_s if worst else None,
        variation=worst.variation if worst else None,
    )


def swings(trial: Trial, samples: Iterable[Sample], hosts: Sequence[str]) -> tuple[Swing, ...]:
    """Of brokers that did not take evenly what came evenly, the one that varies most first."""
    return tuple(each for each in spreads(trial, samples, hosts) if each.variation > VARIATION)


def tellable(trial: Trial) -> bool:
    """Was what was offered even, and for long enough to say whether brokers took it so?"""
    offered = rates([(point.time_s, float(point.offered)) for point in trial.series])
    return len(offered) >= LEAST_STEPS and variation(offered) <= STEADY_LOAD


def spreads(trial: Trial, samples: Iterable[Sample], hosts: Sequence[str]) -> tuple[Swing, ...]:
    """Of each broker that has some of the load, the one that varies most first; none where nothing is to be said."""
    if not tellable(trial):
        return ()
    inside = [each for each in samples if trial.window_start_s <= each.time_s <= trial.window_end_s]
    logs = {host: rates(_log(trial, inside, f"{host}/kafka/log_bytes")) for host in hosts}
    known = {host: steps for host, steps in logs.items() if len(steps) >= LEAST_STEPS}
    most = max((fmean(steps) for steps in known.values()), default=0.0)
    found = [
        Swing(host=host, least_bytes_s=min(steps), most_bytes_s=max(steps), variation=variation(steps))
        for host, steps in known.items()
        if fmean(steps) > BYSTANDER * most
    ]
    return tuple(sorted(found, key=lambda each: -each.variation))


def rates(readings: Sequence[tuple[float, float]]) -> list[float]:
    """Growth a second over steps of LEAST_STEP_S at least, of a counter read at some instants; what is left at the end
    is no step."""
    if not readings:
        return []
    found = []
    began_s, before = readings[0]
    for time_s, value in readings[1:]:
        if time_s - began_s >= LEAST_STEP_S:
            found.append((value - before) / (time_s - began_s))
            began_s, before = time_s, value
    return found


def variation(steps: Sequence[float]) -> float:
    """Standard deviation / mean; 0 of what did not grow at all."""
    mean = fmean(steps)
    return pstdev(steps) / mean if mean > 0 else 0.0


def _log(trial: Trial, inside: Sequence[Sample], key: str) -> list[tuple[float, float]]:
    """Its edges included; a reading may lack what could not be read."""
    read = [
        (trial.window_start_s, trial.counters_start),
        *((each.time_s, each.values) for each in inside),
        (trial.window_end_s, trial.counters_end),
    ]
    return [(time_s, values[key]) for time_s, values in read if key in values]

"""Latency while all scenarios are offered the same rate: what a data plane adds, paired by repeat. Pure.

A quantile is taken of each trial's window, then averaged over repeats: the unit is the repeat, as everywhere. Mixing
all windows in one histogram would hide how much they differ. A trial in which the backlog grew has the latencies of a
queue that fills; its scenario does not carry that load, and its invalid trials count nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshmark.analysis import stats
from meshmark.analysis.figures import mean_cpu
from meshmark.analysis.hops import RESIDUAL
from meshmark.analysis.ledger import ledger
from meshmark.analysis.model import Change, EqualLoad, Interval, LatencyFigures
from meshmark.plan import Scenario
from meshmark.record import HopTime, Latency, Trial
from meshmark.store import Run


def latency_figures(latency: Latency | None) -> LatencyFigures:
    if latency is None:
        return LatencyFigures()
    return LatencyFigures(**{name: getattr(latency, name) for name in LatencyFigures.model_fields})


def equal_loads(run: Run, scenario: Scenario) -> tuple[EqualLoad, ...]:
    """One for each share of the plan that has a valid trial."""
    found = (_at(run, scenario, share) for share in scenario.method.equal_load)
    return tuple(each for each in found if each is not None)


def _at(run: Run, scenario: Scenario, share: float) -> EqualLoad | None:
    own, base = equal_trials(run, scenario.name, share), run.plan.baseline_of(scenario)
    if not own:
        return None
    against = {} if scenario.name == base else equal_trials(run, base, share)
    trials = list(own.values())
    cpus = run.started.host.cpus
    return EqualLoad(
        share=share,
        offered_msg_s=trials[0].offered_msg_s,
        repeats_valid=len(own),
        latency=_mean([latency_figures(trial.latency) for trial in trials]),
        end_to_end=_mean([latency_figures(trial.end_to_end) for trial in trials]),
        end_to_end_error_s=_largest([trial.end_to_end_error_s for trial in trials]),
        negative=sum(trial.window.negative for trial in trials),
        unstamped=sum(trial.window.unstamped for trial in trials),
        added_p50=_added(own, against, "p50_s"),
        added_p99=_added(own, against, "p99_s"),
        added_p99_9=_added(own, against, "p99_9_s"),
        hops=mean_hops([trial.hops for trial in trials if trial.hops]),
        cpu_s_per_gb=mean_cpu([ledger(trial, scenario, cpus).per_gb("total_s") for trial in trials]),
    )


def _largest(errors_s: Sequence[float | None]) -> float | None:
    """None if any is unknown."""
    known = [error for error in errors_s if error is not None]
    return max(known, default=0.0) if len(known) == len(errors_s) else None


def equal_trials(run: Run, name: str, share: float) -> dict[int, Trial]:
    """Repeat -> its valid trial at this share."""
    return {
        trial.repeat: trial
        for data in run.rounds
        if data.started.scenario == name
        for trial in data.trials
        if trial.purpose == "equal-load" and trial.share == share and trial.valid
    }


def _mean(found: Sequence[LatencyFigures]) -> LatencyFigures:
    return LatencyFigures(
        **{name: stats.mean([getattr(each, name) for each in found]) for name in LatencyFigures.model_fields}
    )


def mean_hops(repeats: Sequence[Sequence[HopTime]]) -> tuple[HopTime, ...]:
    """Of each hop the mean of the repeats, none where it is absent (its time is in the residual there), so that parts
    still add up."""
    by_hop: dict[str, list[HopTime]] = {}
    for hop in sorted((hop for hops in repeats for hop in hops), key=lambda hop: hop.hop == RESIDUAL):
        by_hop.setdefault(hop.hop, []).append(hop)
    return tuple(
        HopTime(
            hop=name,
            mean_s=sum(hop.mean_s for hop in found) / len(repeats),
            count=sum(hop.count for hop in found),
            source=found[0].source,
        )
        for name, found in by_hop.items()
    )


def _added(own: Mapping[int, Trial], baseline: Mapping[int, Trial], name: str) -> Change | None:
    pairs = [(own[repeat].latency, baseline[repeat].latency) for repeat in sorted(own.keys() & baseline.keys())]
    differences = [
        getattr(ours, name) - getattr(theirs, name)
        for ours, theirs in pairs
        if ours is not None and theirs is not None and ours.count and theirs.count
    ]
    found = stats.estimate(differences)
    if found is None:
        return None
    return Change(mean_s=found.mean, interval=Interval.of(found), pairs=found.count)

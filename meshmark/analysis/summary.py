"""A run directory's records -> Summary: what `-o json` prints, what tables and HTML show.

Every repeat is one figure: that of the trial that its ladder took as the limit. Means, spreads and intervals are over
repeats; invalid trials are listed and count nowhere. An unfinished run gives what it has.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.analysis import environment, limits, stats, warnings
from meshmark.analysis.figures import figures, mean_figures
from meshmark.analysis.ledger import ledger, lines, mean_lines
from meshmark.analysis.model import Interval, RepeatSummary, ScenarioSummary, Summary, TrialSummary, Verdict
from meshmark.analysis.traffic import traffic
from meshmark.plan import Plan, Scenario
from meshmark.record import Trial
from meshmark.store import RoundData, Run
from meshmark.units import percent


def summarize(run: Run) -> Summary:
    """Everything that can be said about a run, complete or not."""
    rounds = {scenario.name: _rounds(run, scenario) for scenario in run.plan.scenarios}
    rates = {name: _rates(repeats) for name, repeats in rounds.items()}
    scenarios = tuple(
        _scenario(run, scenario, rounds[scenario.name], rates.get(run.plan.baseline, {}))
        for scenario in run.plan.scenarios
    )
    done = sum(found.finished is not None for found in run.rounds)
    return Summary(
        run_id=run.started.run_id,
        outcome=run.finished.outcome if run.finished else "unfinished",
        plan=run.plan,
        started=run.started,
        finished=run.finished,
        seconds=run.finished.finished_at - run.started.started_at if run.finished else None,
        rounds_done=done,
        rounds_planned=len(run.plan.order()),
        baseline=run.plan.baseline,
        environment=environment.ceilings(run.disk_probes, run.network_probes),
        scenarios=scenarios,
        warnings=warnings.of_run(run, scenarios),
    )


def carried_trial(found: RoundData) -> tuple[Trial | None, str]:
    """The trial that stands for a round, and why this one or none."""
    valid = [trial for trial in found.trials if trial.valid]
    if found.finished is None:
        if not valid:
            return None, "the run ended inside this round, before a valid trial"
        best = max(valid, key=lambda trial: trial.rate_msg_s)
        return best, f"the run ended inside this round: the best of {len(valid)} valid trials until then"
    carried = next((trial for trial in valid if trial.step == found.finished.carried_step), None)
    return carried, found.finished.reason


def _rounds(run: Run, scenario: Scenario) -> tuple[RepeatSummary, ...]:
    cpus = run.started.host.cpus
    return tuple(_repeat(found, scenario, cpus) for found in run.rounds if found.started.scenario == scenario.name)


def _repeat(found: RoundData, scenario: Scenario, cpus: int) -> RepeatSummary:
    carried, chosen = carried_trial(found)
    evidence = limits.evidence(carried, scenario, cpus) if carried else ()
    limited_by = limits.limiting(evidence) if carried else ()
    rising = carried is not None and limits.still_rising(found.trials, scenario.method)
    if rising and limited_by == (limits.UNKNOWN,):
        limited_by = (limits.OFFERED_LOAD,)
    measured = figures(carried, scenario, cpus).model_dump() if carried else {}
    return RepeatSummary(
        round_index=found.started.index,
        repeat=found.started.repeat,
        valid=carried is not None,
        chosen=chosen,
        clients=carried.clients if carried else None,
        connections=carried.connections if carried else None,
        still_rising=rising,
        trials=tuple(_trial(trial, carried) for trial in found.trials),
        path=carried.path if carried else (),
        traffic=traffic(carried, scenario) if carried else (),
        ledger=lines(carried, ledger(carried, scenario, cpus)) if carried else (),
        proofs=found.proofs,
        limited_by=limited_by,
        evidence=evidence,
        startup_s=found.finished.startup_s if found.finished else None,
        warmup_rates_msg_s=found.finished.warmup_rates_msg_s if found.finished else (),
        **measured,
    )


def _trial(trial: Trial, carried: Trial | None) -> TrialSummary:
    return TrialSummary(
        step=trial.step,
        clients=trial.clients,
        connections=trial.connections,
        seconds=trial.seconds,
        rate_msg_s=trial.rate_msg_s,
        valid=trial.valid,
        reasons=trial.reasons,
        carried=trial is carried,
    )


def _rates(repeats: Sequence[RepeatSummary]) -> dict[int, float]:
    """Repeat -> rate, of those that have one."""
    return {found.repeat: found.rate_msg_s for found in repeats if found.rate_msg_s is not None}


def _scenario(
    run: Run, scenario: Scenario, repeats: tuple[RepeatSummary, ...], baseline: dict[int, float]
) -> ScenarioSummary:
    valid = [found for found in repeats if found.valid]
    rates = _rates(valid)
    mean_rate = stats.estimate(tuple(rates.values()))
    ratio = None if scenario.name == run.plan.baseline else stats.ratio(rates, baseline)
    verdict, text = _verdict(run.plan, scenario.name, rates, baseline, ratio)
    finished = next((f.finished for f in run.rounds if f.started.scenario == scenario.name and f.finished), None)
    return ScenarioSummary(
        name=scenario.name,
        data_plane=scenario.data_plane,
        repeats_planned=run.plan.repeats,
        repeats_valid=len(valid),
        rate_interval=_interval(mean_rate),
        rate_spread=stats.spread(tuple(rates.values())),
        loss_vs_plain=1 - ratio.mean if ratio else None,
        loss_interval=_loss_interval(ratio),
        verdict=verdict,
        verdict_text=text,
        encrypted_hops=finished.encrypted_hops if finished else (),
        plain_hops=finished.plain_hops if finished else (),
        limited_by=limits.mostly([found.limited_by for found in valid]),
        evidence=limits.average([found.evidence for found in valid]),
        ledger=mean_lines([found.ledger for found in valid]),
        repeats=repeats,
        **mean_figures(valid).model_dump(),
    )


def _interval(found: stats.Estimate | None) -> Interval | None:
    if found is None or found.low is None or found.high is None:
        return None
    return Interval(low=found.low, high=found.high)


def _loss_interval(ratio: stats.Estimate | None) -> Interval | None:
    if ratio is None or ratio.low is None or ratio.high is None:
        return None
    return Interval(low=1 - ratio.high, high=1 - ratio.low)


def _verdict(
    plan: Plan, name: str, rates: dict[int, float], baseline: dict[int, float], ratio: stats.Estimate | None
) -> tuple[Verdict, str]:
    if name == plan.baseline:
        return "baseline", "what the others are compared with"
    if not rates:
        return "no data", "no valid trial"
    if ratio is None:
        return "no data", f"nothing of {plan.baseline} in the same repeats to compare with" if baseline else (
            f"nothing of {plan.baseline} to compare with"
        )
    seen = _words(1 - ratio.mean)
    if ratio.low is None or ratio.high is None:
        return "cannot tell", f"cannot tell from one repeat (seen: {seen})"
    bounds = f"95 % interval {_words(1 - ratio.high)} to {_words(1 - ratio.low)}, {ratio.count} repeats"
    if ratio.low <= 1 <= ratio.high:
        return "cannot tell", f"cannot tell: {bounds}"
    return "slower" if ratio.mean < 1 else "faster", f"{seen} ({bounds})"


def _words(loss: float) -> str:
    return f"{percent(abs(loss))} {'slower' if loss >= 0 else 'faster'}"

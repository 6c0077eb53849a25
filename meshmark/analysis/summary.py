"""A run directory's records -> Summary: what `-o json` prints, what tables and HTML show.

The ceiling of a scenario is what its search says of the trials of all rounds, and its loss compares that with the
ceiling of its baseline. Every repeat has a ceiling of its own, that of one cluster's life; CPU, packets, bytes and
path are as measured in the trial that came nearest to it. A scenario's rates per second are those of its repeats'
trials for each message, times its ceiling. Invalid trials are listed and count nowhere. An unfinished run gives what
it has.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshmark.analysis import ceilings, environment, limits, links, mtls, nodes, stats, thresholds, warnings
from meshmark.analysis.account_model import Account
from meshmark.analysis.against_environment import above, against_environment
from meshmark.analysis.cpu_split import split
from meshmark.analysis.distance_law import laws
from meshmark.analysis.encryption import proven_hops
from meshmark.analysis.equal_load import equal_loads, latency_figures
from meshmark.analysis.explain import explanation
from meshmark.analysis.figures import at_ceiling, figures, mean_figures
from meshmark.analysis.hardware import summary as hardware
from meshmark.analysis.ledger import ledger, lines, mean_lines
from meshmark.analysis.model import (
    CeilingSummary,
    Interval,
    RepeatSummary,
    ScenarioSummary,
    Summary,
    TrialSummary,
    Verdict,
)
from meshmark.analysis.outages import outages
from meshmark.analysis.saturation import Ceiling, Saturation, TrialView
from meshmark.analysis.selftest_model import SelfTestSummary, StopSummary
from meshmark.analysis.sensitivity import sensitivities
from meshmark.analysis.settings_apart import settings_apart
from meshmark.analysis.settings_tried import tried
from meshmark.analysis.steadiness import states
from meshmark.analysis.terms import bindings
from meshmark.analysis.traffic import traffic
from meshmark.analysis.wan import crossed
from meshmark.plan import Scenario
from meshmark.record import Trial
from meshmark.store import RoundData, Run
from meshmark.units import percent

_CLIENT = "not reached: the client was the limit"


def summarize(run: Run) -> Summary:
    """Everything that can be said about a run, complete or not."""
    found = {scenario.name: saturation(run, scenario) for scenario in run.plan.scenarios}
    repeats = {scenario.name: _repeats(run, scenario, found[scenario.name]) for scenario in run.plan.scenarios}
    scenarios = tuple(
        _scenario(run, scenario, repeats[scenario.name], found[scenario.name], _baseline(run, scenario, found))
        for scenario in run.plan.scenarios
    )
    done = sum(data.finished is not None for data in run.rounds)
    ways, crossings = links.found(run), crossed(run)
    terms = bindings(run, scenarios, ways, crossings)
    by_distance, steady = laws(run, scenarios), states(run, scenarios)
    given = environment.ceilings(run.disk_probes, run.network_probes, ways)
    against = against_environment(run, given, scenarios)
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
        environment=given,
        against_environment=against,
        hardware=hardware(
            run.hardware, [probe for data in run.rounds for probe in data.limits], run.plan, scenarios, given.network
        ),
        self_test=_self_test(run),
        scenarios=scenarios,
        thresholds=thresholds.judged(run.plan, scenarios),
        distance_laws=by_distance,
        distance_terms=terms,
        mtls=mtls.cost(run.plan, scenarios, terms, by_distance),
        settings_tried=tried(run.plan, scenarios, terms),
        wan=crossings,
        outages=outages(run),
        nodes=nodes.nodes(run),
        reading_spreads=nodes.spreads(run),
        steadiness=steady,
        settings_apart=settings_apart(run),
        sensitivity=sensitivities(run, scenarios),
        warnings=(*above(against), *warnings.of_run(run, scenarios, steady, ways)),
    )


def _self_test(run: Run) -> SelfTestSummary | None:
    tests = [data.self_tests[-1] for data in run.rounds if data.self_tests]
    if not tests:
        return None
    last = tests[-1]
    return SelfTestSummary(
        round_index=last.round_index,
        scenario=last.scenario,
        rate_msg_s=last.rate_msg_s,
        holds=last.holds,
        conclusive=last.conclusive,
        stops=tuple(StopSummary(**check.model_dump(by_alias=False), holds=check.holds) for check in last.checks),
        contradictions=last.contradictions,
    )


def _of(run: Run, scenario: Scenario) -> list[RoundData]:
    return [data for data in run.rounds if data.started.scenario == scenario.name]


def saturation(run: Run, scenario: Scenario) -> Saturation:
    """What the search says of all trials, in the order in which they were made."""
    rounds = _of(run, scenario)
    trials = [trial for data in rounds for trial in data.trials]
    first = next((data.finished for data in rounds if data.finished), None)
    rates = (first.limited_rates_msg_s or first.warmup_rates_msg_s) if first else ()
    return ceilings.search(run.plan, scenario, ceilings.start_msg_s(rates), trials).result()


def _repeats(run: Run, scenario: Scenario, found: Saturation) -> tuple[RepeatSummary, ...]:
    """The search numbers its trials through all rounds."""
    views = {view.number: view for view in found.trials}
    lives = {life.life: life.middle_msg_s for life in found.lives}
    repeats, number = [], 0
    for data in _of(run, scenario):
        of_round: dict[int, TrialView] = {}
        for trial in data.trials:
            if trial.purpose == "search":
                number += 1
                of_round[trial.number] = views[number]
        repeats.append(_repeat(data, scenario, run.started.host.cpus, lives.get(data.started.repeat), of_round))
    return tuple(repeats)


def _repeat(
    data: RoundData, scenario: Scenario, cpus: int, ceiling_msg_s: float | None, views: Mapping[int, TrialView]
) -> RepeatSummary:
    standing = _standing(data, ceiling_msg_s)
    evidence = limits.evidence(standing, scenario, cpus) if standing else ()
    measured = figures(standing, scenario, cpus).model_dump() if standing else {}
    if standing:
        measured["rate_msg_s"] = ceiling_msg_s
    return RepeatSummary(
        round_index=data.started.index,
        repeat=data.started.repeat,
        valid=standing is not None,
        chosen=_chosen(data, standing, ceiling_msg_s),
        clients=standing.clients if standing else None,
        connections=standing.connections if standing else None,
        trials=tuple(
            _trial(trial, standing, views.get(trial.number)) for trial in data.trials if trial.purpose != "explain"
        ),
        path=standing.path if standing else (),
        traffic=traffic(standing, scenario) if standing else (),
        ledger=lines(standing, ledger(standing, scenario, cpus)) if standing else (),
        cpu_profile=next((each for each in data.profiles if standing and each.trial == standing.number), None),
        proofs=data.proofs,
        limited_by=limits.limiting(evidence) if standing else (),
        evidence=evidence,
        startup_s=data.finished.startup_s if data.finished else None,
        warmup_rates_msg_s=data.finished.warmup_rates_msg_s if data.finished else (),
        limited_rates_msg_s=data.finished.limited_rates_msg_s if data.finished else (),
        **measured,
    )


def _standing(data: RoundData, ceiling_msg_s: float | None) -> Trial | None:
    """The valid trial of the search whose rate came nearest to the round's ceiling; the fastest if none is known."""
    valid = [trial for trial in data.trials if trial.valid and trial.purpose == "search"]
    nearest = float("inf") if ceiling_msg_s is None else ceiling_msg_s
    return min(valid, key=lambda trial: (abs(trial.rate_msg_s - nearest), -trial.rate_msg_s), default=None)


def _chosen(data: RoundData, standing: Trial | None, ceiling_msg_s: float | None) -> str:
    if standing is None:
        return "no valid trial" if data.finished else "the run ended inside this round, before a valid trial"
    if ceiling_msg_s is None:
        return f"trial {standing.number}, the fastest; its trials do not show a ceiling"
    return f"trial {standing.number}, nearest to this round's ceiling"


def _trial(trial: Trial, standing: Trial | None, view: TrialView | None) -> TrialSummary:
    return TrialSummary(
        number=trial.number,
        purpose=trial.purpose,
        phase=trial.phase,
        target=trial.target,
        share=trial.share,
        seconds=trial.seconds,
        offered_msg_s=trial.offered_msg_s,
        rate_msg_s=trial.rate_msg_s,
        records=Account.of(trial.total),
        verdict=view.verdict if view else "",
        growth=view.growth if view else None,
        latency=latency_figures(trial.latency),
        end_to_end=latency_figures(trial.end_to_end),
        late_share=trial.lateness.late_share if trial.lateness else None,
        valid=trial.valid,
        reasons=trial.reasons,
        stands=trial is standing,
    )


def _baseline(run: Run, scenario: Scenario, found: Mapping[str, Saturation]) -> Saturation | None:
    """Of what it is compared with; None where the run does not have that."""
    return found.get(run.plan.baseline_of(scenario))


def _scenario(
    run: Run,
    scenario: Scenario,
    repeats: tuple[RepeatSummary, ...],
    found: Saturation,
    baseline: Saturation | None,
) -> ScenarioSummary:
    valid = [repeat for repeat in repeats if repeat.valid]
    ceiling = _ceiling(found.ceilings[0])
    base = run.plan.baseline_of(scenario)
    ratio = None if scenario.name == base or baseline is None else ceilings.ratio(found, baseline)
    verdict, text = _verdict(base, scenario.name, bool(valid), baseline, ratio)
    if ceilings.is_none(ceiling.reason) and valid and verdict != "baseline":
        verdict, text = "no ceiling", f"{ceiling.reason}: {ceiling.explained}"
    hops = proven_hops(_of(run, scenario))
    limited_by = limits.mostly([repeat.limited_by for repeat in valid])
    mean = mean_figures([at_ceiling(repeat, ceiling.rate_msg_s) for repeat in valid])
    measured = mean.model_dump() | {"rate_msg_s": ceiling.rate_msg_s}
    own = tuple(repeat.rate_msg_s for repeat in valid if repeat.rate_msg_s is not None)
    return ScenarioSummary(
        name=scenario.name,
        data_plane=scenario.data_plane,
        baseline=base,
        repeats_planned=run.finished.repeats(run.plan) if run.finished else run.plan.repeats,
        repeats_valid=len(valid),
        rate_interval=ceiling.interval,
        rate_spread=stats.spread(own),
        ceilings=tuple(_ceiling(each) for each in found.ceilings),
        trials_counted=sum(view.verdict in ceilings.COUNTED for view in found.trials),
        search_ended=found.ended,
        equal_loads=equal_loads(run, scenario),
        loss_vs_plain=1 - ratio.mean if ratio else None,
        loss_interval=_loss_interval(ratio),
        verdict=verdict,
        verdict_text=text,
        encrypted_hops=hops.encrypted,
        encrypted_by=dict(hops.by),
        plain_hops=hops.plain,
        limited_by=(limits.LOAD_GENERATOR,) if ceiling.reason == _CLIENT else limited_by,
        evidence=limits.average([repeat.evidence for repeat in valid]),
        explanation=explanation([trial for data in _of(run, scenario) for trial in data.trials]),
        ledger=mean_lines([repeat.ledger for repeat in valid]),
        cpu_split=split([repeat.cpu_profile for repeat in valid if repeat.cpu_profile], mean.cpu_s_per_gb),
        repeats=repeats,
        **measured,
    )


def _ceiling(found: Ceiling) -> CeilingSummary:
    interval = None
    if found.low_msg_s is not None and found.high_msg_s is not None:
        interval = Interval(low=found.low_msg_s, high=found.high_msg_s)
    return CeilingSummary(
        target=found.target,
        rate_msg_s=found.middle_msg_s,
        interval=interval,
        reason=found.reason,
        noise=found.noise,
        explained=found.explained,
    )


def _loss_interval(ratio: stats.Estimate | None) -> Interval | None:
    if ratio is None or ratio.low is None or ratio.high is None:
        return None
    return Interval(low=1 - ratio.high, high=1 - ratio.low)


def _verdict(
    base: str, name: str, valid: bool, baseline: Saturation | None, ratio: stats.Estimate | None
) -> tuple[Verdict, str]:
    if name == base:
        return "baseline", "what the others are compared with"
    if not valid:
        return "no data", "no valid trial"
    if ratio is None:
        known = baseline is not None and baseline.ceilings[0].middle_msg_s is not None
        return "no data", "its ceiling is not known" if known else f"there is no ceiling of {base} to compare with"
    seen = _words(1 - ratio.mean)
    if ratio.low is None or ratio.high is None:
        return "cannot tell", f"cannot tell from one repeat (seen: {seen})"
    bounds = f"95 % interval {_words(1 - ratio.high)} to {_words(1 - ratio.low)}"
    if ratio.low <= 1 <= ratio.high:
        return "cannot tell", f"cannot tell: {bounds}"
    return "slower" if ratio.mean < 1 else "faster", f"{seen} ({bounds})"


def _words(loss: float) -> str:
    return f"{percent(abs(loss))} {'slower' if loss >= 0 else 'faster'}"

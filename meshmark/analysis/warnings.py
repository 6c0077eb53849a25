"""What a reader must know before believing a summary: one sentence each, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshmark.analysis.ledger import UNUSABLE_SHARE
from meshmark.analysis.model import RepeatSummary, ScenarioSummary
from meshmark.analysis.steadiness_model import SteadyState
from meshmark.analysis.traffic import amiss
from meshmark.analysis.wan_model import LinkSummary
from meshmark.analysis.warmup import warm
from meshmark.nodes import ZTUNNEL
from meshmark.store import Run
from meshmark.units import mb, number, percent

FEW_TRIALS = 6
"""Of unstable systems a search knew 5 of 30 by 3 trials, and 12 of 30 by so many (`bench/saturation.py`)."""
RTT_OFF_S, RTT_OFF_SHARE = 0.001, 0.05
"""A round trip may be off by either, the jitter apart. The worst of 28 was by 0.7 ms (`bench.near --probe`)."""
STEAL_SHARE = 0.05
"""From here on the machine's neighbours are part of what was measured."""


def of_run(
    run: Run,
    scenarios: Sequence[ScenarioSummary],
    steadiness: Sequence[SteadyState],
    links: Sequence[LinkSummary],
) -> tuple[str, ...]:
    states = {each.scenario: each for each in steadiness}
    return (
        *_ending(run, scenarios),
        *_thin(scenarios),
        *_never_down(run),
        *_elsewhere(run, links),
        *_on_nodes(run, scenarios),
        *(
            text
            for scenario in scenarios
            for text in (*_of_scenario(scenario), *_swinging(scenario.name, states.get(scenario.name)))
        ),
    )


def _swinging(name: str, state: SteadyState | None) -> Iterator[str]:
    if state is not None and state.verdict == "unstable":
        yield (
            f"{name}: brokers did not take evenly what was offered evenly, in {state.uneven} of {state.judged} "
            f"windows; most so in repeat {state.repeat}, trial {state.trial}: from second to second the log of "
            f"{state.host} grew by {mb(state.least_bytes_s)} to {mb(state.most_bytes_s)} MB/s"
        )


def _ending(run: Run, scenarios: Sequence[ScenarioSummary]) -> Iterator[str]:
    for each in run.resumptions:
        yield (
            f"the run was cut, and went on after round {each.rounds_kept}; what was not whole is not counted, and is "
            f"kept in {each.remains}"
        )
    if run.finished is None:
        yield "the run has no end: it crashed, was killed or still goes on; this is what it measured until then"
    elif run.finished.outcome != "complete":
        yield f"the run {_ENDED[run.finished.outcome]}: {run.finished.error or 'no reason recorded'}"
    planned, begun = len(run.plan.order()), len(run.rounds)
    if begun < planned:
        yield f"{begun} of {planned} rounds were run; scenarios without enough repeats say 'cannot tell'"
    for name in run.plan.baselines:
        if name not in {scenario.name for scenario in scenarios}:
            yield f"the baseline {name} is not among the scenarios: losses cannot be given"
    ended = [(data.started, data.finished) for data in run.rounds if data.finished]
    cold = [
        f"{started.scenario}, repeat {started.repeat}"
        for started, finished in ended
        if finished.warmup_rates_msg_s and not warm(finished.warmup_rates_msg_s, finished.warmup_compiling)
    ]
    if cold:
        yield f"not warm when measured (the rate may have risen, or brokers compiled): {'; '.join(cold)}"
    if any(data.self_tests and not data.self_tests[-1].conclusive for data in run.rounds):
        yield "the self-test of the load generator is not conclusive: the load did not get over its stops in time"
    if not run.disk_probes and not run.network_probes:
        yield "disk and network were not probed: ceilings of this machine are unknown"


_ENDED = {"interrupted": "was interrupted", "failed": "failed"}


def _thin(scenarios: Sequence[ScenarioSummary]) -> Iterator[str]:
    """What mostly holds of several scenarios alike, said once."""
    alone = [scenario.name for scenario in scenarios if scenario.repeats_valid == 1]
    if alone:
        yield f"one valid repeat, so the loss has no interval: {', '.join(alone)}"
    few = [
        f"{scenario.name} ({scenario.trials_counted})"
        for scenario in scenarios
        if scenario.rate_msg_s is not None and scenario.trials_counted < FEW_TRIALS
    ]
    if few:
        yield f"too few trials to show whether a ceiling is stable: {', '.join(few)}"


def _never_down(run: Run) -> Iterator[str]:
    """Links that were to go down while load was offered."""
    for scenario in run.plan.scenarios:
        rounds = [data for data in run.rounds if data.started.scenario == scenario.name and data.trials]
        down = {outage.link for data in rounds for outage in data.outages}
        for link in scenario.cluster.topology.flapping():
            if rounds and link.name not in down:
                up_s, load_s = link.flap.up_seconds, scenario.method.settle_seconds + scenario.method.window_seconds
                long = f": it stays up for {up_s:g} s, and a trial's load takes {load_s:g} s" if up_s >= load_s else ""
                yield f"{scenario.name}: the link {link.name} was to flap and never went down{long}"


def _elsewhere(run: Run, links: Sequence[LinkSummary]) -> Iterator[str]:
    """Clusters that were found, before load, to be farther or nearer than was asked."""
    told = set()
    for link in links:
        pair = (link.scenario, *sorted((link.source, link.target)))
        if link.rtt_s is None or pair in told:
            continue
        topology = run.plan.scenario(link.scenario).cluster.topology
        ways = topology.way(link.source, link.target), topology.way(link.target, link.source)
        room_s = max(RTT_OFF_S, RTT_OFF_SHARE * link.asked_rtt_s) + sum(way.jitter_s for way in ways)
        if abs(link.rtt_s - link.asked_rtt_s) > room_s:
            told.add(pair)
            expected = f"{number(link.asked_rtt_s * 1e3)} ms"
            yield (
                f"{link.scenario}: {link.source} and {link.target} were {number(link.rtt_s * 1e3)} ms apart before "
                f"load, and {f'the plan says {expected}' if link.kind == 'found' else f'{expected} were asked for'}"
            )


def _on_nodes(run: Run, scenarios: Sequence[ScenarioSummary]) -> Iterator[str]:
    """Of proxies that are the node's."""
    asked = any(each.part == ZTUNNEL for data in run.rounds if data.nodes for each in data.nodes.cpu)
    told = "the table of nodes has what it used" if asked else "nobody was asked what it used (`run --kubelet`)"
    booked = {each.name for each in scenarios if each.unattributed_share is not None}
    for scenario in run.plan.scenarios:
        if scenario.data_plane.has_sidecar("node"):
            where = "but in what is unattributed" if scenario.name in booked else "nor in any other figure of a trial"
            yield f"{scenario.name}: ztunnel is the node's, so its CPU is in no line of the ledger, {where}; {told}"


def _of_scenario(scenario: ScenarioSummary) -> Iterator[str]:
    for repeat in scenario.repeats:
        yield from _of_repeat(scenario.name, repeat)
    share = scenario.unattributed_share
    if share is not None and abs(share) > UNUSABLE_SHARE:
        yield (
            f"{scenario.name}: {percent(share)} of the machine's CPU time is unattributed (above "
            f"{percent(UNUSABLE_SHARE)}): its CPU per GB is unusable"
        )
    if scenario.steal_share is not None and scenario.steal_share > STEAL_SHARE:
        yield f"{scenario.name}: the hypervisor gave {percent(scenario.steal_share)} of the CPU time to others"
    for ceiling in scenario.ceilings:
        if ceiling.reason:
            yield f"{scenario.name}: no ceiling for {ceiling.target} ({ceiling.reason}): {ceiling.explained}"


def _of_repeat(name: str, repeat: RepeatSummary) -> Iterator[str]:
    if not repeat.valid:
        reasons = [f"trial {trial.number}: {reason}" for trial in repeat.trials for reason in trial.reasons]
        yield f"{name}, repeat {repeat.repeat} does not count: {'; '.join(reasons) or repeat.chosen}"
    yield from (f"{name}, repeat {repeat.repeat}: {text}" for text in amiss(repeat.traffic))
    for proof in repeat.proofs:
        if not proof.holds:
            yield f"{name}, repeat {repeat.repeat}: {proof.name} does not hold at {proof.host}: {proof.detail}"

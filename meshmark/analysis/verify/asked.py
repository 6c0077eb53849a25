"""The plan against what ran: which rounds in which order, what for, how long, and what was left out and why.

What the search offered is not chosen again: which rate comes next may differ from one version to another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from meshmark.analysis import ceilings
from meshmark.analysis.model import ESTIMATOR
from meshmark.analysis.summary import saturation
from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.own import account_findings
from meshmark.analysis.verify.raw import Raw
from meshmark.plan import Method, Plan, Scenario
from meshmark.record import Event, Purpose, Trial
from meshmark.store import RoundData, Run
from meshmark.units import percent, rate_msg_s

SLACK_S = 10.0
"""By so much, and by as much as was asked for, anything may take longer on a machine that has too much to do."""
ROUNDING_S = 0.01
_WIDTH_SLACK = 1.1
PURPOSES: tuple[Purpose, ...] = ("search", "fixed-load", "equal-load", "explain")
"""In the order in which a round has them."""
_OFFERED = re.compile(r"([\d,]+) msg/s offered$")
_BUDGET = re.compile(r"the time budget of .* ended after (\d+) of (\d+) rounds")
_INVALID = re.compile(r"trial (\d+) is invalid: (.*)", re.DOTALL)


def asked_findings(run: Run) -> Iterator[Finding]:
    selected, planned = run.started.scenarios_selected, tuple(scenario.name for scenario in run.plan.scenarios)
    if selected != planned:
        yield Finding(
            file="started.json",
            recorded=f"scenarios {', '.join(selected)}",
            follows=f"plan.json has {', '.join(planned)}",
        )
    yield from _rounds(run)
    yield from _left_out(run)
    yield from _probes(run)
    yield from _equal_loads(run)


def _rounds(run: Run) -> Iterator[Finding]:
    """Those of the plan, in its seed's order, from the first on."""
    order = run.plan.order()
    for place, data in enumerate(run.rounds):
        file, started = f"rounds/{data.directory.name}/started.json", data.started
        if place >= len(order):
            yield Finding(file=file, recorded=_named(data), follows=f"the plan has {len(order)} rounds")
            continue
        slot = order[place]
        plane = run.plan.scenario(slot.scenario).data_plane
        follows = f"round {slot.index}: {slot.scenario} ({plane}), repeat {slot.repeat}"
        if _named(data) != follows or data.directory.name != f"{slot.index:03d}-{slot.scenario}":
            yield Finding(
                file=file,
                recorded=_named(data),
                follows=f"{follows}, by the plan's seed {run.plan.seed}, at this place",
            )
        finished = data.finished
        if finished is not None and finished.index != started.index:
            yield Finding(
                file=f"rounds/{data.directory.name}/finished.json",
                recorded=f"round {finished.index}",
                follows=f"started.json says round {started.index}",
            )
        last = data is run.rounds[-1]
        if finished is None and (not last or (run.finished is not None and run.finished.outcome == "complete")):
            yield Finding(
                file=f"rounds/{data.directory.name}",
                recorded="no finished.json: the run ended in this round",
                follows="finished.json of the run says that it was complete" if last else "there are later rounds",
            )


def _named(data: RoundData) -> str:
    started = data.started
    return f"round {started.index}: {started.scenario} ({started.data_plane}), repeat {started.repeat}"


def _left_out(run: Run) -> Iterator[Finding]:
    """What the end of the run says of its rounds. A complete run lacks some only where its budget ended."""
    if run.finished is None:
        return
    done, planned = sum(data.finished is not None for data in run.rounds), len(run.plan.order())
    counts = (run.finished.rounds_done, run.finished.rounds_planned)
    # The last round may have been recorded whole while its cluster did not stop.
    if counts != (done, planned) and not (run.finished.outcome != "complete" and counts == (done - 1, planned)):
        yield Finding(
            file="finished.json",
            recorded=f"{counts[0]} of {counts[1]} rounds",
            follows=f"there are {done} finished rounds, and the plan has {planned}",
        )
    if run.finished.outcome != "complete" or done >= planned:
        return
    if not run.rounds:
        yield Finding(
            file="finished.json", recorded="complete", follows="there is no round, and the first always runs"
        )
        return
    if run.finished.sharp:
        if run.started.estimator == ESTIMATOR:
            yield from _sharp(run, done)
        return
    told = [found for event in run.events if (found := _BUDGET.search(event.text))]
    if [(int(found[1]), int(found[2])) for found in told] != [(done, planned)]:
        yield Finding(
            file="finished.json",
            recorded=f"complete after {done} of {planned} rounds",
            follows="a run leaves rounds out where its time budget ended, and events.jsonl does not say so of these",
        )
        return
    starts_s = [data.started.time_s for data in run.rounds]
    end_s = run.events[-1].time_s
    longest_s = max(after - before for before, after in zip(starts_s, [*starts_s[1:], end_s], strict=True))
    left_s = run.started.started_at - run.started.clock_offset_s + run.plan.budget_seconds - end_s
    if longest_s < left_s - SLACK_S:
        yield Finding(
            file="finished.json",
            recorded=f"complete after {done} of {planned} rounds",
            follows=f"a round took {longest_s:.0f} s at most, and {left_s:.0f} s of the time budget were left",
        )


def _sharp(run: Run, done: int) -> Iterator[Finding]:
    """A search that is told again may begin from another guess than the one that went on, so about."""
    plan = run.plan
    slack = plan.model_copy(update={"stop_width": plan.stop_width * _WIDTH_SLACK})
    repeats, rest = divmod(done, len(plan.scenarios))
    whole = not rest and repeats >= ceilings.REPEATS_LEAST
    if not (whole and ceilings.known(slack, {each.name: saturation(run, each) for each in plan.scenarios})):
        yield Finding(
            file="finished.json",
            recorded=f"complete after {done} rounds, since every loss was known",
            follows=f"not every loss is known to within {percent(plan.stop_width)} after three whole repeats",
        )


def _probes(run: Run) -> Iterator[Finding]:
    """Once there is a round, the environment benchmark is whole."""
    if not run.rounds:
        return
    spec = run.plan.environment
    paths = {"direct", *(scenario.data_plane.path for scenario in run.plan.scenarios)}
    repeats = range(1, spec.repeats + 1)
    # A run from before operations took part in the scale has no such bound, and was not to probe them.
    pages = run.hardware is not None and any(each.resource == "operations" for each in run.hardware.bounds)
    disk = {(mode, repeat) for mode in ("buffered", "synced", *["direct"] * pages) for repeat in repeats}
    network = {(path, flows, repeat) for path in paths for flows in (1, spec.flows) for repeat in repeats}
    for what, seconds, expected, found in (
        ("disk", spec.disk_seconds, disk, [(p.mode, p.repeat) for p in run.disk_probes]),
        ("network", spec.network_seconds, network, [(p.path, p.flows, p.repeat) for p in run.network_probes]),
    ):
        asked = expected if seconds else set()
        if Counter(map(str, found)) != Counter(map(str, asked)):
            yield Finding(
                file="environment.jsonl",
                recorded=f"{len(found)} probes of the {what}: {', '.join(sorted(map(str, found))) or 'none'}",
                follows=f"the plan asks for {', '.join(sorted(map(str, asked))) or 'none'}",
            )


def _equal_loads(run: Run) -> Iterator[Finding]:
    """Loads that are equal for scenarios with one baseline are: each share is of one ceiling."""
    ceilings: dict[str, tuple[float, str]] = {}
    for data in run.rounds:
        scenario = _scenario(run.plan, data)
        if scenario is None:
            continue
        for line, trial in enumerate(data.trials, start=1):
            if trial.purpose != "equal-load" or not trial.share:
                continue
            place = f"rounds/{data.directory.name}/trials.jsonl:{line}"
            ceiling = trial.offered_msg_s / trial.share
            first, where = ceilings.setdefault(run.plan.baseline_of(scenario), (ceiling, place))
            if abs(ceiling / first - 1) > 1e-9:
                yield Finding(
                    file=place,
                    recorded=f"{trial.offered_msg_s:.3f} msg/s, {trial.share:g} of {ceiling:.3f}",
                    follows=f"{where} has a share of {first:.3f} msg/s, and equal loads are shares of one ceiling",
                )


def _scenario(plan: Plan, data: RoundData) -> Scenario | None:
    return next((each for each in plan.scenarios if each.name == data.started.scenario), None)


def round_findings(run: Run, round_: Raw, scenario: Scenario) -> Iterator[Finding]:
    """The trials of a round against the method, and against the log of the run."""
    data = round_.data
    trials = [trial for _, trial in round_.trials()]
    before: Trial | None = None
    for file, trial in round_.trials():
        own = (data.started.index, data.started.scenario, data.started.repeat)
        told = (trial.round_index, trial.scenario, trial.repeat)
        if told != own:
            yield Finding(
                file=file,
                recorded="round {}, {}, repeat {}".format(*told),
                follows="it lies in round {}, {}, repeat {}".format(*own),
            )
        if trial.number not in _numbers_after(before, trial):
            yield Finding(
                file=file,
                recorded=f"trial {trial.number}",
                follows=f"trial {before.number} comes before it" if before else "a round begins with trial 1",
            )
        before = trial
        yield from _lengths(file, trial, scenario.method)
    purposes = [trial.purpose for trial in trials]
    if purposes != sorted(purposes, key=PURPOSES.index):
        yield Finding(
            file=round_.file("trials.jsonl"),
            recorded=f"trials for {', '.join(purposes)}",
            follows=f"a round has them in the order {', '.join(PURPOSES)}",
        )
    yield from _method(run, round_, trials, scenario)
    yield from _self_tests(run, round_)
    if data.finished is not None and len(data.finished.warmup_rates_msg_s) > scenario.method.warmup_max_seconds + 1:
        yield Finding(
            file=round_.file("finished.json"),
            recorded=f"{len(data.finished.warmup_rates_msg_s)} seconds of warm-up",
            follows=f"the plan allows {scenario.method.warmup_max_seconds:g}",
        )
    yield from _log(run.events, round_, trials)


def _numbers_after(before: Trial | None, trial: Trial) -> tuple[int, ...]:
    """A search that ended early, or for which there was no time, leaves one number out."""
    last = before.number if before else 0
    searched = before is None or before.purpose == "search"
    return (last + 1, last + 2) if searched and trial.purpose != "search" else (last + 1,)


def _lengths(file: str, trial: Trial, method: Method) -> Iterator[Finding]:
    settle_s = trial.window_start_s - trial.started_s
    for what, told, asked in (
        ("a window", trial.seconds, method.window_seconds),
        ("load before it", settle_s, method.settle_seconds),
    ):
        if not asked - ROUNDING_S <= told <= 2 * asked + SLACK_S:
            yield Finding(file=file, recorded=f"{what} of {told:.3f} s", follows=f"the plan asks for {asked:g} s")


def _method(run: Run, round_: Raw, trials: Sequence[Trial], scenario: Scenario) -> Iterator[Finding]:
    """How many trials of each purpose; in a round that did not end, no more than that."""
    method, repeat = scenario.method, round_.data.started.repeat
    shares = [trial.share for trial in trials if trial.purpose == "equal-load"]
    asked = list(method.equal_load) if repeat > 1 else []
    none_known = any(event.phase == "equal load" for event in run.events)
    ended = round_.data.finished is not None
    if shares != asked[: len(shares)] or (ended and shares != asked and not (none_known and not shares)):
        yield _differs(round_, "equal loads", shares, asked)
    fixed = [trial.offered_msg_s for trial in trials if trial.purpose == "fixed-load"]
    wanted = [] if method.load_bytes_s is None else [method.load_bytes_s / scenario.workload.message_size]
    if fixed != wanted[: len(fixed)] or (ended and fixed != wanted):
        yield _differs(round_, "fixed loads (msg/s)", fixed, wanted)
    searched = sum(trial.purpose == "search" for trial in trials)
    if searched > method.trials:
        yield _differs(round_, "trials of the search", [searched], [method.trials])
    blocks = {trial.tightened.block if trial.tightened else 0 for trial in trials if trial.purpose == "explain"}
    allowed = set(range(1, run.plan.explain_blocks + 1)) if repeat == run.plan.repeats else set()
    if not blocks <= allowed:
        yield _differs(round_, "blocks of trials that explain", sorted(blocks), sorted(allowed))


def _differs(round_: Raw, what: str, found: Sequence[object], asked: Sequence[object]) -> Finding:
    return Finding(
        file=round_.file("trials.jsonl"),
        recorded=f"{what}: {', '.join(map(str, found)) or 'none'}",
        follows=f"the plan asks for {', '.join(map(str, asked)) or 'none'}",
    )


def _since(events: Sequence[Event], data: RoundData) -> list[Event]:
    """Not those of the same round when it was cut before."""
    return [event for event in events if event.time_s >= data.started.time_s]


def _self_tests(run: Run, round_: Raw) -> Iterator[Finding]:
    """The first round tests the load generator, and no run goes on after a test that failed."""
    data = round_.data
    name = f"{data.started.scenario}, repeat {data.started.repeat}"
    told = _since(run.events, data)
    tested = any(event.phase == name and event.text == "testing the load generator" for event in told)
    if tested and data.trials and not data.self_tests:
        yield Finding(
            file=round_.file("selftests.jsonl"),
            recorded="no self-test of the load generator",
            follows="events.jsonl says that there was one, and the round went on",
        )
    for line, test in enumerate(data.self_tests, start=1):
        file = round_.file("selftests.jsonl", line)
        if test.round_index != data.started.index or test.scenario != data.started.scenario:
            yield Finding(
                file=file,
                recorded=f"round {test.round_index}, {test.scenario}",
                follows=f"it lies in round {data.started.index}, {data.started.scenario}",
            )
        yield from account_findings(file, "totals", test.totals, run.plan.scenario(data.started.scenario).workload)
        if data.trials and not test.holds:
            yield Finding(
                file=file,
                recorded="a self-test whose counts do not hold",
                follows="the run would have ended here, but the round has trials",
            )
        if data.trials and line == len(data.self_tests) and test.answer_required and not test.conclusive:
            yield Finding(
                file=file,
                recorded="a self-test that is not conclusive",
                follows="the run would have ended here, but the round has trials",
            )
        if data.trials and test.time_s + test.seconds > data.trials[0].started_s:
            yield Finding(
                file=file,
                recorded=f"at {test.time_s:.3f} s for {test.seconds:.3f} s",
                follows=f"the first trial began at {data.trials[0].started_s:.3f} s, and comes after it",
            )


def untested(run: Run) -> Iterator[str]:
    """Rounds that went on without an answer of the self-test, as they did before that ended a run."""
    for data in run.rounds:
        last = data.self_tests[-1] if data.self_tests else None
        if last and data.trials and not last.conclusive and not last.answer_required:
            yield (
                f"rounds/{data.directory.name}/selftests.jsonl: the self-test is not conclusive; when this was "
                "recorded, that did not end a run"
            )


def _log(events: Sequence[Event], round_: Raw, trials: Sequence[Trial]) -> Iterator[Finding]:
    """The log names every load that was offered, but for those that explain, and why a trial is invalid."""
    name = f"{round_.data.started.scenario}, repeat {round_.data.started.repeat}"
    own = [event for event in _since(events, round_.data) if event.phase == name]
    announced = [found[1] for event in own if (found := _OFFERED.search(event.text))]
    offered = [rate_msg_s(trial.offered_msg_s) for trial in trials if trial.purpose != "explain"]
    ended = round_.data.finished is not None
    known = max(len(offered), len(announced)) if ended else min(len(offered), len(announced))
    if offered[:known] != announced[:known]:
        yield Finding(
            file=round_.file("trials.jsonl"),
            recorded=f"trials at {', '.join(offered) or 'no rate'} msg/s",
            follows=f"events.jsonl announced {', '.join(announced)} msg/s",
        )
    told: dict[int, list[str]] = {}
    for event in own:
        if found := _INVALID.match(event.text):
            told.setdefault(int(found[1]), []).append(found[2])
    for file, trial in round_.trials():
        if not ended and trial is trials[-1]:
            return
        late = bool(trial.lateness and trial.lateness.fault and trial.purpose != "explain")
        reasons = told.get(trial.number, [])
        if Counter(trial.faults) - Counter(reasons) or len(reasons) != len(trial.faults) + late:
            yield Finding(
                file=file,
                recorded=f"faults: {'; '.join(trial.reasons) or 'none'}",
                follows=f"events.jsonl says: {'; '.join(reasons) or 'no fault'}",
            )

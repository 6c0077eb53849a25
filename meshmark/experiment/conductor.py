"""A whole run, from the plan to the last record.

    bandwidth of links -> record plan and machine -> environment benchmark
    -> scale of the hardware profile, if the plan has one -> rounds in the plan's order -> record the end

Whatever ends it (success, a component's failure, Ctrl-C), what was measured is on the disk and the machine is left
as it was. A round is one life of a cluster: start, prove the path, warm up, set and probe the limits of the profile
if there is one, some trials of the scenario's search for saturation, and, once every scenario has had a round, trials
at loads that are equal for all scenarios. At the end of its last round, where the plan asks for it, each scenario is
shown less of one resource after another.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from meshmark import seal
from meshmark.analysis import ceilings
from meshmark.analysis import hardware as profiles
from meshmark.analysis.distance_law import predictions
from meshmark.analysis.explain import Ceilings, candidates, probed
from meshmark.analysis.model import ESTIMATOR
from meshmark.analysis.saturation import Search
from meshmark.analysis.summary import summarize
from meshmark.clock import Clock
from meshmark.cluster import Backend, Cluster, cpu_profiles, nodes_read, probe_links
from meshmark.errors import MeshmarkError
from meshmark.experiment import environment
from meshmark.experiment.explain import explain
from meshmark.experiment.hardware import cpus_to_give, limited, settle_hardware, told, with_recorded_profile
from meshmark.experiment.links import require_bandwidth, short
from meshmark.experiment.progress import Progress
from meshmark.experiment.resumption import as_begun, finished, require_same, seconds, seconds_so_far, whole_rounds
from meshmark.experiment.selftest import moderate_msg_s, self_test
from meshmark.experiment.trial import Bench, Offered, gauge, measure, warm_up
from meshmark.hardware import Hardware
from meshmark.measure.sampler import sampling
from meshmark.plan import Plan, Scenario, Slot
from meshmark.planfile.effort import explain_seconds, samples_seconds, trial_seconds
from meshmark.record import Event, Finished, Limit, Proof, RoundFinished, RoundStarted, Started, Trial
from meshmark.resumed import Resumed
from meshmark.store import RoundData, RoundWriter, Run, RunWriter, load
from meshmark.units import percent, rate_msg_s

SAMPLE_INTERVAL_S = 1.0


def conduct(
    plan: Plan,
    backend: Backend,
    directory: Path,
    *,
    command: Sequence[str],
    effort: str,
    progress: Progress,
    clock: Clock,
) -> Finished:
    """Runs a resolved plan and returns its last record.

    Raises what ended it early (MeshmarkError, KeyboardInterrupt) after recording it.
    """
    if plan.scale != "auto":
        settle_hardware(plan, cpus_to_give(backend.facts()))
    backend.prepare(plan)
    require_bandwidth(plan, backend, progress)
    started = Started(
        run_id=uuid.uuid4().hex,
        started_at=clock.wall(),
        clock_offset_s=clock.wall() - clock.now(),
        command=tuple(command),
        effort=effort,
        scenarios_selected=tuple(scenario.name for scenario in plan.scenarios),
        host=backend.facts(),
        versions=backend.versions(),
        estimator=ESTIMATOR,
    )
    writer = RunWriter.create(directory, plan, started)
    return _played(_Conductor(plan, backend, writer, progress, clock), writer)


def resume(run: Run, backend: Backend, *, command: Sequence[str], progress: Progress, clock: Clock) -> Finished:
    """Goes on with a run that was cut, after its last whole round, and returns its last record. Raises UsageError,
    RecordError or, for links that carry less now, MissingRequirement where it cannot, before anything is changed, and
    else as `conduct` does."""
    run, kept = as_begun(run), whole_rounds(run)
    backend.prepare(run.plan)
    require_same(run, backend, clock)
    require_bandwidth(run.plan, backend, progress)
    remains = f"remains/{len(run.resumptions) + 1}"
    resumed = Resumed(
        resumed_at=clock.wall(),
        time_s=clock.now(),
        command=tuple(command),
        rounds_kept=len(kept),
        remains=remains,
        digest=seal.head(run.directory) or seal.head(run.directory / remains),
    )
    writer = RunWriter.reopen(run.directory, resumed)
    conductor = _Conductor(run.plan, backend, writer, progress, clock)
    conductor.take_up(run, kept)
    return _played(conductor, writer)


def _played(conductor: _Conductor, writer: RunWriter) -> Finished:
    try:
        conductor.play()
    except BaseException as error:
        outcome: Literal["failed", "interrupted"] = "failed" if isinstance(error, Exception) else "interrupted"
        text = str(error) if isinstance(error, MeshmarkError) else f"{type(error).__name__}: {error}".rstrip(": ")
        writer.finish(conductor.finished(outcome, text))
        raise
    finished = conductor.finished("complete", "")
    writer.finish(finished)
    return finished


class _Conductor:
    def __init__(self, plan: Plan, backend: Backend, writer: RunWriter, progress: Progress, clock: Clock) -> None:
        self._plan = plan
        self._backend = backend
        self._writer = writer
        self._progress = progress
        self._clock = clock
        self._order = plan.order()
        self._durations: list[float] = []
        self._spent_s = 0.0
        self._predicted = False
        self._starts: dict[str, float] = {}
        self._trials: dict[str, list[Trial]] = {scenario.name: [] for scenario in plan.scenarios}
        self._lowest_msg_s: dict[str, float | None] = {}
        self._hardware: Hardware | None = None
        self._sharp = False
        self._there_is = Ceilings(cpus=backend.facts().cpus, link_bytes_s=None, disk_bytes_s=None)

    def take_up(self, run: Run, kept: Sequence[RoundData]) -> None:
        """What the record of a run that was cut says of where it was."""
        self._there_is = probed(self._there_is.cpus, (*run.disk_probes, *run.network_probes))
        self._hardware = run.hardware
        self._predicted = any(self._plan.scenario(data.started.scenario).held_out for data in kept)
        self._spent_s = seconds_so_far(run.started, kept)
        for data in kept:
            scenario, ended = self._plan.scenario(data.started.scenario), finished(data)
            self._durations.append(seconds(data))
            self._begin(scenario, ended.warmup_rates_msg_s, ended.limited_rates_msg_s)
            self._trials[scenario.name] += data.trials
            for trial in data.trials:
                if trial.purpose == "equal-load" and trial.share:
                    self._lowest_msg_s.setdefault(self._plan.baseline_of(scenario), trial.offered_msg_s / trial.share)
        self._tell("info", "rounds", f"going on after {len(kept)} of {len(self._order)} rounds")

    def _look_around(self) -> None:
        """What the machine gives, before anything is asked of Kafka."""
        probes = environment.measure(self._plan, self._backend, self._writer, self._progress)
        self._there_is = probed(self._there_is.cpus, probes)
        self._hardware = settle_hardware(self._plan, cpus_to_give(self._backend.facts()), probes)
        if self._hardware:
            self._writer.hardware(self._hardware)
            self._plan = with_recorded_profile(self._plan, self._writer.directory)
            self._tell("info", "hardware", told(self._hardware))

    def play(self) -> None:
        deadline = self._clock.now() + self._plan.budget_seconds - self._spent_s
        if not self._durations:
            self._look_around()
        while not self._known() and (left := self._order[len(self._durations) :]):
            slot = left[0]
            if self._plan.scenario(slot.scenario).held_out and not self._predicted:
                self._predict()
                self._predicted = True
            begun = self._clock.now()
            if self._durations and begun + min(self._durations) > deadline:
                self._tell(
                    "warning",
                    "rounds",
                    f"the time budget of {self._plan.budget_seconds:.0f} s ended after {len(self._durations)} of "
                    f"{len(self._order)} rounds; the rest were not run",
                )
                return
            self._progress.round(slot.index, len(self._order), slot.scenario, slot.repeat, self._seconds_left(slot))
            self._round(slot, begun + (deadline - self._other_s(left) - begun) / len(left))
            self._durations.append(self._clock.now() - begun)

    def _known(self) -> bool:
        """After a whole repeat: are all losses known as well as the plan asks? By their widths alone. Who stops when a
        difference is significant finds differences where there are none."""
        plan, done = self._plan, len(self._durations)
        repeats, within = divmod(done, len(plan.scenarios))
        if not plan.stop_width or repeats < ceilings.REPEATS_LEAST or within:
            return False
        self._sharp = ceilings.known(plan, {each.name: self._search(each).result() for each in plan.scenarios})
        if self._sharp:
            known = f"every loss is known to within {percent(plan.stop_width)}"
            self._tell("info", "rounds", f"no further repeat after {repeats}: {known}")
        return self._sharp

    def _predict(self) -> None:
        """What those that are held out will carry, from what was recorded so far; sealed before they are measured. A
        run that was cut here has told of some, and tells of the others by the same law."""
        run = load(self._writer.directory)
        told_of = {each.scenario for each in run.predictions}
        law = run.predictions[0].errors if run.predictions else "log"
        for prediction in predictions(run, summarize(run).scenarios, self._clock.now(), law):
            if prediction.scenario in told_of:
                continue
            self._writer.prediction(prediction)
            text = f"{prediction.scenario}: {rate_msg_s(prediction.rate_msg_s)} msg/s"
            self._tell("info", "predictions", f"predicted before it is measured: {text}")
        self._writer.seal()

    def _other_s(self, slots: Sequence[Slot]) -> float:
        """Of the time of these rounds, what is not the search's."""
        last = [self._plan.scenario(slot.scenario) for slot in slots if slot.repeat == self._plan.repeats]
        return explain_seconds(self._plan, last) + samples_seconds(self._plan, len(slots))

    def finished(self, outcome: Literal["complete", "interrupted", "failed"], error: str) -> Finished:
        return Finished(
            finished_at=self._clock.wall(),
            outcome=outcome,
            error=error,
            rounds_done=len(self._durations),
            rounds_planned=len(self._order),
            sharp=self._sharp,
        )

    def _seconds_left(self, slot: Slot) -> float | None:
        if not self._durations:
            return None
        return sum(self._durations) / len(self._durations) * (len(self._order) - slot.index + 1)

    def _tell(self, level: Literal["info", "warning", "error"], phase: str, text: str) -> None:
        self._writer.event(Event(time_s=self._clock.now(), level=level, phase=phase, text=text))
        if level == "info":
            self._progress.phase(text)
        else:
            self._progress.warn(text)

    def _round(self, slot: Slot, until_s: float) -> None:
        """Which is to end at an instant; trials of the search that do not fit any more are left out."""
        scenario = self._plan.scenario(slot.scenario)
        begun = self._clock.now()
        writer = self._writer.round(
            RoundStarted(
                index=slot.index,
                scenario=scenario.name,
                repeat=slot.repeat,
                data_plane=scenario.data_plane,
                started_at=self._clock.wall(),
                time_s=begun,
            )
        )
        name = f"{scenario.name}, repeat {slot.repeat}"
        self._tell("info", name, "starting the cluster")
        with ExitStack() as stack:
            cluster = stack.enter_context(self._backend.cluster(scenario, writer.logs))
            startup_s = self._clock.now() - begun
            writer.configurations(cluster.configurations())
            broken = self._prove(cluster, writer, name)
            self._probe_links(cluster, writer, name)
            sampler = stack.enter_context(sampling(cluster.probes, SAMPLE_INTERVAL_S, writer.sample, self._clock))
            bench = Bench(
                cluster=cluster,
                scenario=scenario,
                slot=slot,
                seed=self._plan.seed,
                sampler=sampler,
                writer=writer,
                progress=self._progress,
                clock=self._clock,
                cpu_samples_hz=self._plan.cpu_samples_hz,
            )
            self._tell("info", name, "warming up")
            warmup = warm_up(bench)
            rates = warmup.rates_msg_s
            if not warmup.warm:
                self._tell("warning", name, f"still not warm after {len(rates)} s: the rate rose or brokers compiled")
            if slot.index == 1:
                self._tell("info", name, "testing the load generator")
                self_test(bench, moderate_msg_s(rates))
            held = self._limits(scenario)
            stack.enter_context(limited(bench, held))
            limited_rates = self._gauge(bench, held, name)
            self._begin(scenario, rates, limited_rates)
            for offered in self._offers(scenario, slot, until_s):
                self._try(bench, offered, name, broken, profiles.of_load(held))
            if self._plan.cpu_samples_hz:
                self._profile(bench, name)
            if self._plan.explain_blocks and slot.repeat == self._plan.repeats:
                self._explain(bench, rates, name)
            self._read_nodes(cluster, writer, name)
            writer.finish(
                RoundFinished(
                    index=slot.index,
                    finished_at=self._clock.wall(),
                    time_s=self._clock.now(),
                    startup_s=startup_s,
                    warmup_rates_msg_s=rates,
                    warmup_compiling=warmup.compiling,
                    limited_rates_msg_s=limited_rates,
                    encrypted_hops=cluster.encrypted_hops,
                    encrypted_by=scenario.by(cluster.encrypted_hops),
                    plain_hops=cluster.plain_hops,
                )
            )
            self._tell("info", name, "stopping the cluster")
        self._writer.seal()

    def _limits(self, scenario: Scenario) -> Sequence[Limit]:
        if self._hardware is None:
            return ()
        return profiles.limits(self._hardware.profile, self._hardware.scale, scenario)

    def _begin(self, scenario: Scenario, rates: Sequence[float], limited_rates: Sequence[float]) -> None:
        """Where its search begins, by what closed loop carried: under limits, where there are any."""
        if limited_rates or not self._limits(scenario):
            start = ceilings.start_msg_s(limited_rates or rates)
            self._starts[scenario.name] = max(self._starts.get(scenario.name, 0.0), start)

    def _gauge(self, bench: Bench, held: Sequence[Limit], name: str) -> tuple[float, ...]:
        """Once for each scenario: where its search begins, if hosts are limited."""
        if not held or bench.scenario.name in self._starts:
            return ()
        self._tell("info", name, "gauging what is carried under the limits")
        return gauge(bench, profiles.of_load(held))

    def _profile(self, bench: Bench, name: str) -> None:
        """What the CPU did in the trials of the search; a run goes on without."""
        self._tell("info", name, "counting samples of the CPU")
        windows = {
            trial.number: (trial.window_start_s, trial.window_end_s)
            for trial in self._trials[bench.scenario.name]
            if trial.round_index == bench.slot.index and trial.purpose == "search"
        }
        found = cpu_profiles(bench.cluster, windows)
        for profile in found:
            bench.writer.profile(profile)
        if lacking := sorted(windows.keys() - {profile.trial for profile in found}):
            numbers = ", ".join(map(str, lacking))
            self._tell("warning", name, f"the CPU's samples of trial {numbers} are not complete, and do not count")

    def _explain(self, bench: Bench, rates: Sequence[float], name: str) -> None:
        ceiling = ceilings.lowest_msg_s([self._search(bench.scenario)])
        trials = self._trials[bench.scenario.name]
        here = [trial for trial in trials if trial.round_index == bench.slot.index]
        valid = [trial for trial in here if trial.valid]
        if ceiling is None or not valid:
            self._tell("warning", name, "what limits is not looked for: this round has no valid trial")
            return
        self._tell("info", name, "telling what limits")
        most = max(ceiling, ceilings.start_msg_s(rates), *(trial.rate_msg_s for trial in valid))
        less = candidates(valid[-1], bench.scenario, self._there_is)
        told = explain(bench, most, less, blocks=self._plan.explain_blocks, number=here[-1].number + 1)
        for trial in told:
            trials.append(trial)
            for fault in trial.faults:
                self._tell("warning", name, f"trial {trial.number} is invalid: {fault}")

    def _prove(self, cluster: Cluster, writer: RoundWriter, name: str) -> tuple[Proof, ...]:
        """Records all proofs; returns those that do not hold."""
        proofs = tuple(cluster.prove())
        for proof in proofs:
            writer.proof(proof)
            if not proof.holds:
                self._tell("error", name, f"{proof.name} does not hold at {proof.host}: {proof.detail}")
        return tuple(proof for proof in proofs if not proof.holds)

    def _probe_links(self, cluster: Cluster, writer: RoundWriter, name: str) -> None:
        for probe in probe_links(cluster):
            writer.link(probe)
            if lacks := short(probe):
                self._tell("warning", name, f"before load, {lacks}")

    def _read_nodes(self, cluster: Cluster, writer: RoundWriter, name: str) -> None:
        if found := nodes_read(cluster):
            writer.nodes(found)
            for problem in found.problems:
                self._tell("warning", name, problem)

    def _search(self, scenario: Scenario) -> Search:
        name = scenario.name
        return ceilings.search(self._plan, scenario, self._starts[name], self._trials[name])

    def _announce(self, scenario: Scenario, name: str) -> None:
        """What its search will do, before its first trial."""
        text = self._search(scenario).plan_text()
        for line in text.splitlines():
            self._writer.event(Event(time_s=self._clock.now(), level="info", phase=name, text=line))
        self._progress.note(text)

    def _offers(self, scenario: Scenario, slot: Slot, until_s: float) -> Iterator[Offered]:
        """The trials of one round, each chosen when those before it are known."""
        method = scenario.method
        if slot.repeat == 1:
            self._announce(scenario, f"{slot.scenario}, repeat {slot.repeat}")
        rest = (len(method.equal_load) if slot.repeat > 1 else 0) + (method.load_bytes_s is not None)
        number = 0
        for number in range(1, method.trials + 1):
            if number > 1 and self._clock.now() + (1 + rest) * trial_seconds(self._plan, scenario) > until_s:
                text = f"{number - 1} of {method.trials} trials of the search, so that all rounds fit into the budget"
                self._tell("warning", f"{slot.scenario}, repeat {slot.repeat}", text)
                break
            offer = self._search(scenario).next(slot.repeat)
            if offer is None:
                break
            yield Offered(
                number=number, purpose="search", rate_msg_s=offer.rate_msg_s, phase=offer.phase, target=offer.target
            )
        if method.load_bytes_s is not None:
            number += 1
            rate_msg_s = method.load_bytes_s / scenario.workload.message_size
            yield Offered(number=number, purpose="fixed-load", rate_msg_s=rate_msg_s)
        if slot.repeat == 1 or not method.equal_load:
            return
        # Fixed once: a load is equal only if it is the same in every round.
        baseline = self._plan.baseline_of(scenario)
        lowest_msg_s = self._lowest_msg_s[baseline] = self._lowest_msg_s.get(baseline) or self._lowest(baseline)
        for place, share in enumerate(method.equal_load, start=1):
            if lowest_msg_s is not None:
                yield Offered(
                    number=number + place, purpose="equal-load", rate_msg_s=share * lowest_msg_s, share=share
                )

    def _lowest(self, baseline: str) -> float | None:
        alike = [scenario for scenario in self._plan.scenarios if self._plan.baseline_of(scenario) == baseline]
        lowest = ceilings.lowest_msg_s([self._search(scenario) for scenario in alike if scenario.name in self._starts])
        if lowest is None:
            self._tell("warning", "equal load", "not measured: a scenario has no valid trial yet")
        return lowest

    def _try(
        self, bench: Bench, offered: Offered, name: str, broken: tuple[Proof, ...], limits: Sequence[Limit]
    ) -> None:
        what = f"search, {offered.phase}" if offered.purpose == "search" else offered.purpose.replace("-", " ")
        what += f", {percent(offered.share)}" if offered.share is not None else ""
        self._tell("info", name, f"{what}: {rate_msg_s(offered.rate_msg_s)} msg/s offered")
        trial = measure(bench, offered, limits)
        if broken:
            faults = tuple(f"{proof.name} does not hold at {proof.host}" for proof in broken)
            trial = trial.model_copy(update={"faults": (*faults, *trial.faults)})
        bench.writer.trial(trial)
        self._trials[bench.scenario.name].append(trial)
        for reason in trial.reasons:
            self._tell("warning", name, f"trial {offered.number} is invalid: {reason}")

"""A whole run, from the plan to the last record.

    record plan and machine -> environment benchmark -> rounds in the plan's order -> record the end

Whatever ends it (success, a component's failure, Ctrl-C), what was measured is on the disk and the machine is left
as it was. A round is one life of a cluster: start, prove the path, warm up, climb the ladder.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from meshmark.analysis.warmup import flat
from meshmark.clock import Clock
from meshmark.cluster import Backend, Cluster
from meshmark.errors import MeshmarkError
from meshmark.experiment import environment
from meshmark.experiment.progress import Progress
from meshmark.experiment.trial import Bench, measure, warm_up
from meshmark.measure.sampler import sampling
from meshmark.plan import Method, Plan, Slot
from meshmark.record import Event, Finished, Proof, RoundFinished, RoundStarted, Started, Trial
from meshmark.store import RoundWriter, RunWriter

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
    backend.prepare(plan)
    started = Started(
        run_id=uuid.uuid4().hex,
        started_at=clock.wall(),
        clock_offset_s=clock.wall() - clock.now(),
        command=tuple(command),
        effort=effort,
        scenarios_selected=tuple(scenario.name for scenario in plan.scenarios),
        host=backend.facts(),
        versions=backend.versions(),
    )
    writer = RunWriter.create(directory, plan, started)
    conductor = _Conductor(plan, backend, writer, progress, clock)
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

    def play(self) -> None:
        deadline = self._clock.now() + self._plan.budget_seconds
        environment.measure(self._plan, self._backend, self._writer, self._progress)
        for slot in self._order:
            begun = self._clock.now()
            if self._durations and begun + max(self._durations) > deadline:
                self._tell(
                    "warning",
                    "rounds",
                    f"the time budget of {self._plan.budget_seconds:.0f} s ended after {len(self._durations)} of "
                    f"{len(self._order)} rounds; the rest were not run",
                )
                return
            self._progress.round(slot.index, len(self._order), slot.scenario, slot.repeat, self._seconds_left(slot))
            self._round(slot)
            self._durations.append(self._clock.now() - begun)

    def finished(self, outcome: Literal["complete", "interrupted", "failed"], error: str) -> Finished:
        return Finished(
            finished_at=self._clock.wall(),
            outcome=outcome,
            error=error,
            rounds_done=len(self._durations),
            rounds_planned=len(self._order),
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

    def _round(self, slot: Slot) -> None:
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
            cluster = stack.enter_context(self._backend.cluster(scenario))
            stack.callback(lambda: writer.logs(cluster.logs()))
            startup_s = self._clock.now() - begun
            writer.configurations(cluster.configurations())
            broken = self._prove(cluster, writer, name)
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
            )
            self._tell("info", name, "warming up")
            rates = warm_up(bench)
            if not flat(rates):
                self._tell("warning", name, f"the rate still rose after {len(rates)} s of warm-up")
            trials = self._climb(bench, name, broken)
            carried, reason = limit(trials, scenario.method)
            writer.finish(
                RoundFinished(
                    index=slot.index,
                    finished_at=self._clock.wall(),
                    time_s=self._clock.now(),
                    startup_s=startup_s,
                    warmup_rates_msg_s=rates,
                    carried_step=carried,
                    reason=reason,
                    encrypted_hops=cluster.encrypted_hops,
                    plain_hops=cluster.plain_hops,
                )
            )
            self._tell("info", name, "stopping the cluster")

    def _prove(self, cluster: Cluster, writer: RoundWriter, name: str) -> tuple[Proof, ...]:
        """Records all proofs; returns those that do not hold."""
        proofs = tuple(cluster.prove())
        for proof in proofs:
            writer.proof(proof)
            if not proof.holds:
                self._tell("error", name, f"{proof.name} does not hold at {proof.host}: {proof.detail}")
        return tuple(proof for proof in proofs if not proof.holds)

    def _climb(self, bench: Bench, name: str, broken: tuple[Proof, ...]) -> list[Trial]:
        """Adds producing clients until throughput no longer rises."""
        trials: list[Trial] = []
        for step in range(1, bench.scenario.method.clients_max + 1):
            self._tell("info", name, f"{step} x {bench.scenario.workload.workers} producer connections")
            trial = measure(bench, step, clients=step)
            if broken:
                reasons = tuple(f"{proof.name} does not hold at {proof.host}" for proof in broken)
                trial = trial.model_copy(update={"valid": False, "reasons": (*reasons, *trial.reasons)})
            bench.writer.trial(trial)
            trials.append(trial)
            for reason in trial.reasons:
                self._tell("warning", name, f"trial {step} is invalid: {reason}")
            if not rises(trials, bench.scenario.method):
                break
        return trials


def rises(trials: Sequence[Trial], method: Method) -> bool:
    """Did the last trial carry more than the best before it by the method's share? The first always does."""
    before = max((trial.rate_msg_s for trial in trials[:-1]), default=0.0)
    return trials[-1].rate_msg_s > before * (1 + method.rise)


def limit(trials: Sequence[Trial], method: Method) -> tuple[int | None, str]:
    """The step that carried most among the valid trials, and how the ladder ended."""
    valid = [trial for trial in trials if trial.valid]
    if not valid:
        return None, "no valid trial"
    best = max(valid, key=lambda trial: trial.rate_msg_s)
    if len(trials) == method.clients_max and len(trials) > 1 and rises(trials, method):
        return best.step, f"still rising at {trials[-1].clients} clients: the limit was not reached"
    last = trials[-1]
    return best.step, f"throughput no longer rose by {method.rise:.0%} with {last.clients} clients"

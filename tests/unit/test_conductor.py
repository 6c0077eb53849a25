"""Whole runs on the simulated system: what is recorded, in which order, and how a run ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.backends.simulated import load as simulated_load
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, Inconclusive, InstrumentFault
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import EnvironmentSpec, Method, Plan, Scenario, Workload
from meshmark.store import Run, load
from tests.mutants.simulated import QUEUES
from tests.planes import EVERYWHERE, WHOLE

METHOD = Method(
    warmup_seconds=8, warmup_max_seconds=30, settle_seconds=0.5, window_seconds=2, trials=2, arrivals="even"
)


def plan_of(*data_planes: DataPlane, **changes: Any) -> Plan:
    workload = changes.pop("workload", Workload())
    method = changes.pop("method", METHOD)
    scenarios = tuple(
        Scenario(name=plane.value, data_plane=plane, workload=workload, method=method) for plane in data_planes
    )
    return Plan(name="test", scenarios=scenarios, **{"repeats": 2, "budget_seconds": 3_600, **changes})


def run(
    directory: Path,
    plan: Plan,
    truth: Truth | None = None,
    progress: Silent | None = None,
    clock: SimulatedClock | None = None,
) -> Run:
    clock = clock or SimulatedClock()
    conduct(
        plan,
        SimulatedBackend(clock, truth),
        directory,
        command=("meshmark", "run"),
        effort="default",
        progress=progress or Silent(),
        clock=clock,
    )
    return load(directory)


def test_every_scenario_is_measured_in_every_repeat_in_the_plans_order(tmp_path: Path) -> None:
    plan = plan_of(*WHOLE, repeats=3)
    done = run(tmp_path / "run", plan)
    assert [(r.started.scenario, r.started.repeat) for r in done.rounds] == [
        (slot.scenario, slot.repeat) for slot in plan.order()
    ]
    assert done.finished is not None
    assert (done.finished.outcome, done.finished.rounds_done) == ("complete", 12)


def test_each_round_adds_its_trials_to_one_search_of_its_scenario(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN, repeats=3))
    searched = [[trial for trial in each.trials if trial.purpose == "search"] for each in done.rounds]
    assert [len(trials) for trials in searched] == [2, 2, 2]
    assert searched[0][0].phase == "bracket"
    # The last round goes on where those before it ended: near the ceiling.
    assert all(trial.phase != "bracket" for trial in searched[2])
    assert all(len(trial.series) >= 5 for trials in searched for trial in trials)


def test_offered_rates_end_around_the_ceiling(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN, repeats=3), Truth(noise=0))
    ceiling = Truth().ceilings_msg_s[DataPlane.PLAIN]
    last = [trial for trial in done.rounds[-1].trials if trial.purpose == "search"]
    assert all(0.8 * ceiling < trial.offered_msg_s < 1.3 * ceiling for trial in last)


def test_from_the_second_repeat_on_all_scenarios_are_offered_the_same_loads(tmp_path: Path) -> None:
    method = METHOD.model_copy(update={"equal_load": (0.5, 0.9)})
    done = run(tmp_path / "run", plan_of(*WHOLE, repeats=3, method=method), Truth(noise=0))
    found = {
        (each.started.repeat, each.started.scenario): [
            (trial.share, trial.offered_msg_s) for trial in each.trials if trial.purpose == "equal-load"
        ]
        for each in done.rounds
    }
    assert all(not loads for (repeat, _), loads in found.items() if repeat == 1)
    later = [loads for (repeat, _), loads in found.items() if repeat > 1]
    assert all(loads == later[0] for loads in later)
    assert [share for share, _ in later[0]] == [0.5, 0.9]
    lowest = Truth().ceilings_msg_s[DataPlane.KAFKA_TLS]
    assert later[0][0][1] == pytest.approx(lowest / 2, rel=0.15)


@pytest.mark.parametrize("data_plane", EVERYWHERE)
def test_a_sound_trial_is_valid_in_every_data_plane(tmp_path: Path, data_plane: DataPlane) -> None:
    workload = Workload(subscriptions_per_topic=1)
    done = run(tmp_path / "run", plan_of(data_plane, workload=workload, repeats=1))
    for trial in done.rounds[0].trials:
        assert trial.valid, trial.reasons
        assert trial.total.closed
        assert trial.total.consumed == trial.total.acknowledged
        assert bool(trial.path) == data_plane.sidecars


def test_traffic_past_the_sidecars_makes_a_trial_invalid(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(DataPlane.ISTIO, repeats=1), Truth(proxied_share=0.95))
    (only,) = done.rounds
    assert not any(trial.valid for trial in only.trials)
    assert any("inbound_rx" in reason for reason in only.trials[0].reasons)


def test_a_proof_that_does_not_hold_makes_the_round_invalid(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(DataPlane.ISTIO_MTLS, repeats=1), Truth(proofs_hold=False))
    assert not any(trial.valid for trial in done.rounds[0].trials)
    assert any(event.level == "error" for event in done.events)


def test_every_network_path_of_the_plan_is_probed_and_the_direct_one_always(tmp_path: Path) -> None:
    plan = plan_of(DataPlane.ISTIO_MTLS, repeats=1, environment=EnvironmentSpec(repeats=2))
    done = run(tmp_path / "run", plan)
    assert [(p.path, p.flows, p.repeat) for p in done.network_probes] == [
        (path, flows, repeat) for repeat in (1, 2) for path in ("direct", "sidecars-mtls") for flows in (1, 4)
    ]
    assert [(p.mode, p.repeat) for p in done.disk_probes] == [
        (mode, repeat) for repeat in (1, 2) for mode in ("buffered", "synced")
    ]


def test_an_environment_of_zero_seconds_is_skipped(tmp_path: Path) -> None:
    environment = EnvironmentSpec(disk_seconds=0, network_seconds=0)
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN, repeats=1, environment=environment))
    assert (done.network_probes, done.disk_probes) == ((), ())


def test_the_time_budget_leaves_rounds_out_and_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(*WHOLE, repeats=3, budget_seconds=200))
    assert done.finished is not None
    assert 0 < done.finished.rounds_done < done.finished.rounds_planned == 12
    assert done.finished.outcome == "complete"
    assert any("time budget" in event.text for event in done.events)


def test_a_dead_broker_ends_the_run_and_keeps_what_was_measured(tmp_path: Path) -> None:
    with pytest.raises(ComponentFailed, match="broker-2 died"):
        run(tmp_path / "run", plan_of(DataPlane.PLAIN), Truth(broker_dies_after_s=29.5))
    left = load(tmp_path / "run")
    assert left.finished is not None
    assert left.finished.outcome == "failed"
    assert "broker-2 died" in left.finished.error
    assert 0 < len(left.rounds[0].trials) < METHOD.trials


class _Interrupts(Silent):
    def __init__(self, when: Callable[[str], bool]) -> None:
        self._when = when

    def phase(self, text: str) -> None:
        if self._when(text):
            raise KeyboardInterrupt


def test_an_interrupt_is_recorded_and_passed_on(tmp_path: Path) -> None:
    searches = itertools.count()
    with pytest.raises(KeyboardInterrupt):
        run(
            tmp_path / "run",
            plan_of(DataPlane.PLAIN),
            progress=_Interrupts(lambda text: "search, " in text and next(searches) == 1),
        )
    left = load(tmp_path / "run")
    assert left.finished is not None
    assert left.finished.outcome == "interrupted"
    assert len(left.rounds[0].trials) == 1


def test_the_same_seed_gives_the_same_order_and_another_one_another() -> None:
    orders = {seed: plan_of(*WHOLE, repeats=3, seed=seed).order() for seed in (1, 1, 2)}
    assert plan_of(*WHOLE, repeats=3, seed=1).order() == orders[1]
    assert orders[1] != orders[2]
    for order in orders.values():
        assert [slot.index for slot in order] == list(range(1, 13))
        for repeat in (1, 2, 3):
            assert {slot.scenario for slot in order if slot.repeat == repeat} == {plane.value for plane in WHOLE}


def test_a_round_warms_up_until_the_rate_is_flat(tmp_path: Path) -> None:
    seconds = {}
    for warmup_s in (1.0, 6.0, 60.0):
        truth = Truth(warmup_s=warmup_s, noise=0)
        (only,) = run(tmp_path / f"run-{warmup_s}", plan_of(DataPlane.PLAIN, repeats=1), truth).rounds
        assert only.finished is not None
        seconds[warmup_s] = len(only.finished.warmup_rates_msg_s)
    assert seconds[1.0] < seconds[6.0] < seconds[60.0] <= 30


def test_a_rate_that_still_rises_after_the_longest_warm_up_is_told(tmp_path: Path) -> None:
    method = METHOD.model_copy(update={"warmup_max_seconds": 12})
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN, repeats=1, method=method), Truth(warmup_s=20, noise=0))
    assert any("still not warm after" in event.text and event.level == "warning" for event in done.events)
    assert any(
        "not warm when measured" in warning and "plain, repeat 1" in warning for warning in summarize(done).warnings
    )


def test_the_load_generator_is_tested_in_the_first_round_alone(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(*WHOLE, repeats=1))
    assert [len(each.self_tests) for each in done.rounds] == [1, 0, 0, 0]
    assert all(tested.holds for each in done.rounds for tested in each.self_tests)


def test_a_run_whose_load_generator_misreports_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_load, "Queue", QUEUES["actual-send clock"])
    with pytest.raises(InstrumentFault, match="self-test"):
        run(tmp_path / "run", plan_of(DataPlane.PLAIN))
    left = load(tmp_path / "run")
    assert left.finished is not None
    assert left.finished.outcome == "failed"
    assert "self-test" in left.finished.error
    assert not any(tested.holds for tested in left.rounds[0].self_tests)
    assert left.rounds[0].trials == ()


def test_a_run_whose_load_generator_cannot_be_tested_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Inconclusive, match="self-test"):
        run(tmp_path / "run", plan_of(DataPlane.PLAIN), Truth(latencies_s={DataPlane.PLAIN: 2.0}, noise=0))
    left = load(tmp_path / "run")
    assert left.finished is not None
    assert (left.finished.outcome, len(left.rounds[0].self_tests)) == ("failed", 2)
    assert left.rounds[0].trials == ()


def test_rounds_that_would_not_fit_have_fewer_trials_and_say_so(tmp_path: Path) -> None:
    changes = {
        "environment": EnvironmentSpec(disk_seconds=0, network_seconds=0),
        "method": METHOD.model_copy(update={"trials": 5, "equal_load": ()}),
    }
    free = run(tmp_path / "free", plan_of(DataPlane.PLAIN, **changes))
    first, last = free.rounds[0].started, free.rounds[-1].finished
    assert last is not None
    budget_s = 0.8 * (last.time_s - first.time_s)
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN, budget_seconds=budget_s, **changes))
    assert len(done.rounds) == len(free.rounds)
    assert 1 <= min(len(each.trials) for each in done.rounds) < 5
    assert any("so that all rounds fit" in event.text for event in done.events)


class _Notes(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def test_a_search_tells_what_it_will_do_before_its_first_trial(tmp_path: Path) -> None:
    notes = _Notes()
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN, DataPlane.ISTIO), progress=notes)
    told = [event.text for event in done.events]
    plans = [place for place, text in enumerate(told) if text.startswith("Saturation search from ")]
    trials = [place for place, text in enumerate(told) if text.startswith("search, ")]
    assert len(plans) == 2, "once for each scenario"
    assert plans[0] < trials[0]
    assert "4 trials on 2 clusters, one after the other, of 0.5 s to settle and 2 s measured" in told[plans[0] + 1]
    assert [note.splitlines() for note in notes.told] == [told[place : place + 4] for place in plans]


def test_a_window_with_too_few_reports_is_a_fault_of_its_trial_and_no_end_of_the_run(tmp_path: Path) -> None:
    """The simulated workers report every half a second: in this window four or five times, both edges included."""
    short = METHOD.model_copy(update={"window_seconds": 1.5})
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN, method=short))
    trials = [trial for data in done.rounds for trial in data.trials]
    few = "the load workers reported 4 times in its window, and 5 are needed"
    assert {trial.faults for trial in trials if len(trial.series) < 5} == {(few,)}
    assert not any(few in trial.faults for trial in trials if len(trial.series) >= 5)
    assert done.finished is not None
    assert done.finished.outcome == "complete"

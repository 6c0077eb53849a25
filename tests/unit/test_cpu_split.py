"""The ledger's CPU time by kind of work: shared out as samples are, in a whole run, its report and its plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshmark import planfile
from meshmark.analysis.cpu_split import split
from meshmark.analysis.model import CpuPerGb
from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth, system
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import Method, Plan, Scenario
from meshmark.record import CpuProfile, CpuSamples
from meshmark.report.table import table
from meshmark.store import Run, load

METHOD = Method(warmup_seconds=4, settle_seconds=0.5, window_seconds=2, trials=2, arrivals="even", equal_load=(0.5,))
PLAN = Plan(
    name="test",
    repeats=2,
    budget_seconds=3_600,
    cpu_samples_hz=99,
    scenarios=(Scenario(name="plain", data_plane=DataPlane.PLAIN, method=METHOD),),
)


def profile(trial: int = 1, **kinds: int) -> CpuProfile:
    samples = tuple(
        CpuSamples.model_validate({"component": f"broker-{number}/kafka", "kind": kind, "samples": count})
        for number in (1, 2)
        for kind, count in kinds.items()
    )
    return CpuProfile(trial=trial, hz=99, expected=400, idle=100, samples=samples, unknown_in={"envoy": 2})


def test_what_a_component_used_is_shared_out_as_its_samples_are() -> None:
    found = split([profile(crypto=10, copy=30), profile(crypto=50, user=10)], CpuPerGb(brokers=8.0))
    assert found is not None
    [brokers] = found.components
    assert (brokers.component, brokers.samples) == ("brokers", 200)
    assert brokers.s_per_gb is not None
    assert {kind: value for kind, value in brokers.s_per_gb.items() if value} == {
        "crypto": pytest.approx(4.8),
        "copy": pytest.approx(2.4),
        "user": pytest.approx(0.8),
    }
    assert (found.windows, found.busy_share, found.unknown_in) == (2, 0.25, {"envoy": 4})


def test_samples_of_brokers_hold_their_compilers() -> None:
    found = split([profile(crypto=10)], CpuPerGb(brokers=6.0, compilers=2.0))
    assert found is not None
    assert [each.s_per_gb and each.s_per_gb["crypto"] for each in found.components] == [pytest.approx(8.0)]


def test_a_component_whose_use_is_not_known_has_samples_alone() -> None:
    found = split([profile(crypto=10)], CpuPerGb())
    assert found is not None
    assert [(each.samples, each.s_per_gb) for each in found.components] == [(20, None)]


def test_nothing_is_told_without_samples() -> None:
    assert split([], CpuPerGb(brokers=8.0)) is None


class Profiled(system.SimulatedCluster):
    """Knows of every trial that was sampled but the second of a round."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.sampled: list[int] = []

    @contextmanager
    def profiling(self, trial: int, hz: int) -> Iterator[None]:
        yield
        self.sampled.append(trial)

    def cpu_profiles(self, windows: Mapping[int, tuple[float, float]]) -> Sequence[CpuProfile]:
        assert sorted(windows) == self.sampled, "the trials of the search, and no others"
        assert all(end - start >= METHOD.window_seconds for start, end in windows.values())
        return [profile(trial, crypto=30, user=70) for trial in windows if trial != 2]


def run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(system, "SimulatedCluster", Profiled)
    monkeypatch.setattr(SimulatedBackend, "prepare", lambda *_: None)
    clock = SimulatedClock()
    backend = SimulatedBackend(clock, Truth(noise=0))
    conduct(PLAN, backend, directory, command=("test",), effort="default", progress=Silent(), clock=clock)
    return load(directory)


def test_trials_of_the_search_are_sampled_and_the_report_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(tmp_path / "run", monkeypatch)
    assert [[each.trial for each in data.profiles] for data in done.rounds] == [[1], [1]]
    warned = [event.text for event in done.events if "samples of trial 2" in event.text]
    assert len(warned) == 2
    summary = summarize(done)
    [scenario] = summary.scenarios
    standing = [next(trial.number for trial in repeat.trials if trial.stands) for repeat in scenario.repeats]
    assert [repeat.cpu_profile is not None for repeat in scenario.repeats] == [number == 1 for number in standing]
    assert (scenario.cpu_split is not None) is (1 in standing)
    assert ("BY KIND OF WORK" in table(summary)) is (1 in standing)


def test_what_does_not_run_here_is_not_sampled() -> None:
    with pytest.raises(MissingRequirement, match="simulated CPU"):
        SimulatedBackend(SimulatedClock()).prepare(PLAN)


def test_a_plan_gets_time_to_count_its_samples() -> None:
    plan = planfile.effort(planfile.builtin("banzai-2019"), "default")
    sampled = planfile.sampled(plan)
    assert sampled.cpu_samples_hz == 99
    assert sampled.budget_seconds > plan.budget_seconds
    assert planfile.estimate_seconds(sampled) > planfile.estimate_seconds(plan)

"""What a person is told while a trial goes on, and why one does not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth, system
from meshmark.backends.simulated.load import SimulatedWorker
from meshmark.data_plane import DataPlane
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import Method, Plan, Scenario
from meshmark.store import load
from meshmark.worker_protocol import WorkerReport


class _Rates(Silent):
    def __init__(self) -> None:
        self.told: list[float] = []

    def rate(self, msg_s: float) -> None:
        self.told.append(msg_s)


def test_the_live_rate_is_told_and_is_the_systems(tmp_path: Path) -> None:
    clock, progress = SimulatedClock(), _Rates()
    truth = Truth(per_client_msg_s=50_000, noise=0, warmup_s=0.1)
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN, method=Method(trials=2))
    plan = Plan(name="test", repeats=1, scenarios=(scenario,))
    backend = SimulatedBackend(clock, truth)
    conduct(plan, backend, tmp_path / "run", command=(), effort="default", progress=progress, clock=clock)
    assert min(progress.told[4:]) > 45_000
    assert max(progress.told) < 60_000


class _Doubting(SimulatedWorker):
    """Ends every load with a note, as a raw client does whose offsets went back."""

    def read_line(self, timeout_s: float) -> str | None:
        line = super().read_line(timeout_s)
        report = line and WorkerReport.model_validate_json(line)
        if not report or report.kind != "finished":
            return line
        return report.model_copy(update={"text": "2 batches were stored at offsets given before"}).model_dump_json()


def test_a_trial_whose_load_worker_doubts_its_own_account_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "SimulatedWorker", _Doubting)
    clock = SimulatedClock()
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN, method=Method(trials=1))
    plan = Plan(name="test", repeats=1, scenarios=(scenario,))
    backend = SimulatedBackend(clock, Truth())
    conduct(plan, backend, tmp_path / "run", command=(), effort="default", progress=Silent(), clock=clock)
    [trial] = load(tmp_path / "run").rounds[0].trials
    assert trial.faults == ("load worker producer-1 on client-1: 2 batches were stored at offsets given before",)

"""What a person is told while a trial goes on."""

from __future__ import annotations

from pathlib import Path

from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import DataPlane, Method, Plan, Scenario


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

"""Whole runs on the simulated system, summarised: what reports are made from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshmark import store
from meshmark.analysis.model import Summary
from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.errors import ComponentFailed
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import Method, Plan, Scenario
from tests.planes import WHOLE

METHOD = Method(warmup_seconds=4, settle_seconds=0.5, window_seconds=2, trials=2, arrivals="even")
PLAN = Plan(
    name="test",
    description="what a report is made from",
    repeats=3,
    budget_seconds=3_600,
    scenarios=tuple(Scenario(name=plane.value, data_plane=plane, method=METHOD) for plane in WHOLE),
)


@dataclass(frozen=True)
class Told:
    """A run and what can be said about it."""

    run: store.Run
    summary: Summary


Tell = Callable[..., Told]


def told(directory: Path, plan: Plan = PLAN, truth: Truth | None = None) -> Told:
    clock = SimulatedClock()
    with suppress(ComponentFailed):
        conduct(
            plan,
            SimulatedBackend(clock, truth or Truth(noise=0)),
            directory,
            command=("meshmark", "run"),
            effort="default",
            progress=Silent(),
            clock=clock,
        )
    run = store.load(directory)
    return Told(run, summarize(run))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """All data planes, three repeats, nothing went wrong, no noise."""
    return told(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A broker died in the first round, after a trial."""
    return told(tmp_path_factory.mktemp("cut") / "run", truth=Truth(noise=0, broker_dies_after_s=22.0))


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """tell(plan, truth): another run."""

    def another(plan: Plan = PLAN, truth: Truth | None = None) -> Told:
        return told(tmp_path / "run", plan, truth)

    return another

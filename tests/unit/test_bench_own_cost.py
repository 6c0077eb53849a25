"""What meshmark takes for itself, of a run of the simulated system."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.own_cost import Cost, costs, told
from bench.own_cost import cost as own
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.plan import Scenario
from meshmark.record import BatchFill, LoadTotals
from meshmark.store import load
from tests.trials import trial

PLAN = """name: small
repeats: 2
environment: {diskSeconds: 0, networkSeconds: 0}
method: {warmupSeconds: 1, windowSeconds: 2, trials: 3}
scenarios: [plain, istio-mtls]
"""


def cost(share: float | None, scenario: str = "plain", repeat: int = 1) -> Cost:
    return Cost(scenario=scenario, repeat=repeat, rate_msg_s=1_000, share=share, busy_share=0.99)


def test_the_goal_is_for_the_worst_trial_and_not_for_the_mean() -> None:
    assert list(told([cost(0.014), cost(0.010, repeat=2)])) == [
        "plain        1.2 % (1 % to 1.4 %, n = 2); machine busy 99 % at 1,000 msg/s",
        "goal: at most 1.5 % of the machine: met, most 1.4 %",
    ]
    assert list(told([cost(0.016), cost(0.010, repeat=2)]))[-1].endswith("missed, most 1.6 %")


def test_a_share_that_was_not_read_is_not_taken_for_none() -> None:
    assert list(told([cost(None)])) == ["no repeat has a valid trial whose CPU was read"]


def test_it_is_of_one_trial_of_each_repeat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    app.main(["run", str(tmp_path / "plan.yaml"), "--backend", "simulated", "--out", str(tmp_path / "run")])
    run = load(tmp_path / "run")
    found = list(costs(run))
    assert sorted((each.scenario, each.repeat) for each in found) == [
        ("istio-mtls", 1),
        ("istio-mtls", 2),
        ("plain", 1),
        ("plain", 2),
    ]
    assert {each.share for each in found} == {None}, "the simulated system has no process of its own"


def test_the_share_is_of_all_cpus_time() -> None:
    window = LoadTotals(offered=10, acknowledged=10, acknowledged_bytes=5_120)
    counters = {"machine/meshmark/cpu_user_s": 1.0, "machine/meshmark/cpu_system_s": 1.0, "machine/cpu/elapsed_s": 7.0}
    later = {"machine/meshmark/cpu_user_s": 1.2, "machine/meshmark/cpu_system_s": 1.1, "machine/cpu/elapsed_s": 17.0}
    batch = BatchFill(records_per_batch=None, bytes_per_batch=None, requests=0, request_bytes=0)
    measured = trial(window=window, batch=batch, counters_start=counters, counters_end=later)
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN)
    assert own(measured, scenario, cpus=2).share == pytest.approx(0.3 / (10.0 * 2))

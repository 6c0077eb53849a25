"""Thresholds of a plan: how they are read, how they are judged, and the exit codes that follow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshmark import planfile
from meshmark.analysis.model import Interval
from meshmark.analysis.thresholds import judge
from meshmark.cli import app
from meshmark.errors import PlanError
from meshmark.plan import Threshold

PLAN = """name: gate
repeats: 4
environment: {diskSeconds: 0, networkSeconds: 0}
method: {warmupSeconds: 1, windowSeconds: 3, trials: 3, arrivals: even}
thresholds:
  latency_ms_p99@50%: <50
scenarios:
  - plain
  - dataPlane: istio-mtls
    thresholds:
      saturation_loss: <5%
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run in which mTLS costs 20 %, and its exit code."""
    directory = tmp_path_factory.mktemp("gate")
    (directory / "gate.yaml").write_text(PLAN, encoding="utf-8")
    out = directory / "out"
    code = app.main(["run", str(directory / "gate.yaml"), "--backend", "simulated", "--out", str(out)])
    return out, code


def judged(run: Path, limit: str, capsys: Capture) -> tuple[int, str, str]:
    """Exit code, table and message of `report --gate` with another limit for the loss."""
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    plan["scenarios"][1]["thresholds"]["saturation_loss"] = limit
    (run / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    code = app.main(["report", str(run), "--gate"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_run_ends_with_1_where_a_threshold_is_broken_and_tells_all(gated: tuple[Path, int]) -> None:
    run, code = gated
    assert code == 1
    told = json.loads((run / "summary.json").read_text(encoding="utf-8"))["thresholds"]
    assert [(each["scenario"], each["name"], each["verdict"]) for each in told] == [
        ("plain", "latency_ms_p99@50%", "held"),
        ("istio-mtls", "latency_ms_p99@50%", "held"),
        ("istio-mtls", "saturation_loss", "broken"),
    ]
    assert told[2]["value"] == pytest.approx(0.2, abs=0.03)
    assert (told[2]["repeats_counted"], told[2]["repeats_planned"]) == (4, 4)
    assert (told[0]["repeats_counted"], told[0]["repeats_planned"]) == (3, 3)


def test_a_record_is_judged_again_with_the_same_codes(gated: tuple[Path, int], capsys: Capture) -> None:
    run, _ = gated
    code, out, err = judged(run, "<10%", capsys)
    assert code == 1
    assert "THRESHOLDS OF THE PLAN" in out
    assert "istio-mtls: saturation_loss is " in err
    assert err.strip().endswith("not < 10 %")
    code, _, err = judged(run, "<40%", capsys)
    assert (code, err) == (0, "")
    measured = json.loads((run / "summary.json").read_text(encoding="utf-8"))["thresholds"][2]["value"]
    code, out, err = judged(run, f"<{measured * 100:.3f}%", capsys)
    assert code == 3
    assert "the interval holds the limit" in " ".join(out.split())
    assert "cannot be told" in err


def test_the_gate_of_a_plan_without_thresholds_is_a_mistake(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "plain.yaml"
    file.write_text("name: x\nrepeats: 1\nenvironment: {diskSeconds: 0, networkSeconds: 0}\nscenarios: [plain]\n")
    assert app.main(["run", str(file), "--backend", "simulated", "--out", str(tmp_path / "out")]) == 0
    assert app.main(["report", str(tmp_path / "out"), "--gate"]) == 2
    assert "has no thresholds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("interval", "counted", "verdict"),
    [
        ((0.05, 0.149), 4, "held"),
        ((0.05, 0.15), 4, "cannot tell"),
        ((0.149, 0.30), 4, "cannot tell"),
        ((0.15, 0.30), 4, "broken"),
        ((-0.2, 0.1), 2, "cannot tell"),
        ((0.2, 0.3), 2, "broken"),
        (None, 1, "cannot tell"),
        (None, 0, "cannot tell"),
    ],
)
def test_a_threshold_is_judged_by_its_whole_interval(
    interval: tuple[float, float] | None, counted: int, verdict: str
) -> None:
    found = Interval(low=interval[0], high=interval[1]) if interval else None
    told, why = judge(0.15, found, counted=counted, planned=4)
    assert told == verdict
    assert bool(why) == (verdict == "cannot tell")


def test_thresholds_are_read_as_they_are_written() -> None:
    loss = Threshold.parse("saturation_loss", "<15%")
    assert loss.limit == pytest.approx(0.15)
    assert (loss.quantile, loss.share) == (None, None)
    latency = Threshold.parse("latency_ms_p99_9@12.5%", "< 50.5")
    assert (latency.limit, latency.quantile) == (50.5, "p99_9")
    assert latency.is_at(0.125)
    assert not latency.is_at(0.12)


def test_a_scenario_s_own_limit_goes_before_the_plan_s() -> None:
    text = PLAN.replace("saturation_loss: <5%", "latency_ms_p99@50%: <99")
    plan = planfile.loads(text, "f")
    assert [(scenario.name, found.limit) for scenario, found in plan.thresholds()] == [
        ("plain", 50),
        ("istio-mtls", 99),
    ]
    assert planfile.loads(planfile.dump(plan), "shown") == plan


def test_a_loss_for_all_leaves_the_baseline_out() -> None:
    plan = planfile.loads("name: x\nthresholds: {saturation_loss: <9%}\nscenarios: [plain, istio]\n", "f")
    assert [scenario.name for scenario, _ in plan.thresholds()] == ["istio"]
    assert planfile.loads(planfile.dump(plan), "shown") == plan


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("saturation_los: <5%", "f:5:7: scenarios[1].thresholds.saturation_los: there is no threshold saturation_los"),
        ("latency_ms_p98@50%: <5", "there is no threshold latency_ms_p98@50%"),
        ("latency_ms_p99@60%: <5", "no load of 60 % is measured; method.equalLoad has 50 %"),
        ("saturation_loss: <15", "f:5:24: scenarios[1].thresholds.saturation_loss: <15 is not allowed"),
        ("saturation_loss: '>15%'", '">15%" is not allowed; must be a limit like <15% or <50'),
        ("latency_ms_p50@50%: <15%", "must be milliseconds like <50"),
        ("latency_ms_p50@50%: 50", "50 is not allowed; must be a limit like <15% or <50"),
    ],
)
def test_mistakes_are_told_at_their_place(line: str, expected: str) -> None:
    text = f"name: x\nscenarios:\n  - plain\n  - thresholds:\n      {line}\n    dataPlane: istio\n"
    with pytest.raises(PlanError) as caught:
        planfile.loads(text, "f")
    (problem,) = caught.value.problems
    assert expected in problem


def test_a_baseline_is_not_held_to_a_loss() -> None:
    with pytest.raises(PlanError, match="this scenario is the baseline, which has no loss"):
        planfile.loads("name: x\nscenarios: [{dataPlane: plain, thresholds: {saturation_loss: <5%}}, istio]\n", "f")


def test_the_example_is_a_plan_with_thresholds_that_the_example_workflow_runs() -> None:
    examples = Path(__file__).parents[2] / "examples"
    plan = planfile.load(examples / "gate.yaml")
    assert {threshold.name for _, threshold in plan.thresholds()} == {"saturation_loss", "latency_ms_p99@50%"}
    assert "run meshmark/examples/gate.yaml" in (examples / "github-actions.yaml").read_text(encoding="utf-8")

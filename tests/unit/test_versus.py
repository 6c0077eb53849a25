"""Two plans as one run: what becomes of their scenarios, and when it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from meshmark import planfile
from meshmark.analysis.compare import Subject, compare
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify import verify
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from meshmark.plan import ClusterSpec, Method, Plan, Scenario
from meshmark.report.table import table
from meshmark.store import load
from tests.unit.test_conductor import run

METHOD = Method(warmup_seconds=8, settle_seconds=0.5, window_seconds=2, trials=4, arrivals="even", equal_load=())


def plan(name: str, *, threads: int = 2, **changes: Any) -> Plan:
    cluster = ClusterSpec(sidecar_concurrency=threads)
    scenario = Scenario(name="mesh", data_plane=DataPlane.ISTIO_MTLS, cluster=cluster, method=METHOD)
    return Plan(name=name, baseline="mesh", scenarios=(changes.pop("scenario", scenario),), **changes)


def test_each_scenario_stands_beside_its_like_and_is_compared_with_it() -> None:
    both = planfile.versus(plan("a"), plan("b", threads=4))
    ours, theirs = both.scenarios
    assert (ours.name, both.baseline_of(ours), ours.cluster.sidecar_concurrency) == ("mesh", "mesh", 2)
    assert (theirs.name, both.baseline_of(theirs), theirs.cluster.sidecar_concurrency) == ("mesh-versus", "mesh", 4)
    assert (both.repeats, both.stop_width) == (20, 0.10)
    assert both.budget_seconds > planfile.estimate_seconds(both)


def test_what_the_first_plan_says_of_repeats_time_and_width_holds() -> None:
    both = planfile.versus(plan("a", repeats=7, budget_seconds=100, stop_width=0.3), plan("b"))
    assert (both.repeats, both.budget_seconds, both.stop_width) == (7, 100, 0.3)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        pytest.param(
            plan("b", scenario=Scenario(name="plain", data_plane=DataPlane.PLAIN, method=METHOD)),
            "differ in their scenarios: mesh, plain",
            id="other scenarios",
        ),
        pytest.param(
            plan("b", scenario=Scenario(name="mesh", data_plane=DataPlane.ISTIO_MTLS)),
            "different methods",
            id="method",
        ),
        pytest.param(plan("b", profile="unlimited"), "different hardware", id="profile"),
        pytest.param(plan("b", explain_blocks=4), "needs to know the last repeat", id="an explanation"),
        pytest.param(
            plan("b", scenario=plan("b").scenarios[0].model_copy(update={"held_out": True})),
            "needs to know the last repeat",
            id="a scenario that is held out",
        ),
    ],
)
def test_what_cannot_stand_side_by_side_is_refused(other: Plan, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        planfile.versus(plan("a"), other)


def test_a_run_ends_once_it_knows_and_says_so(tmp_path: Path) -> None:
    both = planfile.versus(plan("a", stop_width=0.2), plan("b"))
    done = run(tmp_path / "run", both)
    assert done.finished is not None
    assert done.finished.sharp
    assert done.finished.rounds_done % 2 == 0
    assert 6 <= done.finished.rounds_done < done.finished.rounds_planned
    summary = summarize(done)
    interval = summary.scenarios[1].loss_interval
    assert interval is not None
    assert interval.high - interval.low <= 0.2
    assert "every loss was known as well as the plan asked" in table(summary)
    assert verify(tmp_path / "run").verdict == "sound"
    sides = [Subject(name=name, summary=summary, scenario=name) for name in ("mesh-versus", "mesh")]
    (first, *_) = compare(sides[:1], sides[1:]).comparisons
    assert first.verdict == "same"


def test_a_run_that_claims_to_know_and_does_not_is_not_sound(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    run(directory, planfile.versus(plan("a", repeats=3, stop_width=0.01), plan("b")))
    for dropped in ("rounds/005-*", "rounds/006-*"):
        (found,) = directory.glob(dropped)
        shutil.rmtree(found)
    (directory / "digests.jsonl").unlink()
    told = json.loads((directory / "finished.json").read_text(encoding="utf-8"))
    told |= {"sharp": True, "roundsDone": 4}
    (directory / "finished.json").write_text(json.dumps(told), encoding="utf-8")
    assert any("not every loss is known" in finding.follows for finding in verify(directory).findings)

    started = json.loads((directory / "started.json").read_text(encoding="utf-8"))
    (directory / "started.json").write_text(json.dumps(started | {"estimator": 1}), encoding="utf-8")
    by_another = verify(directory)
    assert not any("not every loss is known" in finding.follows for finding in by_another.findings)
    assert any("another estimator of ceilings" in note for note in by_another.notes)


def test_a_run_without_such_a_width_plays_all_repeats(tmp_path: Path) -> None:
    both = planfile.versus(plan("a", repeats=4), plan("b")).model_copy(update={"stop_width": 0})
    done = run(tmp_path / "run", both)
    assert done.finished is not None
    assert (done.finished.rounds_done, done.finished.sharp) == (8, False)
    assert load(tmp_path / "run").plan.stop_width == 0

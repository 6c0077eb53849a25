"""Comparisons of whole simulated runs: what is refused, what is paired, what each verdict needs."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from meshmark.analysis import stats
from meshmark.analysis.comparable import Better
from meshmark.analysis.compare import Comparison, Comparisons, Subject, compare, judge
from meshmark.analysis.model import Summary
from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import EnvironmentSpec, Method, Plan, Scenario, Workload
from meshmark.report.compare import markdown, text
from meshmark.store import load

METHOD = Method(warmup_seconds=8, settle_seconds=0.5, window_seconds=2, trials=3, arrivals="even")
ACKS = "plan.workload.producerConfig.acks"

Capture = pytest.CaptureFixture[str]


def plan_of(acks: str = "all", repeats: int = 3, **method: object) -> Plan:
    work = Workload(producer_config={**Workload().producer_config, "acks": acks})
    scenarios = tuple(
        Scenario(name=plane.value, data_plane=plane, workload=work, method=METHOD.model_copy(update=method))
        for plane in (DataPlane.PLAIN, DataPlane.ISTIO_MTLS)
    )
    quiet = EnvironmentSpec(disk_seconds=0, network_seconds=0)
    return Plan(name="x", repeats=repeats, budget_seconds=10_000, environment=quiet, scenarios=scenarios)


def conducted(directory: Path, plan: Plan, truth: Truth | None = None) -> Path:
    clock = SimulatedClock()
    backend = SimulatedBackend(clock, truth)
    conduct(plan, backend, directory, command=("run",), effort="default", progress=Silent(), clock=clock)
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One, the same once more, and one with other acks on a system that carries three quarters."""
    directory = tmp_path_factory.mktemp("runs")
    slower = Truth(ceilings_msg_s={plane: 0.75 * rate for plane, rate in Truth().ceilings_msg_s.items()})
    one = conducted(directory / "one", plan_of())
    return {
        "one": one,
        "again": changed(one, directory / "again", "started.json", lambda record: record.update(runId="again")),
        "slow": conducted(directory / "slow", plan_of(acks="1"), slower),
    }


@cache
def summary(directory: Path) -> Summary:
    return summarize(load(directory))


def subject(directory: Path, scenario: str | None = None) -> Subject:
    return Subject(name=directory.name, summary=summary(directory), scenario=scenario)


def another(directory: Path, run_id: str, **started: object) -> Subject:
    """The same measurements under another name, begun another time or elsewhere."""
    made = summary(directory)
    changes = {"run_id": run_id, "started": made.started.model_copy(update=started)}
    return Subject(name=run_id, summary=made.model_copy(update=changes))


def rate(found: Comparisons, scenario: str = "plain") -> Comparison:
    return next(each for each in found.comparisons if (each.scenario, each.metric) == (scenario, "messages/s"))


def changed(source: Path, target: Path, file: str, change: Callable[[dict[str, object]], object]) -> Path:
    shutil.copytree(source, target)
    for path in target.glob(file):
        records = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
        found = records if records is not None else [json.loads(path.read_text())]
        for record in found:
            change(record)
        path.write_text("".join(json.dumps(record) + "\n" for record in found))
    return target


def test_a_slower_system_is_worse_by_what_it_carries_less(runs: dict[str, Path]) -> None:
    found = compare([subject(runs["slow"])], [subject(runs["one"])], differs=[ACKS])
    for name in ("plain", "istio-mtls"):
        row = rate(found, name)
        assert row.verdict == "worse"
        assert row.ratio == pytest.approx(0.75, rel=0.05)
        assert row.interval is not None
        assert row.interval.low < 0.75 < row.interval.high
        assert (row.pairs_counted, row.pairs_planned) == (3, 3)
    assert [(each.key, each.contender, each.baseline) for each in found.meant] == [(ACKS, "1", "all")]
    assert not found.in_turns


def test_the_other_way_round_it_is_better_by_the_inverse(runs: dict[str, Path]) -> None:
    there = rate(compare([subject(runs["slow"])], [subject(runs["one"])], differs=["plan"]))
    back = rate(compare([subject(runs["one"])], [subject(runs["slow"])], differs=["plan"]))
    assert back.verdict == "better"
    assert there.ratio is not None
    assert back.ratio == pytest.approx(1 / there.ratio)


def test_two_runs_of_the_same_are_the_same(runs: dict[str, Path]) -> None:
    found = compare([subject(runs["again"])], [subject(runs["one"])])
    assert {each.verdict for each in found.comparisons} == {"same"}
    assert found.meant == ()


def test_scenarios_of_one_run_took_turns_and_give_about_the_loss_that_the_report_tells(runs: dict[str, Path]) -> None:
    found = compare([subject(runs["one"], "istio-mtls")], [subject(runs["one"], "plain")], differs=["plan.dataPlane"])
    row = rate(found, "istio-mtls")
    told = next(each for each in subject(runs["one"]).summary.scenarios if each.name == "istio-mtls")
    assert told.loss_vs_plain is not None
    assert row.ratio == pytest.approx(1 - told.loss_vs_plain, rel=0.03), "it compares ceilings over all repeats"
    assert found.in_turns
    metrics = [each.metric for each in found.comparisons]
    assert "p99 at 50 %" in metrics
    assert "CPU s/GB together" in metrics
    assert "CPU s/GB sidecars" not in metrics, "plain has none"


def test_all_that_differs_is_told_at_once_with_the_options_for_it(runs: dict[str, Path], tmp_path: Path) -> None:
    def newer(record: dict[str, object]) -> None:
        record["versions"]["kafka"] = "4.5.0"  # type: ignore[index]
        record["host"]["cpus"] = 64  # type: ignore[index]

    other = changed(runs["slow"], tmp_path / "other", "started.json", newer)
    with pytest.raises(UsageError) as caught:
        compare([subject(other)], [subject(runs["one"])])
    said = str(caught.value)
    assert "versions.kafka: 4.5.0 against " in said
    assert "host.cpus: 64 against " in said
    assert f"{ACKS}: 1 against all" in said
    assert said.endswith(f"--differs host.cpus --differs versions.kafka --differs {ACKS}")
    with pytest.raises(UsageError, match=r"versions\.kafka") as caught:
        compare([subject(other)], [subject(runs["one"])], differs=["host", "plan"])
    assert "host.cpus" not in str(caught.value)


def test_what_was_said_to_differ_and_does_not_is_told(runs: dict[str, Path]) -> None:
    found = compare([subject(runs["again"])], [subject(runs["one"])], differs=["versions.kafka"])
    assert found.not_different == ("versions.kafka",)
    assert "said to differ, and does not: versions.kafka" in text(found)


@pytest.mark.parametrize(
    ("contender", "baseline", "differs", "expected"),
    [
        (["one", "again"], ["slow"], ["plan"], "2 and 1 runs cannot be paired"),
        (["one"], ["one"], [], "one and one are the same measurements"),
        (["one", "one"], ["slow", "again"], ["plan"], "the same measurements"),
        (["one:plain"], ["again"], [], "for some of the runs only"),
        (["one:plane"], ["again:plain"], [], "has no scenario plane"),
        (["one"], ["again"], ["versions.kafak"], "did you mean versions.kafka"),
        (["one", "slow"], ["slow", "one"], ["plan"], "the same measurements"),
    ],
)
def test_sides_that_cannot_be_paired_are_refused(
    runs: dict[str, Path], contender: list[str], baseline: list[str], differs: list[str], expected: str
) -> None:
    def side(names: list[str]) -> list[Subject]:
        return [subject(runs[name.partition(":")[0]], name.partition(":")[2] or None) for name in names]

    with pytest.raises(UsageError, match=expected):
        compare(side(contender), side(baseline), differs=differs)


@pytest.mark.parametrize(
    ("contender", "baseline", "in_turns"),
    [((0, 2), (1, 3), True), ((0, 3), (1, 2), True), ((0, 1), (2, 3), False)],
    ids=["ABAB", "ABBA", "AABB"],
)
def test_several_runs_are_paired_in_the_order_in_which_they_are_given(
    runs: dict[str, Path],
    tmp_path: Path,
    contender: tuple[int, int],
    baseline: tuple[int, int],
    in_turns: bool,
) -> None:
    def begun(place: int) -> Subject:
        start = {"runId": str(place), "startedAt": place}
        return subject(
            changed(runs["one"], tmp_path / str(place), "started.json", lambda record: record.update(start))
        )

    found = compare([begun(place) for place in contender], [begun(place) for place in baseline])
    row = rate(found)
    assert (row.pairs_counted, row.pairs_planned) == (6, 6)
    assert [(pair.run, pair.repeat) for pair in row.pairs] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert found.in_turns == in_turns


def test_runs_of_one_side_must_be_alike_but_for_the_machine(runs: dict[str, Path]) -> None:
    host = summary(runs["one"]).started.host.model_copy(update={"cpus": 64})
    one, again, slow = (subject(runs[name]) for name in ("one", "again", "slow"))
    with pytest.raises(UsageError, match="runs of one side differ"):
        compare([one, another(runs["slow"], "other")], [again, slow], differs=["plan", "host"])
    elsewhere = (another(runs["one"], name, host=host) for name in ("a", "b"))
    assert rate(compare([one, next(elsewhere)], [again, next(elsewhere)])).pairs_planned == 6


def test_a_repeat_that_does_not_count_is_shown_and_not_forgotten(runs: dict[str, Path], tmp_path: Path) -> None:
    broken = changed(
        runs["again"],
        tmp_path / "broken",
        "rounds/*-plain/trials.jsonl",
        lambda trial: trial.update(faults=["a broker died"]) if trial["repeat"] == 2 else None,
    )
    found = compare([subject(broken)], [subject(runs["one"])])
    row = rate(found)
    assert (row.pairs_counted, row.pairs_planned, len(row.pairs)) == (2, 3, 3)
    assert row.pairs[1].contender is None
    assert row.pairs[1].baseline is not None
    assert "a broker died" in row.pairs[1].missing
    assert "plain, repeat 2" in text(found)
    assert "2 of 3" in text(found)


def test_latencies_at_different_loads_are_not_compared(runs: dict[str, Path]) -> None:
    found = compare([subject(runs["slow"])], [subject(runs["one"])], differs=["plan"])
    row = next(each for each in found.comparisons if each.metric == "p99 at 50 %")
    assert (row.pairs_counted, row.pairs_planned, row.verdict) == (0, 2, "cannot tell")
    assert all(pair.missing.startswith("not at the same load") for pair in row.pairs)


def ratio(low: float, high: float, count: int = 6) -> stats.Ratio:
    return stats.Ratio(mean=(low * high) ** 0.5, low=low, high=high, count=count, method="t", detectable=0.1)


@pytest.mark.parametrize(
    ("found", "planned", "higher", "lower"),
    [
        (ratio(1.06, 1.2), 6, "better", "worse"),
        (ratio(0.7, 0.9), 6, "worse", "better"),
        (ratio(0.97, 1.03), 6, "same", "same"),
        (ratio(1.01, 1.04), 6, "same", "same"),
        (ratio(1.01, 1.06), 6, "better", "worse"),
        (ratio(0.9, 1.03), 6, "cannot tell", "cannot tell"),
        (ratio(0.7, 0.9, count=3), 6, "cannot tell", "cannot tell"),
        (ratio(0.7, 0.9, count=4), 6, "worse", "better"),
        (replace(ratio(0.7, 0.9, count=1), low=None, high=None), 1, "cannot tell", "cannot tell"),
        (None, 3, "cannot tell", "cannot tell"),
    ],
)
def test_a_verdict_never_says_more_than_the_interval(
    found: stats.Ratio | None, planned: int, higher: str, lower: str
) -> None:
    assert judge(found, planned=planned, margin=0.05, better="higher")[0] == higher
    assert judge(found, planned=planned, margin=0.05, better="lower")[0] == lower


@pytest.mark.parametrize(
    ("found", "points", "verdict"),
    [
        (ratio(1.06, 1.2), {"higher"}, "better"),
        (ratio(1.06, 1.2), {"lower"}, "cannot tell"),
        (ratio(0.7, 0.9), {"lower"}, "worse"),
        (ratio(0.7, 0.9), {"higher"}, "cannot tell"),
        (ratio(0.7, 0.9), {"higher", "lower"}, "cannot tell"),
        (ratio(0.97, 1.03), {"higher"}, "cannot tell"),
        (ratio(1.01, 1.04), {"higher"}, "cannot tell"),
    ],
)
def test_no_verdict_goes_against_a_pair_without_a_ratio(found: stats.Ratio, points: set[Better], verdict: str) -> None:
    assert judge(found, planned=6, margin=0.05, better="higher", points=points)[0] == verdict


def without_ceiling(directory: Path, scenario: str, verdict: str, times: float) -> Subject:
    """As if all trials of its second repeat had this verdict, at so many times the rates that they were offered."""
    made = summary(directory)
    row = next(each for each in made.scenarios if each.name == scenario)
    second = row.repeats[1]
    trials = tuple(
        each.model_copy(update={"verdict": verdict, "offered_msg_s": times * each.offered_msg_s})
        for each in second.trials
    )
    repeats = (row.repeats[0], second.model_copy(update={"rate_msg_s": None, "trials": trials}), *row.repeats[2:])
    scenarios = tuple(row.model_copy(update={"repeats": repeats}) if each is row else each for each in made.scenarios)
    return Subject(name="a", summary=made.model_copy(update={"scenarios": scenarios}), scenario=scenario)


@pytest.mark.parametrize(
    ("verdict", "times", "points", "found"),
    [
        ("carried", 1, "", "worse"),
        ("carried", 3, "higher", "cannot tell"),
        ("not carried", 1, "lower", "worse"),
        ("not carried", 3, "", "worse"),
        ("unclear", 3, "", "worse"),
    ],
)
def test_a_life_that_carried_all_or_nothing_points_where_its_offers_pass_the_other_side(
    runs: dict[str, Path], verdict: str, times: float, points: str, found: str
) -> None:
    slow = without_ceiling(runs["slow"], "istio-mtls", verdict, times)
    fast = subject(runs["one"], "istio-mtls")
    told = compare([slow], [fast], differs=["plan"])
    row = rate(told, "istio-mtls")
    assert (row.pairs[1].points, row.verdict, row.pairs_counted) == (points, found, 2)
    assert ("all were carried" in text(told)) == (verdict == "carried")
    assert ("points the other way" in text(told)) == (found == "cannot tell")
    back = rate(compare([fast], [slow], differs=["plan"]), "istio-mtls")
    assert back.pairs[1].points == {"higher": "lower", "lower": "higher", "": ""}[points]


@pytest.mark.parametrize(("times", "points"), [(3, "higher"), (0.3, "")])
def test_two_bounds_point_where_they_do_not_overlap(runs: dict[str, Path], times: float, points: str) -> None:
    carried = without_ceiling(runs["slow"], "istio-mtls", "carried", times)
    refused = without_ceiling(runs["one"], "istio-mtls", "not carried", 1)
    there = rate(compare([carried], [refused], differs=["plan"]), "istio-mtls")
    back = rate(compare([refused], [carried], differs=["plan"]), "istio-mtls")
    assert (there.pairs[1].points, back.pairs[1].points) == (points, {"higher": "lower", "": ""}[points])


def test_a_scenario_with_too_few_trials_for_a_ceiling_has_no_verdict(runs: dict[str, Path]) -> None:
    slow = subject(runs["slow"])
    few = slow.summary.scenarios[0]
    ceiling = few.ceilings[0].model_copy(update={"reason": "not enough trials", "rate_msg_s": None, "interval": None})
    few = few.model_copy(update={"ceilings": (ceiling, *few.ceilings[1:])})
    told = replace(slow, summary=slow.summary.model_copy(update={"scenarios": (few, *slow.summary.scenarios[1:])}))
    row = rate(compare([told], [subject(runs["one"])], differs=["plan"]))
    assert (row.verdict, row.why) == ("cannot tell", "plain: not enough trials")


@pytest.mark.parametrize("pairs", [10, 15])
def test_resampled_intervals_hold_the_truth_as_often_as_they_say(pairs: int) -> None:
    """600 experiments: 95 % +- three standard errors."""
    source = random.Random(pairs)
    held = 0
    for _ in range(600):
        drawn = [(0.8 * source.lognormvariate(0, 0.1), source.lognormvariate(0, 0.1)) for _ in range(pairs)]
        found = stats.ratio_of_pairs(drawn)
        assert found is not None
        assert found.method == "bootstrap"
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.8 <= found.high
    assert 0.92 <= held / 600 <= 0.98


def test_the_detectable_change_by_hand() -> None:
    """Log ratios -0.1, 0, 0.1: standard error 0.1 / sqrt(3); t with two degrees of freedom: 4.30265 and 1.06066."""
    found = stats.ratio_of_pairs([(0.904837, 1.0), (1.0, 1.0), (1.105171, 1.0)])
    assert found is not None
    assert found.method == "t"
    assert found.detectable == pytest.approx(2.718282 ** ((4.30265 + 1.06066) * 0.1 / 3**0.5) - 1, rel=1e-4)


def test_the_verb_prints_a_table_or_json(runs: dict[str, Path], capsys: Capture) -> None:
    both = [f"{runs['one']}:istio-mtls", "--against", f"{runs['one']}:plain", "--differs", "plan.dataPlane"]
    assert app.main(["compare", *both]) == 0
    out = capsys.readouterr().out
    assert "A AGAINST B" in out
    assert "worse" in out
    assert max(map(len, out.splitlines()[3:])) <= 120
    assert app.main(["compare", *both, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"][0]["verdict"] == "worse"
    assert app.main(["compare", *both, "-o", "pdf"]) == 2
    assert "there is no form pdf" in capsys.readouterr().err


def test_markdown_has_one_row_for_each_comparison(runs: dict[str, Path]) -> None:
    found = compare([subject(runs["again"])], [subject(runs["one"])])
    rows = [line for line in markdown(found).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(found.comparisons)

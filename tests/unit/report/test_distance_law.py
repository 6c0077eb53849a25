"""The law of distance: found where there is one, and seen to fail where there is none."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from meshmark.analysis.distance_law import Errors, Seen, fit, laws, predictions
from meshmark.analysis.model import RepeatSummary, ScenarioSummary
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify.predictions import prediction_findings
from meshmark.data_plane import DataPlane
from meshmark.plan import ClusterSpec, Plan, Scenario
from meshmark.report.geography import laws as table_of
from meshmark.topology import Link, MeshCluster, Topology
from tests.unit.report.conftest import PLAN, Tell, Told

BASE_S, SLOPE = 1 / 80_000, 512 / 400_000
RTTS_S = (0.0003, 0.010, 0.025, 0.050, 0.100)


def rate(rtt_s: float) -> float:
    return 1 / (BASE_S + SLOPE * rtt_s)


def test_an_exact_law_is_found_exactly() -> None:
    line = fit([Seen(rtt_s, rate(rtt_s)) for rtt_s in RTTS_S])
    assert line.base_s == pytest.approx(BASE_S)
    assert line.slope == pytest.approx(SLOPE)
    assert line.rate_msg_s(0.2) == pytest.approx(rate(0.2))


def measured(rtt_s: float, noise: float, source: random.Random) -> float:
    """As one life has it: too high as often as too low, by the same factor."""
    return rate(rtt_s) * math.exp(source.gauss(0, noise))


NOISES = (0.05, 0.25)


@pytest.mark.parametrize("noise", NOISES)
def test_intervals_hold_the_truth_about_as_often_as_they_say(noise: float) -> None:
    source, held = random.Random(1), 0
    for _ in range(300):
        seen = [Seen(rtt_s, measured(rtt_s, noise, source)) for rtt_s in RTTS_S for _ in range(3)]
        line = fit(seen)
        assert line.spread is not None
        held += abs(line.slope - SLOPE) < 2.16 * line.spread.slope_error  # Student's t of 13 degrees of freedom
    assert 0.90 < held / 300 < 0.99


@pytest.mark.parametrize("noise", NOISES)
def test_a_prediction_s_error_covers_another_life_about_as_often_as_it_says(noise: float) -> None:
    source, held = random.Random(2), 0
    for _ in range(300):
        line = fit([Seen(rtt_s, measured(rtt_s, noise, source)) for rtt_s in RTTS_S])
        told, error = line.rate_msg_s(0.02), line.error(0.02)
        assert told is not None
        assert error is not None
        held += abs(math.log(measured(0.02, noise, source) / told)) < 3.18 * error  # 3 degrees of freedom
    assert 0.90 < held / 300 < 0.99
    assert fit([Seen(0.01, 5.0), Seen(0.02, 4.0)]).error(0.02) is None


@pytest.mark.parametrize("rtt_s", RTTS_S)
def test_a_fit_is_too_high_as_often_as_too_low_however_much_lives_differ(rtt_s: float) -> None:
    source = random.Random(3)
    above: dict[Errors, int] = {"log": 0, "relative": 0}
    for _ in range(400):
        seen = [Seen(each, measured(each, 0.25, source)) for each in RTTS_S for _ in range(3)]
        for errors in above:
            above[errors] += (fit(seen, errors).rate_msg_s(rtt_s) or 0.0) > rate(rtt_s)
    assert 170 < above["log"] < 230
    assert above["relative"] > 260


def test_a_fit_is_found_where_its_first_line_has_no_rate_at_all_distances() -> None:
    seen = [Seen(1.0, 100.0), Seen(1.1, 200.0), Seen(2.0, 0.1)]
    assert fit(seen, "relative").rate_msg_s(2.0) is None
    assert None not in [fit(seen).rate_msg_s(each.rtt_s) for each in seen]


def test_one_distance_is_no_line() -> None:
    with pytest.raises(ValueError, match="two distances"):
        fit([Seen(0.01, 5.0), Seen(0.01, 6.0)])


def stretched(rtt_ms: float) -> ClusterSpec:
    clusters = (MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1))
    return ClusterSpec(topology=Topology(clusters=clusters, links=(Link(ends=("near", "far"), rtt_ms=rtt_ms),)))


def plan(*rtts_ms: float) -> Plan:
    scenarios = tuple(
        Scenario(
            name=f"{rtt_ms:g}ms",
            data_plane=DataPlane.PLAIN,
            cluster=stretched(rtt_ms),
            method=PLAN.scenarios[0].method,
        )
        for rtt_ms in rtts_ms
    )
    return PLAN.model_copy(update={"scenarios": scenarios, "repeats": 1, "baseline": scenarios[0].name})


def with_rates(told: Told, rates: dict[str, float]) -> list[ScenarioSummary]:
    def repeats(row: ScenarioSummary) -> tuple[RepeatSummary, ...]:
        return tuple(each.model_copy(update={"rate_msg_s": rates[row.name]}) for each in row.repeats)

    return [row.model_copy(update={"repeats": repeats(row)}) for row in told.summary.scenarios]


def test_distances_are_predicted_from_the_others_and_a_break_shows_as_an_error(tell: Tell) -> None:
    told = tell(plan(10, 25, 50, 100))
    rates = {
        row.name: rate(told.summary.environment.links[2 * place].asked_rtt_s)
        for place, row in enumerate(told.summary.scenarios)
    }
    [law] = laws(told.run, with_rates(told, rates))
    assert law.bytes_per_rtt == pytest.approx(400_000)
    assert law.rate_at_zero_msg_s == pytest.approx(80_000)
    assert [point.rtt_s for point in law.points] == pytest.approx([0.010, 0.025, 0.050, 0.100])
    assert [point.error for point in law.points] == pytest.approx([0.0] * 4, abs=1e-6)
    [broken] = laws(told.run, with_rates(told, rates | {"10ms": rates["10ms"] / 2}))
    assert max(abs(point.error or 0) for point in broken.points) > 0.5
    grid = table_of(told.summary.model_copy(update={"distance_laws": (law,)}))
    assert grid is not None
    assert "80,000" in grid.note
    assert "400" in grid.note


def test_rates_that_do_not_fall_with_distance_give_no_such_law(tell: Tell) -> None:
    told = tell(plan(10, 25, 50))
    [law] = laws(told.run, with_rates(told, {"10ms": 10_000, "25ms": 12_000, "50ms": 15_000}))
    assert law.bytes_per_rtt is None
    grid = table_of(told.summary.model_copy(update={"distance_laws": (law,)}))
    assert grid is not None
    assert "does not fall with distance" in grid.note


def test_ways_that_were_found_give_no_law_whatever_the_plan_says_of_them(tell: Tell) -> None:
    told = tell(plan(10, 25, 50))
    rows = with_rates(told, {"10ms": 40_000, "25ms": 20_000, "50ms": 12_000})
    assert len(laws(told.run, rows)) == 1
    rounds = tuple(
        replace(data, links=tuple(probe.model_copy(update={"kind": "found"}) for probe in data.links))
        for data in told.run.rounds
    )
    assert laws(replace(told.run, rounds=rounds), rows) == ()


def held_out(*rtts_ms: float) -> Plan:
    """The second one is."""
    asked = plan(*rtts_ms)
    changed = tuple(each.model_copy(update={"held_out": place == 1}) for place, each in enumerate(asked.scenarios))
    return asked.model_copy(update={"scenarios": changed, "repeats": 2})


def test_what_is_held_out_is_predicted_before_it_is_measured_and_is_in_no_fit(tell: Tell) -> None:
    asked = held_out(10, 25, 50, 100)
    assert [slot.scenario for slot in asked.order()][-2:] == ["25ms", "25ms"]
    told = tell(asked)
    [prediction] = told.run.predictions
    assert (prediction.scenario, prediction.rtt_s) == ("25ms", 0.025)
    assert prediction.lives >= 3
    assert prediction.law_of == ("10ms", "50ms", "100ms")
    begun_s = {data.started.scenario: data.started.time_s for data in reversed(told.run.rounds)}
    assert max(begun_s[name] for name in prediction.law_of) < prediction.time_s <= begun_s["25ms"]
    assert list(prediction_findings(told.run)) == []

    [law] = told.summary.distance_laws
    [point] = (point for point in law.points if point.held_out)
    assert point.predicted_msg_s == prediction.rate_msg_s
    assert point.error == pytest.approx(prediction.rate_msg_s / point.rate_msg_s - 1)
    others = {row.name: row.rate_msg_s or 0.0 for row in told.summary.scenarios}
    [again] = laws(told.run, with_rates(told, others))
    [moved] = laws(told.run, with_rates(told, others | {"25ms": others["25ms"] / 3}))
    assert again.bytes_per_rtt == moved.bytes_per_rtt
    grid = table_of(told.summary)
    assert grid is not None
    assert [row[-2] for row in grid.rows].count("before it was measured") == 1


def test_a_prediction_that_was_made_up_or_made_later_is_found(tell: Tell) -> None:
    run = tell(held_out(10, 25, 50, 100)).run
    [prediction] = run.predictions
    for changes in (
        {"rate_msg_s": prediction.rate_msg_s * 1.01},
        {"low_msg_s": prediction.low_msg_s * 0.9},
        {"high_msg_s": (prediction.high_msg_s or 0.0) * 1.1},
        {"high_msg_s": None},
        {"lives": prediction.lives + 1},
        {"law_of": prediction.law_of[1:]},
        {"time_s": 1e9},
        {"scenario": "50ms"},
    ):
        tampered = replace(run, predictions=(prediction.model_copy(update=changes),))
        assert list(prediction_findings(tampered)), changes
        by_another = replace(tampered, started=run.started.model_copy(update={"estimator": 1}))
        assert list(prediction_findings(by_another)) == []
    [lacking] = prediction_findings(replace(run, predictions=()))
    assert lacking.recorded == "no prediction of 25ms"


def test_predictions_of_one_run_by_two_laws_are_each_held_against_its_own(tell: Tell) -> None:
    asked = plan(10, 25, 50, 75, 100)
    changed = tuple(
        each.model_copy(update={"held_out": place in (1, 3)}) for place, each in enumerate(asked.scenarios)
    )
    run = tell(asked.model_copy(update={"scenarios": changed, "repeats": 2})).run
    first, second = run.predictions
    known = tuple(data for data in run.rounds if data.started.scenario in first.law_of)
    before = replace(run, rounds=known)
    former = {each.scenario: each for each in predictions(before, summarize(before).scenarios, 0.0, "relative")}
    of_first = former[first.scenario].model_copy(update={"time_s": first.time_s})
    assert list(prediction_findings(replace(run, predictions=(of_first, second)))) == []
    made_up = of_first.model_copy(update={"rate_msg_s": 1.01 * of_first.rate_msg_s})
    assert len(list(prediction_findings(replace(run, predictions=(made_up, second))))) == 1


def test_two_distances_beside_what_is_held_out_are_too_few_for_a_prediction(tell: Tell) -> None:
    assert tell(held_out(10, 25, 50)).run.predictions == ()


def test_a_distance_that_was_asked_for_twice_is_one_although_two_were_found(tell: Tell) -> None:
    asked = plan(10, 25)
    longer = asked.scenarios[0].method.model_copy(update={"trials": 3})
    again = asked.scenarios[0].model_copy(update={"name": "again", "method": longer})
    told = tell(asked.model_copy(update={"scenarios": (*asked.scenarios, again)}))
    rounds = tuple(
        replace(data, links=tuple(link.model_copy(update={"rtt_s": 0.0102}) for link in data.links))
        if data.started.scenario == "again"
        else data
        for data in told.run.rounds
    )
    assert laws(replace(told.run, rounds=rounds), told.summary.scenarios) == ()


def test_two_distances_are_too_few_for_a_law(tell: Tell, whole: Told) -> None:
    assert tell(plan(10, 25)).summary.distance_laws == ()
    assert whole.summary.distance_laws == ()

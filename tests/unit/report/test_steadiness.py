"""Whether a broker's log grows evenly while the load does: which steps there are, and which swings are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from meshmark.analysis.steadiness import rates, states, swings
from meshmark.analysis.steadiness_model import SteadyState
from meshmark.analysis.warnings import of_run
from meshmark.record import Point, Sample, Trial
from meshmark.report.geography import steadiness as grid
from meshmark.report.html import html
from meshmark.report.markdown import markdown
from meshmark.report.table import table
from meshmark.store import Run
from meshmark.units import UNKNOWN
from tests.unit.report.conftest import PLAN, Tell, Told
from tests.unit.report.test_terms import scenario, topology

MB = 1e6
EVEN = (10, 11, 9, 10, 10)


@pytest.fixture
def some(whole: Told) -> Trial:
    return whole.run.rounds[0].trials[0]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([], [], id="nothing was read"),
        pytest.param([(0, 5)], [], id="one reading"),
        pytest.param([(0, 0), (1, 2), (2, 6)], [2, 4], id="a second each"),
        pytest.param([(0, 0), (0.5, 1), (1, 2), (1.5, 6), (2, 10)], [2, 8], id="half a second each"),
        pytest.param([(0, 0), (0.3, 9), (1.3, 13), (2.3, 23), (2.5, 99)], [10, 10], id="the edges are no steps"),
        pytest.param([(0, 0), (0.9, 9), (2, 20)], [10, 10], id="a reading that came early"),
        pytest.param([(0, 0), (3, 30), (4, 40)], [10, 10], id="readings that are missing"),
    ],
)
def test_steps_are_a_second_long(readings: Sequence[tuple[float, float]], expected: Sequence[float]) -> None:
    assert rates(readings) == pytest.approx(expected)


def told(trial: Trial, offered: Sequence[float], *logs: Sequence[float]) -> tuple[Trial, list[Sample]]:
    """The trial with a window of so many seconds, in which so much was offered and so many MB came to each log."""
    start = trial.window_start_s
    times = [start + second for second in range(len(offered) + 1)]
    grown = [sum(offered[:second]) for second in range(len(times))]
    points = [
        Point(time_s=time_s, offered=round(count * 1_000), acknowledged=0, outstanding=0)
        for time_s, count in zip(times, grown, strict=True)
    ]
    samples = [
        Sample(
            time_s=time_s,
            values={f"broker-{place}/kafka/log_bytes": sum(log[:second]) * MB for place, log in enumerate(logs, 1)},
        )
        for second, time_s in enumerate(times)
    ]
    changes = {
        "series": tuple(points),
        "window_end_s": times[-1],
        "counters_start": samples[0].values,
        "counters_end": samples[-1].values,
    }
    return trial.model_copy(update=changes), samples


@pytest.mark.parametrize(
    ("offered", "logs", "expected"),
    [
        pytest.param(EVEN, [EVEN, EVEN], [], id="noise of a tenth"),
        pytest.param(EVEN, [(10, 14, 7, 12, 8), EVEN], [], id="noise of a quarter"),
        pytest.param(EVEN, [EVEN, (0.02, 287, 0.02, 287, 5)], ["broker-2"], id="the document's broker"),
        pytest.param(EVEN, [(5, 18, 4, 17, 5), (0.1, 30, 0.1, 20, 0.1)], ["broker-2", "broker-1"], id="worst first"),
        pytest.param(EVEN, [(10, 0, 10, 10, 9), EVEN], ["broker-1"], id="one of five seconds without anything"),
        pytest.param((*EVEN, *EVEN), [(10, 0, *EVEN, 10, 10, 10)], [], id="one of ten: a pause"),
        pytest.param((10, 40, 2, 30, 9), [(10, 40, 2, 30, 9)], [], id="the load itself was not even"),
        pytest.param((10, 10), [(1, 90)], [], id="too few steps"),
        pytest.param(EVEN, [EVEN, (0.0, 0.4, 0.0, 0.0, 0.1)], [], id="a broker that holds next to nothing"),
        pytest.param(EVEN, [(0, 0, 0, 0, 0)], [], id="nothing came to any log"),
    ],
)
def test_a_broker_that_swings_under_an_even_load_is_told(
    offered: Sequence[float], logs: Sequence[Sequence[float]], expected: list[str], some: Trial
) -> None:
    trial, samples = told(some, offered, *logs)
    assert [each.host for each in swings(trial, samples, ("broker-1", "broker-2"))] == expected


def test_the_least_and_the_most_of_a_swing_are_told(some: Trial) -> None:
    trial, samples = told(some, EVEN, (0.02, 287, 0.02, 287, 5))
    (swing,) = swings(trial, samples, ("broker-1",))
    assert swing.least_bytes_s == pytest.approx(0.02 * MB)
    assert swing.most_bytes_s == pytest.approx(287 * MB)


def test_a_slow_swing_shows_in_a_window_of_its_length_and_not_in_short_ones(some: Trial) -> None:
    """Of 40 s, in which a log grows from a fifth of the mean to nearly twice and back."""
    slow = [10 - 8 * math.cos(2 * math.pi * second / 40) for second in range(60)]
    trial, samples = told(some, [10] * 60, slow)
    assert swings(trial, samples, ("broker-1",))
    short = [told(some, [10] * 3, slow[first : first + 3]) for first in range(5, 57, 3)]
    assert not [found for trial, samples in short if (found := swings(trial, samples, ("broker-1",)))]


def with_window(whole: Told, directory: Path, offered: Sequence[float], *logs: Sequence[float]) -> tuple[Run, Trial]:
    """The run with one window made up: that of the first scenario's repeat, where it stands for it."""
    data, *others = whole.run.rounds
    row = next(each for each in whole.summary.scenarios if each.name == data.started.scenario)
    (repeat,) = (each for each in row.repeats if each.round_index == data.started.index)
    numbers = {each.number for each in repeat.trials if each.stands}
    place, before = next((place, each) for place, each in enumerate(data.trials) if each.number in numbers)
    trial, samples = told(before, offered, *logs)
    lines = [sample.model_dump_json(by_alias=True) for sample in samples]
    (directory / "series.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    trials = (*data.trials[:place], trial, *data.trials[place + 1 :])
    return replace(whole.run, rounds=(replace(data, directory=directory, trials=trials), *others)), trial


SWINGING = (0.02, 287, 0.02, 287, 5)


def test_a_report_warns_of_it_once_for_a_scenario_with_the_worst_window(whole: Told, tmp_path: Path) -> None:
    run, trial = with_window(whole, tmp_path, EVEN, EVEN, SWINGING)
    assert not [text for text in whole.summary.warnings if "evenly" in text]
    rows = whole.summary.scenarios
    (warning,) = (text for text in of_run(run, rows, states(run, rows), ()) if "evenly" in text)
    name = run.rounds[0].started.scenario
    assert warning.startswith(f"{name}: brokers did not take evenly what was offered evenly, in 1 of ")
    worst = "from second to second the log of broker-2 grew by 0.02 to 287 MB/s"
    assert warning.endswith(f"in repeat {trial.repeat}, trial {trial.number}: {worst}")


@pytest.mark.parametrize(
    ("offered", "logs", "verdict", "host", "judged"),
    [
        pytest.param(EVEN, [EVEN, (10, 14, 7, 12, 8)], "stable", "broker-2", 1, id="steady, and it is said so"),
        pytest.param(EVEN, [EVEN, SWINGING], "unstable", "broker-2", 1, id="swinging"),
        pytest.param((10, 10), [(1, 90)], "unknown", None, 0, id="the window is too short"),
        pytest.param((10, 40, 2, 30, 9), [(10, 40, 2, 30, 9)], "unknown", None, 0, id="the load was not even"),
    ],
)
def test_a_steady_state_is_told_as_well_as_an_unsteady_one(
    offered: Sequence[float],
    logs: Sequence[Sequence[float]],
    verdict: str,
    host: str | None,
    judged: int,
    whole: Told,
    tmp_path: Path,
) -> None:
    """The other windows of that run, of two seconds, are too short."""
    run, trial = with_window(whole, tmp_path, offered, *logs)
    rows = whole.summary.scenarios
    (found,) = (each for each in states(run, rows) if each.scenario == run.rounds[0].started.scenario)
    assert (found.verdict, found.host, found.judged) == (verdict, host, judged)
    assert found.windows > judged
    assert found.longest_s == (trial.seconds if judged else None)


def state(verdict: str, scenario: str) -> SteadyState:
    known = verdict != "unknown"
    return SteadyState.model_validate(
        {
            "scenario": scenario,
            "windows": 3,
            "judged": 3 * known,
            "uneven": int(verdict == "unstable"),
            "verdict": verdict,
            "longest_s": 59.5 if known else None,
            "host": "broker-2" if known else None,
            "repeat": 1 if known else None,
            "trial": 4 if known else None,
            "least_bytes_s": 20e3 if known else None,
            "most_bytes_s": 287e6 if known else None,
            "variation": 0.9 if known else None,
        }
    )


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("stable", "No broker swung."), ("unstable", "A broker swung in far."), ("unknown", "Not known of any")],
)
def test_of_clusters_that_are_apart_each_report_says_whether_a_broker_swung(
    verdict: str, said: str, tell: Tell
) -> None:
    asked = scenario(name="far", where=topology(24))
    told_of = tell(PLAN.model_copy(update={"scenarios": (asked,), "repeats": 1, "baseline": "far"}))
    summary = told_of.summary.model_copy(update={"steadiness": (state(verdict, "far"),)})
    for text in (table(summary), markdown(summary), html(told_of.run, summary)):
        words = " ".join(text.split())
        assert "whether brokers took evenly what came evenly" in words.lower()
        assert said in words
        assert verdict in words


def test_how_long_the_longest_window_was_is_told(tell: Tell) -> None:
    told_of = tell(PLAN.model_copy(update={"scenarios": (scenario(name="far", where=topology(24)),), "repeats": 1}))
    shown = grid(told_of.summary.model_copy(update={"steadiness": (state("stable", "far"), state("unknown", "far"))}))
    assert shown is not None
    place = [column.head for column in shown.columns].index("longest, s")
    assert [row[place] for row in shown.rows] == ["59.5", UNKNOWN]


def test_where_all_brokers_are_in_one_place_there_is_no_such_table(whole: Told) -> None:
    assert len(whole.summary.steadiness) == len(whole.summary.scenarios)
    assert grid(whole.summary) is None

"""Latencies at equal load: the windows of all repeats in one histogram, and its picture."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from meshmark.analysis.distributions import Distribution, distributions
from meshmark.data_plane import DataPlane
from meshmark.histogram import Histogram, latency
from meshmark.plan import Workload
from meshmark.record import Trial
from meshmark.report import charts
from meshmark.report.distributions import QUANTILES, figures
from meshmark.report.html import html
from meshmark.store import Run
from tests.planes import WHOLE

from .conftest import PLAN, Tell, Told


def histogram(values_us: list[int]) -> str:
    found = Histogram()
    found.record(np.array(values_us, dtype=np.int64))
    return latency(found).histogram


def with_latencies(run: Run, scenario: str, by_repeat: dict[int, list[int]]) -> Run:
    """The same run with other latencies at its equal loads; `faults` in a repeat that is left out."""

    def changed(trial: Trial) -> Trial:
        if trial.purpose != "equal-load" or trial.latency is None:
            return trial
        if trial.repeat not in by_repeat:
            return trial.model_copy(update={"faults": ("it was made up",)})
        kept = trial.latency.model_copy(update={"histogram": histogram(by_repeat[trial.repeat])})
        return trial.model_copy(update={"latency": kept})

    rounds = tuple(
        replace(data, trials=tuple(map(changed, data.trials))) if data.started.scenario == scenario else data
        for data in run.rounds
    )
    return replace(run, rounds=rounds)


def of(run: Run, scenario: str) -> Distribution:
    (found,) = [each for each in distributions(run) if each.scenario == scenario]
    return found


def test_windows_of_all_repeats_are_one_histogram(whole: Told) -> None:
    changed = with_latencies(whole.run, "plain", {2: [1_000] * 9_000 + [2_000] * 900, 3: [2_000] * 90 + [64_000] * 10})
    found = of(changed, "plain")
    assert (found.repeats, found.count) == (2, 10_000)
    known = [found.at(nines) for nines in range(5)]
    assert known[:4] == pytest.approx([1e-3, 1e-3, 2e-3, 2e-3], rel=2e-3)
    assert known[4] is None
    assert found.max_s == pytest.approx(64e-3, rel=2e-3)


def test_a_line_ends_where_fewer_than_ten_records_are_longer(whole: Told) -> None:
    found = of(with_latencies(whole.run, "plain", {2: [1_000] * 1_000}), "plain")
    assert found.curve[-1][0] == 2.0
    assert found.repeats == 1


def test_trials_that_do_not_count_are_left_out(whole: Told) -> None:
    changed = with_latencies(whole.run, "plain", {})
    assert {each.scenario for each in distributions(changed)} == {
        str(plane) for plane in WHOLE if plane is not DataPlane.PLAIN
    }


def test_a_picture_has_a_line_and_marks_for_each_setup_told_apart_without_colour(whole: Told) -> None:
    (figure,) = figures(whole.run)
    names = [str(plane) for plane in WHOLE]
    assert list(figure.grid.columns[0].cells) == names
    assert all(f">{name}</text>" in figure.picture for name in (*names, *QUANTILES))
    dashes = re.findall(r'stroke-dasharray="([^"]*)"', figure.picture)
    assert len(set(dashes)) == len(names)
    assert "50 % load" in figure.title


def test_it_is_in_the_page_with_its_table(whole: Told) -> None:
    page = html(whole.run, whole.summary)
    section = page[page.index('<section id="distributions"') :].partition("</section>")[0]
    assert section.count("<svg") == section.count("<table>") == 1
    assert 'href="#distributions"' in page


def test_consumers_have_a_picture_of_their_own(tell: Tell) -> None:
    work = Workload(subscriptions_per_topic=1)
    scenarios = tuple(each.model_copy(update={"workload": work}) for each in PLAN.scenarios[:2])
    told = tell(PLAN.model_copy(update={"scenarios": scenarios, "repeats": 2}))
    assert [figure.title for figure in figures(told.run)] == [
        "Latency at 50 % load",
        "Latency to the consumer at 50 % load",
    ]


def test_without_equal_loads_there_is_none(tell: Tell) -> None:
    told = tell(PLAN.model_copy(update={"repeats": 1}))
    assert figures(told.run) == []
    assert 'id="distributions"' not in html(told.run, told.summary)


@pytest.mark.parametrize(
    ("values", "ends"),
    [([3.0, 40.0], (2, 50)), ([1.0, 1.0], (1, 2)), ([0.0007, 0.02], (0.0005, 0.02))],
)
def test_the_scale_goes_from_the_nearest_round_value_to_the_next(
    values: list[float], ends: tuple[float, float]
) -> None:
    assert charts.around(values) == pytest.approx(ends)

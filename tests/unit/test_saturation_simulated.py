"""The simulated open-loop system: what is asserted here is what makes its known ceiling known."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.saturation import Answer, binomial_lower_bound, table
from meshmark.backends.simulated_open import (
    OpenBench,
    OpenSystem,
    RecordedNoise,
    Stretch,
    Truth,
    life_level,
    random_system,
    true_ceiling,
)
from meshmark.errors import RecordError

QUIET = OpenSystem(seed=1, ceiling_msg_s=10_000, trial_noise=0, fluctuation=0, warmup_depth=0)
SPAN = (Stretch(begin_s=0, end_s=170, warm_s=30),)


def ceiling(system: OpenSystem, slo: tuple[float, float] | None = None) -> float:
    rate = true_ceiling(system, 6, slo, SPAN).rate_msg_s
    assert rate is not None
    return rate


def test_what_comes_due_is_acknowledged_or_outstanding() -> None:
    bench = OpenBench(random_system(3))
    for share in (0.5, 1.0, 1.5):
        trial = bench.trial(share * bench.system.ceiling_msg_s, 6)
        for due, acknowledged, outstanding in zip(trial.offered, trial.acknowledged, trial.outstanding, strict=True):
            assert due == pytest.approx(acknowledged + outstanding)
        assert list(trial.acknowledged) == sorted(trial.acknowledged)
        quantiles = [seconds for _, seconds in trial.latency_s]
        assert quantiles == sorted(quantiles)


def test_a_quiet_system_carries_its_ceiling_and_no_more() -> None:
    assert ceiling(QUIET) == pytest.approx(10_000)
    below, above = OpenBench(QUIET).trial(9_900, 6), OpenBench(QUIET).trial(11_000, 6)
    assert below.outstanding[-1] == pytest.approx(below.outstanding[0])
    assert above.outstanding[-1] - above.outstanding[0] == pytest.approx(
        1_000 * (above.time_s[-1] - above.time_s[0]), rel=0.01
    )


def test_what_moves_the_ceiling_moves_its_truth() -> None:
    stalling = replace(QUIET, stall_every_s=1.0, stall_s=0.1)
    assert ceiling(stalling) < 0.95 * ceiling(QUIET)
    assert ceiling(replace(QUIET, drift=0.1, drift_s=170)) == pytest.approx(10_000 * math.exp(0.05), rel=0.02)
    # Thrashing is a matter of overloaded trials alone.
    assert ceiling(replace(QUIET, overload_loss=0.1)) == ceiling(QUIET)
    thrashing = OpenBench(replace(QUIET, overload_loss=0.1)).trial(12_000, 6)
    assert thrashing.outstanding[-1] > OpenBench(QUIET).trial(12_000, 6).outstanding[-1]


def test_lives_differ_and_their_median_is_the_ceiling() -> None:
    system = replace(QUIET, life_noise=0.05, warmup_depth=0.5)
    bench = OpenBench(system)
    cold = bench.warm_up_window()
    for life in (1, 2, 3):
        truth = true_ceiling(system, 6, None, [Stretch(begin_s=0, end_s=170, warm_s=999)], life=life).rate_msg_s
        assert truth == pytest.approx(10_000 * life_level(system, life))
    levels = [life_level(system, life) for life in range(1, 200)]
    assert len(set(levels)) == len(levels)
    assert statistics.stdev(levels) == pytest.approx(0.05, rel=0.2)
    assert ceiling(replace(QUIET, life_noise=0.05)) == pytest.approx(10_000, rel=0.003)
    # The next life is as cold as the first was.
    bench.trial(5_000, 60)
    bench.restart()
    assert bench.warm_up_window() / life_level(system, 2) == pytest.approx(cold / life_level(system, 1), rel=0.02)


def test_a_moment_is_drawn_from_all_lives_by_their_length() -> None:
    drifting = replace(QUIET, drift=0.1, drift_s=100)
    early, late = Stretch(begin_s=0, end_s=60, warm_s=99), Stretch(begin_s=100, end_s=160, warm_s=99)
    rates = [true_ceiling(drifting, 6, None, lives).rate_msg_s or 0 for lives in ([early], [early, late], [late])]
    assert rates == sorted(rates)
    assert rates[1] == pytest.approx(10_000 * math.exp(0.08), rel=0.04)


def test_a_stricter_slo_has_a_lower_ceiling_or_none() -> None:
    system = random_system(2)
    rates = [ceiling(system), ceiling(system, (0.99, 0.2)), ceiling(system, (0.99, 0.05))]
    assert rates == sorted(rates, reverse=True)
    assert true_ceiling(system, 6, (0.99, 0.001), SPAN) == Truth(rate_msg_s=None, sharp=False)


def test_a_limited_generator_is_late_and_the_system_is_not_blamed() -> None:
    bench = OpenBench(replace(QUIET, client_limit_msg_s=5_000))
    assert bench.trial(4_000, 6).late_share == 0
    assert bench.trial(8_000, 6).late_share > 0.3


def test_warm_up_rises() -> None:
    bench = OpenBench(replace(QUIET, warmup_depth=0.5, warmup_s=5))
    rates = [bench.warm_up_window() for _ in range(20)]
    assert rates == sorted(rates)


def test_recorded_noise_takes_the_place_of_the_synthetic_one(tmp_path: Path) -> None:
    file = tmp_path / "noise.json"
    file.write_text(json.dumps({"interval_s": 0.5, "trials": [[0.9] * 20, [1.0] * 20, [1.1] * 20]}))
    system = replace(QUIET, noise=RecordedNoise.load(file))
    assert ceiling(system) == pytest.approx(10_000)
    assert system.noise is not None
    drawn = system.noise.capacity(np.random.default_rng(1), 30, 10)
    assert sorted(drawn[:, 0]) == [0.9] * 10 + [1.0] * 10 + [1.1] * 10
    carried = {round(OpenBench(replace(system, seed=seed)).trial(20_000, 6).acknowledged[-1]) for seed in range(20)}
    assert len(carried) == 3


@pytest.mark.parametrize("text", ["", "[]", '{"interval_s": 1}', '{"interval_s": 0, "trials": [[1, 1]]}', "{}"])
def test_a_file_that_holds_no_noise_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "noise.json"
    file.write_text(text)
    with pytest.raises(RecordError, match="holds no recorded noise"):
        RecordedNoise.load(file)


def test_the_binomial_bound_is_the_exact_one() -> None:
    assert binomial_lower_bound(10, 10) == pytest.approx(0.05 ** (1 / 10), abs=1e-6)
    assert binomial_lower_bound(0, 10) == 0
    assert binomial_lower_bound(945, 1_000) == pytest.approx(0.9317, abs=5e-4)


def test_the_table_counts_sharp_ceilings_only() -> None:
    def answer(low: float, high: float, *, sharp: bool) -> Answer:
        truth = Truth(rate_msg_s=100, sharp=sharp)
        return Answer(
            search="search", target="any", low=low, high=high, point=low, reason="", trials=9, seconds=1, truth=truth
        )

    row = table([answer(90, 110, sharp=True), answer(101, 110, sharp=True), answer(1, 2, sharp=False)]).splitlines()[
        -1
    ]
    assert row.startswith("| search | any | 2 | 100.0% | 9.0 |")
    assert "| 50.0% |" in row

"""What the comparison's own benchmark counts, on few cases."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.compare import Share, drawn, ends_table, false_alarms, null_table, power, real_table, versus
from meshmark.cli import app

LIKE = Path(__file__).parents[2] / "bench" / "like.yaml"


def test_bounds_are_the_exact_ones() -> None:
    assert Share(hits=0, count=10).bounds == pytest.approx((0, 1 - 0.025**0.1), abs=1e-6)
    assert Share(hits=10, count=10).bounds == pytest.approx((0.025**0.1, 1), abs=1e-6)


def test_where_nothing_differs_few_intervals_say_otherwise() -> None:
    """Of 200 some 10: fewer than 30 even where chance is unkind."""
    alarms, same = false_alarms(200, 5, 0.10, seed=1)
    assert 0 < alarms.hits < 30
    assert same.hits < 20, "5 pairs with this noise cannot show that nothing differs"


def test_more_pairs_and_less_noise_tell_a_change_more_often() -> None:
    few, many = power(60, 3, 0.05, seed=1), power(60, 40, 0.05, seed=1)
    assert few.hits + 20 < many.hits
    assert power(60, 9, 0.15, seed=1).hits + 10 < power(60, 9, 0.03, seed=1).hits


def test_cases_are_drawn_from_the_seed() -> None:
    assert false_alarms(20, 3, 0.1, seed=1) == false_alarms(20, 3, 0.1, seed=1)
    assert null_table(2, seed=1).count("\n") == 3 + 15
    assert drawn(4, 0.1, -0.05, random.Random(1)).pairs_counted == 4


def test_each_of_four_like_scenarios_is_held_against_each_before_it(tmp_path: Path) -> None:
    assert app.main(["run", str(LIKE), "--backend", "simulated", "--out", str(tmp_path / "run")]) == 0
    rows = [line.split(" | ") for line in real_table([tmp_path / "run"]).splitlines()[4:]]
    assert [tuple(row[1:3]) for row in rows] == [
        *(("two", "one"), ("three", "one"), ("three", "two")),
        *(("four", "one"), ("four", "two"), ("four", "three")),
    ]
    assert [bool(row[-1].strip(" |")) for row in rows] == [True, True, False, True, False, False], "losses"
    assert all(0.8 < float(row[4]) < 1.25 for row in rows)


def test_a_plan_against_itself_ends_by_width_and_tells_no_difference(tmp_path: Path) -> None:
    made = versus(2, tmp_path, "simulated")
    assert [path.name for path in made] == ["versus-1", "versus-2"]
    rows = [line.split(" | ") for line in ends_table(made).splitlines()]
    repeats = [int(row[1]) for row in rows[2:4]]
    assert all(3 <= each <= 5 for each in repeats)
    assert [row[2] for row in rows[2:4]] == ["width", "width"]
    assert rows[-1][0].endswith(" of 2 of a loss exclude none.")
    assert real_table(made).count("| plain-versus | plain |") == 2

"""How far another clock is ahead is bounded by exchanges, and what that leaves of latency between machines."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from meshmark.backends.kubernetes.clocks import EXCHANGES, Ahead, compare
from meshmark.experiment.trial import stated
from meshmark.nodes import END_TO_END_ERROR, ClockCheck, error_between_s
from meshmark.record import Latency

AHEAD_S = 4_321.5


@dataclass
class Way:
    """To another machine and back; each takes a time of its own, in either direction."""

    there: Callable[[], float]
    back: Callable[[], float]
    here_s: float = 100.0
    drift: float = 0.0

    def ask(self) -> float:
        self.here_s += self.there()
        told_s = self.here_s * (1 + self.drift) + AHEAD_S
        self.here_s += self.back()
        return told_s

    def now(self) -> float:
        return self.here_s


@pytest.mark.parametrize("seed", range(20))
def test_the_bounds_hold_and_are_as_narrow_as_the_shortest_exchange(seed: int) -> None:
    chance = random.Random(seed)
    spent: list[float] = []

    def took() -> float:
        spent.append(0.001 + chance.expovariate(500))
        return spent[-1]

    way = Way(took, took)
    found = compare(way.ask, way.now)
    assert found.low_s <= AHEAD_S <= found.high_s
    rounds = [there + back for there, back in zip(spent[::2], spent[1::2], strict=True)]
    assert len(rounds) == EXCHANGES
    assert 2 * found.bound_s <= min(rounds) + 1e-9
    assert found.error_s(found.middle_s) == pytest.approx(found.bound_s)


def test_a_way_that_is_longer_in_one_direction_is_within_the_bounds() -> None:
    way = Way(lambda: 0.009, lambda: 0.001)
    found = compare(way.ask, way.now)
    assert found.low_s == pytest.approx(AHEAD_S - 0.001)
    assert found.high_s == pytest.approx(AHEAD_S + 0.009)


def test_clocks_that_run_apart_while_they_are_compared_have_wide_bounds_and_no_contradiction() -> None:
    way = Way(lambda: 1e-4, lambda: 1e-4, drift=0.1)
    found = compare(way.ask, way.now)
    assert found.low_s < found.high_s
    assert found.bound_s > 1e-4


def check(host: str, error_s: float | None) -> ClockCheck:
    return ClockCheck(host=host, worker="w", began_s=0, ended_s=1, ahead_s=AHEAD_S, bound_s=0.001, error_s=error_s)


@pytest.mark.parametrize(
    ("hosts", "checks", "error_s"),
    [
        (["here"], [], 0),
        (["here", "near"], [], 0),
        (["far"], [check("far", 0.004)], 0),  # all workers have one clock
        (["here", "far"], [check("far", 0.004), check("far", 0.005)], 0.005),
        (["far", "farther"], [check("far", 0.004), check("farther", 0.003)], 0.007),
        (["here", "far", "farther"], [check("far", 0.004), check("farther", 0.003)], 0.007),
        (["here", "far"], [check("far", None)], None),
    ],
)
def test_a_time_from_one_machine_to_another_has_the_errors_of_both(
    hosts: list[str], checks: list[ClockCheck], error_s: float | None
) -> None:
    found = error_between_s(hosts, checks)
    assert found == (None if error_s is None else pytest.approx(error_s))


def test_a_drift_between_two_comparisons_is_in_the_error() -> None:
    before, after = Ahead(9.999, 10.001), Ahead(10.004, 10.008)
    assert max(before.error_s(before.middle_s), after.error_s(before.middle_s)) == pytest.approx(0.008)


def latency(p50_s: float) -> Latency:
    return Latency(count=1, p50_s=p50_s, p90_s=p50_s, p99_s=p50_s, p99_9_s=p50_s, max_s=p50_s, histogram="")


@pytest.mark.parametrize(
    ("error_s", "told"),
    [(0.0, True), (0.01 * END_TO_END_ERROR, True), (0.011 * END_TO_END_ERROR, False), (None, False)],
)
def test_latency_to_the_consumer_is_stated_within_a_tenth_of_its_median(error_s: float | None, told: bool) -> None:
    assert (stated(latency(0.01), error_s) is not None) == told
    assert stated(None, error_s) is None

"""Blind cases: what is drawn, and what a verdict on one is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.limits import (
    ANSWERS,
    NOTHING,
    PARTS,
    Case,
    Verdict,
    answer,
    benched,
    cases,
    held,
    judge,
    play,
    show,
    trials_each,
)
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.errors import LoadError
from meshmark.experiment.trial import Bench, Offered, measure
from meshmark.record import Limit, Tightened, Trial
from meshmark.store import load

HOSTS = ("broker-1", "broker-2", "broker-3")
BLOCKS = 2


def test_every_kind_is_drawn_as_often_and_the_seed_decides_the_rest() -> None:
    drawn = cases(7, 12, HOSTS, PARTS)
    assert Counter(case.resource for case in drawn) == dict.fromkeys(("cpu", "disk", "network", NOTHING), 3)
    assert all(PARTS[0] <= case.part <= PARTS[1] and case.host in HOSTS for case in drawn if case.resource != NOTHING)
    assert drawn == cases(7, 12, HOSTS, PARTS) != cases(8, 12, HOSTS, PARTS)


@pytest.mark.parametrize(
    ("resource", "named", "worth"),
    [
        ("cpu", ("broker-2/kafka CPU quota",), "right"),
        ("disk", ("broker-2 disk",), "right"),
        ("network", ("broker-2 network",), "right"),
        ("network", ("broker-2 network", "machine CPU"), "right, and others"),
        ("network", ("broker-1 network",), "right, wrong host"),
        ("disk", ("machine CPU",), "machine CPU"),
        ("disk", ("broker-2 request handlers",), "another"),
        ("cpu", ("broker-2/kafka CPU",), "right"),
        ("cpu", ("broker-2/kafka CPU", "machine CPU"), "right, and others"),
        ("cpu", ("unknown",), "unknown"),
        (NOTHING, ("machine CPU",), "machine CPU"),
        (NOTHING, ("broker-2 disk",), "another"),
    ],
)
def test_a_verdict_is_right_if_it_names_the_resource_its_host_and_nothing_else(
    resource: str, named: tuple[str, ...], worth: str
) -> None:
    case = Case(resource=resource) if resource == NOTHING else Case(resource=resource, host="broker-2", part=0.4)
    assert answer(case, named) == worth
    assert worth in ANSWERS


def verdicts(directory: Path, drawn: Sequence[Case], truth: Truth) -> list[Verdict]:
    """By experiment, on the simulated system."""
    clock = SimulatedClock()
    with benched(SimulatedBackend(clock, truth), directory, clock) as bench:
        assert list(play(bench, drawn, BLOCKS)) == list(range(1, len(drawn) + 1))
    found = judge(directory, len(drawn), BLOCKS)
    assert [each.number for each in found] == list(range(1, len(drawn) + 1))
    return found


def played(directory: Path, drawn: Sequence[Case], truth: Truth) -> list[str]:
    """What these verdicts are worth."""
    return [answer(drawn[each.number - 1], each.named) for each in verdicts(directory, drawn, truth)]


def test_an_experiment_names_a_capped_disk_its_host_included_and_the_machine_where_nothing_is_capped(
    tmp_path: Path,
) -> None:
    drawn = [Case(resource="disk", host="broker-2", part=0.4), Case(resource=NOTHING)]
    assert played(tmp_path / "run", drawn, Truth()) == ["right", "machine CPU"]


def test_an_experiment_without_what_limits_names_nothing_and_its_record_has_shares_for_amounts(tmp_path: Path) -> None:
    drawn = [Case(resource="cpu", host="broker-2", part=0.4)]
    assert played(tmp_path / "run", drawn, Truth(limited_by=("broker-9", "disk"))) == ["unknown"]
    (data,) = load(tmp_path / "run").rounds
    less = [trial.tightened.limit for trial in data.trials if trial.tightened and trial.tightened.limit]
    assert len(less) == BLOCKS * (1 + 3 * 3)
    assert {limit.amount for limit in less} == {0.5}


def test_a_case_whose_trials_do_not_count_or_whose_load_breaks_off_is_unknown_in_the_matrix_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    each = trials_each(BLOCKS)

    def disturbed(bench: Bench, offered: Offered, limits: Sequence[Limit]) -> Trial:
        if 1 + each < offered.number <= 1 + 2 * each:
            raise LoadError("the cluster is gone")
        trial = measure(bench, offered, limits)
        return trial.model_copy(update={"faults": ("followers lag",)}) if offered.number <= 1 + each else trial

    monkeypatch.setattr("meshmark.experiment.explain.measure", disturbed)
    drawn = [Case(resource="disk", host="broker-2", part=0.4)] * 3
    found = verdicts(tmp_path / "run", drawn, Truth())
    assert [answer(drawn[0], verdict.named) for verdict in found] == ["unknown", "unknown", "right"]
    assert found[0].near == [f"of {each} trials too few count, {each} are invalid: followers lag"]
    assert found[1].near == ["no trial"]
    show(drawn, found)
    printed = capsys.readouterr().out
    assert "2. broken off: the cluster is gone" in printed
    assert "| disk | 1 |  |  |  |  | 2 |" in printed


def test_of_what_holds_in_a_trial_the_machine_comes_first_and_all_of_its_cpu_is_no_limit() -> None:
    machine = Limit(host="machine", resource="cpu", amount=2)
    everything = [
        machine,
        Limit(host="broker-1", resource="cpu", amount=2),
        Limit(host="broker-2", resource="cpu", amount=0.2),
        Limit(host="broker-1", resource="disk", amount=4e6),
    ]

    def holding(less: Limit | None) -> list[tuple[str, str, float]]:
        tightened = Tightened(block=1, limit=less and less.model_copy(update={"amount": 0.5}), available=1.0)
        return [(each.host, each.resource, each.amount) for each in held(everything, tightened)]

    capped = ("broker-2", "cpu", 0.2)
    assert holding(None) == [capped, ("broker-1", "disk", 4e6)]
    assert holding(machine) == [("machine", "cpu", 1), capped, ("broker-1", "disk", 4e6)]
    assert holding(everything[1]) == [("broker-1", "cpu", 1), capped, ("broker-1", "disk", 4e6)]
    assert holding(everything[3]) == [capped, ("broker-1", "disk", 2e6)]

"""What consumers read back, record by record: a record that is lost is not hidden by one that is there twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshmark.analysis.verify import verify
from meshmark.backends.simulated import system
from meshmark.data_plane import DataPlane
from meshmark.itemized import compared, decoded, encoded
from meshmark.load.recorder import Recorder
from meshmark.plan import Workload
from meshmark.read_back import ReadBack, contradictions, duplicated, missing
from meshmark.store import Run
from tests.mutants.record import Json, change_lines, forge, round_of
from tests.mutants.simulated import LostBehindADuplicate
from tests.unit.test_conductor import plan_of, run

READ = Workload(subscriptions_per_topic=2)


def times(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


@given(st.lists(st.integers(0, 2**62), max_size=200))
def test_what_a_worker_tells_is_what_it_saw(seen: list[int]) -> None:
    assert decoded(encoded(times(*seen))).tolist() == sorted(seen)


def test_what_is_told_of_many_records_is_short() -> None:
    even = times(*range(7_000_000_000, 7_100_000_000, 10_000))
    assert len(encoded(even)) < len(even) / 10


@pytest.mark.parametrize(
    ("read", "lost", "again", "strangers"),
    [
        ([10, 20, 30], 0, 0, 0),
        ([10, 20], 1, 0, 0),
        ([10, 20, 20, 30], 0, 1, 0),
        ([10, 20, 20], 1, 1, 0),
        ([10, 10, 10], 2, 2, 0),
        ([10, 20, 40], 1, 0, 1),
        ([10, 20, 30, 40, 40], 0, 1, 1),
        ([], 3, 0, 0),
    ],
)
def test_records_are_told_apart_although_counts_may_agree(
    read: list[int], lost: int, again: int, strangers: int
) -> None:
    found = compared([times(10, 20, 30)], [times(*read)])
    assert (missing(found), duplicated(found)) == (lost, again)
    assert sum(each.acknowledged * each.records for each in found) == 3
    assert sum(each.read * each.records for each in found) == len(read)
    assert len(contradictions(found, unknown=strangers)) == bool(lost) + bool(again)
    assert len(contradictions(found, unknown=0)) == bool(lost) + bool(again) + bool(strangers)


def test_two_records_of_one_instant_are_to_be_read_twice() -> None:
    assert contradictions(compared([times(10, 20, 20)], [times(10, 20, 20)]), unknown=0) == ()
    assert missing(compared([times(10, 20, 20)], [times(10, 20)])) == 1


def test_of_two_records_of_one_instant_one_that_timed_out_and_was_stored_is_told_as_read_twice() -> None:
    """A limit, which is said."""
    found = compared([times(10, 20)], [times(10, 20, 20)])
    assert contradictions(found, unknown=1) == ("consumers read 1 records more than once",)


def test_each_group_is_to_read_everything() -> None:
    found = compared([times(10, 20)], [times(10, 20), times(10)])
    assert found == (
        ReadBack(group=1, acknowledged=1, read=1, records=2),
        ReadBack(group=2, acknowledged=1, read=0, records=1),
        ReadBack(group=2, acknowledged=1, read=1, records=1),
    )
    assert contradictions(found, unknown=0) == ("consumers did not read 1 records that were acknowledged",)


def test_a_recorder_keeps_records_only_where_it_is_to() -> None:
    one, other = Recorder(), Recorder()
    other.itemize()
    for recorder in (one, other):
        recorder.acknowledged(times(3, 1))
        recorder.consumed(times(2))
    assert (one.items().tolist(), other.items().tolist()) == ([], [3, 1, 2])


@pytest.fixture
def swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Consumers read as many records as were acknowledged, but one of them twice and another not at all."""
    monkeypatch.setattr(system, "SimulatedWorker", LostBehindADuplicate)
    return run(tmp_path / "run", plan_of(DataPlane.PLAIN, workload=READ, repeats=1))


def test_a_loss_behind_a_duplicate_makes_a_trial_invalid(swapped: Run) -> None:
    for trial in swapped.rounds[0].trials:
        assert trial.total.consumed == 2 * trial.total.acknowledged, "counts tell nothing"
        assert trial.reasons == (
            "consumers did not read 2 records that were acknowledged",
            "consumers read 2 records more than once",
        )
    assert verify(swapped.directory).verdict == "sound", "what happened was recorded as it was"


def _hidden(trial: Json) -> None:
    trial["faults"] = []


def _never_lost(trial: Json) -> None:
    trial["readBack"] = [each for each in trial["readBack"] if each["read"] == 1]


def _never_read_twice(trial: Json) -> None:
    for each in trial["readBack"]:
        each["read"] = min(each["read"], 1)


def _by_a_third_group(trial: Json) -> None:
    trial["readBack"].append({"group": 3, "acknowledged": 0, "read": 0, "records": 1})


@pytest.mark.parametrize("tamper", [_hidden, _never_lost, _never_read_twice, _by_a_third_group])
def test_who_hides_a_loss_is_caught(swapped: Run, tamper: Callable[[Json], None]) -> None:
    change_lines(round_of(swapped.directory, "plain", repeat=1) / "trials.jsonl", lambda found: tamper(found[0]))
    forge(swapped.directory)
    found = verify(swapped.directory)
    assert found.verdict == "not sound"
    assert any("trials.jsonl:1" in each.file for each in found.findings)

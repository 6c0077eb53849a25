"""Flat tables: what is in them is what the record says, in every form."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from meshmark.report.frames import FRAMES, Frame, write_csv, write_parquet

from .conftest import Told


def rows(told: Told, name: str) -> list[dict[str, str]]:
    stream = io.StringIO()
    write_csv(FRAMES[name], told.run, stream)
    return list(csv.DictReader(io.StringIO(stream.getvalue())))


def test_there_is_one_row_for_each_trial_with_its_figures(whole: Told, cut: Told) -> None:
    for each in (whole, cut):
        trials = [trial for data in each.run.rounds for trial in data.trials]
        found = rows(each, "trials")
        assert [int(row["number"]) for row in found] == [trial.number for trial in trials]
        assert [float(row["rate_msg_s"]) for row in found] == [trial.rate_msg_s for trial in trials]
        assert [row["valid"] for row in found] == [str(trial.valid).lower() for trial in trials]


def test_what_was_not_measured_is_empty(whole: Told) -> None:
    found = rows(whole, "trials")
    assert {row["cpu_s_sidecars"] for row in found if row["data_plane"] == "plain"} == {""}
    assert all(float(row["cpu_s_sidecars"]) > 0 for row in found if row["data_plane"] == "istio-mtls")


def test_the_parts_of_the_cpu_do_not_exceed_the_machine(whole: Told) -> None:
    for row in rows(whole, "trials"):
        parts = sum(float(row[f"cpu_s_{name}"] or 0) for name in ("brokers", "sidecars", "clients", "meshmark"))
        assert 0 < parts <= float(row["cpu_s_machine"]) * 1.001


def test_every_value_of_every_reading_is_in_the_series(whole: Told) -> None:
    expected: Counter[int] = Counter()
    for data in whole.run.rounds:
        expected[data.started.index] = sum(len(sample.values) for sample in data.series())
    assert Counter(int(row["round_index"]) for row in rows(whole, "series")) == expected


def test_times_are_unix_times(whole: Told) -> None:
    started_at = whole.run.started.started_at
    for name, column in (("trials", "window_start_at"), ("series", "time_at"), ("intervals", "time_at")):
        assert all(started_at <= float(row[column]) < started_at + 3_600 for row in rows(whole, name))


@pytest.mark.parametrize("name", FRAMES)
def test_rows_fit_their_columns(whole: Told, name: str) -> None:
    frame = FRAMES[name]
    kinds: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "number": (float, int), "truth": (bool,)}
    for row in list(frame.rows(whole.run))[:50]:
        for field, cell in zip(frame.fields, row, strict=True):
            assert cell is None or isinstance(cell, kinds[field.kind]), field.name


@pytest.mark.parametrize("name", FRAMES)
def test_parquet_holds_what_csv_holds_and_says_what_it_means(whole: Told, tmp_path: Path, name: str) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    frame: Frame = FRAMES[name]
    write_parquet(frame, whole.run, tmp_path / "file")
    table = parquet.read_table(tmp_path / "file")
    assert table.column_names == [field.name for field in frame.fields]
    assert [tuple(row.values()) for row in table.to_pylist()] == list(frame.rows(whole.run))
    assert all(field.metadata[b"meaning"] for field in table.schema)

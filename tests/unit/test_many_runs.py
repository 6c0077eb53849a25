"""A thousand runs, where one was to be named: in a directory, or as arguments. Told at once, and shortly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from meshmark import errors
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from tests.unit.test_conductor import plan_of, run

COUNT = 1_000

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds a thousand runs, such as they begin."""
    place = tmp_path_factory.mktemp("runs")
    for number in range(COUNT):
        directory = place / f"run-{number:03d}"
        directory.mkdir()
        (directory / "started.json").write_text("{}")
    return place


def said(capsys: Capture) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err) < 1_000
    assert "defect" not in captured.err
    return captured.err


@pytest.mark.parametrize("verb", ["report", "verify", "compare"])
def test_a_directory_of_runs_is_told_from_a_run(holder: Path, verb: str, capsys: Capture) -> None:
    more = ["--against", str(holder / "run-000")] if verb == "compare" else []
    assert app.main([verb, str(holder), *more]) == errors.RecordError.exit_code
    text = said(capsys)
    assert f"is not a run directory: it holds {COUNT} of them" in text
    assert str(holder / "run-999") in text


def test_a_thousand_runs_are_no_argument_of_a_report(holder: Path, capsys: Capture) -> None:
    assert app.main(["report", *map(str, holder.iterdir())]) == 2
    text = said(capsys)
    assert "unexpected extra argument" in text
    assert "`meshmark report --help` shows how it is used" in text


def test_sides_that_have_not_as_many_are_refused_before_any_is_read(holder: Path, capsys: Capture) -> None:
    assert app.main(["compare", *map(str, holder.iterdir()), "--against", "nowhere"]) == 2
    assert f"{COUNT} and 1 runs cannot be paired" in said(capsys)


def test_a_thousand_times_the_same_run_is_one(tmp_path: Path, capsys: Capture) -> None:
    run(tmp_path / "one", plan_of(DataPlane.PLAIN, repeats=1))
    name = str(tmp_path / "one")
    against = [word for _ in range(COUNT) for word in ("--against", name)]
    assert app.main(["compare", *[name] * COUNT, *against]) == 2
    assert "are the same measurements" in said(capsys)


def test_many_runs_are_compared_pair_by_pair(tmp_path: Path, capsys: Capture) -> None:
    run(tmp_path / "run", plan_of(DataPlane.PLAIN, repeats=1))
    names = []
    for number in range(40):
        copy = shutil.copytree(tmp_path / "run", tmp_path / f"run-{number}")
        started = json.loads((copy / "started.json").read_text())
        (copy / "started.json").write_text(json.dumps({**started, "runId": f"run-{number}"}))
        names.append(str(copy))
    against = [word for name in names[20:] for word in ("--against", name)]
    assert app.main(["compare", *names[:20], *against, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparisons"][0]
    assert found["pairs_planned"] == len(found["pairs"]) == 20

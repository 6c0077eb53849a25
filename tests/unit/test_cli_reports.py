"""`meshmark report`: which form goes where, and what is refused."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from meshmark.cli import app
from meshmark.cli.reports import FORMS, TABLES

PLAN = """name: small
repeats: 1
environment: {diskSeconds: 0, networkSeconds: 0}
method: {warmupSeconds: 1, windowSeconds: 2, trials: 1}
scenarios: [plain, istio]
"""
FIRST = {"markdown": "## small", "csv": "run_id,round_index,", "openmetrics": "# HELP meshmark_", "json": "{"}

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("reports")
    (directory / "plan.yaml").write_text(PLAN, encoding="utf-8")
    argv = ["run", str(directory / "plan.yaml"), "--backend", "simulated", "--out", str(directory / "run")]
    assert app.main(argv) == 0
    return directory / "run"


@pytest.mark.parametrize("form", FIRST)
def test_texts_go_to_standard_output_or_to_a_file(form: str, run: Path, tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["report", str(run), "-o", form]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(FIRST[form])
    file = tmp_path / "file"
    assert app.main(["report", str(run), "-o", form, "--out", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text(encoding="utf-8") == printed


@pytest.mark.parametrize("table", TABLES)
def test_parquet_lies_beside_the_record_or_where_it_is_told(table: str, run: Path, capsys: Capture) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert app.main(["report", str(run), "-o", "parquet", "--table", table]) == 0
    made = run / f"report.{table}.parquet"
    assert capsys.readouterr().out == f"{made}\n"
    assert made.read_bytes()[:4] == b"PAR1"


def test_reports_are_no_part_of_the_record(run: Path, capsys: Capture) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert app.main(["report", str(run), "-o", "parquet"]) == 0
    assert app.main(["verify", str(run)]) == 0


def test_csv_has_the_trials_unless_told_otherwise(run: Path, capsys: Capture) -> None:
    assert app.main(["report", str(run), "-o", "csv"]) == 0
    trials = capsys.readouterr().out
    assert app.main(["report", str(run), "-o", "csv", "--table", "trials"]) == 0
    assert capsys.readouterr().out == trials
    assert app.main(["report", str(run), "-o", "csv", "--table", "series"]) == 0
    assert ",host,component,metric,value\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "pdf"], "there is no form pdf\n  -o takes table, json, html, markdown, csv, parquet or openmetrics"),
        (["-o", "csv", "--table", "rows"], "there is no table rows\n  --table takes trials, series or intervals"),
        (["-o", "json", "--table", "trials"], "--table belongs to -o csv and -o parquet"),
        (["-o", "html", "--round", "99"], "this run has no round 99\n  It has 2 rounds: 1 to 2."),
        (["-o", "csv", "--round", "1"], "--round belongs to -o html"),
        (["-o", "csv", "--gate"], "--gate has nothing to judge"),
        (["-o", "csv", "--out", "no/file"], "cannot write no/file: No such file or directory"),
        (["-o", "parquet", "--out", "no/file"], "cannot write no/file: "),
        (["-o", "openmetrics", "--out", "no/file"], "cannot write no/file: "),
    ],
)
def test_what_cannot_be_meant_ends_with_2(
    arguments: list[str], told: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(["report", str(run), *arguments]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("form", "package", "extra"), [("parquet", "pyarrow", "parquet"), ("openmetrics", "prometheus_client", "metrics")]
)
def test_a_package_that_is_missing_is_told_with_its_extra(
    form: str, package: str, extra: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "meshmark.report.openmetrics", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    assert app.main(["report", str(run), "-o", form]) == 1
    assert f"pip install 'meshmark[{extra}]'" in capsys.readouterr().err


def test_every_form_is_in_the_help(capsys: Capture) -> None:
    assert app.main(["report", "--help"]) == 0
    assert "|".join(FORMS) in capsys.readouterr().out

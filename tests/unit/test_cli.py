"""The command line: what verbs print where, and how each ending becomes an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshmark import errors, planfile
from meshmark.cli import app, lab
from meshmark.experiment import conductor
from meshmark.experiment.trial import measure

PLAN = """name: small
repeats: 1
environment: {diskSeconds: 0, networkSeconds: 0}
method: {warmupSeconds: 1, windowSeconds: 1.5, trials: 1}
scenarios: [plain, istio]
"""
LIGHT = """
import sys
import meshmark.cli.app
print(sorted({"pydantic", "rich", "ruamel", "numpy", "pyroute2", "confluent_kafka"} & set(sys.modules)))
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(PLAN, encoding="utf-8")
    return file


def simulated(plan: Path, *more: str) -> list[str]:
    return ["run", str(plan), "--backend", "simulated", *more]


def test_the_verbs_are_listed_with_the_exit_codes(capsys: Capture) -> None:
    assert app.main(["--help"]) == 0
    out = capsys.readouterr().out
    for verb in (
        "run",
        "plan",
        "report",
        "compare",
        "doctor",
        "fetch",
        "up",
        "status",
        "exec",
        "down",
        "clean",
        "export",
        "version",
    ):
        assert re.search(rf"^  {verb} ", out, re.MULTILINE), verb
    assert "130 interrupted" in out


@pytest.mark.parametrize("verb", ["run", "report", "compare", "doctor", "up", "exec", "export"])
def test_help_shows_examples(verb: str, capsys: Capture) -> None:
    assert app.main([verb, "--help"]) == 0
    assert f"meshmark {verb}" in capsys.readouterr().out.partition("Examples:")[2]


def test_nothing_asked_is_answered_with_help_and_a_usage_code(capsys: Capture) -> None:
    assert app.main([]) == 2
    captured = capsys.readouterr()
    assert "Usage: meshmark" in captured.err
    assert captured.out == ""


def test_help_needs_no_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["runn"], "No such command 'runn'"),
        (["run", "--fast"], "No such option: --fast"),
        (["run", "--seed", "x"], "Invalid value for '--seed'"),
        (["run", "--quick", "--full"], "--quick and --full exclude each other"),
        (["run", "no-such-plan"], "no built-in plan is called no-such-plan"),
        (["run", "./none.yaml"], "none.yaml: No such file"),
        (["run", "--only", "istoi"], "no scenario istoi (did you mean istio?)"),
        (["run", "--backend", "cloud"], "there is no backend cloud"),
        (["report"], "Missing argument 'DIR'"),
        (["report", ".", "-o", "pdf"], "there is no form pdf"),
        (["doctor", "-o", "xml"], "there is no form xml"),
        (["status", "-o", "xml"], "there is no form xml"),
        (["up", "--data-plane", "consul"], "there is no data plane consul"),
        (["up", "--data-plane", "linkerd"], "the backend lab has no data plane linkerd (there: kubernetes)"),
        (["up", "--only", "plain", "--data-plane", "istio"], "has the data plane plain, not istio"),
        (["down", "--backend", "cloud"], "the backend cloud keeps no clusters"),
        (["fetch", "--kafka", "kafka-0.1"], "no lock 'kafka-0.1'"),
    ],
)
def test_usage_errors_say_what_to_do_and_end_with_2(
    arguments: list[str], expected: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("meshmark: error: ")
    assert expected in captured.err
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_prints_the_table_on_stdout_and_its_progress_on_stderr(
    plan: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert app.main(simulated(plan, "--out", str(out), "--seed", "5")) == 0
    captured = capsys.readouterr()
    assert "WHAT EACH SETUP CARRIED" in captured.out
    assert f"record: {out}" in captured.out
    assert "[1/2]" in captured.err
    assert "[2/2]" in captured.err
    assert "\x1b" not in captured.out + captured.err
    assert json.loads((out / "plan.json").read_text())["seed"] == 5
    assert json.loads((out / "started.json").read_text())["effort"] == "default"
    assert json.loads((out / "summary.json").read_text())["outcome"] == "complete"


def test_without_out_the_record_goes_to_a_directory_named_by_plan_and_time(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(simulated(plan)) == 0
    (made,) = (tmp_path / "meshmark-runs").iterdir()
    assert re.fullmatch(r"small-\d{8}T\d{6}Z", made.name)


def test_the_report_tells_again_what_the_run_printed(plan: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert app.main(simulated(plan, "--out", str(out))) == 0
    printed = capsys.readouterr().out
    assert app.main(["report", str(out)]) == 0
    table = capsys.readouterr().out
    assert printed.startswith(table)
    assert app.main(["report", str(out), "-o", "json"]) == 0
    names = [scenario["name"] for scenario in json.loads(capsys.readouterr().out)["scenarios"]]
    assert names == ["plain", "istio"]
    page = tmp_path / "page.html"
    assert app.main(["report", str(out), "-o", "html", "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_a_report_that_cannot_be_written_is_an_error(plan: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert app.main(simulated(plan, "--out", str(out))) == 0
    assert app.main(["report", str(out), "-o", "json", "--out", str(tmp_path / "no" / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["report", str(tmp_path)]) == errors.RecordError.exit_code
    assert "is not a run directory" in capsys.readouterr().err


def test_a_directory_with_something_in_it_is_refused_before_the_run(
    plan: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert app.main(simulated(plan, "--out", str(tmp_path))) == 2
    assert "already exists and is not empty" in capsys.readouterr().err
    assert app.main(simulated(plan, "--out", str(plan))) == 2
    assert "is not a directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_plan_without_its_baseline_runs_and_says_that_losses_stay_unknown(
    plan: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert app.main(simulated(plan, "--only", "istio", "--out", str(tmp_path / "out"))) == 0
    assert "without the baseline scenario plain the loss of the others stays unknown" in capsys.readouterr().err


def test_mistakes_of_a_plan_are_listed_one_a_line(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: x\nseed: -1\nrepeats: 0\nscenarios: [plain]\n", encoding="utf-8")
    assert app.main(["plan", "check", str(file)]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "meshmark: error: the plan has 2 mistakes"
    assert [line.split(": ")[0] for line in lines] == [f"{file}:2:7", f"{file}:3:10"]


def test_a_plan_that_is_fine_is_told_with_what_it_takes(plan: Path, capsys: Capture) -> None:
    assert app.main(["plan", "check", str(plan)]) == 0
    captured = capsys.readouterr()
    assert f"{plan}: fine: 2 rounds of 2 scenarios" in captured.out
    assert "one repeat shows no spread" in captured.err


def test_what_plan_show_prints_is_a_plan_file(tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["plan", "show"]) == 0
    shown = capsys.readouterr().out
    assert planfile.loads(shown, "shown") == planfile.effort(planfile.builtin("banzai-2019"), "default")
    assert app.main(["plan", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == planfile.builtin_names()
    assert app.main(["plan", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Plan"


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (errors.Busy("busy", hint="wait"), 5, "busy\n  wait"),
        (errors.ComponentFailed("died", log_tail=("last words",)), 6, "died\n    | last words"),
        (errors.NoSpace("full"), 7, "full"),
        (KeyError("x"), 70, "a defect of meshmark"),
        (ModuleNotFoundError("No module", name="pyroute2.netlink"), 1, "pip install 'meshmark[lab]'"),
        (ModuleNotFoundError("No module", name="jinja2"), 1, "pip install 'meshmark[report]'"),
        (ModuleNotFoundError("No module", name="nonsense"), 70, "a defect of meshmark"),
        (BrokenPipeError(32, "a worker's pipe"), 70, "a defect of meshmark"),
        (KeyboardInterrupt(), 130, "meshmark: interrupted"),
    ],
)
def test_whatever_ends_a_run_becomes_a_message_and_a_code(
    error: BaseException,
    code: int,
    told: str,
    plan: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conductor, "conduct", failing(error))
    assert app.main(simulated(plan, "--out", str(tmp_path / "out"))) == code
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err


def test_debug_shows_where_a_defect_is(
    plan: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conductor, "conduct", failing(KeyError("x")))
    assert app.main(["--debug", *simulated(plan, "--out", str(tmp_path / "out"))]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["int", "term", "hup"]
)
def test_a_signal_unwinds_the_run_and_keeps_what_was_measured(
    number: signal.Signals, code: int, plan: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **named: Any) -> Any:
        trial = measure(*arguments, **named)
        os.kill(os.getpid(), number)
        return trial

    monkeypatch.setattr(conductor, "measure", interrupted)
    out = tmp_path / "out"
    handler = signal.getsignal(number)
    assert app.main(simulated(plan, "--out", str(out))) == code
    assert signal.getsignal(number) is handler
    assert f"what was measured is kept: meshmark report {out}" in capsys.readouterr().err
    assert json.loads((out / "finished.json").read_text())["outcome"] == "interrupted"
    assert app.main(["report", str(out)]) == 0


def test_a_scenario_without_a_valid_measurement_is_inconclusive(
    plan: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invalid(*arguments: Any, **named: Any) -> Any:
        return measure(*arguments, **named).model_copy(update={"faults": ("made up",)})

    monkeypatch.setattr(conductor, "measure", invalid)
    assert app.main(simulated(plan, "--out", str(tmp_path / "out"))) == errors.Inconclusive.exit_code
    captured = capsys.readouterr()
    assert "no valid measurement of plain, istio" in captured.err
    assert "WHAT EACH SETUP CARRIED" in captured.out


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "meshmark", "plan", "show"], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_the_session_is_described_with_what_to_do_next() -> None:
    from meshmark.backends.lab.session import Session

    session = Session.model_validate(
        {
            "state": "up",
            "description": {"data plane": "istio"},
            "started_at": 0.0,
            "keeper_pid": 1,
            "directory": "here",
            "bootstrap_servers": "10.77.0.11:9092",
            "client_properties": "here/client.properties",
            "hosts": [
                {"name": "broker-1", "address": "10.77.0.11", "namespace_fd": 3, "pids": {"sidecar": 5, "broker": 4}}
            ],
        }
    )
    text = lab.describe(session)
    assert "bootstrap:  10.77.0.11:9092" in text
    assert re.search(r"broker-1 +10.77.0.11 +broker, sidecar", text)
    assert "meshmark exec client-1 -- bash" in text
    broken = lab.describe(session.model_copy(update={"state": "failed", "problem": "it died"}))
    assert "it died" in broken
    assert "meshmark exec" not in broken

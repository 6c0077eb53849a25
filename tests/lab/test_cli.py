"""The `meshmark` command on real Kafka and real Envoy: a whole run, and runs that are ended from outside."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from meshmark import store
from meshmark.backends.lab.instance import stored_instances
from meshmark.errors import Inconclusive
from tests.lab.runs import PLAN, TIMEOUT_S, meshmark, processes, warming_up

DAY_S = 86_400


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(PLAN, encoding="utf-8")
    return file


def test_a_run_measures_each_scenario_and_leaves_a_clean_machine(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = meshmark("run", str(plan), "--out", str(out))
    # On a busy machine the load generator may be late, and then nothing counts.
    assert done.returncode in (0, Inconclusive.exit_code), done.stderr
    assert "WHAT EACH SETUP CARRIED" in done.stdout
    record = store.load(out)
    assert record.finished is not None
    assert record.finished.outcome == "complete"
    assert sorted(part.started.scenario for part in record.rounds) == ["istio-mtls", "plain"]
    for part in record.rounds:
        (trial,) = part.trials
        assert trial.window.acknowledged > 0
        assert all(proof.holds for proof in part.proofs)
        assert part.configurations()
        assert part.logs()
    (mesh,) = (part for part in record.rounds if part.started.scenario == "istio-mtls")
    assert mesh.proofs
    left_s = [value for key, value in mesh.series()[-1].values.items() if key.endswith("/certificate_left_s")]
    assert left_s
    assert all(0 < value <= DAY_S for value in left_s)
    assert stored_instances() == []
    (digest,) = (line.removeprefix("digest: ") for line in done.stdout.splitlines() if line.startswith("digest: "))
    verified = meshmark("verify", str(out), "--digest", digest)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"])
def test_a_run_that_is_ended_cleans_up_and_keeps_its_record(
    number: signal.Signals, code: int, plan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with warming_up(plan, out) as (run, instance):
        run.send_signal(number)
        told = run.communicate(timeout=TIMEOUT_S)[1]
    assert run.returncode == code, told
    assert "Traceback" not in told
    assert f"what was measured is kept: meshmark report {out}" in told
    assert stored_instances() == []
    assert processes(instance) == []
    assert json.loads((out / "finished.json").read_text())["outcome"] == "interrupted"
    assert meshmark("report", str(out)).returncode == 0
    verified = meshmark("verify", str(out))
    assert verified.returncode == Inconclusive.exit_code, verified.stdout


def test_what_a_killed_run_leaves_is_removed_and_told(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with warming_up(plan, out) as (run, instance):
        run.kill()
        run.wait(timeout=TIMEOUT_S)
    (left,) = stored_instances()
    done = meshmark("clean")
    assert done.returncode == 0, done.stderr
    assert str(left) in done.stdout
    assert stored_instances() == []
    assert processes(instance) == []
    assert meshmark("clean").stdout == "nothing was left behind\n"
    table = meshmark("report", str(out))
    assert table.returncode == 0, table.stderr
    verified = meshmark("verify", str(out))
    assert verified.returncode == Inconclusive.exit_code, verified.stdout


def test_a_cluster_is_brought_up_entered_and_taken_down() -> None:
    up = meshmark("up", "--data-plane", "kafka-tls")
    assert up.returncode == 0, up.stderr
    try:
        status = meshmark("status", "-o", "json")
        assert status.returncode == 0
        told = json.loads(status.stdout)
        assert told["state"] == "up"
        instance = Path(told["directory"]).name
        assert len(processes(instance)) >= 3
        inside = meshmark(
            "exec", "client-1", "--", sys.executable, "-c", "import os; print(os.listdir('/sys/class/net')); exit(7)"
        )
        assert inside.returncode == 7, inside.stderr
        assert meshmark("exec", "client-9", "--", "true").returncode == 2
        again = meshmark("up")
        assert again.returncode == 5
        assert "already" in again.stderr
    finally:
        down = meshmark("down")
    assert (down.returncode, down.stdout) == (0, "the cluster is down\n")
    assert meshmark("status").returncode == 1
    assert stored_instances() == []
    assert processes(instance) == []


def test_a_plan_that_the_machine_cannot_hold_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "huge.yaml"
    file.write_text("name: huge\nlogBudgetBytes: 900000000000000\nscenarios: [plain]\n", encoding="utf-8")
    done = meshmark("run", str(file), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "free disk" in done.stderr
    assert "nothing has been changed" in done.stderr
    assert not (tmp_path / "out").exists()
    assert stored_instances() == []

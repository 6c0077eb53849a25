"""A run on real Kafka that is killed, goes on, is interrupted and goes on again: what was measured before is kept."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshmark import store
from meshmark.backends.lab.instance import stored_instances
from meshmark.errors import Inconclusive
from tests.lab.runs import MESHMARK, TIMEOUT_S, meshmark

PLAN = """name: smallest
repeats: 1
logBudgetBytes: 1000000000
environment: {diskSeconds: 0, networkSeconds: 0}
cluster: {brokers: 1, heapBytes: 268435456}
workload: {workers: 2, replicationFactor: 1, topicConfig: {min.insync.replicas: 1}}
method: {warmupSeconds: 1, warmupMaxSeconds: 2, windowSeconds: 1.5, trials: 1}
scenarios: [plain, kafka-tls]
"""


@contextmanager
def in_its_second_round(phase: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A run that says that phase there, and all that it said."""
    with subprocess.Popen([*MESHMARK, "run", *arguments], stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        told: list[str] = []
        second = False
        for line in run.stderr:
            told.append(line)
            second = second or line.startswith("[2/2]")
            if second and line.strip() == phase:
                break
        else:
            pytest.fail("".join(told))
        yield run, told


def test_a_run_that_was_cut_goes_on_and_keeps_its_whole_rounds(tmp_path: Path) -> None:
    plan, out = tmp_path / "smallest.yaml", tmp_path / "out"
    plan.write_text(PLAN, encoding="utf-8")
    with in_its_second_round("starting the cluster", str(plan), "--out", str(out)) as (run, _):
        run.kill()
        run.wait(timeout=TIMEOUT_S)
    (first,) = out.glob("rounds/001-*")
    kept = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}

    with in_its_second_round("warming up", "--resume", str(out)) as (run, told):
        run.send_signal(signal.SIGINT)
        told += run.communicate(timeout=TIMEOUT_S)[1]
    said = "".join(told)
    assert run.returncode == 130, said
    assert "[1/2]" not in said
    assert f"meshmark run --resume {out}" in said

    done = meshmark("run", "--resume", str(out))
    # On a busy machine the load generator may be late, and then nothing counts.
    assert done.returncode in (0, Inconclusive.exit_code), done.stderr
    assert "[1/2]" not in done.stderr
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == kept
    record = store.load(out)
    assert record.finished is not None
    assert (record.finished.outcome, record.finished.rounds_done) == ("complete", 2)
    assert [(each.rounds_kept, each.remains) for each in record.resumptions] == [(1, "remains/1"), (1, "remains/2")]
    assert all(len(part.trials) == 1 for part in record.rounds)
    assert stored_instances() == []
    verified = meshmark("verify", str(out))
    assert verified.returncode == 0, verified.stdout

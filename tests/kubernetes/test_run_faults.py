"""What ends a run on a real node, and what is left then: a record that can be read, and nothing in the cluster.

The kubelet, the API server and the brokers are real; whoever kills, evicts and restarts is the test. A pod's eviction
is asked for by the Eviction API, as of a node that is drained.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshmark import store
from meshmark.backends.kubernetes import rights
from meshmark.data_plane import DataPlane
from meshmark.errors import Busy, ClusterUnreachable, ComponentFailed
from tests.kubernetes import verbs
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.credentials import CONTEXT
from tests.kubernetes.test_run import IMAGES, PODS, assert_nothing_is_left
from tests.kubernetes.test_run import PLAN as SHORT
from tests.lab.ground import POLL_S
from tests.lab.runs import meshmark

PLAN = SHORT.replace("trials: 1}", "trials: 40, width: 0.0001}")
"""Trials enough that load goes on whenever the first one is recorded."""
PLACE = "meshmark-plain"
END_S = 420
RATE_MSG_S = "200"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run in a process of its own; `out` is where it records, `errors` what it has written to standard error."""

    process: subprocess.Popen[bytes]
    out: Path
    errors: Path

    def said(self) -> str:
        return self.errors.read_text(encoding="utf-8")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + END_S
        while not condition():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, f"{what}: {self.said()}"
            time.sleep(POLL_S)

    def trials(self) -> int:
        """Recorded so far."""
        return sum(len(path.read_bytes().splitlines()) for path in self.out.glob("rounds/*/trials.jsonl"))

    def exit_code(self) -> int:
        return self.process.wait(END_S)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(PLAN, encoding="utf-8")
    return path


def arguments(plan: Path, out: Path) -> tuple[str, ...]:
    return "run", str(plan), "--out", str(out), "--only", DataPlane.PLAIN, *PODS, *IMAGES


@contextmanager
def begun(cluster: ControlPlane, user: Path, plan: Path, name: str) -> Iterator[Begun]:
    out, errors = plan.with_name(name), plan.with_name(f"{name}.err")
    argv = [sys.executable, "-m", "meshmark", *arguments(plan, out), "--context", CONTEXT]
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            argv, env=cluster.environment(user), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    with process:
        try:
            yield Begun(process=process, out=out, errors=errors)
        finally:
            process.kill()


def down(cluster: ControlPlane, user: Path) -> None:
    done = verbs.meshmark(cluster, user, "down", "--backend", "kubernetes", "-n", PLACE, "--timeout", "240")
    assert (done.returncode, done.stdout) == (0, "the cluster is down\n"), done.stderr
    assert_nothing_is_left(cluster)


def require_kept(run: Begun) -> None:
    """What was measured before it ended, in a record that can be read and reported."""
    assert f"what was measured is kept: meshmark report {run.out}" in run.said()
    record = store.load(run.out)
    assert record.finished is not None
    assert record.finished.outcome == "failed"
    [part] = record.rounds
    assert len(part.trials) == run.trials() > 0
    assert part.trials[0].total.acknowledged > 0
    reported = meshmark("report", str(run.out))
    assert reported.returncode == 0, reported.stderr
    assert "WHAT EACH SETUP CARRIED" in reported.stdout


def evict(cluster: ControlPlane, pod: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": PLACE}}
    path = f"/api/v1/namespaces/{PLACE}/pods/{pod}/eviction"
    cluster.kubectl("create", f"--raw={path}", "--filename=-", stdin=body)


def test_a_killed_run_is_removed_by_down_and_the_next_is_ended_by_a_pods_eviction(
    one_node: ControlPlane, node_user: Path, plan: Path
) -> None:
    with begun(one_node, node_user, plan, "killed") as run:
        run.wait_for(lambda: "warming up" in run.said(), "no load began")
        run.process.send_signal(signal.SIGKILL)
        run.process.wait(END_S)
    again = verbs.meshmark(one_node, node_user, *arguments(plan, plan.with_name("refused")))
    assert again.returncode == Busy.exit_code, again.stderr
    assert f"`meshmark down --backend kubernetes -n {PLACE} --context {CONTEXT}` ends it" in again.stderr
    down(one_node, node_user)

    with begun(one_node, node_user, plan, "evicted") as run:
        run.wait_for(run.trials, "no trial was recorded")
        evict(one_node, "broker-2")
        assert run.exit_code() == ComponentFailed.exit_code, run.said()
    assert re.search(r"broker-2 (is gone: it was removed or evicted|is being removed)", run.said())
    [events] = run.out.glob("rounds/*/logs/events.log")
    assert "pod/broker-2: Killing: Stopping container kafka" in events.read_text(encoding="utf-8")
    require_kept(run)
    assert_nothing_is_left(one_node)


def test_an_api_server_that_goes_away_ends_a_run_and_down_works_once_it_is_back(
    one_node: ControlPlane, node_user: Path, plan: Path
) -> None:
    with begun(one_node, node_user, plan, "away") as run:
        run.wait_for(run.trials, "no trial was recorded")
        with one_node.api_server_away():
            assert run.exit_code() == ClusterUnreachable.exit_code, run.said()
    assert re.search(r"the connection to \S+ on \S+ broke|the API server https://\S+ .* cannot be reached", run.said())
    assert f"the namespace {PLACE} is left: " in run.said()
    assert "`meshmark down` removes it" in run.said()
    require_kept(run)
    down(one_node, node_user)


def test_brokers_are_restarted_under_load_and_nothing_acknowledged_is_lost(one_node: ControlPlane, plan: Path) -> None:
    one_node.kubectl("apply", f"--filename={verbs.RIGHTS}")
    allowed = [rights.OF_NAMESPACES, rights.OF_OBJECTS, rights.OF_RESTARTS]
    user = one_node.account("restarts", "default", everywhere=allowed)
    restart = ("operate", "restart", "-f", str(plan), "--only", DataPlane.PLAIN, "--rate", RATE_MSG_S, "-o", "json")
    done = verbs.meshmark(one_node, user, *restart, *PODS, *IMAGES, timeout_s=END_S)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["lost"], told["faults"]) == (0, [])
    assert told["acknowledged"] > 0
    stages = {stage["name"]: stage["acknowledged"] for stage in told["stages"]}
    assert list(stages) == ["before", "broker-1", "broker-2", "after"]
    assert all(stages.values())
    assert_nothing_is_left(one_node)

"""What breaks in the middle of a run: a clear message, its exit code, what was measured kept, a clean machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from meshmark import store
from meshmark.backends.lab import broker, mesh
from meshmark.backends.lab import cluster as lab_cluster
from meshmark.backends.lab.backend import lab
from meshmark.backends.lab.instance import WORK_DIR_VARIABLE, stored_instances
from meshmark.backends.lab.process import LabProcess
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, NoSpace
from meshmark.kafka.properties import BROKER_PORT
from meshmark.plan import ClusterSpec, Scenario
from tests.lab.runs import MESHMARK, PLAN, TIMEOUT_S, meshmark, processes, warming_up

LONG = "warmupSeconds: 60, warmupMaxSeconds: 60"
SMALL_DISK = "250m"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    # Long enough that what is killed during the warm-up is killed in it.
    file.write_text(PLAN.replace("warmupSeconds: 1, warmupMaxSeconds: 2", LONG), encoding="utf-8")
    return file


def _first(instance: str, word: str) -> int:
    """The first process of an instance that has the word in its command line, once there is one."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for pid in processes(instance):
            with suppress(OSError):
                if word in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8"):
                    return pid
    raise AssertionError(f"no {word} in {instance}")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("meshmark.Broker", "broker on broker-"),
        ("envoy", "sidecar on "),
        ("meshmark.load.worker", "producer-1 on client-1"),
    ],
)
def test_a_component_that_is_killed_ends_the_run_by_name(word: str, says: str, plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with warming_up(plan, out) as (run, instance):
        os.kill(_first(instance, word), signal.SIGKILL)
        told = run.communicate(timeout=TIMEOUT_S)[1]
    assert run.returncode == ComponentFailed.exit_code, told
    assert says in told
    assert "Traceback" not in told
    assert f"what was measured is kept: meshmark report {out}" in told
    assert stored_instances() == []
    assert processes(instance) == []
    record = store.load(out)
    assert record.finished is not None
    assert record.finished.outcome == "failed"
    assert says in record.finished.error
    assert any(name.startswith("broker-1") for name in record.rounds[0].logs())
    assert meshmark("report", str(out)).returncode == 0


def test_a_disk_that_fills_up_is_named_and_the_record_kept(tmp_path: Path) -> None:
    disk, out, file = tmp_path / "disk", tmp_path / "out", tmp_path / "full.yaml"
    disk.mkdir()
    file.write_text(PLAN.replace("2000000000", "100000000").replace("warmupSeconds: 1, warmupMaxSeconds: 2", LONG))
    mounted = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o size={SMALL_DISK} small "$0" && exec "$@"',
        str(disk),
    ]
    done = subprocess.run(
        [*mounted, *MESHMARK, "run", str(file), "--only", "plain", "--out", str(out)],
        env={**os.environ, WORK_DIR_VARIABLE: str(disk)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == NoSpace.exit_code, done.stderr
    assert str(disk) in done.stderr
    assert "MESHMARK_WORK_DIR" in done.stderr
    assert "Traceback" not in done.stderr
    assert store.load(out).finished is not None
    assert meshmark("report", str(out)).returncode == 0


def test_a_port_that_is_taken_is_told_in_the_brokers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def take_port(proxy: Path, bed: lab_cluster.LabTestbed, *further: Any) -> None:
        host = bed.network.broker_hosts[0]
        taken.append(host.call(lambda: socket.create_server((host.address, BROKER_PORT))))

    monkeypatch.setattr(mesh, "start", take_port)
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN, cluster=ClusterSpec(heap_bytes=268_435_456))
    with (
        pytest.raises(ComponentFailed, match="broker on broker-1") as failed,
        lab("test") as backend,
        backend.cluster(scenario),
    ):
        pass
    assert any("already in use" in line for line in failed.value.log_tail)
    for server in taken:
        server.close()
    assert stored_instances() == []


def test_brokers_that_are_not_reached_leave_the_end_of_every_log_and_the_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    started = broker.wait_until_started

    def start_and_stand_still(brokers: list[LabProcess], timeout_s: float) -> None:
        started(brokers, timeout_s)
        monkeypatch.setattr(lab_cluster, "START_TIMEOUT_S", 3)
        for process in brokers:
            process.signal(signal.SIGSTOP)

    monkeypatch.setattr(broker, "wait_until_started", start_and_stand_still)
    scenario = Scenario(name="istio", data_plane=DataPlane.ISTIO, cluster=ClusterSpec(heap_bytes=268_435_456))
    kept: dict[str, str] = {}

    def keep(files: Mapping[str, Path]) -> None:
        kept.update((name, file.read_text()) for name, file in files.items())

    with (
        pytest.raises(ComponentFailed, match="client-1 does not reach all of them") as failed,
        lab("test") as backend,
        backend.cluster(scenario, keep),
    ):
        pass
    told = {line.partition(":")[0] for line in failed.value.log_tail}
    assert {"broker-1 broker", "broker-2 broker", "broker-3 broker"} <= told  # a sidecar may have had nothing to say
    assert "Kafka Server started" in kept["broker-3-broker.log"]
    assert "client-1-sidecar.log" in kept
    assert stored_instances() == []

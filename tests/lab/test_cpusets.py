"""CPUs of load workers' own, while real Kafka carries load: who may run where, and that nobody can leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshmark.backends.lab.backend import lab
from meshmark.backends.lab.cgroups import CPUS
from meshmark.backends.lab.link import Host
from meshmark.backends.lab.process import LabProcess
from meshmark.data_plane import DataPlane
from meshmark.load.generator import load
from meshmark.plan import ClusterSpec, Plan, Scenario
from tests.lab.load_ground import CLOCK, producers, run_until, workload

pytestmark = pytest.mark.lab

SCENARIO = Scenario(
    name="plain",
    data_plane=DataPlane.PLAIN,
    cluster=ClusterSpec(brokers=1, heap_bytes=268_435_456, client_cpus=1),
    workload=workload(),
)


def held(host: Host, component: str) -> bool:
    """By more than their affinity: there is a cpuset that could be written."""
    group = host.group(component)
    told = None if group is None else group / CPUS
    return host.cpusets is not None or (told is not None and told.is_file() and bool(told.read_text().strip()))


def cpus_after_asking_for(asked: list[int], pid: int) -> list[int]:
    """That threads of a process may run on, once each has asked for these, if any, as it could by itself."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            if asked:
                os.sched_setaffinity(int(task.name), asked)
            found |= os.sched_getaffinity(int(task.name))
        except ProcessLookupError:  # a thread that ended
            continue
    return sorted(found)


def test_under_load_brokers_and_load_workers_have_cpus_of_their_own_and_cannot_leave_them() -> None:
    every = sorted(os.sched_getaffinity(0))
    if len(every) < 2:
        pytest.skip("kernel: one CPU is no load worker's own")
    with lab("test") as backend:
        backend.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=(SCENARIO,)))
        with backend.cluster(SCENARIO) as cluster:
            layout = cluster.create_topics(SCENARIO.workload, "apart")
            with load(cluster, producers(cluster, layout, SCENARIO.workload), CLOCK) as running:
                running.start()
                reached = run_until(running, 1_000).totals.acknowledged
                [broker] = [each.pid for each in cluster.processes if each.component == "kafka"]
                [worker] = [each.process.pid for each in running._workers if isinstance(each.process, LabProcess)]
                hosts = cluster.network.hosts
                kept = held(hosts["broker-1"], "kafka") and held(hosts["client-1"], "client")
                # Affinity alone can be left by whoever asks.
                found = {pid: cpus_after_asking_for(every if kept else [], pid) for pid in (broker, worker)}
                assert found == {broker: every[:-1], worker: every[-1:]}
                run_until(running, reached + 1_000)
                running.stop()

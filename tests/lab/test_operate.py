"""Brokers restarted, and their certificates renewed, under load: all that was acknowledged is there afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.clock import SystemClock
from meshmark.data_plane import DataPlane
from meshmark.experiment import operate
from meshmark.experiment.operate import Operated, Operation
from meshmark.kafka.properties import BROKER_PORT
from meshmark.kafka.shown import shown
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload

pytestmark = pytest.mark.lab

STAGES = ["before", "broker-1", "broker-2", "broker-3", "after"]
RATE_MSG_S = 200.0
SCENARIO = Scenario(
    name="kafka-tls",
    data_plane=DataPlane.KAFKA_TLS,
    cluster=ClusterSpec(heap_bytes=268_435_456, jvm_options=("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")),
    workload=Workload(workers=2),
)


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=(SCENARIO,)))
        yield made


@pytest.fixture(scope="module")
def cluster(backend: LabBackend) -> Iterator[LabCluster]:
    with backend.cluster(SCENARIO) as made:
        yield made


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "SETTLED_S", 1.0)


def operated(cluster: LabCluster, operation: Operation) -> Operated:
    told: list[str] = []
    found = operate.operate(
        cluster, cluster.scenario, operation, SystemClock(), rate_msg_s=RATE_MSG_S, seed=1, tell=told.append
    )
    assert [stage.name for stage in found.stages] == STAGES
    assert len(told) == len(cluster.broker_hosts) + 1
    return found


def certificates(cluster: LabCluster) -> list[str]:
    return [host.call(partial(shown, host.address, BROKER_PORT)) for host in cluster.network.broker_hosts]


def brokers(cluster: LabCluster) -> set[int]:
    return {process.pid for process in cluster.processes if process.component == "kafka"}


def require_all_there(found: Operated) -> None:
    assert (found.lost, found.faults) == (0, ())
    assert found.totals.outstanding == 0
    there = sum(each.records for each in found.read_back if each.acknowledged and each.read)
    acknowledged = sum(each.records for each in found.read_back if each.acknowledged)
    assert there == acknowledged > 0
    assert sum(stage.totals.acknowledged for stage in found.stages) > 0


def test_renewed_certificates_are_shown_by_the_same_brokers_and_no_record_is_lost(cluster: LabCluster) -> None:
    before, running = certificates(cluster), brokers(cluster)
    require_all_there(operated(cluster, "rotate"))
    after = certificates(cluster)
    assert brokers(cluster) == running
    assert len({*before, *after}) == len(before) + len(after)
    assert all(proof.holds for proof in cluster.prove())


def test_restarted_brokers_are_others_and_no_record_is_lost(cluster: LabCluster) -> None:
    running = brokers(cluster)
    require_all_there(operated(cluster, "restart"))
    cluster.check()
    assert brokers(cluster).isdisjoint(running)
    assert len(brokers(cluster)) == len(running)
    logs = {name for name in cluster.logs() if "-broker" in name}
    assert len(logs) == 2 * len(running)

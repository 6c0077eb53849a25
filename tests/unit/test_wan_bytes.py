"""Where load workers run, what consumers say of it, and what crosses links for it."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshmark.analysis import hardware
from meshmark.analysis.path import check_path
from meshmark.analysis.summary import summarize
from meshmark.analysis.wan import crossed
from meshmark.data_plane import DataPlane
from meshmark.errors import PlanError
from meshmark.experiment.trial import _placed
from meshmark.plan import RACK_SELECTOR, ClusterSpec, Plan, Scenario, Workload
from meshmark.planfile import loads
from meshmark.profile import Figure, HostKind, Profile
from meshmark.record import BatchFill
from meshmark.relay.__main__ import deliver
from meshmark.relay.direction import Direction, DirectionSpec
from meshmark.report.geography import crossed as grid
from meshmark.topology import Link, MeshCluster, Topology
from meshmark.worker_protocol import WorkerSpec
from tests.unit.report.conftest import METHOD, told

TOPOLOGY = Topology(
    clusters=(
        MeshCluster(name="near", brokers=2, clients=2),
        MeshCluster(name="far", brokers=1, clients=1, rack="north"),
    ),
    links=(Link(ends=("near", "far"), rtt_ms=2),),
)


def scenario(name: str = "x", **workload: Any) -> Scenario:
    return Scenario(
        name=name,
        data_plane=DataPlane.PLAIN,
        cluster=ClusterSpec(clients=3, topology=TOPOLOGY, broker_config={"replica.selector.class": RACK_SELECTOR}),
        workload=Workload(subscriptions_per_topic=1, **workload),
        method=METHOD,
    )


def spec(role: Any, **config: Any) -> WorkerSpec:
    return WorkerSpec(
        name="x",
        role=role,
        bootstrap_servers="",
        client_config={},
        config=config,
        topics=("t",),
        partitions_per_topic=1,
        message_size=100,
        connections=1,
        seed=1,
    )


def test_workers_run_where_the_plan_wants_them_and_consumers_say_where_they_are() -> None:
    told_where = scenario(producers_in="near", consumers_in="far")
    producer, consumer = told_where.load_hosts
    placed = _placed(spec("producer"), producer, told_where)
    assert (placed.hosts, placed.config) == (("client-1",), {})
    placed = _placed(spec("consumer"), consumer, told_where)
    assert (placed.hosts, placed.config) == (("client-3",), {"client.rack": "north"})
    assert _placed(spec("consumer", **{"client.rack": ""}), consumer, told_where).config == {"client.rack": ""}
    assert _placed(spec("consumer"), "client-2", scenario()).config == {}


@pytest.mark.parametrize(
    ("groups", "where", "expected"),
    [
        pytest.param(3, {}, (1, 2, 3, 1), id="in turn"),
        pytest.param(2, {"consumers_in": "near"}, (1, 2, 1), id="consumers on two hosts"),
        pytest.param(2, {"producers_in": "far", "consumers_in": "near"}, (3, 2, 1), id="each its own"),
        pytest.param(0, {"producers_in": "far"}, (3,), id="no consumers"),
    ],
)
def test_a_quota_of_load_workers_is_where_they_run(
    groups: int, where: dict[str, Any], expected: tuple[int, ...]
) -> None:
    asked = scenario(**where)
    workload = asked.workload.model_copy(update={"subscriptions_per_topic": groups})
    asked = asked.model_copy(update={"workload": workload})
    assert asked.load_hosts == tuple(f"client-{number}" for number in expected)
    cpus = Figure(value=8, source="s")
    profile = Profile(
        name="p", sources={"s": "t"}, broker=HostKind(machine="m"), client=HostKind(machine="m", container_cpus=cpus)
    )
    held = hardware.of_load(hardware.limits(profile, 0.1, asked))
    assert [each.host for each in held] == sorted(set(asked.load_hosts))


PLAN = """name: x
cluster:
  clients: 2
  topology:
    clusters: [{name: near, brokers: 2, clients: 2}, {name: far, brokers: 1}]
    links: [{ends: [near, far], rttMs: 24}]
workload: {consumersIn: near}
scenarios: [plain]
"""


@pytest.mark.parametrize("name", ["far", "fra"])
def test_clients_cannot_be_where_no_client_host_is(name: str) -> None:
    assert loads(PLAN, "f").scenarios[0].workload.consumers_in == "near"
    with pytest.raises(PlanError, match=f"f:7:25: workload.consumersIn: no cluster {name} has client hosts"):
        loads(PLAN.replace("consumersIn: near", f"consumersIn: {name}"), "f")
    empty = PLAN.replace("brokers: 1}", "brokers: 1, clients: 0}").replace("consumersIn: near", "consumersIn: far")
    with pytest.raises(
        PlanError, match=r"f:7:25: workload.consumersIn: no cluster far has client hosts; must be one of near"
    ):
        loads(empty, "f")
    with pytest.raises(ValueError, match="no cluster far with client hosts"):
        Scenario(name="x", data_plane=DataPlane.PLAIN, workload=Workload(consumers_in="far"))


def test_a_relay_counts_the_bytes_that_it_lets_through() -> None:
    packet = bytes(10) + bytes([0x45]) + bytes(99)
    free = Direction(DirectionSpec(delay_s=0), random.Random(1))
    narrow = Direction(DirectionSpec(delay_s=0, bandwidth_bytes_s=1_000, queue_bytes=250), random.Random(1))
    for _ in range(4):
        free.accept(packet, 0.0)
        narrow.accept(packet, 0.0)
    assert (free.counts(), narrow.counts()) == ((0, 0, 0, 0), (0, 0, 2, 0)), "nothing has arrived"
    with Path(os.devnull).open("wb") as end:
        deliver(end.fileno(), free)
        deliver(end.fileno(), narrow)
    assert free.counts() == (4, 0, 0, 400)
    assert narrow.counts() == (2, 0, 2, 200)


def test_bytes_between_clusters_are_told_per_byte_acknowledged_and_against_the_baseline(tmp_path: Path) -> None:
    leader, follower = scenario("leader", consumers_in="far"), scenario("follower", consumers_in="far")
    plan = Plan(name="test", baseline="leader", repeats=1, scenarios=(leader, follower))
    run = told(tmp_path / "run", plan).run
    assert crossed(run) == ()
    changed = replace(
        run, rounds=tuple(_counted(data, 5 / 3 if data.started.scenario == "leader" else 1) for data in run.rounds)
    )
    found = {(row.scenario, row.source): row for row in crossed(changed)}
    assert found["leader", "near"].bytes_per_byte == pytest.approx(5 / 3)
    assert found["leader", "near"].saved is None
    assert found["follower", "near"].saved == pytest.approx(0.4)
    assert found["follower", "near"].saved_bytes_per_byte == pytest.approx(2 / 3)
    assert found["follower", "far"].bytes_per_byte == pytest.approx(0.5)
    table = grid(summarize(changed))
    assert table is not None
    assert [row[-1] for row in table.rows] == ["", "", "40 %", "0 %"]


@pytest.mark.parametrize("maker", ["relay", "netem"])
def test_whatever_makes_a_link_its_counters_are_told(tmp_path: Path, maker: str) -> None:
    plan = Plan(name="test", baseline="x", repeats=1, scenarios=(scenario(consumers_in="far"),))
    run = told(tmp_path / "run", plan).run
    changed = replace(run, rounds=tuple(_counted(data, 2, maker) for data in run.rounds))
    assert {row.source: row.bytes_per_byte for row in crossed(changed)} == pytest.approx({"near": 2, "far": 0.5})


def _counted(data: Any, forward: float, maker: str = "relay") -> Any:
    """With what a link counted: so many bytes for each one acknowledged, and half a byte back."""
    trials = []
    for trial in data.trials:
        payload = trial.total.acknowledged_bytes
        forward_key, back_key = (f"link-near-far/{maker}/{way}_bytes" for way in ("forward", "back"))
        start = {forward_key: 7.0, back_key: 3.0}
        end = {forward_key: 7.0 + forward * payload, back_key: 3.0 + 0.5 * payload}
        trials.append(
            trial.model_copy(update={"quiet_start": trial.quiet_start | start, "quiet_end": trial.quiet_end | end})
        )
    return replace(data, trials=tuple(trials))


def test_what_brokers_send_is_checked_together_where_consumers_read_nearby() -> None:
    mesh = scenario(consumers_in="far").model_copy(update={"data_plane": DataPlane.ISTIO_MTLS})
    hosts = ("broker-1", "broker-2", "broker-3")
    led, sent = 100e6, {"broker-1": 200e6, "broker-2": 200e6, "broker-3": 500e6}
    start, end = {}, {}
    for host in (*hosts, "client-1", "client-2", "client-3"):
        for name in ("inbound_rx", "inbound_tx", "outbound_rx", "outbound_tx"):
            start[f"{host}/sidecar/{name}_bytes"] = end[f"{host}/sidecar/{name}_bytes"] = 0.0
    for host in hosts:
        start |= {f"{host}/kafka/log_bytes": 0.0, f"{host}/kafka/leader_log_bytes": 0.0}
        end |= {f"{host}/kafka/log_bytes": 3 * led, f"{host}/kafka/leader_log_bytes": led}
        end[f"{host}/sidecar/inbound_tx_bytes"] = sent[host]
    batch = BatchFill(records_per_batch=100, bytes_per_batch=1e5, requests=1, request_bytes=int(3 * led))
    checks = check_path(
        start=start, end=end, scenario=mesh, broker_hosts=hosts, client_hosts=("client-1",), batch=batch
    )
    (together,) = (check for check in checks if check.direction == "inbound_tx")
    assert together.host == "brokers"
    assert together.expected_bytes == pytest.approx(9 * led, rel=1e-3)
    assert abs(together.error) < 1e-3

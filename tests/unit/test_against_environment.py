"""Results against what the environment gave without Kafka: what is compared, what is not, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from meshmark.analysis.against_environment import Life, above, compared, paths
from meshmark.analysis.model import DiskCeiling, Environment, NetworkCeiling
from meshmark.data_plane import DataPlane
from meshmark.plan import RACK_SELECTOR, ClusterSpec, Plan, Scenario, Workload
from meshmark.record import BatchFill, Counters, LoadTotals, Trial
from meshmark.topology import MeshCluster, Topology
from tests import trials

MB = 1e6


def disk(rate_mb_s: float, spread: float | None = 0.1, mode: Any = "buffered") -> DiskCeiling:
    rate = rate_mb_s * MB
    return DiskCeiling(mode=mode, tool="it", write_bytes=65_536, rate_bytes_s=rate, spread=spread, repeats=2)


def network(path: Any, flows: int, rate_mb_s: float, spread: float | None = 0.1) -> NetworkCeiling:
    return NetworkCeiling(
        path=path,
        tool="it",
        flows=flows,
        rate_bytes_s=rate_mb_s * MB,
        spread=spread,
        repeats=2,
        loss_vs_direct=None,
        loss_vs_sidecars=None,
    )


GIVEN = Environment(
    disk=(disk(20, mode="synced"), disk(200)),
    network=(
        network("direct", 1, 900),
        network("direct", 4, 1_000),
        network("sidecars", 4, 500),
        network("sidecars-mtls", 4, 400),
    ),
)


def scenario(data_plane: DataPlane = DataPlane.PLAIN, **cluster: Any) -> Scenario:
    return Scenario(name=data_plane.value, data_plane=data_plane, cluster=ClusterSpec(**cluster))


def plan(*scenarios: Scenario) -> Plan:
    return Plan(name="it", scenarios=scenarios)


def life(
    rate: float = 1_000, device_mb_s: float | None = 100, log_mb_s: float | None = None, **path_mb_s: float
) -> Life:
    return Life(
        rate_msg_s=rate,
        device_bytes_s=device_mb_s and device_mb_s * MB,
        log_bytes_s=log_mb_s and log_mb_s * MB,
        paths={name: value * MB for name, value in path_mb_s.items()},
    )


@pytest.mark.parametrize(
    ("used", "spread", "flagged"),
    [
        pytest.param(100, 0.1, False, id="half of what was given"),
        pytest.param(200, 0.1, False, id="all of it"),
        pytest.param(215, 0.1, False, id="above, within the probe's own spread"),
        pytest.param(225, 0.1, True, id="above by more than that"),
        pytest.param(225, 0.2, False, id="a probe that scatters more tells less"),
        pytest.param(201, None, True, id="a probe made once has no spread to hide in"),
    ],
)
def test_a_result_above_its_ceiling_beyond_the_spread_is_flagged(
    used: float, spread: float | None, flagged: bool
) -> None:
    (row,) = compared(
        plan(scenario()), scenario(), Environment(disk=(disk(200, spread),), network=()), [life(device_mb_s=used)]
    )
    assert (row.resource, row.used_bytes_s, row.given_bytes_s, row.above) == ("disk", used * MB, 200 * MB, flagged)
    assert len(above([row])) == flagged


def test_the_sentence_says_what_is_above_what() -> None:
    given = Environment(disk=(disk(200, 0.1),), network=())
    (row,) = compared(plan(scenario()), scenario(), given, [life(device_mb_s=300)])
    (said,) = above([row])
    assert said == (
        "plain: 300 MB/s of disk (all brokers) is a result above what the environment gave without Kafka "
        "(buffered writes: 200 MB/s, spread 10 %): one of the two is wrong"
    )


def test_the_ceiling_is_the_rate_at_which_all_is_used_and_repeats_are_averaged() -> None:
    lives = [life(1_000, device_mb_s=4, log_mb_s=40, way=100), life(3_000, device_mb_s=6, log_mb_s=60, way=300)]
    disk_row, network_row = compared(plan(scenario()), scenario(), GIVEN, lives)
    assert (disk_row.used_bytes_s, disk_row.rate_msg_s, disk_row.ceiling_msg_s) == (5 * MB, 2_000, 8_000)
    assert (network_row.used_bytes_s, network_row.ceiling_msg_s) == (200 * MB, 10_000)


@pytest.mark.parametrize(
    ("data_plane", "probe", "given"),
    [
        (DataPlane.PLAIN, "direct, 4 flows", 1_000),
        (DataPlane.KAFKA_TLS, "direct, 4 flows", 1_000),
        (DataPlane.ISTIO, "sidecars, 4 flows", 500),
        (DataPlane.ISTIO_MTLS, "sidecars-mtls, 4 flows", 400),
    ],
)
def test_the_busiest_path_is_held_against_the_data_planes_own_with_several_flows(
    data_plane: DataPlane, probe: str, given: float
) -> None:
    ours = scenario(data_plane)
    lives = [life(device_mb_s=None, one=30, two=60), life(device_mb_s=None, one=50, two=40)]
    (row,) = compared(plan(ours), ours, GIVEN, lives)
    assert (row.resource, row.where, row.used_bytes_s) == ("network", "two", 50 * MB)
    assert (row.probe, row.given_bytes_s) == (probe, given * MB)


@pytest.mark.parametrize(
    ("produced", "replicated", "where", "probe", "is_above"),
    [
        pytest.param(300, 600, "client-1 to broker-1", "sidecars-mtls, 4 flows", False, id="more is copied, past it"),
        pytest.param(300, 900, "broker-1 to broker-2", "direct, 4 flows", False, id="much more"),
        pytest.param(500, 600, "client-1 to broker-1", "sidecars-mtls, 4 flows", True, id="above through sidecars"),
    ],
)
def test_what_a_mesh_leaves_out_is_held_against_the_direct_path(
    produced: float, replicated: float, where: str, probe: str, is_above: bool
) -> None:
    ours = scenario(DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION, clients=2)
    ways = {"client-1 to broker-1": produced, "broker-1 to broker-2": replicated}
    (row,) = compared(plan(ours), ours, GIVEN, [life(device_mb_s=None, **ways)])
    assert (row.where, row.probe, row.above) == (where, probe, is_above)


@pytest.mark.parametrize(("in_mesh", "probe"), [(False, "direct, 4 flows"), (True, "sidecars-mtls, 4 flows")])
def test_copies_between_strimzis_brokers_are_held_against_the_path_that_they_take(in_mesh: bool, probe: str) -> None:
    ours = scenario(DataPlane.ISTIO_MTLS, operator="strimzi", replication_in_mesh=in_mesh)
    (row,) = compared(plan(ours), ours, GIVEN, [life(device_mb_s=None, **{"broker-1 to broker-2": 900})])
    assert row.probe == probe


@pytest.mark.parametrize(
    ("first", "ours", "left"),
    [
        pytest.param({}, {}, ["disk", "network"], id="like the one that was probed"),
        pytest.param({}, {"storage": "ram"}, ["network"], id="no disk under the logs"),
        pytest.param({"storage": "ram"}, {"storage": "ram"}, ["network"], id="memory was probed, not a disk"),
        pytest.param({"storage": "ram"}, {}, ["disk", "network"], id="the first on a disk was probed"),
        pytest.param({}, {"storage": "image"}, ["network"], id="logs kept otherwise"),
        pytest.param({}, {"client_cpus": 1}, ["disk"], id="clients with CPUs of their own"),
        pytest.param({}, {"sidecar_concurrency": 4}, ["disk", "network"], id="threads of sidecars that it has not"),
        pytest.param(
            {},
            {"topology": Topology(clusters=(MeshCluster(name="a", brokers=3, clients=1),))},
            ["disk"],
            id="links are probed in every round",
        ),
    ],
)
def test_only_like_is_compared_with_like(first: dict[str, Any], ours: dict[str, Any], left: list[str]) -> None:
    other = scenario(**ours).model_copy(update={"name": "other"})
    rows = compared(plan(scenario(**first), other), other, GIVEN, [life(way=10)])
    assert [row.resource for row in rows] == left


def test_sidecars_with_other_threads_than_those_probed_are_not_compared() -> None:
    wide = scenario(DataPlane.ISTIO, sidecar_concurrency=4).model_copy(update={"name": "wide"})
    rows = compared(plan(scenario(DataPlane.ISTIO), wide), wide, GIVEN, [life(way=10)])
    assert [row.resource for row in rows] == ["disk"]


def test_what_was_not_probed_or_not_counted_is_not_told() -> None:
    assert compared(plan(scenario()), scenario(), Environment(disk=(), network=()), [life(way=10)]) == []
    assert compared(plan(scenario()), scenario(), GIVEN, [life(device_mb_s=None)]) == []
    assert compared(plan(scenario()), scenario(), GIVEN, []) == []


def trial(grown: Counters, acknowledged: int = 1_000, consumed: int = 0) -> Trial:
    """Ten seconds."""
    return trials.trial(
        window=LoadTotals(offered=acknowledged, acknowledged=acknowledged, consumed=consumed),
        batch=BatchFill(records_per_batch=100, bytes_per_batch=50_000, requests=10, request_bytes=0),
        counters_start=dict.fromkeys(grown, 7.0),
        counters_end={key: value + 7.0 for key, value in grown.items()},
    )


LED = {"broker-1/kafka/leader_log_bytes": 600.0, "broker-2/kafka/leader_log_bytes": 200.0}
NET = {
    "client-1/net/tx_bytes": 300.0,
    "client-2/net/tx_bytes": 100.0,
    "client-1/net/rx_bytes": 0.0,
    "client-2/net/rx_bytes": 50.0,
}
CLUSTER = ClusterSpec(brokers=2, clients=2)
WORK = Workload(replication_factor=2)


def test_paths_follow_leaders_and_the_clients_that_sent() -> None:
    found = paths(trial(LED | NET), Scenario(name="it", data_plane=DataPlane.PLAIN, cluster=CLUSTER, workload=WORK))
    assert found == {
        "client-1 to broker-1": 45,
        "client-2 to broker-1": 15,
        "client-1 to broker-2": 15,
        "client-2 to broker-2": 5,
        "broker-1 to broker-2": 60,
        "broker-2 to broker-1": 20,
    }


@pytest.mark.parametrize("nearby", [False, True])
def test_reads_go_to_the_clients_that_received_unless_a_replica_nearby_is_read(nearby: bool) -> None:
    config = {"replica.selector.class": RACK_SELECTOR} if nearby else {}
    clusters = (MeshCluster(name="a", brokers=2, clients=2),)
    cluster = CLUSTER.model_copy(update={"broker_config": config, "topology": Topology(clusters=clusters)})
    work = WORK.model_copy(update={"subscriptions_per_topic": 2, "consumers_in": "a"})
    ours = Scenario(name="it", data_plane=DataPlane.PLAIN, cluster=cluster, workload=work)
    found = paths(trial(LED | NET, consumed=2_000), ours)
    assert found.get("broker-1 to client-2") == (None if nearby else 120)
    assert found.get("broker-1 to client-1") == (None if nearby else 0)


def test_clients_that_were_not_counted_share_evenly_and_logs_that_were_not_tell_nothing() -> None:
    ours = Scenario(name="it", data_plane=DataPlane.PLAIN, cluster=CLUSTER, workload=WORK)
    assert paths(trial(LED), ours)["client-2 to broker-1"] == 30
    assert paths(trial(NET | {"broker-1/kafka/leader_log_bytes": 600.0}), ours) == {}

"""What brokers are told, per data plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark.data_plane import DataPlane
from meshmark.kafka.properties import Node, TlsStores, broker_properties, render, reserved_keys
from meshmark.plan import ClusterSpec, ConfigValue, Scenario, Workload
from meshmark.topology import Link, MeshCluster, Topology
from tests.planes import WHOLE

NAMES = ("near", "far")
NODES = tuple(Node(node_id=number, address=f"10.77.0.{10 + number}") for number in (1, 2, 3))
STORES = TlsStores(keystore=Path("/x/broker-2.keystore.pem"), truststore=Path("/x/ca.pem"))


def settings(
    data_plane: DataPlane = DataPlane.PLAIN,
    *,
    spec: ClusterSpec | None = None,
    workload: Workload | None = None,
    log_budget_bytes: int = 10_000_000_000,
) -> dict[str, str]:
    scenario = Scenario(
        name="it", data_plane=data_plane, cluster=spec or ClusterSpec(), workload=workload or Workload()
    )
    directory = Path("/data/broker-2")
    return broker_properties(
        scenario, NODES, NODES[1], directory=directory, log_budget_bytes=log_budget_bytes, tls=STORES
    )


def test_every_controller_is_named_by_address_and_each_broker_has_its_rack() -> None:
    made = settings()
    assert made["controller.quorum.voters"] == "1@10.77.0.11:9093,2@10.77.0.12:9093,3@10.77.0.13:9093"
    assert (made["node.id"], made["broker.rack"]) == ("2", "rack-2")
    assert made["listeners"] == "CLIENT://10.77.0.12:9092,CONTROLLER://10.77.0.12:9093"


def test_replication_that_a_mesh_excludes_has_a_port_of_its_own() -> None:
    made = settings(DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION)
    advertised = "CLIENT://10.77.0.12:9092,REPLICATION://10.77.0.12:9091"
    assert made["advertised.listeners"] == advertised
    assert made["listeners"] == f"{advertised},CONTROLLER://10.77.0.12:9093"
    assert made["inter.broker.listener.name"] == "REPLICATION"
    assert made["listener.security.protocol.map"] == "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,REPLICATION:PLAINTEXT"


@pytest.mark.parametrize("data_plane", [*WHOLE, DataPlane.ISTIO_CLIENTS])
def test_in_every_other_data_plane_brokers_speak_at_the_port_of_clients(data_plane: DataPlane) -> None:
    made = settings(data_plane)
    assert made["inter.broker.listener.name"] == "CLIENT"
    assert "9091" not in made["listeners"]


def test_a_topology_says_racks_and_controllers() -> None:
    near = MeshCluster(name="near", brokers=2, controllers=1, clients=1, rack="west")
    topology = Topology(clusters=(near, MeshCluster(name="far", brokers=1)), links=(Link(ends=NAMES, rtt_ms=1),))
    scenario = Scenario(name="it", data_plane=DataPlane.PLAIN, cluster=ClusterSpec(topology=topology))
    made = [
        broker_properties(scenario, NODES, node, directory=Path("/data"), log_budget_bytes=10**9) for node in NODES
    ]
    assert [each["broker.rack"] for each in made] == ["west", "west", "far"]
    assert {each["controller.quorum.voters"] for each in made} == {"1@10.77.0.11:9093,3@10.77.0.13:9093"}
    assert [each["process.roles"] for each in made] == ["broker,controller", "broker", "broker,controller"]
    assert made[1]["listeners"] == "CLIENT://10.77.0.12:9092"


@pytest.mark.parametrize(
    ("data_plane", "protocol"),
    [
        (DataPlane.PLAIN, "PLAINTEXT"),
        (DataPlane.KAFKA_TLS, "SSL"),
        (DataPlane.ISTIO, "PLAINTEXT"),
        (DataPlane.ISTIO_MTLS, "PLAINTEXT"),
    ],
)
def test_clients_and_brokers_use_one_listener_whose_protocol_is_the_data_planes(
    data_plane: DataPlane, protocol: str
) -> None:
    made = settings(data_plane)
    assert made["listener.security.protocol.map"] == f"CLIENT:{protocol},CONTROLLER:PLAINTEXT"
    assert made["inter.broker.listener.name"] == "CLIENT"
    assert any(key.startswith("ssl.") for key in made) is (protocol == "SSL")


def test_data_planes_differ_in_encryption_alone() -> None:
    assert settings(DataPlane.PLAIN) == settings(DataPlane.ISTIO) == settings(DataPlane.ISTIO_MTLS)
    plain, tls = settings(DataPlane.PLAIN), settings(DataPlane.KAFKA_TLS)
    different = {key for key in plain.keys() | tls.keys() if plain.get(key) != tls.get(key)}
    assert {key for key in different if not key.startswith("ssl.")} == {"listener.security.protocol.map"}


def test_kafka_tls_is_tls_1_3_with_the_brokers_address_verified() -> None:
    made = settings(DataPlane.KAFKA_TLS)
    assert made["ssl.enabled.protocols"] == "TLSv1.3"
    assert made["ssl.endpoint.identification.algorithm"] == "https"
    assert made["ssl.keystore.location"] == "/x/broker-2.keystore.pem"


def test_kafka_tls_without_stores_is_a_defect_of_the_caller() -> None:
    scenario = Scenario(name="it", data_plane=DataPlane.KAFKA_TLS)
    with pytest.raises(ValueError, match="PEM"):
        broker_properties(scenario, NODES, NODES[0], directory=Path("/data"), log_budget_bytes=10**9)


@pytest.mark.parametrize(("topics", "partitions"), [(1, 1), (3, 3), (10, 100)])
def test_retention_with_one_segment_more_stays_under_the_log_budget(topics: int, partitions: int) -> None:
    budget = 30_000_000_000
    made = settings(workload=Workload(topics=topics, partitions_per_topic=partitions), log_budget_bytes=budget)
    replicas = topics * partitions * 3
    assert (int(made["log.retention.bytes"]) + int(made["log.segment.bytes"])) * replicas <= budget


def test_a_tiny_budget_leaves_segments_that_kafka_accepts() -> None:
    made = settings(workload=Workload(topics=1_000, partitions_per_topic=100), log_budget_bytes=100_000_000)
    assert int(made["log.segment.bytes"]) == 1_048_576


def test_a_plans_settings_win_over_the_labs() -> None:
    spec = ClusterSpec(broker_config={"num.network.threads": 5, "log.cleaner.enable": False})
    made = settings(spec=spec)
    assert (made["num.network.threads"], made["log.cleaner.enable"]) == ("5", "false")


def test_what_the_lab_decides_cannot_be_set_by_a_plan() -> None:
    config: dict[str, ConfigValue] = {
        "listeners": "x",
        "ssl.protocol": "x",
        "node.id": 9,
        "num.io.threads": 4,
        "log.segment.bytes": 1,
    }
    assert reserved_keys(config) == ("listeners", "node.id", "ssl.protocol")


def test_a_properties_file_keeps_backslashes_and_stays_one_line_a_key() -> None:
    assert render({"a": "C:\\x", "b": "1\n2"}) == "a=C:\\\\x\nb=1\\n2\n"

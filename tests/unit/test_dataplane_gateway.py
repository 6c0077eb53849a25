"""What a gateway is told, and what sidecars are told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from meshmark.backends.lab.gateway import Entrance, entrance, own_service, services
from meshmark.backends.lab.link import Host, Network
from meshmark.dataplane import envoy, gateway
from meshmark.dataplane.envoy import GATEWAY_PORT
from meshmark.probes.envoy import gateway_statistics

NEAR, FAR = (cast(Any, name) for name in ("near's switch", "far's switch"))


def host(name: str, address: str, switch: Any) -> Host:
    return Host(
        name=name,
        address=address,
        namespace=switch,
        switch=switch,
        directory=Path(name),
        instance_id="test",
        groups=None,
    )


BROKERS = (host("broker-1", "10.77.0.11", NEAR), host("broker-2", "10.77.1.12", FAR))
CLIENT = host("client-1", "10.77.0.101", NEAR)
GATEWAYS = {NEAR: host("gateway-near", "10.77.0.201", NEAR), FAR: host("gateway-far", "10.77.1.201", FAR)}


def network(*behind: Any) -> Network:
    hosts = {each.name: each for each in (*BROKERS, CLIENT)}
    return Network(hosts=hosts, switches={"near": NEAR, "far": FAR}, gateways=tuple(GATEWAYS[each] for each in behind))


def test_in_a_flat_mesh_every_sidecar_has_one_service_for_all_brokers() -> None:
    for each in (*BROKERS, CLIENT):
        found = services(network(), each)
        assert [(service.name, service.port, service.gateway) for service in found] == [
            ("kafka-9092.meshmark", 9092, None),
            ("kafka-5201.meshmark", 5201, None),
        ]
        assert found[0].addresses == ("10.77.0.11", "10.77.1.12")


@pytest.mark.parametrize(
    ("behind", "source", "through"),
    [
        ((NEAR, FAR), CLIENT, {"10.77.0.11": None, "10.77.1.12": "10.77.1.201"}),
        ((NEAR, FAR), BROKERS[1], {"10.77.0.11": "10.77.0.201", "10.77.1.12": None}),
        ((FAR,), CLIENT, {"10.77.0.11": None, "10.77.1.12": "10.77.1.201"}),
        ((FAR,), BROKERS[1], {"10.77.0.11": None, "10.77.1.12": None}),
    ],
)
def test_only_what_is_in_another_cluster_and_behind_a_gateway_is_reached_through_it(
    behind: tuple[Any, ...], source: Host, through: dict[str, str | None]
) -> None:
    found = {
        address: service.gateway
        for service in services(network(*behind), source)
        for address in service.addresses
        if service.port == 9092
    }
    assert found == through


def test_who_goes_past_a_sidecar_names_the_broker_to_its_gateway() -> None:
    assert entrance(network(FAR), CLIENT, BROKERS[0]) == Entrance("10.77.0.11", 9092, None)
    assert entrance(network(FAR), CLIENT, BROKERS[1]) == Entrance(
        "10.77.1.201", GATEWAY_PORT, "outbound_.9092_._.broker-2.meshmark"
    )


def test_a_gateway_knows_names_and_no_secrets() -> None:
    config = gateway.bootstrap("gateway-far", [own_service(BROKERS[1], port) for port in (9092, 5201)], Path("a.sock"))
    assert "tls_certificates" not in json.dumps(config)
    assert "transport_socket" not in json.dumps(config)
    (listener,) = config["static_resources"]["listeners"]
    assert listener["address"]["socket_address"]["port_value"] == GATEWAY_PORT
    assert [chain["filter_chain_match"] for chain in listener["filter_chains"]] == [
        {"server_names": [f"outbound_.{port}_._.broker-2.meshmark"], "application_protocols": ["istio"]}
        for port in (9092, 5201)
    ]
    ends = {
        cluster["name"]: cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        for cluster in config["static_resources"]["clusters"]
    }
    assert ends["outbound_.9092_._.broker-2.meshmark"] == {
        "socket_address": {"address": "10.77.1.12", "port_value": 9092}
    }


def test_a_sidecar_sends_a_broker_s_name_to_its_gateway() -> None:
    identity = cast(Any, Identity())
    found = services(network(FAR), CLIENT)
    config = envoy.bootstrap(
        envoy.Sidecar(host="client-1", services=found, served_ports=(), identity=identity, admin_socket=Path("a.sock"))
    )
    clusters = {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}
    far = clusters["outbound|9092||broker-2.meshmark"]
    (there,) = far["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert there["endpoint"]["address"]["socket_address"] == {"address": "10.77.1.201", "port_value": GATEWAY_PORT}
    assert far["transport_socket"]["typed_config"]["sni"] == "outbound_.9092_._.broker-2.meshmark"
    assert clusters["outbound|9092||kafka-9092.meshmark"]["type"] == "ORIGINAL_DST"
    listeners = {listener["name"] for listener in config["static_resources"]["listeners"]}
    assert {"10.77.0.11_9092", "10.77.1.12_9092"} <= listeners


class Identity:
    key = chain = keystore = authority = Path("pem")


def test_a_gateway_s_counters_are_its_bytes_and_what_it_refused() -> None:
    text = """listener.0.0.0.0_15443.downstream_cx_active: 4
listener.0.0.0.0_15443.worker_0.downstream_cx_active: 4
listener.0.0.0.0_15443.no_filter_chain_match: 2
tcp.gateway.downstream_cx_rx_bytes_total: 700
tcp.gateway.downstream_cx_tx_bytes_total: 50
"""
    assert gateway_statistics(text, 0) == {
        "forwarded_rx_bytes": 700,
        "forwarded_tx_bytes": 50,
        "connections": 4,
        "refused_connections": 2,
    }
    assert set(gateway_statistics("", 0).values()) == {0}

"""What every sidecar's configuration holds, and what mTLS adds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshmark.dataplane.envoy import MARK, Config, Service, Sidecar, bootstrap
from meshmark.dataplane.identity import Identity

SERVICES = tuple(
    Service(name=f"kafka-{port}.meshmark", account="broker", port=port, addresses=("10.77.0.11", "10.77.0.12"))
    for port in (9092, 5201)
)
IDENTITY = Identity(key=Path("/k"), chain=Path("/c"), keystore=Path("/s"), authority=Path("/a"))


def sidecar(*, mtls: bool, served_ports: tuple[int, ...] = (9092,)) -> Config:
    return bootstrap(
        Sidecar(
            host="broker-1",
            services=SERVICES,
            served_ports=served_ports,
            identity=IDENTITY if mtls else None,
            admin_socket=Path("/run/envoy.sock"),
        )
    )


def listeners(config: Config) -> dict[str, Any]:
    return {listener["name"]: listener for listener in config["static_resources"]["listeners"]}


def clusters(config: Config) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


def values(config: object, key: str) -> Iterator[Any]:
    """Every value of a key, at any depth."""
    if isinstance(config, dict):
        for name, value in config.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(config, list):
        for item in config:
            yield from values(item, key)


both = pytest.mark.parametrize("mtls", [False, True])


@both
def test_every_listener_name_and_cluster_name_is_used_once_and_every_cluster_exists(mtls: bool) -> None:
    config = sidecar(mtls=mtls)
    assert len(listeners(config)) == len(config["static_resources"]["listeners"])
    referred = {proxy["typed_config"]["cluster"] for chain in values(config, "filters") for proxy in chain}
    assert referred == set(clusters(config))


@both
def test_only_the_two_virtual_listeners_are_bound(mtls: bool) -> None:
    bound = {name for name, listener in listeners(sidecar(mtls=mtls)).items() if listener.get("bind_to_port", True)}
    assert bound == {"virtualInbound", "virtualOutbound"}


@both
def test_each_service_has_a_listener_per_address(mtls: bool) -> None:
    named = set(listeners(sidecar(mtls=mtls))) - {"virtualInbound", "virtualOutbound"}
    assert named == {"10.77.0.11_9092", "10.77.0.12_9092", "10.77.0.11_5201", "10.77.0.12_5201"}


@both
def test_every_connection_of_the_proxy_bears_the_mark_and_inbound_ones_come_from_127_0_0_6(mtls: bool) -> None:
    for name, cluster in clusters(sidecar(mtls=mtls)).items():
        if name == "BlackHoleCluster":
            continue
        bind = cluster["upstream_bind_config"]
        assert [option["int_value"] for option in bind["socket_options"]] == [MARK]
        inbound = name.lower().startswith("inbound")
        assert (bind.get("source_address", {}).get("address") == "127.0.0.6") is inbound


@both
def test_inbound_and_outbound_bytes_count_apart(mtls: bool) -> None:
    for name, listener in listeners(sidecar(mtls=mtls)).items():
        prefixes = {proxy["typed_config"]["stat_prefix"] for chain in values(listener, "filters") for proxy in chain}
        direction = "inbound" if name == "virtualInbound" else "outbound"
        assert prefixes - {"BlackHoleCluster"} == {direction}


@both
@pytest.mark.parametrize("key", ["per_connection_buffer_limit_bytes", "idle_timeout", "tcp_keepalive", "access_log"])
def test_what_istiod_does_not_set_is_not_set(mtls: bool, key: str) -> None:
    assert list(values(sidecar(mtls=mtls), key)) == []


def test_without_an_identity_nothing_is_encrypted_or_inspected() -> None:
    config = sidecar(mtls=False)
    assert list(values(config, "transport_socket")) == []
    assert list(values(config, "transport_protocol")) == []
    assert [f["name"] for f in listeners(config)["virtualInbound"]["listener_filters"]] == [
        "envoy.filters.listener.original_dst"
    ]


def test_strict_every_inbound_chain_but_the_black_hole_takes_tls_with_a_client_certificate_only() -> None:
    chains = listeners(sidecar(mtls=True))["virtualInbound"]["filter_chains"]
    black_hole, *served = chains
    assert black_hole["filter_chain_match"] == {"destination_port": 15006}
    assert [chain["filter_chain_match"].get("destination_port") for chain in served] == [None, 9092]
    for chain in served:
        assert chain["filter_chain_match"]["transport_protocol"] == "tls"
        assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True


def test_peers_are_matched_by_prefix_inbound_and_exactly_outbound() -> None:
    config = sidecar(mtls=True)

    def matched(part: Config) -> list[object]:
        return list(values(part, "match_typed_subject_alt_names"))

    inbound = matched(listeners(config)["virtualInbound"])
    assert inbound == [[{"san_type": "URI", "matcher": {"prefix": "spiffe://cluster.local/"}}]] * 2
    outbound = matched(clusters(config)["outbound|9092||kafka-9092.meshmark"])
    assert outbound == [[{"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/kafka/sa/broker"}}]]


def test_tls_is_1_2_to_1_3_with_istiods_ciphers_inbound_and_alpn_per_direction() -> None:
    config = sidecar(mtls=True)
    (inbound, *_) = values(listeners(config)["virtualInbound"], "common_tls_context")
    assert inbound["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert inbound["tls_params"]["tls_maximum_protocol_version"] == "TLSv1_3"
    assert len(inbound["tls_params"]["cipher_suites"]) == 6
    assert inbound["alpn_protocols"] == ["h2", "http/1.1"]
    (outbound,) = values(clusters(config)["outbound|9092||kafka-9092.meshmark"], "common_tls_context")
    assert "cipher_suites" not in outbound["tls_params"]
    assert outbound["alpn_protocols"] == ["istio"]


def test_unknown_destinations_pass_in_the_clear_outbound() -> None:
    """As under istiod without a service for them: the peer's STRICT sidecar then refuses."""
    assert "transport_socket" not in clusters(sidecar(mtls=True))["PassthroughCluster"]


def test_a_client_host_serves_no_port_but_is_as_strict() -> None:
    chains = listeners(sidecar(mtls=True, served_ports=()))["virtualInbound"]["filter_chains"]
    assert [chain["name"] for chain in chains] == ["virtualInbound-blackhole", "virtualInbound"]
    assert chains[1]["filter_chain_match"] == {"transport_protocol": "tls"}

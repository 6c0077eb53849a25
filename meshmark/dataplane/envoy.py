"""The Envoy configuration of one sidecar, as istiod gives it to a workload with Kafka behind it. Pure.

On the data path (listeners, their filters, TLS, clusters) it follows what a real istiod sends under STRICT mTLS
(`istio-mtls`) or with mTLS disabled (`istio`); `docs/data-planes.md` lists each difference and why. All inbound
connections count under the stat prefix `inbound`, all outbound ones under `outbound`:
`tcp.inbound.downstream_cx_rx_bytes_total` is what peers sent to the application behind this sidecar, decrypted.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshmark.dataplane.identity import Identity, spiffe_id
from meshmark.topology import TRUST_DOMAIN

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
GATEWAY_PORT = 15443
"""Of an east-west gateway, for other clusters."""
ALPN = "istio"
"""What a sidecar's mTLS says it is, in the clear."""
MARK = 1337
"""Socket mark of the proxy's own connections: what interception lets pass (Istio exempts uid 1337)."""

INBOUND_SOURCE = "127.0.0.6"
TYPES = "type.googleapis.com/envoy"
CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)
NO_LIMIT = 4_294_967_295

Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A port that hosts of the mesh serve, under one service account. `gateway`: the address of the one that they are
    behind, which must be told which host is meant, so a service is one host then."""

    name: str
    account: str
    port: int
    addresses: tuple[str, ...]
    gateway: str | None = None

    @property
    def server_name(self) -> str:
        """What mTLS sends in the clear (SNI), by which gateways know where a connection is to go."""
        return f"outbound_.{self.port}_._.{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """What one sidecar needs to know. Without an identity there is no mTLS."""

    host: str
    services: tuple[Service, ...]
    served_ports: tuple[int, ...]
    identity: Identity | None
    admin_socket: Path


def bootstrap(sidecar: Sidecar) -> Config:
    """Shape: Envoy's Bootstrap message as JSON."""
    return {
        "node": {"id": sidecar.host, "cluster": "meshmark"},
        "admin": {"address": {"pipe": {"path": str(sidecar.admin_socket), "mode": 0o600}}},
        "overload_manager": {"resource_monitors": [connection_limit()]},
        "static_resources": {
            "listeners": [
                _virtual_inbound(sidecar),
                _virtual_outbound(),
                *(
                    _service_listener(service, address)
                    for service in sidecar.services
                    for address in service.addresses
                ),
            ],
            "clusters": [
                cluster("InboundPassthroughCluster", source=INBOUND_SOURCE),
                *(
                    {**cluster(f"inbound|{port}||", source=INBOUND_SOURCE), "cleanup_interval": "9223372035s"}
                    for port in sidecar.served_ports
                ),
                cluster("PassthroughCluster"),
                *(_service_cluster(service, sidecar.identity) for service in sidecar.services),
                {"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "10s"},
            ],
        },
    }


def connection_limit() -> Config:
    """None, as in Istio's bootstrap; without it Envoy warns that there is none."""
    name = "global_downstream_max_connections"
    kind = f"{TYPES}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    limit = {"@type": kind, "max_active_downstream_connections": 2**31 - 1}
    return {"name": f"envoy.resource_monitors.{name}", "typed_config": limit}


def _virtual_inbound(sidecar: Sidecar) -> Config:
    identity = sidecar.identity
    tls_match: Config = {"transport_protocol": "tls"} if identity else {}
    tls_socket = {"transport_socket": _downstream_tls(identity)} if identity else {}
    catch_all = {"name": "virtualInbound", "filters": [proxy("inbound", "InboundPassthroughCluster")], **tls_socket}
    if tls_match:
        catch_all["filter_chain_match"] = tls_match
    made: Config = {
        **listener("virtualInbound", "0.0.0.0", INBOUND_PORT, "INBOUND"),
        "filter_chains": [
            _black_hole("virtualInbound-blackhole", INBOUND_PORT),
            catch_all,
            *(
                {
                    "name": f"0.0.0.0_{port}",
                    "filter_chain_match": tls_match | {"destination_port": port},
                    "filters": [proxy("inbound", f"inbound|{port}||")],
                    **tls_socket,
                }
                for port in sidecar.served_ports
            ),
        ],
        "listener_filters": [listener_filter("original_dst", "OriginalDst")],
        "listener_filters_timeout": "0s",
        "continue_on_listener_filters_timeout": True,
        "max_connections_to_accept_per_socket_event": 1,
    }
    if identity:
        itself = {"destination_port_range": {"start": INBOUND_PORT, "end": INBOUND_PORT + 1}}
        inspector = listener_filter("tls_inspector", "TlsInspector", initial_read_buffer_size=512)
        made["listener_filters"].append({**inspector, "filter_disabled": itself})
    return made


def _virtual_outbound() -> Config:
    return {
        **listener("virtualOutbound", "0.0.0.0", OUTBOUND_PORT, "OUTBOUND"),
        "filter_chains": [
            _black_hole("virtualOutbound-blackhole", OUTBOUND_PORT),
            {"name": "virtualOutbound-catchall-tcp", "filters": [proxy("outbound", "PassthroughCluster")]},
        ],
        "use_original_dst": True,
        "max_connections_to_accept_per_socket_event": 1,
    }


def _service_listener(service: Service, address: str) -> Config:
    """Connections to this address and port are handed to it by virtualOutbound."""
    chain = {
        "filters": [proxy("outbound", _outbound_name(service))],
        "transport_socket_connect_timeout": "15s",
    }
    return {
        **listener(f"{address}_{service.port}", address, service.port, "OUTBOUND"),
        "filter_chains": [chain],
        "listener_filters_timeout": "0s",
        "continue_on_listener_filters_timeout": True,
        "bind_to_port": False,
    }


def _service_cluster(service: Service, identity: Identity | None) -> Config:
    made = cluster(_outbound_name(service))
    if service.gateway:
        made |= endpoint(made["name"], service.gateway, GATEWAY_PORT)
    if identity:
        made["transport_socket"] = _upstream_tls(service, identity)
    return made


def _outbound_name(service: Service) -> str:
    return f"outbound|{service.port}||{service.name}"


def endpoint(name: str, address: str, port: int) -> Config:
    """What a cluster with one fixed endpoint says instead of its type."""
    there = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
    return {
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [there]}]},
    }


def listener(name: str, address: str, port: int, direction: str) -> Config:
    return {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "traffic_direction": direction,
    }


def listener_filter(name: str, message: str, **settings: object) -> Config:
    kind = f"{TYPES}.extensions.filters.listener.{name}.v3.{message}"
    return {"name": f"envoy.filters.listener.{name}", "typed_config": {"@type": kind, **settings}}


def proxy(stat_prefix: str, cluster: str) -> Config:
    kind = f"{TYPES}.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    settings = {"@type": kind, "stat_prefix": stat_prefix, "cluster": cluster}
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": settings}


def _black_hole(name: str, port: int) -> Config:
    """Connections to the proxy's own port, which would loop."""
    match = {"destination_port": port}
    return {"name": name, "filter_chain_match": match, "filters": [proxy("BlackHoleCluster", "BlackHoleCluster")]}


def cluster(name: str, source: str | None = None) -> Config:
    mark = {
        "description": "exempt from interception",
        "level": socket.SOL_SOCKET,
        "name": socket.SO_MARK,
        "int_value": MARK,
        "state": "STATE_PREBIND",
    }
    bind: Config = {"socket_options": [mark]}
    if source:
        bind["source_address"] = {"address": source, "port_value": 0}
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), NO_LIMIT)
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "connect_timeout": "10s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": {"thresholds": [limits]},
        "upstream_bind_config": bind,
    }


def _downstream_tls(identity: Identity) -> Config:
    trusted: Mapping[str, str] = {"prefix": f"spiffe://{TRUST_DOMAIN}/"}
    context = _common_tls(identity, ["h2", "http/1.1"], trusted)
    context["tls_params"]["cipher_suites"] = list(CIPHERS)
    return _tls_socket("DownstreamTlsContext", common_tls_context=context, require_client_certificate=True)


def _upstream_tls(service: Service, identity: Identity) -> Config:
    context = _common_tls(identity, [ALPN], {"exact": spiffe_id(service.account)})
    return _tls_socket("UpstreamTlsContext", common_tls_context=context, sni=service.server_name)


def _tls_socket(message: str, **settings: object) -> Config:
    kind = f"{TYPES}.extensions.transport_sockets.tls.v3.{message}"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, **settings}}


def _common_tls(identity: Identity, alpn: Sequence[str], peer: Mapping[str, str]) -> Config:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": list(alpn),
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(identity.chain)},
                "private_key": {"filename": str(identity.key)},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(identity.authority)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": dict(peer)}],
        },
    }

"""The Envoy configuration of an east-west gateway, as istiod gives it one in mode AUTO_PASSTHROUGH. Pure.

A gateway stands before the hosts of its cluster. It ends no TLS and has no certificate: it reads the server name that
a sidecar's mTLS sends in the clear, and the protocol that it says to speak (ALPN), and hands the connection, encrypted
as it is, to the host of that name, whose sidecar judges the certificate. A connection without a name that it knows, so
any plaintext, is closed. All of it counts under the stat prefix `gateway`.

Differences from a real istiod's, beyond those of sidecars (`docs/data-planes.md`): ALPN `istio` alone, and endpoints
that are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meshmark.dataplane import envoy
from meshmark.dataplane.envoy import ALPN, GATEWAY_PORT, Config, Service

STAT_PREFIX = "gateway"


def bootstrap(host: str, services: Sequence[Service], admin_socket: Path) -> Config:
    """Shape: Envoy's Bootstrap message as JSON. `services` are those of its own cluster, of one address each."""
    return {
        "node": {"id": host, "cluster": "meshmark"},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "overload_manager": {"resource_monitors": [envoy.connection_limit()]},
        "static_resources": {
            "listeners": [
                {
                    **envoy.listener(f"0.0.0.0_{GATEWAY_PORT}", "0.0.0.0", GATEWAY_PORT, "OUTBOUND"),
                    "filter_chains": [_chain(service) for service in services],
                    "listener_filters": [
                        envoy.listener_filter("tls_inspector", "TlsInspector", initial_read_buffer_size=512)
                    ],
                    "max_connections_to_accept_per_socket_event": 1,
                }
            ],
            "clusters": [_behind(service) for service in services],
        },
    }


def _chain(service: Service) -> Config:
    return {
        "name": service.server_name,
        "filter_chain_match": {"server_names": [service.server_name], "application_protocols": [ALPN]},
        "filters": [envoy.proxy(STAT_PREFIX, service.server_name)],
    }


def _behind(service: Service) -> Config:
    (address,) = service.addresses
    return envoy.cluster(service.server_name) | envoy.endpoint(service.server_name, address, service.port)

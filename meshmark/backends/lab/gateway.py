"""How hosts of one cluster get to brokers of another: directly, or through the gateway before these.

What sidecars are told follows from it (a service of one address with a name of its own for each broker behind a
gateway), and where somebody who goes past a sidecar has to connect.
"""

from __future__ import annotations

from typing import NamedTuple

from meshmark.backends.lab.link import Host, Network
from meshmark.dataplane.envoy import GATEWAY_PORT, Service
from meshmark.kafka.properties import BROKER_PORT

BROKER_ACCOUNT = "broker"
NETWORK_PROBE_PORT = 5201
"""What the environment's network probe listens on; a service of the mesh like Kafka's port."""
PORTS = (BROKER_PORT, NETWORK_PROBE_PORT)


class Entrance(NamedTuple):
    """Of a broker's sidecar, for TLS of one's own. With a server name it is a gateway's."""

    address: str
    port: int
    server_name: str | None


def entrance(network: Network, source: Host, broker: Host) -> Entrance:
    gateway = _between(network, source, broker)
    if gateway is None:
        return Entrance(broker.address, BROKER_PORT, None)
    return Entrance(gateway.address, GATEWAY_PORT, own_service(broker, BROKER_PORT).server_name)


def services(network: Network, source: Host) -> tuple[Service, ...]:
    """What the sidecar of a host is told."""
    ways = [(broker, _between(network, source, broker)) for broker in network.broker_hosts]
    near = tuple(broker.address for broker, gateway in ways if gateway is None)
    found = [
        Service(name=f"kafka-{port}.meshmark", account=BROKER_ACCOUNT, port=port, addresses=near)
        for port in PORTS
        if near
    ]
    found += [
        own_service(broker, port, gateway.address) for broker, gateway in ways for port in PORTS if gateway is not None
    ]
    return tuple(found)


def own_service(broker: Host, port: int, gateway: str | None = None) -> Service:
    """Of one broker."""
    return Service(
        name=f"{broker.name}.meshmark", account=BROKER_ACCOUNT, port=port, addresses=(broker.address,), gateway=gateway
    )


def _between(network: Network, source: Host, broker: Host) -> Host | None:
    return None if source.switch is broker.switch else network.gateway_before(broker)

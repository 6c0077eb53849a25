"""The mesh of a testbed: interception and a sidecar on each host that is in it, and a gateway before each cluster that
asks for one.

Interception comes first: connections made before the rules would bypass the sidecars for good. A cluster behind a
gateway is closed to others by its router, but for the gateway, the controllers, and what probes the link.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from meshmark.backends.lab import distance, gateway, paths
from meshmark.backends.lab.intercept import guard, intercept
from meshmark.backends.lab.link import Host, Network
from meshmark.backends.lab.probes import SidecarProbe
from meshmark.backends.lab.sidecar import SidecarPlan, admin_socket, sidecars, version
from meshmark.dataplane import envoy
from meshmark.dataplane import gateway as east_west
from meshmark.dataplane.identity import Authority
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT, REPLICATION_PORT
from meshmark.plan import Scenario
from meshmark.probes.envoy import gateway_statistics, statistics

if TYPE_CHECKING:
    from meshmark.backends.lab.cluster import LabTestbed

CLIENT_ACCOUNT = "client"


def start(proxy: Path, bed: LabTestbed, authority: Authority | None, stack: ExitStack) -> None:
    """Nothing where the data plane has no sidecars. `proxy` is Envoy; with an authority the sidecars do mTLS."""
    if not bed.scenario.data_plane.sidecars:
        return
    network, concurrency = bed.network, bed.scenario.cluster.sidecar_concurrency
    for each in network.gateways:
        guard(each.switch, ports=gateway.PORTS)
    meshed = hosts(bed.scenario, network)
    for host in meshed:
        intercept(host, exempt_ports=(*exempt(bed.scenario), paths.CLOSED_PORT, distance.PORT))
    plans = [
        SidecarPlan(host=host, config=_sidecar(network, host, authority), concurrency=concurrency) for host in meshed
    ]
    plans += [
        SidecarPlan(host=host, config=_gateway(network, host), concurrency=concurrency, kind="gateway")
        for host in network.gateways
    ]
    for plan in plans:
        bed.note_configuration(f"{plan.host.name}.envoy.json", json.dumps(plan.config, indent=1) + "\n")
    for process in stack.enter_context(sidecars(proxy, plans)).values():
        bed.adopt(process)
    for plan in plans:
        bed.note_configuration(f"{plan.host.name}.envoy.version", version(plan.host) + "\n")
        parse = gateway_statistics if plan.kind == "gateway" else statistics
        probe = SidecarProbe(plan.host.name, plan.admin_socket, component=plan.kind, parse=parse)
        bed.add_probe(stack.enter_context(probe))


def hosts(scenario: Scenario, network: Network) -> tuple[Host, ...]:
    """Those that have a sidecar."""
    brokers = network.broker_hosts if scenario.data_plane.has_sidecar("broker") else ()
    return (*brokers, *(network.client_hosts if scenario.data_plane.has_sidecar("client") else ()))


def exempt(scenario: Scenario) -> tuple[int, ...]:
    """Kafka's ports that pass no sidecar."""
    return (CONTROLLER_PORT, REPLICATION_PORT) if scenario.data_plane.own_replication else (CONTROLLER_PORT,)


def _sidecar(network: Network, host: Host, authority: Authority | None) -> envoy.Config:
    serves = host in network.broker_hosts
    account = gateway.BROKER_ACCOUNT if serves else CLIENT_ACCOUNT
    return envoy.bootstrap(
        envoy.Sidecar(
            host=host.name,
            services=gateway.services(network, host),
            served_ports=(BROKER_PORT,) if serves else (),
            identity=authority.mesh_identity(host.name, account) if authority else None,
            admin_socket=Path(admin_socket(host).name),  # it runs in the host's directory
        )
    )


def _gateway(network: Network, host: Host) -> envoy.Config:
    behind = [broker for broker in network.broker_hosts if broker.switch is host.switch]
    services = [gateway.own_service(broker, port) for broker in behind for port in gateway.PORTS]
    return east_west.bootstrap(host.name, services, Path(admin_socket(host).name))

"""The lab's network: hosts joined by veth pairs to a bridge, which has a namespace of its own (the switch).

There is one switch for each cluster of the topology, and one if there is none; what lies between them is `wan.py`.

Nothing of the machine's own network is touched: interfaces are born inside the switch and inside the hosts. Hosts
have no route but to each other, so nothing that runs on them can reach beyond the lab. Kernel settings of the new
namespaces (socket buffers, congestion control, MTU 1500) are left as the kernel gives them.

A host's link can be given a bandwidth, each direction by itself, with a token bucket (tbf) at either end of its veth
pair; what does not pass at once waits in a short queue, as at a real interface, and what finds that full is dropped.

Limits: no delay within a cluster; veth carries offloaded super-packets, as its counters show.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import TC_H_ROOT

from meshmark.backends.lab.namespace import NetworkNamespace, network_namespace
from meshmark.errors import LabError
from meshmark.record import Counters
from meshmark.topology import MeshCluster, Topology

if TYPE_CHECKING:
    from meshmark.backends.lab.instance import Instance

HOST_INTERFACE = "eth0"
BRIDGE = "bridge"
PREFIX_LENGTH = 24
BURST_BYTES = 131_072
"""Two super-packets of 64 KB: a smaller bucket would have to cut them up."""
BURST_S = 0.001
"""And what comes due until a late timer looks again: a fast link would not reach its rate by two packets a look."""
QUEUE_S = 0.02
QUEUE_BYTES_MIN = 524_288
GATEWAY_NUMBER = 201
LOOPBACK_INDEX = 1  # the kernel's, in every network namespace

CLIENT = "client"
"""The component that a load worker is."""
ONE_PLACE = Topology()

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A network namespace with an address, and a directory for what runs on it. `switch` is what it is joined to."""

    name: str
    address: str
    namespace: NetworkNamespace
    switch: NetworkNamespace
    directory: Path
    instance_id: str
    groups: Path | None
    client_cpus: int = 0
    cpusets: Path | None = None

    def cpus(self, component: str) -> tuple[int, ...]:
        """Those that a component's processes run on: the last `client_cpus` of them are the load workers'."""
        every = sorted(os.sched_getaffinity(0))
        if not self.client_cpus:
            return tuple(every)
        return tuple(every[-self.client_cpus :] if component == CLIENT else every[: -self.client_cpus])

    def group(self, component: str) -> Path | None:
        """The control group of one component's processes, where there are such groups."""
        return self.groups / f"{self.name}-{component}" if self.groups else None

    def call(self, function: Callable[[], T]) -> T:
        """Runs `function` in a thread inside the host's network and returns its value: sockets, netlink, nftables."""
        return self.namespace.call(function)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Hosts by name, brokers first; the switch of each cluster, whose bridge ports bear the hosts' names; gateways,
    on which nothing but a proxy runs; how many CPUs load workers have for themselves, and the group below which the
    kernel holds them to it (v1), if there is one."""

    hosts: dict[str, Host]
    switches: dict[str, NetworkNamespace]
    gateways: tuple[Host, ...] = ()
    client_cpus: int = 0
    cpusets: Path | None = None

    @property
    def broker_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts.values() if host.name.startswith("broker-"))

    @property
    def client_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts.values() if host.name.startswith("client-"))

    @property
    def places(self) -> tuple[Host, ...]:
        """Hosts and gateways."""
        return (*self.hosts.values(), *self.gateways)

    def gateway_before(self, host: Host) -> Host | None:
        """The one of its cluster, if that has one."""
        return next((gateway for gateway in self.gateways if gateway.switch is host.switch), None)


class Address(NamedTuple):
    """Of a host: the place of its cluster in the topology, and the IP address."""

    cluster: int
    text: str


def addresses(brokers: int, clients: int, topology: Topology = ONE_PLACE) -> dict[str, Address]:
    """Host name -> address: in the first cluster, or the only one, broker-1 is 10.77.0.11, client-1 is 10.77.0.101."""
    found = {}
    for kind, count, base in (("broker", brokers, 10), ("client", clients, 100)):
        for number in range(1, count + 1):
            cluster = topology.clusters.index(topology.cluster_of(kind, number)) if topology else 0
            found[f"{kind}-{number}"] = Address(cluster, f"{subnet(cluster)}.{base + number}")
    return found


def gateway_addresses(topology: Topology, gateways: Sequence[MeshCluster]) -> dict[str, Address]:
    """Host name -> address, of the gateways of these clusters."""
    places = [topology.clusters.index(cluster) for cluster in gateways]
    return {
        f"gateway-{topology.clusters[place].name}": Address(place, f"{subnet(place)}.{GATEWAY_NUMBER}")
        for place in places
    }


def subnet(cluster: int) -> str:
    """The first three bytes of all addresses of a cluster, by its place in the topology."""
    return f"10.77.{cluster}"


@contextmanager
def network(
    instance: Instance,
    *,
    brokers: int,
    clients: int,
    groups: Path | None = None,
    topology: Topology = ONE_PLACE,
    gateways: Sequence[MeshCluster] = (),
    client_cpus: int = 0,
    cpusets: Path | None = None,
) -> Iterator[Network]:
    """Hosts broker-1.. and client-1.., and gateway-NAME for each of `gateways`, able to reach each other within a
    cluster, with an empty directory each. Their processes are accounted for in control groups below `groups`. Load
    workers have `client_cpus` CPUs for themselves; 0: all share all. `cpusets` is where groups for that are made (v1).

    The kernel removes them when this context and their last process are gone; the directories go with the context."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-", dir=instance.path)))
        names = [cluster.name for cluster in topology.clusters] or [""]
        switches = {name: stack.enter_context(network_namespace()) for name in names}
        places = {}
        ordinary = addresses(brokers, clients, topology)
        for name, address in (ordinary | gateway_addresses(topology, gateways)).items():
            directory = home / name
            directory.mkdir()
            namespace = stack.enter_context(network_namespace())
            places[name] = Host(
                name=name,
                address=address.text,
                namespace=namespace,
                switch=switches[names[address.cluster]],
                directory=directory,
                instance_id=instance.id,
                groups=groups,
                client_cpus=client_cpus,
                cpusets=cpusets,
            )
        try:
            for switch in switches.values():
                switch.call(partial(_join, [host for host in places.values() if host.switch is switch]))
            for host in places.values():
                host.call(partial(_configure, host))
        except (NetlinkError, OSError) as error:
            raise LabError(
                f"the kernel refused to build the lab's network: {error}",
                hint="`meshmark doctor` tells which kernel feature (bridge, veth) is missing.",
            ) from error
        yield Network(
            hosts={name: host for name, host in places.items() if name in ordinary},
            switches=switches,
            gateways=tuple(host for name, host in places.items() if name not in ordinary),
            client_cpus=client_cpus,
            cpusets=cpusets,
        )


def _join(hosts: Sequence[Host]) -> None:
    """Inside the switch: a bridge, and a port for each host whose other end is born in that host."""
    with IPRoute() as netlink:
        netlink.link("add", ifname=BRIDGE, kind="bridge")
        bridge = netlink.link_lookup(ifname=BRIDGE)[0]
        netlink.link("set", index=bridge, state="up")
        for host in hosts:
            peer = {"ifname": HOST_INTERFACE, "net_ns_fd": host.namespace.fd}
            netlink.link("add", ifname=host.name, kind="veth", peer=peer)
            port = netlink.link_lookup(ifname=host.name)[0]
            netlink.link("set", index=port, master=bridge, state="up")


def _configure(host: Host) -> None:
    with IPRoute() as netlink:
        interface = netlink.link_lookup(ifname=HOST_INTERFACE)[0]
        netlink.addr("add", index=interface, address=host.address, prefixlen=PREFIX_LENGTH)
        for index in (LOOPBACK_INDEX, interface):
            netlink.link("set", index=index, state="up")


@contextmanager
def bandwidth(host: Host, bytes_s: float) -> Iterator[None]:
    """At most so many bytes a second (of Ethernet frames) from and to a host, for each direction."""
    ends = [(host.namespace, HOST_INTERFACE), (host.switch, host.name)]
    try:
        with ExitStack() as stack:
            for namespace, interface in ends:
                namespace.call(partial(_shape, interface, round(bytes_s)))
                stack.callback(namespace.call, partial(_unshape, interface))
            yield
    except NetlinkError as error:
        raise LabError(
            f"the kernel refused a token bucket for {host.name}: {error}",
            hint="It needs the scheduler tbf (CONFIG_NET_SCH_TBF).",
        ) from error


def _shape(interface: str, bytes_s: int) -> None:
    queue = max(QUEUE_BYTES_MIN, round(bytes_s * QUEUE_S))
    burst = max(BURST_BYTES, round(bytes_s * BURST_S))
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=interface)[0]
        netlink.tc("add", "tbf", index=index, rate=bytes_s, burst=burst, limit=queue)


def _unshape(interface: str) -> None:
    with IPRoute() as netlink:
        netlink.tc("del", index=netlink.link_lookup(ifname=interface)[0], parent=TC_H_ROOT)


class LimitedLinkProbe:
    """What waited for a host's limited link and what was dropped there, and the limit itself, as an interface tells
    its speed. Asking the kernel takes some milliseconds, so only at the edges of windows."""

    edges_only = True

    def __init__(self, host: Host, bytes_s: float) -> None:
        self._prefix = f"{host.name}/net/"
        self._ends = [(host.namespace, HOST_INTERFACE), (host.switch, host.name)]
        self._bytes_s = bytes_s

    def read(self) -> Counters:
        try:
            told = [namespace.call(partial(_queue, interface)) for namespace, interface in self._ends]
        except (NetlinkError, OSError, LookupError):
            return {}
        values = {"queued_packets": sum(each[0] for each in told), "dropped_packets": sum(each[1] for each in told)}
        return {self._prefix + name: float(value) for name, value in values.items()} | {
            f"{self._prefix}link_bytes_s": self._bytes_s
        }


def _queue(interface: str) -> tuple[int, int]:
    """Packets that had to wait, packets that were dropped, since the bucket is there."""
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=interface)[0]
        (bucket,) = (each for each in netlink.get_qdiscs(index=index) if each.get_attr("TCA_KIND") == "tbf")
        queue = bucket.get_attr("TCA_STATS2").get_attr("TCA_STATS_QUEUE")
        return queue["overlimits"], queue["drops"]

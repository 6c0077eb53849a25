"""The lab's network: hosts joined by veth pairs to one bridge, which has a namespace of its own (the switch).

Nothing of the machine's own network is touched: interfaces are born inside the switch and inside the hosts. Hosts
have no route but to each other, so nothing that runs on them can reach beyond the lab. Kernel settings of the new
namespaces (socket buffers, congestion control, MTU 1500) are left as the kernel gives them.

Limits: one switch, no delay and no bandwidth limit; veth carries offloaded super-packets, as its counters show.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from meshmark.backends.lab.namespace import NetworkNamespace, network_namespace
from meshmark.errors import LabError

if TYPE_CHECKING:
    from meshmark.backends.lab.instance import Instance

HOST_INTERFACE = "eth0"
BRIDGE = "bridge"
PREFIX_LENGTH = 24
LOOPBACK_INDEX = 1  # the kernel's, in every network namespace

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A network namespace with an address, and a directory for what runs on it."""

    name: str
    address: str
    namespace: NetworkNamespace
    directory: Path
    instance_id: str
    groups: Path | None

    def group(self, component: str) -> Path | None:
        """The control group of one component's processes, where there are such groups."""
        return self.groups / f"{self.name}-{component}" if self.groups else None

    def call(self, function: Callable[[], T]) -> T:
        """Runs `function` in a thread inside the host's network and returns its value: sockets, netlink, nftables."""
        return self.namespace.call(function)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Hosts by name, brokers first, and the switch between them; its bridge ports bear the hosts' names."""

    hosts: dict[str, Host]
    switch: NetworkNamespace

    @property
    def broker_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts.values() if host.name.startswith("broker-"))

    @property
    def client_hosts(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts.values() if host.name.startswith("client-"))


def addresses(brokers: int, clients: int) -> dict[str, str]:
    """Host name -> address: broker-1 is 10.77.0.11, client-1 is 10.77.0.101."""
    return {f"broker-{number}": f"10.77.0.{10 + number}" for number in range(1, brokers + 1)} | {
        f"client-{number}": f"10.77.0.{100 + number}" for number in range(1, clients + 1)
    }


@contextmanager
def network(instance: Instance, *, brokers: int, clients: int, groups: Path | None = None) -> Iterator[Network]:
    """Hosts broker-1.. and client-1.., able to reach each other, with an empty directory each. Their processes
    are accounted for in control groups below `groups`.

    The kernel removes them when this context and their last process are gone; the directories go with the context."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-", dir=instance.path)))
        switch = stack.enter_context(network_namespace())
        hosts = {}
        for name, address in addresses(brokers, clients).items():
            directory = home / name
            directory.mkdir()
            namespace = stack.enter_context(network_namespace())
            hosts[name] = Host(
                name=name,
                address=address,
                namespace=namespace,
                directory=directory,
                instance_id=instance.id,
                groups=groups,
            )
        try:
            switch.call(partial(_join, list(hosts.values())))
            for host in hosts.values():
                host.call(partial(_configure, host))
        except (NetlinkError, OSError) as error:
            raise LabError(
                f"the kernel refused to build the lab's network: {error}",
                hint="`meshmark doctor` tells which kernel feature (bridge, veth) is missing.",
            ) from error
        yield Network(hosts=hosts, switch=switch)


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

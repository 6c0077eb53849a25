"""What lies between the clusters of a topology: routes, and links with delay, jitter, loss and bandwidth.

Each switch is its cluster's router. A link is a veth pair between two routers with netem at either end where the
kernel has that, and else a relay (`meshmark/relay`): a process of its own, in a network namespace of its own, between
a TUN device in either router. Its devices take super-packets (IFF_VNET_HDR, TSO), so that distance does not cost a
system call for every 1,500 bytes.

Hosts have no route but to each other, as without links, and no setting of the machine is touched: forwarding is
switched on inside the routers. Buffers of TCP are what the kernel gives them.

Limits: netem was not there where this was made: that half is tested for what it asks of the kernel, and with another
scheduler in its place. Without netem, /dev/net/tun must be open to the user, which mostly means root.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

import meshmark
from meshmark.backends.lab.link import BRIDGE, HOST_INTERFACE, LOOPBACK_INDEX, PREFIX_LENGTH, Host, Network, subnet
from meshmark.backends.lab.namespace import NetworkNamespace, network_namespace
from meshmark.backends.lab.process import LabProcess, running
from meshmark.errors import LabError, MissingRequirement
from meshmark.record import Counters
from meshmark.topology import Link, Topology, Way

if TYPE_CHECKING:
    from meshmark.backends.lab.instance import Instance

RELAY = "relay"
"""The component to which a relay's CPU is booked."""
EVERYWHERE = "10.77.0.0/16"
TUN_DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
ETHERNET = "02:00:00:00:00:01"
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_OFFLOADS = 0x01 | 0x02 | 0x08  # checksum, TSO for IPv4, TSO with ECN
QUEUE_PACKETS = 10_000
"""Of a device, which must hold what comes while a relay waits for a CPU; and of netem, over distances more."""
MTU_BYTES = 1_500
FASTEST_BYTES_S = 2**32 - 1
"""More than any link carries here: the most that netem is told in 32 bits, and that a plan may ask for."""
QUEUE_BYTES_MIN = 262_144
QUEUE_S_MIN = 0.02
"""A limited link queues what comes within its RTT, one bandwidth-delay product, and within 20 ms at least."""
READY_S = 20.0
COUNTERS_FILE = "counters"
COUNTERS = struct.Struct("=8Q")
WAYS = ("forward", "back")
WAY_COUNTS = ("carried_packets", "lost_packets", "dropped_packets", "bytes")
"""Of each direction, in their order in the file."""

Kind = Literal["netem", "relay"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WideLink:
    """A link that is there. `process` and `place` are the relay's; `ends`: cluster -> interface in its router."""

    link: Link
    kind: Kind
    ends: Mapping[str, str]
    place: Host | None = None
    process: LabProcess | None = None

    @property
    def name(self) -> str:
        """As in counter keys; no host has such a name."""
        return f"link-{self.link.name}"


@contextmanager
def links(
    instance: Instance, net: Network, topology: Topology, groups: Path | None, chance: str = ""
) -> Iterator[tuple[WideLink, ...]]:
    """All links of a topology, and the routes over them. `chance` is where relays' seeds are from: what is lost
    differs where it does, and by link; netem takes no seed."""
    if len(net.switches) < 2:
        yield ()
        return
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="links-", dir=instance.path)))
        kind: Kind = "netem" if netem_there() else "relay"
        made = []
        try:
            for place, switch in enumerate(net.switches.values()):
                switch.call(partial(_become_router, place))
            for host in net.places:
                host.call(partial(_reach_others, host))
            for number, link in enumerate(topology.links, start=1):
                if kind == "netem":
                    made.append(_shaped(net, number, link))
                else:
                    made.append(stack.enter_context(_relayed(instance, net, number, link, home, groups, chance)))
            for cluster, switch in net.switches.items():
                for destination, interface in routes(topology, cluster, made).items():
                    switch.call(partial(_route, destination, interface))
        except (NetlinkError, OSError) as error:
            raise LabError(
                f"the kernel refused to build the links between clusters: {error}",
                hint="`meshmark doctor` tells which kernel feature is missing.",
            ) from error
        yield tuple(made)


def require_links() -> None:
    """Raises MissingRequirement where there can be no distance between hosts; nothing has been changed then."""
    if netem_there():
        return
    try:
        with network_namespace() as namespace:
            os.close(namespace.call(partial(_tun, "wan1")))
    except OSError as error:
        raise MissingRequirement(
            f"distance between clusters needs the scheduler netem, or TUN devices ({TUN_DEVICE}: {error.strerror})",
            hint="Run as root, or on a kernel with CONFIG_NET_SCH_NETEM or CONFIG_TUN; or leave the topology out.",
        ) from error


def netem_there() -> bool:
    """Found out by asking for it, in a network of its own."""
    with network_namespace() as namespace:
        try:
            namespace.call(partial(_netem, LOOPBACK_INDEX, {"delay": 1_000}))
        except NetlinkError:
            return False
    return True


def routes(topology: Topology, cluster: str, made: Sequence[WideLink]) -> dict[str, str]:
    """Of a router: network -> interface towards it. Other clusters alone."""
    interfaces = {each.link: each.ends[cluster] for each in made if cluster in each.ends}
    return {
        f"{subnet(place)}.0/{PREFIX_LENGTH}": interfaces[topology.path(cluster, other.name)[0]]
        for place, other in enumerate(topology.clusters)
        if other.name != cluster
    }


@contextmanager
def cut(net: Network, topology: Topology, made: Sequence[WideLink], name: str) -> Iterator[None]:
    """Nothing new goes over a link, in either direction, and nobody is told; what is under way arrives. Whole again
    however the context is left. `name` as in the topology."""
    link = next((each for each in made if each.link.name == name), None)
    if link is None:
        there = ", ".join(each.link.name for each in made) or "none"
        raise MissingRequirement(f"there is no link {name} that could be cut", hint=f"There are: {there}.")
    with ExitStack() as stack:
        for cluster, interface in link.ends.items():
            switch = net.switches[cluster]
            for destination, over in routes(topology, cluster, made).items():
                if over == interface:
                    stack.callback(switch.call, partial(_route, destination, interface))
                    switch.call(partial(_discard, destination))
        yield


def queue_bytes(way: Way) -> int:
    """Of what waits for a limited bandwidth."""
    limit = way.bandwidth_bytes_s or 0.0
    return max(QUEUE_BYTES_MIN, round(limit * max(QUEUE_S_MIN, 2 * way.delay_s)))


def netem_options(way: Way) -> dict[str, Any]:
    """As pyroute2 takes them: microseconds, percent, bytes a second; by sch_netem.c of Linux.

    netem's limit is of all packets that it holds, those that are under way too. What it draws with jitter it sorts by
    time, so packets overtake each other, but where there is a rate: then none leaves before the one ahead of it."""
    limited, longest_s = way.bandwidth_bytes_s, way.delay_s + way.jitter_s
    held = FASTEST_BYTES_S * longest_s if limited is None else limited * longest_s + queue_bytes(way)
    options: dict[str, Any] = {
        "delay": round(way.delay_s * 1e6),
        "limit": max(100 if limited else QUEUE_PACKETS, math.ceil(held / MTU_BYTES)),
    }
    if way.jitter_s:
        options |= {"jitter": round(way.jitter_s * 1e6), "rate": FASTEST_BYTES_S}
    if way.loss:
        options["loss"] = way.loss * 100
    if limited is not None:
        options["rate"] = round(limited)
    return options


def _shaped(net: Network, number: int, link: Link) -> WideLink:
    """With netem, which loses, counts and queues a super-packet as one. Devices cut it up after their scheduler, so
    where that matters hosts send none: TCP asks the device that it sends on (sk_setup_caps)."""
    interface = f"wan{number}"
    first, second = (net.switches[end] for end in link.ends)
    first.call(partial(_veth, interface, second))
    for switch, way in zip((first, second), link.ways(), strict=True):
        switch.call(partial(_shape, interface, way))
    if any(way.loss or way.bandwidth_bytes_s is not None for way in link.ways()):
        for host in net.places:
            host.call(_single_packets)
    return WideLink(link=link, kind="netem", ends=dict.fromkeys(link.ends, interface))


@contextmanager
def _relayed(
    instance: Instance, net: Network, number: int, link: Link, home: Path, groups: Path | None, chance: str
) -> Iterator[WideLink]:
    interface = f"wan{number}"
    directory = home / link.name
    directory.mkdir()
    with ExitStack() as stack:
        own = stack.enter_context(network_namespace())
        place = Host(
            name=f"link-{link.name}",
            address="",
            namespace=own,
            switch=own,
            directory=directory,
            instance_id=instance.id,
            groups=groups,
            client_cpus=net.client_cpus,
            cpusets=net.cpusets,
        )
        with ExitStack() as opened:  # the devices are the relay's alone: they go when it does
            ends = []
            for end in link.ends:
                ends.append(net.switches[end].call(partial(_tun, interface)))
                opened.callback(os.close, ends[-1])
                net.switches[end].call(partial(_bring_up, interface))
            process = stack.enter_context(_relay(place, link, ends, f"{chance}/{link.name}"))
        if process.read_line(READY_S) is None:
            raise process.failure(f"does not carry anything after {READY_S:.0f} s")
        yield WideLink(link=link, kind="relay", ends=dict.fromkeys(link.ends, interface), place=place, process=process)


def relay_spec(link: Link, ends: Sequence[int], seed: str, counters: Path) -> dict[str, Any]:
    """As `meshmark.relay` takes it."""
    return {
        "ends": list(ends),
        "directions": [
            {
                "delay_s": way.delay_s,
                "jitter_s": way.jitter_s,
                "loss": way.loss,
                "bandwidth_bytes_s": way.bandwidth_bytes_s,
                "queue_bytes": queue_bytes(way),
            }
            for way in link.ways()
        ],
        "seed": seed,
        "counters": str(counters),
    }


@contextmanager
def _relay(place: Host, link: Link, ends: Sequence[int], seed: str) -> Iterator[LabProcess]:
    spec = relay_spec(link, ends, seed, place.directory / COUNTERS_FILE)
    own = str(Path(meshmark.__file__).parent.parent)
    argv = [sys.executable, "-m", "meshmark.relay", json.dumps(spec)]
    packages = {"PYTHONPATH": os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH")]))}
    log = place.directory / "relay.log"
    with running(
        place, argv, name=RELAY, component=RELAY, log=log, env=packages, lines=True, grace_s=0, descriptors=ends
    ) as process:
        yield process


class RelayProbe:
    """What a relay has carried, lost as it was told to, and dropped at its queue: in each direction and together."""

    edges_only = False

    def __init__(self, link: WideLink, directory: Path) -> None:
        self._prefix = f"{link.name}/{RELAY}/"
        self._path = directory / COUNTERS_FILE

    def read(self) -> Counters:
        try:
            values = COUNTERS.unpack(self._path.read_bytes())
        except (OSError, struct.error):
            return {}
        counts = dict(zip(WAY_COUNTS, zip(values[:4], values[4:], strict=True), strict=True))
        found = {
            f"{self._prefix}{way}_{name}": float(value)
            for name, pair in counts.items()
            for way, value in zip(WAYS, pair, strict=True)
        }
        return found | {f"{self._prefix}{name}": float(sum(counts[name])) for name in WAY_COUNTS[:3]}


def _become_router(place: int) -> None:
    """Inside a switch."""
    with IPRoute() as netlink:
        bridge = netlink.link_lookup(ifname=BRIDGE)[0]
        netlink.addr("add", index=bridge, address=f"{subnet(place)}.1", prefixlen=PREFIX_LENGTH)
    for setting, value in (("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/default/rp_filter", "0")):
        Path(f"/proc/sys/net/ipv4/{setting}").write_text(value, encoding="ascii")


def _reach_others(host: Host) -> None:
    router = host.address.rpartition(".")[0] + ".1"
    with IPRoute() as netlink:
        netlink.route("add", dst=EVERYWHERE, gateway=router, oif=netlink.link_lookup(ifname=HOST_INTERFACE)[0])


def _tun(interface: str) -> int:
    """A device in the caller's network that lasts as long as the descriptor, and its copies, do."""
    descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", interface.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, TUN_OFFLOADS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _bring_up(interface: str) -> None:
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=interface)[0]
        netlink.link("set", index=index, txqlen=QUEUE_PACKETS, state="up")


def _veth(interface: str, other: NetworkNamespace) -> None:
    """Both ends have one Ethernet address, which the kernel gives to neighbours on a device without ARP: what comes is
    for the router at the other end."""
    peer = {"ifname": interface, "net_ns_fd": other.fd, "address": ETHERNET}
    with IPRoute() as netlink:
        netlink.link("add", ifname=interface, kind="veth", address=ETHERNET, peer=peer)


def _shape(interface: str, way: Way) -> None:
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=interface)[0]
        netlink.link("set", index=index, arp=False, state="up")
    _netem(index, netem_options(way))


def _single_packets() -> None:
    """Of connections that are made from now on."""
    with IPRoute() as netlink:
        netlink.link("set", index=netlink.link_lookup(ifname=HOST_INTERFACE)[0], gso_max_segs=1)


def _netem(index: int, options: dict[str, Any]) -> None:
    with IPRoute() as netlink:
        netlink.tc("add", "netem", index=index, **options)


def _route(destination: str, interface: str) -> None:
    with IPRoute() as netlink:
        netlink.route("replace", dst=destination, oif=netlink.link_lookup(ifname=interface)[0], scope="link")


def _discard(destination: str) -> None:
    with IPRoute() as netlink:
        netlink.route("replace", dst=destination, type="blackhole")

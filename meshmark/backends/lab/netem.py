"""What went over a link that netem makes, as the kernel's scheduler counts it at either end.

The counters are those that every scheduler has (TCA_STATS2): bytes and packets that have left the queue, a
super-packet as the packets that it will be cut into, each with its own headers; and packets that were dropped. Bytes
are those of frames; the Ethernet header is taken off, so that they are those of IP packets, as a relay counts them.

Limits: the scheduler has one count for what it lost as it was told and what found its queue full. Of a direction with
both loss and a bandwidth neither is told, nor of both directions together then. netem itself was not there where this
was made: another scheduler was in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import TC_H_ROOT

from meshmark.backends.lab.namespace import NetworkNamespace
from meshmark.record import Counters
from meshmark.topology import Link

if TYPE_CHECKING:
    from typing import Any

NETEM = "netem"
"""The component of these counters; a relay has its own."""
ETHERNET_BYTES = 14


class Passed(NamedTuple):
    """Since the scheduler is there, at one end of a link: what it sends."""

    frame_bytes: int
    packets: int
    dropped: int


class NetemProbe:
    """Counters of a link, named as a relay's. Asking the kernel takes some milliseconds, so only at the edges of
    windows."""

    edges_only = True

    def __init__(self, link: Link, ends: Sequence[NetworkNamespace], interface: str) -> None:
        self._link = link
        self._ends = ends
        self._interface = interface

    def read(self) -> Counters:
        try:
            first, second = (end.call(partial(_passed, self._interface)) for end in self._ends)
        except (NetlinkError, OSError, LookupError):
            return {}
        return counted(self._link, first, second)


def counted(link: Link, first: Passed, second: Passed) -> Counters:
    """By the names that analysis knows; `first` is the end whose packets go forward."""
    values: dict[str, int] = {"carried_packets": first.packets + second.packets}
    gone = []
    for name, way, end in zip(("forward", "back"), link.ways(), (first, second), strict=True):
        values |= {
            f"{name}_carried_packets": end.packets,
            f"{name}_bytes": end.frame_bytes - ETHERNET_BYTES * end.packets,
        }
        if not (way.loss and way.bandwidth_bytes_s is not None):
            gone.append((end.dropped, 0) if way.loss else (0, end.dropped))
            values |= {f"{name}_lost_packets": gone[-1][0], f"{name}_dropped_packets": gone[-1][1]}
    if len(gone) == 2:
        lost, dropped = (sum(each) for each in zip(*gone, strict=True))
        values |= {"lost_packets": lost, "dropped_packets": dropped}
    return {f"link-{link.name}/{NETEM}/{name}": float(value) for name, value in values.items()}


def _passed(interface: str) -> Passed:
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=interface)[0]
        return at_root(netlink.get_qdiscs(index=index))


def at_root(schedulers: Iterable[Any]) -> Passed:
    """Of messages about an interface's schedulers, as the kernel sends them (RTM_NEWQDISC). LookupError where not one
    is the root, as while a link is taken away, or where it has not these counters."""
    roots = [each for each in schedulers if each["parent"] == TC_H_ROOT]
    statistics = roots[0].get_attr("TCA_STATS2") if len(roots) == 1 else None
    basic, queue = (statistics and statistics.get_attr(f"TCA_STATS_{name}") for name in ("BASIC", "QUEUE"))
    if basic is None or queue is None:
        raise LookupError(f"no counters of one root among {len(roots)}")
    return Passed(frame_bytes=basic["bytes"], packets=basic["packets"], dropped=queue["drops"])

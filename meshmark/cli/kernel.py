"""What the kernel lets this user build, tried for real and thrown away: run as `python -m meshmark.cli.kernel`.

Prints one JSON object: feature -> "" where it works, else the reason. It must be a process of its own: it may enter
a user namespace, and everything that it makes is in namespaces that end with it. The hosts, the bridge and the
interception rules are made by the lab's own code, so that what works here works in a run.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from meshmark.backends.lab.instance import Instance
from meshmark.backends.lab.intercept import intercept
from meshmark.backends.lab.link import network
from meshmark.backends.lab.namespace import enter_user_namespace, network_namespace
from meshmark.errors import MeshmarkError

TUN = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001


def namespaces() -> None:
    """Without root: the user namespace that the later steps need, entered for good."""
    if os.geteuid() != 0:
        enter_user_namespace()
    with network_namespace():
        pass


def hosts() -> None:
    """Two hosts on a bridge, and interception on one."""
    with tempfile.TemporaryDirectory(prefix="meshmark-doctor-") as directory:
        owner = Instance(id="doctor", path=Path(directory), reclaimed=())
        with network(owner, brokers=1, clients=1):
            pass


def interception() -> None:
    with tempfile.TemporaryDirectory(prefix="meshmark-doctor-") as directory:
        owner = Instance(id="doctor", path=Path(directory), reclaimed=())
        with network(owner, brokers=1, clients=1) as made:
            intercept(made.broker_hosts[0], exempt_ports=(9093,))


def netem() -> None:
    def add() -> None:
        with IPRoute() as netlink:
            netlink.link("add", ifname="left", kind="veth", peer={"ifname": "right"})
            netlink.tc("add", "netem", netlink.link_lookup(ifname="left")[0], delay=1_000)

    with network_namespace() as namespace:
        namespace.call(add)


def tun() -> None:
    def add() -> None:
        with TUN.open("r+b", buffering=0) as device:
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"doctor", IFF_TUN_NO_PI))

    with network_namespace() as namespace:
        namespace.call(add)


FEATURES: dict[str, Callable[[], None]] = {
    "namespaces": namespaces,
    "hosts": hosts,
    "interception": interception,
    "netem": netem,
    "tun": tun,
}
"""In this order: without the first the others cannot work."""


def tried() -> dict[str, str]:
    """Every feature; those after a failed `namespaces` are left out."""
    results: dict[str, str] = {}
    for name, attempt in FEATURES.items():
        try:
            attempt()
            results[name] = ""
        except MeshmarkError as error:
            results[name] = error.message
        except NetlinkError as error:
            results[name] = os.strerror(error.code)
        except OSError as error:
            results[name] = error.strerror or str(error)
        if results["namespaces"]:
            break
    return results


if __name__ == "__main__":
    json.dump(tried(), sys.stdout)

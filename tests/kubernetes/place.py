"""Where a test cluster is: a network, and in it an address and a bridge for pods."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from meshmark.backends.lab.namespace import NetworkNamespace

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Place:
    """`address` is the node's, on the bridge that its pods are joined to, whose network they have. Without a
    `namespace` all is in this process's network, the node makes the bridge, and the API server is on loopback; with
    one the bridge is there already, and the API server is at the node's address, to which others can be routed."""

    node: str = "node-1"
    zone: str = "zone-1"
    bridge: str = "pods"
    address: str = "10.244.0.1"
    prefix_length: int = 16
    namespace: NetworkNamespace | None = None

    @property
    def serves_at(self) -> str:
        return LOOPBACK if self.namespace is None else self.address

    @property
    def pods(self) -> str:
        return str(ipaddress.ip_interface(f"{self.address}/{self.prefix_length}").network)


HERE = Place()

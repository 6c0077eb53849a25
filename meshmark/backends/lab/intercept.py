"""Transparent interception on one host: nftables NAT rules, as Istio's init container sets them.

What applications send goes to the sidecar's outbound port, what peers send to its inbound port; exempt are the
sidecar's own connections (by socket mark: inside a user namespace there is one uid, so Istio's way, by uid, cannot
work everywhere), loopback, and the ports given. The rules live and die with the host's network namespace, and
must be there before anything connects: established connections are not redirected.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nftsocket import Cmp, Meta, Regs
from pyroute2.nftables.expressions import genex, verdict
from pyroute2.nftables.main import NFTables

from meshmark.backends.lab.link import BRIDGE, LOOPBACK_INDEX, Host
from meshmark.backends.lab.namespace import NetworkNamespace
from meshmark.dataplane.envoy import INBOUND_PORT, MARK, OUTBOUND_PORT
from meshmark.errors import LabError

TABLE = "meshmark"
NAT_PRIORITY = -100  # NF_IP_PRI_NAT_DST
ACCEPT = 1
RETURN = -5
NFT_REJECT_TCP_RST = 1
TCP = 6
TRANSPORT_HEADER = 2

Expressions = list[Any]


def intercept(host: Host, *, exempt_ports: Sequence[int]) -> None:
    """Redirects the host's TCP through its sidecar, from now on."""
    try:
        host.call(lambda: _install(exempt_ports))
    except (NetlinkError, OSError) as error:
        raise LabError(
            f"the kernel refused the interception rules on {host.name}: {error}",
            hint="nftables with NAT is needed (CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_REDIR); "
            "`meshmark doctor` checks it.",
        ) from error


def guard(switch: NetworkNamespace, *, ports: Sequence[int]) -> None:
    """Of a cluster behind a gateway: from other clusters nobody gets to these ports of its hosts, but is refused by
    its router."""
    try:
        switch.call(lambda: _refuse(ports))
    except (NetlinkError, OSError) as error:
        raise LabError(
            f"the kernel refused the rules of a router before a gateway: {error}",
            hint="nftables with filters is needed (CONFIG_NF_TABLES, CONFIG_NFT_REJECT).",
        ) from error


def _refuse(ports: Sequence[int]) -> None:
    with IPRoute() as netlink:
        bridge = struct.pack("=I", netlink.link_lookup(ifname=BRIDGE)[0])
    # Where the kernel shows bridged packets to these hooks too, they come from the bridge as well.
    inside = [
        *_meta(Meta.NFT_META_OIF, bridge),
        genex("meta", {"KEY": Meta.NFT_META_IIF, "DREG": Regs.NFT_REG_1}),
        _compared(Cmp.NFT_CMP_NEQ, bridge),
    ]
    reset = genex("reject", {"TYPE": NFT_REJECT_TCP_RST, "ICMP_CODE": 0})
    nft = NFTables()
    try:
        nft.table("add", name=TABLE)
        nft.chain("add", table=TABLE, name="forward", hook="forward", type="filter", priority=0, policy=ACCEPT)
        for port in ports:
            nft.rule("add", table=TABLE, chain="forward", expressions=[[*inside, *_destination_port(port), reset]])
    finally:
        nft.close()


def _install(exempt_ports: Sequence[int]) -> None:
    exempt = [[*_destination_port(port), *verdict(RETURN)] for port in exempt_ports]
    rules: dict[str, list[Expressions]] = {
        "output": [
            [*_meta(Meta.NFT_META_MARK, struct.pack("=I", MARK)), *verdict(RETURN)],
            [*_meta(Meta.NFT_META_OIF, struct.pack("=I", LOOPBACK_INDEX)), *verdict(RETURN)],
            *exempt,
            [*_tcp(), *_redirect(OUTBOUND_PORT)],
        ],
        "prerouting": [*exempt, [*_tcp(), *_redirect(INBOUND_PORT)]],
    }
    nft = NFTables()
    try:
        nft.table("add", name=TABLE)
        for hook, expressions in rules.items():
            nft.chain("add", table=TABLE, name=hook, hook=hook, type="nat", priority=NAT_PRIORITY, policy=ACCEPT)
            for expression in expressions:
                nft.rule("add", table=TABLE, chain=hook, expressions=[expression])
    finally:
        nft.close()


def _meta(key: int, value: bytes) -> Expressions:
    return [genex("meta", {"KEY": key, "DREG": Regs.NFT_REG_1}), _equals(value)]


def _tcp() -> Expressions:
    return _meta(Meta.NFT_META_L4PROTO, bytes([TCP]))


def _destination_port(port: int) -> Expressions:
    load = {"DREG": Regs.NFT_REG_1, "BASE": TRANSPORT_HEADER, "OFFSET": 2, "LEN": 2}
    return [*_tcp(), genex("payload", load), _equals(struct.pack("!H", port))]


def _equals(value: bytes) -> Any:
    return _compared(Cmp.NFT_CMP_EQ, value)


def _compared(how: int, value: bytes) -> Any:
    return genex("cmp", {"SREG": Regs.NFT_REG_1, "OP": how, "DATA": {"attrs": [("NFTA_DATA_VALUE", value)]}})


def _redirect(port: int) -> Expressions:
    value = {"attrs": [("NFTA_DATA_VALUE", struct.pack("!H", port))]}
    return [
        genex("immediate", {"DREG": Regs.NFT_REG_1, "DATA": value}),
        genex("redir", {"REG_PROTO_MIN": Regs.NFT_REG_1}),
    ]

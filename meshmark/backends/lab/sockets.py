"""TCP segments that a host exchanged over its interface: the kernel's counters of every socket (sock_diag).

The interface counts offload super-packets, and the host's total of segments holds what applications and their sidecar
exchange over loopback. Only sockets know both: how many segments, and with whom. Read at the edges of windows. Growth
is added up; a socket that closes loses what it did since the reading before.

Formats: the kernel's include/uapi/linux/inet_diag.h and tcp.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from meshmark.probes.host import HostProbe
from meshmark.record import Counters

SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_DUMP = 0x301
ERROR, DONE = 2, 3
LISTENING, TIME_WAIT = 10, 6
STATES = 0xFFF & ~(1 << LISTENING) & ~(1 << TIME_WAIT)
INFO, SOCKET_MARK = 2, 15
SEGMENTS = struct.Struct("=II")
SEGMENTS_OFFSET = 136
"""Of tcpi_segs_out, and tcpi_segs_in after it, in struct tcp_info."""
HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
MESSAGE_BYTES = 72
RECEIVE_BYTES = 1 << 18
TIMEOUT_S = 1.0


class Connection(NamedTuple):
    """A TCP socket of a network namespace."""

    cookie: int
    ports: tuple[int, int]
    peer: ipaddress.IPv4Address | ipaddress.IPv6Address
    mark: int
    sent: int
    received: int


class Wire(NamedTuple):
    """Which sockets of a host reach its interface. `mark` and `port` are the sidecar's: its own connections, and the
    port that peers' connections are redirected to; None where there is no sidecar."""

    address: str
    mark: int | None = None
    port: int | None = None
    exempt: Collection[int] = ()

    def carries(self, found: Connection) -> bool:
        if found.peer.is_loopback or str(found.peer) == self.address:
            return False
        if self.mark is None:
            return True
        return found.mark == self.mark or self.port in found.ports or any(port in self.exempt for port in found.ports)


class SegmentsProbe(HostProbe):
    """Keys HOST/net/tcp_wire_out_segments and .._in_segments; absent where the kernel does not answer."""

    edges_only = True

    def __init__(self, host: str, wire: Wire, call: Callable[[Callable[[], socket.socket]], socket.socket]) -> None:
        super().__init__()
        self._prefix = f"{host}/net/"
        self._wire = wire
        self._socket = call(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, SOCK_DIAG))
        self._socket.settimeout(TIMEOUT_S)
        self._held.callback(self._socket.close)
        self._seen: dict[int, tuple[int, int]] = {}
        self._sent = self._received = 0

    def read(self) -> Counters:
        try:
            found = [each for family in (socket.AF_INET, socket.AF_INET6) for each in dump(self._socket, family)]
        except (OSError, ValueError):
            return {}
        seen = {}
        for each in found:
            if self._wire.carries(each):
                sent, received = self._seen.get(each.cookie, (0, 0))
                self._sent += each.sent - sent
                self._received += each.received - received
                seen[each.cookie] = each.sent, each.received
        self._seen = seen
        return {
            f"{self._prefix}tcp_wire_out_segments": float(self._sent),
            f"{self._prefix}tcp_wire_in_segments": float(self._received),
        }


def dump(netlink: socket.socket, family: int) -> Iterator[Connection]:
    """Every connection of one address family in the socket's network namespace."""
    asked = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 1 << (INFO - 1), STATES)
    netlink.send(HEADER.pack(HEADER.size + len(asked), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 0, 0) + asked)
    while True:
        data = memoryview(netlink.recv(RECEIVE_BYTES))
        while data:
            length, kind, *_ = HEADER.unpack_from(data)
            if kind == DONE:
                return
            if kind == ERROR or length < HEADER.size:
                raise ValueError("the kernel refused to list sockets")
            yield connection(data[HEADER.size : length])
            data = data[_aligned(length) :]


def connection(message: memoryview) -> Connection:
    """struct inet_diag_msg and its attributes."""
    if len(message) < MESSAGE_BYTES:
        raise ValueError("a message about a socket is cut")
    family = message[0]
    source, target = struct.unpack_from("!HH", message, 4)
    raw = bytes(message[24:40])
    attributes = dict(_attributes(message[MESSAGE_BYTES:]))
    info = attributes.get(INFO, b"")
    known = len(info) >= SEGMENTS_OFFSET + SEGMENTS.size
    sent, received = SEGMENTS.unpack_from(info, SEGMENTS_OFFSET) if known else (0, 0)
    mark = attributes.get(SOCKET_MARK, b"")
    return Connection(
        cookie=int.from_bytes(message[44:52], "little"),
        ports=(source, target),
        peer=_address(raw if family == socket.AF_INET6 else raw[:4]),
        mark=int.from_bytes(mark[:4], "little"),
        sent=sent,
        received=received,
    )


def _attributes(data: memoryview) -> Iterator[tuple[int, bytes]]:
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        if length < ATTRIBUTE.size:
            return
        yield kind, bytes(data[ATTRIBUTE.size : length])
        data = data[_aligned(length) :]


def _address(raw: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Java opens IPv6 sockets for IPv4 too."""
    found = ipaddress.ip_address(raw)
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _aligned(length: int) -> int:
    return (length + 3) & ~3

"""What the kernel says about a socket, and which sockets reach a host's interface."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

import pytest

from meshmark.backends.lab.sockets import Connection, Wire, connection

OWN, PEER = "10.77.0.11", "10.77.0.12"
MESH = Wire(OWN, mark=1337, port=15006, exempt=(9093,))


def message(family: int, target: bytes, *, mark: int | None = None, segments: bool = True) -> memoryview:
    """struct inet_diag_msg, then tcp_info and the mark as attributes."""
    head = struct.pack("=4B", family, 1, 0, 0) + struct.pack("!2H", 40_000, 9092)
    head += bytes(16) + target.ljust(16, b"\0") + struct.pack("=3I", 0, 7, 0) + bytes(20)
    info = bytes(136) + (struct.pack("=II", 1_000, 500) if segments else b"") + bytes(8)
    attributes = struct.pack("=HH", 4 + len(info), 2) + info
    if mark is not None:
        attributes += struct.pack("=HHI", 8, 15, mark)
    return memoryview(head + attributes)


def test_a_socket_is_read_from_the_kernels_message() -> None:
    found = connection(message(socket.AF_INET, ip_address(PEER).packed, mark=1337))
    assert found == Connection(
        cookie=7, ports=(40_000, 9092), peer=ip_address(PEER), mark=1337, sent=1_000, received=500
    )


def test_a_java_socket_to_an_ipv4_peer_has_that_peer() -> None:
    assert connection(message(socket.AF_INET6, ip_address(f"::ffff:{PEER}").packed)).peer == ip_address(PEER)
    assert connection(message(socket.AF_INET6, ip_address("fd00::1").packed)).peer == ip_address("fd00::1")


def test_a_cut_message_is_refused() -> None:
    with pytest.raises(ValueError, match="cut"):
        connection(message(socket.AF_INET, ip_address(PEER).packed)[:60])


def linked(peer: str, ports: tuple[int, int], mark: int = 0) -> Connection:
    return Connection(cookie=1, ports=ports, peer=ip_address(peer), mark=mark, sent=0, received=0)


@pytest.mark.parametrize(
    ("wire", "found", "carried"),
    [
        pytest.param(Wire(OWN), linked(PEER, (9092, 40_000)), True, id="to another host"),
        pytest.param(Wire(OWN), linked("127.0.0.1", (9092, 40_000)), False, id="over loopback"),
        pytest.param(Wire(OWN), linked(OWN, (9092, 40_000)), False, id="to itself"),
        pytest.param(MESH, linked(PEER, (40_000, 9092)), False, id="an application's, which the sidecar takes over"),
        pytest.param(MESH, linked(PEER, (40_000, 9092), mark=1337), True, id="the sidecar's to a peer"),
        pytest.param(MESH, linked(PEER, (15006, 40_000)), True, id="a peer's to the sidecar"),
        pytest.param(MESH, linked("127.0.0.6", (9092, 40_000)), False, id="the sidecar's to its broker"),
        pytest.param(MESH, linked(PEER, (40_000, 9093)), True, id="a controller's, exempt"),
    ],
)
def test_a_socket_reaches_the_interface_unless_its_peer_is_local_or_the_sidecar(
    wire: Wire, found: Connection, carried: bool
) -> None:
    assert wire.carries(found) is carried

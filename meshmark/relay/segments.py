"""Super-packets as a TUN device with offloads gives them, and how to cut them. Pure.

A packet is a virtio network header (10 bytes, of the machine's byte order) and an IP packet. A TCP super-packet holds
up to 64 KB for segments of `gso_size` bytes each, which the kernel cuts apart later, or never. A real link loses one
segment of them, so what is left must become super-packets again: with lengths, sequence numbers, flags and checksums
of their own (RFC 791, RFC 9293; the partial TCP checksum is that of the pseudo header, as the kernel leaves it to
offloads).

Limits: IPv4, which is all that the lab has. Any other packet counts as one segment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

VIRTIO_HEADER = struct.Struct("=BBHHHH")  # flags, GSO type, header length, GSO size, checksum start, checksum offset
VIRTIO_BYTES = VIRTIO_HEADER.size
NEEDS_CHECKSUM = 1
GSO_NONE = 0
GSO_TCPV4 = 1
GSO_ECN = 0x80
TCP = 6
FIN, PSH, CWR = 0x01, 0x08, 0x80
"""Flags of a TCP segment that only the last one (FIN, PSH) or the first one (CWR) of a super-packet bears."""

Run = tuple[int, int]  # segments from the first number up to, not including, the second


def gso_size(packet: bytes) -> int:
    """Payload bytes of each segment; 0 for a packet that is none but itself."""
    _, kind, _, size, _, _ = VIRTIO_HEADER.unpack_from(packet)
    return size if kind & ~GSO_ECN == GSO_TCPV4 else 0


def header_bytes(packet: bytes) -> int:
    """Of IP and TCP, in every segment again."""
    ip = (packet[VIRTIO_BYTES] & 15) * 4
    return ip + (packet[VIRTIO_BYTES + ip + 12] >> 4) * 4


def shape(packet: bytes) -> tuple[int, int]:
    """(segments, bytes of IP packets when cut apart)."""
    size = gso_size(packet)
    length = len(packet) - VIRTIO_BYTES
    if not size:
        return 1, length
    headers = header_bytes(packet)
    segments = max(1, -(-(length - headers) // size))
    return segments, length + (segments - 1) * headers


def kept(segments: int, lost: Iterable[int]) -> list[Run]:
    """What is left of so many segments without these."""
    runs, first = [], 0
    for gone in (*sorted(lost), segments):
        if gone > first:
            runs.append((first, gone))
        first = gone + 1
    return runs


def cut(packet: bytes, runs: Sequence[Run]) -> list[bytes]:
    """A packet for each run of segments."""
    segments, _ = shape(packet)
    if list(runs) == [(0, segments)]:
        return [packet]
    return [_piece(packet, first, last, last == segments) for first, last in runs]


def _piece(packet: bytes, first: int, last: int, ends: bool) -> bytes:
    size, headers = gso_size(packet), header_bytes(packet)
    body = VIRTIO_BYTES + headers
    payload = packet[body + first * size : body + last * size]
    head = bytearray(packet[:body])
    ip = VIRTIO_BYTES
    tcp = ip + (head[ip] & 15) * 4
    flags, kind, length, _, start, offset = VIRTIO_HEADER.unpack_from(head)
    if last - first == 1:
        kind, size = GSO_NONE, 0
    VIRTIO_HEADER.pack_into(head, 0, flags, kind, length, size, start, offset)
    number, sequence = _u16(head, ip + 4), int.from_bytes(head[tcp + 4 : tcp + 8], "big")
    struct.pack_into("!HH", head, ip + 2, headers + len(payload), (number + first) & 0xFFFF)
    struct.pack_into("!H", head, ip + 10, 0)
    struct.pack_into("!H", head, ip + 10, ~folded(bytes(head[ip:tcp])) & 0xFFFF)
    step = gso_size(packet) * first
    struct.pack_into("!I", head, tcp + 4, (sequence + step) & 0xFFFFFFFF)
    if not ends:
        head[tcp + 13] &= ~(FIN | PSH) & 0xFF
    if first:
        head[tcp + 13] &= ~CWR & 0xFF
    told = struct.pack("!BBH", 0, TCP, headers - (tcp - ip) + len(payload))
    struct.pack_into("!H", head, tcp + 16, folded(bytes(head[ip + 12 : ip + 20]) + told))
    return bytes(head) + payload


def folded(content: bytes) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071), not complemented; of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _u16(content: bytes | bytearray, at: int) -> int:
    return int.from_bytes(content[at : at + 2], "big")

"""The relay's arithmetic: super-packets cut to pieces that are whole packets, and when and whether packets arrive."""

from __future__ import annotations

import random
import socket
import struct
from itertools import pairwise

import pytest

from meshmark.relay.__main__ import deliver, take
from meshmark.relay.direction import Direction, DirectionSpec
from meshmark.relay.segments import (
    CWR,
    FIN,
    GSO_NONE,
    GSO_TCPV4,
    NEEDS_CHECKSUM,
    PSH,
    VIRTIO_BYTES,
    VIRTIO_HEADER,
    cut,
    folded,
    kept,
    shape,
)

SIZE = 1_000
ACK = 0x10
OPTIONS = bytes(range(12))
HEADERS = 20 + 20 + len(OPTIONS)
ADDRESSES = bytes((10, 77, 0, 11, 10, 77, 1, 13))
FIRST_SEQUENCE = 0xFFFFFFFF - 1_500
"""So that it wraps within the packet."""


def super_packet(payload: bytes, flags: int = ACK) -> bytes:
    """As the kernel hands it to a TUN device: partial TCP checksum, the IP checksum as it must be."""
    segment = len(OPTIONS) + 20 + len(payload)
    kind = GSO_TCPV4 if len(payload) > SIZE else GSO_NONE
    head = VIRTIO_HEADER.pack(NEEDS_CHECKSUM, kind, HEADERS, SIZE if kind else 0, 20, 16)
    ip = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + segment, 7, 0x4000, 64, 6, 0) + ADDRESSES)
    struct.pack_into("!H", ip, 10, ~folded(bytes(ip)) & 0xFFFF)
    pseudo = folded(ADDRESSES + struct.pack("!BBH", 0, 6, segment))
    tcp = struct.pack("!HHIIBBHHH", 40_000, 9_092, FIRST_SEQUENCE, 5, 8 << 4, flags, 500, pseudo, 0) + OPTIONS
    return head + bytes(ip) + tcp + payload


def payload_of(packet: bytes) -> bytes:
    return packet[VIRTIO_BYTES + HEADERS :]


def sequence_of(packet: bytes) -> int:
    return int.from_bytes(packet[VIRTIO_BYTES + 24 : VIRTIO_BYTES + 28], "big")


def flags_of(packet: bytes) -> int:
    return packet[VIRTIO_BYTES + 33]


def assert_whole(packet: bytes) -> None:
    """Its lengths and checksums are what the kernel expects of a packet that it is given."""
    _, kind, _, size, _, _ = VIRTIO_HEADER.unpack_from(packet)
    ip = packet[VIRTIO_BYTES : VIRTIO_BYTES + 20]
    assert int.from_bytes(ip[2:4], "big") == len(packet) - VIRTIO_BYTES
    assert folded(ip) == 0xFFFF
    length = len(packet) - VIRTIO_BYTES - 20
    partial = folded(ip[12:20] + struct.pack("!BBH", 0, 6, length))
    assert int.from_bytes(packet[VIRTIO_BYTES + 36 : VIRTIO_BYTES + 38], "big") == partial
    assert (kind, size) == ((GSO_TCPV4, SIZE) if len(payload_of(packet)) > SIZE else (GSO_NONE, 0))


PAYLOAD = random.Random(1).randbytes(5 * SIZE + 300)
WHOLE = super_packet(PAYLOAD, ACK | PSH | FIN | CWR)


def test_a_super_packet_is_as_many_segments_as_the_kernel_would_make() -> None:
    assert shape(WHOLE) == (6, len(PAYLOAD) + 6 * HEADERS)
    assert shape(super_packet(PAYLOAD[:SIZE])) == (1, SIZE + HEADERS)
    assert shape(super_packet(PAYLOAD[: 2 * SIZE])) == (2, 2 * (SIZE + HEADERS))
    assert shape(VIRTIO_HEADER.pack(0, 0, 0, 0, 0, 0) + bytes(128)) == (1, 128)


def test_nothing_lost_is_the_packet_itself() -> None:
    assert_whole(WHOLE)
    assert cut(WHOLE, kept(6, [])) == [WHOLE]


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ([0], [(1, 6)]),
        ([5], [(0, 5)]),
        ([2], [(0, 2), (3, 6)]),
        ([4, 1], [(0, 1), (2, 4), (5, 6)]),
        ([1, 2, 3], [(0, 1), (4, 6)]),
        (range(6), []),
    ],
)
def test_what_is_left_is_whole_packets_with_the_bytes_at_their_places(
    lost: list[int], expected: list[tuple[int, int]]
) -> None:
    runs = kept(6, lost)
    assert runs == expected
    pieces = cut(WHOLE, runs)
    for (first, last), piece in zip(runs, pieces, strict=True):
        assert_whole(piece)
        assert payload_of(piece) == PAYLOAD[first * SIZE : last * SIZE]
        assert sequence_of(piece) == (FIRST_SEQUENCE + first * SIZE) % 2**32
        assert flags_of(piece) == ACK | (CWR if first == 0 else 0) | ((PSH | FIN) if last == 6 else 0)


def direction(spec: DirectionSpec) -> Direction:
    return Direction(spec, random.Random(1))


def segments_under_way(way: Direction) -> int:
    """By the packets themselves, which are what is said of them."""
    for _, packet, segments, length in way.under_way:
        assert shape(packet) == (segments, length)
    return sum(segments for _, _, segments, _ in way.under_way)


def test_packets_arrive_after_the_delay_in_their_order() -> None:
    way = direction(DirectionSpec(delay_s=0.012))
    for number in range(3):
        way.accept(super_packet(bytes([number])), now=number / 1e3)
    assert [due for due, *_ in way.under_way] == pytest.approx([0.012, 0.013, 0.014])
    assert [payload_of(packet) for _, packet, *_ in way.under_way] == [b"\0", b"\1", b"\2"]


def test_the_time_of_waking_up_is_taken_off_the_delay_within_bounds() -> None:
    way = direction(DirectionSpec(delay_s=0.012))
    for _ in range(500):
        way.noted(0.0001)
    way.accept(super_packet(b"x"), now=1)
    assert way.under_way[-1][0] == pytest.approx(1.012 - 0.0002)
    for _ in range(500):
        way.noted(0.5)
    way.accept(super_packet(b"x"), now=2)
    assert way.under_way[-1][0] == pytest.approx(2.012 - 0.0006)
    near = direction(DirectionSpec(delay_s=0))
    near.noted(0.0001)
    near.accept(super_packet(b"x"), now=1)
    assert near.under_way[-1][0] == 1


def test_what_has_arrived_is_handed_on_and_what_is_not_taken_is_counted() -> None:
    way = direction(DirectionSpec(delay_s=0))
    giver, relay_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    relay_out, taker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with giver, relay_in, relay_out, taker:
        relay_in.setblocking(False)
        for number in range(3):
            giver.send(super_packet(bytes([number])))
        take(relay_in.fileno(), way)
        deliver(relay_out.fileno(), way)
        assert [payload_of(taker.recv(2_000)) for _ in range(3)] == [b"\0", b"\1", b"\2"]
        taker.close()
        giver.send(WHOLE)
        take(relay_in.fileno(), way)
        assert (way.carried, way.dropped) == (3, 0), "what is under way counts only when it is there"
        deliver(relay_out.fileno(), way)
    assert (way.carried, way.dropped) == (3, 6)
    assert way.carried_bytes == 3 * shape(super_packet(b"x"))[1]
    assert not way.under_way


def test_jitter_is_within_its_bounds_and_order_is_kept() -> None:
    way = direction(DirectionSpec(delay_s=0.010, jitter_s=0.004))
    for number in range(1_000):
        way.accept(super_packet(b"x"), now=number * 0.02)
    delays = [due - number * 0.02 for number, (due, *_) in enumerate(way.under_way)]
    assert 0.006 <= min(delays) < 0.0065
    assert 0.0135 < max(delays) <= 0.014
    assert sum(delays) / 1_000 == pytest.approx(0.010, rel=0.03)
    dense = direction(DirectionSpec(delay_s=0.010, jitter_s=0.004))
    for number in range(1_000):
        dense.accept(super_packet(b"x"), now=number * 1e-5)
    assert all(one <= other for (one, *_), (other, *_) in pairwise(dense.under_way))


@pytest.mark.parametrize("payload", [b"x", PAYLOAD])
@pytest.mark.parametrize("loss", [0.001, 0.03, 0.4])
def test_the_share_that_is_lost_is_of_segments_whatever_packet_they_come_in(loss: float, payload: bytes) -> None:
    way = direction(DirectionSpec(delay_s=0, loss=loss))
    packet = super_packet(payload)
    segments, _ = shape(packet)
    count = 30_000 // segments
    for _ in range(count):
        way.accept(packet, now=0)
    assert segments_under_way(way) + way.lost == count * segments
    expected = loss * count * segments
    assert abs(way.lost - expected) < 5 * expected**0.5


def test_a_limited_link_takes_its_time_and_drops_what_finds_its_queue_full() -> None:
    packet = super_packet(PAYLOAD)
    _, length = shape(packet)
    way = direction(DirectionSpec(delay_s=0.001, bandwidth_bytes_s=1e6, queue_bytes=3 * length + 1_500))
    for _ in range(5):
        way.accept(packet, now=10)
    gaps = [other - one for (one, *_), (other, *_) in pairwise(way.under_way)]
    assert way.under_way[0][0] == pytest.approx(10.001 + length / 1e6)
    assert gaps[:2] == pytest.approx([length / 1e6] * 2)
    assert (segments_under_way(way), way.dropped) == (3 * 6 + 1, 5 + 6)
    assert_whole(way.under_way[-1][1])
    way.accept(packet, now=20)
    assert way.under_way[-1][0] == pytest.approx(20.001 + length / 1e6)

"""What lies between two hosts, measured: round trips, packets lost on the way, what TCP carries.

By sockets of this process inside the hosts' networks. Round trips are ICMP echoes (RFC 792), which the other host's
kernel answers by itself, and an answer's time is the kernel's stamp: no process has to get a CPU in between, so that
they tell the way also while brokers use all of it. Loss is counted in each direction by itself, with small datagrams.
TCP goes past sidecars, at a port that interception lets pass.

Limits: what is sent at once with a late thread is stamped too early, so the median is taken; 1 lost packet of 1,000 is
the least that is seen, fewer where more are sent; with loss, TCP carries what its congestion control makes of it.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from meshmark.backends.lab.link import Host, Network
from meshmark.backends.lab.wan import Kind
from meshmark.record import LinkProbe
from meshmark.topology import Topology

CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
TCP_RECEIVE, TCP_SEND = Path("/proc/sys/net/ipv4/tcp_rmem"), Path("/proc/sys/net/ipv4/tcp_wmem")
ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO = struct.Struct("!BBHHH")
SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33
TIMESPEC = struct.Struct("@qq")
ECHO_INTERVAL_S = 0.02
ECHOES = 25
ECHOES_LOADED = 15
PACKETS, PACKETS_LOSSY = 1_000, 10_000
ANSWER_S = 1.0
"""Beyond the way itself, for the last answer and the last datagram."""
DATAGRAM_BYTES = 100
HEADERS_BYTES = 28
"""Of a datagram's IP packet: IPv4 and UDP."""
DATAGRAMS_S = 10_000
BUFFER_BYTES = 33_554_432
PORT = 5202
"""Of TCP; interception lets it pass."""
FLOWS = 8
TIMEOUT_S = 5.0
CHUNK_BYTES = 262_144
RAMP_S = 1.0
"""Until TCP has found what the link takes, some tens of round trips."""
WINDOW_S = 1.0
TCP_SHARE = 1_448 / 1_500
"""Payload of a full packet, with time stamps."""


class RoundTrips(NamedTuple):
    """Seconds; None without an answer."""

    median_s: float | None
    min_s: float | None
    max_s: float | None


def round_trips(source: Host, targets: Sequence[Host], count: int, way_s: float) -> list[RoundTrips]:
    """To each target, all at once. `way_s` is the longest that is expected."""
    own = os.getpid() & 0xFFFF
    sent: dict[tuple[str, int], int] = {}
    found: dict[str, list[float]] = {target.address: [] for target in targets}
    with source.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as echo:
        echo.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        deadline = time.monotonic()
        for number in range(count + 1):
            if number < count:
                for target in targets:
                    sent[target.address, number] = time.time_ns()
                    echo.sendto(_request(own, number), (target.address, 0))
            deadline += ECHO_INTERVAL_S if number < count else way_s + ANSWER_S
            while len(sent) and (left := deadline - time.monotonic()) > 0:
                if select.select([echo], [], [], left)[0]:
                    _hear(echo, own, sent, found)
    return [
        RoundTrips(median(times), min(times), max(times)) if times else RoundTrips(None, None, None)
        for times in (found[target.address] for target in targets)
    ]


def _request(own: int, number: int) -> bytes:
    """ICMP's checksum is the complement of a sum of 16-bit words; the packet has no others than these."""
    total = (ECHO_REQUEST << 8) + own + number
    total = (total & 0xFFFF) + (total >> 16)
    return ECHO.pack(ECHO_REQUEST, 0, ~total & 0xFFFF, own, number)


def _hear(echo: socket.socket, own: int, sent: dict[tuple[str, int], int], found: dict[str, list[float]]) -> None:
    """One packet; of answers to others, which a raw socket hears too, nothing is kept."""
    packet, extra, _, sender = echo.recvmsg(2_048, 128)
    kind, _, _, whose, number = ECHO.unpack_from(packet, (packet[0] & 15) * 4)
    begun = sent.pop((sender[0], number), None) if (kind, whose) == (ECHO_REPLY, own) else None
    stamps = [data for level, what, data in extra if (level, what) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)]
    if begun is not None and stamps:
        seconds, nanoseconds = TIMESPEC.unpack_from(stamps[0])
        found[sender[0]].append((seconds * 10**9 + nanoseconds - begun) / 1e9)


def lost(source: Host, target: Host, packets: int, way_s: float, bandwidth_bytes_s: float | None) -> int:
    """Of so many datagrams, sent at half of what the link takes at most."""
    rate = DATAGRAMS_S
    if bandwidth_bytes_s is not None:
        rate = min(rate, max(100, int(bandwidth_bytes_s / 2 / (DATAGRAM_BYTES + HEADERS_BYTES))))
    payload = bytes(DATAGRAM_BYTES)
    with _udp(target) as taker, _udp(source) as giver:
        taker.bind((target.address, 0))
        with suppress(OSError):  # where only the kernel's own most is allowed, that is what there is
            taker.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        where = taker.getsockname()
        begun, sent, heard = time.monotonic(), 0, 0
        while sent < packets:
            due = min(packets, int((time.monotonic() - begun) * rate) + 1)
            for _ in range(due - sent):
                giver.sendto(payload, where)
            sent = max(sent, due)
            heard += _drain(taker, 1 / rate)
        deadline = time.monotonic() + way_s + ANSWER_S
        while heard < packets and (left := deadline - time.monotonic()) > 0:
            heard += _drain(taker, left)
    return packets - heard


def _udp(host: Host) -> socket.socket:
    return host.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def _drain(taker: socket.socket, timeout_s: float) -> int:
    """Datagrams there now; if there are none, those that come first."""
    count = 0
    if select.select([taker], [], [], timeout_s)[0]:
        with suppress(BlockingIOError):
            while True:
                taker.recv(DATAGRAM_BYTES, socket.MSG_DONTWAIT)
                count += 1
    return count


def carried_bytes_s(source: Host, target: Host) -> float:
    """Bytes of IP packets a second of FLOWS TCP flows together, once they have found their rate."""
    counts = [0] * FLOWS
    over = threading.Event()
    with _flows(source, target) as pairs:
        threads = [threading.Thread(target=_give, args=(giver, over), daemon=True) for giver, _ in pairs]
        threads += [
            threading.Thread(target=_take, args=(taker, counts, place, over), daemon=True)
            for place, (_, taker) in enumerate(pairs)
        ]
        for thread in threads:
            thread.start()
        over.wait(RAMP_S)
        begun, before = time.monotonic(), sum(counts)
        over.wait(WINDOW_S)
        seconds, grown = time.monotonic() - begun, sum(counts) - before
        over.set()
        for thread in threads:
            thread.join()
    return grown / seconds / TCP_SHARE


@contextmanager
def _flows(source: Host, target: Host) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """(sender's end, receiver's end) of each."""
    pairs = []
    with ExitStack() as stack, target.call(lambda: socket.create_server((target.address, PORT))) as server:
        for _ in range(FLOWS):
            giver = stack.enter_context(
                source.call(lambda: socket.create_connection((target.address, PORT), ANSWER_S + TIMEOUT_S))
            )
            taker = stack.enter_context(server.accept()[0])
            taker.settimeout(ANSWER_S)
            pairs.append((giver, taker))
        yield pairs


def _give(giver: socket.socket, over: threading.Event) -> None:
    payload = os.urandom(CHUNK_BYTES)
    giver.settimeout(ANSWER_S)
    with suppress(OSError):
        while not over.is_set():
            giver.send(payload)


def _take(taker: socket.socket, counts: list[int], place: int, over: threading.Event) -> None:
    buffer = bytearray(CHUNK_BYTES)
    with suppress(OSError):
        while not over.is_set():
            counts[place] += taker.recv_into(buffer)


def probe(network: Network, topology: Topology, kind: Kind, trial: int | None) -> list[LinkProbe]:
    """The way between two clusters that have hosts, in either direction, where no third one with hosts is on it. Under
    load, round trips alone."""
    first: dict[str, Host] = {}
    for host in network.hosts.values():
        where, number = host.name.split("-")
        first.setdefault(topology.cluster_of(where, int(number)).name, host)
    found = [each for source in first for each in _round_trips(source, first, topology, kind, trial)]
    if trial is not None:
        return found
    # Round trips first: the queues that the rest fills take a while to be empty again.
    return [_filled(each, first[each.source], first[each.target]) for each in found]


def _round_trips(
    source: str, first: Mapping[str, Host], topology: Topology, kind: Kind, trial: int | None
) -> list[LinkProbe]:
    others = [
        target for target in first if target != source and first.keys().isdisjoint(topology.between(source, target))
    ]
    ways = {target: (topology.way(source, target), topology.way(target, source)) for target in others}
    longest_s = max(sum(way.delay_s + way.jitter_s for way in both) for both in ways.values())
    count = ECHOES if trial is None else ECHOES_LOADED
    trips = round_trips(first[source], [first[target] for target in others], count, longest_s)
    control = first[source].call(lambda: CONGESTION_CONTROL.read_text(encoding="ascii").strip())
    memory = first[source].call(lambda: (_most(TCP_RECEIVE), _most(TCP_SEND)))
    return [
        LinkProbe(
            source=source,
            target=target,
            kind=kind,
            trial=trial,
            asked_rtt_s=sum(way.delay_s for way in ways[target]),
            rtt_s=trip.median_s,
            rtt_min_s=trip.min_s,
            rtt_max_s=trip.max_s,
            asked_loss=ways[target][0].loss,
            asked_bandwidth_bytes_s=ways[target][0].bandwidth_bytes_s,
            congestion_control=control,
            tcp_memory_bytes=memory,
        )
        for target, trip in zip(others, trips, strict=True)
    ]


def _most(sizes: Path) -> int:
    """The last of a socket's least, first and most memory."""
    return int(sizes.read_text(encoding="ascii").split()[-1])


def _filled(probe: LinkProbe, source: Host, target: Host) -> LinkProbe:
    """With what can be found only by filling the way."""
    packets, limit = PACKETS_LOSSY if probe.asked_loss else PACKETS, probe.asked_bandwidth_bytes_s
    gone = lost(source, target, packets, probe.asked_rtt_s, limit)
    rate = None if limit is None else carried_bytes_s(source, target)
    return probe.model_copy(update={"packets_sent": packets, "packets_lost": gone, "bandwidth_bytes_s": rate})

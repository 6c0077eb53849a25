"""Packets per MB of each data plane, as super-packets and as TCP segments, and why they differ.

Under load at the limit, counters over a window give what the interfaces and the sockets counted; then all offloads are
switched off and the same is counted again: now an interface's packets must be the sockets' segments. Between the two,
a short capture at the client's and at a broker's interface tells how large packets and TLS records are. A packet
counts as one record alone if it holds exactly one TLS record, from its first byte to its last.
"""

from __future__ import annotations

import argparse
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.offloads import set_offloads
from meshmark.backends.lab.backend import lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.backends.lab.link import HOST_INTERFACE, Host
from meshmark.clock import SystemClock
from meshmark.data_plane import DataPlane
from meshmark.kafka.properties import BROKER_PORT
from meshmark.load.generator import Load, load, producer_spec
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload

LOG_BUDGET_BYTES = 10_000_000_000
WARM_UP_S = 12.0
WINDOW_S = 3.0
CAPTURE_S = 0.7
SNAP_BYTES = 65_600
ETH_P_ALL = 0x0003
OUTGOING = 4
TCP = 6
TLS_DATA = b"\x17\x03\x03"
TLS_HEAD = 5
SEED = 1


@dataclass
class Seen:
    """One direction at one interface."""

    packets: int = 0
    with_data: int = 0
    data_bytes: int = 0
    alone: int = 0
    records: list[int] = field(default_factory=list)

    def add(self, payload: bytes) -> None:
        self.packets += 1
        if not payload:
            return
        self.with_data += 1
        self.data_bytes += len(payload)
        sizes = tls_records(payload)
        self.records += sizes
        self.alone += sizes == [len(payload)]


def tls_records(payload: bytes) -> list[int]:
    """Sizes of the records that a packet begins with, the head of five bytes inside."""
    sizes = []
    at = 0
    while payload[at : at + 3] == TLS_DATA and len(payload) >= at + TLS_HEAD:
        size = TLS_HEAD + int.from_bytes(payload[at + 3 : at + TLS_HEAD], "big")
        sizes.append(size)
        at += size
    return sizes


def capture(host: Host, seconds: float) -> dict[str, Seen]:
    """What crosses the host's interface to and from Kafka's port, by direction."""

    def listen() -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        opened.bind((HOST_INTERFACE, 0))
        return opened

    seen: dict[str, Seen] = {}
    with host.call(listen) as tap:
        tap.settimeout(seconds)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                frame, address = tap.recvfrom(SNAP_BYTES)
            except TimeoutError:
                break
            if frame[12:14] == b"\x08\x00" and frame[23] == TCP:
                ports, payload = _tcp(frame)
                if BROKER_PORT in ports:
                    to_kafka = "requests" if ports[1] == BROKER_PORT else "answers"
                    way = "sent" if address[2] == OUTGOING else "received"
                    seen.setdefault(f"{to_kafka} {way}", Seen()).add(payload)
    return seen


def _tcp(frame: bytes) -> tuple[tuple[int, int], bytes]:
    start = 14 + (frame[14] & 15) * 4
    end = 14 + struct.unpack_from("!H", frame, 16)[0]
    return struct.unpack_from("!HH", frame, start), frame[start + (frame[start + 12] >> 4) * 4 : end]


def window(cluster: LabCluster, running: Load, clock: SystemClock) -> Mapping[str, float]:
    """Sums over all hosts' interfaces per MB acknowledged, and acknowledged MB/s."""

    def read() -> tuple[float, Counter[str]]:
        counters: Counter[str] = Counter()
        acknowledged = running.mark().totals.acknowledged_bytes
        for probe in cluster.probes():
            for key, value in probe.read().items():
                if "/net/" in key:
                    counters[key.rpartition("/")[2]] += int(value)
        return acknowledged / 1e6, counters

    (before_mb, before), begun = read(), clock.now()
    clock.sleep(WINDOW_S)
    (after_mb, after), ended = read(), clock.now()
    mb = after_mb - before_mb
    return {key: (after[key] - before[key]) / mb for key in after} | {"rate": mb / (ended - begun)}


def measure(data_plane: DataPlane) -> None:
    scenario = Scenario(name="it", data_plane=data_plane, cluster=ClusterSpec(), workload=Workload())
    clock = SystemClock()
    with lab("bench") as backend:
        backend.prepare(Plan(name="packets", log_budget_bytes=LOG_BUDGET_BYTES, scenarios=(scenario,)))
        with backend.cluster(scenario) as cluster:
            layout = cluster.create_topics(scenario.workload, "packets")
            spec = producer_spec(scenario.workload, cluster, layout, client=1, seed=SEED)
            with load(cluster, [spec], clock) as running:
                running.start()
                clock.sleep(WARM_UP_S)
                _print_window(data_plane, "on", window(cluster, running, clock))
                hosts = cluster.network.hosts
                for name in (cluster.client_hosts[0], cluster.broker_hosts[0]):
                    for what, seen in sorted(capture(hosts[name], CAPTURE_S).items()):
                        _print_seen(data_plane, f"{name}, {what}", seen)
                for host in hosts.values():
                    host.call(lambda: set_offloads(HOST_INTERFACE, on=False))
                _print_window(data_plane, "off", window(cluster, running, clock))
                running.stop()


def _print_window(data_plane: DataPlane, offloads: str, found: Mapping[str, float]) -> None:
    packets, segments = found["tx_packets"], found["tcp_wire_out_segments"]
    print(
        f"{data_plane}, offloads {offloads}: {packets:.0f} packets/MB of {found['tx_bytes'] / packets:.0f} bytes, "
        f"{segments:.0f} segments/MB on the wire ({found['tcp_out_segments']:.0f} with loopback), packets/segments "
        f"{packets / segments:.3f}, at {found['rate']:.0f} MB/s",
        flush=True,
    )


def _print_seen(data_plane: DataPlane, where: str, seen: Seen) -> None:
    mean = seen.data_bytes / seen.with_data if seen.with_data else 0
    line = f"{data_plane}, {where}: {seen.packets} packets, {seen.with_data} with data, {mean:.0f} bytes of it each"
    if seen.records:
        common = ", ".join(f"{size} ({count})" for size, count in Counter(seen.records).most_common(4))
        line += f"; TLS records of {sum(seen.records) / len(seen.records):.0f} bytes, most often {common}"
        line += f"; {seen.alone / seen.with_data:.0%} of the packets are one record alone"
    print(line, flush=True)


LAB = [plane for plane in DataPlane if "lab" in plane.backends]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.packets", description=__doc__)
    parser.add_argument("--data-plane", type=DataPlane, choices=LAB, action="append")
    for data_plane in parser.parse_args().data_plane or LAB:
        measure(data_plane)


if __name__ == "__main__":
    main()

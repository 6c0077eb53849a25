"""Inside a pod: how long the kernel's handshakes with another pod take, and a port there to make them with.

The time is TCP's own, from the first packet to its answer (`tcpi_rtt` of the kernel's include/uapi/linux/tcp.h). The
other kernel answers as long as anything listens, before a process hears of it.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

INFO_BYTES = 104
RTT, RETRANSMITTED = 68, 100
"""Where struct tcp_info has the round trip, in microseconds, and how many packets were sent again."""


class Handshakes(NamedTuple):
    """Times of those that were answered at once, and why the last that failed did; empty where none did."""

    times_s: list[float]
    failed: str


@contextmanager
def listening(address: str, port: int) -> Iterator[None]:
    """Whoever connects meanwhile is let go at once."""
    with socket.create_server((address, port)) as server:
        thread = threading.Thread(target=_let_go, args=(server,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes who waits for connections; to close it does not
            thread.join()


def handshakes(address: str, port: int, count: int, timeout_s: float) -> Handshakes:
    """So many, one after the other; fewer where that takes longer than the timeout."""
    times_s: list[float] = []
    failed = ""
    end = time.monotonic() + timeout_s
    for _ in range(count):
        if (left_s := end - time.monotonic()) <= 0:
            break
        try:
            with socket.create_connection((address, port), left_s) as connection:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES)
        except OSError as error:
            failed = str(error)
            continue
        rtt_us, again = (struct.unpack_from("=I", info, offset)[0] for offset in (RTT, RETRANSMITTED))
        if rtt_us and not again:
            times_s.append(rtt_us / 1e6)
        else:
            failed = "its first packet was lost"
    return Handshakes(times_s, failed)


def _let_go(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            server.accept()[0].close()

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

TIMEOUT_S = 5.0
"""Of one, and after which no other is begun."""
INFO_BYTES = 104
RTT, RETRANSMITTED = 68, 100
"""Where struct tcp_info has the round trip, in microseconds, and how many packets were sent again."""


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


def times_s(address: str, port: int, count: int) -> list[float]:
    """Of so many, one after the other, those that were answered at once; fewer where they take long."""
    found: list[float] = []
    deadline = time.monotonic() + TIMEOUT_S
    for _ in range(count):
        with suppress(OSError), socket.create_connection((address, port), TIMEOUT_S) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES)
            rtt_us, again = (struct.unpack_from("=I", info, offset)[0] for offset in (RTT, RETRANSMITTED))
            if rtt_us and not again:
                found.append(rtt_us / 1e6)
        if time.monotonic() > deadline:
            break
    return found


def _let_go(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            server.accept()[0].close()

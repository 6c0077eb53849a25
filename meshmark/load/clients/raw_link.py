"""One connection of the raw client to one broker: bytes out, answers in, requests under way in the order of both.

Nothing blocks. A broken connection is an OSError; what was under way is then for the caller to book.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections import deque
from dataclasses import dataclass
from itertools import islice

from meshmark.load.clients import ClientError
from meshmark.load.clients.raw_batch import Int64Array
from meshmark.load.clients.raw_wire import Target

_READ_BYTES = 65_536
_AT_ONCE = 64
_SIZE = struct.Struct(">i")
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(slots=True)
class Request:
    """A batch under way."""

    correlation: int
    target: Target
    number: int
    """Of the target."""
    count: int
    """Its records that are not resolved: 0 when they were given up before the answer came."""
    intended_ns: Int64Array
    taken_ns: int
    """When the client took the oldest of them."""


class Link:
    """See the head of the module. Close it."""

    def __init__(self, made: socket.socket) -> None:
        made.setblocking(False)
        self._socket = made
        self._tls = isinstance(made, ssl.SSLSocket)
        self._out: deque[memoryview] = deque()
        self._in = bytearray()
        self._correlation = 0
        self._ended = False
        self.blocked = False
        """Something was unsent after the last flush."""
        self.under_way: deque[Request] = deque()
        self.stored: dict[int, int] = {}
        """Of a target: the offset after its last batch that this connection stored."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def next_correlation(self) -> int:
        self._correlation = (self._correlation + 1) & 0x7FFFFFFF
        return self._correlation

    def put(self, request: Request, parts: tuple[bytes | bytearray | memoryview, ...]) -> None:
        """To be sent by `flush`. TLS makes records of what it is given at once, so there the parts are joined."""
        self.under_way.append(request)
        if self._tls:
            self._out.append(memoryview(b"".join(parts)))
        else:
            self._out.extend(map(memoryview, parts))

    @property
    def unsent(self) -> bool:
        return bool(self._out)

    def flush(self) -> None:
        """As much as the socket takes."""
        out = self._out
        try:
            while out:
                self._drop(self._socket.send(out[0]) if self._tls else self._socket.sendmsg(islice(out, _AT_ONCE)))
        except _BLOCKED:
            return

    def _drop(self, sent: int) -> None:
        out = self._out
        while sent:
            first = out[0]
            if sent < len(first):
                out[0] = first[sent:]
                return
            sent -= len(first)
            out.popleft()

    def answers(self) -> list[tuple[Request, bytes]]:
        """What has come back since the last call."""
        self._receive()
        buffer, at = self._in, 0
        found: list[tuple[Request, bytes]] = []
        while len(buffer) >= at + _SIZE.size:
            (size,) = _SIZE.unpack_from(buffer, at)
            end = at + _SIZE.size + size
            if len(buffer) < end:
                break
            found.append((self._asked(buffer, at + _SIZE.size), bytes(buffer[at + _SIZE.size : end])))
            at = end
        del buffer[:at]
        if self._ended and not found:
            raise ConnectionResetError("the broker has closed the connection")
        return found

    def _asked(self, buffer: bytearray, at: int) -> Request:
        """A broker answers the requests of a connection in their order."""
        (correlation,) = _SIZE.unpack_from(buffer, at)
        if not self.under_way or self.under_way[0].correlation != correlation:
            raise ClientError("_BAD_MSG", f"an answer to request {correlation}, which is not the oldest one")
        return self.under_way.popleft()

    def _receive(self) -> None:
        try:
            while True:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    self._ended = True
                    return
                self._in += data
                # A TLS socket may hold more that select knows nothing of.
                if not self._tls and len(data) < _READ_BYTES:
                    return
        except _BLOCKED:
            return

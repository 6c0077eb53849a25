"""Asks a broker for its API versions over a bare socket: the smallest question that only Kafka answers.

What is between may refuse, keep silent or answer something else; each is told apart. Under TLS 1.3 the client's side
of a handshake ends before the server has judged the client's certificate, so only an answer of Kafka counts.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable

TIMEOUT_S = 5.0
API_VERSIONS = 18
CORRELATION = 0x6D6D
# Request header version 1 (API key, API version, correlation id, client id) and no body: ApiVersions version 0.
CLIENT_ID = b"meshmark"
BODY = struct.pack(f"!hhih{len(CLIENT_ID)}s", API_VERSIONS, 0, CORRELATION, len(CLIENT_ID), CLIENT_ID)
REQUEST = struct.pack("!i", len(BODY)) + BODY

Wrap = Callable[[socket.socket, str | None], socket.socket]
"""A connection, and the server name to ask for."""


def plain_client(raw: socket.socket, server_name: str | None) -> socket.socket:
    return raw


def ask(
    address: str, port: int, wrap: Wrap = plain_client, *, server_name: str | None = None, mark: int | None = None
) -> tuple[bool, str]:
    """Did Kafka answer, and what happened. A timeout counts as no answer, and is told apart from a refusal. `mark` is
    the socket's (SO_MARK)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as raw:
        raw.settimeout(TIMEOUT_S)
        if mark is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        try:
            raw.connect((address, port))
            with wrap(raw, server_name) as connection:
                connection.sendall(REQUEST)
                return _judge(connection)
        except TimeoutError:
            return False, f"silence for {TIMEOUT_S:.0f} s"
        except ssl.SSLError as error:
            return False, f"TLS: {error.reason or error}"
        except OSError as error:
            return False, error.strerror or str(error)


def _judge(connection: socket.socket) -> tuple[bool, str]:
    received = b""
    while len(received) < 10:
        piece = connection.recv(4096)
        if not piece:
            return False, f"the connection was closed after {len(received)} bytes"
        received += piece
    size, correlation, error = struct.unpack("!iih", received[:10])
    if correlation != CORRELATION:
        return False, f"an answer that is not Kafka's: {received[:10]!r}"
    protocol = f" over {connection.version()}" if isinstance(connection, ssl.SSLSocket) else " in the clear"
    return error == 0, f"Kafka answered {size} bytes{protocol}, error code {error}"

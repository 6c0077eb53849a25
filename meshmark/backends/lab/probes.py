"""Reads what the lab's sidecars and brokers say of themselves: implementations of `cluster.Probe` over Unix sockets.

Keys: HOST/sidecar, HOST/gateway and HOST/kafka. Reading never raises: what cannot be read now is absent.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path

from meshmark.backends.lab.unix import connected
from meshmark.probes import envoy, kafka
from meshmark.probes.host import CHUNK_BYTES, HostProbe, keyed
from meshmark.record import Counters


class SidecarProbe(HostProbe):
    """An Envoy's own byte and connection counters, over the Unix socket of its admin interface; `parse` as in
    `probes.envoy`.

    The connection is kept. A proxy that does not answer within `timeout_s` has no values in this reading.
    """

    def __init__(
        self,
        host: str,
        admin_socket: Path,
        timeout_s: float = 0.5,
        *,
        component: str = "sidecar",
        parse: Callable[[str, float], envoy.Values] = envoy.statistics,
    ) -> None:
        super().__init__()
        self._prefix = f"{host}/{component}/"
        self._parse = parse
        self._connection = _UnixConnection(admin_socket, timeout_s)
        self._held.callback(self._connection.close)

    def read(self) -> Counters:
        try:
            self._connection.request("GET", envoy.STATS_PATH)
            response = self._connection.getresponse()
            text = response.read().decode()
            if response.status != http.HTTPStatus.OK:
                return {}
            return keyed(self._prefix, self._parse(text, time.time()))
        except (OSError, http.client.HTTPException, ValueError):
            self._connection.close()  # the next request connects again
            return {}


class KafkaMetricsProbe(HostProbe):
    """A broker's own metrics, over the Unix socket of `kafka.companion`.

    The connection is kept. A broker that does not answer within `timeout_s` has no values in this reading.
    """

    def __init__(self, host: str, metrics_socket: Path, timeout_s: float = 0.5) -> None:
        super().__init__()
        self._prefix = f"{host}/kafka/"
        self._path = metrics_socket
        self._timeout_s = timeout_s
        self._connection: socket.socket | None = None
        self._question = "\n".join([*kafka.QUESTIONS, "", ""]).encode()
        self._held.callback(self._hang_up)

    def read(self) -> Counters:
        try:
            return keyed(self._prefix, kafka.metrics(self._ask()))
        except (OSError, ValueError):
            self._hang_up()  # a late answer must not be taken for the next one's
            return {}

    def _ask(self) -> tuple[str, ...]:
        if self._connection is None:
            self._connection = connected(self._path, self._timeout_s)
        self._connection.sendall(self._question)
        answer = b""
        while answer.count(b"\n") < len(kafka.QUESTIONS):
            piece = self._connection.recv(CHUNK_BYTES)
            if not piece:
                raise ConnectionResetError
            answer += piece
        return tuple(answer.decode().splitlines())

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = connected(self._path, self._timeout_s)

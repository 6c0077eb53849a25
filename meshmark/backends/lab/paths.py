"""Times small requests along parts of the path, while load runs: how long proxies and the network take.

An ApiVersions request goes three ways to each broker, each over a connection that is kept: `through` the client's
sidecar and the broker's, as an application's does; `past` the client's sidecar (its socket bears the mark that
interception lets pass; under mTLS it speaks TLS itself, with an identity of the mesh, and tells a gateway which broker
is meant); and `direct`, from within the broker's host over loopback, past its sidecar too. The network alone is the
time in which a kernel refuses a connection to a closed port of the broker's host: `refused`. Timed are those ways that
there are: without sidecars that one alone, with the clients' alone not `direct`.

Each way has a thread that sends at random times, a broker at a time, in open loop: a request whose time came while
the one before was still under way is counted from the time at which it should have been sent. So a path that stands
still is seen by as many requests as it should be. The threads' own waits for a CPU are in every time alike, and leave
differences. Limits: requests of some 30 bytes do not wait for their own transmission, as a batch does, nor behind
other requests of their connection; one that is not answered within TIMEOUT_S is not counted.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from time import perf_counter
from typing import Protocol

from meshmark.backends.lab import proofs
from meshmark.backends.lab.gateway import Entrance, entrance
from meshmark.backends.lab.link import Host, Network
from meshmark.data_plane import DataPlane
from meshmark.dataplane.envoy import MARK
from meshmark.dataplane.identity import Identity
from meshmark.kafka.api_versions import REQUEST, Wrap, plain_client
from meshmark.kafka.properties import BROKER_PORT
from meshmark.record import Counters

CLOSED_PORT = 9
"""Nobody listens there, and interception lets it pass."""
INTERVAL_S = 0.04
"""Mean time between two requests of one way."""
TIMEOUT_S = 2.0

Connect = Callable[[], socket.socket]


class PathProbe:
    """Cumulative times and counts of each path, all brokers together; implements `cluster.Probe`."""

    edges_only = False

    def __init__(self, host: str) -> None:
        self._prefix = f"{host}/paths/"
        self._sums: dict[str, tuple[float, int]] = {}

    def note(self, path: str, seconds: float) -> None:
        taken, count = self._sums.get(path, (0.0, 0))
        self._sums[path] = (taken + seconds, count + 1)

    def read(self) -> Counters:
        values: Counters = {}
        for path, (seconds, count) in tuple(self._sums.items()):
            values[f"{self._prefix}{path}_s"] = seconds
            values[f"{self._prefix}{path}_requests"] = float(count)
        return values


@contextmanager
def timing_paths(network: Network, plane: DataPlane, *, identity: Identity | None, seed: int) -> Iterator[PathProbe]:
    """Requests of the first client go until the context is left. `identity`: what it shows brokers' sidecars under
    mTLS."""
    probe = PathProbe(network.client_hosts[0].name)
    ways = _ways(network, plane, identity)
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=len(ways), thread_name_prefix="paths") as pool:
        running = [pool.submit(_run, way, paths, probe, stop, seed) for way, paths in ways.items()]
        try:
            yield probe
        finally:
            stop.set()
        for ended in running:
            ended.result()


class _Way(Protocol):
    """One of the four, to one broker."""

    def go(self) -> None:
        """Raises OSError when there is no answer."""

    def close(self) -> None: ...


class _Path:
    """One way to one broker, over a connection that is kept."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: socket.socket | None = None

    def go(self) -> None:
        try:
            if self._connection is None:
                self._connection = self._connect()
            _exchange(self._connection)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Refusal:
    """The network's way: a closed port. Kept is a way into the client's namespace, where its sockets are made."""

    def __init__(self, client: Host, broker: Host) -> None:
        self._client = client
        self._address = (broker.address, CLOSED_PORT)
        self._socket: socket.socket | None = None

    def go(self) -> None:
        if self._socket is None:
            self._socket = self._client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            # Python's own timeout would poll, after which the kernel lets a socket connect only every other time.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(TIMEOUT_S), 0))
        try:
            self._socket.connect(self._address)
        except ConnectionRefusedError:
            return  # the socket may be used again
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _ways(network: Network, plane: DataPlane, identity: Identity | None) -> dict[str, list[_Way]]:
    client, brokers = network.client_hosts[0], network.broker_hosts

    def path(here: Host, door: Entrance, wrap: Wrap, *, mark: bool) -> _Path:
        return _Path(lambda: here.call(lambda: _connected(door, wrap, mark=mark)))

    doors = [(broker, Entrance(broker.address, BROKER_PORT, None)) for broker in brokers]
    ways: dict[str, list[_Way]] = {"refused": [_Refusal(client, broker) for broker in brokers]}
    if plane.has_sidecar("client"):
        as_sidecar = proofs.mesh_client(identity) if identity else plain_client
        ways["through"] = [path(client, door, plain_client, mark=False) for _, door in doors]
        ways["past"] = [path(client, entrance(network, client, broker), as_sidecar, mark=True) for broker in brokers]
    if plane.has_sidecar("broker"):
        ways["direct"] = [path(broker, door, plain_client, mark=False) for broker, door in doors]
    return ways


def _run(way: str, paths: Sequence[_Way], probe: PathProbe, stop: threading.Event, seed: int) -> None:
    source = random.Random(f"{seed}/{way}")
    with ExitStack() as held:
        for path in paths:
            held.callback(path.close)
            with suppress(OSError):
                path.go()  # the first one on a connection has more to do, and is not counted
        due = perf_counter()
        for path in itertools.cycle(paths):
            due += source.expovariate(1 / INTERVAL_S)
            overdue = perf_counter() > due
            if stop.wait(max(0.0, due - perf_counter())):
                return
            with suppress(OSError):
                begun = due if overdue else perf_counter()
                path.go()
                probe.note(way, perf_counter() - begun)


def _connected(door: Entrance, wrap: Wrap, *, mark: bool) -> socket.socket:
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        raw.settimeout(TIMEOUT_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if mark:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        raw.connect((door.address, door.port))
        return wrap(raw, door.server_name)
    except OSError:
        raw.close()
        raise


def _exchange(connection: socket.socket) -> None:
    """Sends a request and reads its whole answer."""
    connection.sendall(REQUEST)
    left = int.from_bytes(_read(connection, 4), "big")
    _read(connection, left)


def _read(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            raise ConnectionResetError
        received += piece
    return received

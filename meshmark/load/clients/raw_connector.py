"""Connections and metadata for the raw client, made in threads of their own: a handshake takes milliseconds that the
loop does not have, and a broker that is away takes seconds. What comes of it is taken by the loop when it looks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Generic, TypeVar

from meshmark.load.clients import ClientError
from meshmark.load.clients.raw_wire import Access, Address, Layout, connect, layout

T = TypeVar("T")

AGAIN_S = 0.25
"""After a failure, and between two questions for metadata."""
_THREADS = 4


class Attempt(Generic[T]):
    """Something that is tried in a thread until it succeeds, each time when the caller asks for it."""

    def __init__(self, pool: ThreadPoolExecutor, run: Callable[[], T]) -> None:
        self._pool, self._run = pool, run
        self._future: Future[T] | None = None
        self._not_before_s = 0.0

    def result(self) -> T | None:
        """None while there is none. Raises what the last try raised, OSError as ClientError, once for each try."""
        if self._future is None:
            if monotonic() >= self._not_before_s:
                self._future = self._pool.submit(self._run)
            return None
        if not self._future.done():
            return None
        done, self._future = self._future, None
        self._not_before_s = monotonic() + AGAIN_S
        try:
            return done.result()
        except OSError as error:
            raise ClientError("_TRANSPORT", str(error)) from None

    def abandon(self) -> None:
        """What is still to come of it is closed where it must be."""
        if self._future is not None:
            self._future.add_done_callback(_close)


class Connector:
    """Close it."""

    def __init__(self, bootstrap_servers: str, topics: tuple[str, ...], access: Access) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="connect")
        self._bootstrap = [_address(each) for each in bootstrap_servers.split(",")]
        self._topics, self._access = topics, access
        self._turn = 0

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def finding(self) -> Attempt[Layout]:
        """Each try asks the next one of the servers given."""
        return Attempt(self._pool, self._find)

    def connecting(self, address: Address) -> Attempt[socket.socket]:
        return Attempt(self._pool, lambda: connect(address, self._access))

    def _find(self) -> Layout:
        self._turn += 1
        return layout(self._bootstrap[self._turn % len(self._bootstrap)], self._access, self._topics)


def _address(text: str) -> Address:
    host, _, port = text.strip().rpartition(":")
    return host.strip("[]"), int(port)


def _close(done: Future[T]) -> None:
    if not done.cancelled() and done.exception() is None:
        made = done.result()
        if isinstance(made, socket.socket):
            made.close()

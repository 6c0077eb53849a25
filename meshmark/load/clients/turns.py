"""Whose turn it is among the connections of an open loop."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """The turn of a connection lasts until it has been given a batch, or for `linger.ms`; then it is the next one's
    with room. So a batch holds what comes due within `linger.ms`, as if one producer had the whole load."""

    def __init__(self, connections: int, *, batch: int, linger_ns: int) -> None:
        self._connections, self._batch, self._linger_ns = connections, batch, linger_ns
        self._place = -1
        self._left = self._since_ns = 0

    def take(self, count: int, now_ns: int, room: Callable[[int], int]) -> int | None:
        """The place of the connection that `count` records go to; None if none has room for them."""
        over = self._left <= 0 or now_ns - self._since_ns >= self._linger_ns
        if over or room(self._place) < count:
            following = (
                place % self._connections for place in range(self._place + 1, self._place + 1 + self._connections)
            )
            found = next((place for place in following if room(place) >= count), None)
            if found is None:
                return None
            self._place, self._left, self._since_ns = found, self._batch, now_ns
        self._left -= count
        return self._place

"""One direction of a link: which packets pass, and when. Pure: times and the source of chance are given.

Loss comes first, as on the way: of single segments, so a super-packet may lose some of its own. What is left waits for
the link's bandwidth behind what came before; what finds the queue full is dropped, from the tail. Then it travels:
the delay, more or less up to the jitter, evenly. Order is kept, as on one path.

Limit: since order is kept, a packet close behind a late one is as late, so a dense stream has a mean delay somewhat
above the one that was asked for, where jitter is.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass

from meshmark.relay.segments import cut, kept, shape

LATENESS_WEIGHT = 1 / 32
LATENESS_MAX_S = 0.0003
"""Of one packet in the usual lateness; what is later than that was kept by something else than waking up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DirectionSpec:
    """None: without limit. Loss is a share of segments, below 1."""

    delay_s: float
    jitter_s: float = 0.0
    loss: float = 0.0
    bandwidth_bytes_s: float | None = None
    queue_bytes: int = 0


class Direction:
    """Packets under way, the first to arrive first: when each is due, the packet, its segments, and its bytes as IP
    packets. Counts are of segments and of such bytes, and never fall."""

    def __init__(self, spec: DirectionSpec, source: random.Random) -> None:
        self._spec = spec
        self._source = source
        self._free_at = 0.0
        self._last_due = 0.0
        self._lateness_s = 0.0
        self._until_loss = self._draw()
        self.under_way: deque[tuple[float, bytes, int, int]] = deque()
        self.carried = 0
        self.carried_bytes = 0
        self.lost = 0
        self.dropped = 0

    def counts(self) -> tuple[int, int, int, int]:
        """Segments carried, lost, dropped, and bytes carried."""
        return self.carried, self.lost, self.dropped, self.carried_bytes

    def accept(self, packet: bytes, now: float) -> None:
        """A packet that has just come."""
        spec = self._spec
        segments, length = shape(packet)
        pieces = [(packet, segments, length)]
        if self._until_loss < segments:
            lost = self._lost(segments)
            self.lost += len(lost)
            pieces = [(piece, *shape(piece)) for piece in cut(packet, kept(segments, lost))]
        else:
            self._until_loss -= segments
        if spec.bandwidth_bytes_s is not None:
            for piece in pieces:
                self._queue(*piece, spec.bandwidth_bytes_s, now)
            return
        due = self._due(now)
        for piece in pieces:
            self.under_way.append((due, *piece))

    def taken(self, segments: int, length: int) -> None:
        """At the end."""
        self.carried += segments
        self.carried_bytes += length

    def refused(self, segments: int) -> None:
        """At the end: counted with those that found a queue full."""
        self.dropped += segments

    def noted(self, lateness_s: float) -> None:
        """So late was a packet handed on. Waking up takes that long, when a packet is due as when one comes, so twice
        what is usual is taken off the delay of those to come."""
        self._lateness_s += (min(lateness_s, LATENESS_MAX_S) - self._lateness_s) * LATENESS_WEIGHT

    def _queue(self, packet: bytes, segments: int, length: int, bandwidth_bytes_s: float, now: float) -> None:
        self._free_at = max(self._free_at, now)
        room = self._spec.queue_bytes - (self._free_at - now) * bandwidth_bytes_s
        fitting = segments if length <= room else int(max(0.0, room) // (length / segments))
        self.dropped += segments - fitting
        if not fitting:
            return
        for piece in cut(packet, [(0, fitting)]):
            length = shape(piece)[1]
            self._free_at += length / bandwidth_bytes_s
            self.under_way.append((self._due(self._free_at), piece, fitting, length))

    def _due(self, sent_at: float) -> float:
        spec = self._spec
        way_s = max(0.0, spec.delay_s - 2 * self._lateness_s)
        if spec.jitter_s:
            way_s += self._source.uniform(-spec.jitter_s, spec.jitter_s)
        self._last_due = max(self._last_due, sent_at + way_s)
        return self._last_due

    def _lost(self, segments: int) -> list[int]:
        """Which of the next so many."""
        lost, at = [], 0
        while at + self._until_loss < segments:
            at += int(self._until_loss)
            lost.append(at)
            at += 1
            self._until_loss = self._draw()
        self._until_loss -= segments - at
        return lost

    def _draw(self) -> float:
        """So many segments pass before the next one that does not: one draw for each loss, not for each segment."""
        if self._spec.loss <= 0:
            return math.inf
        return float(int(math.log(1 - self._source.random()) / math.log1p(-self._spec.loss)))

"""One connection in the workload's sense: its records that wait, by partition, and a link to each broker it needs.

A partition's records wait until they fill a batch, or the oldest of them has waited for `linger.ms` and their broker's
link has room; so batches grow while a link is full, as they do in Kafka's own clients. Records are known by their
intended send times alone.
"""

from __future__ import annotations

import random
from collections import deque

import numpy as np

from meshmark.load.clients.raw_batch import Int64Array
from meshmark.load.clients.raw_link import Link


class Waiting:
    """Records for one partition, oldest first."""

    def __init__(self) -> None:
        self._parts: deque[tuple[int, Int64Array]] = deque()
        self.count = 0

    def put(self, intended_ns: Int64Array, now_ns: int) -> None:
        self._parts.append((now_ns, intended_ns))
        self.count += len(intended_ns)

    @property
    def since_ns(self) -> int:
        return self._parts[0][0]

    def take(self, most: int) -> tuple[int, Int64Array]:
        """At most so many, of which there are some: when the oldest was put here, and their intended times."""
        since_ns, found = self.since_ns, []
        left = min(most, self.count)
        self.count -= left
        while left:
            put_ns, part = self._parts.popleft()
            if len(part) > left:
                self._parts.appendleft((put_ns, part[left:]))
                part = part[:left]
            found.append(part)
            left -= len(part)
        return since_ns, found[0] if len(found) == 1 else np.concatenate(found)

    def drop(self, before_ns: int) -> int:
        """Gives up what was put here before an instant; how much that was."""
        dropped = 0
        while self._parts and self.since_ns < before_ns:
            dropped += len(self._parts.popleft()[1])
        self.count -= dropped
        return dropped


class Lane:
    """See the head of the module."""

    def __init__(self, targets: int, *, capacity: int, most: int, linger_ns: int) -> None:
        self.capacity, self._most, self._linger_ns = capacity, most, linger_ns
        self.outstanding = 0
        self.links: dict[int, Link] = {}
        self.waiting = [Waiting() for _ in range(targets)]
        self.busy: dict[int, None] = {}
        """Targets for which records wait, the one served longest ago first."""
        self._route = list(range(targets))
        self._place = self._left = self._since_ns = 0

    def shuffle(self, source: random.Random) -> None:
        """Otherwise all lanes would go from partition to partition together."""
        source.shuffle(self._route)

    @property
    def room(self) -> int:
        return max(0, self.capacity - self.outstanding)

    def accept(self, intended_ns: Int64Array, now_ns: int) -> None:
        """Records for the partition whose turn it is: the same one until it has a batch, or the linger is over."""
        count = len(intended_ns)
        if self._left <= 0 or now_ns - self._since_ns >= self._linger_ns:
            self._place = (self._place + 1) % len(self._route)
            self._left, self._since_ns = self._most, now_ns
        self._left -= count
        target = self._route[self._place]
        self.waiting[target].put(intended_ns, now_ns)
        self.busy[target] = None
        self.outstanding += count

    def due(self, target: int, now_ns: int) -> bool:
        """A batch is full, or has waited long enough."""
        waiting = self.waiting[target]
        return waiting.count >= self._most or (waiting.count > 0 and now_ns - waiting.since_ns >= self._linger_ns)

    def take(self, target: int) -> tuple[int, Int64Array]:
        """A batch's records, which are under way from now on."""
        taken = self.waiting[target].take(self._most)
        del self.busy[target]
        if self.waiting[target].count:
            self.busy[target] = None
        return taken

    def give_up(self, before_ns: int) -> int:
        """Records that have waited since before an instant; they are the caller's to book."""
        dropped = 0
        for target in list(self.busy):
            dropped += self.waiting[target].drop(before_ns)
            if not self.waiting[target].count:
                del self.busy[target]
        self.outstanding -= dropped
        return dropped

"""Where a worker writes down what it measures: the one clock, and the three moments at which it is read.

A record's life has an intended send time (the schedule's), the moment at which the client took it, the moment at which
its delivery report was seen, and the one at which a consumer saw it. Only what is in here turns them into latencies,
so this is the place to look at, and to break on purpose, when the instrument itself is tested.

Limits: a delivery report or a record is seen when the worker polls, a pass of its loop (some two milliseconds) after
it came at the latest; so latencies are too long by that much, never too short. Values are microseconds, whole ones.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

import numpy as np
from numpy.typing import NDArray

from meshmark.histogram import Histogram
from meshmark.load.agenda import own_delay_ns

Int64Array = NDArray[np.int64]

# Values wait here for the histogram, since adding to it costs some tens of microseconds however many they are.
BUFFER = 32_768


class Tally:
    """A histogram that is given nanoseconds, a few at a time."""

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._waiting = np.empty(BUFFER, dtype=np.int64)
        self._count = 0
        self._negative = 0

    def add(self, values_ns: Int64Array) -> None:
        for first in range(0, len(values_ns), BUFFER):
            part = values_ns[first : first + BUFFER]
            if self._count + len(part) > BUFFER:
                self._empty()
            self._waiting[self._count : self._count + len(part)] = part
            self._count += len(part)

    @property
    def negative(self) -> int:
        """Values below zero; they are in no bucket."""
        self._empty()
        return self._negative

    def encode(self) -> str:
        self._empty()
        return self._histogram.encode()

    def _empty(self) -> None:
        if self._count:
            values_ns = self._waiting[: self._count]
            fine = values_ns[values_ns >= 0]
            self._negative += self._count - len(fine)
            self._histogram.record(fine // 1_000)
            self._count = 0


class Recorder:
    """See the head of the module."""

    def __init__(self, now_ns: Callable[[], int] = monotonic_ns) -> None:
        self.now_ns = now_ns
        self.latency = Tally()
        self.lateness = Tally()
        self.end_to_end = Tally()
        self.held_ns = 0
        """Of all records handed over, summed: since their intended times."""
        self.missed_ns = 0
        """Of the schedule's end: never offered, because counting what came due took too long."""
        self._itemized: list[Int64Array] | None = None

    def follow(self, ahead_s: float) -> None:
        """Times are of another machine's clock from now on, which this one's is ahead of by so much."""
        ahead_ns = round(ahead_s * 1e9)
        self.now_ns = lambda: monotonic_ns() - ahead_ns

    def itemize(self) -> None:
        """From now on intended times are kept, 8 bytes a record: `items` tells which records were acknowledged, or
        read."""
        self._itemized = []

    def items(self) -> Int64Array:
        """In the order in which they were seen."""
        return np.concatenate([np.empty(0, dtype=np.int64), *(self._itemized or ())])

    def handed_over(self, intended_ns: Int64Array, looked_ns: int, now_ns: int) -> None:
        """The client takes these at `now_ns`; the worker had looked for due records last at `looked_ns`."""
        self.lateness.add(own_delay_ns(intended_ns, looked_ns, now_ns))
        self.held_ns += len(intended_ns) * now_ns - int(intended_ns.sum())

    def acknowledged(self, intended_ns: Int64Array) -> None:
        """Their delivery reports have just been read, and are free of errors."""
        self.latency.add(self.now_ns() - intended_ns)
        self._keep(intended_ns)

    def consumed(self, intended_ns: Int64Array) -> None:
        """They have just been read from a broker."""
        self.end_to_end.add(self.now_ns() - intended_ns)
        self._keep(intended_ns)

    def _keep(self, intended_ns: Int64Array) -> None:
        if self._itemized is not None:
            self._itemized.append(intended_ns)

    @property
    def negative(self) -> int:
        return self.latency.negative + self.end_to_end.negative

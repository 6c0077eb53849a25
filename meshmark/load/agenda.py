"""The schedule of one worker as it is worked off: which records are due, which of them the client has taken.

    agenda = Agenda(schedule, origin_s)
    seen_ns = agenda.look(now_ns)      # what is due by now is counted; of very much, as much as one pass may take
    agenda.upcoming(100)               # intended times of the next records that are due and not taken yet
    agenda.take(60)                    # the client had room for 60 of them
    agenda.close(until_ns)             # the schedule ends there
    agenda.give_up(now_ns)             # once it has ended: what nobody took

Records keep their order. What is due and not taken is held back; it may be millions of records when a cluster is
away, so only counts are kept, and intended times are computed anew when their turn comes. Pure: the clock is the
caller's. Times are nanoseconds of the machine's monotonic clock.

Limits: some millions of records a second can be counted (the dearest shape: one). A schedule that asks for more is
counted late, which is the generator's delay, and ends where the counting is a second after its end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshmark.pacer import Pacer
from meshmark.worker_protocol import Schedule

Int64Array = NDArray[np.int64]

_FOR_EVER_NS = 2**62
CHUNK = 2_048
"""Intended times are computed so many at once: some tenths of a millisecond for the dearest shape."""
CHUNKS_AT_ONCE = 32
"""A look counts so many at most, so that whoever commands the worker is heard: 30 million records a second at a look
every two milliseconds, and some tens of milliseconds of work."""
CLOSING_NS = 1_000_000_000
"""After its end a schedule is counted for so long at most."""


class Agenda:
    """See the head of the module."""

    def __init__(self, schedule: Schedule, origin_s: float) -> None:
        self._pacer = Pacer(schedule.pacer, worker=schedule.worker, workers=schedule.workers)
        self._origin_ns = round(origin_s * 1e9)
        self._chunks: dict[int, Int64Array] = {}
        self._until_ns = _FOR_EVER_NS
        self._seen_ns = -1
        self.missed_ns = 0
        """Of the schedule's end, never counted."""
        self.due = 0
        self.taken = 0

    @property
    def held(self) -> int:
        """Due, and not taken."""
        return self.due - self.taken

    def look(self, now_ns: int) -> int:
        """Time has passed. The instant up to which all that has come due is counted: now, unless that is too much."""
        last_ns = min(now_ns, self._until_ns - 1)
        self._seen_ns = now_ns
        for _ in range(CHUNKS_AT_ONCE):
            number, begun = divmod(self.due, CHUNK)
            times = self._chunk(number)
            come = max(begun, int(np.searchsorted(times, last_ns, side="right")))
            self.due += come - begun
            if come < CHUNK:
                return now_ns
        self._seen_ns = int(times[-1])
        return self._seen_ns

    def close(self, until_ns: int) -> None:
        """From this instant on nothing comes due any more."""
        self._until_ns = until_ns

    def next_ns(self) -> int | None:
        """When the next record comes due; None when none does."""
        next_ns = int(self._chunk(self.due // CHUNK)[self.due % CHUNK])
        return next_ns if next_ns < self._until_ns else None

    def upcoming(self, most: int) -> Int64Array:
        """Intended times of the oldest records that are held back: at least one if there are any, at most `most`."""
        number, begun = divmod(self.taken, CHUNK)
        return self._chunk(number)[begun : begun + min(most, self.held)]

    def take(self, count: int) -> None:
        self.taken += count

    def give_up(self, now_ns: int) -> int:
        """Once the schedule has ended: what is held back, which is so much. After a look."""
        if now_ns < self._until_ns:
            return 0
        if self._seen_ns < self._until_ns <= now_ns - CLOSING_NS:
            self.missed_ns = self._until_ns - self._seen_ns
            self._until_ns = self._seen_ns + 1
        dropped, self.taken = self.held, self.due
        return dropped

    def _chunk(self, number: int) -> Int64Array:
        if number not in self._chunks:
            first = number * CHUNK
            times = self._origin_ns + np.rint(self._pacer.intended_s(first, first + CHUNK) * 1e9).astype(np.int64)
            # Two places in the schedule are of use: where records come due, and where they are taken.
            keep = {self.due // CHUNK, self.taken // CHUNK}
            self._chunks = {known: kept for known, kept in self._chunks.items() if known in keep} | {number: times}
        return self._chunks[number]


def own_delay_ns(intended_ns: Int64Array, looked_ns: int, now_ns: int) -> Int64Array:
    """By how much the worker itself is late with records that it hands over now, having counted in its last look what
    had come due until `looked_ns`.

    A record that came due since then waited for the worker. One that was due before was held back by a full queue
    (system's backlog) until then, and only since then may have waited for the worker."""
    return now_ns - np.maximum(intended_ns, looked_ns)

"""Mutants of the real load worker, by name.

    python -m tests.mutants.real "actual-send clock"

is a load worker, as `python -m meshmark.load.worker` is, that misreports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic_ns
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from meshmark.load import recorder, worker
from meshmark.load.agenda import Agenda
from meshmark.load.clients import librdkafka, open_loop, raw
from meshmark.load.clients.open_loop import OpenLoopProducer
from meshmark.load.clients.raw import RawProducer
from meshmark.load.clients.raw_lane import Lane
from meshmark.load.recorder import Recorder, Tally
from meshmark.record import LoadTotals

Int64Array = NDArray[np.int64]
LONG_NS = 100_000_000


class ActualSendClock(OpenLoopProducer):
    """Latencies count from when a record was sent."""

    def _deal(self, intended_ns: Int64Array, now_ns: int) -> int:
        return super()._deal(np.full_like(intended_ns, now_ns), now_ns)


class RawActualSendClock(Lane):
    """The same of the raw client."""

    def accept(self, intended_ns: Int64Array, now_ns: int) -> None:
        super().accept(np.full_like(intended_ns, now_ns), now_ns)


class ClockAtSendReturn(Recorder):
    """Latencies end when send() returns."""

    def __init__(self, now_ns: Callable[[], int] = monotonic_ns) -> None:
        super().__init__(now_ns)
        self._returned_ns: Int64Array = np.empty(0, dtype=np.int64)

    def handed_over(self, intended_ns: Int64Array, looked_ns: int, now_ns: int) -> None:
        super().handed_over(intended_ns, looked_ns, now_ns)
        self._returned_ns = np.concatenate((self._returned_ns, now_ns - intended_ns))

    def acknowledged(self, intended_ns: Int64Array) -> None:
        count = len(intended_ns)
        self.latency.add(self._returned_ns[:count])
        self._returned_ns = self._returned_ns[count:]


class SlippingSchedule(Agenda):
    """Time in which nothing could be sent is taken out of the schedule."""

    _looked_ns = 0

    def look(self, now_ns: int) -> int:
        since_ns = now_ns - (self._looked_ns or now_ns)
        self._looked_ns = now_ns
        if self.held or since_ns > LONG_NS:
            self._origin_ns += since_ns
            self._chunks = {}
        return super().look(now_ns)


class DroppedEndToEndValues(Recorder):
    """Values that look wrong are left out."""

    def consumed(self, intended_ns: Int64Array) -> None:
        super().consumed(intended_ns[self.now_ns() - intended_ns < LONG_NS])


class SendsCountedAsAcknowledged(OpenLoopProducer):
    """What the client has taken counts as done."""

    def totals(self) -> LoadTotals:
        return _taken_is_done(super().totals(), self._held())


class RawSendsCountedAsAcknowledged(RawProducer):
    """The same of the raw client."""

    def totals(self) -> LoadTotals:
        return _taken_is_done(super().totals(), self._held())


def _taken_is_done(said: LoadTotals, held: int) -> LoadTotals:
    done = said.acknowledged + said.outstanding - held
    return said.model_copy(update={"acknowledged": done, "outstanding": held})


class LostHistogram(Tally):
    """What was measured is thrown away."""

    def encode(self) -> str:
        return ""


PLACES: dict[str, tuple[ModuleType, str, type]] = {
    "actual-send clock": (open_loop, "OpenLoopProducer", ActualSendClock),
    "clock at send() return": (librdkafka, "Recorder", ClockAtSendReturn),
    "slipping schedule": (open_loop, "Agenda", SlippingSchedule),
    "dropped end-to-end values": (librdkafka, "Recorder", DroppedEndToEndValues),
    "sends counted as acknowledged": (open_loop, "OpenLoopProducer", SendsCountedAsAcknowledged),
    "lost histogram": (recorder, "Tally", LostHistogram),
    "actual-send clock, raw client": (raw, "Lane", RawActualSendClock),
    "clock at send() return, raw client": (raw, "Recorder", ClockAtSendReturn),
    "slipping schedule, raw client": (raw, "Agenda", SlippingSchedule),
    "sends counted as acknowledged, raw client": (raw, "RawProducer", RawSendsCountedAsAcknowledged),
}
"""What is put where."""


if __name__ == "__main__":
    module, place, mutant = PLACES[sys.argv[1]]
    assert issubclass(mutant, getattr(module, place)), f"nothing to break at {place}"
    setattr(module, place, mutant)
    sys.exit(worker.main())

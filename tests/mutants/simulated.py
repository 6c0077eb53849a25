"""Mutants of the simulated load worker, by name: what to put in its place in `meshmark.backends.simulated.load`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshmark.backends.simulated.load import CONSUMER_S, FloatArray, Queue, SimulatedWorker
from meshmark.histogram import Histogram
from meshmark.record import LoadTotals
from meshmark.worker_protocol import WorkerSpec

LONG_S = 0.1


class _Remembering(Queue):
    """Knows when the client has taken a record: when it came due, and there was room."""

    _served_s: FloatArray = np.empty(0)

    def taken_s(self, intended_s: FloatArray, served_s: FloatArray) -> FloatArray:
        first = self.acknowledged
        self._served_s = np.concatenate((self._served_s, served_s))
        before = np.arange(first, first + len(intended_s)) - self._room
        room_s = np.where(before >= 0, self._served_s[np.maximum(before, 0)], -np.inf)
        return np.maximum(self.handed_s(intended_s), room_s)


class ActualSendClock(_Remembering):
    """Latencies count from when a record was sent."""

    def _acknowledge(self, intended_s: FloatArray, served_s: FloatArray) -> None:
        super()._acknowledge(self.taken_s(intended_s, served_s), served_s)


class ClockAtSendReturn(_Remembering):
    """Latencies end when send() returns."""

    def _acknowledge(self, intended_s: FloatArray, served_s: FloatArray) -> None:
        super()._acknowledge(intended_s, self.taken_s(intended_s, served_s))


class SlippingSchedule(Queue):
    """Time in which nothing could be sent is taken out of the schedule."""

    _looked_s: float = 0.0

    def look(self, now_s: float) -> None:
        if self._resumed_s > self._looked_s:
            self._origin_s += self._resumed_s - self._looked_s
        excess = self._pacer.due(now_s - self._origin_s) - self.acknowledged - self._room
        if excess > 0:
            fits = self.acknowledged + self._room
            self._origin_s = now_s - float(self._pacer.intended_s(fits, fits + 1)[0])
        self._looked_s = now_s
        super().look(now_s)


class DroppedEndToEndValues(Queue):
    """Values that look wrong are left out."""

    def _acknowledge(self, intended_s: FloatArray, served_s: FloatArray) -> None:
        kept = self.end_to_end.encode()
        super()._acknowledge(intended_s, served_s)
        self.end_to_end = Histogram.decode(kept)
        fine = served_s - intended_s < LONG_S
        self.end_to_end.record(np.rint((served_s - intended_s + CONSUMER_S)[fine] * 1e6).astype(np.int64))


class LostHistogram(Queue):
    """What was measured is thrown away."""

    def _acknowledge(self, intended_s: FloatArray, served_s: FloatArray) -> None:
        kept = self.latency.encode()
        super()._acknowledge(intended_s, served_s)
        self.latency = Histogram.decode(kept)


class SendsCountedAsAcknowledged(SimulatedWorker):
    """What the client has taken counts as done."""

    def _produced(self, spec: WorkerSpec) -> LoadTotals:
        said = super()._produced(spec)
        return said.model_copy(update={"acknowledged": said.acknowledged + said.outstanding, "outstanding": 0})


class LostBehindADuplicate(SimulatedWorker):
    """As many records are read as there should be: one is not, and another is read twice."""

    def _itemized(self) -> NDArray[np.int64]:
        seen = super()._itemized()
        if self.queue is None:
            seen[0] = seen[1]
        return seen


QUEUES: dict[str, type[Queue]] = {
    "actual-send clock": ActualSendClock,
    "clock at send() return": ClockAtSendReturn,
    "slipping schedule": SlippingSchedule,
    "dropped end-to-end values": DroppedEndToEndValues,
    "lost histogram": LostHistogram,
}
WORKERS: dict[str, type[SimulatedWorker]] = {"sends counted as acknowledged": SendsCountedAsAcknowledged}

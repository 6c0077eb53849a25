"""A producer in open loop: every record has an intended send time, whatever the system makes of the ones before it.

What comes due goes to one connection, and to one of its partitions, until that has a batch or `linger.ms` has sent
what it had; then to the next (`turns.py`). So each connection has its share of the schedule, as a burst now and then:
a few records for every connection at every pass would be as many calls, wake-ups of as many threads, and small
requests.

Records for which no connection has room are held back and stay due: they count as offered and outstanding, and
their latency goes on. At `stop` nothing new comes due, and what is held back is given up: it has failed as
`_NOT_ACCEPTED`, the system's backlog rather than an error of it.

The intended time travels with the record: as its opaque, which comes back with the delivery report, and for consumers
in the first bytes of its value, followed by the load's stamp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshmark.load.agenda import Agenda
from meshmark.load.clients import native
from meshmark.load.clients.librdkafka import Producer, Selection
from meshmark.load.clients.turns import Turns
from meshmark.load.recorder import Recorder
from meshmark.load.settings import OPEN_LOOP_TICK_S
from meshmark.record import NOT_ACCEPTED, LoadTotals
from meshmark.worker_protocol import Schedule, WorkerSpec

_TICK_NS = round(OPEN_LOOP_TICK_S * 1e9)


class OpenLoopProducer(Producer):
    """See the head of the module. A context manager."""

    def __init__(self, spec: WorkerSpec, schedule: Schedule, recorder: Recorder | None = None) -> None:
        super().__init__(spec)
        if recorder is not None:
            self.recorder = recorder
        self._schedule = schedule
        self._agenda: Agenda | None = None
        self._looked_ns = 0

    def __enter__(self) -> OpenLoopProducer:
        super().__enter__()
        connections = self._connections
        self._turns = Turns(len(connections), batch=self._chunk, linger_ns=connections[0].linger_ns)
        if self._spec.stamp:
            self._pool[:, 8:16] = np.frombuffer(self._spec.stamp.to_bytes(8, "little"), dtype=np.uint8)
        # The first eight bytes of each row as a number; rows need not begin at a multiple of eight.
        self._sent_at = np.ndarray((len(self._pool),), dtype="<i8", buffer=self._pool, strides=self._pool.strides[:1])
        return self

    def start(self, origin_s: float) -> None:
        self._looked_ns = self.recorder.now_ns()
        self._agenda = Agenda(self._schedule, origin_s)

    def stop(self, until_s: float) -> None:
        if self._agenda:
            self._agenda.close(max(self.recorder.now_ns(), round(until_s * 1e9)))

    def serve(self) -> None:
        self._take_events()
        if self._agenda:
            self._hand_over(self._agenda)

    def pause_s(self) -> float:
        """Until the next pass: a tick after the last one began, or when a record comes due if nothing is under way."""
        now_ns = self.recorder.now_ns()
        if self._agenda and (self._agenda.held or any(connection.outstanding for connection in self._connections)):
            return (self._looked_ns + _TICK_NS - now_ns) / 1e9
        due_ns = self._agenda.next_ns() if self._agenda else None
        idle_s = super().pause_s()
        return idle_s if due_ns is None else min(idle_s, (due_ns - now_ns) / 1e9)

    def done(self) -> bool:
        return not self._to_come() and not self._held() and super().done()

    def totals(self) -> LoadTotals:
        """`offered` is what has come due until now."""
        if self._agenda:
            self._agenda.look(self.recorder.now_ns())
        counted = super().totals()
        offered = self._agenda.due if self._agenda else 0
        return counted.model_copy(
            update={
                "offered": offered,
                "outstanding": counted.outstanding + self._held(),
                "negative": self.recorder.negative,
            }
        )

    def _to_come(self) -> bool:
        return self._agenda is not None and self._agenda.next_ns() is not None

    def _held(self) -> int:
        return self._agenda.held if self._agenda else 0

    def _acknowledge(self, which: Selection) -> None:
        super()._acknowledge(which)
        self.recorder.acknowledged(self._reader.opaques()[which].view(np.int64))

    def _hand_over(self, agenda: Agenda) -> None:
        now_ns = self.recorder.now_ns()
        looked_ns, self._looked_ns = self._looked_ns, agenda.look(now_ns)
        while agenda.held:
            intended_ns = agenda.upcoming(self._chunk)
            taken = self._deal(intended_ns, now_ns)
            agenda.take(taken)
            self.recorder.handed_over(intended_ns[:taken], looked_ns, now_ns)
            if taken < len(intended_ns):
                break
        if dropped := agenda.give_up(now_ns):
            self._failed += dropped
            self._errors[NOT_ACCEPTED] += dropped
        self.recorder.missed_ns = agenda.missed_ns

    def _deal(self, intended_ns: NDArray[np.int64], now_ns: int) -> int:
        """Gives the records, a batch at most, to the connection whose turn it is. How many it took."""
        count = len(intended_ns)
        place = self._turns.take(count, now_ns, self._room)
        if place is None:
            return 0
        connection = self._connections[place]
        first = self._rows(count)
        self._messages["opaque"][first : first + count] = intended_ns
        if self._spec.stamp:
            self._sent_at[first : first + count] = intended_ns
        topic, partition = connection.stop_for(count, self._chunk, now_ns)
        # A stamped row is written to again while the record is still under way, so the client copies it.
        flags = native.FLAG_COPY if self._spec.stamp else 0
        # Fewer when its queue is full by bytes before it is full by records.
        return self._produce(connection, topic, partition, first, count, flags)

    def _room(self, place: int) -> int:
        connection = self._connections[place]
        return connection.capacity - connection.outstanding

"""The load worker of the simulated system: it answers the same lines as the real one, from a model.

Closed loop: what the system carries is shared evenly between all who produce. Open loop: a producer's records come due
on its schedule and wait in a queue of its own, in order, for its share of the system; each also needs the base latency
of its data plane. A worker that is stopped (SIGSTOP) hands over what came due meanwhile when it is continued. At its
end, what its client would still have held back (`queue.buffering.max.messages` for each connection) has failed as
`_NOT_ACCEPTED`, and the rest is served. Consumers keep up.

Limits: no partitions and no batches; of many records served at once, every so many-th one stands for its neighbours in
the histograms.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from meshmark.clock import Clock
from meshmark.histogram import Histogram, total
from meshmark.itemized import encoded
from meshmark.pacer import Pacer
from meshmark.plan import Workload
from meshmark.record import NOT_ACCEPTED, LoadTotals
from meshmark.worker_protocol import Batches, Schedule, WorkerCommand, WorkerReport, WorkerSpec

FloatArray = NDArray[np.float64]

RECORD_OVERHEAD_BYTES = 9.36
BATCH_RECORDS = 100
BATCH_OVERHEAD_BYTES = 61
REQUEST_OVERHEAD_BYTES = 90
CONSUMER_S = 0.001
"""From the acknowledgement of a record to its consumer."""
_QUEUE_MESSAGES = 100_000  # librdkafka's default
_SHOWN = 1_000


def stored_bytes(workload: Workload) -> float:
    return workload.message_size + workload.key_bytes + RECORD_OVERHEAD_BYTES + BATCH_OVERHEAD_BYTES / BATCH_RECORDS


def request_bytes(workload: Workload) -> float:
    return stored_bytes(workload) + REQUEST_OVERHEAD_BYTES / BATCH_RECORDS


class System(Protocol):
    """As much of the simulated system as a worker needs."""

    workload: Workload
    latency_s: float
    generator_delay_s: float

    @property
    def clock(self) -> Clock: ...

    @property
    def workers(self) -> Sequence[SimulatedWorker]: ...

    def advance(self) -> None: ...


class Queue:
    """One producer's schedule, and how far it is worked off. `room`: records that the client takes at once; `base_s`:
    what a record needs besides its turn; `delay_s`: by how much the generator is late."""

    def __init__(self, schedule: Schedule, origin_s: float, *, room: int, base_s: float, delay_s: float) -> None:
        self.offered = self.acknowledged = self.failed = 0
        self.latency, self.end_to_end, self.lateness = Histogram(), Histogram(), Histogram()
        self.items: list[FloatArray] = []
        """Intended times of what was acknowledged."""
        self._pacer = Pacer(schedule.pacer, worker=schedule.worker, workers=schedule.workers)
        self._origin_s = origin_s
        self._room = room
        self._until_s = math.inf
        self._base_s = base_s
        self._delay_s = delay_s
        self._resumed_s = -math.inf
        self._free_s = origin_s
        self._waiting: FloatArray = np.empty(0)
        """When those should have been sent that are offered and not served, oldest first."""

    @property
    def outstanding(self) -> int:
        return len(self._waiting)

    def look(self, now_s: float) -> None:
        """What has come due is handed over."""
        # The instant at which a schedule ends is no longer a part of it.
        due = self._pacer.due(min(now_s, self._until_s - 1e-9) - self._origin_s)
        if due > self.offered:
            come = self._origin_s + self._pacer.intended_s(self.offered, due)
            self.offered = due
            self._waiting = np.concatenate((self._waiting, come))
            _record(self.lateness, self.handed_s(come) - come)

    def handed_s(self, intended_s: FloatArray) -> FloatArray:
        """When the generator has got round to them."""
        return np.maximum(intended_s + self._delay_s, self._resumed_s)

    def serve(self, now_s: float, rate_msg_s: float) -> int:
        """What the system carries until now, at this rate; how many that was."""
        # Whole numbers of records fit before now, and one more for rounding.
        most = int(max(0.0, now_s - self._free_s) * rate_msg_s) + 1 if rate_msg_s > 0 else 0
        intended_s = self._waiting[:most]
        if not len(intended_s):
            self._free_s = max(self._free_s, now_s)
            return 0
        ready_s = np.maximum(self.handed_s(intended_s) + self._base_s, self._free_s)
        turns_s = np.arange(len(intended_s)) / rate_msg_s
        served_s = np.maximum.accumulate(ready_s - turns_s) + turns_s + 1 / rate_msg_s
        count = int(np.searchsorted(served_s, now_s, side="right"))
        if count:
            self._free_s = float(served_s[count - 1])
            self._acknowledge(intended_s[:count], served_s[:count])
        self._waiting = self._waiting[count:]
        return count

    def resume(self, now_s: float) -> None:
        """The generator stood still until now."""
        self._resumed_s = now_s
        self.look(now_s)

    def close(self, until_s: float) -> None:
        self._until_s = until_s

    def give_up(self) -> None:
        """What the client has no room for is abandoned."""
        self.failed += max(0, len(self._waiting) - self._room)
        self._waiting = self._waiting[: self._room]

    def _acknowledge(self, intended_s: FloatArray, served_s: FloatArray) -> None:
        self.acknowledged += len(intended_s)
        self.items.append(intended_s)
        _record(self.latency, served_s - intended_s)
        _record(self.end_to_end, served_s - intended_s + CONSUMER_S)


def _record(histogram: Histogram, seconds: FloatArray) -> None:
    values_us = np.rint(seconds * 1e6).astype(np.int64)
    each = max(1, len(values_us) // _SHOWN)
    whole = len(values_us) // each * each
    histogram.record(values_us[:whole:each], times=each)
    histogram.record(values_us[whole:])


class SimulatedWorker:
    """See the head of the module. Implements `meshmark.cluster.Process`."""

    def __init__(self, name: str, host: str, system: System) -> None:
        self.name = name
        self.host = host
        self.producing = False
        """Takes its share of what the system carries."""
        self.queue: Queue | None = None
        self._carried = 0.0
        self._system = system
        self._spec: WorkerSpec | None = None
        self._until_s = math.inf
        self._stopped = False
        self._unread: list[str] = []
        self._lines: list[str] = []
        self._next_s = math.inf

    @property
    def acknowledged(self) -> int:
        return self.queue.acknowledged if self.queue else int(self._carried)

    def carry(self, now_s: float, elapsed_s: float, rate_msg_s: float) -> float:
        """Time has passed, in which this was its share of the system; the records that it made of that."""
        if self._stopped:
            return 0.0
        if self.queue is None:
            self._carried += rate_msg_s * elapsed_s
            return rate_msg_s * elapsed_s
        self.queue.look(now_s)
        if now_s >= self._until_s:
            self.queue.give_up()
        count = self.queue.serve(now_s, rate_msg_s)
        self.producing = now_s < self._until_s or self.queue.outstanding > 0
        return count

    def send_line(self, line: str) -> None:
        self._system.advance()
        if self._stopped:
            self._unread.append(line)
        elif self._spec is None:
            self._spec = WorkerSpec.model_validate_json(line)
            self._report("ready")
        else:
            self._obey(self._spec, WorkerCommand.model_validate_json(line))

    def read_line(self, timeout_s: float) -> str | None:
        if not self._lines:
            now_s = self._system.clock.now()
            self._system.clock.sleep(max(0.0, min(timeout_s, self._next_s - now_s)))
            self._system.advance()
            if not self._stopped:
                self._tell()
        return self._lines.pop(0) if self._lines else None

    def signal(self, number: int) -> None:
        self._system.advance()
        if number == signal.SIGSTOP:
            self._stopped = True
        elif number == signal.SIGCONT and self._stopped:
            self._stopped = False
            if self.queue:
                self.queue.resume(self._system.clock.now())
            unread, self._unread = self._unread, []
            for line in unread:
                self.send_line(line)

    def wait(self, timeout_s: float) -> int:
        return 0

    def _obey(self, spec: WorkerSpec, command: WorkerCommand) -> None:
        now_s = self._system.clock.now()
        if command.command == "mark":
            self._report("mark", command.mark)
        elif command.command == "start":
            self.producing = spec.role == "producer"
            self._next_s = self._slot_after(now_s)
            if spec.schedule:
                self.queue = Queue(
                    spec.schedule,
                    command.origin_s,
                    room=int(spec.config.get("queue.buffering.max.messages", _QUEUE_MESSAGES)) * spec.connections,
                    base_s=self._system.latency_s,
                    delay_s=self._system.generator_delay_s,
                )
        else:
            self._until_s = now_s
            if self.queue:
                self._until_s = max(now_s, command.until_s)
                self.queue.close(self._until_s)
            self.producing = self.queue is not None
            self._tell()

    def _tell(self) -> None:
        """What is to be said by now."""
        now_s = self._system.clock.now()
        if now_s >= self._until_s and not (self.queue and self.queue.outstanding):
            self.producing = False
            self._until_s = self._next_s = math.inf
            self._report("finished")
        elif now_s >= self._next_s:
            self._next_s = self._slot_after(now_s)
            self._report("interval")

    def _slot_after(self, now_s: float) -> float:
        interval_s = self._spec.interval_s if self._spec else 0.5
        return (math.floor(now_s / interval_s + 1e-9) + 1) * interval_s

    def _report(self, kind: str, mark: int = 0) -> None:
        assert self._spec is not None
        self._system.advance()
        producer = self._spec.role == "producer"
        report = {
            "kind": kind,
            "time_s": self._system.clock.now(),
            "mark": mark,
            "totals": self._produced(self._spec) if producer else self._consumed(self._spec),
            "batches": self._batches() if producer else Batches(),
        }
        if producer and self.queue:
            report["latency"] = self.queue.latency.encode()
            report["lateness"] = self.queue.lateness.encode()
        elif not producer and self._spec.stamp:
            report["end_to_end"] = total(queue.end_to_end.encode() for queue in self._stamping()).encode()
        if kind == "finished" and self._spec.itemized:
            report["records"] = encoded(self._itemized())
        if kind == "ready":
            report["settings"] = {key: str(value).lower() for key, value in self._spec.config.items()}
        self._lines.append(WorkerReport.model_validate(report).model_dump_json())

    def _produced(self, spec: WorkerSpec) -> LoadTotals:
        count, queue = self.acknowledged, self.queue
        if queue is None:
            return LoadTotals(offered=count, acknowledged=count, acknowledged_bytes=count * spec.message_size)
        return LoadTotals(
            offered=queue.offered,
            acknowledged=count,
            failed=queue.failed,
            outstanding=queue.outstanding,
            acknowledged_bytes=count * spec.message_size,
            errors={NOT_ACCEPTED: queue.failed} if queue.failed else {},
        )

    def _consumed(self, spec: WorkerSpec) -> LoadTotals:
        count = sum(worker.acknowledged for worker in self._system.workers)
        stamped = sum(queue.acknowledged for queue in self._stamping())
        return LoadTotals(
            consumed=count,
            consumed_bytes=count * spec.message_size,
            unstamped=count - stamped if spec.stamp else 0,
        )

    def _itemized(self) -> NDArray[np.int64]:
        """The records that were acknowledged, or read."""
        queues = [self.queue] if self.queue else self._stamping()
        seen_s = np.concatenate([np.empty(0), *(items for queue in queues for items in queue.items)])
        return np.rint(seen_s * 1e9).astype(np.int64)

    def _stamping(self) -> list[Queue]:
        return [worker.queue for worker in self._system.workers if worker.queue]

    def _batches(self) -> Batches:
        count = self.acknowledged
        return Batches(
            batches=count // BATCH_RECORDS,
            records=count,
            batch_bytes=int(count * stored_bytes(self._system.workload)),
            requests=count // BATCH_RECORDS,
            request_bytes=int(count * request_bytes(self._system.workload)),
        )

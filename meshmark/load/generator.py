"""Drives load workers on the client hosts of a testbed: starts them, marks instants, sums what they report.

    with load(cluster, specs, SystemClock()) as running:
        running.start()
        ... first = running.mark() ... second = running.mark() ...
        end = running.stop()          # everything offered is resolved; consumers have read to the end
        window = second.since(first)  # totals, latencies and lateness of this window alone

With a rate the load is open loop: producers share one schedule, whose origin is the instant of `start`. Without one it
is closed loop: every connection keeps its queue full.

Workers are spoken to in lines alone (`worker_protocol.py`), so the simulated backend can stand in for them. Whatever
ends the `with` ends the workers. Limits: a mark is the sum of marks of single workers, each exact for its worker,
taken within some milliseconds of each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import ValidationError

from meshmark.clock import Clock
from meshmark.cluster import Cluster, Elsewhere, Process, TopicLayout
from meshmark.errors import ComponentFailed, InstrumentFault, LoadError
from meshmark.itemized import compared, decoded
from meshmark.load.mark import Mark, summed
from meshmark.load.settings import DRAIN_S, END_OFFSET_S, connect_timeout_s, message_timeout_s
from meshmark.pacer import Arrivals, Constant, PacerSpec
from meshmark.plan import Workload
from meshmark.read_back import ReadBack
from meshmark.record import LoadInterval
from meshmark.worker_protocol import Payload, Schedule, WorkerCommand, WorkerReport, WorkerSpec

__all__ = ["Load", "Mark", "Spawner", "consumer_specs", "load", "producer_spec"]

WORKER_ARGV = ("python", "-m", "meshmark.load.worker")
# Beyond what a worker takes to say itself that it cannot connect.
READY_MARGIN_S = 30.0
ANSWER_TIMEOUT_S = 15.0
# Beyond the bound that the client settings give: the last statistics, and closing the connections.
FINISH_MARGIN_S = 20.0
# From a command to the instant that it is about: so all workers have heard of it.
LEAD_S = 0.05
_POLL_S = 0.05


class Spawner(Protocol):
    """As much of a Testbed as load needs."""

    @property
    def client_hosts(self) -> tuple[str, ...]: ...

    def spawn(
        self, host: str, argv: Sequence[str], *, name: str, component: str = "client"
    ) -> AbstractContextManager[Process]: ...


def producer_spec(
    workload: Workload,
    cluster: Cluster,
    layout: TopicLayout,
    *,
    client: int,
    seed: int,
    rate_msg_s: float | None = None,
    arrivals: Arrivals = "poisson",
    clients: int = 1,
) -> WorkerSpec:
    """Producing client number `client` (from 1): one process with `workload.workers` connections. Open loop where a
    rate is given, which is that of all `clients` together: each is given its share of one schedule."""
    spec = _spec(workload, cluster, layout, "producer", f"producer-{client}", seed)
    if rate_msg_s is None:
        return spec
    pacer = PacerSpec(shape=Constant(rate_msg_s=rate_msg_s), arrivals=arrivals, seed=seed)
    schedule = Schedule(pacer=pacer, worker=client - 1, workers=clients)
    # Records that nobody reads need no stamp, which costs the client a copy of each.
    stamp = _stamp(layout, seed) if workload.subscriptions_per_topic else 0
    return spec.model_copy(update={"schedule": schedule, "stamp": stamp, "itemized": bool(stamp)})


def consumer_specs(
    workload: Workload, cluster: Cluster, layout: TopicLayout, *, seed: int, run: str = "", end_to_end: bool = False
) -> tuple[WorkerSpec, ...]:
    """One worker for each consumer group. `run` keeps the groups of two loads on the same topics apart. `end_to_end`:
    the producers are in open loop with the same seed, so records say when they should have been sent."""
    groups = range(1, workload.subscriptions_per_topic + 1)
    specs = (_spec(workload, cluster, layout, "consumer", f"consumer-{group}", seed, run) for group in groups)
    stamp = _stamp(layout, seed) if end_to_end else 0
    return tuple(spec.model_copy(update={"stamp": stamp, "itemized": end_to_end}) for spec in specs)


def _stamp(layout: TopicLayout, seed: int) -> int:
    """The same for producers and consumers of one load, and hardly ever that of another."""
    first = next(topic for topic, _ in layout.leaders)
    return random.Random(f"{seed}/{first}/stamp").getrandbits(62) | 1


def _spec(
    workload: Workload,
    cluster: Cluster,
    layout: TopicLayout,
    role: Literal["producer", "consumer"],
    name: str,
    seed: int,
    run: str = "",
) -> WorkerSpec:
    topics = tuple(dict.fromkeys(topic for topic, _ in layout.leaders))
    producing = role == "producer"
    return WorkerSpec(
        name=name,
        role=role,
        client=workload.client if producing else "librdkafka",
        bootstrap_servers=cluster.bootstrap_servers,
        client_config=dict(cluster.client_config),
        config=dict(workload.producer_config if producing else workload.consumer_config),
        topics=topics,
        partitions_per_topic=workload.partitions_per_topic,
        message_size=workload.message_size,
        connections=workload.workers if producing else workload.consumer_per_subscription,
        topic_each=workload.topic_each,
        payload=Payload(
            random_share=workload.random_bytes_ratio,
            distinct=workload.randomized_payload_pool_size,
            content=workload.payload_base64,
        ),
        key_distributor=workload.key_distributor,
        group="" if producing else "-".join(part for part in (topics[0], run, name) if part),
        seed=random.Random(f"{seed}/{name}").getrandbits(32),
    )


@dataclass
class _Worker:
    spec: WorkerSpec
    process: Process
    latest: WorkerReport
    begun: bool = False
    answers: dict[tuple[str, int], WorkerReport] = field(default_factory=dict)
    intervals: dict[int, WorkerReport] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return ("finished", 0) in self.answers

    def tell(self, command: WorkerCommand) -> None:
        try:
            self.process.send_line(command.model_dump_json())
        except ComponentFailed:
            while self.hear(0):
                """Its own last words, if it has left any, say more: an error report raises."""
            raise

    def hear(self, timeout_s: float) -> bool:
        """Takes one report if one comes in time."""
        line = self.process.read_line(timeout_s)
        if line is None:
            return False
        try:
            report = WorkerReport.model_validate_json(line)
        except ValidationError:
            raise ComponentFailed(
                f"{self.title} wrote a line that is no report: {line[:200]}",
                component=self.process.name,
                hint="Look at the worker's log; something in it prints to standard output.",
            ) from None
        if report.kind == "error":
            raise LoadError(f"{self.title}: {report.error}: {report.text}")
        if not report.totals.closed:
            raise InstrumentFault(f"{self.title}: the accounting of records does not close: {report.totals}")
        self.latest = report
        if report.kind in ("interval", "finished"):
            # Workers report on a common grid of the machine's clock; the 0.01 is for its rounding.
            self.intervals[math.floor(report.time_s / self.spec.interval_s + 0.01)] = report
        if report.kind != "interval":
            self.answers[report.kind, report.mark] = report
        return True

    @property
    def title(self) -> str:
        return f"load worker {self.process.name} on {self.process.host}"


class Load:
    """The workers of one load; made by `load`."""

    def __init__(
        self, testbed: Spawner, clock: Clock, stack: ExitStack, ready_timeout_s: float | None, argv: Sequence[str]
    ) -> None:
        self._testbed = testbed
        self._clock = clock
        self._stack = stack
        self._ready_timeout_s = ready_timeout_s
        self._argv = argv
        self._workers: list[_Worker] = []
        self._started = False
        self._marks = 0
        self._told_slot = -1
        self._told: Mark | None = None

    def add(self, specs: Sequence[WorkerSpec]) -> None:
        """More workers, on the client hosts in turn, or those that they may run on; returns when they are ready. Load
        that has started is joined at once."""
        added = [self._spawn(spec, len(self._workers) + place) for place, spec in enumerate(specs)]
        self._await(added, "ready", 0, self._ready_s)
        self._workers += added
        if self._started:
            self._begin(added)

    def start(self) -> float:
        """The instant at which schedules begin. Consumers that are held go on being so."""
        self._started = True
        # Consumers first, so that the first record already has its readers.
        free = [worker for worker in self._of("consumer") if not worker.spec.held]
        return self._begin([*free, *self._of("producer")])

    def release(self) -> float:
        """Consumers that were held read from now on; the instant of it."""
        return self._begin([worker for worker in self._of("consumer") if not worker.begun])

    def _begin(self, workers: Sequence[_Worker]) -> float:
        origin_s = self._clock.now() + LEAD_S
        for worker in workers:
            worker.tell(WorkerCommand(command="start", origin_s=origin_s))
            worker.begun = True
        return origin_s

    @property
    def settings(self) -> dict[str, dict[str, str]]:
        """What the clients of each worker go by, by the worker's name."""
        return {worker.spec.name: worker.answers["ready", 0].settings for worker in self._workers}

    @property
    def producers(self) -> tuple[Process, ...]:
        return tuple(worker.process for worker in self._of("producer"))

    def mark(self) -> Mark:
        """Exact totals of this instant: all workers are asked, then all awaited."""
        self._marks += 1
        running = [worker for worker in self._workers if not worker.finished]
        for worker in running:
            worker.tell(WorkerCommand(command="mark", mark=self._marks))
        self._await(running, "mark", self._marks, lambda worker: ANSWER_TIMEOUT_S)
        return self._sum(
            [(worker.spec, worker.answers.pop(("mark", self._marks), worker.latest)) for worker in self._workers]
        )

    def intervals(self) -> list[LoadInterval]:
        """What has come since the last call, without waiting. Call it now and then: workers skip interval reports
        (never marks) when nobody reads them."""
        for worker in self._workers:
            while not worker.finished and worker.hear(0):
                pass
        return list(self._complete_intervals())

    def stop(self, until_s: float = 0.0) -> Mark:
        """Ends the load: producers resolve what is outstanding, then consumers read to the end. In open loop, what
        comes due before `until_s` is still offered: said LEAD_S before, the schedule ends there, to the record."""
        for role in ("producer", "consumer"):
            running = [worker for worker in self._of(role) if not worker.finished]
            for worker in running:
                worker.tell(WorkerCommand(command="stop", until_s=until_s))
            self._await(running, "finished", 0, _finish_timeout_s)
        return self._sum([(worker.spec, worker.latest) for worker in self._workers])

    def read_back(self) -> tuple[ReadBack, ...]:
        """Which of the acknowledged records each consumer group has read; nothing where workers do not itemize. After
        `stop`."""
        of = {role: [each.latest.records for each in self._of(role)] for role in ("producer", "consumer")}
        if not of["consumer"] or not all(of["producer"] + of["consumer"]):
            return ()
        return compared(*([decoded(text) for text in of[role]] for role in ("producer", "consumer")))

    def _ready_s(self, worker: _Worker) -> float:
        bound_s = connect_timeout_s(worker.spec.connections) + READY_MARGIN_S
        return bound_s if self._ready_timeout_s is None else self._ready_timeout_s

    def _of(self, role: str) -> list[_Worker]:
        return [worker for worker in self._workers if worker.spec.role == role]

    def _spawn(self, spec: WorkerSpec, place: int) -> _Worker:
        hosts = spec.hosts or self._testbed.client_hosts
        host = hosts[place % len(hosts)]
        process = self._stack.enter_context(self._testbed.spawn(host, self._argv, name=spec.name, component="client"))
        if isinstance(process, Elsewhere):
            spec = spec.model_copy(update={"clock_ahead_s": process.clock_ahead_s})
        process.send_line(spec.model_dump_json())
        return _Worker(spec=spec, process=process, latest=WorkerReport(kind="ready", time_s=self._clock.now()))

    def _await(self, workers: Sequence[_Worker], kind: str, mark: int, timeout_s: Callable[[_Worker], float]) -> None:
        begun = self._clock.now()
        pending = list(workers)
        while pending:
            for worker in pending:
                left = begun + timeout_s(worker) - self._clock.now()
                if not worker.hear(max(0, min(left, _POLL_S))) and left <= 0:
                    raise LoadError(
                        f"{worker.title} was not '{kind}' within {timeout_s(worker):.0f} s; "
                        f"its last report was '{worker.latest.kind}' {_ago(self._clock, worker.latest)}",
                        hint="Look at the worker's log and at the brokers'.",
                    )
            pending = [worker for worker in pending if (kind, mark) not in worker.answers]

    def _complete_intervals(self) -> Iterator[LoadInterval]:
        """Time slots that every running worker has reported for, or passed; from the first that none began after."""
        running = [worker for worker in self._workers if worker.begun and not worker.finished]
        complete = min((max(worker.intervals, default=-1) for worker in running or self._workers), default=-1)
        told = [min(worker.intervals) for worker in self._workers if worker.intervals]
        first = 0 if self._told else max(told, default=0)
        slots = sorted({slot for worker in self._workers for slot in worker.intervals if first <= slot <= complete})
        for slot in slots:
            if slot <= self._told_slot:
                continue
            self._told_slot = slot
            reported = [(worker.spec, report) for worker in self._workers if (report := _at(worker, slot))]
            mark = self._sum(reported)
            clients = sum(spec.role == "producer" for spec, _ in reported)
            alone = mark.since(self._told) if self._told else mark
            self._told = mark
            yield LoadInterval(
                time_s=mark.time_s,
                clients=clients,
                totals=mark.totals,
                latency=alone.latency,
                end_to_end=alone.end_to_end,
                lateness=alone.lateness,
                lag=mark.lag,
            )
        for worker in self._workers:
            kept = max((slot for slot in worker.intervals if slot <= complete), default=complete)
            worker.intervals = {slot: report for slot, report in worker.intervals.items() if slot >= kept}

    def _sum(self, reported: Sequence[tuple[WorkerSpec, WorkerReport]]) -> Mark:
        return summed(reported, [worker.spec for worker in self._workers], self._clock.now(), self._notes())

    def _notes(self) -> tuple[str, ...]:
        return tuple(f"{worker.title}: {worker.latest.text}" for worker in self._workers if worker.latest.text)


@contextmanager
def load(
    testbed: Spawner,
    specs: Sequence[WorkerSpec],
    clock: Clock,
    *,
    ready_timeout_s: float | None = None,
    argv: Sequence[str] = WORKER_ARGV,
) -> Iterator[Load]:
    """Workers for `specs`, connected and ready, nothing offered yet. `argv` starts one.

    Raises LoadError (a worker says why, or does not answer in time) or ComponentFailed (a worker died); so does
    every method of the Load.
    """
    with ExitStack() as stack:
        running = Load(testbed, clock, stack, ready_timeout_s, argv)
        running.add(specs)
        yield running


def _at(worker: _Worker, slot: int) -> WorkerReport | None:
    """The newest report not after a slot."""
    known = [known for known in worker.intervals if known <= slot]
    return worker.intervals[max(known)] if known else None


def _finish_timeout_s(worker: _Worker) -> float:
    spec = worker.spec
    if spec.role == "consumer":
        return DRAIN_S + FINISH_MARGIN_S + END_OFFSET_S * spec.partitions_per_topic * len(spec.topics)
    return message_timeout_s(spec.config) + FINISH_MARGIN_S


def _ago(clock: Clock, report: WorkerReport) -> str:
    return f"{clock.now() - report.time_s:.0f} s ago"

"""The generator against workers that are plain objects: what it tells them, in which order, and what it makes of
what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from meshmark.cluster import Probe, Process
from meshmark.errors import ComponentFailed, InstrumentFault, LoadError
from meshmark.histogram import Histogram, lateness
from meshmark.load import mark
from meshmark.load.generator import Load, consumer_specs, load, producer_spec
from meshmark.plan import Workload
from meshmark.record import LoadTotals, Proof
from meshmark.worker_protocol import Batches, WorkerCommand, WorkerReport, WorkerSpec
from tests.mutants import merge


class StillClock:
    """Passes only while somebody waits for a line."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now(self) -> float:
        return self.time_s

    def wall(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


@dataclass
class LineWorker:
    """Follows the protocol; `acknowledged` is what it will say at the next report."""

    name: str
    host: str
    clock: StillClock
    journal: list[str]
    silent: bool = False
    acknowledged: int = 0
    outstanding: int = 0
    spec: WorkerSpec | None = None
    gone: bool = False
    lines: list[str] = field(default_factory=list)
    origins_s: list[float] = field(default_factory=list)
    latencies_us: list[int] = field(default_factory=list)
    unstamped: int = 0
    behind_s: float = 0.0

    def send_line(self, line: str) -> None:
        if self.gone:
            raise ComponentFailed(f"{self.name} ended")
        if self.spec is None:
            self.spec = WorkerSpec.model_validate_json(line)
            self.journal.append(f"{self.name} spec")
            self.say(kind="ready")
            return
        command = WorkerCommand.model_validate_json(line)
        self.journal.append(f"{self.name} {command.command}")
        if command.command == "start":
            self.origins_s.append(command.origin_s)
        if command.command == "mark":
            self.say(kind="mark", mark=command.mark, time_s=self.clock.now() + self.behind_s)
        elif command.command == "stop":
            self.outstanding = 0
            self.say(kind="finished")

    def say(self, **fields: object) -> None:
        producing = self.spec is not None and self.spec.role == "producer"
        totals = LoadTotals(
            offered=self.acknowledged + self.outstanding, acknowledged=self.acknowledged, outstanding=self.outstanding
        )
        given = {
            "time_s": self.clock.now(),
            "totals": totals if producing else LoadTotals(consumed=self.acknowledged, unstamped=self.unstamped),
            "latency" if producing else "end_to_end": of(*self.latencies_us).encode(),
            "lateness": of(*self.latencies_us).encode() if producing else "",
            "batches": Batches(batches=1, records=self.acknowledged) if producing else Batches(),
            "cpu_user_s": 0.5,
        }
        if not self.silent:
            self.lines.append(WorkerReport.model_validate(given | fields).model_dump_json())

    def read_line(self, timeout_s: float) -> str | None:
        if self.lines:
            return self.lines.pop(0)
        if self.gone:
            raise ComponentFailed(f"{self.name} ended")
        self.clock.sleep(timeout_s)
        return None

    def signal(self, number: int) -> None: ...

    def wait(self, timeout_s: float) -> int:
        return 0


@dataclass
class Bed:
    """As much of a cluster as the generator asks for."""

    clock: StillClock = field(default_factory=StillClock)
    journal: list[str] = field(default_factory=list)
    workers: list[LineWorker] = field(default_factory=list)
    silent: frozenset[str] = frozenset()
    broker_hosts: tuple[str, ...] = ("broker-1",)
    client_hosts: tuple[str, ...] = ("client-1", "client-2")
    bootstrap_servers: str = "broker-1:9092"
    client_config: Mapping[str, str] = field(default_factory=lambda: {"security.protocol": "SSL"})
    encrypted_hops: tuple[str, ...] = ()
    plain_hops: tuple[str, ...] = ()
    log_dir: Path = Path()
    leaders: Mapping[tuple[str, int], str] = field(
        default_factory=lambda: {(topic, number): "broker-1" for topic in ("t-1", "t-2") for number in range(3)}
    )

    @contextmanager
    def spawn(self, host: str, argv: Sequence[str], *, name: str, component: str = "client") -> Iterator[Process]:
        assert (argv[0], component) == ("python", "client")
        worker = LineWorker(name, host, self.clock, self.journal, silent=name in self.silent)
        self.workers.append(worker)
        try:
            yield worker
        finally:
            self.journal.append(f"{name} ended")

    def address(self, host: str) -> str:
        return host

    def probes(self) -> Sequence[Probe]:
        return ()

    def check(self) -> None: ...

    def configurations(self) -> Mapping[str, str]:
        return {}

    def create_topics(self, workload: Workload, prefix: str) -> Bed:
        return self

    def delete_topics(self, layout: object) -> None: ...

    def prove(self) -> Sequence[Proof]:
        return ()

    def specs(self, clients: int, groups: int = 0, rate_msg_s: float | None = None) -> list[WorkerSpec]:
        workload = Workload(workers=4, subscriptions_per_topic=groups, consumer_per_subscription=2)
        producers = [
            producer_spec(workload, self, self, client=client, seed=7, rate_msg_s=rate_msg_s, clients=clients)
            for client in range(1, clients + 1)
        ]
        return [*producers, *consumer_specs(workload, self, self, seed=7, end_to_end=rate_msg_s is not None)]


def of(*values_us: int) -> Histogram:
    made = Histogram()
    made.record(np.array(values_us, dtype=np.int64))
    return made


@pytest.fixture
def bed() -> Bed:
    return Bed()


@contextmanager
def started(bed: Bed, clients: int, groups: int = 0, rate_msg_s: float | None = None) -> Iterator[Load]:
    with load(bed, bed.specs(clients, groups, rate_msg_s), bed.clock) as running:
        running.start()
        yield running


def test_specifications_say_what_workload_and_cluster_say(bed: Bed) -> None:
    producer, consumer = bed.specs(1, 1)
    assert (producer.role, producer.connections, producer.group) == ("producer", 4, "")
    assert (consumer.role, consumer.connections) == ("consumer", 2)
    for spec in (producer, consumer):
        assert spec.topics == ("t-1", "t-2")
        assert spec.partitions_per_topic == 3
        assert spec.bootstrap_servers == "broker-1:9092"
        assert spec.client_config == {"security.protocol": "SSL"}
    assert producer.config["acks"] == "all"
    assert consumer.config == {}


def test_with_a_rate_producers_share_one_schedule_and_records_are_stamped(bed: Bed) -> None:
    one, two, consumer = bed.specs(2, 1, rate_msg_s=500)
    assert one.schedule is not None
    assert two.schedule is not None
    assert one.schedule.pacer == two.schedule.pacer
    assert [(spec.worker, spec.workers) for spec in (one.schedule, two.schedule)] == [(0, 2), (1, 2)]
    assert one.stamp == two.stamp == consumer.stamp > 0
    assert [(spec.schedule, spec.stamp) for spec in bed.specs(1, 1)] == [(None, 0), (None, 0)]


def test_seeds_differ_between_clients_and_come_again(bed: Bed) -> None:
    first, second = bed.specs(2)
    assert first.seed != second.seed
    assert [spec.seed for spec in bed.specs(2)] == [first.seed, second.seed]


def test_every_consumer_group_has_a_name_of_its_own(bed: Bed) -> None:
    assert len({spec.group for spec in bed.specs(0, 3)} - {""}) == 3


def test_workers_are_placed_on_the_client_hosts_in_turn(bed: Bed) -> None:
    with load(bed, bed.specs(3), bed.clock) as running:
        running.add(bed.specs(1))
    assert [worker.host for worker in bed.workers] == ["client-1", "client-2", "client-1", "client-2"]


def test_consumers_start_before_and_stop_after_the_producers(bed: Bed) -> None:
    with started(bed, 1, groups=1) as running:
        running.stop()
    assert bed.journal == [
        "producer-1 spec",
        "consumer-1 spec",
        "consumer-1 start",
        "producer-1 start",
        "producer-1 stop",
        "consumer-1 stop",
        "consumer-1 ended",
        "producer-1 ended",
    ]


def test_a_mark_is_the_sum_over_all_workers(bed: Bed) -> None:
    with started(bed, 2, groups=1) as running:
        bed.workers[0].acknowledged, bed.workers[0].outstanding = 10, 3
        bed.workers[1].acknowledged, bed.workers[2].acknowledged = 5, 14
        mark = running.mark()
    assert mark.totals == LoadTotals(offered=18, acknowledged=15, outstanding=3, consumed=14)
    assert mark.batches == Batches(batches=2, records=15)
    assert (mark.clients, mark.connections, mark.cpu_user_s) == (2, 8, 1.5)


def test_a_window_is_the_difference_of_two_marks(bed: Bed) -> None:
    with started(bed, 1) as running:
        bed.workers[0].acknowledged, bed.workers[0].outstanding = 10, 3
        first = running.mark()
        bed.workers[0].acknowledged = 30
        second = running.mark()
        end = running.stop()
    window = second.totals - first.totals
    assert window.closed
    assert (window.offered, window.acknowledged, window.outstanding) == (20, 20, 0)
    assert end.totals == LoadTotals(offered=30, acknowledged=30)


def test_an_interval_is_told_once_every_worker_has_reported_it(bed: Bed) -> None:
    with started(bed, 2) as running:
        one, two = bed.workers
        for time_s, acknowledged in ((100.5, 10), (101.0, 20)):
            one.acknowledged = acknowledged
            one.say(kind="interval", time_s=time_s)
        assert running.intervals() == []
        two.acknowledged = 1
        two.say(kind="interval", time_s=100.502)
        first = running.intervals()
        two.say(kind="interval", time_s=101.001)
        second = running.intervals()
        assert running.intervals() == []
    assert [(i.time_s, i.clients, i.totals.acknowledged) for i in first] == [(100.502, 2, 11)]
    assert [(i.time_s, i.clients, i.totals.acknowledged) for i in second] == [(101.001, 2, 21)]


def test_an_interval_that_one_worker_skipped_is_told_with_what_it_said_before(bed: Bed) -> None:
    with started(bed, 2) as running:
        one, two = bed.workers
        for time_s in (100.5, 101.0, 101.5):
            one.acknowledged += 10
            one.say(kind="interval", time_s=time_s)
        two.acknowledged = 1
        two.say(kind="interval", time_s=100.5)
        two.acknowledged = 3
        two.say(kind="interval", time_s=101.5)
        told = running.intervals()
    assert [interval.totals.acknowledged for interval in told] == [11, 21, 33]


def test_no_interval_is_told_from_before_a_worker_first_reported(bed: Bed) -> None:
    with started(bed, 2) as running:
        one, two = bed.workers
        for time_s in (100.5, 101.0, 101.5):
            one.acknowledged += 10
            one.say(kind="interval", time_s=time_s)
        two.acknowledged = 1
        two.say(kind="interval", time_s=101.0)
        told = running.intervals()
        two.say(kind="interval", time_s=101.5)
        told += running.intervals()
    assert [(interval.clients, interval.totals.acknowledged) for interval in told] == [(2, 21), (2, 31)]


def test_waiting_for_lines_costs_no_time_when_there_are_none(bed: Bed) -> None:
    with started(bed, 2) as running:
        before = bed.clock.now()
        running.intervals()
        assert bed.clock.now() == before


def test_all_workers_are_told_one_origin_that_is_yet_to_come(bed: Bed) -> None:
    before = bed.clock.now()
    with started(bed, 3, rate_msg_s=500):
        origins = {origin for worker in bed.workers for origin in worker.origins_s}
        assert len(origins) == 1
        assert min(origins) > before


def test_latencies_are_merged_over_workers_and_cut_at_marks(bed: Bed) -> None:
    with started(bed, 2, groups=1, rate_msg_s=500) as running:
        one, two, consumer = bed.workers
        one.latencies_us, one.acknowledged = [5_000, 7_000], 2
        first = running.mark()
        one.latencies_us, one.acknowledged = [5_000, 7_000, 30_000], 3
        two.latencies_us, two.acknowledged = [20_000], 1
        consumer.latencies_us, consumer.acknowledged, consumer.unstamped = [40_000], 3, 2
        last = running.mark()
        running.stop()
    window = last.since(first)
    assert last.latency is not None
    assert Histogram.decode(last.latency.histogram).encode() == of(5_000, 7_000, 20_000, 30_000).encode()
    assert window.latency is not None
    assert window.latency.histogram == of(20_000, 30_000).encode()
    assert (window.totals.acknowledged, window.latency.count) == (2, 2)
    assert window.lateness is not None
    assert (window.lateness.records, window.lateness.late_10ms) == (2, 2)
    assert window.end_to_end is not None
    assert window.end_to_end.count == 1
    assert last.lag == 4 - 1


def test_a_mark_is_of_when_the_producers_told_although_a_consumer_tells_later(bed: Bed) -> None:
    with started(bed, 2, groups=1, rate_msg_s=500) as running:
        one, two, consumer = bed.workers
        one.behind_s, two.behind_s, consumer.behind_s = 0.001, 0.002, 0.3
        mark = running.mark()
    assert mark.time_s == bed.clock.now() + 0.002
    assert mark.apart_s == pytest.approx(0.299)


def test_intervals_hold_their_own_latencies(bed: Bed) -> None:
    with started(bed, 1, rate_msg_s=500) as running:
        [worker] = bed.workers
        for time_s, value_us in ((100.5, 1_000), (101.0, 9_000)):
            worker.latencies_us.append(value_us)
            worker.acknowledged += 1
            worker.say(kind="interval", time_s=time_s)
        told = running.intervals()
    assert [interval.latency.histogram for interval in told if interval.latency] == [
        of(1_000).encode(),
        of(9_000).encode(),
    ]


def test_a_closed_loop_has_no_latencies(bed: Bed) -> None:
    with started(bed, 1, groups=1) as running:
        mark = running.mark()
    assert (mark.latency, mark.end_to_end, mark.lateness) == (None, None, None)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_lost_histogram_is_noticed(bed: Bed, place: int) -> None:
    with started(bed, 2, groups=1, rate_msg_s=500) as running:
        for worker in bed.workers:
            worker.latencies_us, worker.acknowledged = [5_000], 1
        bed.workers[place].latencies_us = []
        with pytest.raises(InstrumentFault, match=f"{bed.workers[place].name} gave 0 latencies of 1 records"):
            running.mark()


def test_a_histogram_lost_in_the_merge_is_noticed(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(bed, 2, rate_msg_s=500) as running:
        for worker in bed.workers:
            worker.latencies_us, worker.acknowledged = [5_000], 1
        running.mark()
        monkeypatch.setattr(mark, "combined", merge.without_the_last)
        with pytest.raises(InstrumentFault, match="the merge of 2 load workers gave 1 latencies of 2 records"):
            running.mark()


@pytest.mark.parametrize(("late", "invalid"), [(1, False), (2, True)])
def test_a_generator_that_is_late_makes_a_window_invalid(late: int, invalid: bool) -> None:
    said = lateness(of(*[500] * (100 - late), *[11_000] * late))
    assert bool(said.fault) is invalid


def test_workers_added_to_a_running_load_join_it(bed: Bed) -> None:
    with started(bed, 1) as running:
        running.add([bed.specs(2)[1]])
        assert bed.journal[-1] == "producer-2 start"
        assert running.mark().clients == 2


def test_an_error_report_is_raised_with_the_workers_name_and_words(bed: Bed) -> None:
    with started(bed, 1) as running:
        bed.workers[0].say(kind="error", error="UNKNOWN_TOPIC_OR_PART", text="no topic t-1")
        with pytest.raises(LoadError, match=r"producer-1 on client-1: UNKNOWN_TOPIC_OR_PART: no topic t-1"):
            running.intervals()


def test_the_last_words_of_a_worker_that_is_gone_are_raised(bed: Bed) -> None:
    with started(bed, 1) as running:
        bed.workers[0].say(kind="error", error="_FATAL", text="no more")
        bed.workers[0].gone = True
        with pytest.raises(LoadError, match="no more"):
            running.mark()


def test_a_worker_that_dies_without_a_word_is_a_failed_component(bed: Bed) -> None:
    with started(bed, 2) as running:
        bed.workers[1].gone = True
        with pytest.raises(ComponentFailed, match="producer-2 ended"):
            running.mark()


@pytest.mark.parametrize("phase", ["ready", "mark", "finished"])
def test_a_worker_that_keeps_silent_is_named_with_what_was_awaited(bed: Bed, phase: str) -> None:
    def drive() -> None:
        with load(bed, bed.specs(2), bed.clock) as running:
            bed.workers[1].silent = True
            if phase == "mark":
                running.mark()
            running.stop()

    if phase == "ready":
        bed.silent = frozenset({"producer-2"})
    with pytest.raises(LoadError, match=f"producer-2 on client-2 was not '{phase}' within"):
        drive()


def test_accounting_that_does_not_close_is_refused(bed: Bed) -> None:
    with started(bed, 1) as running:
        bed.workers[0].say(kind="interval", totals=LoadTotals(offered=5, acknowledged=4))
        with pytest.raises(InstrumentFault, match="does not close"):
            running.intervals()


def test_a_line_that_is_no_report_is_refused(bed: Bed) -> None:
    with started(bed, 1) as running:
        bed.workers[0].lines.append("Traceback")
        with pytest.raises(ComponentFailed, match="no report: Traceback"):
            running.intervals()


def test_whatever_happens_inside_all_workers_are_ended(bed: Bed) -> None:
    with pytest.raises(ZeroDivisionError), started(bed, 2):
        raise ZeroDivisionError
    assert bed.journal[-2:] == ["producer-2 ended", "producer-1 ended"]

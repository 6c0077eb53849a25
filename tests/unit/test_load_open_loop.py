"""The open loop at every step: what is due, what is held back, whose delay it is, what a latency counts from.

The clock is the test's; the client is the real librdkafka, without a broker or with its own mock of one.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import numpy as np
import pytest

from meshmark.histogram import Histogram
from meshmark.load.agenda import CHUNK, CHUNKS_AT_ONCE, Agenda, own_delay_ns
from meshmark.load.clients import native
from meshmark.load.clients.open_loop import OpenLoopProducer
from meshmark.load.recorder import BUFFER, Recorder, Tally
from meshmark.pacer import Arrivals, Constant, PacerSpec, Shape, Sine, Step, Steps
from meshmark.plan import ConfigValue
from meshmark.record import NOT_ACCEPTED
from meshmark.worker_protocol import Schedule, WorkerSpec

BOUND_S = 20.0
MS = 1_000_000
S = 1_000 * MS
STAMP = 77
ORIGIN_S = 5.0


def schedule(rate_msg_s: float = 1_000, worker: int = 0, workers: int = 1) -> Schedule:
    return Schedule(pacer=PacerSpec(shape=Constant(rate_msg_s=rate_msg_s)), worker=worker, workers=workers)


@pytest.mark.parametrize(
    ("now_s", "due"), [(4.9, 0), (4.999_999_999, 0), (5.0, 1), (5.000_5, 1), (5.001, 2), (6.0, 1_001), (65.0, 60_001)]
)
def test_what_is_due_counts_from_the_origin(now_s: float, due: int) -> None:
    agenda = Agenda(schedule(), ORIGIN_S)
    agenda.look(round(now_s * 1e9))
    assert (agenda.due, agenda.taken, agenda.held) == (due, 0, due)


def test_records_are_taken_in_order_however_far_behind() -> None:
    agenda = Agenda(schedule(), ORIGIN_S)
    seen: list[int] = []
    for now_s in (5.5, 12.0, 12.001, 20.0):
        agenda.look(round(now_s * 1e9))
        for _ in range(3):
            times = agenda.upcoming(1_500)
            agenda.take(len(times))
            seen += times.tolist()
    while agenda.held:
        times = agenda.upcoming(10 * CHUNK)
        agenda.take(len(times))
        seen += times.tolist()
    assert seen == [5 * S + number * MS for number in range(15_001)]
    assert len(agenda._chunks) <= 3


def test_asking_again_gives_what_was_not_taken() -> None:
    agenda = Agenda(schedule(), ORIGIN_S)
    agenda.look(6 * S)
    assert agenda.upcoming(5).tolist() == agenda.upcoming(5).tolist()
    agenda.take(2)
    assert agenda.upcoming(1).tolist() == [5 * S + 2 * MS]


def test_workers_share_a_schedule_from_one_origin() -> None:
    parts = [Agenda(schedule(worker=worker, workers=3), ORIGIN_S) for worker in range(3)]
    for part in parts:
        part.look(round(5.998 * 1e9))
    assert sum(part.due for part in parts) == 999
    assert sorted(t for part in parts for t in part.upcoming(999).tolist()) == [5 * S + n * MS for n in range(999)]


def test_a_schedule_ends_to_the_record() -> None:
    agenda = Agenda(schedule(), ORIGIN_S)
    agenda.close(6 * S)
    agenda.look(5_998 * MS)
    assert (agenda.due, agenda.next_ns()) == (999, 5_999 * MS)
    agenda.look(100 * S)
    assert (agenda.due, agenda.next_ns()) == (1_000, None)
    assert agenda.give_up(6 * S - 1) == 0
    assert agenda.give_up(100 * S) == 1_000
    assert (agenda.held, agenda.missed_ns) == (0, 0)


@pytest.mark.parametrize("shape", [Constant(rate_msg_s=1e9), Sine(mean_msg_s=1e9, amplitude=0.5, period_s=60)])
@pytest.mark.parametrize("arrivals", ["even", "poisson"])
def test_a_schedule_that_nobody_could_count_ends_where_the_counting_is(shape: Shape, arrivals: Arrivals) -> None:
    agenda = Agenda(Schedule(pacer=PacerSpec(shape=shape, arrivals=arrivals)), ORIGIN_S)
    seen_ns = agenda.look(8 * S)
    at_once = CHUNK * CHUNKS_AT_ONCE
    assert agenda.due == at_once
    # A billion a second: what was counted is of the first 66 microseconds.
    assert 5 * S < seen_ns < 5 * S + MS
    agenda.close(8 * S)
    agenda.take(1)
    assert agenda.give_up(8 * S) == at_once - 1
    assert agenda.look(9 * S) > seen_ns
    assert agenda.missed_ns == 0, "there was still time"
    assert agenda.give_up(9 * S) == at_once
    assert 2_999 * MS < agenda.missed_ns < 3 * S
    agenda.look(9 * S)
    agenda.give_up(9 * S)
    assert (agenda.held, agenda.next_ns()) == (0, None)
    assert agenda.due < 2 * at_once + 100, "but for what falls on the same nanosecond"


def test_a_schedule_that_is_counted_late_is_counted_whole() -> None:
    agenda = Agenda(schedule(rate_msg_s=1_000_000), ORIGIN_S)
    agenda.close(5_500 * MS)
    looks = 1
    while agenda.look(5_400 * MS + looks) < 5_400 * MS:
        agenda.give_up(5_400 * MS)
        looks += 1
    assert (agenda.due, looks) == (400_001, -(-400_001 // (CHUNK * CHUNKS_AT_ONCE)))
    agenda.look(6 * S)
    agenda.look(6 * S)
    agenda.give_up(7 * S)
    assert (agenda.due, agenda.missed_ns) == (500_000, 0)


def test_the_next_record_is_known_while_there_is_a_pause() -> None:
    steps = Steps(
        steps=(Step(rate_msg_s=100, seconds=1), Step(rate_msg_s=0, seconds=3), Step(rate_msg_s=1, seconds=1))
    )
    agenda = Agenda(Schedule(pacer=PacerSpec(shape=steps)), ORIGIN_S)
    agenda.look(round(6.5 * 1e9))
    assert agenda.due == 100
    assert agenda.next_ns() == 9 * S


@pytest.mark.parametrize(
    ("what", "intended_ms", "looked_ms", "now_ms", "own_ms"),
    [
        ("came due since the last look", 10, 9, 11, 1),
        ("came due just now", 11, 10, 11, 0),
        ("was held back by a full queue", 2, 10, 11, 1),
        ("worker slept, room in the queue", 12, 10, 1_010, 998),
        ("held back, then the worker slept", 2, 10, 1_010, 1_000),
    ],
)
def test_a_workers_own_delay(what: str, intended_ms: int, looked_ms: int, now_ms: int, own_ms: int) -> None:
    own = own_delay_ns(np.array([intended_ms * MS]), looked_ms * MS, now_ms * MS)
    assert own.tolist() == [own_ms * MS], what


def test_a_tally_keeps_all_values_and_sets_negative_ones_apart() -> None:
    tally = Tally()
    tally.add(np.arange(3 * BUFFER + 17, dtype=np.int64) * 1_000)
    tally.add(np.array([-1, -5_000, 999], dtype=np.int64))
    assert tally.negative == 2
    assert Histogram.decode(tally.encode()).count == 3 * BUFFER + 18


class Clock:
    def __init__(self) -> None:
        self.ns = 5 * S

    def __call__(self) -> int:
        return self.ns


@contextmanager
def producer(
    clock: Clock,
    *,
    mock: bool = False,
    connections: int = 1,
    capacity: int = 1_000,
    stamp: int = STAMP,
    rate_msg_s: float = 1_000,
) -> Iterator[OpenLoopProducer]:
    config: dict[str, ConfigValue] = {"queue.buffering.max.messages": capacity, "linger.ms": 1, "log_level": 2}
    if mock:
        config["test.mock.num.brokers"] = 1
    spec = WorkerSpec(
        name="producer-1",
        role="producer",
        bootstrap_servers="127.0.0.1:1",  # nothing listens there
        client_config={},
        config=config,
        topics=("t",),
        partitions_per_topic=0,
        message_size=100,
        connections=connections,
        seed=1,
        schedule=schedule(rate_msg_s),
        stamp=stamp,
    )
    with OpenLoopProducer(spec, schedule(rate_msg_s), Recorder(clock)) as made:
        if mock:
            _create_topic(made)
            end = monotonic() + BOUND_S
            while not made.ready():
                assert monotonic() < end
        else:
            for connection in made._connections:
                connection.partitions = {"t": 2}
                connection.set_route(random.Random(1))
        made.start(ORIGIN_S)
        yield made


def _create_topic(made: OpenLoopProducer) -> None:
    """On the mock broker that librdkafka has brought up in this process."""
    lib = native.library()
    lib.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
    lib.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
    lib.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    for connection in made._connections:
        mock = lib.rd_kafka_handle_mock_cluster(connection.client)
        assert lib.rd_kafka_mock_topic_create(mock, b"t", 2, 1) == native.NO_ERROR


def at(clock: Clock, made: OpenLoopProducer, after_ms: float) -> None:
    clock.ns = 5 * S + round(after_ms * MS)
    made.serve()


def until_acknowledged(made: OpenLoopProducer, count: int) -> None:
    end = monotonic() + BOUND_S
    while made.totals().acknowledged < count:
        assert monotonic() < end, made.totals()
        made.serve()
        assert made.totals().closed


def test_records_are_offered_when_due_whether_there_is_room_or_not() -> None:
    clock = Clock()
    with producer(clock, connections=2, capacity=10) as made:
        assert made.totals().offered == 1
        for after_ms in range(100):
            at(clock, made, after_ms)
            totals = made.totals()
            assert totals.closed
            assert (totals.offered, totals.outstanding) == (after_ms + 1, after_ms + 1)
        assert [connection.outstanding for connection in made._connections] == [10, 10]


def test_what_a_full_queue_holds_back_is_not_the_generators_delay() -> None:
    clock = Clock()
    with producer(clock, capacity=10) as made:
        for after_ms in range(100):
            at(clock, made, after_ms)
        delays = Histogram.decode(made.recorder.lateness.encode())
        assert (delays.count, delays.above(0.001)) == (10, 0)


def test_a_late_wake_up_with_room_is_the_generators_delay() -> None:
    clock = Clock()
    with producer(clock) as made:
        at(clock, made, 0)
        at(clock, made, 100)
        delays = Histogram.decode(made.recorder.lateness.encode())
        # Record n was due after n ms and had to wait until 100 ms; record 0 had been handed over in time.
        assert (delays.count, delays.above(0.010)) == (101, 89)
        assert delays.max_s == pytest.approx(0.099, rel=1e-3)


def test_an_impossible_rate_is_the_generators_delay_and_ends_in_time_with_a_closed_account() -> None:
    clock = Clock()
    with producer(clock, capacity=50_000, rate_msg_s=1e8) as made:
        for after_ms in range(0, 200, 10):
            at(clock, made, after_ms)
            assert made.totals().closed
        delays = Histogram.decode(made.recorder.lateness.encode())
        taken = delays.count
        assert 45_000 < taken <= 50_000
        assert made.pause_s() < 0, "it is behind"
        made.stop(ORIGIN_S + 0.2)
        for after_ms in (200, 1_100, 1_200, 1_210):
            at(clock, made, after_ms)
        totals = made.totals()
        assert (totals.outstanding, totals.not_accepted) == (taken, totals.offered - taken)
        assert not made._to_come()
        assert 0.1 < made.recorder.missed_ns / S < 0.2


def test_what_is_counted_late_is_late_though_the_last_look_was_just_before() -> None:
    clock = Clock()
    with producer(clock, capacity=200_000, rate_msg_s=1e6) as made:
        at(clock, made, 0)
        at(clock, made, 100)  # 100,000 are due, more than one look counts
        at(clock, made, 102)
        delays = Histogram.decode(made.recorder.lateness.encode())
        assert made.totals().offered == delays.count == 102_001
        # Of those that this look did not count, the oldest came due 34 ms before it.
        assert delays.above(0.010) > 90_000


def test_latency_counts_from_the_intended_time_to_the_report() -> None:
    clock = Clock()
    with producer(clock, mock=True) as made:
        at(clock, made, 100)
        made.stop(0)
        clock.ns += 500 * MS
        until_acknowledged(made, 101)
        latency = Histogram.decode(made.recorder.latency.encode())
        totals = made.totals()
    # Record n took 600 - n ms.
    assert (totals.offered, totals.acknowledged, totals.outstanding, totals.negative) == (101, 101, 0, 0)
    assert (latency.count, latency.above(0.4999), latency.above(0.5505), latency.above(0.6005)) == (101, 101, 50, 0)
    assert latency.quantile_s(0.5) == pytest.approx(0.550, rel=1e-3)


def test_acknowledged_records_are_known_by_their_intended_times_and_others_are_not_among_them() -> None:
    clock = Clock()
    with producer(clock, mock=True, connections=2, capacity=7) as made:
        made.recorder.itemize()
        at(clock, made, 49)
        until_acknowledged(made, 50)
        assert sorted(made.recorder.items().tolist()) == [5 * S + number * MS for number in range(50)]
    with producer(clock, capacity=10) as made:
        made.recorder.itemize()
        at(clock, made, 50)
        assert (made.totals().outstanding, len(made.recorder.items())) == (51, 0)


def test_what_was_held_back_is_sent_when_there_is_room_and_its_latency_goes_on() -> None:
    clock = Clock()
    with producer(clock, mock=True, capacity=7) as made:
        at(clock, made, 49)
        assert [connection.outstanding for connection in made._connections] == [7]
        clock.ns += 51 * MS
        until_acknowledged(made, 101)
        latency = Histogram.decode(made.recorder.latency.encode())
    assert (latency.count, latency.above(0.0505)) == (101, 50)
    assert latency.max_s == pytest.approx(0.1, rel=1e-3)


def test_what_a_full_queue_holds_back_is_given_up_at_the_stop_and_told_from_errors() -> None:
    clock = Clock()
    with producer(clock, capacity=10) as made:
        at(clock, made, 50)
        made.stop(ORIGIN_S + 0.1)
        at(clock, made, 99)
        assert (made.totals().offered, made.totals().failed) == (100, 0)
        at(clock, made, 100)
        totals = made.totals()
        assert (totals.offered, totals.failed, totals.outstanding) == (100, 90, 10)
        assert totals.errors == {NOT_ACCEPTED: 90}
        assert totals.not_accepted == totals.failed
        assert totals.closed
        at(clock, made, 5_000)
        assert made.totals() == totals
        assert not made.done()


def test_a_system_that_falls_behind_costs_the_generator_neither_memory_nor_blame() -> None:
    clock = Clock()
    with producer(clock, connections=3, capacity=100, rate_msg_s=200_000) as made:
        for after_ms in range(0, 5_000, 2):
            at(clock, made, after_ms)
        totals = made.totals()
        assert (totals.offered, totals.outstanding) == (200 * 4_998 + 1, 200 * 4_998 + 1)
        assert made._agenda is not None
        assert len(made._agenda._chunks) <= 3
        delays = Histogram.decode(made.recorder.lateness.encode())
        assert delays.count == sum(connection.outstanding for connection in made._connections)
        assert delays.above(0.002) == 0
        made.stop(0)
        at(clock, made, 5_000)
        totals = made.totals()
        assert (totals.not_accepted, totals.outstanding) == (totals.offered - delays.count, delays.count)


def test_a_stop_that_is_yet_to_come_lets_everything_before_it_come_due() -> None:
    clock = Clock()
    with producer(clock, mock=True) as made:
        at(clock, made, 50)
        made.stop(ORIGIN_S + 0.08)
        assert not made.done()
        at(clock, made, 500)
        until_acknowledged(made, 80)
        assert made.totals().offered == 80


def test_values_say_when_they_should_have_been_sent_and_whose_they_are() -> None:
    clock = Clock()
    with producer(clock) as made:
        at(clock, made, 4)
        words = np.ascontiguousarray(made._pool[:5, :16]).view("<i8")
    assert words.tolist() == [[5 * S + n * MS, STAMP] for n in range(5)]


def test_what_a_pass_finds_due_goes_to_one_connection_and_each_has_its_turn() -> None:
    clock = Clock()
    with producer(clock, connections=3) as made:
        shares = []
        for after_ms in (0, 7, 14, 21):
            at(clock, made, after_ms)
            shares.append([connection.outstanding for connection in made._connections])
    assert shares == [[1, 0, 0], [1, 7, 0], [1, 7, 7], [8, 7, 7]]


def test_a_connection_is_given_a_batch_at_most_at_once() -> None:
    clock = Clock()
    with producer(clock, connections=3, capacity=80) as made:
        at(clock, made, 34)
        assert [connection.outstanding for connection in made._connections] == [15, 10, 10]
        at(clock, made, 39)
        assert [connection.outstanding for connection in made._connections] == [15, 15, 10]


def test_a_connection_without_room_is_passed_over() -> None:
    clock = Clock()
    with producer(clock, connections=3, capacity=80) as made:
        made._connections[1].outstanding = 75
        at(clock, made, 29)
        assert [connection.outstanding for connection in made._connections] == [20, 75, 10]


def test_a_worker_sleeps_until_a_record_is_due_or_a_report_may_come() -> None:
    clock = Clock()
    clock.ns -= 2 * MS
    with producer(clock) as made:
        assert made.pause_s() == pytest.approx(0.002)
        at(clock, made, 0.25)
        assert made.pause_s() == pytest.approx(0.002)
        clock.ns += 3 * MS
        assert made.pause_s() < 0


def test_held_is_all_the_time_from_intended_to_handed_over() -> None:
    recorder = Recorder()
    recorder.handed_over(np.array([100, 300], dtype=np.int64), looked_ns=350, now_ns=400)
    recorder.handed_over(np.array([500], dtype=np.int64), looked_ns=400, now_ns=500)
    assert recorder.held_ns == 300 + 100

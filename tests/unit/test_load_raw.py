"""The raw client at every step: brokers are the other ends of socket pairs, the clock is the test's."""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from kio.records.readers import read_batch
from kio.records.schema import RecordBatch
from kio.schema.errors import ErrorCode
from kio.schema.produce.v7 import ProduceRequest, ProduceResponse
from kio.schema.produce.v7.response import PartitionProduceResponse, TopicProduceResponse
from kio.schema.request_header.v1.header import RequestHeader
from kio.schema.types import TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32, i64

from meshmark.histogram import Histogram
from meshmark.load.clients import ClientError, raw
from meshmark.load.clients.raw_lane import Lane
from meshmark.load.clients.raw_wire import Address, Layout
from meshmark.load.settings import OPEN_LOOP_TICK_S
from meshmark.pacer import Constant, PacerSpec
from meshmark.record import NOT_ACCEPTED
from meshmark.worker_protocol import Schedule, WorkerSpec

MS = 1_000_000
S = 1_000 * MS
ORIGIN_S = 5.0
NODES: dict[int, Address] = {1: ("one", 1), 2: ("two", 2)}
LEADERS = {("t", 0): 1, ("t", 1): 2}
STAMP = 77


@dataclass
class Asked:
    """A request that a broker has received."""

    peer: socket.socket
    address: Address
    correlation: int
    topic: str
    partition: int
    batch: RecordBatch


class Soon:
    """What `Attempt` is, without a thread."""

    def __init__(self, run: Any) -> None:
        self.result = run

    def abandon(self) -> None: ...


@dataclass
class Brokers:
    """Two of them. They answer when they are told to."""

    leaders: dict[tuple[str, int], int] = field(default_factory=lambda: dict(LEADERS))
    peers: list[tuple[Address, socket.socket]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    layouts: int = 0
    away: bool = False

    def finding(self) -> Soon:
        return Soon(self._find)

    def _find(self) -> Layout:
        self.layouts += 1
        return Layout(dict(self.leaders), NODES)

    def connecting(self, address: Address) -> Soon:
        def connect() -> socket.socket | None:
            if self.away:
                raise ClientError("_TRANSPORT", "away")
            ours, theirs = socket.socketpair()
            self.peers.append((address, ours))
            return theirs

        return Soon(connect)

    def close(self) -> None:
        for _, peer in self.peers:
            peer.close()

    def read(self) -> list[Asked]:
        """Requests that came since the last call; they wait for their answers."""
        found = []
        for address, peer in self.peers:
            if peer.fileno() < 0:
                continue
            peer.setblocking(False)
            data = b""
            while True:
                try:
                    data += peer.recv(1 << 20)
                except BlockingIOError:
                    break
            while data:
                (size,) = struct.unpack_from(">i", data)
                header, length = entity_reader(RequestHeader)(data, 4)
                request, _ = entity_reader(ProduceRequest)(data, 4 + length)
                [topic] = request.topic_data
                [part] = topic.partition_data
                batch, _ = read_batch(part.records or b"", 0)
                found.append(Asked(peer, address, header.correlation_id, str(topic.name), int(part.index), batch))
                data = data[4 + size :]
        self.asked += found
        return found

    def answer(self, code: int = 0, most: int = 1_000_000) -> int:
        """To the oldest requests; how many records these had."""
        self.read()
        now, self.asked = self.asked[:most], self.asked[most:]
        for each in now:
            offset = self.ends.get(each.partition, 0)
            self.ends[each.partition] = offset + len(each.batch.records)
            part = PartitionProduceResponse(
                index=i32(each.partition), error_code=ErrorCode(code), base_offset=i64(offset)
            )
            told = io.BytesIO()
            topic = TopicProduceResponse(name=TopicName(each.topic), partition_responses=(part,))
            entity_writer(ProduceResponse)(told, ProduceResponse(responses=(topic,)))
            data = struct.pack(">i", each.correlation) + told.getvalue()
            each.peer.sendall(struct.pack(">i", len(data)) + data)
        return sum(len(each.batch.records) for each in now)


class Clock:
    def __init__(self) -> None:
        self.ns = round(ORIGIN_S * S)

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    made = Brokers()
    monkeypatch.setattr(raw, "Connector", lambda *_: made)
    return made


@contextmanager
def producer(
    clock: Clock, *, rate_msg_s: float | None = 1_000, connections: int = 1, stamp: int = 0, **config: Any
) -> Iterator[raw.RawProducer]:
    schedule = rate_msg_s and Schedule(pacer=PacerSpec(shape=Constant(rate_msg_s=rate_msg_s)))
    spec = WorkerSpec(
        name="producer-1",
        role="producer",
        client="raw",
        bootstrap_servers="unused:1",
        client_config={},
        config={"linger.ms": 5, "queue.buffering.max.messages": 160, **config},
        topics=("t",),
        partitions_per_topic=2,
        message_size=100,
        connections=connections,
        seed=1,
        schedule=schedule or None,
        stamp=stamp,
    )
    with raw.RawProducer(spec) as made:
        made.recorder.now_ns = clock
        while not made.ready():
            """Each step of it is immediate."""
        made.start(ORIGIN_S)
        yield made


def at(clock: Clock, made: raw.RawProducer, after_ms: float) -> None:
    clock.ns = round(ORIGIN_S * S) + round(after_ms * MS)
    made.serve()
    assert made.totals().closed


def settle(clock: Clock, made: raw.RawProducer, brokers: Brokers) -> None:
    """Answers everything until nothing is outstanding."""
    for _ in range(1_000):
        if not made.totals().outstanding:
            return
        brokers.answer()
        clock.ns += MS
        made.serve()
    raise AssertionError(made.totals())


def test_closed_loop_keeps_connections_full_and_counts_answers(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, rate_msg_s=None, connections=2) as made:
        at(clock, made, 0)
        # An eighth of the queue is a batch, as with librdkafka.
        assert {len(each.batch.records) for each in brokers.read()} == {20}
        assert made.totals().offered == made.totals().outstanding == 320
        assert {(each.address, each.partition) for each in brokers.asked} == {(("one", 1), 0), (("two", 2), 1)}
        stored = brokers.answer(most=3)
        at(clock, made, 1)
        assert (made.totals().acknowledged, made.totals().offered) == (stored, 320 + stored)
        made.stop(0)
        settle(clock, made, brokers)
        totals = made.totals()
        assert made.done()
        counted = made.batches()
    assert (totals.failed, totals.unknown, totals.errors) == (0, 0, {})
    assert totals.acknowledged == totals.offered == sum(brokers.ends.values())
    assert totals.acknowledged_bytes == 100 * totals.acknowledged
    assert (counted.records, counted.batches, counted.requests) == (
        totals.offered,
        totals.offered // 20,
        counted.batches,
    )
    assert 100 * counted.records < counted.batch_bytes < counted.request_bytes


def test_requests_under_way_are_bounded_and_batches_grow_meanwhile(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, connections=1, **{"max.in.flight.requests.per.connection": 1}) as made:
        for after_ms in range(60):
            at(clock, made, after_ms)
        assert len(brokers.read()) == 2  # one for each broker
        brokers.answer()
        at(clock, made, 60)
        grown = [len(each.batch.records) for each in brokers.read()]
        made.stop(0)
        settle(clock, made, brokers)
        assert made.totals().acknowledged == 61
    assert len(grown) == 2
    # Until now a batch had what came in five milliseconds.
    assert min(grown) > 10


def test_a_batch_lingers_unless_it_is_full(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock) as made:
        for after_ms in range(5):
            at(clock, made, after_ms)
        assert brokers.read() == []
        at(clock, made, 5)
        [first] = brokers.read()
        assert len(first.batch.records) == 5
        at(clock, made, 30)  # 25 at once: a batch of 20, and the rest to a record that has waited since 5 ms
        assert sorted(len(each.batch.records) for each in brokers.read()) == [6, 20]
        at(clock, made, 33)
        at(clock, made, 37.9)
        assert brokers.read() == []
        at(clock, made, 38)
        assert [len(each.batch.records) for each in brokers.read()] == [3]


def test_records_are_offered_when_due_whether_there_is_room_or_not(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, connections=2, **{"queue.buffering.max.messages": 10}) as made:
        for after_ms in range(100):
            at(clock, made, after_ms)
            totals = made.totals()
            assert (totals.offered, totals.outstanding) == (after_ms + 1, after_ms + 1)
        assert [lane.outstanding for lane in made._lanes] == [10, 10]
        delays = Histogram.decode(made.recorder.lateness.encode())
        # What a full queue holds back is not the generator's delay.
        assert (delays.count, delays.above(0.001)) == (20, 0)


def test_latency_counts_from_the_intended_time_to_the_answer(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock) as made:
        for after_ms in range(0, 101, 10):
            at(clock, made, after_ms)
        made.stop(0)
        brokers.answer()
        clock.ns += 400 * MS
        settle(clock, made, brokers)
        latency = Histogram.decode(made.recorder.latency.encode())
    assert latency.count == 101
    assert latency.above(0.3995) == 101
    assert latency.max_s == pytest.approx(0.5, rel=0.01)


def test_values_say_when_they_should_have_been_sent_and_whose_they_are(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, stamp=STAMP) as made:
        for after_ms in range(60):
            at(clock, made, after_ms)
        values = [record.value or b"" for each in brokers.read() for record in each.batch.records]
    words = sorted(struct.unpack_from("<qq", value) for value in values)
    assert len(words) > 40
    assert words == [(5 * S + n * MS, STAMP) for n in range(len(words))]


def test_lanes_have_even_shares(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, connections=3) as made:
        for after_ms in range(0, 300, 7):
            at(clock, made, after_ms)
        shares = [lane.outstanding for lane in made._lanes]
    assert sum(shares) == 295
    assert max(shares) - min(shares) <= 1


def test_a_pass_looks_only_at_connections_that_have_something_to_send(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    send = raw.RawProducer._send

    def counted(made: raw.RawProducer, lane: Lane, now_ns: int, now_ms: int) -> None:
        looked.append(lane)
        send(made, lane, now_ns, now_ms)

    monkeypatch.setattr(raw.RawProducer, "_send", counted)
    clock = Clock()
    with producer(clock, connections=300) as made:
        for step in range(1, 101):
            at(clock, made, step)
        assert made.totals().outstanding == 101
        assert len(looked) <= 100 * 10, "one new lane a pass, each for 5 ms of linger"
        made.stop(0.0)
        settle(clock, made, brokers)
        assert made.totals().acknowledged == 101
        looked.clear()
        made.serve()
        assert looked == []


@pytest.mark.parametrize(
    ("code", "failed", "unknown"),
    [pytest.param(19, 20, 0, id="NOT_ENOUGH_REPLICAS"), pytest.param(7, 0, 20, id="REQUEST_TIMED_OUT")],
)
def test_what_a_broker_refuses_has_failed_and_what_it_leaves_open_is_unknown(
    brokers: Brokers, code: int, failed: int, unknown: int, request: pytest.FixtureRequest
) -> None:
    clock = Clock()
    with producer(clock, rate_msg_s=None) as made:
        at(clock, made, 0)
        made.stop(0)
        brokers.answer(code, most=1)
        at(clock, made, 1)
        totals = made.totals()
        assert (totals.failed, totals.unknown) == (failed, unknown)
        assert totals.errors == {request.node.callspec.id: 20}
        settle(clock, made, brokers)


def test_a_new_leader_is_found_after_an_error(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock) as made:
        at(clock, made, 0)
        at(clock, made, 6)
        brokers.leaders = {("t", 0): 2, ("t", 1): 2}
        asked = brokers.layouts
        brokers.answer(code=6)
        for after_ms in range(7, 200):
            at(clock, made, after_ms)
            brokers.answer()
        assert brokers.layouts > asked
        at(clock, made, 200)
        at(clock, made, 206)
        at(clock, made, 212)
        assert {each.address for each in brokers.read()} == {("two", 2)}
        made.stop(0)
        settle(clock, made, brokers)
        totals = made.totals()
    assert totals.errors == {"NOT_LEADER_OR_FOLLOWER": totals.unknown}
    assert totals.offered == totals.acknowledged + totals.unknown


def test_what_was_under_way_on_a_broken_connection_is_unknown(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, rate_msg_s=None) as made:
        at(clock, made, 0)
        made.stop(0)
        brokers.read()
        lost = [each for each in brokers.asked if each.address == ("one", 1)]
        brokers.asked = [each for each in brokers.asked if each.address != ("one", 1)]
        lost[0].peer.close()
        at(clock, made, 1)
        totals = made.totals()
        assert totals.unknown == totals.errors["_TRANSPORT"] == sum(len(each.batch.records) for each in lost) > 0
        settle(clock, made, brokers)
        assert made.totals().acknowledged == 160 - totals.unknown
        assert made.done()


def test_answers_that_came_before_a_connection_broke_count(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, rate_msg_s=None) as made:
        at(clock, made, 0)
        made.stop(0)
        assert brokers.answer() == 160
        brokers.close()
        at(clock, made, 1)
        at(clock, made, 2)
        totals = made.totals()
    assert (totals.acknowledged, totals.unknown, totals.outstanding) == (160, 0, 0)


def test_records_that_were_never_sent_have_failed_when_their_time_is_over(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, **{"message.timeout.ms": 500, "max.in.flight": 1}) as made:
        for after_ms in range(0, 400, 10):
            at(clock, made, after_ms)
        made.stop(0)
        at(clock, made, 399 + 501)
        at(clock, made, 399 + 560)
        totals = made.totals()
        sent = sum(len(each.batch.records) for each in brokers.read())
    # The queue held 160 of 391, of which a batch for each broker was under way.
    assert (totals.offered, totals.failed, totals.unknown, totals.outstanding) == (391, 391 - sent, sent, 0)
    assert len(brokers.asked) == 2
    timed_out = totals.errors["_MSG_TIMED_OUT"]
    assert totals.errors == {"_MSG_TIMED_OUT": timed_out, NOT_ACCEPTED: 391 - timed_out}
    assert 140 < timed_out <= 160


def test_an_answer_that_comes_too_late_changes_nothing(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, rate_msg_s=None, **{"message.timeout.ms": 500}) as made:
        at(clock, made, 0)
        made.stop(0)
        at(clock, made, 501)
        assert (made.totals().unknown, made.totals().outstanding) == (160, 0)
        brokers.answer()
        at(clock, made, 502)
        totals = made.totals()
        assert made.recorder.negative == 0
    assert (totals.acknowledged, totals.unknown, totals.outstanding) == (0, 160, 0)


def test_at_the_stop_what_had_no_room_is_given_up(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, **{"queue.buffering.max.messages": 10}) as made:
        at(clock, made, 50)
        made.stop(ORIGIN_S + 0.060)
        assert not made.done()
        at(clock, made, 55)
        assert made.totals().failed == 0
        at(clock, made, 60)
        totals = made.totals()
        assert (totals.offered, totals.failed, totals.outstanding) == (60, 50, 10)
        assert totals.errors == {NOT_ACCEPTED: 50}
        settle(clock, made, brokers)
        assert made.done()
        assert made.totals().acknowledged == 10


def test_offsets_that_go_back_are_told(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock, rate_msg_s=None) as made:
        at(clock, made, 0)
        brokers.answer(most=1)
        at(clock, made, 1)
        assert made.notes() == ""
        brokers.ends.clear()
        made.stop(0)
        settle(clock, made, brokers)
        assert made.notes() == "1 batches were stored at offsets given before"


def test_brokers_that_are_away_are_asked_again(brokers: Brokers) -> None:
    clock = Clock()
    with producer(clock) as made:
        brokers.away = True
        brokers.close()
        for after_ms in range(0, 300, 10):
            at(clock, made, after_ms)
        assert made.totals().outstanding > 100
        assert made._lanes[0].links == {}
        brokers.away = False
        made.stop(0)
        settle(clock, made, brokers)
        totals = made.totals()
    assert totals.acknowledged >= 100
    assert totals.failed == totals.not_accepted == totals.offered - totals.acknowledged - totals.unknown


def test_partitions_must_be_as_many_as_asked(brokers: Brokers) -> None:
    brokers.leaders = {("t", 0): 1}
    with pytest.raises(ClientError, match="topic t has 1 partitions; asked for 2"), producer(Clock()):
        pass


def test_a_worker_sleeps_until_a_record_is_due_or_an_answer_may_come(brokers: Brokers) -> None:
    clock = Clock()
    clock.ns -= 2 * MS
    with producer(clock) as made:
        assert made.pause_s() == pytest.approx(0.002)
        at(clock, made, 0.25)
        assert made.pause_s() == pytest.approx(OPEN_LOOP_TICK_S)
        clock.ns += 3 * MS
        assert made.pause_s() < 0

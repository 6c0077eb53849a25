"""Keys as OpenMessaging Benchmark makes them, and where their records go: as Kafka's own client would put them."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Callable
from time import monotonic

import pytest
from confluent_kafka import Consumer, TopicPartition

from meshmark.load.clients import native
from meshmark.load.clients.keys import KEYS, Keys
from meshmark.load.clients.librdkafka import Producer
from meshmark.plan import KEY_BYTES, KeyDistributor
from meshmark.worker_protocol import WorkerSpec
from tests.murmur import murmur2, partition

BOUND_S = 30.0
PARTITIONS = 3


def texts(keys: Keys, count: int) -> list[bytes]:
    return [ctypes.string_at(address, KEY_BYTES) for address in keys.upcoming(count).tolist()]


def test_there_are_ten_thousand_keys_of_seven_random_bytes() -> None:
    made = Keys("KEY_ROUND_ROBIN", seed=1).texts
    assert len(set(made)) == len(made) == KEYS
    assert all(re.fullmatch(rb"[A-Za-z0-9_-]{10}", text) for text in made)
    assert made == Keys("RANDOM_NANO", seed=1).texts != Keys("RANDOM_NANO", seed=2).texts


def test_in_turn_every_key_comes_before_one_comes_again() -> None:
    keys = Keys("KEY_ROUND_ROBIN", seed=1)
    seen = texts(keys, 6_000)
    keys.take(5_000)  # of the rest the client had no room
    seen = seen[:5_000] + texts(keys, KEYS)
    assert seen == [*keys.texts, *keys.texts[:5_000]]


def test_at_random_some_come_again_and_all_come_in_the_end() -> None:
    keys = Keys("RANDOM_NANO", seed=1)
    first = set(texts(keys, KEYS))
    assert 0.6 * KEYS < len(first) < 0.66 * KEYS
    assert len(first.union(texts(keys, 20 * KEYS))) == KEYS


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(key: bytes, hashed: int) -> None:
    """Values of `UtilsTest.testMurmur2` of Apache Kafka."""
    assert murmur2(key) == hashed % 2**32


@pytest.mark.parametrize("distributor", ["KEY_ROUND_ROBIN", "RANDOM_NANO"])
def test_records_are_in_the_partitions_that_their_keys_say(distributor: KeyDistributor) -> None:
    spec = WorkerSpec(
        name="producer-1",
        role="producer",
        bootstrap_servers="127.0.0.1:1",  # its own mock of a broker takes the place
        client_config={},
        config={"test.mock.num.brokers": 1, "linger.ms": 1, "log_level": 2, "queue.buffering.max.messages": 2_000},
        topics=("t",),
        partitions_per_topic=0,
        message_size=40,
        connections=1,
        seed=1,
        key_distributor=distributor,
    )
    with Producer(spec) as made:
        mock = _mock(made)
        _until(made, made.ready)
        assert made.settings()["partitioner"] == "murmur2_random"
        made.start(0)
        _until(made, lambda: made.totals().acknowledged > 1.1 * KEYS)
        made.stop(0)
        _until(made, made.done)
        totals = made.totals()
        read = _read(mock, totals.acknowledged)
    assert totals.acknowledged == totals.offered
    assert all(where == partition(key, PARTITIONS) for key, where in read)
    assert {where for _, where in read} == set(range(PARTITIONS))
    counts = Counter(key for key, _ in read)
    if distributor == "KEY_ROUND_ROBIN":
        assert len(counts) == KEYS
        assert max(counts.values()) - min(counts.values()) <= 1


def _mock(made: Producer) -> bytes:
    """A topic on the broker that librdkafka has brought up in this process; its address."""
    lib = native.library()
    lib.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
    lib.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
    lib.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    lib.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    [connection] = made._connections
    mock = lib.rd_kafka_handle_mock_cluster(connection.client)
    assert lib.rd_kafka_mock_topic_create(mock, b"t", PARTITIONS, 1) == native.NO_ERROR
    address: bytes = lib.rd_kafka_mock_cluster_bootstraps(mock)
    return address


def _until(made: Producer, done: Callable[[], bool]) -> None:
    end = monotonic() + BOUND_S
    while not done():
        assert monotonic() < end, made.totals()
        made.serve()


def _read(mock: bytes, count: int) -> list[tuple[bytes, int]]:
    """Keys and partitions of so many records, which are all there are."""
    reader = Consumer({"bootstrap.servers": mock.decode(), "group.id": "g", "log_level": 2})
    reader.assign([TopicPartition("t", number, 0) for number in range(PARTITIONS)])
    read: list[tuple[bytes, int]] = []
    end = monotonic() + BOUND_S
    while len(read) < count:
        assert monotonic() < end, len(read)
        read += [
            (each.key() or b"", each.partition() or 0) for each in reader.consume(1_000, timeout=1) if not each.error()
        ]
    reader.close()
    return read

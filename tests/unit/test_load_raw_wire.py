"""What the raw client puts on the wire, read back with another codec; what it takes from it; its settings."""

from __future__ import annotations

import io
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from kio.records.readers import read_batch
from kio.schema.produce.v7 import ProduceRequest, ProduceResponse
from kio.schema.produce.v7.response import PartitionProduceResponse, TopicProduceResponse
from kio.schema.request_header.v1.header import RequestHeader
from kio.schema.types import TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32, i64

from meshmark.load.clients import ClientError
from meshmark.load.clients.raw_batch import Batches, records_within
from meshmark.load.clients.raw_settings import read_settings
from meshmark.load.clients.raw_wire import NO_ERROR, Access, Target, connect, error_name, surely_not_stored
from meshmark.worker_protocol import WorkerSpec

STAMP = 77
NOW_MS = 1_700_000_000_000


def joined(parts: tuple[bytes | memoryview, ...]) -> bytes:
    return b"".join(parts)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 128, 129, 300])
def test_one_encoding_serves_batches_of_all_lengths(count: int) -> None:
    batches = Batches(size=100, most=300, seed=1)
    data = joined(batches.plain(count, NOW_MS))
    batch, size = read_batch(data, 0)  # checks lengths and the checksum
    assert size == len(data) == batches.length(count)
    assert (len(batch.records), batch.last_offset_delta, batch.producer_id) == (count, count - 1, -1)
    assert (batch.base_timestamp, batch.max_timestamp) == (NOW_MS, NOW_MS)
    assert [record.offset for record in batch.records] == list(range(count))
    assert {len(record.value or b"") for record in batch.records} == {100}
    assert len({record.value for record in batch.records}) == count


def test_a_header_is_made_anew_when_its_time_is_old() -> None:
    batches = Batches(size=16, most=4, seed=1)
    assert batches.plain(3, NOW_MS)[0] is batches.plain(3, NOW_MS + 999)[0]
    batch, _ = read_batch(joined(batches.plain(3, NOW_MS + 1_000)), 0)
    assert batch.base_timestamp == NOW_MS + 1_000


@pytest.mark.parametrize("size", [16, 17, 64, 512, 9_000])
@pytest.mark.parametrize("count", [1, 64, 200])
def test_stamped_values_begin_with_their_intended_time(size: int, count: int) -> None:
    batches = Batches(size=size, most=200, seed=1, stamp=STAMP)
    times = np.arange(count, dtype=np.int64) * 1_000_003 + 2**40
    batch, _ = read_batch(bytes(batches.stamped(times, NOW_MS)), 0)
    values = [record.value or b"" for record in batch.records]
    assert {len(value) for value in values} == {size}
    assert [struct.unpack_from("<qq", value) for value in values] == [(time, STAMP) for time in times.tolist()]


def test_a_stamped_batch_does_not_change_the_ones_before_it() -> None:
    batches = Batches(size=32, most=4, seed=1, stamp=STAMP)
    first = batches.stamped(np.array([1, 2], dtype=np.int64), NOW_MS)
    kept = bytes(first)
    batches.stamped(np.array([3, 4], dtype=np.int64), NOW_MS)
    assert bytes(first) == kept


@pytest.mark.parametrize(
    ("size", "most_bytes"), [(16, 1_000), (100, 16_384), (512, 16_384), (512, 1_000_000), (512, 1)]
)
def test_a_batch_is_as_long_as_it_may_be(size: int, most_bytes: int) -> None:
    count = records_within(size, most_bytes)
    batches = Batches(size=size, most=count + 1, seed=1)
    assert count == 1 or batches.length(count) <= most_bytes
    # Offsets are reckoned with two bytes each, which the first 64 do not need.
    assert batches.length(count + 1) > most_bytes - 64


def target() -> Target:
    return Target("topic-a", 5, client_id="producer-1", acks=-1, timeout_ms=30_000)


def test_a_request_reads_as_asked() -> None:
    data = joined(Batches(size=16, most=4, seed=1).plain(4, NOW_MS))
    frame = target().head(9, len(data)) + data
    header, length = entity_reader(RequestHeader)(frame, 4)
    assert struct.unpack_from(">i", frame) == (len(frame) - 4,)
    assert (header.request_api_key, header.request_api_version) == (0, 7)
    assert (header.correlation_id, header.client_id) == (9, "producer-1")
    asked, size = entity_reader(ProduceRequest)(frame, 4 + length)
    assert 4 + length + size == len(frame)
    assert (asked.acks, asked.transactional_id, asked.timeout.total_seconds()) == (-1, None, 30)
    [topic] = asked.topic_data
    [part] = topic.partition_data
    assert (topic.name, part.index, part.records) == ("topic-a", 5, data)


def answer(code: int, offset: int, partition: int = 5) -> bytes:
    from kio.schema.errors import ErrorCode

    part = PartitionProduceResponse(index=i32(partition), error_code=ErrorCode(code), base_offset=i64(offset))
    told = io.BytesIO(struct.pack(">i", 9))
    told.seek(4)
    topic = TopicProduceResponse(name=TopicName("topic-a"), partition_responses=(part,))
    entity_writer(ProduceResponse)(told, ProduceResponse(responses=(topic,)))
    return told.getvalue()


@pytest.mark.parametrize("code", [NO_ERROR, 6, 19, -1])
def test_an_answer_gives_error_and_offset(code: int) -> None:
    assert target().answer(answer(code, 2**40)) == (code, 2**40)


@pytest.mark.parametrize("frame", [answer(0, 1, partition=4), answer(0, 1) + b"?", answer(0, 1)[:-1]])
def test_an_answer_to_something_else_is_no_answer(frame: bytes) -> None:
    with pytest.raises(ClientError, match="_BAD_MSG"):
        target().answer(frame)


@pytest.mark.parametrize(
    ("code", "name", "refused"),
    [
        (-1, "UNKNOWN_SERVER_ERROR", False),
        (3, "UNKNOWN_TOPIC_OR_PARTITION", True),
        (6, "NOT_LEADER_OR_FOLLOWER", False),
        (7, "REQUEST_TIMED_OUT", False),
        (10, "MESSAGE_TOO_LARGE", True),
        (19, "NOT_ENOUGH_REPLICAS", True),
        (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", False),
        (56, "KAFKA_STORAGE_ERROR", False),
        (9_999, "ERROR_9999", False),
    ],
)
def test_errors_have_kafkas_names_and_say_whether_anything_was_stored(code: int, name: str, refused: bool) -> None:
    assert (error_name(code), surely_not_stored(code)) == (name, refused)


def spec(**config: Any) -> WorkerSpec:
    return WorkerSpec(
        name="producer-1",
        role="producer",
        bootstrap_servers="127.0.0.1:1",
        client_config={},
        config=config,
        topics=("t",),
        partitions_per_topic=0,
        message_size=100,
        connections=1,
        seed=1,
    )


def test_settings_are_those_of_librdkafka_and_kafka() -> None:
    config = {
        "request.required.acks": 1,
        "batch.size": "16384",
        "linger.ms": 0.5,
        "max.in.flight": 5,
        "delivery.timeout.ms": 2_000,
        "queue.buffering.max.messages": 2_000,
    }
    settings = read_settings(spec(**config))
    assert (settings.acks, settings.batch_bytes, settings.linger_ns) == (1, 16_384, 500_000)
    assert (settings.in_flight, settings.message_timeout_ns, settings.capacity) == (5, 2_000_000_000, 2_000)
    assert read_settings(spec()).acks == -1
    assert settings.tls is None
    assert settings.credentials is None


def test_tls_verifies_unless_told_otherwise() -> None:
    checked = read_settings(spec(**{"security.protocol": "SSL"})).tls
    unnamed = read_settings(spec(**{"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"})).tls
    trusting = read_settings(spec(**{"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"})).tls
    assert checked
    assert unnamed
    assert trusting
    assert [(each.check_hostname, int(each.verify_mode)) for each in (checked, unnamed, trusting)] == [
        (True, 2),
        (False, 2),
        (False, 0),
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"acks": 0}, "acks: "),
        ({"linger.millis": 5}, "linger.millis: "),
        ({"partitioner": "random"}, "partitioner: "),
        ({"linger.ms": -1}, "linger.ms: "),
        ({"batch.size": "many"}, "batch.size: "),
        ({"compression.codec": "lz4"}, "compression.type: "),
        ({"enable.idempotence": True}, "enable.idempotence: "),
        ({"enable.idempotence": "maybe"}, "enable.idempotence: "),
        ({"security.protocol": "quic"}, "security.protocol: "),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism: "),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/such/file"}, "ssl.ca.location: "),
        ({"security.protocol": "ssl", "ssl.certificate.location": "/no/such/file"}, "ssl.certificate.location: "),
    ],
)
def test_a_setting_that_cannot_be_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError, match=said) as caught:
        read_settings(spec(**config))
    assert caught.value.kind == "configuration"


def test_a_connection_counts_once_the_broker_has_answered_on_it() -> None:
    """A proxy takes connections before it has any to the broker."""
    access = Access("c", tls=None, credentials=None, timeout_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        connect(silent.getsockname()[:2], access)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        made = pool.submit(connect, server.getsockname()[:2], access)
        peer, _ = server.accept()
        with peer:
            (size,) = struct.unpack(">i", peer.recv(4))
            asked = peer.recv(size)
            assert struct.unpack_from(">hh", asked) == (18, 0), "ApiVersions 0"
            answer = asked[4:8] + struct.pack(">hi", 0, 0)
            peer.sendall(struct.pack(">i", len(answer)) + answer)
            made.result().close()

"""librdkafka as it is loaded here: its message layout, its settings, its statistics. No broker is needed."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from meshmark.errors import MissingRequirement
from meshmark.load.clients import ClientError, librdkafka, native
from meshmark.load.clients.librdkafka import Consumer, Producer
from meshmark.load.clients.raw_settings import read_settings
from meshmark.load.clients.statistics import Statistics, sum_batches
from meshmark.load.settings import CONSUMER_SETTINGS, MESSAGE_TIMEOUT_MS, PRODUCER_SETTINGS, message_timeout_s
from meshmark.plan import ConfigValue
from meshmark.worker_protocol import Batches, WorkerSpec


def spec(**changes: Any) -> WorkerSpec:
    fields: dict[str, Any] = {
        "name": "producer-1",
        "role": "producer",
        # Nothing listens there.
        "bootstrap_servers": "127.0.0.1:1",
        "client_config": {},
        "config": {},
        "topics": ("t",),
        "partitions_per_topic": 1,
        "message_size": 512,
        "connections": 1,
        "group": "g",
        "seed": 1,
    }
    return WorkerSpec(**(fields | changes))


def test_the_loaded_library_lays_messages_out_as_known() -> None:
    native.check_layout()


@pytest.mark.parametrize("field", ["_ERR", "_LEN", "_OPAQUE"])
def test_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setattr(native.MessageReader, field, getattr(native.MessageReader, field) + 1)
    with pytest.raises(MissingRequirement, match="does not know"):
        native.check_layout()


def test_many_messages_are_read_by_their_addresses() -> None:
    messages = np.zeros(1_000, dtype=native.MESSAGE)
    messages["err"] = -np.arange(1_000)
    messages["len"] = np.arange(1_000) * 3
    messages["opaque"] = np.arange(1_000) + 2**40
    reader = native.MessageReader(2_000)
    order = np.random.default_rng(1).permutation(1_000)
    reader.addresses[:1_000] = messages.ctypes.data + order * messages.itemsize
    reader.select(1_000)
    assert (reader.errors() == messages["err"][order]).all()
    assert (reader.lengths() == messages["len"][order]).all()
    assert (reader.opaques() == messages["opaque"][order]).all()


def test_new_messages_point_at_their_payloads() -> None:
    payload = np.arange(40, dtype=np.uint8).reshape(4, 10)
    messages = native.new_messages(payload)
    assert messages["len"].tolist() == [10, 10, 10, 10]
    assert (messages["payload"] - payload.ctypes.data).tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"linger.millis": 5}, "linger.millis"),
        ({"acks": "some"}, "acks"),
        ({"compression.type": "zip"}, "compression"),
        ({"linger.ms": -1}, "linger.ms"),
        ({"client.id": "mine"}, "client.id"),
        ({"linger.ms": 5_000, "message.timeout.ms": 10}, "message.timeout.ms"),
        ({"ssl.ca.location": "/no/such/file", "security.protocol": "ssl"}, "ssl.ca.location"),
    ],
)
@pytest.mark.parametrize("where", ["config", "client_config"])
def test_a_setting_that_cannot_be_is_named(config: dict[str, ConfigValue], said: str, where: str) -> None:
    given = spec(**{where: {key: str(value) if where == "client_config" else value for key, value in config.items()}})
    with pytest.raises(ClientError, match=said) as caught, Producer(given):
        pass
    assert caught.value.kind == "configuration"


def test_kafkas_names_and_types_are_taken() -> None:
    config: dict[str, ConfigValue] = {
        "acks": "all",
        "batch.size": 16_384,
        "compression.type": "zstd",
        "delivery.timeout.ms": 20_000,
        "enable.idempotence": True,
        "linger.ms": 0.5,
        "max.in.flight.requests.per.connection": 5,
        "retries": 3,
    }
    with Producer(spec(config=config)) as producer:
        assert producer.totals().closed
    with Consumer(spec(role="consumer", config={"fetch.min.bytes": 1, "enable.auto.commit": False})) as consumer:
        assert consumer.totals().consumed == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, {"linger.ms": "5", "batch.size": "1000000", "acks": "-1", "message.timeout.ms": str(MESSAGE_TIMEOUT_MS)}),
        ({"linger.ms": 0.5, "compression.codec": "lz4"}, {"linger.ms": "0.5", "compression.type": "lz4"}),
        ({"max.in.flight": 7, "acks": "all"}, {"max.in.flight.requests.per.connection": "7", "acks": "-1"}),
        # One setting changes another: that is not in what was given.
        ({"enable.idempotence": True}, {"max.in.flight.requests.per.connection": "5", "enable.idempotence": "true"}),
    ],
)
def test_a_producer_says_what_it_goes_by_whoever_set_it(config: dict[str, ConfigValue], said: dict[str, str]) -> None:
    with Producer(spec(config=config)) as producer:
        told = producer.settings()
    assert tuple(told) == PRODUCER_SETTINGS
    assert all(told.values())
    assert said.items() <= told.items()


def test_a_consumer_says_what_it_goes_by() -> None:
    with Consumer(spec(role="consumer", config={"fetch.min.bytes": 7, "client.rack": "r"})) as consumer:
        told = consumer.settings()
    assert tuple(told) == CONSUMER_SETTINGS
    assert (told["fetch.min.bytes"], told["client.rack"], told["fetch.wait.max.ms"]) == ("7", "r", "500")


def test_the_raw_client_has_the_librarys_defaults() -> None:
    with Producer(spec()) as producer:
        library = producer.settings()
    raw = read_settings(spec(client="raw")).told
    assert raw == {**{key: library[key] for key in raw}, "acks": "all"}
    assert "linger.ms" in raw


@pytest.mark.parametrize(
    ("config", "bound_s"),
    [
        ({}, MESSAGE_TIMEOUT_MS / 1_000),
        ({"message.timeout.ms": 5_000}, 5.0),
        ({"delivery.timeout.ms": "7000"}, 7.0),
    ],
)
def test_the_bound_of_a_records_life_follows_from_the_settings(config: dict[str, ConfigValue], bound_s: float) -> None:
    assert message_timeout_s(config) == bound_s


def statistics_text(time_us: int, requests: int, batches: list[int], state: str = "UP") -> bytes:
    window = {"batchcnt": {"cnt": len(batches), "sum": sum(batches)}, "batchsize": {"sum": 10 * sum(batches)}}
    times = {name: {"sum": 1_000 * len(batches), "cnt": 2} for name in ("int_latency", "outbuf_latency", "rtt")}
    topic = {**window, "partitions": {"-1": {"leader": -1}, "0": {"leader": 1}, "1": {"leader": 2}}}
    # Requests that were written in two parts each count twice in `tx`.
    read = {"ts": time_us, "tx": 2 * requests, "tx_bytes": 100 * requests, "topics": {"t": topic, "u": topic}}
    one = {"nodeid": 1, "state": "UP", "req": {"Produce": requests - 1}, **times}
    other = {"nodeid": 2, "state": state, "req": {"Metadata": 1}, **times}
    return json.dumps({**read, "brokers": {"one": one, "other": other}}).encode()


def test_batches_are_windows_and_requests_are_cumulative() -> None:
    statistics = Statistics()
    statistics.add(statistics_text(1_000_000, 5, [3, 4]))
    statistics.add(statistics_text(2_500_000, 9, [5]))
    assert statistics.as_of_s == 2.5
    counted = Batches(batches=6, records=24, batch_bytes=240, requests=9, request_bytes=900)
    times = {f"{name}_s": 0.006 for name in ("queued", "sending", "answering")}
    counts = {"queued": 8, "sending": 8, "answering": 8}
    assert statistics.batches() == counted.model_copy(update={**times, **counts})


def test_a_client_is_connected_when_it_reaches_the_leader_of_every_partition() -> None:
    statistics, told = Statistics(), []
    for text in (
        json.dumps({"ts": 1, "tx_bytes": 0, "topics": {}, "brokers": {}}).encode(),
        statistics_text(2, 1, [1], state="SSL_HANDSHAKE"),
        statistics_text(3, 1, [1]),
    ):
        statistics.add(text)
        told.append(statistics.connected)
    assert told == [False, False, True]


def test_batches_of_connections_add_up() -> None:
    one = Batches(batches=1, records=2, batch_bytes=3, requests=4, request_bytes=5)
    assert sum_batches([one, one]) == Batches(batches=2, records=4, batch_bytes=6, requests=8, request_bytes=10)


def test_a_consumer_whose_cluster_is_away_at_the_end_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(librdkafka, "_QUERY_TIMEOUT_MS", 50)
    with Consumer(spec(role="consumer")) as consumer:
        consumer._connections[0].partitions = {"t": 1}
        consumer.stop(0)
        assert consumer.done()
        assert consumer.notes().startswith("how far it was to read is not known: ")
        assert "no end offset of t-0: " in consumer.notes()


def test_a_partition_that_a_member_lost_after_it_had_read_it_is_read_and_one_lost_before_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = ("t", 0), ("t", 1)
    with Consumer(spec(role="consumer")) as consumer:
        held = {first: 10, second: 7}
        monkeypatch.setattr(consumer._connections[0], "positions", lambda: held)
        monkeypatch.setattr(consumer, "_ends", {first: 10, second: 8})
        monkeypatch.setattr(consumer, "_drain_until", math.inf)
        assert not consumer.done()
        held = {first: native.OFFSET_INVALID}
        assert not consumer.done()
        assert consumer.notes().startswith("1 partitions were not read to their end")
        held = {second: 8}
        assert consumer.done()
        assert consumer.notes() == ""

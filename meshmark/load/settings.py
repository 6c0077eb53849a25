"""The client settings that meshmark sets where a plan does not, and the time bounds that follow from them.

Names are Kafka's (librdkafka knows most of them as aliases of its own). A plan's own value always wins.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshmark.plan import ConfigValue

# Closed loop: at these queue lengths 5 ms of idle queue cost nothing, and a pass over 20 connections costs some 20 us.
TICK_S = 0.005
# Open loop: how finely due records are handed over, and delivery reports seen. A pass costs a hundred microseconds or
# two where brokers share the cores and their caches, so this is some percent of a core; latencies are too long by a
# tick and a pass at most.
OPEN_LOOP_TICK_S = 0.002
# librdkafka's own default, five minutes, would let a run with a dead broker hang for that long at its end.
MESSAGE_TIMEOUT_MS = 30_000
# Until a worker is connected, and what each of its connections may take: three TLS handshakes on two cores that
# brokers share (measured: 1,000 producers through sidecars with mTLS to three brokers, 15 to 45 s).
_CONNECT_S, _CONNECT_EACH_S = 30.0, 0.06
# How long a consumer goes on after `stop` to reach the end offsets of that moment.
DRAIN_S = 30.0
# What it takes to ask for one of these at most, where brokers share the cores.
END_OFFSET_S = 0.01
# A batch takes at most one in so many of a connection's places, so that several partitions are in flight.
QUEUE_SHARE = 8
# What a record tells of every client, whether a plan sets it or not.
PRODUCER_SETTINGS = (
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.type",
    "enable.idempotence",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.timeout.ms",
    "retries",
)
CONSUMER_SETTINGS = (
    "check.crcs",
    "client.rack",
    "enable.auto.commit",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "queued.max.messages.kbytes",
    "queued.min.messages",
)
# Aliases of one setting; the first one that is given counts.
_MESSAGE_TIMEOUT_KEYS = ("message.timeout.ms", "delivery.timeout.ms")


def connect_timeout_s(connections: int) -> float:
    """After this time a worker with so many of them gives up."""
    return _CONNECT_S + _CONNECT_EACH_S * connections


def message_timeout_key(config: Mapping[str, ConfigValue]) -> str | None:
    """The name under which a plan bounds the life of a record, if it does."""
    return next((key for key in _MESSAGE_TIMEOUT_KEYS if key in config), None)


def message_timeout_s(config: Mapping[str, ConfigValue]) -> float:
    """After this time every record is acknowledged, failed or unknown."""
    key = message_timeout_key(config)
    return (MESSAGE_TIMEOUT_MS if key is None else float(config[key])) / 1000

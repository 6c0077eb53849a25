"""One librdkafka client (rd_kafka_t): what producer and consumer share. It is a connection in the workload's sense.

Settings have Kafka's names as far as librdkafka takes them; one that it refuses is an error that names the key.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from meshmark.load.clients import ClientError, native
from meshmark.plan import ConfigValue

# Set by the worker itself, from the rest of its specification.
RESERVED = frozenset(
    {"bootstrap.servers", "client.id", "group.id", "statistics.interval.ms", "enable.sparse.connections"}
)
# Waiting does not help against these; against a broker that is away it may.
_HOPELESS = frozenset({"_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"})
_METADATA_TIMEOUT_MS = 250
_TEXT_BYTES = 1_024


class Handle:
    """Close it."""

    def __init__(self, kind: int, settings: Mapping[str, ConfigValue], *, events: int) -> None:
        self.lib = native.library()
        conf = _configuration(settings)
        self.capacity = int(_get(conf, "queue.buffering.max.messages"))
        self.batch_bytes = int(_get(conf, "batch.size"))
        self.linger_ns = round(float(_get(conf, "linger.ms")) * 1e6)
        self.lib.rd_kafka_conf_set_events(conf, events | native.EVENT_ERROR)
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        self.client: Any = self.lib.rd_kafka_new(kind, conf, text, len(text))
        if not self.client:
            self.lib.rd_kafka_conf_destroy(conf)
            raise ClientError("configuration", text.value.decode())
        self.queue: Any = self.lib.rd_kafka_queue_get_main(self.client)
        self.last_error: ClientError | None = None
        self.known = False  # the cluster has answered, and has the topics
        self.partitions: dict[str, int] = {}
        """Of each topic, once it is known."""
        self._told: set[str] = set()

    def effective(self, names: Iterable[str]) -> dict[str, str]:
        """What the running client goes by, as the library says: its defaults, what one setting makes of another."""
        conf = self.lib.rd_kafka_conf(self.client)
        return {name: _get(conf, name) for name in names}

    def close(self) -> None:
        self.lib.rd_kafka_queue_destroy(self.queue)
        self.lib.rd_kafka_destroy(self.client)

    def events(self) -> Iterator[tuple[int, Any]]:
        """What is queued now: type and event. One with delivery reports is the taker's to destroy, since its messages
        live as long as it does; any other lives until the next one is taken."""
        lib = self.lib
        while event := lib.rd_kafka_queue_poll(self.queue, 0):
            kind = lib.rd_kafka_event_type(event)
            try:
                if kind == native.EVENT_ERROR:
                    self._take_error(event)
                else:
                    yield kind, event
            finally:
                if kind != native.EVENT_DELIVERY:
                    lib.rd_kafka_event_destroy(event)

    def _take_error(self, event: Any) -> None:
        """Errors of connections. Most heal; what they did to records shows in the delivery reports."""
        text: bytes = self.lib.rd_kafka_event_error_string(event)
        self.note(self.lib.rd_kafka_event_error(event), text.decode(errors="replace"))

    def note(self, code: int, text: str) -> None:
        """Tells the first error of a kind in the log; raises when there is no use in waiting for the cluster."""
        kind = native.error_name(code)
        self.last_error = ClientError(kind, text)
        if kind not in self._told:
            self._told.add(kind)
            print(f"{kind}: {text}", file=sys.stderr, flush=True)
        if kind in _HOPELESS and not self.known:
            raise self.last_error

    def check_topics(self, topics: tuple[str, ...], partitions: int) -> bool:
        """True when the cluster has them; False when it did not answer yet. Zero `partitions`: as many as there are.
        Asks for all topics, because asking for one by name may create it."""
        found = ctypes.c_void_p()
        code = self.lib.rd_kafka_metadata(self.client, 1, None, ctypes.byref(found), _METADATA_TIMEOUT_MS)
        if code != native.NO_ERROR:
            if self.last_error is None:
                self.last_error = ClientError(native.error_name(code), native.error_text(code))
            return False
        try:
            metadata = native.Metadata.from_address(found.value or 0)
            known = {topic.topic.decode(): topic.partition_cnt for topic in metadata.topics[: metadata.topic_cnt]}
        finally:
            self.lib.rd_kafka_metadata_destroy(found)
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise ClientError(
                "UNKNOWN_TOPIC_OR_PART", f"no topic {', '.join(missing)} on the cluster; create it before the load"
            )
        self.partitions = {topic: known[topic] for topic in topics}
        for topic in topics:
            if partitions and known[topic] != partitions:
                raise ClientError(
                    "UNKNOWN_TOPIC_OR_PART", f"topic {topic} has {known[topic]} partitions; asked for {partitions}"
                )
        self.known = True
        return True


@contextmanager
def partition_list(get: Callable[[Any], int] | None = None) -> Iterator[Any]:
    """A list of partitions, filled by `get` if given; its structure is at `.value`."""
    lib = native.library()
    held = ctypes.c_void_p()
    if get is None:
        held.value = lib.rd_kafka_topic_partition_list_new(16)
    elif (code := get(ctypes.byref(held))) != native.NO_ERROR:
        raise ClientError(native.error_name(code), native.error_text(code))
    try:
        yield held
    finally:
        lib.rd_kafka_topic_partition_list_destroy(held)


def merged(
    defaults: Mapping[str, ConfigValue], given: Mapping[str, ConfigValue], own: Mapping[str, ConfigValue]
) -> dict[str, ConfigValue]:
    """The worker's defaults, what is given over them, and what only the worker sets."""
    refused = sorted(RESERVED & given.keys())
    if refused:
        raise ClientError("configuration", f"{', '.join(refused)}: set by the load worker itself; remove it")
    return {**defaults, **given, **own}


def _configuration(settings: Mapping[str, ConfigValue]) -> Any:
    lib = native.library()
    conf = lib.rd_kafka_conf_new()
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    for key, value in settings.items():
        word = str(value).lower() if isinstance(value, bool) else str(value)
        if lib.rd_kafka_conf_set(conf, key.encode(), word.encode(), text, len(text)) != native.NO_ERROR:
            lib.rd_kafka_conf_destroy(conf)
            raise ClientError("configuration", f"{key}: {text.value.decode()} (of librdkafka)")
    return conf


def _get(conf: Any, key: str) -> str:
    size = ctypes.c_size_t(_TEXT_BYTES)
    text = ctypes.create_string_buffer(size.value)
    native.library().rd_kafka_conf_get(conf, key.encode(), text, ctypes.byref(size))
    return text.value.decode()

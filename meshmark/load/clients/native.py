"""librdkafka through ctypes: its functions, its message structure, and reading many messages at once.

The library is the one that the confluent_kafka package brings. That package calls a Python function for every
record, which costs more than librdkafka itself needs for it; here a thousand messages are read by a few numpy
operations. Limits: Linux, 64 bits. The layout of rd_kafka_message_t is part of librdkafka's stable ABI; `check_layout`
proves it against messages of the loaded library all the same, before anything is counted.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from meshmark.errors import MissingRequirement

UINT64 = npt.NDArray[np.uint64]
INT64 = npt.NDArray[np.int64]

PRODUCER, CONSUMER = 0, 1
EVENT_DELIVERY, EVENT_ERROR, EVENT_STATISTICS = 0x1, 0x8, 0x40
FLAG_COPY = 0x2
PURGE_QUEUE = 0x1
NO_ERROR = 0
PARTITION_BY_KEY = -1
ERROR_QUEUE_FULL = -184
OFFSET_INVALID = -1001
STATUS_NOT_PERSISTED = 0

# rd_kafka_message_t. `opaque` is its `_private`: what the application gave to a record comes back with its report.
MESSAGE = np.dtype(
    [
        ("err", np.int32),
        ("topic", np.uint64),
        ("partition", np.int32),
        ("payload", np.uint64),
        ("len", np.uint64),
        ("key", np.uint64),
        ("key_len", np.uint64),
        ("offset", np.int64),
        ("opaque", np.uint64),
    ],
    align=True,
)

# name -> (result, arguments)
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_version": (c_int, []),
    "rd_kafka_version_str": (c_char_p, []),
    "rd_kafka_err2name": (c_char_p, [c_int]),
    "rd_kafka_err2str": (c_char_p, [c_int]),
    "rd_kafka_conf_new": (c_void_p, []),
    "rd_kafka_conf_destroy": (None, [c_void_p]),
    "rd_kafka_conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "rd_kafka_conf_get": (c_int, [c_void_p, c_char_p, c_char_p, POINTER(c_size_t)]),
    "rd_kafka_conf_set_events": (None, [c_void_p, c_int]),
    "rd_kafka_conf": (c_void_p, [c_void_p]),
    "rd_kafka_new": (c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
    "rd_kafka_destroy": (None, [c_void_p]),
    "rd_kafka_topic_new": (c_void_p, [c_void_p, c_char_p, c_void_p]),
    "rd_kafka_topic_destroy": (None, [c_void_p]),
    "rd_kafka_produce_batch": (c_int, [c_void_p, c_int32, c_int, c_void_p, c_int]),
    "rd_kafka_purge": (c_int, [c_void_p, c_int]),
    "rd_kafka_last_error": (c_int, []),
    "rd_kafka_fatal_error": (c_int, [c_void_p, c_char_p, c_size_t]),
    "rd_kafka_queue_get_main": (c_void_p, [c_void_p]),
    "rd_kafka_queue_get_consumer": (c_void_p, [c_void_p]),
    "rd_kafka_queue_destroy": (None, [c_void_p]),
    "rd_kafka_queue_poll": (c_void_p, [c_void_p, c_int]),
    "rd_kafka_event_type": (c_int, [c_void_p]),
    "rd_kafka_event_destroy": (None, [c_void_p]),
    "rd_kafka_event_error": (c_int, [c_void_p]),
    "rd_kafka_event_error_string": (c_char_p, [c_void_p]),
    "rd_kafka_event_stats": (c_char_p, [c_void_p]),
    "rd_kafka_event_message_count": (c_size_t, [c_void_p]),
    "rd_kafka_event_message_array": (c_size_t, [c_void_p, c_void_p, c_size_t]),
    "rd_kafka_message_status": (c_int, [c_void_p]),
    "rd_kafka_message_destroy": (None, [c_void_p]),
    "rd_kafka_metadata": (c_int, [c_void_p, c_int, c_void_p, POINTER(c_void_p), c_int]),
    "rd_kafka_metadata_destroy": (None, [c_void_p]),
    "rd_kafka_subscribe": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_assignment": (c_int, [c_void_p, POINTER(c_void_p)]),
    "rd_kafka_pause_partitions": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_resume_partitions": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_position": (c_int, [c_void_p, c_void_p]),
    "rd_kafka_query_watermark_offsets": (
        c_int,
        [c_void_p, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64), c_int],
    ),
    "rd_kafka_consume_batch_queue": (c_ssize_t, [c_void_p, c_int, c_void_p, c_size_t]),
    "rd_kafka_consumer_close": (c_int, [c_void_p]),
    "rd_kafka_topic_partition_list_new": (c_void_p, [c_int]),
    "rd_kafka_topic_partition_list_add": (c_void_p, [c_void_p, c_char_p, c_int32]),
    "rd_kafka_topic_partition_list_destroy": (None, [c_void_p]),
}


class MetadataPartition(ctypes.Structure):
    _fields_ = [
        ("id", c_int32),
        ("err", c_int),
        ("leader", c_int32),
        ("replica_cnt", c_int),
        ("replicas", c_void_p),
        ("isr_cnt", c_int),
        ("isrs", c_void_p),
    ]


class MetadataTopic(ctypes.Structure):
    _fields_ = [
        ("topic", c_char_p),
        ("partition_cnt", c_int),
        ("partitions", POINTER(MetadataPartition)),
        ("err", c_int),
    ]


class Metadata(ctypes.Structure):
    _fields_ = [
        ("broker_cnt", c_int),
        ("brokers", c_void_p),
        ("topic_cnt", c_int),
        ("topics", POINTER(MetadataTopic)),
        ("orig_broker_id", c_int32),
        ("orig_broker_name", c_char_p),
    ]


class TopicPartition(ctypes.Structure):
    _fields_ = [
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("err", c_int),
        ("_private", c_void_p),
    ]


class TopicPartitionList(ctypes.Structure):
    _fields_ = [("cnt", c_int), ("size", c_int), ("elems", POINTER(TopicPartition))]


def library_path() -> Path:
    """The librdkafka that the confluent_kafka package brings, and has loaded now."""
    advice = "Install the lab's packages: `pip install 'meshmark[lab]'`."
    try:
        import confluent_kafka.cimpl  # noqa: F401 (loading it maps librdkafka)
    except ImportError as error:
        raise MissingRequirement(f"no librdkafka: {error}", hint=advice) from None
    mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    paths = sorted(path for path in mapped if "librdkafka" in path.rpartition("/")[2])
    if not paths:
        raise MissingRequirement("confluent_kafka has not loaded a shared librdkafka", hint=advice)
    return Path(paths[0])


@cache
def library() -> Any:
    """The loaded librdkafka, prototypes set."""
    lib = ctypes.CDLL(str(library_path()))
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def error_name(code: int) -> str:
    name: bytes = library().rd_kafka_err2name(code)
    return name.decode()


def error_text(code: int) -> str:
    text: bytes = library().rd_kafka_err2str(code)
    return text.decode()


class _AddressSpace:
    """This process's memory from address 8 on (numpy takes no array at 0), in words of 8 bytes. Making the array
    touches nothing; only the words that are asked for are read."""

    __array_interface__ = {"shape": (2**52 // 8 - 1,), "typestr": "<u8", "data": (8, False), "version": 3}  # noqa: RUF012


class _UnalignedAddressSpace:
    """The same as signed words that may begin at any byte."""

    __array_interface__ = {"shape": (2**47 - 16,), "typestr": "<i8", "strides": (1,), "data": (8, False), "version": 3}  # noqa: RUF012


class MessageReader:
    """Fields of many rd_kafka_message_t by their addresses: some nanoseconds a message and field."""

    _ERR, _PAYLOAD, _LEN, _OPAQUE = (
        MESSAGE.fields[name][1] // 8  # type: ignore[index]
        for name in ("err", "payload", "len", "opaque")
    )
    _LOW_HALF = np.uint64(0xFFFFFFFF)

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.addresses: UINT64 = np.zeros(capacity, dtype=np.uint64)
        self.pointer = self.addresses.ctypes.data
        self.itemsize = self.addresses.itemsize
        self._memory: UINT64 = np.asarray(_AddressSpace())
        self._anywhere: INT64 = np.asarray(_UnalignedAddressSpace())
        self._words = np.zeros(capacity, dtype=np.int64)

    def select(self, count: int) -> None:
        """The first `count` addresses are those of live messages, until they are destroyed."""
        self._selected = self._words[:count]
        np.right_shift(self.addresses[:count].view(np.int64), 3, out=self._selected)
        self._selected -= 1

    def errors(self) -> npt.NDArray[np.int32]:
        words = self._memory[self._selected + self._ERR]  # the other half of the word is padding
        return (words & self._LOW_HALF).astype(np.uint32).view(np.int32)

    def lengths(self) -> UINT64:
        return self._memory[self._selected + self._LEN]

    def payload_words(self, number: int, which: npt.NDArray[np.bool_]) -> INT64:
        """Bytes 8 x `number` to 8 x `number` + 7 of the payloads of some messages, which must be that long."""
        starts = self._memory[self._selected[which] + self._PAYLOAD].view(np.int64)
        return self._anywhere[starts + 8 * number - 8]

    def opaques(self) -> UINT64:
        return self._memory[self._selected + self._OPAQUE]


def new_messages(payload: npt.NDArray[np.uint8]) -> npt.NDArray[np.void]:
    """One rd_kafka_message_t for each row of `payload`, which must outlive every message sent from it."""
    count, size = payload.shape
    messages = np.zeros(count, dtype=MESSAGE)
    messages["payload"] = payload.ctypes.data + np.arange(count, dtype=np.uint64) * np.uint64(size)
    messages["len"] = size
    return messages


def check_layout() -> None:
    """Sends known records into a client without brokers, purges them, and reads their reports back."""
    lib = library()
    text = ctypes.create_string_buffer(256)
    conf = lib.rd_kafka_conf_new()
    lib.rd_kafka_conf_set(conf, b"log_level", b"2", text, len(text))
    lib.rd_kafka_conf_set_events(conf, EVENT_DELIVERY)
    client = lib.rd_kafka_new(PRODUCER, conf, text, len(text))
    if not client:
        raise MissingRequirement(f"librdkafka cannot start: {text.value.decode()}")
    topic = lib.rd_kafka_topic_new(client, b"layout", None)
    queue = lib.rd_kafka_queue_get_main(client)
    payload = np.zeros((5, 48), dtype=np.uint8)
    messages = new_messages(payload)
    messages["len"] = [41, 42, 43, 44, 45]
    messages["opaque"] = [7, 2**40, 2**63 + 1, 0, 1]
    reader = MessageReader(16)
    seen: list[tuple[int, int, str]] = []
    try:
        sent = lib.rd_kafka_produce_batch(topic, 0, 0, messages.ctypes.data, len(messages))
        lib.rd_kafka_purge(client, PURGE_QUEUE)
        while len(seen) < sent and (event := lib.rd_kafka_queue_poll(queue, 1_000)):
            count = lib.rd_kafka_event_message_array(event, reader.pointer, reader.capacity)
            reader.select(count)
            names = map(error_name, reader.errors().tolist())
            seen += zip(reader.lengths().tolist(), reader.opaques().tolist(), names, strict=True)
            lib.rd_kafka_event_destroy(event)
    finally:
        lib.rd_kafka_queue_destroy(queue)
        lib.rd_kafka_topic_destroy(topic)
        lib.rd_kafka_destroy(client)
    lengths, opaques = messages["len"].tolist(), messages["opaque"].tolist()
    if seen != [(length, opaque, "_PURGE_QUEUE") for length, opaque in zip(lengths, opaques, strict=True)]:
        version = lib.rd_kafka_version_str().decode()
        raise MissingRequirement(
            f"librdkafka {version} lays its messages out in a way that meshmark does not know; read {seen}",
            hint="Install the confluent-kafka version that meshmark's requirements name.",
        )

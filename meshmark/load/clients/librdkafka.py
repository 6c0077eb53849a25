"""Producers and consumers on librdkafka, many connections in one process, counted in bulk.

Producer: closed loop (`open_loop.py` has the other one). Each connection is kept full up to
`queue.buffering.max.messages`; `offered` counts what its queue has accepted. Like the partitioner of Kafka's own
client it stays at a partition for a batch (`batch.size`, but at most an eighth of the queue, so that several
partitions are in flight) and then goes to the next, so records spread evenly over all partitions. Payloads are taken
from a pool that librdkafka reads in place. Records with keys go to one topic after the other in the same way, and to
the partitions that their keys say.

Consumer: one group that reads all topics, or one for each. After `stop` it goes on to the end offsets of that moment.
Of stamped values it takes the latency from the intended send. If held it joins at once, and reads from its start on.
"""

from __future__ import annotations

import ctypes
import random
from collections import Counter, deque
from contextlib import AbstractContextManager, ExitStack, closing
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from meshmark.load.clients import ClientError, native
from meshmark.load.clients.handle import Handle, merged, partition_list
from meshmark.load.clients.keys import PARTITIONER, Keys
from meshmark.load.clients.payload import values
from meshmark.load.clients.statistics import Statistics, interval_ms, sum_batches
from meshmark.load.recorder import Recorder
from meshmark.load.settings import (
    CONSUMER_SETTINGS,
    DRAIN_S,
    MESSAGE_TIMEOUT_MS,
    OPEN_LOOP_TICK_S,
    PRODUCER_SETTINGS,
    QUEUE_SHARE,
    TICK_S,
    message_timeout_key,
)
from meshmark.plan import KEY_BYTES, ConfigValue
from meshmark.record import LoadTotals
from meshmark.worker_protocol import Batches, WorkerSpec

# Enough that records do not repeat within a batch, small enough for a CPU's cache.
POOL_BYTES = 4 * 1024 * 1024
READ_AT_ONCE = 16_384
_QUERY_TIMEOUT_MS = 10_000
_STAMPED_BYTES = 16

Selection = slice | npt.NDArray[np.bool_]
"""Some of the messages that a reader has before it."""


class ProducerConnection(Handle):
    """Its queue, and the partitions in the order in which it visits them."""

    def __init__(self, settings: dict[str, ConfigValue]) -> None:
        super().__init__(native.PRODUCER, settings, events=native.EVENT_DELIVERY | native.EVENT_STATISTICS)
        self.outstanding = 0
        self.statistics = Statistics()
        self.topics: list[Any] = []
        self._route: list[tuple[Any, int]] = []
        self._place = 0
        self._left = 0
        self._since_ns = 0

    def set_route(self, source: random.Random, *, by_key: bool = False) -> None:
        for topic, partitions in self.partitions.items():
            handle = self.lib.rd_kafka_topic_new(self.client, topic.encode(), None)
            self.topics.append(handle)
            stops = (native.PARTITION_BY_KEY,) if by_key else range(partitions)
            self._route += [(handle, partition) for partition in stops]
        # Otherwise all connections would go from partition to partition together.
        source.shuffle(self._route)

    def next_stop(self) -> tuple[Any, int]:
        stop = self._route[self._place]
        self._place = (self._place + 1) % len(self._route)
        return stop

    def stop_for(self, count: int, chunk: int, now_ns: int) -> tuple[Any, int]:
        """Where these records go: the same partition until it has a `chunk`, or `linger.ms` has sent what it had."""
        if self._left <= 0 or now_ns - self._since_ns >= self.linger_ns:
            self._current, self._left, self._since_ns = self.next_stop(), chunk, now_ns
        self._left -= count
        return self._current

    def close(self) -> None:
        for topic in self.topics:
            self.lib.rd_kafka_topic_destroy(topic)
        super().close()


class Producer:
    """See the head of the module. A context manager."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.recorder = Recorder()
        self._spec = spec
        self._lib = native.library()
        self._reader = native.MessageReader(READ_AT_ONCE)
        self._stack = ExitStack()
        self._connections: list[ProducerConnection] = []
        self._source = random.Random(spec.seed)
        self._keys = None if spec.key_distributor == "NO_KEY" else Keys(spec.key_distributor, spec.seed)
        self._offering = False
        self._drained_at = 0.0
        self._offered = self._acknowledged = self._acknowledged_bytes = self._failed = self._unknown = 0
        self._errors: Counter[str] = Counter()

    def __enter__(self) -> Producer:
        spec = self._spec
        given = {**spec.client_config, **spec.config}
        defaults: dict[str, ConfigValue] = {"message.max.bytes": max(1_000_000, spec.message_size + 4_096)}
        if message_timeout_key(given) is None:
            defaults["message.timeout.ms"] = MESSAGE_TIMEOUT_MS
        if self._keys:
            defaults["partitioner"] = PARTITIONER
        own: dict[str, ConfigValue] = {
            "bootstrap.servers": spec.bootstrap_servers,
            "client.id": spec.name,
            "statistics.interval.ms": interval_ms(spec.partitions_per_topic * len(spec.topics_of(0))),
            # Connections are made before there is something to send.
            "enable.sparse.connections": False,
        }
        settings = merged(defaults, given, own)
        with ExitStack() as stack:
            for _ in range(spec.connections):
                connection = ProducerConnection(settings)
                stack.callback(connection.close)
                self._connections.append(connection)
            self._stack = stack.pop_all()
        first = self._connections[0]
        self._chunk = max(1, min(first.batch_bytes // spec.message_size, first.capacity // QUEUE_SHARE))
        rows = max(POOL_BYTES // spec.message_size, self._chunk)
        self._pool = values(spec.payload, rows=rows, size=spec.message_size, seed=spec.seed)
        self._messages = native.new_messages(self._pool)
        self._messages["key_len"] = KEY_BYTES if self._keys else 0
        self._address = self._messages.ctypes.data
        self._row = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ready(self) -> bool:
        """All connections know all topics, and reach all leaders: a TLS handshake is not to be in the load."""
        self._take_events()
        for place, connection in enumerate(self._connections):
            if connection.known:
                continue
            if not connection.check_topics(self._spec.topics_of(place), self._spec.partitions_per_topic):
                return False
            connection.set_route(self._source, by_key=self._keys is not None)
        return all(connection.statistics.connected for connection in self._connections)

    def settings(self) -> dict[str, str]:
        by_key = ("partitioner",) if self._keys else ()
        return self._connections[0].effective((*PRODUCER_SETTINGS, *by_key))

    def last_error(self) -> ClientError | None:
        return next((c.last_error for c in self._connections if c.last_error), None)

    def start(self, origin_s: float) -> None:
        self._offering = True

    def serve(self) -> None:
        self._take_events()
        if self._offering:
            for connection in self._connections:
                self._fill(connection)

    def pause_s(self) -> float:
        return TICK_S

    def stop(self, until_s: float) -> None:
        self._offering = False

    def done(self) -> bool:
        if any(connection.outstanding for connection in self._connections):
            return False
        self._drained_at = self._drained_at or monotonic()
        return all(connection.statistics.as_of_s > self._drained_at for connection in self._connections)

    def notes(self) -> str:
        return ""

    def totals(self) -> LoadTotals:
        return LoadTotals(
            offered=self._offered,
            acknowledged=self._acknowledged,
            failed=self._failed,
            unknown=self._unknown,
            outstanding=sum(connection.outstanding for connection in self._connections),
            acknowledged_bytes=self._acknowledged_bytes,
            errors=dict(self._errors),
        )

    def batches(self) -> Batches:
        """Up to each connection's last statistics (`statistics.interval_ms`), complete once `done`."""
        return sum_batches(connection.statistics.batches() for connection in self._connections)

    def _fill(self, connection: ProducerConnection) -> None:
        chunk = self._chunk
        while connection.capacity - connection.outstanding >= chunk:
            topic, partition = connection.next_stop()
            accepted = self._produce(connection, topic, partition, self._rows(chunk), chunk, 0)
            self._offered += accepted
            if accepted < chunk:
                return  # full by bytes (queue.buffering.max.kbytes)

    def _rows(self, count: int) -> int:
        """The first of so many rows of the pool that follow each other."""
        first = 0 if self._row + count > len(self._messages) else self._row
        self._row = first + count
        return first

    def _produce(
        self, connection: ProducerConnection, topic: Any, partition: int, first: int, count: int, flags: int
    ) -> int:
        """How many of these rows of the pool the connection's queue has taken; fewer only when it is full."""
        messages = self._messages
        address = self._address + first * messages.itemsize
        if self._keys:  # the client copies them
            messages["key"][first : first + count] = self._keys.upcoming(count)
        accepted: int = self._lib.rd_kafka_produce_batch(topic, partition, flags, address, count)
        connection.outstanding += accepted
        if self._keys:
            self._keys.take(accepted)
        if accepted < count:
            codes = set(messages["err"][first : first + count].tolist()) - {native.NO_ERROR}
            refused = codes - {native.ERROR_QUEUE_FULL}
            if refused:
                code = refused.pop()
                raise ClientError(native.error_name(code), f"cannot produce: {native.error_text(code)}")
        return accepted

    def _take_events(self) -> None:
        """What has come back on all connections. Reports are counted together: few cost as much as many."""
        lib, reader, filled = self._lib, self._reader, 0
        reported: list[Any] = []
        for connection in self._connections:
            for kind, event in connection.events():
                if kind == native.EVENT_STATISTICS:
                    connection.statistics.add(lib.rd_kafka_event_stats(event))
                elif kind == native.EVENT_DELIVERY:
                    reported.append(event)
                    while count := lib.rd_kafka_event_message_array(
                        event, reader.pointer + filled * reader.itemsize, reader.capacity - filled
                    ):
                        connection.outstanding -= count
                        filled += count
                        if filled == reader.capacity:
                            self._count(filled)
                            filled = 0
        if filled:
            self._count(filled)
        for event in reported:
            lib.rd_kafka_event_destroy(event)

    def _count(self, count: int) -> None:
        """The reader's first messages: delivery reports."""
        self._reader.select(count)
        errors = self._reader.errors()
        if not errors.any():
            self._acknowledge(slice(count))
            return
        fine = errors == native.NO_ERROR
        self._acknowledge(fine)
        codes, numbers = np.unique(errors[~fine], return_counts=True)
        for code, number in zip(codes.tolist(), numbers.tolist(), strict=True):
            self._errors[native.error_name(code)] += number
        for address in self._reader.addresses[:count][~fine].tolist():
            if self._lib.rd_kafka_message_status(address) == native.STATUS_NOT_PERSISTED:
                self._failed += 1
            else:
                self._unknown += 1

    def _acknowledge(self, which: Selection) -> None:
        """The one place that says so: delivery reports without an error."""
        lengths = self._reader.lengths()[which]
        self._acknowledged += len(lengths)
        self._acknowledged_bytes += int(lengths.sum())


class _ConsumerConnection(Handle):
    """A member of the group."""

    def __init__(self, settings: dict[str, ConfigValue]) -> None:
        super().__init__(native.CONSUMER, settings, events=0)
        self.messages: Any = self.lib.rd_kafka_queue_get_consumer(self.client)

    def subscribe(self, topics: tuple[str, ...]) -> None:
        with partition_list() as wanted:
            for topic in topics:
                self.lib.rd_kafka_topic_partition_list_add(wanted, topic.encode(), -1)
            code = self.lib.rd_kafka_subscribe(self.client, wanted)
        if code != native.NO_ERROR:
            raise ClientError(native.error_name(code), f"cannot subscribe: {native.error_text(code)}")

    def hold(self, hold: bool) -> None:
        """Stops fetching what is assigned, or goes on where it was."""
        change = self.lib.rd_kafka_pause_partitions if hold else self.lib.rd_kafka_resume_partitions
        with self._assigned() as assigned:
            code = change(self.client, assigned)
        if code != native.NO_ERROR:
            raise ClientError(native.error_name(code), f"cannot hold or go on: {native.error_text(code)}")

    def _assigned(self) -> AbstractContextManager[Any]:
        return partition_list(lambda held: int(self.lib.rd_kafka_assignment(self.client, held)))

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the next offset, of the partitions assigned to this member."""
        with self._assigned() as assigned:
            self.lib.rd_kafka_position(self.client, assigned)
            listed = native.TopicPartitionList.from_address(assigned.value)
            return {(entry.topic.decode(), entry.partition): entry.offset for entry in listed.elems[: listed.cnt]}

    def close(self) -> None:
        self.lib.rd_kafka_consumer_close(self.client)
        self.lib.rd_kafka_queue_destroy(self.messages)
        super().close()


class _Enquirer(Handle):
    """A client that reads nothing. On a reader's connection each question would wait behind its fetch, which the
    broker holds for `fetch.wait.max.ms`: half a second a partition."""

    def __init__(self, settings: dict[str, ConfigValue]) -> None:
        super().__init__(native.CONSUMER, settings, events=0)

    def end_offset(self, topic: str, partition: int) -> int:
        """OFFSET_INVALID, below all others, for a partition that holds nothing."""
        low, high = ctypes.c_int64(), ctypes.c_int64()
        code = self.lib.rd_kafka_query_watermark_offsets(
            self.client, topic.encode(), partition, ctypes.byref(low), ctypes.byref(high), _QUERY_TIMEOUT_MS
        )
        if code != native.NO_ERROR:
            raise ClientError(
                native.error_name(code), f"no end offset of {topic}-{partition}: {native.error_text(code)}"
            )
        return high.value if high.value > low.value else native.OFFSET_INVALID


class Consumer:
    """See the head of the module. A context manager."""

    def __init__(self, spec: WorkerSpec, recorder: Recorder | None = None) -> None:
        self.recorder = recorder or Recorder()
        self._spec = spec
        self._lib = native.library()
        self._reader = native.MessageReader(READ_AT_ONCE)
        self._stack = ExitStack()
        self._connections: list[_ConsumerConnection] = []
        self._settings: dict[str, ConfigValue] = {}
        self._subscribed = False
        self._held = spec.held
        self._ends: dict[tuple[str, int], int] = {}
        self._reached: dict[tuple[str, int], int] = {}
        self._endless = ""
        self._drain_until = 0.0
        self._consumed = self._consumed_bytes = self._unstamped = 0

    def __enter__(self) -> Consumer:
        spec = self._spec
        self._settings = merged(
            # A member learns with its heartbeat that another has joined; Kafka's 3 s would be spent in every trial.
            {"auto.offset.reset": "earliest", "heartbeat.interval.ms": 500},
            {**spec.client_config, **spec.config},
            {"bootstrap.servers": spec.bootstrap_servers, "client.id": spec.name, "group.id": spec.group},
        )
        with ExitStack() as stack:
            for place in range(spec.connections):
                group = "-".join((spec.group, *spec.topics_of(place))) if spec.topic_each else spec.group
                connection = _ConsumerConnection({**self._settings, "group.id": group})
                stack.callback(connection.close)
                self._connections.append(connection)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ready(self) -> bool:
        """Every partition has its reader, and every member its share: groups will not be divided anew under load."""
        spec = self._spec
        self.serve()
        if not self._subscribed:
            if not self._connections[0].check_topics(spec.topics, spec.partitions_per_topic):
                return False
            for place, connection in enumerate(self._connections):
                connection.subscribe(spec.topics_of(place))
            self._subscribed = True
        partitions = self._connections[0].partitions
        shares = [len(connection.positions()) for connection in self._connections]
        ready = sum(shares) == sum(partitions.values()) and sum(map(bool, shares)) >= self._readers(partitions)
        if ready and self._held:
            for connection in self._connections:
                connection.hold(True)
        return ready

    def _readers(self, partitions: dict[str, int]) -> int:
        """How many members have a share, by Kafka's range assignment."""
        spec = self._spec
        if not spec.topic_each:
            return min(spec.connections, max(partitions.values()))
        members = Counter(spec.topics_of(place)[0] for place in range(spec.connections))
        return sum(min(count, partitions[topic]) for topic, count in members.items())

    def settings(self) -> dict[str, str]:
        return self._connections[0].effective(CONSUMER_SETTINGS)

    def last_error(self) -> ClientError | None:
        return next((c.last_error for c in self._connections if c.last_error), None)

    def start(self, origin_s: float) -> None:
        """It reads from the moment that it is assigned, unless it is held."""
        if self._held:
            self._held = False
            for connection in self._connections:
                connection.hold(False)

    def serve(self) -> None:
        for connection in self._connections:
            for _ in connection.events():
                pass
            self._read(connection)

    def pause_s(self) -> float:
        return OPEN_LOOP_TICK_S if self._spec.stamp else TICK_S

    def stop(self, until_s: float) -> None:
        if self._held:
            return  # it was never to read anything
        try:
            with closing(_Enquirer(self._settings)) as enquirer:
                self._ends = {
                    (topic, partition): enquirer.end_offset(topic, partition)
                    for topic, partitions in self._connections[0].partitions.items()
                    for partition in range(partitions)
                }
        except ClientError as error:
            self._endless = f"how far it was to read is not known: {error}"
        self._drain_until = monotonic() + DRAIN_S

    def done(self) -> bool:
        return not self._behind() or monotonic() > self._drain_until

    def notes(self) -> str:
        behind = self._behind()
        return f"{behind} partitions were not read to their end within {DRAIN_S:.0f} s" if behind else self._endless

    def totals(self) -> LoadTotals:
        return LoadTotals(
            consumed=self._consumed,
            consumed_bytes=self._consumed_bytes,
            unstamped=self._unstamped,
            negative=self.recorder.negative,
        )

    def batches(self) -> Batches:
        return Batches()

    def _behind(self) -> int:
        """Partitions that are not read to the end that was asked for at `stop`. A member that loses one afterwards has
        read it all the same."""
        for connection in self._connections:
            for key, at in connection.positions().items():
                self._reached[key] = max(at, self._reached.get(key, at))
        return sum(self._reached.get(key, native.OFFSET_INVALID) < end for key, end in self._ends.items())

    def _read(self, connection: _ConsumerConnection) -> None:
        lib, reader = self._lib, self._reader
        count = lib.rd_kafka_consume_batch_queue(connection.messages, 0, reader.pointer, reader.capacity)
        if count <= 0:
            return
        reader.select(count)
        errors = reader.errors()
        fine = errors == native.NO_ERROR
        self._consumed += int(fine.sum())
        self._consumed_bytes += int(reader.lengths()[fine].sum())
        if self._spec.stamp:
            self._take_stamps(fine)
        codes = set(errors[~fine].tolist())
        # There is no function that destroys many; a map into C is the cheapest loop.
        deque(map(lib.rd_kafka_message_destroy, reader.addresses[:count].tolist()), maxlen=0)
        for code in codes:
            connection.note(code, native.error_text(code))

    def _take_stamps(self, fine: npt.NDArray[np.bool_]) -> None:
        """End-to-end latency of the records of this load; all others are counted apart."""
        reader = self._reader
        own = fine & (reader.lengths() >= _STAMPED_BYTES)
        own[own] = reader.payload_words(1, own) == self._spec.stamp
        self._unstamped += int(fine.sum()) - int(own.sum())
        self.recorder.consumed(reader.payload_words(0, own))

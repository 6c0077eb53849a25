"""Topics and consumer groups of one load on a Kafka that is not meshmark's: made before it, removed after it.

    with new_topics(administrator, count=3, partitions=16, replication_factor=3) as names: ...
    with groups(administrator, {"group": topics}): ...     each begins at the ends that its topics have now

Errors are LoadErrors that name their kind, as those of the load workers do. Brokers choose where replicas go.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

from meshmark.errors import LoadError
from meshmark.plan import ConfigValue

TIMEOUT_S = 30.0
POLL_S = 0.05
AT_ONCE = 5_000
"""Partitions that are asked for in one request: a KRaft controller refuses operations of more than 10,000 records."""
PARTITION_S = 0.01
"""That each partition adds to TIMEOUT_S until all are led, and their leaders know it."""
_REMOVE_TIMEOUT_S = 15.0
_ABSENT = ("UNKNOWN_TOPIC_OR_PART", "GROUP_ID_NOT_FOUND")
T = TypeVar("T")
_HOPELESS = ("_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM")


class Administrator:
    """An AdminClient whose failures say why: what its connections have met counts more than a timeout."""

    def __init__(self, bootstrap_servers: str, config: Mapping[str, str], told: Callable[[str], None]) -> None:
        self._met: KafkaError | None = None
        self._told = told
        own = {"bootstrap.servers": bootstrap_servers, "client.id": "meshmark-load", "log_level": 0}
        settings: dict[str, Any] = {**config, **own, "error_cb": self._meet}
        try:
            self.client = AdminClient(settings)
        except KafkaException as error:
            raise LoadError(f"configuration: {_text(error)}") from None

    def _meet(self, error: KafkaError) -> None:
        if self._met is None or error.name() in _HOPELESS:
            self._met = error

    def known(self) -> Mapping[str, Any]:
        """Topics of the cluster; waits until it answers."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                topics: Mapping[str, Any] = self.client.list_topics(timeout=1).topics
            except KafkaException as error:
                self.client.poll(0)
                met = self._met
                if (met and met.name() in _HOPELESS) or time.monotonic() > end:
                    raise self.failed("no answer of the cluster", error) from None
            else:
                return topics

    def failed(self, what: str, error: KafkaException) -> LoadError:
        cause = self._met or error.args[0]
        return LoadError(f"{what}: {cause.name()}: {cause.str()}", hint="Look at the brokers, and at the settings.")

    def all(self, what: str, futures: Mapping[Any, Any]) -> list[Any]:
        """What the cluster answers; the first refusal is raised."""
        try:
            return [future.result() for future in futures.values()]
        except KafkaException as error:
            raise self.failed(what, error) from None

    def remove(self, what: str, futures: Mapping[str, Any]) -> None:
        """What cannot be removed is told, no more: what ended the load is worth more than an error of its end."""
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].name() not in _ABSENT:
                    self._told(f"{what} {name} could not be removed: {error.args[0].name()}")


@contextmanager
def new_topics(
    administrator: Administrator,
    *,
    count: int,
    partitions: int,
    replication_factor: int,
    config: Mapping[str, ConfigValue],
) -> Iterator[tuple[str, ...]]:
    """Topics of this load alone, every partition with a leader; deleted at the end."""
    prefix = f"meshmark-load-{secrets.token_hex(4)}"
    names = tuple(f"{prefix}-{number + 1}" for number in range(count))
    settings = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in config.items()}
    first = min(partitions, AT_ONCE)
    wanted = [
        NewTopic(name, num_partitions=first, replication_factor=replication_factor, config=settings) for name in names
    ]
    administrator.known()
    try:
        for some in _in_turns(wanted, AT_ONCE // first):
            made = administrator.client.create_topics(list(some), request_timeout=TIMEOUT_S)
            administrator.all("topics cannot be created", made)
        for name, grown in itertools.product(names, _steps(partitions)):
            more = administrator.client.create_partitions([NewPartitions(name, grown)], request_timeout=TIMEOUT_S)
            administrator.all(f"{name} cannot have {grown:,} partitions", more)
        bound_s = TIMEOUT_S + PARTITION_S * count * partitions
        _until(lambda: _led(administrator, names, partitions), f"partitions of {prefix} have no leader", bound_s)
        yield names
    finally:
        for few in _in_turns(names, AT_ONCE):
            futures = administrator.client.delete_topics(list(few), request_timeout=_REMOVE_TIMEOUT_S)
            administrator.remove("topic", futures)


@contextmanager
def groups(administrator: Administrator, wanted: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Consumer groups and what each reads, from the ends that the topics have now, whatever they hold; removed at the
    end."""
    topics = tuple(dict.fromkeys(topic for read in wanted.values() for topic in read))
    known = administrator.known()
    missing = [topic for topic in topics if topic not in known]
    if missing:
        raise LoadError(f"UNKNOWN_TOPIC_OR_PART: no topic {', '.join(missing)} on the cluster; create it first")
    places = [TopicPartition(topic, number) for topic in topics for number in known[topic].partitions]
    at = _ends(administrator, places)
    try:
        for name, read in wanted.items():
            placed = ConsumerGroupTopicPartitions(name, [place for place in at if place.topic in read])
            answers = administrator.client.alter_consumer_group_offsets([placed], request_timeout=TIMEOUT_S)
            administrator.all(f"group {name} cannot be placed", answers)
        yield
    finally:
        futures = administrator.client.delete_consumer_groups(list(wanted), request_timeout=_REMOVE_TIMEOUT_S)
        administrator.remove("consumer group", futures)


def _ends(administrator: Administrator, places: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Of new partitions brokers learn a moment after their topic is known that they lead them."""
    asked = {place: OffsetSpec.latest() for place in places}  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + TIMEOUT_S + PARTITION_S * len(places)
    while True:
        answers = administrator.client.list_offsets(asked)
        errors = [error for future in answers.values() if (error := future.exception())]
        refused = [error for error in errors if not isinstance(error, KafkaException) or not _passing(error)]
        if not errors or refused or time.monotonic() > deadline:
            ends = administrator.all("the ends of the topics are not known", answers)
            found = zip(places, ends, strict=True)
            return [TopicPartition(place.topic, place.partition, end.offset) for place, end in found]
        time.sleep(POLL_S)


def _passing(error: KafkaException) -> bool:
    return error.args[0].name() in ("NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART")


def _led(administrator: Administrator, names: Sequence[str], partitions: int) -> bool:
    known = administrator.known()
    return all(
        name in known
        and len(known[name].partitions) == partitions
        and all(partition.leader >= 0 for partition in known[name].partitions.values())
        for name in names
    )


def _in_turns(items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    return (items[place : place + count] for place in range(0, len(items), count))


def _steps(partitions: int) -> Iterator[int]:
    """How many a topic has after each request for more."""
    return (min(count + AT_ONCE, partitions) for count in range(AT_ONCE, partitions, AT_ONCE))


def _until(condition: Callable[[], bool], what: str, bound_s: float) -> None:
    end = time.monotonic() + bound_s
    while not condition():
        if time.monotonic() > end:
            raise LoadError(f"{what} within {bound_s:.0f} s", hint="Look at the brokers.")
        time.sleep(POLL_S)


def _text(error: KafkaException) -> str:
    first = error.args[0]
    return first.str() if isinstance(first, KafkaError) else str(first)

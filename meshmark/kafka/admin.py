"""Administration of a cluster from a client host, through its data plane.

    python -m meshmark.kafka.admin

reads one command a line (JSON) and answers each with one line: `{"ok": true}` or `{"error": TEXT}`.

    {"command": "wait",   "config": {...}, "brokers": 3, "timeout_s": 60}
    {"command": "create", "config": {...}, "topics": {NAME: [[1, 2, 3], ...]}, "topic_config": {...}, "timeout_s": 60}
    {"command": "delete", "config": {...}, "topics": [NAME, ...], "timeout_s": 60}
    {"command": "in_sync", "config": {...}, "brokers": 3, "timeout_s": 60}
    {"command": "set",    "config": {...}, "broker": 1, "settings": {NAME: TEXT}, "timeout_s": 60}

`config` holds Kafka client settings. A client lives for one command, so nothing is connected during a trial.
`layout` and `leaders` (pure) say where replicas go.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

POLL_S = 0.05

Assignment = list[list[int]]  # of one topic: per partition the node ids of its replicas, the leader first


def layout(
    topics: int,
    partitions: int,
    replication_factor: int,
    nodes: list[int],
    prefix: str,
    leading: Sequence[int] = (),
) -> dict[str, Assignment]:
    """Topics `PREFIX-1`..: partition p of topic t is led by node (t + p) mod n of those that lead (all, if none is
    named), the next nodes follow."""
    lead = list(leading) or nodes

    def replicas(turn: int) -> list[int]:
        first = nodes.index(lead[turn % len(lead)])
        return [nodes[(first + step) % len(nodes)] for step in range(replication_factor)]

    return {
        f"{prefix}-{topic + 1}": [replicas(topic + partition) for partition in range(partitions)]
        for topic in range(topics)
    }


def leaders(topics: Mapping[str, Assignment]) -> dict[tuple[str, int], int]:
    """(topic, partition) -> node id of the preferred leader."""
    return {
        (topic, partition): replicas[0]
        for topic, assignment in topics.items()
        for partition, replicas in enumerate(assignment)
    }


class NotYet(Exception):
    """What is still missing, told when the time is up."""


def wait_for_brokers(client: AdminClient, brokers: int, timeout_s: float) -> None:
    def registered() -> None:
        nodes = client.describe_cluster(request_timeout=2).result().nodes
        if len(nodes) < brokers:
            raise NotYet(f"{len(nodes)} of {brokers} brokers are registered")

    _until(registered, timeout_s)


def create_topics(
    client: AdminClient, topics: Mapping[str, Assignment], topic_config: Mapping[str, str], timeout_s: float
) -> None:
    """Returns once every partition is led as assigned and every replica is in sync."""
    deadline = time.monotonic() + timeout_s
    wanted = [
        NewTopic(name, num_partitions=len(assignment), replica_assignment=assignment, config=dict(topic_config))
        for name, assignment in topics.items()
    ]
    _settle(client.create_topics(wanted, request_timeout=timeout_s), KafkaError.TOPIC_ALREADY_EXISTS)

    def in_sync() -> None:
        known = client.list_topics(timeout=5).topics
        for name, assignment in topics.items():
            partitions = known[name].partitions if name in known else {}
            for number, replicas in enumerate(assignment):
                state = partitions.get(number)
                if state is None or state.leader != replicas[0] or set(state.isrs) != set(replicas):
                    now = "unknown" if state is None else f"led by {state.leader}, in sync {sorted(state.isrs)}"
                    raise NotYet(f"{name}-{number} is {now}; asked for {replicas}")

    _until(in_sync, deadline - time.monotonic())


def delete_topics(client: AdminClient, topics: list[str], timeout_s: float) -> None:
    """Returns once no broker knows them; their files go a moment later."""
    deadline = time.monotonic() + timeout_s
    futures = client.delete_topics(topics, request_timeout=timeout_s, operation_timeout=timeout_s)
    _settle(futures, KafkaError.UNKNOWN_TOPIC_OR_PART)

    def gone() -> None:
        left = sorted(set(topics) & set(client.list_topics(timeout=5).topics))
        if left:
            raise NotYet(f"still there: {', '.join(left)}")

    _until(gone, deadline - time.monotonic())


def wait_until_in_sync(client: AdminClient, brokers: int, timeout_s: float) -> None:
    """Returns once so many brokers are registered and every replica of every topic, Kafka's own too, is in sync."""

    def in_sync() -> None:
        known = client.list_topics(timeout=5)
        if len(known.brokers) < brokers:
            raise NotYet(f"{len(known.brokers)} of {brokers} brokers are registered")
        for name, topic in known.topics.items():
            for number, state in topic.partitions.items():
                if state.leader < 0 or set(state.isrs) != set(state.replicas):
                    raise NotYet(f"{name}-{number} is led by {state.leader}, in sync {sorted(state.isrs)}")

    _until(in_sync, timeout_s)


def set_on_broker(client: AdminClient, broker: int, settings: Mapping[str, str], timeout_s: float) -> None:
    """While it runs. A store that is set to the path that it has is read again."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.BROKER, str(broker), incremental_configs=entries)
    for future in client.incremental_alter_configs([resource], request_timeout=timeout_s).values():
        future.result()


def _settle(futures: Mapping[str, Future[None]], done_before: int) -> None:
    """Waits for all. `done_before` is what Kafka says to a request that was sent again, because brokers under load
    were slow to answer the first one, which had done its work; whether all is as asked is looked at afterwards."""
    for future in futures.values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != done_before:
                raise


def _until(condition: Callable[[], None], timeout_s: float) -> None:
    """Tries until the condition raises no more; errors of a cluster that is just starting count as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return condition()
        except NotYet as missing:
            last = str(missing)
        except KafkaException as error:
            last = _text(error)
        if time.monotonic() > deadline:
            raise NotYet(f"not within {timeout_s:.0f} s: {last}")
        time.sleep(POLL_S)


def _text(error: KafkaException) -> str:
    first = error.args[0] if error.args else error
    return first.str() if isinstance(first, KafkaError) else str(first)


def _perform(given: dict[str, Any]) -> None:
    # Short backoffs: while brokers start, a client with the defaults would wait up to ten seconds.
    quick = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 200, "log_level": 2}
    client = AdminClient({**quick, **given["config"]})
    timeout_s = float(given["timeout_s"])
    match given["command"]:
        case "wait":
            wait_for_brokers(client, given["brokers"], timeout_s)
        case "create":
            create_topics(client, given["topics"], given["topic_config"], timeout_s)
        case "delete":
            delete_topics(client, given["topics"], timeout_s)
        case "in_sync":
            wait_until_in_sync(client, given["brokers"], timeout_s)
        case "set":
            set_on_broker(client, given["broker"], given["settings"], timeout_s)
        case other:
            raise NotYet(f"unknown command {other!r}")


def main() -> None:
    for line in sys.stdin:
        try:
            _perform(json.loads(line))
            answer: dict[str, object] = {"ok": True}
        except NotYet as error:
            answer = {"error": str(error)}
        except KafkaException as error:
            answer = {"error": _text(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""A cluster's topics, by an administrator (`kafka.admin`) that runs on a client host and is spoken to in lines.

Both real backends have one. Kafka calls replicas of a new partition in sync before their brokers have heard of it, and
a topic deleted before its files are gone: what brokers' disks hold is what counts, and the backend tells that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meshmark.cluster import Process, TopicLayout
from meshmark.errors import ComponentFailed, LoadError
from meshmark.kafka import admin
from meshmark.kafka.properties import LISTENER
from meshmark.plan import ClusterSpec, Workload

ARGV = ("python", "-m", "meshmark.kafka.admin")
TIMEOUT_S = 60.0
ANSWER_MARGIN_S = 10.0
POLL_S = 0.05

Leaders = Mapping[tuple[str, int], str]
"""(topic, partition) -> host."""
Disks = Callable[[], set[tuple[str, str]]]
"""What there is of partitions' directories: (directory, host)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Topics as they are created. Implements `meshmark.cluster.TopicLayout`."""

    topics: Mapping[str, admin.Assignment]
    leaders: Leaders
    replicas: frozenset[tuple[str, str]]
    """(directory, host)."""


def layout(workload: Workload, spec: ClusterSpec, prefix: str) -> Layout:
    """Topics `PREFIX-1`.. on the hosts `broker-1`.., with leaders spread evenly over those that lead."""
    nodes = list(range(1, spec.brokers + 1))
    topics = admin.layout(
        workload.topics,
        workload.partitions_per_topic,
        workload.replication_factor,
        nodes,
        prefix,
        spec.topology.leading(),
    )
    return Layout(
        topics=topics,
        leaders={key: _host(node) for key, node in admin.leaders(topics).items()},
        replicas=frozenset(
            (f"{topic}-{number}", _host(node))
            for topic, assignment in topics.items()
            for number, replicas in enumerate(assignment)
            for node in replicas
        ),
    )


class Administration:
    """`process` runs ARGV. `check` raises when a component has died meanwhile; `told` hears of all leaders whenever
    they are others, before topics are there and after they are gone."""

    def __init__(
        self,
        process: Process,
        config: Mapping[str, str],
        *,
        disks: Disks,
        check: Callable[[], None],
        told: Callable[[Leaders], None] = lambda leaders: None,
    ) -> None:
        self._process = process
        self._config = dict(config)
        self._disks = disks
        self._check = check
        self._told = told
        self._layouts: dict[str, Layout] = {}

    def leaders(self) -> Leaders:
        """Of every topic that there is now."""
        return {key: host for layout in self._layouts.values() for key, host in layout.leaders.items()}

    def wait(self, brokers: int, timeout_s: float) -> None:
        """Until so many are registered. Raises LoadError when they are not in time."""
        self._ask("wait", timeout_s, brokers=brokers)

    def wait_until_in_sync(self, brokers: int, timeout_s: float) -> None:
        """Until so many are registered and every replica is in sync. Raises LoadError when they are not in time."""
        self._ask("in_sync", timeout_s, brokers=brokers)

    def reload_keystore(self, host: str, keystore: str) -> None:
        """The broker reads it again, while it runs. Kafka takes a new certificate only with the names of the old."""
        listener = f"listener.name.{LISTENER.lower()}"
        settings = {f"{listener}.ssl.keystore.type": "PEM", f"{listener}.ssl.keystore.location": keystore}
        self._ask("set", TIMEOUT_S, broker=int(host.rpartition("-")[2]), settings=settings)

    def create(self, workload: Workload, spec: ClusterSpec, prefix: str) -> Layout:
        """Returns once every replica is in sync and on its broker's disk."""
        wanted = layout(workload, spec, prefix)
        settings = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in workload.topic_config.items()
        }
        self._layouts = {**self._layouts, prefix: wanted}  # another thread may be reading it
        self._told(self.leaders())
        try:
            self._ask("create", TIMEOUT_S, topics=wanted.topics, topic_config=settings)
        except LoadError:
            self._layouts = {name: kept for name, kept in self._layouts.items() if name != prefix}
            raise
        self._await_disks(lambda there: sorted(wanted.replicas - there), "new partitions are not on disk")
        return wanted

    def delete(self, unwanted: TopicLayout) -> None:
        """Returns once their files are gone."""
        names = sorted({topic for topic, _ in unwanted.leaders})
        self._ask("delete", TIMEOUT_S, topics=names)
        self._layouts = {
            prefix: kept for prefix, kept in self._layouts.items() if kept.leaders.keys() != unwanted.leaders.keys()
        }
        self._told(self.leaders())
        self._await_disks(
            lambda there: sorted(entry for entry in there if _topic(entry[0]) in names),
            "deleted partitions are still on disk",
        )

    def _await_disks(self, wrong: Callable[[set[tuple[str, str]]], list[tuple[str, str]]], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while left := wrong(self._disks()):
            self._check()
            if time.monotonic() > deadline:
                directory, host = left[0]
                raise ComponentFailed(
                    f"{len(left)} {what} after {TIMEOUT_S:.0f} s, e.g. {directory} of {host}",
                    component="kafka",
                    hint="That broker's log in the run directory tells why.",
                )
            time.sleep(POLL_S)

    def _ask(self, command: str, timeout_s: float, **arguments: Any) -> None:
        asked = {"command": command, "config": self._config, "timeout_s": timeout_s, **arguments}
        self._process.send_line(json.dumps(asked))
        deadline = time.monotonic() + timeout_s + ANSWER_MARGIN_S
        while (line := self._process.read_line(0.2)) is None:
            self._check()
            if time.monotonic() > deadline:
                raise ComponentFailed(f"`{command}` was not answered within {timeout_s:.0f} s", component="kafka")
        answer = json.loads(line)
        if "error" in answer:
            self._check()
            raise LoadError(
                f"Kafka did not {command} as asked: {answer['error']}",
                hint="The brokers' logs tell more; topicConfig and brokerConfig in the plan are Kafka's to judge.",
            )


def _host(node: int) -> str:
    return f"broker-{node}"


def _topic(directory: str) -> str:
    """Of a partition's directory: `TOPIC-0`, or `TOPIC-0.UUID-delete` while its files are being removed."""
    return directory.partition(".")[0].rpartition("-")[0]

"""One broker on loopback for tests of the load alone: no data plane, no host of the lab, replication factor 1."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from meshmark.kafka import distribution
from meshmark.kafka.admin import wait_for_brokers

_CLUSTER_ID = "bWVzaG1hcmstdGVzdHMtMQ"


@dataclass(frozen=True)
class Broker:
    process: subprocess.Popen[bytes]
    bootstrap_servers: str

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 2})

    def create_topics(self, topics: int, partitions: int) -> tuple[str, ...]:
        """New topics with names that no other test uses."""
        prefix = f"t{uuid4().hex[:8]}"
        names = tuple(f"{prefix}-{number}" for number in range(1, topics + 1))
        for future in self.admin().create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            future.result()
        return names

    def end_offsets(self, topics: tuple[str, ...], partitions: int) -> list[int]:
        """Records in the log of every partition."""
        reader = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "end-offsets"})
        ends = [
            reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
            for topic in topics
            for partition in range(partitions)
        ]
        reader.close()
        return ends

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@contextmanager
def single_broker(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[Broker]:
    """Ready when it answers; killed at exit."""
    address, controller = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{address},CONTROLLER://{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(directory / "data"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "log.retention.bytes": "500000000",
        "log.segment.bytes": "100000000",
        "log.retention.check.interval.ms": "2000",
        "log.segment.delete.delay.ms": "100",
        "log.initial.task.delay.ms": "500",
    } | dict(settings or {})
    file = directory / "server.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    jars = ":".join(str(path) for path in distribution.fetch())
    java = [str(distribution.java().path), "-Xmx512m", "-XX:+UseSerialGC", "-cp", jars]
    with (directory / "broker.log").open("wb") as log:
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(file)]
        subprocess.run(tool, check=True, stdout=log, stderr=log, timeout=60)
        process = subprocess.Popen([*java, "kafka.Kafka", str(file)], stdout=log, stderr=log, preexec_fn=_die_with_us)
    broker = Broker(process=process, bootstrap_servers=address)
    try:
        wait_for_brokers(broker.admin(), 1, timeout_s=60)
        yield broker
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_us() -> None:
    parent_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)

"""Client CPU seconds per million acknowledged records: meshmark's load worker, a program in C, Kafka's own tool.

The C program (`rdkafka_producer.c`) runs on the same librdkafka as the worker and does what the producer of
rdkafka_performance does. All send the same number of records of the same size, with the same producer settings and the
same number of connections (Kafka's tool has one), from the same lab host to the same cluster. CPU is that of the whole
process, start and JIT or imports included, so short runs favour none: take at least half a million records. `raw`, the
worker with its other client, is counted from the start of the load, since its own start costs more than that. Kafka's
tool reads its payloads from a file, since drawing 512 random letters for each record, as it does by default, would be
most of what it does.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.pairs import ratios, rounds
from meshmark.backends.lab.backend import lab
from meshmark.clock import SystemClock
from meshmark.cluster import Cluster, TopicLayout
from meshmark.kafka import distribution
from meshmark.load.clients import native
from meshmark.load.generator import Mark, load, producer_spec
from meshmark.plan import ClientKind, ClusterSpec, ConfigValue, DataPlane, Plan, Scenario, Workload

TOOLS = "kafka-tools-4.3.1"
LIMIT_S = 120.0
POLL_S = 0.5
SEED = 1


def scenario(batch_size: int, connections: int) -> Scenario:
    settings = {
        "acks": "all",
        "batch.size": batch_size,
        "compression.type": "none",
        "enable.idempotence": False,
        "linger.ms": 5,
        "max.in.flight.requests.per.connection": 5,
        # What 20 connections of a plan hold together.
        "queue.buffering.max.messages": 40_000 // connections,
    }
    workload = Workload(topics=1, partitions_per_topic=9, workers=connections, producer_config=settings)
    return Scenario(name="plain", data_plane=DataPlane.PLAIN, cluster=ClusterSpec(), workload=workload)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Of every client."""

    cluster: Cluster
    workload: Workload
    records: int
    payloads: Path
    c_program: Path


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """Seconds per million records."""

    user_s: float
    system_s: float

    @classmethod
    def of(cls, user_s: float, system_s: float, records: int) -> Cpu:
        return cls(user_s=user_s / records * 1e6, system_s=system_s / records * 1e6)

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def __str__(self) -> str:
        return f"{self.total_s:.2f} ({self.system_s:.2f} in the kernel)"


def worker_cpu(asked: Asked, layout: TopicLayout) -> Cpu:
    end = _loaded(asked, layout, "librdkafka")[1]
    return Cpu.of(end.cpu_user_s, end.cpu_system_s, end.totals.acknowledged)


def raw_cpu(asked: Asked, layout: TopicLayout) -> Cpu:
    ready, end = _loaded(asked, layout, "raw")
    return Cpu.of(end.cpu_user_s - ready.cpu_user_s, end.cpu_system_s - ready.cpu_system_s, end.totals.acknowledged)


def _loaded(asked: Asked, layout: TopicLayout, client: ClientKind) -> tuple[Mark, Mark]:
    """A load worker before and after so many records."""
    workload = asked.workload.model_copy(update={"client": client})
    spec = producer_spec(workload, asked.cluster, layout, client=1, seed=SEED)
    clock = SystemClock()
    with load(asked.cluster, [spec], clock) as running:
        ready = running.mark()
        running.start()
        until = clock.now() + LIMIT_S
        while clock.now() < until and running.mark().totals.acknowledged < asked.records:
            clock.sleep(POLL_S)
        return ready, running.stop()


def c_cpu(asked: Asked, layout: TopicLayout) -> Cpu:
    settings = {"bootstrap.servers": asked.cluster.bootstrap_servers, **asked.workload.producer_config}
    size, connections = asked.workload.message_size, asked.workload.workers
    words = [_topic(layout), str(asked.records), str(size), str(connections), *_words(settings)]
    return _command_cpu(asked.cluster, [str(asked.c_program), *words], r"(\d+) records acknowledged")


def kafka_cpu(asked: Asked, layout: TopicLayout) -> Cpu:
    """With the JVM options of Kafka's own start script."""
    settings = {"bootstrap.servers": asked.cluster.bootstrap_servers, **asked.workload.producer_config}
    del settings["queue.buffering.max.messages"]
    jars = ":".join(map(str, distribution.fetch(TOOLS)))
    argv = [
        *(str(distribution.java().path), "-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
        *("-cp", jars, "org.apache.kafka.tools.ProducerPerformance", "--topic", _topic(layout)),
        *("--num-records", str(asked.records), "--throughput", "-1", "--payload-file", str(asked.payloads)),
        *("--producer-props", *_words(settings)),
    ]
    return _command_cpu(asked.cluster, argv, r"(\d+) records sent")


CLIENTS: dict[str, Callable[[Asked, TopicLayout], Cpu]] = {
    "librdkafka": worker_cpu,
    "raw": raw_cpu,
    "C": c_cpu,
    "ProducerPerformance": kafka_cpu,
}
"""By name. The first that is asked for also warms up the brokers."""


def _topic(layout: TopicLayout) -> str:
    (topic,) = {topic for topic, _ in layout.leaders}
    return topic


def _words(settings: Mapping[str, ConfigValue]) -> list[str]:
    return [f"{key}={str(value).lower()}" for key, value in settings.items()]


def _command_cpu(cluster: Cluster, argv: Sequence[str], said: str) -> Cpu:
    """By how many records its last line says."""
    wrapped = ["python", "-m", "bench.rusage", *argv]
    with cluster.spawn(cluster.client_hosts[0], wrapped, name="bench-client") as process:
        line = process.read_line(LIMIT_S)
    told = json.loads(line or "{}")
    sent = re.match(said, told.get("last_line", ""))
    if not sent:
        raise SystemExit(f"{argv[0]} printed no result: {told}")
    return Cpu.of(told["user_s"], told["system_s"], int(sent[1]))


def compiled(directory: Path) -> Path:
    """The C program, against the library that the worker loads."""
    source, program = Path(__file__).with_name("rdkafka_producer.c"), directory / "rdkafka_producer"
    library = native.library_path()
    flags = ["-O2", f"-Wl,-rpath,{library.parent}", "-Wl,--allow-shlib-undefined"]
    subprocess.run(["cc", "-o", str(program), str(source), str(library), *flags], check=True)
    return program


def write_payloads(path: Path, size: int) -> None:
    lines = (base64.b85encode(os.urandom(size))[:size] for _ in range(1_000))
    path.write_bytes(b"\n".join(lines) + b"\n")
    path.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=1_000_000, help="of each run")
    parser.add_argument("--batch-size", type=int, default=16_384, help="batch.size of all; 16384 is Kafka's default")
    parser.add_argument("--connections", type=int, default=1, help="of all but Kafka's tool, which has one")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    given = parser.parse_args()

    asked = scenario(given.batch_size, given.connections)
    distribution.fetch(TOOLS)
    with lab("bench") as backend, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        backend.prepare(Plan(name="client-cpu", scenarios=(asked,)))
        payloads = directory / "payloads"
        write_payloads(payloads, asked.workload.message_size)
        with backend.cluster(asked) as cluster:
            all_alike = Asked(
                cluster=cluster,
                workload=asked.workload,
                records=given.records,
                payloads=payloads,
                c_program=compiled(directory),
            )
            compare(all_alike, given.clients, given.rounds)


def compare(asked: Asked, names: Sequence[str], count: int) -> None:
    numbers = itertools.count(1)

    def measured(name: str) -> Cpu:
        layout = asked.cluster.create_topics(asked.workload, f"bench-{next(numbers)}")
        value = CLIENTS[name](asked, layout)
        asked.cluster.delete_topics(layout)
        return value

    measured(names[0])  # the brokers' JVMs are cold
    done: list[dict[str, Cpu]] = []
    for values in rounds({name: partial(measured, name) for name in names}, count=count, seed=SEED):
        done.append(values)
        told = ", ".join(f"{name} {values[name]}" for name in names)
        print(f"CPU s per million records: {told}", flush=True)
    for name in names:
        if name != "C" and "C" in names:
            found = ratios([(each["C"].total_s, each[name].total_s) for each in done])
            print(f"records per CPU second, {name} / C: {found}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()

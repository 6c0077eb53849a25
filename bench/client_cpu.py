"""Client CPU seconds per million acknowledged records: meshmark's load worker, a program in C, Kafka's own tool.

The C program (`rdkafka_producer.c`) runs on the same librdkafka as the worker and does what the producer of
rdkafka_performance does. All send records of the same size, with the same producer settings and the same number of
connections (Kafka's tool has one), from the same lab host to the same cluster.

CPU is that of the whole process without its start, which a load of hours would not notice: of programs the difference
of two runs, one of START records and one of so many more; of load workers (`librdkafka`, and `raw`) what one process
takes from the moment at which START records are acknowledged until so many more are, its queue being full at both.
What a JVM compiles after START records is in the figures of Kafka's tool. It reads its payloads from a file, since
drawing 512 random letters for each record, as it does by default, would be most of what it does.
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
from meshmark.clock import Clock, SystemClock
from meshmark.cluster import Cluster, TopicLayout
from meshmark.data_plane import DataPlane
from meshmark.kafka import distribution
from meshmark.load.clients import native
from meshmark.load.generator import Load, Mark, load, producer_spec
from meshmark.plan import ClientKind, ClusterSpec, ConfigValue, Plan, Scenario, Workload

TOOLS = "kafka-tools-4.3.1"
START = 200_000
"""Records that do not count: what they take is mostly the start."""
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
class Used:
    """By a process, from its start on: CPU seconds, and records that were acknowledged."""

    user_s: float
    system_s: float
    records: int


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """Seconds per million records."""

    user_s: float
    system_s: float

    @classmethod
    def between(cls, first: Used, second: Used) -> Cpu:
        """Raises SystemExit where there is no more of anything in the second: so few records tell nothing."""
        millions = (second.records - first.records) / 1e6
        user_s, system_s = second.user_s - first.user_s, second.system_s - first.system_s
        if millions <= 0 or user_s + system_s <= 0:
            raise SystemExit("so few records do not show beside the start; ask for more with --records")
        return cls(user_s=user_s / millions, system_s=system_s / millions)

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def __str__(self) -> str:
        return f"{self.total_s:.2f} ({self.system_s:.2f} in the kernel)"


def worker_cpu(client: ClientKind, asked: Asked, layout: TopicLayout) -> Cpu:
    """Of a load worker in closed loop."""
    workload = asked.workload.model_copy(update={"client": client})
    spec = producer_spec(workload, asked.cluster, layout, client=1, seed=SEED)
    clock = SystemClock()
    with load(asked.cluster, [spec], clock) as running:
        running.start()
        first = _once(running, START, clock)
        second = _once(running, first.records + asked.records, clock)
        running.stop()
    return Cpu.between(first, second)


def _once(running: Load, records: int, clock: Clock) -> Used:
    """At the first look at which so many are acknowledged."""
    until = clock.now() + LIMIT_S
    while (mark := running.mark()).totals.acknowledged < records:
        if clock.now() > until:
            raise SystemExit(f"{mark.totals.acknowledged:,} of {records:,} records within {LIMIT_S:.0f} s")
        clock.sleep(POLL_S)
    return _used(mark)


def _used(mark: Mark) -> Used:
    return Used(user_s=mark.cpu_user_s, system_s=mark.cpu_system_s, records=mark.totals.acknowledged)


def c_argv(asked: Asked, topic: str, records: int) -> list[str]:
    settings = {"bootstrap.servers": asked.cluster.bootstrap_servers, **asked.workload.producer_config}
    size, connections = asked.workload.message_size, asked.workload.workers
    return [str(asked.c_program), topic, str(records), str(size), str(connections), *_words(settings)]


def kafka_argv(asked: Asked, topic: str, records: int) -> list[str]:
    """With the JVM options of Kafka's own start script."""
    settings = {"bootstrap.servers": asked.cluster.bootstrap_servers, **asked.workload.producer_config}
    del settings["queue.buffering.max.messages"]
    jars = ":".join(map(str, distribution.fetch(TOOLS)))
    return [
        *(str(distribution.java().path), "-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
        *("-cp", jars, "org.apache.kafka.tools.ProducerPerformance", "--topic", topic),
        *("--num-records", str(records), "--throughput", "-1", "--payload-file", str(asked.payloads)),
        *("--producer-props", *_words(settings)),
    ]


def _words(settings: Mapping[str, ConfigValue]) -> list[str]:
    return [f"{key}={str(value).lower()}" for key, value in settings.items()]


def program_cpu(argv: Callable[[Asked, str, int], list[str]], said: str, asked: Asked, layout: TopicLayout) -> Cpu:
    """Of a program whose last line says how many records there were."""
    (topic,) = {topic for topic, _ in layout.leaders}
    short, long = (_run(asked.cluster, argv(asked, topic, count), said) for count in (START, START + asked.records))
    return Cpu.between(short, long)


def _run(cluster: Cluster, argv: Sequence[str], said: str) -> Used:
    wrapped = ["python", "-m", "bench.rusage", *argv]
    with cluster.spawn(cluster.client_hosts[0], wrapped, name="bench-client") as process:
        line = process.read_line(LIMIT_S)
    told = json.loads(line or "{}")
    sent = re.match(said, told.get("last_line", ""))
    if not sent:
        raise SystemExit(f"{argv[0]} printed no result: {told}")
    return Used(user_s=told["user_s"], system_s=told["system_s"], records=int(sent[1]))


CLIENTS: dict[str, Callable[[Asked, TopicLayout], Cpu]] = {
    "librdkafka": partial(worker_cpu, "librdkafka"),
    "raw": partial(worker_cpu, "raw"),
    "C": partial(program_cpu, c_argv, r"(\d+) records acknowledged"),
    "ProducerPerformance": partial(program_cpu, kafka_argv, r"(\d+) records sent"),
}
"""By name. The first that is asked for also warms up the brokers."""


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
    parser.add_argument("--records", type=int, default=1_000_000, help=f"of each client, after the first {START:,}")
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

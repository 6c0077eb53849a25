"""Client CPU seconds per million acknowledged records: Kafka's ProducerPerformance against meshmark's load worker.

Both send the same number of records of the same size, with the same producer settings over one connection per broker,
from the same lab host to the same cluster. CPU is that of the whole process, start and JIT or imports included, so
short runs favour neither: take at least half a million records. ProducerPerformance reads its payloads from a file,
since drawing 512 random letters for each record, as it does by default, would be most of what it does.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from bench.pairs import interleaved, ratios
from meshmark.backends.lab.backend import lab
from meshmark.clock import SystemClock
from meshmark.cluster import Cluster, TopicLayout
from meshmark.kafka import distribution
from meshmark.load.generator import load, producer_spec
from meshmark.plan import ClusterSpec, DataPlane, Plan, Scenario, Workload

TOOLS = "kafka-tools-4.3.1"
LIMIT_S = 120.0
POLL_S = 0.1
SEED = 1


def scenario(batch_size: int) -> Scenario:
    settings = {
        "acks": "all",
        "batch.size": batch_size,
        "compression.type": "none",
        "enable.idempotence": False,
        "linger.ms": 5,
        "max.in.flight.requests.per.connection": 5,
    }
    workload = Workload(topics=1, partitions_per_topic=9, workers=1, producer_config=settings)
    return Scenario(name="plain", data_plane=DataPlane.PLAIN, cluster=ClusterSpec(), workload=workload)


def meshmark_cpu_s(cluster: Cluster, workload: Workload, layout: TopicLayout, records: int) -> float:
    """Per million records. The queue holds what 20 connections of a plan hold together."""
    queue = {"queue.buffering.max.messages": 40_000}
    spec = producer_spec(
        workload.model_copy(update={"producer_config": {**workload.producer_config, **queue}}),
        cluster,
        layout,
        client=1,
        seed=SEED,
    )
    clock = SystemClock()
    with load(cluster, [spec], clock) as running:
        running.start()
        until = clock.now() + LIMIT_S
        while clock.now() < until and running.mark().totals.acknowledged < records:
            clock.sleep(POLL_S)
        end = running.stop()
    return (end.cpu_user_s + end.cpu_system_s) / end.totals.acknowledged * 1e6


def kafka_cpu_s(cluster: Cluster, workload: Workload, layout: TopicLayout, records: int, payloads: Path) -> float:
    """Per million records, with the JVM options of Kafka's own start script."""
    (topic,) = {topic for topic, _ in layout.leaders}
    settings = {"bootstrap.servers": cluster.bootstrap_servers, **workload.producer_config}
    jars = ":".join(map(str, distribution.fetch(TOOLS)))
    argv = [
        *("python", "-m", "bench.rusage", str(distribution.java().path)),
        *("-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-cp", jars),
        *("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", str(records)),
        *("--throughput", "-1", "--payload-file", str(payloads), "--producer-props"),
        *(f"{key}={str(value).lower()}" for key, value in settings.items()),
    ]
    with cluster.spawn(cluster.client_hosts[0], argv, name="producer-performance") as process:
        line = process.read_line(LIMIT_S)
    told = json.loads(line or "{}")
    sent = re.match(r"(\d+) records sent", told.get("last_line", ""))
    if not sent:
        raise SystemExit(f"ProducerPerformance printed no result: {told}")
    return float(told["cpu_s"]) / int(sent[1]) * 1e6


def write_payloads(path: Path, size: int) -> None:
    lines = (base64.b85encode(os.urandom(size))[:size] for _ in range(1_000))
    path.write_bytes(b"\n".join(lines) + b"\n")
    path.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--records", type=int, default=1_000_000, help="of each run")
    parser.add_argument("--batch-size", type=int, default=16_384, help="batch.size of both; 16384 is Kafka's default")
    given = parser.parse_args()

    asked = scenario(given.batch_size)
    distribution.fetch(TOOLS)
    with lab("bench") as backend, tempfile.TemporaryDirectory() as directory:
        backend.prepare(Plan(name="client-cpu", scenarios=(asked,)))
        payloads = Path(directory) / "payloads"
        write_payloads(payloads, asked.workload.message_size)
        with backend.cluster(asked) as cluster:
            compare(cluster, asked.workload, payloads, records=given.records, pairs=given.pairs)


def compare(cluster: Cluster, workload: Workload, payloads: Path, *, records: int, pairs: int) -> None:
    numbers = count(1)

    def on_new_topic(measure: Callable[[TopicLayout], float]) -> float:
        layout = cluster.create_topics(workload, f"bench-{next(numbers)}")
        value = measure(layout)
        cluster.delete_topics(layout)
        return value

    def kafka() -> float:
        return on_new_topic(lambda layout: kafka_cpu_s(cluster, workload, layout, records, payloads))

    def own() -> float:
        return on_new_topic(lambda layout: meshmark_cpu_s(cluster, workload, layout, records))

    own()  # the brokers' JVMs are cold
    done = []
    for pair in interleaved(kafka, own, pairs=pairs, seed=SEED):
        done.append(pair)
        print(f"CPU s per million records: ProducerPerformance {pair[0]:.2f}, meshmark {pair[1]:.2f}", flush=True)
    print(f"ProducerPerformance / meshmark: {ratios(done)}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()

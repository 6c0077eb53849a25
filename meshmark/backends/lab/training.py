"""Writes the archive that every broker starts from: classes and profiles of one broker under real load.

A JVM that starts without them needs half a minute of load until its rate is flat; with them some seconds. The training
cluster carries each kind of traffic that scenarios have, producers, consumers and followers, over TLS and plaintext,
so that no data plane is better prepared than another. Done once for each Java, set of jars and JVM options.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

from meshmark.backends.lab.cluster import LabCluster, cluster
from meshmark.backends.lab.ground import Parts
from meshmark.cluster import Process, TopicLayout, discard_logs
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed
from meshmark.kafka import launch
from meshmark.kafka.properties import TRAINING_PORT
from meshmark.plan import ClusterSpec, Scenario, Workload
from meshmark.topology import Topology
from meshmark.worker_protocol import WorkerCommand, WorkerReport, WorkerSpec

LOAD_S = 10.0
"""Of each protocol: by then the compilers have seen the hot methods (rates no longer rise much)."""
ANSWER_TIMEOUT_S = 60.0
PLAINTEXT: Mapping[str, str] = {"security.protocol": "PLAINTEXT"}


def train(parts: Parts, spec: ClusterSpec) -> Path:
    """The archive for these parts and options; written now if it is not there.

    Raises ComponentFailed if this Java cannot make it.
    """
    archive = launch.archive_path(parts.runtime, spec)
    if archive.is_file():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    made = archive.with_suffix(f".{parts.instance.id}")
    scenario = Scenario(
        name="training",
        data_plane=DataPlane.KAFKA_TLS,
        cluster=spec.model_copy(update={"clients": 1, "topology": Topology()}),
        workload=Workload(replication_factor=min(3, spec.brokers), topic_config={}),
    )
    try:
        with cluster(replace(parts, archive=None, training=made), scenario, discard_logs) as trained:
            layout = trained.create_topics(scenario.workload, "training")
            _carry(trained, layout, "tls", trained.bootstrap_servers, trained.client_config)
            plain = ",".join(f"{trained.address(host)}:{TRAINING_PORT}" for host in trained.broker_hosts)
            _carry(trained, layout, "plain", plain, PLAINTEXT)
        if not made.is_file():
            raise ComponentFailed("the training run wrote no archive", component="kafka")
        made.rename(archive)
    finally:
        made.unlink(missing_ok=True)
    return archive


def _carry(trained: LabCluster, layout: TopicLayout, name: str, servers: str, config: Mapping[str, str]) -> None:
    """Produces as fast as it goes for LOAD_S, with one group that reads."""
    roles: tuple[Literal["consumer", "producer"], ...] = ("consumer", "producer")
    with ExitStack() as stack:
        workers = []
        for role in roles:
            spec = _worker(trained.scenario.workload, layout, role, f"{name}-{role}", servers, config)
            argv = ["python", "-m", "meshmark.load.worker"]
            worker = stack.enter_context(trained.spawn(trained.client_hosts[0], argv, name=spec.name))
            worker.send_line(spec.model_dump_json())
            _await(trained, worker, "ready", ANSWER_TIMEOUT_S)
            workers.append(worker)
        for worker in workers:
            worker.send_line(WorkerCommand(command="start").model_dump_json())
        _await(trained, workers[1], "never", LOAD_S)
        for worker in reversed(workers):
            worker.send_line(WorkerCommand(command="stop").model_dump_json())
            _await(trained, worker, "finished", ANSWER_TIMEOUT_S)


def _worker(
    workload: Workload,
    layout: TopicLayout,
    role: Literal["consumer", "producer"],
    name: str,
    servers: str,
    config: Mapping[str, str],
) -> WorkerSpec:
    return WorkerSpec(
        name=name,
        role=role,
        bootstrap_servers=servers,
        client_config=dict(config),
        config=workload.producer_config if role == "producer" else workload.consumer_config,
        topics=tuple(dict.fromkeys(topic for topic, _ in layout.leaders)),
        partitions_per_topic=workload.partitions_per_topic,
        message_size=workload.message_size,
        connections=workload.workers if role == "producer" else 1,
        group=name if role == "consumer" else "",
        seed=1,
    )


def _await(trained: LabCluster, worker: Process, kind: str, timeout_s: float) -> None:
    """Reads the worker's reports until one of this kind, or for so long."""
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        trained.check()
        line = worker.read_line(min(left, 0.5))
        report = WorkerReport.model_validate_json(line) if line else None
        if report and report.kind == "error":
            raise ComponentFailed(f"{worker.name}: {report.error}: {report.text}", component=worker.name)
        if report and report.kind == kind:
            return
    if kind != "never":
        raise ComponentFailed(f"{worker.name} was not '{kind}' within {timeout_s:.0f} s", component=worker.name)

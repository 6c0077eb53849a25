"""Kafka brokers on hosts: storage written, processes started together. Who waits for them is the cluster.

Their data goes with them: they are killed, not shut down, and their directories removed by the instance.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from meshmark.backends.lab.link import Host
from meshmark.backends.lab.process import LabProcess, running, stop_all
from meshmark.kafka import launch, storage
from meshmark.kafka.launch import Runtime
from meshmark.kafka.properties import Node, render
from meshmark.plan import ClusterSpec

ARCHIVE_TIMEOUT_S = 120.0
STARTED = b"Kafka Server started"
POLL_S = 0.03


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerPlan:
    """A broker to start: where, with which settings, and where its data goes."""

    host: Host
    node: Node
    settings: Mapping[str, str]
    data: Path
    training: Path | None = None

    @property
    def file(self) -> Path:
        return self.host.directory / "server.properties"

    @property
    def log(self) -> Path:
        return self.host.directory / "broker.log"

    @property
    def metrics_socket(self) -> Path:
        return self.host.directory / "kafka.sock"

    @property
    def log_dir(self) -> Path:
        return Path(self.settings["log.dirs"])


def nodes(hosts: Sequence[Host]) -> tuple[Node, ...]:
    return tuple(Node(node_id=number, address=host.address) for number, host in enumerate(hosts, start=1))


def command(runtime: Runtime, spec: ClusterSpec, plan: BrokerPlan, archive: Path | None) -> list[str]:
    """Starts from `archive` if there is one; a plan with `training` writes one at its end instead."""
    options: list[str] = []
    if plan.training:
        options = launch.training_options(runtime.java, plan.training)
    elif archive:
        options = launch.archive_options(runtime.java, archive)
    return launch.broker_command(runtime, spec, plan.file, plan.data, options, Path(plan.metrics_socket.name))


@contextmanager
def brokers(
    runtime: Runtime, spec: ClusterSpec, plans: Sequence[BrokerPlan], archive: Path | None
) -> Iterator[dict[str, LabProcess]]:
    """Host name -> its broker, all of them started (from the archive, if there is one), none of them awaited."""
    cluster_id = storage.random_id()
    template = storage.template(runtime, spec, plans[0].settings)
    for plan in plans:
        storage.write_storage(plan.data, node_id=plan.node.node_id, cluster_id=cluster_id, template=template)
        plan.file.write_text(render(plan.settings), encoding="utf-8")
    with ExitStack() as stack:
        started: dict[str, LabProcess] = {}
        for plan in plans:
            started[plan.host.name] = stack.enter_context(start(runtime, spec, plan, archive, plan.log))
        stack.callback(lambda: stop_all(started.values(), grace_s=0))  # all at once, not one after the other
        yield started
        stop_all([started[plan.host.name] for plan in plans if plan.training], grace_s=ARCHIVE_TIMEOUT_S)


def start(
    runtime: Runtime, spec: ClusterSpec, plan: BrokerPlan, archive: Path | None, log: Path
) -> AbstractContextManager[LabProcess]:
    """One whose storage and settings are written."""
    words = command(runtime, spec, plan, archive)
    return running(plan.host, words, name="broker", component="kafka", log=log, grace_s=0)


@contextmanager
def paused(process: LabProcess) -> Iterator[None]:
    """It stands still inside, and goes on however that is left."""
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


def wait_until_started(processes: Collection[LabProcess], timeout_s: float) -> None:
    """Until each has said so in its log. Asking at their ports instead would, through sidecars, cost two handshakes
    a question while the CPUs are what a start waits for."""
    deadline = time.monotonic() + timeout_s
    waiting = list(processes)
    while waiting := [process for process in waiting if STARTED not in process.log.read_bytes()]:
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            raise waiting[0].failure(f"has not started within {timeout_s:.0f} s")
        time.sleep(POLL_S)

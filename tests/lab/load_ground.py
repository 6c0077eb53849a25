"""What tests of the load share: small scenarios, load until something is reached, what the broker's log holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, TopicPartition

from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.clock import SystemClock
from meshmark.data_plane import DataPlane
from meshmark.kafka.administration import Layout
from meshmark.load.generator import Load, Mark, load, producer_spec
from meshmark.plan import ClusterSpec, ConfigValue, Plan, Scenario, Workload
from meshmark.worker_protocol import WorkerSpec
from tests.lab.ground import BOUND_S

PLANES = (DataPlane.PLAIN, DataPlane.KAFKA_TLS)
CLOCK = SystemClock()
SHORT_LIFE: dict[str, ConfigValue] = {
    "acks": "all",
    "linger.ms": 5,
    "message.timeout.ms": 2_000,
    "queue.buffering.max.messages": 2_000,
}


def scenario(data_plane: DataPlane) -> Scenario:
    spec = ClusterSpec(brokers=1, heap_bytes=268_435_456)
    return Scenario(name=str(data_plane), data_plane=data_plane, cluster=spec, workload=workload())


@contextmanager
def prepared() -> Iterator[LabBackend]:
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=tuple(map(scenario, PLANES))))
        yield made


def workload(
    *, groups: int = 0, config: dict[str, ConfigValue] | None = None, workers: int = 3, message_size: int = 512
) -> Workload:
    given = {} if config is None else {"producer_config": config}
    return Workload(
        topics=2,
        replication_factor=1,
        workers=workers,
        message_size=message_size,
        subscriptions_per_topic=groups,
        consumer_per_subscription=2,
        topic_config={},
        **given,
    )


def broker_signal(cluster: LabCluster, number: int) -> None:
    [broker] = [process for process in cluster.processes if process.component == "kafka"]
    broker.signal(number)


def producers(cluster: LabCluster, layout: Layout, work: Workload, clients: int = 1) -> list[WorkerSpec]:
    return [producer_spec(work, cluster, layout, client=client, seed=1) for client in range(1, clients + 1)]


def run_until(running: Load, acknowledged: int) -> Mark:
    end = CLOCK.now() + BOUND_S
    while (mark := running.mark()).totals.acknowledged < acknowledged:
        assert CLOCK.now() < end, mark.totals
        # Workers go before the broker: answering without a pause, they would leave it no CPU.
        CLOCK.sleep(0.05)
    return mark


def loaded(cluster: LabCluster, specs: Sequence[WorkerSpec], acknowledged: int) -> Mark:
    """Load until so many records are acknowledged."""
    with load(cluster, specs, CLOCK) as running:
        running.start()
        run_until(running, acknowledged)
        return running.stop()


def end_offsets(cluster: LabCluster, layout: Layout) -> dict[tuple[str, int], int]:
    """Records in the log of each partition, as the broker says."""

    def ask() -> dict[tuple[str, int], int]:
        config = {"bootstrap.servers": cluster.bootstrap_servers, "group.id": "ends", **cluster.client_config}
        reader = Consumer(config)
        found = {key: reader.get_watermark_offsets(TopicPartition(*key), timeout=10)[1] for key in layout.leaders}
        reader.close()
        return found

    return cluster.network.hosts["client-1"].call(ask)

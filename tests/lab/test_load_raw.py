"""The raw client against a real broker: what it says is stored is stored and can be read, and its account closes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshmark.backends.lab.backend import LabBackend
from meshmark.backends.lab.cluster import LabCluster
from meshmark.load.generator import consumer_specs, load, producer_spec
from meshmark.plan import ConfigValue
from tests.lab.load_ground import (
    CLOCK,
    PLANES,
    end_offsets,
    prepared,
    producers,
    run_until,
    scenario,
    workload,
)

pytestmark = pytest.mark.lab

RAW = {"client": "raw", "consumer_config": {"check.crcs": True}}


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with prepared() as made:
        yield made


@pytest.fixture(scope="module", params=PLANES)
def cluster(backend: LabBackend, request: pytest.FixtureRequest) -> Iterator[LabCluster]:
    with backend.cluster(scenario(request.param)) as made:
        yield made


def test_what_is_acknowledged_in_closed_loop_is_in_the_log_and_nothing_else(cluster: LabCluster) -> None:
    work = workload(groups=1).model_copy(update=RAW)
    layout = cluster.create_topics(work, "raw-closed")
    readers = consumer_specs(work, cluster, layout, seed=1)
    with load(cluster, [*producers(cluster, layout, work, clients=2), *readers], CLOCK) as running:
        running.start()
        run_until(running, 20_000)
        end = running.stop()
    totals, ends = end.totals, end_offsets(cluster, layout)
    cluster.delete_topics(layout)
    assert totals.closed
    assert (totals.failed, totals.unknown, totals.outstanding, totals.errors) == (0, 0, 0, {})
    assert totals.acknowledged == sum(ends.values()) == end.batches.records
    assert min(ends.values()) > 0
    assert totals.acknowledged_bytes == 512 * totals.acknowledged
    # Asked to, a librdkafka consumer checks the checksum of every batch; it takes the records apart.
    assert (totals.consumed, totals.consumed_bytes) == (totals.acknowledged, totals.acknowledged_bytes)
    assert end.notes == ()


def test_consumers_find_the_intended_time_in_every_record(cluster: LabCluster) -> None:
    # There is room for all records, however slow the machine is.
    config: dict[str, ConfigValue] = {"acks": "all", "linger.ms": 5, "queue.buffering.max.messages": 20_000}
    work = workload(groups=1, config=config).model_copy(update=RAW)
    layout = cluster.create_topics(work, "raw-open")
    producer = producer_spec(work, cluster, layout, client=1, seed=1, rate_msg_s=2_000, arrivals="even")
    with load(cluster, [producer, *consumer_specs(work, cluster, layout, seed=1, end_to_end=True)], CLOCK) as running:
        origin_s = running.start()
        run_until(running, 1_000)
        end = running.stop(origin_s + 2)
    totals, ends = end.totals, end_offsets(cluster, layout)
    cluster.delete_topics(layout)
    assert (totals.failed, totals.unknown, totals.outstanding, totals.errors) == (0, 0, 0, {})
    assert totals.offered == totals.acknowledged == totals.consumed == sum(ends.values()) >= 4_000
    assert (totals.unstamped, totals.negative, end.lag) == (0, 0, 0)
    assert end.latency is not None
    assert end.end_to_end is not None
    assert end.latency.count == end.end_to_end.count == totals.acknowledged

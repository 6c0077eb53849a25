"""What brokers say about themselves, under real load. Counts and orders are asserted, no times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshmark.backends.lab.cluster import LabCluster
from meshmark.plan import DataPlane
from meshmark.probes import kafka
from meshmark.record import Counters
from tests.lab.load_ground import loaded, prepared, producers, scenario, workload

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with prepared() as backend, backend.cluster(scenario(DataPlane.PLAIN)) as made:
        yield made


def read(cluster: LabCluster) -> Counters:
    return {key: value for probe in cluster.probes() for key, value in probe.read().items()}


def test_a_broker_counts_the_requests_that_clients_sent_and_splits_their_time(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "metrics")
    before = read(cluster)
    end = loaded(cluster, producers(cluster, layout, work), 20_000)
    grown = {key: value - before[key] for key, value in read(cluster).items() if key in before}
    requests = grown["broker-1/kafka/produce_requests"]
    assert 0 < requests <= end.batches.requests
    parts = [grown[f"broker-1/kafka/produce_{part}_s"] for part in kafka.PARTS if part not in ("total", "throttle")]
    assert min(parts) >= 0
    # Each part of each request is rounded to a millisecond, and so is the total.
    assert sum(parts) == pytest.approx(grown["broker-1/kafka/produce_total_s"], abs=requests * 1e-3 * len(parts))
    assert grown["broker-1/kafka/request_handler_idle_s"] > 0
    assert grown["broker-1/kafka/network_thread_idle_s"] > 0
    assert {key.rpartition("/")[2] for key in grown} >= {*kafka.SINGLE, "produce_total_s", "consumer_fetch_total_s"}

"""Real workers against a real broker: every record is accounted for, whatever happens to the broker."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from itertools import pairwise

import pytest

from meshmark.backends.lab.backend import LabBackend
from meshmark.backends.lab.cluster import LabCluster
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, LoadError
from meshmark.kafka.administration import Layout
from meshmark.load.generator import consumer_specs, load
from meshmark.plan import ConfigValue
from meshmark.record import LoadInterval
from tests.lab.ground import BOUND_S
from tests.lab.load_ground import (
    CLOCK,
    PLANES,
    end_offsets,
    loaded,
    prepared,
    producers,
    run_until,
    scenario,
    workload,
)

pytestmark = pytest.mark.lab

BATCH_BYTES = 16_384
SMALL_BATCHES: dict[str, ConfigValue] = {
    "acks": "all",
    "linger.ms": 5,
    "batch.size": BATCH_BYTES,
    "queue.buffering.max.messages": 1_000,
}


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with prepared() as made:
        yield made


@pytest.fixture(scope="module", params=PLANES)
def cluster(backend: LabBackend, request: pytest.FixtureRequest) -> Iterator[LabCluster]:
    with backend.cluster(scenario(request.param)) as made:
        yield made


def test_acknowledged_is_what_the_log_holds_and_consumers_read_exactly_that(cluster: LabCluster) -> None:
    work = workload(groups=2)
    layout = cluster.create_topics(work, "all")
    specs = [*producers(cluster, layout, work, clients=2), *consumer_specs(work, cluster, layout, seed=1)]
    end = loaded(cluster, specs, 20_000)
    ends = end_offsets(cluster, layout)
    cluster.delete_topics(layout)
    totals = end.totals
    assert totals.offered == totals.acknowledged == sum(ends.values()) >= 20_000
    assert totals.acknowledged_bytes == 512 * totals.acknowledged
    assert totals.consumed == 2 * totals.acknowledged
    assert totals.consumed_bytes == 2 * totals.acknowledged_bytes
    assert (totals.failed, totals.unknown, totals.outstanding, totals.errors) == (0, 0, 0, {})
    assert end.notes == ()
    assert end.batches.records == totals.acknowledged
    assert end.batches.batch_bytes > totals.acknowledged_bytes
    assert end.batches.request_bytes > end.batches.batch_bytes
    assert end.batches.requests >= end.batches.batches / len(layout.leaders)


def test_records_are_spread_evenly_over_all_partitions(cluster: LabCluster) -> None:
    work = workload(config=SMALL_BATCHES, workers=5)
    layout = cluster.create_topics(work, "even")
    loaded(cluster, producers(cluster, layout, work), 30_000)
    ends = end_offsets(cluster, layout).values()
    cluster.delete_topics(layout)
    # Each of the five connections may be one batch further with a partition than with another.
    assert max(ends) - min(ends) <= 5 * BATCH_BYTES // work.message_size


def test_every_mark_and_interval_closes_and_never_falls(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "marks")
    with load(cluster, producers(cluster, layout, work, clients=2), CLOCK) as running:
        running.start()
        marks = [running.mark() for _ in range(200)]
        intervals: list[LoadInterval] = []
        end = CLOCK.now() + BOUND_S
        while len(intervals) < 3:
            intervals += running.intervals()
            assert CLOCK.now() < end
        marks.append(running.stop())
    cluster.delete_topics(layout)
    seen = [mark.totals for mark in marks]
    assert all(totals.closed for totals in seen)
    assert all(max(0, totals.outstanding) == totals.outstanding for totals in seen)
    for before, after in pairwise(seen):
        assert before.offered <= after.offered
        assert before.acknowledged <= after.acknowledged
    assert [interval.clients for interval in intervals] == [2] * len(intervals)
    assert [i.time_s for i in intervals] == sorted(i.time_s for i in intervals)
    assert marks[-1].cpu_user_s > 0


def test_a_topic_that_does_not_exist_is_named(cluster: LabCluster) -> None:
    layout = Layout(topics={}, leaders={("nowhere", number): "broker-1" for number in range(3)}, replicas=frozenset())
    specs = producers(cluster, layout, workload())
    with pytest.raises(LoadError, match=r"UNKNOWN_TOPIC_OR_PART: no topic nowhere"), load(cluster, specs, CLOCK):
        pass


def test_another_number_of_partitions_is_refused(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "parts")
    [spec] = producers(cluster, layout, work)
    wrong = spec.model_copy(update={"partitions_per_topic": 7})
    with pytest.raises(LoadError, match="parts-1 has 3 partitions; asked for 7"), load(cluster, [wrong], CLOCK):
        pass
    cluster.delete_topics(layout)


@pytest.mark.parametrize("cluster", [DataPlane.KAFKA_TLS], indirect=True)
def test_a_broker_of_another_authority_is_an_error_of_tls(cluster: LabCluster) -> None:
    layout = cluster.create_topics(workload(), "tls")
    [spec] = producers(cluster, layout, workload())
    # Without `ssl.ca.location` the client trusts the machine's authorities.
    stranger = spec.model_copy(update={"client_config": {"security.protocol": "SSL"}})
    with pytest.raises(LoadError, match="producer-1 on client-1: _SSL: "), load(cluster, [stranger], CLOCK):
        pass
    cluster.delete_topics(layout)


def test_records_too_large_for_the_broker_are_failed_by_kind(cluster: LabCluster) -> None:
    work = workload(message_size=1_000_000, workers=1, config={"acks": "all", "queue.buffering.max.messages": 4})
    work_limits = work.model_copy(update={"topic_config": {"max.message.bytes": 10_000}})
    layout = cluster.create_topics(work_limits, "large")
    with load(cluster, producers(cluster, layout, work), CLOCK) as running:
        running.start()
        end = CLOCK.now() + BOUND_S
        while running.mark().totals.failed < 8:
            assert CLOCK.now() < end
        totals = running.stop().totals
    cluster.delete_topics(layout)
    assert totals.acknowledged == 0
    assert totals.errors == {"MSG_SIZE_TOO_LARGE": totals.failed}
    assert totals.offered == totals.failed


def test_a_cluster_that_is_away_is_told_with_the_connections_error(cluster: LabCluster) -> None:
    layout = cluster.create_topics(workload(), "away")
    [spec] = producers(cluster, layout, workload())
    nobody = spec.model_copy(update={"bootstrap_servers": f"{cluster.address('client-1')}:1"})
    with (
        pytest.raises(LoadError, match="producer-1 on client-1 was not 'ready' within 3 s"),
        load(cluster, [nobody], CLOCK, ready_timeout_s=3),
    ):
        pass


def test_a_worker_that_is_killed_is_named(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "worker")
    with load(cluster, producers(cluster, layout, work, clients=2), CLOCK) as running:
        running.start()
        running._workers[1].process.signal(signal.SIGKILL)
        with pytest.raises(ComponentFailed, match="producer-2 on client-1 ended"):
            run_until(running, 2**62)
    cluster.delete_topics(layout)


def test_a_worker_ends_when_its_input_closes(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "orphan")
    [spec] = producers(cluster, layout, work)
    code = (
        "import subprocess, sys; worker = subprocess.Popen([sys.executable, '-m', 'meshmark.load.worker'],"
        "stdin=subprocess.PIPE, text=True); worker.stdin.write(sys.argv[1] + '\\n'); worker.stdin.flush();"
        "sys.stdin.readline(); worker.stdin.close(); print(f'exit {worker.wait(20)}', flush=True)"
    )
    argv = ["python", "-c", code, spec.model_dump_json()]
    with cluster.spawn("client-1", argv, name="parent") as parent:
        ready = parent.read_line(BOUND_S)
        assert ready is not None
        assert json.loads(ready)["kind"] == "ready"
        parent.send_line("now")
        assert parent.read_line(BOUND_S) == "exit 0"
    cluster.delete_topics(layout)

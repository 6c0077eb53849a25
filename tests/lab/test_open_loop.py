"""The open loop against a real broker: what a stop of known length does to latencies is arithmetic.

Records of an even schedule that come due early enough in a stop must wait longer than half of it: a number that
follows from the rate. It may only be higher by what comes due until the broker has caught up. Counts are asserted, no
times.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from meshmark.backends.lab.cluster import LabCluster
from meshmark.cluster import Process
from meshmark.data_plane import DataPlane
from meshmark.histogram import Histogram
from meshmark.kafka.administration import Layout
from meshmark.load.generator import Load, Mark, consumer_specs, load, producer_spec
from meshmark.plan import ConfigValue, Workload
from meshmark.record import Latency, LoadInterval
from meshmark.worker_protocol import WorkerSpec
from tests.lab.ground import BOUND_S
from tests.lab.load_ground import CLOCK, prepared, scenario, workload

RATE_MSG_S = 2_000.0
STOP_S = 2.0
HALF_S = STOP_S / 2
EDGE_S = 0.02
"""Between a signal and its effect, and what may be under way at that moment."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with prepared() as backend, backend.cluster(scenario(DataPlane.PLAIN)) as made:
        yield made


def specs(cluster: LabCluster, layout: Layout, work: Workload, clients: int = 1) -> list[WorkerSpec]:
    producers = [
        producer_spec(
            work, cluster, layout, client=client, seed=1, rate_msg_s=RATE_MSG_S, arrivals="even", clients=clients
        )
        for client in range(1, clients + 1)
    ]
    return [*producers, *consumer_specs(work, cluster, layout, seed=1, end_to_end=True)]


def watch(running: Load, seconds: float) -> list[LoadInterval]:
    intervals: list[LoadInterval] = []
    until = CLOCK.now() + seconds
    while CLOCK.now() < until:
        CLOCK.sleep(0.05)
        intervals += running.intervals()
    return intervals


def until_caught_up(running: Load) -> Mark:
    """When nothing is left of a backlog."""
    end = CLOCK.now() + BOUND_S
    while (mark := running.mark()).totals.outstanding > RATE_MSG_S / 10:
        assert CLOCK.now() < end, mark.totals
        running.intervals()
        # Workers go before the broker: answering without a pause, they would leave it no CPU.
        CLOCK.sleep(0.05)
    return mark


def longer(latency: Latency | None) -> int:
    """How many took longer than half a stop."""
    assert latency is not None
    return Histogram.decode(latency.histogram).above(HALF_S)


def due_in(seconds: float) -> int:
    return round(RATE_MSG_S * max(0.0, seconds))


def assert_whole(end: Mark, groups: int) -> None:
    totals = end.totals
    assert (totals.failed, totals.unknown, totals.outstanding, totals.errors) == (0, 0, 0, {})
    assert totals.offered == totals.acknowledged > 0
    assert totals.consumed == groups * totals.acknowledged
    assert (totals.unstamped, totals.negative, end.lag) == (0, 0, 0 if groups else None)
    assert end.latency is not None
    assert end.latency.count == totals.acknowledged
    assert end.lateness is not None
    assert end.lateness.records == totals.acknowledged
    assert (end.end_to_end.count if end.end_to_end else 0) == totals.consumed


def stopped(process: Process, seconds: float) -> tuple[float, float]:
    """Between which instants it surely stood still."""
    process.signal(signal.SIGSTOP)
    begun = CLOCK.now()
    CLOCK.sleep(seconds)
    ended = CLOCK.now()
    process.signal(signal.SIGCONT)
    return begun, ended


def broker(cluster: LabCluster) -> Process:
    [process] = [process for process in cluster.processes if process.component == "kafka"]
    return process


@pytest.mark.parametrize(
    "capacity", [pytest.param(20_000, id="room for the stop"), pytest.param(100, id="a full queue")]
)
def test_a_stop_of_the_broker_shows_as_arithmetic_says(cluster: LabCluster, capacity: int) -> None:
    config: dict[str, ConfigValue] = {"acks": "all", "linger.ms": 5, "queue.buffering.max.messages": capacity}
    work = workload(groups=1, config=config)
    layout = cluster.create_topics(work, f"stop-{capacity}")
    with load(cluster, specs(cluster, layout, work, clients=2), CLOCK) as running:
        running.start()
        watch(running, 2.0)
        before = until_caught_up(running)
        begun, ended = stopped(broker(cluster), STOP_S)
        caught_up = until_caught_up(running)
        end = running.stop()
    cluster.delete_topics(layout)
    assert_whole(end, groups=1)
    window = end.since(before)
    least = due_in(ended - begun - HALF_S - EDGE_S)
    most = due_in(caught_up.time_s - begun - HALF_S + EDGE_S) + caught_up.totals.outstanding
    assert least <= longer(window.latency) <= most
    # Nobody reads what a stopped broker holds.
    assert least <= longer(window.end_to_end)
    assert window.lateness is not None
    assert window.lateness.late_10ms < least


def test_a_stop_of_the_generator_is_the_generators_fault(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "worker-stop")
    with load(cluster, specs(cluster, layout, work), CLOCK) as running:
        running.start()
        watch(running, 1.0)
        before = until_caught_up(running)
        begun, ended = stopped(running._workers[0].process, STOP_S)
        after = until_caught_up(running)
        end = running.stop()
    cluster.delete_topics(layout)
    assert_whole(end, groups=0)
    window = after.since(before)
    assert window.lateness is not None
    assert window.lateness.late_10ms >= due_in(ended - begun - 0.010 - EDGE_S)
    assert "the load generator was more than 10 ms late" in window.lateness.fault
    # The records were offered all the same, at their times: the stop is in their latencies.
    assert longer(window.latency) >= due_in(ended - begun - HALF_S - EDGE_S)


def test_everything_adds_up_at_every_interval_and_mark(cluster: LabCluster) -> None:
    work = workload(groups=2)
    layout = cluster.create_topics(work, "adds-up")
    with load(cluster, specs(cluster, layout, work, clients=2), CLOCK) as running:
        running.start()
        marks: list[Mark] = []
        intervals: list[LoadInterval] = []
        while len(intervals) < 4:
            intervals += watch(running, 0.2)
            marks.append(running.mark())
        end = running.stop()
    cluster.delete_topics(layout)
    assert_whole(end, groups=2)
    assert all(mark.totals.closed and mark.totals.outstanding >= 0 for mark in marks)
    for mark in marks:
        assert mark.latency is not None
        assert mark.latency.count == mark.totals.acknowledged
        assert mark.end_to_end is not None
        assert mark.end_to_end.count == mark.totals.consumed
    seen = sum(interval.latency.count for interval in intervals if interval.latency)
    assert seen == intervals[-1].totals.acknowledged


def test_foreign_records_are_counted_apart(cluster: LabCluster) -> None:
    work = workload(groups=1)
    layout = cluster.create_topics(work, "foreign")
    with load(cluster, [producer_spec(work, cluster, layout, client=1, seed=1)], CLOCK) as running:
        running.start()
        watch(running, 0.3)
        foreign = running.stop().totals.acknowledged
    with load(cluster, specs(cluster, layout, work), CLOCK) as running:
        running.start()
        watch(running, 0.5)
        end = running.stop()
    cluster.delete_topics(layout)
    totals = end.totals
    assert (totals.unstamped, totals.consumed) == (foreign, foreign + totals.acknowledged)
    assert end.end_to_end is not None
    assert end.end_to_end.count == totals.acknowledged
    assert end.lag == 0

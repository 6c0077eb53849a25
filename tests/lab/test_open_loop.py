"""The open loop against a real broker: what a stop of known length does to latencies is arithmetic.

Counts are asserted, and shares of counts with a stated tolerance; never a time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import pytest

from meshmark.backends.lab.cluster import LabCluster, LabLayout
from meshmark.histogram import Histogram
from meshmark.load.generator import Load, Mark, consumer_specs, load, producer_spec
from meshmark.load.mark import generator_fault
from meshmark.plan import ConfigValue, DataPlane, Workload
from meshmark.record import Latency, LoadInterval
from meshmark.worker_protocol import WorkerSpec
from tests.lab.ground import BOUND_S
from tests.lab.load_ground import CLOCK, broker_signal, prepared, scenario, workload

RATE_MSG_S = 2_000.0
STOP_S = 2.0
# What a stop of this machine's own, the broker's next collection or the rest of the loop may add to or take from it.
TOLERANCE = 0.15


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with prepared() as backend, backend.cluster(scenario(DataPlane.PLAIN)) as made:
        yield made


def specs(cluster: LabCluster, layout: LabLayout, work: Workload, clients: int = 1) -> list[WorkerSpec]:
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


def until_acknowledged(running: Load) -> Mark:
    """Until nothing is left of a backlog."""
    end = CLOCK.now() + BOUND_S
    while (mark := running.mark()).totals.outstanding > RATE_MSG_S / 10:
        assert CLOCK.now() < end, mark.totals
        running.intervals()
    return mark


def longer(latency: Latency | None, seconds: float) -> int:
    assert latency is not None
    return Histogram.decode(latency.histogram).above(seconds)


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


def loaded(cluster: LabCluster, given: Sequence[WorkerSpec], stopped: bool) -> tuple[Mark, Mark, Mark]:
    """A second of load, a stop (or nothing), all caught up, a second of load: marks around, and the end."""
    with load(cluster, given, CLOCK) as running:
        running.start()
        watch(running, 2.0)
        before = until_acknowledged(running)
        if stopped:
            broker_signal(cluster, signal.SIGSTOP)
        watch(running, STOP_S)
        if stopped:
            broker_signal(cluster, signal.SIGCONT)
        watch(running, 0.5)
        after = until_acknowledged(running)
        return before, after, running.stop()


@pytest.mark.parametrize(
    "capacity", [pytest.param(20_000, id="room for the stop"), pytest.param(100, id="a full queue")]
)
def test_a_stop_of_known_length_shows_as_arithmetic_says(cluster: LabCluster, capacity: int) -> None:
    config: dict[str, ConfigValue] = {"acks": "all", "linger.ms": 5, "queue.buffering.max.messages": capacity}
    work = workload(groups=1, config=config)
    layout = cluster.create_topics(work, f"stop-{capacity}")
    before, after, end = loaded(cluster, specs(cluster, layout, work, clients=2), stopped=True)
    cluster.delete_topics(layout)
    assert_whole(end, groups=1)
    window = after.since(before)
    # Of the records that came due in the stop, those of its first half waited longer than half of it.
    expected = RATE_MSG_S * STOP_S / 2
    assert longer(window.latency, STOP_S / 2) == pytest.approx(expected, rel=TOLERANCE)
    # Nobody reads what a stopped broker holds, so it is the same for consumers.
    assert longer(window.end_to_end, STOP_S / 2) == pytest.approx(expected, rel=TOLERANCE)
    assert generator_fault(window.lateness) == ""


def test_a_stop_of_the_generator_is_the_generators_fault(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "worker-stop")
    with load(cluster, specs(cluster, layout, work), CLOCK) as running:
        running.start()
        watch(running, 1.0)
        before = until_acknowledged(running)
        running._workers[0].process.signal(signal.SIGSTOP)
        CLOCK.sleep(STOP_S)
        running._workers[0].process.signal(signal.SIGCONT)
        after = until_acknowledged(running)
        end = running.stop()
    cluster.delete_topics(layout)
    assert_whole(end, groups=0)
    window = after.since(before)
    assert window.lateness is not None
    assert window.lateness.late_10ms == pytest.approx(RATE_MSG_S * STOP_S, rel=TOLERANCE)
    assert "the load generator was more than 10 ms late" in generator_fault(window.lateness)
    # The records were offered all the same, at their times: the stop is in their latencies.
    assert longer(window.latency, STOP_S / 2) == pytest.approx(RATE_MSG_S * STOP_S / 2, rel=TOLERANCE)


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

"""The load workers of the simulated system: on a schedule they are a queue whose answers are known."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.cluster import Cluster
from meshmark.data_plane import DataPlane
from meshmark.histogram import Histogram
from meshmark.load.generator import Load, Mark, consumer_specs, load, producer_spec
from meshmark.plan import Scenario, Workload
from meshmark.worker_protocol import WorkerSpec

CEILING_MSG_S = 10_000.0
LATENCY_S = 0.004
SECONDS = 4.0
QUEUE = 500
TRUTH = Truth(
    ceilings_msg_s={DataPlane.PLAIN: CEILING_MSG_S}, latencies_s={DataPlane.PLAIN: LATENCY_S}, noise=0, warmup_s=1e-9
)
WORKLOAD = Workload(
    workers=2, subscriptions_per_topic=2, producer_config={"acks": "all", "queue.buffering.max.messages": QUEUE}
)


@contextmanager
def loaded(share: float, truth: Truth = TRUTH, clients: int = 1) -> Iterator[tuple[Load, SimulatedClock]]:
    """Started load at this share of the ceiling."""
    clock = SimulatedClock()
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN, workload=WORKLOAD)
    with (
        SimulatedBackend(clock, truth).cluster(scenario) as cluster,
        load(cluster, specs(cluster, share * CEILING_MSG_S, clients), clock) as running,
    ):
        running.start()
        yield running, clock


def specs(cluster: Cluster, rate_msg_s: float, clients: int) -> list[WorkerSpec]:
    layout = cluster.create_topics(WORKLOAD, "test")
    producers = [
        producer_spec(WORKLOAD, cluster, layout, client=client, seed=1, rate_msg_s=rate_msg_s, clients=clients)
        for client in range(1, clients + 1)
    ]
    return [*producers, *consumer_specs(WORKLOAD, cluster, layout, seed=1, end_to_end=True)]


def window(share: float, clients: int = 1) -> tuple[Mark, Mark]:
    """One window's worth, and the end."""
    with loaded(share, clients=clients) as (running, clock):
        clock.sleep(0.5)
        first = running.mark()
        clock.sleep(SECONDS)
        return running.mark().since(first), running.stop()


def assert_whole(end: Mark) -> None:
    totals = end.totals
    assert totals.closed
    assert totals.outstanding == 0
    assert totals.consumed == WORKLOAD.subscriptions_per_topic * totals.acknowledged
    assert (totals.unstamped, totals.negative, end.lag) == (0, 0, 0)
    assert end.latency is not None
    assert end.latency.count == totals.acknowledged
    assert end.end_to_end is not None
    assert end.end_to_end.count == totals.consumed
    assert end.lateness is not None
    assert end.lateness.records == totals.offered


@pytest.mark.parametrize("clients", [1, 2])
def test_backlog_and_latency_grow_above_the_ceiling_only(clients: int) -> None:
    outstanding, tails = {}, {}
    for share in (0.5, 1.0, 1.3):
        seen, end = window(share, clients)
        assert_whole(end)
        assert seen.totals.offered == pytest.approx(share * CEILING_MSG_S * SECONDS, rel=0.03)
        assert seen.totals.acknowledged == pytest.approx(min(share, 1.0) * CEILING_MSG_S * SECONDS, rel=0.03)
        assert seen.latency is not None
        outstanding[share], tails[share] = seen.totals.outstanding, seen.latency.p99_s or 0
        assert seen.lateness is not None
        assert seen.lateness.fault == ""
        assert bool(end.totals.failed) is (share > 1)
    assert abs(outstanding[0.5]) < 100
    assert outstanding[0.5] < outstanding[1.0] < outstanding[1.3]
    assert outstanding[1.3] == pytest.approx(0.3 * CEILING_MSG_S * SECONDS, rel=0.1)
    assert LATENCY_S <= tails[0.5] < tails[1.0] < tails[1.3]
    assert tails[0.5] < 2 * LATENCY_S


def test_what_the_client_still_held_back_at_the_end_is_abandoned_and_the_rest_served() -> None:
    with loaded(1.3) as (running, clock):
        clock.sleep(SECONDS)
        last = running.mark()
        begun = clock.now()
        end = running.stop()
        drained_s = clock.now() - begun
    assert_whole(end)
    room = QUEUE * WORKLOAD.workers
    assert end.totals.errors == {"_NOT_ACCEPTED": end.totals.failed}
    assert end.totals.failed == pytest.approx(last.totals.outstanding - room, abs=10)
    assert drained_s == pytest.approx(room / CEILING_MSG_S, abs=0.06)  # the generator looks every 50 ms


def test_a_schedule_ends_to_the_record() -> None:
    clock = SimulatedClock()
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN, workload=WORKLOAD)
    with SimulatedBackend(clock, TRUTH).cluster(scenario) as cluster:
        layout = cluster.create_topics(WORKLOAD, "test")
        spec = producer_spec(WORKLOAD, cluster, layout, client=1, seed=1, rate_msg_s=1_000, arrivals="even")
        with load(cluster, [spec], clock) as running:
            origin_s = running.start()
            clock.sleep(1.0)
            end = running.stop(until_s=origin_s + 2.0)
    assert end.totals.acknowledged == end.totals.offered == 2_000


def test_a_generator_that_is_late_says_so() -> None:
    truth = Truth(ceilings_msg_s=TRUTH.ceilings_msg_s, noise=0, warmup_s=1e-9, generator_delay_s=0.02)
    with loaded(0.5, truth) as (running, clock):
        clock.sleep(SECONDS)
        mark = running.mark()
    assert mark.lateness is not None
    assert "load generator" in mark.lateness.fault


def test_a_stopped_worker_is_late_with_what_came_due_meanwhile() -> None:
    with loaded(0.5) as (running, clock):
        clock.sleep(1.0)
        before = running.mark()
        (producer, *_) = running._workers
        producer.process.signal(signal.SIGSTOP)
        clock.sleep(1.0)
        producer.process.signal(signal.SIGCONT)
        clock.sleep(2.0)
        seen = running.mark().since(before)
    due_in_half = 0.5 * CEILING_MSG_S * 0.5
    assert seen.latency is not None
    assert seen.lateness is not None
    # In service, the second half catches up only as fast as the system carries it: twice the rate here.
    assert due_in_half < Histogram.decode(seen.latency.histogram).above(0.5) < 2.2 * due_in_half
    assert seen.lateness.late_10ms == pytest.approx(0.5 * CEILING_MSG_S * 0.99, rel=0.05)


def test_closed_loop_and_open_loop_share_a_system() -> None:
    with loaded(0.2) as (running, clock):
        clock.sleep(1.0)
        assert running.mark().latency is not None
        closed = [worker.spec.model_copy(update={"schedule": None, "stamp": 0}) for worker in running._workers[:1]]
        running.add(closed)
        clock.sleep(SECONDS)
        end = running.stop()
    assert end.totals.closed
    assert end.totals.consumed - end.totals.unstamped < end.totals.consumed

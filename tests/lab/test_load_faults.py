"""A broker that stops or dies under load: its records are failed or unknown, and still add up."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from meshmark.backends.lab.backend import LabBackend
from meshmark.backends.lab.cluster import LabCluster
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed
from meshmark.load.generator import load, producer_spec
from tests.lab.ground import BOUND_S
from tests.lab.load_ground import (
    CLOCK,
    SHORT_LIFE,
    broker_signal,
    end_offsets,
    prepared,
    producers,
    run_until,
    scenario,
    workload,
)

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with prepared() as made:
        yield made


@pytest.fixture
def cluster(backend: LabBackend) -> Iterator[LabCluster]:
    """One to break."""
    with backend.cluster(scenario(DataPlane.PLAIN)) as made:
        yield made


def test_records_of_a_broker_that_stops_and_is_killed_are_failed_or_unknown_and_add_up(cluster: LabCluster) -> None:
    work = workload(config=SHORT_LIFE)
    layout = cluster.create_topics(work, "stopped")
    with load(cluster, producers(cluster, layout, work), CLOCK) as running:
        running.start()
        before = run_until(running, 5_000)
        broker_signal(cluster, signal.SIGSTOP)
        end = CLOCK.now() + BOUND_S
        while not running.mark().totals.errors:
            assert CLOCK.now() < end
        totals = running.stop().totals
    broker_signal(cluster, signal.SIGCONT)
    assert totals.closed
    assert totals.outstanding == 0
    assert totals.acknowledged >= before.totals.acknowledged
    # What was on the wire may be stored; what never left the queue is not.
    assert totals.unknown > 0
    assert totals.failed > 0
    assert totals.errors["_MSG_TIMED_OUT"] == sum(totals.errors.values()) == totals.failed + totals.unknown
    stored = sum(end_offsets(cluster, layout).values())
    assert totals.acknowledged <= stored <= totals.acknowledged + totals.unknown

    layout = cluster.create_topics(work, "killed")
    with load(cluster, producers(cluster, layout, work), CLOCK) as running:
        running.start()
        before = run_until(running, 5_000)
        broker_signal(cluster, signal.SIGKILL)
        totals = running.stop().totals
    with pytest.raises(ComponentFailed, match="ended unexpectedly"):
        cluster.check()
    assert totals.closed
    assert totals.outstanding == 0
    assert totals.acknowledged >= before.totals.acknowledged
    assert totals.failed + totals.unknown == sum(totals.errors.values()) > 0


def test_the_raw_client_says_what_is_stored_and_what_may_be(cluster: LabCluster) -> None:
    work = workload(config=SHORT_LIFE).model_copy(update={"client": "raw"})
    layout = cluster.create_topics(work, "raw-stopped")
    with load(cluster, producers(cluster, layout, work), CLOCK) as running:
        running.start()
        run_until(running, 5_000)
        broker_signal(cluster, signal.SIGSTOP)
        end = CLOCK.now() + BOUND_S
        while not running.mark().totals.errors:
            assert CLOCK.now() < end
        totals = running.stop().totals
    broker_signal(cluster, signal.SIGCONT)
    stored = sum(end_offsets(cluster, layout).values())
    assert totals.closed
    assert totals.outstanding == 0
    assert totals.unknown > 0
    assert totals.acknowledged <= stored <= totals.acknowledged + totals.unknown

    layout = cluster.create_topics(work, "raw-killed")
    with load(cluster, [producer_spec(work, cluster, layout, client=1, seed=1, rate_msg_s=2_000)], CLOCK) as running:
        running.start()
        before = run_until(running, 2_000)
        broker_signal(cluster, signal.SIGKILL)
        end = CLOCK.now() + BOUND_S
        while not running.mark().totals.failed:
            assert CLOCK.now() < end
        totals = running.stop().totals
    assert totals.closed
    assert totals.outstanding == 0
    assert totals.acknowledged >= before.totals.acknowledged
    assert totals.failed + totals.unknown == sum(totals.errors.values()) > 0
    assert set(totals.errors) <= {"_TRANSPORT", "_MSG_TIMED_OUT", "_NOT_ACCEPTED"}

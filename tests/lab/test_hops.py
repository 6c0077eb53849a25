"""What brokers say about themselves under real load, and delays that are put at one hop and must be found there.

Counts and orders are asserted, no times: the hop where a delay was put must be the one that grew most, by more than
half of what all hops grew by. A delay that is made beside the load is compared with the same load just before it,
since what else the machine does changes from minute to minute. A window lasts until enough was counted for a mean.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from meshmark.analysis.hops import BROKER_HOPS, RESIDUAL
from meshmark.backends.lab.backend import lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.backends.lab.disk import require_images
from meshmark.backends.lab.limits import require_write_limits
from meshmark.cluster import timing_paths
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.experiment.hops import hops
from meshmark.load.generator import Load, load, producer_spec
from meshmark.plan import ClusterSpec, ConfigValue, Plan, Scenario, Workload
from meshmark.probes import kafka
from meshmark.record import Counters, HopTime, Limit
from tests.lab.ground import BOUND_S
from tests.lab.load_ground import CLOCK, loaded, producers

pytestmark = pytest.mark.lab

Delay = Callable[[LabCluster], AbstractContextManager[None]]
Window = Callable[[], dict[str, HopTime]]

RATE_MSG_S = 1_000.0
SETTLE_S = 1.0
WINDOW_S = 2.0
POLL_S = 0.25
REQUESTS = 12
"""At least as many to brokers, and along each path, make a mean."""
WORKERS = 4
LINGER_MS = 300
"""Longer than any pulse: a connection's requests are served one by one, and none of them is to wait for another."""
BROKERS = ("broker-1", "broker-2")
FREEZER = Path("/sys/fs/cgroup/freezer/tasks")
HOPS = {
    *("held back", "client queue", "client send", "client proxy", "network", "broker proxy"),
    *BROKER_HOPS,
    "connection",
    RESIDUAL,
}
# A follower's question is answered after these 150 ms, whatever there is: with acks=all, records wait for the next.
SLOW_FOLLOWERS: dict[str, ConfigValue] = {"replica.fetch.min.bytes": 10_000_000, "replica.fetch.wait.max.ms": 150}
# Each worker sends once in a linger, no more than its queue holds: less than half of what comes due.
SMALL_QUEUE: dict[str, ConfigValue] = {"queue.buffering.max.messages": 20}
# A request is made every few milliseconds, and up to ten of them wait for the answer to the one that is under way.
ONE_AT_A_TIME: dict[str, ConfigValue] = {
    "max.in.flight.requests.per.connection": 1,
    "queue.buffering.backpressure.threshold": 10,
}
FLUSHED: dict[str, ConfigValue] = {"flush.messages": 1}
DISK_BYTES_S = 1e6
"""A request's records and the file system's journal take more than a tenth of a second of it. What a broker's disk has
to do besides, it must have time for: so requests are few, and nobody follows."""


def workload(
    *,
    acks: str = "1",
    workers: int = WORKERS,
    replicas: int = 2,
    linger_ms: int = LINGER_MS,
    client: Mapping[str, ConfigValue] | None = None,
    topic: Mapping[str, ConfigValue] | None = None,
) -> Workload:
    config: dict[str, ConfigValue] = {"acks": acks, "linger.ms": linger_ms, "batch.size": 1_000_000, **(client or {})}
    return Workload(
        topics=1,
        partitions_per_topic=2,
        replication_factor=replicas,
        workers=workers,
        topic_config=dict(topic or {}),
        producer_config=config,
    )


def scenario() -> Scenario:
    """Brokers have file systems of their own where these can be made slow."""
    spec = ClusterSpec(brokers=2, heap_bytes=268_435_456, broker_config=SLOW_FOLLOWERS)
    with suppress(MissingRequirement):
        require_images()
        require_write_limits()
        spec = spec.model_copy(update={"storage": "image"})
    return Scenario(name="mesh", data_plane=DataPlane.ISTIO_MTLS, cluster=spec, workload=workload())


@pytest.fixture(scope="module")
def cluster(in_memory: None) -> Iterator[LabCluster]:
    asked = scenario()
    with lab("test") as backend:
        backend.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=(asked,), baseline="mesh"))
        with backend.cluster(asked) as made:
            loaded(made, producers(made, made.create_topics(workload(), "warm"), workload()), 50_000)
            yield made


def read(cluster: LabCluster) -> Counters:
    return {key: value for probe in cluster.probes() for key, value in probe.read().items()}


def undelayed(cluster: LabCluster, work: Workload, name: str) -> dict[str, HopTime]:
    with under_load(cluster, work, name) as window:
        return window()


@contextmanager
def under_load(cluster: LabCluster, work: Workload, name: str) -> Iterator[Window]:
    """Each call of what is given measures a window of the load, which goes on meanwhile."""
    layout = cluster.create_topics(work, name)
    specs = [producer_spec(work, cluster, layout, client=1, seed=1, rate_msg_s=RATE_MSG_S)]
    with timing_paths(cluster, seed=1), load(cluster, specs, CLOCK) as running:
        running.start()
        CLOCK.sleep(SETTLE_S)
        yield partial(measured, cluster, running)
        running.stop()
    cluster.delete_topics(layout)


def measured(cluster: LabCluster, running: Load) -> dict[str, HopTime]:
    """Over WINDOW_S, and as much longer as it takes until every hop is known by enough requests."""
    first, start = running.mark(), read(cluster)
    begun = CLOCK.now()
    while True:
        CLOCK.sleep(POLL_S)
        found = {hop.hop: hop for hop in hops(first, running.mark(), start, read(cluster))}
        lasted = CLOCK.now() - begun
        if lasted >= WINDOW_S and found and min(hop.count for hop in found.values()) >= REQUESTS:
            return found
        assert lasted < BOUND_S, found


@contextmanager
def pulses(hosts: Sequence[str], cluster: LabCluster) -> Iterator[None]:
    """Stops the sidecars of hosts most of the time, for moments of random length."""
    sidecars = [process for process in cluster.processes if process.component == "sidecar" and process.host in hosts]
    assert len(sidecars) == len(hosts)
    over, source = threading.Event(), random.Random(1)

    def stop_now_and_then() -> None:
        while not over.is_set():
            for number, shortest_s in ((signal.SIGSTOP, 0.1), (signal.SIGCONT, 0.05)):
                for sidecar in sidecars:
                    sidecar.signal(number)
                over.wait(source.uniform(shortest_s, 3 * shortest_s))
        for sidecar in sidecars:
            sidecar.signal(signal.SIGCONT)

    thread = threading.Thread(target=stop_now_and_then)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def frozen(what: str, cluster: LabCluster) -> Iterator[None]:
    """Freezes the brokers' threads of a kind in the same way."""
    if not os.access(FREEZER, os.W_OK):
        pytest.skip("root, and cgroup v1's freezer: threads cannot be frozen")
    pids = [str(process.pid) for process in cluster.processes if process.component == "kafka"]
    command = [sys.executable, str(Path(__file__).with_name("freezing.py")), what, *pids]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) >= len(pids)
        yield
        process.communicate()
    assert process.returncode == 0


@contextmanager
def slow_disks(cluster: LabCluster) -> Iterator[None]:
    """Those of the brokers' logs, which have nothing to write of what was before."""
    if cluster.scenario.cluster.storage != "image":
        pytest.skip("root: brokers have no file systems of their own, or they cannot be limited")
    with ExitStack() as stack:
        for host in BROKERS:
            subprocess.run(["sync", "--file-system", str(cluster.volume(host))], check=True)
            stack.enter_context(cluster.limit(Limit(host=host, resource="disk", amount=DISK_BYTES_S)))
        yield


@pytest.fixture(scope="module")
def undisturbed(cluster: LabCluster) -> dict[str, HopTime]:
    return undelayed(cluster, workload(), "undisturbed")


def test_a_broker_counts_the_requests_that_clients_sent_and_splits_their_time(cluster: LabCluster) -> None:
    work = workload()
    layout = cluster.create_topics(work, "metrics")
    before = read(cluster)
    end = loaded(cluster, producers(cluster, layout, work), 20_000)
    after = read(cluster)
    cluster.delete_topics(layout)

    def grown(metric: str) -> float:
        return sum(after[f"{host}/kafka/{metric}"] - before[f"{host}/kafka/{metric}"] for host in cluster.broker_hosts)

    requests = grown("produce_requests")
    assert 0 < requests <= end.batches.requests
    parts = [grown(f"produce_{part}_s") for part in kafka.PARTS if part not in ("total", "throttle")]
    assert min(parts) >= 0
    # Each part of each request is rounded to a millisecond, and so is the total.
    assert sum(parts) == pytest.approx(grown("produce_total_s"), abs=requests * 1e-3 * len(parts))
    assert grown("request_handler_idle_s") > 0
    assert grown("network_thread_idle_s") > 0
    told = {key.rpartition("/")[2] for key in after if "/kafka/" in key}
    assert told >= {*kafka.SINGLE, *(f"{request}_total_s" for request in kafka.REQUESTS)}


def test_every_hop_is_there_and_counted(undisturbed: dict[str, HopTime]) -> None:
    assert undisturbed.keys() == HOPS
    assert min(hop.count for hop in undisturbed.values()) > 0
    assert max(undisturbed.values(), key=lambda hop: hop.mean_s).hop == "client queue"


def require_growth_of(hop: str, found: dict[str, HopTime], before: dict[str, HopTime]) -> None:
    assert found.keys() == before.keys()
    grown = {name: found[name].mean_s - before[name].mean_s for name in found}
    assert max(grown, key=lambda name: grown[name]) == hop, grown
    assert grown[hop] > sum(grown.values()) / 2, grown


@pytest.mark.parametrize(
    ("hop", "work"),
    [
        pytest.param("held back", workload(client=SMALL_QUEUE), id="a client's queue that is too small"),
        pytest.param("client queue", workload(linger_ms=3 * LINGER_MS), id="a longer linger"),
        pytest.param(
            "client send",
            workload(acks="all", linger_ms=10, client=ONE_AT_A_TIME),
            id="requests that wait for each other's answers",
        ),
        pytest.param("broker remote", workload(acks="all"), id="slow followers that count"),
    ],
)
def test_a_delay_by_settings_is_found_at_its_hop(
    cluster: LabCluster, undisturbed: dict[str, HopTime], hop: str, work: Workload
) -> None:
    require_growth_of(hop, undelayed(cluster, work, hop.replace(" ", "-")), undisturbed)


@pytest.mark.parametrize(
    ("hop", "work", "delay"),
    [
        pytest.param(
            "broker local",
            workload(workers=1, replicas=1, linger_ms=400, topic=FLUSHED),
            slow_disks,
            id="appends that wait for a slow disk",
        ),
        pytest.param("client proxy", workload(), partial(pulses, ("client-1",)), id="a client's sidecar that stops"),
        pytest.param("broker proxy", workload(), partial(pulses, BROKERS), id="sidecars of brokers that stop"),
        pytest.param("broker queue", workload(), partial(frozen, "handlers"), id="request handlers that stop"),
        pytest.param("connection", workload(), partial(frozen, "network"), id="network threads that stop"),
    ],
)
def test_a_delay_is_found_at_the_hop_where_it_was_put(
    cluster: LabCluster, hop: str, work: Workload, delay: Delay
) -> None:
    with under_load(cluster, work, hop.replace(" ", "-")) as window:
        before = window()
        with delay(cluster):
            require_growth_of(hop, window(), before)

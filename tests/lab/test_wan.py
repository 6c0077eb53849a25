"""Links between clusters against what they were asked for, and Kafka stretched over them."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from meshmark import store
from meshmark.analysis.outages import outages
from meshmark.backends.lab import distance, wan
from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.backends.lab.instance import instance
from meshmark.backends.lab.link import Network, network
from meshmark.backends.lab.netem import ETHERNET_BYTES, NetemProbe
from meshmark.cluster import Process
from meshmark.data_plane import DataPlane
from meshmark.errors import Inconclusive, MissingRequirement
from meshmark.experiment.links import require_bandwidth
from meshmark.experiment.progress import Silent
from meshmark.experiment.selftest import self_test
from meshmark.experiment.trial import Offered, measure
from meshmark.load.generator import load
from meshmark.plan import RACK_SELECTOR, ClusterSpec, Method, Plan, Scenario, Workload
from meshmark.record import SelfTest
from meshmark.topology import Backward, Flap, Link, MeshCluster, Topology
from tests.lab.ground import alive, script, wait_for
from tests.lab.load_ground import CLOCK, producers, run_until
from tests.lab.test_hops import undelayed
from tests.lab.trials import bench

pytestmark = pytest.mark.lab

HERE = MeshCluster(name="here", brokers=1, clients=1)
STAR = Topology(
    clusters=(HERE, *(MeshCluster(name=name, brokers=1) for name in ("beside", "near", "far"))),
    links=(
        Link(ends=("here", "beside"), rtt_ms=0),
        Link(ends=("here", "near"), rtt_ms=10, loss=0.02, back=Backward(loss=0)),
        Link(ends=("here", "far"), rtt_ms=30, bandwidth_bytes_s=5e6, back=Backward(bandwidth_bytes_s=20e6)),
    ),
)
MARGIN = 1.1
LATE_S = 0.010
STEADY = Path(__file__).with_name("steady.py")
STILL_S = 2.0


@pytest.fixture(scope="module", autouse=True)
def _possible() -> None:
    try:
        wan.require_links()
    except MissingRequirement as error:
        pytest.skip(f"root: {error.message}")


@pytest.fixture
def star() -> Iterator[tuple[Network, tuple[wan.WideLink, ...]]]:
    with (
        instance("test") as made,
        network(made, brokers=4, clients=1, topology=STAR) as net,
        wan.links(made, net, STAR, None) as links,
    ):
        yield net, links


def test_links_are_as_far_as_lossy_and_as_narrow_as_they_were_asked_to_be_and_can_be_cut(
    star: tuple[Network, tuple[wan.WideLink, ...]],
) -> None:
    net, links = star
    found = {(probe.source, probe.target): probe for probe in distance.probe(net, STAR, links[0].kind, None)}
    assert len(found) == 6
    assert all(min(probe.tcp_memory_bytes or (0,)) > 65_536 for probe in found.values())
    order = [found["here", "beside"], found["here", "near"], found["here", "far"]]
    times = [probe.rtt_s or -1 for probe in order]
    assert times == sorted(times)
    # Times and limits that are made are asserted here: as asked for, as far as a busy machine wakes up late.
    for rtt_s, probe in zip(times, order, strict=True):
        assert probe.asked_rtt_s / MARGIN <= rtt_s < probe.asked_rtt_s + LATE_S
    assert [probe.asked_rtt_s for probe in order] == pytest.approx([0, 0.010, 0.030])
    assert 100 < found["here", "near"].packets_lost < 300
    assert {probe.packets_lost for probe in found.values() if not probe.asked_loss} == {0}
    there, back = found["here", "far"].bandwidth_bytes_s, found["far", "here"].bandwidth_bytes_s
    assert there is not None
    assert back is not None
    assert 5e6 / 2 < there <= 5e6 * MARGIN < 20e6 / 2 < back <= 20e6 * MARGIN

    client, hosts = net.hosts["client-1"], [net.hosts["broker-2"], net.hosts["broker-3"]]
    with wan.cut(net, STAR, links, "here-near"):
        beside, near = distance.round_trips(client, hosts, 3, 0.01)
        assert beside.median_s is not None
        assert near.median_s is None
    assert distance.round_trips(client, hosts, 3, 0.01)[1].median_s is not None
    with pytest.raises(MissingRequirement, match="no link here-there"), wan.cut(net, STAR, links, "here-there"):
        pass


def test_what_a_kernel_with_netem_is_given_carries_packets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but netem itself, which this kernel may not have."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(wan, "netem_there", lambda: True)
    monkeypatch.setattr(wan, "_netem", lambda _, options: asked.append(options))
    with (
        instance("test") as made,
        network(made, brokers=4, clients=1, topology=STAR) as net,
        wan.links(made, net, STAR, None) as links,
    ):
        client, others = net.hosts["client-1"], [net.hosts[f"broker-{number}"] for number in (2, 3, 4)]
        with wan.cut(net, STAR, links, "here-near"):
            trips = distance.round_trips(client, others, 3, 0.01)
        assert [trip.median_s is not None for trip in trips] == [True, False, True]
        assert distance.round_trips(client, others, 3, 0.01)[1].median_s is not None
    assert [options["delay"] for options in asked] == [0, 0, 5_000, 5_000, 15_000, 15_000]


def test_hosts_send_no_super_packets_over_links_of_the_kernel_that_lose_or_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would be lost, and queued, as one packet."""

    def sent() -> tuple[int, int]:
        with IPRoute() as netlink:
            told = netlink.get_links(ifname="wan2")[0].get_attr("IFLA_STATS64")
            return told["tx_bytes"], told["tx_packets"]

    monkeypatch.setattr(wan, "netem_there", lambda: True)
    monkeypatch.setattr(wan, "_netem", lambda *_: None)
    piece = b"x" * 65_536
    with (
        instance("test") as made,
        network(made, brokers=4, clients=1, topology=STAR) as net,
        wan.links(made, net, STAR, None),
    ):
        client, broker = net.hosts["client-1"], net.hosts["broker-3"]
        with (
            broker.call(lambda: socket.create_server((broker.address, 9))) as server,
            client.call(lambda: socket.create_connection(server.getsockname())) as source,
            server.accept()[0] as sink,
        ):
            for _ in range(16):
                source.sendall(piece)
                assert sink.recv(len(piece), socket.MSG_WAITALL) == piece
        count, packets = net.switches["here"].call(sent)
    assert count > 16 * len(piece)
    assert count / packets <= wan.MTU_BYTES + ETHERNET_BYTES


def test_what_goes_over_a_link_of_the_kernel_is_counted_as_ip_packets_in_each_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By any scheduler: with a queue of 100 packets in netem's place, since this kernel may not have it."""

    def queue(index: int, _: dict[str, Any]) -> None:
        with IPRoute() as netlink:
            netlink.tc("add", "pfifo", index=index, limit=100)

    monkeypatch.setattr(wan, "netem_there", lambda: True)
    monkeypatch.setattr(wan, "_netem", queue)
    with (
        instance("test") as made,
        network(made, brokers=4, clients=1, topology=STAR) as net,
        wan.links(made, net, STAR, None) as links,
    ):
        (far,) = (each for each in links if each.link.name == "here-far")
        probe = NetemProbe(far.link, [net.switches[end] for end in far.link.ends], far.ends["here"])
        before = probe.read()
        gone = distance.lost(net.hosts["client-1"], net.hosts["broker-4"], 50, 0.0, None)
        grown = {key.rpartition("/")[2]: value - before[key] for key, value in probe.read().items()}
    assert gone == 0
    sent = 50 * (distance.DATAGRAM_BYTES + distance.HEADERS_BYTES)
    # ARP and IPv6 may ask for neighbours, and tell them that they are there.
    assert sent <= grown["forward_bytes"] < sent + 4_000
    assert 0 <= grown["back_bytes"] < 4_000
    assert 50 <= grown["carried_packets"] < 100
    assert (grown["lost_packets"], grown["dropped_packets"]) == (0, 0)


KILLED = """
import json, os, sys
from meshmark.backends.lab import wan
from meshmark.backends.lab.instance import instance
from meshmark.backends.lab.link import network
from tests.lab.test_wan import STAR
with instance("test") as made, network(made, brokers=4, clients=1, topology=STAR) as net, \\
        wan.links(made, net, STAR, None) as links:
    print(json.dumps([link.process.pid for link in links if link.process]), flush=True)
    sys.stdin.read()
"""


def test_nothing_of_a_link_outlives_a_killed_process() -> None:
    process = script(KILLED)
    assert process.stdout is not None
    pids = json.loads(process.stdout.readline())
    assert all(alive(pid) for pid in pids)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_for(lambda: not any(alive(pid) for pid in pids), "a relay outlived its parent")


def stretched(rtt_ms: float, data_plane: DataPlane = DataPlane.PLAIN) -> Scenario:
    topology = Topology(
        clusters=(
            MeshCluster(name="near", brokers=2, clients=1, rack="west"),
            MeshCluster(name="far", brokers=1, rack="north"),
        ),
        links=(Link(ends=("near", "far"), rtt_ms=rtt_ms),),
    )
    workload = Workload(topics=1, partitions_per_topic=3, topic_config={"min.insync.replicas": 3})
    return Scenario(
        name=f"rtt-{rtt_ms:.0f}",
        data_plane=data_plane,
        cluster=ClusterSpec(heap_bytes=268_435_456, topology=topology),
        workload=workload,
    )


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=(stretched(0),)))
        yield made


def ask(process: Process, question: str) -> dict[str, Any]:
    process.send_line(question)
    answer: dict[str, Any] = json.loads(process.read_line(150) or "{}")
    return answer


def steady(cluster: LabCluster, stack: ExitStack) -> Process:
    layout = cluster.create_topics(cluster.scenario.workload, "steady")
    config = {"bootstrap.servers": cluster.bootstrap_servers, **cluster.client_config}
    argv = ["python", str(STEADY), json.dumps(config), json.dumps(sorted(layout.topics))]
    return stack.enter_context(cluster.spawn("client-1", argv, name="steady"))


class Still:
    """True once nothing has been acknowledged for STILL_S."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.count = -1
        self._since = 0.0

    def __call__(self) -> bool:
        count = ask(self._process, "count")["acknowledged"]
        if count != self.count:
            self.count, self._since = count, time.monotonic()
        return time.monotonic() - self._since > STILL_S


def nearby(rack: str | None) -> Scenario:
    """Producers are near, consumers far, where the third replica is; None: they say by themselves where they are."""
    topology = Topology(
        clusters=(MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1, clients=1)),
        links=(Link(ends=("near", "far"), rtt_ms=2),),
    )
    workload = Workload(
        topics=1,
        partitions_per_topic=3,
        workers=2,
        subscriptions_per_topic=1,
        producers_in="near",
        consumers_in="far",
        consumer_config={} if rack is None else {"client.rack": rack},
    )
    return Scenario(
        name="nearby",
        data_plane=DataPlane.PLAIN,
        cluster=ClusterSpec(
            clients=2,
            heap_bytes=268_435_456,
            topology=topology,
            broker_config={"replica.selector.class": RACK_SELECTOR},
        ),
        workload=workload,
        method=Method(settle_seconds=0, window_seconds=3),
    )


def test_consumers_that_read_from_a_replica_nearby_save_bytes_between_clusters(
    backend: LabBackend, tmp_path: Path
) -> None:
    crossed = {}
    with backend.cluster(nearby(None)) as cluster:
        for number, rack in enumerate(("", None), start=1):
            with bench(cluster, nearby(rack), tmp_path / str(number)) as made:
                trial = measure(made, Offered(number=number, purpose="fixed-load", rate_msg_s=2_000))
            assert trial.valid, trial.reasons
            for way in ("forward", "back"):
                key = f"link-near-far/relay/{way}_bytes"
                grown = trial.quiet_end[key] - trial.quiet_start[key]
                crossed[rack, way] = grown / trial.total.acknowledged_bytes
    # To `far` go two thirds as copies, one third as records for its leader, and, read from leaders, two thirds again.
    assert crossed[None, "forward"] < crossed["", "forward"]
    # Back go the two copies of one third.
    assert crossed[None, "back"] < crossed[None, "forward"]


def quickest_s(process: Process, below_s: float) -> float:
    """Of some hundred records, or more until one is quick enough: all others wait for cold brokers, and for a CPU."""

    def enough() -> bool:
        told = ask(process, "count")
        return bool(told["acknowledged"] > 200 and told["quickest_s"] < below_s)

    wait_for(enough, "too few records, or none of them quick at the spot")
    return float(ask(process, "count")["quickest_s"])


WARM, MORE = 400, 800


def carried_msg_s(cluster: LabCluster) -> float:
    """A follower's connection has Kafka's own receive buffer, so it carries 64 to 128 KiB in each round trip. Large
    records, in large batches that are encoded once, cost so little that cold brokers on a busy machine carry several
    times as much at the spot as that is over the first distance."""
    work = cluster.scenario.workload
    producer = {**work.producer_config, "queue.buffering.max.messages": 1_000}
    changes = {"workers": 3, "client": "raw", "message_size": 4_096, "producer_config": producer}
    work = work.model_copy(update=changes)
    layout = cluster.create_topics(work, "carried")
    with load(cluster, producers(cluster, layout, work), CLOCK) as running:
        running.start()
        first = run_until(running, WARM)
        last = run_until(running, first.totals.acknowledged + MORE)
    return (last.totals.acknowledged - first.totals.acknowledged) / (last.time_s - first.time_s)


def test_the_farther_a_replica_is_the_longer_records_wait_for_it_and_the_less_is_carried(backend: LabBackend) -> None:
    """Two brokers here and one there."""
    quickest, carried = [], []
    for rtt_ms in (0, 100, 300):
        with backend.cluster(stretched(rtt_ms)) as cluster:
            with ExitStack() as stack:
                quickest.append(quickest_s(steady(cluster, stack), math.inf if rtt_ms else 0.150 / MARGIN))
            carried.append(carried_msg_s(cluster))
    assert quickest[0] < quickest[2]
    assert quickest[1] > 0.100 / MARGIN
    assert quickest[2] > 0.300 / MARGIN
    assert carried[0] > MARGIN * carried[1] > MARGIN**2 * carried[2], carried


def test_a_link_that_is_cut_or_flaps_loses_none_of_a_mesh_s_records(backend: LabBackend, tmp_path: Path) -> None:
    with backend.cluster(stretched(50, DataPlane.ISTIO_MTLS)) as cluster, ExitStack() as stack:
        process = steady(cluster, stack)
        assert quickest_s(process, math.inf) > 0.050 / MARGIN
        assert all(proof.holds for proof in cluster.prove())
        cut_and_heal(cluster, process)
        flap(cluster, tmp_path)


def flap(cluster: LabCluster, directory: Path) -> None:
    """A trial in which the link goes down again and again: the load stops meanwhile, and all that was acknowledged is
    read back by a consumer, or the trial would not be valid."""
    topology = cluster.scenario.cluster.topology
    links = (topology.links[0].model_copy(update={"flap": Flap(up_seconds=2, down_seconds=1)}),)
    spec = cluster.scenario.cluster.model_copy(update={"topology": topology.model_copy(update={"links": links})})
    workload = cluster.scenario.workload.model_copy(update={"workers": 2, "subscriptions_per_topic": 1})
    method = Method(settle_seconds=0, window_seconds=8)
    scenario = cluster.scenario.model_copy(update={"cluster": spec, "workload": workload, "method": method})
    with bench(cluster, scenario, directory / "run") as made:
        trial = measure(made, Offered(number=1, purpose="fixed-load", rate_msg_s=500))
        made.writer.trial(trial)
    assert trial.valid, trial.reasons
    assert (trial.errors, trial.total.acknowledged) == (0, trial.total.offered)
    (found,) = outages(store.load(directory / "run"))
    assert found.outages >= 2
    assert found.read_back == found.acknowledged > 0
    assert (found.missing, found.duplicated) == (0, 0)
    assert [each.records for each in trial.read_back if (each.acknowledged, each.read) == (1, 1)] == [
        found.acknowledged
    ]
    assert (found.still_s or 0) > 0.25, "records are acknowledged while the third replica cannot be reached"


def cut_and_heal(cluster: LabCluster, process: Process) -> None:
    """What needs all replicas stops, and nothing that was acknowledged is lost."""
    with cluster.cut("near-far"):
        still = Still(process)
        wait_for(still, "records are acknowledged without the third replica")
    wait_for(lambda: ask(process, "count")["acknowledged"] > still.count, "it does not go on")
    told = ask(process, "stop")
    assert told["missing"] == []
    assert told["acknowledged"] > still.count
    relay = {key for probe in cluster.probes() for key in probe.read() if "/relay/" in key}
    assert {"link-near-far/relay/cpu_user_s", "link-near-far/relay/carried_packets"} <= relay


def test_a_link_that_nothing_carries_is_refused_without_a_broker_and_one_that_it_can_is_not(
    backend: LabBackend,
) -> None:
    def asked(bandwidth_bytes_s: float) -> Plan:
        far = stretched(24)
        (link,) = far.cluster.topology.links
        narrow = link.model_copy(update={"loss": 0.01, "bandwidth_bytes_s": bandwidth_bytes_s})
        topology = far.cluster.topology.model_copy(update={"links": (narrow,)})
        cluster = far.cluster.model_copy(update={"topology": topology})
        return Plan(name="test", baseline=far.name, scenarios=(far.model_copy(update={"cluster": cluster}),))

    require_bandwidth(asked(1e6), backend, Silent())
    with pytest.raises(MissingRequirement, match=r"of 4,000 MB/s \(bandwidthBytesS\)"):
        require_bandwidth(asked(4e9), backend, Silent())


@pytest.fixture(scope="module")
def apart(backend: LabBackend) -> Iterator[LabCluster]:
    """A client that is 200 ms away from the only broker."""
    ends = MeshCluster(name="near", brokers=1), MeshCluster(name="far", clients=1)
    work = Workload(
        topics=1,
        partitions_per_topic=1,
        replication_factor=1,
        workers=1,
        topic_config={},
        # A request fits into what TCP sends without waiting: more would take several round trips.
        message_size=64,
        producer_config={"acks": "all", "linger.ms": 50},
    )
    topology = Topology(clusters=ends, links=(Link(ends=("near", "far"), rtt_ms=200),))
    spec = ClusterSpec(brokers=1, heap_bytes=268_435_456, topology=topology)
    scenario = Scenario(name="far", data_plane=DataPlane.PLAIN, cluster=spec, workload=work)
    with backend.cluster(scenario) as cluster:
        yield cluster


def test_distance_is_found_in_the_network(apart: LabCluster) -> None:
    times = {name: hop.mean_s for name, hop in undelayed(apart, apart.scenario.workload, "far").items()}
    assert max(times, key=lambda name: times[name]) == "network", times
    assert times["network"] > sum(times.values()) / 2, times
    assert times["network"] > 0.200 / MARGIN, times


def self_tested(cluster: LabCluster, directory: Path) -> SelfTest:
    with bench(cluster, cluster.scenario, directory) as made:
        return self_test(made, 1_000)


def test_over_a_distance_the_self_test_has_its_answer_from_longer_stops(apart: LabCluster, tmp_path: Path) -> None:
    """Two tenths of a second's records are always under way: too many for the first attempt, few for the second."""
    directory = tmp_path / "run"
    try:
        done = self_tested(apart, directory)
    except Inconclusive:  # other work on this machine came in between; that is no answer
        directory = tmp_path / "again"
        done = self_tested(apart, directory)
    (data,) = store.load(directory).rounds
    assert [attempt.conclusive for attempt in data.self_tests] == [False, True]
    assert data.self_tests[-1] == done
    assert all(0 < check.low <= check.counted <= check.high for check in done.checks)
    assert (done.totals.failed, done.totals.unknown) == (0, 0)

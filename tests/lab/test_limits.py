"""Each limit against a probe of what it limits.

A limit is a rate, so unlike elsewhere rates are asserted here. All of them are far below what the machine gives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cluster import LabTestbed
from meshmark.backends.lab.disk import BDI, DIRTY_BYTES_MIN, require_images
from meshmark.backends.lab.limits import cpu_quota
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.plan import ClusterSpec, Plan, Scenario
from meshmark.record import Counters, Limit
from tests.lab.ground import python, run_on
from tests.lab.test_cluster import RECORDS, round_trip

pytestmark = pytest.mark.lab

IMAGES = Scenario(
    name="plain", data_plane=DataPlane.PLAIN, cluster=ClusterSpec(heap_bytes=268_435_456, storage="image")
)
LINK_BYTES_S = 20e6
DISK_BYTES_S = 16e6
WRITES_S = 500.0
CPUS = 0.4
SHARE = 0.10
FRAMES = 1.5
"""More than a limited probe's rate, even by what one bucket holds."""


@pytest.fixture(scope="module")
def backend(in_memory: None) -> Iterator[LabBackend]:
    try:
        require_images()
    except MissingRequirement as error:
        pytest.skip(f"root: {error.message}")
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=600_000_000, scenarios=(IMAGES,)))
        yield made


@pytest.fixture
def bed(backend: LabBackend) -> Iterator[LabTestbed]:
    with backend.testbed(IMAGES) as made:
        yield made


def counters(bed: LabTestbed) -> Counters:
    return {key: value for probe in bed.probes() for key, value in probe.read().items()}


def carried(bed: LabTestbed, source: str, target: str) -> float:
    module, shape = ["python", "-m", "meshmark.load.probe_network"], ["--flows", "2", "--seconds", "2"]
    with ExitStack() as stack:
        receiver = stack.enter_context(
            bed.spawn(target, [*module, "receive", "--port", "5201", *shape], name="receive")
        )
        assert receiver.read_line(30)
        to = f"{bed.address(target)}:5201"
        stack.enter_context(bed.spawn(source, [*module, "send", "--to", to, *shape], name="send"))
        answer = json.loads(receiver.read_line(30) or "{}")
    return float(answer["bytes"] / answer["seconds"])


def small_writes(bed: LabTestbed, host: str) -> float:
    command = ["python", "-m", "meshmark.load.probe_disk", "--directory", str(bed.ground.disks[host].mount)]
    command += ["--mode", "direct", "--writers", "8", "--write-bytes", "4096", "--seconds", "3", "--first"]
    with bed.spawn(host, [*command, "--bytes-max", "500000000"], name="disk") as process:
        answer = json.loads(process.read_line(60) or "{}")
    return float(answer["writes"] / answer["seconds"])


def written(bed: LabTestbed, host: str) -> float:
    command = ["python", "-m", "meshmark.load.probe_disk", "--directory", str(bed.ground.disks[host].mount)]
    command += ["--mode", "buffered", "--writers", "2", "--write-bytes", "65536", "--seconds", "5"]
    with bed.spawn(host, [*command, "--bytes-max", "500000000"], name="disk") as process:
        answer = json.loads(process.read_line(60) or "{}")
    return float(answer["bytes"] / answer["seconds"])


def test_a_link_carries_what_it_was_given_in_each_direction(bed: LabTestbed) -> None:
    with bed.limit(Limit(host="broker-1", resource="network", amount=LINK_BYTES_S)):
        assert carried(bed, "client-1", "broker-1") == pytest.approx(LINK_BYTES_S, rel=SHARE)
        assert carried(bed, "broker-1", "client-1") == pytest.approx(LINK_BYTES_S, rel=SHARE)
        seen = counters(bed)
        assert seen["broker-1/net/link_bytes_s"] == LINK_BYTES_S
        assert seen["broker-1/net/queued_packets"] > 0
        assert "broker-2/net/link_bytes_s" not in seen
    assert "broker-1/net/link_bytes_s" not in counters(bed)
    assert carried(bed, "client-1", "broker-1") > LINK_BYTES_S * FRAMES


def bound(bed: LabTestbed, host: str, name: str) -> int:
    """Of the dirty memory of a broker's device."""
    return int((BDI / bed.ground.disks[host].number / name).read_text(encoding="ascii"))


def test_a_disk_takes_what_it_was_given_and_memory_hides_little_of_it(bed: LabTestbed) -> None:
    with bed.limit(Limit(host="broker-1", resource="disk", amount=DISK_BYTES_S)):
        assert bound(bed, "broker-1", "strict_limit") == 1
        # The kernel keeps a share of the machine's dirty memory, whose limit goes with what memory is free.
        assert DIRTY_BYTES_MIN / 2 < bound(bed, "broker-1", "max_bytes") < DIRTY_BYTES_MIN * 2
        assert bound(bed, "broker-2", "strict_limit") == 0
        assert bound(bed, "broker-2", "max_bytes") > DIRTY_BYTES_MIN * 2
        before, began = counters(bed)["broker-1/volume/write_bytes"], time.monotonic()
        taken = written(bed, "broker-1")
        grown = counters(bed)["broker-1/volume/write_bytes"] - before
        assert grown / (time.monotonic() - began) <= DISK_BYTES_S * (1 + SHARE)
        # What a writer is ahead of the device is bounded: half a second's worth, in a probe of five seconds.
        assert taken == pytest.approx(DISK_BYTES_S, rel=2 * SHARE)


def test_a_disk_takes_as_many_writes_as_it_was_given_whatever_their_size(bed: LabTestbed) -> None:
    with ExitStack() as stack:
        for resource, amount in (("disk", DISK_BYTES_S), ("operations", WRITES_S)):
            limit = Limit.model_validate({"host": "broker-1", "resource": resource, "amount": amount})
            stack.enter_context(bed.limit(limit))
        # The throttle lets single writes through in bursts, so that a busy machine misses some: fewer, never more.
        assert WRITES_S * (1 - 2 * SHARE) < small_writes(bed, "broker-1") < WRITES_S * (1 + SHARE)
        seen = counters(bed)
        assert (seen["broker-1/volume/limit_ops_s"], seen["broker-1/volume/limit_bytes_s"]) == (WRITES_S, DISK_BYTES_S)
        assert small_writes(bed, "broker-2") > WRITES_S * FRAMES
    assert "broker-1/volume/limit_ops_s" not in counters(bed)


def test_another_hosts_disk_is_not_limited(bed: LabTestbed) -> None:
    with bed.limit(Limit(host="broker-1", resource="disk", amount=DISK_BYTES_S)):
        assert written(bed, "broker-2") > DISK_BYTES_S * FRAMES


SPIN = """
import time
input()
begun, end = time.process_time(), time.monotonic() + 3
while time.monotonic() < end:
    pass
print(time.process_time() - begun, flush=True)
input()
"""


def test_processes_get_the_cpu_they_were_given(bed: LabTestbed) -> None:
    host = bed.network.hosts["broker-1"]
    with ExitStack() as stack:
        processes = [stack.enter_context(run_on(host, *python(SPIN), grace_s=0)) for _ in range(2)]
        pids = [process.pid for process in processes]
        quota = stack.enter_context(cpu_quota(host, "kafka", pids, CPUS, bed.ground.instance))
        for process in processes:
            process.send_line("")
        used_s = sum(float(process.read_line(30) or 0) for process in processes)
        assert 0 < used_s < 3 * CPUS * (1 + SHARE)
        seen = quota.read()
        assert seen["broker-1/kafka/cpu_throttled_periods"] > 0.8 * seen["broker-1/kafka/cpu_periods"]


def test_brokers_serve_from_file_systems_of_their_own_with_less_of_everything(backend: LabBackend) -> None:
    with backend.cluster(IMAGES) as cluster, ExitStack() as stack:
        for resource, amount in (("cpu", 1.0), ("disk", 50e6), ("network", 50e6)):
            limit = Limit.model_validate({"host": "broker-1", "resource": resource, "amount": amount})
            stack.enter_context(cluster.limit(limit))
        layout = cluster.create_topics(cluster.scenario.workload, "trip")
        assert round_trip(cluster, sorted(layout.topics)) == {"errors": [], "seen": RECORDS, "complete": True}
        seen = counters(cluster)
        assert seen["broker-1/kafka/cpu_periods"] > 0
        assert {"broker-1/volume/write_bytes", "broker-2/volume/write_bytes"} <= seen.keys()
        assert "broker-2/kafka/cpu_periods" not in seen

"""What perf sees of real brokers, sidecars and clients: crypto where there is some, and nothing left behind.

Orders and kinds are asserted, no shares: how much of its time a broker spends on ciphers is the machine's affair.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshmark.backends.lab import perf
from meshmark.backends.lab.backend import LabBackend
from meshmark.cluster import cpu_profiles, profiling
from meshmark.data_plane import DataPlane
from meshmark.load.generator import load
from meshmark.record import CpuProfile
from tests.lab.load_ground import CLOCK, loaded, prepared, producers, scenario, workload

pytestmark = pytest.mark.lab

PLANES = (DataPlane.KAFKA_TLS, DataPlane.ISTIO_MTLS)
"""With the second, brokers and clients are plain, and their sidecars encrypt."""
HZ = 199
WINDOW_S = 2.0
WORK = workload(message_size=4_000)


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    if reason := perf.trouble():
        pytest.skip(f"perf: {reason}")
    with prepared() as made:
        yield made


@pytest.fixture(scope="module")
def profiles(backend: LabBackend) -> dict[DataPlane, CpuProfile]:
    return {plane: profile(backend, plane) for plane in PLANES}


def profile(backend: LabBackend, plane: DataPlane) -> CpuProfile:
    """Of closed-loop load, after a little of it."""
    with backend.cluster(scenario(plane)) as cluster:
        layout = cluster.create_topics(WORK, "t")
        specs = producers(cluster, layout, WORK)
        loaded(cluster, specs, 10_000)
        with profiling(cluster, 1, HZ), load(cluster, specs, CLOCK) as running:
            running.start()
            CLOCK.sleep(1.0)
            begun = CLOCK.now()
            CLOCK.sleep(WINDOW_S)
            ended = CLOCK.now()
            running.stop()
        [found] = cpu_profiles(cluster, {1: (begun, ended)})
        pids = [process.pid for process in cluster.processes]
    names = [name for pid in pids for name in (f".java_pid{pid}", f"perf-{pid}.map")]
    assert not [name for name in names if (Path(tempfile.gettempdir()) / name).exists()]
    return found


def kinds(found: CpuProfile, component: str) -> Counter[str]:
    counted: Counter[str] = Counter()
    for each in found.samples:
        if each.component.endswith(component):
            counted[each.kind] += each.samples
    return counted


def test_a_brokers_and_a_clients_ciphers_are_seen_where_they_have_some(
    profiles: dict[DataPlane, CpuProfile],
) -> None:
    for component in ("/kafka", "/client"):
        own, sidecars = (kinds(profiles[plane], component)["crypto"] for plane in PLANES)
        assert own > sidecars, (component, profiles)


def test_a_sidecars_ciphers_are_seen_though_its_program_has_no_symbols(
    profiles: dict[DataPlane, CpuProfile],
) -> None:
    assert kinds(profiles[DataPlane.ISTIO_MTLS], "/sidecar")["crypto"] > 0
    assert not kinds(profiles[DataPlane.KAFKA_TLS], "/sidecar")


def test_every_component_is_found_in_kernel_and_copies(profiles: dict[DataPlane, CpuProfile]) -> None:
    for found in profiles.values():
        assert found.idle + sum(each.samples for each in found.samples) > perf.COVERED * found.expected
        for component in ("/kafka", "/client"):
            seen = kinds(found, component)
            assert {"network", "kernel", "user"} <= seen.keys(), (component, seen)
        assert kinds(found, "/kafka")["copy"], found

"""A link that cannot carry what it is asked to is refused before a broker starts, or told of where it comes later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from meshmark import cluster
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.cluster import Cluster, KeepLogs, discard_logs
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import ClusterSpec, EnvironmentSpec, Method, Plan, Scenario
from meshmark.store import Run, load
from meshmark.topology import Backward, Link, MeshCluster, Topology

ASKED_BYTES_S = 60e6
TOPOLOGY = Topology(
    clusters=(MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1)),
    links=(
        Link(
            ends=("near", "far"),
            rtt_ms=24,
            loss=0.01,
            bandwidth_bytes_s=ASKED_BYTES_S,
            back=Backward(loss=0, bandwidth_bytes_s=10e6),
        ),
    ),
)


def plan_of(*planes: DataPlane, topology: Topology = TOPOLOGY) -> Plan:
    scenarios = tuple(
        Scenario(
            name=plane.value,
            data_plane=plane,
            cluster=ClusterSpec(topology=topology),
            method=Method(warmup_seconds=6, settle_seconds=0.5, window_seconds=2, trials=1, equal_load=()),
        )
        for plane in planes
    )
    spec = EnvironmentSpec(disk_seconds=0, network_seconds=0)
    return Plan(name="test", repeats=1, scenarios=scenarios, environment=spec)


class Backend(SimulatedBackend):
    """Notes the hosts that were asked for; in rounds, links carry less than without brokers."""

    def __init__(self, without_brokers: float, in_rounds: float) -> None:
        super().__init__(SimulatedClock(), Truth(noise=0, link_bytes_s=without_brokers))
        self.clock, self.tried, self._in_rounds = self._clock, list[Scenario](), in_rounds

    @contextmanager
    def testbed(self, scenario: Scenario) -> Iterator[cluster.Testbed]:
        self.tried.append(scenario)
        with super().testbed(scenario) as made:
            yield made

    @contextmanager
    def cluster(self, scenario: Scenario, keep_logs: KeepLogs = discard_logs) -> Iterator[Cluster]:
        self._truth = replace(self._truth, link_bytes_s=self._in_rounds)
        with super().cluster(scenario, keep_logs) as made:
            yield made


def run(directory: Path, plan: Plan, backend: Backend) -> Run:
    conduct(plan, backend, directory, command=("t",), effort="default", progress=Silent(), clock=backend.clock)
    return load(directory)


def test_a_link_that_carries_less_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(MissingRequirement) as refused:
        run(tmp_path / "run", plan_of(DataPlane.PLAIN), Backend(40e6, 40e6))
    assert refused.value.message == (
        "scenario plain: the link from near to far carries 40 of 60 MB/s (bandwidthBytesS), as 3 tries of TCP without "
        "brokers found"
    )
    assert "Lower bandwidthBytesS" in refused.value.hint
    assert not (tmp_path / "run").exists()


def test_links_are_tried_once_for_all_scenarios_without_what_bounds_tcp(tmp_path: Path) -> None:
    backend = Backend(ASKED_BYTES_S * 0.96, ASKED_BYTES_S)
    run(tmp_path / "run", plan_of(DataPlane.ISTIO_MTLS, DataPlane.PLAIN), backend)
    (tried,) = (each for each in backend.tried if each.cluster.topology.links[0].rtt_ms == 0)
    assert tried.data_plane is DataPlane.PLAIN
    forward, back = tried.cluster.topology.links[0].ways()
    assert (forward.loss, forward.bandwidth_bytes_s, back.bandwidth_bytes_s) == (0, ASKED_BYTES_S, 10e6)


def test_links_without_a_bandwidth_are_not_tried(tmp_path: Path) -> None:
    free = TOPOLOGY.model_copy(update={"links": (Link(ends=("near", "far"), rtt_ms=24),)})
    backend = Backend(1.0, 1.0)
    run(tmp_path / "run", plan_of(DataPlane.PLAIN, topology=free), backend)
    assert backend.tried == [], "nothing else is probed either"


def test_a_link_that_carries_less_in_a_round_is_a_warning_except_where_loss_bounds_tcp(tmp_path: Path) -> None:
    backend = Backend(ASKED_BYTES_S, 5e6)
    done = run(tmp_path / "run", plan_of(DataPlane.PLAIN), backend)
    told = [event.text for event in done.events if "before load" in event.text]
    assert told == ["before load, the link from far to near carries 5 of 10 MB/s (bandwidthBytesS)"]

"""The self-test against real Kafka: the instrument passes, each of its mutants is caught.

Small brokers, a low rate: what is tested is the arithmetic of the instrument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from meshmark.backends.lab.backend import lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.errors import InstrumentFault
from meshmark.experiment.selftest import self_test
from meshmark.load.generator import WORKER_ARGV
from meshmark.plan import ClusterSpec, DataPlane, Plan, Scenario
from meshmark.record import SelfTest
from tests import mutants
from tests.benches import bench
from tests.lab.load_ground import CLOCK, workload

RATE_MSG_S = 2_000.0
SCENARIO = Scenario(
    name="plain",
    data_plane=DataPlane.PLAIN,
    cluster=ClusterSpec(brokers=1, heap_bytes=268_435_456),
    workload=workload(groups=1),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with lab("test") as backend:
        backend.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=(SCENARIO,)))
        with backend.cluster(SCENARIO) as made:
            yield made


def run_self_test(cluster: LabCluster, directory: Path, worker: Sequence[str], index: int) -> SelfTest:
    """`index` keeps the topics apart: a test that is refused leaves its own behind."""
    with bench(cluster, SCENARIO, directory, CLOCK, index) as made:
        return self_test(made, RATE_MSG_S, worker=worker)


def test_the_instrument_passes(cluster: LabCluster, tmp_path: Path) -> None:
    done = run_self_test(cluster, tmp_path / "round", WORKER_ARGV, 1)
    assert done.holds
    assert [(check.target, check.value) for check in done.checks] == [
        (target, value) for target in ("load worker", "broker") for value in ("latency", "end-to-end latency")
    ]
    assert all(0 < check.low <= check.counted <= check.high for check in done.checks)
    assert (done.totals.failed, done.totals.unknown) == (0, 0)


@pytest.mark.parametrize("name", mutants.CAUGHT)
def test_a_mutant_is_caught(cluster: LabCluster, tmp_path: Path, name: str) -> None:
    index = 2 + list(mutants.CAUGHT).index(name)
    with pytest.raises(InstrumentFault, match=mutants.CAUGHT[name]):
        run_self_test(cluster, tmp_path / "round", ("python", "-m", "tests.mutants.real", name), index)

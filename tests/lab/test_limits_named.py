"""Overloaded trials on real Kafka with less CPU: who has less is in the record, and the verdict names it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from meshmark.analysis.limits import evidence, limiting
from meshmark.backends.lab.backend import lab
from meshmark.backends.lab.limits import require_limits
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.experiment.trial import Bench, Offered, measure
from meshmark.plan import ClusterSpec, Method, Plan, Scenario, Workload
from meshmark.record import Limit, Trial
from tests.benches import bench
from tests.lab.load_ground import CLOCK

pytestmark = pytest.mark.lab

RATE_MSG_S = 60_000.0
TIGHT = Limit(host="broker-2", resource="cpu", amount=0.1)
LOOSE = Limit(host="broker-1", resource="cpu", amount=2.0)
MACHINE = Limit(host="machine", resource="cpu", amount=0.5)
SCENARIO = Scenario(
    name="plain",
    data_plane=DataPlane.PLAIN,
    cluster=ClusterSpec(brokers=2, heap_bytes=268_435_456),
    workload=Workload(topics=1, partitions_per_topic=4, replication_factor=2, workers=4),
    method=Method(settle_seconds=1, window_seconds=3),
)


@pytest.fixture(scope="module")
def overload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    try:
        require_limits()
    except MissingRequirement as error:
        pytest.skip(f"root: {error.message}")
    plan = Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=(SCENARIO,))
    with lab("test") as backend:
        backend.prepare(plan)
        directory = tmp_path_factory.mktemp("run") / "round"
        with backend.cluster(SCENARIO) as cluster, bench(cluster, SCENARIO, directory, CLOCK) as made:
            yield made


def overloaded(bench: Bench, number: int, limits: Sequence[Limit]) -> Trial:
    return measure(bench, Offered(number=number, purpose="explain", rate_msg_s=RATE_MSG_S), limits)


def test_a_broker_with_less_cpu_is_named_and_one_with_plenty_is_not(overload: Bench) -> None:
    named = limiting(evidence(overloaded(overload, 1, [TIGHT, LOOSE]), SCENARIO, os.cpu_count() or 1))
    # What the machine does besides is its own business.
    assert [name for name in named if name != "machine CPU"] == ["broker-2/kafka CPU quota"]


def test_a_machine_with_less_cpu_holds_back_brokers_and_load_together(overload: Bench) -> None:
    trial = overloaded(overload, 2, [MACHINE])
    periods, throttled = (trial.delta(f"machine/quota/cpu_{name}") or 0 for name in ("periods", "throttled_periods"))
    assert periods > 0
    assert throttled > periods / 2
    parts = ("broker-1/kafka", "broker-2/kafka", "client-1/client")
    used_s = sum(trial.delta(f"{part}/cpu_{kind}_s") or 0 for part in parts for kind in ("user", "system"))
    # The thread that paces the load is outside.
    assert used_s < 2 * MACHINE.amount * (trial.delta("machine/cpu/elapsed_s") or 0)
    assert not any(key.startswith("machine/quota") for key in trial.quiet_end)

"""The self-test on the simulated system: the instrument passes, each of its mutants is caught."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest

from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth, load, system
from meshmark.data_plane import DataPlane
from meshmark.errors import Inconclusive, InstrumentFault
from meshmark.experiment.selftest import (
    EDGE_S,
    QUEUE_SHARE,
    Schedule,
    Stop,
    caught_up_s,
    checks,
    contradictions,
    self_test,
    waiting_share,
    with_small_queue,
)
from meshmark.load import mark
from meshmark.plan import ClusterSpec, ConfigValue, Scenario, Workload
from meshmark.record import LoadTotals, SelfTest, StopCheck
from meshmark.topology import Link, MeshCluster, Topology
from meshmark.worker_protocol import Batches
from tests import mutants
from tests.benches import bench
from tests.mutants import merge
from tests.mutants.simulated import QUEUES, WORKERS

CEILING_MSG_S = 20_000.0
RATE_MSG_S = 7_000.0


def run_self_test(
    directory: Path,
    groups: int = 1,
    ceiling_msg_s: float = CEILING_MSG_S,
    latency_s: float = 0.004,
    topology: Topology | None = None,
) -> SelfTest:
    clock = SimulatedClock()
    truth = Truth(
        ceilings_msg_s={DataPlane.PLAIN: ceiling_msg_s},
        latencies_s={DataPlane.PLAIN: latency_s},
        noise=0,
        warmup_s=1e-9,
    )
    workload = Workload(workers=4, subscriptions_per_topic=groups)
    spec = ClusterSpec(topology=topology or Topology())
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN, cluster=spec, workload=workload)
    with (
        SimulatedBackend(clock, truth).cluster(scenario) as cluster,
        bench(cluster, scenario, directory, clock) as made,
    ):
        return self_test(made, RATE_MSG_S)


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_the_instrument_passes(tmp_path: Path, groups: int) -> None:
    done = run_self_test(tmp_path / "round", groups)
    assert [(check.target, check.value) for check in done.checks] == [
        (target, value)
        for target in ("load worker", "broker")
        for value in ("latency", "end-to-end latency")[: 1 + bool(groups)]
    ]
    assert done.holds
    assert done.conclusive
    for check in done.checks:
        each = groups if check.value == "end-to-end latency" else 1
        due_in_half = each * RATE_MSG_S * check.seconds / 2
        assert 0.6 * due_in_half < check.low <= check.counted <= check.high < 3 * due_in_half
    assert done.seconds < 12
    # The controller is broker-1.
    assert {check.host for check in done.checks} == {"client-1", "broker-2"}


def test_every_mutant_has_its_simulated_form() -> None:
    assert {*QUEUES, *WORKERS} == set(mutants.CAUGHT)


@pytest.mark.parametrize("name", mutants.CAUGHT)
def test_a_mutant_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name in QUEUES:
        monkeypatch.setattr(load, "Queue", QUEUES[name])
    else:
        monkeypatch.setattr(system, "SimulatedWorker", WORKERS[name])
    with pytest.raises(InstrumentFault, match=mutants.CAUGHT[name]):
        run_self_test(tmp_path / "round")


@pytest.mark.parametrize(("groups", "noticed"), [(2, True), (1, False)])
def test_a_histogram_that_is_lost_when_several_are_merged_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int, noticed: bool
) -> None:
    monkeypatch.setattr(mark, "combined", merge.without_the_last)
    with pytest.raises(InstrumentFault, match=merge.CAUGHT) if noticed else nullcontext():
        run_self_test(tmp_path / "round", groups)


def recorded(directory: Path) -> list[SelfTest]:
    lines = (directory / "selftests.jsonl").read_text().splitlines()
    return [SelfTest.model_validate_json(line) for line in lines]


def test_a_system_that_never_catches_up_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(Inconclusive, match="after 2 attempts, the last at 1,750 msg/s") as caught:
        run_self_test(tmp_path / "round", ceiling_msg_s=RATE_MSG_S * 0.26)
    assert caught.value.exit_code == 3
    assert [(done.holds, done.conclusive) for done in recorded(tmp_path / "round")] == [(True, False)] * 2


@pytest.mark.parametrize(
    ("ceiling_msg_s", "latency_s"),
    [
        pytest.param(RATE_MSG_S * 1.02, 0.004, id="too high a rate for the system"),
        pytest.param(CEILING_MSG_S, 0.3, id="answers that take long, whatever the rate"),
    ],
)
def test_a_second_attempt_has_a_lower_rate_and_longer_stops(
    tmp_path: Path, ceiling_msg_s: float, latency_s: float
) -> None:
    done = run_self_test(tmp_path / "round", ceiling_msg_s=ceiling_msg_s, latency_s=latency_s)
    first, second = recorded(tmp_path / "round")
    assert (first.holds, first.conclusive) == (True, False)
    assert second == done
    assert (done.holds, done.conclusive, done.rate_msg_s) == (True, True, RATE_MSG_S / 4)
    assert [check.above_s for check in done.checks] == [1.0, 1.0, 2.0, 2.0]
    assert min(check.low for check in done.checks) > 0


@pytest.mark.parametrize("name", ["actual-send clock", "clock at send() return", "slipping schedule"])
def test_longer_stops_catch_mutants_where_answers_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(load, "Queue", QUEUES[name])
    with pytest.raises(InstrumentFault, match=mutants.BY_ARITHMETIC):
        run_self_test(tmp_path / "round", latency_s=0.3)


def far(rtt_ms: float) -> Topology:
    return Topology(
        clusters=(MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1)),
        links=(Link(ends=("near", "far"), rtt_ms=rtt_ms),),
    )


@pytest.mark.parametrize(
    ("longer", "rtt_ms", "seconds"),
    [
        pytest.param(1, 200, 0.1, id="the first attempt knows no distance"),
        pytest.param(4, 0, 0.4, id="no distance"),
        pytest.param(4, 160, 0.4, id="a distance that is within it"),
        pytest.param(4, 200, 0.5, id="two and a half round trips"),
        pytest.param(4, 500, 0.6, id="no more than leaves the bound above the queue"),
    ],
)
def test_distance_may_be_under_way_at_the_end_of_longer_stops(longer: float, rtt_ms: float, seconds: float) -> None:
    assert caught_up_s(longer, far(rtt_ms)) == pytest.approx(seconds)
    assert seconds / longer + EDGE_S / longer < 1 / 2 - QUEUE_SHARE


def test_two_long_round_trips_have_an_answer_and_as_slow_a_system_nearby_has_none(tmp_path: Path) -> None:
    done = run_self_test(tmp_path / "far", latency_s=0.25, topology=far(250))
    assert (done.holds, done.conclusive, done.rate_msg_s) == (True, True, RATE_MSG_S / 4)
    assert min(check.low for check in done.checks) > 0
    with pytest.raises(Inconclusive) as caught:
        run_self_test(tmp_path / "near", latency_s=0.5)
    assert "more than 0.4 s" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["actual-send clock", "slipping schedule"])
def test_these_mutants_are_caught_over_a_long_distance_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(load, "Queue", QUEUES[name])
    with pytest.raises(InstrumentFault, match=mutants.BY_ARITHMETIC):
        run_self_test(tmp_path / "round", latency_s=0.25, topology=far(250))


def check(**changes: object) -> StopCheck:
    given = {"target": "broker", "host": "broker-2", "value": "latency", "seconds": 1.0, "above_s": 0.5}
    return StopCheck.model_validate({**given, "low": 90, "high": 110, "counted": 100, "caught_up": True, **changes})


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"counted": 90}, True),
        ({"counted": 110}, True),
        ({"counted": 89}, False),
        ({"counted": 111}, False),
        ({"caught_up": False}, True),
    ],
)
def test_a_count_holds_between_its_bounds(changes: dict[str, object], holds: bool) -> None:
    assert check(**changes).holds is holds


def marked(time_s: float, totals: LoadTotals) -> mark.Mark:
    return mark.Mark(
        time_s=time_s, clients=1, connections=2, totals=totals, batches=Batches(), cpu_user_s=0, cpu_system_s=0
    )


@pytest.mark.parametrize(("failed", "unknown"), [(0, 0), (30, 0), (10, 20)])
def test_a_record_that_failed_is_not_expected_to_be_late(failed: int, unknown: int) -> None:
    lost = failed + unknown
    before = LoadTotals(offered=200, acknowledged=195, failed=3, unknown=2)
    after = LoadTotals(offered=400, acknowledged=385 - lost, failed=3 + failed, unknown=2 + unknown, outstanding=10)
    stop = Stop(
        target="broker",
        host="broker-2",
        asked_s=1.0,
        begun_s=2.0,
        ended_s=3.0,
        share=1.0,
        before=marked(2.0, before),
        after=marked(4.0, after),
        caught_up=True,
    )
    [found] = checks(stop, Schedule(origin_s=0.0, rate_msg_s=100.0), groups=0)
    assert found.low == 48 - 10 - lost


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        pytest.param({}, {}, id="meshmark's and the library's own are long enough"),
        pytest.param({"message.timeout.ms": 2_000}, {"message.timeout.ms": 30_000}, id="a record's life"),
        pytest.param({"delivery.timeout.ms": "2000"}, {"delivery.timeout.ms": 30_000}, id="by its other name"),
        pytest.param({"request.timeout.ms": 1_000}, {"request.timeout.ms": 30_000}, id="a request's"),
        pytest.param({"message.timeout.ms": 60_000}, {"message.timeout.ms": 60_000}, id="longer ones stay"),
        pytest.param({"message.timeout.ms": 0}, {"message.timeout.ms": 0}, id="no limit stays none"),
    ],
)
def test_no_timeout_of_a_plan_ends_within_a_stop(
    given: Mapping[str, ConfigValue], becomes: Mapping[str, ConfigValue]
) -> None:
    config = with_small_queue(Workload(producer_config=dict(given)), due=300, brokers=3).producer_config
    assert {key: value for key, value in config.items() if "timeout" in key} == becomes


@pytest.mark.parametrize(
    ("config", "brokers", "lag_ms", "share"),
    [
        pytest.param({"acks": "all"}, 3, None, 1.0, id="every leader waits for the follower"),
        pytest.param({"acks": -1}, 3, 30_000, 1.0, id="as a number"),
        pytest.param({}, 3, None, 1.0, id="acks=all is the default"),
        pytest.param({"acks": "all"}, 3, 1_500, 0.15, id="until it counts as lagging"),
        pytest.param({"acks": "all"}, 5, None, 0.15, id="not every partition is on it"),
        pytest.param({"acks": 1}, 3, None, 0.15, id="only what it leads"),
        pytest.param({"request.required.acks": 1}, 3, None, 0.15, id="by the other name"),
        pytest.param({"acks": 0}, 3, None, 0.0, id="nobody waits"),
    ],
)
def test_who_waits_for_a_stopped_broker(
    config: Mapping[str, ConfigValue], brokers: int, lag_ms: int | None, share: float
) -> None:
    spec = ClusterSpec(brokers=brokers, broker_config={"replica.lag.time.max.ms": lag_ms} if lag_ms else {})
    workload = Workload(producer_config=dict(config))
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN, cluster=spec, workload=workload)
    assert waiting_share(scenario, led=0.3) == share


@pytest.mark.parametrize(
    ("totals", "says"),
    [
        (LoadTotals(offered=5, acknowledged=4, failed=1, consumed=8), ""),
        (LoadTotals(offered=5, acknowledged=4, consumed=8), "do not add up"),
        (LoadTotals(offered=5, acknowledged=4, outstanding=1, consumed=8), "do not add up"),
        (LoadTotals(offered=4, acknowledged=4, consumed=7), "consumers read 7 records of 2 x 4"),
        (LoadTotals(offered=4, acknowledged=4, consumed=10), "consumers read 10 records of 2 x 4"),
        (LoadTotals(offered=5, acknowledged=4, unknown=1, consumed=10), ""),
        (LoadTotals(offered=5, acknowledged=4, unknown=1, consumed=11), "consumers read 11 records of 2 x 4"),
        (LoadTotals(offered=4, acknowledged=4, consumed=8, negative=1), "1 latencies below zero"),
        (LoadTotals(offered=4, acknowledged=4, consumed=8, unstamped=1), "1 records without a send time"),
    ],
)
def test_accounts_that_contradict_each_other_are_named(totals: LoadTotals, says: str) -> None:
    found = contradictions(totals, groups=2)
    assert bool(found) is bool(says)
    assert says in "".join(found)

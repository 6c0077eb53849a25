"""Sweeps of one setting: found in the plan, priced pair by pair on the simulated system, told in tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshmark import planfile
from meshmark.analysis.model import Interval, Mean, Summary
from meshmark.analysis.sensitivity import sensitivities
from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.data_plane import DataPlane
from meshmark.errors import PlanError
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import EnvironmentSpec, Method, Plan, Scenario, Workload
from meshmark.report import view
from meshmark.report.sensitivity import told
from meshmark.report.table import table
from meshmark.store import Run, load

LOAD = 5_000_000.0
METHOD = Method(
    warmup_seconds=8,
    settle_seconds=0.5,
    window_seconds=2,
    trials=2,
    arrivals="even",
    equal_load=(),
    load_bytes_s=LOAD,
)
PLANES = (DataPlane.PLAIN, DataPlane.ISTIO_MTLS)


def pair(name: str, **workload: Any) -> list[Scenario]:
    """A baseline `NAME-plain`, and `NAME-istio-mtls` with the same workload."""
    return [
        Scenario(
            name=f"{name}-{plane.value}",
            data_plane=plane,
            baseline=f"{name}-plain",
            workload=Workload(**workload),
            method=METHOD,
        )
        for plane in PLANES
    ]


def plan_of(*pairs: list[Scenario], repeats: int = 3) -> Plan:
    return Plan(
        name="test",
        repeats=repeats,
        budget_seconds=10_000,
        baseline=pairs[0][0].name,
        environment=EnvironmentSpec(disk_seconds=0, network_seconds=0),
        scenarios=tuple(scenario for each in pairs for scenario in each),
    )


def run(directory: Path, plan: Plan, truth: Truth | None = None) -> Run:
    clock = SimulatedClock()
    backend = SimulatedBackend(clock, truth)
    conduct(plan, backend, directory, command=("run",), effort="default", progress=Silent(), clock=clock)
    return load(directory)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Connections from 20 to 1,000, and one value more of record size."""
    plan = plan_of(pair("few"), pair("many", workers=1_000), pair("large", message_size=4_096))
    return summarize(run(tmp_path_factory.mktemp("runs") / "swept", plan))


def values(plan: Plan, tmp_path: Path) -> list[tuple[str, list[str]]]:
    """Factors and their values, from the plan alone: without a single round."""
    done = run(tmp_path / "run", plan.model_copy(update={"budget_seconds": 1e-9, "scenarios": plan.scenarios[:1]}))
    bare = replace(done, plan=plan, rounds=())
    rows = summarize(bare).scenarios
    return [(each.factor, [point.value for point in each.points]) for each in sensitivities(bare, rows)]


def test_the_built_in_sweep_varies_four_factors_one_at_a_time(tmp_path: Path) -> None:
    assert values(planfile.builtin("sensitivity"), tmp_path) == [
        ("record size", ["100 B", "512 B", "4,096 B", "32,768 B"]),
        ("batch fill", ["4096 B, 5 ms", "16384 B, 5 ms", "131072 B, 400 ms"]),
        ("compression", ["none", "lz4", "zstd"]),
        ("connections", ["20", "200", "1,000"]),
    ]


@pytest.mark.parametrize(
    ("pairs", "factors"),
    [
        ([pair("a")], []),
        ([pair("a"), pair("b", workers=40)], ["connections"]),
        ([pair("a"), pair("b", workers=40, message_size=1_000)], []),
        ([pair("a"), pair("b", producer_config={"queue.buffering.max.messages": 9})], []),
        ([pair("a")[:1], pair("b", workers=40)], []),
    ],
    ids=["one pair", "one factor", "two at a time", "what a client holds is none", "no pair"],
)
def test_a_sweep_is_of_pairs_that_differ_in_one_factor_alone(
    pairs: list[list[Scenario]], factors: list[str], tmp_path: Path
) -> None:
    assert [factor for factor, _ in values(plan_of(*pairs), tmp_path)] == factors


def test_every_round_offers_the_same_payload_whatever_the_records(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(pair("a"), pair("b", message_size=4_096), repeats=2))
    offered = [
        trial.offered_msg_s * done.plan.scenario(each.started.scenario).workload.message_size
        for each in done.rounds
        for trial in each.trials
        if trial.purpose == "fixed-load"
    ]
    assert offered == pytest.approx([LOAD] * 8)


def test_prices_are_those_of_the_model(swept: Summary) -> None:
    connections, sizes = swept.sensitivity[1], swept.sensitivity[0]
    assert (sizes.factor, connections.factor) == ("record size", "connections")
    for point in (*sizes.points, *connections.points):
        added = point.added_cpu_s_per_gb
        assert added.sidecars is not None
        assert added.brokers is not None
        assert added.together is not None
        assert added.sidecars.mean == pytest.approx(7, rel=0.01)
        assert added.brokers.mean == pytest.approx(0, abs=0.05)
        assert added.together.interval is not None
        assert added.together.interval.low <= added.together.mean <= added.together.interval.high
        assert (point.repeats, point.left_out, point.load_bytes_s) == (3, (), LOAD)
        assert point.packets_per_mb == pytest.approx(90)
        assert point.baseline_packets_per_mb == pytest.approx(40)
        assert point.loss == pytest.approx(0.2, abs=0.06)


def test_a_connection_s_memory_is_the_slope_over_connections(swept: Summary) -> None:
    sizes, connections = swept.sensitivity
    assert sizes.memory_bytes_per_connection is None
    slope = connections.memory_bytes_per_connection
    assert slope is not None
    assert slope.mean == pytest.approx(40_000)
    assert [point.sidecar_connections for point in connections.points] == [132, 6_012]


def test_a_load_that_was_not_carried_is_left_out_and_said_so(tmp_path: Path) -> None:
    truth = Truth(ceilings_msg_s=dict.fromkeys(DataPlane, 5000.0))
    (sweep,) = summarize(
        run(tmp_path / "run", plan_of(pair("a"), pair("b", workers=40), repeats=1), truth)
    ).sensitivity
    for point in sweep.points:
        assert (point.repeats, point.added_cpu_s_per_gb.together) == (0, None)
        assert len(point.left_out) == 2
        assert all("% of the load" in text for text in point.left_out)


def test_scenarios_are_compared_with_their_own_baselines(swept: Summary) -> None:
    assert [(row.name, row.baseline) for row in swept.scenarios if row.verdict == "baseline"] == [
        (name, name) for name in ("few-plain", "many-plain", "large-plain")
    ]
    assert view.unlike(swept) == []
    assert "carried less than their baselines" in view.headline(swept)
    assert all(row.name in view.headline(swept) for row in swept.scenarios if row.verdict == "slower")
    many = swept.model_copy(update={"scenarios": swept.scenarios * 2})
    assert view.headline(many).startswith("Of 6 setups with baselines of their own, ")
    assert "carried less than their baselines (by " in view.headline(many)


def test_tables_fit_a_terminal_and_say_what_was_offered(swept: Summary) -> None:
    shown = table(swept)
    assert "WHAT ISTIO-MTLS COSTS, BY CONNECTIONS" in shown
    assert "at 5 MB/s for both sides, 3 repeats" in shown
    assert "A connection to a sidecar takes 40 kB of its memory" in " ".join(shown.split())
    part = shown.partition("WHAT ISTIO-MTLS COSTS")[2].partition("WARNINGS")[0]
    assert max(map(len, part.splitlines())) <= 120


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, "–"),
        (Mean(mean=1, interval=None, repeats=1), "one repeat"),
        (Mean(mean=1, interval=Interval(low=-1, high=3), repeats=2), "cannot tell"),
        (Mean(mean=2, interval=Interval(low=1.25, high=2.75), repeats=3), "1.25 … 2.75"),
        (Mean(mean=-2, interval=Interval(low=-3, high=-1), repeats=3), "−3 … −1"),
    ],
)
def test_a_difference_is_told_only_where_its_interval_leaves_zero_out(found: Mean | None, text: str) -> None:
    assert told(found) == text


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        (["record-100-istio-mtls"], ["record-100-plain", "record-100-istio-mtls"]),
        (["record-100-plain"], ["record-100-plain"]),
        (["istio-mtls"], ["plain", "istio-mtls"]),
        (["batch-small-*"], ["batch-small-plain", "batch-small-istio-mtls"]),
    ],
)
def test_a_part_of_the_sweep_keeps_its_baselines(only: list[str], kept: list[str]) -> None:
    plan = planfile.select(planfile.builtin("sensitivity"), only)
    assert [scenario.name for scenario in plan.scenarios] == kept


def test_a_scenario_s_baseline_must_exist_and_is_written_back() -> None:
    text = "name: x\nscenarios: [plain, {name: a, dataPlane: istio, baseline: plian}]"
    with pytest.raises(PlanError, match=r"f:2:58: scenarios\[1\].baseline: no scenario is named plian \(did you mean"):
        planfile.loads(text, "f")
    plan = planfile.builtin("sensitivity")
    assert planfile.loads(planfile.dump(plan), "f") == plan

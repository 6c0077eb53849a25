"""What counters with times of their own leave possible between two instants, and what follows for a node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshmark.analysis.node_model import Cpus
from meshmark.analysis.nodes import nodes, spent_on, spreads
from meshmark.analysis.summary import summarize
from meshmark.nodes import Between, CpuReading, NodesRead, QuotaReading, growth
from meshmark.report import nodes as tables
from meshmark.store import RoundWriter, Run, load
from meshmark.units import UNKNOWN
from tests.unit.report.conftest import told


def of(part: str, *points: tuple[float, float], node: str = "n1") -> list[CpuReading]:
    return [CpuReading(node=node, part=part, read_at=at, cpu_s=used) for at, used in points]


@pytest.mark.parametrize(
    ("points", "grown"),
    [
        ([(0, 1), (10, 3), (20, 7), (30, 8)], Between(4, 7)),  # around the edges, which are at 5 and 25
        ([(5, 1), (25, 4)], Between(3, 3)),
        ([(0, 1), (30, 4)], Between(0, 3)),
        ([(0, 1), (15, 2), (30, 4)], Between(0, 3)),
        ([(6, 1), (30, 4)], None),
        ([(0, 1), (24, 4)], None),
        ([(0, 9), (15, 1), (30, 4)], None),  # began anew
        ([], None),
    ],
)
def test_a_counter_grew_by_what_its_readings_leave_possible(
    points: list[tuple[float, float]], grown: Between | None
) -> None:
    assert growth(of("pods", *points), 5, 25) == grown


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 1_000), min_size=101, max_size=101),
    st.sets(st.integers(0, 100), min_size=2),
    st.tuples(st.integers(0, 100), st.integers(0, 100)).filter(lambda pair: pair[0] < pair[1]),
)
def test_what_it_really_grew_by_is_always_within(steps: list[int], read: set[int], edges: tuple[int, int]) -> None:
    total = [float(sum(steps[: at + 1])) for at in range(101)]
    start, end = edges
    found = growth(of("pods", *((at, total[at]) for at in sorted(read))), start, end)
    assert (found is None) == (min(read) > start or max(read) < end)
    if found:
        assert found.low <= total[end] - total[start] <= found.high


ROUND = [
    *of("node", (0, 10), (10, 20), (20, 30), (30, 40)),
    *of("pods", (1, 5), (12, 13), (22, 21), (31, 28)),
    *of("broker-1/kafka", (2, 1), (12, 7), (23, 13), (33, 18)),
    *of("kubelet", (3, 2), (13, 3), (23, 4), (33, 5)),
    *of("gone/once", (4, 1)),
]


def test_a_node_spends_outside_pods_what_is_between_its_own_readings_and_not_in_them() -> None:
    spent = spent_on(ROUND, "n1")
    assert spent is not None
    assert (spent.seconds, spent.node_s) == (20, 20)  # from 10 to 30
    assert spent.parts["pods"] == Between(8, 23)
    assert spent.outside == Between(0, 12)
    assert spent.parts["kubelet"] == Between(1, 3)
    assert spent.parts["gone/once"] is None
    wider = spent_on(ROUND, "n1", edges_s=2)
    assert wider is not None
    assert (wider.node_s, wider.parts["pods"], wider.parts["kubelet"]) == (20, Between(6, 25), Between(0, 5))
    assert (spent.own, spent.others) == (None, None)  # a container of the run is not known
    known = spent_on([each for each in ROUND if each.part != "gone/once"], "n1")
    assert known is not None
    assert (known.own, known.others) == (Between(6, 17), Between(0, 17))


@pytest.mark.parametrize("absent", ["node", "pods"])
def test_without_the_node_or_its_pods_nothing_is_said(absent: str) -> None:
    assert spent_on([each for each in ROUND if each.part != absent], "n1") is None
    assert spent_on(ROUND, "n2") is None
    assert spent_on([each for each in ROUND if each.part != "node" or each.read_at <= 10], "n1") is None


def held_back(part: str, *points: tuple[float, int, int, float]) -> list[QuotaReading]:
    return [
        QuotaReading(
            node="n1", part=part, read_at=at, periods=periods, throttled_periods=throttled, throttled_s=waited
        )
        for at, periods, throttled, waited in points
    ]


QUOTAS = [
    *held_back("broker-1/kafka", (2, 100, 50, 1.0), (12, 200, 60, 1.5), (33, 400, 80, 3.0)),
    *held_back("broker-1/istio-proxy", (2, 10, 0, 0.0), (33, 10, 0, 0.0)),
    *held_back("broker-1/again", (2, 100, 50, 1.0), (33, 10, 5, 0.5)),
]


def recorded(
    directory: Path, cpu: Sequence[CpuReading], *, verified: bool = True, quotas: Sequence[QuotaReading] = ()
) -> Run:
    """A run, in whose first round a kubelet had these."""
    told(directory)
    run = load(directory)
    writer = object.__new__(RoundWriter)
    writer.directory = run.rounds[0].directory
    writer.nodes(
        NodesRead(
            readings=12,
            spread_p50_s=0.004,
            spread_max_s=0.02,
            source="kubelet",
            verified=verified,
            cpu=tuple(cpu),
            quotas=tuple(quotas),
        )
    )
    return load(directory)


def test_a_report_has_what_nodes_spent_and_by_whom_it_is_known(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", [each for each in ROUND if each.part != "gone/once"], verified=False)
    [found] = nodes(run)
    assert (found.rounds, found.seconds, found.cpus) == (1, 20, 1)
    assert run.started.host.cpus == 4, "so times in whole seconds leave 8 CPU seconds open"
    assert found.outside == Cpus(low=0, high=1)
    assert [(each.pod, each.container, each.cpus) for each in found.containers] == [
        ("broker-1", "kafka", Cpus(low=0, high=1.25))
    ]
    [spread] = spreads(run)
    assert (spread.scenario, spread.readings, spread.p50_s, spread.max_s) == (found.scenario, 12, 0.004, 0.02)
    summary = summarize(run)
    grid = tables.cpu(summary)
    assert grid is not None
    cells = {column.head: column.cells for column in grid.columns}
    assert (cells["outside pods"], cells["runtime"]) == (("0 … 1",), (UNKNOWN,))
    assert "not verified" in grid.note
    assert all(make(summary) for make in (tables.containers, tables.spreads))


def test_a_report_has_how_limits_held_containers_back(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", [each for each in ROUND if each.part != "gone/once"], quotas=QUOTAS)
    [found] = nodes(run)
    assert [(each.container, each.limited, each.limited_s) for each in found.containers] == [
        ("again", None, None),  # it began anew
        ("istio-proxy", 0, 0),  # it wanted nothing
        ("kafka", 0.1, 2),
    ]
    grid = tables.containers(summarize(run))
    assert grid is not None
    cells = {column.head: column.cells for column in grid.columns if column.group == tables.AT_LIMIT}
    assert cells == {"periods, %": (UNKNOWN, "0.0", "10.0"), "waited, s": (UNKNOWN, "0.00", "2.00")}


def test_a_run_that_asked_nobody_has_no_such_tables(tmp_path: Path) -> None:
    summary = summarize(recorded(tmp_path / "run", []))
    assert summary.nodes == ()
    assert tables.cpu(summary) is tables.containers(summary) is None

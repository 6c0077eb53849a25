"""What a report says of ztunnel's CPU, which is the node's: from records of runs of ours, in which no ztunnel was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshmark.analysis.comparable import metrics
from meshmark.analysis.model import ScenarioSummary
from meshmark.analysis.mtls import _used
from meshmark.analysis.nodes import nodes
from meshmark.analysis.summary import summarize
from meshmark.analysis.warnings import of_run
from meshmark.data_plane import DataPlane
from meshmark.nodes import NODE, PODS, ZTUNNEL, CpuReading, NodesRead
from meshmark.report.nodes import cpu
from meshmark.store import Run
from tests.unit.test_conductor import plan_of, run

STEPS = range(0, 60, 10)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("ztunnel") / "run", plan_of(DataPlane.PLAIN))


def asked(of: Run, *, ztunnel: bool) -> Run:
    """Its nodes were read by kubelets: half a CPU for pods, a tenth of one for ztunnel."""
    rates = {NODE: 1.0, PODS: 0.5, "broker-1/kafka": 0.2, **({ZTUNNEL: 0.1} if ztunnel else {})}
    readings = tuple(
        CpuReading(node="n1", part=part, read_at=float(at), cpu_s=rate * at)
        for at in STEPS
        for part, rate in rates.items()
    )
    read = NodesRead(readings=6, spread_p50_s=0.1, spread_max_s=0.1, source="prometheus", cpu=readings)
    return replace(of, rounds=tuple(replace(each, nodes=read) for each in of.rounds))


def test_it_has_a_column_among_other_pods_where_it_was_read(plain: Run) -> None:
    [row] = nodes(asked(plain, ztunnel=True))
    assert row.ztunnel is not None
    assert row.ztunnel.low == pytest.approx(0.1)
    assert [each.container for each in row.containers] == ["kafka"]
    summary = summarize(asked(plain, ztunnel=True))
    grid = cpu(summary)
    assert grid is not None
    assert "ztunnel" in [column.head for column in grid.columns]
    without = cpu(summarize(asked(plain, ztunnel=False)))
    assert without is not None
    assert "ztunnel" not in [column.head for column in without.columns]


@pytest.mark.parametrize(("ztunnel", "said"), [(True, "the table of nodes has what it used"), (False, "--kubelet")])
def test_in_ambient_mode_a_reader_is_told_where_its_cpu_is(plain: Run, *, ztunnel: bool, said: str) -> None:
    def told(found: Run) -> list[str]:
        return [text for text in of_run(found, (), (), ()) if "ztunnel is the node's" in text]

    found = asked(plain, ztunnel=ztunnel)
    assert told(found) == []
    scenarios = tuple(each.model_copy(update={"data_plane": DataPlane.AMBIENT}) for each in found.plan.scenarios)
    ambient = replace(found, plan=found.plan.model_copy(update={"scenarios": scenarios}))
    [warning] = told(ambient)
    assert said in warning


def in_ambient_mode(of: Run) -> ScenarioSummary:
    """What a plain run of ours measured, as if a ztunnel had carried it."""
    return summarize(of).scenarios[0].model_copy(update={"data_plane": DataPlane.AMBIENT})


def test_what_all_used_together_is_unknown_without_it(plain: Run) -> None:
    [together] = [each for each in metrics([]) if each.name == "CPU s/GB together"]
    assert together.reading(summarize(plain).scenarios[0], 1).value is not None
    read = together.reading(in_ambient_mode(plain), 1)
    assert (read.value, read.missing) == (None, "ztunnel's CPU is the node's, and would not be in it")
    row = summarize(plain).scenarios[0]
    assert _used(row, DataPlane.PLAIN) is not None
    assert _used(row, DataPlane.AMBIENT) is None


def test_where_no_machine_was_read_it_is_not_said_to_be_in_what_is_unattributed(plain: Run) -> None:
    scenarios = tuple(each.model_copy(update={"data_plane": DataPlane.AMBIENT}) for each in plain.plan.scenarios)
    ambient = replace(plain, plan=plain.plan.model_copy(update={"scenarios": scenarios}))
    for share, said in ((0.05, "but in what is unattributed"), (None, "nor in any other figure of a trial")):
        row = in_ambient_mode(plain).model_copy(update={"unattributed_share": share})
        [told] = [text for text in of_run(ambient, (row,), (), ()) if "ztunnel is the node's" in text]
        assert said in told

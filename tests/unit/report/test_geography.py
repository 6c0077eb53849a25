"""Links between clusters in the record, the JSON, the table and the page."""

from __future__ import annotations

import pytest

from meshmark.analysis.links import summaries
from meshmark.plan import ClusterSpec, Plan
from meshmark.record import LinkProbe
from meshmark.report.geography import links
from meshmark.report.html import html
from meshmark.report.table import table
from meshmark.topology import Backward, Link, MeshCluster, Topology
from tests.unit.report.conftest import PLAN, Tell, Told

NEAR = MeshCluster(name="near", brokers=2, clients=1)
FAR = MeshCluster(name="far", brokers=1)


def plan(link: Link) -> Plan:
    cluster = ClusterSpec(topology=Topology(clusters=(NEAR, FAR), links=(link,)))
    first = PLAN.scenarios[0].model_copy(update={"cluster": cluster})
    return PLAN.model_copy(update={"scenarios": (first,), "repeats": 2})


def test_every_round_has_its_links_before_load_and_after_each_trial(tell: Tell) -> None:
    run = tell(plan(Link(ends=("near", "far"), rtt_ms=24))).run
    for data in run.rounds:
        trials = [None, *(trial.number for trial in data.trials)]
        assert sorted({probe.trial or 0 for probe in data.links}) == [trial or 0 for trial in trials]
        assert {(probe.source, probe.target) for probe in data.links} == {("near", "far"), ("far", "near")}


def test_distance_is_in_the_latency(tell: Tell, whole: Told) -> None:
    [near] = [row for row in whole.summary.scenarios if row.name == "plain"]
    [far] = tell(plan(Link(ends=("near", "far"), rtt_ms=100))).summary.scenarios
    assert near.repeats[0].trials[0].latency.p50_s is not None
    assert far.repeats[0].trials[0].latency.p50_s is not None
    assert far.repeats[0].trials[0].latency.p50_s > 0.1 > near.repeats[0].trials[0].latency.p50_s


def test_a_table_says_what_was_asked_for_and_what_was_found(tell: Tell) -> None:
    link = Link(ends=("near", "far"), rtt_ms=24, loss=0.01, back=Backward(loss=0, bandwidth_bytes_s=5e6))
    told = tell(plan(link))
    grid = links(told.summary)
    assert grid is not None
    heads = [f"{column.group} {column.head}".strip() for column in grid.columns]
    there, back = (dict(zip(heads, row, strict=True)) for row in grid.rows)
    assert (there["from"], there["to"]) == ("near", "far")
    assert (there["RTT, ms asked"], there["RTT, ms found"], there["RTT, ms error"]) == ("24.0", "24.0", "+0.0 %")
    assert (there["loss asked"], there["loss found"], back["loss asked"], back["loss found"]) == (
        "1 %",
        "1 %",
        "0 %",
        "0 %",
    )
    assert back["bandwidth, MB/s found"].strip() == "5.00"
    assert "LINKS BETWEEN CLUSTERS" in table(told.summary)
    assert "Links between clusters, as asked for and as found" in html(told.run, told.summary)


def test_without_a_topology_nothing_is_said_of_links(whole: Told) -> None:
    assert links(whole.summary) is None
    assert "LINKS BETWEEN" not in table(whole.summary)
    assert "Links between clusters" not in html(whole.run, whole.summary)


def test_errors_are_those_of_the_means_and_losses_those_of_all_packets() -> None:
    def probe(rtt_s: float, lost: int, trial: int | None = None) -> LinkProbe:
        return LinkProbe(
            source="a",
            target="b",
            kind="relay",
            trial=trial,
            asked_rtt_s=0.010,
            rtt_s=rtt_s,
            rtt_max_s=rtt_s,
            asked_loss=0.1,
            packets_sent=0 if trial else 1_000,
            packets_lost=lost,
        )

    [found] = summaries("x", [probe(0.010, 90), probe(0.012, 120), probe(0.020, 0, trial=1)])
    assert found.rtt_s == pytest.approx(0.011)
    assert found.rtt_error == pytest.approx(0.1)
    assert found.loaded_rtt_s == pytest.approx(0.020)
    assert found.packets_sent == 2_000
    assert found.loss == pytest.approx(0.105)

"""The table says what the summary says, in 120 columns, and never more."""

from __future__ import annotations

from typing import Any

import pytest

from meshmark.analysis.model import Change, Figures, Interval, ScenarioSummary, Summary
from meshmark.data_plane import DataPlane
from meshmark.plan import ClusterSpec, Scenario, Workload
from meshmark.report import cost, sections, view
from meshmark.report.table import WIDTH, table
from meshmark.topology import Link, MeshCluster, Topology
from meshmark.units import column, rate_msg_s
from tests.planes import WHOLE

from .conftest import PLAN, Tell, Told


def changed(summary: Summary, **scenarios: dict[str, Any]) -> Summary:
    """The summary with other values for the scenarios named (`istio_mtls` stands for `istio-mtls`)."""
    values = {name.replace("_", "-"): change for name, change in scenarios.items()}
    rows = tuple(row.model_copy(update=values.get(row.name, {})) for row in summary.scenarios)
    return summary.model_copy(update={"scenarios": rows})


def row_of(text: str, title: str, name: str) -> str:
    """The line of a scenario in the table with that title."""
    lines = text[text.index(title.upper()) :].splitlines()
    return next(line for line in lines if line.startswith(f"{name} "))


def test_it_fits_a_terminal(whole: Told, cut: Told) -> None:
    lines = [line for each in (whole, cut) for line in table(each.summary).splitlines()]
    assert [line for line in lines if len(line) > WIDTH] == []


def test_long_names_wrap_and_stay_whole(tell: Tell) -> None:
    long = "a" * 48
    scenarios = (PLAN.scenarios[0].model_copy(update={"name": long}), *PLAN.scenarios[1:])
    plan = PLAN.model_copy(update={"scenarios": scenarios, "baseline": long})
    text = table(tell(plan).summary)
    assert text.count("a" * 18) >= 4
    assert max(len(line) for line in text.splitlines() if not line.startswith("-")) <= WIDTH


def test_every_scenario_has_its_row_in_both_tables(whole: Told) -> None:
    text = table(whole.summary)
    for scenario in whole.summary.scenarios:
        assert rate_msg_s(scenario.rate_msg_s) in row_of(text, "What each setup carried", scenario.name)
        assert row_of(text, "What it took", scenario.name)


def test_the_log_and_the_device_are_separate_columns(whole: Told) -> None:
    (log, device) = (each for each in view.carried(whole.summary).columns if each.group == "MB/s per broker")
    assert (log.head, device.head) == ("to log", "to device")
    assert log.cells != device.cells


def test_results_stand_beside_what_the_environment_gives_and_one_above_it_is_marked(whole: Told) -> None:
    rows = whole.summary.against_environment
    first = rows[0].model_copy(update={"above": True})
    second = rows[1].model_copy(update={"ceiling_msg_s": rows[1].rate_msg_s / 2})
    text = table(whole.summary.model_copy(update={"against_environment": (first, second, *rows[2:])}))
    assert text.count("RESULTS AGAINST WHAT THE ENVIRONMENT GIVES") == 1
    assert text.count("  ABOVE") == 1
    assert text.count("  in memory\n") == 1
    assert text.count("  within") == len(rows) - 2 == 2 * len(whole.summary.scenarios) - 2


def test_packets_name_their_unit(whole: Told) -> None:
    assert "offload super-packets" in table(whole.summary)


def test_hops_that_nothing_encrypts_are_said_to_be_none_and_unknown_ones_unknown(whole: Told) -> None:
    plain = whole.summary.scenarios[0]
    assert view.hops(plain) == "none"
    assert view.hops(plain.model_copy(update={"plain_hops": ()})) == "–"


def test_what_was_not_measured_is_a_dash_and_never_zero(whole: Told) -> None:
    empty = dict(Figures())
    text = table(changed(whole.summary, istio=empty))
    assert "0" not in row_of(text, "What it took", "istio").removesuffix("unknown")


def test_columns_keep_their_decimals() -> None:
    assert column([12.3456, None, 0.5, 0]) == ["12.3", "–", "0.5", "0.0"]
    assert column([1234.5, -0.04]) == ["1,234", "0"]
    assert column([None, 0]) == ["–", "0"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "carried less than plain"),
        (
            {"istio": {"verdict": "slower"}, "istio_mtls": {"verdict": "cannot tell"}},
            "for istio-mtls this run cannot tell a difference from plain",
        ),
        ({"istio_mtls": {"verdict": "faster", "loss_vs_plain": -0.2}}, "istio-mtls (20 %) carried more than plain"),
        (
            {"kafka_tls": {"verdict": "no ceiling"}, "istio": {"verdict": "no ceiling"}},
            "for kafka-tls and istio this run cannot tell a ceiling",
        ),
        ({"istio_mtls": {"verdict": "no data"}}, "istio-mtls gave too little to compare"),
        ({"plain": {"repeats_valid": 0}}, "plain has no valid measurement, so nothing can be compared"),
    ],
)
def test_the_headline_follows_the_verdicts(whole: Told, changes: dict[str, dict[str, Any]], said: str) -> None:
    assert said in view.headline(changed(whole.summary, **changes)).replace("For ", "for ")


def test_a_scenario_that_cannot_be_told_is_never_said_to_differ(whole: Told) -> None:
    unsure = {"verdict": "cannot tell", "loss_vs_plain": 0.3, "loss_interval": Interval(low=-0.1, high=0.6)}
    headline = view.headline(changed(whole.summary, kafka_tls=unsure, istio=unsure, istio_mtls=unsure))
    assert "cannot tell" in headline
    assert "less" not in headline
    assert "more" not in headline
    assert "%" not in headline


def test_one_repeat_is_not_enough_to_tell(tell: Tell) -> None:
    method = PLAN.scenarios[0].method.model_copy(update={"trials": 4})
    scenarios = tuple(each.model_copy(update={"method": method}) for each in PLAN.scenarios)
    text = table(tell(PLAN.model_copy(update={"repeats": 1, "scenarios": scenarios})).summary)
    assert "cannot tell" in row_of(text, "What each setup carried", "istio-mtls")
    assert "carried less" not in text


def test_nothing_measured_is_an_answer(whole: Told) -> None:
    nothing: dict[str, Any] = {"repeats_valid": 0}
    summary = changed(whole.summary, plain=nothing, kafka_tls=nothing, istio=nothing, istio_mtls=nothing)
    assert "this run answers nothing" in table(summary)


def test_a_run_that_is_not_whole_says_so_before_anything_else(cut: Told) -> None:
    assert cut.summary.outcome == "failed"
    text = " ".join(table(cut.summary).split())
    assert text.index("Incomplete run: it failed after 0 of 12 rounds") < text.index("WHAT EACH SETUP CARRIED")
    assert "broker-2 died" in text


@pytest.mark.parametrize(
    ("outcome", "done", "said"),
    [
        ("complete", 12, ""),
        ("complete", 8, "Shortened run: 8 of 12 rounds"),
        ("interrupted", 5, "it was interrupted after 5 of 12 rounds"),
        ("unfinished", 5, "it crashed, or still goes on"),
    ],
)
def test_how_a_run_ended(whole: Told, outcome: str, done: int, said: str) -> None:
    summary = whole.summary.model_copy(update={"outcome": outcome, "rounds_done": done, "finished": None})
    assert (said in view.status(summary)) if said else view.status(summary) == ""


def test_an_interval_of_a_rate_does_not_go_below_zero() -> None:
    assert view.rate_interval(Interval(low=-84_510, high=205_600)) == "0 … 205,600"
    assert view.rate_interval(None) == "–"


def test_a_gain_is_a_negative_loss() -> None:
    assert view.loss(-0.031) == "−3 %"
    assert view.loss(-0.001) == "0 %"
    assert view.loss_interval(Interval(low=-0.08, high=0.04)) == "−8 … 4 %"


def test_added_latency_is_written_out_however_long() -> None:
    assert (
        view.change(Change(mean_s=0.285, interval=Interval(low=-1.49, high=2.06), pairs=2)) == "+285 (−1,490 … 2,060)"
    )
    assert view.change(Change(mean_s=-0.0123, interval=None, pairs=1)) == "−12.3 (one pair)"


def test_what_a_scenario_without_a_ceiling_took_is_drawn_all_the_same(whole: Told) -> None:
    rates, cpu, packets = sections.answer_figures(changed(whole.summary, istio={"rate_msg_s": None}))
    for figure in (rates, cpu, packets):
        assert "istio" in figure.grid.columns[0].cells


def test_like_scenarios_have_nothing_to_tell_apart(tell: Tell) -> None:
    plan = PLAN.model_copy(update={"scenarios": (PLAN.scenarios[0],)})
    assert view.unlike(tell(plan).summary) == []


def test_settings_that_differ_are_told(tell: Tell) -> None:
    other = PLAN.scenarios[2].model_copy(update={"workload": Workload(message_size=1_024)})
    plan = PLAN.model_copy(update={"scenarios": (PLAN.scenarios[0], other)})
    assert "istio has workload.messageSize 1024, plain has 512" in view.unlike(tell(plan).summary)


def test_of_far_clusters_only_what_differs_is_told() -> None:
    clusters = (MeshCluster(name="one", brokers=2, clients=1), MeshCluster(name="two", brokers=1))
    link = Link(ends=("one", "two"), rtt_ms=7)
    flat = Scenario(name="flat", data_plane=DataPlane.ISTIO_MTLS, cluster=_apart(clusters, link))
    behind = (clusters[0], clusters[1].model_copy(update={"gateway": True}))
    mixed = flat.model_copy(update={"name": "mixed", "cluster": _apart(behind, link)})
    farther = flat.model_copy(
        update={"name": "far", "cluster": _apart(clusters, link.model_copy(update={"rtt_ms": 9.0}))}
    )
    assert view.asked_apart(flat, mixed) == ["mixed has cluster.topology.clusters.two.gateway true, flat has false"]
    assert view.asked_apart(flat, farther) == ["far has cluster.topology.links.one-two.rttMs 9.0, flat has 7.0"]


def _apart(clusters: tuple[MeshCluster, ...], link: Link) -> ClusterSpec:
    return ClusterSpec(brokers=3, clients=1, topology=Topology(clusters=clusters, links=(link,)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"repeats_valid": 2}, "istio counts 2 repeats, plain 3"),
        ({"records_per_batch": 50.0}, "batching is part of the difference"),
        ({"limited_by": ("disk",)}, "istio was limited by disk"),
    ],
)
def test_measurements_that_are_not_like_for_like_are_told(whole: Told, change: dict[str, Any], said: str) -> None:
    told = view.unlike(changed(whole.summary, istio=change))
    assert any(said in line and line.startswith("istio ") for line in told)
    assert not any(said in line for line in view.unlike(whole.summary))


def test_latency_to_the_consumer_has_its_table_with_what_is_in_no_latency(whole: Told, tell: Tell) -> None:
    assert view.end_to_end(whole.summary) is None, "no consumers"
    read = PLAN.scenarios[0].model_copy(update={"workload": Workload(subscriptions_per_topic=1)})
    summary = tell(PLAN.model_copy(update={"scenarios": (read,)})).summary
    (load,) = summary.scenarios[0].equal_loads
    odd = changed(summary, plain={"equal_loads": (load.model_copy(update={"negative": 3, "unstamped": 1_200}),)})
    grid = view.end_to_end(odd)
    assert grid is not None
    assert row_of(table(odd), "End to end at equal load", "plain").split()[-2:] == ["3", "1,200"]
    assert [each.group for each in grid.columns].count("latency to the consumer, ms") == 4


def test_cpu_that_cannot_be_used_is_marked_where_it_stands(whole: Told) -> None:
    assert "not usable" not in cost.cost(whole.summary).note
    assert "not usable for istio:" in cost.cost(changed(whole.summary, istio={"unattributed_share": 0.4})).note


def test_the_environment_says_what_mtls_costs_without_kafka(whole: Told) -> None:
    assert "Without Kafka, mTLS between sidecars costs 22 % with one flow and 22 % with 4 flows" in table(
        whole.summary
    )
    grid = view.network(whole.summary)
    direct = next(row for row in grid.rows if row[0] == "direct")
    assert "–" not in direct, "nothing is unknown there, it is the base"


def test_a_plan_without_probes_has_no_environment(tell: Tell) -> None:
    spec = PLAN.environment.model_copy(update={"disk_seconds": 0, "network_seconds": 0})
    text = table(tell(PLAN.model_copy(update={"environment": spec})).summary)
    assert "DISK UNDER" not in text
    assert "NETWORK BETWEEN" not in text


def test_names_are_listed_as_people_do() -> None:
    assert [view.listing(names) for names in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_every_data_plane_is_in_the_fixture(whole: Told) -> None:
    rows: tuple[ScenarioSummary, ...] = whole.summary.scenarios
    assert {row.data_plane for row in rows} == set(WHOLE)


def test_hops_are_told_with_who_encrypts_each(whole: Told) -> None:
    by = {"client-broker": "envoy", "broker-broker": "kafka", "controller": "envoy"}
    first, *others = (row.model_copy(update={"encrypted_by": {}}) for row in whole.summary.scenarios)
    rows = (first.model_copy(update={"encrypted_by": by}), *others)
    shown = table(whole.summary.model_copy(update={"scenarios": rows}))
    assert f"{first.name}: client-broker, controller by envoy; broker-broker by kafka" in shown

"""The Markdown for a pull request: the verdict, tables that a renderer takes for tables, and no HTML."""

from __future__ import annotations

import re
from dataclasses import replace

from meshmark.analysis.summary import summarize
from meshmark.analysis.wan_model import WanSummary
from meshmark.plan import ClusterSpec
from meshmark.record import Outage
from meshmark.report import cost, view
from meshmark.report.markdown import escaped, markdown, table
from meshmark.report.table import table as table_text
from meshmark.report.view import Column, Grid, text_column
from meshmark.topology import Link, MeshCluster, Topology

from .conftest import PLAN, Tell, Told

WAN = WanSummary(
    scenario="plain", source="near", target="far", bytes_per_byte=2.1, saved=None, saved_bytes_per_byte=None
)


def test_the_verdict_comes_first(whole: Told) -> None:
    title, verdict = markdown(whole.summary).split("\n\n")[:2]
    assert title == "## test"
    assert verdict == f"**{view.headline(whole.summary)}**"


def test_it_has_the_tables_of_the_terminal_in_their_order(tell: Tell) -> None:
    clusters = (MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1))
    cluster = ClusterSpec(topology=Topology(clusters=clusters, links=(Link(ends=("near", "far"), rtt_ms=24),)))
    scenarios = tuple(each.model_copy(update={"cluster": cluster}) for each in PLAN.scenarios)
    run = tell(PLAN.model_copy(update={"scenarios": scenarios, "repeats": 2})).run
    down = (Outage(trial=1, link="near-far", began_s=5, ended_s=6),)
    summary = summarize(replace(run, rounds=(replace(run.rounds[0], outages=down), *run.rounds[1:])))
    summary = summary.model_copy(update={"wan": (WAN,)})
    titles = re.findall(r"^### (.*)$", markdown(summary), re.MULTILINE)
    found = {title.upper() for title in titles}
    assert [line for line in table_text(summary).splitlines() if line in found] == [each.upper() for each in titles]
    rules = [line for line in table_text(summary).splitlines() if re.fullmatch(r"-+( +-+)*", line)]
    assert len(rules) == len(titles), "a table without a heading in Markdown"
    assert {"Bytes between clusters", "Links that went down while load was offered"} <= set(titles)


def test_every_table_of_the_terminal_is_there_with_all_its_cells(whole: Told) -> None:
    text = markdown(whole.summary)
    for grid in (view.carried(whole.summary), cost.cost(whole.summary), view.network(whole.summary)):
        assert f"### {grid.title}\n" in text
        for row in grid.rows:
            assert f"| {' | '.join(row)} |" in text


def test_every_row_has_as_many_cells_as_its_heading(whole: Told) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", markdown(whole.summary), re.MULTILINE)
    assert len(tables) >= 4
    for each in tables:
        assert len({line.count(" |") for line in each.splitlines()}) == 1
        assert re.fullmatch(r"\|( -{3}:? \|)+", each.splitlines()[1])


def test_a_run_that_is_not_whole_says_so_on_top(cut: Told) -> None:
    assert markdown(cut.summary).split("\n\n")[2].startswith("**Incomplete run: it failed after ")


def test_nodes_that_brokers_of_a_cluster_might_share_are_told(whole: Told) -> None:
    host, said = whole.summary.started.host, "Brokers might share a node"
    assert said not in markdown(whole.summary)
    shared = host.model_copy(update={"features": {**host.features, "shared_nodes": True}})
    started = whole.summary.started.model_copy(update={"host": shared})
    assert said in markdown(whole.summary.model_copy(update={"started": started}))


def test_numbers_are_aligned_to_the_right_and_groups_stand_before_the_names() -> None:
    grid = Grid(title="T", columns=(text_column("name", ["a|b"]), Column(head="p50", cells=("1",), group="ms")))
    assert table(grid) == "| name | ms: p50 |\n| --- | ---: |\n| a\\|b | 1 |"


def test_signs_of_markdown_and_html_stay_signs() -> None:
    assert escaped("a|b <c> *d* \\") == "a\\|b \\<c> \\*d\\* \\\\"

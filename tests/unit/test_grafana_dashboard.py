"""The committed dashboard: it is what its script makes, every query is PromQL over metrics that the endpoint has, and
it shows what the report shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from meshmark.metrics import METRICS
from meshmark.record import Latency, LoadInterval, LoadTotals
from meshmark.report.forms import FORMS
from meshmark.report.panels import load_panels
from tests.promql import known_names, names
from tools import grafana_dashboard

AGAIN = "make it again: python -m tools.grafana_dashboard"


@pytest.fixture(scope="module")
def dashboard() -> Any:
    return json.loads(grafana_dashboard.FILE.read_text(encoding="utf-8"))


def panels(dashboard: Any) -> list[Any]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Any) -> Iterator[str]:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m")


def test_it_is_what_its_script_makes() -> None:
    assert grafana_dashboard.FILE.read_text(encoding="utf-8") == grafana_dashboard.text(), AGAIN


def test_grafana_s_schema_knows_every_key(dashboard: Any) -> None:
    """Its models leave out what they do not know: read and written again, nothing is missing."""
    register_default_plugins()
    assert json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder)) == dashboard
    strange = {**dashboard, "panels": [*dashboard["panels"][:-1], {**dashboard["panels"][-1], "noSuchKey": 1}]}
    assert json.loads(json.dumps(Dashboard.from_json(strange), cls=JSONEncoder)) == dashboard


def test_every_query_parses_and_asks_for_metrics_that_are_there(dashboard: Any) -> None:
    known = known_names()
    found = [(query, names(query)) for query in queries(dashboard)]
    assert len(found) > 50
    assert [query for query, asked in found if not asked or not asked <= known] == []


def test_it_has_every_panel_of_the_report_and_every_metric_of_the_record(dashboard: Any) -> None:
    titles = [panel["title"] for panel in panels(dashboard)]
    assert [form.title for form in FORMS if form.title not in titles] == []
    asked = set().union(*(names(query) for query in queries(dashboard)))
    shown = {metric for form in FORMS for source in form.sources for metric in (*source.metrics, *source.per)}
    from meshmark.analysis.exposition import HOSTS

    assert {metric for metric in METRICS if not set(HOSTS[metric].samples) & asked} == METRICS.keys() - shown


def test_what_workers_report_has_the_titles_of_the_report(dashboard: Any) -> None:
    latency = Latency(count=1, p50_s=0.1, p90_s=0.1, p99_s=0.1, p99_9_s=0.1, max_s=0.1, histogram="")
    totals = LoadTotals(offered=2, acknowledged=1, outstanding=1)
    reports = [LoadInterval(time_s=time_s, clients=1, totals=totals, latency=latency) for time_s in (0.0, 1.0)]
    titles = [panel.title for panel in load_panels(reports, 0.0)]
    assert len(titles) == 3
    assert set(titles) <= {panel["title"] for panel in panels(dashboard)}


def test_it_can_be_imported_anywhere(dashboard: Any) -> None:
    assert dashboard["uid"] == "meshmark-run"
    assert [each["name"] for each in dashboard["templating"]["list"]] == ["datasource", "run", "scenario", "repeat"]
    assert {panel["datasource"]["uid"] for panel in panels(dashboard)} == {"${datasource}"}
    numbers = [panel["id"] for panel in panels(dashboard)]
    assert len(set(numbers)) == len(numbers)


def test_no_line_is_named_twice_on_a_panel(dashboard: Any) -> None:
    for panel in panels(dashboard):
        lines = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(lines)) == len(lines), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(lines)


def test_panels_do_not_overlap(dashboard: Any) -> None:
    taken = [
        (column, row)
        for panel in dashboard["panels"]
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)

"""Makes the Grafana dashboard of the metrics endpoint: the same panels that the report's page has for a round.

    python -m tools.grafana_dashboard     writes meshmark/resources/grafana/dashboard.json

On top stands what a run is about (rates, latency, CPU per GB, packets per MB), below it every panel of
`report.forms.FORMS`, with the same titles, lines and order, in base units that Grafana scales itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

from meshmark.analysis.exposition import ASKED_RTT, HOSTS, LAG, LATE, LATENCIES, OUTSTANDING, RTT, TOTALS, Family
from meshmark.report.forms import FORMS, Form, Source

FILE = Path(__file__).parents[1] / "meshmark" / "resources" / "grafana" / "dashboard.json"
UID = "meshmark-run"
DATA = DataSourceRef(type_val="prometheus", uid="${datasource}")
CHOSEN = 'run=~"$run", scenario=~"$scenario", repeat=~"$repeat"'
STEP = "$__rate_interval"
COLUMNS = 3
WIDTH, HEIGHT = 24 // COLUMNS, 8
UNITS = {
    "MB/s": "Bps",
    "MB": "decbytes",
    "GB": "decbytes",
    "share": "percentunit",
    "share of time": "percentunit",
    "ms": "s",
    "s": "s",
    "h": "s",
}
"""Of the report's axes -> Grafana's base units; all others are plain numbers."""
ROWS = {
    "CPU of brokers": "CPU",
    "Accepted to the logs": "Logs and disks",
    "Requests answered by brokers": "Brokers",
    "Small requests under way": "Parts of the path, while they are timed",
    "Packets sent": "Network",
    "Payload through sidecars": "Sidecars",
    "Waiting": "Waiting, limits and links",
    "Dirty pages": "Memory, threads and tasks",
    "Waiting for the device under the logs": "Devices, interfaces and sockets",
}
"""Title of a row's first panel -> the row's."""
COMPONENTS = "kafka|sidecar|client|meshmark|kernel|others"

Query = tuple[str, str]
"""An expression, and the name of its lines."""


def text() -> str:
    """The dashboard as it is committed."""
    return json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def build() -> object:
    numbers = count(1)
    made = _frame().with_row(dashboard.Row("In one minute"))
    for panel in _answer(numbers):
        made = made.with_panel(panel)
    for form in FORMS:
        if form.title in ROWS:
            made = made.with_row(dashboard.Row(ROWS[form.title]))
        queries = [query for source in form.sources for query in _of_source(source)]
        made = made.with_panel(_panel(next(numbers), form.title, _unit(form), queries, axis=form.unit))
    return made.build()


def _frame() -> dashboard.Dashboard:
    made = dashboard.Dashboard("meshmark: a run as it happens").uid(UID).tags(["kafka", "service-mesh", "meshmark"])
    made = made.description("What each setup carries and what it costs; docs/how-to/watch.md of meshmark.")
    made = made.refresh("5s").time("now-15m", "now").tooltip(DashboardCursorSync.CROSSHAIR).readonly()
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for name, within in (
        ("run", ""),
        ("scenario", '{run=~"$run"}'),
        ("repeat", '{run=~"$run", scenario=~"$scenario"}'),
    ):
        query = f"label_values({TOTALS['acknowledged'].samples[0]}{within}, {name})"
        variable = dashboard.QueryVariable(name).label(name.capitalize()).query(query).datasource(DATA)
        variable = variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True)
        made = made.with_variable(variable)
    return made


def _answer(numbers: Iterator[int]) -> Iterator[timeseries.Panel]:
    payload = _sum(TOTALS["acknowledged_bytes"], "scenario")
    busy = " + ".join(
        f'sum by (scenario, component) (rate({name}{{{CHOSEN}, component=~"{COMPONENTS}"}}[{STEP}]))'
        for name in (_name("cpu_user_s"), _name("cpu_system_s"))
    )
    packets = f'sum by (scenario) (rate({_name("tx_packets")}{{{CHOSEN}, component="net", host!="bridge"}}[{STEP}]))'
    rates = [(_sum(TOTALS[name], "scenario"), f"{{{{scenario}}}}: {name}") for name in ("acknowledged", "offered")]
    troubles = ("failed", "unknown", "consumed")
    others = [(_sum(TOTALS[name], "scenario"), f"{{{{scenario}}}}: {name}") for name in troubles]
    others.append((_sum(LATE, "scenario"), "{{scenario}}: sent late by the generator"))
    backlog = [
        (_gauge(OUTSTANDING, "scenario"), "{{scenario}}: outstanding"),
        (_gauge(LAG, "scenario"), "{{scenario}}: behind the consumers"),
    ]
    trips = [
        (_gauge(RTT, "scenario, source, target"), "{{scenario}}: {{source}} to {{target}}"),
        (_gauge(ASKED_RTT, "scenario, source, target"), "{{scenario}}: {{source}} to {{target}}, asked for"),
    ]
    yield _panel(next(numbers), "Messages", "short", rates, axis="per second")
    yield _panel(next(numbers), "Latency from the intended send", "s", list(_quantiles("latency")))
    yield _panel(next(numbers), "Latency up to the consumer", "s", list(_quantiles("end_to_end")))
    yield _panel(
        next(numbers),
        "CPU seconds per GB acknowledged",
        "short",
        [(f"({busy}) / on (scenario) group_left () ({payload} > 0) * 1e9", "{{scenario}}: {{component}}")],
    )
    yield _panel(
        next(numbers),
        "Packets per MB acknowledged",
        "short",
        [(f"{packets} / ({payload} > 0) * 1e6", "{{scenario}}")],
    )
    yield _panel(next(numbers), "Backlog", "short", backlog, axis="records")
    yield _panel(next(numbers), "Other records", "short", others, axis="per second")
    yield _panel(next(numbers), "Round trips between clusters", "s", trips)


def _quantiles(name: str) -> Iterator[Query]:
    buckets = f"rate({LATENCIES[name].name}_bucket{{{CHOSEN}}}[{STEP}])"
    for quantile in (0.5, 0.99, 0.999):
        expression = f"histogram_quantile({quantile}, sum by (scenario, le) ({buckets}))"
        yield expression, f"{{{{scenario}}}}: p{quantile * 100:g}"


def _of_source(source: Source) -> Iterator[Query]:
    """One line of all hosts, or one for each: as in the report."""
    one = "component" if source.several else "host"
    by = "scenario" if source.label else f"scenario, {one}"
    legend = source.label or f"{{{{{one}}}}}{source.suffix}"
    sum_, count = (
        " + ".join(_of_metric(metric, source, by) for metric in metrics) for metrics in (source.metrics, source.per)
    )
    yield f"({sum_}) / ({count} > 0)" if count else sum_, f"{{{{scenario}}}}: {legend}"


def _of_metric(metric: str, source: Source, by: str) -> str:
    family = HOSTS[metric]
    component = f'=~"{source.component}.*"' if source.several else f'="{source.component}"'
    chosen = f"{family.samples[0]}{{{CHOSEN}, component{component}}}"
    return f"sum by ({by}) ({f'rate({chosen}[{STEP}])' if family.kind == 'counter' else chosen})"


def _name(metric: str) -> str:
    return HOSTS[metric].samples[0]


def _sum(family: Family, by: str) -> str:
    return f"sum by ({by}) (rate({family.samples[0]}{{{CHOSEN}}}[{STEP}]))"


def _gauge(family: Family, by: str) -> str:
    return f"sum by ({by}) ({family.name}{{{CHOSEN}}})"


def _unit(form: Form) -> str:
    return UNITS.get(form.unit, "short")


def _panel(number: int, title: str, unit: str, queries: list[Query], *, axis: str = "") -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.BOTTOM)
    made = timeseries.Panel().id(number).title(title).unit(unit).datasource(DATA).span(WIDTH).height(HEIGHT)
    made = made.min(0).fill_opacity(0).line_width(2).legend(legend.show_legend(True))
    made = made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if axis and unit == "short":
        made = made.axis_label(axis)
    for place, (expression, name) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression).legend_format(name).ref_id(chr(ord("A") + place))
        made = made.with_target(query.datasource(DATA))
    return made


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")

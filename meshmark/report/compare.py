"""Two sides compared, as text for a terminal and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from meshmark.analysis.compare import HOLDS_ONE, NO_PAIR, Comparison, Comparisons, RunRef
from meshmark.analysis.model import Interval
from meshmark.report import markdown as markdown_form
from meshmark.report import table, view
from meshmark.report.view import Column, Grid, text_column
from meshmark.units import UNKNOWN, number

LEAST_CHANGE = 0.001
"""That is worth a figure."""
FALSE_ALARM = 0.05
"""Of intervals of 95 %: so many exclude 1 where nothing differs."""


def text(found: Comparisons) -> str:
    """For a terminal."""
    parts = [_sides(found), table.text(grid(found))]
    parts += [table.listed(title, items) for title, items in _notes(found) if items]
    return "\n\n".join(parts) + "\n"


def markdown(found: Comparisons) -> str:
    """For a pull request."""
    made = grid(found)
    parts = ["## " + _title(found), *_sides(found).splitlines(), markdown_form.table(made), made.note]
    parts += [markdown_form.listed(title, items) for title, items in _notes(found) if items]
    return "\n\n".join(parts) + "\n"


def _title(found: Comparisons) -> str:
    return f"{_names(found.contender)} against {_names(found.baseline)}"


def _names(runs: Sequence[RunRef]) -> str:
    return view.listing([each.name for each in runs])


def _sides(found: Comparisons) -> str:
    sides = (("A", found.contender), ("B", found.baseline))
    return "\n".join(f"{side}: {_run(each)}" for side, runs in sides for each in runs)


def _run(run: RunRef) -> str:
    when = datetime.fromtimestamp(run.started_at, UTC)
    ending = "" if run.outcome == "complete" else f", {run.outcome}"
    return f"{run.name}, run {run.run_id[:8]} of {when:%Y-%m-%d %H:%M} UTC{ending}"


def grid(found: Comparisons) -> Grid:
    """A row for each metric of each scenario."""
    rows = found.comparisons
    return Grid(
        title="A against B",
        columns=(
            text_column("scenario", _scenarios(rows)),
            text_column("metric", (each.metric for each in rows)),
            Column(head="A", cells=tuple(_value(each, each.contender) for each in rows)),
            Column(head="B", cells=tuple(_value(each, each.baseline) for each in rows)),
            Column(head="A / B", cells=tuple(_ratio(each.ratio) for each in rows)),
            Column(head="95 % interval", cells=tuple(_interval(each.interval) for each in rows)),
            Column(head="pairs", cells=tuple(f"{each.pairs_counted} of {each.pairs_planned}" for each in rows)),
            Column(head="can tell", cells=tuple(_detectable(each.detectable) for each in rows)),
            text_column("verdict", (_verdict(each, found.margin) for each in rows)),
        ),
        note=_explained(found),
    )


def _explained(found: Comparisons) -> str:
    said = (
        "A and B: geometric means of the repeats that make pairs; latencies in ms, at the load named. Can tell: the "
        "least change that so many pairs with this scatter show in 4 of 5 comparisons."
    )
    told = sum(each.interval is not None for each in found.comparisons)
    if told > 1:
        said += (
            f" Where nothing differs, one in {1 / FALSE_ALARM:.0f} intervals excludes 1 all the same: of these "
            f"{told}, expect {number(told * FALSE_ALARM, 2)}."
        )
    return said


def _scenarios(rows: Sequence[Comparison]) -> list[str]:
    """Each once, on its first row."""
    names = [each.scenario if each.scenario == each.against else f"{each.scenario} / {each.against}" for each in rows]
    return ["" if place and names[place - 1] == name else name for place, name in enumerate(names)]


def _value(row: Comparison, value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return number(value * 1e3) if row.unit == "s" else number(value)


def _ratio(value: float | None) -> str:
    return UNKNOWN if value is None else f"{number(value)}" if value >= 10 else f"{value:.2f}"


def _interval(value: Interval | None) -> str:
    return UNKNOWN if value is None else f"{_ratio(value.low)} … {_bounded(value.high)}"


def _bounded(value: float) -> str:
    return "> 1,000" if value > 1_000 else _ratio(value)


def _detectable(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    if value < LEAST_CHANGE:
        return f"< {number(LEAST_CHANGE * 100)} %"
    return "> 1,000 %" if value > 10 else f"{number(value * 100, 2)} %"


def _verdict(row: Comparison, margin: float) -> str:
    return f"same within {number(margin * 100)} %" if row.verdict == "same" else row.verdict


def _notes(found: Comparisons) -> list[tuple[str, list[str]]]:
    keep = []
    if not found.in_turns:
        keep.append(
            "A and B were not measured in turns: a verdict says that these runs differ; what changed on the machine "
            "in between may be why"
        )
    if found.only_one_side:
        keep.append(f"not in all runs, so not compared: {view.listing(found.only_one_side)}")
    keep += [f"said to differ, and does not: {key}" for key in found.not_different]
    return [
        ("Meant to differ", [f"{each.key}: {each.contender} against {each.baseline}" for each in found.meant]),
        ("Cannot tell", _untold(found)),
        ("Not in the ratios", _missing(found)),
        ("Keep in mind", keep),
    ]


def _untold(found: Comparisons) -> list[str]:
    """Reasons that neither the interval nor a missing pair shows, with the metrics that they hold for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in found.comparisons:
        if each.why not in ("", HOLDS_ONE, NO_PAIR):
            reasons.setdefault((each.scenario, each.why), []).append(each.metric)
    return [f"{scenario}, {view.listing(metrics)}: {why}" for (scenario, why), metrics in reasons.items()]


def _missing(found: Comparisons) -> list[str]:
    """Repeats without a ratio: a line for all metrics, repeats and scenarios that lack it for the same reason."""
    by_repeat: dict[tuple[str, str, str], list[str]] = {}
    for each in found.comparisons:
        for pair in each.pairs:
            if pair.missing:
                repeat = f"{pair.repeat}" if len(found.contender) == 1 else f"{pair.repeat} of pair {pair.run}"
                by_repeat.setdefault((pair.missing, each.scenario, repeat), []).append(each.metric)
    by_scenario: dict[tuple[str, str, str], list[str]] = {}
    for (why, scenario, repeat), metrics in by_repeat.items():
        by_scenario.setdefault((why, scenario, view.listing(metrics)), []).append(repeat)
    lines: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (why, scenario, metrics_told), repeats in by_scenario.items():
        lines.setdefault((why, metrics_told, tuple(repeats)), []).append(scenario)
    return [
        f"{view.listing(scenarios)}, repeat{'' if len(repeats) == 1 else 's'} {view.listing(repeats)} ({metrics}): "
        f"{_sided(why)}"
        for (why, metrics, repeats), scenarios in lines.items()
    ]


def _sided(why: str) -> str:
    return why.replace("contender: ", "A: ").replace("baseline: ", "B: ")

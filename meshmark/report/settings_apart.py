"""What each setup had otherwise than its baseline: a table for each, of what the record has of its components."""

from __future__ import annotations

from meshmark.analysis.model import Summary
from meshmark.analysis.settings_model import SettingApart
from meshmark.report import view
from meshmark.report.view import Grid, text_column

ABSENT = "not set"


def tables(summary: Summary) -> list[Grid]:
    """None for setups in which nothing differs."""
    pairs = list(dict.fromkeys((each.scenario, each.baseline) for each in summary.settings_apart))
    return [_table(summary, scenario, baseline) for scenario, baseline in pairs]


def _table(summary: Summary, scenario: str, baseline: str) -> Grid:
    parts: dict[SettingApart, list[str]] = {}
    for each in summary.settings_apart:
        if each.scenario == scenario:
            parts.setdefault(each.model_copy(update={"part": ""}), []).append(each.part)
    rows = list(parts)
    return Grid(
        title=f"{scenario} against {baseline}",
        columns=(
            text_column("setting", (each.setting for each in rows)),
            text_column("of", (view.listing(names) for names in parts.values())),
            text_column(baseline, (ABSENT if each.baseline_value is None else each.baseline_value for each in rows)),
            text_column(scenario, (ABSENT if each.value is None else each.value for each in rows)),
            text_column("recorded in", (each.recorded_in for each in rows)),
        ),
    )

"""The generated reference pages are those of the code."""

from __future__ import annotations

from meshmark.cli.reports import FORMS, TABLES
from meshmark.metrics import METRICS
from meshmark.report import reference

AGAIN = "write it again: python -m meshmark.cli.reference"


def test_the_page_of_metrics_is_current() -> None:
    assert reference.METRICS_FILE.read_text(encoding="utf-8") == reference.metrics_page(), AGAIN


def test_the_page_of_forms_is_current() -> None:
    assert reference.FORMATS_FILE.read_text(encoding="utf-8") == reference.formats_page(), AGAIN


def test_every_metric_has_its_row() -> None:
    page = reference.metrics_page()
    assert [name for name in METRICS if page.count(f"| `{name}` |") != 1] == []


def test_every_form_of_the_command_is_told() -> None:
    page = reference.formats_page()
    assert [form for form in FORMS if f"`{form}`" not in page] == []
    assert [table for table in TABLES if f"## Table `{table}`" not in page] == []

"""The reference agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshmark import errors, record
from meshmark.cli.reference import PAGES, RECORD
from meshmark.metrics import METRICS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_every_exit_code_is_documented() -> None:
    table = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in kinds if issubclass(kind, errors.MeshmarkError)}
    assert documented == raised | {0, 3, 130, 143}


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    again = "write it again: python -m meshmark.cli.reference"
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), again


def test_the_page_of_the_record_names_every_file_that_a_store_reads() -> None:
    text = Path(record.__file__).with_name("store.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"(\w+\.jsonl?)"', text)) - {"plan.json"}
    assert {name.rpartition("/")[2] for name in RECORD} == read


def test_what_is_recorded_beside_a_node_exporter_is_recorded() -> None:
    page = (REFERENCE.parent / "how-to" / "watch.md").read_text(encoding="utf-8")
    table = page.partition("### Beside a node exporter")[2].partition("Not recorded:")[0]
    named = re.findall(r"`(\w+)`", table)
    assert len(named) > 50
    assert [name for name in named if name not in METRICS] == []

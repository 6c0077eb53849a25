"""The Markdown for a pull request: the verdict, tables that a renderer takes for tables, and no HTML."""

from __future__ import annotations

import re

from meshmark.report import cost, view
from meshmark.report.markdown import escaped, markdown, table
from meshmark.report.view import Column, Grid, text_column

from .conftest import Told


def test_the_verdict_comes_first(whole: Told) -> None:
    title, verdict = markdown(whole.summary).split("\n\n")[:2]
    assert title == "## test"
    assert verdict == f"**{view.headline(whole.summary)}**"


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


def test_numbers_are_aligned_to_the_right_and_groups_stand_before_the_names() -> None:
    grid = Grid(title="T", columns=(text_column("name", ["a|b"]), Column(head="p50", cells=("1",), group="ms")))
    assert table(grid) == "| name | ms: p50 |\n| --- | ---: |\n| a\\|b | 1 |"


def test_signs_of_markdown_and_html_stay_signs() -> None:
    assert escaped("a|b <c> *d* \\") == "a\\|b \\<c> \\*d\\* \\\\"

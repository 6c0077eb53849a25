"""A summary as Markdown: the verdict and the tables, for a pull request or the summary of a CI job.

Tables are GitHub's, of text alone (no HTML, no pictures), so other renderers and a diff show them as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshmark.analysis.model import Summary
from meshmark.report import view
from meshmark.report.caveats import caveats
from meshmark.report.grids import grids
from meshmark.report.view import Grid


def markdown(summary: Summary) -> str:
    """What the terminal's table says, in its order."""
    parts = [f"## {summary.plan.name}", f"**{escaped(view.headline(summary))}**"]
    if note := view.status(summary):
        parts.append(f"**{escaped(note)}**")
    parts += [section(grid) for grid in grids(summary)]
    parts.append(listed("Not like for like", view.unlike(summary)))
    parts.append(listed("Warnings", summary.warnings))
    about = (f"Run {summary.run_id}", view.machine(summary), view.extent(summary), *caveats(summary))
    parts.append("\n".join(f"{escaped(line)}  " for line in about).rstrip())
    return "\n\n".join(part for part in parts if part) + "\n"


def section(grid: Grid) -> str:
    """A heading, the table, and its note."""
    return "\n\n".join(part for part in (f"### {grid.title}", table(grid), escaped(grid.note)) if part)


def table(grid: Grid) -> str:
    """A heading over several columns stands before the name of each."""
    heads = [f"{each.group}: {each.head}" if each.group else each.head for each in grid.columns]
    rules = ["---:" if each.numeric else "---" for each in grid.columns]
    rows = [[escaped(head) for head in heads], rules, *([escaped(cell) for cell in row] for row in grid.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def listed(title: str, items: Sequence[str]) -> str:
    """A heading in bold and a line for each item; empty for none."""
    return f"**{title}**\n\n" + "\n".join(f"- {escaped(item)}" for item in items) if items else ""


def escaped(text: str) -> str:
    """Signs that a table, emphasis or HTML would take for their own stay signs."""
    return re.sub(r"([\\|<*])", r"\\\1", text)

"""A summary as plain text for a terminal: 120 columns, readable without colour, in a minute."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from meshmark.analysis.model import Summary
from meshmark.report import view
from meshmark.report.caveats import caveats, encrypters
from meshmark.report.grids import grids
from meshmark.report.view import Column, Grid

WIDTH = 120
GAP = "  "
TEXT_WIDTHS = (40, 32, 26, 22, 18)
"""A text cell longer than this goes on in the next line: the first of these with which its table has room, else the
last."""


def table(summary: Summary) -> str:
    """The document's table, the environment benchmark, and what to keep in mind when reading them."""
    parts = [f"meshmark: {summary.plan.name}, run {summary.run_id}\n{view.machine(summary)}\n{view.extent(summary)}"]
    if note := view.status(summary):
        parts.append(_paragraph(note))
    parts.append(_paragraph(view.headline(summary)))
    parts += [text(grid) for grid in grids(summary)]
    parts.append(listed("Not like for like", view.unlike(summary)))
    parts.append(listed("Warnings", summary.warnings))
    parts.append(listed("Who encrypts what", encrypters(summary)))
    parts.append(_paragraph(" ".join(caveats(summary))))
    return "\n\n".join(part for part in parts if part) + "\n"


def text(grid: Grid) -> str:
    """One table, aligned; text cells wrap."""
    for text_width in TEXT_WIDTHS:
        cells = [[_wrapped(cell, each, text_width) for cell in each.cells] for each in grid.columns]
        widths = [
            max([len(each.head), *(len(line) for lines in column for line in lines)])
            for each, column in zip(grid.columns, cells, strict=True)
        ]
        _widen(grid, widths)
        if sum(widths) + len(GAP) * (len(widths) - 1) <= WIDTH:
            break
    lines = [grid.title.upper()]
    if grid.grouped:
        lines.append(_groups(grid, widths))
    lines.append(_line([each.head for each in grid.columns], grid.columns, widths))
    lines.append(GAP.join("-" * width for width in widths))
    for row in range(len(grid.columns[0].cells)):
        height = max(len(column[row]) for column in cells)
        for part in range(height):
            texts = [column[row][part] if part < len(column[row]) else "" for column in cells]
            lines.append(_line(texts, grid.columns, widths))
    if grid.note:
        lines.append(_paragraph(grid.note))
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(cell: str, column: Column, width: int) -> list[str]:
    """Lines of a cell. A word that is too long is broken where a name or a setting has a joint."""
    if column.numeric:
        return [cell]
    words = (word if len(word) <= width else _jointed(word, width) for word in cell.split())
    return textwrap.wrap(" ".join(words), width, break_on_hyphens=False) or [""]


def _jointed(word: str, width: int) -> str:
    """The word with blanks after some of its joints, so that no piece is longer than `width` if that can be."""
    pieces = [""]
    for part in re.findall(r".+?(?:[.,=](?![\d-])|-(?=[a-z])|$)", word):
        if len(pieces[-1]) + len(part) <= width:
            pieces[-1] += part
        else:
            pieces.append(part)
    return " ".join(piece for piece in pieces if piece)


def _widen(grid: Grid, widths: list[int]) -> None:
    """Columns under a heading are together at least as wide as it."""
    first = 0
    for heading, count in grid.groups:
        missing = len(heading) - sum(widths[first : first + count]) - len(GAP) * (count - 1)
        widths[first] += max(0, missing)
        first += count


def _groups(grid: Grid, widths: Sequence[int]) -> str:
    texts = []
    first = 0
    for heading, count in grid.groups:
        width = sum(widths[first : first + count]) + len(GAP) * (count - 1)
        texts.append(heading.center(width, "·") if heading and count > 1 else heading.ljust(width))
        first += count
    return GAP.join(texts)


def _line(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    return GAP.join(
        value.rjust(width) if each.numeric else value.ljust(width)
        for value, each, width in zip(texts, columns, widths, strict=True)
    )


def _paragraph(value: str) -> str:
    return textwrap.fill(value, WIDTH, break_on_hyphens=False)


def listed(title: str, items: Sequence[str]) -> str:
    """A heading and a line for each item; empty for none."""
    if not items:
        return ""
    lines = [
        textwrap.fill(item, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for item in items
    ]
    return "\n".join([title.upper(), *lines])

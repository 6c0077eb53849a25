"""A round's pictures: what a panel shows over the round's time, as SVG.

Drawn here and not by Vega-Lite like the other pictures: a page has hundreds of these, they are nothing but lines, and
they took most of a report's time (docs/decisions/0018-lines-drawn-here.md). Every panel's plot has the same place and
scale: the same time is at the same x on a whole page. The page's script finds `marks`, `words`, `time`, `plot` and the
names' `data-line` to show a part of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from meshmark.report.panels import Line, Panel
from meshmark.report.style import BAND, COLOURS, DASHES, FAINT, PLOT_HEIGHT, RULE, side_by_side, ticks

PLOT_WIDTH = 400
LEFT, RIGHT, TOP, BOTTOM = 52, 124, 8, 22
WIDTH, HEIGHT = LEFT + PLOT_WIDTH + RIGHT, TOP + PLOT_HEIGHT + BOTTOM
TIME_STEPS_MAX = 6
LESS_DARK = 0.45
"""Opacity of the windows that do not count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A trial's measured window, seconds since the round began."""

    start_s: float
    end_s: float
    label: str
    counted: bool


def lines(panel: Panel, end_s: float, windows: Sequence[Window]) -> str:
    """A panel over the round's time; windows are shaded, those of the search that count darker. Hidden from screen
    readers: its figure has words and a table."""
    steps = ticks(max((value for line in panel.lines for value in line.values if value is not None), default=0.0))
    grid = "".join(f'<path d="M0,{_y(step, steps):.1f}h{PLOT_WIDTH}" stroke="{RULE}"/>' for step in steps)
    drawn = "".join(_line(place, line, panel.times_s, end_s, steps) for place, line in enumerate(panel.lines))
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" style="--width:{WIDTH}px" aria-hidden="true" '
        f'focusable="false"><g transform="translate({LEFT},{TOP})" font-size="12">{grid}'
        f'<g class="marks">{"".join(_band(window, end_s) for window in windows)}'
        f'<g class="lines" fill="none" stroke-width="1.6" stroke-linejoin="round">{drawn}</g></g>'
        f'{_words(panel, steps, end_s)}<rect class="plot" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}" fill="none"/>'
        "</g></svg>"
    )


def _x(time_s: float, end_s: float) -> float:
    return PLOT_WIDTH * time_s / end_s


def _y(value: float, steps: Sequence[float]) -> float:
    return PLOT_HEIGHT * (1 - value / steps[-1])


def _band(window: Window, end_s: float) -> str:
    left, right = _x(window.start_s, end_s), _x(window.end_s, end_s)
    lighter = "" if window.counted else f' opacity="{LESS_DARK}"'
    return f'<rect x="{left:.1f}" width="{right - left:.1f}" height="{PLOT_HEIGHT}" fill="{BAND}"{lighter}/>'


def _line(place: int, line: Line, times_s: Sequence[float], end_s: float, steps: Sequence[float]) -> str:
    """A gap in the values is a gap in the line; a value alone between two gaps is a dot, whatever the zoom."""
    pieces: list[list[str]] = [[]]
    for time_s, value in zip(times_s, line.values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{_x(time_s, end_s):.1f},{_y(value, steps):.1f}")
    path = "".join("M" + "L".join(piece) for piece in pieces if piece)
    dashes = ",".join(map(str, DASHES[(place + place // len(COLOURS)) % len(DASHES)]))
    return f'<path d="{path}" stroke="{_colour(place)}" stroke-dasharray="{dashes}"/>' + _dots(pieces, place)


def _dots(pieces: Sequence[Sequence[str]], place: int) -> str:
    alone = "".join(f"M{piece[0]}h0" for piece in pieces if len(piece) == 1)
    if not alone:
        return ""
    return f'<g><path d="{alone}" stroke="{_colour(place)}" stroke-width="3" stroke-linecap="round"/></g>'


def _words(panel: Panel, steps: Sequence[float], end_s: float) -> str:
    """Ticks' labels and the lines' names at their ends."""
    places = {line.label: place for place, line in enumerate(panel.lines)}
    ends = [(line.label, next((v for v in reversed(line.values) if v is not None), 0.0)) for line in panel.lines]
    seconds = [step for step in ticks(end_s, TIME_STEPS_MAX) if step <= end_s]
    names = [
        _text(PLOT_WIDTH + 8, _y(high, steps), label, "start", _colour(places[label]), f' data-line="{places[label]}"')
        for label, high in side_by_side(ends, steps[-1])
    ]
    return (
        f'<g class="words">{"".join(_text(-7, _y(step, steps), f"{step:,.10g}", "end") for step in steps)}'
        f'<g class="time">{"".join(_second(step, end_s) for step in seconds)}</g>{"".join(names)}</g>'
    )


def _second(step: float, end_s: float) -> str:
    x = _x(step, end_s)
    mark = f'<path d="M{x:.0f}.5,{PLOT_HEIGHT}.5v4" stroke="{RULE}"/>'
    return mark + _text(x, PLOT_HEIGHT + 13, f"{step:,.10g}", "middle")


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _text(x: float, y: float, words: str, anchor: str, colour: str = FAINT, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(words)}</text>'

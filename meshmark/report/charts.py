"""Vega-Lite pictures as SVG: they need no JavaScript, print, and take their colours from the page.

Colours are CSS variables of the page (`--c1`..`--c7`, `--ink`, `--faint`, `--rule`, `--band`), so that light, dark and
print each have their own; lines also differ by dashes and carry their names at their ends. Every picture is one
conversion of about 20 ms; a conversion's engine starts once, in about half a second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import vl_convert

from meshmark.analysis.model import ScenarioSummary, TrialSummary
from meshmark.report.panels import Panel
from meshmark.units import column, rate_msg_s

Spec = dict[str, Any]

VEGA_LITE = "6.1"
FONT = "sans-serif"
COLOURS = tuple(f"var(--c{number})" for number in range(1, 8))
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [12, 3], [4, 2, 1, 2, 1, 2], [1, 3])
INK, FAINT, RULE, BAND = "var(--ink)", "var(--faint)", "var(--rule)", "var(--band)"

PLOT_WIDTH, PLOT_HEIGHT = 400, 132
TICK_WIDTH, LABEL_WIDTH, TOP = 52, 124, 8
BAR_WIDTH, RATE_WIDTH = 112, 400
LABEL_STEP = 14
"""Pixels between two names at the ends of lines."""
CROSS = "M-0.8,-0.8L0.8,0.8M-0.8,0.8L0.8,-0.8"

CONFIG: Spec = {
    "aria": False,
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": FAINT,
        "labelFontSize": 12,
        "titleColor": FAINT,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": RULE,
        "domainColor": RULE,
        "tickColor": RULE,
        "tickSize": 4,
    },
    "header": {"labelColor": INK, "labelFontSize": 13, "labelFontWeight": "normal", "title": None},
    "text": {"color": INK, "fontSize": 12},
    "style": {"cell": {"stroke": None}},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A trial's measured window, seconds since the round began."""

    start_s: float
    end_s: float
    label: str
    counted: bool


def lines(panel: Panel, end_s: float, windows: Sequence[Window]) -> str:
    """A panel over the round's time; windows are shaded, those of the search that count darker.

    Its words are added to the picture afterwards: measuring them took the converter more time than all the rest.
    Their places are known, since every panel's plot has the same: the same time is at the same x on a whole page.
    The page's script finds `words`, `time`, `plot` and the names' `data-line` to show a part of the time.
    """
    ticks = _ticks(max((value for line in panel.lines for value in line.values if value is not None), default=0.0))
    seconds = [tick for tick in _ticks(end_s, steps_max=6) if tick <= end_s]
    names = [line.label for line in panel.lines]
    x: Spec = {
        "field": "t",
        "type": "quantitative",
        "scale": {"domain": [0, end_s], "nice": False},
        "axis": None,
    }
    y: Spec = {"field": "v", "type": "quantitative", **_y_axis(ticks, labels=False)}
    drawn = {
        "data": {
            "values": [
                {"t": time_s, "v": value, "s": line.label}
                for line in panel.lines
                for time_s, value in zip(panel.times_s, line.values, strict=True)
            ]
        },
        "mark": {"type": "line", "strokeWidth": 1.6, "strokeJoin": "round", "invalid": "break-paths-filter-domains"},
        "encoding": {
            "x": x,
            "y": y,
            "color": {"field": "s", "type": "nominal", "scale": _scale(names, COLOURS), "legend": None},
            "strokeDash": {"field": "s", "type": "nominal", "scale": _scale(names, DASHES), "legend": None},
        },
    }
    picture = svg(
        {
            "width": PLOT_WIDTH,
            "height": PLOT_HEIGHT,
            "autosize": "none",
            "padding": {"left": TICK_WIDTH, "right": LABEL_WIDTH, "top": TOP, "bottom": 22},
            "layer": [_bands(windows, x), drawn] if windows else [drawn],
        }
    )
    return picture.removesuffix("</svg>") + _words(panel, ticks, seconds, end_s) + "</svg>"


def _words(panel: Panel, ticks: Sequence[float], seconds: Sequence[float], end_s: float) -> str:
    """Ticks' labels and the lines' names at their ends; over all of it what a pointer can be dragged on."""

    def text(x: float, y: float, words: str, anchor: str, colour: str = FAINT, more: str = "") -> str:
        return f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(words)}</text>'

    def at(value: float) -> float:
        return PLOT_HEIGHT * (1 - value / ticks[-1])

    def time(tick: float) -> str:
        x = PLOT_WIDTH * tick / end_s
        mark = f'<path d="M{x:.0f}.5,{PLOT_HEIGHT}.5v4" stroke="{RULE}"/>'
        return mark + text(x, PLOT_HEIGHT + 13, f"{tick:,.10g}", "middle")

    places = {line.label: place for place, line in enumerate(panel.lines)}
    ends = [(line.label, next((v for v in reversed(line.values) if v is not None), 0.0)) for line in panel.lines]
    names = [
        text(
            PLOT_WIDTH + 8,
            at(height),
            label,
            "start",
            COLOURS[places[label] % len(COLOURS)],
            f' data-line="{places[label]}"',
        )
        for label, height in _labels(ends, ticks[-1])
    ]
    return (
        f'<g transform="translate({TICK_WIDTH},{TOP})" font-size="12"><g class="words">'
        + "".join(text(-7, at(tick), f"{tick:,.10g}", "end") for tick in ticks)
        + f'<g class="time">{"".join(map(time, seconds))}</g>{"".join(names)}</g>'
        + f'<rect class="plot" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}" fill="none"/></g>'
    )


def _bands(windows: Sequence[Window], x: Spec) -> Spec:
    return {
        "data": {
            "values": [
                {"a": window.start_s, "b": window.end_s, "o": 1.0 if window.counted else 0.45} for window in windows
            ]
        },
        "mark": {"type": "rect", "color": BAND},
        "encoding": {
            "x": {**x, "field": "a"},
            "x2": {"field": "b"},
            "opacity": {"field": "o", "type": "quantitative", "scale": None, "legend": None},
        },
    }


def bars(rows: Sequence[str], columns: Mapping[str, Sequence[float | None]], *, shared: bool = True) -> str:
    """One row of labelled bars for each name, one column for each quantity; `shared`: all columns on one scale."""
    tops = {
        head: max([value for value in values if value is not None], default=0.0) for head, values in columns.items()
    }
    widest = max(tops.values(), default=0.0)
    return svg(
        {
            "spacing": 16,
            "hconcat": [
                _bar_column(head, rows, values, (widest if shared else tops[head]) or 1.0, first=place == 0)
                for place, (head, values) in enumerate(columns.items())
            ],
        }
    )


def curves(names: Sequence[str], rates: Mapping[str, Sequence[float | None]]) -> str:
    """A line for each of `rates` over values that are named, one beside the other; its own name at its end."""
    ticks = _ticks(max((rate for line in rates.values() for rate in line if rate is not None), default=1.0))
    points = [
        {"x": name, "v": rate, "s": label}
        for label, line in rates.items()
        for name, rate in zip(names, line, strict=True)
        if rate is not None
    ]
    ends = [(label, next((rate for rate in reversed(line) if rate is not None), 0.0)) for label, line in rates.items()]
    texts = [{"x": names[-1], "v": height, "s": label} for label, height in _labels(ends, ticks[-1])]
    labels = list(rates)
    x: Spec = {"field": "x", "type": "nominal", "sort": list(names), "axis": {"title": None, "labelAngle": 0}}
    colour: Spec = {"field": "s", "type": "nominal", "scale": _scale(labels, COLOURS), "legend": None}
    dash: Spec = {"field": "s", "type": "nominal", "scale": _scale(labels, DASHES), "legend": None}
    place: Spec = {"x": x, "y": {"field": "v", "type": "quantitative", **_y_axis(ticks)}, "color": colour}
    return svg(
        {
            "width": RATE_WIDTH,
            "height": PLOT_HEIGHT,
            "data": {"values": points},
            "layer": [
                {"mark": {"type": "line", "strokeWidth": 1.6}, "encoding": {**place, "strokeDash": dash}},
                {"mark": {"type": "point", "size": 40}, "encoding": place},
                {
                    "data": {"values": texts},
                    "mark": {"type": "text", "align": "left", "dx": 10},
                    "encoding": {**place, "text": {"field": "s"}},
                },
            ],
        }
    )


def _bar_column(head: str, rows: Sequence[str], values: Sequence[float | None], top: float, *, first: bool) -> Spec:
    bars_of = [
        {"row": row, "v": value, "text": text}
        for row, value, text in zip(rows, values, column(list(values)), strict=True)
    ]
    scale = {"domain": [0, top * 1.5], "nice": False}
    return {
        "width": BAR_WIDTH,
        "height": {"step": 26},
        "title": {
            "text": head,
            "anchor": "start",
            "frame": "group",
            "color": FAINT,
            "fontSize": 13,
            "fontWeight": "normal",
            "offset": 6,
        },
        "data": {"values": bars_of},
        "encoding": {
            "y": {"field": "row", "type": "nominal", "sort": list(rows), "axis": _names_axis(rows) if first else None},
            "x": {"field": "v", "type": "quantitative", "scale": scale, "axis": None},
        },
        "layer": [
            {"mark": {"type": "bar", "color": COLOURS[0], "height": 14}},
            {
                "transform": [{"calculate": "isValid(datum.v) ? datum.v : 0", "as": "v"}],
                "mark": {"type": "text", "align": "left", "dx": 5},
                "encoding": {"text": {"field": "text"}},
            },
        ],
    }


def rates(scenarios: Sequence[ScenarioSummary]) -> str:
    """Each scenario's mean rate (a tick) with its 95 % interval (a line), and its repeats as open circles."""
    measured = [row for row in scenarios if row.rate_msg_s is not None]
    means: list[Spec] = [{"s": row.name, "v": row.rate_msg_s, "text": rate_msg_s(row.rate_msg_s)} for row in measured]
    intervals: list[Spec] = [
        {"s": row.name, "low": max(0.0, row.rate_interval.low), "high": row.rate_interval.high}
        for row in measured
        if row.rate_interval is not None
    ]
    repeats: list[Spec] = [
        {"s": row.name, "v": each.rate_msg_s}
        for row in measured
        for each in row.repeats
        if each.rate_msg_s is not None
    ]
    highest = max((point["v"] for point in repeats), default=1.0)
    # An interval from two repeats can be many times as wide as what was measured; it is cut at the frame.
    ticks = _ticks(min(max([highest, *(each["high"] for each in intervals)]), 1.5 * highest))
    y: Spec = {"field": "s", "type": "nominal", "scale": {"domain": [row.name for row in scenarios]}}
    y["axis"] = _names_axis([row.name for row in scenarios])
    x: Spec = {
        "type": "quantitative",
        "scale": {"domain": [0, ticks[-1]], "nice": False, "clamp": True},
        "axis": {"title": None, "values": ticks, "format": ",.0f", "domain": False},
    }

    def layer(points: list[Spec], mark: Spec, **encoding: Spec) -> Spec:
        return {"data": {"values": points}, "mark": mark, "encoding": {"y": y, **encoding}}

    circle = {"type": "point", "size": 60, "filled": False, "color": COLOURS[0], "strokeWidth": 1.4}
    return svg(
        {
            "width": RATE_WIDTH,
            "height": {"step": 26},
            "layer": [
                layer(
                    intervals,
                    {"type": "rule", "color": INK, "strokeWidth": 1.5},
                    x={**x, "field": "low"},
                    x2={"field": "high"},
                ),
                layer(repeats, circle, x={**x, "field": "v"}),
                layer(means, {"type": "tick", "color": INK, "thickness": 2.5, "size": 16}, x={**x, "field": "v"}),
                layer(
                    means, {"type": "text", "align": "left", "dx": 12}, x={"value": RATE_WIDTH}, text={"field": "text"}
                ),
            ],
        }
    )


def search(scenario: ScenarioSummary, top: float) -> str:
    """Offered rate against what was acknowledged, and the ceiling's interval as a band. On the dashed line lies what
    keeps up. Filled: carried; open: not, or unclear; cross: an invalid trial; triangle: an equal load."""
    points: list[Spec] = [
        {"o": trial.offered_msg_s, "v": trial.rate_msg_s, "kind": _kind(trial)}
        for repeat in scenario.repeats
        for trial in repeat.trials
    ]
    ticks = _ticks(top)
    x: Spec = {
        "field": "o",
        "type": "quantitative",
        "scale": {"domain": [0, ticks[-1]], "nice": False},
        "axis": {"title": "offered", "values": ticks[::2], "format": ",.0f", "grid": False},
    }
    y: Spec = {"field": "v", "type": "quantitative", **_y_axis(ticks)}
    both = {"x": x, "y": y}
    ends = [{"o": 0, "v": 0}, {"o": ticks[-1], "v": ticks[-1]}]
    dashed = {"type": "line", "strokeDash": [4, 3], "strokeWidth": 1, "color": FAINT}
    layers: list[Spec] = [{"data": {"values": ends}, "mark": dashed, "encoding": both}]
    if scenario.rate_interval:
        band = {"o": max(0.0, scenario.rate_interval.low), "o2": scenario.rate_interval.high}
        place = {"x": x, "x2": {"field": "o2"}, "y": {"value": 0}, "y2": {"value": PLOT_HEIGHT}}
        layers.insert(0, {"data": {"values": [band]}, "mark": {"type": "rect", "color": BAND}, "encoding": place})
    for kind, (shape, filled) in _KINDS.items():
        mark = {"type": "point", "shape": shape, "filled": filled, "size": 50, "strokeWidth": 1.4, "color": COLOURS[0]}
        values = [point for point in points if point["kind"] == kind]
        layers.append({"data": {"values": values}, "mark": {**mark, "opacity": 1}, "encoding": both})
    return svg({"width": 200, "height": PLOT_HEIGHT, "layer": layers})


_KINDS: dict[str, tuple[str, bool]] = {
    "carried": ("circle", True),
    "not carried": ("circle", False),
    "equal-load": ("triangle-up", False),
    "invalid": (CROSS, False),
}


def _kind(trial: TrialSummary) -> str:
    if not trial.valid:
        return "invalid"
    if trial.purpose != "search":
        return "equal-load"
    return "carried" if trial.verdict == "carried" else "not carried"


def _names_axis(names: Sequence[str]) -> Spec:
    """Names flush left, as in the tables; room for them is by their letters, since the page's font is its reader's."""
    return {
        "title": None,
        "domain": False,
        "ticks": False,
        "labelColor": INK,
        "labelFontSize": 13,
        "labelLimit": 0,
        "labelAlign": "left",
        "labelPadding": 12 + 7.6 * max((len(name) for name in names), default=0),
    }


def _y_axis(ticks: Sequence[float], *, labels: bool = True) -> Spec:
    return {
        "scale": {"domain": [0, ticks[-1]], "nice": False},
        "axis": {
            "title": None,
            "values": ticks,
            "domain": False,
            "ticks": False,
            "labels": labels,
            "format": ",.4~g" if ticks[-1] < 1000 else ",.0f",
        },
    }


def _scale(names: Sequence[str], values: Sequence[Any]) -> Spec:
    return {"domain": list(names), "range": [values[place % len(values)] for place in range(len(names))]}


def _ticks(highest: float, steps_max: int = 4) -> list[float]:
    """A few round steps from zero to just above the highest value, `steps_max` at most."""
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / steps_max))
    step = next(unit * power for unit in (1, 2, 2.5, 5, 10) if unit * power * steps_max >= highest * 0.999)
    count = max(1, math.ceil(highest / step - 1e-9))
    return [float(f"{step * place:.6g}") for place in range(count + 1)]


def _labels(ends: Sequence[tuple[str, float]], top: float) -> list[tuple[str, float]]:
    """Names beside the last values of their lines, moved apart, as little as possible, where they would touch:
    names that touch form a block around the mean of the places they want."""
    step = LABEL_STEP * top / PLOT_HEIGHT
    blocks: list[list[tuple[str, float]]] = []
    middle: list[float] = []
    for end in sorted(ends, key=lambda each: each[1]):
        blocks.append([end])
        middle.append(end[1])
        while len(blocks) > 1 and middle[-1] - middle[-2] < step * (len(blocks[-1]) + len(blocks[-2])) / 2:
            upper = blocks.pop()
            middle.pop()
            blocks[-1] += upper
            half = step * len(blocks[-1]) / 2
            wanted = sum(value for _, value in blocks[-1]) / len(blocks[-1])
            middle[-1] = max(half - step / 2, min(wanted, top + step / 2 - half))
    return [
        (label, centre + step * (place - (len(block) - 1) / 2))
        for block, centre in zip(blocks, middle, strict=True)
        for place, (label, _) in enumerate(block)
    ]


_NOISE = re.compile(
    r' (?:role="graphics-[a-z]+"|aria-roledescription="[^"]*"|aria-hidden="true"|pointer-events="none"|opacity="1"'
    r'|font-family="sans-serif"|version="1\.1"|xmlns:xlink="[^"]*")'
)
_EMPTY = re.compile(r'<path class="(?:fore|back)ground"[^>]*/>')
_PLACES = re.compile(r' (?:d|transform)="[^"]*"')
_LONG = re.compile(r"(\.\d)\d+")


def svg(spec: Spec) -> str:
    """The picture alone: no size of its own, hidden from screen readers (its figure has words and a table)."""
    picture = vl_convert.vegalite_to_svg({"config": CONFIG, **spec}, vl_version=VEGA_LITE, show_warnings=False)
    picture = _EMPTY.sub("", _NOISE.sub("", picture))
    head, rest = picture.split(">", 1)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    assert size is not None
    width, height = (math.ceil(float(part)) for part in size.groups())
    opened = f'<svg class="chart" viewBox="0 0 {width} {height}" style="max-width:{width}px" aria-hidden="true"'
    return f'{opened} focusable="false">{_PLACES.sub(_shortened, rest)}'


def _shortened(place: re.Match[str]) -> str:
    return _LONG.sub(r"\1", place.group())

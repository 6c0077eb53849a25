"""Vega-Lite pictures as SVG: they need no JavaScript, print, and take their colours from the page (`style`).

Every picture is one conversion of about 20 ms; a conversion's engine starts once, in about half a second.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import vl_convert

from meshmark.analysis.model import ScenarioSummary, TrialSummary
from meshmark.report.style import BAND, COLOURS, DASHES, FAINT, INK, PLOT_HEIGHT, RULE, side_by_side, ticks
from meshmark.units import column, rate_msg_s

Spec = dict[str, Any]

VEGA_LITE = "6.1"
FONT = "sans-serif"
BAR_WIDTH, RATE_WIDTH = 112, 400
TALL = 220
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
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
    steps = ticks(max((rate for line in rates.values() for rate in line if rate is not None), default=1.0))
    points = [
        {"x": name, "v": rate, "s": label}
        for label, line in rates.items()
        for name, rate in zip(names, line, strict=True)
        if rate is not None
    ]
    ends = [(label, next((rate for rate in reversed(line) if rate is not None), 0.0)) for label, line in rates.items()]
    texts = [{"x": names[-1], "v": height, "s": label} for label, height in side_by_side(ends, steps[-1])]
    labels = list(rates)
    x: Spec = {"field": "x", "type": "nominal", "sort": list(names), "axis": {"title": None, "labelAngle": 0}}
    place: Spec = {"x": x, "y": {"field": "v", "type": "quantitative", **_y_axis(steps)}}
    place["color"] = _by_name(labels, COLOURS)
    return svg(
        {
            "width": RATE_WIDTH,
            "height": PLOT_HEIGHT,
            "data": {"values": points},
            "layer": [
                _line(place, labels),
                {"mark": {"type": "point", "size": 40}, "encoding": place},
                {
                    "data": {"values": texts},
                    "mark": {"type": "text", "align": "left", "dx": 10},
                    "encoding": {**place, "text": {"field": "s"}},
                },
            ],
        }
    )


def quantiles(lines: Mapping[str, Sequence[tuple[float, float]]], nines: Sequence[str]) -> str:
    """A line for each name of what is above zero, on a logarithmic scale, over the number of nines of its quantile;
    marks where `nines` names a quantile, and its own name at the end."""
    low, high = around([value for line in lines.values() for _, value in line])
    points: list[Spec] = [{"x": x, "v": value, "s": name} for name, line in lines.items() for x, value in line]
    named = [point for point in points if point["x"] in range(len(nines))]
    ends = [(name, math.log(line[-1][1] / low, high / low)) for name, line in lines.items()]
    texts: list[Spec] = [
        {"v": low * (high / low) ** height, "s": name} for name, height in side_by_side(ends, 1.0, TALL)
    ]
    words = json.dumps(list(nines))
    x: Spec = {
        "field": "x",
        "type": "quantitative",
        "scale": {"domain": [0, len(nines) - 1], "nice": False},
        "axis": {"title": None, "values": list(range(len(nines))), "labelExpr": f"{words}[datum.value]"},
    }
    axis: Spec = {"title": None, "values": _decades(low, high), "format": ",.4~g", "domain": False, "ticks": False}
    axis["labelPadding"] = 9  # marks of the smallest values stand on the axis
    y: Spec = {"field": "v", "type": "quantitative", "scale": {"type": "log", "domain": [low, high]}, "axis": axis}
    names = list(lines)
    place: Spec = {"x": x, "y": y, "color": _by_name(names, COLOURS)}
    mark: Spec = {"type": "point", "size": 46, "filled": True, "opacity": 1}
    text: Spec = {"type": "text", "align": "left", "dx": 12}
    return svg(
        {
            "width": RATE_WIDTH,
            "height": TALL,
            "data": {"values": points},
            "layer": [
                _line(place, names),
                {
                    "data": {"values": named},
                    "mark": mark,
                    "encoding": {**place, "shape": _by_name(names, SHAPES)},
                },
                {
                    "data": {"values": texts},
                    "mark": text,
                    "encoding": {**place, "x": {"value": RATE_WIDTH}, "text": {"field": "s"}},
                },
            ],
        }
    )


def _line(place: Spec, names: Sequence[str]) -> Spec:
    """One for each name, told apart by dashes as well as by colour."""
    return {
        "mark": {"type": "line", "strokeWidth": 1.6},
        "encoding": {**place, "strokeDash": _by_name(names, DASHES, turn=1)},
    }


def _by_name(names: Sequence[str], values: Sequence[Any], turn: int = 0) -> Spec:
    return {"field": "s", "type": "nominal", "scale": _scale(names, values, turn), "legend": None}


def around(values: Sequence[float]) -> tuple[float, float]:
    """The nearest of 1, 2 and 5 times a power of ten, below all and above all."""
    steps = [unit * 10.0**power for power in range(-6, 9) for unit in (1, 2, 5)]
    low = max((step for step in steps if step <= min(values)), default=steps[0])
    return low, min((step for step in steps if step >= max(values) and step > low), default=steps[-1])


def _decades(low: float, high: float) -> list[float]:
    """Ticks between, of 1, 2 and 5 in each decade, or of whole decades where these are many."""
    units = (1, 2, 5) if high / low <= 1_000 else (1,)
    steps = [unit * 10.0**power for power in range(-6, 9) for unit in units]
    return [float(f"{step:.6g}") for step in steps if low * 0.999 <= step <= high * 1.001]


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
    steps = ticks(min(max([highest, *(each["high"] for each in intervals)]), 1.5 * highest))
    y: Spec = {"field": "s", "type": "nominal", "scale": {"domain": [row.name for row in scenarios]}}
    y["axis"] = _names_axis([row.name for row in scenarios])
    x: Spec = {
        "type": "quantitative",
        "scale": {"domain": [0, steps[-1]], "nice": False, "clamp": True},
        "axis": {"title": None, "values": steps, "format": ",.0f", "domain": False},
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
    steps = ticks(top)
    x: Spec = {
        "field": "o",
        "type": "quantitative",
        "scale": {"domain": [0, steps[-1]], "nice": False},
        "axis": {"title": "offered", "values": steps[::2], "format": ",.0f", "grid": False},
    }
    y: Spec = {"field": "v", "type": "quantitative", **_y_axis(steps)}
    both = {"x": x, "y": y}
    ends = [{"o": 0, "v": 0}, {"o": steps[-1], "v": steps[-1]}]
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


def _y_axis(steps: Sequence[float]) -> Spec:
    return {
        "scale": {"domain": [0, steps[-1]], "nice": False},
        "axis": {
            "title": None,
            "values": steps,
            "domain": False,
            "ticks": False,
            "format": ",.4~g" if steps[-1] < 1000 else ",.0f",
        },
    }


def _scale(names: Sequence[str], values: Sequence[Any], turn: int = 0) -> Spec:
    """Each time that the values begin anew they are turned by so many places: names that share a colour, of which
    there are as many as dashes, get other dashes."""
    count = len(values)
    return {
        "domain": list(names),
        "range": [values[(place + turn * (place // count)) % count] for place in range(len(names))],
    }


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
    opened = f'<svg class="chart" viewBox="0 0 {width} {height}" style="--width:{width}px" aria-hidden="true"'
    return f'{opened} focusable="false">{_PLACES.sub(_shortened, rest)}'


def _shortened(place: re.Match[str]) -> str:
    return _LONG.sub(r"\1", place.group())

"""A round's samples -> the panels of its page: a few lines each, over one common time.

A counter becomes a rate between two neighbouring readings; a fall (a counter's reset) or a hole in time gives a gap,
never a line across it. Lines have at most POINTS_MAX points, and are thinned after that: a rate over a longer step is
the exact mean of it, or a gap where one is inside; a gauge shows its reading at each step. What is read at the edges
of trials' windows alone (`metrics.AT_EDGES`) is a mean between two edges, or the reading at the one before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshmark.metrics import AT_EDGES, METRICS, parts
from meshmark.record import LoadInterval, Sample
from meshmark.report.forms import FORMS, Form, Source

POINTS_MAX = 300
HOLE = 3.0
"""A step this many times the usual one is a hole in the series."""

Values = NDArray[np.float64]
"""Not a number where nothing is known."""
Place = tuple[str, str]
"""Host and component."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    label: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Lines over `times_s`, seconds since the round began. `silent` names lines that are zero throughout."""

    title: str
    unit: str
    times_s: tuple[float, ...]
    lines: tuple[Line, ...]
    silent: tuple[str, ...] = ()


def panels(samples: Sequence[Sample], origin_s: float) -> list[Panel]:
    """Panels that have anything to show."""
    if len(samples) < 2:
        return []
    series = _Series(samples)
    times = series.steps.shown(origin_s)
    made = (_shown(form.title, form.unit, form.scale, times, _lines(form, series)) for form in FORMS)
    return [panel for panel in made if panel is not None]


def load_panels(intervals: Sequence[LoadInterval], origin_s: float) -> list[Panel]:
    """What the load workers reported: rates of records, what is outstanding, and each interval's latency. Panels that
    have anything to show."""
    if len(intervals) < 2:
        return []
    steps = _Steps([each.time_s for each in intervals])
    times = steps.shown(origin_s)
    counts = {
        "acknowledged": [each.totals.acknowledged for each in intervals],
        "offered": [each.totals.offered for each in intervals],
        "consumed": [each.totals.consumed for each in intervals],
        "failed or unknown": [each.totals.failed + each.totals.unknown for each in intervals],
    }
    rates = [(label, steps.rates(np.array(values, dtype=float))) for label, values in counts.items()]
    backlog = steps.gauge(np.array([each.totals.outstanding for each in intervals], dtype=float))
    made = (
        _shown("Messages", "per second", 1, times, rates),
        _shown("Backlog", "records", 1, times, [("outstanding", backlog)]),
        _shown("Latency from the intended send", "ms", 1e-3, times, _latencies(intervals, steps)),
    )
    return [panel for panel in made if panel is not None]


def _latencies(intervals: Sequence[LoadInterval], steps: _Steps) -> Iterator[tuple[str, Values]]:
    """Of records acknowledged in each interval that is shown; the largest also of those left out before it."""
    for name, field in (("p50", "p50_s"), ("p99", "p99_s"), ("max", "max_s")):
        told = [getattr(each.latency, field) if each.latency else None for each in intervals]
        values = np.array(told, dtype=float)
        yield name, steps.largest(values) if name == "max" else steps.gauge(values)


def _shown(
    title: str, unit: str, scale: float, times: tuple[float, ...], found: Iterable[tuple[str, Values]]
) -> Panel | None:
    """None where nothing is known."""
    lines, silent = [], []
    for label, values in found:
        if np.isnan(values).all():
            continue
        if np.nan_to_num(values).any():
            lines.append(Line(label=label, values=_rounded(values, scale)))
        else:
            silent.append(label)
    if not lines and not silent:
        return None
    return Panel(title=title, unit=unit, times_s=times, lines=tuple(lines), silent=tuple(silent))


def _lines(form: Form, series: _Series) -> Iterator[tuple[str, Values]]:
    for source in form.sources:
        places = series.of(source)
        if source.label and places:
            yield source.label, series.told(source, places)
        elif not source.label:
            for host, component in places:
                name = component.removeprefix(source.component) if source.several else host
                yield f"{name}{source.suffix}", series.told(source, [(host, component)])


class _Steps:
    """Readings a fair step apart, and which of the steps between them are holes; of these readings POINTS_MAX at most
    are shown. Between those on the clock others were read at the edges of windows; over a few milliseconds the ticks
    of CPU counters would be spikes of many CPUs."""

    def __init__(self, times_s: Sequence[float]) -> None:
        times = np.array(times_s)
        self.shortest_s = float(np.median(np.diff(times))) / 2
        self._kept = _apart(times, self.shortest_s)
        self._each = -(-len(self._kept) // POINTS_MAX)
        self._picked = self._kept[:: self._each]
        self._seconds = np.diff(times[self._kept])
        self._near = self._seconds <= HOLE * np.median(np.diff(times[self._kept]))
        self.times_s = times[self._picked]

    def shown(self, origin_s: float) -> tuple[float, ...]:
        return tuple(round(float(time_s) - origin_s, 2) for time_s in self.times_s)

    def rates(self, readings: Values) -> Values:
        """Of each step that is shown; the first reading has none."""
        grown = np.diff(readings[self._kept])
        grown[~((grown >= 0) & self._near & (self._seconds > 0))] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.append(np.nan, self._grouped(grown).sum(axis=1) / self._grouped(self._seconds).sum(axis=1))

    def gauge(self, readings: Values) -> Values:
        """A reading after a hole is a gap: nobody loaded or looked in between."""
        return self._unbroken(readings[self._picked])

    def largest(self, readings: Values) -> Values:
        """Of all readings since the one that is shown before."""
        starts = np.append(0, self._picked[:-1] + 1)
        return self._unbroken(np.fmax.reduceat(readings[: self._picked[-1] + 1], starts))

    def _unbroken(self, values: Values) -> Values:
        return np.where(np.append(True, self._grouped(self._near).all(axis=1)), values, np.nan)

    def _grouped(self, steps: NDArray[Any]) -> NDArray[Any]:
        """The steps between two readings that are shown."""
        count = len(self._picked) - 1
        return steps[: count * self._each].reshape(count, self._each)


class _Series:
    """Samples by key."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self.steps = _Steps([sample.time_s for sample in samples])
        self._keys = {key for sample in samples for key in sample.values}
        ticks = [sample for sample in samples if AT_EDGES not in sample.values]
        self._at_edges = self._keys.difference(*(sample.values for sample in ticks)) if ticks else frozenset()
        edges = [sample for sample in samples if AT_EDGES in sample.values]
        self._edges = [edges[place] for place in _apart([each.time_s for each in edges], self.steps.shortest_s)]
        self._edges_s = np.array([each.time_s for each in self._edges])
        self._places = sorted({parts(key)[:2] for key in self._keys})

    def of(self, source: Source) -> list[Place]:
        """Hosts and components that have something of it."""
        return [
            (host, component)
            for host, component in self._places
            if (component.startswith(source.component) if source.several else component == source.component)
            and any(f"{host}/{component}/{metric}" in self._keys for metric in source.metrics)
        ]

    def told(self, source: Source, places: Sequence[Place]) -> Values:
        """The sum of what is known at each time."""
        values = self._sum(source.metrics, places)
        if not source.per:
            return values
        count = self._sum(source.per, places)
        return np.divide(values, count, out=np.full_like(values, np.nan), where=count > 0)

    def _sum(self, metrics: Sequence[str], places: Sequence[Place]) -> Values:
        keys = [f"{host}/{component}/{metric}" for host, component in places for metric in metrics]
        columns = np.array([self._values(key) for key in keys])
        return np.where(np.isnan(columns).all(axis=0), np.nan, np.nansum(columns, axis=0))

    def _values(self, key: str) -> Values:
        is_counter = METRICS[parts(key)[2]].kind == "counter"
        if key in self._at_edges:
            readings = _read(self._edges, key)
            return self._mean_between(readings) if is_counter else self._read_before(readings)
        readings = _read(self._samples, key)
        return self.steps.rates(readings) if is_counter else self.steps.gauge(readings)

    def _mean_between(self, readings: Values) -> Values:
        """Two edges, at each time that is shown."""
        grown = np.diff(readings)
        rates = np.where(grown >= 0, grown, np.nan) / np.diff(self._edges_s)
        after = np.searchsorted(self._edges_s, self.steps.times_s, side="left")
        return np.concatenate(([np.nan], rates, [np.nan]))[after]

    def _read_before(self, readings: Values) -> Values:
        """At the edge before each time that is shown; nothing after the last."""
        before = np.searchsorted(self._edges_s, self.steps.times_s, side="right")
        values = np.append(np.nan, readings)[before]
        return np.where(self.steps.times_s <= self._edges_s[-1], values, np.nan)


def _read(samples: Sequence[Sample], key: str) -> Values:
    return np.array([sample.values.get(key, np.nan) for sample in samples])


def _apart(times_s: Iterable[float], shortest_s: float) -> NDArray[np.intp]:
    """Places of those that are so far from the one before."""
    kept: list[int] = []
    last_s = -np.inf
    for place, time_s in enumerate(times_s):
        if time_s - last_s >= shortest_s:
            kept.append(place)
            last_s = time_s
    return np.array(kept, dtype=np.intp)


def _rounded(values: Values, scale: float) -> tuple[float | None, ...]:
    """Four significant digits: more than a picture or a reader takes."""
    return tuple(None if math.isnan(value) else float(f"{value / scale:.4g}") for value in values.tolist())

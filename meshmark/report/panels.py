"""A round's samples -> the panels of its page: a few lines each, over one common time.

A counter becomes a rate between two neighbouring readings; a fall (a counter's reset) or a hole in time gives a gap,
never a line across it. Lines have at most POINTS_MAX points: rates over longer steps stay exact means; a gauge shows
its reading at each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TypeVar

from meshmark.metrics import METRICS
from meshmark.record import LoadInterval, Sample
from meshmark.report.forms import FORMS, Form, Source

POINTS_MAX = 300
HOLE = 3.0
"""A step this many times the usual one is a hole in the series."""

Values = list[float | None]
T = TypeVar("T")


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
    picked = _thinned(samples, [sample.time_s for sample in samples])
    series = _Series(picked)
    times = tuple(round(sample.time_s - origin_s, 2) for sample in picked)
    made = (_panel(form, series, times) for form in FORMS)
    return [panel for panel in made if panel is not None]


def load_panels(intervals: Sequence[LoadInterval], origin_s: float) -> list[Panel]:
    """What the load workers reported: rates of records, what is outstanding, and each interval's latency. Panels that
    have anything to show."""
    if len(intervals) < 2:
        return []
    picked = _thinned(intervals, [each.time_s for each in intervals])
    times = tuple(round(each.time_s - origin_s, 2) for each in picked)
    steps = _Steps([each.time_s for each in picked])
    backlog = steps.unbroken([float(each.totals.outstanding) for each in picked])
    latencies = [(label, steps.unbroken(values)) for label, values in _latencies(picked, intervals)]
    made = (
        _shown("Messages", "per second", 1, times, _rates(picked, steps)),
        _shown("Backlog", "records", 1, times, [("outstanding", backlog)]),
        _shown("Latency from the intended send", "ms", 1e-3, times, latencies),
    )
    return [panel for panel in made if panel is not None]


def _rates(picked: Sequence[LoadInterval], steps: _Steps) -> list[tuple[str, Values]]:
    counts: dict[str, Values] = {
        "acknowledged": [float(each.totals.acknowledged) for each in picked],
        "offered": [float(each.totals.offered) for each in picked],
        "consumed": [float(each.totals.consumed) for each in picked],
        "failed or unknown": [float(each.totals.failed + each.totals.unknown) for each in picked],
    }
    return [(label, steps.rates(values)) for label, values in counts.items()]


def _latencies(picked: Sequence[LoadInterval], intervals: Sequence[LoadInterval]) -> list[tuple[str, Values]]:
    """Of records acknowledged in each interval that is shown; the largest also of those left out before it."""
    largest: Values = []
    passed = iter(intervals)
    for shown in picked:
        since: list[float] = []
        for each in passed:
            if each.latency and each.latency.max_s is not None:
                since.append(each.latency.max_s)
            if each is shown:
                break
        largest.append(max(since, default=None))
    return [
        ("p50", [each.latency.p50_s if each.latency else None for each in picked]),
        ("p99", [each.latency.p99_s if each.latency else None for each in picked]),
        ("max", largest),
    ]


def _panel(form: Form, series: _Series, times: tuple[float, ...]) -> Panel | None:
    return _shown(form.title, form.unit, form.scale, times, _lines(form, series))


def _shown(
    title: str, unit: str, scale: float, times: tuple[float, ...], found: Iterable[tuple[str, Values]]
) -> Panel | None:
    """None where nothing is known."""
    lines, silent = [], []
    for label, values in found:
        if all(value is None for value in values):
            continue
        if any(values):
            lines.append(Line(label=label, values=_rounded(values, scale)))
        else:
            silent.append(label)
    if not lines and not silent:
        return None
    return Panel(title=title, unit=unit, times_s=times, lines=tuple(lines), silent=tuple(silent))


def _lines(form: Form, series: _Series) -> Iterator[tuple[str, Values]]:
    for source in form.sources:
        if source.label:
            yield source.label, series.sum(series.hosts(source.component), source)
        else:
            for host in series.hosts(source.component):
                yield f"{host}{source.suffix}", series.sum((host,), source)


class _Steps:
    """The steps between neighbouring readings, and which of them are holes."""

    def __init__(self, times: Sequence[float]) -> None:
        self._seconds = [after - before for before, after in pairwise(times)]
        self._hole = HOLE * median(self._seconds)

    def rates(self, readings: Values) -> Values:
        """The first reading has no rate."""
        found: Values = [None]
        for (before, after), seconds in zip(pairwise(readings), self._seconds, strict=True):
            if before is None or after is None or after < before or not 0 < seconds <= self._hole:
                found.append(None)
            else:
                found.append((after - before) / seconds)
        return found

    def unbroken(self, readings: Values) -> Values:
        """A reading after a hole is a gap: nobody loaded or looked in between."""
        after = zip(readings[1:], self._seconds, strict=True)
        return [*readings[:1], *(value if seconds <= self._hole else None for value, seconds in after)]


class _Series:
    """Samples by key."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._steps = _Steps([sample.time_s for sample in samples])
        keys = sorted({key for sample in samples for key in sample.values})
        self._hosts: dict[str, list[str]] = {}
        for key in keys:
            host, component, _ = key.split("/", 2)
            known = self._hosts.setdefault(component, [])
            if host not in known:
                known.append(host)

    def hosts(self, component: str) -> Sequence[str]:
        return self._hosts.get(component, ())

    def sum(self, hosts: Iterable[str], source: Source) -> Values:
        """The sum of what is known at each time; None where nothing is."""
        columns = [self._values(f"{host}/{source.component}/{metric}") for host in hosts for metric in source.metrics]
        return [_sum(row) for row in zip(*columns, strict=True)] if columns else []

    def _values(self, key: str) -> Values:
        readings: Values = [sample.values.get(key) for sample in self._samples]
        return self._steps.rates(readings) if METRICS[key.rsplit("/", 1)[1]].kind == "counter" else readings


def _sum(row: Sequence[float | None]) -> float | None:
    known = [value for value in row if value is not None]
    return sum(known) if known else None


def _thinned(rows: Sequence[T], times_s: Sequence[float]) -> Sequence[T]:
    """Readings a fair step apart, POINTS_MAX at most. Between those on the clock others were read at the edges of
    windows; over a few milliseconds the ticks of CPU counters would be spikes of many CPUs."""
    shortest = median(after - before for before, after in pairwise(times_s)) / 2
    kept: list[T] = []
    last = -math.inf
    for row, time_s in zip(rows, times_s, strict=True):
        if time_s - last >= shortest:
            kept.append(row)
            last = time_s
    return kept[:: -(-len(kept) // POINTS_MAX)]


def _rounded(values: Values, scale: float) -> tuple[float | None, ...]:
    """Four significant digits: more than a picture or a reader takes."""
    return tuple(None if value is None else float(f"{value / scale:.4g}") for value in values)

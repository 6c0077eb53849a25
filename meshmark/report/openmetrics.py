"""A run's series as OpenMetrics text with timestamps, for a time series database: the names are those of the endpoint
that a run has while it goes on (`live/endpoint.py`), so one dashboard shows both.

What OpenMetrics asks for: all of one family together, in it all of one series, and its times rising. So a run's series
are in memory at once: some 100 MB for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric, Timestamp
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from meshmark.analysis.exposition import (
    CPUS,
    FAMILIES,
    WORKERS,
    Family,
    Load,
    Reading,
    of_link,
    of_sample,
    samples,
)
from meshmark.store import RoundData, Run

Key = tuple[str, ...]
Points = list[tuple[float, Reading]]


def openmetrics(run: Run) -> str:
    """Every reading of every probe and every report of the load workers; ends in `# EOF`."""
    found: dict[Family, dict[tuple[Key, Key], Points]] = {}
    for data in run.rounds:
        of_round = (run.started.run_id, data.started.scenario, str(data.started.repeat))
        for time_s, reading in _readings(run, data):
            series = found.setdefault(reading.family, {}).setdefault((of_round, reading.labels), [])
            if not series or time_s > series[-1][0]:
                series.append((time_s, reading))
    printed: bytes = generate_latest(_Registry(_metrics(found, run.started.clock_offset_s)))  # type: ignore[no-untyped-call]
    return printed.decode()


class _Registry(CollectorRegistry):
    """What the library's printer wants to be given."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__()
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _readings(run: Run, data: RoundData) -> Iterator[tuple[float, Reading]]:
    """Of one series rising in time."""
    scenario = run.plan.scenario(data.started.scenario)
    begun_s = data.started.time_s
    yield begun_s, Reading(CPUS, (), float(run.started.host.cpus))
    if scenario.data_plane.sidecars:
        yield begun_s, Reading(WORKERS, (), float(scenario.cluster.sidecar_concurrency))
    ends = {trial.number: trial.window_end_s for trial in data.trials}
    for probe in data.links:
        yield from ((ends.get(probe.trial or 0, begun_s), reading) for reading in of_link(probe))
    for sample in data.series():
        yield from ((sample.time_s, reading) for reading in of_sample(sample.values))
    load = Load()
    for interval in data.intervals():
        load.add(interval)
        yield from ((interval.time_s, reading) for reading in load.readings())


def _metrics(found: dict[Family, dict[tuple[Key, Key], Points]], offset_s: float) -> Iterator[Metric]:
    for family in FAMILIES:
        if family not in found:
            continue
        metric = Metric(family.name, family.meaning, family.kind, family.unit)
        for (of_round, _), points in found[family].items():
            for time_s, reading in points:
                time = _time(time_s + offset_s)
                for name, named, value in samples(of_round, reading):
                    metric.add_sample(name, named, value, time)
        yield metric


def _time(time_at: float) -> Timestamp:
    """To the microsecond: a float of this size prints with a part of it, and as an exponent."""
    micros = round(time_at * 1e6)
    return Timestamp(micros // 1_000_000, micros % 1_000_000 * 1_000)

"""One round's raw series, read once and made easy to ask: intervals by trial, samples by what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.own import account_findings, latency_findings, lateness_findings
from meshmark.plan import Workload
from meshmark.record import Counters, LoadInterval, Sample, Trial
from meshmark.store import RoundData

CLOCK_S = 10.0
"""Between the middle of a reading and one of its counters, on a machine that is busy."""
GROWING = (
    "/net/rx_bytes",
    "/net/tx_bytes",
    "/net/rx_packets",
    "/net/tx_packets",
    "/sidecar/inbound_rx_bytes",
    "/sidecar/inbound_tx_bytes",
    "/sidecar/outbound_rx_bytes",
    "/sidecar/outbound_tx_bytes",
    "machine/cpu/elapsed_s",
)
"""Counters that nothing within a round resets; of most others the kernel or Kafka may take something back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """One round."""

    data: RoundData
    intervals: tuple[LoadInterval, ...]
    samples: tuple[Sample, ...]
    when: dict[int, list[float]]
    """What a sample holds, as a hash -> when that was read."""

    def file(self, name: str, line: int | None = None) -> str:
        place = f"rounds/{self.data.directory.name}/{name}"
        return place if line is None else f"{place}:{line}"

    def trials(self) -> Iterator[tuple[str, Trial]]:
        """Each with its place; whole lines alone are read, so a trial's line is its number in the file."""
        for line, trial in enumerate(self.data.trials, start=1):
            yield self.file("trials.jsonl", line), trial

    def within(self, trial: Trial) -> list[tuple[int, LoadInterval]]:
        """The reports of a trial's load, with their lines."""
        return [
            (line, each)
            for line, each in enumerate(self.intervals, start=1)
            if trial.started_s <= each.time_s <= trial.ended_s
        ]

    def read_between(self, counters: Counters, low_s: float, high_s: float) -> bool:
        """Does the series have this very reading, from then?"""
        return any(low_s <= time_s <= high_s for time_s in self.when.get(_hash(counters), ()))


def raw(data: RoundData) -> Raw:
    """Raises RecordError where a line cannot be read."""
    samples = data.series()
    when: dict[int, list[float]] = {}
    for sample in samples:
        when.setdefault(_hash(sample.values), []).append(sample.time_s)
    return Raw(data=data, intervals=tuple(data.intervals()), samples=tuple(samples), when=when)


def _hash(counters: Counters) -> int:
    return hash(frozenset(counters.items()))


def order(round_: Raw, end_s: float) -> Iterator[Finding]:
    """Both series are in order of time, within the round; counters that only grow do. `end_s`: the next round's
    start, or as far as is known."""
    start_s = round_.data.started.time_s
    yield from _times(round_.file("series.jsonl"), [each.time_s for each in round_.samples], start_s, end_s)
    yield from _times(round_.file("intervals.jsonl"), [each.time_s for each in round_.intervals], start_s, end_s)
    for line, sample in enumerate(round_.samples, start=1):
        elapsed_s = sample.values.get("machine/cpu/elapsed_s")
        if elapsed_s is not None and abs(elapsed_s - sample.time_s) > CLOCK_S:
            yield Finding(
                file=round_.file("series.jsonl", line),
                recorded=f"read at {sample.time_s:.3f} s",
                follows=f"its own counter of that clock says {elapsed_s:.3f} s",
            )
    for line, (before, after) in enumerate(zip(round_.samples, round_.samples[1:], strict=False), start=2):
        for key, value in after.values.items():
            if key.endswith(GROWING) and value < before.values.get(key, value):
                yield Finding(
                    file=round_.file("series.jsonl", line),
                    recorded=f"{key} = {value:g}",
                    follows=f"it was {before.values[key]:g} in the line before, and never falls",
                )


def _times(file: str, times_s: Sequence[float], start_s: float, end_s: float) -> Iterator[Finding]:
    for line, time_s in enumerate(times_s, start=1):
        before_s = times_s[line - 2] if line > 1 else start_s
        if not before_s <= time_s <= end_s:
            yield Finding(
                file=f"{file}:{line}",
                recorded=f"at {time_s:.3f} s",
                follows=f"the line before is at {before_s:.3f} s and the round ends by {end_s:.3f} s"
                if line > 1
                else f"the round lasts from {start_s:.3f} s to {end_s:.3f} s",
            )


def loads(round_: Raw, workload: Workload) -> Iterator[Finding]:
    """Every open-loop load that workers reported has a trial; within one, counts only grow. Each report adds up."""
    yield from _reports(round_, workload)
    trials = round_.data.trials
    last_s = trials[-1].ended_s if trials else 0.0
    if round_.data.finished is not None:
        last_s = round_.data.finished.time_s
    owned = {line for trial in trials for line, _ in round_.within(trial)}
    strangers = [
        (line, each)
        for line, each in enumerate(round_.intervals, start=1)
        if line not in owned and each.latency is not None and each.time_s <= last_s
    ]
    if strangers:
        line, first = strangers[0]
        yield Finding(
            file=round_.file("trials.jsonl"),
            recorded=f"no trial at {first.time_s:.3f} s",
            follows=f"load workers reported {len(strangers)} times of an open-loop load that no trial is of; first in "
            f"intervals.jsonl:{line}",
        )
    for trial in trials:
        found = round_.within(trial)
        for (_, before), (line, after) in pairwise(found):
            for name in ("offered", "acknowledged", "failed", "unknown", "consumed"):
                low, high = getattr(before.totals, name), getattr(after.totals, name)
                if high < low:
                    yield Finding(
                        file=round_.file("intervals.jsonl", line),
                        recorded=f"{high} {name}",
                        follows=f"{low} in the line before, and a count of one load never falls",
                    )


def _reports(round_: Raw, workload: Workload) -> Iterator[Finding]:
    for line, each in enumerate(round_.intervals, start=1):
        file = round_.file("intervals.jsonl", line)
        yield from account_findings(file, "totals", each.totals, workload)
        for what, told in (("latency", each.latency), ("end-to-end latency", each.end_to_end)):
            if told is not None:
                yield from latency_findings(file, what, told)
        if each.lateness is not None:
            yield from lateness_findings(file, each.lateness)
    for trial in round_.data.trials:
        for line, each in round_.within(trial):
            if each.clients != trial.clients:
                yield Finding(
                    file=round_.file("intervals.jsonl", line),
                    recorded=f"{each.clients} load workers",
                    follows=f"trial {trial.number} has {trial.clients}",
                )

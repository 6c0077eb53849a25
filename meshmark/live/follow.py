"""Follows a run by its record, which is on the disk as things happen: this process' run, another's, or an old one.

Nothing is asked of the run itself, so following costs it nothing between two looks. What is read is what has come
since the last look; of readings the last KEPT_S are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from meshmark.analysis.exposition import CPUS, WORKERS, Load, Reading, of_link, of_sample
from meshmark.clock import Clock
from meshmark.errors import MeshmarkError
from meshmark.metrics import AT_EDGES
from meshmark.plan import Plan
from meshmark.planfile import estimate_seconds
from meshmark.record import Counters, Event, Finished, LinkProbe, LoadInterval, Sample, Started, Trial
from meshmark.store import GrowingRound, GrowingRun

KEPT_S = 120.0
EVENTS_KEPT = 200
EDGES_KEPT = 8


class Round:
    """One life of a cluster, as far as it went."""

    def __init__(self, growing: GrowingRound) -> None:
        self._growing = growing
        self.started = growing.started
        self.finished_s: float | None = None
        self.samples: deque[Sample] = deque()
        self.edges: deque[Sample] = deque(maxlen=EDGES_KEPT)
        """Of the samples those that were read at edges, longer than the others."""
        self.intervals: deque[LoadInterval] = deque()
        self.links: dict[tuple[str, str], LinkProbe] = {}
        self.trials: list[Trial] = []
        self.load = Load()

    @property
    def seconds(self) -> float | None:
        """That it took; None while it goes on."""
        return None if self.finished_s is None else self.finished_s - self.started.time_s

    @property
    def latest(self) -> Counters:
        """The last value of every key: some are as old as the last edge of a window."""
        found: Counters = {}
        for kept in (self.edges, self.samples):
            found |= kept[-1].values if kept else {}
        return found

    def look(self) -> bool:
        """Reads what has come. True if the round has ended since the last look."""
        if self.finished_s is not None:
            return False
        if finished := self._growing.finished():
            self.finished_s = finished.time_s
        new = self._growing.series.new()
        self.samples += new
        self.edges += (each for each in new if AT_EDGES in each.values)
        for interval in self._growing.intervals.new():
            self.load.add(interval)
            self.intervals.append(interval)
        for probe in self._growing.links.new():
            self.links[probe.source, probe.target] = probe
        self.trials += self._growing.trials.new()
        for kept in (self.samples, self.intervals):
            while kept and kept[-1].time_s - kept[0].time_s > KEPT_S:
                kept.popleft()
        return finished is not None


class Following:
    """What a run has told so far. `look` brings it up to date. Of a run that was cut and is to go on, nothing is told
    before its record has so many resumptions: until then it is of what is laid aside."""

    def __init__(self, directory: Path, resumptions: int = 0) -> None:
        self._growing = GrowingRun(directory)
        self._resumptions_lacking = resumptions
        self._durations_s: list[float] = []
        self._rounds = 0
        self.plan: Plan | None = None
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.done: dict[str, int] = {}
        """Scenario -> its rounds that ended."""
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.round: Round | None = None
        """The last one that began."""

    def look(self) -> None:
        """Reads what has come. Raises RecordError for a directory that is damaged, or of a newer meshmark."""
        self._resumptions_lacking -= len(self._growing.resumptions.new())
        if self._resumptions_lacking > 0:
            return
        if self.started is None:
            self.started = self._growing.started()
            self.plan = self._growing.plan() if self.started else None
        self.finished = self.finished or self._growing.finished()
        self.events += self._growing.events.new()
        begun = self._growing.rounds(self._rounds)
        self._rounds += len(begun)
        for growing in (None, *begun):
            if growing:
                self.round = Round(growing)
            if self.round and self.round.look():
                name = self.round.started.scenario
                self.done[name] = self.done.get(name, 0) + 1
                self._durations_s.append(self.round.seconds or 0.0)

    def readings(self) -> Iterator[tuple[tuple[str, ...], Reading]]:
        """Of the round that goes on, with its values of ROUND; nothing between two rounds."""
        now = self.round
        if now is None or now.seconds is not None or self.started is None or self.plan is None:
            return
        of_round = (self.started.run_id, now.started.scenario, str(now.started.repeat))
        scenario = self.plan.scenario(now.started.scenario)
        yield of_round, Reading(CPUS, (), float(self.started.host.cpus))
        if scenario.data_plane.sidecars:
            yield of_round, Reading(WORKERS, (), float(scenario.cluster.sidecar_concurrency))
        for probe in now.links.values():
            yield from ((of_round, reading) for reading in of_link(probe))
        if now.samples:
            yield from ((of_round, reading) for reading in of_sample(now.latest))
        if now.intervals:
            yield from ((of_round, reading) for reading in now.load.readings())

    def seconds_left(self, clock: Clock) -> float | None:
        """Of the whole run, by the rounds that ended; before that, by the plan. None where it is not known."""
        if self.plan is None or self.started is None or self.finished:
            return None
        if not self._durations_s:
            try:
                whole_s = estimate_seconds(self.plan)
            except MeshmarkError:  # the profile's file is gone, or is another: the run has read it, and goes on
                return None
            return max(0.0, self.started.started_at + whole_s - clock.wall())
        left = len(self.plan.order()) - len(self._durations_s)
        since_s = 0.0
        if self.round and self.round.seconds is None:
            since_s = clock.now() - self.round.started.time_s
        return max(0.0, fmean(self._durations_s) * left - since_s)

"""Reads all probes on a fixed clock and hands each reading on.

    with sampling(cluster.probes, 1.0, writer.sample, SystemClock()) as sampler:
        first = sampler.read_now()   # an exact edge of a window, in the series too

Tick n is due at start + n x interval. One that is missed (the machine was too busy) is left out: a gap, never a
shifted series. Times are those at which the reading really happened: the middle of it, since reading takes some
milliseconds. Probes that say `edges_only` are read by `read_now` alone. Only under the system's clock does a thread of
its own read; under any other clock time does not pass by itself, and `read_now` is the only reader.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

from meshmark.clock import Clock, SystemClock
from meshmark.cluster import Probe
from meshmark.record import Counters, Sample

Sink = Callable[[Sample], None]


class Sampler:
    """Readings on demand; safe beside the thread that reads on the clock. Made by `sampling`."""

    def __init__(self, probes: Callable[[], Sequence[Probe]], sink: Sink, clock: Clock) -> None:
        self._probes = probes
        self._sink = sink
        self._clock = clock
        self._lock = threading.Lock()
        self._background: Future[None] | None = None

    def read_now(self) -> Sample:
        """One reading of every probe, handed to the sink too. Raises what ended the reading thread, if it ended."""
        if self._background is not None and self._background.done():
            self._background.result()
        return self._read(self._probes())

    def _read(self, probes: Iterable[Probe]) -> Sample:
        with self._lock:
            begun = self._clock.now()
            values: Counters = {}
            for probe in probes:
                values.update(probe.read())
            sample = Sample(time_s=(begun + self._clock.now()) / 2, values=values)
            self._sink(sample)
        return sample

    @contextmanager
    def reading_every(self, interval_s: float) -> Iterator[None]:
        """A thread reads at start + n x interval until the `with` ends; then its error, if any, is raised."""
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sampler") as pool:
            self._background = pool.submit(self._read_until, stop, interval_s)
            try:
                yield
            finally:
                stop.set()
            self._background.result()

    def _read_until(self, stop: threading.Event, interval_s: float) -> None:
        start = due = self._clock.now()
        while not stop.wait(max(0.0, due - self._clock.now())):
            self._read(probe for probe in self._probes() if not probe.edges_only)
            due = next_tick(start, interval_s, self._clock.now())


def next_tick(start: float, interval_s: float, now: float) -> float:
    """The first instant start + n x interval after `now`."""
    due = start + (math.floor((now - start) / interval_s) + 1) * interval_s
    return due if due > now else due + interval_s  # rounding may land on `now` itself


@contextmanager
def sampling(probes: Callable[[], Sequence[Probe]], interval_s: float, sink: Sink, clock: Clock) -> Iterator[Sampler]:
    """Samples `probes()`, asked anew at each reading, until the `with` ends. An error of a reading or of the sink
    ends the sampling; it is raised by the next `read_now`, or at the end."""
    sampler = Sampler(probes, sink, clock)
    with sampler.reading_every(interval_s) if isinstance(clock, SystemClock) else nullcontext():
        yield sampler

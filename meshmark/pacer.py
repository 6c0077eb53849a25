"""Index -> intended send time, for open-loop load. Pure: no clock, no sleeping; time starts at 0 with the load.

    pacer = Pacer(PacerSpec(shape=Sine(mean_msg_s=50_000, amplitude=0.3, period_s=60), arrivals="poisson", seed=7))
    pacer.due(1.5)                  # how many records should have been sent 1.5 s after the start
    pacer.intended_s(1_000, 2_000)  # seconds after the start, of records 1,000 to 1,999

A shape says how many records are expected by a time; arrivals place the records: `even` at every whole count,
`poisson` at the points of a unit Poisson process (time change), so every shape has both. Every time is computed from
the index alone, never from the time before it: nothing drifts, and the answer does not depend on the order of
questions. With several workers each sends every n-th record of the one schedule, so that together they send exactly
that schedule.

Limits: seconds are float64, exact to about 0.1 ns over a day. Poisson arrivals keep 8 bytes for every 4,096 records
passed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from meshmark.values import Model

FloatArray = NDArray[np.float64]
MOST_MSG_S = 1_000_000_000
Rate = Annotated[float, Field(gt=0, le=MOST_MSG_S, allow_inf_nan=False, description="messages per second")]
RateOrZero = Annotated[float, Field(ge=0, le=MOST_MSG_S, allow_inf_nan=False)]
Period = Annotated[float, Field(gt=0, le=86_400)]
_BLOCK = 4_096
_NEWTON_STEPS = 60


class Constant(Model):
    """The same rate for ever."""

    kind: Literal["constant"] = "constant"
    rate_msg_s: Rate

    def expected(self, time_s: FloatArray) -> FloatArray:
        return time_s * self.rate_msg_s

    def time_of(self, count: FloatArray) -> FloatArray:
        return count / self.rate_msg_s


class Step(Model):
    """One rate for some seconds; a rate of 0 is a pause."""

    rate_msg_s: RateOrZero
    seconds: Period


class Steps(Model):
    """Rates one after the other; the last one goes on for ever."""

    kind: Literal["steps"] = "steps"
    steps: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _goes_on(self) -> Steps:
        if self.steps[-1].rate_msg_s == 0:
            raise ValueError("the last step goes on for ever, so its rate must be above 0")
        return self

    def _edges(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Start second, records before, and rate of each step."""
        rates = np.array([step.rate_msg_s for step in self.steps])
        seconds = np.array([step.seconds for step in self.steps])
        starts = np.concatenate(([0.0], np.cumsum(seconds)[:-1]))
        counts = np.concatenate(([0.0], np.cumsum(seconds * rates)[:-1]))
        return starts, counts, rates

    def expected(self, time_s: FloatArray) -> FloatArray:
        starts, counts, rates = self._edges()
        at = np.searchsorted(starts, time_s, side="right") - 1
        return counts[at] + (time_s - starts[at]) * rates[at]

    def time_of(self, count: FloatArray) -> FloatArray:
        starts, counts, rates = self._edges()
        # side="right" puts a record that falls on a pause at the pause's end.
        at = np.searchsorted(counts, count, side="right") - 1
        return starts[at] + (count - counts[at]) / rates[at]


class Bursts(Model):
    """Every period begins with a burst; between bursts the base rate, which may be 0."""

    kind: Literal["bursts"] = "bursts"
    base_msg_s: RateOrZero
    burst_msg_s: Rate
    burst_s: Period
    period_s: Period

    @model_validator(mode="after")
    def _fits(self) -> Bursts:
        if self.burst_s >= self.period_s:
            raise ValueError(f"burstS {self.burst_s:g} must be shorter than periodS {self.period_s:g}")
        return self

    @property
    def _in_burst(self) -> float:
        return self.burst_msg_s * self.burst_s

    @property
    def _in_period(self) -> float:
        return self._in_burst + self.base_msg_s * (self.period_s - self.burst_s)

    def expected(self, time_s: FloatArray) -> FloatArray:
        cycle = np.floor(time_s / self.period_s)
        within = time_s - cycle * self.period_s
        between = np.maximum(within - self.burst_s, 0.0)
        return (
            cycle * self._in_period + np.minimum(within, self.burst_s) * self.burst_msg_s + between * self.base_msg_s
        )

    def time_of(self, count: FloatArray) -> FloatArray:
        cycle = np.floor(count / self._in_period)
        within = count - cycle * self._in_period
        burst = within / self.burst_msg_s
        if self.base_msg_s == 0:
            return cycle * self.period_s + np.minimum(burst, self.burst_s)
        after = self.burst_s + (within - self._in_burst) / self.base_msg_s
        return cycle * self.period_s + np.where(within < self._in_burst, burst, after)


class Sine(Model):
    """A rate that swings around its mean: mean x (1 + amplitude x sin(2 pi t / period))."""

    kind: Literal["sine"] = "sine"
    mean_msg_s: Rate
    amplitude: float = Field(gt=0, lt=1, description="share of the mean")
    period_s: Period

    def expected(self, time_s: FloatArray) -> FloatArray:
        angle = 2 * math.pi * (time_s / self.period_s)
        return self.mean_msg_s * self.period_s / (2 * math.pi) * (angle + self.amplitude * (1 - np.cos(angle)))

    def time_of(self, count: FloatArray) -> FloatArray:
        # angle + amplitude x (1 - cos angle) = wanted, within one period: Newton's steps, kept inside a bracket.
        periods = count / (self.mean_msg_s * self.period_s)
        cycle = np.floor(periods)
        wanted = 2 * math.pi * (periods - cycle)
        low, high = np.zeros_like(wanted), np.full_like(wanted, 2 * math.pi)
        angle, done = wanted.copy(), np.zeros(wanted.shape, dtype=bool)
        for _ in range(_NEWTON_STEPS):
            error = angle + self.amplitude * (1 - np.cos(angle)) - wanted
            low, high = np.where(error <= 0, angle, low), np.where(error >= 0, angle, high)
            step = angle - error / (1 + self.amplitude * np.sin(angle))
            following = np.where((step >= low) & (step <= high), step, (low + high) / 2)
            settled = np.abs(following - angle) <= 4e-16 * (1 + angle)
            # Each record stops at its own convergence, or its time would depend on which others were asked for.
            angle, done = np.where(done, angle, following), done | settled
            if done.all():
                break
        return (cycle + angle / (2 * math.pi)) * self.period_s


Shape = Annotated[Constant | Steps | Bursts | Sine, Field(discriminator="kind")]
Arrivals = Literal["even", "poisson"]


class PacerSpec(Model):
    """A schedule as a plan or a worker's specification carries it."""

    shape: Shape
    arrivals: Arrivals = "even"
    seed: int = Field(1, ge=0, le=2**63 - 1, description="of poisson arrivals; two pacers of one seed are the same")


class _Positions(Protocol):
    """Where record `index` lies on the axis of expected counts."""

    def at(self, first: int, last: int) -> FloatArray: ...

    def up_to(self, count: float) -> int: ...


class _Even:
    def at(self, first: int, last: int) -> FloatArray:
        return np.arange(first, last, dtype=np.float64)

    def up_to(self, count: float) -> int:
        return math.floor(count) + 1


class _Poisson:
    """A unit Poisson process. Each block of gaps has its own generator, keyed by seed and block."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._starts = [0.0]
        self._latest: tuple[int, FloatArray] = (-1, np.empty(0))

    def _block(self, number: int) -> FloatArray:
        while len(self._starts) <= number:
            self._block(len(self._starts) - 1)
        if self._latest[0] != number:
            source = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, number, 0]))
            points = self._starts[number] + np.cumsum(source.standard_exponential(_BLOCK))
            self._latest = (number, points)
            if len(self._starts) == number + 1:
                self._starts.append(float(points[-1]))
        return self._latest[1]

    def at(self, first: int, last: int) -> FloatArray:
        blocks = range(first // _BLOCK, max(first, last - 1) // _BLOCK + 1)
        points = np.concatenate([self._block(number) for number in blocks])
        offset = blocks.start * _BLOCK
        return points[first - offset : last - offset]

    def up_to(self, count: float) -> int:
        while self._starts[-1] <= count:
            self._block(len(self._starts) - 1)
        number = bisect_right(self._starts, count) - 1
        return number * _BLOCK + int(np.searchsorted(self._block(number), count, side="right"))


class Pacer:
    """The schedule of one worker out of `workers`; with one worker, the whole schedule."""

    def __init__(self, spec: PacerSpec, *, worker: int = 0, workers: int = 1) -> None:
        if not 0 <= worker < workers:
            raise ValueError(f"worker {worker} is not one of 0..{workers - 1}")
        self._shape = spec.shape
        self._positions: _Positions = _Poisson(spec.seed) if spec.arrivals == "poisson" else _Even()
        self._worker = worker
        self._workers = workers

    def intended_s(self, first: int, last: int) -> FloatArray:
        """Seconds after the start at which this worker's records first..last-1 should be sent; never falling."""
        if not 0 <= first <= last:
            raise ValueError(f"records {first} to {last} are no range")
        if first == last:
            return np.empty(0)
        ends = first * self._workers + self._worker, (last - 1) * self._workers + self._worker + 1
        return self._shape.time_of(self._positions.at(*ends)[:: self._workers])

    def due(self, time_s: float) -> int:
        """How many of this worker's records have an intended time at or before `time_s`: the inverse of
        `intended_s`, to the last bit."""
        if time_s < 0:
            return 0
        everybody = self._positions.up_to(float(self._shape.expected(np.array([time_s]))[0]))
        count = max(0, -((self._worker - everybody) // self._workers))
        # Rounding can put the estimate off by a record or two, and a pause by the one at its edge.
        while count > 0 and self._intended_s(count - 1) > time_s:
            count -= 1
        while self._intended_s(count) <= time_s:
            count += 1
        return count

    def _intended_s(self, index: int) -> float:
        return float(self.intended_s(index, index + 1)[0])

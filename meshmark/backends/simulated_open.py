"""An open-loop system with a known ceiling: what searches for saturation are judged on.

Records arrive on schedule at rate r at a server whose capacity is

    ceiling x drift(time) x warm-up(load so far) x level(life) x level(trial) x fluctuation(time), 0 during stalls

A life is one cluster, started cold. Each trial begins with an empty queue. Levels vary from life to life, and from
trial to trial; within one, capacity fluctuates with a memory
of some tenths of a second. Offering more than the capacity can cost some of it (`overload_loss`: thrashing; below 0:
larger batches). A record's latency is its wait in the queue, exactly as that capacity serves it, plus a service time
with an exponential tail that grows as utilisation nears 1. The load generator has a limit of its own, and says so by
its lateness.

`true_ceiling` is what a search should find. Limits: records are a fluid, counted in ticks of 20 ms; one queue, no
partitions. In place of the synthetic noise a system takes `RecordedNoise`: rates that real trials carried.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from meshmark.errors import RecordError

FloatArray = NDArray[np.float64]
Kind = Literal["stable", "bimodal", "switching", "erratic"]
Tail = Literal["normal", "heavy", "low"]
Slo = tuple[float, float]
"""Quantile of latency, seconds it must not exceed."""

TICK_S = 0.02
SERIES_S = 0.24
RESTART_S = 15.0
"""Between two lives, the warm-up apart."""
SETTLE_S = 1.5
"""From the start of a trial's load to its window: not part of what is observed."""
_TRUTH_TRIALS = 160
_SHARP = 0.15
_OVERLOAD_SPAN = 0.1
"""The overload at which `overload_loss` is lost in full."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedNoise:
    """Relative rates of real trials, each at least some seconds long, its steps `interval_s` apart.

    A file of them: {"interval_s": 0.25, "trials": [[1.02, 0.97, ...], ...]}. Each trial is the acknowledged rate under
    full load, divided by the median over all trials; so levels and fluctuations are in it, stalls too."""

    interval_s: float
    trials: tuple[tuple[float, ...], ...]

    @classmethod
    def load(cls, path: Path) -> RecordedNoise:
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            noise = cls(
                interval_s=float(read["interval_s"]), trials=tuple(tuple(map(float, t)) for t in read["trials"])
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"{path} holds no recorded noise: {error}",
                hint='It must be {"interval_s": S, "trials": [[...], ...]}.',
            ) from None
        if noise.interval_s <= 0 or not noise.trials or min(map(len, noise.trials)) < 2:
            raise RecordError(f"{path} holds no recorded noise: every trial needs two rates or more")
        return noise

    def capacity(self, source: np.random.Generator, rows: int, ticks: int) -> FloatArray:
        """Each row a trial drawn at random, from a random point of it on, repeated if it is shorter than asked. Rows
        are drawn evenly over trials and their points, so that many of them are distributed as all there could be."""
        drawn = (source.permutation(rows) + source.uniform(size=rows)) / rows * len(self.trials)
        steps = np.arange(ticks) * (TICK_S / self.interval_s)
        found = []
        for number, place in zip(drawn.astype(int), drawn % 1, strict=True):
            trial = np.array(self.trials[number])
            found.append(trial[(place * len(trial) + steps).astype(int) % len(trial)])
        return np.array(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSystem:
    """A system as it truly is. Shares are of the ceiling."""

    seed: int
    ceiling_msg_s: float
    kind: Kind = "stable"
    trial_noise: float = 0.04
    """Standard deviation of the logarithm of a trial's level."""
    life_noise: float = 0.0
    """The same of a life's level."""
    noise_tail: Tail = "normal"
    """heavy: Student's t with 4 degrees of freedom. low: slow trials are rarer and slower than fast ones."""
    noise_memory: float = 0.0
    """Correlation of one trial's level with the next one's."""
    fluctuation: float = 0.05
    fluctuation_s: float = 0.3
    stall_every_s: float = math.inf
    stall_s: float = 0.1
    drift: float = 0.0
    """Change of the logarithm of the ceiling in `drift_s`."""
    drift_s: float = 180.0
    drift_shape: Literal["line", "wave"] = "line"
    warmup_depth: float = 0.5
    warmup_s: float = 4.0
    overload_loss: float = 0.0
    base_latency_s: float = 0.004
    client_limit_msg_s: float = math.inf
    other_mode: float = 0.65
    """Of an unstable system: the other level, as a share."""
    noise: RecordedNoise | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """When trials were done in one life: seconds since the search's first trial began. `warm_s`: load before."""

    begin_s: float
    end_s: float
    warm_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTrial:
    """What an instrument would see of one trial's window. Counts are cumulative, from the start of the load."""

    rate_msg_s: float
    started_s: float
    ended_s: float
    time_s: tuple[float, ...]
    offered: tuple[float, ...]
    acknowledged: tuple[float, ...]
    outstanding: tuple[float, ...]
    latency_s: tuple[tuple[float, float], ...]
    errors: int
    late_share: float
    """Part of the records that the generator sent late although the client had room."""


def _ticks(count: int) -> FloatArray:
    """Their times."""
    return np.asarray(np.arange(count) * TICK_S, dtype=np.float64)


def drift(system: OpenSystem, time_s: FloatArray) -> FloatArray:
    """The factor by which the ceiling has moved at times since the first trial began."""
    turns = np.asarray(time_s / system.drift_s)
    moved = turns if system.drift_shape == "line" else np.sin(2 * math.pi * turns) / 2
    return np.asarray(np.exp(system.drift * moved))


def life_level(system: OpenSystem, life: int) -> float:
    """The factor that is a life's own; the median over lives is 1."""
    return math.exp(system.life_noise * float(np.random.default_rng((system.seed, 5, life)).standard_normal()))


def _warm(system: OpenSystem, load_s: FloatArray) -> FloatArray:
    return 1 - system.warmup_depth * np.exp(-load_s / system.warmup_s)


def _raw_level(system: OpenSystem, source: np.random.Generator, count: int) -> FloatArray:
    """Logarithms of independent levels; the median of their distribution is 0."""
    if system.noise_tail == "heavy":
        drawn = source.standard_t(4, count) / math.sqrt(2)
    elif system.noise_tail == "low":
        # A gamma variable turned over: skewness -1, standard deviation 1, median 0.
        drawn = (3.6721 - source.gamma(4, 1, count)) / 2
    else:
        drawn = source.standard_normal(count)
    return system.trial_noise * drawn


def _fluctuation(system: OpenSystem, source: np.random.Generator, trials: int, ticks: int) -> FloatArray:
    """Ornstein-Uhlenbeck noise in the logarithm, mean of the factor 1; one row a trial."""
    keep = math.exp(-TICK_S / system.fluctuation_s)
    drawn = source.standard_normal((ticks, trials))
    state = drawn[0]
    rows = np.empty((ticks, trials))
    for tick in range(ticks):
        state = keep * state + math.sqrt(1 - keep * keep) * drawn[tick] if tick else state
        rows[tick] = state
    return np.exp(system.fluctuation * rows.T - system.fluctuation**2 / 2)


def _stall(system: OpenSystem, source: np.random.Generator, rows: FloatArray) -> None:
    """Sets capacity to 0 while the system stands still."""
    if math.isinf(system.stall_every_s):
        return
    trials, ticks = rows.shape
    for trial, stalls in enumerate(source.poisson(ticks * TICK_S / system.stall_every_s, trials)):
        for begin in source.uniform(0, ticks, stalls):
            length = system.stall_s * source.uniform(0.5, 1.5) / TICK_S
            rows[trial, int(begin) : int(begin + length) + 1] = 0


def _switch(system: OpenSystem, source: np.random.Generator, rows: FloatArray) -> None:
    """Trials that change between two levels every few seconds."""
    trials, ticks = rows.shape
    for trial in range(trials):
        place, low = 0.0, bool(source.integers(2))
        while place < ticks:
            length = source.exponential(3.0) / TICK_S
            if low:
                rows[trial, int(place) : int(place + length) + 1] *= system.other_mode
            place, low = place + length, not low


def _capacity(system: OpenSystem, source: np.random.Generator, levels: FloatArray, ticks: int) -> FloatArray:
    """Capacity as a share of the ceiling, drift and warm-up apart; one row a trial."""
    if system.noise:
        return system.noise.capacity(source, len(levels), ticks)
    rows = np.exp(levels)[:, None] * _fluctuation(system, source, len(levels), ticks)
    _stall(system, source, rows)
    if system.kind == "bimodal":
        rows[source.uniform(size=len(levels)) < 0.4] *= system.other_mode
    elif system.kind == "switching":
        _switch(system, source, rows)
    return rows


@dataclass(frozen=True, slots=True)
class _Served:
    """How a fluid passed through one queue, a row a trial."""

    acknowledged: FloatArray
    wait_s: FloatArray
    tail_s: FloatArray
    arrived: FloatArray


def _serve(system: OpenSystem, capacity: FloatArray, arrivals: FloatArray) -> _Served:
    """Exact for the fluid (reflection of arrivals less capacity at an empty queue). `capacity` in records a tick."""
    served = np.cumsum(capacity, axis=1)
    arrived = np.cumsum(arrivals, axis=1)
    free = arrived - served
    queue = free - np.minimum(0, np.minimum.accumulate(free, axis=1))
    done = arrived - queue
    ticks = np.arange(1.0, arrived.shape[1] + 1)
    wait = np.empty_like(arrived)
    mean = np.maximum(capacity.mean(axis=1), 1e-9)
    for row in range(len(arrived)):
        # The queue at each tick is gone when the capacity to come has added up to it.
        target = served[row] + queue[row]
        beyond = np.maximum(0, target - served[row, -1]) / mean[row]
        wait[row] = np.interp(target, served[row], ticks) + beyond - ticks
    load = np.minimum(arrivals.mean(axis=1) / mean, 1.0)[:, None]
    tail = system.base_latency_s * (0.25 + 0.05 * load / (1.04 - load))
    return _Served(done, wait * TICK_S, np.broadcast_to(tail, arrived.shape), arrivals)


def _exceeds(system: OpenSystem, served: _Served, window: slice, limits_s: FloatArray) -> FloatArray:
    """Share of the window's records slower than each limit: trials x limits."""
    spare = limits_s[None, None, :] - system.base_latency_s - served.wait_s[:, window, None]
    slower = np.exp(-np.maximum(spare, 0) / served.tail_s[:, window, None])
    weights = served.arrived[:, window, None]
    return np.asarray((slower * weights).sum(axis=1) / weights.sum(axis=1))


def _overloaded(system: OpenSystem, capacity: FloatArray, per_tick: float) -> FloatArray:
    """Capacity as it is when this much is offered."""
    if not system.overload_loss:
        return capacity
    excess = per_tick / np.maximum(capacity.mean(axis=1, keepdims=True), 1e-9) - 1
    return np.asarray(capacity * (1 - system.overload_loss * np.clip(excess / _OVERLOAD_SPAN, 0, 1)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """A ceiling, None where most trials miss at any rate. Sharp: at 15 % less at least three of four trials meet the
    threshold, and at 15 % more at most one of four. A ceiling that is not is a wide band of rates by nature."""

    rate_msg_s: float | None
    sharp: bool


class OpenBench:
    """A system in its first life, and after `restart` in the next: a clock that moves with every trial, and the noise
    of every trial and life by its number, so that two searches on equal systems meet equal noise."""

    def __init__(self, system: OpenSystem, *, overhead_s: float = 1.0) -> None:
        self.system = system
        self.now_s = 0.0
        self.load_s = 0.0
        self.trials = 0
        self.life = 1
        self._begun_s: float | None = None
        self._overhead_s = overhead_s
        self._source = np.random.default_rng((system.seed, 0))
        self._level = float(_raw_level(system, self._source, 1)[0])

    def restart(self) -> None:
        """A new life: cold, and at a level of its own."""
        self.life += 1
        self.load_s = 0.0
        self.now_s += RESTART_S

    def warm_up_window(self, seconds: float = 1.0) -> float:
        """Load in a closed loop for a window; the rate carried."""
        source = np.random.default_rng((self.system.seed, 1, int(self.load_s * 1e3), self.life))
        ticks = round(seconds / TICK_S)
        factor = _capacity(self.system, source, np.array([self._level]), ticks)[0]
        factor = factor * _warm(self.system, self.load_s + _ticks(ticks)) * life_level(self.system, self.life)
        self.now_s, self.load_s = self.now_s + seconds, self.load_s + seconds
        loss = 1 - self.system.overload_loss
        return float(min(self.system.ceiling_msg_s * factor.mean() * loss, self.system.client_limit_msg_s))

    def trial(self, rate_msg_s: float, seconds: float, *, settle_s: float = SETTLE_S) -> OpenTrial:
        """Offers a rate for some seconds; the window begins after the settling time."""
        system, started = self.system, self.now_s
        self._begun_s = started if self._begun_s is None else self._begun_s
        ticks = round((settle_s + seconds) / TICK_S)
        times = _ticks(ticks)
        factor = drift(system, started - self._begun_s + times) * _warm(system, self.load_s + times)
        share = self._trial_share(ticks) * factor
        sent_msg_s = min(rate_msg_s, system.client_limit_msg_s * math.exp(0.01 * self._source.standard_normal()))
        capacity = _overloaded(system, share * (system.ceiling_msg_s * TICK_S), sent_msg_s * TICK_S)
        sent = np.full((1, ticks), sent_msg_s * TICK_S)
        served = _serve(system, capacity, sent)
        self.now_s += settle_s + seconds + self._overhead_s
        self.load_s += settle_s + seconds
        return self._seen(rate_msg_s, sent_msg_s, started, served, round(settle_s / TICK_S))

    def feedback(
        self, first_msg_s: float, adjust: Callable[[float, float, float], float], *, period_s: float, periods: int
    ) -> list[float]:
        """One uninterrupted load whose rate is changed every period: `adjust(rate, acknowledged rate, records
        waiting)` gives the next. Its noise is that of trials, one after the other. Returns the rates."""
        system, rate, waiting = self.system, first_msg_s, 0.0
        per_period, spare, rates = round(period_s / TICK_S), np.empty(0), []
        self._begun_s = self.now_s
        for _ in range(periods):
            while len(spare) < per_period:
                spare = np.concatenate([spare, self._trial_share(round((SETTLE_S + 6) / TICK_S))[0]])
            times = self.now_s - self._begun_s + _ticks(per_period)
            factor = drift(system, times) * _warm(system, self.load_s + _ticks(per_period))
            share, spare = spare[:per_period] * factor, spare[per_period:]
            sent = min(rate, system.client_limit_msg_s) * TICK_S
            capacity = _overloaded(system, (share * (system.ceiling_msg_s * TICK_S))[None, :], sent)[0]
            before = waiting
            for able in capacity:
                waiting = max(0.0, waiting + sent - float(able))
            rates.append(rate)
            acknowledged = (sent * per_period + before - waiting) / period_s
            self.now_s, self.load_s = self.now_s + period_s, self.load_s + period_s
            rate = adjust(rate, acknowledged, waiting)
        return rates

    def _trial_share(self, ticks: int) -> FloatArray:
        """The next trial's capacity as a share of the ceiling, drift and warm-up apart."""
        system = self.system
        self.trials += 1
        self._source = np.random.default_rng((system.seed, 2, self.trials))
        fresh, memory = float(_raw_level(system, self._source, 1)[0]), system.noise_memory
        self._level = memory * self._level + math.sqrt(1 - memory * memory) * fresh
        return _capacity(system, self._source, np.array([self._level]), ticks) * life_level(system, self.life)

    def _seen(self, rate: float, sent_rate: float, started: float, served: _Served, first: int) -> OpenTrial:
        due = rate * TICK_S * np.arange(1.0, served.arrived.shape[1] + 1)
        # Records in service are not yet acknowledged.
        lag = min(self.system.base_latency_s * 1.25, SERIES_S)
        acknowledged = np.maximum(
            served.acknowledged[0] - lag / TICK_S * np.diff(served.acknowledged[0], prepend=0), 0
        )
        acknowledged = np.maximum.accumulate(acknowledged)
        picks = np.arange(first, len(due), round(SERIES_S / TICK_S))
        limits = np.geomspace(self.system.base_latency_s / 2, 20, 160)
        slower = _exceeds(self.system, served, slice(first, None), limits)[0]
        quantiles = {q: float(np.exp(np.interp(q, 1 - slower, np.log(limits)))) for q in (0.5, 0.9, 0.99, 0.999)}
        return OpenTrial(
            rate_msg_s=rate,
            started_s=started,
            ended_s=self.now_s,
            time_s=tuple((started + (picks + 1) * TICK_S).tolist()),
            offered=tuple(due[picks].tolist()),
            acknowledged=tuple(acknowledged[picks].tolist()),
            outstanding=tuple((due - acknowledged)[picks].tolist()),
            latency_s=tuple(quantiles.items()),
            errors=0,
            late_share=1 - sent_rate / rate,
        )


def true_ceiling(
    system: OpenSystem,
    seconds: float,
    slo: Slo | None,
    stretches: Sequence[Stretch],
    *,
    life: int | None = None,
    settle_s: float = SETTLE_S,
) -> Truth:
    """The rate that a trial of `seconds`, begun at a random moment of the stretches, carries with probability 1/2: in
    its window the mean capacity is not below the rate, and the SLO holds. `life`: in that one; None: in a random one,
    of all that there might have been. The generator's limit is not part of it.

    Monte Carlo over stratified levels: good to about 0.5 %."""
    source = np.random.default_rng((system.seed, 3))
    count, ticks = _TRUTH_TRIALS, round((settle_s + seconds) / TICK_S)
    window = slice(round(settle_s / TICK_S), None)
    drawn = np.sort(_raw_level(system, source, count * 25)).reshape(count, 25).mean(axis=1)
    begins = np.array([stretch.begin_s for stretch in stretches])
    lengths = np.array([max(1e-6, stretch.end_s - stretch.begin_s - seconds - settle_s) for stretch in stretches])
    moments = source.permutation((np.arange(count) + 0.5) / count) * lengths.sum()
    which = np.searchsorted(np.cumsum(lengths), moments)
    inside = (moments - (np.cumsum(lengths) - lengths)[which])[:, None] + _ticks(ticks)
    warm = np.array([stretch.warm_s for stretch in stretches])[which][:, None]
    factor = drift(system, begins[which][:, None] + inside) * _warm(system, warm + inside)
    if life is None:
        levels = np.sort(source.standard_normal(count * 25)).reshape(count, 25).mean(axis=1)
        factor = factor * np.exp(system.life_noise * source.permutation(levels))[:, None]
    else:
        factor = factor * life_level(system, life)
    share = _capacity(system, source, drawn, ticks) * factor * (system.ceiling_msg_s * TICK_S)
    carried = share[:, window].mean(axis=1)
    any_latency = float(np.median(carried)) / TICK_S
    if slo is None:
        return Truth(rate_msg_s=any_latency, sharp=True)

    def held(rate: float) -> float:
        capacity = _overloaded(system, share, rate * TICK_S)
        served = _serve(system, capacity, np.full((count, ticks), rate * TICK_S))
        fast = _exceeds(system, served, window, np.array([slo[1]]))[:, 0] <= 1 - slo[0]
        return float(np.mean(fast & (carried >= rate * TICK_S)))

    low, high = math.log(0.02 * any_latency), math.log(1.1 * any_latency)
    if held(math.exp(low)) < 0.5:
        return Truth(rate_msg_s=None, sharp=False)
    if held(0.7 * any_latency) >= 0.5:
        low = math.log(0.7 * any_latency)
    while high - low > 0.003:
        middle = (low + high) / 2
        low, high = (middle, high) if held(math.exp(middle)) >= 0.5 else (low, middle)
    rate = min(math.exp((low + high) / 2), any_latency)
    return Truth(rate_msg_s=rate, sharp=held(rate * (1 - _SHARP)) >= 0.75 and held(rate * (1 + _SHARP)) <= 0.25)


_UNSTABLE: tuple[Kind, ...] = ("bimodal", "switching", "erratic")
_TAILS: tuple[Tail, ...] = ("normal", "heavy", "low")


def random_system(
    seed: int, *, kind: Literal["stable", "unstable", "client"] = "stable", noise: RecordedNoise | None = None
) -> OpenSystem:
    """A system of the population that searches are judged on. Unstable ones are so in one of three ways; `client`:
    stable, but behind a generator that cannot reach the ceiling."""
    source = np.random.default_rng((seed, 4))
    ceiling = _log_uniform(source, 5e3, 5e5)
    actual = _UNSTABLE[int(source.integers(3))] if kind == "unstable" else "stable"
    stalls = [(math.inf, 0.1), (source.uniform(1, 5), source.uniform(0.005, 0.04))]
    stalls += [(source.uniform(15, 40), source.uniform(0.2, 0.5))]
    every, length = stalls[int(source.choice(3, p=[0.4, 0.35, 0.25]))]
    return OpenSystem(
        seed=seed,
        ceiling_msg_s=ceiling,
        kind=actual,
        trial_noise=0.3 if actual == "erratic" else float(source.uniform(0.02, 0.08)),
        noise_tail=_TAILS[int(source.choice(3, p=[0.6, 0.2, 0.2]))],
        noise_memory=float(source.choice([0.0, 0.3], p=[0.7, 0.3])),
        fluctuation=float(source.uniform(0.01, 0.06)),
        fluctuation_s=_log_uniform(source, 0.1, 0.6),
        stall_every_s=float(every),
        stall_s=float(length),
        drift=float(source.uniform(-0.05, 0.05)),
        drift_shape="line" if source.uniform() < 0.7 else "wave",
        warmup_depth=float(source.uniform(0.2, 0.7)),
        warmup_s=_log_uniform(source, 2, 12),
        overload_loss=float(source.choice([0.0, -0.02, 0.03, 0.08])),
        base_latency_s=_log_uniform(source, 0.002, 0.008),
        client_limit_msg_s=ceiling * float(source.uniform(0.4, 0.85)) if kind == "client" else math.inf,
        other_mode=float(source.uniform(0.5, 0.75)),
        life_noise=float(source.uniform(0, 0.05)),
        noise=noise,
    )


def _log_uniform(source: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(source.uniform(math.log(low), math.log(high))))

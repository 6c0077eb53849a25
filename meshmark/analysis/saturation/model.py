"""What a saturation search is asked, sees and answers: frozen values that go through JSON unchanged.

Rates are messages a second, as offered on schedule; shares are of a rate.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from meshmark.plan import Seconds, Slo
from meshmark.values import Model

Phase = Literal["bracket", "refine", "confirm"]


_TRIALS, _TRIALS_SLO = 48, 2
_SPARE = 1.5
ANY_LATENCY = "any latency"


class SearchConfig(Model):
    """How a search is done. The defaults are what its coverage and width are stated for."""

    start_msg_s: float = Field(gt=0, allow_inf_nan=False, description="a guess, e.g. the rate at warm-up's end")
    slos: tuple[Slo, ...] = Field((), max_length=8)
    trials_max: int | None = Field(
        None,
        ge=3,
        le=1_000,
        description="trials at most, those that do not count included; null: 48, and 2 for each SLO",
    )
    trials_min: int = Field(3, ge=3, le=200, description="no interval is given from fewer trials that count")
    lives: int = Field(
        1,
        ge=1,
        le=100,
        description="clusters, one after the other, that share the trials evenly; above 1 every life gets its share, "
        "however narrow the intervals are already, and the ceiling is the median over lives too",
    )
    trial_seconds: Seconds = Field(6, description="length of a trial's window")
    settle_seconds: float = Field(1.5, ge=0, le=600, description="load before the window, not counted")
    overhead_seconds: float = Field(1.0, ge=0, le=600, description="expected between two trials: drain, topics")
    budget_seconds: Seconds | None = Field(
        None,
        description="no trial starts that would end after this; null: half more than all trials are expected to take",
    )
    width: float = Field(0.06, gt=0, lt=1, description="intervals this narrow, high / low - 1, end the search")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    unstable_noise: float = Field(
        0.11,
        gt=0,
        lt=1,
        description="a ceiling that differs more than this between trials (standard deviation) is none",
    )
    late_share_max: float = Field(
        0.01, gt=0, lt=1, description="a generator that is late with more than this by its own fault invalidates"
    )
    error_share_max: float = Field(0, ge=0, lt=1, description="records failed or unknown that still count as carried")
    seed: int = Field(1, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _possible(self) -> SearchConfig:
        if self.trials_min > self.trials:
            raise ValueError(f"trialsMin {self.trials_min} is above trialsMax {self.trials}")
        names = [slo.name for slo in self.slos]
        if len(set(names)) < len(names):
            raise ValueError(f"each SLO once: {', '.join(names)}")
        return self

    @property
    def trials(self) -> int:
        """At most."""
        return _TRIALS + _TRIALS_SLO * len(self.slos) if self.trials_max is None else self.trials_max

    @property
    def trials_of_life(self) -> int:
        """At most."""
        return math.ceil(self.trials / self.lives)

    @property
    def trial_cost_s(self) -> float:
        return self.settle_seconds + self.trial_seconds + self.overhead_seconds

    @property
    def budget_s(self) -> float:
        return self.budget_seconds or _SPARE * self.trials * self.trial_cost_s


class Offer(Model):
    """The next trial: this rate, open loop, for a window of so many seconds after the settling time."""

    number: int = Field(description="from 1, over all lives")
    life: int
    rate_msg_s: float
    seconds: float
    settle_seconds: float
    phase: Phase
    target: str = Field(description="which ceiling it is to tell about")


POINTS_LEAST = 5
"""Of a series: fewer do not tell a growing backlog from one that comes and goes."""


class TrialOutcome(Model):
    """What was seen in a trial's window. Series are cumulative counts at `time_s`, five values or more. `life`,
    `phase` and `target` are the offer's.

    `offered` counts records whose intended time has come, sent or not: what a full client queue holds back is the
    system's backlog. `offered = acknowledged + failed + unknown + outstanding`."""

    life: int = Field(1, ge=1, description="which of several clusters, started one after the other, it was done on")
    phase: Phase = "refine"
    target: str = ANY_LATENCY
    rate_msg_s: float = Field(gt=0)
    started_s: float
    ended_s: float = Field(description="drain and clean-up included")
    time_s: tuple[float, ...] = Field(min_length=POINTS_LEAST)
    offered: tuple[float, ...]
    acknowledged: tuple[float, ...]
    outstanding: tuple[float, ...]
    latency_s: tuple[tuple[float, float], ...] = Field((), description="quantile, seconds")
    errors: int = Field(0, ge=0, description="records failed or unknown")
    late_share: float = Field(
        0, ge=0, le=1, description="records sent late although the client had room: the generator's fault"
    )
    invalid: str = Field("", description="why the trial says nothing about the system, e.g. a path proof that fails")

    @model_validator(mode="after")
    def _even(self) -> TrialOutcome:
        if not len(self.time_s) == len(self.offered) == len(self.acknowledged) == len(self.outstanding):
            raise ValueError("timeS, offered, acknowledged and outstanding must have one value for each time")
        if any(later <= earlier for earlier, later in zip(self.time_s, self.time_s[1:], strict=False)):
            raise ValueError("timeS must rise")
        return self

    def quantile_s(self, quantile: float) -> float | None:
        return next((seconds for known, seconds in self.latency_s if abs(known - quantile) < 1e-9), None)


Verdict = Literal["carried", "not carried", "unclear", "client", "invalid"]


class TrialView(Model):
    """How the search reads one trial; `held` has one answer for each SLO."""

    number: int
    life: int
    rate_msg_s: float
    phase: Phase
    verdict: Verdict
    growth: float | None = Field(description="of the backlog, as a share of the rate; null: the trial does not count")
    growth_error: float | None
    held: tuple[bool, ...] = ()
    reason: str = ""


Reason = Literal[
    "unstable",
    "not reached: the client was the limit",
    "missed at every rate tried",
    "not enough trials",
]


class Ceiling(Model):
    """The highest rate that met one threshold, as an interval, or the reason why there is none."""

    target: str
    low_msg_s: float | None = None
    high_msg_s: float | None = None
    middle_msg_s: float | None = Field(None, description="median of what is believed after the last trial")
    confidence: float
    reason: Reason | None = None
    noise: float | None = Field(
        None, description="how much it differs between trials of a life: standard deviation, share"
    )
    life_noise: float | None = Field(None, description="how much it differs between lives, as far as that is known")
    carried_msg_s: float | None = Field(None, description="highest rate at which a trial met the threshold")
    explained: str = ""

    @property
    def width(self) -> float | None:
        """High / low - 1."""
        if self.low_msg_s is None or self.high_msg_s is None:
            return None
        return self.high_msg_s / self.low_msg_s - 1


class Life(Model):
    """What one life alone says of its ceiling for any latency, to be compared with another system's of the same
    repeat. Both are null where its trials do not show it, e.g. because all were carried."""

    life: int
    middle_msg_s: float | None
    error: float | None = Field(description="standard error, as a share")


class Saturation(Model):
    """The answer: `any latency` first, then each SLO in the order of the plan."""

    ceilings: tuple[Ceiling, ...]
    lives: tuple[Life, ...] = Field(description="that had trials, ascending")
    trials: tuple[TrialView, ...]
    seconds: float = Field(description="that the trials took")
    ended: str = Field(description="why the search stopped")

"""One trial, read: did the backlog grow, did each SLO hold, was it the generator that could not.

Pure. The growth of a backlog has an error (`analysis/trend.py`), and what follows from a trial keeps it: the posterior
weighs a trial that is between the two as such. The words of a TrialView are for people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from meshmark.analysis import trend
from meshmark.analysis.saturation.model import SearchConfig, TrialOutcome, TrialView, Verdict
from meshmark.analysis.saturation.posterior import RESOLUTION, Evidence

TOLERANCE = 0.01
"""Backlog that grows by less than this share of the rate is not told from one that does not grow: a window of some
seconds ends somewhere inside the system's own batches and pauses."""
_CLOSE = 0.06
"""Latency within about this share of what is allowed is told from it with little certainty."""
_QUEUE_LEAST, _QUEUE_LEAST_S = 0.02, 0.1
"""A backlog that is never less than this share of the window's load, and than the load of these seconds, beyond what
is in flight, is a queue that was never empty. Batches wait for each other before any queue grows."""
_ALARM = 0.05
"""A backlog grows if one that does not would look so in fewer trials than this."""
_SHARE_MIN = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a trial says. `keeps_up` is the probability that the backlog does not grow."""

    number: int
    outcome: TrialOutcome
    log_rate: float
    verdict: Verdict
    reason: str
    growth: trend.Estimate
    cut_error: float
    acknowledged_msg_s: float
    keeps_up: float
    held: tuple[float, ...]

    @property
    def counts(self) -> bool:
        return self.verdict in ("carried", "not carried", "unclear")

    @property
    def lowest_s(self) -> float:
        """The lowest backlog of the window, in seconds of load."""
        return min(self.outcome.outstanding) / self.outcome.rate_msg_s

    @property
    def sway(self) -> float:
        """Of the backlog, as a share of the window's load (`trend.sway`)."""
        return trend.sway(self.outcome.time_s, self.outcome.outstanding) / self._load

    @property
    def _load(self) -> float:
        """Records due in the window."""
        return self.outcome.rate_msg_s * (self.outcome.time_s[-1] - self.outcome.time_s[0])

    def emptied(self, in_flight_s: float) -> bool:
        """The queue was empty at some moment; `in_flight_s` is the backlog when none waits, in seconds of load."""
        least = max(_QUEUE_LEAST * self._load, _QUEUE_LEAST_S * self.outcome.rate_msg_s)
        return (self.lowest_s - in_flight_s) * self.outcome.rate_msg_s <= least

    def evidence(self, target: int, *, at: float, in_flight_s: float, sway: float) -> Evidence:
        """For any latency (target 0) or SLO number `target`; `at` is the trial's place in its life, `sway` that of the
        system."""
        share = min(max(1 - self.growth.value, _SHARE_MIN), 1.2)
        outstanding = self.outcome.outstanding
        begin = (outstanding[0] - min(outstanding)) / self._load
        return Evidence(
            log_rate=self.log_rate,
            log_share=None if self.reason else math.log(share),
            error=self.cut_error / share,
            at=at,
            life=self.outcome.life,
            held=self.held[target - 1] if target else 0.0,
            backlog=(begin, max(begin - math.log(share), 0.0)) if self.emptied(in_flight_s) else None,
            sway=sway,
        )

    def met(self, target: int) -> bool:
        """The threshold was met, more probably than not."""
        return self.counts and (self.held[target - 1] if target else self.keeps_up) >= 0.5

    def view(self) -> TrialView:
        return TrialView(
            number=self.number,
            life=self.outcome.life,
            rate_msg_s=self.outcome.rate_msg_s,
            phase=self.outcome.phase,
            verdict=self.verdict,
            growth=self.growth.value if self.counts else None,
            growth_error=self.growth.error if self.counts else None,
            held=tuple(held >= 0.5 for held in self.held) if self.counts else (),
            reason=self.reason,
        )


def read(number: int, outcome: TrialOutcome, config: SearchConfig) -> Reading:
    """`number`: of the trial, from 1. Raises ValueError if the outcome lacks the quantile of an SLO."""
    estimate = trend.growth(outcome.time_s, outcome.outstanding)
    rate = outcome.rate_msg_s
    growth = trend.Estimate(value=estimate.value / rate, error=estimate.error / rate, effective=estimate.effective)
    cut_error = math.hypot(trend.cut_error(outcome.time_s, outcome.outstanding) / rate, RESOLUTION)
    seconds = outcome.time_s[-1] - outcome.time_s[0]
    acknowledged = outcome.acknowledged[-1] - outcome.acknowledged[0]
    errors = outcome.errors > config.error_share_max * rate * seconds
    keeps_up = 0.0 if errors else trend.below(growth.value, cut_error, TOLERANCE)
    verdict: Verdict = "carried" if keeps_up >= 0.5 else "unclear"
    if errors or growth.below(TOLERANCE) < _ALARM:
        verdict = "not carried"
    reason = f"{outcome.errors} records failed or unknown" if errors else ""
    if outcome.late_share > config.late_share_max:
        verdict, reason = "client", f"the generator was late with {outcome.late_share:.1%} of the records"
    if outcome.invalid:
        verdict, reason = "invalid", outcome.invalid
    held = []
    for slo in config.slos:
        latency_s = outcome.quantile_s(slo.quantile)
        if latency_s is None:
            raise ValueError(f"the outcome of a trial at {rate:,.0f} msg/s has no p{slo.quantile * 100:g} of latency")
        # A backlog may grow by the SLO's own latency within the window without having missed it.
        growing = trend.below(growth.value, cut_error, max(TOLERANCE, slo.latency_s / seconds)) < 0.5
        excess = math.log(max(latency_s, 1e-6) / slo.latency_s)
        held.append(0.0 if growing or errors else 1 / (1 + math.exp(min(excess / _CLOSE, 50))))
    return Reading(
        number=number,
        outcome=outcome,
        log_rate=math.log(rate),
        verdict=verdict,
        reason=reason,
        growth=growth,
        cut_error=cut_error,
        acknowledged_msg_s=acknowledged / seconds,
        keeps_up=keeps_up,
        held=tuple(held),
    )

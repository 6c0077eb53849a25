"""The search for saturation: which rate to offer next, when to stop, what it all says. A pure state machine.

    search = Search(config)
    while (offer := search.next()) is not None:
        search.observe(run_a_trial(offer))
    search.result()

The state is the list of outcomes and nothing else: `Search.resume(config, outcomes)` goes on exactly where a search
that saw them would, and `next` may be asked again. It has no clock; time is what the outcomes say it took.

Trials may come from several lives of a cluster (`config.lives`), which share them evenly. `next(life)` gives the
trials of one life until it has its share: to compare lives, each needs some, however narrow the interval is already.

It brackets (up or down until one rate was carried and one was not; an overloaded trial says where to look), then
refines: it offers rates around the median of what is believed of the ceiling known worst, sometimes above and
sometimes below, at random from the seed, so that drift cannot hide in the order. Trials near the believed ceiling are
the confirmation: the interval narrows only as repeated trials agree. Limits: every trial must begin with an empty
queue; a rate that is carried once and then never again shows as noise, not as a collapse.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshmark.analysis.saturation.model import (
    ANY_LATENCY,
    Ceiling,
    Life,
    Offer,
    Phase,
    Reason,
    Saturation,
    SearchConfig,
    TrialOutcome,
)
from meshmark.analysis.saturation.posterior import Belief, Evidence, Posterior, locate
from meshmark.analysis.saturation.reading import Reading, read
from meshmark.units import duration, percent, rate_msg_s

_UP = (1.12, 1.3, 1.7, 2.5)
"""Bracketing steps while every rate was carried: the first guess is mostly near, and if not, it may be far."""
_SLO_STEPS = (0.9, 0.7, 0.4)
"""Shares of the ceiling for any latency at which an SLO that never held is tried, down to where it is given up."""
_OFFSETS = (1.0, -1.0, 0.6, -0.7, 1.3, -0.4)
"""In units of the noise: where around the believed ceiling trials are most informative."""
_CHALLENGE, _CHALLENGE_EVERY = 0.22, 5
"""The second trial of a life, and every fifth after it, is so far above the believed ceiling for any latency: it
measures what the trial carried, and a system with a second, higher mode, or one whose ceiling was believed too soon,
betrays itself."""
_SETTLED = 20
"""No search of one life ends sooner because its interval is narrow: a few trials agree by chance."""
_ANY_FIRST = 8
"""What a trial for any latency is worth, against one for a single SLO: it tells about every ceiling."""
_BEYOND = 0.7
"""How far (in logarithms) a ceiling may lie outside the rates that were offered."""
_SWAY, _SWAY_LEAST = 0.01, 0.006
"""How far capacity swings within a window, before any trial has shown it; and what it is taken for at least."""
_NOISE_LEAST, _NOISE_MOST = 0.015, 0.2
_CLIENT_STEP = 0.96
_CLIENT_NEAR = 0.15
_CLIENT_TRIALS = 3
"""So many trials carried this near (in logarithms) to what the generator cannot offer show that it is the limit."""
_WIDE = 0.3
"""An interval wider than this deserves no more trials than one this wide: some SLOs have no sharp ceiling."""
_NOWHERE_MAX = 0.25
"""Probability that most trials miss an SLO at any rate, up to which a ceiling is given all the same."""
_BAND = 2.0
"""An SLO that is met and missed at rates this far apart (high / low) has no ceiling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """What is believed of one ceiling so far. `met` and `missed`: logarithms of the rates of trials that did.
    `reason`: why no further trial is spent on it."""

    number: int
    name: str
    belief: Belief
    met: tuple[float, ...]
    missed: tuple[float, ...]
    reason: Reason | None

    @property
    def bracketed(self) -> bool:
        return bool(self.met) and bool(self.missed)

    def interval(self, confidence: float) -> tuple[float, float]:
        rest = (1 - confidence) / 2
        return self.belief.quantile(rest), self.belief.quantile(1 - rest)

    def width(self, confidence: float) -> float:
        low, high = self.interval(confidence)
        return high - low


class Search:
    """One search; see the module."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.outcomes: list[TrialOutcome] = []
        self._readings: list[Reading] = []

    @classmethod
    def resume(cls, config: SearchConfig, outcomes: Iterable[TrialOutcome]) -> Search:
        """A search that has seen these outcomes, in this order."""
        search = cls(config)
        for outcome in outcomes:
            search.observe(outcome)
        return search

    def next(self, life: int = 1) -> Offer | None:
        """The next trial in this life, or None when the life has its share of trials, or the search is over."""
        if self._used_up(life):
            return None
        targets = self._targets(self._posteriors(rough=True))
        if self._known(targets):
            return None
        log_rate, phase, target = self._choose(targets, life) if targets else (self._first(), "bracket", 0)
        return Offer(
            number=len(self.outcomes) + 1,
            life=life,
            rate_msg_s=float(f"{math.exp(log_rate):.4g}"),
            seconds=self.config.trial_seconds,
            settle_seconds=self.config.settle_seconds,
            phase=phase,
            target=self._names[target],
        )

    def observe(self, outcome: TrialOutcome) -> None:
        """What a trial showed. Its rate may differ from the offer's; the outcome's is used."""
        self._readings.append(read(len(self.outcomes) + 1, outcome, self.config))
        self.outcomes.append(outcome)

    def result(self) -> Saturation:
        """The answer from what has been seen, whether or not the search is over."""
        posteriors = self._posteriors(rough=False)
        targets = self._targets(posteriors)
        ceilings = tuple(self._ceiling(target, targets[0]) for target in targets)
        last = self.outcomes[-1].life if self.outcomes else 1
        return Saturation(
            ceilings=ceilings or tuple(self._nothing(name) for name in self._names),
            lives=self._lives(posteriors),
            trials=tuple(reading.view() for reading in self._readings),
            seconds=self._spent_s,
            ended=self._used_up(last) or self._known(self._targets(self._posteriors(rough=True))) or "not over",
        )

    def plan_text(self) -> str:
        """What the search will do, before it starts."""
        config = self.config
        names = "; ".join(self._names)
        most = min(config.budget_s, config.trials * config.trial_cost_s)
        count = (
            f"{config.trials} trials on {config.lives} clusters, one after the other,"
            if config.lives > 1
            else f"{min(_SETTLED, config.trials)} to {config.trials} trials"
        )
        until = f"every {percent(config.confidence)} interval is within {percent(config.width)}, or "
        return (
            f"Saturation search from {rate_msg_s(config.start_msg_s)} msg/s, open loop, for: {names}.\n"
            f"{count} of {config.settle_seconds:g} s to settle and "
            f"{config.trial_seconds:g} s measured; at most {duration(most)}.\n"
            f"Bracket, then repeat trials around each ceiling until {'' if config.lives > 1 else until}trials or time "
            f"are used up.\n"
            f"Carried: the backlog does not grow, no record fails, and the SLO holds. No ceiling is given where it "
            f"differs by more than {percent(config.unstable_noise)} between trials, or where the generator is late "
            f"with more than {percent(config.late_share_max)} of its records."
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return (ANY_LATENCY, *(slo.name for slo in self.config.slos))

    @property
    def _counting(self) -> list[Reading]:
        return [reading for reading in self._readings if reading.counts]

    @property
    def _spent_s(self) -> float:
        return sum(outcome.ended_s - outcome.started_s for outcome in self.outcomes)

    @property
    def _client_log_rate(self) -> float:
        """The lowest rate that the generator could not offer, above all that it could: being late once, at a rate
        that it held in another trial, is an accident and no limit."""
        held = max((reading.log_rate for reading in self._counting), default=-math.inf)
        late = (reading.log_rate for reading in self._readings if reading.verdict == "client")
        return min((log_rate for log_rate in late if log_rate > held), default=math.inf)

    def _used_up(self, life: int) -> str:
        """Why there is no further trial in this life, whatever is known; empty if there may be one."""
        config = self.config
        if len(self.outcomes) >= config.trials:
            return f"all {config.trials} trials are done"
        longest = max((outcome.ended_s - outcome.started_s for outcome in self.outcomes), default=0.0)
        if self._spent_s + max(config.trial_cost_s, longest) > config.budget_s:
            return f"no further trial fits into {duration(config.budget_s)}"
        of_life = sum(outcome.life == life for outcome in self.outcomes)
        if config.lives > 1 and of_life >= config.trials_of_life:
            return f"all {of_life} trials of life {life} are done"
        return ""

    def _known(self, targets: Sequence[_Target]) -> str:
        """Why what is known needs no further trial; empty if it does, as it always does of several lives."""
        config = self.config
        if config.lives > 1:
            return ""
        if targets and all(target.reason for target in targets):
            return "every ceiling is out of reach"
        if len(self._counting) < _SETTLED:
            return ""
        if targets[0].bracketed and targets[0].belief.noise_above(config.unstable_noise) > 0.95:
            return "the system is unstable beyond doubt"
        if all(target.reason or self._sharp(target) for target in targets):
            return "every interval is as narrow as asked"
        return ""

    def _sharp(self, target: _Target) -> bool:
        return target.bracketed and target.width(self.config.confidence) <= math.log1p(self.config.width)

    def _posteriors(self, *, rough: bool) -> tuple[Posterior, ...]:
        """Of every ceiling; none before a trial has counted."""
        if not self._counting:
            return ()
        lives = self.config.lives > 1
        evidence = [self._evidence(number) for number in range(len(self._names))]
        low, high = locate(evidence[0], *self._span(), lives=lives)
        return tuple(
            Posterior(each, low, high, slo=number > 0, lives=lives, rough=rough)
            for number, each in enumerate(evidence)
        )

    def _targets(self, posteriors: Sequence[Posterior]) -> tuple[_Target, ...]:
        counting = self._counting
        targets: list[_Target] = []
        for number, posterior in enumerate(posteriors):
            met = tuple(reading.log_rate for reading in counting if reading.met(number))
            missed = tuple(reading.log_rate for reading in counting if not reading.met(number))
            belief = posterior.belief()
            ceiling = targets[0].belief.quantile(0.5) if targets else 0.0
            reason = self._out_of_reach(number, met, missed, ceiling, belief)
            name = self._names[number]
            targets.append(_Target(number=number, name=name, belief=belief, met=met, missed=missed, reason=reason))
        return tuple(targets)

    def _places(self) -> list[float]:
        """Of the trials that count, each within its life, from -1/2 to 1/2; by number, not by time: a search may be
        resumed after a night."""
        totals = Counter(outcome.life for outcome in self.outcomes)
        seen: Counter[int] = Counter()
        places = []
        for reading in self._readings:
            life = reading.outcome.life
            if reading.counts:
                places.append(seen[life] / max(1, totals[life] - 1) - 0.5)
            seen[life] += 1
        return places

    def _span(self) -> tuple[float, float]:
        """Logarithms between which the ceiling for any latency must be."""
        low = min(
            reading.log_rate + math.log(max(1e-3, 1 - max(0.0, reading.growth.value))) for reading in self._counting
        )
        return low - _BEYOND, max(reading.log_rate for reading in self._counting) + _BEYOND

    def _evidence(self, number: int) -> list[Evidence]:
        counting = self._counting
        in_flight_s = min(reading.lowest_s for reading in counting)
        sways = [_SWAY, *(reading.sway for reading in counting if not reading.emptied(in_flight_s))]
        sway = max(_SWAY_LEAST, statistics.fmean(sways))
        return [
            reading.evidence(number, at=at, in_flight_s=in_flight_s, sway=sway)
            for reading, at in zip(counting, self._places(), strict=True)
        ]

    def _lives(self, posteriors: Sequence[Posterior]) -> tuple[Life, ...]:
        """By the posterior of the ceiling for any latency, the first of them."""
        found = posteriors[0].of_lives() if posteriors else {}
        lives = []
        for life in sorted({outcome.life for outcome in self.outcomes}):
            # A trial that was carried says no more than that the ceiling is above.
            measured = any(not reading.met(0) for reading in self._counting if reading.outcome.life == life)
            middle, error = found[life] if measured else (None, None)
            lives.append(Life(life=life, middle_msg_s=None if middle is None else math.exp(middle), error=error))
        return tuple(lives)

    def _out_of_reach(
        self, number: int, met: Sequence[float], missed: Sequence[float], ceiling: float, belief: Belief
    ) -> Reason | None:
        """`ceiling`: for any latency, as far as it is known."""
        client, top = self._client_log_rate, self._client_top
        if sum(rate > client - _CLIENT_NEAR for rate in met) >= _CLIENT_TRIALS and belief.quantile(0.5) > top:
            return "not reached: the client was the limit"
        if number and belief.nowhere > 0.5:
            return "missed at every rate tried"
        if number and not met and missed and min(missed) < min(ceiling, top) + math.log(_SLO_STEPS[-1] * 1.1):
            return "missed at every rate tried"
        return None

    def _first(self) -> float:
        """Before any trial has counted: the guess, or below what the generator could not do."""
        log_rate = math.log(self.config.start_msg_s)
        for reading in self._readings:
            if reading.verdict == "client":
                log_rate = min(log_rate, math.log(max(reading.acknowledged_msg_s, 1e-3) * _CLIENT_STEP))
        return log_rate

    def _choose(self, targets: Sequence[_Target], life: int) -> tuple[float, Phase, int]:
        """Logarithm of the rate, phase, and the target that it is for."""
        top = self._client_top
        first = targets[0]
        if not first.reason and not first.bracketed:
            return min(self._bracket(first), top), "bracket", 0
        open_targets = [target for target in targets if not target.reason and not self._sharp(target)] or list(targets)
        for target in open_targets:
            if not target.bracketed and not target.reason:
                return min(self._bracket_slo(target, first), top), "bracket", target.number
        phase: Phase = "confirm" if len(self._counting) >= _SETTLED else "refine"
        if sum(outcome.life == life for outcome in self.outcomes) % _CHALLENGE_EVERY == 1:
            return min(first.belief.quantile(0.5) + _CHALLENGE, top), phase, 0
        widest = max(open_targets, key=self._worth)
        log_rate = widest.belief.quantile(0.5) + self._offset(widest)
        return min(log_rate, top), phase, widest.number

    def _worth(self, target: _Target) -> float:
        """How much a trial for this target would narrow, roughly; what any latency learns serves all SLOs."""
        used = sum(reading.outcome.target == target.name for reading in self._counting)
        return min(target.width(self.config.confidence), _WIDE) / (used + 1) * (1 if target.number else _ANY_FIRST)

    @property
    def _client_top(self) -> float:
        """The highest rate worth offering to this generator."""
        return self._client_log_rate + math.log(_CLIENT_STEP)

    def _offset(self, target: _Target) -> float:
        """The offsets in an order of the seed's, one for each trial so far that was for this target."""
        order = list(_OFFSETS)
        random.Random(f"{self.config.seed}/{target.name}").shuffle(order)
        used = sum(outcome.target == target.name and outcome.phase != "bracket" for outcome in self.outcomes)
        return order[used % len(order)] * min(max(target.belief.noise, _NOISE_LEAST), _NOISE_MOST)

    def _bracket(self, target: _Target) -> float:
        if not target.missed:
            higher = max(target.met) + math.log(_UP[min(len(target.met), len(_UP)) - 1])
            # A later life may have begun better than the first guess was.
            return max(higher, math.log(self.config.start_msg_s))
        # What an overloaded system acknowledged is where to look, a little lower each time.
        seen = [reading.acknowledged_msg_s for reading in self._counting if not reading.met(0)]
        lowest = min(min(target.missed), math.log(max(min(seen), 1e-3)))
        return lowest + math.log(0.97) * len(target.missed)

    def _bracket_slo(self, target: _Target, first: _Target) -> float:
        if not target.missed:
            return max(target.met) + math.log(_UP[0])
        ceiling = min(first.belief.quantile(0.5), self._client_top)
        shares = [math.log(share) + ceiling for share in _SLO_STEPS]
        return next((rate for rate in shares if rate < min(target.missed) - 0.03), shares[-1])

    def _ceiling(self, target: _Target, first: _Target) -> Ceiling:
        config = self.config
        low, high = target.interval(config.confidence)
        reason = target.reason or self._no_interval(target, first)
        carried = max(target.met, default=None)
        return Ceiling(
            target=target.name,
            low_msg_s=None if reason else math.exp(low),
            high_msg_s=None if reason else math.exp(high),
            middle_msg_s=None if reason else math.exp(target.belief.quantile(0.5)),
            confidence=config.confidence,
            reason=reason,
            noise=target.belief.noise if target.bracketed else None,
            life_noise=target.belief.life_noise if target.bracketed else None,
            carried_msg_s=None if carried is None else math.exp(carried),
            explained=self._explained(target, reason),
        )

    def _nothing(self, name: str) -> Ceiling:
        """No trial counted."""
        late = any(reading.verdict == "client" for reading in self._readings)
        reason: Reason = "not reached: the client was the limit" if late else "not enough trials"
        last = self._readings[-1].reason if self._readings else "there was none"
        return Ceiling(
            target=name, confidence=self.config.confidence, reason=reason, explained=f"no trial counted: {last}"
        )

    def _explained(self, target: _Target, reason: Reason | None) -> str:
        """A sentence for people."""
        met, missed = len(target.met), len(target.missed)
        if reason is None:
            return f"{met} of {met + missed} trials met it"
        if reason == "unstable":
            return (
                f"{met} of {met + missed} trials met it, up to {_rate(max(target.met))}; it was missed from "
                f"{_rate(min(target.missed))} msg/s: what is carried differs too much from trial to trial"
            )
        if reason == "missed at every rate tried":
            return f"{missed} of {met + missed} trials missed it, down to {_rate(min(target.missed))} msg/s"
        if reason == "not enough trials":
            counted = f"{met + missed} trials counted: {met} met it and {missed} missed it"
            return f"{counted}; it is above {_rate(max(target.met))} msg/s" if met and not missed else counted
        highest = f", up to {_rate(max(target.met))} msg/s" if met else ""
        late = f"the generator was late at {_rate(self._client_log_rate)} msg/s"
        return f"{met} of {met + missed} trials met it{highest}; {late}"

    def _no_interval(self, target: _Target, first: _Target) -> Reason | None:
        if target.belief.quantile(0.5) > self._client_top:
            return "not reached: the client was the limit"
        if first.bracketed and first.belief.noise_above(self.config.unstable_noise) > 0.5:
            return "unstable"
        if len(self._counting) < self.config.trials_min or not target.bracketed:
            return "not enough trials"
        if target.belief.nowhere > _NOWHERE_MAX or target.width(self.config.confidence) > math.log(_BAND):
            return "unstable"
        return None


def _rate(log_rate: float) -> str:
    return rate_msg_s(math.exp(log_rate))

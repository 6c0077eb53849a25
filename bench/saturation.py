"""Three searches for the highest sustainable rate on the same simulated systems, with the same noise.

    python -m bench.saturation                  # 200 stable systems and 60 of each other kind; some minutes
    python -m bench.saturation --cases 1000 --others 200
    python -m bench.saturation --noise bench/noise.json   # of real trials, as `bench.record_noise` has it
    python -m bench.saturation --alone --lives 1          # one search a system, for any latency; half a second each

* search: `meshmark.analysis.saturation`, its default budget over three lives, for any latency and three SLOs at once.
  It should find the median over all lives that there might have been. In one life, and for any latency alone, it
  should find that life's ceiling; so should the two others.
* ladder: from half of the first guess in steps of 10 %, one trial each, until less than 95 % of the target is
  acknowledged. Its interval: the last rate carried and the first that was not.
* feedback: one long load whose rate is adjusted every 3 s by the backlog, for as long as the search's longest. Its
  interval: the range of rates in the last minute.

Losses are those of each second system against the one before, as a report gives them from two intervals.

Coverage counts stable systems with a ceiling that is sharp (`simulated_open.Truth`); the others are listed. The bound
is the one-sided 95 % Clopper-Pearson one. Everything is simulated: it says how searches compare, not how fast
anything is.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from pathlib import Path

from meshmark.analysis import stats
from meshmark.analysis.saturation import ANY_LATENCY, Offer, Saturation, Search, SearchConfig, Slo, TrialOutcome
from meshmark.analysis.warmup import flat
from meshmark.backends.simulated_open import (
    SETTLE_S,
    OpenBench,
    OpenSystem,
    OpenTrial,
    RecordedNoise,
    Stretch,
    Truth,
    random_system,
    true_ceiling,
)

SLOS = tuple(Slo(quantile=0.99, latency_s=seconds) for seconds in (0.02, 0.05, 0.2))
SEARCH, ONE_LIFE = "search", "search in one life"
WARMUP_MAX = 40
TRIAL_S = 6.0
LADDER_STEP = 1.1
LADDER_STOP = 0.95
LADDER_TRIALS_MAX = 40
FEEDBACK_S = 3.0
FEEDBACK_PERIODS = 153
FEEDBACK_LAST = 20
BACKLOG_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a search said of one ceiling of one system."""

    search: str
    target: str
    low: float | None
    high: float | None
    point: float | None
    reason: str
    trials: int
    seconds: float
    truth: Truth

    @property
    def covered(self) -> bool | None:
        """None where there is nothing to cover, or no interval."""
        if self.truth.rate_msg_s is None or self.low is None or self.high is None:
            return None
        return self.low <= self.truth.rate_msg_s <= self.high


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How searches are done; the defaults are those that figures are stated for."""

    lives: int = 3
    trials: int | None = None
    seconds: float = TRIAL_S
    settle_s: float = SETTLE_S
    slos: tuple[Slo, ...] = SLOS


def warm_up(bench: OpenBench) -> float:
    """Load until the rate is flat; the rate at the end."""
    rates: list[float] = []
    while len(rates) < WARMUP_MAX and not flat(rates):
        rates.append(bench.warm_up_window())
    return statistics.fmean(rates[-4:])


def outcome(trial: OpenTrial, offer: Offer) -> TrialOutcome:
    return TrialOutcome(life=offer.life, phase=offer.phase, target=offer.target, **asdict(trial))


def search(system: OpenSystem, setting: Setting) -> tuple[Saturation, list[Stretch]]:
    """The answer, and when the trials were."""
    bench = OpenBench(system)
    first = warm_up(bench)
    running = Search(
        SearchConfig(
            start_msg_s=first,
            slos=setting.slos,
            lives=setting.lives,
            trials_max=setting.trials,
            trial_seconds=setting.seconds,
            settle_seconds=setting.settle_s,
            seed=system.seed,
        )
    )
    begun_s, stretches = bench.now_s, []
    for life in range(1, setting.lives + 1):
        if life > 1:
            bench.restart()
            warm_up(bench)
        begin_s, warm_s = bench.now_s - begun_s, bench.load_s
        while (offer := running.next(life)) is not None:
            trial = bench.trial(offer.rate_msg_s, offer.seconds, settle_s=offer.settle_seconds)
            running.observe(outcome(trial, offer))
        stretches.append(Stretch(begin_s=begin_s, end_s=bench.now_s - begun_s, warm_s=warm_s))
    return running.result(), stretches


def search_answers(system: OpenSystem, setting: Setting) -> Iterator[Answer]:
    """A search in one life is about that life."""
    result, stretches = search(system, setting)
    for number, ceiling in enumerate(result.ceilings):
        slo = (setting.slos[number - 1].quantile, setting.slos[number - 1].latency_s) if number else None
        life = 1 if setting.lives == 1 else None
        yield Answer(
            search=SEARCH if life is None else ONE_LIFE,
            target=ceiling.target,
            low=ceiling.low_msg_s,
            high=ceiling.high_msg_s,
            point=ceiling.middle_msg_s,
            reason=ceiling.reason or "",
            trials=len(result.trials),
            seconds=result.seconds,
            truth=true_ceiling(system, setting.seconds, slo, stretches, life=life, settle_s=setting.settle_s),
        )


def first_life(system: OpenSystem, bench: OpenBench, begun_s: float, warm_s: float) -> Truth:
    """What a search in one life should have found."""
    stretch = Stretch(begin_s=0, end_s=bench.now_s - begun_s, warm_s=warm_s)
    return true_ceiling(system, TRIAL_S, None, [stretch], life=1)


def ladder(system: OpenSystem) -> Answer:
    bench = OpenBench(system)
    first = warm_up(bench)
    warm_s, begun_s = bench.load_s, bench.now_s
    rate, carried, failed = first / 2, None, None
    for _ in range(LADDER_TRIALS_MAX):
        trial = bench.trial(rate, TRIAL_S)
        seconds = trial.time_s[-1] - trial.time_s[0]
        if (trial.acknowledged[-1] - trial.acknowledged[0]) / seconds < LADDER_STOP * rate:
            failed = rate
            break
        carried, rate = rate, rate * LADDER_STEP
    found = carried is not None and failed is not None
    return Answer(
        search="ladder",
        target=ANY_LATENCY,
        low=carried if found else None,
        high=failed if found else None,
        point=carried,
        reason="" if found else "no end found",
        trials=bench.trials,
        seconds=bench.now_s - begun_s,
        truth=first_life(system, bench, begun_s, warm_s),
    )


def feedback(system: OpenSystem) -> Answer:
    bench = OpenBench(system)
    first = warm_up(bench)
    warm_s, begun_s = bench.load_s, bench.now_s
    state = {"step": 0.25}

    def adjust(rate: float, acknowledged: float, waiting: float) -> float:
        if waiting > BACKLOG_S * rate:
            state["step"] = max(state["step"] / 2, 0.01)
            return acknowledged * (1 - state["step"])
        return rate * (1 + state["step"])

    rates = bench.feedback(first / 2, adjust, period_s=FEEDBACK_S, periods=FEEDBACK_PERIODS)[-FEEDBACK_LAST:]
    return Answer(
        search="feedback",
        target=ANY_LATENCY,
        low=min(rates),
        high=max(rates),
        point=statistics.fmean(rates),
        reason="",
        trials=FEEDBACK_PERIODS,
        seconds=bench.now_s - begun_s,
        truth=first_life(system, bench, begun_s, warm_s),
    )


def race(
    systems: Sequence[OpenSystem],
    setting: Setting,
    tell: Callable[[int], None] = lambda done: None,
    *,
    alone: bool = False,
) -> list[Answer]:
    """On all processors, in the order of the systems. `alone`: one search of each, for any latency."""
    answers: list[Answer] = []
    with ProcessPoolExecutor() as pool:
        for done, found in enumerate(pool.map(search_alone if alone else case, systems, repeat(setting)), start=1):
            answers += found
            tell(done)
    return answers


def search_alone(system: OpenSystem, setting: Setting) -> list[Answer]:
    return list(search_answers(system, replace(setting, slos=())))


def case(system: OpenSystem, setting: Setting) -> list[Answer]:
    """All that is asked about one system."""
    in_one_life = search_alone(system, replace(setting, lives=1))
    return [*search_answers(system, setting), *in_one_life, ladder(system), feedback(system)]


def reason(system: OpenSystem, setting: Setting) -> str | None:
    """Why a search gives no ceiling for any latency; None where it gives one."""
    return search(system, setting)[0].ceilings[0].reason


def binomial_lower_bound(successes: int, count: int, confidence: float = 0.95) -> float:
    """One-sided Clopper-Pearson: the share at which so many successes or more have probability 1 - confidence."""
    if successes == 0:
        return 0.0

    def at_least(share: float) -> float:
        logs = [
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
            + k * math.log(share) + (count - k) * math.log1p(-share)
            for k in range(successes, count + 1)
        ]  # fmt: skip
        return math.fsum(math.exp(log) for log in logs)

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at_least(middle) < 1 - confidence else (low, middle)
    return low


def table(answers: Sequence[Answer]) -> str:
    """Coverage, width and bias where the ceiling is sharp."""
    columns = [
        "search",
        "ceiling",
        "systems",
        "answered",
        "trials",
        "seconds",
        "width",
        "coverage",
        "bound",
        "bias",
        "error",
    ]
    head = f"| {' | '.join(columns)} |"
    lines = [head, "|" + "---|" * 11]
    for search_name, target in dict.fromkeys((answer.search, answer.target) for answer in answers):
        asked = [a for a in answers if (a.search, a.target) == (search_name, target) and a.truth.sharp]
        given = [a for a in asked if a.covered is not None]
        if not given:
            continue
        covered = sum(bool(a.covered) for a in given)
        widths = [a.high / a.low - 1 for a in given if a.high and a.low]
        errors = [math.log(a.point / a.truth.rate_msg_s) for a in given if a.point and a.truth.rate_msg_s]
        lines.append(
            f"| {search_name} | {target} | {len(asked)} | {len(given) / len(asked):.1%} "
            f"| {statistics.fmean(a.trials for a in asked):.1f} | {statistics.fmean(a.seconds for a in asked):.0f} "
            f"| {statistics.median(widths):.1%} | {covered / len(given):.1%} "
            f"| {binomial_lower_bound(covered, len(given)):.1%} | {statistics.median(errors):+.1%} "
            f"| {statistics.median(abs(error) for error in errors):.1%} |"
        )
    return "\n".join(lines)


def losses_table(answers: Sequence[Answer]) -> str:
    """Systems by two: the loss that a report gives for the second against the first, from their two intervals."""
    lines = ["| loss, by | pairs | answered | width | coverage | bound | error |", "|---|---|---|---|---|---|---|"]
    for name in (SEARCH, ONE_LIFE):
        asked = [a for a in answers if (a.search, a.target) == (name, ANY_LATENCY)]
        pairs = list(zip(asked[::2], asked[1::2], strict=False))
        losses = [loss for first, second in pairs if (loss := _loss(first, second))]
        if not losses:
            continue
        covered = sum(low <= 0 <= high for low, _, high in losses)
        lines.append(
            f"| {name} | {len(pairs)} | {len(losses) / len(pairs):.1%} "
            f"| {statistics.median(math.exp(high - low) - 1 for low, _, high in losses):.1%} "
            f"| {covered / len(losses):.1%} | {binomial_lower_bound(covered, len(losses)):.1%} "
            f"| {statistics.median(abs(middle) for _, middle, _ in losses):.1%} |"
        )
    return "\n".join(lines)


def _loss(first: Answer, second: Answer) -> tuple[float, float, float] | None:
    """Bounds and middle of log(second / first), less what it is in truth."""
    if not (first.truth.rate_msg_s and second.truth.rate_msg_s and first.point and second.point):
        return None
    if first.low is None or second.low is None:
        return None
    found = stats.quotient(_estimate(second, second.point), _estimate(first, first.point))
    truth = math.log(second.truth.rate_msg_s / first.truth.rate_msg_s)
    return math.log(found.low or 0) - truth, math.log(found.mean) - truth, math.log(found.high or math.inf) - truth


def _estimate(answer: Answer, point: float) -> stats.Estimate:
    return stats.Estimate(mean=point, low=answer.low, high=answer.high, count=1)


def others_table(answers: Sequence[Answer]) -> str:
    """How the search ended where there is no sharp ceiling for an SLO."""
    lines = ["| ceiling | systems | covered | not covered | reason given |", "|---|---|---|---|---|"]
    for label, sharp in (("a wide band", False), ("none at all", None)):
        for target in dict.fromkeys(a.target for a in answers if a.search == SEARCH):
            group = [
                a
                for a in answers
                if a.search == SEARCH and a.target == target and not a.truth.sharp
                if (a.truth.rate_msg_s is None) == (sharp is None)
            ]
            if not group:
                continue
            covered = sum(a.covered is True for a in group)
            reasons = sum(bool(a.reason) for a in group)
            lines.append(
                f"| {target}: {label} | {len(group)} | {covered} | {len(group) - covered - reasons} | {reasons} |"
            )
    return "\n".join(lines)


def verdicts(kind: str, reasons: Sequence[str | None]) -> str:
    """How searches for any latency ended on systems of one kind."""
    counted = Counter(reason or "interval" for reason in reasons)
    return f"| {kind} | {len(reasons)} | " + "; ".join(f"{name}: {n}" for name, n in counted.most_common()) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.saturation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=200, help="stable systems")
    parser.add_argument("--others", type=int, default=60, help="unstable systems, and as many limited by the client")
    parser.add_argument("--seed", type=int, default=20_000_000, help="number of the first system")
    parser.add_argument("--lives", type=int, default=3, help="of a search")
    parser.add_argument("--trials", type=int, help="of a search, over all lives; default: 48, and 2 for each SLO")
    parser.add_argument("--seconds", type=float, default=TRIAL_S, help="of a trial's window")
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds of load before the window")
    parser.add_argument("--alone", action="store_true", help="one search of each system, for any latency")
    parser.add_argument("--noise", type=Path, help="JSON file of recorded relative rates")
    options = parser.parse_args()
    setting = Setting(lives=options.lives, trials=options.trials, seconds=options.seconds, settle_s=options.settle)
    noise = RecordedNoise.load(options.noise) if options.noise else None
    seeds = range(options.seed, options.seed + options.cases)
    systems = [random_system(seed, noise=noise) for seed in seeds]

    def tell(done: int) -> None:
        print(f"\r{done} of {len(systems)} ", end="", file=sys.stderr, flush=True)

    answers = race(systems, setting, tell, alone=options.alone)
    print(f"\n{table(answers)}\n\n{losses_table(answers)}\n\n{others_table(answers)}\n")
    print("| systems | number | any latency |\n|---|---|---|")
    first = SEARCH if options.lives > 1 else ONE_LIFE
    stable = [a.reason for a in answers if a.search == first and a.target == ANY_LATENCY]
    print(verdicts("stable", stable))
    alone = replace(setting, slos=())
    for kind in ("unstable", "client"):
        others = [random_system(seed, kind=kind) for seed in range(options.seed, options.seed + options.others)]
        with ProcessPoolExecutor() as pool:
            print(verdicts(kind, list(pool.map(reason, others, repeat(alone)))), flush=True)


if __name__ == "__main__":
    main()

"""Two sides, each of one run or several: by how much does one differ from the other, and can that be told? Pure.

The unit is the repeat, one life of a cluster. A pair is the same repeat of the same scenario in two runs that are
compared with each other, or of two scenarios in one run, where rounds took turns. No pair is discarded: one without a
figure on a side is kept, with the reason, and counts as planned.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from meshmark.analysis import likeness, stats
from meshmark.analysis.comparable import Better, Metric, Reading, metrics
from meshmark.analysis.likeness import Difference
from meshmark.analysis.model import Interval, ScenarioSummary, Summary
from meshmark.analysis.value import Value
from meshmark.errors import UsageError
from meshmark.units import rate_msg_s

COMPARE_VERSION = 1
MARGIN = 0.05
"""By default, sides that differ by less are the same for a reader's purpose."""
NO_PAIR = "no pair"
HOLDS_ONE = "the interval holds 1"
POINTS_AGAINST = "a pair without a ratio points the other way"
LOAD_TOLERANCE = 0.01
"""Latencies are compared at the same load; a schedule's mean rate is exact well within this."""

CompareVerdict = Literal["better", "worse", "same", "cannot tell"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A run, what its user calls it, and the scenario that is meant; None: all that both sides have."""

    name: str
    summary: Summary
    scenario: str | None = None


class RunRef(Value):
    """One of the runs."""

    name: str = Field(description="as given")
    run_id: str
    scenario: str | None = Field(description="null: all that both sides have")
    started_at: float
    outcome: str


class Pair(Value):
    """One repeat of both sides."""

    run: int = Field(description="which of a side's runs, from 1")
    repeat: int
    contender: float | None
    baseline: float | None
    missing: str = Field(description="why it has no ratio; empty: it has one")
    points: Better | Literal[""] = Field(
        "", description="where a missing ratio lies against the others, if that is known"
    )


class Comparison(Value):
    """One metric of one scenario: contender / baseline, paired by repeat."""

    scenario: str
    against: str = Field(description="the baseline's scenario")
    metric: str
    unit: str
    better: Better = Field(description="which is the better direction")
    contender: float | None = Field(description="geometric mean over the pairs that count")
    baseline: float | None
    ratio: float | None
    interval: Interval | None = Field(description="of the ratio; null below two pairs")
    method: Literal["none", "one pair", "t", "bootstrap"] = Field(description="of the interval")
    detectable: float | None = Field(
        description="least change, as a share, told by so many such pairs in 4 of 5 cases"
    )
    verdict: CompareVerdict
    why: str = Field(description="why it cannot be told; else empty")
    pairs_counted: int
    pairs_planned: int
    pairs: tuple[Pair, ...]


class Comparisons(Value):
    """What `meshmark compare` tells."""

    schema_version: int = COMPARE_VERSION
    contender: tuple[RunRef, ...]
    baseline: tuple[RunRef, ...]
    margin: float = Field(description="`same` means: within this share of each other")
    meant: tuple[Difference, ...] = Field(description="what was said to differ, and does")
    not_different: tuple[str, ...] = Field(description="what was said to differ, and does not")
    in_turns: bool = Field(description="both sides were measured in turns, so a drift of the machine falls on both")
    only_one_side: tuple[str, ...] = Field(description="scenarios that the other side has not")
    comparisons: tuple[Comparison, ...]


def compare(
    contender: Sequence[Subject], baseline: Sequence[Subject], *, differs: Sequence[str] = (), margin: float = MARGIN
) -> Comparisons:
    """The first run of one side with the first of the other, and so on. UsageError for sides that cannot be paired,
    and for runs that differ in anything that `differs` does not name (a fact, or a section of facts)."""
    _require_pairs(contender, baseline)
    names = _scenarios(contender, baseline)
    meant = likeness.require_alike(
        [(ours.summary, theirs.summary) for ours, theirs in zip(contender, baseline, strict=True)], names, differs
    )
    found = [
        comparison
        for ours, theirs in names
        for comparison in _of_scenario(
            [(each.summary, other.summary) for each, other in zip(contender, baseline, strict=True)],
            (ours, theirs),
            margin,
        )
    ]
    there = {name for pair in names for name in pair}
    return Comparisons(
        contender=tuple(map(_ref, contender)),
        baseline=tuple(map(_ref, baseline)),
        margin=margin,
        meant=meant,
        not_different=tuple(key for key in differs if not any(likeness.under(each.key, key) for each in meant)),
        in_turns=_in_turns(contender, baseline),
        only_one_side=()
        if contender[0].scenario
        else tuple(dict.fromkeys(n for each in (*contender, *baseline) for n in _names(each) if n not in there)),
        comparisons=tuple(found),
    )


def require_as_many(contender: Sequence[object], baseline: Sequence[object]) -> None:
    """UsageError for sides of which one has more runs."""
    if len(contender) != len(baseline):
        raise UsageError(
            f"{len(contender)} and {len(baseline)} runs cannot be paired",
            hint="give as many on both sides, and --against before each run of the other side",
        )


def _require_pairs(contender: Sequence[Subject], baseline: Sequence[Subject]) -> None:
    require_as_many(contender, baseline)
    sides = (*contender, *baseline)
    if len({each.scenario is None for each in sides}) > 1:
        raise UsageError("a scenario is named for some of the runs only", hint="name one for each run, or for none")
    seen: dict[tuple[str, str | None], str] = {}
    for each in sides:
        key = (each.summary.run_id, each.scenario)
        if key in seen:
            raise UsageError(
                f"{seen[key]} and {each.name} are the same measurements",
                hint="a run is compared with another run, or DIR:SCENARIO with another scenario of it",
            )
        seen[key] = each.name
        if each.scenario is not None and each.scenario not in _names(each):
            raise UsageError(
                f"the run of {each.name} has no scenario {each.scenario}",
                hint=f"it has {', '.join(_names(each))}",
            )


def _scenarios(contender: Sequence[Subject], baseline: Sequence[Subject]) -> list[tuple[str, str]]:
    """Pairs of names; of whole runs those that all have."""
    first, other = contender[0].scenario, baseline[0].scenario
    if first is not None and other is not None:
        if any(each.scenario != first for each in contender) or any(each.scenario != other for each in baseline):
            raise UsageError("a side has different scenarios", hint="name the same scenario for all runs of a side")
        return [(first, other)]
    every = [set(_names(each)) for each in (*contender, *baseline)]
    common = [name for name in _names(contender[0]) if all(name in names for names in every)]
    if not common:
        raise UsageError(
            "the runs have no scenario in common",
            hint=f"{contender[0].name} has {', '.join(_names(contender[0]))}; {baseline[0].name} has "
            f"{', '.join(_names(baseline[0]))}; DIR:SCENARIO names one of a run",
        )
    return [(name, name) for name in common]


def _names(subject: Subject) -> list[str]:
    return [scenario.name for scenario in subject.summary.scenarios]


def _ref(subject: Subject) -> RunRef:
    summary = subject.summary
    return RunRef(
        name=subject.name,
        run_id=summary.run_id,
        scenario=subject.scenario,
        started_at=summary.started.started_at,
        outcome=summary.outcome,
    )


def _in_turns(contender: Sequence[Subject], baseline: Sequence[Subject]) -> bool:
    """In one run rounds took turns. Of several runs both of a pair must have been neighbours in time."""
    pairs = list(zip(contender, baseline, strict=True))
    if all(ours.summary.run_id == theirs.summary.run_id for ours, theirs in pairs):
        return True
    starts = sorted((each.summary.started.started_at, place) for place, pair in enumerate(pairs) for each in pair)
    places = [place for _, place in starts]
    return len(pairs) > 1 and places[::2] == places[1::2]


def _of_scenario(
    runs: Sequence[tuple[Summary, Summary]], names: tuple[str, str], margin: float
) -> Iterator[Comparison]:
    scenarios = [
        (
            next(s for s in ours.scenarios if s.name == names[0]),
            next(s for s in theirs.scenarios if s.name == names[1]),
        )
        for ours, theirs in runs
    ]
    for metric in metrics([ours.plan.scenario(names[0]).method for ours, _ in runs]):
        pairs = [
            pair
            for place, both in enumerate(scenarios, start=1)
            for pair in _pairs(place, both, runs[place - 1], metric)
        ]
        if metric.always or (_any(pairs, "contender") and _any(pairs, "baseline")):
            untold = _untold(scenarios) if metric.of_ceiling else ""
            yield compared(metric, names, pairs, margin=margin, untold=untold)


def _any(pairs: Sequence[Pair], side: Literal["contender", "baseline"]) -> bool:
    return any(getattr(pair, side) is not None for pair in pairs)


def _untold(scenarios: Sequence[tuple[ScenarioSummary, ScenarioSummary]]) -> str:
    """Why rates of lives, each of which has one, do not add up to a ceiling."""
    reasons = [(each.name, each.ceilings[0].reason) for both in scenarios for each in both]
    return "; ".join(dict.fromkeys(f"{name}: {reason}" for name, reason in reasons if reason is not None))


def _pairs(
    place: int, both: tuple[ScenarioSummary, ScenarioSummary], runs: tuple[Summary, Summary], metric: Metric
) -> Iterator[Pair]:
    planned = max(summary.repeats for summary in runs)
    for repeat in range(metric.first_repeat, planned + 1):
        ours, theirs = (metric.reading(scenario, repeat) for scenario in both)
        yield Pair(
            run=place,
            repeat=repeat,
            contender=ours.value,
            baseline=theirs.value,
            missing=_missing(both, ours, theirs),
            points=_points(ours, theirs),
        )


def _points(ours: Reading, theirs: Reading) -> Better | Literal[""]:
    """Where one side has only a bound, or both: known if the bound is on the far side of what the other side has."""
    if not (ours.missing or theirs.missing):
        return ""
    (low, high), (other_low, other_high) = _range(ours), _range(theirs)
    if low > other_high:
        return "higher"
    return "lower" if high < other_low else ""


def _range(reading: Reading) -> tuple[float, float]:
    """Where the figure lies, as far as that is known."""
    if reading.value is not None and not reading.missing:
        return reading.value, reading.value
    return reading.at_least or 0.0, math.inf if reading.at_most is None else reading.at_most


def _missing(both: tuple[ScenarioSummary, ScenarioSummary], ours: Reading, theirs: Reading) -> str:
    if ours.missing or theirs.missing:
        sides = ("contender", "baseline")
        return "; ".join(
            f"{side}: {each.missing}" for side, each in zip(sides, (ours, theirs), strict=True) if each.missing
        )
    if ours.load_msg_s and theirs.load_msg_s and abs(ours.load_msg_s / theirs.load_msg_s - 1) > LOAD_TOLERANCE:
        return f"not at the same load: {rate_msg_s(ours.load_msg_s)} against {rate_msg_s(theirs.load_msg_s)} msg/s"
    return ""


def compared(
    metric: Metric, names: tuple[str, str], pairs: Sequence[Pair], *, margin: float, untold: str = ""
) -> Comparison:
    """One line of the answer from its pairs."""
    known = [
        (pair.contender, pair.baseline)
        for pair in pairs
        if not pair.missing and pair.contender is not None and pair.baseline is not None
    ]
    found = stats.ratio_of_pairs(known)
    points = {pair.points for pair in pairs if pair.points}
    verdict, why = judge(found, planned=len(pairs), margin=margin, better=metric.better, points=points)
    if untold:
        verdict, why = "cannot tell", untold
    return Comparison(
        scenario=names[0],
        against=names[1],
        metric=metric.name,
        unit=metric.unit,
        better=metric.better,
        contender=stats.geometric_mean([ours for ours, _ in known]),
        baseline=stats.geometric_mean([theirs for _, theirs in known]),
        ratio=found.mean if found else None,
        interval=Interval.of(found) if found else None,
        method=found.method if found else "none",
        detectable=found.detectable if found else None,
        verdict=verdict,
        why=why,
        pairs_counted=found.count if found else 0,
        pairs_planned=len(pairs),
        pairs=tuple(pairs),
    )


def judge(
    found: stats.Ratio | None, *, planned: int, margin: float, better: Better, points: Collection[Better] = ()
) -> tuple[CompareVerdict, str]:
    """The verdict, and why it cannot be told. `points`: where missing ratios are known to lie.

    `same` is two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987), each at
    2.5 %: the whole 95 % interval lies within the margin, on a logarithmic scale, so that it does not matter which
    side is called the baseline. It goes before `better` and `worse`: there is a difference, too small to matter."""
    if found is None:
        return "cannot tell", NO_PAIR
    if found.low is None or found.high is None:
        return "cannot tell", "one pair shows no spread"
    if 2 * found.count <= planned:
        return "cannot tell", f"only {found.count} of {planned} pairs: the missing ones may be the bad ones"
    same = found.low >= 1 / (1 + margin) and found.high <= 1 + margin
    if not same and found.low <= 1 <= found.high:
        return "cannot tell", HOLDS_ONE
    if points and (same or set(points) != {"higher" if found.low > 1 else "lower"}):
        return "cannot tell", POINTS_AGAINST
    if same:
        return "same", ""
    return "better" if (found.low > 1) == (better == "higher") else "worse", ""

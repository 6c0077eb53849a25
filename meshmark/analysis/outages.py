"""What links that went down did to the trials that they went down in. Pure.

Limits: for how long nothing was acknowledged is known to within the interval of the workers' reports, and of the
window alone; outages before it count as outages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshmark.analysis.ledger import broker_hosts, sum_known
from meshmark.analysis.wan_model import OutageSummary
from meshmark.plan import Scenario
from meshmark.read_back import duplicated, missing
from meshmark.record import Outage, Point, Trial
from meshmark.store import RoundData, Run


def outages(run: Run) -> tuple[OutageSummary, ...]:
    """By round, trial and link."""
    return tuple(found for data in run.rounds for found in _of(data, run.plan.scenario(data.started.scenario)))


def _of(data: RoundData, scenario: Scenario) -> Iterator[OutageSummary]:
    trials = {trial.number: trial for trial in data.trials}
    groups: dict[tuple[int, str], list[Outage]] = {}
    for each in data.outages:
        groups.setdefault((each.trial, each.link), []).append(each)
    for (number, link), group in groups.items():
        if number in trials:
            yield _summary(trials[number], scenario, link, [each.seconds for each in group])


def _summary(trial: Trial, scenario: Scenario, link: str, seconds: Sequence[float]) -> OutageSummary:
    readers, total = scenario.workload.subscriptions_per_topic, trial.total
    return OutageSummary(
        scenario=scenario.name,
        repeat=trial.repeat,
        trial=trial.number,
        link=link,
        outages=len(seconds),
        down_s=sum(seconds),
        longest_s=max(seconds),
        still_s=still_s(trial.series),
        acknowledged=total.acknowledged,
        failed=total.failed,
        unknown=total.unknown,
        read_back=total.consumed // readers if readers else None,
        missing=missing(trial.read_back) if trial.read_back else None,
        duplicated=duplicated(trial.read_back) if trial.read_back else None,
        isr_shrinks=sum_known(trial.delta(f"{host}/kafka/isr_shrinks") for host in broker_hosts(scenario)),
    )


def still_s(series: Sequence[Point]) -> float | None:
    """Longest time between two points at which as many records were acknowledged; None without two points."""
    if len(series) < 2:
        return None
    longest, since = 0.0, series[0]
    for point in series[1:]:
        if point.acknowledged > since.acknowledged:
            since = point
        longest = max(longest, point.time_s - since.time_s)
    return longest

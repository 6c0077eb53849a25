"""What meshmark itself, its load workers apart, takes of the machine while a setup is saturated.

    python -m bench.own_cost meshmark-runs/banzai-2019-20261126T*      of recorded runs
    python -m bench.own_cost                                           of a short run that it makes (the lab; minutes)

By the ledger of the trial that stands for each repeat, the one nearest to its ceiling: CPU time of meshmark's own
processes (the conductor with its sampler, endpoints among them) in the window, as a share of all CPUs' time. The goal
is at most 1.5 %.

Limits: what probes make others do is in the others' time: a broker that answers for its metrics, a sidecar for its
statistics. A live view is a process of its own, and among the others as well.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from meshmark.analysis.ledger import ledger
from meshmark.analysis.summary import summarize
from meshmark.cli.app import main as meshmark
from meshmark.plan import Scenario
from meshmark.record import Trial
from meshmark.store import Run, load
from meshmark.units import number

GOAL = 0.015
SHORT = ("run", "--quick", "--only", "plain", "--only", "istio-mtls")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one trial; shares of all CPUs' time. None: not read."""

    scenario: str
    repeat: int
    rate_msg_s: float
    share: float | None
    busy_share: float | None


def costs(run: Run) -> Iterator[Cost]:
    """Of the trial that stands for each repeat; a repeat without one has none."""
    standing = {
        (row.name, repeat.repeat): trial.number
        for row in summarize(run).scenarios
        for repeat in row.repeats
        for trial in repeat.trials
        if trial.stands
    }
    for data in run.rounds:
        for trial in data.trials:
            if standing.get((trial.scenario, trial.repeat)) == trial.number:
                yield cost(trial, run.plan.scenario(trial.scenario), run.started.host.cpus)


def cost(trial: Trial, scenario: Scenario, cpus: int) -> Cost:
    """Of its window."""
    book = ledger(trial, scenario, cpus)
    return Cost(
        scenario=trial.scenario,
        repeat=trial.repeat,
        rate_msg_s=trial.rate_msg_s,
        share=book.share(book.meshmark.total_s) if book.meshmark else None,
        busy_share=book.share(book.busy_s),
    )


def told(found: Sequence[Cost]) -> Iterator[str]:
    """A line for each scenario, and whether the goal is met."""
    known = [(each, each.share) for each in found if each.share is not None]
    for name in dict.fromkeys(each.scenario for each, _ in known):
        shares = [share for each, share in known if each.scenario == name]
        busy = [each.busy_share for each, _ in known if each.scenario == name and each.busy_share is not None]
        rates = [each.rate_msg_s for each, _ in known if each.scenario == name]
        yield (
            f"{name:12} {_percent(fmean(shares))} ({_percent(min(shares))} to {_percent(max(shares))}, "
            f"n = {len(shares)}); machine busy {_percent(fmean(busy)) if busy else 'unknown'} "
            f"at {number(fmean(rates))} msg/s"
        )
    if not known:
        yield "no repeat has a valid trial whose CPU was read"
        return
    most = max(share for _, share in known)
    verdict = "met" if most <= GOAL else "missed"
    yield f"goal: at most {_percent(GOAL)} of the machine: {verdict}, most {_percent(most)}"


def _percent(share: float) -> str:
    return f"{number(share * 100)} %"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.own_cost", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*", help="run directories; none: makes a short run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meshmark-own-cost-") as directory:
        runs: list[Path] = options.runs
        if not runs:
            runs = [Path(directory) / "run"]
            if code := meshmark([*SHORT, "--out", str(runs[0])]):
                raise SystemExit(code)
        found = [cost for each in runs for cost in costs(load(each))]
    print("\n".join(told(found)))


if __name__ == "__main__":
    main()

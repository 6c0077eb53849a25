"""How often `compare` is wrong where nothing differs, and how many pairs a change takes, by the noise of a repeat.

    python -m bench.compare                    pairs that are drawn, some minutes
    python -m bench.compare --runs 60          whole simulated runs with two like scenarios, some minutes more; and
                                               as many that end once the loss is known, as `run --versus` does
    python -m bench.compare --like RUN...      runs of bench/like.yaml on a real machine
    python -m bench.compare --lab 4            runs of bench/versus.yaml against itself, on the lab; some 20 minutes

Each case goes through the code that `compare` runs. A repeat's rate is log-normal with the noise given as its
coefficient of variation; what changes from repeat to repeat for both sides alike (`DRIFT`) is drawn as well. Bounds
are the exact two-sided 95 % ones of Clopper and Pearson. Limits: repeats are independent here; on a machine they may
drift within a run, which turns take out, or between runs, which nothing does.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.saturation import binomial_lower_bound
from meshmark.analysis.comparable import metrics
from meshmark.analysis.compare import MARGIN, Comparison, Pair, Subject, compare, compared
from meshmark.analysis.model import Interval
from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock
from meshmark.data_plane import DataPlane
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import EnvironmentSpec, Method, Plan, Scenario
from meshmark.planfile.versus import WIDTH
from meshmark.store import load

NOISES = (0.05, 0.10, 0.15)
DRIFT = 0.20
NULL_PAIRS = (3, 5, 9, 10, 20)
CHANGE = -0.05
POWER_PAIRS = (3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 130, 160, 200)
POWER = 0.8
VERSUS = Path(__file__).with_name("versus.yaml")


@dataclass(frozen=True, kw_only=True)
class Share:
    """So many of so many."""

    hits: int
    count: int

    @property
    def bounds(self) -> tuple[float, float]:
        """Two-sided 95 %, Clopper-Pearson."""
        low = binomial_lower_bound(self.hits, self.count, 0.975)
        return low, 1 - binomial_lower_bound(self.count - self.hits, self.count, 0.975)

    def __str__(self) -> str:
        low, high = self.bounds
        return f"{self.hits / self.count:.1%} ({low:.1%} … {high:.1%})"


def drawn(pairs: int, noise: float, change: float, source: random.Random) -> Comparison:
    """One comparison of messages/s, contender (1 + change) times the baseline."""
    spread = math.sqrt(math.log1p(noise**2))
    found = []
    for repeat in range(1, pairs + 1):
        shared = 1e5 * source.lognormvariate(0, DRIFT)
        ours, theirs = (shared * source.lognormvariate(0, spread) for _ in range(2))
        found.append(Pair(run=1, repeat=repeat, contender=ours * (1 + change), baseline=theirs, missing=""))
    return compared(next(metrics([Method()])), ("a", "b"), found, margin=MARGIN)


def told(found: Comparison) -> bool:
    """Does its interval exclude that nothing differs?"""
    return found.interval is not None and not found.interval.low <= 1 <= found.interval.high


def false_alarms(cases: int, pairs: int, noise: float, seed: int) -> tuple[Share, Share]:
    """Where nothing differs: how often the interval excludes 1, and how often the verdict is `same`."""
    source = random.Random(f"{seed} null {pairs} {noise}")
    found = [drawn(pairs, noise, 0.0, source) for _ in range(cases)]
    same = sum(each.verdict == "same" for each in found)
    return Share(hits=sum(map(told, found)), count=cases), Share(hits=same, count=cases)


def power(cases: int, pairs: int, noise: float, seed: int) -> Share:
    """How often a change of `CHANGE` is told, in its direction."""
    source = random.Random(f"{seed} change {pairs} {noise}")
    found = [drawn(pairs, noise, CHANGE, source) for _ in range(cases)]
    return Share(hits=sum(each.interval is not None and each.interval.high < 1 for each in found), count=cases)


def null_table(cases: int, seed: int) -> str:
    lines = [
        f"Nothing differs; {cases} comparisons each.",
        "",
        "| noise of a repeat | pairs | interval excludes 1 | same within 5 % |",
        "|---|---|---|---|",
    ]
    for noise in NOISES:
        for pairs in NULL_PAIRS:
            alarms, same = false_alarms(cases, pairs, noise, seed)
            lines.append(f"| {noise:.0%} | {pairs} | {alarms} | {same} |")
    return "\n".join(lines)


def power_table(cases: int, seed: int) -> str:
    """Up to the number of pairs that is enough."""
    lines = [
        f"One side carries {-CHANGE:.0%} less; {cases} comparisons each.",
        "",
        "| noise of a repeat | pairs | told |",
        "|---|---|---|",
    ]
    for noise in NOISES:
        for pairs in POWER_PAIRS:
            share = power(cases, pairs, noise, seed)
            enough = share.hits >= POWER * cases
            lines.append(f"| {noise:.0%} | {pairs} | {share}{', enough' if enough else ''} |")
            if enough:
                break
    return "\n".join(lines)


def simulated(seed: int, *, repeats: int = 5, stop_width: float = 0.0) -> tuple[Comparison, Interval | None]:
    """A whole run of two scenarios that are the same but for their names: messages/s of one against the other by
    `compare`, and the interval of the loss that the report gives."""
    method = Method(warmup_seconds=8, settle_seconds=0.5, window_seconds=2, trials=3, equal_load=())
    plan = Plan(
        name="like",
        seed=seed,
        repeats=repeats,
        stop_width=stop_width,
        budget_seconds=80_000,
        environment=EnvironmentSpec(disk_seconds=0, network_seconds=0),
        baseline="one",
        scenarios=tuple(Scenario(name=name, data_plane=DataPlane.PLAIN, method=method) for name in ("one", "other")),
    )
    with tempfile.TemporaryDirectory() as directory:
        clock = SimulatedClock()
        place = Path(directory) / "run"
        conduct(
            plan,
            SimulatedBackend(clock, seed=seed),
            place,
            command=(),
            effort="default",
            progress=Silent(),
            clock=clock,
        )
        summary = summarize(load(place))
    one, other = (Subject(name=name, summary=summary, scenario=name) for name in ("one", "other"))
    return compare([other], [one]).comparisons[0], summary.scenarios[1].loss_interval


def runs_line(what: str, found: Sequence[tuple[Comparison, Interval | None]]) -> str:
    known = [each for each, _ in found if each.interval is not None]
    losses = [loss for _, loss in found if loss is not None]
    alarms = Share(hits=sum(map(told, known)), count=len(known))
    wrong = Share(hits=sum(not each.low <= 0 <= each.high for each in losses), count=len(losses))
    pairs = statistics.median(each.pairs_counted for each in known)
    return (
        f"{what}: of {len(known)} intervals of a ratio, {alarms} exclude 1; of {len(losses)} of a loss, {wrong} "
        f"exclude none; {pairs:.0f} pairs in the median."
    )


def real(directory: Path) -> tuple[list[tuple[tuple[str, str], Comparison]], dict[str, Interval | None]]:
    """Of a run whose scenarios differ by name alone: messages/s of each of them against each before it, by repeat, and
    the interval of each one's loss against the baseline."""
    summary = summarize(load(directory))
    names = [each.name for each in summary.scenarios]
    found = []
    for ours, theirs in ((ours, theirs) for index, ours in enumerate(names) for theirs in names[:index]):
        one, other = (Subject(name=name, summary=summary, scenario=name) for name in (ours, theirs))
        found.append(((ours, theirs), compare([one], [other]).comparisons[0]))
    return found, {each.name: each.loss_interval for each in summary.scenarios[1:]}


def real_table(directories: Sequence[Path]) -> str:
    """A setup's comparisons share its repeats, so those of one run are not independent."""
    lines = [
        "Real runs of like scenarios.",
        "",
        "| run | of | against | pairs | ratio | 95 % | excludes 1 | loss, 95 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, directory in enumerate(directories, start=1):
        found, losses = real(directory)
        baseline = found[0][0][1]
        for (ours, theirs), each in found:
            loss = losses[ours] if theirs == baseline else None
            lines.append(
                f"| {number} | {ours} | {theirs} | {each.pairs_counted} of {each.pairs_planned} "
                f"| {'' if each.ratio is None else f'{each.ratio:.3f}'} "
                f"| {'' if each.interval is None else f'{each.interval.low:.3f} … {each.interval.high:.3f}'} "
                f"| {'yes' if told(each) else 'no'} "
                f"| {'' if loss is None else f'{loss.low:.1%} … {loss.high:.1%}'} |"
            )
    return "\n".join(lines)


def versus(count: int, place: Path, backend: str) -> list[Path]:
    """Runs of one plan against itself, one after the other, each with the stopping rule of `run --versus`."""
    made = [place / f"versus-{number}" for number in range(1, count + 1)]
    for seed, directory in enumerate(made, start=1):
        print(f"{directory} ...", file=sys.stderr, flush=True)
        command = ["run", str(VERSUS), "--versus", str(VERSUS), "--backend", backend, "--seed", str(seed)]
        command += ["--out", str(directory)]
        subprocess.run([sys.executable, "-m", "meshmark", *command], check=True, stdout=subprocess.DEVNULL)
    return made


def ends_table(directories: Sequence[Path]) -> str:
    """How each run ended, and how many of all told a difference."""
    lines = ["| run | repeats | ended by | trials | loss, width of its interval |", "|---|---|---|---|---|"]
    alarms, wrong, ratios, losses = 0, 0, 0, 0
    for number, directory in enumerate(directories, start=1):
        record = load(directory)
        [(_, each)], by_name = real(directory)
        (loss,) = by_name.values()
        ended = "width" if record.finished is not None and record.finished.sharp else "repeats or time"
        trials = sum(len(data.trials) for data in record.rounds)
        width = "" if loss is None else f"{loss.high - loss.low:.1%}"
        lines.append(f"| {number} | {each.pairs_planned} | {ended} | {trials} | {width} |")
        ratios, alarms = ratios + (each.interval is not None), alarms + told(each)
        losses += loss is not None
        wrong += loss is not None and not loss.low <= 0 <= loss.high
    lines += ["", f"{alarms} of {ratios} intervals of a ratio exclude 1; {wrong} of {losses} of a loss exclude none."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=2_000, help="of each drawn table; 0: no tables")
    parser.add_argument("--runs", type=int, default=0, help="whole simulated runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--like", type=Path, nargs="+", metavar="RUN", help="print what these runs tell, no more")
    parser.add_argument(
        "--lab", type=int, default=0, metavar="N", help="so many runs of a plan against itself, no more"
    )
    parser.add_argument("--backend", default="lab", help="of --lab: lab, or simulated for a try")
    parser.add_argument("--out", type=Path, default=Path("versus-runs"), help="of --lab: where the runs go")
    options = parser.parse_args()
    if options.lab:
        made = versus(options.lab, options.out, options.backend)
        print(real_table(made) + "\n\n" + ends_table(made))
        return
    if options.like:
        print(real_table(options.like))
        return
    if options.cases:
        print(null_table(options.cases, options.seed), flush=True)
        print("\n" + power_table(options.cases, options.seed), flush=True)
    if options.runs:
        seeds = range(options.seed, options.seed + options.runs)
        print("\n" + runs_line("Whole simulated runs of two like scenarios", [simulated(seed) for seed in seeds]))
        ended = [simulated(seed, repeats=20, stop_width=WIDTH) for seed in seeds]
        print(runs_line(f"Ended once the loss is known to within {WIDTH:.0%}", ended))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()

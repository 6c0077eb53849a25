"""Is a cap on one resource of one host named by the verdict? Blind cases, and their confusion matrix.

    python -m bench.limits --cases 12 --seed 1
    python -m bench.limits --explain --cases 4

On one warm cluster each case draws what is capped (a broker's CPU, disk or link, or nothing), on which broker, and how
tightly: to a part of what an uncapped trial used. Everything else of every broker is capped as well, but at several
times of its use, so that it is no hint that something has a cap. Then more is offered than the system carries, and the
record of that trial is all that the verdict gets: it is read from the disk by another process, which has neither the
seed nor the caps. Without a cap on a broker, 'machine CPU' is the right answer here.

With --explain the verdict is that of the experiment (`run --explain`): under the caps of a case, half of the machine's
CPU, and of each resource of each broker, is taken away in turn. The record has these as shares of what there is, so
that amounts tell nothing. Two things differ from the cases above: CPU of brokers has no loose cap, since one process
has one quota at a time, and half of the machine is taken from all but the broker whose CPU is capped.

A verdict is right if it names the capped resource and its host, and nothing else. It is unknown, with the reason,
where the load could not be driven, or no trial counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from meshmark.analysis import limits
from meshmark.analysis.ceilings import start_msg_s
from meshmark.analysis.explain import SHARE, explanation, title
from meshmark.analysis.ledger import broker_hosts, cpu_of
from meshmark.backends.lab.backend import lab
from meshmark.clock import Clock, SystemClock
from meshmark.cluster import Backend
from meshmark.data_plane import DataPlane
from meshmark.errors import LoadError
from meshmark.experiment.explain import explain
from meshmark.experiment.progress import Silent
from meshmark.experiment.trial import Bench, Offered, measure, warm_up
from meshmark.measure.sampler import sampling
from meshmark.plan import ClusterSpec, Method, Plan, Scenario, Slot
from meshmark.planfile.effort import EXPLAIN_BLOCKS, trial_seconds
from meshmark.record import Limit, RoundStarted, Started, Tightened, Trial
from meshmark.store import RunWriter, load

Resource = Literal["cpu", "disk", "network"]
RESOURCES: tuple[Resource, ...] = get_args(Resource)
NOTHING = "nothing"
LOOSE = 4.0
"""Of what an uncapped trial used."""
PARTS = (0.3, 0.6)
OVERLOAD = 1.2
NAMES = {"/kafka CPU": "cpu", " disk": "disk", " network": "network"}
"""Of a quota that is used up, the verdict by utilisation says so: `/kafka CPU quota`."""
RIGHT, OTHERS_TOO, WRONG_HOST, MACHINE = "right", "right, and others", "right, wrong host", "machine CPU"
ANSWERS = (RIGHT, OTHERS_TOO, WRONG_HOST, MACHINE, "another", limits.UNKNOWN)
SCENARIO = Scenario(
    name="plain",
    data_plane=DataPlane.PLAIN,
    cluster=ClusterSpec(storage="image"),
    method=Method(warmup_seconds=8, warmup_max_seconds=30, settle_seconds=1.5, window_seconds=3.5),
)
PLAN = Plan(name="limits", log_budget_bytes=8_000_000_000, scenarios=(SCENARIO,))
HOSTS = broker_hosts(SCENARIO)
CPUS = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is capped, and where; `part` of what it uses otherwise."""

    resource: str
    host: str = "machine"
    part: float = 1.0


def cases(seed: int, count: int, hosts: Sequence[str], parts: tuple[float, float]) -> list[Case]:
    """Each resource as often as any other, and nothing as well, in an order that is drawn."""
    source = random.Random(seed)
    kinds = [(*RESOURCES, NOTHING)[place % 4] for place in range(count)]
    source.shuffle(kinds)
    return [
        Case(resource=NOTHING)
        if kind == NOTHING
        else Case(resource=kind, host=source.choice(hosts), part=source.uniform(*parts))
        for kind in kinds
    ]


def used(trial: Trial, host: str) -> dict[Resource, float]:
    """By a broker in an uncapped trial, in the units of limits."""
    elapsed_s = trial.delta("machine/cpu/elapsed_s") or trial.seconds
    cpu = cpu_of(trial, f"{host}/kafka")
    ways = [trial.delta(f"{host}/net/{way}_bytes") or 0.0 for way in ("rx", "tx")]
    return {
        "cpu": cpu.total_s / elapsed_s if cpu else 0.0,
        "disk": (trial.delta(f"{host}/kafka/log_bytes") or 0.0) / elapsed_s,
        "network": max(ways) / elapsed_s,
    }


def caps(case: Case, uncapped: Trial, hosts: Sequence[str]) -> list[Limit]:
    """On everything of every broker."""
    return [
        Limit(
            host=host,
            resource=resource,
            amount=amount * (case.part if (case.host, case.resource) == (host, resource) else LOOSE),
        )
        for host in hosts
        for resource, amount in used(uncapped, host).items()
    ]


def there_is(case: Case, uncapped: Trial, hosts: Sequence[str], cpus: int) -> list[Limit]:
    """Of the machine, and of each resource of each broker, in an experiment."""
    machine = Limit(host=limits.MACHINE, resource="cpu", amount=cpus)
    return [
        machine,
        *(
            cap.model_copy(update={"amount": float(cpus)})
            if cap.resource == "cpu" and (case.host, case.resource) != (cap.host, "cpu")
            else cap
            for cap in caps(case, uncapped, hosts)
        ),
    ]


def held(everything: Sequence[Limit], less: Tightened) -> list[Limit]:
    """What is limited in a trial that has a share of something, and all there is of everything else. The machine
    comes first, so that a broker with a quota of its own leaves its group."""
    cpus = everything[0].amount
    taken = less.limit
    part = {title(taken): taken.amount} if taken else {}
    found = [each.model_copy(update={"amount": each.amount * part.get(title(each), 1.0)}) for each in everything]
    return [each for each in found if each.resource != "cpu" or each.amount < cpus]


def answer(case: Case, named: Sequence[str]) -> str:
    """Of ANSWERS: what a verdict is worth. That nothing was capped is right where the machine is named."""
    names = [name.removesuffix(" quota") for name in named]
    right = MACHINE if case.resource == NOTHING else f"{case.host}{_name(case.resource)}"
    if right in names:
        return (MACHINE if right == MACHINE else RIGHT) if len(names) == 1 else OTHERS_TOO
    if case.resource != NOTHING and any(name.endswith(_name(case.resource)) for name in names):
        return WRONG_HOST
    return names[0] if names[0] in ANSWERS else "another"


def _name(resource: str) -> str:
    return next(ending for ending, meant in NAMES.items() if meant == resource)


class Verdict(NamedTuple):
    """Of a case, by its number from 1 on; 0 is the uncapped trial."""

    number: int
    rate_msg_s: float | None
    named: Sequence[str]
    near: Sequence[str]
    """What stands out most."""


def judge(directory: Path, count: int, blocks: int) -> list[Verdict]:
    """Of a record alone: the uncapped trial where no experiment was made, and each case, tried or not."""
    run = load(directory)
    tried: dict[int, list[Trial]] = {number: [] for number in range(1, count + 1)}
    for trial in (trial for data in run.rounds for trial in data.trials):
        tried.setdefault(-(-(trial.number - 1) // trials_each(blocks)), []).append(trial)
    if blocks:
        return [_explained(number, tried[number]) for number in range(1, count + 1)]
    scenario, cpus = run.plan.scenario(SCENARIO.name), run.started.host.cpus
    return [_seen(number, trials, scenario, cpus) for number, trials in sorted(tried.items())]


def _seen(number: int, trials: Sequence[Trial], scenario: Scenario, cpus: int) -> Verdict:
    """By utilisation."""
    if not trials or trials[0].faults:
        return _undecided(number, trials)
    (trial,) = trials
    evidence = limits.evidence(trial, scenario, cpus)
    near = sorted((each for each in evidence if each.limit), key=lambda each: -each.share / (each.limit or 1))
    texts = [f"{each.resource} {each.share:.0%} of {each.limit:.0%}" for each in near[:3]]
    return Verdict(number, trial.rate_msg_s, limits.limiting(evidence), texts)


def _explained(number: int, trials: Sequence[Trial]) -> Verdict:
    """By experiment."""
    made = explanation(trials)
    if made is None or not made.elasticities:
        return _undecided(number, trials)
    texts = [
        f"{row.resource} {row.elasticity:.2f}"
        + (f" ({row.interval.low:.2f} to {row.interval.high:.2f})" if row.interval else "")
        for row in made.elasticities[:3]
    ]
    return Verdict(number, made.carried_msg_s, made.limited_by, [f"{made.blocks} blocks", *texts])


def _undecided(number: int, trials: Sequence[Trial]) -> Verdict:
    faulty = [trial.faults[0] for trial in trials if trial.faults]
    text = f"of {len(trials)} trials too few count, {len(faulty)} are invalid" if trials else "no trial"
    return Verdict(number, None, (limits.UNKNOWN,), [f"{text}: {faulty[0]}" if faulty else text])


@contextmanager
def benched(backend: Backend, directory: Path, clock: Clock) -> Iterator[Bench]:
    """A cluster with a record."""
    backend.prepare(PLAN)
    started = Started(
        run_id="limits",
        started_at=clock.wall(),
        clock_offset_s=clock.wall() - clock.now(),
        command=("bench.limits",),
        effort="bench",
        scenarios_selected=(SCENARIO.name,),
        host=backend.facts(),
        versions=backend.versions(),
    )
    first = RoundStarted(
        index=1,
        scenario=SCENARIO.name,
        repeat=1,
        data_plane=SCENARIO.data_plane,
        started_at=clock.wall(),
        time_s=clock.now(),
    )
    writer = RunWriter.create(directory, PLAN, started).round(first)
    with backend.cluster(SCENARIO) as cluster, sampling(cluster.probes, 1.0, writer.sample, clock) as sampler:
        yield Bench(
            cluster=cluster,
            scenario=SCENARIO,
            slot=Slot(index=1, scenario=SCENARIO.name, repeat=1),
            seed=1,
            sampler=sampler,
            writer=writer,
            progress=Silent(),
            clock=clock,
        )


def play(bench: Bench, drawn: Sequence[Case], blocks: int) -> Iterator[int]:
    """An uncapped trial, then the cases: a trial each, or so many blocks of an experiment. How many are done."""
    warm = warm_up(bench)
    print(f"warm after {len(warm.rates_msg_s)} s: {warm.warm}; load average {os.getloadavg()[0]:.1f}")
    rate = start_msg_s(warm.rates_msg_s) * OVERLOAD
    uncapped = measure(bench, Offered(number=1, purpose="explain", rate_msg_s=rate))
    bench.writer.trial(uncapped)
    hosts = bench.cluster.broker_hosts
    print(f"uncapped: {uncapped.rate_msg_s:,.0f} msg/s; broker-1 used {used(uncapped, hosts[0])}", flush=True)
    for done, case in enumerate(drawn, start=1):
        number = 2 + (done - 1) * trials_each(blocks)
        try:
            if blocks:
                experiment(bench, case, uncapped, rate, blocks, number)
            else:
                offered = Offered(number=number, purpose="explain", rate_msg_s=rate)
                bench.writer.trial(measure(bench, offered, caps(case, uncapped, hosts)))
        except LoadError as error:
            print(f"{done}. broken off: {error}", flush=True)
        yield done


def experiment(bench: Bench, case: Case, uncapped: Trial, most_msg_s: float, blocks: int, number: int) -> None:
    """As `run --explain` makes it; its trials are numbered from `number`."""
    everything = there_is(case, uncapped, bench.cluster.broker_hosts, CPUS)
    less = [
        Tightened(block=0, limit=each.model_copy(update={"amount": 1 - SHARE}), available=1.0) for each in everything
    ]
    for _ in explain(
        replace(bench, seed=number), most_msg_s, less, blocks=blocks, number=number, held=partial(held, everything)
    ):
        """Recorded."""


def trials_each(blocks: int) -> int:
    """Of a case: one, or those of an experiment: with all there is, and with less of each."""
    return blocks * (2 + len(HOSTS) * len(RESOURCES)) if blocks else 1


def minutes(count: int, blocks: int) -> float:
    """What so many cases take, the start of the cluster apart."""
    trials = 1 + count * trials_each(blocks)
    return (SCENARIO.method.warmup_max_seconds + trials * trial_seconds(PLAN, SCENARIO)) / 60


def judged_elsewhere(directory: Path, count: int, blocks: int) -> list[Verdict]:
    command = [sys.executable, "-m", "bench.limits", "--judge", str(directory), "--cases", str(count)]
    how = ["--explain", "--blocks", str(blocks)] if blocks else []
    done = subprocess.run([*command, *how], stdout=subprocess.PIPE, text=True, check=True)
    return [Verdict(*each) for each in json.loads(done.stdout)]


def show(drawn: Sequence[Case], verdicts: Sequence[Verdict]) -> None:
    """Each case, then the matrix."""
    matrix: Counter[tuple[str, str]] = Counter()
    for number, rate, named, near in verdicts:
        if number == 0:
            print(f"uncapped, all free: {', '.join(named)} ({'; '.join(near)})")
            continue
        case = drawn[number - 1]
        found = answer(case, named)
        matrix[case.resource, found] += 1
        carried = "–" if rate is None else f"{rate:,.0f}"
        print(
            f"{number}. {case.host} {case.resource} at {case.part:.2f}: {carried} msg/s; "
            f"{', '.join(named)}: {found} ({'; '.join(near)})"
        )
    print(f"\n| capped | {' | '.join(ANSWERS)} |\n|{'---|' * (len(ANSWERS) + 1)}")
    for kind in (*RESOURCES, NOTHING):
        print(f"| {kind} | {' | '.join(str(matrix[kind, each] or '') for each in ANSWERS)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--seed", type=int, default=None, help="drawn if not given")
    parser.add_argument("--parts", type=float, nargs=2, default=PARTS, metavar=("LOW", "HIGH"))
    parser.add_argument("--explain", action="store_true", help="judge by experiment: minutes for each case")
    parser.add_argument("--blocks", type=int, default=EXPLAIN_BLOCKS, help="of an experiment")
    parser.add_argument("--judge", type=Path, default=None, metavar="DIR", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.cases < 1 or asked.blocks < 2:
        parser.error("at least one case, and two blocks: one alone has no interval")
    blocks = asked.blocks if asked.explain else 0
    if asked.judge:
        json.dump(judge(asked.judge, asked.cases, blocks), sys.stdout)
        return
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    takes = f"{minutes(asked.cases, blocks):.0f} minutes"
    print(f"seed {seed}, {asked.cases} cases, {CPUS} CPUs; about {takes}", flush=True)
    drawn = cases(seed, asked.cases, HOSTS, tuple(asked.parts))
    with tempfile.TemporaryDirectory(prefix="meshmark-bench-") as directory:
        record = Path(directory) / "run"
        with lab("bench") as backend, benched(backend, record, SystemClock()) as bench:
            for done in play(bench, drawn, blocks):
                if blocks or done == len(drawn):
                    show(drawn[:done], judged_elsewhere(record, done, blocks))


if __name__ == "__main__":
    main()

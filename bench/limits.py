"""Is a cap on one resource of one host named by the verdict? Blind cases, and their confusion matrix.

    python -m bench.limits --cases 12 --seed 1

On one warm cluster each case draws what is capped (a broker's CPU, disk or link, or nothing), on which broker, and how
tightly: to a part of what an uncapped trial used. Everything else of every broker is capped as well, but at several
times of its use, so that it is no hint that something has a cap. Then more is offered than the system carries, and the
record of that trial is all that the verdict gets: it is read from the disk by another process, which has neither the
seed nor the caps. Without a cap on a broker, 'machine CPU' is the right answer here.

A verdict is right if it names the capped resource and its host, and nothing else.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from meshmark.analysis import limits
from meshmark.analysis.ceilings import start_msg_s
from meshmark.analysis.ledger import cpu_of
from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.clock import SystemClock
from meshmark.experiment.progress import Silent
from meshmark.experiment.trial import Bench, Offered, measure, warm_up
from meshmark.measure.sampler import sampling
from meshmark.plan import ClusterSpec, DataPlane, Method, Plan, Scenario, Slot
from meshmark.record import Limit, RoundStarted, Started, Trial
from meshmark.store import RunWriter, load

Resource = Literal["cpu", "disk", "network"]
RESOURCES: tuple[Resource, ...] = get_args(Resource)
NOTHING = "nothing"
LOOSE = 4.0
"""Of what an uncapped trial used."""
PARTS = (0.3, 0.6)
OVERLOAD = 1.2
NAMES = {"/kafka CPU quota": "cpu", " disk": "disk", " network": "network"}
RIGHT, OTHERS_TOO, WRONG_HOST, MACHINE = "right", "right, and others", "right, wrong host", "machine CPU"
ANSWERS = (RIGHT, OTHERS_TOO, WRONG_HOST, MACHINE, "another", limits.UNKNOWN)
SCENARIO = Scenario(
    name="plain",
    data_plane=DataPlane.PLAIN,
    cluster=ClusterSpec(storage="image"),
    method=Method(warmup_seconds=8, warmup_max_seconds=30, settle_seconds=1.5, window_seconds=3.5),
)


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


def answer(case: Case, named: Sequence[str]) -> str:
    """Of ANSWERS: what a verdict is worth. That nothing was capped is right where the machine is named."""
    right = MACHINE if case.resource == NOTHING else f"{case.host}{_name(case.resource)}"
    if right in named:
        return (MACHINE if right == MACHINE else RIGHT) if len(named) == 1 else OTHERS_TOO
    if case.resource != NOTHING and any(name.endswith(_name(case.resource)) for name in named):
        return WRONG_HOST
    return named[0] if named[0] in ANSWERS else "another"


def _name(resource: str) -> str:
    return next(ending for ending, meant in NAMES.items() if meant == resource)


def judge(directory: Path) -> list[tuple[int, list[str], list[str]]]:
    """Trial, verdict, and the evidence nearest to its limit: of a record alone."""
    run = load(directory)
    found = []
    for trial in (trial for data in run.rounds for trial in data.trials):
        evidence = limits.evidence(trial, run.plan.scenario(trial.scenario), run.started.host.cpus)
        near = sorted((each for each in evidence if each.limit), key=lambda each: -each.share / (each.limit or 1))
        found.append(
            (
                trial.number,
                list(limits.limiting(evidence)),
                [f"{each.resource} {each.share:.0%} of {each.limit:.0%}" for each in near[:3]],
            )
        )
    return found


@contextmanager
def benched(backend: LabBackend, plan: Plan, directory: Path) -> Iterator[Bench]:
    """A cluster with a record."""
    clock = SystemClock()
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
    writer = RunWriter.create(directory, plan, started).round(first)
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


def play(directory: Path, seed: int, count: int, parts: tuple[float, float]) -> dict[int, Case]:
    """Trial number -> case. Number 1 is the uncapped trial."""
    plan = Plan(name="limits", log_budget_bytes=8_000_000_000, scenarios=(SCENARIO,))
    played: dict[int, Case] = {}
    with lab("bench") as backend:
        backend.prepare(plan)
        with benched(backend, plan, directory) as bench:
            warm = warm_up(bench)
            print(f"warm after {len(warm.rates_msg_s)} s: {warm.warm}; load average {os.getloadavg()[0]:.1f}")
            rate = start_msg_s(warm.rates_msg_s) * OVERLOAD
            uncapped = measure(bench, Offered(number=1, purpose="explain", rate_msg_s=rate))
            bench.writer.trial(uncapped)
            hosts = bench.cluster.broker_hosts
            print(f"uncapped: {uncapped.rate_msg_s:,.0f} msg/s; broker-1 used {used(uncapped, hosts[0])}", flush=True)
            for number, case in enumerate(cases(seed, count, hosts, parts), start=2):
                offered = Offered(number=number, purpose="explain", rate_msg_s=rate)
                trial = measure(bench, offered, caps(case, uncapped, hosts))
                bench.writer.trial(trial)
                played[number] = case
    return played


def judged_elsewhere(directory: Path) -> list[tuple[int, list[str], list[str]]]:
    command = [sys.executable, "-m", "bench.limits", "--judge", str(directory)]
    found: list[tuple[int, list[str], list[str]]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return found


def show(played: dict[int, Case], directory: Path) -> None:
    """Each case, then the matrix."""
    matrix: Counter[tuple[str, str]] = Counter()
    rates = {trial.number: trial.rate_msg_s for data in load(directory).rounds for trial in data.trials}
    for number, named, near in judged_elsewhere(directory):
        case = played.get(number)
        if case is None:
            print(f"uncapped, all free: {', '.join(named)} ({'; '.join(near)})")
            continue
        found = answer(case, named)
        matrix[case.resource, found] += 1
        print(
            f"{number - 1}. {case.host} {case.resource} at {case.part:.2f}: {rates[number]:,.0f} msg/s; "
            f"{', '.join(named)}: {found} ({'; '.join(near)})"
        )
    print(f"\n| capped | {' | '.join(ANSWERS)} |\n|{'---|' * (len(ANSWERS) + 1)}")
    for kind in (*RESOURCES, NOTHING):
        print(f"| {kind} | {' | '.join(str(matrix[kind, each] or '') for each in ANSWERS)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--seed", type=int, default=None, help="drawn if not given")
    parser.add_argument("--parts", type=float, nargs=2, default=PARTS, metavar=("LOW", "HIGH"))
    parser.add_argument("--judge", type=Path, default=None, metavar="DIR", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.judge:
        json.dump(judge(asked.judge), sys.stdout)
        return
    seed = random.SystemRandom().getrandbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}, {asked.cases} cases, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory(prefix="meshmark-bench-") as directory:
        record = Path(directory) / "run"
        show(play(record, seed, asked.cases, tuple(asked.parts)), record)


if __name__ == "__main__":
    main()

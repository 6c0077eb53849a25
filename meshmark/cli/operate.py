"""`meshmark operate`: restart brokers, or renew their certificates, under load, and prove that nothing is lost."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.backend import opened
from meshmark.cli.kubernetes import Place
from meshmark.cli.options import (
    KAFKA,
    ClientImage,
    ClientNodes,
    Cpus,
    Heap,
    Image,
    Kafka,
    Keeper,
    Memory,
    Namespace,
    Offline,
    OneContext,
    Only,
    PlanFile,
    Seed,
    ShareNodes,
    StorageClass,
    Timeout,
    VolumeSize,
)
from meshmark.cli.output import emit, note
from meshmark.cli.plans import DEFAULT_PLAN, find

if TYPE_CHECKING:
    from meshmark.experiment.operate import Operated, Stage
    from meshmark.plan import Plan

EXAMPLES = (
    "\b\nExamples:\n  meshmark operate restart --only istio-mtls\n"
    "  meshmark operate rotate --only kafka-tls --rate 5000\n"
    "  meshmark operate restart --only plain --backend kubernetes --context CTX --client-image IMAGE\n\n"
    "\b\nExit codes: 1 records that were acknowledged are lost; 3 whether they are cannot be told."
)
RATE_MSG_S = 1_000.0
LEAST_MSG_S = 1


def operate(
    context: typer.Context,
    operation: Annotated[
        str, typer.Argument(metavar="restart|rotate", help="Restart brokers, or renew the certificates of kafka-tls.")
    ],
    file: PlanFile = None,
    only: Only = None,
    rate: Annotated[
        float, typer.Option("--rate", metavar="MSG_S", help="Of the load that goes on meanwhile.")
    ] = RATE_MSG_S,
    seed: Seed = 1,
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="The form.")] = "table",
    kafka: Kafka = KAFKA,
    offline: Offline = False,
    backend: Keeper = "lab",
    cluster: OneContext = None,
    namespace: Namespace = None,
    cpus: Cpus = None,
    memory: Memory = None,
    heap: Heap = None,
    volume_size: VolumeSize = None,
    storage_class: StorageClass = None,
    share_nodes: ShareNodes = None,
    image: Image = None,
    client_image: ClientImage = None,
    client_nodes: ClientNodes = None,
    timeout: Timeout = None,
) -> None:
    """Do what administrators do, one broker after the other, under load; then read back all that was acknowledged.

    It brings the scenario up by itself, and ends it again."""
    from meshmark.errors import UsageError
    from meshmark.experiment import operate as operating
    from meshmark.pacer import MOST_MSG_S

    place = dataclasses.replace(Place.of(context, backend), evicts=operation == "restart")
    wanted = next((each for each in operating.OPERATIONS if each == operation), None)
    plan = _plan(file, only, operation, output)
    if not LEAST_MSG_S <= rate <= MOST_MSG_S:
        raise UsageError(
            f"--rate {rate:g} is not allowed", hint=f"it takes {LEAST_MSG_S:,} to {MOST_MSG_S:,} records a second"
        )
    _refuse_several(plan, backend)
    assert wanted is not None, "looked at there"
    (scenario,) = plan.scenarios
    with opened(place, plan, kafka=kafka, offline=offline) as (system, clock):
        system.prepare(plan)
        note(f"starting {scenario.name}")
        with system.cluster(scenario) as made:
            note(f"{operation} of {len(made.broker_hosts)} brokers, one after the other, under load")
            found = operating.operate(
                made, scenario, wanted, clock, rate_msg_s=rate, seed=1 if seed is None else seed, tell=note
            )
    emit(as_json(found) if output == "json" else summary(found))
    conclude(found)


def _refuse_several(plan: Plan, backend: str) -> None:
    from meshmark.errors import UsageError

    (scenario,) = plan.scenarios
    if backend == "kubernetes" and scenario.cluster.topology:
        raise UsageError(
            f"the scenario {scenario.name} has a topology, and `operate` goes to one cluster of Kubernetes",
            hint="operate on it in the lab, or on a scenario without",
        )


def _plan(file: str | None, only: str | None, operation: str, output: str) -> Plan:
    """With the only scenario. Raises UsageError with what cannot be meant, before anything is made."""
    from meshmark.cli.kubernetes import one_scenario
    from meshmark.errors import UsageError
    from meshmark.experiment.operate import OPERATIONS

    if operation not in OPERATIONS:
        raise UsageError(f"there is no operation {operation}", hint=f"there are: {', '.join(OPERATIONS)}")
    if output not in ("table", "json"):
        raise UsageError(f"there is no form {output}", hint="-o takes table or json")
    plan = find(file or DEFAULT_PLAN)
    if plan.profile:
        raise UsageError(
            f"the plan {plan.name} has the hardware profile {plan.profile}, whose limits `operate` does not set",
            hint="Give a plan without one.",
        )
    scenario = one_scenario(plan, only)
    if scenario.cluster.operator:
        raise UsageError(
            f"the brokers of {scenario.name} are made by {scenario.cluster.operator}, which has ways of its own",
            hint="operate takes scenarios without an operator.",
        )
    if operation == "rotate" and not scenario.data_plane.kafka_tls:
        raise UsageError(
            f"{scenario.name} has no certificates of Kafka's own: its data plane is {scenario.data_plane}",
            hint="rotate takes a scenario with kafka-tls; a mesh's certificates are its authority's to renew.",
        )
    return plan.model_copy(update={"scenarios": (scenario,)})


def as_json(found: Operated) -> str:
    from meshmark.cli.load_output import latency_ms

    stages = [
        {
            "name": stage.name,
            "seconds": round(stage.seconds, 3),
            "acknowledged": stage.totals.acknowledged,
            "failed": stage.totals.failed,
            "unknown": stage.totals.unknown,
            "latency_ms": latency_ms(stage.latency),
            "still_s": stage.still_s,
        }
        for stage in found.stages
    ]
    totals = found.totals
    told = {
        "operation": found.operation,
        "scenario": found.scenario,
        "rate_msg_s": found.rate_msg_s,
        "stages": stages,
        "offered": totals.offered,
        "acknowledged": totals.acknowledged,
        "failed": totals.failed,
        "unknown": totals.unknown,
        "lost": None if found.faults else found.lost,
        "twice": found.twice,
        "faults": list(found.faults),
        "late": found.late,
    }
    return json.dumps(told, indent=1)


def summary(found: Operated) -> str:
    """A line a stage, and the account."""
    rows = [("", "s", "acknowl.", "failed", "p50 ms", "p99 ms", "max ms", "still s"), *map(_row, found.stages)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))) for row in rows]
    totals = found.totals
    lines += ["", f"acknowledged  {totals.acknowledged:>10,}"]
    lines += [f"{'not read' if found.faults else 'of them lost':<12}  {found.lost:>10,}"]
    lines += [f"read twice    {found.twice:>10,}"]
    lines += [f"failed        {totals.failed:>10,}", f"unknown       {totals.unknown:>10,}   may or may not be stored"]
    lines += [f"warning: latencies say little: {found.late}"] if found.late else []
    return "\n".join(lines)


def _row(stage: Stage) -> tuple[str, ...]:
    from meshmark.cli.load_output import ms
    from meshmark.units import number

    latency = stage.latency
    quantiles = (latency.p50_s, latency.p99_s, latency.max_s) if latency else (None, None, None)
    failed = stage.totals.failed + stage.totals.unknown
    return (
        stage.name,
        f"{stage.seconds:.1f}",
        f"{stage.totals.acknowledged:,}",
        f"{failed:,}",
        *map(ms, quantiles),
        number(stage.still_s),
    )


def conclude(found: Operated) -> None:
    """The exit code."""
    from meshmark.errors import Inconclusive

    if found.faults:
        raise Inconclusive(f"whether records are lost cannot be told: {'; '.join(found.faults)}")
    if found.lost:
        raise typer.Exit(1)

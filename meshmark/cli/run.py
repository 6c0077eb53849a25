"""`meshmark run`: the whole benchmark, from a plan to its table."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.backend import opened
from meshmark.cli.gate import require_held
from meshmark.cli.kubernetes import Place
from meshmark.cli.options import (
    KAFKA,
    ClientImage,
    ClientNodes,
    Context,
    Cpus,
    Disk,
    Explain,
    Full,
    Heap,
    Image,
    Kafka,
    Kubelet,
    KubeletCa,
    Live,
    Memory,
    MetricsAddress,
    MetricsPort,
    Offline,
    Perf,
    Profile,
    Prometheus,
    Provider,
    Quick,
    ReplicationInMesh,
    Resume,
    RunBackend,
    RunOnly,
    Scale,
    Seed,
    ShareNodes,
    StorageClass,
    Timeout,
    Versus,
    VolumeSize,
)
from meshmark.cli.output import emit, note
from meshmark.cli.plans import DEFAULT_PLAN, find, remarks

if TYPE_CHECKING:
    from meshmark.analysis.model import Summary
    from meshmark.clock import Clock
    from meshmark.cluster import Backend
    from meshmark.experiment.progress import Progress
    from meshmark.plan import Plan
    from meshmark.planfile import Effort
    from meshmark.store import Run

RUNS = Path("meshmark-runs")
EXAMPLES = (
    "\b\nExamples:\n  meshmark run                              the built-in plan, about 12 minutes\n"
    "  meshmark run --quick --only plain --only istio-mtls\n"
    "  meshmark run --profile eks-r5.4xlarge-io1  the document's machines, scaled to fit\n"
    "  meshmark run my.yaml --out results/monday\n"
    "  meshmark run --live --metrics-port 9464\n"
    "  meshmark run --resume meshmark-runs/DIR    go on with a run that was cut"
)


RESUMABLE = (
    *("resume", "live", "metrics_port", "metrics_address", "kafka", "offline", "backend", "cluster", "timeout"),
    *(
        "cpus",
        "memory",
        "heap",
        "volume_size",
        "storage_class",
        "share_nodes",
        "image",
        "client_image",
        "client_nodes",
        "kubelet",
        "kubelet_ca",
        "prometheus",
    ),
)
"""Options that may go with --resume: they are of this process, or what they say is compared with the record."""


def run(
    context: typer.Context,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A built-in plan's name, or a file.")] = DEFAULT_PLAN,
    quick: Quick = False,
    full: Full = False,
    only: RunOnly = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help=f"Where the record goes  [default: {RUNS}/PLAN-TIME]")
    ] = None,
    seed: Seed = None,
    resume: Resume = None,
    explain: Explain = False,
    perf: Perf = False,
    live: Live = False,
    metrics_port: MetricsPort = None,
    metrics_address: MetricsAddress = None,
    versus: Versus = None,
    profile: Profile = None,
    scale: Scale = None,
    disk: Disk = None,
    kafka: Kafka = KAFKA,
    offline: Offline = False,
    backend: RunBackend = "lab",
    cluster: Context = None,
    cpus: Cpus = None,
    memory: Memory = None,
    heap: Heap = None,
    volume_size: VolumeSize = None,
    storage_class: StorageClass = None,
    share_nodes: ShareNodes = None,
    image: Image = None,
    provider: Provider = None,
    replication_in_mesh: ReplicationInMesh = None,
    client_image: ClientImage = None,
    client_nodes: ClientNodes = None,
    kubelet: Kubelet = None,
    kubelet_ca: KubeletCa = None,
    prometheus: Prometheus = None,
    timeout: Timeout = None,
) -> None:
    """Measure what each data plane of a plan carries and costs, and print the table."""
    from meshmark.experiment.resumption import as_begun

    place = Place.of(context, backend)
    level = _effort(quick=quick, full=full)
    before = None if resume is None else _before(context, resume)
    if before is None:
        chosen = _chosen(plan, only or [], versus, level, explain=explain)
        chosen = _provided(chosen, provider, replication_in_mesh)
        asked = _asked(chosen, profile, scale, disk, level, seed, explain=explain, perf=perf)
        directory = _directory(out, asked)
    else:
        asked, directory = as_begun(before).plan, before.directory
    resumptions = len(before.resumptions) + 1 if before else 0
    shown = _shown(live=live, directory=directory, resumptions=resumptions)
    with (
        _keeping(directory, backend),
        _endpoint(metrics_address, metrics_port, directory, resumptions) as serving,
        opened(place, asked, kafka=kafka, offline=offline) as (system, clock),
        serving(),
    ):
        if before is None:
            _announce(asked, level, directory)
            _conduct(asked, system, clock, directory, level, shown)
        else:
            _go_on(before, system, clock, shown)
    with _keeping(directory, backend):
        summary = _report(directory)
    _require_answer(summary)
    require_held(summary)


@contextmanager
def _keeping(directory: Path, backend: str) -> Iterator[None]:
    """Tells, where it ends with an error, what is there all the same."""
    from meshmark.errors import UsageError

    try:
        yield
    except BaseException as error:
        if not isinstance(error, UsageError):
            _tell_what_is_kept(directory, backend, error)
        raise


def _tell_what_is_kept(directory: Path, backend: str, error: BaseException) -> None:
    if not (directory / "started.json").is_file():
        return
    note(f"what was measured is kept: meshmark report {directory}")
    if backend != "simulated" and _may_go_on(directory, error):  # whose clock begins anew
        note(f"to go on after the last whole round: meshmark run --resume {directory}")
    note(_digest(directory))


def _may_go_on(directory: Path, error: BaseException) -> bool:
    """There is something to go on from and with, and going on is not what was just refused."""
    from meshmark.errors import Busy, RecordError
    from meshmark.store import GrowingRun

    if isinstance(error, Busy | RecordError) or not any(directory.glob("rounds/*/finished.json")):
        return False
    try:
        finished = GrowingRun(directory).finished()
    except RecordError:
        return False
    return finished is None or finished.outcome != "complete"


def _chosen(plan: str, only: list[str], versus: str | None, level: Effort, *, explain: bool) -> Plan:
    from meshmark import planfile

    chosen = planfile.select(find(plan), only)
    if versus is None:
        return chosen
    _require_open_end(level, explain=explain)
    return planfile.versus(chosen, planfile.select(find(versus), only))


def _provided(chosen: Plan, provider: str | None, replication_in_mesh: bool | None) -> Plan:
    from meshmark.planfile import provided

    return provided(chosen, provider, replication_in_mesh=bool(replication_in_mesh))


def _asked(
    chosen: Plan,
    profile: str | None,
    scale: str | None,
    disk: str | None,
    level: Effort,
    seed: int | None,
    *,
    explain: bool,
    perf: bool,
) -> Plan:
    from meshmark import planfile

    asked = planfile.effort(planfile.unmasked(planfile.equipped(chosen, profile, scale), disk), level)
    if seed is not None:
        asked = asked.model_copy(update={"seed": seed})
    if explain:
        asked = planfile.explained(asked)
    if perf:
        asked = planfile.sampled(asked)
    return planfile.furnished(asked)


def _before(context: typer.Context, directory: Path) -> Run:
    """The run to go on with, as recorded. Refused where the command line says again what its record has."""
    from meshmark import store
    from meshmark.errors import UsageError
    from meshmark.experiment.resumption import whole_rounds

    decided = [
        "PLAN" if each.name == "plan" else each.opts[0]
        for each in context.command.params
        if each.name and each.name not in RESUMABLE and _given(context, each.name)
    ]
    if decided:
        raise UsageError(
            f"{', '.join(decided)}: with --resume, the record in {directory} says this",
            hint="leave it out, or begin another run",
        )
    before = store.load(directory)
    whole_rounds(before)
    return before


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _go_on(before: Run, backend: Backend, clock: Clock, shown: Shown) -> None:
    from meshmark.experiment.conductor import resume

    with shown(clock) as told:
        resume(before, backend, command=("meshmark", *sys.argv[1:]), progress=told, clock=clock)


@contextmanager
def _endpoint(
    address: str | None, port: int | None, directory: Path, resumptions: int
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Bound first, so that a port that is taken is told at once; it answers when no more namespace is to be entered,
    which only a process without a second thread can do."""
    from meshmark.errors import UsageError

    if port is None:
        if address is not None:
            raise UsageError("--metrics-address belongs to --metrics-port", hint="give that as well, or none of them")
        yield nullcontext
        return
    from meshmark.live.endpoint import LOOPBACK, endpoint

    with endpoint(address or LOOPBACK, port, directory, resumptions) as bound:
        note(f"metrics: {bound.url}")
        yield bound.serving


def _effort(*, quick: bool, full: bool) -> Effort:
    from meshmark.errors import UsageError

    if quick and full:
        raise UsageError("--quick and --full exclude each other", hint="give one of them, or none")
    return "quick" if quick else "full" if full else "default"


def _require_open_end(level: Effort, *, explain: bool) -> None:
    from meshmark.errors import UsageError

    if level != "default" or explain:
        raise UsageError(
            "--versus decides itself how many repeats it takes; --quick, --full and --explain need to know",
            hint="leave them out; repeats, budgetSeconds and stopWidth of the first plan bound it",
        )


def _directory(out: Path | None, plan: Plan) -> Path:
    """Where the record goes; refused now rather than after the downloads if it cannot be written."""
    from meshmark.errors import UsageError

    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    directory = out if out is not None else RUNS / f"{plan.name}-{stamp}"
    if directory.is_symlink() or directory.exists():
        if not directory.is_dir():
            raise UsageError(f"{directory} is not a directory", hint="give another one with --out")
        if any(directory.iterdir()):
            raise UsageError(f"{directory} already exists and is not empty", hint="give another one with --out")
    parent = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be made: {parent} is not writable", hint="give another one with --out")
    return directory


def _announce(plan: Plan, level: Effort, directory: Path) -> None:
    from meshmark.planfile import CERTAINTY, estimate_seconds, explain_seconds, explain_trials, samples_seconds
    from meshmark.units import duration, percent

    rounds = len(plan.order())
    most = min(estimate_seconds(plan), plan.budget_seconds)
    note(f"{plan.name}: {rounds} rounds, {plan.repeats} of each of {', '.join(s.name for s in plan.scenarios)}")
    if plan.stop_width:
        note(f"ends sooner, after three repeats or more, once each loss is known to within {percent(plan.stop_width)}")
    note(f"takes about {duration(most)}, at most {duration(plan.budget_seconds)} after set-up; record: {directory}")
    if plan.profile:
        note(f"hardware: {plan.profile}, scale {plan.scale}; limits are set after each warm-up, and probed")
    if plan.explain_blocks:
        trials = plan.explain_blocks * sum(explain_trials(scenario) for scenario in plan.scenarios)
        note(f"of that {duration(explain_seconds(plan))} to tell what limits: {trials} trials in the last rounds")
    if plan.cpu_samples_hz:
        seconds = duration(samples_seconds(plan, rounds))
        note(f"perf looks at each CPU {plan.cpu_samples_hz} times a second in the search; {seconds} of that to count")
    note(f"{CERTAINTY[level]}{'' if level == 'full' else ' (--full says more)'}")
    for text in remarks(plan):
        note(f"warning: {text}")


Shown = Callable[["Clock"], AbstractContextManager["Progress"]]


def _shown(*, live: bool, directory: Path, resumptions: int) -> Shown:
    """How a run is told on standard error; `resumptions`: of its record, once this one has gone on. Raises
    ModuleNotFoundError for a view without its library."""
    if live:
        from meshmark.live.window import live_view

        return lambda clock: live_view(directory, sys.stderr, clock, resumptions)
    from meshmark.live.progress import progress

    return lambda clock: progress(sys.stderr, clock)


def _conduct(plan: Plan, backend: Backend, clock: Clock, directory: Path, level: Effort, shown: Shown) -> None:
    from meshmark.experiment.conductor import conduct

    with shown(clock) as told:
        conduct(
            plan,
            backend,
            directory,
            command=("meshmark", *sys.argv[1:]),
            effort=level,
            progress=told,
            clock=clock,
        )


def _report(directory: Path) -> Summary:
    """The table on standard output, and beside the record the same as HTML and JSON."""
    from meshmark import store
    from meshmark.analysis.summary import summarize
    from meshmark.cli.reports import write_html, write_json
    from meshmark.report.table import table

    record = store.load(directory)
    summary = summarize(record)
    emit(table(summary))
    places = [f"record: {directory}", f"JSON:   {write_json(summary, directory / 'summary.json')}"]
    try:
        places.append(f"report: {write_html(record, summary, directory / 'report.html')}")
    except ModuleNotFoundError as error:
        note(f"no report.html: the package {error.name} is not installed (extra `report`)")
    places.append(_digest(directory))
    emit("\n".join(places))
    return summary


def _digest(directory: Path) -> str:
    """To be kept elsewhere: with it `meshmark verify` proves that a record is this one."""
    from meshmark import seal

    return f"digest: {seal.head(directory) or 'none yet'}"


def _require_answer(summary: Summary) -> None:
    from meshmark.errors import Inconclusive

    silent = [scenario.name for scenario in summary.scenarios if not scenario.repeats_valid]
    if silent and not any(each.verdict == "broken" for each in summary.thresholds):
        raise Inconclusive(
            f"no valid measurement of {', '.join(silent)}",
            hint="the reasons stand in the report; a longer run (--full) or a calmer machine may give one",
        )

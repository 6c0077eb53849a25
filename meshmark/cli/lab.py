"""Verbs of the lab: a cluster that stays up for a person, the parts it is made of, and cleaning up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.options import KAFKA, Kafka, LabOnly, Offline
from meshmark.cli.output import emit, note
from meshmark.cli.plans import DEFAULT_PLAN, find

if TYPE_CHECKING:
    from meshmark.backends.lab.session import Session
    from meshmark.plan import Plan, Scenario

UP_EXAMPLES = (
    "\b\nExamples:\n  meshmark up --data-plane istio-mtls\n  meshmark exec client-1 -- bash\n"
    "  meshmark up -f my.yaml --only big\n  meshmark down"
)
EXEC_EXAMPLES = "\b\nExamples:\n  meshmark exec client-1 -- ss -tn\n  meshmark exec broker-2 -- bash"


def up(
    data_plane: Annotated[
        str | None,
        typer.Option("--data-plane", metavar="NAME", help="plain (default), kafka-tls, istio or istio-mtls."),
    ] = None,
    file: Annotated[
        str, typer.Option("-f", "--file", metavar="PLAN", help="Take cluster settings from it.")
    ] = DEFAULT_PLAN,
    only: Annotated[
        str | None, typer.Option("--only", metavar="SCENARIO", help="The scenario of the plan to bring up.")
    ] = None,
    kafka: Kafka = KAFKA,
    offline: Offline = False,
    backend: LabOnly = "lab",
) -> None:
    """Bring a cluster up and keep it until `meshmark down`."""
    _only_lab(backend)
    from meshmark.cli.backend import keep_up

    plan = find(file)
    scenario = _scenario(plan, data_plane, only)
    one = plan.model_copy(update={"scenarios": (scenario,)})
    session = keep_up(one, kafka=kafka, offline=offline)
    emit(describe(session))


def status(
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="The form.")] = "table",
    backend: LabOnly = "lab",
) -> None:
    """Show the cluster that is up; exit code 1 if there is none, or it is broken."""
    _only_lab(backend)
    from meshmark.backends.lab import session as sessions
    from meshmark.errors import UsageError

    if output not in ("table", "json"):
        raise UsageError(f"there is no form {output}", hint="-o takes table or json")
    session = sessions.status()
    if output == "json":
        emit(session.model_dump_json(indent=1) if session else '{"state": "down"}')
    else:
        emit(describe(session) if session else "no cluster is up")
    if session is None or session.state != "up":
        raise typer.Exit(1)


def execute(
    host: Annotated[str, typer.Argument(metavar="HOST", help="broker-1, client-1, ... (`meshmark status`).")],
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="The command, after --.")],
    backend: LabOnly = "lab",
) -> None:
    """Run a command on a host of the cluster that is up; its exit code is the command's."""
    _only_lab(backend)
    from meshmark.backends.lab import session as sessions

    sessions.exec_in(host, command)


def down(backend: LabOnly = "lab") -> None:
    """End the cluster that is up."""
    _only_lab(backend)
    from meshmark.backends.lab import session as sessions

    emit("the cluster is down" if sessions.down() else "no cluster was up")


def clean(backend: LabOnly = "lab") -> None:
    """Remove what killed runs left behind; what still runs is not touched."""
    _only_lab(backend)
    from meshmark.backends.lab.instance import reclaim

    emit("\n".join(f"removed: {what}" for what in reclaim()) or "nothing was left behind")


def fetch(kafka: Kafka = KAFKA, backend: LabOnly = "lab") -> None:
    """Download what a run needs, once; afterwards --offline works."""
    _only_lab(backend)
    from meshmark.kafka import distribution
    from meshmark.kafka.companion import companion
    from meshmark.live.progress import counter
    from meshmark.units import mb

    wanted = distribution.read_lock(kafka)
    root = distribution.cache_dir() / "jars"
    there = sum((root / artifact.path).is_file() for artifact in wanted)
    with counter(sys.stderr, "jars of Kafka") as told:
        jars = distribution.fetch(kafka, progress=told)
    total = sum(path.stat().st_size for path in jars)
    java = distribution.java()
    companion(java)
    emit(f"Kafka {distribution.kafka_version(kafka)}: {len(jars)} jars, {mb(total)} MB, in {root}")
    emit(f"Java  {java.version}: {java.path}")
    emit(f"Envoy {distribution.envoy_version()}: {distribution.envoy()}")
    note(f"{len(jars) - there} jars were fetched, {there} were there" if there < len(jars) else "all jars were there")


def describe(session: Session) -> str:
    """The cluster that is up, and how to use it."""
    lines = [f"state:      {session.state}"]
    lines += [f"problem:    {session.problem}"] if session.problem else []
    lines += [f"{name + ':':11} {value}" for name, value in session.description.items()]
    lines += [f"bootstrap:  {session.bootstrap_servers}  (from inside the hosts)"]
    lines += [f"clients:    {session.client_properties}  (properties for Kafka clients)"]
    lines += ["hosts:"]
    width = max(len(host.name) for host in session.hosts)
    lines += [f"  {host.name:{width}} {host.address:14} {', '.join(sorted(host.pids))}" for host in session.hosts]
    lines += [f"files:      {session.directory}"]
    if session.state == "up":
        lines += ["enter one:  meshmark exec client-1 -- bash", "end it:     meshmark down"]
    return "\n".join(lines)


def _scenario(plan: Plan, data_plane: str | None, only: str | None) -> Scenario:
    """The one that is named, or of the one that is first the cluster with the data plane that is asked for."""
    from meshmark.errors import UsageError
    from meshmark.plan import DataPlane
    from meshmark.planfile import select

    scenario = select(plan, [only] if only is not None else []).scenarios[0]
    if data_plane is None:
        return scenario
    if data_plane not in list(DataPlane):
        raise UsageError(f"there is no data plane {data_plane}", hint=f"there are: {', '.join(DataPlane)}")
    if only is not None and scenario.data_plane != data_plane:
        raise UsageError(
            f"the scenario {only} has the data plane {scenario.data_plane}, not {data_plane}",
            hint="give --only or --data-plane",
        )
    return scenario.model_copy(update={"name": data_plane, "data_plane": DataPlane(data_plane)})


def _only_lab(backend: str) -> None:
    from meshmark.errors import UsageError

    if backend != "lab":
        raise UsageError(f"the backend {backend} keeps no clusters", hint="leave --backend out, or say lab")

"""Verbs of clusters that stay up for a person, in the lab or in Kubernetes; the lab's parts, and cleaning up."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli import kubernetes
from meshmark.cli.kubernetes import Asked
from meshmark.cli.options import (
    KAFKA,
    Context,
    Cpus,
    Heap,
    Image,
    Kafka,
    Keeper,
    LabOnly,
    Memory,
    MonitorLabel,
    Monitors,
    Namespace,
    Offline,
    Only,
    PlanFile,
    Provider,
    ReplicationInMesh,
    ShareNodes,
    StorageClass,
    Timeout,
    VolumeSize,
)
from meshmark.cli.output import emit, note
from meshmark.cli.plans import DEFAULT_PLAN, find

if TYPE_CHECKING:
    from meshmark.backends.lab.session import Session
    from meshmark.plan import Plan, Scenario

UP_EXAMPLES = (
    "\b\nExamples:\n  meshmark up --data-plane istio-mtls\n  meshmark exec client-1 -- bash\n"
    "  meshmark up -f my.yaml --only big\n  meshmark down\n"
    "  meshmark up --backend kubernetes --context CTX --only istio-mtls --dry-run server"
)
EXEC_EXAMPLES = (
    "\b\nExamples:\n  meshmark exec client-1 -- ss -tn\n  meshmark exec broker-2 -- bash\n"
    "  meshmark exec --backend kubernetes --context CTX --only plain broker-1 -- ls /tmp"
)
DIFF_EXAMPLES = "\b\nExample:\n  meshmark diff --context CTX -f my.yaml --only big"


def up(
    data_plane: Annotated[
        str | None,
        typer.Option("--data-plane", metavar="NAME", help="Lab: of the cluster; plain if not given."),
    ] = None,
    file: PlanFile = None,
    only: Only = None,
    kafka: Kafka = KAFKA,
    offline: Offline = False,
    backend: Keeper = "lab",
    context: Context = None,
    namespace: Namespace = None,
    cpus: Cpus = None,
    memory: Memory = None,
    heap: Heap = None,
    volume_size: VolumeSize = None,
    storage_class: StorageClass = None,
    share_nodes: ShareNodes = None,
    image: Image = None,
    monitors: Monitors = None,
    monitor_label: MonitorLabel = None,
    provider: Provider = None,
    replication_in_mesh: ReplicationInMesh = None,
    timeout: Timeout = None,
    dry_run: Annotated[
        str | None,
        typer.Option(
            "--dry-run",
            metavar="none|client|server",
            help="Kubernetes: change nothing; print the objects, or ask the server what it would make of them.",
        ),
    ] = None,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Kubernetes: take over fields that others manage.")
    ] = False,
) -> None:
    """Bring a cluster up and keep it until `meshmark down`."""
    asked = Asked(
        file=file,
        only=only,
        namespace=namespace,
        cpus=cpus,
        memory=memory,
        heap=heap,
        volume_size=volume_size,
        storage_class=storage_class,
        share_nodes=share_nodes,
        image=image,
        monitors=monitors,
        monitor_label=monitor_label,
        provider=provider,
        replication_in_mesh=replication_in_mesh,
        kafka=kafka,
    )
    if _in_kubernetes(backend):
        _refuse(backend, {"--data-plane": data_plane, "--offline": offline})
        kubernetes.up(
            asked, contexts=context or (), dry_run=dry_run or "none", timeout_s=timeout, force=force_conflicts
        )
        return
    others = {"--context": context, "--timeout": timeout, "--dry-run": dry_run, "--force-conflicts": force_conflicts}
    _refuse(backend, {**others, **dict.fromkeys(asked.given(), True)})
    from meshmark.cli.backend import keep_up

    plan = find(file or DEFAULT_PLAN)
    one = plan.model_copy(update={"scenarios": (_scenario(plan, data_plane, only),)})
    emit(describe(keep_up(one, kafka=kafka, offline=offline)))


def status(
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="The form.")] = "table",
    backend: Keeper = "lab",
    file: PlanFile = None,
    only: Only = None,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Show the cluster that is up; exit code 1 if there is none, or it is broken."""
    from meshmark.errors import UsageError

    if output not in ("table", "json"):
        raise UsageError(f"there is no form {output}", hint="-o takes table or json")
    if _elsewhere(backend, file, only, namespace, context):
        kubernetes.status(Asked(file=file, only=only, namespace=namespace), contexts=context or (), output=output)
        return
    from meshmark.backends.lab import session as sessions

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
    backend: Keeper = "lab",
    file: PlanFile = None,
    only: Only = None,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Run a command on a host of the cluster that is up; its exit code is the command's."""
    if _elsewhere(backend, file, only, namespace, context):
        asked = Asked(file=file, only=only, namespace=namespace)
        kubernetes.execute(asked, contexts=context or (), host=host, command=command)
    from meshmark.backends.lab import session as sessions

    sessions.exec_in(host, command)


def down(
    backend: Keeper = "lab",
    file: PlanFile = None,
    only: Only = None,
    namespace: Namespace = None,
    context: Context = None,
    timeout: Timeout = None,
) -> None:
    """End the cluster that is up."""
    if _elsewhere(backend, file, only, namespace, context):
        kubernetes.down(Asked(file=file, only=only, namespace=namespace), contexts=context or (), timeout_s=timeout)
        return
    _refuse(backend, {"--timeout": timeout})
    from meshmark.backends.lab import session as sessions

    emit("the cluster is down" if sessions.down() else "no cluster was up")


def diff(
    file: PlanFile = None,
    only: Only = None,
    context: Context = None,
    namespace: Namespace = None,
    cpus: Cpus = None,
    memory: Memory = None,
    heap: Heap = None,
    volume_size: VolumeSize = None,
    storage_class: StorageClass = None,
    share_nodes: ShareNodes = None,
    image: Image = None,
    monitors: Monitors = None,
    monitor_label: MonitorLabel = None,
    provider: Provider = None,
    replication_in_mesh: ReplicationInMesh = None,
    kafka: Kafka = KAFKA,
) -> None:
    """Show what `up --backend kubernetes` would change, by the server's word; exit code 1 if anything."""
    asked = Asked(
        file=file,
        only=only,
        namespace=namespace,
        cpus=cpus,
        memory=memory,
        heap=heap,
        volume_size=volume_size,
        storage_class=storage_class,
        share_nodes=share_nodes,
        image=image,
        monitors=monitors,
        monitor_label=monitor_label,
        provider=provider,
        replication_in_mesh=replication_in_mesh,
        kafka=kafka,
    )
    kubernetes.diff(asked, contexts=context or ())


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
    from meshmark.data_plane import DataPlane, require
    from meshmark.errors import UsageError
    from meshmark.planfile import select

    scenario = select(plan, [only] if only is not None else []).scenarios[0]
    if data_plane is None:
        require([scenario.data_plane], "lab")
        return scenario
    if data_plane not in list(DataPlane):
        raise UsageError(f"there is no data plane {data_plane}", hint=f"there are: {', '.join(DataPlane)}")
    if only is not None and scenario.data_plane != data_plane:
        raise UsageError(
            f"the scenario {only} has the data plane {scenario.data_plane}, not {data_plane}",
            hint="give --only or --data-plane",
        )
    require([DataPlane(data_plane)], "lab")
    return scenario.model_copy(update={"name": data_plane, "data_plane": DataPlane(data_plane)})


def _in_kubernetes(backend: str) -> bool:
    from meshmark.errors import UsageError

    if backend not in ("lab", "kubernetes"):
        raise UsageError(f"the backend {backend} keeps no clusters", hint="--backend takes lab or kubernetes")
    return backend == "kubernetes"


def _elsewhere(
    backend: str, file: str | None, only: str | None, namespace: str | None, context: Sequence[str] | None
) -> bool:
    """In Kubernetes? The lab keeps one cluster at most, so there is no need to say which."""
    if _in_kubernetes(backend):
        return True
    _refuse(backend, {"--file": file, "--only": only, "--namespace": namespace, "--context": context})
    return False


def _refuse(backend: str, options: Mapping[str, object]) -> None:
    """Raises UsageError with those that were given, though they say nothing to this backend."""
    from meshmark.errors import UsageError

    if given := [name for name, value in options.items() if value]:
        raise UsageError(
            f"{', '.join(given)} {'says' if len(given) == 1 else 'say'} nothing to the backend {backend}",
            hint="leave it out, or give --backend " + ("lab" if backend == "kubernetes" else "kubernetes"),
        )


def _only_lab(backend: str) -> None:
    from meshmark.errors import UsageError

    if backend != "lab":
        raise UsageError(f"the backend {backend} has nothing of that", hint="leave --backend out, or say lab")

"""`meshmark infra`: input for the tools that make clusters, or one mesh of several. It prints, and makes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.options import Context, Only, PlanFile
from meshmark.cli.output import emit, note

if TYPE_CHECKING:
    from meshmark.backends.kubernetes.infra import Provider

app = typer.Typer(
    help="Print input for eksctl or gcloud, for clusters like those of the 2019 benchmark, or a script that makes one "
    "mesh of several; nothing is made.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Today = Annotated[bool, typer.Option("--today", help="Machines and disks of today in place of the benchmark's.")]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Of the cluster; default: meshmark-2019 or meshmark-today."),
]
Zones = Annotated[
    str, typer.Option("--zones", metavar="ABC", help="Letters of three zones; not each region has an a.")
]
StorageClass = Annotated[
    bool, typer.Option("--storage-class", help="Print the StorageClass of the brokers' disks instead, for kubectl.")
]


@app.command(
    "eks",
    epilog="\b\nExamples:\n  meshmark infra eks > cluster.yaml\n  eksctl create cluster -f cluster.yaml\n"
    "  meshmark infra eks --storage-class | kubectl apply -f -",
)
def eks(
    today: Today = False,
    name: Name = None,
    region: Annotated[str | None, typer.Option("--region", metavar="NAME", help="Default: eu-west-1.")] = None,
    zones: Zones = "abc",
    storage_class: StorageClass = False,
) -> None:
    """Print a ClusterConfig for eksctl: pools of nodes for brokers, controllers and clients, over three zones."""
    _print("eks", today=today, name=name, region=region, zones=zones, storage_class=storage_class)


@app.command(
    "istio",
    epilog="\b\nExample:\n  meshmark infra istio -f PLAN --only S --context one=CTX --context two=CTX2 > mesh.sh",
)
def istio(file: PlanFile = None, only: Only = None, context: Context = None) -> None:
    """Print a script that makes one Istio mesh of the clusters of a scenario's topology."""
    from meshmark.backends.kubernetes.one_mesh import script
    from meshmark.cli.contexts import assigned
    from meshmark.cli.kubernetes import clusters_of, one_scenario
    from meshmark.cli.plans import DEFAULT_PLAN, find
    from meshmark.errors import UsageError

    scenario = one_scenario(find(file or DEFAULT_PLAN), only)
    if not scenario.cluster.topology:
        raise UsageError(
            f"the scenario {scenario.name} has no topology: it is for one cluster", hint="-f and --only name another"
        )
    emit(script(scenario, assigned(context or (), clusters_of(scenario))))
    note("nothing was made, and no cluster was asked")


@app.command(
    "gke",
    epilog="\b\nExamples:\n  meshmark infra gke > cluster.sh\n  sh cluster.sh\n"
    "  meshmark infra gke --storage-class | kubectl apply -f -",
)
def gke(
    today: Today = False,
    name: Name = None,
    region: Annotated[str | None, typer.Option("--region", metavar="NAME", help="Default: europe-west4.")] = None,
    zones: Zones = "abc",
    storage_class: StorageClass = False,
) -> None:
    """Print commands of gcloud: pools of nodes for brokers, controllers and clients, over three zones."""
    _print("gke", today=today, name=name, region=region, zones=zones, storage_class=storage_class)


def _print(
    provider: Provider, *, today: bool, name: str | None, region: str | None, zones: str, storage_class: bool
) -> None:
    from meshmark.backends.kubernetes import infra

    asked = infra.asked(provider, today=today, name=name, region=region, zones=zones)
    emit((infra.storage_class_text if storage_class else infra.cluster_text)(asked))
    note("nothing was made, and no provider was asked")
